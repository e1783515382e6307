//! Forecast of what is under way: plays the open builds through the real schedule, from the present
//! moment on.
//!
//! Reads rows that were loaded before. A running build counts against the concurrency limit for the
//! rest of its estimate; a waiting build starts when everything it waits for has ended, not before
//! its back-off is over, in the order of the stored priorities and within the limits that are
//! given.
//!
//! | build | is played as |
//! |---|---|
//! | submitted or running | counts against the limit for the rest of its estimate |
//! | overdue | counts against the limit for another tenth of the time that it has run, at least 60 s |
//! | verified | does not count against the limit, ends in 60 s |
//! | being stopped | counts against the limit, ends in 60 s |
//! | ready or blocked | waits, and then takes its estimate |
//! | of a paused build system, or needs the decision of a person | has no expected time |
//! | waits for a build without an expected time, or for one that was not read | has no expected time |
//!
//! It is an expectation: retries, later events and the start of engines are not foreseen.
//!
//! Cost: O((n + m) log n) for n builds and m dependencies.
//!
//! *Invariant:* no expected end is before the moment of the forecast. *Invariant:* equal rows and
//! limits give equal forecasts.

use super::forecast::{Begin, Follow, Simulation, Task};
use super::open::{Numbered, OpenBuilds, expected};
use super::record::{BuildId, BuildRecord, EventId};
use super::schedule::ConcurrencyLimits;
use super::state::BuildState;
use crate::time::{Timestamp, later, since};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// When open builds are expected to start and end, by [`OpenBuilds::forecast`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveForecast {
    at: Timestamp,
    complete: bool,
    builds: BTreeMap<BuildId, ExpectedBuild>,
    events: BTreeMap<EventId, Vec<BuildId>>,
    systems: BTreeMap<String, Option<Timestamp>>,
}

/// When a build is expected to start and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExpectedBuild {
    /// When it starts. Of a build that runs: when it was submitted.
    pub start: Option<Timestamp>,
    /// When it ends: never before the moment of the forecast. `None` if it waits for a person, for
    /// a paused build system, or for a build without an expected time.
    pub end: Option<Timestamp>,
    /// Whether it has run for longer than was estimated.
    pub overdue: bool,
    /// What has to end right before it can start. `None` if it runs, or could start now.
    pub follows: Option<Follows>,
}

/// What has to end right before a build can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Follows {
    /// A build that it waits for.
    Dependency(BuildId),
    /// A build whose end makes room for it within the limit.
    Slot(BuildId),
}

impl Follows {
    /// Returns which build that is.
    #[must_use]
    pub fn build(self) -> BuildId {
        match self {
            Self::Dependency(build) | Self::Slot(build) => build,
        }
    }
}

/// When an event is expected to end, by [`LiveForecast::event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EventForecast {
    /// The moment of the forecast.
    pub at: Timestamp,
    /// When the last of its builds ends. `None` if some of them have no expected time.
    pub end: Option<Timestamp>,
    /// When the last of those builds ends that have an expected time.
    pub known_end: Option<Timestamp>,
    /// Its builds that have not ended.
    pub open: usize,
    /// Those of them without an expected time, because they wait for a person, for a paused build
    /// system, or for such a build.
    pub unknown: usize,
    /// Those of them that have run for longer than was estimated.
    pub overdue: usize,
    /// The critical path: the builds that decide on `known_end`, in the order in which they end.
    /// Each one follows the one before it, as a dependency or because the limit is reached until
    /// then; so builds of other events may be among them. The first one runs, or could start now.
    pub critical_path: Vec<BuildId>,
}

impl OpenBuilds {
    /// Plays the open builds through the schedule that the engine uses.
    ///
    /// The limits are not stored, because each engine has its own configuration:
    /// [`ConcurrencyLimits::default`] allows [10](ConcurrencyLimits::DEFAULT) live attempts of each
    /// build system. A build system whose limit is 0 starts nothing.
    ///
    /// See [`remaining`](OpenBuilds::remaining) for builds that take longer than was estimated.
    #[must_use]
    pub fn forecast(&self, limits: &ConcurrencyLimits) -> LiveForecast {
        let Numbered { builds, waits, cut } = Numbered::of(self);
        let tasks: Vec<_> = builds.iter().map(|build| self.task(build)).collect();
        let priorities: Vec<_> = builds.iter().map(|build| build.priority).collect();
        let begin = builds.iter().zip(cut).map(|(build, cut)| self.begin(build, cut));
        let begin: Vec<_> = begin.collect();
        let played = Simulation::new(&tasks, &waits, &priorities, &begin, limits).play();
        let mut forecast = LiveForecast { at: self.at, complete: self.complete, ..LiveForecast::default() };
        for (build, played) in builds.iter().zip(played) {
            if build.state.is_terminal() {
                continue;
            }
            let started = self.attempts.get(&build.id).map(|attempt| attempt.intent_at);
            let expected = ExpectedBuild {
                start: started.or(played.map(|played| later(self.at, played.span.start))),
                end: played.map(|played| later(self.at, played.span.end)),
                overdue: is_submitted(build) && self.remaining(build).1,
                follows: played.and_then(|played| played.follows).map(|follow| match follow {
                    Follow::Parent(parent) => Follows::Dependency(builds[parent as usize].id),
                    Follow::Slot(other) => Follows::Slot(builds[other as usize].id),
                }),
            };
            forecast.builds.insert(build.id, expected);
            let drained = forecast.systems.entry(build.key.system.clone()).or_insert(Some(self.at));
            *drained = drained.and_then(|drained| Some(drained.max(expected.end?)));
        }
        for cause in self.causes.iter().filter(|cause| cause.live && forecast.builds.contains_key(&cause.build)) {
            forecast.events.entry(cause.event).or_default().push(cause.build);
        }
        forecast
    }

