//! A service that is slow, away, wrong or forgetful: what the client says, and what it leaves
//! behind.

use crate::world::{HOUR, World, compose_of, request};
use freshmaker::backend::{Clock, ComposeRequest, Composer, Remedy};
use freshmaker::rebuild::{ExternalId, FailureClass, Observed};
use freshmaker::time::later;
use freshmaker_net::Secret;
use freshmaker_redhat::fakes::odcs::{Course, Fault};
use freshmaker_redhat::messages::odcs::ComposeState;
use freshmaker_redhat::odcs::{Compose, Flag, OdcsComposer, OdcsConfig, OdcsLogin};
use freshmaker_testing::http::{Reply, Server};
use std::time::Duration;

fn status(code: u16, text: &str) -> Fault {
    Fault::Status(code, text.to_owned())
}

#[tokio::test]
async fn errors_of_a_request_say_whether_it_took_effect() {
    let cases = [
        (status(400, "no"), Remedy::Rejected, 0),
        (status(401, "who?"), Remedy::Unavailable, 0),
        (status(403, "User x is not in role allowed_clients."), Remedy::NotNow, 0),
        (status(404, "nothing here"), Remedy::Unavailable, 0),
        (status(429, "slowly"), Remedy::NotNow, 0),
        (status(503, "away"), Remedy::Unavailable, 0),
        (status(500, "oops"), Remedy::Unclear, 0),
        (status(502, "oops"), Remedy::Unclear, 0),
        (Fault::NotFoundInside, Remedy::Unclear, 0),
        (Fault::Html, Remedy::Unclear, 0),
        (Fault::Silence, Remedy::Unclear, 0),
        (Fault::Lost, Remedy::Unclear, 1),
        (Fault::Cut(300), Remedy::Unclear, 1),
        (Fault::Unscheduled, Remedy::Unclear, 1),
    ];
    for (fault, remedy, made) in cases {
        let world = World::new().await;
        world.service.disturb("POST", fault.clone());
        let error = world.odcs.prepare(&request(1, &Compose::tag("t"))).await.unwrap_err();
        assert_eq!(error.remedy, remedy, "{fault:?}: {error}");
        assert_eq!(world.service.composes().len(), made, "{fault:?}");
        assert_eq!(world.asked("POST"), 1, "{fault:?}: it was repeated");
        assert!(error.place.starts_with("odcs: POST /api/1/composes/"), "{error}");
    }
    let nobody = OdcsComposer::new(OdcsConfig::new("http://127.0.0.1:1")).unwrap();
    let error = nobody.prepare(&request(1, &Compose::tag("t"))).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
}

#[tokio::test]
async fn an_answer_can_break_off_anywhere() {
    let world = World::new().await;
    world.odcs.prepare(&request(1, &Compose::tag("t"))).await.unwrap();
    let whole = world.service.composes()[0].to_string().len();
    for bytes in (0..whole).step_by(37) {
        world.service.disturb("GET", Fault::Cut(bytes));
        let error = world.odcs.compose(1).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unavailable, "after {bytes} bytes: {error}");
    }
    assert_eq!(world.odcs.compose(1).await.unwrap().id, 1);
}

