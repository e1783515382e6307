//! How long lists of 50 rows take over 10,000 events and 100,000 builds in SQLite, beside a bare
//! handler that runs one query written by hand for the same rows and answers with the same bytes:
//! `cargo bench -p freshmaker-web --bench lists`. Requests come one after the other, without
//! sockets. The ratio is one of processor times, which other programs on the machine disturb less
//! than a clock.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, SmallInt, Text};
use freshmaker::client::Client;
use freshmaker::time::from_micros;
use freshmaker_sql::SqliteStorage;
use freshmaker_web::axum::routing::get;
use freshmaker_web::axum::{Json, Router};
use freshmaker_web::{Config, Quota};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use test_support::history;
use test_support::web::compare;

const REQUESTS: u32 = 2_000;

/// A list must be at least so fast, as a part of the bare handler.
const GOAL: f64 = 0.5;

/// How many rows a list has, unless the request says otherwise.
const LIMIT: usize = 50;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Serialize)]
struct Listing<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<T> Listing<T> {
    /// The page of one row more than it has.
    fn of<R>(mut rows: Vec<R>, id: impl Fn(&R) -> i64, shown: impl Fn(R) -> T) -> Self {
        let more = rows.len() > LIMIT;
        rows.truncate(LIMIT);
        let next = rows.last().filter(|_| more).map(|row| URL_SAFE_NO_PAD.encode(format!("1:{}", id(row))));
        Self { items: rows.into_iter().map(shown).collect(), next }
    }
}

#[derive(Serialize)]
struct Reason {
    code: String,
    text: String,
}

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = Text)]
    reason_code: String,
    #[diesel(sql_type = Text)]
    reason_text: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    search_key: String,
    #[diesel(sql_type = Bool)]
    manual: bool,
    #[diesel(sql_type = Nullable<Text>)]
    requester: Option<String>,
    #[diesel(sql_type = SmallInt)]
    severity: i16,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Text)]
    handler: String,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    retry_of: Option<i64>,
    #[diesel(sql_type = SmallInt)]
    mode: i16,
    #[diesel(sql_type = Nullable<Text>)]
    plan: Option<String>,
    #[diesel(sql_type = BigInt)]
    builds_open: i64,
    #[diesel(sql_type = BigInt)]
    builds_done: i64,
    #[diesel(sql_type = BigInt)]
    builds_failed: i64,
    #[diesel(sql_type = BigInt)]
    canceled: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    cancel_at: Option<i64>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    done_at: Option<i64>,
}

const EVENTS: &str = "SELECT id, version, state, reason_code, reason_text, kind, search_key, manual, requester, \
    severity, source, message_id, handler, generation, retry_of, mode, plan, builds_open, builds_done, builds_failed, \
    (SELECT count(*) FROM build_causes JOIN builds ON builds.id = build WHERE event = events.id AND live AND \
    builds.state = 10) AS canceled, cancel_at, created_at, done_at FROM events ORDER BY id DESC LIMIT 51";

#[derive(Serialize)]
struct Counts {
    open: i64,
    done: i64,
    failed: i64,
    canceled: i64,
}

#[derive(Serialize)]
struct ShownEvent {
    id: i64,
    version: i64,
    state: &'static str,
    reason: Reason,
    kind: String,
    search_key: String,
    manual: bool,
    requester: Option<String>,
    severity: &'static str,
    source: String,
    message_id: String,
    handler: String,
    generation: i64,
    retry_of: Option<i64>,
    mode: &'static str,
    plan: Option<String>,
    builds: Counts,
    cancel_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    done_at: Option<DateTime<Utc>>,
}

const MODES: [&str; 3] = ["real", "scratch", "dry_run"];

impl From<EventRow> for ShownEvent {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id,
            version: row.version,
            state: ["INITIALIZED", "BUILDING", "COMPLETE", "FAILED", "SKIPPED", "CANCELED"][row.state as usize],
            reason: Reason { code: row.reason_code, text: row.reason_text },
            kind: row.kind,
            search_key: row.search_key,
            manual: row.manual,
            requester: row.requester,
            severity: ["low", "moderate", "important", "critical"][row.severity as usize],
            source: row.source,
            message_id: row.message_id,
            handler: row.handler,
            generation: row.generation,
            retry_of: row.retry_of,
            mode: MODES[row.mode as usize],
            plan: row.plan,
            builds: Counts {
                open: row.builds_open,
                done: row.builds_done,
                failed: row.builds_failed - row.canceled,
                canceled: row.canceled,
            },
            cancel_at: row.cancel_at.map(from_micros),
            created_at: from_micros(row.created_at),
            done_at: row.done_at.map(from_micros),
        }
    }
}

#[derive(QueryableByName)]
struct BuildRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = Text)]
    reason_code: String,
    #[diesel(sql_type = Text)]
    reason_text: String,
    #[diesel(sql_type = Text)]
    system: String,
    #[diesel(sql_type = Text)]
    artifact: String,
    #[diesel(sql_type = Text)]
    target: String,
    #[diesel(sql_type = SmallInt)]
    mode: i16,
    #[diesel(sql_type = SmallInt)]
    slot: i16,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = SmallInt)]
    because: i16,
    #[diesel(sql_type = BigInt)]
    pending: i64,
    #[diesel(sql_type = BigInt)]
    priority: i64,
    #[diesel(sql_type = BigInt)]
    attempts: i64,
    #[diesel(sql_type = BigInt)]
    tries: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    estimate: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    output: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    not_before: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    cancel_at: Option<i64>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    done_at: Option<i64>,
}

