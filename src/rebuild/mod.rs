//! The state machine of rebuilds: what is stored about events, builds and attempts, and one
//! function that applies an input to it.
//!
//! Nothing here waits, asks for the time or talks to anything. The shell loads a [`Neighbourhood`],
//! applies [`Input`]s to it, stores the difference in one transaction and carries out the
//! [`Effect`]s.

mod admit;
mod apply;
mod commit;
mod effect;
mod forecast;
mod history;
mod input;
mod neighbourhood;
mod polling;
mod record;
mod renew;
mod retry;
mod schedule;
mod state;
mod verify;

pub use admit::{Admission, NotAdmitted, Outcome};
pub use apply::IllegalInput;
pub use commit::{Commit, Position, RowChange, RowKey};
pub use effect::Effect;
pub use forecast::{Endless, Forecast, Span, Task, Workload};
pub use history::{Actor, ActorError, Notification, Transition};
pub use input::{Failure, FailureClass, Input, Observed, Output, Verification};
pub use neighbourhood::{Neighbourhood, Rebuild};
pub use polling::Polling;
pub use record::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, Cause, Dependency, DependencyKind,
    EventId, EventRecord, ExternalId, InboxRecord, InboxState, MessageKey, RunId, SessionId, Version,
};
pub use retry::Limits;
pub use schedule::{ConcurrencyLimits, Entry, Lines, Schedule};
pub use state::{AttemptState, BuildState, EventState, PublicBuildState};
