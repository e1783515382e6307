//! The REST interface of the Python service Freshmaker: `/api/1` and `/api/2`.
//!
//! Programs that speak to that service speak to [`FreshmakerApi`]: the same paths, keys, texts of
//! errors and page links. It uses the logins, roles, limits and audit log of
//! [freshmaker-web](freshmaker_web), and serves its `/api/3` beside.
//!
//! | path | answers |
//! |---|---|
//! | `GET event-types/`, `build-types/`, `build-states/` | names and numbers |
//! | `GET events/`, `events/{id}`, `builds/`, `builds/{id}` | the [forms](crate::forms) |
//! | `GET about/`, `monitor/metrics` | the service itself |
//! | `GET verify-image/{nvr}`, `verify-image-repository/{project}/{name}` | whether an image is rebuilt |
//! | `GET pullspec_overrides/{id}` | `null`: operator bundles are not rebuilt yet |
//! | `GET openapi.json` | the description of the version, as OpenAPI 3.1 |
//! | `POST builds/`, `POST async-builds/` | the event of a request |
//! | `PATCH events/{id}` with `{"action": "cancel"}` | the event |
//!
//! # Lists
//! `items` and `meta`, with `page` (from 1), `per_page` (10; at most 100) and `order_by`, which is
//! `-id` if it is missing. Events have the orders `id` and `message_id`, builds `id`, `name`,
//! `event_id`, `dep_on_id`, `build_id`, `original_nvr` and `rebuilt_nvr`. In another order than
//! that of `id`, all rows that fit the filter are read, and a list of more than 10,000 is refused.
//!
//! Filters of events, all of which may be repeated: `message_id`, `search_key`, `event_type_id`,
//! `requester`, `state` by number or name. Filters of builds: `type` and `state` by number or name,
//! `name`, `event_id`, `dep_on_id`, `build_id`, `original_nvr`, `rebuilt_nvr`, `event_type_id`,
//! `event_search_key`. A build that several events share is found by each of them, and shows one.
//! Parameters that are not known are ignored, as in the service. A list costs the same number of
//! storage calls, however long it is; in another order than that of `id`, one more for each 1,000
//! rows.
//!
//! Version 1 shows the builds of each event, version 2 how many are in which state;
//! `show_full_json=True` or `False` chooses the other one. If rows cannot be read, the answer has
//! the key `unreadable`, which says which.
//!
//! # Requests
//! A request is a message in the inbox of the engine, with the caller as requester. So the same
//! handlers serve the bus and this interface. The answer has the event that a handler has made of
//! it. If no handler has done so within [a few seconds](FreshmakerApi::wait), for example because
//! no engine runs, the answer is 202 and says where the message is; it is not lost. If the message
//! led to no event, the answer is 422 and says why.
//!
//! With an `Idempotency-Key` a request is the same message however often it is sent, as with
//! `POST /api/3/messages`, and the answer has the same event.
//!
//! Unknown keys are refused, and so are an advisory whose event is in progress (unless `force`) and
//! an event of another advisory or kind. Two requests for one advisory at the same moment may both
//! be accepted: they share their builds.
//!
//! A cancelled event is in its former state until what it started has ended. The answer waits for
//! that, no longer than for the event of a request, and has the state that is true then.
//!
//! An event is cancelled by who has asked for it or an administrator, here, in `/api/3` and by
//! message: see [`REQUEST_RULES`].
//!
//! # Metrics
//! Those of the service under its names. They are gauges of what is stored, which retention makes
//! smaller. `messaging_tx_to_send` is the number of notifications that a bus has not got yet, and
//! `messaging_tx_sent_ok` how many were stored and have got to every bus, by their positions, of
//! which a database may leave some out. One notification becomes up to four messages on each bus.
//! `messaging_tx_failed` is the number of messages that a bus has refused for good, among the 1,000
//! newest dead letters.
//!
//! # Errors
//! `{"status": 400, "error": "Bad Request", "message": "…"}`, also for unknown paths (404), wrong
//! methods (405), bodies that are not JSON (400, 415) and refusals by the layers of
//! freshmaker-web.

mod address;
mod answer;
mod builds;
mod cancel;
mod description;
mod events;
mod fields;
mod filters;
mod images;
mod kinds;
mod load;
mod metrics;
mod order;
mod paging;
mod requests;
mod routes;

use crate::contracts::{ImageRepositories, Images};
use crate::messages::request::{ASYNC_BUILD, AsyncBuild, CANCEL_EVENT, CancelEvent, MANUAL_REBUILD, ManualRebuild};
use freshmaker::time::to_micros;
use freshmaker_web::axum::Router;
use freshmaker_web::{RequestRule, Web};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Who may make the requests of this crate by message, as by their routes here.
/// [`FreshmakerApi`] gives them to its [`Web`]; a service that has these requests and only `/api/3`
/// gives them to [`Web::with_requests`].
pub const REQUEST_RULES: [RequestRule; 3] = [
    RequestRule::new::<ManualRebuild>(routes::REBUILDERS).read_by(MANUAL_REBUILD).requester_in("requester"),
    RequestRule::new::<AsyncBuild>(routes::ASYNC_REBUILDERS).read_by(ASYNC_BUILD).requester_in("requester"),
    RequestRule::new::<CancelEvent>(routes::REBUILDERS).read_by(CANCEL_EVENT).about_event("event_id"),
];

