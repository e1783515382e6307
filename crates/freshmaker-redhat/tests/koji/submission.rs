use crate::hub::{Hub, Step, fault, http, value};
use crate::recorded::Exchange;
use freshmaker::artifact::{ArtifactKind, Source};
use freshmaker::backend::{BuildRequest, BuildSystem, Remedy};
use freshmaker::graph::EdgeKind;
use freshmaker::plan::PlanParent;
use freshmaker::rebuild::{AttemptId, BuildMode, ExternalId};
use freshmaker_redhat::koji::xmlrpc::{Response, Value};
use std::time::Duration;

/// The build that was recorded.
pub(crate) fn nginx() -> BuildRequest {
    let mut request = BuildRequest::new(AttemptId::from_random(1), "nginx-container-1.24-5.el9");
    let location = "git://pkgs.example.com/containers/nginx".to_owned();
    request.source = Some(Source { location, revision: Some("deadbeef".to_owned()) });
    request.target = "rhel-9-containers".to_owned();
    request.release = "1700000000".to_owned();
    request.parameters.insert("git_branch", "rhel-9");
    request.parameters.insert("isolated", true);
    request.parameters.insert("arch_override", "x86_64");
    request.parameters.insert("compose_ids", ["1"]);
    let parent = |id: &str, kind, name: &str| PlanParent {
        id: id.into(),
        kinds: [kind].into(),
        digest: None,
        name: Some(name.to_owned()),
    };
    request.parents = vec![
        parent("ubi9-container-9.4-0", EdgeKind::ParentImage, "ubi9-container-9.4-1"),
        parent("go-toolset-container-1-1", EdgeKind::BuilderStage, "go-toolset-container-1-2"),
        parent("compose", EdgeKind::Repository, "2"),
        parent("repository", EdgeKind::Repository, "http://127.0.0.1/a.repo"),
    ];
    request
}

fn options(params: &[Value]) -> std::collections::BTreeMap<String, Value> {
    let Some(Value::Struct(options)) = params.get(2) else { panic!("options") };
    options.clone()
}

#[tokio::test]
async fn an_image_is_submitted_as_it_was_recorded_and_carries_its_marker() {
    let hub = Hub::with_login(|_| value(41)).await;
    let builds = hub.builds();
    let mut request = nginx();
    request.session = builds.session().await.expect("a session");
    assert_eq!(builds.submit(&request).await.expect("taken"), ExternalId::new("41"));

    let sent = hub.seen().pop().expect("a call");
    assert_eq!(sent.session(), Some(("1", 0)));
    let recorded = Exchange::named("033-").request();
    assert_eq!((sent.method(), &sent.request.params[..2]), (recorded.method.as_str(), &recorded.params[..2]));
    let (mut ours, mut theirs) = (options(&sent.request.params), options(&recorded.params));
    let marker = ours.remove("userdata").expect("a marker");
    assert_eq!(marker.get::<&str>(&["fm_attempt"]), Ok(request.attempt.as_str()));
    assert_eq!(marker.get::<i64>(&["fm_build"]), Ok(1));
    assert_eq!(theirs.remove("scratch"), Some(Value::Bool(false)));
    assert_eq!(ours, theirs);
    assert_eq!(sent.headers["content-type"], "text/xml");

    // What was submitted here is not submitted again, and its session serves the next one.
    assert_eq!(builds.submit(&request).await.expect("known"), ExternalId::new("41"));
    request.attempt = AttemptId::from_random(2);
    request.session = builds.session().await.expect("a session");
    builds.submit(&request).await.expect("taken");
    assert_eq!(hub.methods(), ["login", "buildContainer", "buildContainer"]);
    assert_eq!(hub.seen()[2].session(), Some(("1", 1)));
}

