use freshmaker::Reason;
use freshmaker::artifact::{ArtifactId, ArtifactKind, Digest, Parameters, Source};
use freshmaker::event::{Envelope, Message, Severity};
use freshmaker::graph::EdgeKind;
use freshmaker::plan::{PlanParent, RebuildReason};
use freshmaker::rebuild::{
    Actor, AttemptId, AttemptRecord, AttemptState, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, BuildState,
    Cause, Dependency, DependencyKind, EventId, EventRecord, EventState, InboxRecord, InboxState, Notification, Output,
    RowChange, RowKey, RunId, Transition, Version,
};
use freshmaker::time::{Timestamp, from_micros};
use std::collections::BTreeMap;
use std::time::Duration;

/// A number of seconds after a fixed moment.
pub(super) fn at(seconds: i64) -> Timestamp {
    from_micros(1_764_000_000_000_000 + seconds * 1_000_000)
}

pub(super) fn message(source: &str, id: &str) -> InboxRecord {
    InboxRecord {
        source: source.into(),
        message_id: id.into(),
        message: Message {
            id: id.into(),
            topic: "base.pushed".into(),
            headers: BTreeMap::from([("trace".into(), "ü\"1".into())]),
            body: vec![b'{', 0, 0xff, 0xfe, b'}'],
        },
        state: InboxState::New,
        tries: 0,
        waits: 0,
        run: RunId::NONE,
        received_at: at(0),
        not_before: None,
        reason: None,
    }
}

pub(super) fn event(id: i64) -> EventRecord {
    EventRecord {
        id: EventId(id),
        version: 0,
        state: EventState::Building,
        source: "bus".into(),
        message_id: format!("m{id}"),
        handler: "handler".into(),
        generation: 1,
        retry_of: None,
        envelope: Envelope {
            kind: "test.pushed".into(),
            search_key: format!("image-{id}"),
            manual: false,
            requester: None,
            severity: Severity::Moderate,
            payload: serde_json::json!({ "image": "ü", "layers": [1, null, "x"] }),
        },
        mode: BuildMode::Real,
        reason: Reason::new("building", "its builds are under way"),
        plan: None,
        builds_open: 0,
        builds_done: 0,
        builds_failed: 0,
        cancel_at: None,
        created_at: at(id),
        done_at: None,
    }
}

/// An event with every optional field set, and none at its default.
pub(super) fn full_event(id: i64) -> EventRecord {
    let mut row = event(id);
    row.version = 7;
    row.state = EventState::Canceled;
    (row.generation, row.retry_of) = (3, Some(EventId(5)));
    row.envelope.manual = true;
    row.envelope.requester = Some("somebody".into());
    row.envelope.severity = Severity::Critical;
    row.mode = BuildMode::DryRun;
    row.plan = Some(Digest::of(b"plan"));
    (row.builds_open, row.builds_done, row.builds_failed) = (1, 2, 3);
    (row.cancel_at, row.done_at) = (Some(at(5)), Some(at(6)));
    row
}

pub(super) fn build(id: i64) -> BuildRecord {
    BuildRecord {
        id: BuildId(id),
        version: 0,
        state: BuildState::Ready,
        key: BuildKey {
            system: "command".into(),
            artifact: format!("app-{id}").into(),
            target: String::new(),
            mode: BuildMode::Real,
        },
        slot: BuildSlot::Current,
        kind: ArtifactKind::Image,
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
        tries: 0,
        resubmits: 0,
        attempts: 0,
        no_cache: false,
        release: None,
        not_before: None,
        reason: Reason::new("ready", "everything it waited for has ended"),
        output: None,
        cancel_at: None,
        created_at: at(id),
        done_at: None,
    }
}

pub(super) fn build_in(id: i64, state: BuildState) -> BuildRecord {
    BuildRecord { state, done_at: state.is_terminal().then(|| at(100 + id)), ..build(id) }
}

