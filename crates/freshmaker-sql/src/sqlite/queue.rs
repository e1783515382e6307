//! Runs pieces of work on one session in their order, on one thread at a time.
//!
//! *Invariant:* what was queued is done, whether or not the future of its caller is polled again.
//! So a caller that is not polled for a while delays no other one. *Invariant:* a caller that waits
//! holds no thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Tells the caller what came of its piece of work.
type Answer = Box<dyn FnOnce() + Send>;

type Job<S> = Box<dyn FnOnce(&mut S) -> Answer + Send>;

/// A session, and what is to be done on it.
pub(super) struct Queue<S>(Arc<Shared<S>>);

struct Shared<S> {
    /// The worker has it.
    session: Mutex<S>,
    waiting: Mutex<Waiting<S>>,
}

struct Waiting<S> {
    jobs: VecDeque<Job<S>>,
    has_worker: bool,
}

/// A panic within a job leaves nothing half done in what these protect: the session is looked at
/// before each job.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Clone for Queue<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Send + 'static> Queue<S> {
    pub(super) fn new(session: S) -> Self {
        let waiting = Waiting { jobs: VecDeque::new(), has_worker: false };
        Self(Arc::new(Shared { session: Mutex::new(session), waiting: Mutex::new(waiting) }))
    }

    /// Does a piece of work after what was queued before it. `None` if it panicked, or if the
    /// runtime ended before its turn came.
    ///
    /// # Cancel safety
    /// What was queued is done even if the future is dropped.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut S) -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.push(Box::new(move |session| {
            let done = work(session);
            Box::new(move || drop(sender.send(done)))
        }));
        receiver.await.ok()
    }

    fn push(&self, job: Job<S>) {
        let mut waiting = locked(&self.0.waiting);
        waiting.jobs.push_back(job);
        if std::mem::replace(&mut waiting.has_worker, true) {
            return;
        }
        drop(waiting);
        let worker = Worker { shared: Arc::clone(&self.0), has_begun: false };
        drop(tokio::task::spawn_blocking(move || worker.work()));
    }
}

/// Works until nothing is queued any more. The last answer is given when the worker no longer holds
/// the session, so that a caller who then drops the queue has closed the session.
struct Worker<S> {
    shared: Arc<Shared<S>>,
    has_begun: bool,
}

impl<S> Worker<S> {
    fn work(mut self) {
        self.has_begun = true;
        let mut session = locked(&self.shared.session);
        let mut last: Option<Answer> = None;
        while let Some(job) = self.next() {
            last.take().into_iter().for_each(|answer| answer());
            // If a job panics, its answer is dropped, and the caller gets `None`.
            last = catch_unwind(AssertUnwindSafe(|| job(&mut session))).ok();
        }
        drop(session);
        drop(self);
        last.into_iter().for_each(|answer| answer());
    }

    fn next(&self) -> Option<Job<S>> {
        let mut waiting = locked(&self.shared.waiting);
        let job = waiting.jobs.pop_front();
        waiting.has_worker = job.is_some();
        job
    }
}

impl<S> Drop for Worker<S> {
    /// A runtime that ends drops what it has not begun: the callers get `None`, and another runtime
    /// can use the session.
    fn drop(&mut self) {
        if !self.has_begun {
            let mut waiting = locked(&self.shared.waiting);
            waiting.has_worker = false;
            let dropped = std::mem::take(&mut waiting.jobs);
            drop(waiting);
            drop(dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};
    use std::thread::{self, ThreadId};

    impl<S> Queue<S> {
        pub(in crate::sqlite) fn session(&self) -> MutexGuard<'_, S> {
            locked(&self.0.session)
        }
    }

    fn is_pending<T>(future: Pin<&mut impl Future<Output = T>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_that_wait_share_one_thread() {
        let queue = Queue::new(Vec::new());
        // All wait for the session before the first begins.
        let held = queue.session();
        let running = (0..100).map(|number| {
            let queue = queue.clone();
            tokio::spawn(async move {
                queue.run(move |done: &mut Vec<u32>| done.push(number)).await;
                queue.run(|_| thread::current().id()).await.unwrap()
            })
        });
        let running: Vec<_> = running.collect();
        drop(held);
        let mut threads = BTreeSet::new();
        for task in running {
            threads.insert(format!("{:?}", task.await.unwrap()));
        }
        let done = queue.session().len();
        assert!(done == 100 && threads.len() < 10, "{done} {threads:?}");
    }

    #[tokio::test]
    async fn a_future_that_is_not_polled_holds_up_nobody() {
        let queue = Queue::new(0);
        let mut first = pin!(queue.run(|number: &mut i32| *number += 1));
        assert!(is_pending(first.as_mut()));
        assert_eq!(queue.run(|number| *number).await, Some(1), "it was done before, and is not polled");
        assert_eq!(first.await, Some(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answered_caller_is_the_last_who_holds_the_session() {
        for _ in 0..1000 {
            let queue = Queue::new(Arc::new(()));
            let session = queue.run(|session| Arc::clone(session)).await.unwrap();
            drop(queue);
            assert_eq!(Arc::strong_count(&session), 1);
        }
    }

    #[tokio::test]
    async fn after_a_panic_work_goes_on() {
        let queue = Queue::new(0);
        assert_eq!(queue.run(|_: &mut i32| -> ThreadId { panic!("in the middle") }).await, None);
        assert_eq!(queue.run(|number| *number).await, Some(0));
    }

    #[test]
    fn a_runtime_that_ends_leaves_the_queue_to_another() {
        let one = |blocking| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.max_blocking_threads(blocking).build().unwrap()
        };
        let (queue, runtime) = (Queue::new(0), one(1));
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        // The only thread is busy until the runtime has ended.
        runtime.spawn_blocking(move || receiver.recv());
        runtime.block_on(async {
            let mut lost = pin!(queue.run(|number: &mut i32| *number += 1));
            assert!(is_pending(lost.as_mut()));
        });
        runtime.shutdown_background();
        drop(sender);
        let seen = one(1).block_on(queue.run(|number| *number));
        assert!(matches!(seen, Some(0 | 1)), "{seen:?}");
    }
}
