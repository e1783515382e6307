//! The list of routes. A route cannot be registered without saying who may use it.
//!
//! A new route of the API is a function in `api/` and a line in `api` below; the test in this file
//! has the list a second time, as a check. Pages are listed in `page`.

use crate::api::{
    artifacts, builds, dead_letters, events, failures, messages, operations, plans, report, stream, systems, tokens,
};
use crate::auth::Allowed;
use crate::metrics;
use crate::page;
use crate::problem::{self, ProblemBody};
use crate::web::Web;
use axum::Router;
use axum::http::{Method, header};
use axum::routing::{MethodRouter, get};
use std::collections::BTreeMap;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Text, PathItem, Ref, ResponseBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

/// Routes, with who may use each.
pub(crate) struct Routes {
    web: Web,
    router: OpenApiRouter<Web>,
    allowed: BTreeMap<(String, String), Allowed>,
}

/// A page, or what one of its forms does: who may use it, its method, and its path.
pub(crate) type PageRoute = (Allowed, Method, &'static str, MethodRouter<Web>);

/// The description of the API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "freshmaker",
        description = "Rebuilds of what depends on what changed. Errors are problem details (RFC 9457). Lists come in parts: the next one is in the header `Link`, and in `next`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "events", description = "What happened, what is rebuilt because of it, and why"),
        (name = "builds", description = "Artifacts being rebuilt, and their submissions"),
        (name = "failures", description = "What failed, by its cause"),
        (name = "artifacts", description = "One artifact over time"),
        (name = "plans", description = "What would be done, and to do exactly that"),
        (name = "systems", description = "Build systems, and how many builds each has"),
        (name = "messages", description = "Messages in, and those that could not be handled"),
        (name = "operations", description = "How the service is"),
        (name = "administration", description = "Tokens and the audit log"),
    ),
    components(schemas(ProblemBody)),
    security((), ("bearer" = [])),
)]
struct Description;

impl Routes {
    fn new(web: &Web) -> Self {
        let mut description = Description::openapi();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        description.components.get_or_insert_default().add_security_scheme("bearer", bearer);
        Self { web: web.clone(), router: OpenApiRouter::with_openapi(description), allowed: BTreeMap::new() }
    }

    /// Adds a route that the description has.
    fn add(mut self, allowed: Allowed, (schemas, paths, route): UtoipaMethodRouter<Web>) -> Self {
        for (path, item) in &paths.paths {
            let operations = [(Method::GET, &item.get), (Method::POST, &item.post), (Method::DELETE, &item.delete)];
            for (method, _) in operations.iter().filter(|(_, operation)| operation.is_some()) {
                self.allowed.insert((method.to_string(), path.clone()), allowed);
            }
        }
        let route = self.web.allow(allowed, route);
        self.router = self.router.routes((schemas, paths, route));
        self
    }

    /// Adds a route whose description is that of others.
    fn add_as(
        mut self,
        allowed: Allowed,
        path: &str,
        route: MethodRouter<Web>,
        described: impl IntoIterator<Item = UtoipaMethodRouter<Web>>,
    ) -> Self {
        self.allowed.insert((Method::GET.to_string(), path.to_owned()), allowed);
        self.router = self.router.route(path, self.web.allow(allowed, route));
        let description = self.router.get_openapi_mut();
        for (schemas, paths, _) in described {
            description.paths.paths.extend(paths.paths);
            description.components.get_or_insert_default().schemas.extend(schemas);
        }
        self
    }

    /// Adds a page, or what one of its forms does; the description does not have it.
    fn page(mut self, (allowed, method, path, route): PageRoute) -> Self {
        self.router = self.router.route(path, self.web.allow(allowed, route));
        self.allowed.insert((method.to_string(), path.to_owned()), allowed);
        self
    }

