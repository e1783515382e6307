use super::breaker::Breakers;
use super::core::{Core, Pace, progress};
use super::prepared;
use crate::backend::{BuildRequest, Due, DueLimits, Error, Remedy, StorageExt};
use crate::rebuild::{
    AttemptId, BuildId, BuildKey, BuildRecord, Effect, Failure, FailureClass, Input, Schedule, SessionId,
};
use crate::time::Timestamp;
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// More ready builds of a build system than that are not looked at in one step; those are the least urgent ones.
const READY_MAX: u32 = 1000;

/// Ready builds to attempts: starts as many as there are slots, the most urgent first.
pub(super) async fn run(core: &Core) {
    let mut under_way = FuturesUnordered::new();
    let mut starting = Starting::new();
    let mut breakers = Breakers::default();
    let mut pace = Pace::new();
    loop {
        if core.is_stopping() && under_way.is_empty() {
            return;
        }
        if pace.is_due(core) {
            match startable(core, &starting, &mut breakers).await {
                Ok((builds, next)) => {
                    pace.looked(core, next.into_iter().chain(breakers.next(core.now())).min());
                    for build in builds {
                        let stored = Arc::new(AtomicBool::new(false));
                        starting.insert(build.id, (build.key.system.clone(), Arc::clone(&stored)));
                        under_way.push(start(core, build, stored));
                    }
                }
                Err(error) => core.pause("drive", &error).await,
            }
        }
        if let Some(started) = progress(&mut under_way, core.wait(&core.wake.drive, pace.at(core))).await {
            starting.remove(&started.build);
            match started.reached {
                Some(true) => breakers.answered(&started.system),
                Some(false) => breakers.failed(&started.system, core.now(), &core.limits, core.rng().f64()),
                None => breakers.untried(&started.system),
            }
        }
        pace.hurry();
    }
}

/// Builds that are being started: on which system, and whether their intent is stored, so that the rows show that they have a slot.
type Starting = BTreeMap<BuildId, (String, Arc<AtomicBool>)>;

/// What became of a start.
struct Started {
    build: BuildId,
    system: String,
    /// Whether the build system could be reached, if anybody tried.
    reached: Option<bool>,
}

/// The builds that start now, and when there may be others.
async fn startable(
    core: &Core,
    starting: &Starting,
    breakers: &mut Breakers,
) -> Result<(Vec<BuildRecord>, Option<Timestamp>), Error> {
    let limit = |system: &String| core.slots.limit(system);
    let slots = core.systems.keys().map(limit).max().unwrap_or_default();
    // As many as could start at most, and those that still look ready. Only if none of them can start, others are looked at.
    let mut ready = slots.saturating_add(u32::try_from(starting.len()).unwrap_or(u32::MAX)).clamp(1, READY_MAX);
    loop {
        let due = core.storage.due(core.now(), DueLimits { ready, attempts: 0 }).await?;
        let complete = due.ready.len() < ready as usize || ready == READY_MAX;
        let live = |system| due.live.get(system).copied().unwrap_or_default();
        let free = core.systems.keys().any(|name| live(name) < limit(name) && submissions(core, starting, name) > 0);
        let next = due.next;
        let builds = choose(core, due, starting, breakers);
        if complete || !builds.is_empty() || !free {
            return Ok((builds, next));
        }
        ready = READY_MAX;
    }
}

/// How many more attempts may be submitted to this system at this moment.
fn submissions(core: &Core, starting: &Starting, system: &str) -> u32 {
    let most = core.systems.get(system).and_then(|backend| backend.capabilities().submissions);
    let under_way = starting.values().filter(|(name, _)| name == system).count();
    most.map_or(u32::MAX, |most| most.get().saturating_sub(u32::try_from(under_way).unwrap_or(u32::MAX)))
}

