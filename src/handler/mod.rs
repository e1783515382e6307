//! Handlers: user code that turns an event into a decision.
//!
//! A handler gets an event and a read-only [`Context`], and returns a [`Decision`]. The decision is
//! data: the engine carries it out. The engine may call a handler several times for one message:
//! after a crash, after a transient error, or because builds in progress must end first. So a
//! handler must have no side effects, and should return the same decision for the same event and
//! catalog.
//!
//! Three handlers are ready to use: [`rebuild_dependents`] for a pushed image, [`rebuild_artifact`]
//! for a changed recipe, and [`rebuild_requested`] for a request of a person. Register them with
//! [`EngineBuilder::on`](crate::engine::EngineBuilder::on), as you register your own.
//!
//! # From an event to builds
//!
//! 1. The message is read, and all handlers of its [kind](Event::KIND) are called at the same time.
//!    Up to 8 messages are handled at the same time.
//! 2. The handler asks the [catalog](Context::catalog) for the artifacts that depend on what has
//!    changed. The answer is an [`ArtifactGraph`]: artifacts with their sources, and edges from
//!    children to parents. So modelling your artifacts is the work of a catalog; see
//!    [`backend::Catalog`](crate::backend::Catalog), and
//!    [`MemoryCatalog`](crate::memory::MemoryCatalog) for a graph that you fill yourself.
//! 3. The handler makes a [`Plan`] of the graph with a [planner](Context::planner), which leaves
//!    out what has no source and what the [policy](Context::policy) blocks.
//! 4. The engine chooses the build system of each artifact in the plan, see below, and stores
//!    event, plan and builds.
//!
//! # Which build system gets an artifact
//!
//! [`Artifact::system`](crate::Artifact::system) decides, with the names that were given to
//! [`EngineBuilder::build_system`](crate::engine::EngineBuilder::build_system) and
//! [`EngineBuilder::composer`](crate::engine::EngineBuilder::composer). The kind of the artifact
//! does not matter.
//!
//! | `Artifact::system` | registered | result |
//! |---|---|---|
//! | `Some(name)` | a system with this name | this system |
//! | `Some(name)` | no system with this name | the event fails, code `no_build_system` |
//! | `None` | exactly one system | this system |
//! | `None` | none, or several | the event fails, code `no_build_system` |
//!
//! A composer counts as a build system. So with one build system and one composer, every artifact
//! of a plan must name its system: set it in the catalog, with
//! [`Artifact::with_system`](crate::Artifact::with_system), or in the handler before the plan is
//! made. If a single artifact of a plan has no build system, no build of that plan is stored.
//!
//! The name is a part of the build key, so it is stored with every build: do not rename a build
//! system while builds of it are under way. The rules are the same in a dry run, although all its
//! builds go to [`DryRun`](crate::backend::DryRun).
//!
//! # Dry runs
//!
//! A dry run is planned, stored, counted and announced like any other event, and none of its builds
//! reaches a build system. All events of an engine are dry runs if its
//! [mode](crate::engine::EngineBuilder::mode) says so; otherwise a single one can be: its event
//! [says so](Event::dry_run), or the header [`Message::DRY_RUN`] of its message. A handler need not
//! know: it is asked, with the [history](Context::history) of the engine, as about a real event.
//! Builds of a single dry run have a queue of their own, [`DryRun::QUEUE`]: they do not wait for
//! those that are real, nor while the build system is paused or cannot be reached.
//!
//! [`DryRun::QUEUE`]: crate::backend::DryRun::QUEUE

mod catalogs;
mod changed;
mod history;
mod manual;

pub use catalogs::Catalogs;
pub use changed::{ImagePushed, SourceChanged, rebuild_artifact, rebuild_dependents};
pub use history::History;
pub use manual::{RebuildRequested, rebuild_requested};

use crate::backend::{BoxError, Catalog, Error, Storage};
use crate::event::{Event, Message, Received};
use crate::graph::ArtifactGraph;
use crate::plan::{Estimates, Plan, Planner};
use crate::policy::{Facts, Policy};
use crate::rebuild::{BuildMode, EventId};
use crate::time::{Timestamp, later};
use async_trait::async_trait;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The result of a handler. `?` works on any error type.
///
/// A [`backend::Error`](crate::backend::Error) that is
/// [transient](crate::backend::Error::is_transient) makes the message wait, with a growing back-off
/// of 1 second to 5 minutes by default. Then this handler is asked again; what other handlers of
/// the message have decided is stored. Any other error fails the event of this handler with the
/// code `handler_failed`, and so does a panic.
pub type HandlerResult = Result<Decision, BoxError>;

