use super::sample::notification;
use super::{World, done, refused, refused_commit, write, write_by};
use freshmaker::backend::{Partition, Remedy, Storage};
use freshmaker::rebuild::{Commit, Notification, Position, RowChange};

fn notification_of(id: &str, version: u32) -> RowChange {
    RowChange::Notification(notification(id, version))
}

async fn partitions(storage: &dyn Storage) -> Vec<Partition> {
    done("outbox", storage.reads().outbox().await).partitions
}

/// The notifications of all partitions behind these positions, with their positions.
async fn behind(storage: &dyn Storage, after: &[i64], limit: u32) -> Vec<(i64, Notification)> {
    let mut found = Vec::new();
    for (number, after) in (0_u16..).zip(after) {
        let some = done("notifications", storage.reads().notifications(Some(number), *after, limit).await);
        let last = some.items.last().map_or(*after, |(position, _)| *position);
        assert_eq!((some.end, some.unreadable), (last, Vec::new()), "the end is the last position");
        assert!(some.items.is_sorted_by_key(|(position, _)| *position), "in the order of their positions");
        assert!(some.items.iter().all(|(position, _)| position > after), "only behind the position");
        found.extend(some.items);
    }
    found
}

fn of(found: &[(i64, Notification)], id: &str) -> Vec<u32> {
    found.iter().filter(|(_, row)| row.of.id() == id).map(|(_, row)| row.version).collect()
}

pub(super) async fn notifications_come_in_order_of_their_positions(World { storage, .. }: World<'_>) {
    let start = vec![0; partitions(storage).await.len()];
    assert_eq!(behind(storage, &start, 9).await, [], "an empty storage");
    write(storage, [notification_of("9", 1), notification_of("2", 1)]).await;
    write(storage, [notification_of("9", 2), notification_of("1", 0), notification_of("9", 5)]).await;
    let found = behind(storage, &start, 9).await;
    assert_eq!((of(&found, "9"), of(&found, "2"), of(&found, "1")), (vec![1, 2, 5], vec![1], vec![0]), "all of them");
    let some = behind(storage, &start, 1).await.len();
    assert!(some >= 1 && some <= start.len().min(3), "no more than asked for of each partition: {some}");
    let ends: Vec<_> = partitions(storage).await.iter().map(|partition| partition.last).collect();
    assert_eq!(behind(storage, &ends, 9).await, [], "nothing is behind the last");
    write(storage, [notification_of("9", 7)]).await;
    assert_eq!(of(&behind(storage, &ends, 9).await, "9"), [7], "what comes later has a later position");
    refused(storage, "a second message about one version", Remedy::Conflict, [notification_of("9", 2)]).await;
}

pub(super) async fn all_partitions_have_one_order(World { storage, .. }: World<'_>) {
    let read = async |after: i64, limit: u32| {
        let found = done("notifications", storage.reads().notifications(None, after, limit).await);
        assert!(found.items.is_sorted_by_key(|(position, _)| *position), "in the order of their positions");
        assert_eq!(found.end, found.items.last().map_or(after, |(position, _)| *position));
        found
    };
    let last = async || done("outbox", storage.reads().outbox().await).last();
    assert_eq!((read(0, 9).await.items.len(), last().await), (0, 0), "an empty storage");
    write(storage, (1..=9).map(|id: u32| notification_of(&id.to_string(), 1))).await;
    let first = read(0, 4).await;
    assert_eq!(first.items.len(), 4, "at most as many, of all partitions together");
    write(storage, [notification_of("1", 2), notification_of("5", 2)]).await;
    let rest = read(first.end, 99).await;
    let mut all: Vec<_> =
        first.items.into_iter().chain(rest.items).map(|(_, row)| (row.of.id(), row.version)).collect();
    assert_eq!(all.len(), 11, "what comes later is behind what was read before");
    assert_eq!(rest.end, last().await, "the latest position of all");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 11, "each once");
    assert_eq!(read(rest.end, 9).await.items, [], "nothing is behind the last");
}

pub(super) async fn each_bus_has_a_position(world: World<'_>) {
    let storage = world.storage;
    write(storage, [notification_of("9", 1), notification_of("9", 2), notification_of("9", 3)]).await;
    let waiting = async || done("overview", storage.reads().overview().await).notifications_waiting;
    assert_eq!(waiting().await, 3, "without a bus nothing is published");
    let start = vec![0; partitions(storage).await.len()];
    let found = behind(storage, &start, 9).await;
    let run = world.lease().await.run;
    let number = partitions(storage).await.iter().position(|partition| partition.last > 0).unwrap_or_default();
    let partition = u16::try_from(number).unwrap_or_default();
    let at = |bus: &str, position| RowChange::Position(Position { bus: bus.into(), partition, position });
    write_by(storage, run, [at("main", Some(found[1].0)), at("slow", Some(found[0].0))]).await;
    let known = partitions(storage).await.remove(number).buses;
    assert_eq!(known, [("main".into(), found[1].0), ("slow".into(), found[0].0)].into(), "each bus has its own");
    assert_eq!(waiting().await, 2, "what the slowest bus has not got waits");
    write_by(storage, run, [at("slow", None), at("main", Some(found[2].0))]).await;
    assert_eq!(partitions(storage).await.remove(number).buses.len(), 1, "one that is forgotten has none");
    assert_eq!(waiting().await, 0, "all is published");
    refused(storage, "a position without a run", Remedy::Conflict, [at("main", Some(0))]).await;
    let other = Commit::by(world.lease().await.run, vec![at("main", Some(0))]);
    refused_commit(storage, "a position by a run that does not publish this partition", Remedy::Conflict, other).await;
}

pub(super) async fn what_is_trimmed_is_gone(world: World<'_>) {
    let storage = world.storage;
    write(storage, [notification_of("9", 1), notification_of("9", 2), notification_of("9", 3)]).await;
    let start = vec![0; partitions(storage).await.len()];
    let found = behind(storage, &start, 9).await;
    let number = partitions(storage).await.iter().position(|partition| partition.last > 0).unwrap_or_default();
    let trim = RowChange::Trim { partition: u16::try_from(number).unwrap_or_default(), up_to: found[1].0 };
    refused(storage, "a trim without a run", Remedy::Conflict, [trim.clone()]).await;
    let run = world.lease().await.run;
    write_by(storage, run, [trim]).await;
    assert_eq!(of(&behind(storage, &start, 9).await, "9"), [3], "up to and including that position");
    let partition = partitions(storage).await.remove(number);
    assert_eq!((partition.trimmed, partition.last), (found[1].0, found[2].0), "whoever has read less can know it");
    write_by(
        storage,
        run,
        [RowChange::Trim { partition: u16::try_from(number).unwrap_or_default(), up_to: found[2].0 }],
    )
    .await;
    let partition = partitions(storage).await.remove(number);
    assert_eq!((partition.trimmed, partition.last), (found[2].0, found[2].0), "all of it");
    write(storage, [notification_of("9", 4)]).await;
    assert_eq!(of(&behind(storage, &[found[2].0].repeat(start.len()), 9).await, "9"), [4], "positions go on");
}
