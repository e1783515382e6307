//! Who may ask for what by message, about whose events, and in whose name.

use super::support::{Answer, Service, ask, post, request, with};
use freshmaker::event::{Event, Message, Parsed, Parser};
use freshmaker::handler::{rebuild_dependents, rebuild_requested};
use freshmaker::rebuild::EventId;
use freshmaker::{Context, Decision, Engine, HandlerResult};
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::http::{Method, Request};
use freshmaker_web::{Allowed, PageConfig, RequestRule, Role, Web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A request of somebody else's crate, which says itself who makes it.
#[derive(Debug, Serialize, Deserialize)]
struct Sweep {
    #[serde(default)]
    event: Option<i64>,
    #[serde(default)]
    by: Option<String>,
}

impl Event for Sweep {
    const KIND: &'static str = "sweep.requested";
    const ALIASES: &'static [&'static str] = &["sweep.wanted"];

    fn manual(&self) -> bool {
        true
    }

    fn requester(&self) -> Option<String> {
        self.by.clone()
    }
}

/// The same without a rule.
#[derive(Debug, Serialize, Deserialize)]
struct Polish {
    #[serde(default)]
    by: Option<String>,
}

impl Event for Polish {
    const KIND: &'static str = "polish.requested";

    fn manual(&self) -> bool {
        true
    }

    fn requester(&self) -> Option<String> {
        self.by.clone()
    }
}

fn read(message: &Message) -> Parsed {
    let sweep = serde_json::from_slice(&message.body).ok()?;
    let sweep: Sweep = serde_json::from_value(sweep).ok()?;
    freshmaker::event::Envelope::of(&sweep, &message.id).ok().map(Ok)
}

const SWEEPER: Parser = Parser::new(&["sweep.the.floor"], &[Sweep::KIND], read);

const ASYNC: Allowed = Allowed::Roles(&[Role::Admin, Role::FreshmakerAsyncRebuilders]);

const SWEEPS: RequestRule = RequestRule::new::<Sweep>(ASYNC).read_by(SWEEPER).about_event("event").requester_in("by");

async fn skip_sweep(_: Sweep, _: Context) -> HandlerResult {
    Ok(Decision::Skip("swept".into()))
}

async fn skip_polish(_: Polish, _: Context) -> HandlerResult {
    Ok(Decision::Skip("polished".into()))
}

/// A service with these requests, and callers of every role.
struct House {
    service: Service,
    engine: Engine,
    router: Router,
    callers: Vec<(&'static str, Vec<Role>, String)>,
}

impl House {
    async fn new() -> Self {
        let service = Service::new(|_| {});
        let builder = service.world.builder().on(rebuild_dependents).on(rebuild_requested);
        let engine = builder.on(skip_sweep).on(skip_polish).build().unwrap();
        let mut config = service.web.config().clone();
        config.page = Some(PageConfig::default());
        let web = Web::new(engine.client(), config).with_requests([SWEEPS]);
        let mut callers = Vec::new();
        for (name, roles) in [
            ("nobody", vec![]),
            ("bob", vec![Role::ManualRebuilder]),
            ("alice", vec![Role::ManualRebuilder]),
            ("carol", vec![Role::FreshmakerAsyncRebuilders]),
            ("root", vec![Role::Admin]),
        ] {
            let token = service.token(name, &roles).await;
            callers.push((name, roles, token));
        }
        Self { router: web.router(), service, engine, callers }
    }

    async fn ask(&self, who: &str, request: Request<Body>) -> Answer {
        let (_, _, token) = self.callers.iter().find(|(name, ..)| *name == who).unwrap();
        ask(&self.router, with(request, "authorization", token)).await
    }

