//! Follows live attempts to their ends: polls build systems, stops attempts, and looks up unclear
//! submissions.
//!
//! The stage reads live attempts of this run, and of runs that are over, whose time has come. It is
//! woken by each stored change of a build or an attempt, by hints, by the next poll that is due,
//! and by a tick. `Effect::of_attempt` says what each attempt needs; an attempt with a call under
//! way (`busy`) is left alone until the call ends.
//!
//! * A build system fails or does not answer: its attempts count as unchanged. They are polled
//!   again after `Capabilities::poll`, a lookup is repeated after `Options::backend_pause`.
//! * An answer comes twice, or after something else has stored the end: it changes nothing.
//! * Messages are lost: polls find the same state later.
//! * The process dies or the lease is lost: nothing is kept in memory but the times of polls. The
//!   next run polls everything at once and looks up what was being submitted.
//!
//! Bounds: `ATTEMPTS_MAX`, `POLL_BATCH`, `NO_LOOKUP_PAUSE`.

use super::commit::NotApplied;
use super::core::{Core, Pace, progress};
use crate::backend::{BuildRequest, BuildSystem, Due, DueLimits, Found};
use crate::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildMode, BuildRecord, BuildState, Effect, ExternalId, Failure,
    FailureClass, Input, Observed, Polling,
};
use crate::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Largest number of attempts in one call of `BuildSystem::status`.
const POLL_BATCH: usize = 100;

/// Largest number of live attempts that are read in one look. The concurrency limits keep the real
/// number far below.
const ATTEMPTS_MAX: u32 = 100_000;

/// Pause between two looks at an unclear attempt whose build system has no complete lookup. Its
/// reason says that a person must decide.
const NO_LOOKUP_PAUSE: Duration = Duration::from_secs(3600);

/// Polls and looks up until the stop was requested and all calls have ended.
pub(super) async fn run(core: &Core) {
    let mut under_way: FuturesUnordered<BoxFuture<'_, Vec<AttemptId>>> = FuturesUnordered::new();
    let mut busy: BTreeSet<AttemptId> = BTreeSet::new();
    let mut polling = Polling::default();
    let mut pace = Pace::new();
    loop {
        if core.is_stopping() && under_way.is_empty() {
            return;
        }
        if pace.is_due(core) {
            match core.reads().due(core.run(), DueLimits { ready: 0, attempts: ATTEMPTS_MAX }).await {
                Ok(due) => {
                    let live: BTreeSet<_> = due.attempts.iter().map(|(attempt, _)| attempt.id.clone()).collect();
                    core.report(&due.unreadable);
                    polling.keep(&live);
                    for id in hinted(core, &due, &busy) {
                        polling.hasten(&id);
                    }
                    let (now, next) = (due.now, due.next.map(|at| core.local(at)));
                    let idle = due.attempts.into_iter().filter(|(attempt, _)| !busy.contains(&attempt.id)).collect();
                    for work in work(core, idle, now, &mut polling, &mut busy) {
                        under_way.push(work);
                    }
                    pace.looked(core, next.into_iter().chain(polling.next()).min());
                }
                Err(error) => core.pause("watch", &error).await,
            }
        }
        for id in progress(&mut under_way, core.wait(&core.wake.watch, pace.at(core))).await.unwrap_or_default() {
            busy.remove(&id);
        }
        pace.hurry();
    }
}

/// Returns the attempts that messages say have changed, without busy ones.
///
/// A message has the id that the service itself uses. An attempt that shares its job with others is
/// stored as `id@attempt`, so it is matched by both names: a hint about task 4711 finds the attempt
/// stored as `4711`, or one stored as `4711@` and its marker. If several attempts share one id, a
/// hint about it finds one of them; the others are found by the next poll.
fn hinted(core: &Core, due: &Due, busy: &BTreeSet<AttemptId>) -> Vec<AttemptId> {
    let bound = due.attempts.iter().filter_map(|(attempt, _)| Some((attempt, attempt.external.clone()?)));
    // A message has the name that the service itself uses.
    let named = bound.flat_map(|(attempt, external)| {
        let names = [external.unshared(), Some(external)].into_iter().flatten();
        names.map(|name| ((attempt.system.clone(), name), &attempt.id))
    });
    let bound: BTreeMap<_, _> = named.collect();
    let is_busy = |attempt: &_| bound.get(attempt).is_some_and(|id| busy.contains(*id));
    let hinted = core.hints.take(bound.keys().cloned().collect(), is_busy);
    hinted.iter().filter_map(|attempt| bound.get(attempt).map(|id| (*id).clone())).collect()
}

