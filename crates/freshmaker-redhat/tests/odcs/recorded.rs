//! What the real service said: our client understands it, and our fake says the same.

use crate::world::{HOUR, World, ask, request};
use freshmaker::backend::{Composer, Remedy};
use freshmaker::time::{Timestamp, later};
use freshmaker_redhat::fakes::odcs::Course;
use freshmaker_redhat::odcs::{Compose, ComposeRecord, OdcsComposer, OdcsConfig, SourceType};
use freshmaker_testing::http::{Reply, Server};
use serde_json::Value;
use std::time::Duration;

struct Exchange {
    name: String,
    method: String,
    path: String,
    asked: String,
    status: u16,
    answered: String,
    headers: Value,
    at: Timestamp,
}

fn exchanges() -> Vec<Exchange> {
    let exchange = |line| {
        let json: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (asked, answered) = (&json["request"], &json["response"]);
        Exchange {
            name: text(&json["name"]),
            method: text(&asked["method"]),
            path: text(&asked["path"]),
            asked: text(&asked["body"]),
            status: answered["status"].as_u64().unwrap().try_into().unwrap(),
            answered: text(&answered["body"]),
            headers: answered["headers"].clone(),
            at: text(&answered["at"]).parse().unwrap(),
        }
    };
    include_str!("../data/odcs/exchanges.jsonl").lines().map(exchange).collect()
}

/// The body without addresses, which differ, and without the order of what Python keeps in the
/// order of insertion.
fn comparable(body: &str, base: &str) -> Value {
    let body = body.replace("http://127.0.0.1:28088", "BASE").replace("http://127.0.0.1:25006", "BASE");
    let body = body.replace("http://127.0.0.1/test.git", "GIT").replace("https://git.example.org/pungi.git", "GIT");
    let mut json = serde_json::from_str(&body.replace(base, "BASE")).unwrap_or(Value::String(body));
    if let Some(message) = json.get_mut("message")
        && let Some((start, _)) = message.as_str().unwrap().split_once('{')
    {
        *message = Value::String(start.to_owned());
    }
    // Two users of the recorded server.
    json.as_object_mut().map(|json| json.remove("allowed_clients"));
    json
}

#[tokio::test]
async fn the_fake_answers_what_the_real_one_did() {
    let world = World::new().await;
    let late = Duration::from_millis(2500);
    world.service.script("rhel-9-containers-candidate", Course::slow(Duration::ZERO, late));
    world.service.script("rhel-9-for-x86_64-baseos-rpms", Course::slow(late, Duration::ZERO));
    world.service.script("bash-5.1.8-6.el9", Course::slow(late, HOUR));
    for busy in ["x", "pungi_cfg#deadbeef"] {
        world.service.script(busy, Course::slow(HOUR, HOUR));
    }
    let mut failing = Course::failing("Unknown Koji tag fail-tag.");
    failing.waits = late;
    world.service.script("fail-tag", failing);
    let mut compared = 0;
    for (n, exchange) in exchanges().into_iter().enumerate() {
        // The composes ended in the middle of a second, between two requests.
        let within = if n < 29 { Duration::ZERO } else { Duration::from_millis(500) };
        world.clock.advance_to(later(exchange.at, within));
        if exchange.name.starts_with("052") {
            world.service.script("rhel-9-containers-candidate", Course::slow(HOUR, HOUR));
        }
        let (status, head, body) = ask(&world.service.url(), &exchange.method, &exchange.path, &exchange.asked).await;
        let what = &exchange.name;
        assert_eq!(status, exchange.status, "{what}: {body}");
        let base = world.service.url();
        assert_eq!(comparable(&body, &base), comparable(&exchange.answered, &base), "{what}");
        for (name, value) in exchange.headers.as_object().unwrap() {
            let line = format!("{name}: {}", value.as_str().unwrap()).to_ascii_lowercase();
            assert!(head.lines().any(|it| it == line), "{what}: {line} is not in {head}");
        }
        compared += 1;
    }
    assert_eq!(compared, 56);
}

