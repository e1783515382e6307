use super::sample::{at, message};
use super::{World, done, ids, refused, refused_commit, write, write_by};
use freshmaker::Reason;
use freshmaker::backend::{Claim, Paging, Remedy, Storage};
use freshmaker::rebuild::{Commit, InboxRecord, InboxState, RowChange, RunId};
use std::time::Duration;

pub(super) async fn a_message_is_stored_once(world: World<'_>) {
    let storage = world.storage;
    let mut again = message("amqp", "1");
    again.message.body = b"another".to_vec();
    again.received_at = at(9);
    let stored = [message("amqp", "1"), message("stomp", "1")].map(RowChange::Receive);
    write(storage, stored.into_iter().chain([RowChange::Receive(again.clone())])).await;
    write(storage, [RowChange::Receive(again)]).await;
    let found = done("message", storage.reads().message("amqp", "1").await);
    assert_eq!(found, Some(message("amqp", "1")), "storing a message again changes nothing");
    assert_eq!(done("message", storage.reads().message("amqp", "2").await), None, "a message that never came");
    let run = world.lease().await.run;
    let claimed = claim(storage, run, 10, &[]).await;
    let sources = ids(&claimed, |row| row.source.clone());
    assert_eq!(sources, ["amqp", "stomp"], "a message is unique within its source");
    let unknown = Commit::by(run, vec![RowChange::Inbox(message("amqp", "2"))]);
    refused_commit(storage, "a change of a message that never came", Remedy::NotFound, unknown).await;
}

pub(super) async fn messages_are_claimed_oldest_first(world: World<'_>) {
    let storage = world.storage;
    let mut late = message("amqp", "late");
    late.not_before = Some(at(8));
    let mut old = message("amqp", "zz");
    old.received_at = at(-9);
    let rows = [message("amqp", "b"), late, message("amqp", "a"), old];
    write(storage, rows.map(RowChange::Receive)).await;
    let run = world.lease().await.run;
    let first = claim(storage, run, 2, &[]).await;
    assert_eq!(ids(&first, |row| row.message_id.clone()), ["b", "a"], "in the order of storing, as many as asked for");
    for row in &first {
        assert_eq!((row.state, row.tries, row.run), (InboxState::Claimed, 0, run), "a claimed message says so");
        let stored = done("message", storage.reads().message("amqp", &row.message_id).await);
        assert_eq!(stored.as_ref(), Some(row), "a claim is stored");
    }
    world.pass_to(7);
    let names = async |holding: &[&str]| ids(&claim(storage, run, 9, holding).await, |row| row.message_id.clone());
    assert_eq!(names(&["a", "b"]).await, ["zz"], "not before its time");
    world.pass_to(8);
    assert_eq!(names(&["a", "b", "zz"]).await, ["late"], "at its time");
    assert_eq!(claim(storage, run, 0, &[]).await, [], "none if none is asked for");
}

pub(super) async fn only_what_no_living_run_handles_is_claimed_again(world: World<'_>) {
    let storage = world.storage;
    write(storage, ["1", "2", "3"].map(|id| RowChange::Receive(message("amqp", id)))).await;
    let (first, second) = (world.lease().await, world.lease().await);
    let claimed = claim(storage, first.run, 2, &[]).await;
    let handled = InboxRecord { state: InboxState::Done, ..claimed[0].clone() };
    write_by(storage, first.run, [RowChange::Inbox(handled)]).await;
    let names = |rows: Vec<InboxRecord>| ids(&rows, |row| row.message_id.clone());
    assert_eq!(names(claim(storage, second.run, 9, &[]).await), ["3"], "what a living run handles is not free");
    assert_eq!(names(claim(storage, first.run, 9, &["2"]).await), [""; 0], "not again what the run itself holds");
    let lost = claim(storage, first.run, 9, &[]).await;
    assert_eq!(names(lost.clone()), ["2"], "what the run claimed without knowing it comes again");
    assert_eq!(lost[0].tries, 0, "the run has not died");

    done("release", storage.release(first.run).await);
    let again = claim(storage, second.run, 9, &["3"]).await;
    assert_eq!(ids(&again, |row| (row.message_id.clone(), row.run)), [("2".to_owned(), second.run)], "its run is over");
    assert_eq!(again[0].tries, 0, "a run that was released has not died");
    let later = InboxRecord {
        state: InboxState::New,
        not_before: Some(at(7)),
        reason: Some(Reason::new("catalog", "the catalog is away")),
        ..again[0].clone()
    };
    write_by(storage, second.run, [RowChange::Inbox(later.clone())]).await;
    assert_eq!(
        done("message", storage.reads().message("amqp", "2").await),
        Some(later),
        "a message that waits says why"
    );
    world.pass_to(6);
    assert_eq!(claim(storage, second.run, 9, &["3"]).await, [], "a message that was put off waits");
    world.pass_to(7);
    assert_eq!(claim(storage, second.run, 9, &["2", "3"]).await, [], "what the run holds does not come");
    assert_eq!(claim(storage, second.run, 9, &["3"]).await.len(), 1, "a message that was put off comes again");
}

