use super::sample::{New, Next, at, attempt, build, build_in, cause, dependency, event, transition};
use super::{World, done, write};
use freshmaker::backend::{Storage, Violation};
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildRecord, BuildState, Cause, Dependency, EventRecord, EventState, RowChange,
};

/// An event with a build done, one running, one that waits for both and one that another event
/// withdrew from.
async fn sound(storage: &dyn Storage) {
    let counted = EventRecord { builds_open: 2, builds_done: 1, builds_failed: 1, ..event(1) };
    let ended = EventRecord { state: EventState::Complete, done_at: Some(at(9)), builds_done: 1, ..event(2) };
    write(storage, [counted.new_row(), ended.new_row()]).await;
    let blocked = BuildRecord { pending: 1, ..build_in(3, BuildState::Blocked) };
    let rows = [build_in(1, BuildState::Done), build_in(2, BuildState::Building), blocked];
    write(storage, rows.map(New::new_row)).await;
    write(storage, [build_in(4, BuildState::Failed).new_row()]).await;
    let satisfied = Dependency { satisfied: true, ..dependency(1, 3) };
    write(storage, [satisfied, dependency(2, 3)].map(RowChange::Dependency)).await;
    let withdrawn = Cause { live: false, ..cause(2, 2) };
    let causes = [cause(1, 1), cause(2, 1), cause(3, 1), cause(4, 1), cause(1, 2), withdrawn];
    write(storage, causes.map(RowChange::Cause)).await;
    let ended = AttemptRecord { state: AttemptState::Succeeded, ..attempt("a1", 1) };
    write(storage, [ended.new_row(), attempt("a2", 2).new_row()]).await;
    let history = [
        transition("event", "1", 0, None, "BUILDING"),
        transition("attempt", "a2", 0, None, "INTENT"),
        transition("build", "3", 0, None, "BLOCKED"),
    ];
    write(storage, history.map(RowChange::Transition)).await;
}

async fn violations(storage: &dyn Storage) -> Vec<Violation> {
    done("verify", storage.reads().check_consistency().await)
}

/// Plants a change, expects exactly these rules to be broken, and takes it back.
async fn breaks(storage: &dyn Storage, rules: &[&str], change: RowChange, back: RowChange) {
    write(storage, [change.clone()]).await;
    let found = violations(storage).await;
    let mut names: Vec<_> = found.iter().map(|violation| violation.rule.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, rules, "after {change:?}: {found:?}");
    write(storage, [back]).await;
    assert_eq!(violations(storage).await, [], "after {change:?} was taken back");
}

/// A build's changed row, and the row that takes it back.
fn for_a_while(plain: BuildRecord, change: impl FnOnce(&mut BuildRecord)) -> (RowChange, RowChange) {
    let mut changed = plain.clone();
    change(&mut changed);
    let back = BuildRecord { version: plain.version + 1, ..plain };
    (changed.next_row(), back.next_row())
}

pub(super) async fn sound_rows_have_no_violations(World { storage, .. }: World<'_>) {
    assert_eq!(violations(storage).await, [], "an empty storage is sound");
    sound(storage).await;
    assert_eq!(violations(storage).await, [], "these rows are sound");
}

pub(super) async fn wrong_counters_are_found(World { storage, .. }: World<'_>) {
    sound(storage).await;
    let blocked = BuildRecord { pending: 1, ..build_in(3, BuildState::Blocked) };
    let (change, back) = for_a_while(blocked.clone(), |row| row.pending = 2);
    breaks(storage, &["pending"], change, back).await;
    let missed = RowChange::Dependency(Dependency { satisfied: true, ..dependency(2, 3) });
    breaks(storage, &["pending"], missed, RowChange::Dependency(dependency(2, 3))).await;
    let unwanted = BuildRecord { cancel_at: Some(at(1)), ..build(7) };
    write(storage, [unwanted.clone().new_row()]).await;
    let (change, back) = for_a_while(unwanted, |row| row.state = BuildState::Blocked);
    breaks(storage, &["blocked"], change, back).await;

    let counted = EventRecord { builds_open: 2, builds_done: 1, builds_failed: 1, ..event(1) };
    let wrong: [fn(&mut EventRecord); 3] =
        [|row| row.builds_open = 1, |row| row.builds_done = 0, |row| row.builds_failed = 2];
    for (version, change) in (0..).step_by(2).zip(wrong) {
        let mut changed = EventRecord { version, ..counted.clone() };
        change(&mut changed);
        let back = EventRecord { version: version + 1, ..counted.clone() };
        breaks(storage, &["counters"], changed.next_row(), back.next_row()).await;
    }
    let withdrawn = RowChange::Cause(Cause { live: false, ..cause(2, 1) });
    breaks(storage, &["cause", "counters"], withdrawn, RowChange::Cause(cause(2, 1))).await;
}

