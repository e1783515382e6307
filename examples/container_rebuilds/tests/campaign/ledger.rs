//! Whether the database, the ledger of the hub and the messages say the same, when all is over.

use crate::world::World;
use freshmaker::backend::{BuildFilter, EventFilter, Page, Paging, Result};
use freshmaker::rebuild::{BuildId, BuildRecord, BuildState, EventRecord, EventState, InboxState};
use std::collections::BTreeMap;

/// What was found.
pub(crate) struct Account {
    /// Sentences about what must not be.
    pub(crate) violations: Vec<String>,
    pub(crate) builds: usize,
    pub(crate) tasks: usize,
    /// Attempts that never reached the hub.
    pub(crate) not_submitted: usize,
}

impl World {
    pub(crate) async fn account(&self) -> Account {
        let builds = all(async |paging| self.client.builds(BuildFilter::default(), paging).await).await;
        let events = all(async |paging| self.client.events(EventFilter::default(), paging).await).await;
        let mut violations: Vec<_> = self.hub.ledger().violations().iter().map(ToString::to_string).collect();
        let broken = self.client.check_consistency().await.unwrap();
        violations.extend(broken.into_iter().map(|violation| violation.text));
        violations.extend(self.hub.live_tasks().iter().map(|task| format!("task {task} runs for nobody")));
        let not_submitted = self.compare_tasks(&builds, &mut violations).await;
        self.compare_messages(&events, &mut violations).await;
        for replica in &self.replicas {
            let panicked = replica.log().lines().filter(|line| line.contains("panicked")).count();
            if panicked > 0 {
                violations.push(format!("{} panicked {panicked} times", replica.name));
            }
        }
        let tasks = self.hub.ledger().entries.len();
        Account { violations, builds: builds.len(), tasks, not_submitted }
    }

    /// Each task is that of one attempt, each build that is done has one task that ended well.
    async fn compare_tasks(&self, builds: &[BuildRecord], violations: &mut Vec<String>) -> usize {
        let ledger = self.hub.ledger();
        let mut markers: BTreeMap<String, i64> = BTreeMap::new();
        for entry in &ledger.entries {
            match &entry.marker {
                Some(marker) => drop(markers.insert(marker.clone(), entry.task)),
                None => violations.push(format!("task {} has no marker", entry.task)),
            }
        }
        let (mut not_submitted, mut of_build) = (0, BTreeMap::<BuildId, u32>::new());
        for build in builds {
            for attempt in self.client.attempts(build.id).await.unwrap() {
                let task = markers.remove(attempt.id.as_str());
                *of_build.entry(build.id).or_default() += u32::from(task.is_some());
                let told = attempt.external.as_ref().map(ToString::to_string);
                if told != task.map(|task| task.to_string()) {
                    violations.push(format!("attempt {}: {told:?} here, {task:?} at the hub", attempt.id));
                }
                not_submitted += usize::from(task.is_none());
            }
            let tasks = of_build.get(&build.id).copied().unwrap_or_default();
            let right = match build.state {
                BuildState::Done => tasks == 1,
                BuildState::Reused => tasks == 0,
                _ => false,
            };
            if !right {
                violations.push(format!("build {} is {} with {tasks} tasks: {}", build.id, build.state, build.reason));
            }
        }
        violations.extend(markers.iter().map(|(marker, task)| format!("task {task} of {marker} is known to nobody")));
        not_submitted
    }

    /// Each message that the broker has taken became one event, which ended well and was told.
    async fn compare_messages(&self, events: &[EventRecord], violations: &mut Vec<String>) {
        for id in &self.sent {
            match self.client.message("fedora-messaging", id).await {
                Ok(message) if message.state == InboxState::Done => {}
                Ok(message) => violations.push(format!("message {id} is {:?}", message.state)),
                Err(error) => violations.push(format!("message {id} is lost: {error}")),
            }
        }
        let mut of_message: BTreeMap<&str, u32> = BTreeMap::new();
        let told = self.told.versions();
        for event in events {
            *of_message.entry(event.message_id.as_str()).or_default() += 1;
            if event.state != EventState::Complete {
                violations.push(format!("event {} is {}: {}", event.id, event.state, event.reason));
            }
            let versions = told.get(&event.id.0).map_or(&[][..], Vec::as_slice);
            if versions.last().is_none_or(|(_, state)| state != "COMPLETE") || !versions.is_sorted() {
                violations.push(format!("event {} was told as {versions:?}", event.id));
            }
        }
        let twice = of_message.iter().filter(|(_, count)| **count != 1);
        violations.extend(twice.map(|(id, count)| format!("message {id} has {count} events")));
        if of_message.len() != self.sent.len() {
            violations.push(format!("{} messages were sent, {} have an event", self.sent.len(), of_message.len()));
        }
    }
}

/// Everything of a list, page by page.
async fn all<T>(page: impl AsyncFn(Paging) -> Result<Page<T>>) -> Vec<T> {
    let (mut items, mut paging) = (Vec::new(), Paging::first(Paging::LIMIT_MAX));
    loop {
        let mut more = page(paging).await.unwrap().items;
        let is_last = more.len() < Paging::LIMIT_MAX as usize;
        items.append(&mut more);
        if is_last {
            return items;
        }
        paging.offset += u64::from(Paging::LIMIT_MAX);
    }
}
