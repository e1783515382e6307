use super::record::{
    AttemptId, AttemptRecord, BuildId, BuildRecord, Cause, Dependency, DependencyKind, EventId, EventRecord,
    Notification, RowChange, Transition, Version,
};
use super::state::{AttemptState, BuildState, EventState};
use crate::artifact::ArtifactKind;
use crate::reason::Reason;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// The part of the stored rows that a decision needs; see [`Scope`](crate::backend::Scope) for which rows those are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbourhood {
    /// Events by number.
    pub events: BTreeMap<EventId, EventRecord>,
    /// Builds by number.
    pub builds: BTreeMap<BuildId, BuildRecord>,
    /// Attempts by identity.
    pub attempts: BTreeMap<AttemptId, AttemptRecord>,
    /// Dependencies by (parent, child).
    pub dependencies: BTreeMap<(BuildId, BuildId), Dependency>,
    /// Causes by (build, event).
    pub causes: BTreeMap<(BuildId, EventId), Cause>,
}

impl Neighbourhood {
    /// The attempt of a build that the build system may have something running for.
    #[must_use]
    pub fn live_attempt(&self, build: BuildId) -> Option<&AttemptRecord> {
        self.attempts.values().find(|attempt| attempt.build == build && attempt.state.is_live())
    }

    /// The dependencies of others on this build.
    pub fn dependents(&self, build: BuildId) -> impl Iterator<Item = &Dependency> {
        self.dependencies
            .range((build, BuildId(i64::MIN))..=(build, BuildId(i64::MAX)))
            .map(|(_, dependency)| dependency)
    }

    /// The dependencies of this build on others.
    pub fn needs(&self, build: BuildId) -> impl Iterator<Item = &Dependency> {
        self.dependencies.values().filter(move |dependency| dependency.child == build)
    }

    /// The builds that prepared repositories for this one; the latest of each.
    #[must_use]
    pub fn prepared_for(&self, build: BuildId) -> Vec<BuildId> {
        let needed = self.needs(build).filter(|dependency| dependency.kind == DependencyKind::Needs);
        let parents = needed.filter_map(|dependency| self.builds.get(&dependency.parent));
        let prepared = parents.filter(|parent| parent.kind == ArtifactKind::Repository && parent.state.is_success());
        let latest: BTreeMap<_, _> = prepared.map(|parent| (&parent.key, parent.id)).collect();
        latest.into_values().collect()
    }

    /// Why this build exists.
    pub fn causes_of(&self, build: BuildId) -> impl Iterator<Item = &Cause> {
        self.causes.range((build, EventId(i64::MIN))..=(build, EventId(i64::MAX))).map(|(_, cause)| cause)
    }
}

/// A loaded neighbourhood on which inputs are applied.
///
/// [`apply`](Rebuild::apply) and [`admit`](Rebuild::admit) change the copy in memory; [`changes`](Rebuild::changes) is the difference to what
/// was loaded, with the versions that must still be stored, to be written in one transaction.
#[derive(Debug)]
pub struct Rebuild {
    pub(super) loaded: Neighbourhood,
    pub(super) now: Neighbourhood,
    pub(super) trail: Vec<RowChange>,
    pub(super) owner: i64,
    pub(super) at: Timestamp,
}

impl Rebuild {
    /// Begins with the loaded rows, for the engine run of this token, at this moment.
    #[must_use]
    pub fn new(loaded: Neighbourhood, owner: i64, at: Timestamp) -> Self {
        Self { now: loaded.clone(), loaded, trail: Vec::new(), owner, at }
    }

    /// The rows as they are now.
    #[must_use]
    pub fn rows(&self) -> &Neighbourhood {
        &self.now
    }

    /// The difference between what was loaded and what is now.
    #[must_use]
    pub fn changes(self) -> Vec<RowChange> {
        let Self { loaded, now, trail, .. } = self;
        let mut changes = Vec::new();
        for (id, mut record) in now.events {
            let expected = loaded.events.get(&id);
            if expected != Some(&record) {
                record.version = next_version(expected.map(|row| row.version), record.version);
                changes.push(RowChange::Event { record: record.into(), expected: expected.map(|row| row.version) });
            }
        }
        for (id, mut record) in now.builds {
            let expected = loaded.builds.get(&id);
            if expected != Some(&record) {
                record.version = next_version(expected.map(|row| row.version), record.version);
                changes.push(RowChange::Build { record: record.into(), expected: expected.map(|row| row.version) });
            }
        }
        for (id, mut record) in now.attempts {
            let expected = loaded.attempts.get(&id);
            if expected != Some(&record) {
                record.version = next_version(expected.map(|row| row.version), record.version);
                changes.push(RowChange::Attempt { record: record.into(), expected: expected.map(|row| row.version) });
            }
        }
        for (key, dependency) in now.dependencies {
            if loaded.dependencies.get(&key) != Some(&dependency) {
                changes.push(RowChange::Dependency(dependency));
            }
        }
        for (key, cause) in now.causes {
            if loaded.causes.get(&key) != Some(&cause) {
                changes.push(RowChange::Cause(cause));
            }
        }
        changes.extend(trail);
        changes
    }

