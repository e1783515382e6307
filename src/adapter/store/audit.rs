use crate::backend::Violation;
use crate::rebuild::{AttemptId, AttemptState, BuildId, BuildState, EventId, EventState, Version};
use std::collections::BTreeMap;
use std::fmt;

/// What the rules say something about, of an event.
#[derive(Clone, Copy, Debug)]
pub(in crate::adapter) struct EventFacts {
    pub(in crate::adapter) state: EventState,
    pub(in crate::adapter) version: Version,
    pub(in crate::adapter) builds_open: u32,
    pub(in crate::adapter) builds_done: u32,
    pub(in crate::adapter) builds_failed: u32,
}

/// What the rules say something about, of a build.
#[derive(Clone, Copy, Debug)]
pub(in crate::adapter) struct BuildFacts {
    pub(in crate::adapter) state: BuildState,
    pub(in crate::adapter) version: Version,
    pub(in crate::adapter) pending: u32,
    pub(in crate::adapter) done_at: bool,
}

/// What the rules say something about, of an attempt.
#[derive(Clone, Copy, Debug)]
pub(in crate::adapter) struct AttemptFacts {
    pub(in crate::adapter) state: AttemptState,
    pub(in crate::adapter) version: Version,
    pub(in crate::adapter) build: BuildId,
}

/// Takes rows one by one (events, builds and attempts before what refers to them) and compares them.
#[derive(Debug, Default)]
pub(in crate::adapter) struct Audit {
    events: BTreeMap<EventId, EventFacts>,
    builds: BTreeMap<BuildId, BuildFacts>,
    attempts: BTreeMap<AttemptId, AttemptFacts>,
    waits: BTreeMap<BuildId, u32>,
    live: BTreeMap<BuildId, u32>,
    counts: BTreeMap<EventId, (u32, u32, u32)>,
    trail: Option<Step>,
    violations: Vec<Violation>,
}

#[derive(Debug)]
struct Step {
    aggregate: String,
    id: String,
    version: Version,
    to: String,
}

impl Audit {
    pub(in crate::adapter) fn event(&mut self, id: EventId, facts: EventFacts) {
        self.events.insert(id, facts);
    }

    pub(in crate::adapter) fn build(&mut self, id: BuildId, facts: BuildFacts) {
        self.builds.insert(id, facts);
    }

    pub(in crate::adapter) fn attempt(&mut self, id: AttemptId, facts: AttemptFacts) {
        if facts.state.is_live() {
            *self.live.entry(facts.build).or_default() += 1;
        }
        self.attempts.insert(id, facts);
    }

    pub(in crate::adapter) fn dependency(&mut self, child: BuildId, satisfied: bool) {
        if !satisfied {
            *self.waits.entry(child).or_default() += 1;
        }
    }

    pub(in crate::adapter) fn cause(&mut self, build: BuildId, event: EventId, live: bool) {
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

    /// A row of the audit trail; rows come by aggregate, number and version.
    pub(in crate::adapter) fn transition(
        &mut self,
        (aggregate, id, version): (&str, &str, Version),
        from: Option<&str>,
        to: &str,
    ) {
        let last = self.trail.take();
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
        self.trail = Some(Step { aggregate, id, version, to });
    }

    pub(in crate::adapter) fn finish(mut self) -> Vec<Violation> {
        let last = self.trail.take();
        self.check_end(last.as_ref());
        self.check_builds();
        self.check_events();
        self.violations
    }
}

impl Audit {
    fn report(&mut self, rule: &str, text: impl fmt::Display) {
        self.violations.push(Violation { rule: rule.to_owned(), text: text.to_string() });
    }

    /// The last row of a trail agrees with the row it is about.
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
            None => self.report("transition_row", format!("{aggregate} {id}: has a trail, but no row")),
            Some((state, stored)) if state != to || stored < *version => {
                let text =
                    format!("{aggregate} {id}: trail ends in {to} version {version}, row is {state} version {stored}");
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
