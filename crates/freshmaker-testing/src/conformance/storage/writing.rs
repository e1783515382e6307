use super::sample::{
    New, Next, at, attempt, build, build_in, cause, dependency, event, full_build, full_event, message, notification,
    transition,
};
use super::{World, commit, done, edges, refused, refused_commit, write};
use freshmaker::Reason;
use freshmaker::backend::{BuildFilter, Claim, EventFilter, Paging, Remedy, Scope, Storage};
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildRecord, BuildSlot, BuildState, Commit, DependencyKind, EventId,
    EventRecord, ExternalId, RowChange, RowKey, RunId,
};
use std::time::Duration;

pub(super) async fn every_field_survives(World { storage, .. }: World<'_>) {
    let full_attempt = AttemptRecord {
        version: 4,
        state: AttemptState::Bound,
        number: 2,
        run: RunId(6),
        external: Some(ExternalId::new("42")),
        observed_at: Some(at(3)),
        deadline: Some(at(4)),
        not_before: Some(at(5)),
        ..attempt("a1", 1)
    };
    let mut edge = dependency(2, 1);
    (edge.kind, edge.satisfied) = (DependencyKind::After, true);
    let mut why = cause(1, 1);
    why.live = false;
    let (events, builds) = ([full_event(1), event(2)], [full_build(1), build(2)]);
    let rows = [
        RowChange::Dependency(edge.clone()),
        RowChange::Cause(why.clone()),
        full_attempt.clone().new_row(),
        builds[0].clone().new_row(),
        builds[1].clone().new_row(),
        events[0].clone().new_row(),
        events[1].clone().new_row(),
    ];
    write(storage, rows).await;
    let page = done("events", storage.reads().events(EventFilter::default(), Paging::first(9)).await);
    assert_eq!(page.items, [events[1].clone(), events[0].clone()], "events come back as they were");
    let page = done("builds", storage.reads().builds(BuildFilter::default(), Paging::first(9)).await);
    assert_eq!(page.items, [builds[1].clone(), builds[0].clone()], "builds come back as they were");
    let rows = done("load", storage.load(&Scope::Builds(vec![BuildId(1)])).await);
    assert_eq!(rows.attempts.into_values().collect::<Vec<_>>(), [full_attempt], "attempts come back as they were");
    assert_eq!(rows.dependencies.into_values().collect::<Vec<_>>(), [edge], "dependencies come back as they were");
    assert_eq!(rows.causes.into_values().collect::<Vec<_>>(), [why], "causes come back as they were");
    every_field_changes(storage).await;
}

/// A change takes back what is no longer there, too.
async fn every_field_changes(storage: &dyn Storage) {
    let (event, build) = (event(1), build(1));
    let (mut changed_event, mut changed_build) = (event.clone(), build.clone());
    (changed_event.version, changed_build.version) = (8, 10);
    let changed_attempt = AttemptRecord {
        version: 5,
        state: AttemptState::Failed,
        number: 2,
        external: Some(ExternalId::new("42")),
        ..attempt("a1", 1)
    };
    let mut why = cause(1, 1);
    why.because.clear();
    let rows = [
        RowChange::Event { record: Box::new(changed_event.clone()), expected: Some(7) },
        RowChange::Build { record: Box::new(changed_build.clone()), expected: Some(9), replanned: true },
        RowChange::Attempt { record: Box::new(changed_attempt.clone()), expected: Some(4) },
        RowChange::Dependency(dependency(2, 1)),
        RowChange::Cause(why.clone()),
    ];
    write(storage, rows).await;
    let rows = done("load", storage.load(&Scope::Builds(vec![BuildId(1)])).await);
    assert_eq!(rows.events[&EventId(1)], changed_event, "a changed event");
    assert_eq!(rows.builds[&BuildId(1)], changed_build, "a changed build");
    assert_eq!(rows.dependencies[&(BuildId(2), BuildId(1))], dependency(2, 1), "a changed dependency");
    assert_eq!(rows.causes[&(BuildId(1), EventId(1))], why, "a changed cause");
    assert_eq!(
        done("attempts", storage.reads().attempts(vec![BuildId(1)]).await),
        [changed_attempt],
        "a changed attempt"
    );
    progress_changes(storage, changed_build).await;
}

