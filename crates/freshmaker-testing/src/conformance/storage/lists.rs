use super::sample::{New, at, attempt, build, build_in, cause, dependency, event, message};
use super::{World, done, ids, write};
use freshmaker::Reason;
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, EventCount, EventFilter, NeededBuild, Paging,
};
use freshmaker::rebuild::{
    AttemptRecord, AttemptState, BuildId, BuildRecord, BuildState, Dependency, DependencyKind, EventId, EventRecord,
    EventState, ExternalId, InboxRecord, InboxState, Output, RowChange,
};

pub(super) async fn events_are_filtered(World { storage, .. }: World<'_>) {
    let states = [EventState::Building, EventState::Complete, EventState::Failed, EventState::Complete];
    let row = |(id, state): (i64, EventState)| {
        let mut row = EventRecord { state, created_at: at(id), ..event(id) };
        row.envelope.kind = if id < 3 { "low".into() } else { "high".into() };
        row.envelope.requester = (id == 2).then(|| "alice".into());
        row.reason = Reason::new(if id == 4 { "odd" } else { "usual" }, "why");
        row
    };
    write(storage, (1..).zip(states).map(row).map(New::new_row)).await;
    let find = async |why: &str, filter: EventFilter, expected: &[i64]| {
        let page = done("events", storage.reads().events(filter, Paging::first(9).counted()).await);
        assert_eq!(ids(&page.items, |row| row.id.0), expected, "{why}");
        assert_eq!((page.total, page.next), (Some(expected.len() as u64), None), "{why}: and as many");
    };
    let all = EventFilter::default;
    find("newest first", all(), &[4, 3, 2, 1]).await;
    let states = vec![EventState::Complete, EventState::Building];
    find("by state", EventFilter { states: states.clone(), ..all() }, &[4, 2, 1]).await;
    find("by number", EventFilter { ids: vec![EventId(3), EventId(1), EventId(9)], ..all() }, &[3, 1]).await;
    find("by kind", EventFilter { kinds: vec!["low".into()], ..all() }, &[2, 1]).await;
    find("by any kind", EventFilter { kinds: vec!["low".into(), "high".into()], ..all() }, &[4, 3, 2, 1]).await;
    let search_keys = vec!["image-2".into(), "image-3".into()];
    find("by what it is about", EventFilter { search_keys, ..all() }, &[3, 2]).await;
    find("by message", EventFilter { message_ids: vec!["m2".into()], ..all() }, &[2]).await;
    find("by requester", EventFilter { requesters: vec!["alice".into()], ..all() }, &[2]).await;
    find("by another requester", EventFilter { requesters: vec!["Alice".into()], ..all() }, &[]).await;
    find("by reason", EventFilter { reason_codes: vec!["odd".into()], ..all() }, &[4]).await;
    let span = EventFilter { created_from: Some(at(2)), created_until: Some(at(4)), ..all() };
    find("by time: from a moment to before another", span.clone(), &[3, 2]).await;
    find("all of a filter holds", EventFilter { states, ..span }, &[2]).await;

    let count =
        |kind: &str, state, code: &str, count| EventCount { kind: kind.into(), state, reason_code: code.into(), count };
    let expected = [
        count("high", EventState::Complete, "odd", 1),
        count("high", EventState::Failed, "usual", 1),
        count("low", EventState::Building, "usual", 1),
        count("low", EventState::Complete, "usual", 1),
    ];
    assert_eq!(done("count_events", storage.reads().count_events(all()).await), expected, "in order");
    let low = EventFilter { kinds: vec!["low".into()], ..all() };
    assert_eq!(done("count_events", storage.reads().count_events(low).await), expected[2..], "of those that fit");
}

