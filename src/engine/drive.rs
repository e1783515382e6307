//! Starts ready builds: turns them into attempts and submits these to build systems.
//!
//! The stage reads builds in `Ready` whose time has come. It is woken by each stored change of a
//! build, by the first moment at which a build becomes due, by the end of a back-off of a circuit
//! breaker, and by a tick; `Pace` limits how often it reads.
//!
//! # The steps of one build
//!
//! 1. `choose`: the schedule gives the build a place within the concurrency limit.
//! 2. `Input::Reuse`: a build whose inputs are those of its latest output ends here (early cutoff).
//!    The builds that were chosen together are asked about together, so that none overtakes a more
//!    urgent one here.
//! 3. `repositories`: its repositories must still be there; otherwise the build waits.
//! 4. A session is opened, if the build system has sessions.
//! 5. `Input::Start`: the intent is stored, with a fresh attempt id and the session.
//! 6. The build system is called, and its answer is stored.
//!
//! # What happens when something fails
//!
//! * Before step 5 nothing was submitted. If the process dies, the build is still ready.
//! * Between step 5 and the stored answer the outcome is open. If the process dies, hangs or loses
//!   its lease, `watch` of a later run looks the attempt up by its marker.
//! * No session, or an `Unavailable` system: stored as not sent. The build is ready again after a
//!   back-off that grows, and the circuit breaker of the system opens.
//! * No answer within the time limit, one that leaves the outcome open, or a panic: the attempt is
//!   unclear and is looked up, and the circuit breaker opens.
//! * The build system is not registered in this process: the build is left to others, and logged.
//! * The build system is paused: its builds stay ready.
//! * A late answer, after another run has taken the attempt over, does not fit and changes nothing.
//!
//! Bounds: the concurrency limits, `Capabilities::submissions`, and `READY_MAX`.

use super::backoff::Backoffs;
use super::breaker::Breakers;
use super::core::{Core, Pace, beside, progress};
use super::group::NotApplied;
use super::repositories;
use crate::backend::{BuildRequest, DryRun, Due, Error, Remedy};
use crate::client::paused;
use crate::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildRecord, Effect, Failure, FailureClass, Input, Schedule, SessionId,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Largest number of ready builds of each build system that are read in one look. Builds beyond it
/// are the least urgent ones, and are read when others have been started.
const READY_MAX: u32 = 1000;

/// Starts ready builds, the most urgent first, as many as the limits allow, until the stop was
/// requested and all calls have ended.
///
/// A start is three futures in turn: `reuse`, for all that were chosen in one look, `intend` and
/// `submit`. Before the last one, `Starting` learns that the rows now count the attempt.
pub(super) async fn run(core: &Core) {
    let mut under_way: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
    let mut state = State::default();
    let mut pace = Pace::new();
    loop {
        if core.is_stopping() && under_way.is_empty() {
            return;
        }
        let mut steps = Vec::new();
        if pace.is_due(core) {
            let (looked, meanwhile) = beside(&mut under_way, core.read("drive", startable(core, &mut state))).await;
            steps = meanwhile;
            if let Some((builds, next)) = looked {
                let now = core.elapsed();
                let again = [next, state.breakers.next(now), state.backoffs.next(now)];
                pace.looked(core, again.into_iter().flatten().min());
                builds.iter().for_each(|build| state.starting.begin(build));
                if !builds.is_empty() {
                    under_way.push(reuse(core, builds).boxed());
                }
            }
        }
        if steps.is_empty() {
            steps.extend(progress(&mut under_way, core.wait(&core.wake.drive, pace.at(core))).await);
        }
        for step in steps {
            match step {
                Step::Sorted { left, ended } => {
                    under_way.extend(left.into_iter().map(|build| intend(core, build).boxed()));
                    ended.into_iter().for_each(|ended| state.ended(core, ended));
                }
                Step::Intended(intended) => {
                    state.starting.stored(intended.build.id);
                    under_way.push(submit(core, *intended).boxed());
                }
                Step::Ended(ended) => state.ended(core, ended),
            }
        }
        pace.hurry();
    }
}

/// Says how far the start of a build has got.
enum Step {
    /// Of builds that were chosen together these are left to be started; the others need not run.
    Sorted { left: Vec<BuildRecord>, ended: Vec<Ended> },
    /// The intent is stored; the build system is to be called.
    Intended(Box<Intended>),
    /// The start is over.
    Ended(Ended),
}

/// A start that is over: the build is submitted, reused, postponed, or cannot be started now.
struct Ended {
    build: BuildId,
    system: String,
    reached: Reached,
}

/// What the stage keeps in memory about builds and build systems.
#[derive(Debug, Default)]
struct State {
    starting: Starting,
    breakers: Breakers,
    backoffs: Backoffs<BuildId>,
    /// How many builds the build system with the most room could take when the rows were last read.
    room: u32,
}