/// Every way of asking, with an unclear answer, and one that never left.
#[tokio::test]
async fn what_took_effect_is_found_and_what_did_not_is_not() {
    let composes = [
        Compose::tag("t").with_packages(["a", "b"]).with_flags([Flag::NoDeps, Flag::NoInheritance]),
        Compose::tag("t").with_sigkeys(["K2", "K1", ""]).with_arches(["s390x", "x86_64"]).with_results(["boot.iso"]),
        Compose::module(["nodejs:18", "perl:5"]).with_module_defaults("https://git.example.org/d.git", "main"),
        Compose::pulp(["one", "two"]).with_flags([Flag::IgnoreAbsentPulpRepos]),
        Compose::build(["bash-1-1", "sed-2-2"]).with_koji_event(7),
        Compose::raw_config("pungi_cfg", "c0ffee").with_label("RC-1.0").with_type("production"),
        Compose::tag("t")
            .with_multilib(["x86_64"], ["runtime", "devel"])
            .with_lookaside_repos(["https://r.example.org/"]),
        Compose::tag("t").with_modular_koji_tags(["m"]).with_lifetime(HOUR),
    ];
    let world = World::new().await;
    for (n, compose) in composes.iter().enumerate() {
        for fresh in [false, true] {
            // Those of the rounds before lie outside of what a lookup sees.
            world.pass(HOUR);
            let marker = u128::try_from(n * 2 + usize::from(fresh)).unwrap();
            let asked = ComposeRequest { no_cache: fresh, ..request(marker, compose) };
            assert_eq!(world.found(&asked).await, [] as [String; 0], "{compose:?}");
            world.service.disturb("POST", Fault::Lost);
            assert_eq!(world.odcs.prepare(&asked).await.unwrap_err().remedy, Remedy::Unclear);
            let last = world.service.composes().len().to_string();
            assert_eq!(world.found(&asked).await, std::slice::from_ref(&last), "{compose:?}, no_cache: {fresh}");
            // And after it is made, when the service has filled in what it found.
            world.pass(Duration::from_secs(60));
            let sent = world.clock.now() - chrono::TimeDelta::seconds(60);
            let found = world.odcs.find(&asked, sent).await.unwrap();
            assert_eq!(found.len(), 1, "{compose:?}");
            assert_eq!(compose_of(&found[0].external), last);
            assert!(matches!(found[0].observed, Observed::Succeeded(_)), "{found:?}");
            assert_eq!(world.status(&found[0].external).await, found[0].observed);
        }
    }
}

#[tokio::test]
async fn other_composes_are_not_adopted() {
    let world = World::with(|config| config.owner = Some("unknown".to_owned())).await;
    let compose = Compose::tag("t").with_packages(["a"]);
    let others = [
        Compose::tag("u").with_packages(["a"]),
        Compose::tag("t"),
        Compose::tag("t").with_packages(["a", "b"]),
        compose.clone().with_builds(["b-1-1"]),
        compose.clone().with_flags([Flag::NoDeps]),
        compose.clone().with_results(["iso"]),
        compose.clone().with_sigkeys(["K"]),
        compose.clone().with_label("RC-1.0"),
        compose.clone().with_type("nightly"),
        compose.clone().with_multilib(["x86_64"], ["all"]),
        compose.clone().with_lookaside_repos(["https://r.example.org/"]),
        compose.clone().with_modular_koji_tags(["m"]),
        compose.clone().with_module_defaults("https://d.example.org/", "main"),
        Compose::pulp(["t"]),
    ];
    for (n, other) in (2..).zip(&others) {
        world.odcs.prepare(&request(n, other)).await.unwrap();
    }
    let asked = request(1, &compose);
    assert_eq!(world.found(&asked).await, [] as [String; 0]);
    world.odcs.prepare(&asked).await.unwrap();
    assert_eq!(world.found(&asked).await, ["15"]);
    // Somebody else's, if only our own are wanted.
    let theirs = World::with(|config| config.owner = Some("freshmaker".to_owned())).await;
    theirs.odcs.prepare(&asked).await.unwrap();
    assert_eq!(theirs.found(&asked).await, [] as [String; 0]);
    // Another attempt of ours for the same content sets, which the marker keeps apart.
    let pulp = Compose::pulp(["one"]);
    world.odcs.prepare(&request(50, &pulp)).await.unwrap();
    assert_eq!(world.found(&request(51, &pulp)).await, [] as [String; 0]);
    assert_eq!(world.found(&request(50, &pulp)).await.len(), 1);
}

