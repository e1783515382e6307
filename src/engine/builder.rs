use super::core::{Core, Parts};
use super::decision::Decider;
use super::hints::Hints;
use super::options::Options;
use super::registry::Registry;
use super::{Announcer, Engine, Preview, SystemClock};
use crate::backend::{BuildSystem, Bus, Catalog, Clock, Composer, ComposerSystem, Storage, Verifier};
use crate::client::Client;
use crate::event::{Event, Message, Parsers};
use crate::handler::{Catalogs, Handler, Readable};
use crate::policy::Policy;
use crate::rebuild::{BuildMode, ConcurrencyLimits, ExternalId, Limits};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why an engine cannot be built from what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no place to keep anything.
    #[error("an engine needs a storage: call .storage(..)")]
    NoStorage,
    /// There is nothing to read dependencies from.
    #[error("an engine needs a catalog: call .catalog(name, ..)")]
    NoCatalog,
    /// Nothing would ever be decided.
    #[error("an engine needs a handler: call .on(..)")]
    NoHandler,
    /// Two things of one sort have one name.
    #[error("two {sort} are called {name:?}; names are stored, so each needs its own")]
    Duplicate {
        /// Buses, catalogs, build systems or handlers.
        sort: &'static str,
        /// The name.
        name: String,
    },
    /// A bus has a name that the engine uses for messages of its own.
    #[error("no bus can be called {0:?}: messages that the engine itself stores have this source")]
    ReservedName(String),
    /// The policy has rules for a handler that does not exist.
    #[error("the policy has rules for the handler {0:?}, but no such handler is registered")]
    UnknownHandler(String),
    /// A limit or a verifier is set for a system that does not exist.
    #[error("something is set for the build system {0:?}, but no such system is registered")]
    UnknownSystem(String),
}