/// How far a build is changes alone, there and back.
async fn progress_changes(storage: &dyn Storage, build: BuildRecord) {
    let further = BuildRecord {
        version: build.version + 1,
        key: build.key.clone(),
        kind: build.kind,
        source: build.source.clone(),
        parameters: build.parameters.clone(),
        parents: build.parents.clone(),
        demands: build.demands.clone(),
        because: build.because,
        asked: build.asked,
        priority: build.priority,
        estimate: build.estimate,
        created_at: build.created_at,
        ..full_build(1)
    };
    assert!(further.is_planned_as(&build), "only how far it is differs");
    let back = BuildRecord { version: build.version + 2, ..build };
    for row in [further, back] {
        let expected = Some(row.version - 1);
        write(storage, [RowChange::Build { record: Box::new(row.clone()), expected, replanned: false }]).await;
        let rows = done("load", storage.load(&Scope::Builds(vec![BuildId(1)])).await);
        assert_eq!(rows.builds[&BuildId(1)], row, "a build that is further, or further back");
    }
}

pub(super) async fn moments_are_microseconds(world: World<'_>) {
    let storage = world.storage;
    let fine = at(1) + Duration::from_nanos(1_999);
    let mut late = message("amqp", "1");
    (late.received_at, late.not_before) = (fine, Some(fine));
    let row = BuildRecord { created_at: fine, not_before: Some(fine), ..build(1) };
    write(storage, [RowChange::Receive(late), row.new_row()]).await;
    let stored = at(1) + Duration::from_micros(1);
    let page = done("builds", storage.reads().builds(BuildFilter::default(), Paging::first(1)).await);
    assert_eq!(page.items[0].created_at, stored, "moments are stored in microseconds");
    assert_eq!(page.items[0].not_before, Some(stored), "moments are stored in microseconds");
    world.clock.advance_to(fine);
    let claim =
        Claim { run: world.lease().await.run, holding: Vec::new(), limit: 1, pause_max: Duration::from_secs(300) };
    assert_eq!(done("claim", storage.claim(&claim).await).len(), 1, "and compared in microseconds");
}

pub(super) async fn nothing_or_everything_is_written(World { storage, .. }: World<'_>) {
    write(storage, [event(1).new_row(), build(1).new_row(), RowChange::Receive(message("amqp", "0"))]).await;
    let mut changed = build(1);
    changed.priority = 99;
    let stale = RowChange::Event { record: Box::new(event(1)), expected: Some(5) };
    for last in [stale, RowChange::Cause(cause(1, 77)), RowChange::Dependency(dependency(77, 1))] {
        let rows = [
            RowChange::Receive(message("amqp", "1")),
            event(2).new_row(),
            build(2).new_row(),
            changed.clone().next_row(),
            attempt("a1", 1).new_row(),
            RowChange::Transition(transition("build", "1", 1, None, "READY")),
            RowChange::Notification(notification("1", 1)),
            last,
        ];
        assert!(
            storage.commit(commit(storage, rows).await).await.is_err(),
            "the last of these changes must be refused"
        );
    }
    assert_eq!(done("message", storage.reads().message("amqp", "1").await), None, "no message of a refused list");
    let events = done("events", storage.reads().events(EventFilter::default(), Paging::first(9)).await);
    assert_eq!(events.items, [event(1)], "no event of a refused list");
    let builds = done("builds", storage.reads().builds(BuildFilter::default(), Paging::first(9)).await);
    assert_eq!(builds.items, [build(1)], "no build of a refused list");
    assert_eq!(done("attempts", storage.reads().attempts(vec![BuildId(1)]).await), [], "no attempt of a refused list");
    assert_eq!(
        done("transitions", storage.reads().transitions(&RowKey::Build(BuildId(1))).await),
        [],
        "no history of a refused list"
    );
    let overview = done("overview", storage.reads().overview().await);
    assert_eq!(overview.notifications_waiting, 0, "no notification of a refused list");
    assert_eq!(edges(storage).await, 0, "no dependency of a refused list");
    let limits = freshmaker::backend::DueLimits { ready: 9, attempts: 9, pause_max: Duration::from_secs(300) };
    let due = done("due", storage.reads().due(RunId::NONE, limits).await);
    assert_eq!((due.ready, due.attempts, due.live.len()), (vec![build(1)], vec![], 0), "nothing of it is due");
    write(storage, []).await;
}

