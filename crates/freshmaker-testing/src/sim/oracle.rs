//! The laws of the simulation: compares what is stored at the end with what happened. What is seen
//! to be wrong earlier is noted at once, with `World::violation`.

use super::backends::Shared;
use super::bus::Sent;
use super::executor::block_on;
use super::handlers::CLUMSY;
use super::trouble::Trouble;
use super::world::{SETTLE, World};
use freshmaker::backend::{BuildFilter, EventFilter, Paging, Result, Scope, Storage};
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildKey, BuildRecord, BuildState, DependencyKind, EventRecord, InboxRecord,
    Neighbourhood, Observed,
};
use freshmaker::store::LEASE_TTL;
use freshmaker::time::since;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Compares what is stored with the ledger of the world.
pub(super) fn check(shared: &Shared, rows: &dyn Storage) {
    let sent = shared.world().sent();
    match block_on(stored(rows, sent)) {
        Ok(stored) => stored.check(shared),
        Err(error) => shared.world().violation(format!("the rows cannot be read: {error}")),
    }
}

/// Returns the changes that a working bus has not got, although everything has ended.
pub(super) fn untold(shared: &Shared, rows: &dyn Storage) -> Vec<String> {
    match block_on(stored(rows, Vec::new())) {
        Ok(stored) => stored.notifications(shared, 0),
        Err(error) => vec![format!("the rows cannot be read: {error}")],
    }
}

struct Stored {
    events: Vec<EventRecord>,
    builds: Vec<BuildRecord>,
    rows: Neighbourhood,
    attempts: BTreeMap<String, (String, AttemptState)>,
    handled: Vec<(Sent, Option<InboxRecord>)>,
    broken: Vec<String>,
    idle: bool,
}

/// Reads everything, and how each of these messages was handled.
async fn stored(storage: &dyn Storage, sent: Vec<Sent>) -> Result<Stored> {
    let rows = storage.reads();
    let events = rows.events(EventFilter::default(), Paging::first(Paging::LIMIT_MAX)).await?.items;
    let builds = rows.builds(BuildFilter::default(), Paging::first(Paging::LIMIT_MAX)).await?.items;
    let mut attempts = BTreeMap::new();
    let mut neighbourhood = storage.load(&Scope::Builds(builds.iter().map(|build| build.id).collect())).await?;
    for build in &builds {
        for attempt in rows.attempts(vec![build.id]).await? {
            attempts.insert(attempt.id.to_string(), (build.key.artifact.to_string(), attempt.state));
            neighbourhood.attempts.insert(attempt.id.clone(), attempt);
        }
    }
    let mut handled = Vec::new();
    for sent in sent {
        let record = rows.message(sent.source, &sent.id).await?;
        handled.push((sent, record));
    }
    let broken =
        rows.check_consistency().await?.into_iter().map(|broken| format!("{}: {}", broken.rule, broken.text)).collect();
    let idle = rows.overview().await?.is_idle();
    Ok(Stored { events, builds, rows: neighbourhood, attempts, handled, broken, idle })
}

impl Stored {
    fn check(&self, shared: &Shared) {
        let mut found: Vec<String> = self.broken.clone();
        if !self.idle {
            found.push("something is left to do".to_owned());
            found.extend(self.unfinished());
        }
        found.extend(self.messages(shared));
        found.extend(self.ledger(shared));
        let buses = shared.world().weather.buses as usize;
        for number in 0..buses {
            found.extend(self.notifications(shared, number));
        }
        // These compare dates.
        let (clock_was_set, trouble) = {
            let world = shared.world();
            (world.clock_was_set, world.weather.trouble)
        };
        if !clock_was_set {
            found.extend(self.order(shared));
            found.extend(self.releases());
            // What is in trouble cannot stop.
            if trouble.is_none() {
                found.extend(self.cancels(shared));
            }
        }
        found.extend(Self::convergence(shared));
        let mut world = shared.world();
        let told = self.events.iter().rev().map(|event| {
            format!(
                "event {} of {} {}: {}",
                event.id,
                event.message_id,
                event.created_at.format("%H:%M:%S%.3f"),
                event.reason
            )
        });
        world.trace.extend(told);
        for build in self.builds.iter().filter(|build| build.state == BuildState::Reused) {
            world.trace.push(format!("build {} of {} is REUSED", build.id, build.key.artifact));
        }
        found.into_iter().for_each(|text| world.violation(text));
    }

