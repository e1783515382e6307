//! The storage: a SQLite file for one process, or PostgreSQL for several.

use crate::Result;
use crate::config::Config;
use crate::out::say;
use freshmaker::backend::{Remedy, Storage};
use freshmaker::engine::EngineBuilder;
use freshmaker::time::Timestamp;
use freshmaker_sql::{PostgresConfig, PostgresServer, PostgresStorage, PostgresTables, SqliteStorage};
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where everything is kept.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    File(PathBuf),
    Postgres {
        config: Box<PostgresConfig>,
        /// The name of this process among those that share the database.
        replica: String,
    },
}

impl Stored {
    pub(crate) fn of(config: &Config) -> Result<Self> {
        match (&config.state, &config.storage) {
            (Some(file), None) => Ok(Self::File(file.clone())),
            (None, Some(storage)) => {
                let replica = storage.replica.clone().unwrap_or_else(host);
                Ok(Self::Postgres { config: Box::new(storage.postgres.clone()), replica })
            }
            (Some(_), Some(_)) => Err("both `state` and [storage.postgres] are given; one of them has to go".into()),
            (None, None) => Err("neither `state` nor [storage.postgres] says where everything is kept".into()),
        }
    }

    /// Opens it; `makes` a file that is not there.
    pub(crate) fn open(&self, makes: bool) -> Result<Arc<dyn Storage>> {
        Ok(match self {
            Self::File(path) if makes => Arc::new(SqliteStorage::open(path)?),
            Self::File(path) => match SqliteStorage::open_existing(path) {
                Err(error) if error.remedy == Remedy::NotFound => {
                    let text = "no service has kept anything in this file yet; `state` in the configuration names it";
                    return Err(format!("{}: {text}", path.display()).into());
                }
                opened => Arc::new(opened?),
            },
            Self::Postgres { config, .. } => Arc::new(PostgresStorage::new(config)?),
        })
    }

    /// The same, if something is kept there; nothing is made.
    pub(crate) async fn existing(&self) -> Result<Option<Arc<dyn Storage>>> {
        let exists = match self {
            Self::File(path) => path.exists(),
            Self::Postgres { config, .. } => {
                PostgresStorage::new(config)?.check().await?.tables == PostgresTables::Current
            }
        };
        exists.then(|| self.open(false)).transpose()
    }

    /// Sets the storage of an engine, and its name among those that share it.
    pub(crate) fn given_to(&self, builder: EngineBuilder, makes: bool) -> Result<EngineBuilder> {
        let builder = builder.storage(self.open(makes)?);
        Ok(match self {
            Self::File(_) => builder,
            Self::Postgres { replica, .. } => builder.replica(replica.as_str()),
        })
    }

    /// Moves everything from a file into the database.
    pub(crate) async fn import(&self, file: &Path) -> Result<bool> {
        let Self::Postgres { config, .. } = self else {
            return Err("the configuration has no [storage.postgres] to move to".into());
        };
        let moved = PostgresStorage::new(config)?.import(&SqliteStorage::open_existing(file)?).await?;
        for (table, rows) in moved {
            say!("{rows:8} {table}");
        }
        say!("both are consistent; {} can be put away", file.display());
        Ok(true)
    }

    /// Checks what can be checked without the network; a text that says where it is.
    pub(crate) fn check_offline(&self, now: Timestamp) -> Result<String> {
        match self {
            Self::File(path) => can_be_written(path).map(|()| path.display().to_string()),
            Self::Postgres { config, replica } => {
                config.check()?;
                config.check_certificate(now)?;
                Ok(format!("schema {:?} of PostgreSQL, as replica {replica}", config.schema))
            }
        }
    }

    /// Asks the server, if there is one.
    pub(crate) async fn check_online(&self) -> Option<Result<PostgresServer>> {
        let Self::Postgres { config, .. } = self else { return None };
        let checked = async { Ok(PostgresStorage::new(config)?.check().await?) };
        Some(checked.await)
    }
}

/// The name of this machine.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether the file of what is stored can be written, or made.
fn can_be_written(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(format!("{}: this is a directory", path.display()).into());
    }
    // SQLite makes further files beside its own.
    access(directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    if path.exists() {
        access(path, Access::READ_OK | Access::WRITE_OK).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
