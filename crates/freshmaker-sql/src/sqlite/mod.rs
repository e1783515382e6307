//! Storage in one SQLite file. SQLite itself is compiled in.

mod load;
mod query;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use self::load::Stored;
use async_trait::async_trait;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{Connection, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use freshmaker::backend::{Answer, Claim, Error, Query, Remedy, Result, Scope, Storage, Violation};
use freshmaker::rebuild::{InboxRecord, Neighbourhood, RowChange};
use freshmaker::store::{PLACE, conflict, external_changed, load, missing};
use freshmaker::time::Timestamp;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("src/sqlite/migrations");

/// So many values are asked for at once; SQLite takes 32,766.
const CHUNK: usize = 30_000;

const SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                        PRAGMA foreign_keys = ON;";

/// Storage in one SQLite file, for one engine process.
///
/// Any number of processes may have the file open and read; [`lease`](Storage::lease) takes a lock on the file `<path>.lock`, and only one
/// storage at a time has it, until it is dropped.
///
/// Calls run to their end on a blocking thread, even if their future is dropped, so no transaction stays open. They need a tokio runtime.
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
    session: Arc<Mutex<Session>>,
}

struct Session {
    connection: SqliteConnection,
    /// The lock of the engine, while this storage has it.
    lock: Option<File>,
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStorage").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStorage {
    /// Opens a file, or makes it. Its tables are made by [`migrate`](Storage::migrate).
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if the file cannot be opened, [`Unsupported`](Remedy::Unsupported) if its path is not UTF-8.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        // Absolute, because SQLite gives a meaning to some relative ones (`:memory:`).
        let path = std::path::absolute(path.as_ref()).map_err(|error| unavailable(path.as_ref().display(), error))?;
        Ok(Self { session: Session::open(Some(&path))?, path: Some(path) })
    }

    /// A database that goes with the storage, and that nobody else sees.
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if SQLite has no memory for it.
    pub fn in_memory() -> Result<Self> {
        Ok(Self { session: Session::open(None)?, path: None })
    }

    /// Runs a piece of work on the connection to its end, whatever becomes of the future.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static) -> Result<T> {
        let (session, path) = (Arc::clone(&self.session), self.path.clone());
        let running = tokio::task::spawn_blocking(move || {
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            session.mend(path.as_deref())?;
            work(&mut session)
        });
        running.await.unwrap_or_else(|error| Err(Error::new(Remedy::Unclear, PLACE, error)))
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
    async fn migrate(&self) -> Result<()> {
        self.run(|session| {
            // In one transaction, so that two processes that start together do not both make the tables.
            let migrated = session.connection.immediate_transaction(|connection| {
                let done = connection.run_pending_migrations(MIGRATIONS).map(drop);
                done.map_err(|error| Failure(unavailable("migration", error)))
            });
            migrated.map_err(|Failure(error)| error)
        })
        .await
    }

    async fn lease(&self, name: &str, at: Timestamp) -> Result<i64> {
        let (name, path) = (name.to_owned(), self.path.clone());
        self.run(move |session| {
            if let Some(path) = path.filter(|_| session.lock.is_none()) {
                session.lock = Some(take_lock(path)?);
            }
            write::lease(&mut session.connection, &name, at)
        })
        .await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.run(move |session| write::reserve(&mut session.connection, count)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        let claim = claim.clone();
        self.run(move |session| write::claim(&mut session.connection, &claim)).await
    }

    async fn load(&self, scope: &Scope) -> Result<Neighbourhood> {
        let scope = scope.clone();
        self.read(move |connection| load(&mut Stored(connection), &scope)).await
    }

    async fn transact(&self, changes: Vec<RowChange>) -> Result<()> {
        self.run(move |session| write::transact(&mut session.connection, changes)).await
    }

    async fn query(&self, query: &Query) -> Result<Answer> {
        let query = query.clone();
        self.read(move |connection| query::answer(connection, &query)).await
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.read(query::check_consistency).await
    }
}

impl Session {
    fn open(path: Option<&Path>) -> Result<Arc<Mutex<Self>>> {
        Ok(Arc::new(Mutex::new(Self { connection: connect(path)?, lock: None })))
    }

    /// SQLite takes a transaction back by itself when the disk is full, for example; the connection then no longer knows where it is.
    fn mend(&mut self, path: Option<&Path>) -> Result<()> {
        if AnsiTransactionManager::is_broken_transaction_manager(&mut self.connection) {
            if path.is_none() {
                return Err(unavailable(PLACE, "the database in memory is lost after an error within a transaction"));
            }
            self.connection = connect(path)?;
        }
        Ok(())
    }
}

fn connect(path: Option<&Path>) -> Result<SqliteConnection> {
    let place = path.map_or_else(|| PLACE.to_owned(), |path| path.display().to_string());
    let text = match path {
        None => ":memory:",
        Some(path) => path.to_str().ok_or_else(|| Error::new(Remedy::Unsupported, &place, "the path is not UTF-8"))?,
    };
    let mut connection = SqliteConnection::establish(text).map_err(|error| unavailable(&place, error))?;
    connection.batch_execute(SETTINGS).map_err(|error| unavailable(&place, error))?;
    Ok(connection)
}

fn take_lock(path: PathBuf) -> Result<File> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let path = PathBuf::from(name);
    let place = path.display().to_string();
    let file = File::options().create(true).append(true).open(&path).map_err(|error| unavailable(&place, error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(Remedy::Conflict, place, "another engine has this database: it holds the lock on this file"))
        }
        Err(error) => Err(unavailable(place, error)),
    }
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

/// What follows from an error of the database. Busy, full and broken disks are all to be tried again.
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
        _ if text.contains("malformed") || text.contains("not a database") => Error::new(Remedy::Corrupt, PLACE, text),
        _ => unavailable(PLACE, text),
    }
}
