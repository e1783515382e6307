use crate::rebuild::{BuildState, RowChange};
use tokio::sync::Notify;

/// Signals within a process that there is work. A missed one costs at most a tick, and those of
/// another process are never seen.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pub(crate) messages: Notify,
    pub(crate) drive: Notify,
    pub(crate) watch: Notify,
    pub(crate) verify: Notify,
    pub(crate) publish: Notify,
    /// Something was stored; for those who wait for a certain state.
    pub(crate) changed: Notify,
}

impl Wake {
    /// Wakes the stages that have work because of these changes, and all callers that wait for a
    /// state. To be called when the changes are stored.
    pub(crate) fn stored(&self, concerned: Concerned) {
        let Concerned { messages, drive, watch, verify } = concerned;
        for (stage, _) in
            [(&self.messages, messages), (&self.drive, drive), (&self.watch, watch), (&self.verify, verify)]
                .into_iter()
                .filter(|(_, concerned)| *concerned)
        {
            stage.notify_one();
        }
        self.changed.notify_waiters();
        self.publish.notify_waiters();
    }

    /// Wakes everything.
    pub(crate) fn all(&self) {
        self.stored(Concerned { messages: true, drive: true, watch: true, verify: true });
    }
}

/// Which stages changes give something to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concerned {
    messages: bool,
    drive: bool,
    watch: bool,
    verify: bool,
}

impl Concerned {
    /// Builds may be started.
    pub(crate) const DRIVE: Self = Self { messages: false, drive: true, watch: false, verify: false };

    pub(crate) fn by(changes: &[RowChange]) -> Self {
        let any = |concerns: fn(&RowChange) -> bool| changes.iter().any(concerns);
        let is_verifying = |change: &RowChange| matches!(change, RowChange::Build { record, .. } if record.state == BuildState::Verifying);
        Self {
            messages: any(|change| matches!(change, RowChange::Receive(_) | RowChange::Inbox(_))),
            drive: any(|change| matches!(change, RowChange::Build { .. })),
            watch: any(|change| matches!(change, RowChange::Build { .. } | RowChange::Attempt { .. })),
            verify: any(is_verifying),
        }
    }
}
