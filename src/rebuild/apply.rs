use super::input::{Failure, FailureClass, Input, Observed, Output};
use super::neighbourhood::Rebuild;
use super::record::{
    AttemptId, AttemptRecord, BuildId, BuildRecord, BuildSlot, DependencyKind, EventId, ExternalId, SessionId,
};
use super::retry::Limits;
use super::state::{AttemptState, BuildState, EventState};
use crate::artifact::Digest;
use crate::reason::Reason;
use crate::time::later;
use std::collections::BTreeSet;
use std::time::Duration;

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
    /// # Errors
    /// [`IllegalInput`] if the input does not fit; then nothing was changed.
    pub fn apply(&mut self, input: &Input, limits: &Limits) -> Result<(), IllegalInput> {
        match input {
            Input::Reuse { build } => self.reuse(*build),
            Input::Start { build, attempt, session } => self.start(*build, attempt, session.as_ref(), limits),
            Input::Lost { build, repositories, unused } => self.lost(*build, repositories, *unused),
            Input::Postponed { build, text, after } => self.postponed(*build, text, *after),
            Input::Accepted { attempt, external } => {
                self.expect(attempt, &[AttemptState::Intent], "an acceptance")?;
                self.bind(attempt, external, &Reason::new("accepted", "the build system took it"))
            }
            Input::Refused { attempt, failure } => self.refuse(attempt, failure, limits),
            Input::NotSent { attempt, text } => {
                let build = self.expect(attempt, &[AttemptState::Intent], "an unsent request")?;
                self.set_attempt(attempt, AttemptState::NotSubmitted, Reason::new("not_sent", text));
                self.again(build, &Reason::new("not_sent", text), limits.backoff(1));
                Ok(())
            }
            Input::Unclear { attempt, text } => {
                self.expect(attempt, &[AttemptState::Intent], "an unclear answer")?;
                self.set_attempt(attempt, AttemptState::Unknown, Reason::new("unclear", text));
                Ok(())
            }
            Input::Resolve { attempt, settle } => self.resolve(attempt, *settle),
            Input::Resolved { attempt, external } => self.resolved(attempt, external.as_ref(), limits),
            Input::NotResolved { attempt, text, after } => {
                self.expect(attempt, &[AttemptState::Resolving], "a failed look-up")?;
                let at = self.at;
                if let Some(attempt) = self.now.attempts.get_mut(attempt) {
                    attempt.reason = Reason::new("look_up_failed", text);
                    attempt.not_before = Some(later(at, *after));
                }
                Ok(())
            }
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

    /// Early cutoff: ends the build with its latest output, if everything it is made of is as it
    /// was for that.
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

    /// A release above those that the artifact has had: the time in seconds, unless two tries begin
    /// in one second or the clock went back.
    pub(super) fn next_release(&self, id: BuildId) -> String {
        let key = self.now.builds.get(&id).map(|build| &build.key);
        let same = self.now.builds.values().filter(|build| Some(&build.key) == key);
        let last = same.filter_map(|build| build.release.as_ref()?.parse::<i64>().ok()).max();
        let now = self.at.timestamp();
        last.map_or(now, |last| now.max(last.saturating_add(1))).to_string()
    }

    /// The build as it is submitted: with the contents that it is really made of, and their digest.
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

    /// The latest output made of the same things, if that may be reused.
    fn reusable(&self, build: &BuildRecord) -> Option<(BuildId, Output)> {
        let inputs = build.inputs.as_ref().filter(|_| build.may_be_reused())?;
        let mut earlier = self.now.builds.values().rev();
        // Only the latest output counts: an older one with the same inputs is no longer what people
        // use.
        let latest = earlier.find(|other| other.id != build.id && other.key == build.key && other.output.is_some())?;
        (latest.inputs.as_ref() == Some(inputs)).then_some((latest.id, latest.output.clone()?))
    }

    fn bind(&mut self, attempt: &AttemptId, external: &ExternalId, reason: &Reason) -> Result<(), IllegalInput> {
        let Some(record) = self.now.attempts.get_mut(attempt) else {
            return Err(IllegalInput::Unknown(format!("attempt {attempt}")));
        };
        record.external = Some(external.clone());
        record.not_before = None;
        let id = record.build;
        self.set_attempt(attempt, AttemptState::Bound, reason.clone());
        let Some(build) = self.now.builds.get_mut(&id) else { return Ok(()) };
        build.tries += 1;
        build.resubmits = 0;
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

    fn refuse(&mut self, attempt: &AttemptId, failure: &Failure, limits: &Limits) -> Result<(), IllegalInput> {
        let build = self.expect(attempt, &[AttemptState::Intent, AttemptState::Resolving], "a refusal")?;
        let reason = Reason::new("refused", &failure.text);
        self.set_attempt(attempt, AttemptState::Refused, reason.clone());
        let later = matches!(failure.class, FailureClass::Infrastructure | FailureClass::Interrupted);
        self.resubmit(build, &reason, later, limits);
        Ok(())
    }

    fn resolve(&mut self, attempt: &AttemptId, settle: Duration) -> Result<(), IllegalInput> {
        let unresolved = [AttemptState::Intent, AttemptState::Unknown, AttemptState::Resolving];
        self.expect(attempt, &unresolved, "a look-up")?;
        let at = self.at;
        self.set_attempt(attempt, AttemptState::Resolving, Reason::new("resolving", "being looked up by its marker"));
        if let Some(attempt) = self.now.attempts.get_mut(attempt) {
            attempt.not_before = Some(later(at, settle));
        }
        Ok(())
    }

    fn resolved(
        &mut self,
        attempt: &AttemptId,
        external: Option<&ExternalId>,
        limits: &Limits,
    ) -> Result<(), IllegalInput> {
        let build = self.expect(attempt, &[AttemptState::Resolving], "a look-up's end")?;
        if let Some(external) = external {
            let reason = Reason::new("adopted", "the build system had it, as its marker shows");
            return self.bind(attempt, external, &reason);
        }
        let reason = Reason::new("not_submitted", "the build system never got it, as the look-up of its marker shows");
        self.set_attempt(attempt, AttemptState::NotSubmitted, reason.clone());
        self.resubmit(build, &reason, true, limits);
        Ok(())
    }

    /// The request had no effect: it is sent again under the same release, unless it was refused
    /// for good or too often.
    fn resubmit(&mut self, id: BuildId, reason: &Reason, again: bool, limits: &Limits) {
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        build.resubmits += 1;
        let pause = limits.backoff(build.resubmits);
        if again && build.resubmits <= limits.resubmits_max {
            self.again(id, reason, pause);
        } else {
            self.fail(id, reason.clone());
        }
    }

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

    fn succeeded(&mut self, id: BuildId, output: &Output, verify: bool) {
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        build.output = Some(output.clone());
        if build.cancel_at.is_some() {
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

    fn failed(&mut self, id: BuildId, failure: &Failure, limits: &Limits) {
        let release = self.next_release(id);
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        if build.cancel_at.is_some() {
            self.end(id, BuildState::Canceled, Reason::new("canceled", "it was cancelled"));
            return;
        }
        let pause = limits.backoff(build.tries);
        if failure.class == FailureClass::Interrupted {
            build.tries = build.tries.saturating_sub(1);
        }
        if limits.retries(failure.class, build.tries) {
            build.release = Some(release);
            let text = format!("{}; it is tried again", failure.text);
            self.again(id, &Reason::new("retry", text), pause);
        } else {
            let tries = build.tries;
            let text = if tries > 1 { format!("{} (try {tries})", failure.text) } else { failure.text.clone() };
            self.fail(id, Reason::new("failed", text));
        }
    }

    /// The build system says that it was cancelled: by us, because it was asked for or overdue, or
    /// by somebody else.
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

    /// Back to `Ready`, not before a pause has passed; or the end, if it was cancelled meanwhile.
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

    fn fail(&mut self, id: BuildId, reason: Reason) {
        let canceled = self.now.builds.get(&id).is_some_and(|build| build.cancel_at.is_some());
        self.end(id, if canceled { BuildState::Canceled } else { BuildState::Failed }, reason);
    }

    pub(super) fn end(&mut self, id: BuildId, to: BuildState, reason: Reason) {
        self.set_build(id, to, reason);
        self.ended(id);
    }

    /// What follows from the end of a build: it releases or fails what waits for it, its successor
    /// moves up, its events are settled.
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

    /// A build that was withdrawn does not fail those that other events still want: they are built
    /// on what is there.
    fn outlives(&self, withdrawn: BuildId, child: BuildId) -> bool {
        let canceled = |id| self.now.builds.get(&id).is_some_and(|build: &BuildRecord| build.cancel_at.is_some());
        canceled(withdrawn) && !canceled(child)
    }

    /// Ends a build that waits for one that ended badly; `false` if it has ended already.
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

    /// The flag on the edge makes the decrement happen once.
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

    fn close_event(&mut self, id: EventId) {
        let Some(event) = self.now.events.get(&id) else { return };
        if event.builds_open > 0 || event.state != EventState::Building {
            return;
        }
        let (done, failed) = (event.builds_done, event.builds_failed);
        let (state, reason) = match (event.cancel_at, done, failed) {
            (Some(_), ..) => {
                (EventState::Canceled, Reason::new("canceled", "it was cancelled; everything it started has ended"))
            }
            (None, _, 0) => (EventState::Complete, Reason::new("complete", format!("all {done} builds ended well"))),
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

    fn cancel(&mut self, id: EventId, by: &str) -> Result<(), IllegalInput> {
        let at = self.at;
        let Some(event) = self.now.events.get_mut(&id) else {
            return Err(IllegalInput::Unknown(format!("event {id}")));
        };
        if event.state.is_terminal() || event.cancel_at.is_some() {
            let (state, input) = (event.state.as_str(), "a cancellation");
            return Err(IllegalInput::Stale { what: format!("event {id}"), state, input });
        }
        event.cancel_at = Some(at);
        if event.state == EventState::Initialized {
            self.set_event(id, EventState::Canceled, Reason::new("canceled", format!("cancelled by {by}")));
            return Ok(());
        }
        event.reason = Reason::new("canceling", format!("cancelled by {by}; waiting for what is running to stop"));
        let wanted: BTreeSet<_> =
            self.now.causes.values().filter(|cause| cause.event == id && cause.live).map(|cause| cause.build).collect();
        let withdrawn: Vec<_> = wanted.into_iter().filter(|build| self.withdraw(*build, id)).collect();
        for build in withdrawn {
            self.stop(build, by);
        }
        self.close_event(id);
        Ok(())
    }

    /// The event no longer wants the build; `true` if no other event does either, so that it is to
    /// be stopped.
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

    fn stop(&mut self, id: BuildId, by: &str) {
        let reason = Reason::new("canceled", format!("cancelled by {by}"));
        match self.now.builds.get(&id).map(|build| build.state) {
            // What is being verified has ended in the build system: there is nothing to stop.
            Some(BuildState::Blocked | BuildState::Ready | BuildState::Verifying) => {
                self.end(id, BuildState::Canceled, reason);
            }
            Some(BuildState::Building) => self.set_build(id, BuildState::Canceling, reason),
            // Whether the build system has it is being found out, and the answer decides; or it has
            // ended with another one.
            _ => {}
        }
    }

    fn is_canceling(&self, event: EventId) -> bool {
        self.now.events.get(&event).is_some_and(|event| event.cancel_at.is_some())
    }

    /// The build is in this state.
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

    /// The build of an attempt that is in one of these states and, if it is this run's to decide,
    /// belongs to it.
    fn expect(&self, id: &AttemptId, states: &[AttemptState], input: &'static str) -> Result<BuildId, IllegalInput> {
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

/// The digest of everything a build is made of; `None` if the content of one of its parents is not
/// known.
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
