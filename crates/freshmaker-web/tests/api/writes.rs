use super::support::{Service, ask, post, request, with};
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_testing::world::until;
use freshmaker_web::Role;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::http::Method;
use serde_json::{Value, json};

fn pushed(image: &str) -> Value {
    json!({"topic": "image.pushed", "body": {"image": image, "digest": null}})
}

#[tokio::test(start_paused = true)]
async fn a_message_leads_to_an_event_that_can_be_cancelled_once() {
    let service = Service::open();
    let answer = service.post("/api/3/messages", &pushed("base")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["new"].clone()), (202, json!(true)));
    let location = answer.header("location").to_owned();
    assert_eq!(service.get(&format!("/api/3/{location}")).await.json()["state"], "new");
    service.world.builds.hold(&"app".into());
    let client = service.engine.client();
    let building = until(|| async { client.overview().await.unwrap().builds_running > 0 });
    service.engine.run_until(building).await.unwrap();
    assert_eq!(service.get(&format!("/api/3/{location}")).await.json()["state"], "done");
    let event = service.get("/api/3/events").await.json()["items"][0].clone();
    assert_eq!((&event["state"], &event["message_id"]), (&json!("BUILDING"), &answer.json()["message_id"]));

    let path = format!("/api/3/events/{}/cancel", event["id"]);
    let stale = ask(&service.router, with(request(Method::POST, &path), "if-match", "\"0\"")).await;
    assert_eq!(stale.problem_at(), ("precondition_failed".into(), "if-match".into()));
    let tag = format!("\"{}\"", event["version"]);
    let canceled = ask(&service.router, with(request(Method::POST, &path), "if-match", &tag)).await;
    assert_eq!((canceled.status.as_u16(), canceled.json()["cancel_at"].is_string()), (200, true));
    assert_ne!(canceled.header("etag"), tag);
    assert_eq!(ask(&service.router, request(Method::POST, &path)).await.problem(), "rejected");
    assert_eq!(service.post("/api/3/events/1000/cancel", &json!(null)).await.problem(), "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_failed_part_is_done_over() {
    let service = Service::open();
    service.world.builds.fail_next(&"site".into(), Failure::new(FailureClass::Permanent, "broken"));
    service.push("base").await;
    service.settle().await;
    let id = service.get("/api/3/events").await.json()["items"][0]["id"].clone();
    let path = format!("/api/3/events/{id}/retry");
    assert_eq!(service.post(&path, &json!({"part": "half"})).await.problem_at(), ("invalid".into(), "/part".into()));
    let answer = service.post(&path, &json!({"part": "failed"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["new"]), (202, &json!(true)));
    let again = service.post(&path, &json!({"part": "failed"})).await.json();
    assert_eq!((&again["message_id"], &again["new"]), (&answer.json()["message_id"], &json!(false)));
    // From `/api/3/events/7/retry`, this leads to `/api/3/messages/…`.
    let location = answer.header("location").strip_prefix("../../").unwrap().to_owned();
    assert_eq!(service.get(&format!("/api/3/{location}")).await.json()["source"], "local");
    service.settle().await;
    let events = service.get("/api/3/events").await.json();
    assert_eq!((&events["items"][0]["retry_of"], &events["items"][0]["builds"]["done"]), (&id, &json!(1)));
    assert_eq!(service.post("/api/3/events/1000/retry", &json!({"part": "whole"})).await.problem(), "not_found");
    let confirm = service.post(&format!("/api/3/events/{id}/confirm"), &json!({"plan": "nonsense"})).await;
    assert_eq!(confirm.problem_at(), ("invalid".into(), "/plan".into()));
    let plan = events["items"][0]["plan"].clone();
    let confirm = service.post(&format!("/api/3/events/{id}/confirm"), &json!({"plan": plan})).await;
    assert_eq!(confirm.problem(), "rejected", "an event that asks nothing");
}

#[tokio::test(start_paused = true)]
async fn a_key_makes_a_message_one_message() {
    let service = Service::new(|_| {});
    let (ci, other) =
        (service.token("ci", &[Role::Admin]).await, service.token("other", &[Role::ManualRebuilder]).await);
    let send = |token: &str, key: &str, body: &Value| {
        ask(&service.router, with(with(post("/api/3/messages", body), "authorization", token), "idempotency-key", key))
    };
    let first = send(&ci, "k1", &pushed("base")).await;
    assert_eq!((first.status.as_u16(), first.json()), (202, json!({"message_id": "api/token%3Aci/k1", "new": true})));
    let again = send(&ci, "k1", &pushed("base")).await;
    assert_eq!((again.status.as_u16(), again.json()["new"].clone()), (202, json!(false)));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(send(&ci, "k1", &pushed("app")).await.problem(), "idempotency_key_reused");
    assert_eq!(send(&other, "k1", &pushed("app")).await.json()["new"], true, "keys of callers are their own");
    for key in ["", "a b", &"k".repeat(256)] {
        assert_eq!(
            send(&ci, key, &pushed("base")).await.problem_at(),
            ("bad_request".into(), "idempotency-key".into())
        );
    }
    service.settle().await;
    let events = ask(&service.router, with(request(Method::GET, "/api/3/events"), "authorization", &ci)).await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_engine_may_say_is_refused() {
    let service = Service::open();
    for (message, place) in [
        (json!({"topic": "image.pushed", "headers": {"Freshmaker-Confirms": "x"}, "body": {}}), "/headers"),
        (json!({"topic": "", "body": {}}), "/topic"),
        (json!({"topic": "image.pushed"}), ""),
        (json!({"topic": "image.pushed", "body": {}, "body_base64": ""}), ""),
        (json!({"topic": "image.pushed", "body_base64": "!"}), "/body_base64"),
        (json!({"topic": "image.pushed", "body": {}, "id": "x"}), "/id"),
        (json!({"topic": "image.pushed", "headers": {"a": 1}, "body": {}}), "/headers/a"),
    ] {
        let answer = service.post("/api/3/messages", &message).await;
        assert_eq!(answer.problem_at(), ("invalid".into(), place.into()), "{message}");
    }
    let nulls = ask(&service.router, request(Method::POST, "/api/3/messages")).await;
    assert_eq!(nulls.problem(), "unsupported_media_type");
}

#[tokio::test(start_paused = true)]
async fn cloud_events_come_in_three_ways_and_once() {
    let service = Service::open();
    let event = |id: &str| {
        json!({"specversion": "1.0", "id": id, "source": "/registry", "type": "image.pushed",
        "data": {"image": "base", "digest": null}})
    };
    let send = |kind: &'static str, body: Value| {
        let request = with(request(Method::POST, "/api/3/messages"), "content-type", kind);
        ask(&service.router, request.map(|_| Body::from(body.to_string())))
    };
    let first = send("application/cloudevents+json; charset=utf-8", event("1")).await;
    assert_eq!((first.status.as_u16(), first.json()["new"].clone()), (202, json!(true)));
    let batch = send("application/cloudevents-batch+json", json!([event("1"), event("2")])).await;
    assert_eq!(
        (batch.json()["items"][0]["new"].clone(), batch.json()["items"][1]["new"].clone()),
        (json!(false), json!(true))
    );
    let mut binary = post("/api/3/messages", &event("3")["data"]);
    for (name, value) in
        [("ce-specversion", "1.0"), ("ce-id", "3"), ("ce-source", "/registry"), ("ce-type", "image.pushed")]
    {
        binary = with(binary, name, value);
    }
    assert_eq!(ask(&service.router, binary).await.json()["new"], true);
    let bad = send("application/cloudevents-batch+json", json!([event("4"), {"specversion": "1.0"}])).await;
    assert_eq!(bad.problem_at(), ("invalid".into(), "/1".into()));
    service.settle().await;
    assert_eq!(service.get("/api/3/events").await.json()["items"].as_array().unwrap().len(), 3, "not the fourth");
    let keyed = with(
        with(request(Method::POST, "/api/3/messages"), "content-type", "application/cloudevents+json"),
        "idempotency-key",
        "k",
    );
    assert_eq!(ask(&service.router, keyed).await.problem_at(), ("bad_request".into(), "idempotency-key".into()));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_handled_again() {
    let service = Service::open();
    let message = json!({"topic": "image.pushed", "body": {"image": 7}});
    let id = service.post("/api/3/messages", &message).await.json()["message_id"].as_str().unwrap().to_owned();
    service.settle().await;
    let dead = service.get("/api/3/dead-letters?count=true").await.json();
    assert_eq!((&dead["items"][0]["id"], &dead["total"]), (&json!(id), &json!(1)));
    let path = format!("/api/3/messages/local/{}", id.replace('/', "%2F"));
    assert_eq!(service.get(&path).await.json()["body"], r#"{"image":7}"#);
    let path = format!("/api/3/dead-letters/local/{}/requeue", id.replace('/', "%2F"));
    assert_eq!(ask(&service.router, request(Method::POST, &path)).await.status, 204);
    assert_eq!(
        ask(&service.router, request(Method::POST, &path)).await.problem(),
        "rejected",
        "it is no dead letter now"
    );
    assert_eq!(service.get("/api/3/dead-letters").await.json()["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_put_away() {
    let service = Service::open();
    let message = json!({"topic": "image.pushed", "body": {"image": 7}});
    let id = service.post("/api/3/messages", &message).await.json()["message_id"].as_str().unwrap().to_owned();
    service.settle().await;
    let path = format!("/api/3/dead-letters/local/{}/dismiss", id.replace('/', "%2F"));
    assert_eq!(service.post(&path, &json!({"why": " "})).await.problem_at(), ("invalid".into(), "/why".into()));
    let why = json!({"why": "its sender was mended"});
    assert_eq!(service.post(&path, &why).await.status, 204);
    assert_eq!(service.post(&path, &why).await.problem(), "rejected", "it is no dead letter now");
    assert_eq!(service.get("/api/3/dead-letters").await.json()["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn builds_and_attempts_are_decided_about_with_care() {
    let service = Service::open();
    service.push("base").await;
    service.settle().await;
    let build = service.get("/api/3/builds").await.json()["items"][0]["id"].clone();
    let path = format!("/api/3/builds/{build}/give-up");
    assert_eq!(service.post(&path, &json!({"why": " "})).await.problem_at(), ("invalid".into(), "/why".into()));
    assert_eq!(service.post(&path, &json!({"why": "gone"})).await.problem(), "rejected", "it has ended");
    let attempt = service.get(&format!("/api/3/builds/{build}/attempts")).await.json()["items"][0]["id"].clone();
    let path = format!("/api/3/attempts/{}/resolve", attempt.as_str().unwrap());
    for body in [
        json!({}),
        json!({"outcome": "found"}),
        json!({"outcome": "lost"}),
        json!({"outcome": "found", "external_id": " "}),
    ] {
        assert_eq!(service.post(&path, &body).await.problem(), "invalid", "{body}");
    }
    assert_eq!(service.post(&path, &json!({"outcome": "never_submitted"})).await.problem(), "rejected");
    let answer = service.post("/api/3/attempts/none/resolve", &json!({"outcome": "never_submitted"})).await;
    assert_eq!(answer.problem(), "not_found");
}

#[tokio::test(start_paused = true)]
async fn every_write_has_its_row_in_the_audit_log() {
    let service = Service::open();
    let named = with(post("/api/3/messages", &pushed("base")), "x-request-id", "req-1");
    ask(&service.router, named).await;
    service.post("/api/3/events/1000/cancel", &json!(null)).await;
    service.post("/api/3/tokens", &json!({"name": "ci", "roles": ["admin"], "lifetime_s": 60})).await;
    let rows = service.get("/api/3/audit").await.json()["items"].clone();
    let told: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (text("who"), text("what"), text("outcome"))
        })
        .collect();
    let row = |what: &str, outcome: &str| ("local".to_owned(), what.to_owned(), outcome.to_owned());
    assert_eq!(told, [row("issue token", "done"), row("cancel", "failed"), row("send", "done")]);
    assert_eq!((&rows[2]["request_id"], &rows[2]["address"]), (&json!("req-1"), &json!("127.0.0.1")));
    assert!(rows[1]["detail"].as_str().unwrap().contains("no event 1000"), "{rows}");
    assert!(rows[2]["on"].as_str().unwrap().contains("topic image.pushed"));
    let first = service.get("/api/3/audit?limit=2").await;
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let rest = service.get(&format!("/api/3/audit?limit=2&cursor={next}")).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn cancelled_builds_are_counted_apart_from_failed_ones() {
    let service = Service::open();
    let client = service.engine.client();
    service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
    service.push("base").await;
    service.settle().await;
    client.pause("builder", "repairs", "somebody").await.unwrap();
    let message = service.push("base").await;
    let handled = async { drop(client.wait_until_handled(&message).await.unwrap()) };
    service.engine.run_until(handled).await.unwrap();
    let open = service.get("/api/3/events?state=BUILDING").await.json()["items"][0]["id"].clone();
    let cancel = format!("/api/3/events/{open}/cancel");
    assert_eq!(service.post(&cancel, &json!({ "because": "x" })).await.problem(), "invalid", "nothing is dropped");
    assert_eq!(service.post(&cancel, &json!({ "why": " " })).await.problem(), "invalid");
    let canceled = service.post(&cancel, &json!({ "why": "the builders are moved" })).await;
    assert_eq!(canceled.status, 200, "{canceled:?}");
    let reason = canceled.json()["reason"]["text"].as_str().unwrap().to_owned();
    assert!(reason.contains("the builders are moved"), "{reason}");
    service.settle().await;
    let listed = service.get("/api/3/events").await.json();
    for (place, failed, canceled) in [(0, 0, 2), (1, 2, 0)] {
        let (id, counts) = (&listed["items"][place]["id"], &listed["items"][place]["builds"]);
        assert_eq!(counts, &json!({ "open": 0, "done": 0, "failed": failed, "canceled": canceled }));
        assert_eq!(&service.get(&format!("/api/3/events/{id}")).await.json()["builds"], counts);
    }
}
