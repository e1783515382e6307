//! Storage of [freshmaker] in SQL databases.
//!
//! [`SqliteStorage`] keeps everything in one file, for one engine. SQLite itself is compiled in, so
//! a C compiler is all that is needed. With the feature `postgres`, `PostgresStorage` keeps
//! everything in a PostgreSQL database, for any number of processes; libpq is not needed.
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
//!
//! | feature | default | gives | needs |
//! |---|---|---|---|
//! | `postgres` | | `PostgresStorage` | PostgreSQL 12 or later; tested with 15 |
//!
//! # Limits
//! * A SQLite file serves one engine process at a time, and any number of processes with a client.
//! * The file must be on a local file system: locks of network file systems are not reliable.
//! * Connections go to the PostgreSQL server itself: a pooler such as PgBouncer does not keep the
//!   settings of a session, and is refused.
//! * Calls need a tokio runtime, since each runs on a blocking thread.

// The queries are written once, and are modules of each database.
#![allow(clippy::duplicate_mod)]

#[cfg(feature = "postgres")]
mod moving;
mod parameters;
#[cfg(feature = "postgres")]
mod postgres;
mod progress;
mod rows;
mod schema;
mod sqlite;
mod text;
mod versions;

#[cfg(feature = "postgres")]
pub use postgres::{PostgresConfig, PostgresServer, PostgresStorage, PostgresTables, PostgresTls};
pub use sqlite::SqliteStorage;
