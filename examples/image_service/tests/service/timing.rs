//! When images are rebuilt: quiet periods, freezes, fixes that cannot wait, and what is remembered.

use crate::support::{Builder, World, has, is_idle, standing};
use freshmaker_testing::http::Reply;
use serde_json::Value;

/// How often something is tried that a busy machine can be too slow for.
const TRIES: usize = 5;

/// Two images on one base.
async fn pair() -> World {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("app", "FROM @/base:1\n");
    world.recipe("shop", "FROM @/base:1\n");
    world
}

fn freeze(world: &World) -> String {
    let from = "[[freeze]]\nfrom = \"Mon 00:00\"\nto = \"Mon 00:00\"\nbecause = \"rest\"\n";
    format!("{from}images = [\"{}/shop\"]\n", world.host())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_frozen_waits_and_a_base_that_changes_again_is_waited_for() {
    let world = pair().await;
    world.configure(&Builder::Test, "quiet = 2", "");
    world.serve();
    world.settled().await;
    world.kill();
    world.configure(&Builder::Test, "quiet = 2", &freeze(&world));
    world.serve();
    world.push("base:1", &["base two"]).await;
    world.until("seen", |_| world.log().contains("new content")).await;
    world.push("base:1", &["base three"]).await;
    let status = world.until("rebuilt", |status| is_idle(status) && standing(status, "app") == "fresh").await;
    assert_eq!(standing(&status, "shop"), "stale");
    assert_eq!((world.builds_of("app"), world.builds_of("shop")), (2, 1), "what came in between was not built");
    has(&world.good(&["why", "shop"]), "rest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_a_quiet_period_of_its_own() {
    let world = pair().await;
    let group = |period: &str| format!("[[quiet]]\nimages = [\"{}/shop\"]\nperiod = {period}\n", world.host());
    world.configure(&Builder::Test, "", &group("3600"));
    world.serve();
    world.settled().await;
    world.push("base:1", &["base two"]).await;
    let status = world
        .until("rebuilt", |status| is_idle(status) && standing(status, "app") == "fresh" && world.builds_of("app") == 2)
        .await;
    assert_eq!((standing(&status, "shop"), world.builds_of("shop")), ("stale", 1));
    has(&world.good(&["why", "shop"]), "base:1 has been the same for 3600 s");
    // What somebody asks for does not wait.
    world.good(&["send", "shop", "--alone"]);
    world.settled().await;
    assert_eq!((world.builds_of("app"), world.builds_of("shop")), (2, 2));
    // A base that is not used any more holds up nothing.
    world.push("base:2", &["base two"]).await;
    ["app", "shop"].iter().for_each(|name| world.recipe(name, "FROM @/base:2\n"));
    world.until("rebuilt", |status| is_idle(status) && world.builds_of("shop") > 2).await;
    world.settled().await;
    assert!(!world.log().contains("which images have to wait is not known"), "{}", world.log());

    world.configure(&Builder::Test, "", &group("2"));
    world.reload();
    world.until("read again", |_| world.log().contains("the configuration is read again")).await;
    let mut why = String::new();
    // A machine that is busy may handle the push after the period, when nothing has to wait.
    for push in 0..TRIES {
        let builds = world.builds_of("shop");
        world.push("base:2", &[&format!("base two, push {push}")]).await;
        world.until("rebuilt after its period", |_| world.builds_of("shop") > builds).await;
        world.settled().await;
        why = world.good(&["why", "shop"]);
        if why.contains("base:2 has been the same for 2 s") {
            return;
        }
    }
    panic!("it never waited: {why}");
}

/// A look at all images sees the new base, and the poll before it did not.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_period_counts_before_a_poll_has_told_of_a_base() {
    let world = pair().await;
    let looks = "[start]\ninterval = 0\n";
    let group = format!("{looks}[[quiet]]\nimages = [\"{}/shop\"]\nperiod = 3600\n", world.host());
    world.configure(&Builder::Test, "", &group);
    world.serve();
    world.settled().await;
    world.fake_registry().next("HEAD /v2/base/manifests", Reply::new(500));
    world.push("base:1", &["base two"]).await;
    world.logged("status 500").await;
    let status = world.until("rebuilt", |status| is_idle(status) && standing(status, "app") == "fresh").await;
    assert_eq!((standing(&status, "shop"), world.builds_of("app"), world.builds_of("shop")), ("stale", 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_reaches_the_builder_and_survives_a_freeze() {
    let world = pair().await;
    world.configure(&Builder::Test, "", "");
    world.serve();
    world.settled().await;
    let without_cache =
        || world.ledger().into_iter().filter(|[what, ..]| what.starts_with("no-cache")).collect::<Vec<_>>();
    world.good(&["send", "app"]);
    world.until("rebuilt", |status| is_idle(status) && world.builds_of("app") == 2).await;
    assert_eq!(without_cache(), Vec::<[String; 3]>::new());
    world.good(&["send", "app", "--fix", "CVE-2026-1234"]);
    world.until("fixed", |status| is_idle(status) && world.builds_of("app") == 3).await;
    let [[what, image, _]] = without_cache().try_into().unwrap();
    assert_eq!((what.as_str(), image.as_str()), ("no-cache:CVE-2026-1234", "app"));
    has(&world.good(&["why", "app"]), "CVE-2026-1234 is fixed");
    has(&world.good(&["logs", "app"]), "CVE-2026-1234 is to be fixed: nothing may come from a cache");
    let (status, _, error) = world.run(&["send", &format!("{}/base:1", world.host()), "--fix", "CVE-2026-1"]);
    assert_eq!(status, 1);
    has(&error, "is not built here");

    world.kill();
    world.configure(&Builder::Test, "", &freeze(&world));
    world.serve();
    world.good(&["send", "app", "shop", "--fix", "CVE-2026-5678"]);
    world.until("fixed", |status| is_idle(status) && world.builds_of("app") == 4).await;
    assert_eq!(world.builds_of("shop"), 1);
    world.kill();
    world.configure(&Builder::Test, "", "");
    world.serve();
    world.until("fixed after the freeze", |status| is_idle(status) && world.builds_of("shop") == 2).await;
    assert!(without_cache().iter().any(|[what, image, _]| what == "no-cache:CVE-2026-5678" && image == "shop"));
    // It is asked for once, and not after each start.
    world.kill();
    world.serve();
    world.good(&["send", "app"]);
    world.until("looked", |status| is_idle(status) && world.builds_of("app") == 5).await;
    assert_eq!(world.builds_of("shop"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_any_longer_is_removed() {
    let world = pair().await;
    world.configure(&Builder::Test, "", "");
    world.serve();
    world.settled().await;
    world.good(&["send", "app"]);
    world.good(&["send", "app"]);
    let events = |_: &Value| serde_json::from_str::<Vec<Value>>(&world.good(&["show", "--json"])).unwrap().len();
    world.until("three events", |status| is_idle(status) && events(status) == 3).await;
    world.kill();
    world.configure(&Builder::Test, "", "[retention]\nevents_max = 1\n");
    world.serve();
    world.until("one event", |status| is_idle(status) && events(status) == 1).await;
    world.settled().await;
    has(&world.good(&["why", "app"]), "app:latest is fresh");
}
