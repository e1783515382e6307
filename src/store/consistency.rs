//! The consistency check: compares stored rows with each other.
//!
//! A storage passes the columns that the rules compare, and the check reports each contradiction as
//! a violation with the name of the rule. It repairs nothing and writes nothing.
//!
//! | rule | what must hold |
//! |---|---|
//! | `pending` | `pending` of a build is the number of its unsatisfied dependencies |
//! | `blocked` | of the builds that have not started, exactly those with pending dependencies are `BLOCKED` |
//! | `one_live_attempt` | a build has at most one live attempt |
//! | `ended_live_attempt` | a build that has ended has no live attempt |
//! | `done_at` | exactly the builds that have ended have a moment of their end |
//! | `cause` | a build that has not ended, and is not to be cancelled, has an event that wants it |
//! | `cycle` | builds that have not ended do not wait for each other in a cycle |
//! | `counters` | the three counts of an event are those of the builds it is a live cause of |
//! | `event_open` | an event is `BUILDING` only while builds are open; an ended event has none open |
//! | `transition_chain` | each transition starts in the state in which the one before ended |
//! | `transition_version` | versions of the history of one row rise |
//! | `transition_legal` | each step is one that the state allows |
//! | `transition_row` | what has a history has a row |
//! | `transition_state` | the history ends in the state of the row, at no higher version |
//!
//! *Invariant:* rows that only commits have written violate no rule.
//!
//! All rows must be of one moment: between two moments a decision may have changed what both rows
//! are about, which looks like a contradiction.
//!
//! Cost: O(r log r) for r rows, with all events, builds and attempts in memory in short form; of
//! the history only the latest row is kept.
//!
//! Example: build 7 is stored as `BLOCKED` with pending 1, and its only dependency is satisfied.
//!
//! ```text
//! pending    build 7: pending is 1, but it waits for 0
//! ```
//!
//! `blocked` is not violated: that rule compares the state with the stored count.