pub(super) async fn pages_follow_each_other(World { storage, .. }: World<'_>) {
    write(storage, (1..=5).map(|id| event(id).new_row())).await;
    let page = async |paging: Paging| {
        let page = done("events", storage.reads().events(EventFilter::default(), paging).await);
        (ids(&page.items, |row| row.id.0), page.next, page.total)
    };
    let two = Paging::first(2);
    assert_eq!(page(two).await, (vec![5, 4], Some(4), None), "the first page says what the next is behind");
    assert_eq!(page(two.behind(4)).await, (vec![3, 2], Some(2), None));
    write(storage, [event(6).new_row()]).await;
    assert_eq!(page(two.behind(2)).await, (vec![1], None, None), "what is added meanwhile moves nothing");
    assert_eq!(page(two.behind(1)).await, (vec![], None, None), "behind the end");
    assert_eq!(page(Paging::first(6)).await.1, None, "a full page may be the last one");
    assert_eq!(page(two.oldest_first()).await, (vec![1, 2], Some(2), None), "the other way");
    assert_eq!(page(two.oldest_first().behind(5)).await, (vec![6], None, None));
    assert_eq!(page(two.skip(1).counted()).await, (vec![5, 4], Some(4), Some(6)), "the whole length, if asked for");
    assert_eq!(page(two.skip(9).counted()).await, (vec![], None, Some(6)), "a page after the end");
    let far = Paging { offset: u64::MAX, limit: u32::MAX, ..two.counted() };
    assert_eq!(page(far).await, (vec![], None, Some(6)), "far after the end");
    assert_eq!(page(Paging::first(0)).await.0, Vec::<i64>::new(), "a page of nothing");
    assert_eq!(page(two.brief()).await, page(two).await, "the same rows, whether or not all of each");
    let all = async |paging: Paging, max| {
        let read = |paging| storage.reads().events(EventFilter::default(), paging);
        let all = done("all events", paging.collect(max, read).await);
        (ids(&all.items, |row| row.id.0), all.next, all.total)
    };
    assert_eq!(all(two, usize::MAX).await, (vec![6, 5, 4, 3, 2, 1], None, None), "page by page");
    assert_eq!(all(two.oldest_first().counted(), 3).await, (vec![1, 2, 3, 4], Some(4), Some(6)), "up to a bound");
    assert_eq!(all(two.skip(1), usize::MAX).await.0, [5, 4, 3, 2, 1], "only the first page leaves rows out");

    let rows = ["a", "b", "c"].map(|id| InboxRecord { state: InboxState::Dead, ..message("amqp", id) });
    write(storage, rows.map(RowChange::Receive)).await;
    let dead = async |paging| done("messages", storage.reads().messages(vec![InboxState::Dead], paging).await);
    let first = dead(two).await;
    assert_eq!(ids(&first.items, |row| row.message_id.clone()), ["c", "b"]);
    let next = first.next.unwrap_or_else(|| panic!("there is another message"));
    assert_eq!(ids(&dead(two.behind(next)).await.items, |row| row.message_id.clone()), ["a"]);
    assert_eq!(ids(&dead(two.oldest_first()).await.items, |row| row.message_id.clone()), ["a", "b"]);
}

async fn builds(world: World<'_>) {
    let states = [BuildState::Done, BuildState::Ready, BuildState::Failed];
    let rows = (1..).zip(states).map(|(id, state)| BuildRecord { created_at: at(id), ..build_in(id, state) });
    let mut rows: Vec<_> = rows.collect();
    rows[0].output = Some(Output { name: "app-1-2".into(), digest: None, contents: None });
    rows[0].key.artifact = "app-server-1-1".into();
    rows[1].key.artifact = "app-1-1".into();
    rows[2].key.artifact = "app".into();
    rows[2].kind = ArtifactKind::Repository;
    rows[2].key.system = "odcs".into();
    rows[2].reason = Reason::new("refused", "no");
    let mut again = build(4);
    again.key = freshmaker::rebuild::BuildKey { artifact: "app-server-1-1".into(), ..rows[0].key.clone() };
    again.created_at = at(4);
    rows.push(again);
    let mut withdrawn = cause(3, 1);
    withdrawn.live = false;
    let mut other = event(2);
    other.envelope.kind = "other".into();
    let known = AttemptRecord { external: Some(ExternalId::new("77")), ..attempt("a", 2) };
    let rows = rows.into_iter().map(New::new_row).chain([event(1).new_row(), other.new_row(), known.new_row()]);
    let causes = [cause(1, 1), withdrawn, cause(4, 2), cause(4, 1)].map(RowChange::Cause);
    write(world.storage, rows.chain(causes).chain([RowChange::Dependency(dependency(1, 2))])).await;
}

