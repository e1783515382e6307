use super::sample::{New, attempt, build, build_in, cause, dependency, event, output};
use super::{World, done, write};
use freshmaker::backend::{Scope, Storage};
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildRecord, BuildState, Dependency, DependencyKind, EventId,
    Neighbourhood, RowChange,
};
use std::collections::BTreeMap;

/// A diamond with a tail, two events, and neighbours that belong to nothing named:
///
/// ```text
/// 1 (done) -> 2 -> 4 -> 5        6 -(after)-> 5     event 1: 1 2 3 4    event 2: 4 (withdrawn) 5
///          -> 3 ->                7 alone            1 -> 8 satisfied, 8 has ended, 8 -> 9 satisfied
/// ```
async fn diamond(storage: &dyn Storage) {
    let satisfied = |parent, child| Dependency { satisfied: true, ..dependency(parent, child) };
    let states = [
        (1, BuildState::Done),
        (2, BuildState::Building),
        (3, BuildState::Ready),
        (4, BuildState::Blocked),
        (5, BuildState::Blocked),
        (6, BuildState::Ready),
        (7, BuildState::Ready),
        (8, BuildState::Failed),
        (9, BuildState::Ready),
    ];
    write(storage, [event(1).new_row(), event(2).new_row(), event(3).new_row()]).await;
    write(storage, states.map(|(id, state)| build_in(id, state).new_row())).await;
    let edges = [
        satisfied(1, 2),
        satisfied(1, 3),
        dependency(2, 4),
        dependency(3, 4),
        dependency(4, 5),
        Dependency { kind: DependencyKind::After, ..dependency(6, 5) },
        satisfied(1, 8),
        satisfied(8, 9),
    ];
    write(storage, edges.map(RowChange::Dependency)).await;
    let mut withdrawn = cause(4, 2);
    withdrawn.live = false;
    let causes = [cause(1, 1), cause(2, 1), cause(3, 1), cause(4, 1), withdrawn, cause(5, 2), cause(7, 3), cause(9, 3)];
    write(storage, causes.map(RowChange::Cause)).await;
    let ended = |id, build| AttemptRecord { state: AttemptState::Failed, ..attempt(id, build) };
    let live = AttemptRecord { number: 2, ..attempt("live", 2) };
    write(storage, [ended("old", 2).new_row(), live.new_row(), ended("first", 1).new_row()]).await;
    write(storage, [attempt("other", 7).new_row()]).await;
}

/// No rows, at the moment and with the count of these.
fn nothing(rows: &Neighbourhood) -> Neighbourhood {
    Neighbourhood { at: rows.at, edges: rows.edges, ..Neighbourhood::default() }
}

fn builds(rows: &Neighbourhood) -> Vec<i64> {
    rows.builds.keys().map(|id| id.0).collect()
}

fn edges(rows: &Neighbourhood) -> Vec<(i64, i64)> {
    rows.dependencies.keys().map(|(parent, child)| (parent.0, child.0)).collect()
}

fn causes(rows: &Neighbourhood) -> Vec<(i64, i64)> {
    rows.causes.keys().map(|(build, event)| (build.0, event.0)).collect()
}

fn events(rows: &Neighbourhood) -> Vec<i64> {
    rows.events.keys().map(|id| id.0).collect()
}

fn attempts(rows: &Neighbourhood) -> Vec<&str> {
    rows.attempts.keys().map(AttemptId::as_str).collect()
}

async fn load(storage: &dyn Storage, scope: Scope) -> Neighbourhood {
    done("load", storage.load(&scope).await)
}

pub(super) async fn builds_come_with_what_is_beside_them(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    let rows = load(storage, Scope::Builds(vec![BuildId(2)])).await;
    assert_eq!(builds(&rows), [1, 2, 4], "the build, its parents and its children");
    assert_eq!(edges(&rows), [(1, 2), (2, 4), (3, 4), (4, 5)], "all edges of the build and its children");
    assert_eq!(causes(&rows), [(2, 1), (4, 1), (4, 2)], "the causes of the build and its children, live or not");
    assert_eq!(events(&rows), [1, 2], "the events of these causes");
    assert_eq!(attempts(&rows), ["live"], "live attempts only");
    assert_eq!(rows.builds[&BuildId(4)], build_in(4, BuildState::Blocked), "rows as they are stored");

    let rows = load(storage, Scope::Builds(vec![BuildId(1), BuildId(7)])).await;
    assert_eq!(builds(&rows), [1, 2, 3, 7, 8], "children over satisfied edges too");
    assert_eq!(edges(&rows), [(1, 2), (1, 3), (1, 8), (2, 4), (3, 4), (8, 9)], "edges, not the builds at their ends");
    assert_eq!(attempts(&rows), ["live", "other"], "live attempts of builds and children");

    let rows = load(storage, Scope::Builds(vec![BuildId(5), BuildId(6)])).await;
    assert_eq!(builds(&rows), [4, 5, 6], "parents as rows");
    assert_eq!(edges(&rows), [(4, 5), (6, 5)], "no further edges of parents");
    assert_eq!(causes(&rows), [(5, 2)], "no causes of parents");
    latest_outputs(storage).await;
}

