use super::sample::{New, at, attempt, build_in, cause, event, message, transition};
use super::{World, done, refused, write};
use freshmaker::backend::{EventFilter, Paging, Remedy, Retention, Storage, Swept};
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildRecord, BuildState, Dependency, DependencyKind, EventId, EventRecord,
    EventState, InboxRecord, InboxState, Output, RowChange, RowKey, RunId,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn keep(change: impl FnOnce(&mut Retention)) -> Retention {
    let mut retention = Retention::default();
    retention.messages = None;
    change(&mut retention);
    retention
}

/// An event that ended at this second.
fn ended(id: i64, seconds: i64) -> RowChange {
    EventRecord { state: EventState::Complete, done_at: Some(at(seconds)), builds_open: 0, ..event(id) }.new_row()
}

/// A build of `app` that has ended, with an output or without.
fn built(id: i64, output: bool) -> BuildRecord {
    let mut row = build_in(id, BuildState::Done);
    row.key.artifact = "app".into();
    row.done_at = Some(at(1));
    row.output = output.then(|| Output { name: format!("app-{id}"), digest: None, contents: None });
    row
}

async fn events(storage: &dyn Storage) -> Vec<i64> {
    let page = done("events", storage.reads().events(EventFilter::default(), Paging::first(99)).await);
    page.items.iter().map(|event| event.id.0).rev().collect()
}

async fn builds(storage: &dyn Storage) -> Vec<i64> {
    let page = done("builds", storage.reads().builds(Default::default(), Paging::first(99)).await);
    page.items.iter().map(|build| build.id.0).rev().collect()
}

async fn sweep(storage: &dyn Storage, run: RunId, retention: Retention) -> Swept {
    done("sweep", storage.upkeep().sweep(run, retention, 9).await)
}

pub(super) async fn ended_events_go_by_age_and_number(world: World<'_>) {
    let storage = world.storage;
    let run = world.lease().await.run;
    write(storage, [ended(1, 1), ended(2, 2), event(3).new_row(), ended(4, 4), ended(5, 5)]).await;
    write(storage, [RowChange::Transition(transition("event", "1", 1, None, "COMPLETE"))]).await;
    world.pass_to(8);
    let retention = keep(|retention| retention.events = Some(SECOND * 7));
    assert_eq!(sweep(storage, run, retention).await, Swept { events: 1, ..Swept::default() });
    assert_eq!(events(storage).await, [2, 3, 4, 5], "what ended more than seven seconds ago is gone");
    assert_eq!(
        done("transitions", storage.reads().transitions(&RowKey::Event(EventId(1))).await),
        [],
        "with its history"
    );
    let retention = keep(|retention| retention.events_max = Some(2));
    assert_eq!(sweep(storage, run, retention).await.events, 1);
    assert_eq!(events(storage).await, [3, 4, 5], "two that have ended are left, and the open one");
    assert_eq!(sweep(storage, run, retention).await, Swept::default());
    let retention = keep(|_| {});
    world.pass_to(9_000_000);
    assert_eq!(sweep(storage, run, retention).await, Swept::default(), "nothing is removed unasked");
    let few = done("sweep", storage.upkeep().sweep(run, keep(|retention| retention.events_max = Some(0)), 1).await);
    assert_eq!(few.events, 1, "no more than asked for");
}

pub(super) async fn builds_go_when_nobody_needs_them(world: World<'_>) {
    let storage = world.storage;
    let run = world.lease().await.run;
    write(storage, [ended(1, 1), event(2).new_row()]).await;
    let mut open = build_in(14, BuildState::Blocked);
    open.pending = 1;
    let rows = [built(10, true), built(11, false), built(12, true), built(13, false), open, built(15, false)];
    write(storage, rows.map(New::new_row)).await;
    write(storage, [10, 11, 12, 13].map(|build| RowChange::Cause(cause(build, 1)))).await;
    write(storage, [14, 15].map(|build| RowChange::Cause(cause(build, 2)))).await;
    let edge = |parent, child, satisfied| {
        let (parent, child) = (freshmaker::rebuild::BuildId(parent), freshmaker::rebuild::BuildId(child));
        RowChange::Dependency(Dependency { parent, child, kind: DependencyKind::Needs, satisfied })
    };
    write(storage, [edge(10, 11, true), edge(13, 14, true)]).await;
    let tried = AttemptRecord { state: AttemptState::Succeeded, observed_at: Some(at(1)), ..attempt("tried", 10) };
    write(storage, [tried.new_row(), RowChange::Transition(transition("build", "10", 1, None, "DONE"))]).await;
    world.pass_to(8);
    let retention = keep(|retention| retention.events = Some(SECOND));
    assert_eq!(sweep(storage, run, retention).await, Swept { events: 1, builds: 2, messages: 0 });
    let kept = [12, 13, 14, 15];
    assert_eq!(builds(storage).await, kept, "kept: the latest output, what an open build needs, and what is wanted");
    assert_eq!(done("attempts", storage.reads().attempts(vec![BuildId(10)]).await), []);
    assert_eq!(
        done("transitions", storage.reads().transitions(&RowKey::Build(BuildId(10))).await),
        [],
        "with its history"
    );
    let newer = built(16, true);
    write(storage, [newer.new_row(), RowChange::Cause(cause(16, 2))]).await;
    assert_eq!(sweep(storage, run, retention).await, Swept { builds: 1, ..Swept::default() });
    assert_eq!(builds(storage).await, [13, 14, 15, 16], "it is no longer the latest output");
}

