//! Storage in a PostgreSQL database, for any number of engine processes.

mod check;
mod config;
mod dialect;
#[path = "../queries/documents.rs"]
mod documents;
mod listen;
#[path = "../queries/lists.rs"]
mod lists;
#[path = "../queries/load.rs"]
mod load;
mod pool;
#[path = "../queries/prepared.rs"]
mod prepared;
#[path = "../queries/query.rs"]
mod query;
#[path = "../queries/reads.rs"]
mod reads;
#[path = "../queries/sweep.rs"]
mod sweep;
#[path = "../queries/write.rs"]
mod write;

pub use check::{PostgresServer, PostgresTables};
pub use config::{PostgresConfig, PostgresTls};

use self::dialect::{Now, of_one_moment};
use self::listen::Listener;
use self::load::Stored;
use self::pool::{Pool, Use};
use crate::{progress, rows, schema, text};
use async_trait::async_trait;
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use freshmaker::backend::{
    Claim, Clock, Documents, Error, Lease, Remedy, Result, Retention, Scope, Storage, StorageReads, StorageUpkeep,
    Swept,
};
use freshmaker::rebuild::{Commit, InboxRecord, Neighbourhood, RunId};
use freshmaker::store::{PLACE, conflict, external_changed, external_taken, load, missing};
use freshmaker::time::{from_micros, to_micros};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;

type Connection = AsyncConnectionWrapper<AsyncPgConnection>;
type Db = Pg;
type Here = PostgresStorage;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("src/postgres/migrations");

/// The most values in one question.
const CHUNK: usize = 30_000;

/// The number of partitions, and so the most processes that publish; the migrations make a row for
/// each.
pub(crate) const PARTITIONS: u16 = 8;

/// How long new tables and indexes may take.
const MIGRATION_MAX: Duration = Duration::from_secs(3600);

/// Storage in a PostgreSQL database (12 or later), for any number of engine processes.
///
/// Each process has a storage of its own for the same database. Leases, claims and everything that
/// is compared with a moment go by the clock of the server, so that the clocks of the processes do
/// not matter. Decisions read and write the primary only.
///
/// Calls run to their end on a blocking thread, even if their future is dropped, so no transaction
/// stays open; a call that takes longer than twice
/// [`statement_timeout`](PostgresConfig::statement_timeout) is given up, and its connection closed.
/// They need a tokio runtime with time and network, and all calls of a storage the same one.
///
/// ```no_run
/// use freshmaker::Engine;
/// use freshmaker_sql::{PostgresConfig, PostgresStorage};
/// use std::sync::Arc;
///
/// let mut config = PostgresConfig::new("postgresql://freshmaker@db.example.org/freshmaker");
/// config.password_file = Some("/etc/freshmaker/database-password".into());
/// let builder = Engine::builder().storage(Arc::new(PostgresStorage::new(&config)?));
/// # drop(builder);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[doc(alias = "postgresql")]
pub struct PostgresStorage {
    pool: Arc<Pool>,
    /// `None` is that of the server.
    clock: Option<Arc<dyn Clock>>,
    /// The longest time of a call.
    limit: Duration,
    listener: Listener,
}

impl fmt::Debug for PostgresStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStorage").field("place", &self.pool.place).finish_non_exhaustive()
    }
}

impl PostgresStorage {
    /// Makes a storage that connects at its first call. Its tables are created by
    /// [`migrate`](freshmaker::backend::StorageUpkeep::migrate).
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if something is wrong with the configuration, as
    /// [`PostgresConfig::check`] says.
    pub fn new(config: &PostgresConfig) -> Result<Self> {
        let (pool, listener) = (Arc::new(Pool::new(config)?), Listener::new(&config.schema));
        Ok(Self { pool, clock: None, limit: config.statement_timeout * 2, listener })
    }

    /// Returns the same with another clock than that of the server: leases end and moments are
    /// compared by it. All processes must have the same one, so that this is for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Asks the server whether an engine could use it, and changes nothing: the address, TLS, the
    /// login, the schema, whether it can be written, and the version of the tables.
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if the server cannot be reached or refuses the login,
    /// [`Unsupported`](Remedy::Unsupported) if a newer version of this crate has changed the
    /// tables, or if tables are to be made and this user may not.
    pub async fn check(&self) -> Result<PostgresServer> {
        check::check(&self.pool).await
    }

    /// A connection that is not one of the pool, and that the caller drives.
    pub(crate) async fn open(&self) -> Result<(Client, impl Future<Output = ()> + Send + 'static + use<>)> {
        let (client, connection) = self.pool.open().await?;
        Ok((client, async { drop(connection.await) }))
    }

    fn now(&self) -> Now {
        self.clock.as_ref().map(|clock| from_micros(to_micros(clock.now())))
    }

