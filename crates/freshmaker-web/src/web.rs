//! The service: what all routes share.

use crate::audit::Audit;
use crate::auth::{Accepted, Allowed, Authenticators, Tokens};
use crate::config::Config;
use crate::documents::Store;
use crate::hub::Hub;
use crate::layers;
use crate::metrics::Counters;
use crate::open_builds::Lately;
use crate::page::Pages;
use crate::plans::PlanCache;
use crate::problem::{Problem, ProblemCode};
use crate::rate::RateLimit;
use crate::requests::RequestRule;
use crate::routes;
use crate::stages::Stages;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use freshmaker::Client;
use freshmaker::backend;
use freshmaker::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The REST API of a service, as a whole or in parts. Cheap to clone.
///
/// [`router`](crate::router) is enough for most services. A service that has routes of its own
/// which use the same logins, limits and audit log gives them to
/// [`router_with`](Self::router_with):
///
/// ```
/// use freshmaker::Client;
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_web::axum::Router;
/// use freshmaker_web::axum::routing::post;
/// use freshmaker_web::{Allowed, Caller, Config, Problem, Web};
/// use std::sync::Arc;
///
/// let client = Client::new(Arc::new(MemoryStorage::new()));
/// let web = Web::new(client, Config::default());
/// let state = web.clone();
/// let sweep = post(move |caller: Caller| async move {
///     state.audited(&caller, "sweep", "cache", async { Ok::<_, Problem>("swept") }).await
/// });
/// let own = Router::new().route("/sweep", web.allow(Allowed::ADMINS, sweep));
/// let router = web.router_with(own);
/// # drop(router);
/// ```
#[derive(Clone)]
pub struct Web {
    shared: Arc<Shared>,
    requests: Arc<[RequestRule]>,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

struct Shared {
    client: Client,
    config: Config,
    authenticators: Authenticators,
    audit: Audit,
    requests: RateLimit,
    refused_logins: RateLimit,
    accepted: Accepted,
    counters: Counters,
    hub: Hub,
    plans: PlanCache,
    lately: Lately,
    pages: Pages,
    stages: Stages,
}

impl Web {
    /// Makes the API over a client and its storage.
    #[must_use]
    pub fn new(client: Client, config: Config) -> Self {
        let store = Store::new(client.clone());
        let shared = Shared {
            authenticators: Authenticators::new(&store, &config),
            audit: Audit::new(store, config.limits.audit_rows),
            requests: RateLimit::new(config.limits.requests),
            refused_logins: RateLimit::new(config.limits.refused_logins),
            accepted: Accepted::default(),
            counters: Counters::default(),
            hub: Hub::new(client.clone(), config.limits.streams),
            plans: PlanCache::default(),
            lately: Lately::default(),
            pages: Pages::default(),
            stages: Stages::new(config.clock.now()),
            client,
            config,
        };
        Self { shared: Arc::new(shared), requests: [RequestRule::OF_ENGINE].into() }
    }

    /// Returns the same with rules of who may make which requests by message, beside those that it
    /// has. Of two rules for one topic the first counts. Routers that were made before do not have
    /// them.
    #[must_use]
    pub fn with_requests(mut self, rules: impl IntoIterator<Item = RequestRule>) -> Self {
        self.requests = self.requests.iter().copied().chain(rules).collect();
        self
    }

    /// All routes of the API, behind their layers.
    pub fn router(&self) -> Router {
        self.router_with(Router::new())
    }

    /// Returns the same with other routes behind the same layers: limits, logins, security headers,
    /// and problems as answers to what fails. A path that is there twice panics, as in axum.
    pub fn router_with(&self, others: Router) -> Router {
        let (own, _) = routes::all(self).into_parts();
        layers::around(self, own.merge(others))
    }

    /// Lets only those use a route who are allowed to; the others get 401 or 403. The audit log has
    /// each refusal, but for those of reads without a login. A route that is not given to this is
    /// open to everybody.
    pub fn allow<S: Clone + Send + Sync + 'static>(&self, allowed: Allowed, route: MethodRouter<S>) -> MethodRouter<S> {
        route.route_layer(from_fn_with_state((self.clone(), allowed), layers::guard))
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Returns the tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.shared.authenticators.tokens
    }

    pub(crate) fn request_rules(&self) -> &[RequestRule] {
        &self.requests
    }

    pub(crate) fn authenticators(&self) -> &Authenticators {
        &self.shared.authenticators
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    pub(crate) fn requests(&self) -> &RateLimit {
        &self.shared.requests
    }

    pub(crate) fn refused_logins(&self) -> &RateLimit {
        &self.shared.refused_logins
    }

    pub(crate) fn accepted(&self) -> &Accepted {
        &self.shared.accepted
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    pub(crate) fn plans(&self) -> &PlanCache {
        &self.shared.plans
    }

    pub(crate) fn lately(&self) -> &Lately {
        &self.shared.lately
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.shared.pages
    }

    pub(crate) fn stages(&self) -> &Stages {
        &self.shared.stages
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.config.clock.now()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.config.clock.elapsed()
    }

    /// Asks the storage, for no longer than
    /// [`Limits::storage_timeout`](crate::Limits::storage_timeout).
    ///
    /// # Errors
    /// That of the storage, or that it did not answer in time.
    pub async fn ask<T>(&self, question: impl Future<Output = backend::Result<T>>) -> Result<T, Problem> {
        self.within(ProblemCode::Unavailable, question).await
    }

    /// Changes something in the storage, for no longer than the same limit.
    ///
    /// # Errors
    /// That of the storage. If it did not answer in time, the change may have been made:
    /// [`ProblemCode::Unclear`].
    pub async fn change<T>(&self, change: impl Future<Output = backend::Result<T>>) -> Result<T, Problem> {
        self.within(ProblemCode::Unclear, change).await
    }

    async fn within<T>(&self, late: ProblemCode, call: impl Future<Output = backend::Result<T>>) -> Result<T, Problem> {
        let limit = self.config().limits.storage_timeout;
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(Problem::from),
            Err(_) => Err(Problem::new(late, format!("the storage did not answer within {} s", limit.as_secs()))),
        }
    }
}
