//! What is under way, read once for all who look at the moment.

use super::visit::Visit;
use crate::problem::Problem;
use freshmaker::backend::BuildFilter;
use freshmaker::client::Stuck;
use freshmaker::rebuild::{BuildState, ConcurrencyLimits, LiveForecast, OpenBuilds};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// What was read is shown to others for so long, and for longer if reading it took long.
const KEPT: Duration = Duration::from_secs(1);

/// So many times as long as reading took.
const SHARE: u32 = 10;

/// With more open builds there are no expected times: reading them all would make pages slow.
const BUILDS_MAX: u64 = 3_000;

/// What has not moved for so long is wrong.
const STUCK: Duration = Duration::from_secs(15 * 60);
const STUCK_KEPT: Duration = Duration::from_secs(10);

/// The open builds, and when they are expected to end.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) rows: OpenBuilds,
    pub(crate) forecast: LiveForecast,
}

/// What was read last, and until when it is shown, by
/// [`Clock::elapsed`](freshmaker::backend::Clock::elapsed).
#[derive(Debug, Default)]
pub(crate) struct Lately {
    open: Mutex<Option<(Duration, Option<Arc<Open>>)>>,
    stuck: Mutex<Option<(Duration, Arc<Vec<Stuck>>)>>,
}

impl Visit {
    /// The open builds of this moment; `None` if there are too many to be read for a page. Several
    /// pages that ask at the same time share one answer.
    pub(crate) async fn open(&self) -> Result<Option<Arc<Open>>, Problem> {
        let mut last = self.lately.open.lock().await;
        let began = self.web.elapsed();
        if let Some((until, open)) = last.as_ref()
            && began < *until
        {
            return Ok(open.clone());
        }
        let open = self.read_open().await?;
        let now = self.web.elapsed();
        *last = Some((now + KEPT.max(now.saturating_sub(began) * SHARE), open.clone()));
        Ok(open)
    }

    /// What has not moved for [`STUCK`]. It is asked for build by build, so it is kept for longer.
    pub(crate) async fn stuck(&self) -> Result<Arc<Vec<Stuck>>, Problem> {
        let mut last = self.lately.stuck.lock().await;
        let now = self.web.elapsed();
        if let Some((until, stuck)) = last.as_ref()
            && now < *until
        {
            return Ok(Arc::clone(stuck));
        }
        let stuck = Arc::new(self.web.ask(self.web.client().stuck(STUCK)).await?);
        *last = Some((now + STUCK_KEPT, Arc::clone(&stuck)));
        Ok(stuck)
    }

    async fn read_open(&self) -> Result<Option<Arc<Open>>, Problem> {
        let (web, client) = (&self.web, self.web.client());
        let states = BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
        let counts = web.ask(client.count_builds(BuildFilter { states, ..BuildFilter::default() })).await?;
        if counts.iter().map(|row| row.count).sum::<u64>() > BUILDS_MAX {
            return Ok(None);
        }
        let rows = web.ask(client.open_builds()).await?;
        let limits = web.config().page.as_ref().map(|page| page.limits.clone()).unwrap_or_default();
        let forecast = rows.forecast(&ConcurrencyLimits::new(limits));
        Ok(Some(Arc::new(Open { rows, forecast })))
    }
}
