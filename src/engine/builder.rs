//! Collects and checks the configuration of an engine, or of a preview.
//!
//! Nothing is called here: no backend is asked before `Engine::run_until` or the first use of a
//! client. A mistake is found by `build` or `preview`, and the first one is returned.

use super::core::{Core, Parts};
use super::decision::Decider;
use super::guarded::{Guarded, GuardedCatalog};
use super::hints::Hints;
use super::options::Options;
use super::registry::Registry;
use super::{Announcer, Engine, Preview, SystemClock};
use crate::backend::{
    BuildSystem, Bus, Catalog, Clock, Composer, ComposerSystem, DryRun, Retention, Storage, Verifier,
};
use crate::client::Client;
use crate::event::{Event, Message, Parsers};
use crate::handler::{Catalogs, Handler, Readable, name_of};
use crate::policy::Policy;
use crate::rebuild::{BuildMode, ConcurrencyLimits, ExternalId, Limits};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Says why an engine cannot be built from this configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No storage was set.
    #[error("an engine needs a storage: call .storage(..)")]
    NoStorage,
    /// No catalog was added.
    #[error("an engine needs a catalog: call .catalog(name, ..)")]
    NoCatalog,
    /// No handler was added, so nothing would ever be decided.
    #[error("an engine needs a handler: call .on(..)")]
    NoHandler,
    /// Two buses, catalogs, build systems, verifiers or handlers have the same name.
    #[error("two {sort} are called {name:?}; names are stored, so each needs its own")]
    Duplicate {
        /// What has the name: `buses`, `catalogs`, `build systems`, `verifiers` or `handlers`.
        sort: &'static str,
        /// The name.
        name: String,
    },
    /// A bus has a name that the engine uses as the source of its own messages, or a build system
    /// that of the queue of single dry runs.
    #[error("no bus or build system can be called {0:?}: the engine itself stores rows under this name")]
    ReservedName(String),
    /// Two handlers read events of one kind into different types, so at least one of them could not
    /// read what is meant for the other.
    #[error("the handlers {} and {} get events of the kind {kind:?} as two types", handlers[0], handlers[1])]
    Kind {
        /// The kind of both types.
        kind: &'static str,
        /// The names of the handlers.
        handlers: [String; 2],
    },
    /// A name that is stored and shown has no visible character, begins or ends with white space,
    /// or has control characters.
    #[error("{0:?} cannot be a name: it is empty, or has white space at its ends or control characters")]
    Name(String),
    /// A limit is 0, with which the engine could do nothing; the text names the limit.
    #[error("{0} is zero: nothing would ever be done")]
    Zero(&'static str),
    /// The policy has rules for a handler that is not registered.
    #[error("the policy has rules for the handler {0:?}, but no such handler is registered")]
    UnknownHandler(String),
    /// A limit, a verifier or hints are set for a build system that is not registered.
    #[error("something is set for the build system {0:?}, but no such system is registered")]
    UnknownSystem(String),
    /// The policy has a condition about a fact that nothing adds; see
    /// [`EngineBuilder::facts`].
    #[error(transparent)]
    UnknownFact(crate::policy::PolicyError),
}

/// Collects the parts of an [`Engine`]. Buses, catalogs and build systems are registered by name;
/// names are stored.
///
/// It needs a storage, a catalog and a handler; everything else has a default.
///
/// ```
/// use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
/// use freshmaker::engine::ConfigError;
/// use freshmaker::handler::rebuild_requested;
/// use freshmaker::rebuild::Limits;
/// use freshmaker::{ArtifactGraph, Engine};
/// use std::{sync::Arc, time::Duration};
///
/// let mut limits = Limits::default();
/// limits.attempt_timeout = Duration::from_secs(3600);
/// let builder = Engine::builder()
///     .storage(Arc::new(MemoryStorage::new()))
///     .catalog("images", Arc::new(MemoryCatalog::new(ArtifactGraph::new())))
///     .build_system("farm", Arc::new(MemoryBuildSystem::new()))
///     .limit("farm", 4)
///     .limits(limits)
///     .shutdown_grace(Duration::from_secs(5));
/// assert_eq!(builder.build().unwrap_err(), ConfigError::NoHandler);
/// # let _ = Engine::builder().on_as("by-hand", rebuild_requested);
/// ```
#[derive(Debug)]
#[must_use]
pub struct EngineBuilder {
    storage: Option<Arc<dyn Storage>>,
    buses: BTreeMap<String, Arc<dyn Bus>>,
    catalogs: BTreeMap<String, Arc<dyn Catalog>>,
    systems: BTreeMap<String, Arc<dyn BuildSystem>>,
    verifiers: BTreeMap<String, Arc<dyn Verifier>>,
    hints: Hints,
    announcers: Vec<Box<dyn Announcer>>,
    concurrency: BTreeMap<String, u32>,
    registry: Registry,
    parsers: Parsers,
    policy: Policy,
    facts: BTreeSet<String>,
    mode: BuildMode,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    limits: Limits,
    options: Options,
    /// The first name that was used twice; `build` returns it.
    wrong: Option<ConfigError>,
}

