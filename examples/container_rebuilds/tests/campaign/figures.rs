//! What a campaign has done, added up over its runs.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Counts of faults and of what they met.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Runs, each with a world of its own; also the seed of the next one.
    pub(crate) runs: u64,
    pub(crate) seconds: u64,
    /// Replicas that were killed.
    pub(crate) kills: u64,
    /// Replicas that were stopped for longer than their lease, and went on.
    pub(crate) stops: u64,
    /// Replicas whose way to the database was silent for longer than their lease.
    pub(crate) partitions: u64,
    /// Replicas whose network was cut off from all others for longer than their lease.
    pub(crate) cut_off: u64,
    /// Restarts of the database, half of them as by a loss of power.
    pub(crate) database_restarts: u64,
    /// Restarts of the broker, half of them as by a loss of power.
    pub(crate) broker_restarts: u64,
    /// Times that all connections to the broker were cut.
    pub(crate) broker_cuts: u64,
    /// Ends of replicas that nobody asked for, such as a start while the database was away.
    pub(crate) ended_by_themselves: u64,
    pub(crate) messages: u64,
    pub(crate) builds: u64,
    /// Tasks of the hub.
    pub(crate) tasks: u64,
    /// Attempts that never reached the hub.
    pub(crate) not_submitted: u64,
    /// The longest time from the last fault until nothing was left to do, in seconds.
    pub(crate) longest_calm: u64,
    /// The longest end of a replica that was told to end, in milliseconds.
    pub(crate) longest_end: u64,
    /// The most tasks that were seen alive at the hub at once.
    pub(crate) most_alive: u64,
    /// What must not be, with the seed of its run.
    pub(crate) violations: Vec<String>,
}

impl Figures {
    fn file() -> PathBuf {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("campaign.json")
    }

    /// Those of the earlier runs of the long form.
    pub(crate) fn read() -> Self {
        std::fs::read(Self::file()).map_or_else(|_| Self::default(), |text| serde_json::from_slice(&text).unwrap())
    }

    pub(crate) fn write(&self) {
        std::fs::write(Self::file(), serde_json::to_string_pretty(self).unwrap()).unwrap();
        println!("{} has\n{self:#?}", Self::file().display());
    }

    pub(crate) fn add(&mut self, run: &Self) {
        for (sum, more) in [
            (&mut self.runs, run.runs),
            (&mut self.seconds, run.seconds),
            (&mut self.kills, run.kills),
            (&mut self.stops, run.stops),
            (&mut self.partitions, run.partitions),
            (&mut self.database_restarts, run.database_restarts),
            (&mut self.cut_off, run.cut_off),
            (&mut self.broker_restarts, run.broker_restarts),
            (&mut self.broker_cuts, run.broker_cuts),
            (&mut self.ended_by_themselves, run.ended_by_themselves),
            (&mut self.messages, run.messages),
            (&mut self.builds, run.builds),
            (&mut self.tasks, run.tasks),
            (&mut self.not_submitted, run.not_submitted),
        ] {
            *sum += more;
        }
        self.longest_calm = self.longest_calm.max(run.longest_calm);
        self.longest_end = self.longest_end.max(run.longest_end);
        self.most_alive = self.most_alive.max(run.most_alive);
        self.violations.extend(run.violations.iter().cloned());
    }
}