impl State {
    /// Records the end of a start.
    fn ended(&mut self, core: &Core, Ended { build, system, reached }: Ended) {
        self.starting.end(build);
        match reached {
            Reached::Yes => self.breakers.answered(&system),
            Reached::No(error) => {
                self.breakers.log_outage(&system, &error);
                self.breakers.failed(&system, build, core.elapsed(), &core.limits, core.rng().f64());
            }
            Reached::NotTried => self.breakers.untried(&system, build),
            Reached::NotPossible => {
                self.breakers.untried(&system, build);
                self.backoffs.failed(build, core.elapsed(), &core.limits);
            }
        }
    }
}

/// Says whether a build system could be reached; the input of the circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reached {
    /// A session was opened, or the request was answered, whatever the answer was.
    Yes,
    /// No session was opened, or the request was not answered, for this reason.
    No(String),
    /// The build system was not called.
    NotTried,
    /// Nothing could be stored about the build: it is tried again after a back-off, so that it does
    /// not hold up the others.
    NotPossible,
}

impl Reached {
    /// What follows if an input about the build was not stored.
    fn or_not_possible(self, error: &NotApplied) -> Self {
        match error {
            NotApplied::Unreadable(_) | NotApplied::Refused(_) => Self::NotPossible,
            NotApplied::Illegal(_) | NotApplied::Fenced => self,
        }
    }
}

/// Holds a build whose intent is stored, on its way to the build system.
struct Intended {
    /// The build, with the inputs that it is submitted with.
    build: BuildRecord,
    /// The attempt that is in the state `Intent`.
    attempt: AttemptRecord,
    /// Why there is no session to submit it in, if there should be one.
    no_session: Option<Error>,
}

/// Holds the builds that are being started, by whether the rows count them already.
///
/// The rows count a build as a live attempt from its intent on. A build before that must be counted
/// here, or the limit would be exceeded; a build after that must not be counted a second time. With
/// a limit of 3, two live attempts in the rows of which one is in `stored`, and one build in
/// `undecided`: 2 + 1 = 3, so nothing more starts.
#[derive(Debug, Default)]
struct Starting {
    /// Their intents are not stored.
    undecided: BTreeMap<BuildId, String>,
    /// Their intents are stored, so that the rows show that they run.
    stored: BTreeMap<BuildId, String>,
}

impl Starting {
    /// Adds a build that was chosen.
    fn begin(&mut self, build: &BuildRecord) {
        self.undecided.insert(build.id, build.key.system.clone());
    }

    /// Records that the intent of a build is stored.
    fn stored(&mut self, build: BuildId) {
        let system = self.undecided.remove(&build);
        self.stored.extend(system.map(|system| (build, system)));
    }

    /// Removes a build whose start is over.
    fn end(&mut self, build: BuildId) {
        self.undecided.remove(&build);
        self.stored.remove(&build);
    }

    /// Returns whether the build is being started, so that it is not chosen twice.
    fn contains(&self, build: BuildId) -> bool {
        self.undecided.contains_key(&build) || self.stored.contains_key(&build)
    }

    /// Returns how many builds of a system are being started; `Capabilities::submissions` limits
    /// these.
    fn of_system(&self, system: &str) -> u32 {
        let all = self.undecided.values().chain(self.stored.values());
        u32::try_from(all.filter(|name| *name == system).count()).unwrap_or(u32::MAX)
    }

    /// Returns how many builds are being started whose intents are not stored.
    fn undecided(&self) -> u32 {
        u32::try_from(self.undecided.len()).unwrap_or(u32::MAX)
    }
}

