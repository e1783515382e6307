//! The contract of build systems, and what is promised beyond.

use crate::world::{LONG_AGO, World, client, of, perl, request};
use async_trait::async_trait;
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{BuildRequest, BuildSystem, Remedy};
use freshmaker::rebuild::{BuildMode, ExternalId, Observed};
use freshmaker_net::Secret;
use freshmaker_redhat::fakes::mbs::{Course, FakeModule, Fault};
use freshmaker_redhat::mbs::{MbsConfig, MbsLogin};
use freshmaker_redhat::messages::mbs::ModuleState;
use freshmaker_testing::conformance::{BuildWorld, Ending, build_system};
use freshmaker_testing::http::Reply;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

struct Modules<'a> {
    world: &'a World,
    requests: AtomicU32,
    new_commit: bool,
}

#[async_trait]
impl BuildWorld for Modules<'_> {
    fn request(&self, ending: Ending) -> BuildRequest {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let name = format!("module{number}");
        self.world.service.declare(FakeModule::new(&name, "5.26").in_contexts(2));
        let course = match ending {
            Ending::Succeeds => Course::slow(Duration::from_secs(5)),
            Ending::Fails => Course::failing("Some components failed to build"),
            Ending::Hangs => Course::hanging(),
        };
        self.world.service.script(&format!("{name}:5.26"), course);
        let mut request = of(&name, number.into(), "c0ffee");
        request.parameters.insert("new_commit", self.new_commit);
        request
    }

    fn unknown(&self) -> ExternalId {
        ExternalId::new("4711@attempt")
    }

    /// The second submission is refused, and the lookup finds the first.
    fn knows_again(&self) -> bool {
        false
    }

    async fn settle(&self) {
        self.world.pass(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn the_contract_of_build_systems_holds() {
    for new_commit in [false, true] {
        let world = World::new().await;
        build_system(&world.mbs, &Modules { world: &world, requests: AtomicU32::new(1), new_commit }).await;
    }
}

#[tokio::test]
async fn exactly_what_was_asked_for_is_submitted() {
    let world = World::new().await;
    world.service.declare(perl());
    let mut one = request(1, "c0ffee");
    one.parameters.insert("rebuild_strategy", "only-changed");
    let id = world.mbs.submit(&one).await.unwrap();
    assert_eq!(id.as_str(), format!("1@{}", one.attempt));
    let scmurl = "https://src.example.com/modules/perl?#c0ffee";
    let plain = json!({ "scmurl": scmurl, "branch": "5.26", "rebuild_strategy": "only-changed" });
    let mut scratch = request(2, "c0ffee");
    scratch.mode = BuildMode::Scratch;
    // What is thrown away needs no commit.
    scratch.parameters.insert("new_commit", true);
    world.mbs.submit(&scratch).await.unwrap();
    let thrown = json!({ "scmurl": scmurl, "branch": "5.26", "scratch": true });
    let mut new = request(3, "c0ffee");
    new.parameters.insert("new_commit", true);
    world.mbs.submit(&new).await.unwrap();
    let fresh = json!({ "scmurl": "https://src.example.com/modules/perl?#new1", "branch": "5.26" });
    assert_eq!(world.service.submitted(), [plain, thrown, fresh]);
    let Observed::Succeeded(output) = world.status(&id).await else { panic!("it is ready") };
    assert_eq!(output.name, "perl:5.26:20260000000001:c0");
}

/// Whatever becomes of the answer, there is one build, and it is found.
#[tokio::test]
async fn a_lost_answer_makes_no_second_build() {
    for new_commit in [false, true] {
        for fault in [
            Fault::Lost,
            Fault::Reply(Reply::new(500).with_body("{}")),
            Fault::Reply(Reply::new(502)),
            Fault::Reply(Reply::new(201).with_body("[{}]")),
            Fault::Reply(Reply::new(201).with_body("[]")),
            Fault::Reply(Reply::nothing()),
        ] {
            let world = World::new().await;
            world.service.add(perl(), "c0ffee");
            let mut request = request(1, "decade");
            request.parameters.insert("new_commit", new_commit);
            let took_effect = fault == Fault::Lost;
            world.service.disturb("POST", fault);
            assert_eq!(world.mbs.submit(&request).await.unwrap_err().remedy, Remedy::Unclear);
            let found = world.found(&request).await.unwrap();
            assert_eq!(found.len(), usize::from(took_effect));
            match found.into_iter().next() {
                Some(found) => assert_eq!(found.external.as_str(), format!("2@{}", request.attempt)),
                // Nothing was started: it is submitted again, from the same commit.
                None => drop(world.mbs.submit(&request).await.unwrap()),
            }
            assert_eq!(world.service.builds().len(), 2);
            let asks = usize::from(new_commit);
            assert_eq!(world.commits.commits.lock().unwrap().len(), asks, "one commit for one attempt");
        }
    }
}

/// If it were submitted again without a lookup, MBS would refuse, and the build is still found.
#[tokio::test]
async fn a_repeated_submission_is_refused_and_the_build_adopted() {
    let world = World::new().await;
    world.service.declare(perl());
    world.service.script("perl:5.26", Course::hanging());
    let first = world.mbs.submit(&request(1, "c0ffee")).await.unwrap();
    let again = request(2, "c0ffee");
    let error = world.mbs.submit(&again).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Conflict, "{error}");
    let found = world.found(&again).await.unwrap();
    assert_eq!(found[0].external.as_str(), format!("1@{}", again.attempt));
    assert_ne!(found[0].external, first);
    assert_eq!(world.service.builds().len(), 1);
}

#[tokio::test]
async fn a_commit_that_was_built_earlier_is_not_taken_for_a_new_build() {
    for owner in [Some("freshmaker"), Some("maintainer"), None] {
        let world = World::with(|config| config.owner = owner.map(str::to_owned)).await;
        world.service.add(perl(), "c0ffee");
        world.pass(Duration::from_secs(3600));
        let request = request(1, "c0ffee");
        let error = world.mbs.submit(&request).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected);
        assert!(error.text.contains("only a new commit is built"), "{error}");
        assert_eq!(error.text.contains("as 1 (perl:5.26:20260000000001:c0)"), owner != Some("freshmaker"), "{error}");
        assert_eq!(world.found(&request).await.unwrap(), [], "an old build is not ours");
    }
}

