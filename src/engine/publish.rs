//! Publishes notifications to the buses.
//!
//! A notification is a row of the outbox that was stored with the change that it is about. A bus
//! gets the notifications of one partition in the order in which the changes were stored, and has a
//! position in each partition: everything up to it was taken by the bus, or refused for good.
//!
//! A stage reads up to `Options::batch` (200) notifications behind the position, publishes them one
//! after another, and stores the position that was reached. It is woken by each stored change, by
//! each renewal of the lease, and after a tick. Example:
//!
//! ```text
//! position 40, notifications 41 to 44
//! 41 taken, 42 refused for good, 43 fails for the moment
//! stored in one commit: position 42, and 42 as a dead letter
//! after a pause: 43 again
//! ```
//!
//! * The bus fails for the moment, or does not answer in time: the position up to there is stored,
//!   and the same notification is published again after a pause. Later ones wait.
//! * The bus refuses a message for good, or panics over it `PANICS_MAX` times: it becomes a dead
//!   letter with the source `Client::REFUSED`.
//! * The bus fails for one message again and again while it takes others: after `TRIES_MIN` tries
//!   (some minutes) later messages are published too. If the bus takes one of them and then fails
//!   at this one again, `PROOFS` times, this one becomes a dead letter as if it was refused.
//!   What it is about (an event, a build or an attempt) is a *suspect* then, until the bus takes a
//!   message about it. If the bus fails at a message about a suspect, later messages are published
//!   too after its first try, not only after `TRIES_MIN`.
//! * The bus says that it does not publish (`Unsupported`): the message is passed over. That is
//!   logged once, and once more when the bus publishes again.
//! * The process dies, or the position cannot be stored: notifications that were published behind
//!   the stored position are published again, under the same ids. Receivers see each at least once.
//! * An announcer panics, or needs a row that cannot be read: nothing is announced about that
//!   change in its form.
//! * The lease is lost, or the partition belongs to another run: the position cannot be stored.

use super::Announcement;
use super::calls::{NoAnswer, unharmed};
use super::core::{Core, Failures};
use super::outages::STORAGE;
use crate::backend::{Bus, Error, Notifications, Outbox, Partition, Remedy, Scope};
use crate::client::Client;
use crate::event::Message;
use crate::reason::Reason;
use crate::rebuild::{BuildId, Commit, InboxRecord, Neighbourhood, Notification, Position, RowChange, RowKey};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Number of notifications that are kept behind the slowest bus, for subscriptions.
const KEPT: i64 = 1000;

/// Smallest number of notifications that are removed at once.
const TRIMMED_AT_ONCE: i64 = 100;

/// Returns one stage for each bus, so that no bus waits for another one. Without a bus there is one
/// stage that only moves the position, under the name `Client::LOCAL`.
pub(super) fn stages(core: &Core) -> Vec<BoxFuture<'_, ()>> {
    if core.buses.is_empty() {
        return vec![run(core, Client::LOCAL, None).boxed()];
    }
    core.buses.iter().map(|(name, bus)| run(core, name, Some(bus.as_ref())).boxed()).collect()
}

