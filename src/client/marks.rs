use super::Client;
use crate::backend::{BuildFilter, EventFilter, Page, Paging, Result};
use crate::plan::Mark;
use crate::rebuild::{EventId, EventRecord, EventState};
use crate::time::{Timestamp, since};
use std::collections::BTreeMap;
use std::time::Duration;

/// The builds of an event with one mark and one reason, by [`Client::marks`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MarkGroup {
    /// What became of the artifacts.
    pub mark: Mark,
    /// The code of the reason that the builds have.
    pub reason_code: String,
    /// How many there are.
    pub count: u64,
    /// Which builds these are: [`Client::builds`] with this filter lists them.
    pub filter: BuildFilter,
}

/// How long an event took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TimeToFix {
    /// The event.
    pub event: EventRecord,
    /// When its message was received. `None` if the message is not kept any more.
    pub received_at: Option<Timestamp>,
    /// From the message to the end of the last build; from the decision on, if the message is not
    /// kept any more.
    pub took: Duration,
}

/// How long events took, by [`Client::times_to_fix`].
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TimesToFix {
    /// The events, newest first.
    pub events: Vec<TimeToFix>,
    /// What the next older events are [behind](Paging::behind), if there are more.
    pub next: Option<i64>,
}

impl TimesToFix {
    /// The most events that one call reads.
    pub const EVENTS_MAX: u32 = 200;

    /// Returns the time that this percentage of the events has not exceeded, by the nearest-rank
    /// method: 50 is the median, 90 is p90. `None` if there are no events.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        percentile(self.events.iter().map(|event| event.took).collect(), percent)
    }
}

fn percentile(mut times: Vec<Duration>, percent: u8) -> Option<Duration> {
    times.sort_unstable();
    let rank = (times.len() * usize::from(percent.min(100))).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied()
}

/// Questions about what became of an event.
impl Client {
    /// Counts the builds of an event by mark (what became of the artifact) and then by the code of
    /// the reason. All counts are of one moment, and each group has the filter that lists its
    /// builds. Artifacts that are not rebuilt are in the plan:
    /// [`Plan::excluded_by_code`](crate::plan::Plan::excluded_by_code).
    ///
    /// ```
    /// use freshmaker::backend::Paging;
    /// use freshmaker::client::Client;
    /// use freshmaker::memory::MemoryStorage;
    /// use freshmaker::rebuild::EventId;
    /// use std::sync::Arc;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let client = Client::new(Arc::new(MemoryStorage::new()));
    /// for group in client.marks(EventId(7)).await? {
    ///     println!("{} ({}): {}", group.mark.as_str(), group.reason_code, group.count);
    ///     let first = client.builds(group.filter, Paging::first(3)).await?;
    /// #   drop(first);
    /// }
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn marks(&self, event: EventId) -> Result<Vec<MarkGroup>> {
        let of_event = BuildFilter { events: vec![event], ..BuildFilter::default() };
        let mut groups: BTreeMap<(Mark, String), u64> = BTreeMap::new();
        for row in self.count_builds(of_event.clone()).await? {
            *groups.entry((Mark::from(row.state), row.reason_code)).or_default() += row.count;
        }
        let groups = groups.into_iter().map(|((mark, reason_code), count)| MarkGroup {
            mark,
            count,
            filter: BuildFilter {
                states: mark.states().collect(),
                reason_codes: vec![reason_code.clone()],
                ..of_event.clone()
            },
            reason_code,
        });
        Ok(groups.collect())
    }

    /// Returns how long events took from their message to the end of their last build, newest
    /// first, for the events of this filter whose builds have all ended well. States in the filter
    /// are ignored.
    ///
    /// Reads one page of at most [`TimesToFix::EVENTS_MAX`] events, and the message of each of
    /// them.
    ///
    /// # Errors
    /// Those of the storage.
    #[doc(alias = "MTTR")]
    pub async fn times_to_fix(&self, filter: EventFilter, paging: Paging) -> Result<TimesToFix> {
        let filter = EventFilter { states: vec![EventState::Complete], ..filter };
        let paging = Paging { limit: paging.limit.min(TimesToFix::EVENTS_MAX), ..paging };
        let Page { items, next, .. } = self.events(filter, paging).await?;
        let mut times = TimesToFix { events: Vec::with_capacity(items.len()), next };
        for event in items.into_iter().filter(|event| event.builds_failed == 0) {
            let Some(done) = event.done_at else { continue };
            let message = self.reads().await?.message(&event.source, &event.message_id).await?;
            let received_at = message.map(|message| message.received_at);
            let took = since(done, received_at.unwrap_or(event.created_at));
            times.events.push(TimeToFix { event, received_at, took });
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let of = |times: &[u64], percent| {
            percentile(times.iter().map(|time| Duration::from_secs(*time)).collect(), percent)
                .map(|time| time.as_secs())
        };
        assert_eq!([50, 90, 100, 255].map(|percent| of(&[3, 1, 2, 4], percent)), [2, 4, 4, 4].map(Some));
        assert_eq!([0, 1, 50].map(|percent| of(&[7], percent)), [7, 7, 7].map(Some));
        assert_eq!(of(&[], 50), None);
    }
}