/// MBS resumes a build that had failed, under its number.
#[tokio::test]
async fn a_failed_build_is_resumed() {
    let world = World::new().await;
    world.service.declare(perl());
    world.service.script("perl:5.26", Course::failing("Some components failed to build"));
    let first = world.mbs.submit(&request(1, "c0ffee")).await.unwrap();
    let Observed::Failed(failure) = world.status(&first).await else { panic!("it failed") };
    assert_eq!(failure.text, "module build 1 (perl:5.26:20260000000001:c0) failed: Some components failed to build");
    world.service.script("perl:5.26", Course::default());
    let second = world.mbs.submit(&request(2, "c0ffee")).await.unwrap();
    assert_ne!(first, second);
    assert!(matches!(world.status(&second).await, Observed::Succeeded(_)));
    assert_eq!(world.service.builds().len(), 1);
}

/// One context that fails is not the whole, until all have ended.
#[tokio::test]
async fn an_attempt_ends_with_its_last_build() {
    let world = World::new().await;
    world.service.declare(perl().in_contexts(3));
    world.service.script("perl:5.26", Course::hanging());
    let id = world.mbs.submit(&request(1, "c0ffee")).await.unwrap();
    assert!(id.as_str().starts_with("1+2+3@"), "{id}");
    world.mbs.cancel(&ExternalId::new("2@x")).await.unwrap();
    assert_eq!(world.status(&id).await, Observed::Running);
    world.mbs.cancel(&id).await.unwrap();
    assert_eq!(world.status(&id).await, Observed::Canceled);
    assert!(world.service.builds().iter().all(|(_, state, _)| *state == ModuleState::Failed));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let world = World::new().await;
    type Change = fn(&mut BuildRequest);
    let cases: [(Change, &str); 7] = [
        (|it| it.kind = ArtifactKind::Image, "MBS builds modules only"),
        (|it| it.source = None, "it has no source"),
        (|it| it.source.as_mut().unwrap().revision = None, "its source has no commit"),
        (|it| it.target = String::new(), "it has no target, which is the branch"),
        (|it| it.parameters.insert("arches", "x86_64"), "the parameter `arches` is none of new_commit"),
        (|it| it.parameters.insert("new_commit", "yes"), "the parameter `new_commit` is not a flag"),
        (|it| it.parameters.insert("rebuild_strategy", true), "the parameter `rebuild_strategy` is not a text"),
    ];
    for (change, text) in cases {
        let mut request = request(1, "c0ffee");
        change(&mut request);
        let error = world.mbs.submit(&request).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected);
        assert!(error.to_string().starts_with("mbs: module perl:5.26: ") && error.text.contains(text), "{error}");
        assert_eq!(world.mbs.find(&request, LONG_AGO).await.unwrap_err(), error);
    }
    let mut request = request(1, "c0ffee");
    request.parameters.insert("new_commit", true);
    let error = client(&world.service.url(), |_| {}).submit(&request).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unsupported);
    assert_eq!(world.service.asked(), [] as [String; 0]);
}

