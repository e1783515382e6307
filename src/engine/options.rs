//! Settings of the engine's own behaviour, with their defaults. The bounds of the state machine
//! (tries, back-off, deadlines) are in `rebuild::Limits`.

use crate::backend::Retention;
use std::time::Duration;

/// Settings of the engine's own behaviour.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Longest wait of a stage that was not woken: the cost of a missed wake-up. 5 seconds by
    /// default.
    pub(super) tick: Duration,
    /// Shortest time between two looks of a stage at the rows. 10 milliseconds.
    pub(super) pace: Duration,
    /// Pause after a call of a backend failed, before the step is repeated. 1 second.
    pub(super) backend_pause: Duration,
    /// Largest number of messages received, or notifications published, in one step. 200.
    pub(super) batch: u32,
    /// Largest number of messages that are handled at the same time. 8.
    pub(super) handlers_max: usize,
    /// Time limit of a call, see `calls`. A submission without an answer is unclear then; any other
    /// call has failed. 60 seconds by default.
    pub(super) call_timeout: Duration,
    /// Time limit of a handler, with all that it asks. A handler that is late counts as a try of
    /// its message. 10 minutes by default.
    pub(super) handler_timeout: Duration,
    /// How long calls under way may take after the stop was requested. 30 seconds by default.
    pub(super) shutdown_grace: Duration,
    /// How long is kept what nothing needs any more.
    pub(super) retention: Retention,
    /// Messages with larger bodies become dead letters. 8 MiB by default.
    pub(super) message_bytes_max: usize,
    /// The name of this process among the replicas of its storage, if it has one.
    pub(super) replica: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(5),
            pace: Duration::from_millis(10),
            backend_pause: Duration::from_secs(1),
            batch: 200,
            handlers_max: 8,
            call_timeout: Duration::from_secs(60),
            handler_timeout: Duration::from_secs(600),
            shutdown_grace: Duration::from_secs(30),
            retention: Retention::default(),
            message_bytes_max: 8 << 20,
            replica: None,
        }
    }
}
