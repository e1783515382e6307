//! Receives notifications (`LISTEN`) that another process has committed something, and sends them
//! (`NOTIFY`). A lost one delays an engine by at most one tick.

use super::Connection;
use super::pool::Pool;
use diesel::connection::SimpleConnection;
use freshmaker::backend::{Error, Remedy, Result, with_causes};
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Notification};

/// The channel of all storages in a database.
const CHANNEL: &str = "freshmaker";

/// The pause before the next try to listen.
const PAUSE: Duration = Duration::from_secs(5);

/// Sends and receives the notifications of a storage.
pub(super) struct Listener {
    /// The sender: a number that no other storage has, so that a storage ignores its own
    /// notifications.
    me: u64,
    schema: String,
    heard: Arc<Heard>,
    /// Begins with the first call that waits.
    task: OnceLock<Task>,
    telling: Arc<Telling>,
}

/// Chooses which of the commits that end at the same time sends `NOTIFY` for all of them.
#[derive(Default)]
struct Telling(AtomicU8);

impl Telling {
    const IDLE: u8 = 0;
    const TELLS: u8 = 1;
    /// Another commit has ended since the sending began.
    const AGAIN: u8 = 2;

    /// How often one connection sends `NOTIFY` for all; what they have committed since then waits
    /// for the next commit, or for a tick.
    const TIMES: u8 = 3;

    fn tell(&self, mut once: impl FnMut()) {
        let set = |from, to| self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        loop {
            match set(Self::IDLE, Self::TELLS) {
                Ok(_) => break,
                Err(Self::TELLS) if set(Self::TELLS, Self::AGAIN).is_err() => {}
                Err(_) => return,
            }
        }
        for _ in 0..Self::TIMES {
            self.0.store(Self::TELLS, Ordering::SeqCst);
            once();
            if set(Self::TELLS, Self::IDLE).is_ok() {
                return;
            }
        }
        self.0.store(Self::IDLE, Ordering::SeqCst);
    }
}

/// Wakes the calls that wait, or the next one that will.
#[derive(Default)]
struct Heard {
    told: Notify,
    waiting: AtomicUsize,
}

impl Heard {
    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.told.notify_waiters();
        } else {
            self.told.notify_one();
        }
    }

    async fn wait(&self) {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let told = self.told.notified();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waits = Waits(&self.waiting);
        told.await;
    }
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    pub(super) fn new(schema: &str) -> Self {
        let (me, schema) = (fastrand::u64(..), schema.to_owned());
        Self { me, schema, heard: Arc::default(), task: OnceLock::new(), telling: Arc::default() }
    }

    /// Waits until another storage has notified since the last call.
    pub(super) async fn changed(&self, pool: &Arc<Pool>) {
        self.task.get_or_init(|| {
            let (pool, heard) = (Arc::clone(pool), Arc::clone(&self.heard));
            let (schema, me) = (self.schema.clone(), self.me);
            Task(tokio::spawn(async move {
                let concerns = |told: &Notification| {
                    let from = told.payload().rsplit_once('/');
                    from.is_some_and(|(told, from)| told == schema && from.parse() != Ok(me))
                };
                let deaf = AtomicBool::new(false);
                loop {
                    if let Err(error) = listen(&pool, &heard, &deaf, &concerns).await {
                        // An outage is logged when it begins and when it ends.
                        if deaf.swap(true, Ordering::SeqCst) {
                            tracing::debug!(%error, "still hears nothing of other processes");
                        } else {
                            tracing::warn!(%error, "hears nothing of other processes; trying again");
                        }
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }))
        });
        self.heard.wait().await;
    }

    /// Returns what has to be run so that other processes hear of this commit.
    pub(super) fn tell(&self) -> impl FnOnce(&mut Connection) + Send + use<> {
        // A hint is not worth a wait for the disk, and if one fails, it is only missed.
        let text = format!(
            "BEGIN; SET LOCAL synchronous_commit = off; \
             SELECT pg_notify('{CHANNEL}', concat(current_schema(), '/{}')); COMMIT",
            self.me
        );
        let telling = Arc::clone(&self.telling);
        move |connection| telling.tell(|| drop(connection.batch_execute(&text)))
    }
}

/// Listens until the connection is lost.
async fn listen(
    pool: &Pool,
    heard: &Heard,
    deaf: &AtomicBool,
    concerns: &(impl Fn(&Notification) -> bool + Sync),
) -> Result<()> {
    let (client, mut connection) = pool.open().await?;
    let failed = |error: tokio_postgres::Error| Error::new(Remedy::Unavailable, &pool.place, with_causes(&error));
    let hearing = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(told))) if concerns(&told) => heard.tell(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failed(error)),
                None => return Ok(()),
            }
        }
    };
    let asking = async {
        if let Err(error) = client.batch_execute(&format!("LISTEN {CHANNEL}")).await {
            return Err(failed(error));
        }
        if deaf.swap(false, Ordering::SeqCst) {
            tracing::warn!("hears of other processes again");
        }
        // A notification may have come before.
        heard.tell();
        pending().await
    };
    tokio::select! {
        ended = hearing => ended,
        failed = asking => failed,
    }
}