#[tokio::test]
async fn options_follow_from_mode_kind_and_release() {
    let hub = Hub::with_login(|_| value(1)).await;
    let builds = hub.builds();
    let mut scratch = nginx();
    scratch.mode = BuildMode::Scratch;
    scratch.parameters.insert("isolated", false);
    scratch.parameters.insert("koji_parent_build", "chosen-1-1");
    let mut plain = nginx();
    plain.attempt = AttemptId::from_random(2);
    plain.artifact = "no-nvr".into();
    plain.parameters.insert("isolated", false);
    let mut package = BuildRequest::new(AttemptId::from_random(3), "bash");
    package.kind = ArtifactKind::Rpm;
    package.source = Some(Source { location: "git+https://src.example.org/bash".to_owned(), revision: None });
    package.target = "f43".to_owned();
    for request in [&scratch, &plain, &package] {
        builds.submit(request).await.expect("taken");
    }
    let sent: Vec<_> = hub.seen().into_iter().filter(|seen| seen.method() != "login").collect();
    let scratch = options(&sent[0].request.params);
    assert_eq!(scratch["scratch"], Value::Bool(true));
    assert_eq!(scratch["arch_override"], Value::from("x86_64"));
    assert_eq!(scratch["koji_parent_build"], Value::from("chosen-1-1"));
    let plain = options(&sent[1].request.params);
    assert!(["scratch", "arch_override", "release"].iter().all(|name| !plain.contains_key(*name)), "{plain:?}");
    assert_eq!((sent[2].method(), &sent[2].request.params[0]), ("build", &"git+https://src.example.org/bash".into()));
    let marker = options(&sent[2].request.params).remove("custom_user_metadata").expect("a marker");
    assert_eq!(marker.get::<&str>(&["fm_attempt"]), Ok(package.attempt.as_str()));
}

