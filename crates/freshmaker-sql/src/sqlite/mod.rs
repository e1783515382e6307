//! Storage in one SQLite file. SQLite itself is compiled in.

#[path = "../queries/documents.rs"]
mod documents;
#[path = "../queries/lists.rs"]
mod lists;
#[path = "../queries/load.rs"]
mod load;
mod place;
mod prepared;
#[path = "../queries/query.rs"]
mod query;
#[path = "../queries/sweep.rs"]
mod sweep;
#[cfg(test)]
mod tests;
#[path = "../queries/write.rs"]
mod write;

use self::load::Stored;
use crate::{progress, rows, schema};
use async_trait::async_trait;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use freshmaker::backend::{
    BuildCount, BuildFilter, CausedCount, Claim, Clock, Document, Documents, Due, DueLimits, Error, EventCount,
    EventFilter, Lease, Links, NewDocument, Notifications, Outbox, Overview, Page, Paging, Remedy, Result, Retention,
    Scope, Storage, StorageReads, StorageUpkeep, Swept, Violation,
};
use freshmaker::engine::SystemClock;
use freshmaker::plan::{Observation, Plan};
use freshmaker::rebuild::{
    AttemptRecord, BuildId, BuildMode, BuildRecord, Commit, EventId, EventRecord, InboxRecord, InboxState,
    Neighbourhood, RowKey, RunId, Transition,
};
use freshmaker::store::{PLACE, conflict, external_changed, load, missing};
use freshmaker::time::{Timestamp, from_micros, to_micros};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

type Connection = SqliteConnection;
type Db = Sqlite;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("src/sqlite/migrations");

/// So many values are asked for at once; SQLite takes 32,766.
const CHUNK: usize = 30_000;

/// One process publishes everything.
const PARTITIONS: u16 = 1;

const SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                        PRAGMA foreign_keys = ON;";

