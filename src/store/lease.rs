//! Leases: how long they hold, and how the partitions of the notifications are shared.
//!
//! *Invariant:* a partition is published by at most one living run. *Invariant:* all notifications
//! about one event or build are in one partition, so they are published in the order in which they
//! were stored.
//!
//! Both functions only compute. A storage calls `share` within the transaction that renews a lease,
//! with the runs whose leases hold by its own clock, and stores the result. So two renewals at the
//! same time cannot take the same partition.

use crate::rebuild::{RowKey, RunId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a lease holds without a renewal; engines renew it three times as often.
pub const LEASE_TTL: Duration = Duration::from_secs(10);

/// Returns the partitions that `run` publishes from now on, in ascending order. `count` is the
/// number of partitions, `held` is which run has which one, and `living` are the runs whose leases
/// hold, this one included.
///
/// The share of a run is the number of partitions divided by that of living runs, rounded up. A run
/// keeps what it has and takes what no living run has, up to its share, lowest numbers first. What
/// it has beyond its share it gives up.
///
/// No partition changes directly from one living run to another: one renewal gives it up, and a
/// later renewal of another run takes it. Because shares are rounded up, a run may have fewer
/// partitions than others, or none: of 4 partitions and 3 runs, two runs may have 2 each. Takes
/// O(count · log count).
///
/// ```
/// use freshmaker::rebuild::RunId;
/// use freshmaker::store::share;
///
/// let (one, two) = (RunId(1), RunId(2));
/// assert_eq!(share(one, 4, &[].into(), &[one].into()), [0, 1, 2, 3]);
/// let held = [(0, one), (1, one), (2, one), (3, one)].into();
/// assert_eq!(share(two, 4, &held, &[one, two].into()), [0_u16; 0], "nothing is taken from the living");
/// assert_eq!(share(one, 4, &held, &[one, two].into()), [0, 1], "but they give up what is more than their share");
/// assert_eq!(share(two, 4, &held, &[two].into()), [0, 1, 2, 3]);
/// ```
#[must_use]
pub fn share(run: RunId, count: u16, held: &BTreeMap<u16, RunId>, living: &BTreeSet<RunId>) -> Vec<u16> {
    let most = usize::from(count).div_ceil(living.len().max(1));
    let mine = (0..count).filter(|partition| held.get(partition) == Some(&run));
    let free = (0..count).filter(|partition| held.get(partition).is_none_or(|holder| !living.contains(holder)));
    let mut partitions: Vec<_> = mine.chain(free).take(most).collect();
    partitions.sort_unstable();
    partitions
}

/// Returns the partition, of `count`, of notifications about one event or build: always the same
/// one, so that they stay in order.
///
/// The 32-bit Fowler-Noll-Vo hash (FNV-1a) of `aggregate:id`, which is stored with the notification
/// and must not change.
///
/// ```
/// use freshmaker::rebuild::{BuildId, RowKey};
/// use freshmaker::store::partition;
///
/// let build = RowKey::Build(BuildId(17));
/// assert_eq!(partition(&build, 1), 0);
/// assert_eq!(partition(&build, 8), 3);
/// ```
#[must_use]
pub fn partition(of: &RowKey, count: u16) -> u16 {
    let id = of.id();
    let bytes = of.aggregate().bytes().chain(*b":").chain(id.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u16::try_from(hash % u32::from(count.max(1))).unwrap_or(0)
}
