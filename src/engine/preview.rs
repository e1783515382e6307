//! Previews: what an event would do, decided by the code that decides for the engine, without
//! storing anything.

use super::decision::{Answered, Decided, Decider, Incoming};
use crate::backend::{Error, Remedy, Result};
use crate::event::{Event, Message};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::rebuild::{EventId, Outcome};
use crate::time::Timestamp;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Finds out what an event would do, without an engine: a preview asks the handlers and the
/// catalogs, and stores, submits and publishes nothing.
///
/// Made by [`EngineBuilder::preview`](super::EngineBuilder::preview), or part of the client of an
/// engine. Cheap to clone.
///
/// ```
/// use freshmaker::engine::PreviewOutcome;
/// use freshmaker::handler::{ImagePushed, rebuild_dependents};
/// use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
/// let engine = Engine::builder()
///     .storage(Arc::new(MemoryStorage::new()))
///     .catalog("images", Arc::new(MemoryCatalog::new(graph)))
///     .build_system("builder", Arc::new(MemoryBuildSystem::new()))
///     .on(rebuild_dependents)
///     .build()?;
///
/// let pushed = ImagePushed { image: "debian".into(), digest: None };
/// let previewed = engine.client().preview(&pushed).await?;
/// assert_eq!(previewed[0].handler, "rebuild_dependents");
/// let PreviewOutcome::Rebuilds(plan) = &previewed[0].decision else { panic!("{previewed:?}") };
/// assert_eq!(plan.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Preview {
    decider: Arc<Decider>,
}

/// Holds what one handler would decide.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Previewed {
    /// The name of the handler.
    pub handler: String,
    /// Its decision.
    pub decision: PreviewOutcome,
}

/// Says what a handler would decide; nothing of it is stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PreviewOutcome {
    /// The handler would ignore the event.
    Ignores,
    /// The event would be skipped.
    Skips(Reason),
    /// The event would fail.
    Fails(Reason),
    /// The plan is so large that a person has to confirm it first.
    Asks {
        /// The plan.
        plan: Box<Plan>,
        /// The question.
        reason: Reason,
    },
    /// These artifacts would be rebuilt. The plan may be empty, and then says why.
    Rebuilds(Box<Plan>),
    /// These messages would be handled next.
    Emits(Vec<Message>),
    /// These events would be cancelled.
    Cancels(Vec<EventId>),
}

impl Preview {
    pub(super) fn new(decider: Arc<Decider>) -> Self {
        Self { decider }
    }

    /// Returns whether a handler is registered for events of this kind.
    #[must_use]
    pub fn handles(&self, kind: &str) -> bool {
        self.decider.registry.of_kind(kind).next().is_some()
    }

    /// Returns whether a handler has this name.
    #[must_use]
    pub fn has_handler(&self, name: &str) -> bool {
        self.decider.registry.has(name)
    }

    /// Returns what each handler would decide about this event at the moment `now`, in the order in
    /// which the handlers are registered. Handlers and catalogs are really asked; nothing is
    /// stored.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if the event has no JSON form; transient errors of a catalog,
    /// and errors of the storage.
    pub async fn event<E: Event>(&self, event: &E, now: Timestamp) -> Result<Vec<Previewed>> {
        let message = Message::of("preview", event);
        let message = message
            .map_err(|error| Error::new(Remedy::Rejected, "preview", format!("the event has no JSON form: {error}")))?;
        self.message(&message, now).await
    }

    /// Returns what each handler would decide about this message at the moment `now`, as if a bus
    /// had delivered it. Returns an empty list if no handler wants it.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if the message cannot be read; transient errors of a catalog,
    /// and errors of the storage.
    pub async fn message(&self, message: &Message, now: Timestamp) -> Result<Vec<Previewed>> {
        let Some(read) = self.decider.read(message) else { return Ok(Vec::new()) };
        let envelope = read.map_err(|error| Error::new(Remedy::Rejected, "preview", error))?;
        let id = message.identity();
        let incoming = Incoming { id: &id, at: now, headers: &message.headers, generation: 0, envelope: &envelope };
        let answers = join_all(self.decider.ask_each(incoming, None, &BTreeSet::new(), now)).await;
        let decisions = answers.into_iter().map(|(_, answer)| answer).collect::<std::result::Result<Vec<_>, _>>()?;
        let foreseen = decisions.into_iter().map(|Answered { handler, decided, .. }| {
            let decision = match decided {
                Decided::Ignore => PreviewOutcome::Ignores,
                Decided::Event(Outcome::Skip(reason)) => PreviewOutcome::Skips(reason),
                Decided::Event(Outcome::Fail(reason)) => PreviewOutcome::Fails(reason),
                Decided::Event(Outcome::Ask { plan, reason }) => PreviewOutcome::Asks { plan, reason },
                Decided::Event(Outcome::Build { plan, .. }) => PreviewOutcome::Rebuilds(plan),
                Decided::Emit(messages) => PreviewOutcome::Emits(messages),
                Decided::Cancel(events) => PreviewOutcome::Cancels(events),
            };
            Previewed { handler: handler.to_owned(), decision }
        });
        Ok(foreseen.collect())
    }
}