use crate::backend::Violation;
use crate::graph::KeyedGraph;
use crate::rebuild::{AttemptId, AttemptState, BuildId, BuildState, EventId, EventState, RowKey, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The columns of an event that the rules compare.
#[derive(Clone, Copy, Debug)]
pub struct EventFacts {
    /// Its state.
    pub state: EventState,
    /// Its version.
    pub version: Version,
    /// The stored count of its builds that have not ended.
    pub builds_open: u32,
    /// The stored count of its builds that ended well.
    pub builds_done: u32,
    /// The stored count of its builds that ended otherwise.
    pub builds_failed: u32,
}

/// The columns of a build that the rules compare.
#[derive(Clone, Copy, Debug)]
pub struct BuildFacts {
    /// Its state.
    pub state: BuildState,
    /// Its version.
    pub version: Version,
    /// The stored count of its dependencies that are not satisfied.
    pub pending: u32,
    /// Whether the row says when the build ended.
    pub done_at: bool,
    /// Whether the row says that the build is to be cancelled.
    pub canceled: bool,
}

/// The columns of an attempt that the rules compare.
#[derive(Clone, Copy, Debug)]
pub struct AttemptFacts {
    /// Its state.
    pub state: AttemptState,
    /// Its version.
    pub version: Version,
    /// The build that it is an attempt of.
    pub build: BuildId,
}

/// Compares stored rows with each other: the consistency check of every storage.
///
/// Add all rows of one moment, each sort as a whole: events, builds and attempts first, then what
/// refers to them. Transitions of one row come together, in the order of their versions.
/// [`finish`](Self::finish) returns what does not fit.
///
/// ```
/// use freshmaker::rebuild::{BuildId, BuildState};
/// use freshmaker::store::{BuildFacts, ConsistencyCheck};
///
/// let mut check = ConsistencyCheck::default();
/// let facts = BuildFacts { state: BuildState::Blocked, version: 1, pending: 1, done_at: false, canceled: false };
/// check.build(BuildId(7), facts);
/// let violations = check.finish();
/// assert!(violations.iter().any(|violation| violation.text.contains("7")), "it waits for nothing: {violations:?}");
/// ```
#[derive(Debug, Default)]
pub struct ConsistencyCheck {
    events: BTreeMap<EventId, EventFacts>,
    builds: BTreeMap<BuildId, BuildFacts>,
    attempts: BTreeMap<AttemptId, AttemptFacts>,
    /// Unsatisfied dependencies: child and parent.
    waits: BTreeSet<(BuildId, BuildId)>,
    /// The builds that an event wants.
    wanted: BTreeSet<BuildId>,
    live: BTreeMap<BuildId, u32>,
    counts: BTreeMap<EventId, (u32, u32, u32)>,
    unreadable: BTreeSet<RowKey>,
    history: Option<Step>,
    violations: Vec<Violation>,
}

/// The latest row of the history, with which the next one is compared.
#[derive(Debug)]
struct Step {
    of: RowKey,
    version: Version,
    to: String,
}

impl ConsistencyCheck {
    /// Adds an event.
    pub fn event(&mut self, id: EventId, facts: EventFacts) {
        self.events.insert(id, facts);
    }

    /// Adds a build.
    pub fn build(&mut self, id: BuildId, facts: BuildFacts) {
        self.builds.insert(id, facts);
    }

    /// Adds an attempt. Live attempts are counted for their build.
    pub fn attempt(&mut self, id: AttemptId, facts: AttemptFacts) {
        if facts.state.is_live() {
            *self.live.entry(facts.build).or_default() += 1;
        }
        self.attempts.insert(id, facts);
    }

    /// Adds a row that is there and cannot be read, in the place of its facts: nothing is said
    /// about it, but what refers to it refers to a row.
    pub fn unreadable(&mut self, row: RowKey) {
        self.unreadable.insert(row);
    }

    /// Adds a dependency of `child` on `parent`. Unsatisfied ones are counted for the child.
    pub fn dependency(&mut self, child: BuildId, parent: BuildId, satisfied: bool) {
        if !satisfied {
            self.waits.insert((child, parent));
        }
    }

    /// Adds a cause of `build`; `live` if the event still wants it. All builds must have been added
    /// before.
    ///
    /// The build counts for the event as open, done or failed, by its state. A cause that is not
    /// live, or whose build was not added, counts nothing.
    pub fn cause(&mut self, build: BuildId, event: EventId, live: bool) {
        let Some(facts) = self.builds.get(&build).filter(|_| live) else { return };
        self.wanted.insert(build);
        let (open, done, failed) = self.counts.entry(event).or_default();
        if !facts.state.is_terminal() {
            *open += 1;
        } else if facts.state.is_success() {
            *done += 1;
        } else {
            *failed += 1;
        }
    }

    /// Adds a row of the history of an event, a build or an attempt, and compares it with the one
    /// before. All rows of one history come together and in the order of their versions, after all
    /// events, builds and attempts.
    pub fn transition(&mut self, of: RowKey, version: Version, from: Option<&str>, to: &str) {
        let last = self.history.take();
        let same = last.as_ref().is_some_and(|last| last.of == of);
        if !same {
            self.check_end(last.as_ref());
        }
        let before = last.filter(|_| same);
        let place = format!("{of} version {version}");
        let expected = before.as_ref().map(|last| last.to.as_str());
        if from != expected {
            let (from, expected) = (from.unwrap_or("nothing"), expected.unwrap_or("nothing"));
            self.report(
                "transition_chain",
                format!("{place}: comes from {from}, but the row before ends in {expected}"),
            );
        }
        if before.is_some_and(|last| last.version >= version) {
            self.report("transition_version", format!("{place}: not higher than the one before"));
        }
        if !allowed(&of, from, to) {
            self.report("transition_legal", format!("{place}: {} -> {to}", from.unwrap_or("nothing")));
        }
        self.history = Some(Step { of, version, to: to.to_owned() });
    }

    /// Compares what was added, and returns all violations. The list is empty if everything fits.
    #[must_use]
    pub fn finish(mut self) -> Vec<Violation> {
        let last = self.history.take();
        self.check_end(last.as_ref());
        self.check_cycles();
        self.check_builds();
        self.check_events();
        self.violations
    }
}

impl ConsistencyCheck {
    fn report(&mut self, rule: &str, text: impl fmt::Display) {
        self.violations.push(Violation { rule: rule.to_owned(), text: text.to_string() });
    }

    /// Compares the last transition of a history with the row that it is about. The row may have a
    /// higher version, because changes that leave the state as it is make no transition.
    fn check_end(&mut self, last: Option<&Step>) {
        let Some(Step { of, version, to }) = last else { return };
        let row = match of {
            RowKey::Event(id) => self.events.get(id).map(|row| (row.state.as_str(), row.version)),
            RowKey::Build(id) => self.builds.get(id).map(|row| (row.state.as_str(), row.version)),
            RowKey::Attempt(id) => self.attempts.get(id).map(|row| (row.state.as_str(), row.version)),
        };
        match row {
            None if self.unreadable.contains(of) => {}
            None => self.report("transition_row", format!("{of}: has a history, but no row")),
            Some((state, stored)) if state != to || stored < *version => {
                let text = format!("{of}: history ends in {to} version {version}, row is {state} version {stored}");
                self.report("transition_state", text);
            }
            Some(_) => {}
        }
    }

    /// Looks for builds that wait for each other.
    fn check_cycles(&mut self) {
        let open = |id: &BuildId| self.builds.get(id).is_some_and(|build| !build.state.is_terminal());
        let edges = self.waits.iter().filter(|(child, parent)| open(child) && open(parent));
        let edges: Vec<_> = edges.map(|(child, parent)| (*parent, *child)).collect();
        for (build, _) in edges.iter().filter(|(parent, child)| parent == child) {
            self.report("cycle", format!("build {build} waits for itself"));
        }
        for cycle in KeyedGraph::new([], edges).cycles() {
            let members: Vec<_> = cycle.iter().map(ToString::to_string).collect();
            self.report("cycle", format!("builds {} wait for each other", members.join(", ")));
        }
    }

    /// Compares each build with the number of its unsatisfied dependencies and live attempts.
    fn check_builds(&mut self) {
        for (id, build) in std::mem::take(&mut self.builds) {
            let waits = self.waits.range((id, BuildId(i64::MIN))..=(id, BuildId(i64::MAX))).count() as u64;
            let live = self.live.get(&id).copied().unwrap_or(0);
            if u64::from(build.pending) != waits {
                self.report("pending", format!("build {id}: pending is {}, but it waits for {waits}", build.pending));
            }
            let blocked = build.state == BuildState::Blocked;
            if (blocked || build.state == BuildState::Ready) && blocked != (build.pending > 0) {
                self.report("blocked", format!("build {id}: {} with {} pending", build.state, build.pending));
            }
            if !build.state.is_terminal() && !build.canceled && !self.wanted.contains(&id) {
                self.report("cause", format!("build {id}: {}, and no event wants it", build.state));
            }
            if live > 1 {
                self.report("one_live_attempt", format!("build {id}: {live} live attempts"));
            }
            if build.state.is_terminal() && live > 0 {
                self.report("ended_live_attempt", format!("build {id}: {}, with a live attempt", build.state));
            }
            if build.state.is_terminal() != build.done_at {
                let not = if build.done_at { "" } else { "not " };
                self.report("done_at", format!("build {id}: {}, its end is {not}stored", build.state));
            }
        }
    }

    /// Compares the counts of each event with the builds that it is a live cause of.
    fn check_events(&mut self) {
        for (id, event) in std::mem::take(&mut self.events) {
            let stored = (event.builds_open, event.builds_done, event.builds_failed);
            let counted = self.counts.get(&id).copied().unwrap_or_default();
            if stored != counted {
                let text = format!("event {id}: (open, done, failed) are {stored:?}, but its builds are {counted:?}");
                self.report("counters", text);
            }
            let building = event.state == EventState::Building;
            if (building && event.builds_open == 0) || (event.state.is_terminal() && event.builds_open > 0) {
                self.report("event_open", format!("event {id}: {} with {} open", event.state, event.builds_open));
            }
        }
    }
}

/// Returns whether a step of such a row is legal; the first state of a row may be any. An unknown
/// name of a state is not legal.
fn allowed(of: &RowKey, from: Option<&str>, to: &str) -> bool {
    macro_rules! allowed_in {
        ($state:ident) => {{
            let state = |text: &str| $state::ALL.iter().copied().find(|state| state.as_str() == text);
            match (from, state(to)) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(from), Some(to)) => state(from).is_some_and(|from| from.allows(to)),
            }
        }};
    }
    match of {
        RowKey::Event(_) => allowed_in!(EventState),
        RowKey::Build(_) => allowed_in!(BuildState),
        RowKey::Attempt(_) => allowed_in!(AttemptState),
    }
}
