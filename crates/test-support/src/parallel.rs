//! Independent pieces of work on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Does this for each item, on all cores, in the order of the items. The results are in no order.
/// A piece that panics fails the whole.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicUsize::new(0);
    let take = || std::iter::from_fn(|| items.get(next.fetch_add(1, Ordering::Relaxed))).map(&work).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(take)).collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results
            .flat_map(|done: Result<Vec<R>, _>| done.unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
            .collect()
    })
}
