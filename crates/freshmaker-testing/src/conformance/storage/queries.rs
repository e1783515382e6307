use super::sample::{New, Next, at, attempt, build, build_in, event, message, notification, transition};
use super::{World, done, ids, write};
use freshmaker::artifact::{Artifact, ArtifactKind};
use freshmaker::backend::{Claim, Due, DueLimits, Overview};
use freshmaker::graph::{ArtifactGraph, EdgeKind};
use freshmaker::policy::Policy;
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildMode, BuildRecord, BuildState, Commit, EventId, EventRecord, EventState,
    InboxRecord, InboxState, RowChange, RowKey, RunId,
};
use std::time::Duration;

/// What is due for a run that has made all attempts of the sample.
async fn due(world: World<'_>, seconds: i64, ready: u32, attempts: u32) -> Due {
    world.pass_to(seconds);
    done(
        "due",
        world.storage.reads().due(RunId(1), DueLimits { ready, attempts, pause_max: Duration::from_secs(300) }).await,
    )
}

fn numbers(rows: &[BuildRecord]) -> Vec<i64> {
    ids(rows, |row| row.id.0)
}

pub(super) async fn due_builds_are_ordered_and_limited(world: World<'_>) {
    let storage = world.storage;
    assert_eq!(due(world, 0, 9, 9).await, Due { now: at(0), ..Due::default() }, "nothing is due in an empty storage");
    let with = |id, priority, not_before: Option<i64>| {
        BuildRecord { priority, not_before: not_before.map(at), ..build(id) }.new_row()
    };
    let rows = [with(1, 5, None), with(2, 9, Some(10)), with(3, 9, None), with(4, 9, None), with(5, -1, Some(11))];
    write(storage, rows).await;
    let others = BuildState::ALL.iter().filter(|state| **state != BuildState::Ready).zip(10..);
    write(storage, others.map(|(state, id)| build_in(id, *state).new_row())).await;
    assert_eq!(numbers(&due(world, 9, 9, 9).await.ready), [3, 4, 1], "highest priority, then lowest number");
    assert_eq!(numbers(&due(world, 10, 9, 9).await.ready), [2, 3, 4, 1], "from its moment on");
    assert_eq!(numbers(&due(world, 99, 2, 9).await.ready), [2, 3], "no more than asked for");
    let found = due(world, 99, 1, 9).await.ready;
    assert_eq!(found[0].priority, 9, "rows as they are stored");
    let mut first = build(1);
    first.priority = 50;
    write(storage, [first.next_row(), BuildRecord { state: BuildState::Submitting, ..build(3) }.next_row()]).await;
    assert_eq!(numbers(&due(world, 99, 9, 9).await.ready), [1, 2, 4, 5], "a changed build has its new place");
}

pub(super) async fn a_clock_that_is_set_back_holds_no_build_up(world: World<'_>) {
    let storage = world.storage;
    let ready = |id, seconds| BuildRecord { not_before: Some(at(seconds)), ..build(id) }.new_row();
    // The longest pause is 300 seconds: whatever waits longer was stored by a clock that was ahead.
    write(storage, [ready(1, 300), ready(2, 301)]).await;
    let live = |id, build, seconds| AttemptRecord { not_before: Some(at(seconds)), ..attempt(id, build) };
    write(storage, [3, 4].map(|id| build_in(id, BuildState::Building).new_row())).await;
    write(storage, [live("three", 3, 300).new_row(), live("four", 4, 301).new_row()]).await;
    let found = due(world, 0, 9, 9).await;
    assert_eq!(numbers(&found.ready), [2]);
    assert_eq!(ids(&found.attempts, |(row, _)| row.id.to_string()), ["four"]);
}

pub(super) async fn a_long_line_hides_no_other(world: World<'_>) {
    let storage = world.storage;
    let row = |id, system: &str, priority| {
        let mut row = BuildRecord { priority, ..build(id) };
        row.key.system = system.into();
        row
    };
    let long =
        (1..=50).map(|id| row(id, "koji", 1000 - id)).chain([row(60, "arm", 7), row(61, "arm", 8), row(62, "x", -9)]);
    write(storage, long.map(New::new_row)).await;
    let heads = due(world, 9, 2, 9).await.ready;
    assert_eq!(numbers(&heads), [1, 2, 61, 60, 62], "so many of each build system, in one order");
    assert_eq!(due(world, 9, 0, 9).await.ready, [], "none");
    write(storage, [BuildRecord { state: BuildState::Submitting, ..row(61, "arm", 8) }.next_row()]).await;
    assert_eq!(numbers(&due(world, 9, 1, 9).await.ready), [1, 60, 62], "the next of each");
}

