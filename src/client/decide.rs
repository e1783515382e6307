use super::send::rejected;
use super::{Client, Concerned, PLACE};
use crate::backend::{DueLimits, Error, Remedy, Result, Scope};
use crate::event::Message;
use crate::reason::Reason;
use crate::rebuild::{
    Actor, AttemptId, AttemptState, BuildId, Commit, EventId, ExternalId, IllegalInput, Input, Limits, MessageKey,
    Rebuild, RowChange, RunId,
};
use std::time::Duration;

/// Between two attempts to store a decision while the storage fails, or others write the same rows.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a decision is tried again before its last error is returned.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which part of an event is done over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPart {
    /// The artifacts whose builds did not end well. What was built well is used as it is.
    Failed,
    /// Everything, as if the event had just come.
    Whole,
}

impl RetryPart {
    /// Returns the identity of the message with which this part of an event is done over, among
    /// those of the source [`Client::LOCAL`].
    #[must_use]
    pub fn message(self, event: EventId) -> String {
        format!("{event}/retry/{}", self.as_str())
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => Client::FAILED_PART,
            Self::Whole => "whole",
        }
    }
}

/// What a person decides. All of it is kept in the history, with the name that is given as `by`.
///
/// These calls return when the decision is stored. While the storage does not answer, they wait and
/// try again, for 30 seconds by the clock of the client; then they return the last error. If that
/// is [`Unclear`](Remedy::Unclear), the decision may be stored: to decide the same again does no
/// harm.
impl Client {
    /// The part [`RetryPart::Failed`] in a message.
    pub(crate) const FAILED_PART: &'static str = "failed";

    /// Stops an event: what is not running is dropped, what runs is stopped, what other events want
    /// as well goes on for them.
    ///
    /// The event is cancelled only when everything it started has ended. Until then it is in its
    /// former state, with [`cancel_at`](crate::rebuild::EventRecord::cancel_at):
    /// [`wait_for_event`](Self::wait_for_event) waits for that. If no engine runs, what runs is
    /// stopped once one does.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event, [`Rejected`](Remedy::Rejected) for one
    /// that has ended or is being cancelled.
    #[doc(alias = "abort")]
    #[doc(alias = "stop")]
    pub async fn cancel(&self, event: EventId, by: &str) -> Result<()> {
        let input = Input::Cancel { event, by: Actor::Person(by.to_owned()), because: String::new() };
        self.decide(&Scope::Event(event), &input).await
    }

    /// Says what became of a submission without a clear answer, if the engine cannot find out: the
    /// build system has it under the id `found`, or it was never submitted (`None`).
    ///
    /// The attempt then goes on as if the build system had been asked. A submission that was never
    /// made is made again. So look carefully: if `None` is wrong, the artifact is built twice.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown attempt, [`Rejected`](Remedy::Rejected) for
    /// one that has a clear answer or is being submitted, and for an id that another attempt has.
    pub async fn resolve(&self, attempt: &AttemptId, found: Option<ExternalId>, by: &str) -> Result<()> {
        let rows = self.storage().await?.load(&Scope::Attempt(attempt.clone())).await?;
        let Some(row) = rows.attempts.get(attempt) else {
            return Err(Error::new(Remedy::NotFound, PLACE, format!("there is no attempt {attempt}")));
        };
        if row.state.is_terminal() {
            return Err(rejected(format!("attempt {attempt} is {}, so it is clear what became of it", row.state)));
        }
        if row.state == AttemptState::Intent && !self.is_left_behind(attempt).await? {
            return Err(rejected(format!("attempt {attempt} is being submitted: its answer comes")));
        }
        let scope = Scope::Descendants(vec![row.build]);
        let by = Actor::Person(by.to_owned());
        self.decide(&scope, &Input::Decide { attempt: attempt.clone(), external: found, by }).await
    }

    /// Whether the run that would submit this attempt is over.
    async fn is_left_behind(&self, attempt: &AttemptId) -> Result<bool> {
        let limits = DueLimits { ready: 0, attempts: u32::MAX, pause_max: Duration::ZERO };
        let due = self.storage().await?.reads().due(RunId::NONE, limits).await?;
        Ok(due.attempts.iter().any(|(left, _)| left.id == *attempt))
    }

    /// Gives up a build that does not go on by itself, for the reason `why`: it fails, or is
    /// cancelled if that was requested, and what needs it fails with it.
    ///
    /// This is for a build that waits for ever: nobody registers its build system, its verifier is
    /// away, or its build system never says that it has stopped. What still runs in the build
    /// system is not looked at any more.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown build, [`Rejected`](Remedy::Rejected) for one
    /// that has ended, that runs ([cancel](Self::cancel) its events first) or that is being
    /// submitted ([resolve](Self::resolve) its attempt first).
    pub async fn give_up(&self, build: BuildId, why: &str, by: &str) -> Result<()> {
        let (by, text) = (Actor::Person(by.to_owned()), why.to_owned());
        self.decide(&Scope::Descendants(vec![build]), &Input::Abandon { build, by, text }).await
    }

