//! From a fact to a decision: what users write.
//!
//! A handler gets an event and a read-only [`Context`] and answers with a [`Decision`], which is data: the engine carries it out. Run twice,
//! a handler gives the same decision, so a crash while it runs costs nothing but time.

mod changed;
mod manual;

pub use changed::{ImagePushed, SourceChanged, rebuild_artifact, rebuild_dependents};
pub use manual::{RebuildRequested, rebuild_requested};

use crate::backend::{BoxError, Catalog, Error, Storage, StorageExt};
use crate::event::{Event, Message, Received};
use crate::graph::ArtifactGraph;
use crate::plan::{Estimates, Plan, Planner};
use crate::policy::{Facts, Policy};
use crate::rebuild::{BuildMode, EventId};
use crate::time::Timestamp;
use async_trait::async_trait;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// What a handler returns. `?` works on any error; a transient [`backend::Error`](crate::backend::Error) is tried again later.
pub type HandlerResult = Result<Decision, BoxError>;

/// What is to be done about an event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// It is not this handler's business; nothing is recorded.
    Ignore,
    /// It is, but nothing is to be done; recorded with this reason.
    Skip(String),
    /// These builds. Of an empty plan (nothing depends on it, or the policy blocks everything) the event is
    /// [`Skipped`](crate::rebuild::EventState::Skipped) with the code `nothing_to_rebuild`; the plan is stored even then, with the reason of
    /// each exclusion. A plan that the policy [asks about](Policy::ask_above) is stored as well, and its event skipped with the code `ask_first`.
    Rebuild(Plan),
    /// It means these other events, each made with [`Message::of`]; they are handled like any that come in.
    Emit(Vec<Message>),
    /// It means that these earlier events no longer count.
    Cancel(Vec<EventId>),
}

/// Decides what to do about events of one type.
///
/// Any `async fn(E, Context) -> HandlerResult` is a handler, and so is a closure. A struct that holds what it needs implements the trait:
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
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle events of type `{E}`",
    label = "not a handler of `{E}`",
    note = "a handler is an `async fn(E, Context) -> HandlerResult` whose `E: Event`, or a type that implements `Handler<E>`",
    note = "check that the function is `async`, takes the event by value and then `freshmaker::handler::Context`, and that its future is `Send`"
)]
pub trait Handler<E: Event>: Send + Sync + 'static {
    /// The decision about this event.
    async fn handle(&self, event: E, cx: Context) -> HandlerResult;
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

/// What a handler may read. There is no way to write from here.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Readable>,
    policy: Policy,
    received: Received,
    now: Timestamp,
}

/// What all handlers of an engine may read.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) policy: Policy,
    pub(crate) mode: BuildMode,
    /// Where to read what has happened; nowhere outside an engine.
    pub(crate) history: Option<Arc<dyn Storage>>,
}

impl Context {
    pub(crate) fn new(shared: Arc<Readable>, handler: &str, received: Received, now: Timestamp) -> Self {
        let policy = shared.policy.for_handler(handler);
        Self { shared, policy, received, now }
    }

    /// A context outside an engine, to try a handler: reads this catalog under this policy, at this moment.
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
    /// let cx = Context::outside(Arc::new(MemoryCatalog::new(graph)), Policy::allow_all(), Default::default());
    /// let pushed = ImagePushed { image: "debian".into(), digest: None };
    /// let Decision::Rebuild(plan) = rebuild_dependents(pushed, cx).await? else { panic!("expected a plan") };
    /// assert_eq!(plan.len(), 1);
    /// # Ok::<(), freshmaker::backend::BoxError>(()) }).unwrap().unwrap();
    /// ```
    pub fn outside(catalog: Arc<dyn Catalog>, policy: Policy, now: Timestamp) -> Self {
        let received = Received { message_id: "outside".into(), at: now };
        let shared = Readable { catalog, policy: policy.clone(), mode: BuildMode::Real, history: None };
        Self { shared: Arc::new(shared), policy, received, now }
    }

    /// Who knows what depends on what: all registered catalogs as one.
    #[must_use]
    pub fn catalog(&self) -> &dyn Catalog {
        self.shared.catalog.as_ref()
    }

    /// The rules of what may be rebuilt, those of this handler included.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A plan of this graph under the policy, the facts and the estimates that a handler has; to be completed by what changed.
    ///
    /// # Errors
    /// Those of [`estimates`](Self::estimates).
    pub async fn planner<'g>(&self, graph: &'g ArtifactGraph) -> Result<Planner<'g>, Error> {
        Ok(graph.planner().policy(&self.policy).facts(self.facts()).estimates(&self.estimates().await?))
    }

    /// How long builds will probably take, from the latest [`HISTORY_MAX`](Self::HISTORY_MAX) that succeeded. Outside an engine nothing is known.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn estimates(&self) -> Result<Estimates, Error> {
        let Some(storage) = &self.shared.history else { return Ok(Estimates::default()) };
        // Pretended builds take no time.
        let mode = if self.shared.mode == BuildMode::DryRun { BuildMode::Real } else { self.shared.mode };
        let durations = storage.durations(mode, Self::HISTORY_MAX).await?;
        Ok(durations.into_iter().rev().collect())
    }

    /// Builds that are looked at for [`estimates`](Self::estimates): a few days of a large site, and some ten milliseconds.
    pub const HISTORY_MAX: u32 = 20_000;

    /// Facts about this event that rules may ask for, to be completed by the handler.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts::default().with("dry_run", (self.shared.mode == BuildMode::DryRun).to_string())
    }

    /// Which message brought the event, and when.
    #[must_use]
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// The present moment.
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
