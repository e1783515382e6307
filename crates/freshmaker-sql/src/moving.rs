//! Copies everything from a SQLite file into a PostgreSQL database.
//!
//! Rows are passed as JSON, a bounded number at a time, and written in one transaction: a copy that
//! fails leaves the database empty. The columns are read from the database, so a column that a
//! migration adds needs no change here. Meanwhile the file is locked against other writers, and the
//! tables against all other transactions.

use crate::postgres::{PARTITIONS, PostgresStorage};
use crate::sqlite::SqliteStorage;
use freshmaker::backend::{Error, Remedy, Result, Storage, StorageReads, StorageUpkeep, with_causes};
use freshmaker::rebuild::RowKey;
use freshmaker::store::{PLACE, partition};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// A table, and the columns by which its rows are ordered.
struct Table {
    name: &'static str,
    key: &'static [&'static str],
    /// The column whose numbers the database assigns.
    numbered: Option<&'static str>,
}

const fn table(name: &'static str, key: &'static [&'static str], numbered: Option<&'static str>) -> Table {
    Table { name, key, numbered }
}

/// Tables come after those that they refer to. Leases and counts of rows are not copied: the leases
/// are over, and the counts are made while rows are written.
const TABLES: [Table; 10] = [
    table("sequences", &["name"], None),
    table("inbox", &["id"], Some("id")),
    table("events", &["id"], None),
    table("builds", &["id"], None),
    table("attempts", &["id"], None),
    table("build_deps", &["parent", "child"], None),
    table("build_causes", &["build", "event"], None),
    table("plans", &["event"], None),
    table("transitions", &["aggregate", "id", "version"], None),
    table("documents", &["number"], Some("number")),
];

/// These tables are changed while they are copied: a file has one partition, a database has
/// several.
const NOTIFICATIONS: Table = table("notifications", &["position"], Some("position"));
const POSITIONS: Table = table("positions", &["partition", "bus"], None);
const OF_PARTITIONS: Table = table("partitions", &["partition"], None);

/// A column as the database has it.
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its type, as `information_schema` calls it.
    pub(crate) sort: String,
}

impl PostgresStorage {
    /// Copies everything from a SQLite file into this database, and returns the number of rows of
    /// each table. The file is not changed, so its tables must be those of this version.
    ///
    /// Both are checked for consistency, the file before and the database after.
    ///
    /// # Errors
    /// [`Conflict`](Remedy::Conflict) if an engine runs on one of the two,
    /// [`Rejected`](Remedy::Rejected) if the database is not empty, if the file has no tables of this
    /// version, if a row cannot be read or stored (the error names it), or if the file is not
    /// consistent; else those of the storages. Then nothing was moved. [`Corrupt`](Remedy::Corrupt)
    /// if the database is not consistent afterwards.
    pub async fn import(&self, file: &SqliteStorage) -> Result<BTreeMap<&'static str, u64>> {
        file.must_be_current().await?;
        self.migrate().await?;
        // A file of SQLite has one lease: while this call holds it, no engine runs on the file.
        let run = file.lease(None).await?.run;
        let moved = self.import_from(file).await;
        file.release(run).await?;
        let moved = moved?;
        must_be_consistent(self, Remedy::Corrupt, "the database").await?;
        Ok(moved)
    }

    async fn import_from(&self, file: &SqliteStorage) -> Result<BTreeMap<&'static str, u64>> {
        must_be_consistent(file, Remedy::Rejected, "the file").await?;
        file.begin_copy().await?;
        let (client, connection) = self.open().await?;
        let driver = tokio::spawn(connection);
        let moved = copy(file, &client).await;
        // Without a COMMIT the server takes everything back.
        drop(client);
        drop(driver.await);
        file.end_copy().await?;
        moved
    }
}

/// The most violations that are listed.
const LISTED_MAX: usize = 20;

async fn must_be_consistent(storage: &dyn StorageReads, remedy: Remedy, what: &str) -> Result<()> {
    let violations = storage.check_consistency().await?;
    if violations.is_empty() {
        return Ok(());
    }
    let listed = violations.iter().take(LISTED_MAX).map(|violation| format!("\n  {violation}"));
    let more = violations.len().saturating_sub(LISTED_MAX);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    let text = format!("{what} is not consistent:{}{more}", listed.collect::<String>());
    Err(Error::new(remedy, PLACE, text))
}

fn failed(error: &tokio_postgres::Error) -> Error {
    let remedy = if error.as_db_error().is_some() { Remedy::Rejected } else { Remedy::Unavailable };
    Error::new(remedy, PLACE, with_causes(error))
}

async fn copy(file: &SqliteStorage, client: &Client) -> Result<BTreeMap<&'static str, u64>> {
    let run = |statement: &'static str| async move { client.batch_execute(statement).await.map_err(|e| failed(&e)) };
    run("BEGIN").await?;
    must_be_empty(client).await?;
    run("DELETE FROM sequences").await?;
    let mut moved = BTreeMap::new();
    for table in &TABLES {
        moved.insert(table.name, copy_table(file, client, table, |_| ()).await?);
    }
    let count = copy_table(file, client, &NOTIFICATIONS, |row| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        // What cannot be read stays what it is, in a partition that is there.
        let of = RowKey::parse(&text("aggregate"), &text("id"));
        row["partition"] = of.map_or(0, |of| partition(&of, PARTITIONS)).into();
    });
    moved.insert(NOTIFICATIONS.name, count.await?);
    copy_table(file, client, &POSITIONS, |_| ()).await?;
    // What a bus has got of the one partition, it has got of each of these.
    let others = "INSERT INTO positions SELECT number, bus, position FROM positions, generate_series(1, 7) AS number";
    run(others).await?;
    let [partitions, _] = OF_PARTITIONS.read(&columns(client, &OF_PARTITIONS).await?);
    for row in file.rows(OF_PARTITIONS.name, &partitions, None).await? {
        let trimmed = row["trimmed"].as_i64().unwrap_or_default();
        client.execute("UPDATE partitions SET trimmed = $1", &[&trimmed]).await.map_err(|error| failed(&error))?;
    }
    run("COMMIT").await?;
    Ok(moved)
}

