//! What the fake promises to tests: its clock, its troubles, its ledger.

use crate::line::{Session, call, named, send, stalls};
use crate::world::{Hands, SECOND, hub};
use freshmaker_redhat::fakes::koji::{Dialect, Fate, Hub, Trouble, Violation};
use freshmaker_redhat::koji::xmlrpc::Value;
use std::sync::Arc;
use tokio::time::timeout;

const NGINX: &str = "git://src.example.com/containers/nginx";

fn container(marker: &str) -> Vec<Value> {
    let userdata = Value::record([("fm_attempt", marker.into())]);
    let options = Value::record([("userdata", userdata), ("release", format!("1.{marker}").into())]);
    vec![format!("{NGINX}#abc").into(), "rhel-9-containers".into(), options]
}

async fn started() -> (Arc<Hands>, Hub, Session) {
    let clock = Hands::new();
    let hub = hub(&clock).await;
    let session = Session::login(&hub, "freshmaker", "freshpw").await;
    (clock, hub, session)
}

async fn state(hub: &Hub, id: i64) -> Option<i64> {
    let info = call(hub, "getTaskInfo", vec![id.into()]).await.unwrap().value();
    info.get(&["state"]).ok()
}

#[tokio::test]
async fn tasks_live_by_the_clock() {
    let (clock, hub, mut session) = started().await;
    let fate = Fate::succeeds().queued(SECOND).taking(SECOND * 2).with_rpm("aarch64", "zlib-1.2.11-40.el9");
    hub.next(NGINX, fate.with_digest("sha256:00"));
    assert_eq!(session.call(&hub, "buildContainer", container("a")).await.unwrap().value(), Value::Int(1));
    assert_eq!(state(&hub, 1).await, Some(0));
    clock.forward(SECOND);
    assert_eq!(state(&hub, 1).await, Some(1));
    assert_eq!(hub.live_tasks(), [1]);
    let children = call(&hub, "getTaskChildren", vec![1.into()]).await.unwrap().value();
    let Value::Array(children) = children else { panic!() };
    assert_eq!(children.len(), 2);
    let child = children[0].get::<i64>(&["id"]).unwrap();
    let log = call(&hub, "downloadTaskOutput", vec![child.into(), "aarch64.log".into()]).await.unwrap().value();
    assert_eq!(log, Value::from("YnVpbGRpbmcgZm9yIGFhcmNoNjQK"));
    clock.forward(SECOND * 2);
    assert_eq!((state(&hub, 1).await, state(&hub, child).await), (Some(2), Some(2)));
    assert_eq!(hub.closed_tasks(), [1]);

    let build = call(&hub, "getBuild", vec!["nginx-container-1.0-1.a".into()]).await.unwrap().value();
    assert_eq!(build.get::<i64>(&["task_id"]).unwrap(), 1);
    let archives = call(&hub, "listArchives", vec![1.into(), named([("type", "image".into())])]).await.unwrap().value();
    let Value::Array(archives) = archives else { panic!() };
    let arches: Vec<&str> = archives.iter().map(|archive| archive.get(&["arch"]).unwrap()).collect();
    assert_eq!(arches, ["aarch64", "x86_64"]);
    let image = archives[0].get::<i64>(&["id"]).unwrap();
    let rpms = call(&hub, "listRPMs", vec![named([("imageID", image.into())])]).await.unwrap().value();
    let Value::Array(rpms) = rpms else { panic!() };
    assert_eq!(rpms[0].get::<&str>(&["nvr"]).unwrap(), "zlib-1.2.11-40.el9");
    let path = "GET /kojifiles/packages/nginx-container/1.0/1.a/metadata.json HTTP/1.1";
    let metadata = send(&hub, path, "", b"").await.unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.body).unwrap();
    assert_eq!(metadata["output"][0]["components"][0]["name"], "zlib");

    let steps: Vec<_> = hub.messages(Dialect::Brew).into_iter().filter(|it| it.id.starts_with("koji-1-")).collect();
    let topics: Vec<_> = steps.iter().map(|it| it.topic.rsplit('.').next().unwrap()).collect();
    assert_eq!(topics, ["free", "assigned", "open", "closed"]);
    let body: serde_json::Value = serde_json::from_slice(&steps[3].body).unwrap();
    assert_eq!((&body["old"], &body["new"], &body["info"]["state"]), (&"OPEN".into(), &"CLOSED".into(), &2.into()));
    assert!(hub.messages(Dialect::Brew).is_empty());
}