pub(super) async fn builds_are_filtered(world: World<'_>) {
    builds(world).await;
    let storage = world.storage;
    let find = async |why: &str, filter: BuildFilter, expected: &[i64]| {
        let page = done("builds", storage.reads().builds(filter, Paging::first(9).counted()).await);
        assert_eq!(ids(&page.items, |row| row.id.0), expected, "{why}");
        assert_eq!((page.total, page.next), (Some(expected.len() as u64), None), "{why}: and as many");
    };
    let all = BuildFilter::default;
    find("newest first", all(), &[4, 3, 2, 1]).await;
    let states = vec![BuildState::Ready, BuildState::Failed];
    find("by state", BuildFilter { states, ..all() }, &[4, 3, 2]).await;
    find("by number", BuildFilter { ids: vec![BuildId(3), BuildId(1)], ..all() }, &[3, 1]).await;
    let of_event = BuildFilter { events: vec![EventId(1)], ..all() };
    find("by event, withdrawn or not", of_event.clone(), &[4, 3, 1]).await;
    find("by any event, each once", BuildFilter { events: vec![EventId(1), EventId(2)], ..all() }, &[4, 3, 1]).await;
    find("by kind of event", BuildFilter { event_kinds: vec!["other".into()], ..all() }, &[4]).await;
    find("by what an event is about", BuildFilter { search_keys: vec!["image-1".into()], ..all() }, &[4, 3, 1]).await;
    let artifacts = vec!["app-server-1-1".into()];
    find("by artifact", BuildFilter { artifacts: artifacts.clone(), ..all() }, &[4, 1]).await;
    find("by name: the whole id, or that in an NVR", BuildFilter { names: vec!["app".into()], ..all() }, &[3, 2]).await;
    find("by a name with a hyphen", BuildFilter { names: vec!["app-server".into()], ..all() }, &[4, 1]).await;
    find("not by a pattern", BuildFilter { names: vec!["a%".into(), "ap_".into()], ..all() }, &[]).await;
    find("not by other letters", BuildFilter { names: vec!["APP".into()], ..all() }, &[]).await;
    find("by kind", BuildFilter { kinds: vec![ArtifactKind::Repository], ..all() }, &[3]).await;
    find("by build system", BuildFilter { systems: vec!["odcs".into()], ..all() }, &[3]).await;
    find("by reason", BuildFilter { reason_codes: vec!["refused".into()], ..all() }, &[3]).await;
    find("by output", BuildFilter { outputs: vec!["app-1-2".into()], ..all() }, &[1]).await;
    find("by external id", BuildFilter { externals: vec![ExternalId::new("77")], ..all() }, &[2]).await;
    find("by parent", BuildFilter { parents: vec![BuildId(1)], ..all() }, &[2]).await;
    let span = BuildFilter { created_from: Some(at(2)), created_until: Some(at(4)), ..all() };
    find("by time: from a moment to before another", span, &[3, 2]).await;
    find("all of a filter holds", BuildFilter { artifacts, ..of_event }, &[4, 1]).await;
}

pub(super) async fn builds_are_counted_and_linked(world: World<'_>) {
    builds(world).await;
    let reads = world.storage.reads();
    let system = build(1).key.system;
    let code = build(1).reason.code;
    let row = |system: &str, state, code: &str, count| BuildCount {
        system: system.into(),
        state,
        reason_code: code.into(),
        count,
    };
    let mut expected = vec![
        row("odcs", BuildState::Failed, "refused", 1),
        row(&system, BuildState::Ready, &code, 2),
        row(&system, BuildState::Done, &code, 1),
    ];
    expected.sort();
    assert_eq!(done("count_builds", reads.count_builds(BuildFilter::default()).await), expected, "in order");
    let of_event = BuildFilter { events: vec![EventId(2)], ..BuildFilter::default() };
    assert_eq!(
        done("count_builds", reads.count_builds(of_event).await),
        [row(&system, BuildState::Ready, &code, 1)],
        "of those that fit"
    );
    let links = done("links", reads.links(vec![BuildId(4), BuildId(2)]).await);
    assert_eq!(links.causes, [cause(4, 1), cause(4, 2)], "by build, then event");
    assert_eq!(links.dependencies, [dependency(1, 2)], "with the parents");
    assert_eq!(done("links", reads.links(vec![BuildId(1)]).await).dependencies, [dependency(1, 2)], "and the children");
    let attempts = done("attempts", reads.attempts(vec![BuildId(1), BuildId(2)]).await);
    assert_eq!(ids(&attempts, |attempt| attempt.build), [BuildId(2)]);
}

