use super::pool::{Pool, must_keep_settings};
use super::{Db, MIGRATIONS};
use crate::versions::{Tables, tables};
use freshmaker::backend::{Error, Remedy, Result, with_causes};
use std::fmt;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

/// What a server says about itself, see [`PostgresStorage::check`](super::PostgresStorage::check).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresServer {
    /// Its version, such as `15.8`.
    pub version: String,
    /// Whether the connection is protected by TLS.
    pub tls: bool,
    /// The state of the tables.
    pub tables: PostgresTables,
}

/// Whether a schema has the tables of this version. Tables of a newer version, and a missing right
/// to create tables, are errors of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTables {
    /// There are no tables; the first engine or client creates them.
    Missing,
    /// They are those of an older version; the next engine or client migrates them.
    Older,
    /// They are those of this version.
    Current,
}

impl fmt::Display for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { "with TLS" } else { "without TLS" };
        let tables = match self.tables {
            PostgresTables::Missing => "no tables yet",
            PostgresTables::Older => "tables of an older version",
            PostgresTables::Current => "tables of this version",
        };
        write!(f, "PostgreSQL {}, {tls}, {tables}", self.version)
    }
}

/// The answers are `t` and `f`, or a text.
const ASKED: &str = "SELECT current_setting('server_version') AS version, \
     coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls, \
     has_schema_privilege(current_schema(), 'CREATE') AS may_create, \
     to_regclass('__diesel_schema_migrations') IS NOT NULL AS has_tables";

pub(super) async fn check(pool: &Pool) -> Result<PostgresServer> {
    let (client, connection) = pool.open().await?;
    let driver = tokio::spawn(connection);
    let asked = tokio::time::timeout(pool.wait, ask(pool, &client)).await;
    driver.abort();
    asked.unwrap_or_else(|_| Err(Error::new(Remedy::Unavailable, &pool.place, "no answer in time")))
}

async fn ask(pool: &Pool, client: &Client) -> Result<PostgresServer> {
    must_keep_settings(client, &pool.place).await?;
    let rows = rows(pool, client, ASKED).await?;
    let text = |name: &str| rows.first().and_then(|row| row.try_get(name).ok().flatten()).unwrap_or_default();
    let is = |name: &str| text(name) == "t";
    let tables = if is("has_tables") { applied(pool, client).await? } else { PostgresTables::Missing };
    if tables != PostgresTables::Current && !is("may_create") {
        let text = "tables are to be made or changed, and this user has no right to CREATE in the schema";
        return Err(Error::new(Remedy::Unsupported, &pool.place, text));
    }
    Ok(PostgresServer { version: text("version").to_owned(), tls: is("tls"), tables })
}

/// How far the tables are that are there.
async fn applied(pool: &Pool, client: &Client) -> Result<PostgresTables> {
    let rows = rows(pool, client, "SELECT version FROM __diesel_schema_migrations").await?;
    let applied = rows.iter().filter_map(|row| row.get(0)).map(str::to_owned).collect();
    Ok(match tables::<Db>(applied, &MIGRATIONS)? {
        Tables::Missing => PostgresTables::Missing,
        Tables::Older => PostgresTables::Older,
        Tables::Current => PostgresTables::Current,
    })
}

async fn rows(pool: &Pool, client: &Client, asked: &str) -> Result<Vec<SimpleQueryRow>> {
    let failed = |error: tokio_postgres::Error| Error::new(Remedy::Unavailable, &pool.place, with_causes(&error));
    let answer = client.simple_query(asked).await.map_err(failed)?;
    let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
    Ok(answer.into_iter().filter_map(row).collect())
}
