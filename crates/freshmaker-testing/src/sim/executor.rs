use async_trait::async_trait;
use freshmaker::backend::Clock;
use freshmaker::time::Timestamp;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Time that passes only when nothing else can happen.
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<Mutex<Timers>>);

#[derive(Debug)]
struct Timers {
    now: Timestamp,
    waiting: BTreeMap<(Timestamp, u64), Waker>,
    last: u64,
}

impl VirtualClock {
    /// A clock that shows this moment.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Timers { now, waiting: BTreeMap::new(), last: 0 })))
    }

    /// Moves on to this moment, if it is later.
    pub fn advance_to(&self, at: Timestamp) {
        let mut timers = self.lock();
        timers.now = timers.now.max(at);
        let now = timers.now;
        let later = timers.waiting.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut timers.waiting, later);
        drop(timers);
        due.into_values().for_each(Waker::wake);
    }

    /// The earliest moment that somebody waits for.
    fn next(&self) -> Option<Timestamp> {
        self.lock().waiting.keys().next().map(|(at, _)| *at)
    }

    /// Forgets who waits: the process that waited is gone.
    fn clear(&self) {
        self.lock().waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    async fn sleep_until(&self, at: Timestamp) {
        Sleep { clock: self, at, key: None }.await;
    }
}

struct Sleep<'a> {
    clock: &'a VirtualClock,
    at: Timestamp,
    key: Option<(Timestamp, u64)>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.clock.lock();
        if timers.now >= self.at {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            timers.last += 1;
            (self.at, timers.last)
        });
        timers.waiting.insert(key, cx.waker().clone());
        drop(timers);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.lock().waiting.remove(&key);
        }
    }
}

/// How a run under virtual time ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended<T> {
    /// The future is complete.
    Complete(T),
    /// It was dropped in the middle, as asked.
    Crashed,
    /// Nothing can happen any more, or too much has.
    Stuck(&'static str),
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls the future to its end on this thread. Before each poll `crash` is asked whether the process dies here.
pub(super) fn run<T>(
    clock: &VirtualClock,
    future: impl Future<Output = T>,
    deadline: Timestamp,
    steps_max: u32,
    mut crash: impl FnMut() -> bool,
) -> Ended<T> {
    let mut future = Box::pin(future);
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    for _ in 0..steps_max {
        if flag.0.swap(false, Ordering::SeqCst) {
            if crash() {
                drop(future);
                clock.clear();
                return Ended::Crashed;
            }
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Ended::Complete(output);
            }
            continue;
        }
        match clock.next() {
            None => return Ended::Stuck("nothing waits for anything"),
            Some(at) if at > deadline => return Ended::Stuck("time is up"),
            Some(at) => clock.advance_to(at),
        }
    }
    Ended::Stuck("too many steps")
}

/// Lets everybody else run once: a place where the process may die.
pub(super) async fn step() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker::time::{from_micros, later};
    use std::time::Duration;

    #[test]
    fn time_jumps_to_the_next_timer() {
        let start = from_micros(0);
        let clock = VirtualClock::new(start);
        let hour = later(start, Duration::from_secs(3600));
        let ended = run(&clock, clock.sleep_until(hour), later(hour, Duration::from_secs(1)), 100, || false);
        assert_eq!(ended, Ended::Complete(()));
        assert_eq!(clock.now(), hour);
    }

    #[test]
    fn a_future_that_nobody_wakes_is_stuck() {
        let clock = VirtualClock::new(from_micros(0));
        let ended = run(&clock, std::future::pending::<()>(), Timestamp::MAX_UTC, 100, || false);
        assert_eq!(ended, Ended::Stuck("nothing waits for anything"));
    }
}