pub(super) async fn what_a_dead_run_has_left_comes_first_and_counts_a_try(world: World<'_>) {
    let storage = world.storage;
    write(storage, ["1", "2", "3"].map(|id| RowChange::Receive(message("amqp", id)))).await;
    let dead = world.lease().await;
    claim(storage, dead.run, 2, &[]).await;
    let done_with = message("amqp", "1");
    let waits = InboxRecord { not_before: Some(at(1)), ..done_with };
    write_by(storage, dead.run, [RowChange::Inbox(waits)]).await;
    world.clock.advance_to(freshmaker::time::later(dead.now, dead.ttl * 2));
    let next = world.lease().await.run;
    let claimed = claim(storage, next, 9, &[]).await;
    let claimed = ids(&claimed, |row| (row.message_id.clone(), row.tries));
    let expected = [("2".into(), 1), ("3".into(), 0), ("1".into(), 0)];
    assert_eq!(claimed, expected, "what was left, then what is due for the longest time");
    let stored = done("message", storage.reads().message("amqp", "2").await);
    assert_eq!(stored.map(|row| row.tries), Some(1), "the try is stored");
}

pub(super) async fn a_dead_letter_can_be_new_again(world: World<'_>) {
    let storage = world.storage;
    let dead = |id: &str| message("amqp", id).dead(Reason::new("malformed", "line 1 column 2"));
    let worn = InboxRecord { tries: 5, waits: 7, not_before: Some(at(99)), ..dead("1") };
    write(storage, [RowChange::Receive(worn), RowChange::Receive(message("amqp", "2"))]).await;
    let key = |id: &str| RowChange::Requeue(message("amqp", id).key());
    write(storage, [key("1")]).await;
    let found = done("message", storage.reads().message("amqp", "1").await).expect("it is stored");
    assert_eq!((found.state, found.tries, found.waits, found.not_before), (InboxState::New, 0, 0, None));
    assert_eq!(
        done("dead letters", storage.reads().messages(vec![InboxState::Dead], Paging::first(9).counted()).await).total,
        Some(0)
    );
    refused(storage, "a message that is new", Remedy::Conflict, [key("2")]).await;
    refused(storage, "a message that never came", Remedy::NotFound, [key("3")]).await;
    assert_eq!(claim(storage, world.lease().await.run, 9, &[]).await.len(), 2, "it is handled again");
}

pub(super) async fn a_dead_letter_can_be_dismissed(world: World<'_>) {
    let storage = world.storage;
    let dead = message("amqp", "1").dead(Reason::new("malformed", "line 1 column 2"));
    let dead = InboxRecord { tries: 5, ..dead };
    write(storage, [RowChange::Receive(dead), RowChange::Receive(message("amqp", "2"))]).await;
    let why = Reason::new("dismissed", "ann: the sender was mended");
    let dismiss = |id: &str| RowChange::Dismiss(message("amqp", id).key(), why.clone());
    write(storage, [dismiss("1")]).await;
    let found = done("message", storage.reads().message("amqp", "1").await).expect("it is stored");
    assert_eq!((found.state, found.tries, found.reason), (InboxState::Ignored, 5, Some(why.clone())));
    refused(storage, "a message that was dismissed", Remedy::Conflict, [dismiss("1")]).await;
    refused(storage, "a message that is new", Remedy::Conflict, [dismiss("2")]).await;
    refused(storage, "a message that never came", Remedy::NotFound, [dismiss("3")]).await;
    assert_eq!(claim(storage, world.lease().await.run, 9, &[]).await.len(), 1, "it is not handled");
}