pub(super) async fn the_priorities_of_what_runs_are_known(world: World<'_>) {
    let storage = world.storage;
    let rows = [(1, 5), (2, -3), (3, 0), (4, -90)];
    write(storage, rows.map(|(id, priority)| BuildRecord { priority, ..build_in(id, BuildState::Building) }.new_row()))
        .await;
    let koji = AttemptRecord { system: "koji".into(), ..attempt("three", 3) };
    let ended = AttemptRecord { state: AttemptState::Failed, ..attempt("four", 4) };
    write(storage, [attempt("one", 1), attempt("two", 2), koji, ended].map(New::new_row)).await;
    let expected = [("command".into(), vec![-3, 5]), ("koji".into(), vec![0])].into();
    assert_eq!(due(world, 9, 9, 9).await.started, expected, "of live attempts, however many are asked for");
    assert_eq!(due(world, 9, 0, 0).await.started, expected, "of live attempts, however few are asked for");
}

pub(super) async fn durations_are_those_of_the_latest_successes(World { storage, .. }: World<'_>) {
    let mut pretended = build_in(4, BuildState::Done);
    pretended.key.mode = BuildMode::DryRun;
    let real = [1, 2, 3].map(|id| build_in(id, BuildState::Done).new_row());
    write(storage, real.into_iter().chain([pretended.new_row()])).await;
    let took = |id, build, from, to, state| AttemptRecord {
        state,
        intent_at: at(from),
        observed_at: Some(at(to)),
        ..attempt(id, build)
    };
    let rows = [
        took("a", 1, 10, 70, AttemptState::Succeeded),
        took("b", 2, 20, 50, AttemptState::Succeeded),
        took("c", 3, 30, 90, AttemptState::Failed),
        took("d", 3, 90, 95, AttemptState::Succeeded),
        took("e", 4, 90, 99, AttemptState::Succeeded),
    ];
    write(storage, rows.map(New::new_row)).await;
    let known = async |mode, limit| {
        let durations = done("durations", storage.reads().durations(mode, limit).await);
        durations.into_iter().map(|it| (it.artifact.to_string(), it.duration.as_secs())).collect::<Vec<_>>()
    };
    let expected = [("app-3".to_owned(), 5), ("app-1".to_owned(), 60), ("app-2".to_owned(), 30)];
    assert_eq!(known(BuildMode::Real, 9).await, expected, "latest end first, successes only, of this mode");
    assert_eq!(known(BuildMode::Real, 2).await, expected[..2], "no more than asked for");
    assert_eq!(known(BuildMode::DryRun, 9).await, [("app-4".to_owned(), 9)], "of this mode");
    let kind = done("durations", storage.reads().durations(BuildMode::Real, 1).await).remove(0).kind;
    assert_eq!(kind, ArtifactKind::Image, "with its kind");
}

pub(super) async fn due_attempts_are_longest_unobserved_first(world: World<'_>) {
    let storage = world.storage;
    write(storage, (1..=6).map(|id| build_in(id, BuildState::Building).new_row())).await;
    let seen = |id, build, seconds: Option<i64>| AttemptRecord {
        observed_at: seconds.map(at),
        state: AttemptState::Bound,
        ..attempt(id, build)
    };
    let waits = AttemptRecord { not_before: Some(at(30)), system: "koji".into(), ..seen("wait", 4, None) };
    let ended = AttemptRecord { state: AttemptState::Succeeded, ..attempt("ended", 5) };
    let rows = [seen("new", 3, None), seen("recent", 1, Some(20)), seen("old", 2, Some(1)), waits, ended];
    write(storage, rows.map(New::new_row)).await;
    let names = |due: &Due| ids(&due.attempts, |(row, _)| row.id.to_string());
    let now = due(world, 29, 9, 9).await;
    assert_eq!(names(&now), ["old", "new", "recent"], "the one not looked at for longest comes first");
    assert_eq!(
        ids(&now.attempts, |(row, build)| (row.build, build.id)),
        [2, 3, 1].map(|id| (BuildId(id), BuildId(id)))
    );
    assert_eq!(now.live, [("command".into(), 3), ("koji".into(), 1)].into(), "all live ones are counted");
    let now = due(world, 30, 9, 2).await;
    assert_eq!(names(&now), ["old", "new"], "no more than asked for");
    assert_eq!(now.live.values().sum::<u32>(), 4, "the count has no limit");
    assert_eq!(names(&due(world, 30, 9, 9).await), ["old", "new", "wait", "recent"], "from its moment on");
    write(storage, [AttemptRecord { observed_at: Some(at(40)), ..seen("old", 2, None) }.next_row()]).await;
    assert_eq!(names(&due(world, 30, 9, 9).await), ["new", "wait", "recent", "old"], "an observed one goes to the end");
}

pub(super) async fn the_next_moment_is_the_earliest_left_out(world: World<'_>) {
    let storage = world.storage;
    let late = |id, seconds| BuildRecord { not_before: Some(at(seconds)), ..build(id) };
    let ended = BuildRecord { not_before: Some(at(1)), ..build_in(4, BuildState::Done) };
    let rows = [late(1, 30).new_row(), late(2, 5).new_row(), build(3).new_row(), ended.new_row()];
    write(storage, rows).await;
    assert_eq!(due(world, 0, 0, 0).await.next, Some(at(5)), "what waits for its time, not what is left out by a limit");
    assert_eq!(due(world, 5, 9, 9).await.next, Some(at(30)), "the moment itself is due");
    let waits = AttemptRecord { not_before: Some(at(20)), ..attempt("a", 3) };
    let over = AttemptRecord { not_before: Some(at(6)), state: AttemptState::Failed, ..attempt("b", 3) };
    write(storage, [waits.new_row(), over.new_row()]).await;
    assert_eq!(due(world, 5, 9, 9).await.next, Some(at(20)), "live attempts count, ended ones do not");
    let put_off = |id, seconds, state| InboxRecord { not_before: Some(at(seconds)), state, ..message("amqp", id) };
    let rows = [put_off("1", 10, InboxState::New), put_off("2", 7, InboxState::Done)];
    write(storage, rows.map(RowChange::Receive)).await;
    assert_eq!(due(world, 5, 9, 9).await.next, Some(at(10)), "new messages count, handled ones do not");
    assert_eq!(due(world, 30, 9, 9).await.next, None, "nothing waits any more");
}