pub(super) async fn versions_are_compared(World { storage, .. }: World<'_>) {
    let first = [event(1).new_row(), build(1).new_row(), attempt("a1", 1).new_row()];
    write(storage, first.clone()).await;
    for row in first {
        refused(storage, "a new row that is there already", Remedy::Conflict, [row]).await;
    }
    let second = [event(1).next_row(), build(1).next_row(), attempt("a1", 1).next_row()];
    write(storage, second.clone()).await;
    for row in second {
        refused(storage, "a row decided on an older version", Remedy::Conflict, [row]).await;
    }
    for row in [event(2).next_row(), build(2).next_row(), attempt("a2", 1).next_row()] {
        refused(storage, "a change of a row that is not there", Remedy::Conflict, [row]).await;
    }
    let step = || RowChange::Transition(transition("build", "1", 1, None, "READY"));
    write(storage, [step()]).await;
    refused(storage, "a second row of the history for one version", Remedy::Conflict, [step()]).await;
}

pub(super) async fn builds_that_make_progress_together_are_compared_one_by_one(World { storage, .. }: World<'_>) {
    let progress = |record: BuildRecord| {
        let expected = Some(record.version);
        let record = BuildRecord { version: record.version + 1, ..record };
        RowChange::Build { record: Box::new(record), expected, replanned: false }
    };
    let stored = |record: BuildRecord| BuildRecord { version: record.version + 1, ..record };
    write(storage, (1..=4).map(|id| build(id).new_row())).await;
    for wrong in [BuildRecord { version: 1, ..build(2) }, build(9)] {
        let rows = [build(1), wrong, build(3)].map(progress);
        refused(storage, "one of several in another version", Remedy::Conflict, rows).await;
    }
    let tries = |record: BuildRecord| BuildRecord { tries: record.id.0.try_into().unwrap_or_default(), ..record };
    // The last one twice.
    let rows = (1..=4).map(|id| progress(tries(build(id)))).chain([progress(stored(build(4)))]);
    write(storage, rows).await;
    let found = done("load", storage.load(&Scope::Builds((1..=4).map(BuildId).collect())).await).builds;
    let expected =
        [stored(tries(build(1))), stored(tries(build(2))), stored(tries(build(3))), stored(stored(build(4)))];
    assert_eq!(found.into_values().collect::<Vec<_>>(), expected, "each has its own values");

    let next = BuildRecord { key: build(1).key, slot: BuildSlot::Successor, ..build_in(5, BuildState::Blocked) };
    write(storage, [next.clone().new_row()]).await;
    let promoted = BuildRecord { slot: BuildSlot::Current, state: BuildState::Ready, ..next };
    let ended = BuildRecord { version: 1, state: BuildState::Done, ..build(1) };
    write(storage, [promoted, ended].map(progress)).await;
}

pub(super) async fn a_build_has_one_live_attempt(World { storage, .. }: World<'_>) {
    write(storage, [build(1).new_row(), build(2).new_row(), attempt("a1", 1).new_row()]).await;
    let mut second = attempt("a2", 1);
    second.number = 2;
    for state in [AttemptState::Intent, AttemptState::Unknown, AttemptState::Resolving, AttemptState::Bound] {
        let row = AttemptRecord { state, ..second.clone() };
        refused(storage, "a second live attempt of a build", Remedy::Conflict, [row.new_row()]).await;
    }
    write(storage, [attempt("b1", 2).new_row()]).await;
    let ended = AttemptRecord { state: AttemptState::NotSubmitted, ..attempt("a1", 1) };
    write(storage, [second.new_row(), ended.next_row()]).await;
    let numbers: Vec<_> = done("attempts", storage.reads().attempts(vec![BuildId(1)]).await)
        .iter()
        .map(|row| (row.number, row.state))
        .collect();
    let expected = [(1, AttemptState::NotSubmitted), (2, AttemptState::Intent)];
    assert_eq!(numbers, expected, "one transaction ends an attempt and begins the next");
}

