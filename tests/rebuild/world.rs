//! Rows in memory, and everything that must hold about them at any moment.

use freshmaker::Reason;
use freshmaker::artifact::Digest;
use freshmaker::plan::{Plan, RebuildReason};
use freshmaker::rebuild::{
    Actor, Admission, AttemptId, AttemptRecord, AttemptState, BuildId, BuildMode, BuildRecord, BuildSlot, BuildState,
    Commit, Dependency, Effect, EventId, EventRecord, EventState, ExternalId, Failure, FailureClass, IllegalInput,
    Input, Limits, Neighbourhood, NotAdmitted, Notification, Observed, Outcome, Output, QueuePositions, Rebuild,
    RowChange, RowKey, RunId, Transition,
};
use freshmaker::time::{Timestamp, from_micros, later};
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Envelope, Severity};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// A graph from `child: parent parent; child: parent`. What is nobody's child is external.
pub(crate) fn graph(text: &str) -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    let queues: Vec<_> = text.split(';').map(|line| line.split_once(':').unwrap()).collect();
    for parent in queues.iter().flat_map(|(_, parents)| parents.split_whitespace()) {
        graph.insert(Artifact::new(parent, ArtifactKind::Image).with_digest(digest(parent)));
    }
    for (child, _) in &queues {
        let child = child.trim();
        graph.insert(Artifact::new(child, ArtifactKind::Image).with_source(child, None).with_digest(digest(child)));
    }
    for (child, parents) in &queues {
        for parent in parents.split_whitespace() {
            graph.depend(child.trim(), parent, EdgeKind::ParentImage).unwrap();
        }
    }
    graph
}

/// The same graph, in which this artifact is described otherwise.
pub(crate) fn with(mut graph: ArtifactGraph, name: &str, change: impl FnOnce(Artifact) -> Artifact) -> ArtifactGraph {
    let artifact = graph.get(&name.into()).unwrap().clone();
    graph.insert(change(artifact));
    graph
}

