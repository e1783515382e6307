//! The transition function: applies one input to the loaded rows.
//!
//! `Rebuild::apply` decides on every change of state of builds, attempts and events after they were
//! planned. It reads the rows that the scope of the input has loaded, and changes the copy in
//! memory. What is written follows later from the difference.
//!
//! | input | rows that change |
//! |---|---|
//! | reuse, start, postponed | the build; a start also creates an attempt |
//! | lost, verified | the build; builds that prepare its repositories again, their causes |
//! | accepted, unclear, look up, lookup failed | the attempt, and its build if its state follows |
//! | refused, not sent, looked up, observed | the same, and if the build ends: see `ended` |
//! | overdue | the build, which is to be stopped |
//! | decide, abandon | the attempt and the build, and if the build ends: see `ended` |
//! | cancel | the event, its causes, and the builds that no other event wants |
//!
//! After a failed try, `failed` asks `Limits::retries` whether there is another one; a build whose
//! inputs are those of its latest output ends in `reuse`; what an end means for dependents and
//! events is in `ended`. Decisions before that (join, successor, first position) are in `admit`.
//!
//! *Invariant:* an input that does not fit the states changes nothing, and is an error value.
//! *Invariant:* an end is counted once in each live event, and a dependency is satisfied once. Both
//! hold because a final state is never left, and because a dependency keeps a flag. *Invariant:*
//! the work of an input is bounded by what waits for its build, or for the builds of its event.
//!
//! Two inputs at the same time: every row that an input changes is written over the version that
//! was loaded, so two inputs about the same build, attempt or event cannot both be stored. The
//! second is applied again to the new rows, and is then usually stale. A row that is only read,
//! such as the earlier build whose output is reused, is part of the read set of the commit. An
//! answer to a submission is accepted only from the run that submitted; what a run has left behind
//! is looked up.

use super::input::{Failure, FailureClass, Input, Observed, Output};
use super::limits::Limits;
use super::neighbourhood::Rebuild;
use super::record::{
    AttemptId, AttemptRecord, BuildId, BuildRecord, BuildSlot, DependencyKind, EventId, ExternalId, SessionId,
};
use super::state::{AttemptState, BuildState, EventState};
use crate::artifact::Digest;
use crate::reason::Reason;
use crate::time::later;
use std::collections::BTreeSet;
use std::time::Duration;

/// The end of the reason of an event that is being cancelled.
const STOPPING: &str = "; waiting for what is running to stop";

/// An input that does not fit what is stored: late, repeated, or about something that is not there.
/// Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IllegalInput {
    /// The input is about something that is not loaded.
    #[error("there is no {0}")]
    Unknown(String),
    /// The build must run: its inputs are not those of its latest output, or it was asked for
    /// itself.
    #[error("build {0} cannot be reused")]
    NotReusable(BuildId),
    /// The input comes too late, or twice: another one has already decided.
    #[error("{what} is {state}, so {input} changes nothing")]
    Stale {
        /// Which build, attempt or event.
        what: String,
        /// The state it is in.
        state: &'static str,
        /// What came in.
        input: &'static str,
    },
}

