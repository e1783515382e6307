//! Follows live attempts to their ends: polls build systems, stops attempts, and looks up unclear
//! submissions.
//!
//! The stage reads live attempts of this run, and of runs that are over, whose time has come. It is
//! woken by each stored change of a build or an attempt, by hints, by the next poll that is due,
//! and by a tick. `Effect::of_attempt` says what each attempt needs; an attempt with a call under
//! way (`busy`) is left alone until the call ends.
//!
//! * A build system fails, panics or does not answer: its attempts count as unchanged. They are
//!   polled again after `Capabilities::poll`. A lookup, and the end of a session before it, are
//!   repeated after a back-off that grows up to `Limits::backoff_max`.
//! * An answer comes twice, or after something else has stored the end: it changes nothing.
//! * Messages are lost: polls find the same state later.
//! * The process dies or the lease is lost: nothing is kept in memory but the times of polls. The
//!   next run polls everything at once and looks up what was being submitted.
//!
//! Bounds: `ATTEMPTS_MAX`, `POLL_BATCH`, `CANCELS_MAX`.

use super::backoff::Backoffs;
use super::commit::NotApplied;
use super::core::{Core, Pace, progress};
use crate::backend::{BuildRequest, BuildSystem, Due, Found};
use crate::reason::Reason;
use crate::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildMode, BuildRecord, BuildState, Effect, ExternalId, Failure, FailureClass,
    Input, Observed, Polling,
};
use crate::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Largest number of attempts in one call of `BuildSystem::status`.
const POLL_BATCH: usize = 100;

/// Largest number of live attempts that are read in one look. The concurrency limits keep the real
/// number far below.
const ATTEMPTS_MAX: u32 = 100_000;

/// Largest number of requests to stop an attempt that one call of `poll` makes at the same time.
const CANCELS_MAX: usize = 16;

/// The reason code of an unclear attempt about which a person has to decide.
const NEEDS_DECISION: &str = "needs_decision";

/// The attempts of a call, and what became of it.
type Asked = Vec<(AttemptId, Outcome)>;

/// Polls and looks up until the stop was requested and all calls have ended.
pub(super) async fn run(core: &Core) {
    let mut under_way: FuturesUnordered<BoxFuture<'_, Asked>> = FuturesUnordered::new();
    let mut busy: BTreeSet<AttemptId> = BTreeSet::new();
    let mut follow = Follow::default();
    let mut pace = Pace::new();
    loop {
        if core.is_stopping() && under_way.is_empty() {
            return;
        }
        if pace.is_due(core) {
            match core.reads().due(core.run(), core.due_limits(0, ATTEMPTS_MAX)).await {
                Ok(due) => {
                    let ids: BTreeSet<_> = due.attempts.iter().map(|(attempt, _)| attempt.id.clone()).collect();
                    core.report(&due.unreadable);
                    follow.keep(&ids, core.elapsed());
                    for id in hinted(core, &due, &busy) {
                        follow.polling.hasten(&id);
                    }
                    let (at, next) = (due.now, core.due_next(&due));
                    let idle = due.attempts.into_iter().filter(|(attempt, _)| !busy.contains(&attempt.id)).collect();
                    for work in work(core, idle, at, &mut follow, &mut busy) {
                        under_way.push(work);
                    }
                    pace.looked(core, next.into_iter().chain(follow.next(core.elapsed())).min());
                }
                Err(error) => core.pause("watch", &error).await,
            }
        }
        let asked = progress(&mut under_way, core.wait(&core.wake.watch, pace.at(core))).await;
        for (id, outcome) in asked.unwrap_or_default() {
            busy.remove(&id);
            follow.asked(id, outcome, core);
        }
        pace.hurry();
    }
}

/// Holds when attempts are asked about again. It is in memory only.
#[derive(Debug, Default)]
struct Follow {
    /// The polls.
    polling: Polling,
    /// The lookups that have failed.
    backoffs: Backoffs<AttemptId>,
    /// Attempts whose lookup this run has begun, and from when on it may end, by `Core::elapsed`.
    settled: BTreeMap<AttemptId, Duration>,
}

impl Follow {
    /// Forgets the attempts that have ended. Those that wait for a moment are not among the due
    /// ones, and are kept.
    fn keep(&mut self, due: &BTreeSet<AttemptId>, now: Duration) {
        self.polling.keep(due);
        self.backoffs.keep(|id| due.contains(id), now);
        self.settled.retain(|id, until| *until > now || due.contains(id));
    }

