//! Two or more at once.

use super::place::{
    Place, build, changed_build, edge, message, new_attempt, new_build, notification, remedy, until_waiting,
};
use freshmaker::backend::{Claim, Remedy, Retention, Storage, StorageReads, StorageUpkeep};
use freshmaker::rebuild::{BuildId, Commit, InboxRecord, InboxState, RowChange, RowKey, RunId};
use freshmaker::time::{Timestamp, from_micros};
use freshmaker_sql::PostgresStorage;
use freshmaker_testing::sim::VirtualClock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn at(seconds: i64) -> Timestamp {
    from_micros(1_764_000_000_000_000 + seconds * 1_000_000)
}

fn claim(run: RunId, limit: u32) -> Claim {
    Claim { run, holding: Vec::new(), limit, pause_max: Duration::from_secs(300) }
}

/// Commits all of these at once, each by a process of its own.
async fn at_once(place: &Place, commits: Vec<Commit>) -> Vec<Option<Remedy>> {
    let committing = commits.into_iter().map(|commit| {
        let storage = place.process();
        tokio::spawn(async move {
            let done = storage.commit(commit).await;
            let text = done.as_ref().err().map(|error| error.text.clone()).unwrap_or_default();
            assert!(!text.contains("deadlock"), "locks are taken in one order: {text}");
            remedy(&done)
        })
    });
    let mut outcomes = Vec::new();
    for one in committing.collect::<Vec<_>>() {
        outcomes.push(one.await.unwrap());
    }
    outcomes
}