async fn latest_outputs(storage: &dyn Storage) {
    let of_key = |id, state, name: Option<&str>| BuildRecord {
        key: build(2).key,
        output: name.map(output),
        ..build_in(id, state)
    };
    let earlier = [
        of_key(20, BuildState::Done, Some("20")),
        of_key(21, BuildState::Reused, Some("21")),
        of_key(22, BuildState::Canceled, Some("22")),
        of_key(23, BuildState::Done, None),
    ];
    write(storage, earlier.map(New::new_row)).await;
    let rows = load(storage, Scope::Builds(vec![BuildId(2)])).await;
    assert_eq!(builds(&rows), [1, 2, 4, 22], "the latest build of the key that has an output, whatever became of it");
    let rows = load(storage, Scope::Attempt(AttemptId::new("live"))).await;
    assert_eq!(builds(&rows), [1, 2, 4, 22], "the same for the build of an attempt");
    let rows = load(storage, Scope::Descendants(vec![BuildId(2)])).await;
    assert_eq!(builds(&rows), [1, 2, 4, 5], "but not for descendants");
}

pub(super) async fn descendants_are_those_that_wait(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    let rows = load(storage, Scope::Descendants(vec![BuildId(2)])).await;
    assert_eq!(builds(&rows), [1, 2, 4, 5], "all that wait, at any distance, and the parents of the named");
    assert_eq!(edges(&rows), [(1, 2), (2, 4), (3, 4), (4, 5), (6, 5)], "all edges of those");
    assert_eq!(causes(&rows), [(2, 1), (4, 1), (4, 2), (5, 2)], "all causes of those");
    assert_eq!(attempts(&rows), ["live"], "live attempts of those");
    let rows = load(storage, Scope::Descendants(vec![BuildId(1)])).await;
    assert_eq!(builds(&rows), [1], "nobody waits over a satisfied dependency");
    assert_eq!(edges(&rows), [(1, 2), (1, 3), (1, 8)], "satisfied dependencies are rows all the same");
    let rows = load(storage, Scope::Descendants(vec![BuildId(2), BuildId(3)])).await;
    assert_eq!(builds(&rows), [1, 2, 3, 4, 5], "a diamond is loaded once");
}

pub(super) async fn a_renewal_comes_with_what_prepares_its_parents(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    let renewed = BuildRecord { key: build(1).key, ..build_in(30, BuildState::Building) };
    let of_key = |id, name: Option<&str>| BuildRecord {
        key: build(1).key,
        output: name.map(output),
        ..build_in(id, BuildState::Done)
    };
    write(storage, [of_key(27, Some("27")), of_key(28, Some("28")), of_key(29, None)].map(New::new_row)).await;
    write(storage, [renewed.new_row(), RowChange::Cause(cause(30, 3))]).await;
    let rows = load(storage, Scope::Renewal(BuildId(2))).await;
    assert_eq!(
        builds(&rows),
        [1, 2, 4, 5, 28, 30],
        "as for descendants, and of a parent's key what is open and its latest output"
    );
    assert_eq!(causes(&rows), [(2, 1), (4, 1), (4, 2), (5, 2), (30, 3)], "with its causes");
    assert_eq!(events(&rows), [1, 2, 3], "and their events");
    let rows = load(storage, Scope::Renewal(BuildId(7))).await;
    assert_eq!(builds(&rows), [7], "without parents there is nothing to prepare");
}