    /// Returns when the first of all attempts is to be asked about again.
    fn next(&self, now: Duration) -> Option<Duration> {
        let settled = self.settled.values().copied().filter(|until| *until > now).min();
        [self.polling.next(), self.backoffs.next(now), settled].into_iter().flatten().min()
    }

    /// Records what became of a call.
    fn asked(&mut self, id: AttemptId, outcome: Outcome, core: &Core) {
        match outcome {
            Outcome::Answered => self.backoffs.succeeded(&id),
            Outcome::Failed => self.backoffs.failed(id, core.elapsed(), &core.limits),
            Outcome::Settles(settle) => drop(self.settled.insert(id, core.elapsed() + settle)),
        }
    }
}

/// What became of a call about an attempt.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It was answered, or is repeated as a poll.
    Answered,
    /// It failed, and is repeated after a back-off.
    Failed,
    /// The lookup has begun, and may end after this long.
    Settles(Duration),
}

/// Returns the attempts that messages say have changed, without busy ones.
///
/// A message has the id that the service itself uses. An attempt that shares its job with others is
/// stored as `id@attempt`, so it is matched by both names: a hint about task 4711 finds the attempt
/// stored as `4711`, and all that are stored as `4711@` and their markers.
fn hinted(core: &Core, due: &Due, busy: &BTreeSet<AttemptId>) -> Vec<AttemptId> {
    let mut bound: BTreeMap<(String, ExternalId), Vec<&AttemptId>> = BTreeMap::new();
    for (attempt, _) in &due.attempts {
        let Some(external) = &attempt.external else { continue };
        for name in [external.unshared(), Some(external.clone())].into_iter().flatten() {
            bound.entry((attempt.system.clone(), name)).or_default().push(&attempt.id);
        }
    }
    let is_busy = |attempt: &_| bound.get(attempt).is_some_and(|ids| ids.iter().any(|id| busy.contains(*id)));
    let hinted = core.hints.take(bound.keys().cloned().collect(), is_busy);
    hinted.iter().filter_map(|attempt| bound.get(attempt)).flatten().map(|id| (*id).clone()).collect()
}

/// Returns the calls to be made now, and marks their attempts as busy: one call for each lookup and
/// each overdue attempt, and one for each `POLL_BATCH` polls of one system and mode.
///
/// Each attempt has a time for its next poll, in memory. For example, with a poll interval of 60
/// seconds, an attempt that is polled at 0 s is polled again at 60 s; a hint at 25 s makes it due
/// at once, and the next poll is then at 85 s. An attempt that this run has not polled yet is
/// due. Attempts whose system is not registered here are left alone.
///
/// Whether an attempt is overdue is measured from its intent or from when it was first seen here,
/// so that a clock that is set forward ends nothing. Only what happens to the clock while no process
/// runs is not noticed.
fn work<'a>(
    core: &'a Core,
    attempts: Vec<(AttemptRecord, BuildRecord)>,
    at: Timestamp,
    follow: &mut Follow,
    busy: &mut BTreeSet<AttemptId>,
) -> Vec<BoxFuture<'a, Asked>> {
    let now = core.elapsed();
    let Follow { polling, backoffs, settled } = follow;
    let mut calls = Vec::new();
    let mut polls: BTreeMap<(String, BuildMode, bool), (&dyn BuildSystem, Vec<Poll>)> = BTreeMap::new();
    for (attempt, build) in attempts {
        if !core.is_ours(&build.key) || !core.builds(&build.key) {
            continue;
        }
        let Some(system) = core.backend(&build.key) else { continue };
        let (id, build_id) = (attempt.id.clone(), build.id);
        let seen_at = core.steady_now().map_or(at, |steady| at.min(steady)).max(attempt.intent_at);
        let at = polling.moment(&id, seen_at, now);
        match Effect::of_attempt(&attempt, &build, core.run(), at) {
            Some(Effect::LookUp) if backoffs.is_due(&id, now) => {
                let visit = match settled.get(&id) {
                    Some(until) if *until > now => continue,
                    Some(_) => Visit::Ask { failures: backoffs.failures(&id) },
                    None => Visit::Begin,
                };
                busy.insert(id);
                calls.push(look_up(core, system, attempt, build, visit).boxed());
            }
            Some(Effect::GiveUp) if build.state == BuildState::Building => {
                busy.insert(id.clone());
                calls.push(give_up(core, id, build_id).boxed());
            }
            Some(effect @ (Effect::Poll | Effect::Stop | Effect::GiveUp)) if polling.is_due(&id, now) => {
                polling.asked(&id, now, system.capabilities().poll);
                if let Some(external) = attempt.external {
                    busy.insert(id.clone());
                    let stop = effect != Effect::Poll;
                    let verify = core.has_verifier(&build);
                    let poll = Poll { id, build: build_id, external, stop, verify };
                    // What is to be stopped has a call of its own, so that a slow request to stop
                    // one attempt delays no other attempt's end.
                    let group = (attempt.system, build.key.mode, stop);
                    polls.entry(group).or_insert((system, Vec::new())).1.push(poll);
                }
            }
            _ => {}
        }
    }
    for (system, mut polls) in polls.into_values() {
        while !polls.is_empty() {
            let rest = polls.split_off(polls.len().min(POLL_BATCH));
            calls.push(poll(core, system, std::mem::replace(&mut polls, rest)).boxed());
        }
    }
    calls
}