async fn count(storage: &PostgresStorage, state: InboxState) -> u64 {
    let paging = freshmaker::backend::Paging { counted: true, ..freshmaker::backend::Paging::first(1) };
    storage.messages(vec![state], paging).await.unwrap().total.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_claimers_never_get_one_message_twice() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let changes = (0..400).map(|id| RowChange::Receive(message(id))).collect();
    storage.commit(Commit::unfenced(changes)).await.unwrap();
    let claimers = (0..8).map(|_| {
        let storage = place.process();
        tokio::spawn(async move {
            let run = storage.lease(None).await.unwrap().run;
            let mut claimed: Vec<InboxRecord> = Vec::new();
            loop {
                let holding = claimed.iter().map(InboxRecord::key).collect();
                let more = storage.claim(&Claim { holding, ..claim(run, 7) }).await.unwrap();
                if more.is_empty() {
                    return claimed;
                }
                claimed.extend(more);
            }
        })
    });
    let (mut all, mut claimers_with_any) = (Vec::new(), 0);
    for claimer in claimers.collect::<Vec<_>>() {
        let claimed = claimer.await.unwrap();
        claimers_with_any += usize::from(!claimed.is_empty());
        all.extend(claimed.into_iter().map(|row| row.message_id));
    }
    // Whoever finds the head of the queue locked may give up before the others are done.
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "one was claimed twice");
    assert_eq!(all.len(), 400);
    assert!(claimers_with_any > 1);
    assert_eq!(count(&storage, InboxState::Claimed).await, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_revoked_run_lands_after_its_revocation() {
    let Some(place) = Place::new() else { return };
    let clock = VirtualClock::new(at(0));
    let process = || place.process().with_clock(Arc::new(clock.clone()));
    let (slow, other) = (Arc::new(process()), process());
    slow.upkeep().migrate().await.unwrap();
    let changes = vec![new_build(1), RowChange::Receive(message(1))];
    slow.commit(Commit::unfenced(changes)).await.unwrap();
    let run = slow.lease(None).await.unwrap().run;
    assert_eq!(slow.claim(&claim(run, 9)).await.unwrap().len(), 1);

    // A commit of the slow run hangs within its transaction.
    let client = place.client().await;
    client.batch_execute("BEGIN; SELECT 1 FROM builds WHERE id = 1 FOR UPDATE").await.unwrap();
    let writing = tokio::spawn({
        let slow = Arc::clone(&slow);
        async move { slow.commit(Commit::by(run, vec![changed_build(1, 0)])).await }
    });
    until_waiting(&client, 1).await;
    clock.advance_to(at(60));
    let second = other.lease(None).await.unwrap().run;
    assert_eq!(other.claim(&claim(second, 9)).await.unwrap(), [], "what is not over is not handed on");

    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(remedy(&writing.await.unwrap()), None, "it was begun before the revocation");
    other.lease(Some(second)).await.unwrap();
    let claimed = other.claim(&claim(second, 9)).await.unwrap();
    assert_eq!(claimed.len(), 1, "now it is over");
    let late = slow.commit(Commit::by(run, vec![changed_build(1, 1)])).await;
    assert_eq!(remedy(&late), Some(Remedy::Fenced));
    assert_eq!(
        other.load(&freshmaker::backend::Scope::Builds(vec![BuildId(1)])).await.unwrap().builds[&BuildId(1)].version,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_begins_to_write_while_it_is_revoked_is_fenced() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced(vec![new_build(1)])).await.unwrap();
    let run = storage.lease(None).await.unwrap().run;
    let client = place.client().await;
    client.batch_execute(&format!("BEGIN; DELETE FROM runs WHERE run = {run}")).await.unwrap();
    let writing = tokio::spawn(async move { storage.commit(Commit::by(run, vec![changed_build(1, 0)])).await });
    until_waiting(&client, 1).await;
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(remedy(&writing.await.unwrap()), Some(Remedy::Fenced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_two_commits_on_one_row_is_refused() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced(vec![new_build(1), new_build(2)])).await.unwrap();
    for version in 0..10 {
        let commits = vec![Commit::unfenced(vec![changed_build(1, version)]); 4];
        let mut outcomes = at_once(&place, commits).await;
        outcomes.sort_by_key(Option::is_some);
        assert_eq!(outcomes, [None, Some(Remedy::Conflict), Some(Remedy::Conflict), Some(Remedy::Conflict)]);
    }
    let rests = |on: i64, writes: i64| Commit {
        unchanged: vec![(RowKey::Build(BuildId(on)), if on == 1 { 10 } else { 0 })],
        ..Commit::unfenced(vec![changed_build(writes, if writes == 1 { 10 } else { 0 })])
    };
    let mut outcomes = at_once(&place, vec![rests(1, 2), rests(2, 1)]).await;
    outcomes.sort_by_key(Option::is_some);
    assert_eq!(outcomes, [None, Some(Remedy::Conflict)], "each rests on what the other one changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_are_locked_in_one_order() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced((1..=20).map(new_build).collect())).await.unwrap();
    for version in 0..10 {
        let up: Vec<_> = (1..=20).map(|id| changed_build(id, version)).collect();
        let down: Vec<_> = up.iter().rev().cloned().collect();
        let mut outcomes = at_once(&place, vec![Commit::unfenced(up), Commit::unfenced(down)]).await;
        outcomes.sort_by_key(Option::is_some);
        assert_eq!(outcomes, [None, Some(Remedy::Conflict)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_those_that_add_dependencies_at_once_does() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced((1..=8).map(new_build).collect())).await.unwrap();
    let adds = |parent, child| Commit { edges: Some(0), ..Commit::unfenced(vec![edge(parent, child)]) };
    let outcomes = at_once(&place, vec![adds(1, 2), adds(2, 3), adds(3, 4), adds(4, 1)]).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Some(Remedy::Conflict)).count(), 3, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_attempts_live_than_may() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    storage.commit(Commit::unfenced((1..=8).map(new_build).collect())).await.unwrap();
    let commits = (1..=8).map(|id| {
        let changes = vec![new_attempt(&format!("a{id}"), id)];
        Commit { at_most: vec![("s".into(), 3)], ..Commit::unfenced(changes) }
    });
    let outcomes = at_once(&place, commits.collect()).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 3, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Some(Remedy::NotNow)).count(), 5, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_of_notifications_misses_none() {
    const WRITERS: i64 = 6;
    const EACH: u32 = 30;
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let storage = place.process();
            tokio::spawn(async move {
                for version in 0..EACH {
                    let changes = (0..3).map(|n| notification(writer * 10 + n, version)).collect();
                    storage.commit(Commit::unfenced(changes)).await.unwrap();
                }
            })
        })
        .collect();
    let (mut read, mut all, mut at) = (BTreeSet::new(), BTreeSet::new(), [0_i64; 9]);
    let mut done = false;
    while !done {
        // What was written before this round is read in it.
        done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        // Of each partition, and of all.
        for (partition, after) in (0_u16..8).map(Some).chain([None]).zip(at.iter_mut()) {
            let found = storage.notifications(partition, *after, 50).await.unwrap();
            done &= found.items.is_empty();
            *after = found.end;
            let rows = found.items.into_iter().map(|(_, row)| (row.of, row.version));
            if partition.is_some() { read.extend(rows) } else { all.extend(rows) }
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(read.len(), usize::try_from(WRITERS).unwrap() * 3 * EACH as usize);
    assert_eq!(all, read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_swept_is_not_what_somebody_begins_to_need() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let ended = |id: i64| {
        let record = freshmaker::rebuild::BuildRecord {
            state: freshmaker::rebuild::BuildState::Canceled,
            done_at: Some(from_micros(1)),
            ..build(id)
        };
        RowChange::Build { record: Box::new(record), expected: None, replanned: false }
    };
    let run = storage.lease(None).await.unwrap().run;
    for id in (1..20).step_by(2) {
        storage.commit(Commit::unfenced(vec![ended(id), new_build(id + 1)])).await.unwrap();
        let needs = Commit { edges: Some(u64::try_from(id / 2).unwrap()), ..Commit::unfenced(vec![edge(id, id + 1)]) };
        let other = place.process();
        let needing = tokio::spawn(async move { remedy(&other.commit(needs).await) });
        let swept = storage.sweep(run, Retention::default(), 100).await.unwrap();
        match needing.await.unwrap() {
            None => assert_eq!(swept.builds, 0, "the build was needed"),
            outcome => {
                assert_eq!((outcome, swept.builds), (Some(Remedy::NotFound), 1));
                let again = Commit {
                    edges: Some(u64::try_from(id / 2).unwrap()),
                    ..Commit::unfenced(vec![ended(id), edge(id, id + 1)])
                };
                storage.commit(again).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn partitions_are_published_by_one_of_several_processes() {
    let Some(place) = Place::new() else { return };
    let storage = place.migrated().await;
    let leasing: Vec<_> = (0..6)
        .map(|_| {
            let storage = place.process();
            tokio::spawn(async move { storage.lease(None).await.unwrap() })
        })
        .collect();
    let mut runs = Vec::new();
    for lease in leasing {
        runs.push(lease.await.unwrap().run);
    }
    for _ in 0..2 {
        let mut held = Vec::new();
        for run in &runs {
            held.extend(storage.lease(Some(*run)).await.unwrap().partitions);
        }
        assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "{held:?}");
    }
}
