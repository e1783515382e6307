use super::core::Core;
use crate::backend::{Bus, Error, Notifications, Outbox, Partition, Remedy, Scope};
use crate::client::Client;
use crate::event::Message;
use crate::reason::Reason;
use crate::rebuild::{BuildId, Commit, EventId, InboxRecord, Neighbourhood, Notification, Position, RowChange};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;

/// Notifications kept behind the slowest bus, for subscriptions.
const KEPT: i64 = 1000;

/// Notifications are removed in groups of at least so many.
const TRIMMED_AT_ONCE: i64 = 100;

/// Notifications to buses: one stage for each bus, so that none waits for another one.
///
/// A bus gets the notifications of a partition in the order in which their changes were stored. It
/// has a position, which is stored after it has taken one, or refused it for good; so each comes at
/// least once, and after a failure again under the same id.
pub(super) fn stages(core: &Core) -> Vec<BoxFuture<'_, ()>> {
    if core.buses.is_empty() {
        return vec![run(core, Client::LOCAL, None).boxed()];
    }
    core.buses.iter().map(|(name, bus)| run(core, name, Some(bus.as_ref())).boxed()).collect()
}

/// Without a bus, what is published is what subscriptions can read: at once, everything.
async fn run(core: &Core, name: &str, bus: Option<&dyn Bus>) {
    loop {
        let changed = core.wake.publish.notified();
        let more = match publish_some(core, name, bus).await {
            Ok(more) => more,
            Err(error) if error.remedy == Remedy::Fenced => return core.lose(),
            Err(error) => {
                if core.is_stopping() {
                    return;
                }
                core.pause("publish", &error).await;
                true
            }
        };
        if !more {
            if core.is_stopping() {
                return;
            }
            core.wait_for(changed).await;
        }
    }
}

/// Publishes the next notifications of each partition that this run has; whether there may be more.
async fn publish_some(core: &Core, name: &str, bus: Option<&dyn Bus>) -> Result<bool, Error> {
    let mine = core.partitions();
    if mine.is_empty() {
        return Ok(false);
    }
    let outbox = core.reads().outbox().await?;
    let mut more = false;
    for number in mine {
        let Some(partition) = outbox.partitions.get(usize::from(number)) else { continue };
        let place = Place { core, name, number };
        let Some(position) = place.position(partition).await? else { continue };
        if position < partition.last {
            more |= place.publish(bus, position).await?;
        }
        place.trim(&outbox).await?;
    }
    Ok(more)
}

/// One bus and one partition.
struct Place<'a> {
    core: &'a Core,
    name: &'a str,
    number: u16,
}