/// A build with every optional field set, and none at its default.
pub(super) fn full_build(id: i64) -> BuildRecord {
    let mut row = build_in(id, BuildState::DependencyFailed);
    row.version = 9;
    row.key.target = "branch \"ü\"".into();
    row.key.mode = BuildMode::Scratch;
    row.slot = BuildSlot::Successor;
    row.kind = ArtifactKind::Repository;
    row.source = Some(Source { location: "images/app".into(), revision: Some("4f2c".into()) });
    row.parameters.insert("flag", true);
    row.parameters.insert("number", -3);
    row.parameters.insert("text", "x'y");
    row.parameters.insert("set", ["b", "a"]);
    row.parents = vec![PlanParent {
        id: "debian:12".into(),
        kinds: [EdgeKind::ParentImage, EdgeKind::BuilderStage].into(),
        digest: Some(Digest::of(b"debian")),
        name: Some("debian-12-3".into()),
    }];
    row.demands = ["1:openssl-3.0-2.el9", "zlib-1-2"].iter().filter_map(|text| text.parse().ok()).collect();
    row.because = RebuildReason::DirectlyAffected;
    row.asked = true;
    row.inputs = Some(Digest::of(b"inputs"));
    (row.pending, row.priority, row.tries, row.resubmits, row.attempts) = (2, -5, 3, 4, 9);
    row.estimate = Some(Duration::from_micros(90_000_001));
    row.no_cache = true;
    row.release = Some("20260101.1".into());
    row.output = Some(output("app-1-2"));
    (row.not_before, row.cancel_at) = (Some(at(7)), Some(at(8)));
    row
}

pub(super) fn output(name: &str) -> Output {
    Output { name: name.into(), digest: Some(Digest::of(name.as_bytes())), contents: Some("sbom.json".into()) }
}

pub(super) fn attempt(id: &str, build: i64) -> AttemptRecord {
    AttemptRecord {
        id: AttemptId::new(id),
        version: 0,
        state: AttemptState::Intent,
        build: BuildId(build),
        system: "command".into(),
        number: 1,
        run: RunId(1),
        release: "1".into(),
        session: None,
        intent_at: at(build),
        external: None,
        observed_at: None,
        reason: Reason::new("intent", "about to be submitted"),
        deadline: None,
        not_before: None,
    }
}

pub(super) fn dependency(parent: i64, child: i64) -> Dependency {
    let (parent, child) = (BuildId(parent), BuildId(child));
    Dependency { parent, child, kind: DependencyKind::Needs, satisfied: false }
}

pub(super) fn cause(build: i64, event: i64) -> Cause {
    let because = vec![ArtifactId::new("debian:12"), ArtifactId::new("zlib")];
    Cause { build: BuildId(build), event: EventId(event), because, live: true }
}

pub(super) fn transition(aggregate: &str, id: &str, version: Version, from: Option<&str>, to: &str) -> Transition {
    Transition {
        of: RowKey::parse(aggregate, id).expect("an event, build or attempt"),
        version,
        from: from.map(str::to_owned),
        to: to.into(),
        reason: Reason::new("because", "it was so"),
        actor: Actor::Handler("handler".into()),
        run: RunId(3),
        at: at(i64::from(version)),
    }
}

pub(super) fn notification(id: &str, version: Version) -> Notification {
    Notification {
        of: RowKey::parse("build", id).expect("the number of a build"),
        version,
        topic: "build.changed".into(),
        body: serde_json::json!({ "id": id, "version": version }),
    }
}

/// A row that must not be there yet.
pub(super) trait New {
    fn new_row(self) -> RowChange;
}

/// A row that is stored one version lower.
pub(super) trait Next {
    fn next_row(self) -> RowChange;
}

macro_rules! rows {
    ($($record:ident $change:ident { $($more:tt)* }),*) => {
        $(
            impl New for $record {
                fn new_row(self) -> RowChange {
                    RowChange::$change { record: Box::new(self), expected: None, $($more)* }
                }
            }

            impl Next for $record {
                fn next_row(mut self) -> RowChange {
                    let expected = Some(self.version);
                    self.version += 1;
                    RowChange::$change { record: Box::new(self), expected, $($more)* }
                }
            }
        )*
    };
}

rows!(EventRecord Event {}, BuildRecord Build { replanned: true }, AttemptRecord Attempt {});