    /// What has not ended, for the story of a run that got stuck.
    fn unfinished(&self) -> Vec<String> {
        let events = self.events.iter().filter(|event| !event.state.is_terminal());
        let events = events.map(|event| format!("event {} is {}, {} open", event.id, event.state, event.builds_open));
        let builds = self.builds.iter().filter(|build| !build.state.is_terminal());
        let builds = builds.map(|build| {
            let live = self.rows.live_attempt(build.id).map(|attempt| attempt.state);
            let waits: Vec<_> =
                self.rows.needs(build.id).filter(|edge| !edge.satisfied).map(|edge| edge.parent.0).collect();
            format!(
                "build {} of {} is {}, attempt {live:?}, waits for {waits:?}",
                build.id, build.key.artifact, build.state
            )
        });
        events.chain(builds).collect()
    }

    /// Every message that was sent is acknowledged, and became what it says.
    fn messages(&self, shared: &Shared) -> Vec<String> {
        let world = shared.world();
        let mut found = Vec::new();
        let mut expected_in_all = 0;
        for (sent, record) in &self.handled {
            let Sent { source, id, kind, acknowledged } = sent;
            if !acknowledged {
                found.push(format!("message {id} of {source} was never acknowledged"));
            }
            let of = |event: &&EventRecord| event.source == *source && event.message_id == *id;
            let events: Vec<_> = self.events.iter().filter(of).collect();
            let refused = record.as_ref().is_some_and(|record| world.refuses(*kind, record));
            let expected = if refused { 0 } else { kind.events(world.weather.handlers as usize) };
            expected_in_all += expected;
            // Of two events of a message, one may have ended long before the other.
            let right = events.len() == expected || (world.swept > 0 && events.len() < expected);
            // A month later, by clocks that were set, a message is not known any more.
            let forgotten = (world.swept > 0 || expected == 0) && world.clock_was_set && events.is_empty();
            let done = record.as_ref().map_or(forgotten, |record| refused || kind.is_end(record));
            if !right || !done {
                let record = record.as_ref().map(|record| (record.state, record.reason.clone()));
                found.push(format!("message {id} of {source} became {} events, and is {record:?}", events.len()));
            }
        }
        if self.events.len() > expected_in_all {
            found.push(format!("there are {} events, and not {expected_in_all}", self.events.len()));
        }
        found.extend(self.failures(&world));
        found
    }

    /// Handlers fail events only where they panic: the clumsy one each time, the others when a
    /// catalog does.
    fn failures(&self, world: &World) -> Vec<String> {
        let failed = self.events.iter().filter(|event| event.reason.code == "handler_failed");
        let (clumsy, others): (Vec<_>, Vec<_>) = failed.partition(|event| event.handler == CLUMSY);
        let mut found = Vec::new();
        if others.len() as u64 > world.catalog_panics {
            let events: Vec<_> = others.iter().map(|event| event.reason.to_string()).collect();
            found.push(format!("a catalog panicked {} times, and there are {events:?}", world.catalog_panics));
        }
        let all = self.events.iter().filter(|event| event.handler == CLUMSY).count();
        if clumsy.len() != all {
            found.push(format!("a handler panicked in {all} events, and {} have failed", clumsy.len()));
        }
        found
    }

    /// What was built was submitted after everything it needs had ended well. Attempts that led to
    /// nothing are not looked at, stale results included: an event may have joined the build, with
    /// needs of its own, while it waited to be tried again.
    fn order(&self, shared: &Shared) -> Vec<String> {
        let world = shared.world();
        let mut found = Vec::new();
        let succeeded = self.rows.attempts.values().filter(|attempt| attempt.state == AttemptState::Succeeded);
        for attempt in succeeded.filter(|attempt| world.made_fresh(attempt)) {
            for edge in self.rows.needs(attempt.build) {
                let Some(parent) = self.rows.builds.get(&edge.parent) else { continue };
                let ended = parent.done_at.is_some_and(|done| done <= attempt.intent_at);
                let usable =
                    parent.state.is_success() || edge.kind == DependencyKind::After || parent.cancel_at.is_some();
                if !ended || !usable {
                    found.push(format!("build {} was submitted before build {} had ended", attempt.build, edge.parent));
                }
            }
        }
        found
    }

    /// The build system and the rows tell the same story.
    fn ledger(&self, shared: &Shared) -> Vec<String> {
        let world = shared.world();
        let mut found = Vec::new();
        for task in &world.tasks {
            let (marker, external) = (&task.marker, &task.external);
            let Some((artifact, state)) = self.attempts.get(marker.as_str()) else {
                if world.swept == 0 || task.state == Observed::Running {
                    found.push(format!("{external} has a marker that nobody knows"));
                }
                continue;
            };
            let agrees = match task.state {
                Observed::Running => false,
                Observed::Succeeded(_) => *state == AttemptState::Succeeded,
                Observed::Failed(_) => *state == AttemptState::Failed,
                // A repository that is gone may have been used before.
                Observed::Vanished => matches!(state, AttemptState::Succeeded | AttemptState::Failed),
                Observed::Canceled => *state == AttemptState::Canceled,
            };
            // A person has decided about what was lost, whatever became of it; what cannot be
            // stored has failed.
            let refused = world.weather.trouble == Some(Trouble::Refusals) && task.artifact == world.victim;
            let agrees = agrees || world.was_lost(task) || refused && *state == AttemptState::Failed;
            if !agrees || artifact != task.artifact.as_str() {
                found.push(format!("{external} of {} is {:?}, its attempt is {state}", task.artifact, task.state));
            }
        }
        for build in self.builds.iter().filter(|build| build.state == BuildState::Done) {
            let attempts = self.rows.attempts.values().filter(|attempt| attempt.build == build.id);
            let succeeded = attempts.filter(|attempt| attempt.state == AttemptState::Succeeded);
            if succeeded.filter(|attempt| world.made_fresh(attempt)).count() != 1 {
                found.push(format!("build {} is done without exactly one attempt with a fresh result", build.id));
            }
        }
        found
    }