/// Returns the calls to be made now, and marks their attempts as busy: one call for each lookup and
/// each overdue attempt, and one for each `POLL_BATCH` polls of one system and mode.
///
/// Each attempt has a time for its next poll, in memory. For example, with a poll interval of 60
/// seconds, an attempt that is polled at 0 s is polled again at 60 s; a hint at 25 s makes it due
/// at once, and the next poll is then at 85 s. An attempt that this run has not polled yet is
/// due. Attempts whose system is not registered here are logged and left alone.
fn work<'a>(
    core: &'a Core,
    attempts: Vec<(AttemptRecord, BuildRecord)>,
    at: Timestamp,
    polling: &mut Polling,
    busy: &mut BTreeSet<AttemptId>,
) -> Vec<BoxFuture<'a, Vec<AttemptId>>> {
    let now = core.now();
    let mut calls = Vec::new();
    let mut polls: BTreeMap<(String, BuildMode), (&dyn BuildSystem, Vec<Poll>)> = BTreeMap::new();
    for (attempt, build) in attempts {
        if !core.is_ours(&build.key) {
            continue;
        }
        let Some(system) = core.backend(&build.key) else {
            tracing::error!(attempt.id = %attempt.id, "no build system is registered under {:?}", attempt.system);
            continue;
        };
        let (id, build_id) = (attempt.id.clone(), build.id);
        match Effect::of_attempt(&attempt, &build, core.run(), at) {
            Some(Effect::LookUp) => {
                busy.insert(id);
                calls.push(look_up(core, system, attempt, build).boxed());
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
                    let group = (attempt.system, build.key.mode);
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
/// First requests the end of those that are to stop, one call after another. A failed request is
/// logged and repeated at the next poll: only the status ends an attempt. An attempt that is
/// missing in the answer, or runs, is unchanged. Returns all ids, which are then no longer busy.
async fn poll(core: &Core, system: &dyn BuildSystem, polls: Vec<Poll>) -> Vec<AttemptId> {
    for poll in polls.iter().filter(|poll| poll.stop) {
        let place = || format!("{}: cancel", poll.external);
        if let Err(error) = core.answer(place, system.cancel(&poll.external)).await {
            tracing::warn!(attempt.id = %poll.id, %error, "could not ask for a stop; asking again");
        }
    }
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
    polls.into_iter().map(|poll| poll.id).collect()
}

/// Stores that an attempt has not ended in time. Its build is then to be stopped, by a later poll.
async fn give_up(core: &Core, attempt: AttemptId, build: BuildId) -> Vec<AttemptId> {
    let _ = core.apply(&Input::Overdue { attempt: attempt.clone() }, Some(build)).await;
    vec![attempt]
}

/// Finds out what became of a submission without a clear answer, in two visits.
///
/// 1. The session of the attempt is closed, so that nothing more can begin in it. Then the attempt
///    becomes one of this run, and is not due again before `Capabilities::settle` has passed: what
///    was let in before gets its time to take effect.
/// 2. The build system is asked for the marker. Found: the attempt is adopted. Not found: it was
///    not submitted, and the build is sent again under the same release. No answer: asked again
///    after `Options::backend_pause`, without a limit.
///
/// If the session cannot be closed, nothing is stored and the first visit is repeated. If another
/// run takes over between the visits, it begins with the first one. A system without a complete
/// lookup is not asked: the attempt stays unresolved, is logged, and is looked at again after
/// `NO_LOOKUP_PAUSE`. If the storage refuses what was found, the attempt is refused with this text.
async fn look_up(core: &Core, system: &dyn BuildSystem, attempt: AttemptRecord, build: BuildRecord) -> Vec<AttemptId> {
    let id = attempt.id.clone();
    let capabilities = system.capabilities();
    let input = if attempt.state != AttemptState::Resolving || attempt.run != core.run() {
        if let Some(session) = &attempt.session
            && let Err(error) = core.answer(|| format!("{}: fence", attempt.system), system.fence(session)).await
        {
            core.pause("watch", &error).await;
            return vec![id];
        }
        Input::Resolve { attempt: id.clone(), settle: capabilities.settle }
    } else if !capabilities.lookup {
        let text = "the build system cannot tell what it has; a person must decide whether this was submitted";
        tracing::error!(attempt.id = %id, "{text}");
        Input::NotResolved { attempt: id.clone(), text: text.to_owned(), after: NO_LOOKUP_PAUSE }
    } else {
        let request = BuildRequest::of(&build, &attempt);
        let place = || format!("{}: lookup", attempt.system);
        match core.answer(place, system.find(&request, attempt.intent_at)).await {
            Ok(found) => Input::Resolved { attempt: id.clone(), external: choose(core, system, &id, found).await },
            Err(error) => {
                let after = core.options.backend_pause;
                Input::NotResolved { attempt: id.clone(), text: error.to_string(), after }
            }
        }
    };
    if let Err(NotApplied::Refused(error)) = core.apply(&input, Some(build.id)).await {
        tracing::error!(attempt.id = %id, %error, "what a lookup found cannot be stored");
        let failure = Failure::new(FailureClass::Permanent, error.to_string());
        let _ = core.apply(&Input::Refused { attempt: id.clone(), failure }, Some(build.id)).await;
    }
    vec![id]
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
