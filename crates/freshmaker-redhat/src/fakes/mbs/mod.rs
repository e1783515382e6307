//! A fake MBS: submissions, states, lists and cancellation, with its refusal to build a commit
//! twice.

mod service;

use super::wire::lock;
use crate::messages::mbs::ModuleState;
use freshmaker::backend::Clock;
use freshmaker::event::Message;
use freshmaker_testing::http::{Reply, Server};
use serde_json::Value;
use service::Service;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Describes a stream of a module.
///
/// ```
/// use freshmaker_redhat::fakes::mbs::FakeModule;
///
/// let module = FakeModule::new("perl", "5.26").with_component("perl-libs", Some("f29"));
/// let module = module.in_contexts(2);
/// assert_eq!(module.source(), "https://src.example.com/modules/perl");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct FakeModule {
    name: String,
    stream: String,
    components: BTreeMap<String, Option<String>>,
    contexts: u32,
}

impl FakeModule {
    /// Makes a module without components that is built in one context.
    pub fn new(name: &str, stream: &str) -> Self {
        Self { name: name.to_owned(), stream: stream.to_owned(), components: BTreeMap::new(), contexts: 1 }
    }

    /// Adds a package that it is built from, and the branch that its metadata name.
    pub fn with_component(mut self, package: &str, branch: Option<&str>) -> Self {
        self.components.insert(package.to_owned(), branch.map(str::to_owned));
        self
    }

    /// Sets how many builds each submission makes.
    pub fn in_contexts(self, contexts: u32) -> Self {
        Self { contexts, ..self }
    }

    /// Returns the repository of its metadata.
    #[must_use]
    pub fn source(&self) -> String {
        format!("https://src.example.com/modules/{}", self.name)
    }

    fn id(&self) -> String {
        format!("{}:{}", self.name, self.stream)
    }

    fn metadata(&self) -> String {
        let mut text =
            format!("document: modulemd\nversion: 2\ndata:\n  name: {}\n  components:\n    rpms:\n", self.name);
        for (package, branch) in &self.components {
            let branch = branch.as_ref().map_or(String::new(), |branch| format!("\n        ref: \"{branch}\""));
            text.push_str(&format!("      {package}:\n        rationale: needed{branch}\n"));
        }
        text
    }
}

/// The scripted progress of a build. The default is a build that is ready at the first request
/// about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Course {
    /// How long it takes; `None` if it ends only when it is cancelled.
    pub takes: Option<Duration>,
    /// Why it fails; `None` if it succeeds.
    pub fails: Option<String>,
}

impl Default for Course {
    fn default() -> Self {
        Self { takes: Some(Duration::ZERO), fails: None }
    }
}

impl Course {
    /// Creates a course that succeeds after this time.
    #[must_use]
    pub fn slow(takes: Duration) -> Self {
        Self { takes: Some(takes), fails: None }
    }

    /// Creates a course that fails at once for this reason.
    pub fn failing(reason: impl Into<String>) -> Self {
        Self { fails: Some(reason.into()), ..Self::default() }
    }

    /// Creates a course that runs until the build is cancelled.
    #[must_use]
    pub fn hanging() -> Self {
        Self { takes: None, fails: None }
    }
}

/// A fault of one request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The service does nothing, and this is the answer.
    Reply(Reply),
    /// The request takes effect, and the connection breaks before the answer.
    Lost,
}

/// Serves a fake MBS on a free port of localhost. It stops when it is dropped.
///
/// ```
/// use freshmaker::engine::SystemClock;
/// use freshmaker_redhat::fakes::mbs::{FakeMbs, FakeModule};
/// use freshmaker_redhat::contracts::Modules;
/// use freshmaker_redhat::mbs::{MbsBuildSystem, MbsConfig};
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let service = FakeMbs::start(Arc::new(SystemClock)).await?;
/// let module = FakeModule::new("perl", "5.26").with_component("perl-libs", Some("f29"));
/// service.add(module, "f1d2d2f9");
/// let mbs = MbsBuildSystem::new(MbsConfig::new(service.url()))?;
/// let found = mbs.containing(&["perl-libs".to_owned()].into()).await?;
/// assert_eq!((found[0].id().as_str(), found[0].commit.as_str()), ("perl:5.26", "f1d2d2f9"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "mock")]
pub struct FakeMbs {
    server: Server,
    service: Arc<Mutex<Service>>,
    clock: Arc<dyn Clock>,
}

impl FakeMbs {
    /// Starts a service without modules that follows this clock.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let service = Arc::new(Mutex::new(Service::default()));
        let (behind, time) = (Arc::clone(&service), Arc::clone(&clock));
        let server = Server::start(move |request| {
            let reply = lock(&behind).reply(&request, time.now());
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

    /// Adds a module that can be built, without a build.
    pub fn declare(&self, module: FakeModule) {
        lock(&self.service).modules.push(module);
    }

    /// Adds a module, and a build of this commit that is ready, which its maintainer submitted.
    pub fn add(&self, module: FakeModule, commit: &str) {
        let mut service = lock(&self.service);
        let now = self.clock.now();
        let ids = service.store(&module, commit, "maintainer", false, now);
        for id in ids {
            if let Some(row) = service.rows.get_mut(&id) {
                row.state = ModuleState::Ready;
            }
        }
        service.modules.push(module);
    }

    /// Sets the course of builds of this module (`perl:5.26`) that are submitted after this call.
    pub fn script(&self, module: &str, course: Course) {
        lock(&self.service).courses.insert(module.to_owned(), course);
    }

    /// From now on, only requests with this token may submit and cancel.
    pub fn require_token(&self, token: &str) {
        lock(&self.service).token = Some(token.to_owned());
    }

    /// Makes the next request with this HTTP method fail in this way. Several faults for one method
    /// are used in the order of the calls.
    pub fn disturb(&self, method: &str, fault: Fault) {
        lock(&self.service).faults.push_back((method.to_owned(), fault));
    }

    /// Returns the bodies of the submissions that were understood, oldest first.
    #[must_use]
    pub fn submitted(&self) -> Vec<Value> {
        lock(&self.service).submitted.clone()
    }

    /// Returns the number and the state of each build, with its commit.
    #[must_use]
    pub fn builds(&self) -> Vec<(u64, ModuleState, String)> {
        let mut service = lock(&self.service);
        service.advance(self.clock.now());
        service.rows.values().map(|row| (row.id, row.state, row.commit.clone())).collect()
    }

    /// Returns the requests with their paths and queries, oldest first; at most the last 10,000.
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
}