/// The columns that the answer has.
macro_rules! of_builds {
    ($rest:literal) => {
        concat!(
            "SELECT builds.id, version, state, reason_code, reason_text, system, artifact, target, mode, slot, kind, builds.because, ",
            "pending, priority, attempts, tries, estimate, output, not_before, cancel_at, created_at, done_at FROM ",
            "builds ",
            $rest,
            " ORDER BY builds.id DESC LIMIT 51"
        )
    };
}

#[derive(Deserialize, Serialize)]
struct Output {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<String>,
}

#[derive(Serialize)]
struct ShownBuild {
    id: i64,
    version: i64,
    state: &'static str,
    detail: &'static str,
    reason: Reason,
    system: String,
    artifact: String,
    target: String,
    mode: &'static str,
    slot: &'static str,
    kind: &'static str,
    rebuild_reason: &'static str,
    pending: i64,
    priority: i64,
    attempts: i64,
    tries: i64,
    estimate_s: Option<i64>,
    output: Option<Output>,
    not_before: Option<DateTime<Utc>>,
    cancel_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    done_at: Option<DateTime<Utc>>,
}

/// The states of builds, for everybody and in detail.
const STATES: [(&str, &str); 11] = [
    ("PLANNED", "BLOCKED"),
    ("PLANNED", "READY"),
    ("BUILD", "SUBMITTING"),
    ("BUILD", "BUILDING"),
    ("BUILD", "VERIFYING"),
    ("BUILD", "CANCELING"),
    ("DONE", "DONE"),
    ("DONE", "REUSED"),
    ("FAILED", "FAILED"),
    ("FAILED", "DEP_FAILED"),
    ("CANCELED", "CANCELED"),
];

impl From<BuildRow> for ShownBuild {
    fn from(row: BuildRow) -> Self {
        let (state, detail) = STATES[row.state as usize];
        Self {
            id: row.id,
            version: row.version,
            state,
            detail,
            reason: Reason { code: row.reason_code, text: row.reason_text },
            system: row.system,
            artifact: row.artifact,
            target: row.target,
            mode: MODES[row.mode as usize],
            slot: ["current", "successor"][row.slot as usize],
            kind: ["rpm", "image", "module", "image_repository", "repository"][row.kind as usize],
            rebuild_reason: ["unknown", "directly_affected", "dependency"][row.because as usize],
            pending: row.pending,
            priority: row.priority,
            attempts: row.attempts,
            tries: row.tries,
            estimate_s: row.estimate.map(|micros| micros / 1_000_000),
            output: row.output.map(|text| serde_json::from_str(&text).expect("what is stored is JSON")),
            not_before: row.not_before.map(from_micros),
            cancel_at: row.cancel_at.map(from_micros),
            created_at: from_micros(row.created_at),
            done_at: row.done_at.map(from_micros),
        }
    }
}

/// The lists, and the bare handler of each.
const LISTS: [(&str, Option<&str>); 4] = [
    ("/api/3/events", None),
    ("/api/3/builds", Some(of_builds!(""))),
    ("/api/3/builds?state=FAILED", Some(of_builds!("WHERE state = 8"))),
    ("/api/3/builds?event=5000", Some(of_builds!("JOIN build_causes ON build = builds.id WHERE event = 5000"))),
];

/// A route that answers one query.
fn bare(connection: &Arc<Mutex<SqliteConnection>>, query: Option<&'static str>) -> Router {
    let connection = Arc::clone(connection);
    let router = Router::new();
    match query {
        None => router.route(
            "/api/3/events",
            get(move || async move {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                let rows = diesel::sql_query(EVENTS).load::<EventRow>(&mut *connection).expect("the query is right");
                Json(Listing::of(rows, |row| row.id, ShownEvent::from))
            }),
        ),
        Some(query) => router.route(
            "/api/3/builds",
            get(move || async move {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                let rows = diesel::sql_query(query).load::<BuildRow>(&mut *connection).expect("the query is right");
                Json(Listing::of(rows, |row| row.id, ShownBuild::from))
            }),
        ),
    }
}

fn connect(path: &Path) -> Result<Arc<Mutex<SqliteConnection>>> {
    let url = path.to_str().ok_or("the path is no UTF-8")?;
    Ok(Arc::new(Mutex::new(SqliteConnection::establish(url)?)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("state.sqlite");
    let storage = SqliteStorage::open(&path)?;
    let began = Instant::now();
    history::store(&storage).await?;
    println!("{} events with {} builds, stored in {:.0?}", history::EVENTS, history::BUILDS, began.elapsed());
    let mut config = Config::loopback();
    config.limits.requests = Quota { per_minute: 10_000_000, burst: 10_000_000 };
    let router = freshmaker_web::router(Client::new(Arc::new(storage)), config);
    let connection = connect(&path)?;
    for (path, query) in LISTS {
        compare(path, &router, &bare(&connection, query), REQUESTS, GOAL).await?;
    }
    Ok(())
}
