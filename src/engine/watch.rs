//! Follows live attempts to their ends: polls build systems, stops attempts, and looks up unclear
//! submissions.
//!
//! The stage reads live attempts of this run, and of runs that are over, whose time has come. It is
//! woken by each stored change of a build or an attempt, by hints, by the next poll that is due,
//! and by a tick. `Effect::of_attempt` says what each attempt needs; an attempt with a call under
//! way (`busy`) is left alone until the call ends.
//!
//! * A build system fails, panics or does not answer: its attempts count as unchanged. They are
//!   polled again after `Capabilities::poll`. Each failure halves how many are asked about with one
//!   call, until an attempt that makes calls fail is asked about alone. A lookup, and the end of a
//!   session before it, are repeated after a back-off that grows up to `Limits::backoff_max`.
//! * The storage refuses the end that a build system reports: the attempt has failed with this
//!   text.
//! * An answer comes twice, or after something else has stored the end: it changes nothing.
//! * Messages are lost: polls find the same state later.
//! * The process dies or the lease is lost: nothing is kept in memory but the times of polls. The
//!   next run polls everything at once and looks up what was being submitted.
//! * The storage loses its last commits in a crash, and with them the answer to a submission of
//!   this run: the attempt is looked up after twice the time limit of a call.
//!
//! Bounds: `ATTEMPTS_MAX`, `POLL_BATCH`, `CALLS_MAX`.

use super::calls::{NoAnswer, is_here};
use super::core::{Core, Pace, beside, progress};
use super::group::NotApplied;
use super::outages::STORAGE;
use crate::backend::{BuildFilter, BuildRequest, BuildSystem, Due, Error, Found, Paging, Remedy};
use crate::reason::Reason;
use crate::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildMode, BuildRecord, BuildState, Effect, ExternalId, Failure,
    FailureClass, Input, Observed, Polling, SessionId,
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

/// Largest number of calls about single attempts that one call of `poll` makes at the same time.
const CALLS_MAX: usize = 16;

/// The reason code of an unclear attempt about which a person has to decide.
const NEEDS_DECISION: &str = "needs_decision";

/// What is polled with one call: build system, mode, whether it is to be stopped, and about how
/// many attempts a call may ask.
type PollGroup = (String, BuildMode, bool, usize);

/// An intent of this run that is older than this many time limits of a call is not being submitted.
const LEFT_AFTER: u32 = 2;

/// The attempts of a call, and what became of it.
type Asked = Vec<(AttemptId, Outcome)>;

/// A call, with further ones that follow from its answer.
type Call<'a> = BoxFuture<'a, CallEnded<'a>>;

/// What became of a call.
struct CallEnded<'a> {
    asked: Asked,
    /// Ends that are to be stored, each on its own: one that cannot be stored holds up no other.
    ends: Vec<Call<'a>>,
}

impl From<Asked> for CallEnded<'_> {
    fn from(asked: Asked) -> Self {
        Self { asked, ends: Vec::new() }
    }
}