#[test]
fn our_requests_are_those_of_the_recording() {
    let composes = [
        Compose::tag("rhel-9-containers-candidate")
            .with_packages(["openssl", "bash"])
            .with_sigkeys(["DEADBEEF"])
            .with_builds(["bash-5.1.8-6.el9"])
            .with_flags([freshmaker_redhat::odcs::Flag::NoDeps])
            .with_results(["repository"])
            .with_lifetime(HOUR)
            .with_arches(["x86_64"]),
        Compose::build(["bash-5.1.8-6.el9"]).with_sigkeys(["", "DEADBEEF"]),
        Compose::raw_config("pungi_cfg", "deadbeef").with_type("production").with_label("RC-1.0"),
    ];
    let names = ["002", "005", "007"];
    let sent = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (sender, mut bodies) = tokio::sync::mpsc::channel(9);
        let server = Server::start(move |request| {
            sender.try_send(request.body).unwrap();
            async { Reply::new(400) }
        });
        let server = server.await.unwrap();
        let odcs = OdcsComposer::new(OdcsConfig::new(server.url())).unwrap();
        let mut sent = Vec::new();
        for compose in &composes {
            assert_eq!(odcs.prepare(&request(1, compose)).await.unwrap_err().remedy, Remedy::Rejected);
            sent.push(bodies.recv().await.unwrap());
        }
        sent
    });
    for (name, sent) in names.into_iter().zip(sent) {
        let recorded = exchanges().into_iter().find(|exchange| exchange.name.starts_with(name)).unwrap();
        let mut ours: Value = serde_json::from_slice(&sent).unwrap();
        let mut theirs: Value = serde_json::from_str(&recorded.asked).unwrap();
        let life = ours.as_object_mut().unwrap().remove("seconds-to-live");
        assert_eq!(life, theirs.as_object_mut().unwrap().remove("seconds-to-live").or(Some(86_400.into())), "{name}");
        // Sets have no order.
        for json in [&mut ours, &mut theirs] {
            if let Some(packages) = json["source"].get_mut("packages").and_then(Value::as_array_mut) {
                packages.sort_by_key(|name| name.to_string());
            }
            json["source"].as_object_mut().unwrap().retain(|key, value| key != "source" || value != "");
        }
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn every_recorded_compose_is_read() {
    let mut kinds = Vec::new();
    for exchange in exchanges() {
        let json: Value = serde_json::from_str(&exchange.answered).unwrap_or_default();
        let items = json.get("items").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![json]);
        for item in items.into_iter().filter(|item| item.get("id").is_some()) {
            let record: ComposeRecord = serde_json::from_value(item.clone()).unwrap();
            assert_eq!(serde_json::json!(record.id), item["id"]);
            assert_eq!(record.time_to_expire.unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string(), item["time_to_expire"]);
            kinds.push(record.source_type().unwrap());
        }
    }
    assert_eq!(kinds.len(), 42);
    for kind in SourceType::ALL.into_iter().filter(|kind| *kind != SourceType::Module) {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}

/// Each recorded refusal as the client understands it.
#[tokio::test]
async fn refusals_are_sorted() {
    for exchange in exchanges().into_iter().filter(|exchange| exchange.status >= 400 && exchange.path != "/api/1/") {
        let (status, body) = (exchange.status, exchange.answered.clone());
        let server = Server::start(move |_| {
            let reply = Reply::new(status).with_header("content-type", "application/json").with_body(body.clone());
            async { reply }
        });
        let server = server.await.unwrap();
        let odcs = OdcsComposer::new(OdcsConfig::new(server.url())).unwrap();
        let error = match exchange.method.as_str() {
            "POST" => odcs.prepare(&request(1, &Compose::tag("x"))).await.unwrap_err(),
            _ => odcs.compose(99999).await.unwrap_err(),
        };
        let expected = if exchange.status == 400 { Remedy::Rejected } else { Remedy::NotFound };
        assert_eq!(error.remedy, expected, "{}", exchange.name);
        let message: Value = serde_json::from_str(&exchange.answered).unwrap();
        assert!(error.text.contains(message["message"].as_str().unwrap()), "{}: {error}", exchange.name);
    }
}