impl EngineBuilder {
    pub(super) fn new() -> Self {
        Self {
            storage: None,
            buses: BTreeMap::new(),
            catalogs: BTreeMap::new(),
            systems: BTreeMap::new(),
            verifiers: BTreeMap::new(),
            hints: Hints::default(),
            announcers: Vec::new(),
            concurrency: BTreeMap::new(),
            registry: Registry::default(),
            parsers: Parsers::default(),
            policy: Policy::allow_all(),
            facts: BTreeSet::new(),
            mode: BuildMode::Real,
            clock: Arc::new(SystemClock),
            seed: None,
            limits: Limits::default(),
            options: Options::default(),
            wrong: None,
        }
    }

    /// Sets the storage, which keeps everything that must survive a restart. Required.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Adds a bus, from which messages come and to which notifications go. There may be several, or
    /// none if events only come through the [`Client`].
    ///
    /// The name is the source of its messages, and a message is identified by source and id. The
    /// names [`Client::LOCAL`], [`Client::EMITTED`] and [`Client::REFUSED`] are reserved.
    pub fn bus(mut self, name: impl Into<String>, bus: Arc<dyn Bus>) -> Self {
        let name = name.into();
        if self.buses.insert(name.clone(), bus).is_some() {
            self.repeated("buses", name);
        }
        self
    }

    /// Adds a catalog of artifacts and their dependencies. At least one is required; several are
    /// read as one graph.
    pub fn catalog(mut self, name: impl Into<String>, catalog: Arc<dyn Catalog>) -> Self {
        let name = name.into();
        if self.catalogs.insert(name.clone(), catalog).is_some() {
            self.repeated("catalogs", name);
        }
        self
    }

    /// Adds a build system. An artifact goes to the system that it names, otherwise to the only
    /// registered one. The name [`DryRun::QUEUE`] is reserved.
    pub fn build_system(mut self, name: impl Into<String>, system: Arc<dyn BuildSystem>) -> Self {
        let name = name.into();
        if self.systems.insert(name.clone(), system).is_some() {
            self.repeated("build systems", name);
        }
        self
    }

    /// Adds a composer, which prepares what builds need: a build system for artifacts of kind
    /// [`Repository`](crate::ArtifactKind::Repository).
    pub fn composer(self, name: impl Into<String>, composer: Arc<dyn Composer>) -> Self {
        self.build_system(name, Arc::new(ComposerSystem(composer)))
    }

    /// Adds a function that reads from a message which job of this build system has changed; `None`
    /// if the message is about something else. It is called for every message of every bus, so it
    /// must be cheap, and it need not check whether the job belongs to this engine.
    ///
    /// A hint only triggers an early poll. Missing, repeated and wrong hints are harmless.
    pub fn hints(
        mut self,
        system: impl Into<String>,
        read: impl Fn(&Message) -> Option<ExternalId> + Send + Sync + 'static,
    ) -> Self {
        self.hints.add(system.into(), Box::new(read));
        self
    }

    /// Sets the verifier of a build system, which looks at each result before anything is built on
    /// it. Without a verifier a result counts as soon as the build system reports a success.
    pub fn verifier(mut self, system: impl Into<String>, verifier: Arc<dyn Verifier>) -> Self {
        let system = system.into();
        if self.verifiers.insert(system.clone(), verifier).is_some() {
            self.repeated("verifiers", system);
        }
        self
    }

    /// Sets the concurrency limit of a build system: how many of its attempts may be live at once,
    /// over all runs of the storage. [`ConcurrencyLimits::DEFAULT`] if not set.
    ///
    /// 0 pauses the build system: running builds continue, and nothing is submitted until an engine
    /// with another limit runs. [`Client::stuck`] lists the builds that wait.
    #[doc(alias = "concurrency")]
    #[doc(alias = "parallelism")]
    #[doc(alias = "queue")]
    #[doc(alias = "schedule")]
    #[doc(alias = "pause")]
    pub fn limit(mut self, system: impl Into<String>, builds: u32) -> Self {
        self.concurrency.insert(system.into(), builds);
        self
    }

    /// Adds a handler of events of type `E`, under the name of the function or type; a closure gets
    /// the [kind](Event::KIND) of its events as its name. The name is stored with events: use
    /// [`on_as`](Self::on_as) to keep it when the code is renamed, or to register two with the same
    /// name.
    #[doc(alias = "register")]
    pub fn on<E: Event, H: Handler<E>>(self, handler: H) -> Self {
        self.on_as(name_of::<E, H>(), handler)
    }