pub(super) async fn histories_and_plans_come_back(World { storage, .. }: World<'_>) {
    let step = |id: &str, version, from, to| transition("build", id, version, from, to);
    let history = [step("1", 0, None, "READY"), step("1", 2, Some("READY"), "SUBMITTING")];
    let others = [step("11", 1, None, "READY"), transition("event", "1", 0, None, "BUILDING")];
    let [first, last] = history.clone();
    write(storage, [last].into_iter().chain(others).chain([first]).map(RowChange::Transition)).await;
    assert_eq!(
        done("transitions", storage.reads().transitions(&RowKey::Build(BuildId(1))).await),
        history,
        "oldest first, of one aggregate"
    );
    assert_eq!(done("transitions", storage.reads().transitions(&RowKey::Build(BuildId(2))).await), [], "no history");

    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("debian", ArtifactKind::Image));
    graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", Some("4f2c")).with_parameter("a", true));
    graph.insert(Artifact::new("vendor", ArtifactKind::Image));
    for child in ["app", "vendor"] {
        graph.depend(child, "debian", EdgeKind::ParentImage).unwrap_or_else(|error| panic!("{error}"));
    }
    let plan_of = |id: &str| graph.plan(&[id.into()], &Policy::allow_all()).unwrap_or_else(|error| panic!("{error}"));
    let stored = |id: &str| RowChange::Plan { event: EventId(1), plan: Box::new(plan_of(id)) };
    write(storage, [stored("debian"), event(1).new_row()]).await;
    let plan = done("plan", storage.reads().plan(EventId(1)).await);
    assert_eq!(plan, Some(plan_of("debian")), "a plan comes back with its reasons and exclusions");
    write(storage, [stored("app")]).await;
    assert_eq!(done("plan", storage.reads().plan(EventId(1)).await), Some(plan_of("app")), "a later plan replaces it");
    assert_eq!(done("plan", storage.reads().plan(EventId(2)).await), None, "no plan");
}

pub(super) async fn the_overview_counts(world: World<'_>) {
    let storage = world.storage;
    assert_eq!(done("overview", storage.reads().overview().await), Overview::default(), "an empty storage");
    write(storage, BuildState::ALL.iter().zip(1..).map(|(state, id)| build_in(id, *state).new_row())).await;
    let states = [EventState::Initialized, EventState::Building, EventState::Complete];
    write(storage, states.iter().zip(1..).map(|(state, id)| EventRecord { state: *state, ..event(id) }.new_row()))
        .await;
    let states = [
        InboxState::New,
        InboxState::Claimed,
        InboxState::Done,
        InboxState::Ignored,
        InboxState::Dead,
        InboxState::Dead,
    ];
    let rows =
        states.iter().zip(1..).map(|(state, id)| InboxRecord { state: *state, ..message("amqp", &format!("{id}")) });
    write(storage, rows.map(RowChange::Receive).chain([RowChange::Notification(notification("1", 1))])).await;
    let mut expected = Overview {
        messages_waiting: 2,
        messages_dead: 2,
        events_open: 2,
        builds_waiting: 2,
        builds_running: 4,
        builds_done: 1,
        builds_reused: 1,
        builds_failed: 2,
        builds_canceled: 1,
        notifications_waiting: 1,
    };
    assert_eq!(done("overview", storage.reads().overview().await), expected, "everything is counted where it belongs");
    let ready = build_in(1, BuildState::Ready);
    let stale = RowChange::Event { record: Box::new(event(2)), expected: Some(9) };
    let refused = storage.commit(Commit::unfenced(vec![ready.clone().next_row(), build(90).new_row(), stale])).await;
    assert!(refused.is_err(), "decided on an older version");
    assert_eq!(done("overview", storage.reads().overview().await), expected, "what was refused is not counted");
    let rows = [ready.next_row(), build_in(2, BuildState::Reused).next_row(), event(1).next_row()];
    write(storage, rows).await;
    claim_all(world).await;
    (expected.builds_waiting, expected.builds_reused) = (1, 2);
    assert_eq!(done("overview", storage.reads().overview().await), expected, "changes are counted");
}

async fn claim_all(world: World<'_>) {
    let claim =
        Claim { run: world.lease().await.run, holding: Vec::new(), limit: 9, pause_max: Duration::from_secs(300) };
    done("claim", world.storage.claim(&claim).await);
}
