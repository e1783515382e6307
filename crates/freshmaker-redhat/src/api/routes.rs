//! The list of routes, each for both versions. A route cannot be registered without saying who may
//! use it, and has its path from its description.

use super::address::Place;
use super::answer::{self, lacks_roles};
use super::description::Description;
use super::metrics::{self, Timed, timed};
use super::{Api, builds, cancel, events, images, kinds, requests};
use freshmaker_web::axum::extract::{Request, State};
use freshmaker_web::axum::http::{Method, header};
use freshmaker_web::axum::middleware::{Next, from_fn_with_state};
use freshmaker_web::axum::response::{IntoResponse, Redirect, Response};
use freshmaker_web::axum::routing::{MethodRouter, any, get, options};
use freshmaker_web::axum::{self, Router};
use freshmaker_web::{Allowed, Caller, Problem, ProblemCode, Role};
use std::collections::BTreeMap;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

/// Who may ask for the rebuild of what an advisory affects, and cancel what they have asked for.
pub(super) const REBUILDERS: Allowed = Allowed::REBUILDERS;

/// Who may ask for named images.
pub(super) const ASYNC_REBUILDERS: Allowed = Allowed::Roles(&[Role::Admin, Role::FreshmakerAsyncRebuilders]);

/// The versions of the interface, which have the same routes.
const VERSIONS: [&str; 2] = ["/api/1", "/api/2"];

/// All routes of this interface.
pub(super) fn all(api: &Api) -> Routes {
    let (readers, everybody) = (Allowed::Readers, Allowed::Everybody);
    let routes = Routes {
        api: api.clone(),
        router: Router::new(),
        allowed: BTreeMap::new(),
        description: Description::default(),
    };
    routes
        .add(None, [(everybody, routes!(kinds::event_types))])
        .add(None, [(everybody, routes!(kinds::event_type))])
        .add(None, [(everybody, routes!(kinds::build_types))])
        .add(None, [(everybody, routes!(kinds::build_type))])
        .add(None, [(everybody, routes!(kinds::build_states))])
        .add(None, [(everybody, routes!(kinds::build_state))])
        .add(Some(Timed::Events), [(readers, routes!(events::list))])
        .add(Some(Timed::Events), [(readers, routes!(events::one)), (REBUILDERS, routes!(cancel::patch))])
        .add(Some(Timed::Builds), [(readers, routes!(builds::list)), (REBUILDERS, routes!(requests::manual))])
        .add(Some(Timed::Builds), [(readers, routes!(builds::one))])
        .add(None, [(ASYNC_REBUILDERS, routes!(requests::named))])
        .add(None, [(everybody, routes!(kinds::about))])
        .add(None, [(readers, routes!(images::verify))])
        .add(None, [(readers, routes!(images::verify_repository))])
        .add(None, [(readers, routes!(builds::pullspec_overrides))])
        .add(None, [(Allowed::Metrics, routes!(metrics::metrics))])
        .described()
}

/// Routes, with who may use each method.
pub(super) struct Routes {
    api: Api,
    router: Router<Api>,
    allowed: BTreeMap<(Method, String), Allowed>,
    description: Description,
}

impl Routes {
    fn guarded(&self, allowed: Allowed, route: MethodRouter<Api>) -> MethodRouter<Api> {
        let route = self.api.web.allow(allowed, route);
        match allowed {
            Allowed::Roles(roles) => route.route_layer(from_fn_with_state(roles, worded)),
            _ => route,
        }
    }

    /// Adds the methods of one path, which their descriptions name.
    fn add(
        mut self,
        what: Option<Timed>,
        operations: impl IntoIterator<Item = (Allowed, UtoipaMethodRouter<Api>)>,
    ) -> Self {
        let (mut route, mut methods, mut path) = (MethodRouter::new(), vec![], String::new());
        for (allowed, (schemas, paths, operation)) in operations {
            route = route.merge(self.guarded(allowed, operation));
            for (of, method) in self.description.add(schemas, paths) {
                path.clone_from(&of);
                self.allowed.insert((method.clone(), of), allowed);
                methods.push(method);
            }
        }
        if let Some(what) = what {
            route = route.route_layer(from_fn_with_state((self.api.clone(), what), timed));
        }
        self.route(&path, &methods, route)
    }

