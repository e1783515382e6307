//! One reader of the storage for all streams of changes.
//!
//! The reader runs while there is a stream. It sends each change, encoded once, to all streams. A
//! stream that begins at an earlier position, or that was too slow, reads the missing changes from
//! the storage by itself, and then follows the common reader.
//!
//! *Invariant:* the reader stores its position and sends the change under one lock, so that a
//! stream that begins at this position gets exactly the changes behind it.

use crate::problem::{Problem, ProblemCode};
use crate::web::Web;
use axum::body::Bytes;
use freshmaker::client::{Client, Subscription};
use freshmaker::rebuild::{Notification, RowKey};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Changes that a listener may be behind before it reads from the storage by itself.
const BEHIND_MAX: usize = 512;

/// How often the reader checks whether there still is a stream.
const LOOK: Duration = Duration::from_secs(30);

/// A change, as it is sent to everybody.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) position: i64,
    /// The event or build; `None` if changes are missing here.
    pub(crate) subject: Option<RowKey>,
    pub(crate) bytes: Bytes,
}

impl Change {
    fn new(position: i64, notification: &Notification) -> Self {
        let Notification { of, topic, body, .. } = notification;
        let bytes = format!("id: {position}\nevent: {topic}\ndata: {body}\n\n").into();
        Self { position, subject: Some(of.clone()), bytes }
    }

    /// Says that changes are missing: the client must ask again for everything that it shows.
    fn reset(position: i64) -> Self {
        Self { position, subject: None, bytes: format!("id: {position}\nevent: reset\ndata: {{}}\n\n").into() }
    }
}

#[derive(Debug)]
pub(crate) struct Hub {
    client: Client,
    running: Arc<Mutex<Option<Running>>>,
    free: Arc<Semaphore>,
    streams: usize,
    resets: AtomicU64,
}

#[derive(Debug)]
struct Running {
    position: i64,
    changes: Sender<Arc<Change>>,
}

/// Where changes come from for one listener.
#[derive(Debug)]
enum Source {
    /// From the storage, up to and with this position.
    Storage(Box<Subscription>, i64),
    Live,
}

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    client: Client,
    source: Source,
    live: Receiver<Arc<Change>>,
    /// The position of the latest change that it was given or that it did not want.
    position: i64,
    /// Whether the listener has to be informed first that changes are missing.
    reset: bool,
    /// Live changes were dropped, because they were not taken in time.
    behind: bool,
    _place: OwnedSemaphorePermit,
}

impl Hub {
    pub(crate) fn new(client: Client, streams: usize) -> Self {
        let free = Arc::new(Semaphore::new(streams.min(Semaphore::MAX_PERMITS)));
        Self { client, running: Arc::default(), free, streams, resets: AtomicU64::new(0) }
    }

    /// How many streams are open, and how often a stream was informed that changes are missing.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.streams.saturating_sub(self.free.available_permits()), self.resets.load(Ordering::Relaxed))
    }

    /// Joins the reader, or starts it: returns the position from which on the changes come.
    async fn join(&self) -> freshmaker::backend::Result<(i64, Receiver<Arc<Change>>)> {
        let join = |running: &mut Option<Running>| {
            let running = running.as_ref()?;
            Some((running.position, running.changes.subscribe()))
        };
        if let Some(joined) = join(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(joined);
        }
        let subscription = self.client.subscribe().await?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have started it meanwhile.
        if let Some(joined) = join(&mut running) {
            return Ok(joined);
        }
        let (changes, live) = broadcast::channel(BEHIND_MAX);
        let position = subscription.position();
        *running = Some(Running { position, changes });
        tokio::spawn(read(subscription, Arc::clone(&self.running)));
        Ok((position, live))
    }

    /// Begins to listen: behind this position, or from now on.
    pub(crate) async fn listen(&self, web: &Web, after: Option<i64>) -> Result<Listener, Problem> {
        let place = Arc::clone(&self.free).try_acquire_owned();
        let full = || Problem::new(ProblemCode::Unavailable, format!("{} streams are open already", self.streams));
        let place = place.map_err(|_| full())?;
        let (position, live) = web.ask(self.join()).await?;
        let client = self.client.clone();
        let mut listener =
            Listener { client, source: Source::Live, live, position, reset: false, behind: false, _place: place };
        match after {
            Some(after) if after < position => listener.catch_up(after, position),
            Some(after) if after > position => {
                // The reader of another process may be ahead of ours.
                let last = web.ask(self.client.subscribe()).await?.position();
                listener.position = after.min(last);
                listener.reset = after > last;
            }
            _ => {}
        }
        Ok(listener)
    }

    pub(crate) fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads changes and sends them to all streams, until there is none or the storage fails for good;
/// then the streams end, and begin again when their clients come back.
async fn read(mut subscription: Subscription, running: Arc<Mutex<Option<Running>>>) {
    loop {
        let next = tokio::time::timeout(LOOK, subscription.next()).await;
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { position, changes }) = running.as_mut() else { return };
        if subscription.take_missed() {
            // To have no stream to send it to is no error.
            let _ = changes.send(Arc::new(Change::reset(*position)));
        }
        match next {
            Ok(Ok(notification)) => {
                *position = subscription.position();
                let _ = changes.send(Arc::new(Change::new(*position, &notification)));
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "changes cannot be read: streams end");
                *running = None;
                return;
            }
            Err(_) => {}
        }
        if running.as_ref().is_some_and(|running| running.changes.receiver_count() == 0) {
            *running = None;
            return;
        }
    }
}

impl Listener {
    fn catch_up(&mut self, after: i64, until: i64) {
        self.position = after;
        self.source = Source::Storage(Box::new(self.client.subscribe_from(after)), until);
    }

    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// The next change; `None` if the reader has ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Arc<Change>> {
        loop {
            if std::mem::take(&mut self.reset) {
                return Some(Arc::new(Change::reset(self.position)));
            }
            if let Source::Storage(subscription, until) = &mut self.source {
                let until = *until;
                let read = subscription.next().await;
                let (position, missed) = (subscription.position(), subscription.take_missed());
                match read {
                    Ok(_) if missed => {
                        // What is still there does not help: the listener asks anew.
                        (self.source, self.position, self.reset) = (Source::Live, until, true);
                    }
                    Ok(notification) if position <= until => {
                        self.position = position;
                        if position == until {
                            self.source = Source::Live;
                        }
                        return Some(Arc::new(Change::new(position, &notification)));
                    }
                    // The live changes have this one.
                    Ok(_) => (self.source, self.position) = (Source::Live, until),
                    Err(error) => {
                        tracing::error!(%error, "a stream of changes ends");
                        return None;
                    }
                }
                continue;
            }
            match self.live.recv().await {
                Ok(change) if std::mem::take(&mut self.behind) => {
                    // The storage has what was dropped here, and this one.
                    self.reset |= change.subject.is_none();
                    self.catch_up(self.position, change.position);
                }
                Ok(change) if change.subject.is_some() && change.position <= self.position => {}
                Ok(change) => {
                    self.position = change.position.max(self.position);
                    return Some(change);
                }
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