impl Rebuild {
    /// Applies an input: the only way in which builds, attempts and events change state after they
    /// were planned.
    ///
    /// The rows must be those of the scope that the input needs. A build that may end badly needs
    /// everything that waits for it ([`Scope::Descendants`](crate::backend::Scope::Descendants)):
    /// rows that are not loaded are left as they are. An observation that the attempt is still
    /// running changes nothing and is no error.
    ///
    /// # Errors
    /// [`IllegalInput`] if the input does not fit; then nothing was changed.
    pub fn apply(&mut self, input: &Input, limits: &Limits) -> Result<(), IllegalInput> {
        self.actor = input.actor();
        match input {
            Input::Reuse { build } => self.reuse(*build),
            Input::Start { build, attempt, session } => self.start(*build, attempt, session.as_ref(), limits),
            Input::Lost { build, repositories, unused } => self.lost(*build, repositories, *unused, limits),
            Input::Postponed { build, text, after } => self.postponed(*build, text, *after),
            Input::Accepted { attempt, external } => {
                self.expect(attempt, &[AttemptState::Intent], "an acceptance")?;
                self.bind(attempt, external, &Reason::new("accepted", "the build system took it"))
            }
            Input::Refused { attempt, failure } => self.refuse(attempt, failure, limits),
            Input::NotSent { attempt, text } => {
                let build = self.expect(attempt, &[AttemptState::Intent], "an unsent request")?;
                self.set_attempt(attempt, AttemptState::NotSubmitted, Reason::new("not_sent", text));
                let unsent =
                    self.now.builds.get(&build).map_or(1, |build| build.attempts - build.tries.min(build.attempts));
                self.again(build, &Reason::new("not_sent", text), limits.backoff(unsent));
                Ok(())
            }
            Input::Unclear { attempt, text } => {
                self.expect(attempt, &[AttemptState::Intent], "an unclear answer")?;
                self.set_attempt(attempt, AttemptState::Unknown, Reason::new("unclear", text));
                Ok(())
            }
            Input::LookUp { attempt, settle } => self.look_up(attempt, *settle),
            Input::LookedUp { attempt, external } => self.looked_up(attempt, external.as_ref(), limits),
            Input::LookupFailed { attempt, reason, after } => {
                self.expect(attempt, &[AttemptState::Resolving], "a failed lookup")?;
                let at = self.at;
                if let Some(attempt) = self.now.attempts.get_mut(attempt) {
                    attempt.reason = reason.clone();
                    attempt.not_before = Some(later(at, *after));
                }
                Ok(())
            }
            Input::Resolve { attempt, external, by } => self.resolve(attempt, external.as_ref(), by, limits),
            Input::GiveUp { build, by, text } => self.give_up(*build, by, text),
            Input::Observe { attempt, observed, verify } => self.observe(attempt, observed, *verify, limits),
            Input::Verified { build, seen, unused } => self.verified(*build, seen, *unused),
            Input::Overdue { attempt } => {
                let build = self.expect(attempt, &[AttemptState::Bound], "a timeout")?;
                if self.now.builds.get(&build).is_some_and(|build| build.state == BuildState::Building) {
                    self.set_build(build, BuildState::Canceling, Reason::new("overdue", "it has not ended in time"));
                }
                Ok(())
            }
            Input::Cancel { event, by, because } => {
                let by = if because.is_empty() { by.in_words() } else { format!("{} ({because})", by.in_words()) };
                self.cancel(*event, &by)
            }
        }
    }

    /// Ends a ready build as reused, with the output of an earlier build (early cutoff).
    ///
    /// The digest of its inputs must be that of the latest output of the same build key. The
    /// earlier build becomes part of the read set.
    fn reuse(&mut self, id: BuildId) -> Result<(), IllegalInput> {
        self.expect_build(id, BuildState::Ready, "its reuse")?;
        let unfit = || IllegalInput::NotReusable(id);
        let build = self.with_inputs(id).ok_or_else(unfit)?;
        let (earlier, output) = self.reusable(&build).ok_or_else(unfit)?;
        self.rely_on(earlier);
        self.now.builds.insert(id, BuildRecord { output: Some(output), ..build });
        let text = format!("everything it is made of is as it was for build {earlier}, so that output stands");
        self.end(id, BuildState::Reused, Reason::new("inputs_unchanged", text));
        Ok(())
    }

    /// Stores the intent to submit a ready build: creates an attempt of this run, and the build
    /// becomes `Submitting`.
    ///
    /// A resubmission repeats the release that is stored in the build. The deadline of the attempt
    /// is counted from now. The limit of live attempts is not checked here but by the storage,
    /// because another run may start a build at the same time.
    fn start(
        &mut self,
        id: BuildId,
        attempt: &AttemptId,
        session: Option<&SessionId>,
        limits: &Limits,
    ) -> Result<(), IllegalInput> {
        self.expect_build(id, BuildState::Ready, "its start")?;
        let next = self.next_release(id);
        let Some(mut build) = self.with_inputs(id) else { return Ok(()) };
        build.attempts += 1;
        let release = build.release.get_or_insert(next).clone();
        let record = AttemptRecord {
            id: attempt.clone(),
            version: 1,
            state: AttemptState::Intent,
            build: id,
            system: build.key.system.clone(),
            number: build.attempts,
            run: self.run,
            release,
            session: session.cloned(),
            intent_at: self.at,
            external: None,
            observed_at: None,
            reason: Reason::new("intent", "about to be submitted"),
            deadline: Some(later(self.at, limits.attempt_timeout)),
            not_before: None,
        };
        self.now.builds.insert(id, build);
        self.add_attempt(record);
        self.set_build(id, BuildState::Submitting, Reason::new("submitting", "being submitted"));
        Ok(())
    }

