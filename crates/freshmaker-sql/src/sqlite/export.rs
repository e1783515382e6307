//! Reads whole tables, for a move into another database.

use super::{PLACE, SqliteStorage, failed};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use freshmaker::backend::{Error, Remedy, Result};
use serde_json::Value;

/// So many rows, or so many bytes, are read at once.
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 8 << 20;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    json: String,
}

impl SqliteStorage {
    /// Keeps all others from writing until `end_copy`; nothing else may be asked meanwhile.
    pub(crate) async fn begin_copy(&self) -> Result<()> {
        self.run(|session| session.connection.batch_execute("BEGIN IMMEDIATE").map_err(failed)).await
    }

    pub(crate) async fn end_copy(&self) -> Result<()> {
        self.run(|session| session.connection.batch_execute("ROLLBACK").map_err(failed)).await
    }

    /// The rows of a query in their order; not all of them, if they are many. The query has one
    /// column of JSON, and may use the text `after` as its first value.
    pub(crate) async fn rows(&self, query: &str, after: Option<String>) -> Result<Vec<Value>> {
        let query = query.to_owned();
        self.run(move |session| read(&mut session.connection, &query, after)).await
    }
}

fn read(connection: &mut SqliteConnection, query: &str, after: Option<String>) -> Result<Vec<Value>> {
    let query = sql_query(query).bind::<Nullable<Text>, _>(after);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in query.load_iter::<Row, _>(connection).map_err(failed)? {
        let Row { json } = row.map_err(failed)?;
        bytes += json.len();
        let unreadable = |error| Error::new(Remedy::Corrupt, PLACE, error);
        rows.push(serde_json::from_str(&json).map_err(unreadable)?);
        if rows.len() == ROWS_MAX || bytes > BYTES_MAX {
            break;
        }
    }
    Ok(rows)
}