pub(super) async fn a_key_has_one_build_in_each_slot(World { storage, .. }: World<'_>) {
    let of_key = |id, slot, state| BuildRecord { key: build(1).key, slot, ..build_in(id, state) };
    let (current, next) = (BuildSlot::Current, BuildSlot::Successor);
    write(storage, [of_key(1, current, BuildState::Ready).new_row()]).await;
    for state in BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()) {
        let row = of_key(2, current, state);
        refused(storage, "a second current build of a key", Remedy::Conflict, [row.new_row()]).await;
    }
    let mut scratch = of_key(5, current, BuildState::Ready);
    scratch.key.mode = freshmaker::rebuild::BuildMode::Scratch;
    write(storage, [of_key(2, next, BuildState::Blocked).new_row(), scratch.new_row()]).await;
    let third = of_key(3, next, BuildState::Blocked);
    refused(storage, "a second successor of a key", Remedy::Conflict, [third.clone().new_row()]).await;
    let promoted = of_key(2, current, BuildState::Ready);
    refused(storage, "a successor beside the current build", Remedy::Conflict, [promoted.clone().next_row()]).await;
    let rows = [promoted.next_row(), third.new_row(), of_key(1, current, BuildState::Done).next_row()];
    write(storage, rows).await;
    write(storage, [of_key(4, current, BuildState::Failed).new_row()]).await;
    let open = done("load", storage.load(&Scope::Keys(vec![build(1).key])).await);
    let open: Vec<_> = open.builds.keys().map(|id| id.0).collect();
    assert_eq!(open, [2, 3], "one transaction ends a build and promotes its successor");
}

pub(super) async fn an_external_id_is_written_once(World { storage, .. }: World<'_>) {
    let bound = |id, build, external| AttemptRecord {
        state: AttemptState::Bound,
        external: Some(ExternalId::new(external)),
        ..attempt(id, build)
    };
    write(storage, [1, 2, 3].map(|id| build(id).new_row())).await;
    write(storage, [attempt("a1", 1).new_row()]).await;
    write(storage, [bound("a1", 1, "42").next_row(), attempt("a2", 2).new_row()]).await;
    let taken = bound("a2", 2, "42").next_row();
    refused(storage, "an external id of another attempt", Remedy::Rejected, [taken]).await;
    let other = AttemptRecord { version: 1, ..bound("a1", 1, "43") };
    refused(storage, "another external id", Remedy::Rejected, [other.next_row()]).await;
    let none = AttemptRecord { version: 1, ..attempt("a1", 1) };
    refused(storage, "an external id that is taken away", Remedy::Rejected, [none.next_row()]).await;
    let elsewhere = AttemptRecord { system: "koji".into(), ..bound("a3", 3, "42") };
    write(storage, [elsewhere.new_row()]).await;
    let same = AttemptRecord { version: 1, reason: Reason::new("polled", "it runs"), ..bound("a1", 1, "42") };
    write(storage, [same.next_row()]).await;
}

pub(super) async fn an_event_is_decided_once(World { storage, .. }: World<'_>) {
    write(storage, [event(1).new_row()]).await;
    let again = |id, change: fn(&mut EventRecord)| {
        let mut row = EventRecord { id: EventId(id), ..event(1) };
        change(&mut row);
        row.new_row()
    };
    refused(storage, "a second event of one message and handler", Remedy::Conflict, [again(2, |_| ())]).await;
    let others: [fn(&mut EventRecord); 4] = [
        |row| row.source = "other".into(),
        |row| row.message_id = "other".into(),
        |row| row.handler = "other".into(),
        |row| row.generation = 2,
    ];
    write(storage, others.into_iter().zip(3..).map(|(change, id)| again(id, change))).await;
    write(storage, [event(1).next_row()]).await;
}

