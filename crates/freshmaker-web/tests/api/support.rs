//! A service over a small world, asked without sockets.

use freshmaker::Engine;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker_testing::world::World;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::extract::ConnectInfo;
use freshmaker_web::axum::http::{HeaderMap, Method, Request, StatusCode};
use freshmaker_web::{Config, NewToken, Role, Web};
use http_body_util::BodyExt;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tower::ServiceExt;

pub(crate) struct Service {
    pub(crate) world: World,
    pub(crate) engine: Engine,
    pub(crate) web: Web,
    pub(crate) router: Router,
}

/// An answer, whose body was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a problem, whose form is complete, and returns its code.
    pub(crate) fn problem(&self) -> String {
        let body = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{body}");
        assert_eq!(body["status"], self.status.as_u16(), "{body}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("/problems/{code}"), "{body}");
        assert!(!body["title"].as_str().unwrap().is_empty() && !body["detail"].as_str().unwrap().is_empty(), "{body}");
        code
    }

    /// As [`problem`](Self::problem), with the place of its only error.
    pub(crate) fn problem_at(&self) -> (String, String) {
        let body = self.json();
        let error = &body["errors"][0];
        let place = error["pointer"].as_str().or(error["parameter"].as_str());
        (self.problem(), place.unwrap_or_else(|| panic!("{body}")).to_owned())
    }
}

pub(crate) const LOCAL: &str = "127.0.0.1:40000";
pub(crate) const REMOTE: &str = "192.0.2.7:40000";

pub(crate) fn request(method: Method, path: &str) -> Request<Body> {
    request_from(method, path, LOCAL)
}

pub(crate) fn request_from(method: Method, path: &str, peer: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    request
}

pub(crate) fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Body> {
    let request = with(request(Method::POST, path), "content-type", "application/json");
    request.map(|_| Body::from(body.to_string()))
}

pub(crate) async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

impl Service {
    /// A service without a login: everybody on this machine may do everything.
    pub(crate) fn open() -> Self {
        Self::new(|config| config.authentication.none = true)
    }

    pub(crate) fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let world = World::new();
        let engine = world.builder().on(rebuild_dependents).build().unwrap();
        let mut config = Config::default();
        config.clock = world.clock.clone();
        configure(&mut config);
        let web = Web::new(engine.client(), config);
        Self { router: web.router(), world, engine, web }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        ask(&self.router, request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        ask(&self.router, post(path, body)).await
    }

    /// Stores that an image was pushed, and returns the identity of the message.
    pub(crate) async fn push(&self, image: &str) -> String {
        self.engine.client().send(&ImagePushed { image: image.into(), digest: None }).await.unwrap()
    }

    pub(crate) async fn settle(&self) {
        self.world.settle(&self.engine).await;
    }

    /// Has an image pushed twice before anything can be built: two events with the same builds,
    /// which then end.
    pub(crate) async fn share(&self, image: &str) {
        let client = self.engine.client();
        client.pause("builder", "repairs", "somebody").await.unwrap();
        for _ in 0..2 {
            let message = self.push(image).await;
            let handled = async { drop(client.wait_until_handled(&message).await.unwrap()) };
            self.engine.run_until(handled).await.unwrap();
        }
        client.resume("builder").await.unwrap();
        self.settle().await;
    }

    /// The value of a header with a token that has these roles.
    pub(crate) async fn token(&self, name: &str, roles: &[Role]) -> String {
        let new = NewToken::new(name, roles.iter().copied(), Duration::from_secs(3600));
        format!("Bearer {}", self.web.tokens().issue(new, "test").await.unwrap().token)
    }
}