    /// Adds a handler of events of type `E`, under a name of your choice. The name must be unique.
    pub fn on_as<E: Event, H: Handler<E>>(mut self, name: impl Into<String>, handler: H) -> Self {
        if let Err(error) = self.registry.add(name.into(), handler) {
            self.wrong.get_or_insert(error);
        }
        self
    }

    /// Sets the parsers of messages whose topics are not kinds of registered events. Parsers whose
    /// events no handler wants are left out. A second call replaces the first.
    ///
    /// A message that its parser cannot read becomes a dead letter, with the place and the reason.
    pub fn parsers(mut self, parsers: Parsers) -> Self {
        self.parsers = parsers;
        self
    }

    /// Sets the rules that say what may be rebuilt; everything, if not set. Handlers get the policy
    /// from [`Context::policy`](crate::Context::policy) and plan with it: the engine does not judge
    /// a plan a second time. An event whose plan has become empty because everything is blocked
    /// ends [`Skipped`](crate::rebuild::EventState::Skipped), and its plan says which rule blocked
    /// what.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Declares facts that handlers add with
    /// [`Planner::facts`](crate::plan::Planner::facts), so that rules of the policy may use them.
    /// May be called several times.
    pub fn facts(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.facts.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the mode of all builds that this engine plans, but for those of events that
    /// [ask for a dry run](crate::Event::dry_run); [`BuildMode::Real`] if not set. Builds of
    /// different modes share nothing. A dry-run engine only touches dry-run builds, and [`DryRun`]
    /// only pretends to build them.
    #[doc(alias = "dry run")]
    pub fn mode(mut self, mode: BuildMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the clock; [`SystemClock`] if not set.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the seed of all random numbers (ids of attempts, pauses); taken from the machine if not
    /// set. The id of each run is mixed in.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the bounds of tries, pauses and sizes; [`Limits::default`] if not set.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the longest wait of a stage that was not woken; 5 seconds if not set.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.options.tick = tick;
        self
    }

    /// Sets the time limit of each call of a backend; 60 seconds if not set. A submission without
    /// an answer after this long is unclear and is looked up; polls, lookups, verifications,
    /// publications and questions to the storage are repeated.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = timeout;
        self
    }

