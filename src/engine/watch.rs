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

/// Attempts asked about in one call.
const POLL_BATCH: usize = 100;

/// Live attempts looked at in one step; slots keep the real number far below.
const ATTEMPTS_MAX: u32 = 100_000;

/// An attempt without a complete lookup is shown as waiting for a person, and looked at again after
/// this long.
const NO_LOOKUP_PAUSE: Duration = Duration::from_secs(3600);

/// Live attempts to ends: asks the build systems, which know best, and looks up what is unclear.
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

/// The attempts that messages say have changed.
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

/// The calls to be made now: one for each look-up, one for many polls of a system.
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

struct Poll {
    id: AttemptId,
    build: BuildId,
    external: ExternalId,
    stop: bool,
    /// A success has to be looked at before it counts.
    verify: bool,
}

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

async fn give_up(core: &Core, attempt: AttemptId, build: BuildId) -> Vec<AttemptId> {
    let _ = core.apply(&Input::Overdue { attempt: attempt.clone() }, Some(build)).await;
    vec![attempt]
}

/// Finds out what became of a submission without a clear answer. First its session is closed, so
/// that nothing more can begin in it; then the attempt becomes ours, and what is still on its way
/// gets its time to arrive; then the build system is asked for the marker.
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

/// One marker must not have two tasks. If it has, the first usable one is kept and the others are
/// stopped.
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
