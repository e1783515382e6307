use super::sample::{at, message};
use super::{done, ids, refused, write};
use freshmaker::Reason;
use freshmaker::backend::{Claim, Paging, Remedy, Storage, StorageExt};
use freshmaker::rebuild::{InboxRecord, InboxState, RowChange};

pub(super) async fn a_message_is_stored_once(storage: &dyn Storage) {
    let mut again = message("amqp", "1");
    again.message.body = b"another".to_vec();
    again.received_at = at(9);
    let stored = [message("amqp", "1"), message("stomp", "1")].map(RowChange::Receive);
    write(storage, stored.into_iter().chain([RowChange::Receive(again.clone())])).await;
    write(storage, [RowChange::Receive(again)]).await;
    let found = done("message", storage.message("amqp", "1").await);
    assert_eq!(found, Some(message("amqp", "1")), "storing a message again changes nothing");
    assert_eq!(done("message", storage.message("amqp", "2").await), None, "a message that never came");
    let claimed = claim(storage, 1, 10, 0, &[]).await;
    let sources = ids(&claimed, |row| row.source.clone());
    assert_eq!(sources, ["amqp", "stomp"], "a message is unique within its source");
    let unknown = RowChange::Inbox(message("amqp", "2"));
    refused(storage, "a change of a message that never came", Remedy::NotFound, [unknown]).await;
}

pub(super) async fn messages_are_claimed_oldest_first(storage: &dyn Storage) {
    let mut late = message("amqp", "late");
    late.not_before = Some(at(50));
    let mut old = message("amqp", "zz");
    old.received_at = at(-9);
    let rows = [message("amqp", "b"), late, message("amqp", "a"), old];
    write(storage, rows.map(RowChange::Receive)).await;
    let first = claim(storage, 1, 2, 0, &[]).await;
    assert_eq!(ids(&first, |row| row.message_id.clone()), ["b", "a"], "in the order of storing, as many as asked for");
    for row in &first {
        assert_eq!((row.state, row.tries, row.owner), (InboxState::Claimed, 1, 1), "a claimed message says so");
        let stored = done("message", storage.message("amqp", &row.message_id).await);
        assert_eq!(stored.as_ref(), Some(row), "a claim is stored");
    }
    assert_eq!(
        ids(&claim(storage, 1, 9, 49, &["a", "b"]).await, |row| row.message_id.clone()),
        ["zz"],
        "not before its time"
    );
    assert_eq!(
        ids(&claim(storage, 1, 9, 50, &["a", "b", "zz"]).await, |row| row.message_id.clone()),
        ["late"],
        "at its time"
    );
    assert_eq!(claim(storage, 1, 0, 99, &[]).await, [], "none if none is asked for");
}

pub(super) async fn only_a_later_run_claims_again(storage: &dyn Storage) {
    write(storage, ["1", "2", "3"].map(|id| RowChange::Receive(message("amqp", id)))).await;
    let claimed = claim(storage, 4, 2, 0, &[]).await;
    let handled = InboxRecord { state: InboxState::Done, ..claimed[0].clone() };
    write(storage, [RowChange::Inbox(handled)]).await;
    assert_eq!(
        ids(&claim(storage, 4, 9, 0, &["2"]).await, |row| row.message_id.clone()),
        ["3"],
        "not again by the same run"
    );
    assert_eq!(claim(storage, 3, 9, 0, &[]).await, [], "not by an earlier run");
    let again = claim(storage, 5, 9, 0, &[]).await;
    assert_eq!(ids(&again, |row| row.message_id.clone()), ["2", "3"], "again by a later run, but not what was handled");
    assert_eq!(ids(&again, |row| (row.tries, row.owner)), [(2, 5), (2, 5)], "every claim counts");
    let later = InboxRecord {
        state: InboxState::New,
        not_before: Some(at(70)),
        reason: Some(Reason::new("catalog", "the catalog is away")),
        ..again[0].clone()
    };
    write(storage, [RowChange::Inbox(later.clone())]).await;
    assert_eq!(done("message", storage.message("amqp", "2").await), Some(later), "a message that waits says why");
    assert_eq!(claim(storage, 5, 9, 69, &["3"]).await, [], "a message that was put off waits");
    assert_eq!(
        claim(storage, 5, 9, 70, &["2", "3"]).await,
        [],
        "what the run still holds does not come, whatever its row says"
    );
    assert_eq!(claim(storage, 5, 9, 70, &["3"]).await.len(), 1, "a message that was put off comes again");
    let lost = claim(storage, 5, 9, 70, &["3"]).await;
    assert_eq!(ids(&lost, |row| row.message_id.clone()), ["2"], "what the run claimed without knowing it comes again");
}

pub(super) async fn tokens_and_numbers_never_repeat(storage: &dyn Storage) {
    let mut tokens = Vec::new();
    for name in ["engine", "other", "engine"] {
        tokens.push(done("lease", storage.lease(name, at(0)).await));
    }
    assert!(tokens[0] > 0 && tokens.is_sorted_by(|a, b| a < b), "tokens only grow: {tokens:?}");
    let mut last = 0;
    for count in [1, 5, 1000, 1] {
        let first = done("reserve", storage.reserve(count).await);
        assert!(first > last, "numbers from {first} were given before, up to {last}");
        last = first + i64::from(count) - 1;
    }
}

pub(super) async fn dead_letters_keep_their_bytes(storage: &dyn Storage) {
    write(storage, ["1", "2", "3", "4"].map(|id| RowChange::Receive(message("amqp", id)))).await;
    let dead = |id: &str| InboxRecord {
        state: InboxState::Dead,
        tries: 3,
        waits: 4,
        owner: 2,
        reason: Some(Reason::new("parse", "line 1 column 2")),
        ..message("amqp", id)
    };
    write(storage, ["3", "1", "4"].map(|id| RowChange::Inbox(dead(id)))).await;
    let page = done("dead_letters", storage.dead_letters(Paging { offset: 0, limit: 2 }).await);
    assert_eq!(page.items, [dead("4"), dead("3")], "newest first, with the bytes that came");
    assert_eq!(page.total, 3, "the whole length");
    let page = done("dead_letters", storage.dead_letters(Paging { offset: 2, limit: 2 }).await);
    assert_eq!((page.items, page.total), (vec![dead("1")], 3), "the second page");
}

async fn claim(storage: &dyn Storage, owner: i64, limit: u32, seconds: i64, holding: &[&str]) -> Vec<InboxRecord> {
    let holding = holding.iter().map(|id| message("amqp", id).key()).collect();
    done("claim", storage.claim(&Claim { owner, holding, limit, at: at(seconds) }).await)
}
