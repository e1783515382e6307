//! A fake ODCS: the REST interface of the real service, including its peculiarities, over composes
//! whose progress a test scripts.

mod form;
mod row;
mod service;

use freshmaker::backend::Clock;
use freshmaker::event::Message;
use freshmaker_net::Secret;
use freshmaker_testing::http::Server;
use serde_json::Value;
use service::Service;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a compose ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ends {
    /// It succeeds.
    #[default]
    Done,
    /// It fails for this reason.
    Failed(String),
    /// It never ends by itself: it waits until it is cancelled.
    Never,
}

/// The scripted progress of a compose. The default is a compose that is done at the first request
/// about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Course {
    /// How long the compose waits before the service starts to make it. Default: 0.
    pub waits: Duration,
    /// How long the service then takes to make it. Default: 0.
    pub takes: Duration,
    /// How the compose ends. Default: [`Ends::Done`].
    pub ends: Ends,
}

impl Course {
    /// Creates a course that waits, takes some time and succeeds.
    #[must_use]
    pub fn slow(waits: Duration, takes: Duration) -> Self {
        Self { waits, takes, ends: Ends::Done }
    }

    /// Creates a course that fails at once for this reason.
    pub fn failing(reason: impl Into<String>) -> Self {
        Self { ends: Ends::Failed(reason.into()), ..Self::default() }
    }

    /// Creates a course that waits until the compose is cancelled.
    #[must_use]
    pub fn hanging() -> Self {
        Self { ends: Ends::Never, ..Self::default() }
    }
}

/// A fault of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The service does nothing, and answers with this status and message.
    Status(u16, String),
    /// The service does nothing, and answers with a 500 that contains a 404, as for an unknown
    /// path.
    NotFoundInside,
    /// The service does nothing, and answers with an HTML page and status 200.
    Html,
    /// The service does nothing and does not answer.
    Silence,
    /// The request takes effect, and the connection breaks before the answer.
    Lost,
    /// The request takes effect, and the answer breaks off after this number of bytes, including
    /// the head.
    Cut(usize),
    /// The compose is stored and fails, because the queue of the service is unavailable; the answer
    /// is a 500.
    Unscheduled,
}

/// A fake ODCS on a free port of localhost. It stops when it is dropped.
///
/// ```
/// use freshmaker_redhat::odcs::{Compose, OdcsComposer, OdcsConfig};
/// use freshmaker::backend::{ComposeRequest, Composer};
/// use freshmaker::engine::SystemClock;
/// use freshmaker::rebuild::{AttemptId, Observed};
/// use freshmaker_redhat::fakes::odcs::FakeOdcs;
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let service = FakeOdcs::start(Arc::new(SystemClock)).await?;
/// let odcs = OdcsComposer::new(OdcsConfig::new(service.url()))?;
/// let compose = Compose::pulp(["rhel-9-for-x86_64-baseos-rpms"]);
/// let request = ComposeRequest {
///     attempt: AttemptId::from_random(7),
///     artifact: compose.artifact(),
///     parameters: compose.into(),
///     no_cache: false,
/// };
/// let id = odcs.prepare(&request).await?;
/// let found = odcs.status(&[id]).await?;
/// assert!(matches!(&found[0].observed, Observed::Succeeded(output) if output.name == "1"));
/// assert_eq!(service.violations(), [] as [String; 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "mock")]
pub struct FakeOdcs {
    server: Server,
    service: Arc<Mutex<Service>>,
    clock: Arc<dyn Clock>,
}

impl FakeOdcs {
    /// Starts a service without composes that follows this clock.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let service = Arc::new(Mutex::new(Service { koji_event: 19, ..Service::default() }));
        let (behind, time) = (Arc::clone(&service), Arc::clone(&clock));
        let server = Server::start(move |request| {
            let base = format!("http://{}", request.header("host").unwrap_or("localhost"));
            let reply = lock(&behind).reply(&request, time.now(), &base);
            async move { reply }
        })
        .await?;
        Ok(Self { server, service, clock })
    }

    /// Returns the base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// From now on, only requests with this token may write, and they count as requests of this
    /// user.
    pub fn require_token(&self, user: &str, token: &str) {
        lock(&self.service).user = Some((user.to_owned(), Secret::new(token)));
    }

    /// Sets the course of composes that are made from this source (a tag, a content set or a build)
    /// and requested after this call.
    pub fn script(&self, source: &str, course: Course) {
        lock(&self.service).courses.insert(source.to_owned(), course);
    }

    /// Makes the next request with this HTTP method fail in this way. Several faults for one method
    /// are used in the order of the calls.
    pub fn disturb(&self, method: &str, fault: Fault) {
        lock(&self.service).faults.push_back((method.to_owned(), fault));
    }

    /// Makes the service show this value for a property of a compose, whatever is true: what a
    /// service of another version, or a broken one, would answer. Does nothing if there is no such
    /// compose.
    pub fn disfigure(&self, id: u64, property: &str, shown: Value) {
        if let Some(row) = lock(&self.service).rows.get_mut(&id) {
            row.shown.insert(property.to_owned(), shown);
        }
    }

    /// Simulates a change in Koji: composes of tags that start later show another event.
    pub fn change_koji(&self) {
        lock(&self.service).koji_event += 1;
    }

    /// Deletes expired composes, as the service does from time to time.
    pub fn clean_up(&self) {
        lock(&self.service).clean_up(self.clock.now());
    }

    /// Returns all composes, in the order of their ids, as the service shows them.
    #[must_use]
    pub fn composes(&self) -> Vec<Value> {
        let mut service = lock(&self.service);
        service.advance(self.clock.now());
        service.rows.values().map(|row| row.json(&self.url(), true)).collect()
    }

    /// Returns the requests, such as `POST /api/1/composes/`, oldest first; at most the last
    /// 10,000.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.service).asked.iter().cloned().collect()
    }

    /// Returns the messages that were sent since the last call of this method: one for each change
    /// of a state.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let mut service = lock(&self.service);
        service.advance(self.clock.now());
        std::mem::take(&mut service.messages)
    }

    /// Returns what a correct client never causes: equal composes of one owner that are live at the
    /// same time. The list is empty if there are none.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.service).violations(self.clock.now())
    }
}

fn lock(service: &Mutex<Service>) -> MutexGuard<'_, Service> {
    // The service is consistent after every request.
    service.lock().unwrap_or_else(PoisonError::into_inner)
}