    /// Returns a release above those of the loaded builds with the same key: the present time in
    /// seconds, or one more than the largest known release if that is later or equal.
    ///
    /// So releases rise even if two tries begin within one second, or if the clock was set back, as
    /// far as the earlier builds are loaded. Releases that are not whole numbers are ignored.
    pub(super) fn next_release(&self, id: BuildId) -> String {
        let key = self.now.builds.get(&id).map(|build| &build.key);
        let same = self.now.builds.values().filter(|build| Some(&build.key) == key);
        let last = same.filter_map(|build| build.release.as_ref()?.parse::<i64>().ok()).max();
        let now = self.at.timestamp();
        last.map_or(now, |last| now.max(last.saturating_add(1))).to_string()
    }

    /// Returns the build as it is submitted: with the contents and names that its rebuilt parents
    /// really have, and with the digest of all inputs.
    ///
    /// Only parents that the build needs and that ended well are looked at; of two builds of one
    /// parent the one with the higher number counts. Other parents keep what the plan says. The
    /// digest is `None` if the content of any parent is not known.
    fn with_inputs(&self, id: BuildId) -> Option<BuildRecord> {
        let mut build = self.now.builds.get(&id)?.clone();
        let needed = self.now.needs(id).filter(|dependency| dependency.kind == DependencyKind::Needs);
        let made = needed.filter_map(|dependency| self.now.builds.get(&dependency.parent));
        for made in made.filter(|made| made.state.is_success()) {
            let output = made.output.as_ref();
            let name = output.map(|output| &output.name).filter(|name| !name.is_empty());
            let digest = output.and_then(|output| output.digest.as_ref());
            for parent in build.parents.iter_mut().filter(|parent| parent.id == made.key.artifact) {
                (parent.digest, parent.name) = (digest.cloned(), name.cloned());
            }
        }
        build.inputs = inputs_digest(&build);
        Some(build)
    }

    /// Returns the build with the latest output of the same build key, and that output, if it was
    /// made of the same inputs.
    ///
    /// `None` if the build must run in any case, if its inputs are not known, or if the latest
    /// output has other inputs.
    fn reusable(&self, build: &BuildRecord) -> Option<(BuildId, Output)> {
        let inputs = build.inputs.as_ref().filter(|_| build.may_be_reused())?;
        let mut earlier = self.now.builds.values().rev();
        // Only the latest output counts: an older one with the same inputs is no longer what people
        // use.
        let latest = earlier.find(|other| other.id != build.id && other.key == build.key && other.output.is_some())?;
        // The result of a build that was cancelled counts only if nobody was to verify it.
        if !latest.state.is_success() && latest.reason.code != "canceled_after_end" {
            return None;
        }
        (latest.inputs.as_ref() == Some(inputs)).then_some((latest.id, latest.output.clone()?))
    }

    /// Notes that the build system has the attempt, under this id.
    ///
    /// The build counts a try. It becomes `Building`, or
    /// `Canceling` if its cancellation was requested while the submission was under way.
    pub(super) fn bind(
        &mut self,
        attempt: &AttemptId,
        external: &ExternalId,
        reason: &Reason,
    ) -> Result<(), IllegalInput> {
        let Some(record) = self.now.attempts.get_mut(attempt) else {
            return Err(IllegalInput::Unknown(format!("attempt {attempt}")));
        };
        record.external = Some(external.clone());
        record.not_before = None;
        let id = record.build;
        self.set_attempt(attempt, AttemptState::Bound, reason.clone());
        let Some(build) = self.now.builds.get_mut(&id) else { return Ok(()) };
        build.tries += 1;
        if build.cancel_at.is_some() {
            self.set_build(
                id,
                BuildState::Canceling,
                Reason::new("canceling", "it was cancelled while it was submitted"),
            );
        } else {
            self.set_build(id, BuildState::Building, reason.clone());
        }
        Ok(())
    }