#[tokio::test]
async fn a_request_that_cannot_be_made_is_rejected_and_never_sent() {
    let hub = Hub::with_login(|_| value(1)).await;
    let builds = hub.builds();
    let changed = |change: &dyn Fn(&mut BuildRequest)| {
        let mut request = nginx();
        change(&mut request);
        request
    };
    for (request, words) in [
        (changed(&|request| request.source = None), "it has no source"),
        (changed(&|request| request.target.clear()), "it has no target"),
        (changed(&|request| request.parameters.insert("isolatd", true)), "the parameter `isolatd` is none of"),
        (changed(&|request| request.parameters.insert("isolated", "yes")), "`isolated` is not a flag"),
        (changed(&|request| request.parameters.insert("compose_ids", ["x"])), "`compose_ids` is not a set of numbers"),
        (changed(&|request| request.parents[2].name = Some("?".to_owned())), "the repository compose is `?`"),
        (changed(&|request| request.target = "a\0b".to_owned()), "U+0000 cannot be written"),
    ] {
        let error = builds.submit(&request).await.expect_err(words);
        assert_eq!(error.remedy, Remedy::Rejected, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(!hub.methods().contains(&"buildContainer".to_owned()));
}

/// What a submission comes to if the hub does this, and how many calls it took after the login.
async fn outcome(step: impl Fn() -> Step + Send + Sync + 'static) -> (Remedy, String, usize) {
    let hub = Hub::with_login(move |_| step()).await;
    let mut config = hub.config();
    config.http.timeout = Duration::from_millis(300);
    let builds = freshmaker_redhat::koji::KojiBuildSystem::new(config).expect("a client");
    let mut request = nginx();
    request.session = builds.session().await.expect("a session");
    let error = builds.submit(&request).await.expect_err("no task");
    let calls = hub.seen().len();
    // Only a clear answer leaves the session usable; then the next submission gets it without a
    // login.
    let next = builds.session().await.expect("a session").expect("sessions");
    let clear = matches!(error.remedy, Remedy::Rejected | Remedy::NotNow);
    assert_eq!(next.as_str() == "1", clear, "{error}");
    for secret in ["secret-key", "hidden-password"] {
        assert!(!format!("{error:?} {builds:?}").contains(secret), "{error:?}");
    }
    (error.remedy, error.to_string(), calls - 1)
}

#[tokio::test]
async fn faults_of_a_submission_are_sorted_by_whether_it_may_have_been_carried_out() {
    for (code, text, remedy) in [
        (1007, "session \"2\" has expired", Remedy::Unclear),
        (1002, "Invalid session or bad credentials", Remedy::Unclear),
        (1008, "145 > 0 (session 2)", Remedy::Unclear),
        (1009, "unable to retry call 145 (method buildContainer) for session 2", Remedy::Unclear),
        (1, "Traceback (most recent call last):\n  File x\nOperationalError: server closed", Remedy::Unclear),
        (1014, "database outage", Remedy::Unavailable),
        (1004, "buildContainer is not allowed", Remedy::Rejected),
        (1019, "Invalid type for id: disabled", Remedy::Rejected),
        (1000, "{'a': 1} is not valid under any of the given schemas", Remedy::Rejected),
        (1000, "No such build target: x", Remedy::Rejected),
        (1000, "No such channel: container-binary", Remedy::NotNow),
        (1000, "channel container-binary is disabled", Remedy::NotNow),
        (1004, "policy violation (channel)", Remedy::NotNow),
    ] {
        let (found, sentence, calls) = outcome(move || fault(code, text)).await;
        assert_eq!((found, calls), (remedy, 1), "{sentence}");
        assert!(sentence.contains("buildContainer") && sentence.contains(&code.to_string()), "{sentence}");
    }
}

#[tokio::test]
async fn answers_that_are_not_the_hubs_leave_a_submission_unclear() {
    let page = || http(200, "text/html; charset=UTF-8", b"<html><body>Hub is down for repairs</body></html>");
    let gone = |status, kind| move || Step::Send(http(status, kind, b"x"));
    let (remedy, text, calls) = outcome(move || Step::Send(page())).await;
    assert_eq!((remedy, calls), (Remedy::Unclear, 1), "{text}");
    assert!(!text.contains("repairs"), "{text}");
    for (status, remedy) in [
        (500, Remedy::Unclear),
        (502, Remedy::Unclear),
        (503, Remedy::Unclear),
        (504, Remedy::Unclear),
        (408, Remedy::Unclear),
        (302, Remedy::Unavailable),
        (403, Remedy::Unavailable),
        (429, Remedy::Unavailable),
        (400, Remedy::Rejected),
        (405, Remedy::Rejected),
    ] {
        let (found, text, calls) = outcome(gone(status, "text/plain")).await;
        assert_eq!((found, calls), (remedy, 1), "{text}");
        assert!(text.contains(&status.to_string()), "{text}");
    }
    let nonsense = || Step::Send(http(200, "text/xml", b"<?xml version='1.0'?>\n<methodResponse>\n<params>\n<par"));
    let (remedy, text, _) = outcome(nonsense).await;
    assert_eq!(remedy, Remedy::Unclear, "{text}");
    assert!(text.contains("at byte"), "{text}");
    let (remedy, text, _) = outcome(|| value("forty-one")).await;
    assert_eq!(remedy, Remedy::Unclear, "{text}");
}

#[tokio::test]
async fn a_submission_that_is_never_answered_ends_and_is_unclear() {
    let (remedy, text, calls) = outcome(|| Step::Stall).await;
    assert_eq!((remedy, calls), (Remedy::Unclear, 1), "{text}");
}

#[tokio::test]
async fn a_line_cut_after_any_byte_of_the_answer_leaves_a_submission_unclear() {
    let whole = http(200, "text/xml", Response::Value(41.into()).encode().expect("encodes").as_bytes());
    let length = whole.len();
    let hub = Hub::with_login({
        let cut = std::sync::Mutex::new(0);
        move |_| {
            let mut cut = cut.lock().expect("no panic");
            *cut += 1;
            Step::Cut(whole.clone(), *cut - 1)
        }
    })
    .await;
    let builds = hub.builds();
    for end in 0..=length {
        let mut request = nginx();
        request.attempt = AttemptId::from_random(end as u128);
        let outcome = builds.submit(&request).await;
        match outcome {
            Ok(id) => assert_eq!((end, id.as_str()), (length, "41")),
            Err(error) => assert_eq!((error.remedy, end < length), (Remedy::Unclear, true), "{end}: {error}"),
        }
    }
    assert_eq!(hub.methods().iter().filter(|method| *method == "buildContainer").count(), length + 1);
}

#[tokio::test]
async fn without_a_hub_nothing_is_sent() {
    let hub = Hub::with_login(|_| value(1)).await;
    let mut config = hub.config();
    let builds = hub.builds();
    // A port on which nobody listens any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    config.http.url = format!("http://{closed}/kojihub");
    let nobody = freshmaker_redhat::koji::KojiBuildSystem::new(config).expect("a client");
    assert_eq!(nobody.session().await.expect_err("refused").remedy, Remedy::Unavailable);
    assert_eq!(nobody.submit(&nginx()).await.expect_err("refused").remedy, Remedy::Unavailable);
    // A session that is not open here: somebody else's, or one that was fenced off.
    let mut request = nginx();
    request.session = builds.session().await.expect("a session");
    builds.fence(request.session.as_ref().expect("a session")).await.expect("closed");
    assert_eq!(builds.submit(&request).await.expect_err("closed").remedy, Remedy::Unavailable);
    assert!(!hub.methods().contains(&"buildContainer".to_owned()));
}