/// What the engine is to do about an event.
///
/// The decisions of all handlers of a message are stored in one transaction, with the fact that the
/// message is handled; if a handler fails or takes longer than a second more than the others, what
/// the others have decided is stored first. Cancellations are applied before that, each in its own
/// transaction; a repetition does not change them.
///
/// ```
/// use freshmaker::handler::ImagePushed;
/// use freshmaker::{ArtifactId, Context, Decision, HandlerResult};
///
/// async fn rebuild(event: ImagePushed, cx: Context) -> HandlerResult {
///     if event.image.ends_with("-rc") {
///         return Ok(Decision::Skip(format!("{} is a release candidate", event.image)));
///     }
///     let image = ArtifactId::new(event.image);
///     let answer = cx.catalog().known_dependents(&[image.clone()]).await?;
///     if answer.graph.is_empty() {
///         return Ok(Decision::Ignore); // nothing of ours is built on it
///     }
///     Ok(Decision::Rebuild(cx.planner(&answer.graph).await?.changed(image, event.digest).plan()?))
/// }
/// # use freshmaker::{ArtifactGraph, Policy, memory::MemoryCatalog};
/// # let decide = |image: &str| {
/// #     let catalog = std::sync::Arc::new(MemoryCatalog::new(ArtifactGraph::new()));
/// #     let cx = Context::outside(catalog, Policy::allow_all(), Default::default());
/// #     let event = ImagePushed { image: image.into(), digest: None };
/// #     futures_util::FutureExt::now_or_never(rebuild(event, cx)).unwrap().unwrap()
/// # };
/// # assert_eq!(decide("debian:13-rc"), Decision::Skip("debian:13-rc is a release candidate".into()));
/// # assert_eq!(decide("debian:12"), Decision::Ignore);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// The event does not concern this handler. Nothing is stored for it.
    Ignore,
    /// The event concerns this handler, but nothing needs to be done. The engine stores the event
    /// as [`Skipped`](crate::rebuild::EventState::Skipped), with this sentence and the code
    /// `skipped`.
    Skip(String),
    /// Rebuild the artifacts of this plan. In these cases no build starts, and the event ends as
    ///
    /// * [`Skipped`](crate::rebuild::EventState::Skipped) with the code `nothing_to_rebuild` if the
    ///   plan is empty, because nothing depends on the change or the policy blocks everything. The
    ///   plan is stored, and says why each artifact is excluded;
    /// * [`Skipped`](crate::rebuild::EventState::Skipped) with the code `ask_first` if the policy
    ///   requires a [confirmation](Policy::ask_above). The plan is stored;
    /// * failed with the code `plan_too_large` if the plan has more than 50,000 builds (by
    ///   default), or `no_build_system` if [no system](self) builds one of its artifacts.
    Rebuild(Plan),
    /// Handle these events as well, each made with [`Message::of`]. They are stored in the inbox,
    /// and then handled like messages of a bus. A message without an id gets one from the id of the
    /// handled message, the name of the handler and its position, so a repetition does not handle
    /// it twice.
    Emit(Vec<Message>),
    /// Cancel these earlier events. Builds that no other event needs are cancelled; an event that
    /// has ended already is not changed. A dry run only cancels events that are dry runs.
    Cancel(Vec<EventId>),
}

/// Decides what to do about events of one type.
///
/// Any `async fn(E, Context) -> HandlerResult` is a handler, and so is a closure of this form. A
/// struct that holds configuration implements the trait. Several handlers may have the same event
/// type; each gets its own event, plan and builds.
///
/// # Cancel safety
///
/// The engine drops the future if the engine itself is dropped. The message is then handled again
/// from the start in the next run. After 5 starts without an end (by default) it becomes a dead
/// letter with the code `poison`.
///
/// # Examples
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::handler::{Context, Decision, Handler, HandlerResult, ImagePushed};
///
/// struct OnlyFrom {
///     registry: String,
/// }
///
/// #[async_trait]
/// impl Handler<ImagePushed> for OnlyFrom {
///     async fn handle(&self, event: ImagePushed, cx: Context) -> HandlerResult {
///         if !event.image.starts_with(&self.registry) {
///             return Ok(Decision::Ignore);
///         }
///         freshmaker::handler::rebuild_dependents(event, cx).await
///     }
/// }
/// ```
#[doc(alias = "webhook")]
#[doc(alias = "callback")]
#[doc(alias = "hook")]
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle events of type `{E}`",
    label = "not a handler of `{E}`",
    note = "a handler is an `async fn(E, Context) -> HandlerResult` whose `E: Event`, or a type that implements `Handler<E>`",
    note = "check that the function is `async`, takes the event by value and then `freshmaker::handler::Context`, and that its future is `Send`"
)]
pub trait Handler<E: Event>: Send + Sync + 'static {
    /// Returns the decision about this event.
    ///
    /// # Errors
    /// See [`HandlerResult`] for what an error does.
    async fn handle(&self, event: E, cx: Context) -> HandlerResult;
}