    /// Ends an attempt that the build system refused. The build is submitted again later if the
    /// class of the failure is infrastructure or interrupted; any other class fails it at once.
    fn refuse(&mut self, attempt: &AttemptId, failure: &Failure, limits: &Limits) -> Result<(), IllegalInput> {
        let build = self.expect(attempt, &[AttemptState::Intent, AttemptState::Resolving], "a refusal")?;
        let reason = Reason::new("refused", &failure.text);
        self.set_attempt(attempt, AttemptState::Refused, reason.clone());
        let later = matches!(failure.class, FailureClass::Infrastructure | FailureClass::Interrupted);
        self.resubmit(build, &reason, later, limits);
        Ok(())
    }

    /// Begins the lookup of an attempt, which belongs to this run from now on. The result is asked
    /// for only after `settle`, because a request that was sent earlier may take effect until then.
    fn look_up(&mut self, attempt: &AttemptId, settle: Duration) -> Result<(), IllegalInput> {
        let unresolved = [AttemptState::Intent, AttemptState::Unknown, AttemptState::Resolving];
        self.expect(attempt, &unresolved, "a lookup")?;
        let at = self.at;
        self.set_attempt(attempt, AttemptState::Resolving, Reason::new("resolving", "being looked up by its marker"));
        if let Some(attempt) = self.now.attempts.get_mut(attempt) {
            attempt.not_before = Some(later(at, settle));
        }
        Ok(())
    }

    /// Ends the lookup of an attempt. If the build system has it, it is adopted as if its
    /// submission had been answered; if not, the build is submitted again.
    fn looked_up(
        &mut self,
        attempt: &AttemptId,
        external: Option<&ExternalId>,
        limits: &Limits,
    ) -> Result<(), IllegalInput> {
        let build = self.expect(attempt, &[AttemptState::Resolving], "a lookup's end")?;
        if let Some(external) = external {
            let reason = Reason::new("adopted", "the build system had it, as its marker shows");
            return self.bind(attempt, external, &reason);
        }
        let reason = Reason::new("not_submitted", "the build system never got it, as the lookup of its marker shows");
        self.set_attempt(attempt, AttemptState::NotSubmitted, reason.clone());
        self.resubmit(build, &reason, true, limits);
        Ok(())
    }

    /// Handles a request that had no effect. The build becomes ready again, under the same release
    /// and after a back-off, if `again` is set and the limit of resubmissions is not reached; else
    /// it fails.
    pub(super) fn resubmit(&mut self, id: BuildId, reason: &Reason, again: bool, limits: &Limits) {
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        build.resubmits += 1;
        let pause = limits.backoff(build.resubmits);
        if again && build.resubmits <= limits.resubmits_max {
            self.again(id, reason, pause);
        } else {
            self.fail(id, reason.clone());
        }
    }

    /// Applies what the build system says about an attempt. Anything but `Running` ends the
    /// attempt; what becomes of the build depends on the outcome, the limits, and whether the build
    /// is to be cancelled.
    fn observe(
        &mut self,
        attempt: &AttemptId,
        observed: &Observed,
        verify: bool,
        limits: &Limits,
    ) -> Result<(), IllegalInput> {
        let id = self.expect(attempt, &[AttemptState::Bound], "an observation")?;
        let at = self.at;
        if *observed == Observed::Running {
            return Ok(());
        }
        if let Some(record) = self.now.attempts.get_mut(attempt) {
            record.observed_at = Some(at);
        }
        match observed {
            Observed::Running => {}
            Observed::Succeeded(output) => {
                self.set_attempt(attempt, AttemptState::Succeeded, Reason::new("succeeded", "it was built"));
                self.succeeded(id, output, verify);
            }
            Observed::Failed(failure) => {
                self.set_attempt(attempt, AttemptState::Failed, Reason::new("failed", &failure.text));
                self.failed(id, failure, limits);
            }
            Observed::Vanished => {
                let failure = Failure::new(FailureClass::Infrastructure, "the build system no longer knows it");
                self.set_attempt(attempt, AttemptState::Failed, Reason::new("vanished", &failure.text));
                self.failed(id, &failure, limits);
            }
            Observed::Canceled => {
                self.set_attempt(attempt, AttemptState::Canceled, Reason::new("canceled", "it was cancelled"));
                self.stopped(id, limits);
            }
        }
        Ok(())
    }

