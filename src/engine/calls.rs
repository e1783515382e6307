use super::core::Core;
use crate::backend::{Error, Remedy};
use futures_util::future::{Either, select};
use futures_util::pin_mut;

/// Calls to backends within the time that they have
/// ([`EngineBuilder::call_timeout`](super::EngineBuilder::call_timeout)).
impl Core {
    /// What a call gives; `None` if it does not end in time. It is dropped then.
    pub(super) async fn in_time<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let timeout = self.sleep(self.options.call_timeout);
        pin_mut!(call, timeout);
        match select(call, timeout).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// The answer to a call that may be repeated. That there is none in time is an outage.
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