pub(super) async fn cycles_are_found(World { storage, .. }: World<'_>) {
    sound(storage).await;
    let satisfied = Dependency { satisfied: true, ..dependency(3, 2) };
    write(storage, [RowChange::Dependency(satisfied.clone())]).await;
    let (closed, back) = (RowChange::Dependency(dependency(3, 2)), RowChange::Dependency(satisfied));
    breaks(storage, &["cycle", "pending"], closed, back).await;
}

pub(super) async fn wrong_ends_are_found(World { storage, .. }: World<'_>) {
    sound(storage).await;
    let (change, back) = for_a_while(build_in(1, BuildState::Done), |row| row.done_at = None);
    breaks(storage, &["done_at"], change, back).await;
    let (change, back) = for_a_while(build_in(2, BuildState::Building), |row| row.done_at = Some(at(1)));
    breaks(storage, &["done_at"], change, back).await;

    let live = attempt("b1", 4);
    let ended = AttemptRecord { state: AttemptState::NotSubmitted, version: 1, ..live.clone() };
    write(storage, [AttemptRecord { state: AttemptState::NotSubmitted, ..live.clone() }.new_row()]).await;
    breaks(storage, &["ended_live_attempt"], live.next_row(), ended.next_row()).await;

    let ended = EventRecord { state: EventState::Complete, done_at: Some(at(9)), builds_done: 1, ..event(2) };
    let open = EventRecord { state: EventState::Building, done_at: None, ..ended.clone() };
    let back = EventRecord { version: 1, ..ended };
    breaks(storage, &["event_open"], open.next_row(), back.next_row()).await;
    let counted = EventRecord { builds_open: 2, builds_done: 1, builds_failed: 1, ..event(1) };
    let early = EventRecord { state: EventState::Failed, done_at: Some(at(9)), version: 1, ..counted.clone() };
    write(storage, [counted.next_row()]).await;
    write(storage, [early.next_row()]).await;
    let rules: Vec<_> = violations(storage).await.into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, ["transition_state", "event_open"], "an event that ended before its builds");
}

pub(super) async fn wrong_histories_are_found(World { storage, .. }: World<'_>) {
    write(storage, [BuildRecord { version: 9, cancel_at: Some(at(1)), ..build(1) }.new_row()]).await;
    let step = |version, from, to| RowChange::Transition(transition("build", "1", version, from, to));
    let expect = async |rules: &[&str], why: &str| {
        let found = violations(storage).await;
        let mut names: Vec<_> = found.iter().map(|violation| violation.rule.as_str()).collect();
        // Histories may be compared in any order.
        names.sort_unstable();
        assert_eq!(names, rules, "{why}: {found:?}");
    };
    write(storage, [step(0, None, "BLOCKED"), step(1, Some("BLOCKED"), "READY")]).await;
    expect(&[], "a sound history").await;
    write(storage, [step(2, Some("READY"), "DONE")]).await;
    expect(&["transition_legal", "transition_state"], "a step that is not legal, to a state the row is not in").await;
    write(storage, [step(3, Some("BUILDING"), "READY")]).await;
    expect(&["transition_chain", "transition_legal"], "a step that does not begin where the last one ended").await;
    write(storage, [step(10, Some("READY"), "SUBMITTING"), step(11, Some("SUBMITTING"), "READY")]).await;
    let rules = ["transition_chain", "transition_legal", "transition_state"];
    expect(&rules, "a history that is ahead of its row").await;
    write(storage, [RowChange::Transition(transition("event", "5", 0, None, "BUILDING"))]).await;
    let rules = ["transition_chain", "transition_legal", "transition_row", "transition_state"];
    expect(&rules, "a history without a row").await;
}