/// The REST interface of the Python service Freshmaker, beside that of freshmaker-web.
///
/// ```
/// use freshmaker::Client;
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_redhat::api::FreshmakerApi;
/// use freshmaker_web::axum::body::Body;
/// use freshmaker_web::axum::http::Request;
/// use freshmaker_web::{Config, Web};
/// use std::sync::Arc;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(Arc::new(MemoryStorage::new())); // or that of an engine
/// let mut config = Config::default();
/// config.access.read = "public".parse()?;
/// let api = FreshmakerApi::new(Web::new(client, config)).base_url("https://freshmaker.example.org");
///
/// let request = Request::get("/api/2/events/?state=building").body(Body::empty())?;
/// let answer = api.router().oneshot(request).await?;
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FreshmakerApi {
    web: Web,
    base: Option<String>,
    images: Option<Arc<dyn Images>>,
    repositories: Option<Arc<dyn ImageRepositories>>,
    wait: Duration,
}

impl fmt::Debug for FreshmakerApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { web, base, images, repositories, wait } = self;
        let mut shown = f.debug_struct("FreshmakerApi");
        shown.field("web", web).field("base", base).field("images", images);
        shown.field("repositories", repositories).field("wait", wait).finish()
    }
}

impl FreshmakerApi {
    /// The longest page of a list, in rows.
    pub const PER_PAGE_MAX: u32 = paging::PER_PAGE_MAX;

    /// Makes the interface over the client of this service, whose `/api/3` gets the
    /// [`REQUEST_RULES`].
    #[must_use]
    pub fn new(web: Web) -> Self {
        let web = web.with_requests(REQUEST_RULES);
        Self { web, base: None, images: None, repositories: None, wait: Duration::from_secs(5) }
    }

    /// Sets the address under which clients reach the service, for links between pages and for
    /// redirects: `https://freshmaker.example.org`. If it has a path, so have all addresses in
    /// answers. Without it, links have `http://` and the host that the request names, whichever
    /// that is.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base = Some(url.into().trim_end_matches('/').to_owned());
        self
    }

    /// Sets the catalog that `verify-image` asks. Without it, the answer is 501.
    #[must_use]
    pub fn images(mut self, images: Arc<dyn Images>) -> Self {
        self.images = Some(images);
        self
    }

    /// Sets the catalog that `verify-image-repository` asks, and `verify-image` about the
    /// repositories of its image. Without it, the first answers 501, and the second only says
    /// whether the image is published.
    #[must_use]
    pub fn repositories(mut self, repositories: Arc<dyn ImageRepositories>) -> Self {
        self.repositories = Some(repositories);
        self
    }

    /// Sets how long an answer waits for the event of a request, or for the end of an event that is
    /// cancelled. At most half of the time that a request may take
    /// ([`Limits::timeout`](freshmaker_web::Limits::timeout)). Default: 5 s.
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = time;
        self
    }

    /// Returns the routes of this interface and those of freshmaker-web.
    pub fn router(&self) -> Router {
        self.router_with(Router::new())
    }

    /// Returns the same with other routes behind the same layers, see [`Web::router_with`].
    pub fn router_with(&self, others: Router) -> Router {
        let routes = routes::all(&self.api()).into_router();
        answer::in_our_form(self.web.router_with(routes.merge(others)))
    }

    fn api(&self) -> Api {
        let Self { web, base, images, repositories, wait } = self.clone();
        let wait = wait.min(web.config().limits.timeout / 2);
        let (latest, times) = (AtomicI64::new(0), metrics::Times::default());
        Api(Arc::new(Shared { web, base, images, repositories, wait, latest, times }))
    }
}

/// What all routes share.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    web: Web,
    base: Option<String>,
    images: Option<Arc<dyn Images>>,
    repositories: Option<Arc<dyn ImageRepositories>>,
    wait: Duration,
    /// The moment of the latest message of this process, in microseconds.
    latest: AtomicI64,
    times: metrics::Times,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    /// Makes the identity of a message as the service does, from the time:
    /// `async_build_1768200000.25`. No two of one process are equal.
    fn fresh_message_id(&self, sort: &str) -> String {
        let now = to_micros(self.web.config().clock.now());
        let next = |latest: i64| Some(now.max(latest + 1));
        let before = self.latest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        let at = now.max(before + 1);
        let fraction = format!("{:06}", at.rem_euclid(1_000_000));
        let fraction = fraction.trim_end_matches('0');
        format!("{sort}_{}.{}", at.div_euclid(1_000_000), if fraction.is_empty() { "0" } else { fraction })
    }
}