    fn task<'a>(&self, build: &'a BuildRecord) -> Task<'a> {
        let estimate = expected(build);
        let runs = is_submitted(build) || build.state == BuildState::Verifying;
        let duration = if runs { self.remaining(build).0 } else { estimate };
        Task { system: &build.key.system, estimate, duration }
    }

    fn begin(&self, build: &BuildRecord, cut: bool) -> Begin {
        let live = self.attempts.contains_key(&build.id);
        match build.state {
            BuildState::Verifying | BuildState::Canceling => Begin::Runs { counts: live },
            _ if is_submitted(build) && self.needs_decision(build.id) => Begin::Held { counts: live },
            _ if is_submitted(build) => Begin::Runs { counts: live },
            BuildState::Ready | BuildState::Blocked if !cut && !self.paused.contains_key(&build.key.system) => {
                let until = build.not_before.filter(|_| build.state == BuildState::Ready);
                Begin::Waits(until.map_or(Duration::ZERO, |until| since(until, self.at)))
            }
            _ => Begin::Held { counts: false },
        }
    }
}

/// Returns whether the build system has the build, or may have it.
fn is_submitted(build: &BuildRecord) -> bool {
    matches!(build.state, BuildState::Submitting | BuildState::Building | BuildState::Canceling)
}

impl LiveForecast {
    /// Returns the moment for which it was made.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns whether all open builds were played. If not, real ends are later than these.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Returns the open builds, each with its expected time.
    #[must_use]
    pub fn builds(&self) -> &BTreeMap<BuildId, ExpectedBuild> {
        &self.builds
    }

    /// Returns when a build is expected to start and end; `None` if it is not open.
    #[must_use]
    pub fn build(&self, id: BuildId) -> Option<&ExpectedBuild> {
        self.builds.get(&id)
    }

    /// Returns the build systems that have open builds, each with the moment at which the last of
    /// these ends: `None` if some have no expected time.
    #[must_use]
    pub fn systems(&self) -> &BTreeMap<String, Option<Timestamp>> {
        &self.systems
    }

    /// Returns when an event is expected to end, and its critical path; `None` if it has no open
    /// build. Cost: linear in its open builds and in the critical path.
    #[must_use]
    pub fn event(&self, id: EventId) -> Option<EventForecast> {
        let builds = self.events.get(&id)?;
        let expected = || builds.iter().filter_map(|build| Some((*build, self.builds.get(build)?)));
        let unknown = expected().filter(|(_, build)| build.end.is_none()).count();
        // Of equal ends the lower number, so that the path does not change without a reason.
        let last = expected().filter_map(|(id, build)| Some((build.end?, std::cmp::Reverse(id)))).max();
        let known_end = last.map(|(end, _)| end);
        Some(EventForecast {
            at: self.at,
            end: known_end.filter(|_| unknown == 0),
            known_end,
            open: builds.len(),
            unknown,
            overdue: expected().filter(|(_, build)| build.overdue).count(),
            critical_path: last.map_or_else(Vec::new, |(_, std::cmp::Reverse(last))| self.path_to(last)),
        })
    }

    /// Returns the builds that decide when this one ends, in the order in which they end; the last
    /// is the build itself.
    #[must_use]
    pub fn path_to(&self, build: BuildId) -> Vec<BuildId> {
        let follows = |id: &BuildId| Some(self.builds.get(id)?.follows?.build());
        // What a build follows ends before the build starts, so no build is there twice; the bound
        // holds whatever the rows say.
        let mut path: Vec<_> = std::iter::successors(Some(build), follows).take(self.builds.len()).collect();
        path.reverse();
        path
    }
}
