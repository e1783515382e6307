use super::send::rejected;
use super::{Client, Concerned, PLACE};
use crate::backend::{DueLimits, Error, Remedy, Result, Scope};
use crate::event::Message;
use crate::reason::Reason;
use crate::rebuild::{
    Actor, AttemptId, AttemptState, BuildId, Commit, EventId, ExternalId, IllegalInput, Input, Limits, MessageKey,
    Rebuild, RowChange, RunId,
};
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use std::time::Duration;

/// Between two attempts to store a decision while the storage fails, or others write the same rows.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a decision is tried again before its last error is returned.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which part of an event a retry handles again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPart {
    /// The artifacts whose builds did not end well. Artifacts that were built well are used as they
    /// are.
    Failed,
    /// All artifacts, as if the event had just come.
    Whole,
}

impl RetryPart {
    /// Returns the identity of the message that retries this part of an event, among those of the
    /// source [`Client::LOCAL`].
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

/// Decisions of a person. The history records each of them, with the name that is passed as `by`.
///
/// These calls return when the decision is stored. While the storage does not answer, they wait and
/// try again, for 30 seconds by the clock of the client; then they return the last error. If that
/// is [`Unclear`](Remedy::Unclear), the decision may be stored; making the same decision again is
/// harmless.
impl Client {
    /// The part [`RetryPart::Failed`] in a message.
    pub(crate) const FAILED_PART: &'static str = "failed";

    /// Cancels an event: builds that have not started are cancelled, running builds are stopped,
    /// and builds that other events want as well continue for those.
    ///
    /// The event is in the state `CANCELED` only when all builds that it has started have ended.
    /// Until then it stays in its former state, with
    /// [`cancel_at`](crate::rebuild::EventRecord::cancel_at):
    /// [`wait_for_event`](Self::wait_for_event) waits for that. Running builds are stopped by an
    /// engine; if none runs, by the next one.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event, [`Rejected`](Remedy::Rejected) for one
    /// that has ended or is being cancelled.
    #[doc(alias = "abort")]
    #[doc(alias = "stop")]
    pub async fn cancel(&self, event: EventId, by: &str) -> Result<()> {
        self.cancel_because(event, by, "").await
    }

    /// Cancels an event as [`cancel`](Self::cancel) does, with a reason in words. The reasons of
    /// the event and of its cancelled builds have it.
    ///
    /// # Errors
    /// As for [`cancel`](Self::cancel).
    pub async fn cancel_because(&self, event: EventId, by: &str, why: &str) -> Result<()> {
        let input = Input::Cancel { event, by: Actor::Person(by.to_owned()), because: why.to_owned() };
        self.decide(&Scope::Event(event), &input).await
    }

    /// Says what became of a submission without a clear answer, if the engine cannot find out: the
    /// build system has it under the id `found`, or it was never submitted (`None`).
    ///
    /// The engine then continues as if the build system had given this answer. With `None` the
    /// build is submitted again. So check carefully: if `None` is wrong, the artifact is built
    /// twice.
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
        self.decide(&scope, &Input::Resolve { attempt: attempt.clone(), external: found, by }).await
    }

    /// Whether the run that would submit this attempt is over.
    async fn is_left_behind(&self, attempt: &AttemptId) -> Result<bool> {
        let limits = DueLimits { ready: 0, attempts: u32::MAX, pause_max: Duration::ZERO };
        let due = self.storage().await?.reads().due(RunId::NONE, limits).await?;
        Ok(due.attempts.iter().any(|(left, _)| left.id == *attempt))
    }

    /// Gives up a build that cannot end by itself, for the reason `why`: it fails (or is cancelled,
    /// if that was requested), and the builds that need it fail with it.
    ///
    /// This is for a build that would wait for ever: no engine has its build system, its verifier
    /// is away, or its build system never reports that it has stopped. A job that still runs in the
    /// build system is no longer polled.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown build, [`Rejected`](Remedy::Rejected) for one
    /// that has ended, that runs ([cancel](Self::cancel) its events first) or that is being
    /// submitted ([resolve](Self::resolve) its attempt first).
    pub async fn give_up(&self, build: BuildId, why: &str, by: &str) -> Result<()> {
        let (by, text) = (Actor::Person(by.to_owned()), why.to_owned());
        self.decide(&Scope::Descendants(vec![build]), &Input::GiveUp { build, by, text }).await
    }

    /// Makes a [dead letter](Self::dead_letters) a new message again, after its cause was removed,
    /// in the message's source or in the handlers.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown message, [`Rejected`](Remedy::Rejected) for
    /// one that is no dead letter, or that is a message of the engine which a bus has
    /// [refused](Self::REFUSED), since it is not for handlers.
    pub async fn requeue(&self, source: &str, id: &str) -> Result<()> {
        if source == Self::REFUSED {
            return Err(rejected(format!("message {id} is for a bus that has refused it, not for handlers")));
        }
        let key = MessageKey { source: source.to_owned(), message_id: id.to_owned() };
        self.change_letter(RowChange::Requeue(key)).await?;
        self.inner.wake.messages.notify_one();
        Ok(())
    }

    /// Dismisses a [dead letter](Self::dead_letters) that cannot or need not be handled, for the
    /// reason `why`. It becomes an ignored message, and is removed like other ignored messages.
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

    /// Retries an ended event, as a whole or only its failed part, and returns the identity of a
    /// new message, as [`send`](Self::send) does.
    ///
    /// The handler of the event decides again, from what the catalogs and the policy say now. The
    /// new event has a number of its own, the field `retry_of`, and a `generation` that is one
    /// higher; the old event is not changed. A second retry of the same part of the same event has
    /// no effect: retry the new event instead.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event; [`Rejected`](Remedy::Rejected) for one
    /// that has not ended, that has no failed build (with [`RetryPart::Failed`]), or whose handler
    /// is not registered any more; else those of the storage.
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
            let error = match self.in_time(storage.load(scope)).await {
                Ok(loaded) => {
                    let mut rebuild = Rebuild::new(loaded, RunId::NONE);
                    match rebuild.apply(input, &Limits::default()) {
                        Ok(()) => {}
                        // It was stored, although the answer was lost: its own effect makes it
                        // stale.
                        Err(IllegalInput::Stale { .. }) if unknown => return Ok(()),
                        Err(illegal @ IllegalInput::Unknown(_)) => {
                            return Err(Error::new(Remedy::NotFound, PLACE, illegal));
                        }
                        Err(illegal) => return Err(rejected(illegal.to_string())),
                    }
                    let commit = rebuild.commit();
                    let concerned = Concerned::by(&commit.changes);
                    // A commit that was given up may still be stored.
                    match self.in_time(storage.commit(commit)).await {
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

    /// Gives a call of the storage up after `PATIENCE`.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let patience = self.sleep(PATIENCE);
        pin_mut!(call, patience);
        match select(call, patience).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(Error::new(Remedy::Unclear, PLACE, format!("no answer within {PATIENCE:?}"))),
        }
    }
}
