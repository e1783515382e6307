//! Mistakes of an engine, planted where it meets its backends: each must be found. Backends that
//! fail, hang or panic are no mistakes: they are in `backends`, and `weather` says how often.

use super::backends::{SimBuilds, SimVerifier};
use super::bus::SimBus;
use super::executor::VirtualClock;
use async_trait::async_trait;
use freshmaker::backend::{
    BuildRequest, BuildSystem, Bus, Capabilities, Clock, Delivery, DeliveryTag, Error, Found, Made, Remedy, Result,
    Verifier,
};
use freshmaker::event::Message;
use freshmaker::graph::EdgeKind;
use freshmaker::rebuild::{
    BuildRecord, BuildSlot, BuildState, Commit, DependencyKind, EventState, ExternalId, RowChange, SessionId,
    Verification,
};
use freshmaker::time::{Timestamp, since};
use std::time::Duration;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A mistake that an engine could make, planted at one of its seams.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

faults! {
    /// A build does not wait for its dependencies.
    ChildrenReleasedEarly,
    /// The successor of a running build does not wait for it.
    SuccessorDoesNotWait,
    /// That a dependency is satisfied is not stored, so a repeated completion counts twice.
    ReleaseNotRecorded,
    /// What waits for a failed build goes on waiting.
    FailedParentKeepsChildren,
    /// A cancelled build that is being submitted counts as ended at once.
    CancelOvertakesSubmit,
    /// An event ends with the first of its builds.
    EventEndsEarly,
    /// Messages are acknowledged before they are stored.
    AckBeforeStore,
    /// A message that comes twice is taken for two.
    NoDeduplication,
    /// What is unclear is sent again without a lookup.
    BlindRetry,
    /// The lookup does not wait for requests that are still on their way.
    NoSettle,
    /// Builds are not asked about.
    NoPolling,
    /// Limits of a build system are not counted.
    NoConcurrencyLimit,
    /// A build gets the contents that its parents had when it was planned.
    StaleParents,
    /// Notifications are counted as published although the bus never got them.
    NotificationsDropped,
    /// The end of a cancelled build is not asked for.
    CancelNotSent,
    /// A build counts as done as soon as it is submitted.
    DoneWhenSubmitted,
    /// The session of an unclear submission is not closed before the lookup.
    NoFence,
    /// The intent does not say in which session it is submitted.
    SessionNotStored,
    /// What the build system says it has built is believed.
    NotVerified,
    /// A build is submitted without asking whether what was prepared for it is still there.
    PreparedNotAsked,
    /// A commit whose outcome is not known counts as stored.
    UnclearTakenForStored,
    /// Pauses follow the date.
    PausesByDate,
    /// Calls have no time limit.
    NoTimeLimit,
    /// A bus waits for another one.
    BusesWait,
    /// A run that is over goes on writing.
    NotFenced,
    /// What a person has paused goes on.
    PausesNotAsked,
    /// Whichever build system has a build, the first one is asked about it.
    SystemsConfused,
    /// Builds are asked about on any host, wherever they run.
    HostsIgnored,
    /// A row that cannot be read hides all others.
    UnreadableStopsAll,
}

impl Fault {
    /// The commit as the faulty engine would have made it.
    pub(super) fn spoil(self, mut commit: Commit) -> Commit {
        match self {
            Self::NoConcurrencyLimit => commit.at_most.clear(),
            Self::NotFenced => commit.run = commit.run.filter(|_| needs_run(&commit.changes)),
            _ => commit.changes = commit.changes.into_iter().filter_map(|change| self.spoil_change(change)).collect(),
        }
        commit
    }

    /// The change as the faulty engine would have made it; `None` if it would have made none.
    fn spoil_change(self, mut change: RowChange) -> Option<RowChange> {
        match (self, &mut change) {
            (Self::ReleaseNotRecorded, RowChange::Dependency(edge)) if edge.satisfied => return None,
            (Self::SuccessorDoesNotWait, RowChange::Dependency(edge)) => {
                edge.satisfied |= edge.kind == DependencyKind::After;
            }
            (Self::NoDeduplication, RowChange::Receive(record)) => {
                record.message_id = format!("{}@{}", record.message_id, record.received_at);
            }
            (Self::EventEndsEarly, RowChange::Event { record, .. })
                if record.state == EventState::Building && record.builds_done > 0 =>
            {
                record.state = EventState::Complete;
                record.done_at = Some(record.created_at);
            }
            (Self::SessionNotStored, RowChange::Attempt { record, .. }) => record.session = None,
            (fault, RowChange::Build { record, expected, .. }) => spoil_build(fault, record, expected.is_none()),
            _ => {}
        }
        Some(change)
    }
}

/// Whether the storage asks for a run, to see whether it has claimed a message or publishes.
fn needs_run(changes: &[RowChange]) -> bool {
    changes.iter().any(|change| matches!(change, RowChange::Inbox(_) | RowChange::Position(_) | RowChange::Trim { .. }))
}