    /// Sets the time limit of a handler, with the catalogs that it asks; 10 minutes if not set. A
    /// handler that is late is dropped and asked again. After
    /// [`Limits::message_tries_max`] such tries its message is a dead letter.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.options.handler_timeout = timeout;
        self
    }

    /// Sets how long calls under way may take after the stop was requested; 30 seconds if not set.
    /// Calls that take longer are dropped.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.options.shutdown_grace = grace;
        self
    }

    /// Sets how long old rows are kept; [`Retention::default`] if not set. They are removed once in
    /// an hour, in small transactions.
    #[doc(alias = "cleanup")]
    #[doc(alias = "garbage collection")]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.options.retention = retention;
        self
    }

    /// Sets the largest size of a message's body in bytes; 8 MiB if not set. Larger messages become
    /// dead letters.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.options.message_bytes_max = bytes;
        self
    }

    /// Gives this process a name among the engines that share its storage, such as that of its
    /// host. The engine then stores how it is configured, and logs which settings differ on which
    /// other replica: build systems, limits, handlers, the policy. [`Client::replicas`] lists all
    /// replicas. An engine without a name stores and compares nothing.
    ///
    /// ```
    /// # use freshmaker::Engine;
    /// let builder = Engine::builder().replica("host-a");
    /// # drop(builder);
    /// ```
    #[doc(alias = "cluster")]
    pub fn replica(mut self, name: impl Into<String>) -> Self {
        self.options.replica = Some(name.into());
        self
    }

    /// Announces changes in another form as well, right after the engine's own message about the
    /// same change. May be called several times.
    pub fn announcer(mut self, announcer: impl Announcer) -> Self {
        self.announcers.push(Box::new(announcer));
        self
    }

    /// Returns the engine.
    ///
    /// # Errors
    /// [`ConfigError`] if a required part is missing, a name is used twice, or a name or limit is
    /// invalid.
    pub fn build(self) -> Result<Engine, ConfigError> {
        self.check()?;
        let storage = self.guarded().ok_or(ConfigError::NoStorage)?;
        let decider = self.decider();
        let core = Core::new(Parts {
            storage,
            buses: self.buses,
            systems: self.systems,
            verifiers: self.verifiers,
            hints: self.hints,
            announcers: self.announcers,
            decider,
            clock: self.clock,
            limits: self.limits,
            concurrency: ConcurrencyLimits::new(self.concurrency),
            options: self.options,
            rng: self.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
        });
        Ok(Engine { core: Arc::new(core) })
    }

    /// Returns a [`Preview`] with the handlers, catalogs, parsers and policy of this configuration,
    /// without an engine. It is for a program beside the engine, whose client gets it with
    /// [`Client::with_preview`]. A storage is optional; with one, plans have estimates from earlier
    /// builds.
    ///
    /// # Errors
    /// As for [`build`](Self::build), but no storage is needed.
    pub fn preview(self) -> Result<Preview, ConfigError> {
        self.check()?;
        Ok(Preview::new(Arc::new(self.decider())))
    }

    /// Checks everything but the storage.
    fn check(&self) -> Result<(), ConfigError> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        if self.catalogs.is_empty() {
            return Err(ConfigError::NoCatalog);
        }
        if self.registry.is_empty() {
            return Err(ConfigError::NoHandler);
        }
        self.check_values()?;
        let reserved = self.buses.keys().find(|name| Client::RESERVED.contains(&name.as_str()));
        if let Some(reserved) = reserved.or_else(|| self.systems.keys().find(|name| *name == DryRun::QUEUE)) {
            return Err(ConfigError::ReservedName(reserved.clone()));
        }
        let named = self.concurrency.keys().chain(self.verifiers.keys()).chain(self.hints.systems());
        if let Some(unknown) = named.into_iter().find(|name| !self.systems.contains_key(*name)) {
            return Err(ConfigError::UnknownSystem(unknown.clone()));
        }
        if let Some(unknown) = self.policy.handlers().find(|name| !self.registry.has(name)) {
            return Err(ConfigError::UnknownHandler(unknown.to_owned()));
        }
        self.policy.check_facts(self.facts.iter().map(String::as_str)).map_err(ConfigError::UnknownFact)
    }

    /// Checks names, which are stored and shown, and limits with which nothing could be done.
    fn check_values(&self) -> Result<(), ConfigError> {
        let backends = self.buses.keys().chain(self.catalogs.keys()).chain(self.systems.keys());
        let names = backends.map(String::as_str).chain(self.registry.handlers()).chain(self.options.replica.as_deref());
        let good = |name: &&str| !name.is_empty() && name.trim() == *name && !name.contains(char::is_control);
        if let Some(bad) = names.into_iter().find(|name| !good(name)) {
            return Err(ConfigError::Name(bad.to_owned()));
        }
        let Options { call_timeout, handler_timeout, tick, .. } = self.options;
        let zero = [
            ("call_timeout", call_timeout.is_zero()),
            ("handler_timeout", handler_timeout.is_zero()),
            ("tick", tick.is_zero()),
            ("message_tries_max", self.limits.message_tries_max == 0),
        ];
        zero.iter().find(|(_, zero)| *zero).map_or(Ok(()), |(what, _)| Err(ConfigError::Zero(what)))
    }

    /// Returns the part that asks handlers. The parsers are filtered here, after all handlers are
    /// known.
    fn decider(&self) -> Decider {
        let mut registry = self.registry.clone();
        registry.set_parsers(self.parsers.clone());
        let readable = Readable {
            catalogs: Catalogs::new(self.guarded_catalogs()),
            policy: self.policy.clone(),
            mode: self.mode,
            history: self.guarded(),
            learnt: Mutex::default(),
        };
        Decider {
            registry,
            readable: Arc::new(readable),
            systems: self.systems.keys().cloned().collect(),
            plan_builds_max: self.limits.plan_builds_max,
            clock: Arc::clone(&self.clock),
            handler_timeout: self.options.handler_timeout,
        }
    }

    /// Returns the catalogs with the time limit of calls.
    fn guarded_catalogs(&self) -> BTreeMap<String, Arc<dyn Catalog>> {
        let guarded = |(name, inner): (&String, &Arc<dyn Catalog>)| {
            let (inner, clock, limit) = (Arc::clone(inner), Arc::clone(&self.clock), self.options.call_timeout);
            let catalog: Arc<dyn Catalog> = Arc::new(GuardedCatalog { name: name.clone(), inner, clock, limit });
            (name.clone(), catalog)
        };
        self.catalogs.iter().map(guarded).collect()
    }

    /// Returns the storage with the time limit of calls.
    fn guarded(&self) -> Option<Arc<dyn Storage>> {
        let (clock, limit) = (Arc::clone(&self.clock), self.options.call_timeout);
        let guarded = |inner: &Arc<dyn Storage>| Guarded { inner: Arc::clone(inner), clock, limit };
        Some(Arc::new(guarded(self.storage.as_ref()?)))
    }

    /// Records a name that was used twice, if it is the first one.
    fn repeated(&mut self, sort: &'static str, name: String) {
        self.wrong.get_or_insert(ConfigError::Duplicate { sort, name });
    }
}