#[tokio::test]
async fn tasks_end_in_every_way() {
    let (clock, hub, mut session) = started().await;
    for fate in [Fate::hangs(), Fate::vanishes(), Fate::fails(1012, "no buildroot")] {
        hub.next(NGINX, fate);
    }
    for marker in ["a", "b", "c"] {
        session.call(&hub, "buildContainer", container(marker)).await.unwrap().value();
    }
    clock.forward(SECOND * 100_000);
    let tasks = call(&hub, "listTasks", vec![]).await.unwrap().value();
    let Value::Array(tasks) = tasks else { panic!() };
    let state = |marker: &str| {
        let has = |task: &&Value| format!("{task:?}").contains(&format!(">1.{marker}<"));
        tasks.iter().find(has).map(|task| task.get::<i64>(&["state"]).unwrap())
    };
    assert_eq!((state("a"), state("b"), state("c")), (Some(1), None, Some(5)));
    let fault = call(&hub, "getTaskResult", vec![1.into()]).await.unwrap().fault();
    assert_eq!(fault, (1000, "Task 1 is not finished".to_owned()));
    session.call(&hub, "cancelTask", vec![1.into()]).await.unwrap().value();
    assert!(hub.live_tasks().is_empty());
    // A release is taken once, as the database has it.
    hub.script(|_| None);
    session.call(&hub, "buildContainer", container("d")).await.unwrap().value();
    session.call(&hub, "buildContainer", container("d")).await.unwrap().value();
    let last = hub.ledger().entries.last().unwrap().task;
    let (code, text) = call(&hub, "getTaskResult", vec![last.into()]).await.unwrap().fault();
    assert_eq!((code, text.as_str()), (1005, "build already exists: nginx-container-1.0-1.d"));
}

#[tokio::test]
async fn a_fence_is_for_the_own_sessions() {
    let (_clock, hub, mut session) = started().await;
    let mut other = Session::login(&hub, "freshmaker", "freshpw").await;
    let mut stranger = Session::login(&hub, "osbs", "osbspw").await;
    let refused = (1000, "query returned no rows".to_owned());
    assert_eq!(stranger.call(&hub, "logout", vec![session.id.into()]).await.unwrap().fault(), refused);
    assert_eq!(other.call(&hub, "logout", vec![777.into()]).await.unwrap().fault(), refused);
    for _ in 0..2 {
        let fence = named([("session_id", session.id.into())]);
        assert_eq!(other.call(&hub, "logout", vec![fence]).await.unwrap().value(), Value::Nil);
    }
    let (code, _) = session.call(&hub, "buildContainer", container("a")).await.unwrap().fault();
    assert_eq!(code, 1002);
    assert!(hub.ledger().entries.is_empty());
    assert_eq!(hub.open_sessions(), [other.id, stranger.id]);
}

#[tokio::test]
async fn only_what_changed_something_uses_up_its_number() {
    let (_clock, hub, mut session) = started().await;
    session.call(&hub, "getLoggedInUser", vec![]).await.unwrap().value();
    session.again(&hub, "getLoggedInUser", vec![]).await.unwrap().value();
    let read = Value::record([("methodName", "getAPIVersion".into()), ("params", Value::Array(vec![]))]);
    let write = Value::record([("methodName", "buildContainer".into()), ("params", Value::Array(container("a")))]);
    session.call(&hub, "multiCall", vec![Value::Array(vec![read.clone()])]).await.unwrap().value();
    session.again(&hub, "multiCall", vec![Value::Array(vec![read, write])]).await.unwrap().value();
    assert_eq!(session.again(&hub, "getAPIVersion", vec![]).await.unwrap().fault().0, 1009);
    // A call that failed changed nothing.
    assert_eq!(session.call(&hub, "cancelTask", vec![99.into()]).await.unwrap().fault().0, 1000);
    assert_eq!(session.again(&hub, "cancelTask", vec![1.into()]).await.unwrap().value(), Value::Nil);
}