    /// Runs a piece of work on a connection to its end, whatever becomes of the future.
    async fn run<T: Send + 'static>(
        &self,
        wanted: Use,
        limit: Duration,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut leased = self.pool.get(wanted).await?;
        let (pool, driver) = (Arc::clone(&self.pool), leased.driver.clone());
        let watch = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            driver.abort();
        });
        let running = tokio::task::spawn_blocking(move || {
            let done = work(&mut leased.connection);
            watch.abort();
            // After these the state of the connection is not known.
            let unknown = |error: &Error| matches!(error.remedy, Remedy::Unavailable | Remedy::Unclear);
            if !done.as_ref().is_err_and(unknown) {
                pool.put(leased);
            }
            done
        });
        running.await.unwrap_or_else(|error| Err(Error::new(Remedy::Unclear, PLACE, error)))
    }

    /// Changes something.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Use::Work, self.limit, work).await
    }

    /// Reads what an engine needs to go on.
    async fn urgent<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Use::Work, self.limit, move |connection| of_one_moment(connection, work)).await
    }

    /// Reads notifications, as far as no earlier ones can become visible any more.
    async fn settled<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Use::Work, self.limit, move |connection| {
            let settled = dialect::settled(connection)?;
            of_one_moment(connection, |connection| work(connection, settled))
        })
        .await
    }

    /// Reads with one statement, whose rows are of one moment without a transaction.
    async fn glance<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Use::Question, self.limit, work).await
    }

    /// Reads in one transaction, so that all rows are of one moment.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Use::Question, self.limit, move |connection| of_one_moment(connection, work)).await
    }
}

#[async_trait]
impl Storage for PostgresStorage {
    fn upkeep(&self) -> &dyn StorageUpkeep {
        self
    }

    fn reads(&self) -> &dyn StorageReads {
        self
    }

    fn documents(&self) -> &dyn Documents {
        self
    }

    async fn lease(&self, held: Option<RunId>) -> Result<Lease> {
        let now = self.now();
        self.write(move |connection| write::lease(connection, held, now, false)).await
    }

    async fn release(&self, run: RunId) -> Result<()> {
        // Others take over at once what this run had.
        let tell = self.listener.tell();
        self.write(move |connection| {
            write::release(connection, run)?;
            tell(connection);
            Ok(())
        })
        .await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.write(move |connection| write::reserve(connection, count)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        let (claim, now) = (claim.clone(), self.now());
        self.write(move |connection| write::claim(connection, &claim, now)).await
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        let (scope, now) = (scope.clone(), self.now());
        self.urgent(move |connection| {
            let at = dialect::moment(connection, now)?;
            let found = load(&mut Stored(connection), &scope)?;
            Ok(Neighbourhood { at, edges: write::edges(connection)?, ..found })
        })
        .await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let tell = self.listener.tell();
        self.write(move |connection| {
            write::commit(connection, commit)?;
            tell(connection);
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl StorageUpkeep for PostgresStorage {
    /// Brings the tables up to this version. Processes that do so at once do it one after the
    /// other. [`Unsupported`](Remedy::Unsupported) if a newer version has already changed them.
    async fn migrate(&self) -> Result<()> {
        self.run(Use::Work, MIGRATION_MAX, dialect::migrate).await
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        let now = self.now();
        self.write(move |connection| sweep::sweep(connection, run, retention, limit, now)).await
    }

    /// Hears of what other storages of the same database and schema have committed.
    async fn changed(&self) {
        self.listener.changed(&self.pool).await;
    }
}

/// An error that leaves a transaction, which is rolled back.
struct Failure(Error);

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        Self(failed(error))
    }
}

/// Returns whether a `COMMIT` with this error may have taken effect. The server also answers with
/// an error if an administrator ends the session, so only errors that a commit itself finds prove
/// that it had no effect.
fn lost(error: &DieselError) -> bool {
    let DieselError::DatabaseError(kind, _) = error else { return true };
    !matches!(
        kind,
        DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::NotNullViolation
    )
}

/// Parts of errors about values that the database never stores: a text that is too long for an
/// index, or JSON with the character NUL.
const NEVER_STORED: [&str; 4] =
    ["exceeds btree", "exceeds maximum", "unsupported Unicode escape sequence", "invalid byte sequence"];

/// Returns the error of the storage for an error of the database. An error that passes by itself is
/// transient.
fn failed(error: DieselError) -> Error {
    let DieselError::DatabaseError(kind, information) = &error else {
        let remedy = match error {
            DieselError::NotFound => Remedy::NotFound,
            DieselError::DeserializationError(_) => Remedy::Corrupt,
            DieselError::SerializationError(_) | DieselError::QueryBuilderError(_) => Remedy::Rejected,
            _ => Remedy::Unavailable,
        };
        return Error::new(remedy, PLACE, error);
    };
    let text = information.message();
    match kind {
        DatabaseErrorKind::UniqueViolation if information.constraint_name() == Some("attempts_external") => {
            external_taken(text)
        }
        DatabaseErrorKind::UniqueViolation | DatabaseErrorKind::SerializationFailure => conflict(text),
        DatabaseErrorKind::ForeignKeyViolation => missing("a row refers to one that is not there"),
        DatabaseErrorKind::CheckViolation | DatabaseErrorKind::NotNullViolation => {
            Error::new(Remedy::Rejected, PLACE, text)
        }
        // The driver does not pass on the code of an error.
        _ if text.contains("deadlock detected") => conflict(text),
        _ if text.contains("is written once") => external_changed(text),
        _ if text.contains("0x00") => Error::new(Remedy::Rejected, PLACE, "a text has the character NUL"),
        _ if NEVER_STORED.iter().any(|never| text.contains(never)) => Error::new(Remedy::Rejected, PLACE, text),
        _ => Error::new(Remedy::Unavailable, PLACE, text),
    }
}