/// Collects what an [`Engine`] is made of. Buses, catalogs and build systems are registered by
/// name; names are stored.
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
    slots: BTreeMap<String, u32>,
    registry: Registry,
    parsers: Parsers,
    policy: Policy,
    mode: BuildMode,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    limits: Limits,
    options: Options,
    duplicate: Option<ConfigError>,
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
            slots: BTreeMap::new(),
            registry: Registry::default(),
            parsers: Parsers::default(),
            policy: Policy::allow_all(),
            mode: BuildMode::Real,
            clock: Arc::new(SystemClock),
            seed: None,
            limits: Limits::default(),
            options: Options::default(),
            duplicate: None,
        }
    }

    /// Where everything is kept.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Where messages come from and go to. There may be several, or none if events only come
    /// through the [`Client`].
    ///
    /// The name is the source of its messages, and a message is known by source and id. None can be
    /// called as [`Client::LOCAL`], [`Client::EMITTED`] or [`Client::REFUSED`].
    pub fn bus(mut self, name: impl Into<String>, bus: Arc<dyn Bus>) -> Self {
        let name = name.into();
        if self.buses.insert(name.clone(), bus).is_some() {
            self.repeated("buses", name);
        }
        self
    }

    /// Who knows what depends on what. Several are read as one graph.
    pub fn catalog(mut self, name: impl Into<String>, catalog: Arc<dyn Catalog>) -> Self {
        let name = name.into();
        if self.catalogs.insert(name.clone(), catalog).is_some() {
            self.repeated("catalogs", name);
        }
        self
    }

    /// Who builds. An artifact goes to the system it names, else to the only one there is.
    pub fn build_system(mut self, name: impl Into<String>, system: Arc<dyn BuildSystem>) -> Self {
        let name = name.into();
        if self.systems.insert(name.clone(), system).is_some() {
            self.repeated("build systems", name);
        }
        self
    }

    /// Who prepares prerequisites: a build system for artifacts of kind
    /// [`Repository`](crate::ArtifactKind::Repository).
    pub fn composer(self, name: impl Into<String>, composer: Arc<dyn Composer>) -> Self {
        self.build_system(name, Arc::new(ComposerSystem(composer)))
    }

    /// How messages tell that a build of this system has changed: the function reads what the
    /// system calls it from a message, cheaply, and without caring whether it is ours. Such a
    /// message makes the engine ask the build system at once, instead of at the next poll; it is
    /// believed no further, and need not come at all.
    pub fn hints(
        mut self,
        system: impl Into<String>,
        read: impl Fn(&Message) -> Option<ExternalId> + Send + Sync + 'static,
    ) -> Self {
        self.hints.add(system.into(), Box::new(read));
        self
    }

    /// Who looks at the results of a build system before anything is built on them. Without one the
    /// build system is believed.
    pub fn verifier(mut self, system: impl Into<String>, verifier: Arc<dyn Verifier>) -> Self {
        let system = system.into();
        if self.verifiers.insert(system.clone(), verifier).is_some() {
            self.repeated("verifiers", system);
        }
        self
    }

    /// How many builds of a system may run at once; [`ConcurrencyLimits::DEFAULT`] if not set.
    pub fn limit(mut self, system: impl Into<String>, slots: u32) -> Self {
        self.slots.insert(system.into(), slots);
        self
    }

    /// Decides on events of type `E`, under the name of the function or type. That name is stored
    /// with events: use [`on_as`](Self::on_as) to keep it when the code is renamed, or to register
    /// two of one name.
    pub fn on<E: Event, H: Handler<E>>(self, handler: H) -> Self {
        let name = std::any::type_name::<H>();
        let name = name.rsplit("::").find(|part| !part.starts_with('{')).unwrap_or(name).to_owned();
        self.on_as(name, handler)
    }

    /// Decides on events of type `E`, under a name of its own.
    pub fn on_as<E: Event, H: Handler<E>>(mut self, name: impl Into<String>, handler: H) -> Self {
        let name = name.into();
        if !self.registry.add(name.clone(), handler) {
            self.repeated("handlers", name);
        }
        self
    }

    /// How to read messages that are not events of ours by their topics. Parsers whose events no
    /// handler wants are left out.
    ///
    /// A message that its parser cannot read becomes a dead letter, with the place and the reason.
    pub fn parsers(mut self, parsers: Parsers) -> Self {
        self.parsers = parsers;
        self
    }

    /// The rules of what may be rebuilt; everything, if not set. Handlers get it from
    /// [`Context::policy`](crate::Context::policy) and plan with it: the engine does not judge a
    /// plan a second time. An event whose plan has become empty because everything is blocked ends
    /// [`Skipped`](crate::rebuild::EventState::Skipped), and its plan says which rule blocked what.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether builds are real; builds of different modes never share anything. Those of a dry run
    /// are only pretended, by [`DryRun`](crate::backend::DryRun), and an engine in this mode leaves
    /// real builds that it finds in the storage alone.
    pub fn mode(mut self, mode: BuildMode) -> Self {
        self.mode = mode;
        self
    }

    /// The clock; the machine's, if not set.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Seed of everything random (identities of attempts); taken from the machine, if not set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Bounds of tries, pauses and sizes.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Longest wait of a stage that was not woken; 5 seconds, if not set.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.options.tick = tick;
        self
    }

    /// A submission without an answer after this long counts as unclear and is looked up; 60
    /// seconds, if not set.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = timeout;
        self
    }

    /// How long calls under way may take after the end was asked for; 30 seconds, if not set.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.options.shutdown_grace = grace;
        self
    }

    /// Messages with larger bodies become dead letters; 8 MiB, if not set.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.options.message_bytes_max = bytes;
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
    /// [`ConfigError`] if something is missing, named twice or limits nothing.
    pub fn build(self) -> Result<Engine, ConfigError> {
        let storage = self.storage.clone().ok_or(ConfigError::NoStorage)?;
        self.check()?;
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
            slots: ConcurrencyLimits::new(self.slots),
            options: self.options,
            rng: self.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
        });
        Ok(Engine { core: Arc::new(core) })
    }

    /// Returns what tells what an event would do, from the same handlers, catalogs, parsers and
    /// policy as an engine, without one: for a program beside the engine, whose client gets it with
    /// [`Client::with_preview`]. A storage is optional; with one, plans have estimates from earlier
    /// builds.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub fn preview(self) -> Result<Preview, ConfigError> {
        self.check()?;
        Ok(Preview::new(Arc::new(self.decider())))
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(duplicate) = &self.duplicate {
            return Err(duplicate.clone());
        }
        if self.catalogs.is_empty() {
            return Err(ConfigError::NoCatalog);
        }
        if self.registry.is_empty() {
            return Err(ConfigError::NoHandler);
        }
        if let Some(reserved) = self.buses.keys().find(|name| Client::RESERVED.contains(&name.as_str())) {
            return Err(ConfigError::ReservedName(reserved.clone()));
        }
        let named = self.slots.keys().chain(self.verifiers.keys()).chain(self.hints.systems());
        if let Some(unknown) = named.into_iter().find(|name| !self.systems.contains_key(*name)) {
            return Err(ConfigError::UnknownSystem(unknown.clone()));
        }
        if let Some(unknown) = self.policy.handlers().find(|name| !self.registry.has(name)) {
            return Err(ConfigError::UnknownHandler(unknown.to_owned()));
        }
        Ok(())
    }

    fn decider(&self) -> Decider {
        let mut registry = self.registry.clone();
        registry.set_parsers(self.parsers.clone());
        let readable = Readable {
            catalogs: Catalogs::new(self.catalogs.clone()),
            policy: self.policy.clone(),
            mode: self.mode,
            history: self.storage.clone(),
        };
        Decider {
            registry,
            readable: Arc::new(readable),
            systems: self.systems.keys().cloned().collect(),
            plan_builds_max: self.limits.plan_builds_max,
        }
    }

    fn repeated(&mut self, sort: &'static str, name: String) {
        self.duplicate.get_or_insert(ConfigError::Duplicate { sort, name });
    }
}
