//! Storage in one SQLite file. SQLite itself is compiled in.

mod dialect;
#[path = "../queries/documents.rs"]
mod documents;
#[cfg(feature = "postgres")]
mod export;
mod file;
#[path = "../queries/lists.rs"]
mod lists;
#[path = "../queries/load.rs"]
mod load;
#[path = "../queries/prepared.rs"]
mod prepared;
#[path = "../queries/query.rs"]
mod query;
mod queue;
#[path = "../queries/reads.rs"]
mod reads;
#[path = "../queries/sweep.rs"]
mod sweep;
#[cfg(test)]
mod tests;
#[path = "../queries/write.rs"]
mod write;

use self::file::Identity;
use self::load::Stored;
use self::queue::Queue;
use crate::versions::{Tables, applied, tables, upgrade};
use crate::{progress, rows, schema, text};
use async_trait::async_trait;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, QueryDsl, RunQueryDsl, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use freshmaker::backend::{
    Claim, Clock, Documents, Error, Lease, Remedy, Result, Retention, Scope, Storage, StorageReads, StorageUpkeep,
    Swept,
};
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::{Commit, InboxRecord, Neighbourhood, RunId};
use freshmaker::store::{PLACE, conflict, external_changed, load, missing};
use freshmaker::time::{Timestamp, from_micros, to_micros};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

type Connection = SqliteConnection;
type Db = Sqlite;
type Here = SqliteStorage;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("src/sqlite/migrations");

/// The most values in one question; SQLite takes 32,766.
const CHUNK: usize = 30_000;

/// One process publishes everything.
const PARTITIONS: u16 = 1;

const SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                        PRAGMA foreign_keys = ON;";

/// How often a file is opened that another program is just making, and the pause in between: as
/// long as SQLite waits for everything else.
const BUSY_TRIES: u32 = 500;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Storage in one SQLite file, for one engine process.
///
/// Any number of processes may have the file open and read; [`lease`](Storage::lease) takes a lock
/// on the file `<path>.lock`, and only one storage at a time has it, until it is dropped. The path
/// is resolved first, so that a file has one lock, whatever names it has; a file with several hard
/// links is refused. Files that are made here can be read and written by their owner only.
///
/// If the file is moved, removed or replaced while it is open, every call fails until it is back.
///
/// Calls run to their end on a blocking thread, even if their future is dropped, so no transaction
/// stays open. They need a tokio runtime.
///
/// ```
/// use freshmaker_sql::SqliteStorage;
///
/// let storage = SqliteStorage::in_memory()?;
/// # drop(storage);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
pub struct SqliteStorage {
    /// `None` is in memory.
    path: Option<PathBuf>,
    queue: Queue<Session>,
    clock: Arc<dyn Clock>,
}

