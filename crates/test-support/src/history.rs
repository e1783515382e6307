//! A long history, for benches: [`EVENTS`] events with [`BUILDS`] builds, of which the event
//! [`LARGE`] has 100, the ten behind it one each, and all others ten.
//!
//! The first build of each event is the parent of its others. One of eleven has failed. Each has
//! one attempt.

use freshmaker::artifact::{ArtifactKind, Parameters, Source};
use freshmaker::backend::{Result, Storage};
use freshmaker::event::Envelope;
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, BuildState, Cause,
    Commit, Dependency, DependencyKind, EventId, EventRecord, EventState, ExternalId, Output, RowChange, RunId,
};
use freshmaker::time::{Timestamp, later};
use freshmaker::{Reason, RebuildReason};
use serde_json::json;
use std::time::Duration;

/// How many events there are.
pub const EVENTS: i64 = 10_000;

/// How many builds they have together.
pub const BUILDS: i64 = 100_000;

/// The event with 100 builds.
pub const LARGE: i64 = 5_000;

fn builds_of(event: i64) -> i64 {
    match event {
        LARGE => 100,
        _ if (LARGE + 1..=LARGE + 10).contains(&event) => 1,
        _ => 10,
    }
}

fn event(id: i64, builds: &[BuildRecord]) -> EventRecord {
    let at = later(Timestamp::UNIX_EPOCH, Duration::from_secs(1_700_000_000 + id as u64));
    let failed = builds.iter().filter(|build| build.state == BuildState::Failed).count();
    EventRecord {
        id: EventId(id),
        version: 3,
        state: EventState::Complete,
        source: "umb".into(),
        message_id: format!("ID:{id}.RHSA-2026:{id}-01"),
        handler: "rebuild_affected".into(),
        generation: 1,
        retry_of: None,
        envelope: Envelope {
            kind: "errata.advisory-status-changed".into(),
            search_key: id.to_string(),
            manual: false,
            requester: (id % 7 == 0).then(|| format!("user-{}", id % 20)),
            severity: Default::default(),
            payload: json!({ "advisory": id, "name": format!("RHSA-2026:{id}"), "state": "SHIPPED_LIVE" }),
        },
        mode: BuildMode::Real,
        reason: Reason::new("some_failed", format!("{failed} of {} builds failed", builds.len())),
        plan: None,
        builds_open: 0,
        builds_done: (builds.len() - failed) as u32,
        builds_failed: failed as u32,
        cancel_at: None,
        created_at: at,
        done_at: Some(later(at, Duration::from_secs(3_600))),
    }
}

fn build(id: i64, event: i64, place: i64) -> BuildRecord {
    let at = later(Timestamp::UNIX_EPOCH, Duration::from_secs(1_700_000_000 + event as u64));
    let artifact = format!("service-{place}-container-1.2-{event}");
    let parent =
        if place == 0 { "base-container-8.9-7".to_owned() } else { format!("service-0-container-1.2-{event}") };
    let failed = id % 11 == 0;
    let parents = json!([{ "id": parent, "kinds": ["parent_image"] }]);
    let output = format!("{artifact}.1700000000");
    let mut parameters = Parameters::default();
    parameters.insert("git_branch", "rhel-9");
    BuildRecord {
        id: BuildId(id),
        version: 6,
        state: if failed { BuildState::Failed } else { BuildState::Done },
        key: BuildKey {
            system: "koji".into(),
            artifact: artifact.as_str().into(),
            target: "rhel-9-containers-candidate".into(),
            mode: BuildMode::Real,
        },
        slot: BuildSlot::Current,
        kind: ArtifactKind::Image,
        source: Some(Source {
            location: format!("git://git.example.org/containers/service-{place}"),
            revision: Some("8d4a6e4f6d7a2c1b9e0f3a5c7d9e1f2a4b6c8d0e".into()),
        }),
        parameters,
        parents: serde_json::from_value(parents).unwrap(),
        demands: Default::default(),
        because: if place == 0 { RebuildReason::DirectlyAffected } else { RebuildReason::Dependency },
        asked: false,
        inputs: None,
        pending: 0,
        priority: -place,
        estimate: Some(Duration::from_secs(600)),
        attempts: 1,
        tries: 1,
        resubmits: 0,
        no_cache: false,
        release: Some("1".into()),
        not_before: None,
        reason: match failed {
            true => Reason::new("permanent", "the build system says that it failed"),
            false => Reason::new("built", format!("built as {output}")),
        },
        output: (!failed).then_some(Output { name: output, digest: None, contents: None }),
        cancel_at: None,
        created_at: at,
        done_at: Some(later(at, Duration::from_secs(3_600))),
    }
}

fn attempt(build: &BuildRecord) -> AttemptRecord {
    let failed = build.state == BuildState::Failed;
    AttemptRecord {
        id: AttemptId::new(format!("{:032x}", build.id.0)),
        version: 3,
        state: if failed { AttemptState::Failed } else { AttemptState::Succeeded },
        build: build.id,
        system: build.key.system.clone(),
        number: 1,
        run: RunId(0),
        release: "1".into(),
        session: None,
        intent_at: build.created_at,
        external: Some(ExternalId::new((50_000_000 + build.id.0).to_string())),
        observed_at: build.done_at,
        reason: Reason::new(if failed { "failed" } else { "succeeded" }, "closed"),
        deadline: None,
        not_before: None,
    }
}

/// Makes the tables, and stores the history.
///
/// # Errors
/// Those of the storage.
pub async fn store(storage: &dyn Storage) -> Result<()> {
    storage.upkeep().migrate().await?;
    let (mut changes, mut last) = (Vec::new(), 0);
    for number in 1..=EVENTS {
        let first = last + 1;
        let builds: Vec<_> = (0..builds_of(number)).map(|place| build(first + place, number, place)).collect();
        last += builds_of(number);
        changes.push(RowChange::Event { record: Box::new(event(number, &builds)), expected: None });
        for record in builds {
            let id = record.id;
            let cause = Cause { build: id, event: EventId(number), because: Vec::new(), live: true };
            changes.push(RowChange::Attempt { record: Box::new(attempt(&record)), expected: None });
            if id.0 > first {
                let (parent, kind) = (BuildId(first), DependencyKind::Needs);
                changes.push(RowChange::Dependency(Dependency { parent, child: id, kind, satisfied: true }));
            }
            changes.push(RowChange::Build { record: Box::new(record), expected: None, replanned: true });
            changes.push(RowChange::Cause(cause));
        }
        if number % 100 == 0 {
            storage.commit(Commit::unfenced(std::mem::take(&mut changes))).await?;
        }
    }
    assert_eq!(last, BUILDS);
    Ok(())
}