#[tokio::test]
async fn the_best_of_several_equal_composes_is_adopted() {
    let world = World::new().await;
    let asked = request(1, &Compose::tag("t"));
    world.odcs.prepare(&asked).await.unwrap();
    world.odcs.prepare(&asked).await.unwrap();
    world.service.script("t", Course::failing("broken"));
    world.odcs.prepare(&asked).await.unwrap();
    assert_eq!(
        world.found(&asked).await,
        ["2"],
        "one of use goes before one that failed, and a new one before an old one"
    );
    // The end of an earlier try is not that of this one.
    let other = World::new().await;
    other.service.script("t", Course::failing("broken"));
    other.odcs.prepare(&asked).await.unwrap();
    let sent = other.clock.now();
    other.pass(Duration::from_secs(30));
    assert_eq!(other.found(&asked).await, [] as [String; 0]);
    let found = other.odcs.find(&asked, sent).await.unwrap();
    assert!(matches!(&found[0].observed, Observed::Failed(failure) if failure.text.contains("broken")), "{found:?}");
}

#[tokio::test]
async fn a_look_up_reads_as_many_pages_as_it_takes() {
    let world = World::new().await;
    let asked = request(1, &Compose::tag("t"));
    world.odcs.prepare(&asked).await.unwrap();
    for n in 2..=230 {
        world.odcs.prepare(&request(n, &Compose::tag("u"))).await.unwrap();
    }
    assert_eq!(world.found(&asked).await, ["1"]);
    assert_eq!(world.asked("GET /api/1/composes/"), 3);
    // And no further than to the moment of the request.
    world.pass(HOUR);
    assert_eq!(world.found(&asked).await, [] as [String; 0]);
    assert_eq!(world.asked("GET /api/1/composes/"), 4);
}

#[tokio::test]
async fn status_tells_each_state() {
    let world = World::new().await;
    world.service.script("slow", Course::slow(Duration::from_secs(5), Duration::from_secs(5)));
    world.service.script("odd", Course::failing("Failed to find all the source(s)"));
    world
        .service
        .script("late", Course::failing("Compose has taken more time than allowed by configuration (3600 seconds)"));
    let slow = world.odcs.prepare(&request(1, &Compose::tag("slow"))).await.unwrap();
    let odd = world.odcs.prepare(&request(2, &Compose::pulp(["odd"]))).await.unwrap();
    let late = world.odcs.prepare(&request(3, &Compose::tag("late"))).await.unwrap();
    let class = |observed: &Observed| match observed {
        Observed::Failed(failure) => failure.class,
        other => panic!("{other:?}"),
    };
    assert_eq!(world.status(&slow).await, Observed::Running);
    assert_eq!(class(&world.status(&odd).await), FailureClass::Deterministic);
    assert_eq!(class(&world.status(&late).await), FailureClass::Infrastructure);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.status(&slow).await, Observed::Running);
    assert_eq!(world.odcs.compose(1).await.unwrap().state, ComposeState::Generating);
    world.pass(Duration::from_secs(5));
    let Observed::Succeeded(output) = world.status(&slow).await else { panic!("it does not end") };
    assert_eq!(output.name, "1");
    let repofile = format!("{}/composes/odcs-1/compose/Temporary/odcs-1.repo", world.service.url());
    assert_eq!(output.contents, Some(repofile));
    world.pass(HOUR * 25);
    world.service.clean_up();
    assert_eq!(world.status(&slow).await, Observed::Vanished);
    for never in ["99@x", "abc", "abc@x", "18446744073709551616@x"] {
        assert_eq!(world.status(&ExternalId::new(never)).await, Observed::Vanished, "{never}");
    }
    // A path that is none is a 404 inside of a 500.
    world.service.disturb("GET", Fault::NotFoundInside);
    assert_eq!(world.status(&slow).await, Observed::Vanished);
}