pub(super) async fn what_is_counted_or_estimated_stays(world: World<'_>) {
    let storage = world.storage;
    let run = world.lease().await.run;
    write(storage, [ended(1, 1), ended(2, 1)]).await;
    let failed = BuildRecord { state: BuildState::Failed, ..built(10, false) };
    let mut child = BuildRecord { state: BuildState::DependencyFailed, pending: 1, ..built(11, false) };
    child.key.artifact = "child".into();
    let mut done_before = built(12, true);
    done_before.key.artifact = "lib".into();
    let mut reused = BuildRecord { state: BuildState::Reused, ..built(13, true) };
    reused.key.artifact = "lib".into();
    write(storage, [failed, child, done_before, reused].map(New::new_row)).await;
    let (parent, child) = (freshmaker::rebuild::BuildId(10), freshmaker::rebuild::BuildId(11));
    let edge = Dependency { parent, child, kind: DependencyKind::Needs, satisfied: false };
    write(storage, [RowChange::Dependency(edge)]).await;
    write(storage, [(10, 1), (12, 1), (13, 1), (11, 2)].map(|(build, event)| RowChange::Cause(cause(build, event))))
        .await;
    let retention = keep(|retention| retention.events_max = Some(1));
    assert_eq!(sweep(storage, run, retention).await, Swept { events: 1, ..Swept::default() });
    assert_eq!(builds(storage).await, [10, 11, 12, 13], "a build that was waited for in vain, and one that has run");
    let pending = done("check", storage.reads().check_consistency().await);
    assert!(pending.iter().all(|violation| violation.rule != "pending"), "{pending:?}");
    let retention = keep(|retention| retention.events_max = Some(0));
    assert_eq!(sweep(storage, run, retention).await, Swept { events: 1, builds: 1, messages: 0 }, "what waited first");
    assert_eq!(sweep(storage, run, retention).await.builds, 1, "then what it waited for");
    assert_eq!(builds(storage).await, [12, 13]);
}

pub(super) async fn messages_go_when_no_event_is_left(world: World<'_>) {
    let storage = world.storage;
    let run = world.lease().await.run;
    let row = |id: &str, state| RowChange::Receive(InboxRecord { state, received_at: at(1), ..message("amqp", id) });
    write(
        storage,
        [
            row("new", InboxState::New),
            row("ignored", InboxState::Ignored),
            row("dead", InboxState::Dead),
            row("event", InboxState::Done),
            row("emitted", InboxState::Done),
        ],
    )
    .await;
    let of = EventRecord { source: "amqp".into(), message_id: "event".into(), ..event(1) };
    write(storage, [EventRecord { state: EventState::Complete, done_at: Some(at(2)), builds_open: 0, ..of }.new_row()])
        .await;
    world.pass_to(100);
    let there = async || {
        let mut names = Vec::new();
        for name in ["new", "ignored", "dead", "event", "emitted"] {
            names.extend(done("message", storage.reads().message("amqp", name).await).map(|_| name));
        }
        names
    };
    let retention = keep(|retention| retention.messages = Some(SECOND * 10));
    assert_eq!(sweep(storage, run, retention).await, Swept { messages: 2, ..Swept::default() });
    assert_eq!(there().await, ["new", "dead", "event"]);
    let retention = keep(|retention| {
        (retention.messages, retention.dead_letters) = (Some(SECOND * 10), Some(SECOND));
        retention.events_max = Some(0);
    });
    assert_eq!(sweep(storage, run, retention).await, Swept { messages: 2, events: 1, builds: 0 });
    assert_eq!(there().await, ["new"], "a message that is not handled is never removed");
    done("release", storage.release(run).await);
    let over = storage.upkeep().sweep(run, retention, 9).await;
    assert_eq!(over.err().map(|error| error.remedy), Some(Remedy::Fenced), "a run that is over removes nothing");
    refused(storage, "a change of what is gone", Remedy::NotFound, [RowChange::Requeue(message("amqp", "dead").key())])
        .await;
}