    /// Changes the state of a build, with its audit row and, if the public state changes, its notification.
    pub(super) fn set_build(&mut self, id: BuildId, to: BuildState, reason: Reason) {
        let Some(build) = self.now.builds.get_mut(&id) else { return };
        debug_assert!(build.state.allows(to), "build {id}: {} -> {to}", build.state);
        let from = std::mem::replace(&mut build.state, to);
        build.version += 1;
        build.reason = reason;
        if to.is_terminal() {
            build.done_at = Some(self.at);
        }
        if from.public() != to.public() {
            let notification = build_notification(build);
            self.trail.push(RowChange::Notification(notification));
        }
        let (version, reason) = (build.version, build.reason.clone());
        self.record("build", id.to_string(), version, Some(from.as_str()), to.as_str(), reason);
    }

    /// Changes the state of an event, with its audit row and notification.
    pub(super) fn set_event(&mut self, id: EventId, to: EventState, reason: Reason) {
        let Some(event) = self.now.events.get_mut(&id) else { return };
        debug_assert!(event.state.allows(to), "event {id}: {} -> {to}", event.state);
        let from = std::mem::replace(&mut event.state, to);
        event.version += 1;
        event.reason = reason;
        if to.is_terminal() {
            event.done_at = Some(self.at);
        }
        let notification = event_notification(event);
        self.trail.push(RowChange::Notification(notification));
        let (version, reason) = (event.version, event.reason.clone());
        self.record("event", id.to_string(), version, Some(from.as_str()), to.as_str(), reason);
    }

    /// Changes the state of an attempt, with its audit row.
    pub(super) fn set_attempt(&mut self, id: &AttemptId, to: AttemptState, reason: Reason) {
        let owner = self.owner;
        let Some(attempt) = self.now.attempts.get_mut(id) else { return };
        debug_assert!(attempt.state.allows(to), "attempt {id}: {} -> {to}", attempt.state);
        let from = std::mem::replace(&mut attempt.state, to);
        attempt.version += 1;
        attempt.reason = reason;
        attempt.owner = owner;
        let (version, reason) = (attempt.version, attempt.reason.clone());
        self.record("attempt", id.to_string(), version, Some(from.as_str()), to.as_str(), reason);
    }

    /// Adds a new event with its audit row and notification.
    pub(super) fn add_event(&mut self, event: EventRecord) {
        self.trail.push(RowChange::Notification(event_notification(&event)));
        self.record("event", event.id.to_string(), event.version, None, event.state.as_str(), event.reason.clone());
        self.now.events.insert(event.id, event);
    }

    /// The first notification of a new event tells of the builds that were found for it afterwards.
    pub(super) fn renew_notification(&mut self, id: EventId) {
        let Some(event) = self.now.events.get(&id) else { return };
        let renewed = event_notification(event);
        let same =
            |notification: &Notification| notification.aggregate == renewed.aggregate && notification.id == renewed.id;
        let notifications = self.trail.iter_mut().filter_map(|change| match change {
            RowChange::Notification(notification) => Some(notification),
            _ => None,
        });
        for notification in notifications.filter(|notification| same(notification)) {
            notification.clone_from(&renewed);
        }
    }

    /// Adds a new build with its audit row and notification.
    pub(super) fn add_build(&mut self, build: BuildRecord) {
        self.trail.push(RowChange::Notification(build_notification(&build)));
        self.record("build", build.id.to_string(), build.version, None, build.state.as_str(), build.reason.clone());
        self.now.builds.insert(build.id, build);
    }

    /// Adds a new attempt with its audit row.
    pub(super) fn add_attempt(&mut self, attempt: AttemptRecord) {
        let (state, reason) = (attempt.state.as_str(), attempt.reason.clone());
        self.record("attempt", attempt.id.to_string(), attempt.version, None, state, reason);
        self.now.attempts.insert(attempt.id.clone(), attempt);
    }

    fn record(&mut self, aggregate: &str, id: String, version: Version, from: Option<&str>, to: &str, reason: Reason) {
        self.trail.push(RowChange::Transition(Transition {
            aggregate: aggregate.to_owned(),
            id,
            version,
            from: from.map(str::to_owned),
            to: to.to_owned(),
            reason,
            owner: self.owner,
            at: self.at,
        }));
    }
}

/// A changed row gets a higher version even if its state stayed.
fn next_version(loaded: Option<Version>, now: Version) -> Version {
    match loaded {
        Some(version) if version == now => version + 1,
        _ => now,
    }
}

/// The message about a build: schema `freshmaker.build/1`.
fn build_notification(build: &BuildRecord) -> Notification {
    Notification {
        aggregate: "build".into(),
        id: build.id.to_string(),
        version: build.version,
        topic: "build.changed".into(),
        body: serde_json::json!({
            "schema": "freshmaker.build/1",
            "id": build.id,
            "version": build.version,
            "artifact": build.key.artifact,
            "system": build.key.system,
            "mode": build.key.mode,
            "state": build.state.public(),
            "detail": build.state,
            "reason": build.reason,
            "rebuild_reason": build.because,
            "output": build.output,
        }),
    }
}

/// The message about an event: schema `freshmaker.event/1`.
fn event_notification(event: &EventRecord) -> Notification {
    Notification {
        aggregate: "event".into(),
        id: event.id.to_string(),
        version: event.version,
        topic: "event.changed".into(),
        body: serde_json::json!({
            "schema": "freshmaker.event/1",
            "id": event.id,
            "version": event.version,
            "message_id": event.message_id,
            "kind": event.envelope.kind,
            "search_key": event.envelope.search_key,
            "handler": event.handler,
            "mode": event.mode,
            "state": event.state,
            "reason": event.reason,
            "plan": event.plan,
            "builds": { "open": event.builds_open, "done": event.builds_done, "failed": event.builds_failed },
        }),
    }
}
