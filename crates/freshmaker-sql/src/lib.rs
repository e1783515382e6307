//! Storage of [freshmaker] in SQL databases.
//!
//! [`SqliteStorage`] keeps everything in one file, for one process. SQLite itself is compiled in,
//! so a C compiler is all that is needed.
//!
//! ```
//! use freshmaker_sql::SqliteStorage;
//!
//! let storage = SqliteStorage::in_memory()?;
//! # drop(storage);
//! # Ok::<(), freshmaker::backend::Error>(())
//! ```
//!
//! # Features
//! None.
//!
//! # Limits
//! * One engine process at a time has a file; others may read it.
//! * The file must be on a local file system: locks of network file systems are not reliable.
//! * Calls need a tokio runtime, since each runs on a blocking thread.

mod progress;
mod rows;
mod schema;
mod sqlite;

pub use sqlite::SqliteStorage;