    /// Lets a [dead letter](Self::dead_letters) be handled again, after what was wrong with it or
    /// with its handlers was mended.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown message, [`Rejected`](Remedy::Rejected) for
    /// one that is no dead letter, or that is a message of ours which a bus has
    /// [refused](Self::REFUSED): that is not for our handlers.
    pub async fn requeue(&self, source: &str, id: &str) -> Result<()> {
        if source == Self::REFUSED {
            return Err(rejected(format!("message {id} is for a bus that has refused it, not for handlers")));
        }
        let key = MessageKey { source: source.to_owned(), message_id: id.to_owned() };
        self.change_letter(RowChange::Requeue(key)).await?;
        self.inner.wake.messages.notify_one();
        Ok(())
    }

    /// Puts a [dead letter](Self::dead_letters) away, for the reason `why`: it cannot be mended, or
    /// need not be. It is ignored from now on, and goes with other ignored messages.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown message, [`Rejected`](Remedy::Rejected) for
    /// one that is no dead letter.
    pub async fn dismiss(&self, source: &str, id: &str, why: &str, by: &str) -> Result<()> {
        let key = MessageKey { source: source.to_owned(), message_id: id.to_owned() };
        let reason = Reason::new("dismissed", format!("dismissed by {by}: {why}"));
        self.change_letter(RowChange::Dismiss(key, reason)).await
    }

    async fn change_letter(&self, change: RowChange) -> Result<()> {
        let stored = self.storage().await?.commit(Commit::unfenced(vec![change])).await;
        stored.map_err(|error| match error.remedy {
            Remedy::Conflict => error.with_remedy(Remedy::Rejected),
            _ => error,
        })
    }

    /// Does an ended event over, the whole of it or its failed part, and returns the identity of a
    /// new message, as [`send`](Self::send) does.
    ///
    /// The handler of the event decides again, from what the catalogs and the policy say now. The
    /// new event has a number of its own, `retry_of` and a `generation` that is one higher; the old
    /// one stays as it is. Retrying the same part of an event twice is the same as once: retry the
    /// new event then.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event; [`Rejected`](Remedy::Rejected) for one
    /// that has not ended, of which nothing failed (if only the failed part is wanted), or whose
    /// handler is not there any more; else those of the storage.
    #[doc(alias = "rerun")]
    #[doc(alias = "repeat")]
    pub async fn retry(&self, event: EventId, part: RetryPart, by: &str) -> Result<String> {
        let event = self.event(event).await?;
        let id = event.id;
        if !event.state.is_terminal() {
            return Err(rejected(format!(
                "event {id} is {}: only an event that has ended can be retried",
                event.state
            )));
        }
        let nothing_failed = event.builds_failed == 0 && event.state != crate::rebuild::EventState::Failed;
        if part == RetryPart::Failed && nothing_failed {
            return Err(rejected(format!("nothing of event {id} failed")));
        }
        self.must_have_handler(&event.handler)?;
        let headers = [
            (Message::RETRIES, id.to_string()),
            (Message::PART, part.as_str().to_owned()),
            (Message::HANDLER, event.handler),
            (Message::REQUESTER, by.to_owned()),
        ];
        self.send_decision(Message {
            id: part.message(id),
            topic: event.envelope.kind,
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body: event.envelope.payload.to_string().into_bytes(),
        })
        .await
    }

    /// Applies an input, and repeats that until it is stored or refused, or patience ends.
    async fn decide(&self, scope: &Scope, input: &Input) -> Result<()> {
        let storage = self.storage().await?;
        let end = self.inner.clock.elapsed().saturating_add(PATIENCE);
        let (mut unknown, mut unclear) = (false, false);
        loop {
            let error = match storage.load(scope).await {
                Ok(loaded) => {
                    let mut rebuild = Rebuild::new(loaded, RunId::NONE);
                    match rebuild.apply(input, &Limits::default()) {
                        Ok(()) => {}
                        // It was stored, although nobody said so: it is stale because of itself.
                        Err(IllegalInput::Stale { .. }) if unknown => return Ok(()),
                        Err(illegal @ IllegalInput::Unknown(_)) => {
                            return Err(Error::new(Remedy::NotFound, PLACE, illegal));
                        }
                        Err(illegal) => return Err(rejected(illegal.to_string())),
                    }
                    let commit = rebuild.commit();
                    let concerned = Concerned::by(&commit.changes);
                    match storage.commit(commit).await {
                        Ok(()) => {
                            self.inner.wake.stored(concerned);
                            return Ok(());
                        }
                        Err(error) => {
                            unknown |= error.remedy != Remedy::Conflict;
                            unclear |= error.remedy == Remedy::Unclear;
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            if !error.is_transient() || error.remedy == Remedy::Corrupt {
                return Err(error);
            }
            if self.inner.clock.elapsed() >= end {
                return Err(if unclear { error.with_remedy(Remedy::Unclear) } else { error });
            }
            self.sleep(PAUSE).await;
        }
    }
}