pub(super) async fn a_clock_that_is_set_back_holds_no_message_up(world: World<'_>) {
    let storage = world.storage;
    let waits = |id: &str, seconds| InboxRecord { not_before: Some(at(seconds)), ..message("amqp", id) };
    // The longest pause is 300 seconds: whatever waits longer was stored by a clock that was ahead.
    write(storage, [waits("1", 299), waits("2", 301)].map(RowChange::Receive)).await;
    let claimed = claim(storage, world.lease().await.run, 9, &[]).await;
    assert_eq!(ids(&claimed, |row| row.message_id.clone()), ["2"]);
}

pub(super) async fn a_message_is_changed_only_by_the_run_that_claimed_it(world: World<'_>) {
    let storage = world.storage;
    write(storage, ["1", "2"].map(|id| RowChange::Receive(message("amqp", id)))).await;
    let (first, second) = (world.lease().await.run, world.lease().await.run);
    let claimed = claim(storage, first, 1, &[]).await.remove(0);
    let ends = |row: &InboxRecord| RowChange::Inbox(InboxRecord { state: InboxState::Done, ..row.clone() });
    let of = |run, row: &InboxRecord| Commit::by(run, vec![ends(row)]);
    refused_commit(storage, "a message of another run", Remedy::Conflict, of(second, &claimed)).await;
    refused_commit(storage, "a message that nobody has", Remedy::Conflict, of(first, &message("amqp", "2"))).await;
    refused(storage, "a message changed without a run", Remedy::Conflict, [ends(&claimed)]).await;
    write_by(storage, first, [ends(&claimed)]).await;
    refused_commit(storage, "a message that was handled", Remedy::Conflict, of(first, &claimed)).await;
}

pub(super) async fn numbers_never_repeat(World { storage, .. }: World<'_>) {
    let mut last = 0;
    for count in [1, 5, 1000, 1] {
        let first = done("reserve", storage.reserve(count).await);
        assert!(first > last, "numbers from {first} were given before, up to {last}");
        last = first + i64::from(count) - 1;
    }
}

pub(super) async fn dead_letters_keep_their_bytes(world: World<'_>) {
    let storage = world.storage;
    write(storage, ["1", "2", "3", "4"].map(|id| RowChange::Receive(message("amqp", id)))).await;
    let run = world.lease().await.run;
    claim(storage, run, 9, &[]).await;
    let dead = |id: &str| InboxRecord {
        state: InboxState::Dead,
        tries: 3,
        waits: 4,
        run,
        reason: Some(Reason::new("parse", "line 1 column 2")),
        ..message("amqp", id)
    };
    write_by(storage, run, ["3", "1", "4"].map(|id| RowChange::Inbox(dead(id)))).await;
    let page = done("dead_letters", storage.reads().messages(vec![InboxState::Dead], Paging::first(2).counted()).await);
    assert_eq!(page.items, [dead("4"), dead("3")], "newest first, with the bytes that came");
    assert_eq!(page.total, Some(3), "the whole length");
    let page = done(
        "dead_letters",
        storage.reads().messages(vec![InboxState::Dead], Paging::first(2).skip(2).counted()).await,
    );
    assert_eq!((page.items, page.total), (vec![dead("1")], Some(3)), "the second page");
}

async fn claim(storage: &dyn Storage, run: RunId, limit: u32, holding: &[&str]) -> Vec<InboxRecord> {
    let holding = holding.iter().map(|id| message("amqp", id).key()).collect();
    done("claim", storage.claim(&Claim { run, holding, limit, pause_max: Duration::from_secs(300) }).await)
}
