//! A REST API, and live pages for people, for services that embed [freshmaker]: they show what is
//! rebuilt and why, and let people with the right roles decide about it.
//!
//! [`router`] makes an axum router over a [`Client`]. A service serves it alone, or nests it in its
//! own:
//!
//! ```
//! use freshmaker::Client;
//! use freshmaker::memory::MemoryStorage;
//! use freshmaker_web::axum::Router;
//! use freshmaker_web::axum::body::Body;
//! use freshmaker_web::axum::http::Request;
//! use freshmaker_web::{Config, NewToken, Role, Tokens};
//! use std::sync::Arc;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Arc::new(MemoryStorage::new())); // or that of an engine
//! let config = Config::default(); // or from a file
//! config.check("0.0.0.0:8080".parse()?)?;
//! let service = Router::new().nest("/rebuilds", freshmaker_web::router(client, config));
//!
//! // A service gives the router to `freshmaker_web::serve`, or to `axum::serve`.
//! let request = Request::get("/rebuilds/api/3/events").body(Body::empty())?;
//! let answer = service.oneshot(request).await?;
//! assert_eq!(answer.status(), 401);
//! assert_eq!(answer.headers()["content-type"], "application/problem+json");
//! # Ok(())
//! # }
//! ```
//!
//! # What there is
//!
//! | path | gives | for |
//! |---|---|---|
//! | `/api/3/events…` | events, their plans (JSON, SVG, …), forecasts, exclusions and histories | readers |
//! | `/api/3/builds…`, `/api/3/attempts…` | builds, what they wait for, submissions, histories | readers |
//! | `/api/3/failures`, `POST …/retry` | failed builds by cause; retries the builds of one cause | readers, rebuilders |
//! | `/api/3/report` | how long events took, as JSON or CSV | readers |
//! | `/api/3/artifacts/{id}`, `…/explain?event=` | latest builds; why it is rebuilt or not | readers |
//! | `POST /api/3/plans`, `/api/3/plans/{hash}`, `…/diff`, `POST …/apply` | a preview of a plan, and applying exactly that plan | readers, rebuilders |
//! | `/api/3/counts`, `/api/3/systems`, `/api/3/pauses`, `POST /api/3/systems/{name}/pause`, `…/resume` | builds by reason; build systems | readers, administrators |
//! | `/api/3/stream` | changes as server-sent events, which resume | readers |
//! | `/api/3/overview`, `/stuck`, `/dead-letters`, `/messages/…` | counts, what does not move, messages | readers |
//! | `POST …/confirm`, `…/retry`, `POST /api/3/messages` | decisions, messages in | rebuilders |
//! | `POST …/cancel` | stops an event | the rebuilder who asked for the event, administrators |
//! | `POST …/give-up`, `…/resolve`, `…/requeue`, `…/dismiss` | repairs | administrators |
//! | `/api/3/tokens`, `/api/3/audit` | tokens; who did what | administrators |
//! | `/api/3/openapi.json`, `/healthz`, `/readyz`, `/problems/{code}` | description, health | everybody |
//! | `/metrics` | Prometheus | readers, or as configured |
//!
//! Readers, rebuilders (roles `admin` and `manual_rebuilder`) and administrators (`admin`) are
//! named in [`Config`]. For each kind of request that comes as a message, a [`RequestRule`] can say
//! who may make it; the rule also holds for previews, plans, confirmations and retries of that
//! request. The requester of a request by REST is the caller. Errors are problem details (RFC 9457)
//! with a [`ProblemCode`]. Lists have pages of at most 200 rows, with opaque cursors. Rows have
//! their version as `ETag`: with `If-None-Match` an unchanged row is not sent again, and with
//! `If-Match` a decision about another version is refused. Answers to reads are compressed with
//! gzip for callers who accept it.
//!
//! # Who calls
//!
//! * [`Tokens`] that the service issues, for programs.
//! * Headers of a trusted proxy, for people: [`ProxyConfig`].
//! * Bearer tokens of an OpenID Connect issuer: [`OidcConfig`], with the feature `oidc`.
//! * Without a login, on a listener of the loopback interface: [`Config::loopback`].
//!
//! Without configuration, only tokens are accepted. [`Config::check`] refuses a configuration that
//! would leave the service open to the network. Every write, and every refusal of a caller who sent
//! credentials or asked for a write, has a row in the audit log.
//!
//! # Pages
//!
//! With the feature `page` and a [`Config::page`], the service has pages for people. `/` shows what
//! needs a person; `/events`, `/builds`, `/artifacts/{id}`, `/plans/new`, `/queue`, `/failures`,
//! `/dead-letters`, `/report`, `/audit` and `/health` lead to all others. Pages and forms work
//! without JavaScript; with JavaScript the pages update by themselves. Each page has a link to its
//! JSON. People with a token sign in with it, for the time of [`PageConfig::session`].
//!
//! ```
//! use freshmaker_web::{Config, PageConfig};
//!
//! let mut config = Config::loopback();
//! let mut page = PageConfig::default();
//! page.limits.insert("koji".to_owned(), 20); // as the engine has them, for expected times
//! config.page = Some(page);
//! ```
//!
//! # Routes of your own
//!
//! [`Web::router_with`] puts routes of your own behind the same logins, limits and headers,
//! [`Web::allow`] says who may use a route, handlers take the [`Caller`], and [`Web::audited`] runs
//! a write with a row in the audit log.
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `oidc` | | bearer tokens of an OpenID Connect issuer |
//! | `otel` | | traces of events for a collector of OpenTelemetry: `TraceExporter` |
//! | `page` | | pages for people |
//!
//! # Limits
//!
//! [`Limits`] bounds requests, and each call to the storage. [`serve`] has the limits that a router
//! cannot have: for slow headers, connections, and the end of streams. There is no TLS, no HTTP/2
//! and no CORS: a proxy does the first two, and pages of other origins are not meant to use the
//! API. Counters of rates and metrics are per process.

mod api;
mod audit;
mod auth;
mod config;
mod documents;
mod extract;
mod hub;
mod layers;
mod limits;
mod metrics;
mod open_builds;
#[cfg(feature = "page")]
mod page;
#[cfg(not(feature = "page"))]
#[path = "no_page.rs"]
mod page;
mod page_config;
mod plans;
mod problem;
mod rate;
mod requests;
mod routes;
mod rows;
mod serve;
mod stages;
#[cfg(feature = "otel")]
mod traces;
mod web;
mod wire;

pub use audit::{AuditRow, Outcome};
pub use auth::{
    Allowed, Caller, IssuedToken, Members, Network, NetworkError, NewToken, OidcConfig, Principal, ProxyConfig,
    ReadAccess, Role, TokenInfo, Tokens,
};
pub use axum;
pub use config::{Access, Authentication, Config, ConfigError};
pub use extract::{JsonBody, Query, WholeBody};
pub use limits::Limits;
pub use page_config::PageConfig;
pub use problem::{FieldError, Problem, ProblemCode};
pub use rate::Quota;
pub use requests::RequestRule;
pub use serve::{ServeError, serve, serve_with_engine};
#[cfg(feature = "otel")]
pub use traces::{TraceConfig, TraceExporter, TraceSettings};
pub use web::Web;

use freshmaker::Client;

/// Returns the routes of the API over what a client reaches: `/api/3`, `/problems`, `/healthz`,
/// `/readyz` and `/metrics`. For more control see [`Web`].
pub fn router(client: Client, config: Config) -> axum::Router {
    Web::new(client, config).router()
}