/// Publishes until the stop was requested and nothing is left, or the bus fails after that.
///
/// The signal is made before the rows are read, so a change that is stored in between is not
/// missed. Without a bus, publishing means that subscriptions can read everything at once.
async fn run(core: &Core, name: &str, bus: Option<&dyn Bus>) {
    let heard = Heard::default();
    let mut failures = Failures::default();
    loop {
        let changed = core.wake.publish.notified();
        let more = match publish_some(core, name, bus, &heard).await {
            Ok(more) => {
                core.works("publish", name);
                core.works("publish", STORAGE);
                failures = Failures::default();
                more
            }
            Err(Failed::Storage(error)) if error.remedy == Remedy::Fenced => return core.lose(),
            Err(failed) => {
                if core.is_stopping() {
                    return;
                }
                let (backend, error) = match failed {
                    Failed::Bus(error) => (name, error),
                    Failed::Storage(error) => (STORAGE, error),
                };
                core.pause_longer(&mut failures, "publish", backend, &error).await;
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

/// Who failed.
#[derive(Debug)]
enum Failed {
    Bus(Error),
    Storage(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

/// Publishes the next notifications of each partition that this run holds; returns whether there
/// may be more. An error in one partition ends the pass for all, unless the same notification has
/// failed before, again and again; the pass begins again after a pause.
async fn publish_some(core: &Core, name: &str, bus: Option<&dyn Bus>, heard: &Heard) -> Result<bool, Failed> {
    let mine = core.partitions();
    if mine.is_empty() {
        return Ok(false);
    }
    let outbox = core.reads().outbox().await?;
    let (mut more, mut failed) = (false, None);
    for number in mine {
        let Some(partition) = outbox.partitions.get(usize::from(number)) else { continue };
        let place = Place { core, name, number, heard };
        let Some(position) = place.position(partition).await? else { continue };
        if position < partition.last {
            match place.publish(bus, position).await {
                Err(Failed::Bus(error)) if heard.is_repeated(number) => failed = Some(Failed::Bus(error)),
                published => more |= published?,
            }
        }
        place.trim(&outbox).await?;
    }
    failed.map_or(Ok(more), Err)
}

/// Names one bus and one partition.
struct Place<'a> {
    core: &'a Core,
    name: &'a str,
    number: u16,
    /// What the bus has said lately.
    heard: &'a Heard,
}

/// What a bus has said lately.
#[derive(Debug, Default)]
struct Heard {
    /// It does not publish.
    silent: AtomicBool,
    /// How often in a row it has panicked instead of publishing.
    panics: AtomicU32,
    /// Of each partition the notification at which it fails.
    unsent: Mutex<BTreeMap<u16, Unsent>>,
    /// Rows whose last notification became a dead letter, because the bus failed at it again and
    /// again while it took others.
    suspects: Mutex<BTreeSet<RowKey>>,
    /// Positions of buses that are not registered, by partition and bus, and since when each has
    /// not moved although there was more.
    absent: Mutex<BTreeMap<(u16, String), (i64, Duration)>>,
}

/// A notification at which a bus fails.
#[derive(Clone, Copy, Debug, Default)]
struct Unsent {
    at: i64,
    /// How often in a row it failed.
    tries: u32,
    /// Whether the bus has taken another one since.
    others_taken: bool,
    /// How often another one was taken before this one failed again.
    proofs: u32,
}

/// The number of tries after which others are published although one fails.
const TRIES_MIN: u32 = 10;

/// How often others must have been taken meanwhile before the fault is that of the message. A
/// single time could be a bus that comes back at this moment.
const PROOFS: u32 = 3;

/// Largest number of suspects. When one more comes, all others are forgotten: their next messages
/// are tried `TRIES_MIN` times again.
const SUSPECTS_MAX: usize = 1000;

impl Heard {
    fn unsent(&self) -> MutexGuard<'_, BTreeMap<u16, Unsent>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspects(&self) -> MutexGuard<'_, BTreeSet<RowKey>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn absent(&self) -> MutexGuard<'_, BTreeMap<(u16, String), (i64, Duration)>> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the bus failed at a notification of this row, and returns how often in a row it
    /// did. The notification of a suspect begins with `TRIES_MIN`.
    fn failed(&self, partition: u16, at: i64, of: &RowKey) -> u32 {
        let tries = if self.suspects().contains(of) { TRIES_MIN } else { 0 };
        let mut unsent = self.unsent();
        let known = unsent.get(&partition).filter(|unsent| unsent.at == at).copied();
        let known = known.unwrap_or(Unsent { at, tries, ..Unsent::default() });
        let proofs = known.proofs + u32::from(known.others_taken);
        let failed = Unsent { tries: known.tries.saturating_add(1), others_taken: false, proofs, ..known };
        unsent.insert(partition, failed);
        failed.tries
    }

    /// Records that the bus has taken a notification, or refused it for good.
    fn taken(&self, partition: u16, at: i64) {
        let mut unsent = self.unsent();
        unsent.retain(|of, unsent| (*of, unsent.at) != (partition, at));
        unsent.values_mut().filter(|unsent| unsent.tries >= TRIES_MIN).for_each(|unsent| unsent.others_taken = true);
    }

    /// Makes a row a suspect, or clears it.
    fn suspect(&self, of: &RowKey, is_suspect: bool) {
        let mut suspects = self.suspects();
        if !is_suspect {
            suspects.remove(of);
            return;
        }
        if suspects.len() >= SUSPECTS_MAX {
            suspects.clear();
        }
        suspects.insert(of.clone());
    }

    /// Returns whether the bus fails at the same notification of this partition again and again.
    fn is_repeated(&self, partition: u16) -> bool {
        self.unsent().get(&partition).is_some_and(|unsent| unsent.tries >= TRIES_MIN)
    }

    /// Returns whether the bus fails because of this notification.
    fn is_unsendable(&self, partition: u16, at: i64) -> bool {
        self.unsent().get(&partition).is_some_and(|unsent| unsent.at == at && unsent.proofs >= PROOFS)
    }
}

/// How long the position of a bus is kept that no process seems to have any more.
const GONE_AFTER: Duration = Duration::from_secs(3600);

/// How many notifications of a partition are kept for such a bus.
const BEHIND_MAX: i64 = 10 * KEPT;

/// How often a bus may panic over a message before the message counts as refused.
const PANICS_MAX: u32 = 5;

impl Place<'_> {
    /// Returns the position of the bus; `None` if another run publishes the partition now.
    ///
    /// If the bus has no position yet, it gets that of the slowest registered bus, or the position
    /// before the oldest notification that is kept. All registered buses without a position get
    /// theirs in the same commit, before anything more is published, so that a new one misses
    /// nothing from then on. The position of a bus that is not registered is removed later, see
    /// [`is_gone`](Self::is_gone).
    async fn position(&self, partition: &Partition) -> Result<Option<i64>, Error> {
        let registered = |name: &str| name == self.name || self.core.buses.contains_key(name);
        let (kept, unknown): (Vec<_>, Vec<_>) = partition.buses.iter().partition(|(name, _)| registered(name));
        let gone: Vec<_> = unknown.iter().filter(|(name, at)| self.is_gone(name, **at, partition.last)).collect();
        let known = partition.buses.get(self.name).copied();
        let names = self.core.buses.keys().map(String::as_str).chain([self.name]);
        let new: BTreeSet<_> = names.filter(|name| !partition.buses.contains_key(*name)).collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(known);
        }
        let slowest = |buses: &[(&String, &i64)]| buses.iter().map(|(_, position)| **position).min();
        let begin = slowest(&kept).or_else(|| slowest(&unknown)).unwrap_or(partition.trimmed);
        let mut changes: Vec<_> = new.into_iter().map(|name| self.at(name, Some(begin))).collect();
        for (name, _) in gone {
            let partition = self.number;
            tracing::info!(bus = name, partition, "this bus is no longer registered: its position is forgotten");
            changes.push(self.at(name, None));
        }
        Ok(self.store(changes).await?.then(|| known.unwrap_or(begin)))
    }

    /// Returns whether the position of a bus that is not registered here can be removed, so that it
    /// does not keep notifications for ever: notifications wait for the bus and it has not moved
    /// for [`GONE_AFTER`], or it is [`BEHIND_MAX`] notifications behind.
    ///
    /// Until then another process may have the bus: one that runs beside this one, or one that this
    /// one replaces for a while. Its bus then goes on where it was.
    fn is_gone(&self, bus: &str, at: i64, last: i64) -> bool {
        let now = self.core.elapsed();
        let mut absent = self.heard.absent();
        let seen = absent.entry((self.number, bus.to_owned())).or_insert((at, now));
        if seen.0 != at || at >= last {
            *seen = (at, now);
        }
        bus == Client::LOCAL || now.saturating_sub(seen.1) >= GONE_AFTER || last - at > BEHIND_MAX
    }

    /// Returns the change that sets the position of a bus; `None` removes it.
    fn at(&self, bus: &str, position: Option<i64>) -> RowChange {
        RowChange::Position(Position { bus: bus.to_owned(), partition: self.number, position })
    }

    /// Hands the notifications behind this position to the bus, in order, and stores the new
    /// position with the dead letters among them; returns whether there may be more.
    ///
    /// Stops at the first transient error, after it has stored how far the bus has got. Rows that
    /// cannot be read are reported and passed over.
    ///
    /// # Errors
    /// The transient error of the bus, or the error of the storage.
    async fn publish(&self, bus: Option<&dyn Bus>, position: i64) -> Result<bool, Failed> {
        let core = self.core;
        let found = core.reads().notifications(Some(self.number), position, core.options.batch).await?;
        core.report(&found.unreadable);
        let Notifications { items, end, .. } = found;
        let (mut changes, mut reached, mut failed) = (Vec::new(), end, None);
        let mut before = position;
        for (number, (at, notification)) in items.iter().enumerate() {
            match self.send(bus, *at, notification).await {
                Ok(refused) => {
                    let is_suspect = !refused.is_empty() && self.heard.is_unsendable(self.number, *at);
                    self.heard.suspect(&notification.of, is_suspect);
                    self.heard.taken(self.number, *at);
                    changes.extend(refused);
                    before = *at;
                }
                Err(error) => {
                    if matches!(error, Failed::Bus(_)) {
                        let tries = self.heard.failed(self.number, *at, &notification.of);
                        self.probe(bus, tries, notification, &items[number + 1..]).await;
                    }
                    (reached, failed) = (before, Some(error));
                    break;
                }
            }
        }
        let mut stored = true;
        if reached > position {
            changes.push(self.at(self.name, Some(reached)));
            stored = self.store(changes).await?;
        }
        failed.map_or(Ok(stored && reached > position), Err)
    }

    /// Finds out whether the bus fails or the notification: publishes one of the later
    /// notifications, each time another one, which is published again in its turn. Only the first
    /// one of each row is taken, so that the versions of a row stay in order.
    async fn probe(&self, bus: Option<&dyn Bus>, tries: u32, failed: &Notification, later: &[(i64, Notification)]) {
        if tries < TRIES_MIN {
            return;
        }
        let mut rows = BTreeSet::from([&failed.of]);
        let others: Vec<_> = later.iter().filter(|(_, other)| rows.insert(&other.of)).collect();
        if let Some(&(at, other)) = others.get(tries as usize % others.len().max(1))
            && self.send(bus, *at, other).await.is_ok()
        {
            self.heard.taken(self.number, *at);
        }
    }

    /// Commits positions, dead letters or a trim; returns `false` if another run publishes the
    /// partition now.
    ///
    /// # Errors
    /// Every other error. The outcome may be open then; the position is read again.
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

    /// Removes what every bus has got, as [`removable`] says. Only the stage of the first bus does
    /// it, for all buses.
    async fn trim(&self, outbox: &Outbox) -> Result<(), Error> {
        let first = self.core.buses.keys().next().is_none_or(|first| first == self.name);
        let partition = outbox.partitions.get(usize::from(self.number)).filter(|_| first);
        if let Some(up_to) = partition.and_then(removable) {
            self.store(vec![RowChange::Trim { partition: self.number, up_to }]).await?;
        }
        Ok(())
    }

    /// Publishes one message. If the bus panics over it again and again, it refuses it.
    async fn hand_over(&self, bus: &dyn Bus, message: &Message) -> Result<(), Error> {
        let place = || format!("{}: publish", self.name);
        match self.core.in_time(bus.publish(message)).await {
            Ok(answer) => {
                self.heard.panics.store(0, Ordering::Relaxed);
                answer
            }
            Err(none @ NoAnswer::Late(_)) => Err(Error::new(Remedy::Unavailable, place(), none)),
            Err(none @ NoAnswer::Panicked(_)) => {
                let again = self.heard.panics.fetch_add(1, Ordering::Relaxed) + 1 < PANICS_MAX;
                if !again {
                    self.heard.panics.store(0, Ordering::Relaxed);
                }
                Err(Error::new(if again { Remedy::Unavailable } else { Remedy::Rejected }, place(), none))
            }
        }
    }

    /// Publishes all messages about one change, and returns the dead letters among them, to be
    /// stored with the position.
    ///
    /// # Errors
    /// A transient error, or no answer within the time limit: the change is published again later,
    /// also those of its messages that the bus has taken.
    async fn send(
        &self,
        bus: Option<&dyn Bus>,
        at: i64,
        notification: &Notification,
    ) -> Result<Vec<RowChange>, Failed> {
        let gives_up = self.heard.is_unsendable(self.number, at);
        let Some(bus) = bus else { return Ok(Vec::new()) };
        let core = self.core;
        let mut dead = Vec::new();
        for message in messages(core, notification).await? {
            match self.hand_over(bus, &message).await {
                Ok(()) => {
                    if self.heard.silent.swap(false, Ordering::Relaxed) {
                        tracing::info!(bus = self.name, "this bus publishes again");
                    }
                }
                Err(error) if error.is_transient() && !gives_up => return Err(Failed::Bus(error)),
                Err(error) if error.remedy == Remedy::Unsupported => {
                    if !self.heard.silent.swap(true, Ordering::Relaxed) {
                        tracing::warn!(bus = self.name, %error, "this bus does not publish: notifications are passed over");
                    }
                }
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

/// Returns up to which position everything can be removed: every bus has it, and it is older than
/// the latest `KEPT`. `None` if that is too little to be worth a commit.
///
/// For example, with buses at 5000 and 4200, and 3000 trimmed: up to 4200 − 1000 = 3200 can go.
/// That is 200, at least `TRIMMED_AT_ONCE`, so 3001 to 3200 are removed. A subscription that has
/// read less than 3200 has missed some, and can see that.
fn removable(partition: &Partition) -> Option<i64> {
    let up_to = partition.buses.values().min()?.saturating_sub(KEPT);
    (up_to - partition.trimmed >= TRIMMED_AT_ONCE).then_some(up_to)
}

/// Returns the messages about a change: the engine's own first, then those of the announcers.
///
/// The id is `aggregate:id:version`, with `:topic` for an announcement. It is the same each time,
/// so receivers recognize a repetition.
async fn messages(core: &Core, notification: &Notification) -> Result<Vec<Message>, Error> {
    let id = format!("{}:{}:{}", notification.of.aggregate(), notification.of.id(), notification.version);
    let mut messages = vec![message(id.clone(), &notification.topic, &notification.body)];
    if core.announcers.is_empty() {
        return Ok(messages);
    }
    let rows = match rows(core, notification).await {
        Err(error) if error.remedy == Remedy::Corrupt => {
            tracing::error!(%error, "a stored row cannot be read, so a change of it is not announced");
            return Ok(messages);
        }
        rows => rows?,
    };
    for announcer in &core.announcers {
        let announced = unharmed(|| announcer.announce(notification, &rows)).unwrap_or_else(|text| {
            tracing::error!(?announcer, text, "an announcer panicked: it announces nothing about this change");
            Vec::new()
        });
        for Announcement { topic, body } in announced {
            messages.push(message(format!("{id}:{topic}"), &topic, &body));
        }
    }
    Ok(messages)
}

/// Returns a message without headers, with the body as JSON text.
fn message(id: String, topic: &str, body: &Value) -> Message {
    Message { id, topic: topic.to_owned(), headers: BTreeMap::new(), body: body.to_string().into_bytes() }
}

/// Returns the rows of the event or build that a change is about, as they are now, with all
/// attempts of the builds concerned.
async fn rows(core: &Core, notification: &Notification) -> Result<Neighbourhood, Error> {
    let scope = match &notification.of {
        RowKey::Event(id) => Scope::Event(*id),
        RowKey::Build(id) => Scope::Builds(vec![*id]),
        RowKey::Attempt(id) => Scope::Attempt(id.clone()),
    };
    let mut rows = core.storage.load(&scope).await?;
    let shown: Vec<BuildId> = match &notification.of {
        RowKey::Event(id) => rows.causes.keys().filter(|(_, of)| of == id).map(|(build, _)| *build).collect(),
        RowKey::Build(id) => vec![*id],
        RowKey::Attempt(id) => rows.attempts.get(id).map(|attempt| attempt.build).into_iter().collect(),
    };
    let tried = shown.into_iter().filter(|id| rows.builds.get(id).is_some_and(|build| build.attempts > 0));
    let attempts = core.reads().attempts(tried.collect()).await?;
    rows.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bus_still_needs_is_kept() {
        let partition = |positions: [i64; 2]| {
            let buses = ["a".to_owned(), "b".to_owned()].into_iter().zip(positions).collect();
            Partition { trimmed: 3000, last: 5000, buses }
        };
        assert_eq!(removable(&partition([5000, 4200])), Some(3200), "the slowest bus counts");
        assert_eq!(removable(&partition([4200, 5000])), Some(3200));
        assert_eq!(removable(&partition([5000, 4099])), None, "fewer than a hundred");
        assert_eq!(removable(&partition([5000, 0])), None, "it is down");
        assert_eq!(removable(&Partition { buses: Default::default(), ..partition([0, 0]) }), None, "nobody has read");
    }
}
