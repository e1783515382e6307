//! Versions of the tables: runs the migrations that a database lacks (`StorageUpkeep::migrate`),
//! and refuses tables of a newer version.
//!
//! A migration of PostgreSQL only adds: a table, an index, a column that may be empty or has a
//! default. What is no longer used is removed by a version after the one that stops using it. So
//! processes of two neighbouring versions can use one database while they are replaced one by one.
//! A SQLite file serves one engine, so its migrations may also replace a table.

use diesel::backend::Backend;
use diesel::migration::{MigrationConnection, MigrationSource};
use diesel_migrations::MigrationHarness;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::store::PLACE;
use std::collections::BTreeSet;

diesel::table! {
    /// The migrations that have run.
    #[sql_name = "__diesel_schema_migrations"]
    applied (version) {
        version -> Text,
    }
}

/// Which version of the tables a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    Missing,
    Older,
    Current,
}

fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::new(Remedy::Unavailable, "migration", error)
}

/// Returns which version the tables have for which these migrations have run.
///
/// # Errors
/// `Unsupported` if a newer version of this crate has run what this one does not have.
pub(crate) fn tables<DB: Backend>(applied: Vec<String>, source: &impl MigrationSource<DB>) -> Result<Tables> {
    let known = source.migrations().map_err(failed)?;
    let known: BTreeSet<String> = known.iter().map(|known| known.name().version().to_string()).collect();
    let applied: BTreeSet<String> = applied.into_iter().collect();
    match applied.difference(&known).next() {
        Some(newer) => Err(is_newer(newer)),
        None if applied == known => Ok(Tables::Current),
        None => Ok(Tables::Older),
    }
}

/// Runs what has not run yet; within a transaction.
///
/// # Errors
/// `Unsupported` if a newer version of this crate has run what this one does not have.
pub(crate) fn upgrade<C, S>(connection: &mut C, source: impl Fn() -> S) -> Result<()>
where
    C: MigrationHarness<C::Backend> + MigrationConnection,
    S: MigrationSource<C::Backend>,
{
    connection.setup().map_err(|error| failed(error.into()))?;
    let applied = connection.applied_migrations().map_err(failed)?;
    tables(applied.iter().map(ToString::to_string).collect(), &source())?;
    connection.run_pending_migrations(source()).map(drop).map_err(failed)
}

/// Says that a newer version of this crate has changed the tables.
fn is_newer(migration: &str) -> Error {
    let text = format!("a newer version of this program has already made changes ({migration}) to the tables");
    Error::new(Remedy::Unsupported, PLACE, text)
}
