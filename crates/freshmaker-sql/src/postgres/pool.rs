//! Connections: how one is made, how many there are, and how many engines and clients may use.

use super::{Connection, PostgresConfig};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use freshmaker::backend::{Error, Remedy, Result, with_causes};
use freshmaker_net::client_config;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// What an engine needs to go on: any connection.
    Work,
    /// A question that can wait, such as one of a client: at most half of the connections.
    Question,
}

/// A connection, and the right to use it.
pub(super) struct Leased {
    pub(super) connection: Connection,
    /// Ends the connection, and so every call that waits for its answer.
    pub(super) driver: AbortHandle,
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

struct Idle {
    connection: Connection,
    driver: AbortHandle,
}

pub(super) struct Pool {
    target: Config,
    tls: MakeRustlsConnect,
    pub(super) place: String,
    pub(super) wait: Duration,
    idle: Mutex<Vec<Idle>>,
    all: Arc<Semaphore>,
    questions: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(config: &PostgresConfig) -> Result<Self> {
        let place = config.place();
        Ok(Self {
            target: config.target()?,
            tls: MakeRustlsConnect::new(client_config(&place, &config.files())?),
            place,
            wait: config.connect_timeout,
            idle: Mutex::default(),
            all: Arc::new(Semaphore::new(config.connections)),
            questions: Arc::new(Semaphore::new(config.connections / 2)),
        })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free connection, or a new one.
    ///
    /// # Errors
    /// `Unavailable` if none becomes free in time, or if the server cannot be reached.
    pub(super) async fn get(&self, wanted: Use) -> Result<Leased> {
        let permits = async {
            // That of the questions first, so that those who wait for it keep nothing.
            let question = match wanted {
                Use::Question => Some(Arc::clone(&self.questions).acquire_owned().await),
                Use::Work => None,
            };
            (Arc::clone(&self.all).acquire_owned().await, question)
        };
        let busy = || format!("none of the connections became free in {} s", self.wait.as_secs());
        let busy = |()| Error::new(Remedy::Unavailable, &self.place, busy());
        let permits = tokio::time::timeout(self.wait, permits).await.map_err(|_| busy(()))?;
        // The semaphores are never closed.
        let (Ok(all), Ok(question)) = (permits.0, permits.1.transpose()) else { return Err(busy(())) };
        let free = {
            let mut idle = self.idle();
            idle.retain(|idle| !idle.driver.is_finished());
            idle.pop()
        };
        let Idle { connection, driver } = match free {
            Some(free) => free,
            None => self.connect().await?,
        };
        Ok(Leased { connection, driver, _permits: (all, question) })
    }

    /// Keeps a connection that is not within a transaction, for the next one.
    pub(super) fn put(&self, leased: Leased) {
        let Leased { connection, driver, .. } = leased;
        if !driver.is_finished() {
            self.idle().push(Idle { connection, driver });
        }
    }

    async fn connect(&self) -> Result<Idle> {
        let (client, connection) = self.open().await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %with_causes(&error), "a connection to PostgreSQL has ended");
            }
        })
        .abort_handle();
        let unavailable = |text: String| Error::new(Remedy::Unavailable, &self.place, text);
        let begin = async {
            must_keep_settings(&client, &self.place).await?;
            AsyncPgConnection::try_from(client).await.map_err(|error| unavailable(error.to_string()))
        };
        let begun = tokio::time::timeout(self.wait, begin).await;
        let connection = begun.map_err(|_| unavailable("no answer to the first question".to_owned()))??;
        Ok(Idle { connection: AsyncConnectionWrapper::from(connection), driver })
    }

    /// A connection that is not one of the pool, and that the caller drives.
    pub(super) async fn open(&self) -> Result<(Client, tokio_postgres::Connection<Socket, Stream>)> {
        let connecting = self.target.connect(self.tls.clone());
        let late =
            |_| Error::new(Remedy::Unavailable, &self.place, format!("no connection in {} s", self.wait.as_secs()));
        let connected = tokio::time::timeout(self.wait, connecting).await.map_err(late)?;
        connected.map_err(|error| refused(&self.place, &error))
    }
}

/// Why there is no connection.
fn refused(place: &str, error: &tokio_postgres::Error) -> Error {
    let text = with_causes(error);
    if text.contains("unsupported startup parameter") {
        return through_a_pooler(place);
    }
    Error::new(Remedy::Unavailable, place, text)
}

fn through_a_pooler(place: &str) -> Error {
    let text = "a pooler in between, such as PgBouncer, does not keep the settings of a session: connect to the server \
                itself";
    Error::new(Remedy::Unsupported, place, text)
}

/// Checks that the session has the settings that the connection has sent: a pooler that shares
/// sessions among connections drops them, and with them the bounds and the schema.
pub(super) async fn must_keep_settings(client: &Client, place: &str) -> Result<()> {
    let asked = "SELECT current_setting('lock_timeout') <> '0', current_setting('search_path') LIKE '\"%\"', \
                 current_schema() IS NOT NULL";
    let failed = |error: tokio_postgres::Error| Error::new(Remedy::Unavailable, place, with_causes(&error));
    let rows = client.simple_query(asked).await.map_err(failed)?;
    let values = rows.iter().find_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some([row.get(0), row.get(1), row.get(2)]),
        _ => None,
    });
    match values {
        Some([Some("t"), Some("t"), Some("t")]) => Ok(()),
        Some([Some("t"), Some("t"), _]) => {
            Err(Error::new(Remedy::Unsupported, place, "the schema of the configuration does not exist"))
        }
        _ => Err(through_a_pooler(place)),
    }
}