/// Locks all tables, and checks that they have never been used.
async fn must_be_empty(client: &Client) -> Result<()> {
    let lock = "LOCK TABLE runs, inbox, events, builds, attempts, transitions, notifications, documents \
                IN ACCESS EXCLUSIVE MODE";
    client.batch_execute(lock).await.map_err(|error| failed(&error))?;
    let asked = "SELECT EXISTS (SELECT FROM runs WHERE expires_at > extract(epoch FROM clock_timestamp()) * 1000000), \
                 EXISTS (SELECT FROM inbox) OR EXISTS (SELECT FROM events) OR EXISTS (SELECT FROM builds) \
                 OR EXISTS (SELECT FROM transitions) OR EXISTS (SELECT FROM notifications) \
                 OR EXISTS (SELECT FROM documents)";
    let row = client.query_one(asked, &[]).await.map_err(|error| failed(&error))?;
    if row.get(0) {
        return Err(Error::new(Remedy::Conflict, PLACE, "an engine runs on the database"));
    }
    if row.get(1) {
        return Err(Error::new(Remedy::Rejected, PLACE, "the database is not empty"));
    }
    Ok(())
}

/// Copies a table; returns the number of its rows.
async fn copy_table(file: &SqliteStorage, client: &Client, table: &Table, change: impl Fn(&mut Value)) -> Result<u64> {
    let columns = columns(client, table).await?;
    let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let (names, name) = (names.join(", "), table.name);
    let insert = format!(
        "INSERT INTO {name} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{name}, ($1::text)::json)"
    );
    let [first, behind] = table.read(&columns);
    let (mut rows, mut count) = (file.rows(name, &first, None).await?, 0);
    while let Some(last) = rows.last() {
        let next = file.rows(name, &behind, Some(last.to_string())).await?;
        rows.iter_mut().for_each(&change);
        count += write(client, table, &insert, rows).await?;
        rows = next;
    }
    if let Some(numbered) = table.numbered {
        let set = format!(
            "SELECT setval(pg_get_serial_sequence('{name}', '{numbered}')::regclass, max({numbered})) FROM {name} \
             HAVING max({numbered}) IS NOT NULL"
        );
        client.batch_execute(&set).await.map_err(|error| failed(&error))?;
    }
    Ok(count)
}

/// Writes some rows; if that fails, one by one, so that the error names the row that cannot be
/// stored.
async fn write(client: &Client, table: &Table, insert: &str, rows: Vec<Value>) -> Result<u64> {
    let run = |statement: &'static str| async move { client.batch_execute(statement).await.map_err(|e| failed(&e)) };
    run("SAVEPOINT piece").await?;
    let all = Value::Array(rows);
    let Err(first) = client.execute(insert, &[&all.to_string()]).await else {
        run("RELEASE SAVEPOINT piece").await?;
        return Ok(all.as_array().map_or(0, |rows| rows.len() as u64));
    };
    run("ROLLBACK TO SAVEPOINT piece").await?;
    for row in all.as_array().into_iter().flatten() {
        if let Err(error) = client.execute(insert, &[&Value::Array(vec![row.clone()]).to_string()]).await {
            let key: Vec<_> = table.key.iter().map(|key| format!("{key} {}", row[*key])).collect();
            let error = failed(&error);
            return Err(Error::new(error.remedy, PLACE, format!("{}, {}: {}", table.name, key.join(", "), error.text)));
        }
    }
    Err(failed(&first))
}

/// The columns of a table that are written.
async fn columns(client: &Client, table: &Table) -> Result<Vec<Column>> {
    let asked = "SELECT column_name::text, data_type::text FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = $1 AND is_generated = 'NEVER' \
                 ORDER BY ordinal_position";
    let rows = client.query(asked, &[&table.name]).await.map_err(|error| failed(&error))?;
    Ok(rows.iter().map(|row| Column { name: row.get(0), sort: row.get(1) }).collect())
}

impl Table {
    /// A query for the first rows of the file, and one for those behind a row; each as JSON.
    fn read(&self, columns: &[Column]) -> [String; 2] {
        let value = |column: &Column| {
            let name = &column.name;
            // In double quotes a column that is not there would be a text.
            let value = match column.sort.as_str() {
                "bytea" => format!("'\\x' || hex([{name}])"),
                "boolean" => format!("json(iif([{name}], 'true', 'false'))"),
                _ => format!("[{name}]"),
            };
            format!("'{name}', {value}")
        };
        let values: Vec<_> = columns.iter().map(value).collect();
        let key = self.key.join(", ");
        let last: Vec<_> = self.key.iter().map(|key| format!("json_extract(?1, '$.{key}')")).collect();
        let select = format!("SELECT CAST(json_object({}) AS BLOB) AS json FROM {}", values.join(", "), self.name);
        let behind = format!("{select} WHERE ({key}) > ({}) ORDER BY {key}", last.join(", "));
        [format!("{select} WHERE ?1 IS NULL ORDER BY {key}"), behind]
    }
}
