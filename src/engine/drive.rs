use super::breaker::Breakers;
use super::commit::NotApplied;
use super::core::{Core, Pace, progress};
use super::prepared;
use crate::backend::{BuildRequest, Due, DueLimits, Error, Remedy};
use crate::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildRecord, Effect, Failure, FailureClass, Input, Schedule, SessionId,
};
use crate::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;

/// More ready builds of a build system than that are not looked at in one step; those are the least
/// urgent ones.
const READY_MAX: u32 = 1000;

/// Ready builds to attempts: starts as many as the concurrency limits allow, the most urgent first.
pub(super) async fn run(core: &Core) {
    let mut under_way: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
    let mut starting = Starting::default();
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
                        starting.begin(&build);
                        under_way.push(intend(core, build).boxed());
                    }
                }
                Err(error) => core.pause("drive", &error).await,
            }
        }
        match progress(&mut under_way, core.wait(&core.wake.drive, pace.at(core))).await {
            Some(Step::Intended(intended)) => {
                starting.stored(intended.build.id);
                under_way.push(submit(core, *intended).boxed());
            }
            Some(Step::Ended { build, system, reached }) => {
                starting.end(build);
                match reached {
                    Reached::Yes => breakers.answered(&system),
                    Reached::No => breakers.failed(&system, core.now(), &core.limits, core.rng().f64()),
                    Reached::NotTried => breakers.untried(&system),
                }
            }
            None => {}
        }
        pace.hurry();
    }
}

/// How far a start has got.
enum Step {
    /// The intent is stored; the build system is to be called.
    Intended(Box<Intended>),
    /// It is over.
    Ended { build: BuildId, system: String, reached: Reached },
}

/// Whether a build system could be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
    NotTried,
}

/// A build whose intent is stored.
struct Intended {
    build: BuildRecord,
    attempt: AttemptRecord,
    /// Why there is no session to submit it in, if there should be one.
    no_session: Option<Error>,
}

/// Builds that are being started, by whether the rows show it already.
#[derive(Debug, Default)]
struct Starting {
    /// Their intents are not stored.
    undecided: BTreeMap<BuildId, String>,
    /// Their intents are stored, so that the rows show that they run.
    stored: BTreeMap<BuildId, String>,
}

impl Starting {
    fn begin(&mut self, build: &BuildRecord) {
        self.undecided.insert(build.id, build.key.system.clone());
    }

    fn stored(&mut self, build: BuildId) {
        let system = self.undecided.remove(&build);
        self.stored.extend(system.map(|system| (build, system)));
    }

    fn end(&mut self, build: BuildId) {
        self.undecided.remove(&build);
        self.stored.remove(&build);
    }

    fn contains(&self, build: BuildId) -> bool {
        self.undecided.contains_key(&build) || self.stored.contains_key(&build)
    }

    fn of_system(&self, system: &str) -> u32 {
        let all = self.undecided.values().chain(self.stored.values());
        u32::try_from(all.filter(|name| *name == system).count()).unwrap_or(u32::MAX)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.undecided.len() + self.stored.len()).unwrap_or(u32::MAX)
    }
}