    /// Stores the output of a build. The build is then verified or done; if it was cancelled
    /// meanwhile, it ends as cancelled and its output is kept.
    fn succeeded(&mut self, id: BuildId, output: &Output, verify: bool) {
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        build.output = Some(output.clone());
        if build.cancel_at.is_some() && verify {
            let text = "it was cancelled, but had ended before that took effect; its result was not checked";
            self.end(id, BuildState::Canceled, Reason::new("canceled", text));
        } else if build.cancel_at.is_some() {
            let text = "it was cancelled, but had ended before that took effect; its output is kept";
            self.end(id, BuildState::Canceled, Reason::new("canceled_after_end", text));
        } else if verify {
            self.set_build(
                id,
                BuildState::Verifying,
                Reason::new("verifying", "it was built; its result is being checked"),
            );
        } else {
            self.end(id, BuildState::Done, Reason::new("built", "it was built"));
        }
    }

    /// Retries a build after a failed try, or ends it.
    ///
    /// A retry has a new release, and begins after the back-off that belongs to the tries so far.
    /// An interrupted try is not counted as one, but has a count and a limit of its own. A build
    /// that is to be cancelled ends as cancelled.
    fn failed(&mut self, id: BuildId, failure: &Failure, limits: &Limits) {
        let release = self.next_release(id);
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        if build.cancel_at.is_some() {
            self.end(id, BuildState::Canceled, Reason::new("canceled", "it was cancelled"));
            return;
        }
        let (count, pause) = if failure.class == FailureClass::Interrupted {
            build.tries = build.tries.saturating_sub(1);
            build.resubmits += 1;
            (build.resubmits, limits.backoff(build.resubmits))
        } else {
            build.resubmits = 0;
            (build.tries, limits.backoff(build.tries))
        };
        if limits.retries(failure.class, count) {
            build.release = Some(release);
            let text = format!("{}; it is tried again", failure.text);
            self.again(id, &Reason::new("retry", text), pause);
        } else {
            let text = if count > 1 { format!("{} (try {count})", failure.text) } else { failure.text.clone() };
            self.fail(id, Reason::new("failed", text));
        }
    }

    /// Handles an attempt that the build system reports as cancelled. There are three cases: the
    /// build was cancelled here and ends; it was overdue, which counts as a failure of the
    /// infrastructure; or it was cancelled in the build system, which ends it as cancelled.
    fn stopped(&mut self, id: BuildId, limits: &Limits) {
        let Some(build) = self.now.builds.get(&id) else { return };
        if build.cancel_at.is_some() {
            self.end(id, BuildState::Canceled, Reason::new("canceled", "it was cancelled"));
        } else if build.state == BuildState::Canceling {
            let failure = Failure::new(FailureClass::Infrastructure, "it did not end in time and was stopped");
            self.failed(id, &failure, limits);
        } else {
            self.end(
                id,
                BuildState::Canceled,
                Reason::new("canceled_outside", "somebody cancelled it in the build system"),
            );
        }
    }

    /// Makes the build ready again, not to be started before `pause` has passed. If its
    /// cancellation was requested meanwhile, it ends as cancelled.
    fn again(&mut self, id: BuildId, reason: &Reason, pause: Duration) {
        let at = self.at;
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        if build.cancel_at.is_some() {
            self.end(id, BuildState::Canceled, Reason::new("canceled", "it was cancelled before it was submitted"));
            return;
        }
        build.not_before = Some(later(at, pause));
        self.set_build(id, BuildState::Ready, reason.clone());
    }

    /// Ends the build as failed, or as cancelled if its cancellation was requested.
    pub(super) fn fail(&mut self, id: BuildId, reason: Reason) {
        let canceled = self.now.builds.get(&id).is_some_and(|build| build.cancel_at.is_some());
        self.end(id, if canceled { BuildState::Canceled } else { BuildState::Failed }, reason);
    }

    /// Ends a build in this state, and applies what follows from its end.
    pub(super) fn end(&mut self, id: BuildId, to: BuildState, reason: Reason) {
        self.set_build(id, to, reason);
        self.ended(id);
    }

