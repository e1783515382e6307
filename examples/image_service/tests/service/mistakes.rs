//! What the service does about mistakes of people, and about what changes at a bad moment.

use crate::support::{Builder, World, has, is_idle, standing};
use freshmaker::artifact::Digest;
use freshmaker::backend::Remedy;
use serde_json::Value;
use std::time::{Duration, Instant};

fn executable(world: &World, path: &str, text: &str) {
    world.file(path, text);
    std::fs::set_permissions(world.tree().join(path), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_for_a_moment_during_a_build_is_not_published() {
    let world = World::one("", "").await;
    world.file("app/slow", "1500");
    world.serve();
    world.until("begun", |_| world.builds_of("app") == 1).await;
    world.file("app/file", "for a moment");
    world.file("app/file", "the file of app");
    world.settled().await;
    assert_eq!(world.builds_of("app"), 2, "{:?}", world.ledger());
    assert_eq!(world.layers("app").await.last(), Some(&Digest::of(b"the file of app")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_containerfile_breaks_stays_in_sight() {
    let world = World::one("", "").await;
    world.serve();
    world.settled().await;
    world.recipe("app", "FRMO @/base:1\n");
    world.until("broken", |status| standing(status, "app") == "error").await;
    let (status, out, _) = world.run(&["status"]);
    assert_eq!(status, 1);
    has(&out, "error    ");
    has(&out, "app/Containerfile:1: ");
    has(&world.good(&["why", "app"]), "app/Containerfile:1: ");
    let said = || world.log().matches("something is wrong with the tree").count();
    world.until("said", |_| said() == 1).await;
    world.push("base:1", &["base two"]).await;
    world.recipe("app", "FROM @/base:1\n");
    world.settled().await;
    assert_eq!((said(), &world.layers("app").await[0]), (1, &Digest::of(b"base two")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_holds_up_nothing_else() {
    let world = World::one("", "").await;
    world.recipe("one", "FROM @/base:1 AS base\nFROM @/two\nCOPY --from=base /a /a\n");
    world.recipe("two", "FROM @/one\n");
    has(&world.run(&["check-config"]).1, "FAILED  tree: images are built from each other");
    world.serve();
    let status = world.until("built", |status| is_idle(status) && standing(status, "app") == "fresh").await;
    assert_eq!((standing(&status, "one"), standing(&status, "two")), ("error", "error"));
    has(&world.run(&["status"]).1, "images are built from each other");
    // What the cycle is built on can change.
    world.push("base:1", &["base two"]).await;
    let seen = || world.log().contains("new content");
    world.until("followed", |status| seen() && is_idle(status) && standing(status, "app") == "fresh").await;
    assert_eq!(world.layers("app").await[0], Digest::of(b"base two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_appears_later_is_built_on() {
    let world = World::fake().await;
    world.recipe("app", "FROM @/late:1\n");
    world.configure(&Builder::Test, "", "");
    world.serve();
    world.until("failed", |status| is_idle(status) && status["overview"]["builds_failed"] == 1).await;
    world.until("logged", |_| world.log().contains("a build has failed")).await;
    has(&world.good(&["why", "app"]), "status 404");
    world.push("late:1", &["late"]).await;
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_for_its_next_try_does_not_stop_others() {
    let world = World::one("test = [\"./test.sh\"]", "[start]\ninterval = 1").await;
    executable(&world, "app/test.sh", "#!/bin/sh\n");
    world.recipe("waits", "FROM @/base:1\n");
    executable(&world, "waits/test.sh", "#!/bin/sh\nexit 75\n");
    world.serve();
    world.until("tried again", |status| standing(status, "app") == "fresh" && world.builds_of("waits") > 1).await;
    world.fake_registry().lose("app", "latest");
    world.until("built again", |status| standing(status, "app") == "fresh" && world.builds_of("app") == 2).await;
    let status = world.status();
    assert!(!is_idle(&status) && standing(&status, "waits") == "missing", "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_evidence_nothing_is_fresh() {
    let world = World::one("", "").await;
    world.recipe("argument", "ARG BASE\nFROM ${BASE}\n");
    world.serve();
    let is_built = |status: &Value| is_idle(status) && standing(status, "argument") == "unknown";
    world.until("unknown", |status| is_built(status) && standing(status, "app") == "fresh").await;
    world.fake_registry().lose("base", "1");
    let status = world.until("unknown", |status| standing(status, "app") == "unknown").await;
    has(&status.to_string(), "base:1 today");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_base_that_is_sent_comes_with_its_content() {
    let world = World::one("", "").await;
    world.push("tools:1", &["tool"]).await;
    world.recipe("tool", "FROM @/tools:1\n");
    world.serve();
    world.settled().await;
    world.good(&["send", &format!("{}/base:1", world.host()), &format!("{}/tools:1", world.host())]);
    let [base, tools] = [world.head("base:1").await, world.head("tools:1").await];
    let shown = |digest: &Digest| world.good(&["show", "--json"]).contains(digest.as_str());
    world.until("sent", |_| shown(&base) && shown(&tools)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_served_is_not_used() {
    let world = World::one("", "").await;
    world.serve();
    world.settled().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let web = format!("[web]\nlisten = \"{}\"\nauthentication = {{ none = true }}\n", taken.local_addr().unwrap());
    let free = "[web]\nlisten = \"127.0.0.1:0\"\nauthentication = { none = true }\n";
    let path = world.tree().join("image_service.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let user = format!("plain_http = true\nuser = \"kim\"\n{free}");
    for (number, (bad, why)) in [
        (format!("{good}\n{free}[hooks]\ngit_secret_file = \"none\"\n"), "none: No such file"),
        (good.replace("[tree]", "[tree]\npath = \"none\""), "none: No such file"),
        (good.replace("image = ", "# "), "is in no registry"),
        (format!("{good}\n{web}"), "in use"),
        (good.replace("[tree]", "[tree.git]\nurl = \"/nonexistent/repository\"\n[tree]"), "git "),
        (good.replacen("plain_http = true", &user, 1), "user"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&path, bad).unwrap();
        world.reload();
        let refused = || world.log().matches("the new configuration is not used").count();
        world.until(why, |_| refused() == number + 1).await;
        has(world.log().lines().last().unwrap(), why);
    }
    world.file("freshmaker.toml", "[tree\n");
    std::fs::write(&path, &good).unwrap();
    world.reload();
    world.until("refused", |_| world.log().matches("the new configuration is not used").count() == 7).await;
    world.remove("freshmaker.toml");
    world.push("base:1", &["base two"]).await;
    world.settled().await;
    assert_eq!(world.layers("app").await[0], Digest::of(b"base two"), "it has gone on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_what_was_planned_before() {
    let world = World::one("", "").await;
    world.serve();
    world.settled().await;
    world.good(&["pause"]);
    world.push("base:1", &["base two"]).await;
    world.until("waiting", |status| status["overview"]["builds_waiting"] == 1).await;
    let freeze = "[[freeze]]\nfrom = \"Mon 00:00\"\nto = \"Mon 00:00\"\nbecause = \"nothing may change\"\n";
    world.configure(&Builder::Test, "", freeze);
    world.reload();
    world.until("read again", |_| world.log().contains("the configuration is read again")).await;
    world.good(&["resume"]);
    world.until("refused", |status| is_idle(status) && status["overview"]["builds_failed"] == 1).await;
    has(&world.good(&["why", "app"]), "the image is frozen: nothing may change");
    assert_eq!(world.builds_of("app"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_takes_the_names_of_the_tree() {
    let world = World::one("attest = [\"sh\", \"-c\", \"echo causes $FRESHMAKER_CAUSES\"]", "").await;
    world.serve();
    world.settled().await;
    has(&world.good(&["logs", "app"]), "\"kind\":\"rebuild.requested\"");
    has(&world.good(&["hold", "app", "broken"]), "/app:latest");
    assert_eq!(world.status()["images"][0]["hold"]["reason"], "broken");
    let (status, _, err) = world.run(&["hold", "nosuchimage"]);
    assert_eq!(status, 1);
    has(&err, "the tree has no image nosuchimage");
    world.good(&["release", "app"]);
    assert_eq!(world.status()["images"][0]["hold"], Value::Null);
    assert_eq!(world.run(&["release", "app"]).0, 1);
    let copy = world.directory.path().join("copy");
    world.good(&["backup", copy.to_str().unwrap()]);
    has(&world.run(&["restore", copy.to_str().unwrap()]).2, "a service runs here");
    world.kill();
    has(&world.good(&["restore", copy.to_str().unwrap()]), "is kept as");
    assert_eq!(world.status()["overview"]["builds_done"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_found_beforehand() {
    let world = World::one("", "").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let web = format!("[web]\nlisten = \"{}\"\nauthentication = {{ none = true }}\n", taken.local_addr().unwrap());
    let elsewhere = "[build.elsewhere]\nservice = \"http\"\nurl = \"http://127.0.0.1:1\"\ntoken_file = \"none\"\n";
    for (build, more, wanted) in [
        ("", "[hooks]\nfetch = [\"true\"]\n", "FAILED  hooks: without a section [web]"),
        ("", web.as_str(), "FAILED  web: "),
        ("", "[[notify]]\ncommand = [\"./tell.sh\"]\n", "FAILED  notify.command: "),
        (elsewhere, "", "FAILED  build.elsewhere.token_file: "),
        ("", &format!("{web}[hooks]\ngit_secret_file = \"none\"\n"), "FAILED  hooks.git_secret_file: "),
    ] {
        world.configure(&Builder::Test, build, more);
        let (status, out, _) = world.run(&["check-config"]);
        assert_eq!(status, 1, "{out}");
        has(&out, wanted);
    }
    world.configure(&Builder::Test, &elsewhere.replace("none", "token"), "[[notify]]\ncommand = [\"./tell.sh\"]\n");
    world.file("token", "secret");
    executable(&world, "tell.sh", "#!/bin/sh\n");
    let out = world.good(&["check-config"]);
    assert!(!out.contains("build.program"), "nothing is built here: {out}");
    world.good(&["plan", "app"]);
    assert!(!world.tree().join(".image_service").exists(), "a plan makes nothing");
    has(&world.good(&["--version"]), "image_service ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs_delays_no_other() {
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = hangs.local_addr().unwrap();
    let world = World::one("", &format!("[registries.\"{host}\"]\nplain_http = true\n")).await;
    world.recipe("hangs", &format!("FROM {host}/base:1\n"));
    world.serve();
    world.until("built", |status| standing(status, "app") == "fresh").await;
    let begin = Instant::now();
    world.push("base:1", &["base two"]).await;
    world.until("followed", |_| world.builds_of("app") == 2).await;
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert_eq!(world.client().head(&world.image("hangs")).await.unwrap_err().remedy, Remedy::NotFound);
}