/// Returns the name under which a handler is registered that was given none: that of the function
/// or type, without its path and parameters, and for a closure the kind of its events. The name of
/// the function around a closure, often `main`, would say nothing.
///
/// ```text
/// site::rebuild_layers            rebuild_layers
/// site::Only<site::Registry>      Only
/// site::Only<site::Registry>::ask ask
/// site::main::{{closure}}         registry.base-image-pushed
/// ```
pub(crate) fn name_of<E: Event, H>() -> String {
    let path = std::any::type_name::<H>();
    if path.ends_with("{{closure}}") {
        return E::KIND.to_owned();
    }
    let mut depth = 0_usize;
    let outside = path.chars().filter(|c| {
        let before = depth;
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before == 0 && depth == 0
    });
    let bare: String = outside.collect();
    let last = bare.rsplit("::").find(|part| !part.is_empty());
    last.unwrap_or(path).to_owned()
}

#[async_trait]
impl<E, F, Fut> Handler<E> for F
where
    E: Event,
    F: Fn(E, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send,
{
    async fn handle(&self, event: E, cx: Context) -> HandlerResult {
        self(event, cx).await
    }
}

/// What a handler may read: the catalog, the policy, earlier builds, and the message.
///
/// Nothing that can be reached from here can write, submit or publish. A clone is cheap.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Readable>,
    policy: Policy,
    received: Received,
    now: Timestamp,
    dry_run: bool,
}

/// What all handlers of an engine may read.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) catalogs: Catalogs,
    pub(crate) policy: Policy,
    pub(crate) mode: BuildMode,
    /// The storage, to read earlier events and builds; `None` outside an engine.
    pub(crate) history: Option<Arc<dyn Storage>>,
    /// What was learnt from a long history, and when.
    pub(crate) learnt: Mutex<Option<(Timestamp, Arc<Estimates>)>>,
}

impl Context {
    pub(crate) fn new(shared: Arc<Readable>, handler: &str, received: Received, now: Timestamp) -> Self {
        let policy = shared.policy.for_handler(handler);
        let dry_run = shared.mode == BuildMode::DryRun;
        Self { shared, policy, received, now, dry_run }
    }

    /// Makes this the context of a dry run.
    #[must_use]
    pub(crate) fn dry(self) -> Self {
        Self { dry_run: true, ..self }
    }

    /// Makes a context outside an engine, to test a handler: with this catalog, policy and time.
    ///
    /// There is no history, so estimates are guesses by kind. The policy is used as it is: call
    /// [`for_handler`](Policy::for_handler) first if rules of a single handler should apply. The
    /// received message has the id `outside`, and the mode is not a dry run.
    ///
    /// ```
    /// use freshmaker::memory::MemoryCatalog;
    /// use freshmaker::handler::{Context, Decision, ImagePushed, rebuild_dependents};
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
    /// use std::sync::Arc;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("debian", ArtifactKind::Image));
    /// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// graph.depend("app", "debian", EdgeKind::ParentImage)?;
    ///
    /// let catalog = Arc::new(MemoryCatalog::new(graph));
    /// let cx = Context::outside(catalog, Policy::allow_all(), Default::default());
    /// let pushed = ImagePushed { image: "debian".into(), digest: None };
    /// let Decision::Rebuild(plan) = rebuild_dependents(pushed, cx).await? else {
    ///     panic!("expected a plan")
    /// };
    /// assert_eq!(plan.len(), 1);
    /// # Ok::<(), freshmaker::backend::BoxError>(()) }).unwrap().unwrap();
    /// ```
    pub fn outside(catalog: Arc<dyn Catalog>, policy: Policy, now: Timestamp) -> Self {
        let received = Received { message_id: "outside".into(), at: now };
        let catalogs = Catalogs::new([("outside".to_owned(), catalog)].into());
        let shared = Readable {
            catalogs,
            policy: policy.clone(),
            mode: BuildMode::Real,
            history: None,
            learnt: Mutex::default(),
        };
        Self { shared: Arc::new(shared), policy, received, now, dry_run: false }
    }

