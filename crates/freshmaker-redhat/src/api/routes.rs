//! The list of routes, each for both versions. A route cannot be registered without saying who may
//! use it.

use super::answer::{self, lacks_roles};
use super::kinds::{self, Names};
use super::metrics::{self, Timed, timed};
use super::place::{Number, Place};
use super::{Api, builds, cancel, events, images, requests};
use freshmaker_web::axum::Router;
use freshmaker_web::axum::extract::{Request, State};
use freshmaker_web::axum::http::header;
use freshmaker_web::axum::middleware::{Next, from_fn_with_state};
use freshmaker_web::axum::response::{IntoResponse, Redirect, Response};
use freshmaker_web::axum::routing::{MethodRouter, any, get, options, patch, post};
use freshmaker_web::{Allowed, Caller, Role};
use std::collections::BTreeMap;

/// Who may ask for the rebuild of what an advisory affects, and cancel what they have asked for.
pub(super) const REBUILDERS: Allowed = Allowed::REBUILDERS;

/// Who may ask for named images.
pub(super) const ASYNC_REBUILDERS: Allowed = Allowed::Roles(&[Role::Admin, Role::FreshmakerAsyncRebuilders]);

/// A method of a route, and who may use it.
type Operation = (&'static str, Allowed, MethodRouter<Api>);

/// All routes of this interface.
pub(super) fn all(api: &Api) -> Routes {
    let readers = |route| ("GET", Allowed::Readers, route);
    let routes = Routes { api: api.clone(), router: Router::new(), allowed: BTreeMap::new() };
    [Names::EventTypes, Names::BuildTypes, Names::BuildStates]
        .into_iter()
        .fold(routes, Routes::names)
        .add("events/", Some(Timed::Events), [readers(get(events::list))])
        .add(
            "events/{id}",
            Some(Timed::Events),
            [readers(get(events::one)), ("PATCH", REBUILDERS, patch(cancel::patch))],
        )
        .add("builds/", Some(Timed::Builds), [readers(get(builds::list)), ("POST", REBUILDERS, post(requests::manual))])
        .add("builds/{id}", Some(Timed::Builds), [readers(get(builds::one))])
        .add("async-builds/", None, [("POST", ASYNC_REBUILDERS, post(requests::named))])
        .add("about/", None, [("GET", Allowed::Everybody, get(kinds::about))])
        .add("verify-image/{image}", None, [readers(get(images::verify))])
        .add("verify-image-repository/{project}/{name}", None, [readers(get(images::verify_repository))])
        .add("pullspec_overrides/{id}", None, [readers(get(builds::pullspec_overrides))])
        .add("monitor/metrics", None, [("GET", Allowed::Metrics, get(metrics::metrics))])
}

/// Routes, with who may use each method.
pub(super) struct Routes {
    api: Api,
    router: Router<Api>,
    allowed: BTreeMap<(&'static str, String), Allowed>,
}

impl Routes {
    fn guarded(&self, allowed: Allowed, route: MethodRouter<Api>) -> MethodRouter<Api> {
        let route = self.api.web.allow(allowed, route);
        match allowed {
            Allowed::Roles(roles) => route.route_layer(from_fn_with_state(roles, worded)),
            _ => route,
        }
    }

    /// Adds a route. A path that ends with a slash is redirected to if the slash is missing.
    fn add(mut self, path: &str, what: Option<Timed>, operations: impl IntoIterator<Item = Operation>) -> Self {
        let (mut route, mut methods) = (MethodRouter::new(), vec!["OPTIONS"]);
        for (method, allowed, operation) in operations {
            methods.extend((method == "GET").then_some("HEAD").into_iter().chain([method]));
            route = route.merge(self.guarded(allowed, operation));
            self.allowed.insert((method, path.to_owned()), allowed);
        }
        if let Some(what) = what {
            route = route.route_layer(from_fn_with_state((self.api.clone(), what), timed));
        }
        let methods = methods.join(", ");
        let route = route.merge(options(move || async move { methods_told(methods) }));
        for version in ["/api/1/", "/api/2/"] {
            self.router = self.router.route(&format!("{version}{path}"), route.clone());
            if let Some(short) = path.strip_suffix('/') {
                self.router = self.router.route(&format!("{version}{short}"), any(with_slash));
            }
        }
        self
    }

    fn names(self, names: Names) -> Self {
        let everybody = |route| ("GET", Allowed::Everybody, route);
        let list = get(move || async move { names.list() });
        let one = get(move |number: Number| async move { names.one(number) });
        let path = names.called().0;
        let routes = self.add(&format!("{path}/"), None, [everybody(list)]);
        routes.add(&format!("{path}/{{id}}"), None, [everybody(one)])
    }

    /// The router, which also answers for paths of these versions that there are not.
    pub(super) fn into_router(self) -> Router {
        let mut router = self.router;
        for version in ["/api/1", "/api/2"] {
            for path in ["", "/", "/{*path}"] {
                router = router.route(&format!("{version}{path}"), any(answer::no_such_path));
            }
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
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;
    use tower::ServiceExt;

    /// Who may use which route of both versions, written down a second time: a new route is added
    /// here as well.
    const STATED: &str = "
        GET event-types/ everybody
        GET event-types/{id} everybody
        GET build-types/ everybody
        GET build-types/{id} everybody
        GET build-states/ everybody
        GET build-states/{id} everybody
        GET events/ readers
        GET events/{id} readers
        PATCH events/{id} admin manual_rebuilder
        GET builds/ readers
        POST builds/ admin manual_rebuilder
        GET builds/{id} readers
        POST async-builds/ admin freshmaker_async_rebuilders
        GET about/ everybody
        GET verify-image/{image} readers
        GET verify-image-repository/{project}/{name} readers
        GET pullspec_overrides/{id} readers
        GET monitor/metrics metrics
    ";

    fn stated() -> BTreeMap<(&'static str, String), Vec<&'static str>> {
        let lines = STATED.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let lines = lines.filter(|words| !words.is_empty());
        lines.map(|words| ((words[0], words[1].to_owned()), words[2..].to_vec())).collect()
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
                    let mut request = Request::builder().method(method).uri(format!("/api/{version}/{path}"));
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