    /// What a later try makes is newer by its release, also if two begin in the same second.
    fn releases(&self) -> Vec<String> {
        let mut last: BTreeMap<&BuildKey, (i64, &AttemptRecord)> = BTreeMap::new();
        let mut found = Vec::new();
        let mut reached: Vec<_> = self.rows.attempts.values().filter(|attempt| attempt.external.is_some()).collect();
        reached.sort_by_key(|attempt| (attempt.intent_at, attempt.build, attempt.number));
        for attempt in reached {
            let Some(build) = self.rows.builds.get(&attempt.build) else { continue };
            let Ok(release) = attempt.release.parse() else {
                found.push(format!("the release {:?} is not a number", attempt.release));
                continue;
            };
            if let Some((earlier, other)) =
                last.insert(&build.key, (release, attempt)).filter(|(earlier, _)| *earlier >= release)
            {
                let artifact = &build.key.artifact;
                found.push(format!(
                    "{artifact}: {} has release {release}, {} before it {earlier}",
                    attempt.id, other.id
                ));
            }
        }
        found
    }

    /// What was published first about each thing is in order, and what was published last is how it
    /// is.
    fn notifications(&self, shared: &Shared, bus: usize) -> Vec<String> {
        let world = shared.world();
        let published = &world.buses[bus].published;
        // What a bus never takes becomes a dead letter.
        let refused = |build: &&BuildRecord| {
            bus == 0 && world.weather.trouble == Some(Trouble::Publishing) && build.key.artifact == world.victim
        };
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(String, String), (u64, String)> = BTreeMap::new();
        let mut found = Vec::new();
        for message in published.iter().filter(|message| seen.insert(&message.id)) {
            let Ok(body) = serde_json::from_slice::<serde_json::Value>(&message.body) else { continue };
            let key = (message.topic.clone(), body["id"].to_string());
            let version = body["version"].as_u64().unwrap_or_default();
            let state = body["state"].as_str().unwrap_or_default().to_owned();
            if let Some((earlier, _)) =
                last.insert(key.clone(), (version, state)).filter(|(earlier, _)| *earlier > version)
            {
                found.push(format!("{} {}: version {version} was published after {earlier}", key.0, key.1));
            }
        }
        let events = self.events.iter().map(|event| ("event.changed", event.id.to_string(), event.state.as_str()));
        let builds = self.builds.iter().filter(|build| !refused(build));
        let builds = builds.map(|build| ("build.changed", build.id.to_string(), build.state.public().as_str()));
        for (topic, id, state) in events.chain(builds) {
            let published = last.get(&(topic.to_owned(), id.clone())).map(|(_, state)| state.as_str());
            if published != Some(state) {
                found.push(format!("{topic} {id}: it is {state}, the last that was published is {published:?}"));
            }
        }
        found
    }

    /// A cancelled build stops soon, unless no engine was there to stop it.
    fn cancels(&self, shared: &Shared) -> Vec<String> {
        // What a run has left is free when its lease has ended.
        let soon = SETTLE + Duration::from_secs(180) + LEASE_TTL * 2 + shared.world().downtime;
        let late = self.builds.iter().filter(|build| {
            let asked = build.cancel_at.filter(|_| build.state == BuildState::Canceled);
            asked.zip(build.done_at).is_some_and(|(asked, done)| since(done, asked) > soon)
        });
        late.map(|build| format!("build {} went on long after it was cancelled", build.id)).collect()
    }

    /// If nothing was cancelled and no recipe is broken, everything is built from the newest
    /// contents.
    fn convergence(shared: &Shared) -> Vec<String> {
        let world = shared.world();
        if !world.must_converge() {
            return Vec::new();
        }
        let converged = world.converged();
        let stale = converged.iter().filter(|(id, digest)| world.outputs.get(*id) != Some(*digest));
        stale.map(|(id, _)| format!("{id} is not built from the newest contents")).collect()
    }
}
