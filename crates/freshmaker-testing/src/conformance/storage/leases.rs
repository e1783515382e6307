use super::sample::{New, attempt, build_in, message};
use super::{World, done, ids, refused_commit, write, write_by};
use freshmaker::backend::{Claim, DueLimits, Remedy, Storage};
use freshmaker::rebuild::{AttemptRecord, BuildState, Commit, RowChange, RunId};
use std::time::Duration;

pub(super) async fn runs_never_repeat(world: World<'_>) {
    let first = world.lease().await;
    assert!(first.run > RunId::NONE, "no run is none: {first:?}");
    assert!(!first.ttl.is_zero(), "a lease holds for a time");
    let second = world.lease().await;
    done("release", world.storage.release(second.run).await);
    done("release again", world.storage.release(second.run).await);
    let third = world.lease().await;
    assert!(first.run < second.run && second.run < third.run, "runs only grow");
    let renewed = done("renew", world.storage.lease(Some(first.run)).await);
    assert_eq!(renewed.run, first.run, "a renewal is of the same run");
}

fn receive(id: &str) -> RowChange {
    RowChange::Receive(message("amqp", id))
}

/// Everything that a run does is refused from now on.
async fn is_over(storage: &dyn Storage, run: RunId, why: &str) {
    refused_commit(storage, why, Remedy::Fenced, Commit::by(run, vec![receive("late")])).await;
    assert_eq!(done("message", storage.reads().message("amqp", "late").await), None, "{why}: nothing is written");
    let claimed =
        storage.claim(&Claim { run, holding: Vec::new(), limit: 1, pause_max: Duration::from_secs(300) }).await;
    assert_eq!(claimed.err().map(|error| error.remedy), Some(Remedy::Fenced), "{why}: nothing is claimed");
    let renewed = storage.lease(Some(run)).await;
    assert_eq!(renewed.err().map(|error| error.remedy), Some(Remedy::Fenced), "{why}: it is not renewed");
}

pub(super) async fn a_run_that_is_over_writes_nothing(world: World<'_>) {
    let storage = world.storage;
    let released = world.lease().await;
    write_by(storage, released.run, [receive("1")]).await;
    done("release", storage.release(released.run).await);
    is_over(storage, released.run, "after its release").await;

    let expired = world.lease().await;
    world.clock.advance_to(freshmaker::time::later(expired.now, expired.ttl * 2));
    let other = world.lease().await;
    is_over(storage, expired.run, "after another run has found it expired").await;
    write_by(storage, other.run, [receive("2")]).await;
    is_over(storage, RunId(other.run.0 + 1000), "of a run that never was").await;
}

pub(super) async fn a_renewed_lease_holds(world: World<'_>) {
    let storage = world.storage;
    let lease = world.lease().await;
    let mut now = lease.now;
    for round in 0..5 {
        now = freshmaker::time::later(now, lease.ttl / 2);
        world.clock.advance_to(now);
        done("renew", storage.lease(Some(lease.run)).await);
        done("release", storage.release(world.lease().await.run).await);
        write_by(storage, lease.run, [receive(&format!("{round}"))]).await;
    }
}

pub(super) async fn what_is_left_by_a_run_that_is_over_is_due(world: World<'_>) {
    let storage = world.storage;
    let (first, second) = (world.lease().await.run, world.lease().await.run);
    let of = |id, build, run| AttemptRecord { run, ..attempt(id, build) };
    write(storage, [1, 2].map(|id| build_in(id, BuildState::Submitting).new_row())).await;
    write(storage, [of("a1", 1, first).new_row(), of("a2", 2, second).new_row()]).await;
    let due = async |run| {
        let due = done(
            "due",
            storage.reads().due(run, DueLimits { ready: 9, attempts: 9, pause_max: Duration::from_secs(300) }).await,
        );
        assert_eq!(due.live.values().sum::<u32>(), 2, "all live attempts are counted");
        ids(&due.attempts, |(attempt, _)| attempt.id.to_string())
    };
    assert_eq!((due(first).await, due(second).await), (vec!["a1".into()], vec!["a2".into()]), "each its own");
    done("release", storage.release(first).await);
    assert_eq!(due(second).await, ["a1", "a2"], "and what a run that is over has left");
}

pub(super) async fn partitions_are_shared_among_the_living(world: World<'_>) {
    let storage = world.storage;
    let count = done("outbox", storage.reads().outbox().await).partitions.len();
    let first = world.lease().await;
    assert_eq!(first.partitions.len(), count, "the only run has all: {first:?}");
    let second = world.lease().await;
    assert_eq!(second.partitions, [0_u16; 0], "the living are not robbed");
    let first = done("renew", storage.lease(Some(first.run)).await);
    let second = done("renew", storage.lease(Some(second.run)).await);
    let mut all = [first.partitions.clone(), second.partitions.clone()].concat();
    all.sort_unstable();
    let expected: Vec<u16> = (0..).take(count).collect();
    assert_eq!(all, expected, "each partition has one publisher: {first:?}, {second:?}");
    assert!(first.partitions.len().abs_diff(second.partitions.len()) <= 1, "in equal shares");
    done("release", storage.release(first.run).await);
    let second = done("renew", storage.lease(Some(second.run)).await);
    assert_eq!(second.partitions, expected, "those of a run that is over are free");
}

pub(super) async fn a_clock_that_is_set_back_keeps_no_lease_alive(world: World<'_>) {
    let storage = world.storage;
    let dead = world.lease().await;
    world.clock.set_back(dead.ttl * 100);
    let other = world.lease().await;
    world.clock.advance_to(freshmaker::time::later(world.clock.steady(), dead.ttl * 2));
    done("renew", storage.lease(Some(other.run)).await);
    is_over(storage, dead.run, "as long after the step as a lease holds").await;
}