fn spoil_build(fault: Fault, build: &mut BuildRecord, new: bool) {
    match (fault, build.state) {
        (Fault::ChildrenReleasedEarly, BuildState::Blocked) if new => build.state = BuildState::Ready,
        (Fault::SuccessorDoesNotWait, BuildState::Blocked) if new && build.slot == BuildSlot::Successor => {
            build.state = BuildState::Ready;
        }
        (Fault::PreparedNotAsked, _) if new => {
            for parent in &mut build.parents {
                parent.kinds.retain(|kind| *kind != EdgeKind::Repository);
            }
        }
        (Fault::FailedParentKeepsChildren, BuildState::DependencyFailed) => {
            build.state = BuildState::Blocked;
            build.done_at = None;
        }
        (Fault::CancelOvertakesSubmit, BuildState::Submitting) if build.cancel_at.is_some() => {
            build.state = BuildState::Canceled;
            build.done_at = build.cancel_at;
        }
        (Fault::DoneWhenSubmitted, BuildState::Building) => {
            build.state = BuildState::Done;
            build.done_at = Some(build.created_at);
        }
        _ => {}
    }
}

#[derive(Debug)]
pub(super) struct FaultyClock {
    pub(super) inner: VirtualClock,
    pub(super) fault: Option<Fault>,
}

/// The time limits of an engine, by default: of a call and of a handler.
const TIME_LIMITS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(600)];

#[async_trait]
impl Clock for FaultyClock {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn elapsed(&self) -> Duration {
        match self.fault {
            Some(Fault::PausesByDate) => since(self.inner.now(), Timestamp::UNIX_EPOCH),
            _ => self.inner.elapsed(),
        }
    }

    async fn sleep(&self, duration: Duration) {
        match self.fault {
            Some(Fault::NoTimeLimit) if TIME_LIMITS.contains(&duration) => std::future::pending().await,
            _ => self.inner.sleep(duration).await,
        }
    }
}

#[derive(Debug)]
pub(super) struct FaultyBus {
    pub(super) inner: SimBus,
    pub(super) fault: Option<Fault>,
}

#[async_trait]
impl Bus for FaultyBus {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        let deliveries = self.inner.receive(limit).await?;
        if self.fault == Some(Fault::AckBeforeStore) {
            let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag).collect();
            self.inner.acknowledge(&tags).await?;
        }
        Ok(deliveries)
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.inner.acknowledge(tags).await
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        if self.fault == Some(Fault::NotificationsDropped) {
            return Ok(());
        }
        if self.fault == Some(Fault::BusesWait)
            && self.inner.number == 0
            && self.inner.shared.world().second_bus_is_down
        {
            return Err(Error::new(Remedy::Unavailable, "bus.publish", "it waits for the other one"));
        }
        self.inner.publish(message).await
    }
}

#[derive(Debug)]
pub(super) struct FaultyBuilds {
    pub(super) inner: SimBuilds,
    pub(super) fault: Option<Fault>,
}

#[async_trait]
impl BuildSystem for FaultyBuilds {
    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        if self.fault == Some(Fault::NoSettle) {
            return Capabilities { settle: Duration::ZERO, ..capabilities };
        }
        capabilities
    }

    async fn session(&self) -> Result<Option<SessionId>> {
        self.inner.session().await
    }

    fn is_here(&self, session: &SessionId) -> bool {
        self.fault == Some(Fault::HostsIgnored) || self.inner.is_here(session)
    }

    async fn fence(&self, session: &SessionId) -> Result<()> {
        if self.fault == Some(Fault::NoFence) {
            return Ok(());
        }
        self.inner.fence(session).await
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        if self.fault != Some(Fault::StaleParents) {
            return self.inner.submit(request).await;
        }
        let mut stale = request.clone();
        for parent in &mut stale.parents {
            if parent.id.as_str().starts_with("image") {
                parent.digest = Some(freshmaker::artifact::Digest::of(b"as it was planned"));
            }
        }
        self.inner.submit(&stale).await
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        let found = self.inner.find(request, since).await?;
        Ok(if self.fault == Some(Fault::BlindRetry) { Vec::new() } else { found })
    }

    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let found = match self.fault {
            Some(Fault::SystemsConfused) => self.inner.first().status(ids).await?,
            _ => self.inner.status(ids).await?,
        };
        Ok(if self.fault == Some(Fault::NoPolling) { Vec::new() } else { found })
    }

    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        if self.fault == Some(Fault::CancelNotSent) {
            return Ok(());
        }
        self.inner.cancel(id).await
    }
}

#[derive(Debug)]
pub(super) struct FaultyVerifier {
    pub(super) inner: SimVerifier,
    pub(super) fault: Option<Fault>,
}

#[async_trait]
impl Verifier for FaultyVerifier {
    async fn verify(&self, made: &Made) -> Result<Verification> {
        if self.fault == Some(Fault::NotVerified) {
            return Ok(Verification::Passed(None));
        }
        self.inner.verify(made).await
    }
}