/// Holds an attempt that is to be polled.
struct Poll {
    id: AttemptId,
    build: BuildId,
    external: ExternalId,
    /// Whether to request the end of the attempt first.
    stop: bool,
    /// Whether a success has to be verified before it counts.
    verify: bool,
}

/// Polls attempts of one system with one call, and stores the ends that it reports.
///
/// First requests the end of those that are to stop, at most `CANCELS_MAX` at the same time. A
/// failed request is logged and repeated at the next poll: only the status ends an attempt. An
/// attempt that is missing in the answer, or runs, is unchanged. Returns all ids, which are then no
/// longer busy.
async fn poll(core: &Core, system: &dyn BuildSystem, polls: Vec<Poll>) -> Asked {
    let stop = |poll: &Poll| {
        let (id, external) = (poll.id.clone(), poll.external.clone());
        async move {
            if let Err(error) = core.answer(|| format!("{external}: cancel"), system.cancel(&external)).await {
                tracing::warn!(attempt.id = %id, %error, "could not ask for a stop; asking again");
            }
        }
    };
    let stops: Vec<_> = polls.iter().filter(|poll| poll.stop).map(stop).collect();
    futures_util::stream::iter(stops).buffer_unordered(CANCELS_MAX).collect::<()>().await;
    let ids: Vec<_> = polls.iter().map(|poll| poll.external.clone()).collect();
    match core.answer(|| "build system: status".to_owned(), system.status(&ids)).await {
        Ok(found) => {
            let mut found: BTreeMap<_, _> = found.into_iter().map(|found| (found.external, found.observed)).collect();
            for poll in &polls {
                let Some(observed) = found.remove(&poll.external).filter(|observed| *observed != Observed::Running)
                else {
                    continue;
                };
                let input = Input::Observe { attempt: poll.id.clone(), observed, verify: poll.verify };
                // Stale only if something else has observed the end first.
                let _ = core.apply(&input, Some(poll.build)).await;
            }
        }
        Err(error) => core.pause("watch", &error).await,
    }
    polls.into_iter().map(|poll| (poll.id, Outcome::Answered)).collect()
}

/// Stores that an attempt has not ended in time. Its build is then to be stopped, by a later poll.
async fn give_up(core: &Core, attempt: AttemptId, build: BuildId) -> Asked {
    let _ = core.apply(&Input::Overdue { attempt: attempt.clone() }, Some(build)).await;
    vec![(attempt, Outcome::Answered)]
}

/// One of the two visits of a lookup.
#[derive(Clone, Copy, Debug)]
enum Visit {
    /// The session is closed, and the time to settle begins.
    Begin,
    /// The build system is asked, after so many failures in a row.
    Ask { failures: u32 },
}