/// The builds that start now, and when there may be others.
async fn startable(
    core: &Core,
    starting: &Starting,
    breakers: &mut Breakers,
) -> Result<(Vec<BuildRecord>, Option<Timestamp>), Error> {
    let limit = |system: &String| core.slots.limit(system);
    let slots = core.systems.keys().map(limit).max().unwrap_or_default();
    // As many as could start at most, and those that still look ready. Only if none of them can
    // start, others are looked at.
    let mut ready = slots.saturating_add(starting.len()).clamp(1, READY_MAX);
    loop {
        let due = core.reads().due(core.run(), DueLimits { ready, attempts: 0 }).await?;
        core.report(&due.unreadable);
        let complete = due.ready.len() < ready as usize || ready == READY_MAX;
        let live = |system| due.live.get(system).copied().unwrap_or_default();
        let free = core.systems.keys().any(|name| live(name) < limit(name) && submissions(core, starting, name) > 0);
        let next = due.next.map(|at| core.local(at));
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
    most.map_or(u32::MAX, |most| most.get().saturating_sub(starting.of_system(system)))
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
    for system in starting.undecided.values() {
        schedule.live(system, 1);
    }
    let mut candidates = BTreeMap::new();
    for build in due.ready {
        let ours = core.is_ours(&build.key) && !starting.contains(build.id);
        if ours && Effect::of_build(&build) == Some(Effect::Start) {
            schedule.ready(&build.key.system, build.priority, build.id);
            candidates.insert(build.id, build);
        }
    }
    let chosen = std::iter::from_fn(|| schedule.start()).filter_map(|build| candidates.remove(&build));
    let now = core.now();
    chosen.filter(|build| breakers.admits(&build.key.system, now)).collect()
}

/// Decides whether the build must run at all, asks whether it can, and stores the intent.
async fn intend(core: &Core, record: BuildRecord) -> Step {
    let (build, system) = (record.id, record.key.system.clone());
    let ended = |reached| Step::Ended { build, system: system.clone(), reached };
    {
        // All take their turn, also those that cannot be reused, so that none overtakes a more
        // urgent one here.
        let _turn = core.starting.lock().await;
        if record.may_be_reused()
            && !matches!(core.apply(&Input::Reuse { build }, Some(build)).await, Err(NotApplied::Illegal(_)))
        {
            return ended(Reached::NotTried);
        }
    }
    if !prepared::is_there(core, &record).await {
        return ended(Reached::NotTried);
    }
    let attempt = core.new_attempt();
    let opened = open(core, &record.key).await;
    let session = opened.as_ref().ok().cloned().flatten();
    let reached = if opened.is_ok() { Reached::Yes } else { Reached::No };
    let input = Input::Start { build, attempt: attempt.clone(), session };
    let rows = {
        // One after the other, so that of those that start together the most urgent is submitted
        // first.
        let _turn = core.starting.lock().await;
        core.apply(&input, Some(build)).await
    };
    let Ok(mut rows) = rows else { return ended(reached) };
    match (rows.builds.remove(&build), rows.attempts.remove(&attempt)) {
        (Some(build), Some(attempt)) => Step::Intended(Box::new(Intended { build, attempt, no_session: opened.err() })),
        _ => ended(reached),
    }
}

/// The session to submit in, so that it can be stored with the intent.
async fn open(core: &Core, key: &BuildKey) -> Result<Option<SessionId>, Error> {
    let Some(backend) = core.backend(key) else { return Ok(None) };
    core.answer(|| format!("{}: session", key.system), backend.session()).await
}

/// Calls the build system and stores the answer: nothing is sent that is not stored.
async fn submit(core: &Core, intended: Intended) -> Step {
    let Intended { build, attempt, no_session } = intended;
    let id = attempt.id.clone();
    let answer = match no_session {
        // Without a session nothing can have been submitted, whatever the error is.
        Some(error) => Input::NotSent { attempt: id, text: error.to_string() },
        None if !core.lease_holds() => {
            let text = "the lease of this run was not renewed in time, so another run may look this attempt up";
            Input::NotSent { attempt: id, text: text.to_owned() }
        }
        None => call(core, &build.key, &BuildRequest::of(&build, &attempt)).await,
    };
    let reached = if matches!(answer, Input::NotSent { .. }) { Reached::No } else { Reached::Yes };
    // A late answer about an attempt that another run has taken over changes nothing.
    if let Err(NotApplied::Refused(error)) = core.apply(&answer, Some(build.id)).await {
        tracing::error!(attempt.id = %attempt.id, %error, "the answer of a build system cannot be stored");
        let failure = Failure::new(FailureClass::Permanent, error.to_string());
        let _ = core.apply(&Input::Refused { attempt: attempt.id, failure }, Some(build.id)).await;
    }
    Step::Ended { build: build.id, system: build.key.system, reached }
}

async fn call(core: &Core, key: &BuildKey, request: &BuildRequest) -> Input {
    let attempt = request.attempt.clone();
    let Some(backend) = core.backend(key) else {
        let text = format!("no build system is registered under the name {:?}", key.system);
        return Input::Refused { attempt, failure: Failure::new(FailureClass::Permanent, text) };
    };
    match core.in_time(backend.submit(request)).await {
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
        Remedy::Unclear | Remedy::Conflict | Remedy::Corrupt | Remedy::Fenced => Input::Unclear { attempt, text },
    }
}
