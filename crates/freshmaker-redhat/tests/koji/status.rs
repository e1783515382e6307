use crate::hub::{Hub, Seen, Step, fault, http, value};
use crate::recorded::Exchange;
use freshmaker::backend::{BuildSystem, Remedy};
use freshmaker::rebuild::{ExternalId, FailureClass, Observed};
use freshmaker_redhat::koji::xmlrpc::{Response, Value};
use std::collections::BTreeMap;

/// Answers each call of a multicall by itself; `Err` is a fault.
fn multicall(seen: &Seen, answer: impl Fn(&str, &[Value]) -> Result<Value, (i64, &'static str)>) -> Step {
    let calls = seen.request.params[0].each(&[], |call| {
        let params = call.get::<&[Value]>(&["params"])?;
        Ok(match answer(call.get(&["methodName"])?, params) {
            Ok(value) => Value::Array(vec![value]),
            Err((code, text)) => Value::record([
                ("faultCode", code.into()),
                ("faultString", text.into()),
                ("traceback", Value::Array(vec!["line\n".into()])),
            ]),
        })
    });
    value(Value::Array(calls.expect("calls")))
}

fn task(state: i64) -> Value {
    Value::record([("state", state.into())])
}

fn recorded(name: &str) -> Value {
    let Response::Value(value) = Exchange::named(name).response() else { panic!("{name} is a fault") };
    value
}

fn ids(ids: &[&str]) -> Vec<ExternalId> {
    ids.iter().map(|&id| ExternalId::new(id)).collect()
}

async fn observe(hub: &Hub, asked: &[&str]) -> BTreeMap<String, Observed> {
    let found = hub.builds().status(&ids(asked)).await.expect("a status");
    found.into_iter().map(|found| (found.external.to_string(), found.observed)).collect()
}

/// A hub with one task of each sort, numbered as its state is; 11 was never known and 12 cannot be
/// read.
async fn town(knows_raise_fault: bool) -> Hub {
    Hub::with_login(move |seen| {
        multicall(seen, |method, params| {
            let id = params.first().and_then(|id| id.get::<i64>(&[]).ok());
            let quiet = params.len() > 1;
            match (method, id) {
                ("getTaskInfo", Some(11)) => Ok(Value::Nil),
                ("getTaskInfo", Some(12)) => {
                    Err((1, "Traceback (most recent call last):\n  x\nOperationalError: gone"))
                }
                ("getTaskInfo", Some(state @ 1..=5)) => Ok(task(state)),
                ("getTaskInfo", Some(6)) => Ok(task(2)),
                ("getTaskResult", _) if quiet && !knows_raise_fault => {
                    Err((1019, "getTaskResult() got an unexpected keyword argument 'raise_fault'"))
                }
                ("getTaskResult", Some(2)) => Ok(recorded("084-")),
                ("getTaskResult", Some(5)) if quiet => Ok(recorded("092-")),
                ("getTaskResult", Some(5)) => Err((2001, "BuildError: image build failed\nlast line")),
                ("getTaskResult", Some(6)) => Ok(Value::record([("repositories", vec!["r.example.com/x:1"].into())])),
                ("listBuilds", _) => Ok(Value::Array(Vec::new())),
                ("getBuild", Some(2)) => Ok(recorded("101-")),
                _ => Err((1000, "Invalid method")),
            }
        })
    })
    .await
}

#[tokio::test]
async fn tasks_are_seen_as_they_stand() {
    for knows_raise_fault in [true, false] {
        let hub = town(knows_raise_fault).await;
        let asked = [
            "1",
            "2",
            "3",
            "4",
            "5",
            "6",
            "11",
            "12",
            "0",
            "-1",
            "+1",
            "2147483648",
            "99999999999999999999",
            "dry-run:x",
        ];
        let found = observe(&hub, &asked).await;
        let Observed::Succeeded(output) = &found["2"] else { panic!("{:?}", found["2"]) };
        assert_eq!(output.name, "nginx-container-1.24-5.1700000000");
        assert!(output.digest.as_ref().is_some_and(|digest| digest.as_str().starts_with("sha256:")), "{output:?}");
        let contents = "https://koji.example.org/kojifiles/packages/nginx-container/1.24/5.1700000000/metadata.json";
        assert_eq!(output.contents.as_deref(), Some(contents));
        let Observed::Failed(failure) = &found["5"] else { panic!("{:?}", found["5"]) };
        assert_eq!(failure.class, FailureClass::Deterministic);
        assert_eq!(failure.text, "ContainerBuildError (2001): BuildError: image build failed");
        let Observed::Succeeded(scratch) = &found["6"] else { panic!("{:?}", found["6"]) };
        assert_eq!((scratch.name.as_str(), &scratch.digest), ("r.example.com/x:1", &None));
        assert_eq!((&found["1"], &found["4"]), (&Observed::Running, &Observed::Running));
        assert_eq!(found["3"], Observed::Canceled);
        for vanished in ["11", "0", "-1", "+1", "2147483648", "99999999999999999999", "dry-run:x"] {
            assert_eq!(found[vanished], Observed::Vanished, "{vanished}");
        }
        assert!(!found.contains_key("12"), "what cannot be read is unchanged");
        assert_eq!(hub.methods().iter().filter(|method| *method == "login").count(), 0);
    }
}

#[tokio::test]
async fn packages_are_named_by_the_builds_of_their_task() {
    let hub = Hub::with_login(|seen| {
        multicall(seen, |method, _| match method {
            "getTaskInfo" => Ok(task(2)),
            "getTaskResult" => Ok(Value::from("text")),
            "listBuilds" => Ok(Value::Array(vec![Value::record([("build_id", 7.into())])])),
            _ => Ok(recorded("310-")),
        })
    })
    .await;
    let found = observe(&hub, &["9"]).await;
    let Observed::Succeeded(output) = &found["9"] else { panic!("{:?}", found["9"]) };
    assert_eq!((output.name.as_str(), &output.contents), ("openssl-libs-3.0.7-24.el9", &None));
}

#[tokio::test]
async fn a_thousand_are_seen_in_ten_calls() {
    let hub = Hub::with_login(|seen| multicall(seen, |_, _| Ok(task(1)))).await;
    let many: Vec<_> = (1..=1000).map(|id: i32| id.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let found = observe(&hub, &many).await;
    assert_eq!(found.len(), 1000);
    assert!(hub.seen().len() <= 11, "{}", hub.seen().len());
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_no_status() {
    let whole = http(200, "text/xml", &Exchange::named("122-").answered());
    let body_cut = http(200, "text/xml", &Exchange::named("122-").answered()[..1000]);
    for (step, remedy, words) in [
        (body_cut, Remedy::Corrupt, "invalid XML-RPC at byte 996"),
        (whole, Remedy::Corrupt, "5 answers to 1 calls"),
        (http(200, "text/html", b"<html/>"), Remedy::Unavailable, "an HTML page"),
        (http(503, "text/html", b"<html/>"), Remedy::Unavailable, "status 503"),
    ] {
        let hub = Hub::start(move |_, _| Step::Send(step.clone())).await;
        let error = hub.builds().status(&ids(&["1"])).await.expect_err(words);
        assert_eq!(error.remedy, remedy, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains("multiCall"), "{error}");
    }
}

/// The answer about task 1 makes no sense, in one way or another; task 7 runs, 8 has failed, 9 was
/// built.
async fn odd_town(odd: &'static str) -> Hub {
    Hub::with_login(move |seen| {
        multicall(seen, |method, params| {
            let id = params.first().and_then(|id| id.get::<i64>(&[]).ok());
            let repositories = |items: Vec<Value>| Value::record([("repositories", items.into())]);
            Ok(match (method, id, odd) {
                ("getTaskInfo", Some(1), "state of another type") => Value::record([("state", "open".into())]),
                ("getTaskInfo", Some(1), "unknown state") => task(17),
                ("getTaskInfo", Some(1), "no record") => "task".into(),
                ("getTaskInfo", Some(1 | 9), _) => task(2),
                ("getTaskInfo", Some(7), _) => task(1),
                ("getTaskInfo", Some(8), _) => task(5),
                ("getTaskResult", Some(1), "text for builds") => Value::record([("koji_builds", "4711".into())]),
                ("getTaskResult", Some(1), "build that is no number") => {
                    Value::record([("koji_builds", vec![Value::from("newest")].into())])
                }
                ("getTaskResult", Some(1), "nil repository") => repositories(vec![Value::Nil, "r/x:1".into()]),
                ("getTaskResult", Some(1), _) => Value::record([("koji_builds", vec![Value::from("1")].into())]),
                ("getTaskResult", Some(8), _) => recorded("092-"),
                ("getTaskResult", ..) => repositories(vec!["r.example.com/x:1".into()]),
                ("listBuilds", ..) => Value::Array(Vec::new()),
                ("getBuild", _, "unknown build") => Value::Nil,
                ("getBuild", _, "build without a name") => Value::record([("build_id", 1.into())]),
                _ => return Err((1000, "Invalid method")),
            })
        })
    })
    .await
}

#[tokio::test]
async fn nonsense_about_a_task_costs_that_task() {
    for (odd, reason) in [
        ("state of another type", "getTaskInfo: `state` is a text, not an integer"),
        ("unknown state", "getTaskInfo: 17 is no state of a task"),
        ("no record", "getTaskInfo: the answer is a text, not a record"),
        ("text for builds", "getTaskResult: `koji_builds` is a text, not a list"),
        ("build that is no number", "getTaskResult: `koji_builds.[0]` is another text, not the number of a build"),
        ("nil repository", "getTaskResult: `repositories.[0]` is nothing, not a text"),
        ("unknown build", "the task names the build 1, and Koji does not have it"),
        ("build without a name", "getBuild: `1.name` is nothing, not a text"),
    ] {
        let hub = odd_town(odd).await;
        let builds = hub.builds();
        let asked = ids(&["7", "1", "8", "9"]);
        for poll in 1..=10 {
            let found = builds.status(&asked).await.expect("a status");
            let found: BTreeMap<_, _> =
                found.into_iter().map(|found| (found.external.to_string(), found.observed)).collect();
            assert_eq!(found["7"], Observed::Running, "{odd}");
            assert!(matches!(found["8"], Observed::Failed(_)) && matches!(found["9"], Observed::Succeeded(_)), "{odd}");
            match found.get("1") {
                None => assert!(poll < 10, "{odd}: it is given up"),
                Some(Observed::Failed(failure)) => {
                    assert_eq!((poll, failure.class), (10, FailureClass::Permanent), "{odd}");
                    let text = format!("Koji's answers about task 1 made no sense 10 times in a row: {reason}");
                    assert_eq!(failure.text, text);
                }
                other => panic!("{odd}: {other:?}"),
            }
        }
    }
}

/// Nonsense that passes is forgotten.
#[tokio::test]
async fn only_nonsense_without_a_pause_is_counted() {
    let polls = std::sync::atomic::AtomicUsize::new(0);
    let hub = Hub::with_login(move |seen| {
        let poll = polls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        multicall(seen, |_, _| Ok(task(if poll % 10 == 9 { 1 } else { 17 })))
    })
    .await;
    let builds = hub.builds();
    for poll in 0..40 {
        let found = builds.status(&ids(&["3"])).await.expect("a status");
        assert_eq!(found.len(), usize::from(poll % 10 == 9), "{found:?}");
    }
}

/// An answer that is no XML-RPC because of one task is asked for again without it.
#[tokio::test]
async fn an_answer_that_cannot_be_read_because_of_one_call_costs_that_call() {
    let answer = |seen: &Seen, odd: fn(i64) -> bool| {
        let numbers = seen.request.params[0].each(&[], |call| {
            call.get::<&[Value]>(&["params"]).map(|params| params[0].get::<i64>(&[]).expect("a number"))
        });
        let state = |number: &i64| {
            let state = if odd(*number) { "<int>running</int>" } else { "<int>1</int>" };
            format!(
                "<value><array><data><value><struct><member><name>state</name><value>{state}</value></member>\
                 </struct></value></data></array></value>"
            )
        };
        let states: String = numbers.expect("numbers").iter().map(state).collect();
        let body = format!(
            "<?xml version='1.0'?><methodResponse><params><param><value><array><data>{states}</data></array></value>\
             </param></params></methodResponse>"
        );
        Step::Send(http(200, "text/xml", body.as_bytes()))
    };
    let hub = Hub::with_login(move |seen| answer(seen, |number| number == 42)).await;
    let many: Vec<_> = (1..=100).map(|id: i32| id.to_string()).collect();
    let asked: Vec<_> = many.iter().map(String::as_str).collect();
    let found = observe(&hub, &asked).await;
    assert_eq!(found.len(), 99);
    assert!(!found.contains_key("42"));
    assert!(hub.seen().len() <= 15, "{}", hub.seen().len());

    // A hub that answers nonsense to everything is not asked for each.
    let hub = Hub::with_login(move |seen| answer(seen, |_| true)).await;
    let error = hub.builds().status(&ids(&asked)).await.expect_err("nonsense");
    assert_eq!(error.remedy, Remedy::Corrupt, "{error}");
    assert!(hub.seen().len() <= 64, "{}", hub.seen().len());
}

#[tokio::test]
async fn what_cannot_be_cancelled_any_more_is_no_error() {
    let hub = Hub::with_login(|seen| match seen.request.params[0].get::<i64>(&[]) {
        Ok(1) => value(Value::Nil),
        Ok(2) => fault(1000, "No such task: 2"),
        _ => fault(1004, "You do not have permission to cancel this task"),
    })
    .await;
    let builds = hub.builds();
    for id in ["1", "2", "x"] {
        builds.cancel(&ExternalId::new(id)).await.expect(id);
    }
    assert_eq!(builds.cancel(&ExternalId::new("3")).await.expect_err("another's").remedy, Remedy::Unsupported);
    assert_eq!(hub.methods(), ["login", "cancelTask", "cancelTask", "cancelTask"]);
}