struct Session {
    connection: SqliteConnection,
    /// The file that is open; `None` is in memory.
    file: Option<Identity>,
    /// The lock of the engine, while this storage has it.
    lock: Option<File>,
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStorage").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStorage {
    /// Opens a file, or makes it. Its tables are made by
    /// [`migrate`](freshmaker::backend::StorageUpkeep::migrate).
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if the file cannot be opened,
    /// [`Unsupported`](Remedy::Unsupported) if its path is not UTF-8 or if it has several hard
    /// links, [`Conflict`](Remedy::Conflict) if an engine has another file open that was at this
    /// path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::at(file::resolve(path.as_ref(), true)?)
    }

    /// Opens a file that is there, and makes none: for programs that ask.
    ///
    /// ```
    /// use freshmaker::backend::Remedy;
    /// use freshmaker_sql::SqliteStorage;
    ///
    /// let error = SqliteStorage::open_existing("no-such.sqlite").unwrap_err();
    /// assert_eq!(error.remedy, Remedy::NotFound);
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if there is no such file, else as for [`open`](Self::open).
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self> {
        Self::at(file::resolve(path.as_ref(), false)?)
    }

    fn at(path: PathBuf) -> Result<Self> {
        Ok(Self { queue: Queue::new(Session::open(Some(&path))?), path: Some(path), clock: Arc::new(SystemClock) })
    }

    /// Opens a database in memory, which ends with the storage and which no other process sees.
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if SQLite has no memory for it.
    pub fn in_memory() -> Result<Self> {
        Ok(Self { queue: Queue::new(Session::open(None)?), path: None, clock: Arc::new(SystemClock) })
    }

    /// Returns the same with another clock than that of the machine: leases end and moments are
    /// compared by it.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn now(&self) -> Timestamp {
        from_micros(to_micros(self.clock.now()))
    }

    /// Runs a piece of work on the connection to its end, whatever becomes of the future.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static) -> Result<T> {
        let path = self.path.clone();
        let running = self.queue.run(move |session| {
            session.mend(path.as_deref())?;
            let done = work(session)?;
            // Only now: what was written into a file that is not there any more is not stored.
            session.must_be_at(path.as_deref())?;
            Ok(done)
        });
        let lost = || Error::new(Remedy::Unclear, PLACE, "the work on the connection was not ended");
        running.await.unwrap_or_else(|| Err(lost()))
    }

    /// Changes something.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(move |session| work(&mut session.connection)).await
    }

    /// Reads what an engine needs to go on.
    async fn urgent<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read(work).await
    }

    /// Reads notifications, as far as no earlier ones can become visible any more.
    async fn settled<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read(|connection| {
            let settled = dialect::settled(connection)?;
            work(connection, settled)
        })
        .await
    }

    /// Reads with one statement, whose rows are of one moment without a transaction.
    async fn glance<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write(work).await
    }

    /// Reads in one transaction, so that all rows are of one moment.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let read = |session: &mut Session| {
            let connection = &mut session.connection;
            connection.transaction(|connection| work(connection).map_err(Failure)).map_err(|Failure(error)| error)
        };
        self.run(read).await
    }
}

#[async_trait]
impl Storage for SqliteStorage {
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
        let (path, now) = (self.path.clone(), self.now());
        self.run(move |session| {
            // The holder of the lock is the only process, so that leases of others are of processes
            // that are dead.
            let locks = path.filter(|_| session.lock.is_none());
            let alone = locks.is_some();
            if let Some(path) = locks {
                session.lock = Some(file::lock(&path)?);
            }
            write::lease(&mut session.connection, held, now, alone)
        })
        .await
    }

    async fn release(&self, run: RunId) -> Result<()> {
        self.write(move |connection| write::release(connection, run)).await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.write(move |connection| write::reserve(connection, count)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        let (claim, now) = (claim.clone(), self.now());
        self.write(move |connection| write::claim(connection, &claim, now)).await
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        let (scope, at) = (scope.clone(), self.now());
        self.read(move |connection| {
            let found = load(&mut Stored(connection), &scope)?;
            Ok(Neighbourhood { at, edges: write::edges(connection)?, ..found })
        })
        .await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.write(move |connection| write::commit(connection, commit)).await
    }
}

#[async_trait]
impl StorageUpkeep for SqliteStorage {
    async fn migrate(&self) -> Result<()> {
        self.run(|session| {
            let connection = &mut session.connection;
            // A user who may only read has nothing to change then.
            if stand(connection)? == Tables::Current {
                return Ok(());
            }
            // A migration may make a table anew that others refer to; the setting can only be
            // changed outside of a transaction.
            connection.batch_execute("PRAGMA foreign_keys = OFF").map_err(failed)?;
            // In one transaction, so that two processes that start together do not both make the
            // tables.
            let migrated =
                connection.immediate_transaction(|connection| upgrade(connection, || MIGRATIONS).map_err(Failure));
            connection.batch_execute("PRAGMA foreign_keys = ON").map_err(failed)?;
            migrated.map_err(|Failure(error)| error)
        })
        .await
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        let now = self.now();
        self.write(move |connection| sweep::sweep(connection, run, retention, limit, now)).await
    }