    async fn post(&self, who: &str, path: &str, body: &Value) -> Answer {
        self.ask(who, post(path, body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("root", request(Method::GET, path)).await
    }

    /// Handles what was sent, and returns the event that came last.
    async fn event(&self) -> Value {
        self.service.world.settle(&self.engine).await;
        let id = self.get("/api/3/events?limit=1").await.json()["items"][0]["id"].clone();
        self.get(&format!("/api/3/events/{id}")).await.json()
    }
}

fn asks(topic: &str, body: &Value) -> Value {
    json!({ "topic": topic, "body": body })
}

/// All ways in which a message comes from a caller.
fn ways(topic: &str, body: &Value) -> [Request<Body>; 4] {
    let event = json!({ "specversion": "1.0", "id": format!("{}", fastrand::u64(..)), "source": "/s", "type": topic,
                        "data": body });
    let of_kind = |kind: &str, body: &Value| {
        let mut request = post("/api/3/messages", body);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        request
    };
    [
        post("/api/3/messages", &asks(topic, body)),
        of_kind("application/cloudevents+json", &event),
        of_kind("application/cloudevents-batch+json", &json!([event])),
        post("/api/3/plans", &asks(topic, body)),
    ]
}

/// Who may ask for what by message, written down a second time.
const STATED: [(&str, &[&str]); 7] = [
    ("image.pushed", &["admin", "manual_rebuilder"]),
    ("rebuild.requested", &["admin", "manual_rebuilder"]),
    ("polish.requested", &["admin", "manual_rebuilder"]),
    ("sweep.requested", &["admin", "freshmaker_async_rebuilders"]),
    ("sweep.wanted", &["admin", "freshmaker_async_rebuilders"]),
    ("org.example.sweep.the.floor", &["admin", "freshmaker_async_rebuilders"]),
    ("/topic/sweep.the.floor", &["admin", "freshmaker_async_rebuilders"]),
];

#[tokio::test(start_paused = true)]
async fn the_matrix_of_requests_holds() {
    let house = House::new().await;
    for (topic, who) in STATED {
        let body = match topic {
            "image.pushed" => json!({ "image": "base", "digest": null }),
            "rebuild.requested" => json!({ "artifacts": ["app"] }),
            _ => json!({}),
        };
        for (name, roles, _) in &house.callers {
            for request in ways(topic, &body) {
                let way = format!("{topic} by {name} at {} {:?}", request.uri(), request.headers()["content-type"]);
                let answer = house.ask(name, request).await;
                let allowed = roles.iter().any(|role| who.contains(&role.as_str()));
                assert_eq!(answer.status == 403, !allowed, "{way}: {answer:?}");
                assert!(!allowed || answer.status.is_success(), "{way}: {answer:?}");
            }
        }
    }
    let refused = house.get("/api/3/audit?part=refusals&limit=1").await.json();
    assert_eq!(
        (&refused["items"][0]["who"], &refused["items"][0]["on"]),
        (&json!("token:alice"), &json!("topic /topic/sweep.the.floor")),
        "{refused}"
    );
}

/// Whatever the body says.
#[tokio::test(start_paused = true)]
async fn what_came_by_rest_is_asked_for_by_who_sent_it() {
    let house = House::new().await;
    for (who, topic, body, key) in [
        ("bob", "rebuild.requested", json!({ "artifacts": ["app"], "requester": "token:root" }), "requester"),
        ("carol", "sweep.requested", json!({ "by": "token:root" }), "by"),
        ("carol", "org.example.sweep.the.floor", json!({}), "by"),
    ] {
        let sent = house.post(who, "/api/3/messages", &asks(topic, &body)).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        let message = sent.json()["message_id"].as_str().unwrap().replace('/', "%2F").replace("%3A", "%253A");
        let stored = house.get(&format!("/api/3/messages/local/{message}")).await.json();
        let stored: Value = stored["body"].as_str().unwrap().parse().unwrap();
        assert_eq!(stored[key], format!("token:{who}"), "{topic}");
        if topic.starts_with("org.") {
            continue; // No parser of this engine reads it.
        }
        let event = house.event().await;
        assert_eq!((&event["kind"], &event["payload"][key]), (&json!(topic), &json!(format!("token:{who}"))));
        assert_eq!(event["requester"], format!("token:{who}"), "{topic}");
    }
    // Without a rule the body stays, and is not believed.
    house.post("bob", "/api/3/messages", &asks("polish.requested", &json!({ "by": "token:root" }))).await;
    let event = house.event().await;
    assert_eq!((&event["payload"]["by"], &event["requester"]), (&json!("token:root"), &json!("token:bob")));
    // Once more is asked for by who does it over; a plan by who applies it.
    let retry = format!("/api/3/events/{}/retry", event["id"]);
    assert_eq!(house.post("alice", &retry, &json!({ "part": "whole" })).await.status, 202);
    assert_eq!(house.event().await["requester"], "token:alice");
    let request = json!({ "artifacts": ["site"], "requester": "token:root" });
    let preview = house.post("bob", "/api/3/plans", &asks("rebuild.requested", &request)).await.json();
    let apply = format!("/api/3/plans/{}/apply", preview["items"][0]["hash"].as_str().unwrap());
    assert_eq!(house.post("carol", &apply, &Value::Null).await.problem(), "forbidden");
    assert_eq!(house.post("alice", &apply, &Value::Null).await.status, 202);
    assert_eq!(house.event().await["requester"], "token:alice");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_is_refused_where_it_is_wrong() {
    let house = House::new().await;
    let wrong = json!({ "artifacts": ["app"], "dry_run": true });
    let refused = house.post("bob", "/api/3/messages", &asks("rebuild.requested", &wrong)).await;
    assert_eq!(refused.problem_at(), ("invalid".into(), "".into()));
    assert!(refused.json()["errors"][0]["detail"].as_str().unwrap().contains("dry_run"), "{refused:?}");
    let [_, _, batch, _] = ways("rebuild.requested", &wrong);
    assert_eq!(house.ask("bob", batch).await.problem_at(), ("invalid".into(), "/0".into()));
}

/// By its route, by its page and by message: by who has asked for it, and administrators.
#[tokio::test(start_paused = true)]
async fn an_event_is_decided_about_by_who_has_asked_for_it() {
    let house = House::new().await;
    house.service.world.builds.hold(&"app".into());
    house.engine.client().pause("builder", "repairs", "root").await.unwrap();
    house.post("bob", "/api/3/messages", &asks("rebuild.requested", &json!({ "artifacts": ["app"] }))).await;
    let client = house.engine.client();
    let stored = freshmaker_testing::world::until(|| async { client.event(EventId(1)).await.is_ok() });
    house.engine.run_until(stored).await.unwrap();
    let listed = house.get("/api/3/events").await.json();
    assert_eq!(listed["items"][0]["requester"], "token:bob", "{listed}");
    let id = &listed["items"][0]["id"];
    let cancel = format!("/api/3/events/{id}/cancel");

    for (who, has_button) in [("alice", false), ("bob", true), ("root", true)] {
        let page = house.ask(who, with(request(Method::GET, &format!("/events/{id}")), "accept", "text/html")).await;
        let page = String::from_utf8(page.body).unwrap();
        assert_eq!(page.contains("Cancel the event"), has_button, "{who}");
    }
    for who in ["nobody", "alice", "carol"] {
        assert_eq!(house.ask(who, request(Method::POST, &cancel)).await.problem(), "forbidden", "{who}");
        let form = super::pages::form(&format!("/events/{id}/cancel"), "");
        assert_eq!(house.ask(who, form).await.status, 403, "{who}");
    }
    let refused = house.get("/api/3/audit?part=refusals&limit=1").await.json();
    assert_eq!(refused["items"][0]["who"], "token:carol", "{refused}");
    for request in ways("sweep.requested", &json!({ "event": id })) {
        assert_eq!(house.ask("carol", request).await.problem(), "forbidden", "another's event");
    }
    for request in ways("sweep.requested", &json!({ "event": 1000 })) {
        assert!(house.ask("carol", request).await.status.is_success(), "there is none to protect");
    }
    assert_eq!(house.get(&format!("/api/3/events/{id}")).await.json()["cancel_at"], Value::Null);
    assert_eq!(house.ask("bob", request(Method::POST, &cancel)).await.status, 200);
    assert_eq!(house.ask("root", request(Method::POST, &cancel)).await.problem(), "rejected", "it is cancelled");
}

/// What is done over was asked for by a message as well.
#[tokio::test(start_paused = true)]
async fn what_one_may_not_ask_for_is_not_asked_for_once_more() {
    let house = House::new().await;
    house.post("carol", "/api/3/messages", &asks("sweep.requested", &json!({}))).await;
    let id = house.event().await["id"].clone();
    let retry = format!("/api/3/events/{id}/retry");
    let whole = json!({ "part": "whole" });
    assert_eq!(house.post("bob", &retry, &whole).await.problem(), "forbidden");
    let confirm = json!({ "plan": freshmaker::artifact::Digest::of(b"x") });
    let path = format!("/api/3/events/{id}/confirm");
    assert_eq!(house.post("bob", &path, &confirm).await.problem(), "forbidden");
    assert_eq!(house.post("carol", &path, &confirm).await.problem(), "rejected", "it asks nothing");
    let first = house.post("carol", &retry, &whole).await;
    assert_eq!((first.status.as_u16(), first.json()["new"].clone()), (202, json!(true)));
    let again = house.post("carol", &retry, &whole).await;
    assert_eq!(again.json(), json!({ "message_id": first.json()["message_id"], "new": false }));
    house.post("bob", "/api/3/messages", &asks("image.pushed", &json!({ "image": "base", "digest": null }))).await;
    let retry = format!("/api/3/events/{}/retry", house.event().await["id"]);
    assert_eq!(house.post("carol", &retry, &whole).await.problem(), "forbidden");
}
