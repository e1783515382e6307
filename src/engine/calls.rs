//! Gives calls of backends a time limit:
//! [`EngineBuilder::call_timeout`](super::EngineBuilder::call_timeout), 60 seconds by default.
//!
//! The limit holds for all calls of build systems and verifiers, for the publication of messages,
//! and for the renewal of the lease. It does not hold for other calls of the storage, for
//! `Bus::receive` and `Bus::acknowledge`, and for handlers with the catalogs that they ask: these
//! end by themselves, or with the run.

use super::core::Core;
use crate::backend::{Error, Remedy};
use futures_util::future::{Either, select};
use futures_util::pin_mut;

/// Calls with a time limit.
impl Core {
    /// Returns the output of a call; `None` if it does not end within the time limit.
    ///
    /// A call that is late is dropped. Its request may already be on its way and may still have an
    /// effect, so the caller must treat the outcome as unknown unless the call can be repeated.
    pub(super) async fn in_time<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let timeout = self.sleep(self.options.call_timeout);
        pin_mut!(call, timeout);
        match select(call, timeout).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// Returns the answer to a call that can be repeated without harm.
    ///
    /// # Errors
    /// The error of the call; `Unavailable` with this place if there is no answer within the time
    /// limit. Never use this for a submission: no answer does not mean that nothing was started.
    pub(super) async fn answer<T>(
        &self,
        place: impl FnOnce() -> String,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.in_time(call).await {
            Some(answer) => answer,
            None => Err(Error::new(Remedy::Unavailable, place(), "no answer in time")),
        }
    }
}