/// A trouble at a submission: whether a task was made, and what came back.
async fn with_trouble(trouble: Trouble) -> (usize, String) {
    let (_clock, hub, mut session) = started().await;
    hub.trouble("buildContainer", 0, trouble);
    let got = session.call(&hub, "buildContainer", container("a")).await;
    let made = hub.ledger().entries.len();
    // The next call is answered.
    hub.calm();
    call(&hub, "getAPIVersion", vec![]).await.unwrap().value();
    let got = match got {
        None => "nothing".to_owned(),
        Some(got) if got.head.contains("text/html") => format!("{} page", got.status),
        Some(got) => match freshmaker_redhat::koji::xmlrpc::Response::parse(&got.body) {
            Ok(response) => format!("{} {response:?}", got.status),
            Err(_) => format!("{} {} bytes", got.status, got.body.len()),
        },
    };
    (made, got)
}

#[tokio::test]
async fn troubles_take_effect_or_not() {
    let fault = |code: i64, text: &str| {
        format!("200 {:?}", {
            let text = text.to_owned();
            freshmaker_redhat::koji::xmlrpc::Response::Fault { code, text }
        })
    };
    for (trouble, made, got) in [
        (Trouble::RequestLost, 0, "nothing".to_owned()),
        (Trouble::AnswerLost, 1, "nothing".to_owned()),
        (Trouble::AnswerCut(15), 1, "nothing".to_owned()),
        (Trouble::Truncated(60), 1, "200 60 bytes".to_owned()),
        (Trouble::Html, 0, "200 page".to_owned()),
        (Trouble::Status(503), 0, "503 page".to_owned()),
        (Trouble::StatusAfter(502), 1, "502 page".to_owned()),
        (Trouble::Fault(1004, "no".to_owned()), 0, fault(1004, "no")),
        (Trouble::Offline, 0, fault(1014, "database outage")),
        (Trouble::Expired, 0, fault(1007, "session \"1\" has expired")),
        (Trouble::Twice, 1, fault(1009, "unable to retry call 1 (method buildContainer) for session 1")),
    ] {
        assert_eq!(with_trouble(trouble.clone()).await, (made, got), "{trouble:?}");
    }
    let (_clock, hub, _session) = started().await;
    hub.trouble("getAPIVersion", 0, Trouble::Stalls);
    assert!(stalls(&hub, "getAPIVersion").await);
}

#[tokio::test]
async fn troubles_come_at_the_call_that_was_named() {
    let (_clock, hub, _session) = started().await;
    hub.trouble("getAPIVersion", 2, Trouble::Html);
    hub.trouble_next(Trouble::Status(500));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let got = call(&hub, "getAPIVersion", vec![]).await.unwrap();
        statuses.push((got.status, got.head.contains("text/html")));
    }
    assert_eq!(statuses, [(500, true), (200, false), (200, true), (200, false)]);
    hub.sabotage(|method, count| (method == "hello" && count == 2).then_some(Trouble::Html));
    assert!(call(&hub, "hello", vec![]).await.unwrap().head.contains("text/xml"));
    assert!(call(&hub, "hello", vec![]).await.unwrap().head.contains("text/html"));
    assert_eq!(hub.calls("hello"), 2);
}

