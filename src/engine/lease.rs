use super::core::Core;
use crate::backend::{Error, Lease, Remedy};
use crate::rebuild::RunId;
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use std::time::Duration;

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The end was asked for.
    Stopped,
    /// Its lease is lost: nothing that it would store is stored any more.
    Lost,
}

impl Core {
    /// Takes the lease of a new run. A run of this engine that was dropped is over.
    pub(super) async fn begin(&self) -> Result<Lease, Error> {
        let storage = self.client.storage().await?;
        let before = self.run();
        if before != RunId::NONE {
            // If this fails, the lease ends by itself.
            drop(storage.release(before).await);
        }
        let mut first = true;
        loop {
            match storage.lease(None).await {
                Ok(lease) => {
                    self.set_lease(&lease);
                    return Ok(lease);
                }
                Err(error) if first && before == RunId::NONE => return Err(error),
                Err(error) if !error.is_transient() || error.remedy == Remedy::Conflict => return Err(error),
                Err(error) => self.pause("lease", &error).await,
            }
            first = false;
        }
    }

    /// Gives the lease back, so that others need not wait until it ends by itself.
    pub(super) async fn end(&self) {
        let run = self.run();
        if let Err(error) = self.storage.release(run).await {
            tracing::warn!(engine.run = %run, %error, "the lease could not be given back; it ends by itself");
        }
        self.set_run(RunId::NONE);
    }
}

/// Renews the lease of the present run, three times within the time that it holds; returns when it
/// is lost.
pub(super) async fn keep(core: &Core, ttl: Duration) {
    loop {
        let wait = core.sleep(ttl / 3);
        let lost = core.lost();
        pin_mut!(wait, lost);
        if let Either::Right(_) = select(wait, lost).await {
            return;
        }
        match core.in_time(core.storage.lease(Some(core.run()))).await {
            Some(Ok(lease)) => core.set_lease(&lease),
            Some(Err(error)) if error.remedy == Remedy::Fenced => return,
            Some(Err(error)) => {
                tracing::warn!(engine.stage = "lease", %error, "the lease could not be renewed; trying again")
            }
            None => tracing::warn!(engine.stage = "lease", "the lease could not be renewed in time; trying again"),
        }
    }
}
