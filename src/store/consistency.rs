use crate::backend::Violation;
use crate::rebuild::{AttemptId, AttemptState, BuildId, BuildState, EventId, EventState, Version};
use std::collections::BTreeMap;
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
/// Feed it all rows, each sort in one go: events, builds and attempts first, then what refers to
/// them. Transitions come in the order of aggregate, number and version. [`finish`](Self::finish)
/// returns what does not fit.
///
/// ```
/// use freshmaker::rebuild::{BuildId, BuildState};
/// use freshmaker::store::{BuildFacts, ConsistencyCheck};
///
/// let mut check = ConsistencyCheck::default();
/// let facts = BuildFacts { state: BuildState::Blocked, version: 1, pending: 1, done_at: false };
/// check.build(BuildId(7), facts);
/// let violations = check.finish();
/// assert!(violations.iter().any(|violation| violation.text.contains("7")), "it waits for nothing: {violations:?}");
/// ```
#[derive(Debug, Default)]
pub struct ConsistencyCheck {
    events: BTreeMap<EventId, EventFacts>,
    builds: BTreeMap<BuildId, BuildFacts>,
    attempts: BTreeMap<AttemptId, AttemptFacts>,
    waits: BTreeMap<BuildId, u32>,
    live: BTreeMap<BuildId, u32>,
    counts: BTreeMap<EventId, (u32, u32, u32)>,
    history: Option<Step>,
    violations: Vec<Violation>,
}

#[derive(Debug)]
struct Step {
    aggregate: String,
    id: String,
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

    /// Adds an attempt.
    pub fn attempt(&mut self, id: AttemptId, facts: AttemptFacts) {
        if facts.state.is_live() {
            *self.live.entry(facts.build).or_default() += 1;
        }
        self.attempts.insert(id, facts);
    }

    /// Adds a dependency of `child`.
    pub fn dependency(&mut self, child: BuildId, satisfied: bool) {
        if !satisfied {
            *self.waits.entry(child).or_default() += 1;
        }
    }

    /// Adds a cause of `build`; `live` if the event still wants it.
    pub fn cause(&mut self, build: BuildId, event: EventId, live: bool) {
        let Some(build) = self.builds.get(&build).filter(|_| live) else { return };
        let (open, done, failed) = self.counts.entry(event).or_default();
        if !build.state.is_terminal() {
            *open += 1;
        } else if build.state.is_success() {
            *done += 1;
        } else {
            *failed += 1;
        }
    }

    /// Adds a row of the history; rows come in the order of aggregate, number and version.
    pub fn transition(&mut self, (aggregate, id, version): (&str, &str, Version), from: Option<&str>, to: &str) {
        let last = self.history.take();
        let same = last.as_ref().is_some_and(|last| last.aggregate == aggregate && last.id == id);
        if !same {
            self.check_end(last.as_ref());
        }
        let before = last.filter(|_| same);
        let place = format!("{aggregate} {id} version {version}");
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
        if allowed(aggregate, from, to) == Some(false) {
            self.report("transition_legal", format!("{place}: {} -> {to}", from.unwrap_or("nothing")));
        }
        let (aggregate, id, to) = (aggregate.to_owned(), id.to_owned(), to.to_owned());
        self.history = Some(Step { aggregate, id, version, to });
    }

    /// Compares what was added, and returns what does not fit.
    #[must_use]
    pub fn finish(mut self) -> Vec<Violation> {
        let last = self.history.take();
        self.check_end(last.as_ref());
        self.check_builds();
        self.check_events();
        self.violations
    }
}

impl ConsistencyCheck {
    fn report(&mut self, rule: &str, text: impl fmt::Display) {
        self.violations.push(Violation { rule: rule.to_owned(), text: text.to_string() });
    }

    /// The last row of a history agrees with the row it is about.
    fn check_end(&mut self, last: Option<&Step>) {
        let Some(Step { aggregate, id, version, to }) = last else { return };
        let number = id.parse::<i64>().ok();
        let row = match aggregate.as_str() {
            "event" => number.and_then(|id| self.events.get(&EventId(id))).map(|row| (row.state.as_str(), row.version)),
            "build" => number.and_then(|id| self.builds.get(&BuildId(id))).map(|row| (row.state.as_str(), row.version)),
            "attempt" => self.attempts.get(&AttemptId::new(id.as_str())).map(|row| (row.state.as_str(), row.version)),
            _ => return,
        };
        match row {
            None => self.report("transition_row", format!("{aggregate} {id}: has a history, but no row")),
            Some((state, stored)) if state != to || stored < *version => {
                let text = format!(
                    "{aggregate} {id}: history ends in {to} version {version}, row is {state} version {stored}"
                );
                self.report("transition_state", text);
            }
            Some(_) => {}
        }
    }

    fn check_builds(&mut self) {
        for (id, build) in std::mem::take(&mut self.builds) {
            let waits = self.waits.get(&id).copied().unwrap_or(0);
            let live = self.live.get(&id).copied().unwrap_or(0);
            if build.pending != waits {
                self.report("pending", format!("build {id}: pending is {}, but it waits for {waits}", build.pending));
            }
            let blocked = build.state == BuildState::Blocked;
            if (blocked || build.state == BuildState::Ready) && blocked != (build.pending > 0) {
                self.report("blocked", format!("build {id}: {} with {} pending", build.state, build.pending));
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

/// Whether a step is legal; `None` if the aggregate has no rules.
fn allowed(aggregate: &str, from: Option<&str>, to: &str) -> Option<bool> {
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
    match aggregate {
        "event" => Some(allowed_in!(EventState)),
        "build" => Some(allowed_in!(BuildState)),
        "attempt" => Some(allowed_in!(AttemptState)),
        _ => None,
    }
}