impl Place<'_> {
    /// The position of the bus. Buses that are new, all at once, begin with what no bus has got
    /// yet; those that are no longer registered are forgotten.
    async fn position(&self, partition: &Partition) -> Result<Option<i64>, Error> {
        if let Some(position) = partition.buses.get(self.name) {
            return Ok(Some(*position));
        }
        let begin = partition.buses.values().copied().min().unwrap_or(partition.trimmed);
        let registered = |name: &String| name == self.name || self.core.buses.contains_key(name);
        let gone = partition.buses.keys().filter(|name| !registered(name));
        let forgotten = gone.map(|name| {
            tracing::info!(
                bus = name,
                partition = self.number,
                "this bus is no longer registered: its position is forgotten"
            );
            self.at(name, None)
        });
        let mut new: Vec<_> = self.core.buses.keys().filter(|name| !partition.buses.contains_key(*name)).collect();
        let alone = self.name.to_owned();
        if new.is_empty() {
            new.push(&alone);
        }
        let changes = forgotten.chain(new.into_iter().map(|name| self.at(name, Some(begin)))).collect();
        Ok(self.store(changes).await?.then_some(begin))
    }

    fn at(&self, bus: &str, position: Option<i64>) -> RowChange {
        RowChange::Position(Position { bus: bus.to_owned(), partition: self.number, position })
    }

    /// Hands the notifications behind this position to the bus, until one fails for the moment;
    /// whether there may be more.
    async fn publish(&self, bus: Option<&dyn Bus>, position: i64) -> Result<bool, Error> {
        let core = self.core;
        let found = core.reads().notifications(self.number, position, core.options.batch).await?;
        core.report(&found.unreadable);
        let Notifications { items, end, .. } = found;
        let (mut changes, mut reached, mut failed) = (Vec::new(), end, None);
        let mut before = position;
        for (at, notification) in items {
            match self.send(bus, &notification).await {
                Ok(refused) => changes.extend(refused),
                Err(error) => {
                    (reached, failed) = (before, Some(error));
                    break;
                }
            }
            before = at;
        }
        let mut stored = true;
        if reached > position {
            changes.push(self.at(self.name, Some(reached)));
            stored = self.store(changes).await?;
        }
        failed.map_or(Ok(stored && reached > position), Err)
    }

    /// Stores how far the bus has got; `false` if another run publishes the partition now.
    async fn store(&self, changes: Vec<RowChange>) -> Result<bool, Error> {
        match self.core.storage.commit(Commit::by(self.core.run(), changes)).await {
            Ok(()) => {
                self.core.wake.changed.notify_waiters();
                Ok(true)
            }
            Err(error) if error.remedy == Remedy::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what every bus has got, but for the latest. The first of the buses does it for all.
    async fn trim(&self, outbox: &Outbox) -> Result<(), Error> {
        let first = self.core.buses.keys().next().is_none_or(|first| first == self.name);
        let Some(partition) = outbox.partitions.get(usize::from(self.number)).filter(|_| first) else { return Ok(()) };
        let up_to = partition.buses.values().copied().min().unwrap_or_default().saturating_sub(KEPT);
        if up_to - partition.trimmed >= TRIMMED_AT_ONCE {
            self.store(vec![RowChange::Trim { partition: self.number, up_to }]).await?;
        }
        Ok(())
    }

    /// Hands all messages about a change to the bus. What the bus refuses for good becomes a dead
    /// letter, to be stored with the position.
    async fn send(&self, bus: Option<&dyn Bus>, notification: &Notification) -> Result<Vec<RowChange>, Error> {
        let Some(bus) = bus else { return Ok(Vec::new()) };
        let core = self.core;
        let mut dead = Vec::new();
        for message in messages(core, notification).await? {
            match core.answer(|| format!("{}: publish", self.name), bus.publish(&message)).await {
                Ok(()) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    tracing::error!(bus = self.name, message.id, message.topic, %error, "a bus refuses a message: it is a dead letter");
                    let reason = Reason::new("refused", format!("{}: {error}", self.name));
                    // Another bus may refuse the same message.
                    let id = format!("{}/{}", self.name, message.id);
                    let mut record = InboxRecord::new(Client::REFUSED, message, core.now()).dead(reason);
                    record.message_id = id;
                    dead.push(RowChange::Receive(record));
                }
            }
        }
        Ok(dead)
    }
}

/// The messages about a change: the engine's own, and those of the announcers. Repeated, they have
/// the same ids.
async fn messages(core: &Core, notification: &Notification) -> Result<Vec<Message>, Error> {
    let id = format!("{}:{}:{}", notification.aggregate, notification.id, notification.version);
    let mut messages = vec![message(id.clone(), &notification.topic, &notification.body)];
    if core.announcers.is_empty() {
        return Ok(messages);
    }
    let rows = rows(core, notification).await?;
    for announcement in core.announcers.iter().flat_map(|announcer| announcer.announce(notification, &rows)) {
        messages.push(message(format!("{id}:{}", announcement.topic), &announcement.topic, &announcement.body));
    }
    Ok(messages)
}

fn message(id: String, topic: &str, body: &Value) -> Message {
    Message { id, topic: topic.to_owned(), headers: BTreeMap::new(), body: body.to_string().into_bytes() }
}

/// The rows of the event or build that a change is about, as they are now.
async fn rows(core: &Core, notification: &Notification) -> Result<Neighbourhood, Error> {
    let Ok(number) = notification.id.parse() else {
        tracing::error!(
            notification.aggregate,
            notification.id,
            "a stored notification names no row: announcers see no rows"
        );
        return Ok(Neighbourhood::default());
    };
    let of_event = notification.aggregate == "event";
    let scope = if of_event { Scope::Event(EventId(number)) } else { Scope::Builds(vec![BuildId(number)]) };
    let mut rows = core.storage.load(&scope).await?;
    let caused = rows.causes.keys().filter(|(_, event)| *event == EventId(number)).map(|(build, _)| *build);
    let shown: Vec<BuildId> = if of_event { caused.collect() } else { vec![BuildId(number)] };
    let tried = shown.into_iter().filter(|id| rows.builds.get(id).is_some_and(|build| build.attempts > 0));
    for build in tried.collect::<Vec<_>>() {
        let attempts = core.reads().attempts(build).await?;
        rows.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
    }
    Ok(rows)
}
