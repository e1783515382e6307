//! All open builds, read once for requests that come within a short time.

use crate::api::systems::open_counts;
use crate::problem::Problem;
use crate::web::Web;
use freshmaker::rebuild::{ConcurrencyLimits, LiveForecast, OpenBuilds};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a reading is used for other requests.
const KEPT: Duration = Duration::from_secs(1);

/// How many times as long as it took a reading is used in any case.
const SHARE: u32 = 10;

/// With more open builds there are no expected times: reading them all would make pages slow.
pub(crate) const BUILDS_MAX: u64 = 3_000;

/// The open builds, and when they are expected to end.
#[derive(Default)]
pub(crate) struct Open {
    pub(crate) rows: OpenBuilds,
    pub(crate) forecast: LiveForecast,
    /// How many builds are open, if they are more than [`BUILDS_MAX`]: then none of them is here.
    pub(crate) too_many: Option<u64>,
}

/// In short: there can be thousands of rows.
impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, forecast, too_many } = self;
        let expected = forecast.builds().len();
        f.debug_struct("Open")
            .field("rows", &rows.builds.len())
            .field("expected", &expected)
            .field("too_many", too_many)
            .finish()
    }
}

impl Open {
    /// Why there are no expected times.
    pub(crate) fn why_no_times(&self) -> Option<String> {
        let open = self.too_many?;
        Some(format!("{open} builds are open; expected times are computed for at most {BUILDS_MAX}"))
    }
}

/// The last answer to a question, for requests that come soon after.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Option<(Duration, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// The last answer, or a new one, which is kept for this time, or longer if it took long.
    /// Several requests at the same time share one answer.
    pub(crate) async fn get(
        &self,
        web: &Web,
        at_least: Duration,
        question: impl Future<Output = Result<T, Problem>>,
    ) -> Result<Arc<T>, Problem> {
        let mut last = self.0.lock().await;
        // By `Clock::elapsed`.
        let began = web.elapsed();
        if let Some((until, answer)) = last.as_ref()
            && began < *until
        {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(question.await?);
        let now = web.elapsed();
        *last = Some((now + at_least.max(now.saturating_sub(began) * SHARE), Arc::clone(&answer)));
        Ok(answer)
    }
}

/// What was read last.
#[derive(Debug, Default)]
pub(crate) struct Lately {
    open: Kept<Open>,
}

impl Web {
    /// The open builds of this moment.
    pub(crate) async fn open(&self) -> Result<Arc<Open>, Problem> {
        self.lately().open.get(self, KEPT, self.read_open()).await
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
