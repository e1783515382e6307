//! A REST API, and live pages for people, for services that embed [freshmaker]: what is rebuilt and
//! why, what people decide about it, and who may.
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
//! | `/api/3/failures`, `POST …/retry` | failed builds by cause; to do those of one cause over | readers, rebuilders |
//! | `/api/3/report` | how long events took, as JSON or CSV | readers |
//! | `/api/3/artifacts/{id}`, `…/explain?event=` | latest builds; why it is rebuilt or not | readers |
//! | `POST /api/3/plans`, `/api/3/plans/{hash}`, `…/diff`, `POST …/apply` | what would be done, and to do exactly that | readers, rebuilders |
//! | `/api/3/counts`, `/api/3/systems`, `/api/3/pauses`, `POST /api/3/systems/{name}/pause`, `…/resume` | builds by reason; build systems | readers, administrators |
//! | `/api/3/stream` | changes as server-sent events, which resume | readers |
//! | `/api/3/overview`, `/stuck`, `/dead-letters`, `/messages/…` | how it goes | readers |
//! | `POST …/confirm`, `…/retry`, `POST /api/3/messages` | decisions, messages in | rebuilders |
//! | `POST …/cancel` | stops an event | rebuilders who asked for it, administrators |
//! | `POST …/give-up`, `…/resolve`, `…/requeue`, `…/dismiss` | repairs | administrators |
//! | `/api/3/tokens`, `/api/3/audit` | tokens; who did what | administrators |
//! | `/api/3/openapi.json`, `/healthz`, `/readyz`, `/problems/{code}` | description, health | everybody |
//! | `/metrics` | Prometheus | readers, or as configured |
//!
//! Readers, rebuilders (roles `admin` and `manual_rebuilder`) and administrators (`admin`) are
//! named in [`Config`]. Who may ask for something by a message, and so by a preview, a plan, a
//! confirmation or a retry, may be said for its kind by a [`RequestRule`]; the requester of what
//! came by REST is the caller. Answers that fail are problem details (RFC 9457) with a
//! [`ProblemCode`]. Lists come in parts of at most 200 rows, with opaque cursors. Rows have their
//! version as `ETag`; `If-None-Match` saves an answer, and `If-Match` refuses a decision about
//! another version. What is read is compressed with gzip for callers who take it.
//!
//! # Who calls
//!
//! * [`Tokens`] that the service issues, for programs.
//! * Headers of a trusted proxy, for people: [`ProxyConfig`].
//! * Bearer tokens of an OpenID Connect issuer: [`OidcConfig`], with the feature `oidc`.
//! * Nobody has to, on a listener of the loopback interface: [`Config::loopback`].
//!
//! Without configuration, tokens alone are accepted. [`Config::check`] refuses a service that would
//! be open to the network. Every write, and every refusal of a caller who sent credentials or asked
//! for a write, has a row in the audit log.
//!
//! # Pages
//!
//! With the feature `page` and a [`Config::page`], the same is there for people: `/` is what needs
//! somebody, `/events`, `/builds`, `/artifacts/{id}`, `/plans/new`, `/queue`, `/failures`,
//! `/dead-letters`, `/report`, `/audit` and `/health` lead to the rest. Pages are read and written
//! without a script; with one they follow what happens. Each has a link to its JSON. People who
//! have a token sign in with it, for [`PageConfig::session`].
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
//! [`Web::router_with`] puts them behind the same logins, limits and headers, [`Web::allow`] says
//! who may use one, handlers take the [`Caller`], and [`Web::audited`] does what they do with a row
//! in the audit log.
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
//! [`Limits`] bounds what comes in, and each call to the storage. [`serve`] has the limits that a
//! router cannot have: slow headers, connections, streams at the end. There is no TLS, no HTTP/2
//! and no CORS: a proxy does the first two, and the pages of other origins have no business here.
//! The counters of rates and metrics are those of one process.

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
mod open;
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