#[tokio::test]
async fn one_that_cannot_be_asked_about_does_not_hide_the_others() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(world.odcs.prepare(&request(n, &Compose::tag(format!("t{n}")))).await.unwrap());
    }
    world.service.disturb("GET", status(500, "oops"));
    world.service.disturb("GET", Fault::Html);
    assert_eq!(world.odcs.status(&ids).await.unwrap().len(), 18);
    world.service.disturb("GET", status(500, "oops"));
    assert_eq!(world.odcs.status(&ids[..1]).await.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn digests_follow_what_determines_the_content() {
    let world = World::new().await;
    let mut number = 0;
    let mut digest = async |compose: Compose| {
        number += 1;
        let id = world.odcs.prepare(&request(number, &compose)).await.unwrap();
        match world.status(&id).await {
            Observed::Succeeded(output) => output.digest,
            other => panic!("{other:?}"),
        }
    };
    let tag = digest(Compose::tag("t")).await;
    assert!(tag.is_some());
    assert_eq!(digest(Compose::tag("t")).await, tag, "the same tag at the same event");
    assert_ne!(digest(Compose::tag("t").with_packages(["a"])).await, tag);
    assert_ne!(digest(Compose::tag("u")).await, tag);
    world.service.change_koji();
    assert_ne!(digest(Compose::tag("t")).await, tag, "another event");
    assert!(digest(Compose::build(["a-1-1"])).await.is_some());
    assert!(digest(Compose::module(["nodejs:18"])).await.is_some());
    assert_eq!(digest(Compose::pulp(["one"])).await, None, "Pulp changes behind the name");
    assert_eq!(digest(Compose::raw_config("pungi_cfg", "c0ffee")).await, None);
}

#[tokio::test]
async fn a_compose_that_expires_too_soon_is_renewed_before_it_counts_as_done() {
    let world = World::new().await;
    for (number, lifetime, margin) in [(1_u8, HOUR, HOUR / 2), (2, HOUR * 48, HOUR * 6), (3, HOUR * 24, HOUR * 6)] {
        // The last one is asked for without a lifetime, which means the configured one.
        let compose = Compose::tag(format!("t{number}"));
        let compose = if number < 3 { compose.with_lifetime(lifetime) } else { compose };
        let id = world.odcs.prepare(&request(number.into(), &compose)).await.unwrap();
        let number = u64::from(number);
        let expires = async || world.odcs.compose(number).await.unwrap().time_to_expire.unwrap();
        assert!(matches!(world.status(&id).await, Observed::Succeeded(_)));
        let first = expires().await;
        assert_eq!(first, later(world.clock.now(), lifetime), "it lives long enough: not renewed");
        world.pass(lifetime - margin - Duration::from_secs(60));
        assert!(matches!(world.status(&id).await, Observed::Succeeded(_)));
        assert_eq!(expires().await, first, "it still does");
        let before = world.asked("PATCH");
        world.pass(Duration::from_secs(120));
        for _ in 0..2 {
            assert!(matches!(world.status(&id).await, Observed::Succeeded(_)));
            assert_eq!(expires().await, later(world.clock.now(), lifetime), "renewed by its own lifetime");
            assert_eq!(world.asked("PATCH"), before + 1);
        }
    }
}

/// A renewal that does not say for how long is for as long as before.
#[tokio::test]
async fn a_renewal_without_a_lifetime_keeps_that_of_the_compose() {
    let world = World::new().await;
    let made = world.odcs.prepare(&request(1, &Compose::tag("t").with_lifetime(HOUR * 48))).await.unwrap();
    assert!(matches!(world.status(&made).await, Observed::Succeeded(_)));
    world.pass(HOUR);
    world.odcs.prepare(&request(2, &Compose::renew(1))).await.unwrap();
    assert_eq!(world.odcs.compose(1).await.unwrap().time_to_expire, Some(later(world.clock.now(), HOUR * 48)));
}

/// Nonsense about one compose costs that compose, and after ten polls its attempt.
#[tokio::test]
async fn nonsense_about_a_compose_costs_that_compose() {
    let world = World::new().await;
    let odd = world.odcs.prepare(&request(1, &Compose::tag("odd"))).await.unwrap();
    let good = world.odcs.prepare(&request(2, &Compose::tag("good"))).await.unwrap();
    world.service.disfigure(1, "state", serde_json::json!(17));
    for poll in 1..=10 {
        let found = world.odcs.status(&[odd.clone(), good.clone()]).await.unwrap();
        assert!(found.iter().any(|found| found.external == good && matches!(found.observed, Observed::Succeeded(_))));
        match found.iter().find(|found| found.external == odd).map(|found| &found.observed) {
            None => assert!(poll < 10),
            Some(Observed::Failed(failure)) => {
                assert_eq!((poll, failure.class), (10, FailureClass::Permanent));
                let text = "the description of compose 1 made no sense 10 times in a row: there is no state 17";
                assert!(failure.text.starts_with(text), "{}", failure.text);
            }
            other => panic!("{other:?}"),
        }
    }
    // One alone is no error either: it is unchanged.
    assert_eq!(world.odcs.status(std::slice::from_ref(&odd)).await.unwrap(), []);
    // A lookup finds what it looks for beside it, and does not say that there is none.
    assert_eq!(world.found(&request(2, &Compose::tag("good"))).await, ["2"]);
    let sent = later(world.clock.now(), Duration::ZERO);
    let error = world.odcs.find(&request(3, &Compose::tag("never")), sent).await.unwrap_err();
    assert!(error.remedy == Remedy::Corrupt && error.text.contains("compose 1: there is no state 17"), "{error}");
    // The label of a compose of Pulp tells whose it is.
    assert_eq!(world.found(&request(4, &Compose::pulp(["one"]))).await, [] as [String; 0]);
}

#[tokio::test]
async fn a_compose_that_cannot_be_renewed_is_of_use_until_it_expires() {
    let world = World::new().await;
    let id = world.odcs.prepare(&request(1, &Compose::tag("t").with_lifetime(HOUR))).await.unwrap();
    assert!(matches!(world.status(&id).await, Observed::Succeeded(_)));
    world.pass(Duration::from_secs(45 * 60));
    world.service.disturb("PATCH", status(403, "not yours"));
    assert!(matches!(world.status(&id).await, Observed::Succeeded(_)));
    // Not known: asked again.
    world.service.disturb("PATCH", status(500, "oops"));
    assert_eq!(world.odcs.status(std::slice::from_ref(&id)).await.unwrap_err().remedy, Remedy::Unclear);
    world.pass(HOUR * 2);
    world.service.disturb("PATCH", status(403, "not yours"));
    let Observed::Failed(failure) = world.status(&id).await else { panic!("it expired") };
    assert_eq!(failure.class, FailureClass::Infrastructure);
    assert!(failure.text.contains("expired before it was used") && failure.text.contains("not yours"), "{failure:?}");
}

#[tokio::test]
async fn composes_are_renewed() {
    let world = World::new().await;
    let first = world.odcs.prepare(&request(1, &Compose::pulp(["one"]))).await.unwrap();
    assert!(matches!(world.status(&first).await, Observed::Succeeded(_)));
    world.pass(HOUR * 20);
    let renewal = Compose::renew(1).with_lifetime(HOUR * 48);
    let renewed = world.odcs.prepare(&request(2, &renewal)).await.unwrap();
    // The same compose, for another attempt.
    assert_eq!(compose_of(&renewed), "1");
    assert_ne!(renewed, first);
    assert_eq!(world.odcs.compose(1).await.unwrap().time_to_expire, Some(later(world.clock.now(), HOUR * 48)));
    // One that is still being made is not renewed by the service, and needs not to be.
    world.service.script("slow", Course::slow(HOUR, HOUR));
    world.odcs.prepare(&request(3, &Compose::tag("slow"))).await.unwrap();
    assert_eq!(compose_of(&world.odcs.prepare(&request(4, &Compose::renew(2))).await.unwrap()), "2");
    // One that never was.
    let error = world.odcs.prepare(&request(5, &Compose::renew(99))).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::NotFound);
    // One that is gone: an equal one is made, and found again if the answer is lost.
    world.pass(HOUR * 72);
    world.service.clean_up();
    world.service.disturb("PATCH", Fault::Lost);
    let lost = request(6, &Compose::renew(1));
    assert_eq!(world.found(&lost).await, [] as [String; 0]);
    assert_eq!(world.odcs.prepare(&lost).await.unwrap_err().remedy, Remedy::Unclear);
    assert_eq!(world.found(&lost).await, ["3"]);
    assert_eq!(world.service.composes().len(), 3);
}