    /// The router, and who may use which method of which path.
    pub(crate) fn into_parts(self) -> (Router, BTreeMap<(String, String), Allowed>) {
        let (router, mut description) = self.router.split_for_parts();
        complete(&mut description);
        let text = description.to_pretty_json().expect("a description has texts for keys");
        let description = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], text) });
        let mut allowed = self.allowed;
        let router = router.route("/api/3/openapi.json", self.web.allow(Allowed::Everybody, description));
        allowed.insert((Method::GET.to_string(), "/api/3/openapi.json".to_owned()), Allowed::Everybody);
        (router.with_state(self.web), allowed)
    }
}

/// Says of every operation that it may be answered with a problem, and names each by its tag and
/// its function: functions of two files may have the same name.
fn complete(description: &mut Text) {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let problem = ResponseBuilder::new().description("A problem").content("application/problem+json", body).build();
    for PathItem { get, post, delete, .. } in description.paths.paths.values_mut() {
        for operation in [get, post, delete].into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), problem.clone().into());
            let tag = operation.tags.iter().flatten().next();
            operation.operation_id = operation.operation_id.take().zip(tag).map(|(id, tag)| format!("{tag}_{id}"));
        }
    }
}

/// All routes: the API, and the pages if they are configured.
pub(crate) fn all(web: &Web) -> Routes {
    let pages = if web.config().page.is_some() { page::routes() } else { Vec::new() };
    pages.into_iter().fold(api(web), Routes::page)
}