#[tokio::test]
async fn refusals_are_told() {
    let json = |status, text: &str| Reply::new(status).with_body(json!({ "message": text }).to_string());
    for (reply, remedy, text) in [
        (json(400, "Missing branch"), Remedy::Rejected, "status 400: Missing branch"),
        (json(401, "No 'authorization' header found."), Remedy::Unavailable, "status 401: No"),
        (json(403, "freshmaker is not in any of"), Remedy::NotNow, "status 403: freshmaker is not in any of"),
        (json(422, "The modulemd is not valid"), Remedy::Rejected, "status 422: The modulemd is not valid"),
        (Reply::new(404), Remedy::Unavailable, "status 404, not in the format of the service"),
        (Reply::new(429).with_header("retry-after", "7"), Remedy::NotNow, "(Retry-After: 7)"),
        (Reply::new(503), Remedy::Unavailable, "status 503, not in the format of the service"),
        (Reply::new(302).with_header("location", "/login"), Remedy::Unavailable, "redirected to /login"),
        (Reply::new(200).with_body("<html>"), Remedy::Unclear, "an answer of 6 bytes that is not JSON"),
    ] {
        let world = World::new().await;
        world.service.declare(perl());
        world.service.disturb("POST", Fault::Reply(reply));
        let error = world.mbs.submit(&request(1, "c0ffee")).await.unwrap_err();
        assert_eq!(error.remedy, remedy, "{error}");
        assert_eq!(error.place, "mbs: POST /module-build-service/2/module-builds/");
        assert!(error.text.contains(text), "{error}");
        assert_eq!(world.service.builds().len(), 0);
    }
    let world = World::new().await;
    let error = world.mbs.submit(&request(1, "c0ffee")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Rejected, "a module that is not there: {error}");
    let nobody = client("http://127.0.0.1:1", |_| {});
    assert_eq!(nobody.submit(&request(1, "c0ffee")).await.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn states_of_many_are_asked_and_one_that_fails_hides_none() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let name = format!("module{number}");
        world.service.declare(FakeModule::new(&name, "5.26"));
        ids.push(world.mbs.submit(&of(&name, number, "c0ffee")).await.unwrap());
    }
    ids.extend(["", "x@y", "1", "4711@y", "1+x@y"].map(ExternalId::new));
    world.service.disturb("GET", Fault::Reply(Reply::new(500)));
    let before = world.service.asked().len();
    let found = world.mbs.status(&ids).await.unwrap();
    // One request for each build, and none for ids that cannot be.
    assert_eq!(world.service.asked().len() - before, 21);
    assert_eq!(found.len(), 24, "one is unchanged");
    let vanished: Vec<_> = found.iter().filter(|found| found.observed == Observed::Vanished).collect();
    assert_eq!(vanished.len(), 5);
    world.service.disturb("GET", Fault::Reply(Reply::new(500)));
    assert_eq!(world.mbs.status(&ids[..1]).await.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn logins_are_checked_and_tokens_read_anew() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let world = World::with(|config| config.login = MbsLogin::TokenFile(file.clone())).await;
    world.service.require_token("new");
    assert_eq!(world.mbs.check().await.unwrap(), "3.9.2");
    assert_eq!(world.mbs.check_login().await.unwrap_err().remedy, Remedy::Unavailable);
    std::fs::write(&file, "new\n").unwrap();
    world.mbs.check_login().await.unwrap();
    assert_eq!(world.service.submitted(), [] as [serde_json::Value; 0]);
    let without = client(&world.service.url(), |config| config.login = MbsLogin::None);
    let error = without.check().await.unwrap_err();
    assert_eq!(error.text, "the service requires a login by oidc, and another one is configured");
    let secret = client(&world.service.url(), |config| config.login = MbsLogin::Token(Secret::new("s3cret")));
    assert!(!format!("{secret:?}").contains("s3cret"));
}

#[test]
fn a_wrong_configuration_is_refused() {
    type Change = fn(&mut MbsConfig);
    let cases: [(Change, &str); 3] = [
        (|config| config.http.url = "mbs".to_owned(), "not a URL"),
        (|config| config.poll = Duration::ZERO, "`poll`"),
        (|config| config.login = MbsLogin::TokenFile("/nonexistent/token".into()), "/nonexistent/token"),
    ];
    for (change, text) in cases {
        let mut config = MbsConfig::new("https://mbs.example.com/");
        config.check_offline().unwrap();
        change(&mut config);
        let error = config.check_offline().unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported);
        assert!(error.to_string().contains(text), "{error}");
    }
}