#[tokio::test]
async fn a_lost_renewal_of_a_living_compose_shows_in_its_life() {
    let world = World::new().await;
    let made = world.odcs.prepare(&request(1, &Compose::tag("t").with_lifetime(HOUR))).await.unwrap();
    assert!(matches!(world.status(&made).await, Observed::Succeeded(_)));
    world.pass(Duration::from_secs(45 * 60));
    let renewal = request(2, &Compose::renew(1));
    assert_eq!(world.found(&renewal).await, [] as [String; 0], "it expires too soon: not renewed");
    world.service.disturb("PATCH", Fault::Lost);
    assert_eq!(world.odcs.prepare(&renewal).await.unwrap_err().remedy, Remedy::Unclear);
    assert_eq!(world.found(&renewal).await, ["1"]);
}

#[tokio::test]
async fn what_is_done_is_not_deleted_and_what_waits_is_stopped() {
    let world = World::new().await;
    world.service.script("wait", Course::hanging());
    world.service.script("slow", Course::slow(Duration::ZERO, HOUR));
    let done = world.odcs.prepare(&request(1, &Compose::tag("t"))).await.unwrap();
    let waits = world.odcs.prepare(&request(2, &Compose::tag("wait"))).await.unwrap();
    let slow = world.odcs.prepare(&request(3, &Compose::tag("slow"))).await.unwrap();
    for id in [&done, &waits, &slow, &ExternalId::new("99@x"), &ExternalId::new("abc")] {
        world.odcs.release(id).await.unwrap();
        world.odcs.release(id).await.unwrap();
    }
    assert!(matches!(world.status(&done).await, Observed::Succeeded(_)));
    assert_eq!(world.status(&waits).await, Observed::Canceled);
    // The service cannot stop what is being made.
    assert_eq!(world.status(&slow).await, Observed::Running);
    let again = world.odcs.prepare(&request(4, &Compose::tag("wait"))).await.unwrap();
    world.service.disturb("DELETE", status(403, "only administrators"));
    world.odcs.release(&again).await.unwrap();
    world.service.disturb("DELETE", status(401, "who?"));
    assert_eq!(world.odcs.release(&again).await.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn tokens_are_sent_read_again_and_never_shown() {
    const TOKEN: &str = "s3cr3t-of-the-token";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "stale\n").unwrap();
    let world = World::with(|config| config.login = OdcsLogin::TokenFile(file.clone())).await;
    world.service.require_token("freshmaker", TOKEN);
    let asked = request(1, &Compose::tag("t"));
    for _ in 0..2 {
        let error = world.odcs.prepare(&asked).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unavailable, "a login that fails says nothing about the build");
        assert!(!format!("{error:?}").contains("stale"));
    }
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    world.odcs.prepare(&asked).await.unwrap();
    assert_eq!(world.service.composes()[0]["owner"], "freshmaker");
    assert!(!format!("{:?}", world.odcs).contains(TOKEN));
    // A file without a token is no reason to ask.
    std::fs::write(&file, "two words\n").unwrap();
    let other = World::with(|config| config.login = OdcsLogin::TokenFile(file.clone())).await;
    let error = other.odcs.prepare(&asked).await.unwrap_err();
    assert!(error.remedy == Remedy::Unavailable && !error.text.contains("two words"), "{error}");
    assert_eq!(other.asked(""), 0);
    let secret = World::with(|config| config.login = OdcsLogin::Token(Secret::new(TOKEN))).await;
    secret.service.require_token("freshmaker", TOKEN);
    secret.odcs.prepare(&asked).await.unwrap();
    assert!(!format!("{:?}", secret.odcs).contains(TOKEN));
}