/// Finds out what became of a submission without a clear answer, in two visits.
///
/// 1. The session of the attempt is closed, so that nothing more can begin in it. Then the attempt
///    becomes one of this run. The second visit comes after `Capabilities::settle`, measured by the
///    monotonic clock: what was let in before gets its time to take effect.
/// 2. The build system is asked for the marker. Found: the attempt is adopted. Not found: it was
///    not submitted, and the build is sent again under the same release. No answer: asked again
///    after a back-off.
///
/// If the session cannot be closed, nothing is stored and the first visit is repeated. A run makes
/// both visits itself: after a restart, or if another run takes over, the first one is repeated. A
/// system without a complete lookup is not asked: a person has to decide, with `Client::resolve`.
/// If the storage refuses what was found, the attempt is refused with this text.
async fn look_up(
    core: &Core,
    system: &dyn BuildSystem,
    attempt: AttemptRecord,
    build: BuildRecord,
    visit: Visit,
) -> Asked {
    let id = attempt.id.clone();
    let capabilities = system.capabilities();
    let (input, outcome) = match visit {
        Visit::Begin => {
            if let Some(session) = &attempt.session
                && let Err(error) = core.answer(|| format!("{}: fence", attempt.system), system.fence(session)).await
            {
                tracing::warn!(attempt.id = %id, %error, "a session cannot be closed; trying again");
                return vec![(id, Outcome::Failed)];
            }
            let settle = capabilities.settle;
            (Input::Resolve { attempt: id.clone(), settle }, Outcome::Settles(settle))
        }
        Visit::Ask { .. } if !capabilities.lookup => (must_decide(core, &attempt), Outcome::Answered),
        Visit::Ask { failures } => {
            let request = BuildRequest::of(&build, &attempt);
            let place = || format!("{}: lookup", attempt.system);
            match core.answer(place, system.find(&request, attempt.intent_at)).await {
                Ok(found) => {
                    let external = choose(core, system, &id, found).await;
                    (Input::Resolved { attempt: id.clone(), external }, Outcome::Answered)
                }
                Err(error) => {
                    let reason = Reason::new("look_up_failed", error.to_string());
                    let after = core.limits.backoff(failures.saturating_add(1));
                    (Input::NotResolved { attempt: id.clone(), reason, after }, Outcome::Failed)
                }
            }
        }
    };
    match core.apply(&input, Some(build.id)).await {
        Ok(_) => {}
        Err(NotApplied::Refused(error)) => {
            tracing::error!(attempt.id = %id, %error, "what a lookup found cannot be stored");
            let failure = Failure::new(FailureClass::Permanent, error.to_string());
            let _ = core.apply(&Input::Refused { attempt: id.clone(), failure }, Some(build.id)).await;
        }
        // Somebody else has decided: the rows say what is to be done.
        Err(NotApplied::Illegal(_) | NotApplied::Fenced) => return vec![(id, Outcome::Answered)],
    }
    vec![(id, outcome)]
}

/// Returns the input for an unclear attempt whose build system cannot be asked for it: it waits
/// until a person has decided. That is logged once.
fn must_decide(core: &Core, attempt: &AttemptRecord) -> Input {
    let text = "the build system cannot tell what it has; a person must decide whether this was submitted";
    if attempt.reason.code != NEEDS_DECISION {
        tracing::error!(attempt.id = %attempt.id, "{text}");
    }
    let (reason, after) = (Reason::new("needs_decision", text), core.limits.backoff_max);
    Input::NotResolved { attempt: attempt.id.clone(), reason, after }
}

/// Returns which of the found jobs the attempt adopts; `None` if there is none.
///
/// One marker must not have two jobs. If it has, the first usable one by external id is kept, and
/// the engine requests the end of the others. A job that has failed or was cancelled is only kept
/// if no other is there. A request that fails is logged and not repeated.
async fn choose(
    core: &Core,
    system: &dyn BuildSystem,
    attempt: &AttemptId,
    mut found: Vec<Found>,
) -> Option<ExternalId> {
    let usable = |found: &Found| !matches!(found.observed, Observed::Failed(_) | Observed::Canceled);
    found.sort_by(|a, b| (!usable(a), &a.external).cmp(&(!usable(b), &b.external)));
    let mut found = found.into_iter();
    let kept = found.next()?;
    for other in found {
        tracing::error!(attempt.id = %attempt, external = %other.external, "duplicate_submit: stopping a second task");
        let place = || format!("{}: cancel", other.external);
        if let Err(error) = core.answer(place, system.cancel(&other.external)).await {
            tracing::error!(attempt.id = %attempt, external = %other.external, %error, "could not stop it");
        }
    }
    Some(kept.external)
}