/// Returns the builds that start now, and the moment at which a further build becomes due.
///
/// Reads as many ready builds of each system as the largest one had room for in the last look, plus
/// those whose rows still look ready because their intents are not stored, and reads again if there
/// is more room now. If none of these can start although a system has room, or a circuit breaker is
/// not closed, reads with `READY_MAX`.
///
/// # Errors
/// The storage cannot be read. Nothing was chosen then.
async fn startable(core: &Core, state: &mut State) -> Result<(Vec<BuildRecord>, Option<Duration>), Error> {
    let State { starting, breakers, backoffs, room } = state;
    // After an outage all are looked at, since a build that cannot be sent may be the first one.
    let few = |room: u32| starting.undecided().saturating_add(room).clamp(1, READY_MAX);
    let mut ready = if breakers.are_closed() { few(*room) } else { READY_MAX };
    loop {
        let mut due = core.reads().due(core.run(), core.due_limits(ready, 0)).await?;
        core.report(&due.unreadable);
        // Rows that cannot be read are left out, and may be all that was read.
        let complete = due.ready.len() + due.unreadable.len() < ready as usize || ready == READY_MAX;
        let paused = if due.ready.is_empty() { BTreeSet::new() } else { paused(core.storage.documents()).await? };
        due.ready.retain(|build| !paused.contains(&build.key.system));
        let free = |name: &str| {
            let live = due.live.get(name).copied().unwrap_or_default();
            core.concurrency.limit(name).saturating_sub(live).min(submissions(core, starting, name))
        };
        // Mostly nothing waits in the queue of single dry runs, and then its room does not count.
        let dry = due.ready.iter().any(|build| build.key.system == DryRun::QUEUE).then_some(DryRun::QUEUE);
        let queues = core.systems.keys().map(String::as_str).chain(dry);
        *room = queues.filter(|name| !paused.contains(*name)).map(free).max().unwrap_or_default();
        if !complete && few(*room) > ready {
            ready = few(*room);
            continue;
        }
        let free = *room > 0;
        let next = core.due_next(&due);
        if complete {
            backoffs.keep(|id| due.ready.iter().any(|build| build.id == *id), core.elapsed());
        }
        let builds = choose(core, due, starting, breakers, backoffs);
        if complete || !builds.is_empty() || !free {
            return Ok((builds, next));
        }
        ready = READY_MAX;
    }
}

/// Returns how many more submissions this system takes at this moment: its declared number minus
/// those that are being started; `u32::MAX` if it declares none.
fn submissions(core: &Core, starting: &Starting, system: &str) -> u32 {
    let most = core.submissions(system);
    most.map_or(u32::MAX, |most| most.get().saturating_sub(starting.of_system(system)))
}

/// Returns which of these builds start now, most urgent first.
///
/// Each build system has a queue with room for its concurrency limit minus the live attempts of all
/// runs and the undecided starts, and for at most `submissions` starts. The builds with the highest
/// priorities get the room; of equal ones the lower id. A build in a back-off takes no room. After
/// an outage the circuit breaker chooses among all builds of its system which one is let through.
/// Example, limit 3:
///
/// ```text
/// live in the rows            1
/// undecided starts            1      so there is room for 1
/// ready, by priority          a -10, b -20, c -30
/// chosen                      a;  none if the circuit breaker is open
/// ```
fn choose(
    core: &Core,
    due: Due,
    starting: &Starting,
    breakers: &mut Breakers,
    backoffs: &Backoffs<BuildId>,
) -> Vec<BuildRecord> {
    let now = core.elapsed();
    let mut schedule = Schedule::new(core.concurrency.clone());
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
    let mut of_system: BTreeMap<String, BTreeSet<BuildId>> = BTreeMap::new();
    for build in due.ready {
        let ours = core.is_ours(&build.key) && !starting.contains(build.id) && backoffs.is_due(&build.id, now);
        if ours && core.builds(&build.key) && Effect::of_build(&build) == Some(Effect::Start) {
            of_system.entry(build.key.system.clone()).or_default().insert(build.id);
            candidates.insert(build.id, build);
        }
    }
    of_system.iter_mut().for_each(|(system, builds)| breakers.rotate(system, builds));
    for build in of_system.values().flatten().filter_map(|build| candidates.get(build)) {
        schedule.ready(&build.key.system, build.priority, build.id);
    }
    let chosen = std::iter::from_fn(|| schedule.start()).filter_map(|build| candidates.remove(&build));
    chosen.filter(|build| breakers.admits(&build.key.system, build.id, now)).collect()
}

/// Ends those of the chosen builds that need not run, because they would be made of what their
/// latest output was made of. All are decided on together, and the order of the others stays.
async fn reuse(core: &Core, builds: Vec<BuildRecord>) -> Step {
    let asked = builds.into_iter().map(|build| async {
        if !build.may_be_reused() {
            return Ok(build);
        }
        let (id, system) = (build.id, build.key.system.clone());
        match core.apply(Input::Reuse { build: id }, Some(id)).await {
            Err(NotApplied::Illegal(_)) => Ok(build),
            Ok(_) => Err(Ended { build: id, system, reached: Reached::NotTried }),
            Err(error) => Err(Ended { build: id, system, reached: Reached::NotTried.or_not_possible(&error) }),
        }
    });
    let (mut left, mut ended) = (Vec::new(), Vec::new());
    for build in join_all(asked).await {
        match build {
            Ok(build) => left.push(build),
            Err(over) => ended.push(over),
        }
    }
    Step::Sorted { left, ended }
}