/// Storage in one SQLite file, for one engine process.
///
/// Any number of processes may have the file open and read; [`lease`](Storage::lease) takes a lock
/// on the file `<path>.lock`, and only one storage at a time has it, until it is dropped. The path
/// is resolved first, so that a file has one lock, whatever names it has; a file with several hard
/// links is refused. Files that are made here can be read and written by their owner only.
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
    session: Arc<Mutex<Session>>,
    clock: Arc<dyn Clock>,
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
    /// Opens a file, or makes it. Its tables are made by
    /// [`migrate`](freshmaker::backend::StorageUpkeep::migrate).
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if the file cannot be opened,
    /// [`Unsupported`](Remedy::Unsupported) if its path is not UTF-8 or if it has several hard
    /// links.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = place::resolve(path.as_ref())?;
        Ok(Self { session: Session::open(Some(&path))?, path: Some(path), clock: Arc::new(SystemClock) })
    }

    /// A database that goes with the storage, and that nobody else sees.
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if SQLite has no memory for it.
    pub fn in_memory() -> Result<Self> {
        Ok(Self { session: Session::open(None)?, path: None, clock: Arc::new(SystemClock) })
    }

    /// The same with another clock than that of the machine: leases end and moments are compared by
    /// it.
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
            // Whoever has the lock is the only process, so that leases of others are of processes
            // that are dead.
            let locks = path.filter(|_| session.lock.is_none());
            let alone = locks.is_some();
            if let Some(path) = locks {
                session.lock = Some(place::lock(&path)?);
            }
            write::lease(&mut session.connection, held, now, alone)
        })
        .await
    }

    async fn release(&self, run: RunId) -> Result<()> {
        self.run(move |session| write::release(&mut session.connection, run)).await
    }

    async fn reserve(&self, count: u32) -> Result<i64> {
        self.run(move |session| write::reserve(&mut session.connection, count)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<InboxRecord>> {
        let (claim, now) = (claim.clone(), self.now());
        self.run(move |session| write::claim(&mut session.connection, &claim, now)).await
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
        self.run(move |session| write::commit(&mut session.connection, commit)).await
    }
}

#[async_trait]
impl Documents for SqliteStorage {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>> {
        let (kind, id, now) = (kind.to_owned(), id.to_owned(), self.now());
        self.read(move |connection| documents::get(connection, &kind, &id, now)).await
    }

    async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>> {
        let (kind, now) = (kind.to_owned(), self.now());
        self.read(move |connection| documents::list(connection, &kind, before, limit, now)).await
    }

    async fn put(&self, document: NewDocument) -> Result<Document> {
        let now = self.now();
        self.run(move |session| documents::put(&mut session.connection, &document, now)).await
    }

    async fn remove(&self, kind: &str, id: &str) -> Result<bool> {
        let (kind, id, now) = (kind.to_owned(), id.to_owned(), self.now());
        self.run(move |session| documents::remove(&mut session.connection, &kind, &id, now)).await
    }
}

#[async_trait]
impl StorageUpkeep for SqliteStorage {
    async fn migrate(&self) -> Result<()> {
        self.run(|session| {
            let connection = &mut session.connection;
            // A migration may make a table anew that others refer to; the setting can only be
            // changed outside of a transaction.
            connection.batch_execute("PRAGMA foreign_keys = OFF").map_err(failed)?;
            // In one transaction, so that two processes that start together do not both make the
            // tables.
            let migrated = connection.immediate_transaction(|connection| {
                let done = connection.run_pending_migrations(MIGRATIONS).map(drop);
                done.map_err(|error| Failure(unavailable("migration", error)))
            });
            connection.batch_execute("PRAGMA foreign_keys = ON").map_err(failed)?;
            migrated.map_err(|Failure(error)| error)
        })
        .await
    }

    async fn sweep(&self, run: RunId, retention: Retention, limit: u32) -> Result<Swept> {
        let now = self.now();
        self.run(move |session| sweep::sweep(&mut session.connection, run, retention, limit, now)).await
    }

    /// Writes the copy over a connection of its own, so that nothing else waits for it. A database
    /// in memory cannot be copied.
    async fn backup(&self, to: &Path) -> Result<()> {
        let Some(from) = self.path.clone() else {
            return Err(Error::new(Remedy::Unsupported, PLACE, "a database in memory cannot be copied"));
        };
        let to = to.to_owned();
        let copying = tokio::task::spawn_blocking(move || place::copy(&from, &to));
        copying.await.unwrap_or_else(|error| Err(Error::new(Remedy::Unclear, PLACE, error)))
    }
}

#[async_trait]
impl StorageReads for SqliteStorage {
    async fn due(&self, run: RunId, limits: DueLimits) -> Result<Due> {
        let now = self.now();
        self.read(move |connection| query::due(connection, run, limits, now)).await
    }

    async fn events(&self, filter: EventFilter, paging: Paging) -> Result<Page<EventRecord>> {
        self.read(move |connection| lists::events_page(connection, &filter, paging)).await
    }

    async fn builds(&self, filter: BuildFilter, paging: Paging) -> Result<Page<BuildRecord>> {
        self.read(move |connection| lists::builds_page(connection, &filter, paging)).await
    }

    async fn count_events(&self, filter: EventFilter) -> Result<Vec<EventCount>> {
        self.read(move |connection| lists::count_events(connection, &filter)).await
    }

    async fn count_builds(&self, filter: BuildFilter) -> Result<Vec<BuildCount>> {
        self.read(move |connection| lists::count_builds(connection, &filter)).await
    }

    async fn count_caused(&self, events: Vec<EventId>) -> Result<Vec<CausedCount>> {
        self.read(move |connection| lists::count_caused(connection, &events)).await
    }

    async fn links(&self, builds: Vec<BuildId>) -> Result<Links> {
        self.read(move |connection| lists::links(connection, &builds)).await
    }

    async fn attempts(&self, builds: Vec<BuildId>) -> Result<Vec<AttemptRecord>> {
        self.read(move |connection| query::attempts_of(connection, &builds)).await
    }

    async fn transitions(&self, of: &RowKey) -> Result<Vec<Transition>> {
        let of = of.clone();
        self.read(move |connection| query::history(connection, &of)).await
    }

    async fn message(&self, source: &str, message_id: &str) -> Result<Option<InboxRecord>> {
        let (source, message_id) = (source.to_owned(), message_id.to_owned());
        self.read(move |connection| query::message(connection, &source, &message_id)).await
    }

    async fn messages(&self, states: Vec<InboxState>, paging: Paging) -> Result<Page<InboxRecord>> {
        self.read(move |connection| lists::messages(connection, &states, paging)).await
    }

    async fn plan(&self, event: EventId) -> Result<Option<Plan>> {
        self.read(move |connection| query::plan(connection, event)).await
    }

    async fn durations(&self, mode: BuildMode, limit: u32) -> Result<Vec<Observation>> {
        self.read(move |connection| query::durations(connection, mode, limit)).await
    }

    async fn notifications(&self, partition: Option<u16>, after: i64, limit: u32) -> Result<Notifications> {
        self.read(move |connection| query::behind(connection, partition, after, limit)).await
    }

    async fn outbox(&self) -> Result<Outbox> {
        self.read(query::outbox).await
    }

    async fn overview(&self) -> Result<Overview> {
        self.read(query::count_all).await
    }

    async fn check_consistency(&self) -> Result<Vec<Violation>> {
        self.read(query::check_consistency).await
    }
}

impl Session {
    fn open(path: Option<&Path>) -> Result<Arc<Mutex<Self>>> {
        Ok(Arc::new(Mutex::new(Self { connection: connect(path)?, lock: None })))
    }

    /// SQLite takes a transaction back by itself when the disk is full, for example; the connection
    /// then no longer knows where it is.
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
/// again.
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
