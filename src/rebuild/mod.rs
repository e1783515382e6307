//! The state machine of rebuilds: what is stored about events, builds and attempts, and one
//! function that applies an input to it.
//!
//! Nothing here waits, asks for the time or talks to anything. The shell loads a [`Neighbourhood`],
//! applies [`Input`]s to it, stores the difference in one transaction and carries out the
//! [`Effect`]s.
//!
//! A decision has the same four steps everywhere:
//!
//! 1. Load the rows of a [`Scope`](crate::backend::Scope), with their versions.
//! 2. Change them in memory: [`Rebuild::admit`] for the decision of a handler, [`Rebuild::apply`]
//!    for everything that happens afterwards.
//! 3. Make a [`Commit`] of the difference, with the conditions under which it may be written.
//! 4. Store it. If a condition does not hold, begin again with step 1.
//!
//! *Invariant:* no other code decides on a state. *Invariant:* an input that does not fit is an
//! error value and changes nothing. *Invariant:* equal rows and an equal input give an equal
//! commit.

mod admit;
mod admitting;
mod apply;
mod commit;
mod committing;
mod diagram;
mod effect;
mod forecast;
mod history;
mod input;
mod limits;
mod live;
mod neighbourhood;
mod open;
mod person;
mod polling;
mod record;
mod renew;
mod schedule;
mod state;
mod verify;
mod waiting;

pub use admit::{Admission, NotAdmitted, Outcome};
pub use admitting::Admitting;
pub use apply::IllegalInput;
pub use commit::{Commit, Position, RowChange, RowKey};
pub use committing::Committing;
pub use effect::Effect;
pub use forecast::{Endless, Forecast, Span, Task, Workload};
pub use history::{Actor, ActorError, Notification, Transition};
pub use input::{Failure, FailureClass, Input, Observed, Output, Verification};
pub use limits::Limits;
pub use live::{EventForecast, ExpectedBuild, Follows, LiveForecast};
pub use neighbourhood::{Beginning, Neighbourhood, Rebuild};
pub use open::{OpenBuilds, PausedSystem};
pub use polling::{Followed, Polling};
pub use record::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, Cause, Dependency, DependencyKind,
    EventId, EventRecord, ExternalId, InboxRecord, InboxState, MessageKey, RunId, SessionId, Version,
};
pub use schedule::{ConcurrencyLimits, Entry, QueuePositions, Schedule};
pub use state::{AttemptState, BuildState, EventState, PublicBuildState, UnknownState};
pub use waiting::{NextChange, NextMoment, PathStep, WaitKind, Waiting, WaitingFor};