pub(super) async fn what_a_decision_rests_on_must_not_change(World { storage, .. }: World<'_>) {
    let rows = [event(1).new_row(), build(1).new_row(), build(2).new_row(), attempt("a1", 1).new_row()];
    write(storage, rows).await;
    let keys = [RowKey::Event(EventId(1)), RowKey::Build(BuildId(1)), RowKey::Attempt(attempt("a1", 1).id)];
    let resting = |key: &RowKey, version| Commit {
        unchanged: vec![(key.clone(), version)],
        ..Commit::unfenced(vec![BuildRecord { version: 0, ..build(2) }.next_row()])
    };
    for key in &keys {
        refused_commit(storage, "a row with another version", Remedy::Conflict, resting(key, 1)).await;
    }
    let gone = resting(&RowKey::Build(BuildId(77)), 0);
    refused_commit(storage, "a row that is not there", Remedy::Conflict, gone).await;
    let all = Commit { unchanged: keys.iter().map(|key| (key.clone(), 0)).collect(), ..resting(&keys[0], 0) };
    done("commit", storage.commit(all).await);
    write(storage, [event(1).next_row(), build(1).next_row(), attempt("a1", 1).next_row()]).await;
    for key in &keys {
        let commit = Commit { changes: vec![build(3).new_row()], ..resting(key, 0) };
        refused_commit(storage, "a row that has changed since", Remedy::Conflict, commit).await;
    }
    let builds = done("builds", storage.reads().builds(BuildFilter::default(), Paging::first(9)).await);
    assert_eq!(builds.items.len(), 2, "nothing of a refused commit is written");
}

pub(super) async fn dependencies_are_counted(World { storage, .. }: World<'_>) {
    write(storage, (1..=5).map(|id| build(id).new_row())).await;
    let first = edges(storage).await;
    let adding = |edges, parent, child| Commit {
        edges,
        ..Commit::unfenced(vec![RowChange::Dependency(dependency(parent, child))])
    };
    refused_commit(storage, "a dependency without the count", Remedy::Conflict, adding(None, 1, 2)).await;
    done("commit", storage.commit(adding(Some(first), 1, 2)).await);
    assert_eq!(edges(storage).await, first + 1, "each commit that adds some counts once");
    refused_commit(storage, "two plans from one count", Remedy::Conflict, adding(Some(first), 3, 4)).await;
    let mut satisfied = dependency(1, 2);
    satisfied.satisfied = true;
    let changes = vec![RowChange::Dependency(satisfied.clone()), RowChange::Dependency(satisfied)];
    done("commit", storage.commit(Commit::unfenced(changes)).await);
    assert_eq!(edges(storage).await, first + 1, "a satisfied one does not count");
}

pub(super) async fn limits_hold_after_a_commit(World { storage, .. }: World<'_>) {
    write(storage, (1..=4).map(|id| build(id).new_row())).await;
    let starting = |id: &str, build, limit| Commit {
        at_most: vec![("command".to_owned(), limit), ("other".to_owned(), 0)],
        ..Commit::unfenced(vec![attempt(id, build).new_row()])
    };
    done("commit", storage.commit(starting("a1", 1, 2)).await);
    done("commit", storage.commit(starting("a2", 2, 2)).await);
    refused_commit(storage, "one live attempt too many", Remedy::NotNow, starting("a3", 3, 2)).await;
    assert_eq!(done("attempts", storage.reads().attempts(vec![BuildId(3)]).await), [], "nothing of it is written");
    let ended = AttemptRecord { state: AttemptState::Refused, ..attempt("a1", 1) };
    let mut both = starting("a3", 3, 2);
    both.changes.push(ended.next_row());
    done("commit", storage.commit(both).await);
}

pub(super) async fn rows_refer_to_rows_that_are_there(World { storage, .. }: World<'_>) {
    write(storage, [event(1).new_row(), build(1).new_row()]).await;
    let rows = [
        RowChange::Cause(cause(2, 1)),
        RowChange::Cause(cause(1, 2)),
        RowChange::Dependency(dependency(1, 2)),
        RowChange::Dependency(dependency(2, 1)),
        attempt("a1", 2).new_row(),
    ];
    for row in rows {
        refused(storage, "a row about one that is not there", Remedy::NotFound, [row]).await;
    }
}
