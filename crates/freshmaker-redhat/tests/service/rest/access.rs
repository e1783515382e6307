//! Who may do what, in the form of the service.

use super::{JSON, api, ask, behind_proxy, deciding, request, while_running};
use freshmaker::Client;
use freshmaker_redhat::api::FreshmakerApi;
use freshmaker_testing::world::World;
use freshmaker_web::{Config, NewToken, Role, Web};
use serde_json::json;
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
