//! What something costs, for benches.

use std::error::Error;
use std::time::{Duration, Instant};

/// What one of many calls cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The processor time of this process with all its threads, shared out among the calls.
    pub processor: Duration,
    /// By the clock.
    pub median: Duration,
    /// The 99th percentile, by the clock.
    pub p99: Duration,
}

impl Cost {
    /// Calls this so many times, one after the other, after as many calls that are not counted.
    ///
    /// # Errors
    /// Those of the call, and if the system does not tell processor times.
    pub async fn of<F>(calls: u32, mut call: impl FnMut() -> F) -> Result<Self, Box<dyn Error>>
    where
        F: Future<Output = Result<(), Box<dyn Error>>>,
    {
        for _ in 0..calls {
            call().await?;
        }
        let (mut times, before) = (Vec::with_capacity(calls as usize), processor()?);
        for _ in 0..calls {
            let began = Instant::now();
            call().await?;
            times.push(began.elapsed());
        }
        let processor = (processor()? - before) / calls;
        times.sort_unstable();
        Ok(Self { processor, median: times[times.len() / 2], p99: times[times.len() * 99 / 100] })
    }
}

/// The processor time of this process with all its threads, in steps of 10 ms.
fn processor() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name of the program, which may have spaces.
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|ticks| ticks.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("the system does not tell")?;
    Ok(Duration::from_millis(10 * (user + system)))
}
