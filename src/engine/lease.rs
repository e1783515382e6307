//! Takes, renews and gives back the lease of the storage: the right of one run to write.
//!
//! The lease is kept by the storage, by its own clock. If the process dies, hangs or loses the
//! network, the lease is not renewed, and another run may revoke it after its `ttl`. From then on
//! the storage answers every write of the old run with `Fenced`.
//!
//! A failed or late renewal alone does not end a run: the lease may still hold, so the renewal is
//! repeated. Only the answer `Fenced`, to a renewal or to any write, ends the run. After the lease
//! has expired by the engine's clock, `drive` submits nothing more. Other calls go on until that
//! answer; then all are dropped, and the next run looks up a submission that was under way.

use super::calls::in_time;
use super::core::Core;
use super::outages::STORAGE;
use crate::backend::{Error, Lease, Remedy};
use crate::rebuild::RunId;
use crate::store::PLACE;
use futures_util::future::{Either, select};
use futures_util::pin_mut;

/// Says why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The stop was requested, and the calls under way have ended or the grace period has passed.
    Stopped,
    /// The lease is lost: the storage refuses everything that the run would store.
    Lost,
}

impl Core {
    /// Begins a run: migrates the storage if this process has not done so, releases the previous
    /// run of this engine if its id is still here, and takes a lease.
    ///
    /// The previous run is known if its lease was lost or if the future of `run_until` was dropped.
    /// Releasing it frees what it has claimed at once; if that fails, its lease expires.
    ///
    /// # Errors
    /// * The migration fails.
    /// * There is no previous run and the first request for a lease fails, for whatever reason. So
    ///   an engine that is started without its storage says so at once.
    /// * Any later request fails with an error that is not transient, or with `Conflict`, which
    ///   means that another process has the storage. Other errors are repeated after a pause,
    ///   without a limit.
    /// * The stop was requested while a request is repeated: the error of the last one.
    pub(super) async fn begin(&self) -> Result<Lease, Error> {
        let storage = self.client.storage().await?;
        let before = self.run();
        if before != RunId::NONE {
            // If this fails, the lease ends by itself.
            drop(storage.release(before).await);
        }
        let mut first = true;
        loop {
            let asked = (self.elapsed(), self.now());
            match storage.lease(None).await {
                Ok(lease) => {
                    self.works("lease", STORAGE);
                    self.set_lease(&lease, asked);
                    return Ok(lease);
                }
                Err(error) if first && before == RunId::NONE => return Err(error),
                Err(error) if !error.is_transient() || error.remedy == Remedy::Conflict => return Err(error),
                Err(error) if self.is_stopping() => return Err(error),
                Err(error) => self.pause("lease", STORAGE, &error).await,
            }
            first = false;
        }
    }

    /// Gives the lease back, so that other runs need not wait until it expires. If this fails, the
    /// lease expires on its own.
    pub(super) async fn end(&self) {
        let run = self.run();
        if let Err(error) = self.storage.release(run).await {
            tracing::warn!(engine.run = %run, %error, "the lease could not be given back; it ends by itself");
        }
        self.set_run(RunId::NONE);
    }
}

/// Renews the lease of the current run each `ttl / 3`, and returns when the lease is lost. If other
/// processes are heard, it is renewed at once, but not sooner than `ttl / 12` after the last time;
/// so what one of them has given back is taken over within a second.
///
/// A renewal may take a third of the `ttl`. One that fails or gets no answer is repeated after the
/// next third; with the default `ttl` of 10 seconds that is about 3 seconds later. Returns at once
/// when a stage reports, with `Core::lose`, that a write was refused.
///
/// # Cancel safety
/// A renewal that is dropped may or may not have been stored. Both are harmless.
pub(super) async fn keep(core: &Core) {
    loop {
        let ttl = core.ttl();
        let wait = async {
            core.sleep(ttl / 12).await;
            // When others have stored something, one of them may have ended.
            core.wait_for_others(ttl / 4).await;
        };
        let lost = core.lost();
        pin_mut!(wait, lost);
        if let Either::Right(_) = select(wait, lost).await {
            return;
        }
        if !renew(core).await {
            return;
        }
    }
}

/// Renews the lease of the current run, which also reads the clock of the storage. Returns `false`
/// if the run is over. Any other failure is logged.
pub(super) async fn renew(core: &Core) -> bool {
    let asked = (core.elapsed(), core.now());
    let answer = in_time(&*core.clock, core.ttl() / 3, core.storage.lease(Some(core.run()))).await;
    match answer.unwrap_or_else(|none| Err(Error::new(Remedy::Unavailable, format!("{PLACE}: lease"), none))) {
        Ok(lease) => {
            core.works("lease", STORAGE);
            core.set_lease(&lease, asked);
        }
        Err(error) if error.remedy == Remedy::Fenced => return false,
        Err(error) => core.fails("lease", STORAGE, &error),
    }
    true
}