/// A submission under way in the background, from when the hub has it.
async fn under_way(hub: &Arc<Hub>, session: &Session) -> tokio::task::JoinHandle<Option<crate::line::Got>> {
    let (hub, mut session) = (hub.clone(), session.clone());
    let before = hub.calls("buildContainer");
    let asked = hub.clone();
    let task = tokio::spawn(async move { session.call(&hub, "buildContainer", container("a")).await });
    timeout(crate::line::AT_ALL, async {
        while asked.calls("buildContainer") == before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the request arrives");
    task
}

#[tokio::test]
async fn a_late_request_meets_the_fence_and_late_work_escapes_it() {
    for (trouble, made) in [(Trouble::LateRequest(SECOND * 30), 0), (Trouble::LateWork(SECOND * 30), 1)] {
        let (clock, hub, session) = started().await;
        let hub = Arc::new(hub);
        let mut other = Session::login(&hub, "freshmaker", "freshpw").await;
        hub.trouble("buildContainer", 0, trouble.clone());
        let task = under_way(&hub, &session).await;
        other.call(&hub, "logout", vec![session.id.into()]).await.unwrap().value();
        assert!(hub.ledger().entries.is_empty(), "{trouble:?}");
        clock.forward(SECOND * 30);
        let got = timeout(crate::line::AT_ALL, task).await.unwrap().unwrap().unwrap();
        assert_eq!(hub.ledger().entries.len(), made, "{trouble:?} {got:?}");
        assert!(hub.ledger().violations().is_empty());
    }
}

#[tokio::test]
async fn late_work_is_done_for_a_client_that_is_gone_but_not_by_a_hub_that_is() {
    let (clock, hub, session) = started().await;
    let hub = Arc::new(hub);
    hub.trouble("buildContainer", 0, Trouble::LateWork(SECOND));
    under_way(&hub, &session).await.abort();
    clock.forward(SECOND);
    timeout(crate::line::AT_ALL, async {
        while hub.ledger().entries.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is done without the client");

    hub.trouble("buildContainer", 0, Trouble::LateRequest(SECOND));
    let mut session = session;
    session.callnum = 10;
    let task = under_way(&hub, &session).await;
    task.abort();
    drop(task.await);
    let mut hub = Arc::into_inner(hub).unwrap();
    hub.stop();
    assert!(call(&hub, "getAPIVersion", vec![]).await.is_none());
    clock.forward(SECOND);
    hub.restart().await.unwrap();
    session.callnum = 20;
    session.call(&hub, "getLoggedInUser", vec![]).await.unwrap().value();
    assert_eq!(hub.ledger().entries.len(), 1);
}

#[tokio::test]
async fn the_ledger_finds_what_must_not_happen() {
    let (_clock, hub, mut session) = started().await;
    hub.script(|_| Some(Fate::hangs()));
    for marker in ["a", "a", "b"] {
        session.call(&hub, "buildContainer", container(marker)).await.unwrap().value();
    }
    let ids: Vec<i64> = hub.ledger().entries.iter().map(|entry| entry.task).collect();
    let alive = |tasks: &[i64]| Violation::TwoAlive { artifact: NGINX.to_owned(), tasks: tasks.to_vec() };
    let violations = hub.ledger().violations();
    let twice = Violation::TwoTasks { marker: "a".to_owned(), tasks: ids[..2].to_vec() };
    assert_eq!(violations, [alive(&ids[..2]), alive(&ids), twice]);
    let mut scratch = container("c");
    let Some(Value::Struct(options)) = scratch.get_mut(2) else { panic!("{scratch:?}") };
    options.insert("scratch".to_owned(), true.into());
    session.call(&hub, "buildContainer", scratch).await.unwrap().value();
    assert_eq!(hub.ledger().violations(), violations, "a scratch build beside the others is fine");
    let entry = &hub.ledger().entries[2];
    assert_eq!((entry.owner.as_str(), entry.session), ("freshmaker", Some(session.id)));
    assert_eq!((entry.marker.as_deref(), entry.release.as_deref()), (Some("b"), Some("1.b")));
}

#[tokio::test]
async fn a_scratch_build_may_be_beside_a_real_one() {
    let (_clock, hub, mut session) = started().await;
    hub.script(|_| Some(Fate::hangs()));
    let mut scratch = container("b");
    let Value::Struct(options) = &mut scratch[2] else { panic!() };
    options.insert("scratch".to_owned(), true.into());
    session.call(&hub, "buildContainer", container("a")).await.unwrap().value();
    session.call(&hub, "buildContainer", scratch.clone()).await.unwrap().value();
    let entries = hub.ledger().entries;
    assert_eq!(entries.iter().map(|entry| entry.scratch).collect::<Vec<_>>(), [false, true]);
    assert_eq!(hub.ledger().violations(), []);
    scratch[2] = Value::record([("scratch", true.into())]);
    session.call(&hub, "buildContainer", scratch).await.unwrap().value();
    let tasks = vec![entries[1].task, hub.ledger().entries[2].task];
    assert_eq!(hub.ledger().violations(), [Violation::TwoAlive { artifact: NGINX.to_owned(), tasks }]);
}

#[tokio::test]
async fn trouble_that_never_came_fails_the_test() {
    let plans: [fn(&Hub); 4] = [
        |_| {},
        |hub| hub.trouble("login", 7, Trouble::Html),
        |hub| hub.trouble_next(Trouble::Html),
        |hub| hub.trouble_within("getTaskInfo", 1000, "no"),
    ];
    for (number, plan) in plans.into_iter().enumerate() {
        let (_clock, hub, _session) = started().await;
        plan(&hub);
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(hub)));
        assert_eq!(dropped.is_err(), number > 0, "{number}");
        let (_clock, hub, _session) = started().await;
        plan(&hub);
        hub.calm();
    }
}