    /// Applies what follows from the end of a build: events count it, and what waits for it is
    /// released or fails.
    ///
    /// A dependency is satisfied if the build ended well, if the child only waits for its end (then
    /// the child is the next build, and becomes the current one), or if the build was cancelled and
    /// the child was not. Otherwise the child ends too, and what waits for it is handled in the
    /// same way. A list instead of recursion keeps the stack small.
    ///
    /// Cost: linear in the number of builds that end and of the dependencies on them, with a
    /// logarithmic factor for each access to a row.
    ///
    /// Example: `base` 1 fails; `lib` 2 needs it, `app` 3 needs `lib`, and `base` 4 is the next
    /// build of 1.
    ///
    /// ```text
    /// 1 failed   2 ends with DEP_FAILED, 4 becomes current and ready
    /// 2 ended    3 ends with DEP_FAILED
    /// events     each event that wants 1, 2 or 3 counts a failed build for each
    /// ```
    fn ended(&mut self, id: BuildId) {
        let mut ended = vec![id];
        while let Some(id) = ended.pop() {
            self.settle_events(id);
            let success = self.now.builds.get(&id).is_some_and(|build| build.state.is_success());
            let waiting: Vec<_> =
                self.now.dependents(id).filter(|edge| !edge.satisfied).map(|edge| (edge.child, edge.kind)).collect();
            for (child, kind) in waiting {
                if success || kind == DependencyKind::After || self.outlives(id, child) {
                    self.satisfy(id, child);
                } else if self.drop_dependent(id, child) {
                    ended.push(child);
                }
            }
        }
    }

    /// Returns whether a build still runs although one that it needs was cancelled: the needed
    /// build was withdrawn, and this one is wanted by another event. It is then built on the
    /// earlier contents of that parent.
    fn outlives(&self, withdrawn: BuildId, child: BuildId) -> bool {
        let canceled = |id| self.now.builds.get(&id).is_some_and(|build: &BuildRecord| build.cancel_at.is_some());
        canceled(withdrawn) && !canceled(child)
    }

    /// Ends a build that needs one that ended badly: as cancelled if its cancellation was
    /// requested, else as `DependencyFailed`. The dependency stays unsatisfied. Returns `false` if
    /// the build has ended already.
    fn drop_dependent(&mut self, failed: BuildId, child: BuildId) -> bool {
        let Some(build) = self.now.builds.get(&child).filter(|child| !child.state.is_terminal()) else { return false };
        if build.cancel_at.is_some() {
            self.set_build(child, BuildState::Canceled, Reason::new("canceled", "it was cancelled"));
        } else {
            let artifact = self.now.builds.get(&failed).map_or("", |build| build.key.artifact.as_str());
            let text =
                format!("it cannot be built, because its dependency {artifact} (build {failed}) cannot be built");
            self.set_build(child, BuildState::DependencyFailed, Reason::new("dependency_failed", text));
        }
        true
    }

    /// Satisfies one dependency, and makes the child ready if it was the last one.
    ///
    /// The flag on the dependency makes the decrement of `pending` happen once. The child of an
    /// `After` dependency becomes the current build of its key.
    fn satisfy(&mut self, parent: BuildId, child: BuildId) {
        let Some(edge) = self.now.dependencies.get_mut(&(parent, child)).filter(|edge| !edge.satisfied) else { return };
        edge.satisfied = true;
        let kind = edge.kind;
        let Some(build) = self.now.builds.get_mut(&child) else { return };
        build.pending = build.pending.saturating_sub(1);
        if kind == DependencyKind::After {
            build.slot = BuildSlot::Current;
        }
        if build.pending == 0 && build.state == BuildState::Blocked {
            self.set_build(child, BuildState::Ready, Reason::new("ready", "everything it waited for has ended"));
        }
    }

    /// Counts the ended build in each event that still wants it, and closes the events for which it
    /// was the last.
    fn settle_events(&mut self, id: BuildId) {
        let success = self.now.builds.get(&id).is_some_and(|build| build.state.is_success());
        let events: Vec<_> = self.now.causes_of(id).filter(|cause| cause.live).map(|cause| cause.event).collect();
        for event in events {
            if let Some(event) = self.now.events.get_mut(&event) {
                event.builds_open = event.builds_open.saturating_sub(1);
                if success {
                    event.builds_done += 1;
                } else {
                    event.builds_failed += 1;
                }
            }
            self.close_event(event);
        }
    }