/// Asks the schedule which of these builds start now.
fn choose(core: &Core, due: Due, starting: &Starting, breakers: &mut Breakers) -> Vec<BuildRecord> {
    let mut schedule = Schedule::new(core.slots.clone());
    for (system, attempts) in &due.live {
        schedule.live(system, *attempts);
    }
    for system in core.systems.keys() {
        schedule.at_most(system, submissions(core, starting, system));
    }
    for (system, _) in starting.values().filter(|(_, stored)| !stored.load(Ordering::SeqCst)) {
        schedule.live(system, 1);
    }
    let mut candidates = BTreeMap::new();
    for build in due.ready {
        let ours = core.is_ours(&build.key) && !starting.contains_key(&build.id);
        if ours && Effect::of_build(&build) == Some(Effect::Start) {
            schedule.ready(&build.key.system, build.priority, build.id);
            candidates.insert(build.id, build);
        }
    }
    let chosen = std::iter::from_fn(|| schedule.start()).filter_map(|build| candidates.remove(&build));
    let now = core.now();
    chosen.filter(|build| breakers.admits(&build.key.system, now)).collect()
}

/// Stores the intent, calls, stores the answer. In this order: nothing is sent that is not stored.
async fn start(core: &Core, record: BuildRecord, stored: Arc<AtomicBool>) -> Started {
    if !prepared::is_there(core, &record).await {
        return Started { build: record.id, system: record.key.system, reached: None };
    }
    let BuildRecord { id: build, key, .. } = record;
    let attempt = core.new_attempt();
    let opened = open(core, &key).await;
    let session = opened.as_ref().ok().cloned().flatten();
    let input = Input::Start { build, attempt: attempt.clone(), session };
    let mut started = Started { build, system: key.system.clone(), reached: Some(opened.is_ok()) };
    let rows = {
        // One after the other, so that of those that start together the most urgent is submitted first.
        let _turn = core.starting.lock().await;
        core.apply(&input, Some(build)).await
    };
    let Ok(rows) = rows else { return started };
    stored.store(true, Ordering::SeqCst);
    let (Some(record), Some(row)) = (rows.attempts.get(&attempt), rows.builds.get(&build)) else { return started };
    let answer = match opened {
        Ok(_) => submit(core, &key, &BuildRequest::of(row, record)).await,
        // Without a session nothing can have been submitted, whatever the error is.
        Err(error) => Input::NotSent { attempt, text: error.to_string() },
    };
    started.reached = Some(!matches!(answer, Input::NotSent { .. }));
    // A late answer about an attempt that another run has taken over changes nothing.
    let _ = core.apply(&answer, Some(build)).await;
    started
}

/// The session to submit in, so that it can be stored with the intent.
async fn open(core: &Core, key: &BuildKey) -> Result<Option<SessionId>, Error> {
    let Some(backend) = core.backend(key) else { return Ok(None) };
    answer_in_time(core, format!("{}: session", key.system), backend.session()).await
}

/// The answer to a call that changes nothing; that there is none in time is an outage.
pub(super) async fn answer_in_time<T>(
    core: &Core,
    place: String,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = || Err(Error::new(Remedy::Unavailable, place, "no answer in time"));
    in_time(core, call).await.unwrap_or_else(late)
}

/// What a call to a build system gives, if it ends in the time that a submission has.
async fn in_time<T>(core: &Core, call: impl Future<Output = T>) -> Option<T> {
    let timeout = core.sleep(core.options.submit_timeout);
    pin_mut!(call, timeout);
    match select(call, timeout).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

async fn submit(core: &Core, key: &BuildKey, request: &BuildRequest) -> Input {
    let attempt = request.attempt.clone();
    let Some(backend) = core.backend(key) else {
        let text = format!("no build system is registered under the name {:?}", key.system);
        return Input::Refused { attempt, failure: Failure::new(FailureClass::Permanent, text) };
    };
    match in_time(core, backend.submit(request)).await {
        Some(Ok(external)) => Input::Accepted { attempt, external },
        Some(Err(error)) => answer(attempt, &error),
        None => Input::Unclear { attempt, text: format!("{} did not answer in time", key.system) },
    }
}

fn answer(attempt: AttemptId, error: &Error) -> Input {
    let text = error.to_string();
    match error.remedy {
        Remedy::Unavailable => Input::NotSent { attempt, text },
        Remedy::Rejected | Remedy::NotFound | Remedy::Unsupported => {
            Input::Refused { attempt, failure: Failure::new(FailureClass::Permanent, text) }
        }
        Remedy::NotNow => Input::Refused { attempt, failure: Failure::new(FailureClass::Infrastructure, text) },
        Remedy::Unclear | Remedy::Conflict | Remedy::Corrupt => Input::Unclear { attempt, text },
    }
}
