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

const REBUILDERS: &[Role] = &[Role::Admin, Role::ManualRebuilder];
const ASYNC_REBUILDERS: &[Role] = &[Role::Admin, Role::FreshmakerAsyncRebuilders];

/// All routes of this interface.
pub(super) fn all(api: &Api) -> Router {
    let routes = Routes { api: api.clone(), router: Router::new() };
    let routes = [Names::EventTypes, Names::BuildTypes, Names::BuildStates].into_iter().fold(routes, Routes::names);
    let event = routes.readers(get(events::one)).merge(routes.roles(REBUILDERS, patch(cancel::patch)));
    let build_list = routes.readers(get(builds::list)).merge(routes.roles(REBUILDERS, post(requests::manual)));
    let (event, event_list) = (routes.timed(Timed::Events, event), routes.readers(get(events::list)));
    let event_list = routes.timed(Timed::Events, event_list);
    let (build, build_list) = (routes.readers(get(builds::one)), routes.timed(Timed::Builds, build_list));
    let build = routes.timed(Timed::Builds, build);
    let named = routes.roles(ASYNC_REBUILDERS, post(requests::named));
    let about = routes.allow(Allowed::Everybody, get(kinds::about));
    let metrics = routes.allow(Allowed::Metrics, get(metrics::metrics));
    let image = routes.readers(get(images::verify));
    let repository = routes.readers(get(images::verify_repository));
    let overrides = routes.readers(get(builds::pullspec_overrides));
    routes
        .add("events/", "OPTIONS, HEAD, GET", event_list)
        .add("events/{id}", "OPTIONS, HEAD, GET, PATCH", event)
        .add("builds/", "OPTIONS, HEAD, GET, POST", build_list)
        .add("builds/{id}", "OPTIONS, HEAD, GET", build)
        .add("async-builds/", "OPTIONS, POST", named)
        .add("about/", "OPTIONS, HEAD, GET", about)
        .add("verify-image/{image}", "OPTIONS, HEAD, GET", image)
        .add("verify-image-repository/{project}/{name}", "OPTIONS, HEAD, GET", repository)
        .add("pullspec_overrides/{id}", "OPTIONS, HEAD, GET", overrides)
        .add("monitor/metrics", "OPTIONS, HEAD, GET", metrics)
        .finish()
}

struct Routes {
    api: Api,
    router: Router<Api>,
}

impl Routes {
    fn allow(&self, allowed: Allowed, route: MethodRouter<Api>) -> MethodRouter<Api> {
        self.api.web.allow(allowed, route)
    }

    fn readers(&self, route: MethodRouter<Api>) -> MethodRouter<Api> {
        self.allow(Allowed::Readers, route)
    }

    fn roles(&self, roles: &'static [Role], route: MethodRouter<Api>) -> MethodRouter<Api> {
        self.allow(Allowed::Roles(roles), route).route_layer(from_fn_with_state(roles, worded))
    }

    fn timed(&self, what: Timed, route: MethodRouter<Api>) -> MethodRouter<Api> {
        route.route_layer(from_fn_with_state((self.api.clone(), what), timed))
    }

    /// Adds a route. A path that ends with a slash is redirected to if the slash is missing.
    fn add(mut self, path: &str, methods: &'static str, route: MethodRouter<Api>) -> Self {
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
        let list = self.allow(Allowed::Everybody, get(move || async move { names.list() }));
        let one = get(move |number: Number| async move { names.one(number) });
        let one = self.allow(Allowed::Everybody, one);
        let path = names.called().0;
        let routes = self.add(&format!("{path}/"), "OPTIONS, HEAD, GET", list);
        routes.add(&format!("{path}/{{id}}"), "OPTIONS, HEAD, GET", one)
    }

    fn finish(self) -> Router {
        let mut router = self.router;
        for version in ["/api/1", "/api/2"] {
            for path in ["", "/", "/{*path}"] {
                router = router.route(&format!("{version}{path}"), any(answer::no_such_path));
            }
        }
        router.with_state(self.api)
    }
}

fn methods_told(methods: &'static str) -> Response {
    [(header::ALLOW, methods), (header::CONTENT_TYPE, "text/html; charset=utf-8")].into_response()
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
