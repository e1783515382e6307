use super::{Client, Concerned, PLACE};
use crate::backend::{Error, Remedy, Result, Scope};
use crate::rebuild::{Actor, EventId, IllegalInput, Input, Limits, Rebuild, RunId};
use std::time::Duration;

/// Between two attempts to store a cancellation while the storage fails, or others write the same
/// rows.
const PAUSE: Duration = Duration::from_millis(200);

impl Client {
    /// Stops an event: what is not running is dropped, what runs is stopped, what other events want
    /// as well goes on for them. `by` is who wants it, and is kept in the history.
    ///
    /// Returns when the wish is stored; while the storage does not answer, it waits and tries
    /// again. The event is cancelled only when everything it started has ended. Until then it is in
    /// its former state, with [`cancel_at`](crate::rebuild::EventRecord::cancel_at):
    /// [`wait_for_event`](Self::wait_for_event) waits for that. If no engine runs, what runs is
    /// stopped once one does.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event, [`Rejected`](Remedy::Rejected) for one
    /// that has ended or is being cancelled.
    pub async fn cancel(&self, event: EventId, by: &str) -> Result<()> {
        let storage = self.storage().await?;
        let input = Input::Cancel { event, by: Actor::Person(by.to_owned()), because: String::new() };
        loop {
            let error = match storage.load(&Scope::Event(event)).await {
                Ok(loaded) => {
                    let mut rebuild = Rebuild::new(loaded, RunId::NONE);
                    rebuild.apply(&input, &Limits::default()).map_err(|illegal| match illegal {
                        IllegalInput::Unknown(_) => Error::new(Remedy::NotFound, PLACE, illegal),
                        IllegalInput::Stale { .. } | IllegalInput::NotReusable(_) => {
                            Error::new(Remedy::Rejected, PLACE, illegal)
                        }
                    })?;
                    let commit = rebuild.commit(input.actor());
                    let concerned = Concerned::by(&commit.changes);
                    match storage.commit(commit).await {
                        Ok(()) => {
                            self.inner.wake.stored(concerned);
                            return Ok(());
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !error.is_transient() {
                return Err(error);
            }
            self.sleep(PAUSE).await;
        }
    }
}