    /// Ends an event whose builds have all ended: as cancelled if that was requested, else as
    /// complete. An event with failed builds is complete; the reason gives the numbers. Does
    /// nothing if builds are open, or if the event is not `Building`.
    fn close_event(&mut self, id: EventId) {
        let Some(event) = self.now.events.get(&id) else { return };
        if event.builds_open > 0 || event.state != EventState::Building {
            return;
        }
        let (done, failed) = (event.builds_done, event.builds_failed);
        let (state, reason) = match (event.cancel_at, done, failed) {
            (Some(_), ..) => {
                let who = event.reason.text.strip_suffix(STOPPING).unwrap_or("it was cancelled");
                let text = format!("{who}; everything it started has ended");
                (EventState::Canceled, Reason::new("canceled", text))
            }
            (None, 1, 0) => (EventState::Complete, Reason::new("complete", "its only build ended well")),
            (None, _, 0) => (EventState::Complete, Reason::new("complete", format!("all {done} builds ended well"))),
            (None, 0, 1) => (EventState::Complete, Reason::new("all_failed", "its only build is in failed state")),
            (None, 0, failed) => {
                (EventState::Complete, Reason::new("all_failed", format!("all {failed} builds are in failed state")))
            }
            (None, done, failed) => {
                let text = format!("{failed} of {} builds failed", done + failed);
                (EventState::Complete, Reason::new("some_failed", text))
            }
        };
        self.set_event(id, state, reason);
    }

    /// Cancels an event: withdraws it as a cause of its builds, and stops the builds that no other
    /// event wants.
    ///
    /// All withdrawals are decided before the first build is stopped, because the end of a build
    /// ends what waits for it, and that must know whether it is cancelled as well. The event ends
    /// when its last build has ended, which may be at once.
    ///
    /// Example: event 1 wants `base` and `app`, event 2 wants only `base`; event 1 is cancelled.
    ///
    /// ```text
    /// base   has another live cause: the cause of event 1 is no longer live, the build goes on
    /// app    has no other: it is marked, and ended (if it waits) or stopped (if it runs)
    /// ```
    ///
    /// # Errors
    /// [`IllegalInput::Unknown`] if the event is not loaded, [`IllegalInput::Stale`] if it has
    /// ended or its cancellation was requested before.
    fn cancel(&mut self, id: EventId, by: &str) -> Result<(), IllegalInput> {
        let at = self.at;
        let Some(event) = self.now.events.get_mut(&id) else {
            return Err(IllegalInput::Unknown(format!("event {id}")));
        };
        if event.state.is_terminal() || event.cancel_at.is_some() {
            let state = if event.state.is_terminal() { event.state.as_str() } else { "being cancelled already" };
            let input = "a cancellation";
            return Err(IllegalInput::Stale { what: format!("event {id}"), state, input });
        }
        event.cancel_at = Some(at);
        if event.state == EventState::Initialized {
            self.set_event(id, EventState::Canceled, Reason::new("canceled", format!("cancelled by {by}")));
            return Ok(());
        }
        event.reason = Reason::new("canceling", format!("cancelled by {by}{STOPPING}"));
        let wanted: BTreeSet<_> =
            self.now.causes.values().filter(|cause| cause.event == id && cause.live).map(|cause| cause.build).collect();
        let withdrawn: Vec<_> = wanted.into_iter().filter(|build| self.withdraw(*build, id)).collect();
        for build in withdrawn {
            self.stop(build, by);
        }
        self.close_event(id);
        Ok(())
    }

    /// Takes an event back as a cause of a build.
    ///
    /// If another event wants the build and is not being cancelled itself, only this cause ends:
    /// the event no longer counts the build, and the result is `false`. Else the build is marked to
    /// be cancelled and its causes stay live, so that the event counts the end of the build; the
    /// result is `true`. A build that has ended is left alone, with the result `false`.
    ///
    /// *Invariant:* a build that has not ended and is not to be cancelled has a live cause. The
    /// version of the build stands for its causes, so two cancellations at the same time cannot
    /// each rely on the other's cause.
    fn withdraw(&mut self, build: BuildId, event: EventId) -> bool {
        let at = self.at;
        if self.now.builds.get(&build).is_none_or(|build| build.state.is_terminal()) {
            return false;
        }
        if !self.now.causes_of(build).any(|cause| cause.live && cause.event != event && !self.is_canceling(cause.event))
        {
            if let Some(build) = self.now.builds.get_mut(&build) {
                build.cancel_at = Some(at);
            }
            return true;
        }
        if let Some(cause) = self.now.causes.get_mut(&(build, event)) {
            cause.live = false;
        }
        // Another cancellation at the same time rests on this cause.
        self.touch(build);
        if let Some(event) = self.now.events.get_mut(&event) {
            event.builds_open = event.builds_open.saturating_sub(1);
        }
        false
    }