/// Checks that the build can be started, and stores the intent.
///
/// A start ends here if a repository is lost, if it cannot be known whether one is lost, or if the
/// state or the limit has changed since the build was chosen. A session that could not be opened
/// does not end it: the intent is stored, and `submit` then stores that nothing was sent, and the
/// build is ready again after a back-off.
async fn intend(core: &Core, record: BuildRecord) -> Step {
    let (build, system) = (record.id, record.key.system.clone());
    let ended = |reached| Step::Ended(Ended { build, system: system.clone(), reached });
    if !repositories::is_there(core, &record).await {
        return ended(Reached::NotTried);
    }
    let attempt = core.new_attempt();
    let opened = open(core, &record.key).await;
    let session = opened.as_ref().ok().cloned().flatten();
    let reached = match &opened {
        Ok(Some(_)) => Reached::Yes,
        // A system without sessions was not called yet.
        Ok(None) => Reached::NotTried,
        Err(error) => Reached::No(error.to_string()),
    };
    let applied = match core.apply(Input::Start { build, attempt, session }, Some(build)).await {
        Ok(applied) => applied,
        // The limit may be reached by another run, which is no fault of the build.
        Err(NotApplied::Refused(error)) if error.remedy == Remedy::NotNow => return ended(reached),
        Err(error) => return ended(reached.or_not_possible(&error)),
    };
    match (applied.build, applied.attempt) {
        (Some(build), Some(attempt)) => Step::Intended(Box::new(Intended { build, attempt, no_session: opened.err() })),
        _ => ended(reached),
    }
}

/// Opens a session to submit in; `None` if the system has no sessions or is not registered.
///
/// # Errors
/// Any error, also no answer within the time limit, means that nothing was submitted.
async fn open(core: &Core, key: &BuildKey) -> Result<Option<SessionId>, Error> {
    let Some(backend) = core.backend(key) else { return Ok(None) };
    core.answer(|| format!("{}: session", key.system), backend.session()).await
}

/// Calls the build system and stores the answer. The intent is stored before, so nothing is sent
/// that the rows do not show.
///
/// Nothing is sent if there is no session or if the lease has expired by the engine's clock. If the
/// storage refuses the answer for good (for example because another attempt has the same external
/// id), the attempt is refused with this text instead.
async fn submit(core: &Core, intended: Intended) -> Step {
    let Intended { build, attempt, no_session } = intended;
    let id = attempt.id.clone();
    let _under_way = UnderWay::new(core, &id);
    let (answer, reached) = match no_session {
        // Without a session nothing can have been submitted, whatever the error is.
        Some(error) => {
            let text = error.to_string();
            (Input::NotSent { attempt: id, text: text.clone() }, Reached::No(text))
        }
        None if !core.lease_holds() => {
            let text = "the lease of this run was not renewed in time, so another run may look this attempt up";
            (Input::NotSent { attempt: id, text: text.to_owned() }, Reached::NotTried)
        }
        None => {
            let answer = call(core, &build.key, &BuildRequest::of(&build, &attempt)).await;
            let reached = match &answer {
                Input::NotSent { text, .. } | Input::Unclear { text, .. } => Reached::No(text.clone()),
                _ => Reached::Yes,
            };
            (answer, reached)
        }
    };
    // A late answer about an attempt that another run has taken over changes nothing.
    if let Err(NotApplied::Refused(error)) = core.apply(answer, Some(build.id)).await {
        tracing::error!(attempt.id = %attempt.id, %error, "the answer of a build system cannot be stored");
        let failure = Failure::new(FailureClass::Permanent, error.to_string());
        let _ = core.apply(Input::Refused { attempt: attempt.id, failure }, Some(build.id)).await;
    }
    Step::Ended(Ended { build: build.id, system: build.key.system, reached })
}

/// Lets `watch` know that an attempt is being submitted, as long as it is there.
struct UnderWay<'a>(&'a Core, AttemptId);

impl<'a> UnderWay<'a> {
    fn new(core: &'a Core, attempt: &AttemptId) -> Self {
        core.submitting().insert(attempt.clone());
        Self(core, attempt.clone())
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.submitting().remove(&self.1);
    }
}

/// Submits the request within the time limit, and returns the answer as an input. To a system that
/// is not registered nothing is sent; `choose` leaves out its builds.
async fn call(core: &Core, key: &BuildKey, request: &BuildRequest) -> Input {
    let attempt = request.attempt.clone();
    let Some(backend) = core.backend(key) else {
        let text = format!("no build system is registered under the name {:?}", key.system);
        return Input::NotSent { attempt, text };
    };
    match core.in_time(backend.submit(request)).await {
        Ok(Ok(external)) => Input::Accepted { attempt, external },
        Ok(Err(error)) => answer(attempt, &error),
        Err(none) => Input::Unclear { attempt, text: format!("{}: {none}", key.system) },
    }
}

/// Returns the input for an error of a submission.
///
/// Only `Unavailable` says that nothing was sent. A definite no fails the build (`Rejected`,
/// `NotFound`, `Unsupported`) or is repeated later (`NotNow`). Everything else leaves the outcome
/// open, and the attempt is looked up.
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
