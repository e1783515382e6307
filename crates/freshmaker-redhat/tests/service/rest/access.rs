//! Who may do what, in the form of the service.

use super::{JSON, api, ask, behind_proxy, deciding, request, while_running};
use freshmaker::{Client, Context, HandlerResult};
use freshmaker_redhat::api::FreshmakerApi;
use freshmaker_redhat::handlers::cancel_on_request;
use freshmaker_redhat::messages;
use freshmaker_redhat::messages::request::CancelEvent;
use freshmaker_testing::world::World;
use freshmaker_web::{Config, NewToken, Role, Web};
use serde_json::{Value, json};
use std::time::Duration;

async fn token(web: &Web, name: &str, roles: &[Role]) -> String {
    let new = NewToken::new(name, roles.iter().copied(), Duration::from_secs(3600));
    format!("Bearer {}", web.tokens().issue(new, "test").await.unwrap().token)
}

fn web(world: &World, client: Client, mut config: Config) -> Web {
    config.clock = world.clock.clone();
    Web::new(client, config)
}

#[tokio::test(start_paused = true)]
async fn tokens_have_the_roles_they_were_issued_with() {
    let world = World::new();
    let engine = deciding(&world).build().unwrap();
    let web = web(&world, engine.client(), Config::default());
    let router = FreshmakerApi::new(web.clone()).router();
    let (manual, named) = (r#"{"errata_id": 7}"#, r#"{"dist_git_branch": "main", "container_images": ["a"]}"#);
    let everybody = [None, Some("freshmaker_async_rebuilders"), Some("manual_rebuilder"), Some("admin")];
    for role in everybody {
        let roles: Vec<Role> = Role::ALL.iter().copied().filter(|known| Some(known.as_str()) == role).collect();
        let token = token(&web, role.unwrap_or("nobody").replace('_', "-").as_str(), &roles).await;
        let who = format!("token:{}", role.unwrap_or("nobody").replace('_', "-"));
        let headers = [JSON, ("authorization", token.as_str())];
        for (method, path, body, roles) in [
            ("GET", "/api/1/events/", "", &["admin", "manual_rebuilder", "freshmaker_async_rebuilders", ""][..]),
            ("POST", "/api/1/builds/", manual, &["admin", "manual_rebuilder"]),
            ("POST", "/api/2/async-builds/", named, &["admin", "freshmaker_async_rebuilders"]),
            ("PATCH", "/api/1/events/1", r#"{"action": "cancel"}"#, &["admin", "manual_rebuilder"]),
        ] {
            let told = while_running(&engine, ask(&router, request(method, path, &headers, body))).await;
            let case = format!("{method} {path} by {who}: {told:?}");
            if roles.contains(&role.unwrap_or_default()) {
                assert!(told.status != 401 && (told.status != 403 || method == "PATCH"), "{case}");
            } else {
                assert_eq!(told.status, 403, "{case}");
                let roles = roles.join(", ");
                let text = format!("User {who} does not have any of the following roles: {roles}");
                assert_eq!(told.error(), text, "{case}");
            }
        }
    }
    let told = ask(&router, request("GET", "/api/1/events/", &[], "")).await;
    assert_eq!((told.status, told.error().as_str()), (401, "this needs a login"));
    assert!(told.header("www-authenticate").starts_with("Bearer"), "{told:?}");
    let wrong = [("authorization", "Bearer frm_nonsense")];
    let told = ask(&router, request("GET", "/api/1/events/", &wrong, "")).await;
    assert_eq!(told.status, 401);
    told.error();
    for open in ["/api/1/about/", "/api/2/event-types/", "/api/1/build-states/4"] {
        assert_eq!(ask(&router, request("GET", open, &[], "")).await.status, 200, "{open}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_cancelled_by_who_asked_for_it_or_an_administrator() {
    let world = World::new();
    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    crate::fixture::store(world.storage.as_ref(), &super::recorded()["fixture"]).await;
    let router = api(&world, client.clone(), behind_proxy()).router();
    let body = json!({ "action": "cancel" }).to_string();
    let patch = |user: &str| {
        let headers = [JSON, ("x-remote-user", user)];
        request("PATCH", "/api/1/events/2", &headers, body.clone())
    };
    let told = ask(&router, patch("bob")).await;
    assert_eq!((told.status, told.error().as_str()), (403, "You must be an admin to cancel someone else's event."));
    let told = ask(&router, patch("alice")).await;
    assert_eq!(told.status, 200, "{told:?}");
    let headers = [("x-remote-user", "root_admin")];
    let audit = |part: &str| request("GET", &format!("/api/3/audit?part={part}"), &headers, "");
    let refused = ask(&router, audit("refusals")).await.json();
    assert_eq!((&refused["items"][0]["who"], &refused["items"][0]["on"]), (&json!("bob"), &json!("event 2")));
    let done = ask(&router, audit("writes")).await.json();
    assert_eq!((&done["items"][0]["who"], &done["items"][0]["outcome"]), (&json!("alice"), &json!("done")));
    let groups = [JSON, ("x-remote-user", "carol"), ("x-remote-groups", "cn=rebuilders,dc=example")];
    let told = ask(&router, request("PATCH", "/api/1/events/2", &groups, r#"{"action": "stop"}"#)).await;
    assert_eq!(
        (told.status, told.error().as_str()),
        (403, "User carol does not have any of the following roles: admin, manual_rebuilder"),
        "the separator is a comma"
    );
}

/// Who may make which request by message, with a body of it: as by its route. Written down a second
/// time.
const BY_MESSAGE: [(&str, &str, &[&str]); 6] = [
    ("VirtualTopic.eng.freshmaker.manual.rebuild", r#"{"errata_id": 7}"#, &["admin", "manual_rebuilder"]),
    ("freshmaker.manual-rebuild", r#"{"errata_id": 7}"#, &["admin", "manual_rebuilder"]),
    (
        "VirtualTopic.eng.freshmaker.async.manual.build",
        r#"{"dist_git_branch": "main", "container_images": ["a"]}"#,
        &["admin", "freshmaker_async_rebuilders"],
    ),
    (
        "freshmaker.async-build",
        r#"{"dist_git_branch": "main", "container_images": ["a"]}"#,
        &["admin", "freshmaker_async_rebuilders"],
    ),
    (
        "VirtualTopic.eng.freshmaker.manage.eventcancel",
        r#"{"action": "eventcancel", "event_id": 1000, "builds_id": []}"#,
        &["admin", "manual_rebuilder"],
    ),
    ("freshmaker.cancel-event", r#"{"event_id": 1000, "builds_id": []}"#, &["admin", "manual_rebuilder"]),
];

async fn cancel(event: CancelEvent, cx: Context) -> HandlerResult {
    cancel_on_request(event, cx).await
}

#[tokio::test(start_paused = true)]
async fn messages_are_for_who_may_use_the_routes() {
    let world = World::new();
    let parsers = messages::parsers(["VirtualTopic.eng"]);
    let engine = deciding(&world).on(cancel).parsers(parsers).build().unwrap();
    let web = web(&world, engine.client(), Config::default());
    let router = FreshmakerApi::new(web.clone()).router();
    for (topic, body, who) in BY_MESSAGE {
        let mut body: Value = body.parse().unwrap();
        let has_requester = !topic.contains("cancel");
        if has_requester {
            body["requester"] = json!("token:admin");
        }
        let event = json!({ "specversion": "1.0", "id": topic, "source": "/s", "type": topic, "data": body });
        let plain = json!({ "topic": topic, "body": body });
        for role in [None, Some("freshmaker_async_rebuilders"), Some("manual_rebuilder"), Some("admin")] {
            let roles: Vec<Role> = Role::ALL.iter().copied().filter(|known| Some(known.as_str()) == role).collect();
            let name = role.unwrap_or("nobody").replace('_', "-");
            let token = token(&web, &name, &roles).await;
            let event = json!([{ "id": format!("{topic}{name}"), "specversion": "1.0", "source": "/s",
                "type": topic, "data": event["data"] }]);
            for (path, kind, body) in [
                ("/api/3/messages", "application/json", &plain),
                ("/api/3/messages", "application/cloudevents-batch+json", &event),
                ("/api/3/plans", "application/json", &plain),
            ] {
                let headers = [("content-type", kind), ("authorization", token.as_str())];
                let told = ask(&router, request("POST", path, &headers, body.to_string())).await;
                let case = format!("{topic} as {kind} to {path} by {name}: {told:?}");
                let allowed = role.is_some_and(|role| who.contains(&role));
                assert_eq!(told.status == 403, !allowed, "{case}");
                assert!(!allowed || told.status == 202 || told.status == 200, "{case}");
                if allowed && path == "/api/3/messages" && has_requester {
                    let told = told.json();
                    let id = told["message_id"].as_str().or(told["items"][0]["message_id"].as_str()).unwrap();
                    let stored = engine.client().message(Client::LOCAL, id).await.unwrap().message;
                    let stored: Value = serde_json::from_slice(&stored.body).unwrap();
                    assert_eq!(stored["requester"], format!("token:{name}"), "{case}");
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
    // All of them are read by the parsers, as they are after the requester was changed.
    world.settle(&engine).await;
    let dead = ask(
        &router,
        request("GET", "/api/3/dead-letters", &[("authorization", &token(&web, "root", &[Role::Admin]).await)], ""),
    )
    .await;
    assert_eq!(dead.json()["items"], json!([]), "{dead:?}");
}

/// By each of the three ways to cancel.
#[tokio::test(start_paused = true)]
async fn no_way_leads_around_the_owner_of_an_event() {
    let world = World::new();
    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    crate::fixture::store(world.storage.as_ref(), &super::recorded()["fixture"]).await;
    let router = api(&world, client.clone(), behind_proxy()).router();
    let message = |topic: &str, body: Value| ("POST", "/api/3/messages", json!({ "topic": topic, "body": body }));
    let ways = [
        ("PATCH", "/api/1/events/2", json!({ "action": "cancel" })),
        ("PATCH", "/api/2/events/2", json!({ "action": "cancel" })),
        ("POST", "/api/3/events/2/cancel", Value::Null),
        message("freshmaker.cancel-event", json!({ "event_id": 2, "builds_id": [] })),
        message(
            "org.example.freshmaker.manage.eventcancel",
            json!({ "action": "eventcancel", "event_id": 2, "builds_id": [] }),
        ),
        message(
            "org.example.freshmaker.manage.eventcancel",
            json!({ "msg": { "action": "eventcancel", "event_id": 2, "builds_id": [] } }),
        ),
    ];
    for (method, path, body) in &ways {
        let headers = [JSON, ("x-remote-user", "bob")];
        let told = ask(&router, request(method, path, &headers, body.to_string())).await;
        assert_eq!(told.status, 403, "{method} {path} {body}: {told:?}");
    }
    let stored = client.event(freshmaker::rebuild::EventId(2)).await.unwrap();
    assert_eq!(stored.cancel_at, None);
    for (method, path, body) in &ways[3..] {
        for who in ["alice", "root_admin"] {
            let headers = [JSON, ("x-remote-user", who)];
            let told = ask(&router, request(method, path, &headers, body.to_string())).await;
            assert_eq!(told.status, 202, "{who} {body}: {told:?}");
        }
    }
}
