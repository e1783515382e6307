//! Finds advisories that have shipped without a message of it.
//!
//! No rebuild should depend on a single message: a broker loses some, and the queue of a service
//! that is stopped for long is deleted. [`ShippedScan`] lists the advisories that have shipped, and
//! puts each of them into the inbox as the message that may have been lost. Its identity depends on
//! the advisory alone, so an advisory that was scanned before is not stored again. An advisory that
//! a message has announced as well is still handled only once, by
//! [`AnnounceAdvisories`](crate::handlers::AnnounceAdvisories).
//!
//! ```
//! use freshmaker_redhat::contracts::ShippedAdvisories;
//! use freshmaker_redhat::scan::ShippedScan;
//! use std::sync::Arc;
//!
//! async fn serve(
//!     engine: freshmaker::Engine,
//!     errata: Arc<dyn ShippedAdvisories>,
//!     stop: impl Future<Output = ()>,
//! ) -> Result<(), freshmaker::backend::BoxError> {
//!     let (client, scan) = (engine.client(), ShippedScan::new(errata));
//!     let until = async {
//!         tokio::select! {
//!             () = stop => {}
//!             () = scan.run(&client) => {}
//!         }
//!     };
//!     Ok(engine.run_until(until).await?)
//! }
//! ```

use crate::contracts::ShippedAdvisories;
use crate::messages::errata::AdvisoryStatusChanged;
use freshmaker::backend::{Clock, Document, Error, NewDocument, Remedy, Result};
use freshmaker::client::{Client, Sent};
use freshmaker::engine::SystemClock;
use freshmaker::time::{Timestamp, earlier, from_micros, to_micros};
use std::sync::Arc;
use std::time::Duration;

/// Kind and id of the document with the position: the beginning of the last scan, in microseconds
/// since 1970.
const POSITION: (&str, &str) = ("errata.shipped-scan", "position");

/// Lists advisories that have shipped, and puts them into the inbox; see the [module](self).
#[derive(Clone, Debug)]
#[doc(alias = "timer")]
#[doc(alias = "cron")]
pub struct ShippedScan {
    advisories: Arc<dyn ShippedAdvisories>,
    clock: Arc<dyn Clock>,
    every: Duration,
    overlap: Duration,
    first: Duration,
}

/// What a scan has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scanned {
    /// Number of advisories that have shipped since the time in question.
    pub found: usize,
    /// Number of those that no earlier scan has found.
    pub new: usize,
}

impl ShippedScan {
    /// Asks for advisories every 10 minutes. Each scan begins an hour before the one before it
    /// began, because advisories may show up late; the first one of all begins a day ago.
    #[must_use]
    pub fn new(advisories: Arc<dyn ShippedAdvisories>) -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let (every, overlap, first) = (minutes(10), minutes(60), minutes(24 * 60));
        Self { advisories, clock: Arc::new(SystemClock), every, overlap, first }
    }

    /// Sets the time between two scans.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Sets how long before the beginning of the last scan the next one begins.
    #[must_use]
    pub fn overlapping(self, overlap: Duration) -> Self {
        Self { overlap, ..self }
    }

    /// Sets how far back the very first scan goes.
    #[must_use]
    pub fn first(self, first: Duration) -> Self {
        Self { first, ..self }
    }

    /// Replaces the clock of the system.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Puts all advisories into the inbox that have shipped at this time or later. One that an
    /// earlier scan has put there is not stored again, as long as its message is
    /// [kept](freshmaker::backend::Retention).
    ///
    /// # Errors
    /// Those of [`ShippedAdvisories::shipped_since`] and of the storage. What was stored before the
    /// error stays.
    pub async fn since(&self, client: &Client, since: Timestamp) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        for id in self.advisories.shipped_since(since).await? {
            let number = i64::try_from(id);
            let number = number.map_err(|error| Error::new(Remedy::Corrupt, format!("advisory {id}"), error))?;
            let identity = format!("errata/{id}/SHIPPED_LIVE");
            scanned.found += 1;
            if let Sent::New(_) = client.send_as(identity, &AdvisoryStatusChanged::shipped(number)).await? {
                scanned.new += 1;
            }
        }
        Ok(scanned)
    }

    /// Scans since the stored position, stores the new one, and returns what was found.
    ///
    /// The position is the beginning of a scan and is stored after it, so a scan that ends early is
    /// made again. If two processes scan at the same time, each advisory is stored once all the
    /// same.
    ///
    /// # Errors
    /// As [`since`](Self::since).
    pub async fn round(&self, client: &Client) -> Result<Scanned> {
        let begin = self.clock.now();
        let stored = client.documents().await?.get(POSITION.0, POSITION.1).await?;
        let position = stored.as_ref().map(position).transpose()?;
        // A clock that was ahead must not leave a gap.
        let since = position.map_or_else(|| earlier(begin, self.first), |at| earlier(at.min(begin), self.overlap));
        let scanned = self.since(client, since).await?;
        let expected = stored.map(|stored| stored.version);
        let document = NewDocument::new(POSITION.0, POSITION.1, to_micros(begin).into());
        match client.documents().await?.put(NewDocument { expected, ..document }).await {
            // Another process has scanned at the same time, and its position is as good.
            Err(error) if error.remedy == Remedy::Conflict => {}
            stored => drop(stored?),
        }
        Ok(scanned)
    }

    /// Scans for ever, as often as [`every`](Self::every) says. A scan that fails is logged and
    /// made again at the next time; the position stays.
    ///
    /// # Cancel safety
    /// Drop it at any time: what was stored stays, and the next scan begins at the same position.
    pub async fn run(&self, client: &Client) {
        loop {
            match self.round(client).await {
                Ok(Scanned { new: 0, .. }) => {}
                Ok(Scanned { found, new }) => {
                    tracing::info!(found, new, "advisories have shipped without a message so far");
                }
                Err(error) => tracing::warn!(%error, "shipped advisories could not be listed; it is tried again"),
            }
            self.clock.sleep(self.every).await;
        }
    }
}

/// Reads a stored position.
fn position(stored: &Document) -> Result<Timestamp> {
    let micros = stored.body.as_i64().ok_or_else(|| {
        let text = "it is no number of microseconds; remove it, and make up for what was missed by a scan since then";
        Error::new(Remedy::Corrupt, format!("document {} {}", stored.kind, stored.id), text)
    })?;
    Ok(from_micros(micros))
}