pub(crate) fn failure(class: FailureClass) -> Observed {
    Observed::Failed(Failure::new(class, "it broke"))
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) rows: Neighbourhood,
    pub(crate) history: Vec<Transition>,
    pub(crate) notifications: Vec<Notification>,
    pub(crate) limits: Limits,
    pub(crate) run: RunId,
    pub(crate) at: Timestamp,
    /// Of the events to come.
    pub(crate) severity: Severity,
    last: i64,
    attempts: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            rows: Neighbourhood::default(),
            history: Vec::new(),
            notifications: Vec::new(),
            limits: Limits::default(),
            run: RunId(1),
            at: from_micros(1_764_000_000_000_000),
            severity: Severity::Moderate,
            last: 0,
            attempts: 0,
        }
    }

    /// A world in which these artifacts changed and what depends on them is planned.
    pub(crate) fn planned(text: &str, changed: &str) -> (Self, EventId) {
        let mut world = Self::new();
        let event = world.change(&graph(text), changed).unwrap();
        (world, event)
    }

    pub(crate) fn change(&mut self, graph: &ArtifactGraph, changed: &str) -> Result<EventId, NotAdmitted> {
        let ids: Vec<_> = changed.split_whitespace().map(ArtifactId::from).collect();
        let planner = ids.into_iter().fold(graph.planner(), |planner, id| planner.changed(id, None));
        self.admit(&planner.plan().unwrap())
    }

    pub(crate) fn request(&mut self, graph: &ArtifactGraph, name: &str) -> Result<EventId, NotAdmitted> {
        self.admit(&graph.planner().rebuild(name).plan().unwrap())
    }

    pub(crate) fn ask(
        &mut self,
        graph: &ArtifactGraph,
        name: &str,
        reason: RebuildReason,
    ) -> Result<EventId, NotAdmitted> {
        self.admit(&graph.planner().rebuild_as(name, reason, Reason::new("test", "the test wants it")).plan().unwrap())
    }

    pub(crate) fn admit(&mut self, plan: &Plan) -> Result<EventId, NotAdmitted> {
        let systems = plan.nodes().map(|node| (node.artifact.id.clone(), "builder".to_owned())).collect();
        self.decide(Outcome::Build { plan: Box::new(plan.clone()), systems })
    }

    pub(crate) fn admission(&mut self, outcome: Outcome) -> Admission {
        let event = EventId(self.last + 1);
        let mut queues = QueuePositions::default();
        for build in self.rows.builds.values() {
            match build.state {
                BuildState::Ready => queues.waits(&build.key.system, build.priority),
                BuildState::Submitting | BuildState::Building => queues.started(&build.key.system, build.priority),
                _ => {}
            }
        }
        self.last += 1 + i64::try_from(outcome.builds()).unwrap();
        Admission {
            event,
            first_build: BuildId(event.0 + 1),
            source: "bus".into(),
            message_id: format!("m{event}"),
            handler: "handler".into(),
            generation: 1,
            retry_of: None,
            envelope: Envelope {
                kind: "test".into(),
                search_key: "test".into(),
                manual: false,
                requester: None,
                severity: self.severity,
                payload: serde_json::Value::Null,
            },
            mode: BuildMode::Real,
            queues,
            outcome,
        }
    }

    pub(crate) fn decide(&mut self, outcome: Outcome) -> Result<EventId, NotAdmitted> {
        let admission = self.admission(outcome);
        let mut rebuild = self.rebuild();
        let admitted = rebuild.admit(&admission);
        let commit = rebuild.commit();
        if admitted.is_err() {
            assert_eq!(commit.changes, [], "what is not admitted changes nothing");
        }
        for rows in [1, 2, 3 + self.rows.builds.len() % 11] {
            let stepped = self.decide_in_steps(&admission, rows);
            assert_eq!(stepped, (admitted.clone(), commit.clone()), "steps of {rows} rows decide the same");
        }
        self.store(commit);
        admitted.map(|()| admission.event)
    }

    /// What is decided, and what would be committed, if the decision is interrupted many times.
    fn decide_in_steps(&self, admission: &Admission, rows: usize) -> (Result<(), NotAdmitted>, Commit) {
        let loaded = Neighbourhood { at: self.at, ..self.rows.clone() };
        let mut beginning = Rebuild::beginning(loaded, self.run);
        let mut rebuild = std::iter::repeat_with(|| beginning.step(rows)).find_map(ControlFlow::break_value).unwrap();
        let mut admitting = rebuild.admitting(admission);
        let admitted = std::iter::repeat_with(|| admitting.step(rows)).find_map(ControlFlow::break_value).unwrap();
        let mut committing = rebuild.committing();
        let commit = std::iter::repeat_with(|| committing.step(rows)).find_map(ControlFlow::break_value).unwrap();
        (admitted, commit)
    }

    /// Applies an input, and then once more to see that repeating it changes nothing.
    pub(crate) fn apply(&mut self, input: &Input) -> Result<(), IllegalInput> {
        let mut rebuild = self.rebuild();
        let applied = rebuild.apply(input, &self.limits);
        let commit = rebuild.commit();
        if applied.is_err() {
            assert_eq!(commit.changes, [], "{input:?} is illegal and changes something");
        }
        self.store(commit);
        // A lookup that begins again waits again, and one that failed again is put off again.
        if !matches!(input, Input::LookUp { .. } | Input::LookupFailed { .. }) {
            let mut again = self.rebuild();
            let _ = again.apply(input, &self.limits);
            assert_eq!(again.commit().changes, [], "{input:?} a second time changes something");
        }
        applied
    }

    /// The rows as a decision at this moment loads them.
    pub(crate) fn rebuild(&self) -> Rebuild {
        Rebuild::new(Neighbourhood { at: self.at, ..self.rows.clone() }, self.run)
    }

    /// Whether the second of two commits that were decided on the same rows is a conflict.
    pub(crate) fn conflicts(&self, one: &Commit, other: &Commit) -> bool {
        let written = |commit: &Commit| -> Vec<RowKey> {
            let keys = commit.changes.iter().filter_map(|change| match change {
                RowChange::Event { record, .. } => Some(RowKey::Event(record.id)),
                RowChange::Build { record, .. } => Some(RowKey::Build(record.id)),
                RowChange::Attempt { record, .. } => Some(RowKey::Attempt(record.id.clone())),
                _ => None,
            });
            keys.collect()
        };
        let rests_on: Vec<_> = other.unchanged.iter().map(|(key, _)| key.clone()).chain(written(other)).collect();
        let both_add = one.edges.is_some() && other.edges.is_some();
        both_add || written(one).iter().any(|key| rests_on.contains(key))
    }

    fn store(&mut self, commit: Commit) {
        let adds = |change: &RowChange| {
            matches!(change, RowChange::Dependency(row)
                if !row.satisfied && !self.rows.dependencies.contains_key(&(row.parent, row.child)))
        };
        assert_eq!(commit.edges, commit.changes.iter().any(adds).then_some(self.rows.edges), "the count of edges");
        self.rows.edges += u64::from(commit.edges.is_some());
        for change in commit.changes {
            match change {
                RowChange::Event { record, expected } => {
                    let old = self.rows.events.insert(record.id, *record.clone()).map(|old| old.version);
                    assert!(old == expected && record.version > expected.unwrap_or(0), "{record:?} over {old:?}");
                }
                RowChange::Build { record, expected, replanned } => {
                    let old = self.rows.builds.insert(record.id, *record.clone());
                    assert_eq!(replanned, old.as_ref().is_none_or(|old| !record.is_planned_as(old)), "{record:?}");
                    let old = old.map(|old| old.version);
                    assert!(old == expected && record.version > expected.unwrap_or(0), "{record:?} over {old:?}");
                }
                RowChange::Attempt { record, expected } => {
                    let old = self.rows.attempts.insert(record.id.clone(), *record.clone()).map(|old| old.version);
                    assert!(old == expected && record.version > expected.unwrap_or(0), "{record:?} over {old:?}");
                }
                RowChange::Dependency(row) => drop(self.rows.dependencies.insert((row.parent, row.child), row)),
                RowChange::Cause(row) => drop(self.rows.causes.insert((row.build, row.event), row)),
                RowChange::Plan { event, plan } => assert_eq!(self.rows.events[&event].plan, Some(plan.hash())),
                RowChange::Transition(row) => self.record(row),
                RowChange::Notification(notification) => self.notifications.push(notification),
                other => panic!("the state machine has no say in {other:?}"),
            }
        }
        self.check();
    }

    fn record(&mut self, row: Transition) {
        let mut before = self.history.iter().rev();
        let before = before.find(|before| before.of == row.of);
        assert_eq!(before.map(|before| &before.to), row.from.as_ref(), "{row:?}");
        assert!(before.is_none_or(|before| before.version < row.version), "{row:?} after {before:?}");
        if let Some(from) = &row.from {
            assert!(allowed(&row.of, from, &row.to), "{row:?} is not legal");
        }
        self.history.push(row);
    }

    fn check(&self) {
        for build in self.rows.builds.values() {
            self.check_build(build);
        }
        for event in self.rows.events.values() {
            self.check_event(event);
        }
    }

    fn check_build(&self, build: &BuildRecord) {
        let waits = self.rows.needs(build.id).filter(|edge| !edge.satisfied).count();
        assert_eq!(build.pending as usize, waits, "{build:?}");
        if !build.state.is_terminal() {
            assert_eq!(build.state == BuildState::Blocked, waits > 0, "{build:?}");
            let same = self.rows.builds.values().filter(|other| other.key == build.key && other.slot == build.slot);
            assert_eq!(same.filter(|other| !other.state.is_terminal()).count(), 1, "{build:?} has a double");
            assert!(build.slot == BuildSlot::Current || build.state == BuildState::Blocked, "{build:?}");
        }
        assert_eq!(build.state.is_terminal(), build.done_at.is_some(), "{build:?}");
        let live = self.rows.attempts.values().filter(|it| it.build == build.id && it.state.is_live()).count();
        let running = matches!(build.state, BuildState::Submitting | BuildState::Building | BuildState::Canceling);
        assert_eq!(live, usize::from(running), "{build:?}");
        let last = self.history.iter().rev().find(|row| row.of == RowKey::Build(build.id));
        assert_eq!(last.unwrap().to, build.state.as_str());
    }

    fn check_event(&self, event: &EventRecord) {
        let caused = self.rows.causes.values().filter(|cause| cause.event == event.id && cause.live);
        let states: Vec<_> = caused.map(|cause| self.rows.builds[&cause.build].state).collect();
        let count = |wanted: fn(&BuildState) -> bool| states.iter().filter(|state| wanted(state)).count();
        let counted = (event.builds_open as usize, event.builds_done as usize, event.builds_failed as usize);
        let expected = (
            count(|state| !state.is_terminal()),
            count(|state| state.is_success()),
            count(|state| state.is_terminal() && !state.is_success()),
        );
        assert_eq!(counted, expected, "{event:?}");
        assert_eq!(event.state.is_terminal(), event.builds_open == 0, "{event:?}");
        let ends = self.history.iter().filter(|row| row.of == RowKey::Event(event.id));
        let ends =
            ends.filter(|row| EventState::ALL.iter().any(|it| it.is_terminal() && it.as_str() == row.to)).count();
        assert_eq!(ends, usize::from(event.state.is_terminal()), "{event:?} ends once");
        let last = self.notifications.iter().rev().find(|it| it.of == RowKey::Event(event.id));
        assert_eq!(last.unwrap().body["state"], event.state.as_str());
    }

    /// The latest build of an artifact.
    pub(crate) fn build(&self, name: &str) -> &BuildRecord {
        self.rows.builds.values().rev().find(|build| build.key.artifact.as_str() == name).unwrap()
    }

    pub(crate) fn event(&self, id: EventId) -> &EventRecord {
        &self.rows.events[&id]
    }

    pub(crate) fn attempt(&self, name: &str) -> &AttemptRecord {
        let of = |wanted: fn(&AttemptRecord) -> bool| {
            let mut all = self.rows.attempts.values();
            all.find(|it| self.rows.builds[&it.build].key.artifact.as_str() == name && wanted(it))
        };
        of(|it| it.state.is_live()).or_else(|| of(|_| true)).unwrap()
    }

    pub(crate) fn dependency(&self, parent: BuildId, child: BuildId) -> &Dependency {
        &self.rows.dependencies[&(parent, child)]
    }

    /// States by artifact, as `name STATE`; of several builds of an artifact in their order.
    pub(crate) fn states(&self) -> Vec<String> {
        let mut states: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for build in self.rows.builds.values() {
            states.entry(build.key.artifact.as_str()).or_default().push(build.state.as_str());
        }
        states.into_iter().map(|(name, states)| format!("{name} {}", states.join(" "))).collect()
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.at = later(self.at, duration);
    }

    /// The first of many unused build numbers.
    pub(crate) fn unused(&mut self) -> BuildId {
        self.last += 100;
        BuildId(self.last - 99)
    }

    pub(crate) fn fresh(&mut self) -> AttemptId {
        self.attempts += 1;
        AttemptId::from_random(self.attempts)
    }

    /// Starts the build of an artifact; what became of it shows in its state.
    pub(crate) fn start(&mut self, name: &str) {
        let ready = self
            .rows
            .builds
            .values()
            .rev()
            .find(|build| build.key.artifact.as_str() == name && Effect::of_build(build) == Some(Effect::Start));
        let ready = ready.unwrap_or_else(|| panic!("{name} is not ready: {:?}", self.states())).clone();
        let build = ready.id;
        let attempt = self.fresh();
        if ready.may_be_reused() && self.apply(&Input::Reuse { build }).is_ok() {
            return;
        }
        self.apply(&Input::Start { build, attempt, session: None }).unwrap();
    }

    pub(crate) fn accept(&mut self, name: &str) {
        let attempt = self.attempt(name).id.clone();
        let external = ExternalId::new(format!("task-{attempt}"));
        self.apply(&Input::Accepted { attempt, external }).unwrap();
    }

    /// Starts the build and has it taken.
    pub(crate) fn run(&mut self, name: &str) {
        self.start(name);
        self.accept(name);
    }

    pub(crate) fn observe(&mut self, name: &str, observed: Observed) {
        let attempt = self.attempt(name).id.clone();
        self.apply(&Input::Observe { attempt, observed, verify: false }).unwrap();
    }

    pub(crate) fn succeed(&mut self, name: &str, content: &str) {
        let output = Output { name: name.into(), digest: Some(digest(content)), contents: None };
        self.observe(name, Observed::Succeeded(output));
    }

    /// Starts the build, has it taken and built.
    pub(crate) fn make(&mut self, name: &str, content: &str) {
        self.run(name);
        self.succeed(name, content);
    }

    pub(crate) fn fail(&mut self, name: &str, class: FailureClass) {
        self.observe(name, failure(class));
    }

    pub(crate) fn cancel(&mut self, event: EventId) {
        self.apply(&Input::Cancel { event, by: Actor::Person("somebody".into()), because: String::new() }).unwrap();
    }
}

fn allowed(of: &RowKey, from: &str, to: &str) -> bool {
    macro_rules! step {
        ($states:ty) => {{
            let state = |name| *<$states>::ALL.iter().find(|state| state.as_str() == name).unwrap();
            state(from).allows(state(to))
        }};
    }
    match of {
        RowKey::Event(_) => step!(EventState),
        RowKey::Build(_) => step!(BuildState),
        RowKey::Attempt(_) => step!(AttemptState),
    }
}

pub(crate) fn skip() -> Outcome {
    Outcome::Skip(Reason::new("skipped", "not today"))
}