    /// Lets a context outside an engine show what is in this storage as the history, to test a
    /// handler that builds on earlier events.
    #[must_use]
    pub fn with_history(mut self, storage: Arc<dyn Storage>) -> Self {
        let Readable { catalogs, policy, mode, .. } = &*self.shared;
        let (catalogs, policy, history) = (catalogs.clone(), policy.clone(), Some(storage));
        let shared = Readable { catalogs, policy, mode: *mode, history, learnt: Mutex::default() };
        self.shared = Arc::new(shared);
        self
    }

    /// Returns what was decided and built before.
    #[must_use]
    pub fn history(&self) -> History {
        History { storage: self.shared.history.clone(), mode: self.shared.mode, dry_run: self.dry_run }
    }

    /// Returns all registered catalogs as one catalog.
    ///
    /// An artifact that one catalog knows may have dependents that another catalog knows: the
    /// answer contains both.
    #[must_use]
    pub fn catalog(&self) -> &Catalogs {
        &self.shared.catalogs
    }

    /// Returns the policy, with the rules for this handler.
    ///
    /// The planner of [`planner`](Self::planner) uses it already. The engine does not judge a plan
    /// again, so a plan that was made in another way is not restricted by the policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns a planner for this graph, with the policy, the facts and the estimates of this
    /// context.
    ///
    /// The handler adds what has changed, or what to rebuild, and calls
    /// [`plan`](crate::plan::Planner::plan).
    ///
    /// # Errors
    /// The errors of [`estimates`](Self::estimates).
    pub async fn planner<'g>(&self, graph: &'g ArtifactGraph) -> Result<Planner<'g>, Error> {
        Ok(graph.planner().policy(&self.policy).facts(self.facts()).estimates(&*self.learnt().await?))
    }

    /// Returns how long builds will probably take, learnt from the latest
    /// [`HISTORY_MAX`](Self::HISTORY_MAX) successful builds.
    ///
    /// Outside an engine there is no history, and the estimates are empty. What was learnt from a
    /// long history is used for a minute.
    ///
    /// # Errors
    /// The errors of the storage.
    pub async fn estimates(&self) -> Result<Estimates, Error> {
        self.learnt().await.map(Arc::unwrap_or_clone)
    }

    async fn learnt(&self) -> Result<Arc<Estimates>, Error> {
        let Some(storage) = &self.shared.history else { return Ok(Arc::default()) };
        let learnt = || self.shared.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |at: Timestamp| at <= self.now && self.now < later(at, Self::LEARNT_FOR);
        let known = learnt().as_ref().filter(|(at, _)| is_new(*at)).map(|(_, estimates)| Arc::clone(estimates));
        if let Some(known) = known {
            return Ok(known);
        }
        // Builds of a dry run take no time, so their durations say nothing.
        let mode = if self.shared.mode == BuildMode::DryRun { BuildMode::Real } else { self.shared.mode };
        let durations = storage.reads().durations(mode, Self::HISTORY_MAX).await?;
        // What a dry run builds does not become a part of the history that it reads.
        let is_kept = durations.len() >= Self::HISTORY_LONG || self.shared.mode == BuildMode::DryRun;
        let estimates: Arc<Estimates> = Arc::new(durations.into_iter().rev().collect());
        *learnt() = is_kept.then(|| (self.now, Arc::clone(&estimates)));
        Ok(estimates)
    }

    /// From this many builds on, a history is long: reading it costs more than an event of one
    /// image, and builds that ended in the last minute change little.
    const HISTORY_LONG: usize = 200;

    /// How long estimates from a long history are used before they are read again.
    const LEARNT_FOR: Duration = Duration::from_secs(60);

    /// How many builds [`estimates`](Self::estimates) reads: a few days of a large site, read in
    /// some ten milliseconds.
    pub const HISTORY_MAX: u32 = 20_000;

    /// Returns the facts about this event that policy rules can use: `dry_run`, `true` or `false`.
    ///
    /// A handler may add facts of its own, and pass them to
    /// [`Planner::facts`](crate::plan::Planner::facts).
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts::default().with("dry_run", self.dry_run.to_string())
    }

    /// Returns whether this is a dry run: the engine makes nothing else, or the
    /// [event](Event::dry_run) or its [message](Message::DRY_RUN) asks for one, or an event that
    /// was a dry run is retried.
    ///
    /// The engine sees to it that nothing is built or cancelled for real. So a handler decides as
    /// always, and needs this only for what it says.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Returns which message brought the event, and when it was stored.
    #[must_use]
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// Returns the time at which the handler was called. It does not change while the handler runs.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("received", &self.received).field("now", &self.now).finish_non_exhaustive()
    }
}
