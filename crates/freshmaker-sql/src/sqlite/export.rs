//! Reads whole tables, for a copy into another database.

use super::{PLACE, SqliteStorage, failed, stand};
use crate::versions::Tables;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Binary, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use freshmaker::backend::{Error, Remedy, Result};
use serde_json::Value;

/// The most rows, and the most bytes, that are read at once.
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 8 << 20;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Binary)]
    json: Vec<u8>,
}

impl SqliteStorage {
    /// # Errors
    /// `Rejected` if the tables are not those of this version.
    pub(crate) async fn must_be_current(&self) -> Result<()> {
        let place = self.path.as_ref().map_or_else(|| PLACE.to_owned(), |path| path.display().to_string());
        let text = match self.run(|session| stand(&mut session.connection)).await? {
            Tables::Current => return Ok(()),
            Tables::Older => {
                "its tables are those of an older version, and a move changes no file: start this version once with \
                 this file, or with a copy of it, and stop it again"
            }
            Tables::Missing => "there are no tables of ours in this file: is it another one?",
        };
        Err(Error::new(Remedy::Rejected, place, text))
    }

    /// Keeps all other connections from writing until `end_copy`; this storage must not be used
    /// otherwise meanwhile.
    pub(crate) async fn begin_copy(&self) -> Result<()> {
        self.run(|session| session.connection.batch_execute("BEGIN IMMEDIATE").map_err(failed)).await
    }

    pub(crate) async fn end_copy(&self) -> Result<()> {
        self.run(|session| session.connection.batch_execute("ROLLBACK").map_err(failed)).await
    }

    /// The rows of a query about a table in their order; not all of them, if they are many. The
    /// query has one column of JSON, as bytes, and may use the text `after` as its first value.
    pub(crate) async fn rows(&self, table: &'static str, query: &str, after: Option<String>) -> Result<Vec<Value>> {
        let query = query.to_owned();
        self.run(move |session| read(&mut session.connection, table, &query, after)).await
    }
}

fn read(connection: &mut SqliteConnection, table: &str, query: &str, after: Option<String>) -> Result<Vec<Value>> {
    let query = sql_query(query).bind::<Nullable<Text>, _>(after);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in query.load_iter::<Row, _>(connection).map_err(failed)? {
        let Row { json } = row.map_err(failed)?;
        bytes += json.len();
        rows.push(serde_json::from_slice(&json).map_err(|error| {
            // The columns of the key come first in most tables, and the row is found by them.
            let shown: String = String::from_utf8_lossy(&json).chars().take(SHOWN).collect();
            Error::new(Remedy::Rejected, PLACE, format!("{table}: a row cannot be read ({error}): {shown}"))
        })?);
        if rows.len() == ROWS_MAX || bytes > BYTES_MAX {
            break;
        }
    }
    Ok(rows)
}

/// How much of an unreadable row is shown.
const SHOWN: usize = 200;
