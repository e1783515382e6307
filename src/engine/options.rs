use std::time::Duration;

/// What can be set about the engine's own behaviour.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Longest wait of a stage that was not woken: the price of a lost wake-up.
    pub(super) tick: Duration,
    /// A stage looks at the rows at most so often.
    pub(super) pace: Duration,
    /// Pause after a backend failed.
    pub(super) backend_pause: Duration,
    /// Messages read, or notifications published, in one step.
    pub(super) batch: u32,
    /// Handlers that run at the same time.
    pub(super) handlers_max: usize,
    /// A submission without an answer after this long is unclear; other calls without one have
    /// failed.
    pub(super) call_timeout: Duration,
    /// How long calls under way may take after the end was asked for.
    pub(super) shutdown_grace: Duration,
    /// Larger bodies are dead letters.
    pub(super) message_bytes_max: usize,
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
            shutdown_grace: Duration::from_secs(30),
            message_bytes_max: 8 << 20,
        }
    }
}