fn api(web: &Web) -> Routes {
    let (readers, rebuilders, admins) = (Allowed::Readers, Allowed::REBUILDERS, Allowed::ADMINS);
    let requesters = Allowed::REQUESTERS;
    Routes::new(web)
        .add(readers, routes!(events::list))
        .add(readers, routes!(events::one))
        .add(readers, routes!(events::forecast))
        .add(readers, routes!(events::plan))
        .add(readers, routes!(events::excluded))
        .add(readers, routes!(events::transitions))
        .add(rebuilders, routes!(events::cancel))
        .add(requesters, routes!(events::confirm))
        .add(requesters, routes!(events::retry))
        .add(readers, routes!(builds::list))
        .add(readers, routes!(builds::one))
        .add(readers, routes!(builds::waiting_for))
        .add(readers, routes!(builds::attempts))
        .add(readers, routes!(builds::transitions))
        .add(admins, routes!(builds::give_up))
        .add(readers, routes!(builds::attempt_transitions))
        .add(admins, routes!(builds::resolve))
        .add_as(
            readers,
            "/api/3/artifacts/{*id}",
            get(artifacts::below),
            [routes!(artifacts::latest), routes!(artifacts::explain)],
        )
        .add(requesters, routes!(plans::preview))
        .add(readers, routes!(plans::one))
        .add(requesters, routes!(plans::diff))
        .add(requesters, routes!(plans::apply))
        .add(readers, routes!(failures::list))
        .add(rebuilders, routes!(failures::retry))
        .add(readers, routes!(report::report))
        .add(readers, routes!(systems::list))
        .add(readers, routes!(systems::pauses))
        .add(admins, routes!(systems::pause))
        .add(admins, routes!(systems::resume))
        .add(readers, routes!(systems::counts))
        .add(readers, routes!(dead_letters::list))
        .add(admins, routes!(dead_letters::requeue))
        .add(admins, routes!(dead_letters::dismiss))
        .add(requesters, routes!(messages::send))
        .add(readers, routes!(messages::one))
        .add(readers, routes!(stream::stream))
        .add(readers, routes!(operations::overview))
        .add(readers, routes!(operations::stuck))
        .add(admins, routes!(tokens::list))
        .add(admins, routes!(tokens::issue))
        .add(admins, routes!(tokens::revoke))
        .add(admins, routes!(tokens::audit))
        .add(Allowed::Metrics, routes!(metrics::metrics))
        .add(Allowed::Everybody, routes!(operations::healthz))
        .add(Allowed::Everybody, routes!(operations::readyz))
        .add_as(Allowed::Everybody, "/problems/{code}", get(problem::page), [])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{NewToken, Role};
    use crate::config::Config;
    use crate::page_config::PageConfig;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use freshmaker::Client;
    use freshmaker::memory::MemoryStorage;
    use freshmaker_testing::world::TokioClock;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;
    use tower::ServiceExt;

    /// Who may use which route, written down a second time: a new route is added here as well.
    const STATED: &str = "
        GET /api/3/events readers
        GET /api/3/events/{id} readers
        GET /api/3/events/{id}/forecast readers
        GET /api/3/events/{id}/plan readers
        GET /api/3/events/{id}/excluded readers
        GET /api/3/events/{id}/transitions readers
        POST /api/3/events/{id}/cancel admin manual_rebuilder
        POST /api/3/events/{id}/confirm admin manual_rebuilder freshmaker_async_rebuilders
        POST /api/3/events/{id}/retry admin manual_rebuilder freshmaker_async_rebuilders
        GET /api/3/builds readers
        GET /api/3/builds/{id} readers
        GET /api/3/builds/{id}/waiting-for readers
        GET /api/3/builds/{id}/attempts readers
        GET /api/3/builds/{id}/transitions readers
        POST /api/3/builds/{id}/give-up admin
        GET /api/3/attempts/{id}/transitions readers
        POST /api/3/attempts/{id}/resolve admin
        GET /api/3/artifacts/{*id} readers
        POST /api/3/plans admin manual_rebuilder freshmaker_async_rebuilders
        GET /api/3/plans/{hash} readers
        GET /api/3/plans/{hash}/diff admin manual_rebuilder freshmaker_async_rebuilders
        POST /api/3/plans/{hash}/apply admin manual_rebuilder freshmaker_async_rebuilders
        GET /api/3/failures readers
        POST /api/3/failures/retry admin manual_rebuilder
        GET /api/3/report readers
        GET /api/3/systems readers
        GET /api/3/pauses readers
        POST /api/3/systems/{system}/pause admin
        POST /api/3/systems/{system}/resume admin
        GET /api/3/counts readers
        GET /api/3/dead-letters readers
        POST /api/3/dead-letters/{source}/{id}/requeue admin
        POST /api/3/dead-letters/{source}/{id}/dismiss admin
        POST /api/3/messages admin manual_rebuilder freshmaker_async_rebuilders
        GET /api/3/messages/{source}/{id} readers
        GET /api/3/stream readers
        GET /api/3/overview readers
        GET /api/3/stuck readers
        GET /api/3/tokens admin
        POST /api/3/tokens admin
        DELETE /api/3/tokens/{id} admin
        GET /api/3/audit admin
        GET /api/3/openapi.json everybody
        GET /metrics readers
        GET /healthz everybody
        GET /readyz everybody
        GET /problems/{code} everybody
        GET / readers
        GET /events readers
        GET /events/{id} readers
        GET /events/{id}/graph readers
        GET /events/{id}/not-rebuilt readers
        POST /events/{id}/cancel admin manual_rebuilder
        POST /events/{id}/confirm admin manual_rebuilder
        POST /events/{id}/retry admin manual_rebuilder
        GET /builds readers
        GET /builds/{id} readers
        POST /builds/{id}/give-up admin
        POST /attempts/{id}/resolve admin
        GET /artifacts/{*id} readers
        GET /search readers
        GET /plans/new admin manual_rebuilder
        POST /plans admin manual_rebuilder
        GET /plans/{hash} readers
        GET /plans/{hash}/diff admin manual_rebuilder
        POST /plans/{hash}/apply admin manual_rebuilder
        GET /queue readers
        POST /systems/{system}/pause admin
        POST /systems/{system}/resume admin
        GET /failures readers
        POST /failures/retry admin manual_rebuilder
        GET /dead-letters readers
        GET /messages/{source}/{id} readers
        POST /messages/{source}/{id}/requeue admin
        POST /messages/{source}/{id}/dismiss admin
        GET /report readers
        GET /audit admin
        GET /health readers
        GET /sign-in everybody
        POST /sign-in everybody
        POST /sign-out everybody
        GET /assets/{name} everybody
    ";

    fn stated() -> BTreeMap<(String, String), Vec<&'static str>> {
        let lines = STATED.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let lines = lines.filter(|words| !words.is_empty());
        lines.map(|words| ((words[0].to_owned(), words[1].to_owned()), words[2..].to_vec())).collect()
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let web = Web::new(Client::new(Arc::new(MemoryStorage::new())), Config::default());
        let (_, mut description) = api(&web).router.split_for_parts();
        complete(&mut description);
        let items = description.paths.paths.values();
        let operations = items.flat_map(|item| [&item.get, &item.post, &item.delete]).flatten();
        let mut names: Vec<_> = operations.map(|operation| operation.operation_id.clone().unwrap()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[test]
    fn every_route_is_stated() {
        let config = Config { page: Some(PageConfig::default()), ..Config::default() };
        let web = Web::new(Client::new(Arc::new(MemoryStorage::new())), config);
        let (_, allowed) = all(&web).into_parts();
        let there: BTreeSet<_> = allowed.keys().collect();
        let stated = stated();
        assert_eq!(there, stated.keys().collect(), "say who may use the route in STATED");
        for (route, allowed) in &allowed {
            let who = match allowed {
                Allowed::Everybody => vec!["everybody"],
                Allowed::Readers | Allowed::Metrics => vec!["readers"],
                Allowed::Roles(roles) => roles.iter().map(|role| role.as_str()).collect(),
            };
            assert_eq!(who, stated[route], "{route:?}");
        }
    }

    /// Every route is asked by every sort of caller, with every sort of read access.
    #[tokio::test(start_paused = true)]
    async fn the_matrix_of_roles_holds() {
        let callers: Vec<Option<Vec<Role>>> =
            [None, Some(vec![])].into_iter().chain(Role::ALL.iter().map(|role| Some(vec![*role]))).collect();
        for read in ["public", "authenticated", "manual_rebuilder"] {
            let mut config = Config { page: Some(PageConfig::default()), ..Config::default() };
            (config.access.read, config.access.metrics) = (read.parse().unwrap(), read.parse().unwrap());
            let clock = Arc::new(TokioClock::new());
            config.clock = clock.clone();
            let web = Web::new(Client::new(Arc::new(MemoryStorage::new().with_clock(clock))), config);
            let router = web.router();
            for ((method, path), who) in stated() {
                for roles in &callers {
                    let path = path.replace("{*id}", "x").replace("{id}", "1").replace("{source}", "s");
                    let path = path.replace("{hash}", "h").replace("{system}", "s").replace("{name}", "n");
                    let path = path.replace("{code}", "internal");
                    let mut request = Request::builder().method(method.as_str()).uri(&path);
                    if let Some(roles) = roles {
                        let new = NewToken::new("t", roles.iter().copied(), Duration::from_secs(60));
                        let token = web.tokens().issue(new, "test").await.unwrap().token;
                        request = request.header("authorization", format!("Bearer {token}"));
                    }
                    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                    let has = |name: &str| roles.iter().flatten().any(|role| role.as_str() == name);
                    let allowed = match who[0] {
                        "everybody" => true,
                        "readers" => match read {
                            "public" => true,
                            "authenticated" => roles.is_some(),
                            role => has(role) || has("admin"),
                        },
                        _ => who.iter().any(|role| has(role)),
                    };
                    let status = response.status();
                    let case = format!("{method} {path} by {roles:?}, read = {read}: {status}");
                    match (allowed, roles) {
                        (true, _) => {
                            assert!(![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status), "{case}");
                        }
                        (false, None) => assert_eq!(status, StatusCode::UNAUTHORIZED, "{case}"),
                        (false, Some(_)) => assert_eq!(status, StatusCode::FORBIDDEN, "{case}"),
                    }
                    assert!(!status.is_server_error(), "{case}");
                    // Rates are not what is tested here.
                    tokio::time::advance(Duration::from_secs(1)).await;
                }
            }
        }
    }
}