    /// Adds a route. A path that ends with a slash is redirected to if the slash is missing.
    fn route(mut self, path: &str, methods: &[Method], route: MethodRouter<Api>) -> Self {
        let mut told = vec!["OPTIONS"];
        for method in methods {
            told.extend((*method == Method::GET).then_some("HEAD").into_iter().chain([method.as_str()]));
        }
        let told = told.join(", ");
        let route = route.merge(options(move || async move { methods_told(told) }));
        for version in VERSIONS {
            self.router = self.router.route(&format!("{version}{path}"), route.clone());
            if let Some(short) = path.strip_suffix('/') {
                self.router = self.router.route(&format!("{version}{short}"), any(with_slash));
            }
        }
        self
    }

    /// Adds the descriptions themselves.
    fn described(mut self) -> Self {
        let path = "/openapi.json";
        for version in VERSIONS {
            let text = self.description.text(version);
            let route = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], text) });
            let route = self.guarded(Allowed::Everybody, route);
            self.router = self.router.route(&format!("{version}{path}"), route);
        }
        self.allowed.insert((Method::GET, path.to_owned()), Allowed::Everybody);
        self
    }

    /// The router, which also answers for paths of these versions that there are not, and leads
    /// from doubled slashes to single ones.
    pub(super) fn into_router(self) -> Router {
        let mut router = self.router;
        for version in VERSIONS {
            for path in ["", "/", "/{*path}"] {
                router = router.route(&format!("{version}{path}"), any(elsewhere));
            }
        }
        for path in ["//", "//{*path}", "/api//", "/api//{*path}"] {
            router = router.route(path, any(elsewhere));
        }
        router.with_state(self.api)
    }
}

fn methods_told(methods: String) -> Response {
    [(header::ALLOW, methods), (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned())].into_response()
}

async fn with_slash(place: Place) -> Redirect {
    let query = place.query.map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::permanent(&format!("{}/{query}", place.address))
}

/// The answer for a path that no route has: the same path with single slashes, if it has others.
async fn elsewhere(place: Place, request: Request) -> Result<Redirect, answer::Failure> {
    let path = request.uri().path();
    let single = single_slashes(path);
    let is_ours =
        |path: &str| VERSIONS.iter().any(|version| path == *version || path.starts_with(&format!("{version}/")));
    if !is_ours(&single) {
        return Err(Problem::new(ProblemCode::NoSuchPath, "nothing is served at this path").into());
    }
    match place.address.strip_suffix(path).filter(|_| single != path) {
        Some(before) => {
            let query = place.query.map(|query| format!("?{query}")).unwrap_or_default();
            Ok(Redirect::permanent(&format!("{before}{single}{query}")))
        }
        None => Err(answer::no_such_path().await),
    }
}

fn single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !single.ends_with('/') {
            single.push(c);
        }
    }
    single
}