    /// Writes the copy over a connection of its own, so that nothing else waits for it. A database
    /// in memory cannot be copied.
    async fn backup(&self, to: &Path) -> Result<()> {
        let Some(from) = self.path.clone() else {
            return Err(Error::new(Remedy::Unsupported, PLACE, "a database in memory cannot be copied"));
        };
        // What is at the path must be what is open.
        self.run(|_| Ok(())).await?;
        let to = to.to_owned();
        let copying = tokio::task::spawn_blocking(move || file::copy(&from, &to));
        copying.await.unwrap_or_else(|error| Err(Error::new(Remedy::Unclear, PLACE, error)))
    }
}

impl Session {
    fn open(path: Option<&Path>) -> Result<Self> {
        let file = path.map(Identity::of).transpose()?;
        Ok(Self { connection: connect(path)?, file, lock: None })
    }

    fn must_be_at(&self, path: Option<&Path>) -> Result<()> {
        self.file.zip(path).map_or(Ok(()), |(file, path)| file.must_be_at(path))
    }

    /// SQLite takes a transaction back by itself when the disk is full, for example; the connection
    /// then no longer knows where it is.
    fn mend(&mut self, path: Option<&Path>) -> Result<()> {
        if AnsiTransactionManager::is_broken_transaction_manager(&mut self.connection) {
            if path.is_none() {
                return Err(unavailable(PLACE, "the database in memory is lost after an error within a transaction"));
            }
            self.must_be_at(path)?;
            self.connection = connect(path)?;
        }
        Ok(())
    }
}

/// How far the tables of a file are.
fn stand(connection: &mut Connection) -> Result<Tables> {
    match applied::table.select(applied::version).load(connection) {
        Ok(applied) => tables::<Db>(applied, &MIGRATIONS),
        Err(DieselError::DatabaseError(_, why)) if why.message().contains("no such table") => Ok(Tables::Missing),
        Err(error) => Err(failed(error)),
    }
}

fn connect(path: Option<&Path>) -> Result<SqliteConnection> {
    let place = path.map_or_else(|| PLACE.to_owned(), |path| path.display().to_string());
    let text = match path {
        None => ":memory:",
        Some(path) => path.to_str().ok_or_else(|| Error::new(Remedy::Unsupported, &place, "the path is not UTF-8"))?,
    };
    let mut connection = SqliteConnection::establish(text).map_err(|error| unavailable(&place, error))?;
    // While another program changes the mode of a new file, SQLite refuses at once, whatever the
    // time is for which it is to wait.
    let mut tries = 0..BUSY_TRIES;
    loop {
        match connection.batch_execute(SETTINGS) {
            Err(error) if is_locked(&error) && tries.next().is_some() => std::thread::sleep(BUSY_PAUSE),
            Err(error) => return Err(unavailable(&place, error)),
            Ok(()) => return Ok(connection),
        }
    }
}

fn is_locked(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, why) if why.message().contains("is locked"))
}

/// An error on its way out of a transaction, which is taken back.
struct Failure(Error);

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        Self(failed(error))
    }
}

fn unavailable(place: impl fmt::Display, error: impl fmt::Display) -> Error {
    Error::new(Remedy::Unavailable, place.to_string(), error)
}

/// What follows from an error of the database. Busy, full and broken disks are all to be tried
/// again; a file that this user may not write stays so until its permissions change.
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
        DatabaseErrorKind::UniqueViolation => conflict(text),
        DatabaseErrorKind::ForeignKeyViolation => missing("a row refers to one that is not there"),
        DatabaseErrorKind::CheckViolation | DatabaseErrorKind::NotNullViolation => {
            Error::new(Remedy::Rejected, PLACE, text)
        }
        _ if text.contains("is written once") => external_changed(text),
        _ if text.contains("readonly database") => {
            let text =
                "it can be read, but not written: see whose the file and its directory are, and who may write them";
            Error::new(Remedy::Unsupported, PLACE, text)
        }
        _ if text.contains("malformed") || text.contains("not a database") => Error::new(Remedy::Corrupt, PLACE, text),
        _ => unavailable(PLACE, text),
    }
}