#[tokio::test]
async fn a_check_tells_what_the_server_wants() {
    let world = World::new().await;
    let about = world.odcs.check().await.unwrap();
    assert_eq!((about.version.as_str(), about.auth_backend.as_str()), ("0.9.2", "noauth"));
    assert_eq!(about.sigkeys, ["", "DEADBEEF"]);
    world.service.require_token("freshmaker", "token");
    let error = world.odcs.check().await.unwrap_err();
    assert!(error.remedy == Remedy::Unsupported && error.text.contains("openidc"), "{error}");
    let mut config = OdcsConfig::new(world.service.url());
    config.login = OdcsLogin::Token(Secret::new("token"));
    assert!(OdcsComposer::new(config.clone()).unwrap().check().await.is_ok());
    assert_eq!(OdcsComposer::new(OdcsConfig::new("odcs")).unwrap_err().remedy, Remedy::Unsupported);
}

#[derive(Debug)]
struct Tickets(Result<Vec<u8>, String>);

impl freshmaker_net::Negotiate for Tickets {
    fn token(&self, service: &str) -> Result<Vec<u8>, String> {
        assert_eq!(service, "HTTP@127.0.0.1");
        self.0.clone()
    }
}

#[tokio::test]
async fn a_ticket_is_shown_with_each_request_and_without_one_nothing_is_sent() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let shown = std::sync::Arc::clone(&seen);
    let server = Server::start(move |request| {
        shown.lock().unwrap().push(request.header("authorization").map(str::to_owned));
        async { Reply::new(200) }
    });
    let server = server.await.unwrap();
    let mut config = OdcsConfig::new(server.url());
    config.login = OdcsLogin::Kerberos;
    let odcs =
        |tickets| OdcsComposer::new(config.clone()).unwrap().with_negotiate(std::sync::Arc::new(Tickets(tickets)));
    // What the server answers is no compose; what matters is what it was shown.
    let _ = odcs(Ok(b"ticket".to_vec())).prepare(&request(1, &Compose::tag("t"))).await;
    assert_eq!(*seen.lock().unwrap(), [Some("Negotiate dGlja2V0".to_owned())]);
    let error = odcs(Err("there is no ticket".into())).prepare(&request(1, &Compose::tag("t"))).await.unwrap_err();
    assert!(error.remedy == Remedy::Unavailable && error.text.contains("there is no ticket"), "{error}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_to_where_a_redirection_leads() {
    let server = Server::start(|_| async { Reply::new(302).with_header("location", "https://elsewhere.example.org/") });
    let server = server.await.unwrap();
    let odcs = OdcsComposer::new(OdcsConfig::new(server.url())).unwrap();
    let error = odcs.prepare(&request(1, &Compose::tag("t"))).await.unwrap_err();
    assert!(error.remedy == Remedy::Unavailable && error.text.contains("elsewhere.example.org"), "{error}");
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_refused_before_anything_is_sent() {
    let world = World::new().await;
    let mut asked = request(1, &Compose::tag("t"));
    asked.parameters.insert("colour", "red");
    let error = world.odcs.prepare(&asked).await.unwrap_err();
    assert!(error.remedy == Remedy::Rejected && error.to_string().contains("\"colour\""), "{error}");
    assert_eq!(world.asked(""), 0);
}

#[tokio::test]
async fn messages_tell_each_change_of_a_state() {
    let world = World::new().await;
    world.odcs.prepare(&request(1, &Compose::tag("t"))).await.unwrap();
    let states: Vec<_> = world
        .service
        .messages()
        .iter()
        .map(|message| {
            assert_eq!(message.topic, "VirtualTopic.eng.odcs.state.changed");
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!(body["event"], "state-changed");
            body["compose"]["state_name"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(states, ["wait", "generating", "done"]);
    assert!(world.service.messages().is_empty());
    world.odcs.prepare(&request(2, &Compose::tag("t"))).await.unwrap();
    assert_eq!(world.service.violations().len(), 1, "equal composes side by side are noticed");
}