pub(super) async fn several_scopes_are_the_rows_of_each(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    latest_outputs(storage).await;
    let scopes = [
        Scope::Builds(vec![BuildId(2), BuildId(99)]),
        Scope::Builds(vec![BuildId(4)]),
        Scope::Descendants(vec![BuildId(1), BuildId(4)]),
        Scope::Descendants(vec![BuildId(2)]),
        Scope::Renewal(BuildId(2)),
        Scope::Attempt(AttemptId::new("live")),
        Scope::Attempt(AttemptId::new("old")),
        Scope::Event(EventId(2)),
        Scope::Event(EventId(4)),
        Scope::Keys(vec![build(3).key]),
        Scope::All(vec![Scope::Builds(vec![BuildId(7)]), Scope::All(Vec::new())]),
    ];
    for one in &scopes {
        for other in &scopes {
            let both = Scope::All(vec![one.clone(), other.clone()]);
            let (one, other) = (load(storage, one.clone()).await, load(storage, other.clone()).await);
            let rows = load(storage, both.clone()).await;
            assert_eq!(rows.builds, united(one.builds, other.builds), "{both:?}");
            assert_eq!(rows.dependencies, united(one.dependencies, other.dependencies), "{both:?}");
            assert_eq!(rows.causes, united(one.causes, other.causes), "{both:?}");
            assert_eq!(rows.events, united(one.events, other.events), "{both:?}");
            assert_eq!(rows.attempts, united(one.attempts, other.attempts), "{both:?}");
        }
    }
}

fn united<K: Ord, V>(mut one: BTreeMap<K, V>, other: BTreeMap<K, V>) -> BTreeMap<K, V> {
    one.extend(other);
    one
}

pub(super) async fn an_event_comes_with_its_builds(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    let rows = load(storage, Scope::Event(EventId(2))).await;
    assert_eq!(builds(&rows), [2, 3, 4, 5, 6], "what it causes or caused, their parents, and what waits for them");
    assert_eq!(edges(&rows), [(2, 4), (3, 4), (4, 5), (6, 5)], "the edges of what it causes");
    assert_eq!(causes(&rows), [(4, 1), (4, 2), (5, 2)], "causes of the named, not of parents");
    assert_eq!(events(&rows), [1, 2], "all events of these builds");
    write(storage, [event(4).new_row()]).await;
    let rows = load(storage, Scope::Event(EventId(4))).await;
    assert_eq!(events(&rows), [4], "an event without builds is there");
    assert!(rows.builds.is_empty(), "and nothing else");
}

pub(super) async fn an_attempt_comes_with_its_build(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    let rows = load(storage, Scope::Attempt(AttemptId::new("old"))).await;
    assert_eq!(attempts(&rows), ["live", "old"], "the attempt itself even if it has ended, and the live one");
    assert_eq!(builds(&rows), [1, 2, 4], "its build, and what is beside it");
    assert_eq!(edges(&rows), [(1, 2), (2, 4), (3, 4), (4, 5)], "the edges of those");
    assert_eq!(events(&rows), [1, 2], "the events of those");
}

pub(super) async fn keys_come_with_what_is_connected(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    let rows = load(storage, Scope::Keys(vec![build(3).key])).await;
    assert_eq!(builds(&rows), [2, 3, 4, 5, 6], "all that has not ended and is connected in any direction");
    assert_eq!(edges(&rows), [(1, 2), (1, 3), (2, 4), (3, 4), (4, 5), (6, 5)], "all edges of those");
    assert_eq!(causes(&rows), [(2, 1), (3, 1), (4, 1), (4, 2), (5, 2)], "all causes of those");
    assert_eq!(attempts(&rows), ["live"], "live attempts of those");
    let rows = load(storage, Scope::Keys(vec![build(1).key, build(8).key])).await;
    assert_eq!(rows, nothing(&rows), "a build that has ended is not the build of its key");
    let rows = load(storage, Scope::Keys(vec![build(7).key, build(9).key])).await;
    assert_eq!(builds(&rows), [7, 9], "several keys");
}

pub(super) async fn what_is_unknown_is_empty(World { storage, .. }: World<'_>) {
    diamond(storage).await;
    let scopes = [
        Scope::Builds(vec![BuildId(99)]),
        Scope::Builds(vec![]),
        Scope::Descendants(vec![BuildId(99)]),
        Scope::Renewal(BuildId(99)),
        Scope::Attempt(AttemptId::new("none")),
        Scope::Event(EventId(99)),
        Scope::Keys(vec![build(99).key]),
        Scope::Keys(vec![]),
    ];
    for scope in scopes {
        let rows = load(storage, scope.clone()).await;
        assert_eq!(rows, nothing(&rows), "{scope:?}");
    }
    let many = (2..2_000).chain(50_000..90_000).map(BuildId).collect();
    let rows = load(storage, Scope::Builds(many)).await;
    assert_eq!(rows.builds.len(), 9, "a scope may name very many builds");
}
