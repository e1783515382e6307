//! The REST interface of the service Freshmaker, asked without sockets.

mod access;
mod broken;
mod costs;
mod habits;
mod images;
mod replay;
mod strangers;
mod writes;

use freshmaker::engine::EngineBuilder;
use freshmaker::rebuild::EventId;
use freshmaker::{Client, Context, Decision, Engine, HandlerResult};
use freshmaker_redhat::api::FreshmakerApi;
use freshmaker_redhat::messages::request::{AsyncBuild, ManualRebuild};
use freshmaker_testing::world::World;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::extract::ConnectInfo;
use freshmaker_web::axum::http::{HeaderMap, Request};
use freshmaker_web::{Config, Web};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tower::ServiceExt;

/// The host of the recorded service.
const HOST: &str = "localhost:5001";

/// The requests and answers of the service, see `tests/data/README.md`.
fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/freshmaker/pairs.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A configuration without a login.
fn open() -> Config {
    Config::loopback()
}

/// A configuration in which a proxy tells who calls, with the roles of the recorded service.
fn behind_proxy() -> Config {
    serde_json::from_value(json!({
        "authentication": { "proxy": { "peers": ["127.0.0.1"], "user_header": "x-remote-user", "groups_header": "x-remote-groups" } },
        "access": { "roles": {
            "admin": { "users": ["root_admin"] },
            "manual_rebuilder": { "users": ["alice", "bob"], "groups": ["cn=rebuilders,dc=example"] },
        } },
    }))
    .unwrap()
}

fn api(world: &World, client: Client, mut config: Config) -> FreshmakerApi {
    config.clock = world.clock.clone();
    FreshmakerApi::new(Web::new(client, config))
}

async fn skip_manual(_: ManualRebuild, _: Context) -> HandlerResult {
    Ok(Decision::Skip("decided".into()))
}

async fn skip_async(_: AsyncBuild, _: Context) -> HandlerResult {
    Ok(Decision::Skip("decided".into()))
}

/// Rebuilds what depends on `base`.
async fn rebuild(_: ManualRebuild, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&["base".into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed("base", None).plan()?))
}

/// An engine that makes an event of each request.
fn deciding(world: &World) -> EngineBuilder {
    world.builder().on(skip_manual).on(skip_async)
}

/// Runs the engine for as long as a question takes.
async fn while_running<T>(engine: &Engine, question: impl Future<Output = T>) -> T {
    let mut answer = None;
    engine.run_until(async { answer = Some(question.await) }).await.unwrap();
    answer.unwrap()
}

/// An answer, whose body was read whole.
#[derive(Debug)]
struct Told {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Asserts that it is an error in the form of the service, and returns its text.
    fn error(&self) -> String {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let form = self.json();
        let keys: Vec<_> = form.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["error", "message", "status"], "{self:?}");
        assert_eq!(form["status"], self.status, "{self:?}");
        assert!(self.body.ends_with("}\n"), "{self:?}");
        form["message"].as_str().unwrap().to_owned()
    }
}

/// A request from this machine.
fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", HOST);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    request.extensions_mut().insert(ConnectInfo("127.0.0.1:40000".parse::<SocketAddr>().unwrap()));
    request
}

async fn ask(router: &Router, request: Request<Body>) -> Told {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Told { status: parts.status.as_u16(), headers: parts.headers, body: String::from_utf8(body.into()).unwrap() }
}

async fn get(router: &Router, path: &str) -> Told {
    ask(router, request("GET", path, &[], Body::empty())).await
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(router: &Router, path: &str, body: &Value) -> Told {
    ask(router, request("POST", path, &[JSON], body.to_string())).await
}

async fn cancel(router: &Router, event: EventId) -> Told {
    let body = json!({ "action": "cancel" }).to_string();
    ask(router, request("PATCH", &format!("/api/1/events/{event}"), &[JSON], body)).await
}