    /// Ends a build that nothing runs for, or requests its end in the build system. If a submission
    /// is under way, nothing is done: its answer or its lookup decides, and finds the mark of the
    /// cancellation.
    fn stop(&mut self, id: BuildId, by: &str) {
        let reason = Reason::new("canceled", format!("cancelled by {by}"));
        match self.now.builds.get(&id).map(|build| build.state) {
            // What is being verified has ended in the build system: there is nothing to stop.
            Some(BuildState::Blocked | BuildState::Ready | BuildState::Verifying) => {
                self.end(id, BuildState::Canceled, reason);
            }
            Some(BuildState::Building) => self.set_build(id, BuildState::Canceling, reason),
            // Whether the build system has it is being found out, and the answer decides; or the
            // end of another build has ended it.
            _ => {}
        }
    }

    /// Returns whether the cancellation of an event was requested.
    fn is_canceling(&self, event: EventId) -> bool {
        self.now.events.get(&event).is_some_and(|event| event.cancel_at.is_some())
    }

    /// Checks that a build is in this state. `input` names the input in the text of the error.
    ///
    /// # Errors
    /// [`IllegalInput::Unknown`] if the build is not loaded, [`IllegalInput::Stale`] if its state
    /// differs.
    pub(super) fn expect_build(
        &self,
        id: BuildId,
        expected: BuildState,
        input: &'static str,
    ) -> Result<(), IllegalInput> {
        match self.now.builds.get(&id).map(|build| build.state) {
            None => Err(IllegalInput::Unknown(format!("build {id}"))),
            Some(state) if state == expected => Ok(()),
            Some(state) => Err(IllegalInput::Stale { what: format!("build {id}"), state: state.as_str(), input }),
        }
    }

    /// Returns the build of an attempt, if the attempt is in one of these states.
    ///
    /// An attempt in `Intent` that another run stored is stale for every input except the beginning
    /// of a lookup (the set of states that contains `Unknown`): only the run that submits can have
    /// an answer.
    ///
    /// # Errors
    /// [`IllegalInput::Unknown`] if the attempt is not loaded, else [`IllegalInput::Stale`].
    pub(super) fn expect(
        &self,
        id: &AttemptId,
        states: &[AttemptState],
        input: &'static str,
    ) -> Result<BuildId, IllegalInput> {
        let attempt = self.now.attempts.get(id).ok_or_else(|| IllegalInput::Unknown(format!("attempt {id}")))?;
        // Only the run that submits has an answer to that; a lookup may begin with what another run
        // has left.
        let begins_lookup = states.contains(&AttemptState::Unknown);
        let answers_other_run = attempt.state == AttemptState::Intent && attempt.run != self.run && !begins_lookup;
        if answers_other_run || !states.contains(&attempt.state) {
            return Err(IllegalInput::Stale { what: format!("attempt {id}"), state: attempt.state.as_str(), input });
        }
        Ok(attempt.build)
    }
}

/// Returns the digest of all inputs of a build: its key, recipe, parameters, and the contents of
/// all parents. `None` if the content of a parent is not known.
///
/// The digest is stored and compared with later ones, so a change of this form makes every stored
/// digest differ once, and nothing is reused until then.
fn inputs_digest(build: &BuildRecord) -> Option<Digest> {
    let parents: Option<Vec<_>> =
        build.parents.iter().map(|parent| parent.digest.as_ref().map(|digest| (&parent.id, digest))).collect();
    let form = serde_json::json!({
        "key": build.key,
        "source": build.source,
        "parameters": build.parameters,
        "parents": parents?,
    });
    Some(Digest::of(form.to_string().as_bytes()))
}