async fn worded(State(roles): State<&'static [Role]>, request: Request, next: Next) -> Response {
    let who = request.extensions().get::<Caller>().map(|caller| caller.name().to_owned());
    let mut response = next.run(request).await;
    lacks_roles(&mut response, &who.unwrap_or_default(), roles);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FreshmakerApi;
    use freshmaker::Client;
    use freshmaker::memory::MemoryStorage;
    use freshmaker_testing::world::TokioClock;
    use freshmaker_web::axum::body::Body;
    use freshmaker_web::axum::http::{Request, StatusCode};
    use freshmaker_web::{Config, NewToken, Web};
    use http_body_util::BodyExt;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;
    use tower::ServiceExt;

    /// Who may use which route of both versions, written down a second time: a new route is added
    /// here as well.
    const STATED: &str = "
        GET /event-types/ everybody
        GET /event-types/{id} everybody
        GET /build-types/ everybody
        GET /build-types/{id} everybody
        GET /build-states/ everybody
        GET /build-states/{id} everybody
        GET /events/ readers
        GET /events/{id} readers
        PATCH /events/{id} admin manual_rebuilder
        GET /builds/ readers
        POST /builds/ admin manual_rebuilder
        GET /builds/{id} readers
        POST /async-builds/ admin freshmaker_async_rebuilders
        GET /about/ everybody
        GET /verify-image/{image} readers
        GET /verify-image-repository/{project}/{name} readers
        GET /pullspec_overrides/{id} readers
        GET /monitor/metrics metrics
        GET /openapi.json everybody
    ";

    fn stated() -> BTreeMap<(Method, String), Vec<&'static str>> {
        let lines = STATED.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let lines = lines.filter(|words| !words.is_empty());
        lines.map(|words| ((words[0].parse().unwrap(), words[1].to_owned()), words[2..].to_vec())).collect()
    }

    fn service(configure: impl FnOnce(&mut Config)) -> FreshmakerApi {
        let clock = Arc::new(TokioClock::new());
        let mut config = Config::default();
        config.clock = clock.clone();
        configure(&mut config);
        FreshmakerApi::new(Web::new(Client::new(Arc::new(MemoryStorage::new().with_clock(clock))), config))
    }

    #[test]
    fn every_route_is_stated() {
        let allowed = all(&service(|_| {}).api()).allowed;
        let stated = stated();
        assert!(allowed.keys().eq(stated.keys()), "say who may use the route in STATED: {:?}", allowed.keys());
        for (route, allowed) in &allowed {
            let who = match allowed {
                Allowed::Everybody => vec!["everybody"],
                Allowed::Readers => vec!["readers"],
                Allowed::Metrics => vec!["metrics"],
                Allowed::Roles(roles) => roles.iter().map(|role| role.as_str()).collect(),
                _ => panic!("{route:?}: {allowed:?}"),
            };
            assert_eq!(who, stated[route], "{route:?}");
        }
    }

    /// Each version describes every route that it has, and no other.
    #[tokio::test]
    async fn every_route_is_described() {
        let router = service(|_| {}).router();
        for version in VERSIONS {
            let request = Request::get(format!("{version}/openapi.json")).body(Body::empty()).unwrap();
            let body = router.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            let text: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(text["openapi"], "3.1.0");
            let mut described = BTreeSet::new();
            for (path, item) in text["paths"].as_object().unwrap() {
                let path = path.strip_prefix(version).unwrap();
                for (method, operation) in item.as_object().unwrap() {
                    assert!(operation["responses"]["default"].is_object(), "{method} {path}");
                    described.insert((method.to_uppercase().parse().unwrap(), path.to_owned()));
                }
            }
            let there = stated().into_keys().filter(|(_, path)| path != "/openapi.json").collect();
            assert_eq!(described, there, "{version}");
        }
    }

    /// Every route of both versions is asked by every sort of caller, with every sort of read
    /// access; metrics have the other one.
    #[tokio::test(start_paused = true)]
    async fn the_matrix_of_roles_holds() {
        let callers: Vec<Option<Vec<Role>>> =
            [None, Some(vec![])].into_iter().chain(Role::ALL.iter().map(|role| Some(vec![*role]))).collect();
        for (read, metrics) in [
            ("public", "authenticated"),
            ("authenticated", "public"),
            ("manual_rebuilder", "freshmaker_async_rebuilders"),
        ] {
            let api = service(|config| {
                (config.access.read, config.access.metrics) = (read.parse().unwrap(), metrics.parse().unwrap());
            });
            let router = api.router();
            let mut seen = BTreeSet::new();
            for ((method, path), who) in stated() {
                for (roles, version) in callers.iter().flat_map(|roles| [(roles, 1), (roles, 2)]) {
                    let path = path.replace("{id}", "1").replace("{image}", "a-1-1");
                    let path = path.replace("{project}", "p").replace("{name}", "n");
                    let mut request = Request::builder().method(method.clone()).uri(format!("/api/{version}{path}"));
                    if let Some(roles) = roles {
                        let new = NewToken::new("t", roles.iter().copied(), Duration::from_secs(60));
                        let token = api.web.tokens().issue(new, "test").await.unwrap().token;
                        request = request.header("authorization", format!("Bearer {token}"));
                    }
                    let status = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status();
                    let has = |name: &str| roles.iter().flatten().any(|role| role.as_str() == name);
                    let reads = |access: &str| match access {
                        "public" => true,
                        "authenticated" => roles.is_some(),
                        role => has(role) || has("admin"),
                    };
                    let allowed = match who[0] {
                        "everybody" => true,
                        "readers" => reads(read),
                        "metrics" => reads(metrics),
                        _ => who.iter().any(|role| has(role)),
                    };
                    let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
                    let case = format!("{method} {path} of {version} by {roles:?}, read = {read}: {status}");
                    assert_eq!(refused, !allowed, "{case}");
                    assert!(!refused || (status == StatusCode::UNAUTHORIZED) == roles.is_none(), "{case}");
                    seen.insert(status.as_u16());
                    // Rates are not what is tested here.
                    tokio::time::advance(Duration::from_secs(1)).await;
                }
            }
            assert!(seen.is_superset(&[200, 400, 401, 403, 404, 501].into()), "{seen:?}");
        }
    }
}
