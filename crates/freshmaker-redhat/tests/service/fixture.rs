//! The database with which the service Freshmaker was recorded, as rows of ours.

use freshmaker::artifact::{ArtifactKind, Parameters, Source};
use freshmaker::backend::Storage;
use freshmaker::event::Envelope;
use freshmaker::plan::PlanParent;
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, BuildState, Cause,
    Commit, Dependency, DependencyKind, EventId, EventRecord, EventState, ExternalId, Neighbourhood, Output, RowChange,
};
use freshmaker::time::Timestamp;
use freshmaker::{EdgeKind, Reason, RebuildReason};
use serde_json::{Value, json};

pub(crate) fn at(value: &Value) -> Option<Timestamp> {
    value.as_str().map(|text| text.parse().unwrap())
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn reason(value: &Value) -> Reason {
    Reason::new("recorded", text(value))
}

pub(crate) fn number(value: &Value) -> i16 {
    i16::try_from(value.as_i64().unwrap_or_default()).unwrap()
}

pub(crate) fn event(row: &Value) -> EventRecord {
    let requested: Vec<_> = text(&row["requested_rebuilds"]).split_whitespace().map(str::to_owned).collect();
    let metadata: Value = row["requester_metadata"].as_str().map_or(Value::Null, |text| text.parse().unwrap());
    let kinds =
        [(8, "ErrataRPMAdvisoryShippedEvent"), (13, "freshmaker.manual-rebuild"), (14, "freshmaker.async-build")];
    EventRecord {
        id: EventId(row["id"].as_i64().unwrap()),
        version: 3,
        state: EventState::from_number(number(&row["state"])).unwrap(),
        source: "recorded".into(),
        message_id: text(&row["message_id"]),
        handler: "recorded".into(),
        generation: 1,
        retry_of: None,
        envelope: Envelope {
            kind: kinds.iter().find(|(number, _)| row["event_type_id"] == *number).unwrap().1.into(),
            search_key: text(&row["search_key"]),
            manual: row["manual_triggered"] == true,
            requester: row["requester"].as_str().map(str::to_owned),
            severity: Default::default(),
            payload: json!({ "container_images": requested, "metadata": metadata }),
        },
        mode: if row["dry_run"] == true { BuildMode::DryRun } else { BuildMode::Real },
        reason: Reason::new(row["reason_code"].as_str().unwrap_or("recorded"), text(&row["state_reason"])),
        plan: None,
        builds_open: 0,
        builds_done: 0,
        builds_failed: 0,
        cancel_at: None,
        created_at: at(&row["time_created"]).unwrap(),
        done_at: at(&row["time_done"]),
    }
}

pub(crate) fn build(id: i64, artifact: &str, kind: ArtifactKind, state: BuildState) -> BuildRecord {
    let key =
        BuildKey { system: "koji".into(), artifact: artifact.into(), target: String::new(), mode: BuildMode::Real };
    BuildRecord {
        id: BuildId(id),
        version: 1,
        state,
        key,
        slot: BuildSlot::Current,
        kind,
        source: None,
        parameters: Parameters::default(),
        parents: Vec::new(),
        demands: Default::default(),
        because: RebuildReason::Unknown,
        asked: false,
        inputs: None,
        pending: 0,
        priority: 0,
        estimate: None,
        attempts: 1,
        tries: 1,
        resubmits: 0,
        no_cache: false,
        release: None,
        not_before: None,
        reason: Reason::new("planned", ""),
        output: None,
        cancel_at: None,
        created_at: at(&json!("2026-01-10T08:01:00Z")).unwrap(),
        done_at: None,
    }
}

pub(crate) fn parent(id: &str, kind: EdgeKind) -> PlanParent {
    PlanParent { id: id.into(), kinds: [kind].into(), digest: None, name: None }
}

pub(crate) fn named(name: &str) -> Option<Output> {
    Some(Output { name: name.to_owned(), digest: None, contents: None })
}

pub(crate) fn recorded_build(row: &Value) -> BuildRecord {
    let states =
        [BuildState::Building, BuildState::Done, BuildState::Failed, BuildState::Canceled, BuildState::Blocked];
    let state = states.into_iter().find(|state| state.public().number() == number(&row["state"])).unwrap();
    let mut build = build(row["id"].as_i64().unwrap(), &text(&row["original_nvr"]), ArtifactKind::Image, state);
    let args: Value = row["build_args"].as_str().map_or(Value::Null, |text| text.parse().unwrap());
    build.key.target = text(&args["target"]);
    build.source = args["repository"]
        .as_str()
        .map(|place| Source { location: place.to_owned(), revision: args["commit"].as_str().map(str::to_owned) });
    for (ours, theirs) in [("git_branch", "branch"), ("arch_override", "arches")] {
        args[theirs].as_str().into_iter().for_each(|value| build.parameters.insert(ours, value));
    }
    for flag in ["flatpak", "isolated"] {
        args[flag].as_bool().into_iter().for_each(|value| build.parameters.insert(flag, value));
    }
    if args.is_object() {
        build.parameters.insert("compose_ids", ["7001", "7002"]);
    }
    build.parents.extend(args["original_parent"].as_str().map(|nvr| parent(nvr, EdgeKind::ParentImage)));
    build.because = RebuildReason::from_number(number(&row["rebuild_reason"])).unwrap();
    build.reason = reason(&row["state_reason"]);
    build.output = row["rebuilt_nvr"].as_str().filter(|_| state == BuildState::Done).and_then(named);
    build.done_at = at(&row["time_completed"]);
    build
}

pub(crate) fn attempt(id: &str, build: i64, number: u32, external: Option<&str>) -> AttemptRecord {
    AttemptRecord {
        id: AttemptId::new(id),
        version: 1,
        state: AttemptState::Bound,
        build: BuildId(build),
        system: "koji".into(),
        number,
        run: freshmaker::rebuild::RunId(1),
        release: "1".into(),
        session: None,
        intent_at: Timestamp::MIN_UTC,
        external: external.map(ExternalId::new),
        observed_at: None,
        reason: Reason::new("running", ""),
        deadline: None,
        not_before: None,
    }
}

#[derive(Default)]
pub(crate) struct Rows(pub(crate) Neighbourhood);

impl Rows {
    pub(crate) fn depend(&mut self, child: i64, parent: i64, kind: DependencyKind) {
        let (parent, child) = (BuildId(parent), BuildId(child));
        self.0.dependencies.insert((parent, child), Dependency { parent, child, kind, satisfied: true });
    }

    pub(crate) fn cause(&mut self, build: i64, event: i64, live: bool) {
        let (build, event) = (BuildId(build), EventId(event));
        self.0.causes.insert((build, event), Cause { build, event, because: Vec::new(), live });
    }

    pub(crate) fn add(&mut self, build: BuildRecord) {
        self.0.builds.insert(build.id, build);
    }

    pub(crate) fn attempt(&mut self, attempt: AttemptRecord) {
        self.0.attempts.insert(attempt.id.clone(), attempt);
    }
}

/// The facts of the recorded service as rows of ours: composes are builds of repositories.
pub(crate) fn rows(fixture: &Value) -> Neighbourhood {
    let mut rows = Rows::default();
    let list = |name: &str| fixture[name].as_array().unwrap().clone();
    rows.0.events = list("events").iter().map(|row| (EventId(row["id"].as_i64().unwrap()), event(row))).collect();
    for row in list("event_dependencies") {
        let event = rows.0.events.get_mut(&EventId(row["event_id"].as_i64().unwrap())).unwrap();
        event.envelope.payload["freshmaker_event_id"] = row["event_dependency_id"].clone();
    }
    for compose in list("composes") {
        let id = 1000 + compose["id"].as_i64().unwrap();
        let mut build = build(id, &format!("compose {id}"), ArtifactKind::Repository, BuildState::Done);
        build.output = named(&compose["odcs_compose_id"].to_string());
        rows.add(build);
    }
    for row in list("artifact_build_composes") {
        let compose = 1000 + row["compose_id"].as_i64().unwrap();
        rows.depend(row["build_id"].as_i64().unwrap(), compose, DependencyKind::Needs);
    }
    for row in list("artifact_builds") {
        let id = row["id"].as_i64().unwrap();
        rows.add(recorded_build(&row));
        rows.cause(id, row["event_id"].as_i64().unwrap(), true);
        row["dep_on_id"].as_i64().into_iter().for_each(|parent| rows.depend(id, parent, DependencyKind::Needs));
        let task = row["build_id"].as_i64().map(|task| task.to_string());
        rows.attempt(attempt(&format!("attempt {id}"), id, 1, task.as_deref()));
    }
    rows.0
}

/// Stores the rows of the fixture, with what a storage has besides: counts, states of attempts, and
/// which events caused a compose.
pub(crate) async fn store(storage: &dyn Storage, fixture: &Value) {
    storage.upkeep().migrate().await.unwrap();
    // The numbers after those of the fixture are free.
    storage.reserve(2000).await.unwrap();
    let mut rows = rows(fixture);
    let states: std::collections::BTreeMap<_, _> = rows.builds.values().map(|build| (build.id, build.state)).collect();
    let mut causes = rows.causes.clone();
    for need in rows.dependencies.values_mut() {
        need.satisfied = states[&need.parent].is_success();
        rows.builds.get_mut(&need.child).unwrap().pending += u32::from(!need.satisfied);
        let wanted = rows.causes.values().filter(|cause| cause.build == need.child && need.parent.0 > 1000);
        let wanted = wanted.map(|cause| Cause { build: need.parent, ..cause.clone() });
        causes.extend(wanted.map(|cause| ((cause.build, cause.event), cause)));
    }
    for event in rows.events.values_mut() {
        let caused = causes.values().filter(|cause| cause.event == event.id).map(|cause| states[&cause.build]);
        let caused: Vec<_> = caused.collect();
        let count =
            |fits: &dyn Fn(BuildState) -> bool| caused.iter().filter(|state| fits(**state)).count().try_into().unwrap();
        event.builds_open = count(&|state| !state.is_terminal());
        event.builds_done = count(&|state| state.is_success());
        event.builds_failed = count(&|state| state == BuildState::Failed);
    }
    let mut changes: Vec<_> =
        rows.events.into_values().map(|row| RowChange::Event { record: Box::new(row), expected: None }).collect();
    let build = |row| RowChange::Build { record: Box::new(row), expected: None, replanned: true };
    changes.extend(rows.builds.into_values().map(build));
    for mut row in rows.attempts.into_values().filter(|row| row.external.is_some()) {
        row.state = match states[&row.build] {
            BuildState::Done => AttemptState::Succeeded,
            BuildState::Failed => AttemptState::Failed,
            _ => AttemptState::Bound,
        };
        changes.push(RowChange::Attempt { record: Box::new(row), expected: None });
    }
    changes.extend(rows.dependencies.into_values().map(RowChange::Dependency));
    changes.extend(causes.into_values().map(RowChange::Cause));
    storage.commit(Commit { edges: Some(0), ..Commit::unfenced(changes) }).await.unwrap();
}
