//! All open builds, read once for requests that come within a short time.

use crate::api::systems::open_counts;
use crate::problem::Problem;
use crate::web::Web;
use freshmaker::client::{FailureGroup, Stuck};
use freshmaker::rebuild::{ConcurrencyLimits, LiveForecast, OpenBuilds};
use freshmaker::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a reading is used for other requests; longer if the reading took long.
const KEPT: Duration = Duration::from_secs(1);

/// How many times as long as the reading took.
const SHARE: u32 = 10;

/// With more open builds there are no expected times: reading them all would make pages slow.
pub(crate) const BUILDS_MAX: u64 = 3_000;

/// After this time without a change something is stuck.
const STUCK: Duration = Duration::from_secs(15 * 60);
const STUCK_KEPT: Duration = Duration::from_secs(10);

/// The open builds, and when they are expected to end.
#[derive(Debug, Default)]
pub(crate) struct Open {
    pub(crate) rows: OpenBuilds,
    pub(crate) forecast: LiveForecast,
    /// How many builds are open, if they are more than [`BUILDS_MAX`]: then none of them is here.
    pub(crate) too_many: Option<u64>,
}

impl Open {
    /// Why there are no expected times.
    pub(crate) fn why_no_times(&self) -> Option<String> {
        let open = self.too_many?;
        Some(format!("{open} builds are open; expected times are computed for at most {BUILDS_MAX}"))
    }
}

/// What was read last, and until when it is shown, by
/// [`Clock::elapsed`](freshmaker::backend::Clock::elapsed).
#[derive(Debug, Default)]
pub(crate) struct Lately {
    open: Mutex<Option<(Duration, Arc<Open>)>>,
    stuck: Mutex<Option<(Duration, Arc<Vec<Stuck>>)>>,
    failures: Mutex<Option<(Duration, Arc<Vec<FailureGroup>>)>>,
}

impl Web {
    /// The open builds of this moment. Several requests at the same time share one answer.
    pub(crate) async fn open(&self) -> Result<Arc<Open>, Problem> {
        let mut last = self.lately().open.lock().await;
        let began = self.elapsed();
        if let Some((until, open)) = last.as_ref()
            && began < *until
        {
            return Ok(Arc::clone(open));
        }
        let open = Arc::new(self.read_open().await?);
        let now = self.elapsed();
        *last = Some((now + KEPT.max(now.saturating_sub(began) * SHARE), Arc::clone(&open)));
        Ok(open)
    }

    /// What has not moved for [`STUCK`]. It is asked for build by build, so it is kept for longer.
    pub(crate) async fn stuck(&self) -> Result<Arc<Vec<Stuck>>, Problem> {
        let mut last = self.lately().stuck.lock().await;
        let now = self.elapsed();
        if let Some((until, stuck)) = last.as_ref()
            && now < *until
        {
            return Ok(Arc::clone(stuck));
        }
        let stuck = Arc::new(self.ask(self.client().stuck(STUCK)).await?);
        *last = Some((now + STUCK_KEPT, Arc::clone(&stuck)));
        Ok(stuck)
    }

    /// The failed builds since a moment, by cause. Thousands of rows may be read for it.
    pub(crate) async fn failures_since(&self, since: Timestamp) -> Result<Arc<Vec<FailureGroup>>, Problem> {
        let mut last = self.lately().failures.lock().await;
        let began = self.elapsed();
        if let Some((until, failures)) = last.as_ref()
            && began < *until
        {
            return Ok(Arc::clone(failures));
        }
        let failures = Arc::new(self.ask(self.client().failures(Some(since))).await?);
        let now = self.elapsed();
        *last = Some((now + KEPT.max(now.saturating_sub(began) * SHARE), Arc::clone(&failures)));
        Ok(failures)
    }

    /// The concurrency limits of the engine, as far as they are configured.
    pub(crate) fn concurrency_limits(&self) -> BTreeMap<String, u32> {
        self.config().page.as_ref().map(|page| page.limits.clone()).unwrap_or_default()
    }

    async fn read_open(&self) -> Result<Open, Problem> {
        let count = open_counts(self).await?.iter().map(|row| row.count).sum::<u64>();
        if count > BUILDS_MAX {
            return Ok(Open { too_many: Some(count), ..Open::default() });
        }
        let rows = self.ask(self.client().open_builds()).await?;
        let forecast = rows.forecast(&ConcurrencyLimits::new(self.concurrency_limits()));
        Ok(Open { rows, forecast, too_many: None })
    }
}
