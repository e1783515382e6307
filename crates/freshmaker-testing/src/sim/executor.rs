use async_trait::async_trait;
use freshmaker::backend::Clock;
use freshmaker::time::{Timestamp, earlier, later, since};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Time that passes only when nothing else can happen. Its date can be set; what is measured and
/// slept stays as it is.
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<Mutex<Timers>>);

#[derive(Debug)]
struct Timers {
    begin: Timestamp,
    /// The moment by which everything waits, which is never set.
    now: Timestamp,
    /// By how much the date was set forward, and back.
    set: (Duration, Duration),
    waiting: BTreeMap<(Timestamp, u64), Waker>,
    last: u64,
}

impl VirtualClock {
    /// Makes a clock that shows this moment.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let set = Default::default();
        Self(Arc::new(Mutex::new(Timers { begin: now, now, set, waiting: BTreeMap::new(), last: 0 })))
    }

    /// Returns the moment by which everything waits: the date as if it had never been set.
    #[must_use]
    pub fn steady(&self) -> Timestamp {
        self.lock().now
    }

    /// Sets the date forward.
    pub fn set_forward(&self, by: Duration) {
        self.lock().set.0 += by;
    }

    /// Sets the date back.
    pub fn set_back(&self, by: Duration) {
        self.lock().set.1 += by;
    }

    /// Waits until the steady moment has come.
    pub(super) async fn sleep_until(&self, at: Timestamp) {
        Sleep { clock: self, at, key: None }.await;
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

    /// The earliest moment that a task waits for.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.lock().waiting.keys().next().map(|(at, _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let timers = self.lock();
        earlier(later(timers.now, timers.set.0), timers.set.1)
    }

    fn elapsed(&self) -> Duration {
        let timers = self.lock();
        since(timers.now, timers.begin)
    }

    async fn sleep(&self, duration: Duration) {
        let at = later(self.steady(), duration);
        self.sleep_until(at).await;
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

/// Remembers that a task was woken.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A future that is polled step by step, by the code that decides whose turn it is.
pub(super) struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Woken>,
    frozen_until: Option<Timestamp>,
}

impl<T> Task<T> {
    pub(super) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))), frozen_until: None }
    }

    /// Whether it can make a step at this moment.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        self.frozen_until.is_none_or(|until| until <= now) && self.woken.0.load(Ordering::SeqCst)
    }

    /// It makes no step before this moment, whatever happens: as a process that is stopped and goes
    /// on.
    pub(super) fn freeze(&mut self, until: Timestamp) {
        self.frozen_until = Some(until);
    }

    /// When it may go on, if it is frozen and has something to do.
    pub(super) fn thaws(&self) -> Option<Timestamp> {
        self.frozen_until.filter(|_| self.woken.0.load(Ordering::SeqCst))
    }

    /// Makes one step.
    pub(super) fn poll(&mut self) -> Poll<T> {
        self.frozen_until = None;
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Runs a future to its end, and waits for the threads that it needs.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
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
    use freshmaker::time::from_micros;

    #[test]
    fn a_task_sleeps_until_the_clock_says_so() {
        let start = from_micros(0);
        let clock = VirtualClock::new(start);
        let hour = later(start, Duration::from_secs(3600));
        let sleeper = clock.clone();
        let mut task = Task::new(async move { sleeper.sleep_until(hour).await });
        assert!(task.poll().is_pending() && !task.is_ready(start));
        assert_eq!(clock.next(), Some(hour));
        clock.advance_to(hour);
        assert!(task.is_ready(hour) && task.poll().is_ready());
        assert_eq!(clock.next(), None);
    }

    #[test]
    fn a_dropped_task_waits_for_nothing() {
        let clock = VirtualClock::new(from_micros(0));
        let sleeper = clock.clone();
        let mut task = Task::new(async move { sleeper.sleep_until(Timestamp::MAX_UTC).await });
        assert!(task.poll().is_pending() && clock.next().is_some());
        drop(task);
        assert_eq!(clock.next(), None);
    }

    #[test]
    fn a_frozen_task_goes_on_when_its_time_has_come() {
        let (start, then) = (from_micros(0), from_micros(9));
        let mut task = Task::new(async {});
        task.freeze(then);
        assert!(!task.is_ready(start) && task.is_ready(then));
        assert_eq!(task.thaws(), Some(then));
        assert!(task.poll().is_ready());
    }
}