/// Polls and looks up until the stop was requested and all calls have ended.
pub(super) async fn run(core: &Core) {
    let mut under_way: FuturesUnordered<Call<'_>> = FuturesUnordered::new();
    let mut busy: BTreeSet<AttemptId> = BTreeSet::new();
    let mut follow = Follow::default();
    let mut pace = Pace::new();
    loop {
        if core.is_stopping() && under_way.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        if pace.is_due(core) {
            let due = core.reads().due(core.run(), core.due_limits(0, ATTEMPTS_MAX));
            let (looked, meanwhile) = beside(&mut under_way, core.read("watch", due)).await;
            ended = meanwhile;
            if let Some(due) = looked {
                let ids: BTreeSet<_> = due.attempts.iter().map(|(attempt, _)| attempt.id.clone()).collect();
                core.report(&due.unreadable);
                follow.keep(&ids, core.elapsed());
                core.followed().keep(&ids, core.elapsed());
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
        }
        if ended.is_empty() {
            ended.extend(progress(&mut under_way, core.wait(&core.wake.watch, pace.at(core))).await);
        }
        for CallEnded { asked, ends } in ended {
            for (id, outcome) in asked {
                busy.remove(&id);
                follow.asked(id, outcome, core);
            }
            under_way.extend(ends);
        }
        pace.hurry();
    }
}

/// Holds when attempts are asked about again. It is in memory only.
#[derive(Debug, Default)]
struct Follow {
    /// The polls.
    polling: Polling,
    /// The lookups that this run has begun.
    lookups: BTreeMap<AttemptId, LookUp>,
    /// What is to be stopped, and was asked to.
    stopped: BTreeSet<AttemptId>,
}

/// Holds how far a lookup is.
#[derive(Clone, Copy, Debug, Default)]
struct LookUp {
    /// Visits that have failed in a row.
    failures: u32,
    /// Whether the first visit has been made, so that the build system may be asked.
    begun: bool,
    /// No visit before this moment, by `Core::elapsed`: the time to settle, or a back-off.
    next: Duration,
}

impl Follow {
    /// Forgets the attempts that have ended. Those that wait for a moment are not among the due
    /// ones, and are kept.
    fn keep(&mut self, due: &BTreeSet<AttemptId>, now: Duration) {
        self.polling.keep(due);
        self.stopped.retain(|id| due.contains(id));
        self.lookups.retain(|id, lookup| lookup.next > now || due.contains(id));
    }

    /// Returns when the first of all attempts is to be asked about again.
    fn next(&self, now: Duration) -> Option<Duration> {
        let lookups = self.lookups.values().map(|lookup| lookup.next).filter(|next| *next > now).min();
        [self.polling.next(now), lookups].into_iter().flatten().min()
    }

    /// Returns the visit that is to be made now; `None` if it is not time yet.
    fn visit(&self, id: &AttemptId, now: Duration) -> Option<Visit> {
        match self.lookups.get(id) {
            None => Some(Visit::Begin),
            Some(lookup) if lookup.next > now => None,
            Some(LookUp { begun: false, .. }) => Some(Visit::Begin),
            Some(LookUp { failures, .. }) => Some(Visit::Ask { failures: *failures }),
        }
    }

    /// Records what became of a call.
    fn asked(&mut self, id: AttemptId, outcome: Outcome, core: &Core) {
        let now = core.elapsed();
        match outcome {
            Outcome::Answered => {
                self.polling.answered(&id);
                self.lookups.remove(&id);
            }
            Outcome::Unanswered => self.polling.failed(&id),
            Outcome::Failed => {
                let lookup = self.lookups.entry(id).or_default();
                lookup.failures = lookup.failures.saturating_add(1);
                lookup.next = now.saturating_add(core.limits.backoff(lookup.failures));
            }
            Outcome::Settles(settle) => {
                let lookup = self.lookups.entry(id).or_default();
                (lookup.begun, lookup.next) = (true, now.saturating_add(settle));
            }
            Outcome::Waits => {
                let lookup = self.lookups.entry(id).or_default();
                lookup.next = now.saturating_add(core.limits.backoff_max);
            }
        }
    }
}

/// What became of a call about an attempt.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It was answered, or is repeated as a poll.
    Answered,
    /// It was a poll that failed; the next one is about fewer attempts.
    Unanswered,
    /// It failed, and is repeated after a back-off.
    Failed,
    /// The lookup has begun, and may end after this long.
    Settles(Duration),
    /// A person must decide; it is looked at again after the longest back-off.
    Waits,
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
/// due. Attempts whose system is not registered here, or whose session is on another host, are left
/// alone.
///
/// Whether an attempt is overdue is measured from its intent or from when it was first seen here,
/// so that a clock that is set forward ends nothing. A change of the clock while no process runs
/// cannot be seen.
fn work<'a>(
    core: &'a Core,
    attempts: Vec<(AttemptRecord, BuildRecord)>,
    at: Timestamp,
    follow: &mut Follow,
    busy: &mut BTreeSet<AttemptId>,
) -> Vec<Call<'a>> {
    let now = core.elapsed();
    let steady = core.steady_now().map_or(at, |steady| at.min(steady));
    let mut calls = Vec::new();
    let mut polls: BTreeMap<PollGroup, (&dyn BuildSystem, Vec<Poll>)> = BTreeMap::new();
    for (attempt, build) in attempts {
        if !core.is_ours(&build.key) || !core.builds(&build.key) {
            continue;
        }
        let Some(system) = core.backend(&build.key) else { continue };
        if attempt.session.as_ref().is_some_and(|session| !is_here(system, session)) {
            report_elsewhere(core, &attempt);
            continue;
        }
        let (id, build_id) = (attempt.id.clone(), build.id);
        let at = core.followed().moment(&id, steady.max(attempt.intent_at), now);
        let effect = Effect::of_attempt(&attempt, &build, core.run(), at);
        match effect.or_else(|| is_left(core, &attempt, now).then_some(Effect::LookUp)) {
            Some(Effect::LookUp) => {
                let Some(visit) = follow.visit(&id, now) else { continue };
                busy.insert(id);
                calls.push(look_up(core, system, attempt, build, visit).map(CallEnded::from).boxed());
            }
            Some(Effect::StopOverdue) if build.state == BuildState::Building => {
                busy.insert(id.clone());
                calls.push(give_up(core, id, build_id).map(CallEnded::from).boxed());
            }
            Some(effect @ (Effect::Poll | Effect::Stop | Effect::StopOverdue)) => {
                // The first request to stop does not wait for the next poll.
                if effect != Effect::Poll && follow.stopped.insert(id.clone()) {
                    follow.polling.hasten(&id);
                }
                if !follow.polling.is_due(&id, now) {
                    continue;
                }
                follow.polling.asked(&id, now, core.capabilities(&build.key).poll);
                if let Some(external) = attempt.external {
                    busy.insert(id.clone());
                    let stop = effect != Effect::Poll;
                    let verify = core.has_verifier(&build);
                    let poll = Poll { id, build: build_id, external, stop, verify };
                    // What is to be stopped has a call of its own, so that a slow request to stop
                    // one attempt delays no other attempt's end.
                    let together = follow.polling.together(&poll.id, POLL_BATCH);
                    let group = (attempt.system, build.key.mode, stop, together);
                    polls.entry(group).or_insert((system, Vec::new())).1.push(poll);
                }
            }
            _ => {}
        }
    }
    for ((name, .., together), (system, mut polls)) in polls {
        while !polls.is_empty() {
            let rest = polls.split_off(polls.len().min(together));
            calls.push(poll(core, name.clone(), system, std::mem::replace(&mut polls, rest)).boxed());
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

/// Polls attempts of one system with one call, and returns the ends that it reports, to be stored.
///
/// First requests the end of those that are to stop, at most `CALLS_MAX` at the same time. A
/// failed request is logged and repeated at the next poll: only the status ends an attempt. An
/// attempt that is missing in the answer, or runs, is unchanged, and no longer busy.
async fn poll<'a>(core: &'a Core, name: String, system: &'a dyn BuildSystem, polls: Vec<Poll>) -> CallEnded<'a> {
    let request = |poll: &Poll| {
        let (id, external) = (poll.id.clone(), poll.external.clone());
        async move {
            if let Err(error) = core.answer(|| format!("{external}: cancel"), system.cancel(&external)).await {
                tracing::warn!(attempt.id = %id, %error, "could not ask for a stop; asking again");
            }
        }
    };
    let stops: Vec<_> = polls.iter().filter(|poll| poll.stop).map(request).collect();
    futures_util::stream::iter(stops).buffer_unordered(CALLS_MAX).collect::<()>().await;
    let (found, odd) = match states(core, system, &polls).await {
        Ok(answer) => {
            core.works("watch", &name);
            answer
        }
        Err(error) => {
            core.pause("watch", &name, &error).await;
            (Vec::new(), polls.iter().map(|poll| poll.external.clone()).collect())
        }
    };
    let mut found: BTreeMap<_, _> = found.into_iter().map(|found| (found.external, found.observed)).collect();
    let mut answered = CallEnded::from(Vec::new());
    for poll in polls {
        match found.remove(&poll.external).filter(|observed| *observed != Observed::Running) {
            Some(observed) => answered.ends.push(end(core, poll, observed).map(CallEnded::from).boxed()),
            None if odd.contains(&poll.external) => answered.asked.push((poll.id, Outcome::Unanswered)),
            None => answered.asked.push((poll.id, Outcome::Answered)),
        }
    }
    answered
}

/// Stores the end of an attempt, which is busy until then.
async fn end(core: &Core, poll: Poll, observed: Observed) -> Asked {
    observe(core, &poll, observed).await;
    vec![(poll.id, Outcome::Answered)]
}

/// Stores the end of an attempt. What the storage refuses to store becomes a failure with this
/// text. A stale input changes nothing: something else has observed the end first.
async fn observe(core: &Core, poll: &Poll, observed: Observed) {
    let input = |observed| Input::Observe { attempt: poll.id.clone(), observed, verify: poll.verify };
    if let Err(NotApplied::Refused(error)) = core.apply(input(observed), Some(poll.build)).await {
        tracing::error!(attempt.id = %poll.id, %error, "what the build system says of its end cannot be stored");
        let failure = Failure::new(FailureClass::Permanent, error.to_string());
        let _ = core.apply(input(Observed::Failed(failure)), Some(poll.build)).await;
    }
}

/// Asks how attempts stand, with one call. If that panics, or its answer makes no sense, each is
/// asked about alone, so that one odd job hides no other. Returns those that cannot be asked about
/// even so, beside the answers.
///
/// # Errors
/// The build system cannot be asked now.
async fn states(
    core: &Core,
    system: &dyn BuildSystem,
    polls: &[Poll],
) -> Result<(Vec<Found>, BTreeSet<ExternalId>), Error> {
    let ids: Vec<_> = polls.iter().map(|poll| poll.external.clone()).collect();
    let error = match core.in_time(system.status(&ids)).await {
        Ok(Ok(found)) => return Ok((found, BTreeSet::new())),
        Ok(Err(error)) if error.is_transient() && error.remedy != Remedy::Corrupt => return Err(error),
        Ok(Err(error)) => error,
        Err(none @ NoAnswer::Late(_)) => return Err(Error::new(Remedy::Unavailable, "build system: status", none)),
        Err(none @ NoAnswer::Panicked(_)) => Error::new(Remedy::Corrupt, "build system: status", none),
    };
    if ids.len() == 1 {
        return Err(error);
    }
    tracing::debug!(%error, "the states of jobs cannot be read; each is asked for alone");
    let alone: Vec<_> = ids.into_iter().map(|id| state(core, system, id)).collect();
    let found: Vec<_> = futures_util::stream::iter(alone).buffer_unordered(CALLS_MAX).collect().await;
    let (mut all, mut odd) = (Vec::new(), BTreeSet::new());
    for answer in found {
        match answer {
            Ok(found) => all.extend(found),
            Err(id) => drop(odd.insert(id)),
        }
    }
    Ok((all, odd))
}

/// Asks how one attempt stands.
///
/// # Errors
/// The id, if that cannot be read. The reason is logged once.
async fn state(core: &Core, system: &dyn BuildSystem, id: ExternalId) -> Result<Vec<Found>, ExternalId> {
    let answer = core.answer(|| format!("{id}: status"), system.status(std::slice::from_ref(&id))).await;
    answer.map_err(|error| {
        if core.is_new(format!("state of {id}")) {
            tracing::error!(external = %id, %error, "the state of this job cannot be read; asking with growing pauses");
        }
        id
    })
}

/// Stores that an attempt has not ended in time. Its build is then to be stopped, by a later poll.
async fn give_up(core: &Core, attempt: AttemptId, build: BuildId) -> Asked {
    let _ = core.apply(Input::Overdue { attempt: attempt.clone() }, Some(build)).await;
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

/// Logs, once for each session, that attempts wait for the host that has them.
fn report_elsewhere(core: &Core, attempt: &AttemptRecord) {
    let AttemptRecord { system, session, .. } = attempt;
    let session = session.as_ref().map(SessionId::as_str).unwrap_or_default();
    if core.is_new(format!("session {system} {session}")) {
        tracing::warn!(system, session, "attempts wait for the host that has them");
    }
}

/// Returns whether this run has stored the intent of an attempt and surely does not submit it any
/// more: what was stored afterwards is lost, as after the loss of a database.
fn is_left(core: &Core, attempt: &AttemptRecord, now: Duration) -> bool {
    let long = core.options.call_timeout.saturating_mul(LEFT_AFTER);
    let is_late = attempt.state == AttemptState::Intent && core.followed().time(&attempt.id, now) > long;
    is_late && !core.submitting().contains(&attempt.id)
}

/// Finds out what became of a submission without a clear answer, in two visits.
///
/// 1. The session of the attempt is closed, so that nothing more can begin in it. Then the attempt
///    becomes one of this run. The second visit comes after `Capabilities::settle`, measured by the
///    monotonic clock: a request that was admitted before gets this time to take effect.
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
    let capabilities = core.capabilities(&build.key);
    let mut others = Vec::new();
    let (input, outcome) = match visit {
        Visit::Begin => {
            if let Some(session) = &attempt.session
                && let Err(error) = core.answer(|| format!("{}: fence", attempt.system), system.fence(session)).await
            {
                tracing::warn!(attempt.id = %id, %error, "a session cannot be closed; trying again");
                return vec![(id, Outcome::Failed)];
            }
            let settle = capabilities.settle;
            (Input::LookUp { attempt: id.clone(), settle }, Outcome::Settles(settle))
        }
        Visit::Ask { .. } if !capabilities.lookup => (must_decide(core, &attempt), Outcome::Waits),
        Visit::Ask { failures } => {
            let request = BuildRequest::of(&build, &attempt);
            let place = || format!("{}: lookup", attempt.system);
            match core.answer(place, system.find(&request, attempt.intent_at)).await {
                Ok(found) => match own(core, &attempt, found).await {
                    Ok(found) => {
                        let (external, rest) = choose(found);
                        others = rest;
                        (Input::LookedUp { attempt: id.clone(), external }, Outcome::Answered)
                    }
                    Err(error) => {
                        core.fails("watch", STORAGE, &error);
                        return vec![(id, Outcome::Failed)];
                    }
                },
                Err(error) => {
                    let reason = Reason::new("look_up_failed", error.to_string());
                    let after = core.limits.backoff(failures.saturating_add(1));
                    (Input::LookupFailed { attempt: id.clone(), reason, after }, Outcome::Failed)
                }
            }
        }
    };
    let is_answer = matches!(input, Input::LookedUp { .. });
    let adopted = match &input {
        Input::LookedUp { external, .. } => external.clone(),
        _ => None,
    };
    match core.apply(input, Some(build.id)).await {
        Ok(_) => stop(core, system, &id, others).await,
        Err(NotApplied::Unreadable(_)) => return vec![(id, Outcome::Failed)],
        // Why there is no answer cannot be stored, which says nothing about the attempt.
        Err(NotApplied::Refused(_)) if !is_answer => return vec![(id, Outcome::Failed)],
        Err(NotApplied::Refused(error)) => {
            tracing::error!(attempt.id = %id, %error, "what a lookup found cannot be stored");
            let failure = Failure::new(FailureClass::Permanent, error.to_string());
            let _ = core.apply(Input::Refused { attempt: id.clone(), failure }, Some(build.id)).await;
        }
        // Another decision was stored: the rows say what is to be done.
        Err(NotApplied::Illegal(_) | NotApplied::Fenced) => {
            if let Some(external) = adopted {
                tracing::error!(attempt.id = %id, %external, "the build system has it, but somebody has decided meanwhile");
            }
            return vec![(id, Outcome::Answered)];
        }
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
    Input::LookupFailed { attempt: attempt.id.clone(), reason, after }
}

/// Returns what was found, each job once, and without those that other attempts have: a build
/// system that finds these has not looked at the marker, and nothing of theirs may be stopped.
///
/// # Errors
/// The attempts of others cannot be read.
async fn own(core: &Core, attempt: &AttemptRecord, mut found: Vec<Found>) -> Result<Vec<Found>, Error> {
    let mut seen = BTreeSet::new();
    found.retain(|found| seen.insert(found.external.clone()));
    if found.len() < 2 {
        return Ok(found);
    }
    let externals = found.iter().map(|found| found.external.clone()).collect();
    let filter = BuildFilter { externals, systems: vec![attempt.system.clone()], ..BuildFilter::default() };
    let builds = core.reads().builds(filter, Paging::first(Paging::LIMIT_MAX)).await?;
    let attempts = core.reads().attempts(builds.items.iter().map(|build| build.id).collect()).await?;
    let others = attempts.into_iter().filter(|other| other.id != attempt.id);
    let theirs: BTreeSet<_> = others.filter_map(|other| other.external).collect();
    let count = found.len();
    found.retain(|found| !theirs.contains(&found.external));
    if found.len() < count {
        let system = &attempt.system;
        tracing::error!(attempt.id = %attempt.id, system, "a lookup has found jobs of other attempts, which are left alone");
    }
    Ok(found)
}

/// Returns which of the found jobs the attempt adopts, if there is one, and the others.
///
/// One marker must not have two jobs. If it has, the first usable one by external id is kept. A job
/// that has failed or was cancelled is only kept if no other is there.
fn choose(mut found: Vec<Found>) -> (Option<ExternalId>, Vec<ExternalId>) {
    let usable = |found: &Found| !matches!(found.observed, Observed::Failed(_) | Observed::Canceled);
    found.sort_by(|a, b| (!usable(a), &a.external).cmp(&(!usable(b), &b.external)));
    let mut found = found.into_iter().map(|found| found.external);
    (found.next(), found.collect())
}

/// So often is asked to stop a second job.
const STOPS_MAX: u32 = 5;

/// Requests the end of jobs that have the marker of an attempt which has another job. A request
/// that fails is repeated, with growing pauses, and given up after `STOPS_MAX` of them.
async fn stop(core: &Core, system: &dyn BuildSystem, attempt: &AttemptId, others: Vec<ExternalId>) {
    for external in others {
        tracing::error!(attempt.id = %attempt, %external, "duplicate_submit: stopping a second task");
        for failures in 1..=STOPS_MAX {
            let Err(error) = core.answer(|| format!("{external}: cancel"), system.cancel(&external)).await else {
                break;
            };
            if failures == STOPS_MAX {
                tracing::error!(attempt.id = %attempt, %external, %error, "could not stop it");
                break;
            }
            core.sleep(core.limits.backoff(failures)).await;
        }
    }
}
