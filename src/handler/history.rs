use crate::backend::{BuildFilter, Error, EventFilter, Page, Paging, Remedy, Result, Storage};
use crate::plan::Plan;
use crate::rebuild::{BuildMode, BuildRecord, EventId, EventRecord};
use std::sync::Arc;

/// The decisions and builds of earlier events, for handlers that depend on them.
///
/// It only reads, and shows only rows of the engine's mode: a dry-run engine sees earlier dry runs,
/// and an engine that really builds does not see them. A dry run of a single event sees what a real
/// event would see; it sees another dry run only if it asks for its number. Rows that cannot be
/// read are left out, with a warning in the log.
///
/// Each answer is as of the moment of its call. Before the engine stores a decision it asks the
/// handler again if another event has meanwhile planned one of the same artifacts.
///
/// ```
/// use freshmaker::{Context, Decision, HandlerResult};
/// use freshmaker::backend::EventFilter;
/// use freshmaker::handler::SourceChanged;
///
/// /// Leaves a recipe alone that was rebuilt before.
/// async fn only_once(event: SourceChanged, cx: Context) -> HandlerResult {
///     let about = EventFilter { search_keys: vec![event.artifact.clone()], ..Default::default() };
///     for earlier in cx.history().events(about).await? {
///         if !cx.history().built_by(earlier.id).await?.is_empty() {
///             return Ok(Decision::Skip(format!("event {} has rebuilt it", earlier.id)));
///         }
///     }
///     freshmaker::handler::rebuild_artifact(event, cx).await
/// }
/// # drop(freshmaker::Engine::builder().on(only_once));
/// ```
#[derive(Clone, Debug)]
pub struct History {
    /// `None` outside an engine.
    pub(super) storage: Option<Arc<dyn Storage>>,
    pub(super) mode: BuildMode,
    /// Whether a dry run asks.
    pub(super) dry_run: bool,
}

impl History {
    /// Largest number of events in one answer; older ones are left out.
    pub const EVENTS_MAX: u32 = 1_000;

    /// Largest number of builds in one answer. It is the largest plan that an engine stores by
    /// default.
    pub const BUILDS_MAX: usize = 50_000;

    /// Returns whether earlier events are known. Outside an engine they are not, and in a preview
    /// without a storage: then every answer is empty.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.storage.is_some()
    }

    /// Returns an event by its number; `None` if there is none.
    ///
    /// # Errors
    /// The errors of the storage.
    pub async fn event(&self, id: EventId) -> Result<Option<EventRecord>> {
        let mut found = self.all(EventFilter { ids: vec![id], ..EventFilter::default() }).await?;
        found.retain(|event| event.mode == self.mode || (self.dry_run && event.mode == BuildMode::DryRun));
        Ok(found.pop())
    }

    /// Returns these events, newest first, at most [`EVENTS_MAX`](Self::EVENTS_MAX).
    ///
    /// # Errors
    /// The errors of the storage.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<EventRecord>> {
        let mut found = self.all(filter).await?;
        found.retain(|event| event.mode == self.mode);
        Ok(found)
    }

    /// Returns these events of any mode.
    async fn all(&self, filter: EventFilter) -> Result<Vec<EventRecord>> {
        let Some(storage) = &self.storage else { return Ok(Vec::new()) };
        Ok(readable(storage.reads().events(filter, Paging::first(Self::EVENTS_MAX)).await?))
    }

    /// Returns the plan of an event; `None` if it has none.
    ///
    /// # Errors
    /// The errors of the storage.
    pub async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        match &self.storage {
            Some(storage) => storage.reads().plan(event).await,
            None => Ok(None),
        }
    }

    /// Returns the builds of an event that ended well, newest first.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if the event has more than [`BUILDS_MAX`](Self::BUILDS_MAX)
    /// builds, else the errors of the storage.
    pub async fn built_by(&self, event: EventId) -> Result<Vec<BuildRecord>> {
        let Some(storage) = &self.storage else { return Ok(Vec::new()) };
        let filter = BuildFilter { events: vec![event], ..BuildFilter::default() };
        let page = |paging| storage.reads().builds(filter.clone(), paging);
        let all = Paging::first(Paging::LIMIT_MAX).collect(Self::BUILDS_MAX + 1, page).await?;
        if all.items.len() > Self::BUILDS_MAX {
            let text = format!("event {event} has more than {} builds", Self::BUILDS_MAX);
            return Err(Error::new(Remedy::Rejected, "the history of the engine", text));
        }
        let mut found = readable(all);
        found.retain(|build| build.key.mode == self.mode && build.state.is_success());
        Ok(found)
    }
}

/// Returns the rows of a page that can be read.
fn readable<T>(page: Page<T>) -> Vec<T> {
    for row in &page.unreadable {
        tracing::warn!(error = %row.text, "a row of the history cannot be read and is left out");
    }
    page.items
}
