//! Bounds calls of other people's code: a time limit for each call, and no panic goes further.
//!
//! Build systems, verifiers, catalogs, buses and the storage have the limit
//! [`EngineBuilder::call_timeout`](super::EngineBuilder::call_timeout) (60 seconds by default), and
//! a handler with all that it does has
//! [`EngineBuilder::handler_timeout`](super::EngineBuilder::handler_timeout) (10 minutes). Only
//! `Bus::receive` has none, because it waits for messages.
//!
//! What follows from a call without an answer depends on what was asked:
//!
//! | call | it did not end in time, or panicked |
//! |---|---|
//! | a submission | unclear: it is looked up, never repeated |
//! | a commit | unknown: the rows are read again before anything else is stored |
//! | a handler | a try of its message; a panic fails its event |
//! | anything else | as `Unavailable`: repeated after a pause |

use super::core::Core;
use crate::backend::{BuildSystem, Clock, Error, Remedy};
use crate::rebuild::SessionId;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Says why a call has no answer. It may have had an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It did not end within this time, and was dropped.
    Late(Duration),
    /// It panicked, with this text.
    Panicked(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "no answer within {limit:?}"),
            Self::Panicked(text) => write!(f, "it panicked: {text}"),
        }
    }
}

/// Returns the output of a call that ends within the limit.
///
/// A call that is late is dropped. Its request may already be on its way and may still have an
/// effect, so the caller must treat the outcome as unknown unless the call can be repeated.
///
/// # Errors
/// [`NoAnswer`] if the call is late or panics.
pub(super) async fn in_time<T>(
    clock: &dyn Clock,
    limit: Duration,
    call: impl Future<Output = T>,
) -> Result<T, NoAnswer> {
    let call = AssertUnwindSafe(call).catch_unwind();
    let timeout = clock.sleep(limit);
    pin_mut!(call, timeout);
    match select(call, timeout).await {
        Either::Left((Ok(done), _)) => Ok(done),
        Either::Left((Err(cause), _)) => Err(NoAnswer::Panicked(text_of(cause.as_ref()))),
        Either::Right(_) => Err(NoAnswer::Late(limit)),
    }
}

/// Returns the output of a function of a user that is not asynchronous.
///
/// # Errors
/// The text of the panic.
pub(super) fn unharmed<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|cause| text_of(cause.as_ref()))
}

/// Returns whether a session is one of this host; not if the build system panics.
pub(super) fn is_here(system: &dyn BuildSystem, session: &SessionId) -> bool {
    unharmed(|| system.is_here(session)).unwrap_or_else(|text| {
        tracing::error!(%session, panic = text, "a build system cannot tell whether a session is on this host");
        false
    })
}

/// Returns the text of a panic.
fn text_of(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a text").to_owned()
}

impl Core {
    /// Returns the output of a call within the time limit of calls.
    ///
    /// # Errors
    /// [`NoAnswer`] if the call is late or panics.
    pub(super) async fn in_time<T>(&self, call: impl Future<Output = T>) -> Result<T, NoAnswer> {
        in_time(&*self.clock, self.options.call_timeout, call).await
    }

    /// Returns the answer to a call that can be repeated without harm.
    ///
    /// # Errors
    /// The error of the call; `Unavailable` with this place if there is no answer. Never use this
    /// for a submission: no answer does not mean that nothing was started.
    pub(super) async fn answer<T>(
        &self,
        place: impl FnOnce() -> String,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.in_time(call).await {
            Ok(answer) => answer,
            Err(none) => Err(Error::new(Remedy::Unavailable, place(), none)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_or_panics_has_no_answer() {
        let limit = Duration::from_secs(60);
        assert_eq!(in_time(&SystemClock, limit, async { 7 }).await, Ok(7));
        let late = in_time(&SystemClock, limit, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(late.to_string(), "no answer within 60s");
        let panicked = in_time(&SystemClock, limit, async { panic!("task {} is odd", 7) }).await;
        assert_eq!(panicked.map(|(): ()| ()).unwrap_err().to_string(), "it panicked: task 7 is odd");
        assert_eq!(unharmed(|| -> u8 { panic!("odd") }), Err("odd".to_owned()));
    }
}
