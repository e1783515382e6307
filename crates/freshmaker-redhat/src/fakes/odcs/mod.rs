//! A fake ODCS: the real one's REST interface, oddities included, over composes that get on as a script says.

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
    /// Well.
    #[default]
    Done,
    /// Badly, for this reason.
    Failed(String),
    /// Not: it waits until it is cancelled.
    Never,
}

/// What becomes of a compose. The default is that it is done as soon as somebody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Course {
    /// How long it waits to be made.
    pub waits: Duration,
    /// How long it is then being made.
    pub takes: Duration,
    /// How that ends.
    pub ends: Ends,
}

impl Course {
    /// Made in this time after waiting so long.
    #[must_use]
    pub fn slow(waits: Duration, takes: Duration) -> Self {
        Self { waits, takes, ends: Ends::Done }
    }

    /// Fails for this reason.
    pub fn failing(reason: impl Into<String>) -> Self {
        Self { ends: Ends::Failed(reason.into()), ..Self::default() }
    }

    /// Waits until it is cancelled.
    #[must_use]
    pub fn hanging() -> Self {
        Self { ends: Ends::Never, ..Self::default() }
    }
}

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is done, and the answer has this status and message.
    Status(u16, String),
    /// Nothing is done, and the answer is a 500 with a 404 inside, as for a path that there is not.
    NotFoundInside,
    /// Nothing is done, and the answer is a page for people.
    Html,
    /// Nothing is done, and there is no answer.
    Silence,
    /// The request takes effect, and there is no answer: the connection breaks.
    Lost,
    /// The request takes effect, and the answer breaks off after so many bytes, the head included.
    Cut(usize),
    /// The compose is stored, and fails because the queue of the service is away; the answer is a 500.
    Unscheduled,
}

/// An ODCS on a port of its own of the local machine.
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
pub struct FakeOdcs {
    server: Server,
    service: Arc<Mutex<Service>>,
    clock: Arc<dyn Clock>,
}

impl FakeOdcs {
    /// A service without composes, whose time is that of this clock.
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

    /// Where it is, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// From now on, only this user may write, with this token.
    pub fn require_token(&self, user: &str, token: &str) {
        lock(&self.service).user = Some((user.to_owned(), Secret::new(token)));
    }

    /// What becomes of composes that are made from this (a tag, a content set, a build), if they are asked for after this.
    pub fn script(&self, source: &str, course: Course) {
        lock(&self.service).courses.insert(source.to_owned(), course);
    }

    /// The next request by this method goes wrong; several add up.
    pub fn disturb(&self, method: &str, fault: Fault) {
        lock(&self.service).faults.push_back((method.to_owned(), fault));
    }

    /// Something happened in Koji: tags have other contents.
    pub fn change_koji(&self) {
        lock(&self.service).koji_event += 1;
    }

    /// Deletes what has expired, as the service does now and then.
    pub fn clean_up(&self) {
        lock(&self.service).clean_up(self.clock.now());
    }

    /// All composes there ever were, in order, as the service shows them.
    #[must_use]
    pub fn composes(&self) -> Vec<Value> {
        let mut service = lock(&self.service);
        service.advance(self.clock.now());
        service.rows.values().map(|row| row.json(&self.url(), true)).collect()
    }

    /// What was asked, as `POST /api/1/composes/`, in order; of very many the last.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.service).asked.iter().cloned().collect()
    }

    /// The messages that were sent since this was last called: one for each change of a state.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let mut service = lock(&self.service);
        service.advance(self.clock.now());
        std::mem::take(&mut service.messages)
    }

    /// What a careful client does not let happen: equal composes of one owner that live at the same time.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.service).violations(self.clock.now())
    }
}

fn lock(service: &Mutex<Service>) -> MutexGuard<'_, Service> {
    // Whole after every request.
    service.lock().unwrap_or_else(PoisonError::into_inner)
}