pub(super) async fn events_come_with_counts(world: World<'_>) {
    builds(world).await;
    let find = async |filter, paging| {
        done("events_with_counts", world.storage.reads().events_with_counts(filter, paging).await)
    };
    let page = find(EventFilter::default(), Paging::first(9).counted()).await;
    assert_eq!((ids(&page.items, |(event, _)| event.id.0), page.total), (vec![2, 1], Some(2)), "as events alone");
    let caused = |kind, state, live| CausedCount { kind, state, live, count: 1 };
    let waits = caused(ArtifactKind::Image, BuildState::Ready, true);
    assert_eq!(page.items[0].1, std::slice::from_ref(&waits));
    assert_eq!(
        page.items[1].1,
        [
            waits,
            caused(ArtifactKind::Image, BuildState::Done, true),
            caused(ArtifactKind::Repository, BuildState::Failed, false),
        ],
        "in order; a build of two events counts for each, and one that was withdrawn apart"
    );
    let more = [build(5), build(6)].map(|row| BuildRecord { kind: ArtifactKind::Image, ..row });
    let causes = [cause(5, 2), cause(6, 2)].map(RowChange::Cause);
    write(world.storage, more.into_iter().map(New::new_row).chain(causes)).await;
    let one = EventFilter { ids: vec![EventId(2)], ..EventFilter::default() };
    let waiting = CausedCount { count: 3, ..caused(ArtifactKind::Image, BuildState::Ready, true) };
    assert_eq!(find(one, Paging::first(1)).await.items[0].1, [waiting], "counted together");
    let none = EventFilter { ids: vec![EventId(9)], ..EventFilter::default() };
    assert_eq!(find(none, Paging::first(1)).await.items, []);
}

pub(super) async fn builds_come_with_links(world: World<'_>) {
    builds(world).await;
    let tried = |id, number, external: Option<&str>| AttemptRecord {
        number,
        state: AttemptState::Failed,
        external: external.map(ExternalId::new),
        ..attempt(id, 1)
    };
    let tries = [tried("b", 2, Some("9")), tried("c", 1, Some("10")), tried("d", 3, None)].map(New::new_row);
    let after = Dependency { kind: DependencyKind::After, ..dependency(4, 2) };
    let edges = [dependency(3, 2), after].map(RowChange::Dependency);
    write(world.storage, tries.into_iter().chain(edges)).await;
    let find =
        async |filter, paging| done("builds_with_links", world.storage.reads().builds_with_links(filter, paging).await);
    let page = find(BuildFilter::default(), Paging::first(3).counted()).await;
    assert_eq!((page.next, page.total), (Some(2), Some(4)), "as builds alone");
    let mut all = page.items;
    all.extend(find(BuildFilter::default(), Paging::first(3).behind(2)).await.items);
    let records = done("builds", world.storage.reads().builds(BuildFilter::default(), Paging::first(9)).await).items;
    assert_eq!(ids(&all, |(build, _)| build.clone()), records);
    let events = |ids: &[i64]| ids.iter().map(|id| EventId(*id)).collect::<Vec<_>>();
    let wanted = all.iter().map(|(build, links)| (build.id.0, &links.wanted_by, &links.withdrawn_by));
    let expected = [(4, &[1, 2][..], &[][..]), (3, &[], &[1]), (2, &[], &[]), (1, &[1], &[])];
    let expected = expected.map(|(id, live, withdrawn)| (id, events(live), events(withdrawn)));
    let expected = expected.iter().map(|(id, live, withdrawn)| (*id, live, withdrawn));
    assert!(wanted.eq(expected), "the first event first: {all:?}");
    let needs = |build: &BuildLinks| build.needs.iter().map(|parent| (**parent).clone()).collect::<Vec<_>>();
    let [first, second] = [&records[3], &records[1]].map(NeededBuild::of);
    assert_eq!(needs(&all[2].1), [first, second], "by number, and only what it is made from");
    assert!([0, 1, 3].iter().all(|place| all[*place].1.needs.is_empty()));
    let named = |text| Some(ExternalId::new(text));
    assert_eq!(ids(&all, |(_, links)| links.external.clone()), [None, None, named("77"), named("9")], "of the latest");
}
