//! How long lists of 50 rows take over 10,000 events and 100,000 builds in SQLite, beside a bare
//! handler that runs one query written by hand for the same rows and serialises them: `cargo bench
//! -p freshmaker-web --bench lists`. Requests come one after the other, without sockets. The ratio
//! is one of processor times, which other programs on the machine disturb less than a clock.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, SmallInt, Text};
use freshmaker::artifact::{ArtifactKind, Parameters};
use freshmaker::backend::Storage;
use freshmaker::client::Client;
use freshmaker::event::Envelope;
use freshmaker::rebuild::{
    BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, BuildState, Cause, Commit, EventId, EventRecord, EventState,
    RowChange,
};
use freshmaker::time::{Timestamp, later};
use freshmaker::{Reason, RebuildReason};
use freshmaker_sql::SqliteStorage;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::extract::ConnectInfo;
use freshmaker_web::axum::http::Request;
use freshmaker_web::axum::routing::get;
use freshmaker_web::axum::{Json, Router};
use freshmaker_web::{Config, Quota};
use http_body_util::BodyExt;
use serde::Serialize;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use test_support::cost::Cost;
use tower::ServiceExt;

const EVENTS: i64 = 10_000;
const BUILDS_OF_EVENT: i64 = 10;
const REQUESTS: u32 = 2_000;

/// A list must be at least so fast, as a part of the bare handler.
const GOAL: f64 = 0.5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn event(id: i64) -> EventRecord {
    let at = later(Timestamp::UNIX_EPOCH, Duration::from_secs(1_700_000_000 + id as u64));
    EventRecord {
        id: EventId(id),
        version: 3,
        state: EventState::Complete,
        source: "bus".into(),
        message_id: format!("message-{id}"),
        handler: "rebuild_dependents".into(),
        generation: 1,
        retry_of: None,
        envelope: Envelope {
            kind: "image.pushed".into(),
            search_key: format!("registry.example.org/base-{}:1", id % 50),
            manual: false,
            requester: (id % 7 == 0).then(|| format!("user-{}", id % 20)),
            severity: Default::default(),
            payload: serde_json::json!({ "image": format!("registry.example.org/base-{}:1", id % 50) }),
        },
        mode: BuildMode::Real,
        reason: Reason::new("built", "all builds are done"),
        plan: None,
        builds_open: 0,
        builds_done: BUILDS_OF_EVENT as u32,
        builds_failed: 0,
        cancel_at: None,
        created_at: at,
        done_at: Some(at),
    }
}

fn build(id: i64, of: &EventRecord) -> BuildRecord {
    let artifact = format!("registry.example.org/team-{}/service-{}:1.2", id % 7, id % 997);
    BuildRecord {
        id: BuildId(id),
        version: 6,
        state: if id % 11 == 0 { BuildState::Failed } else { BuildState::Done },
        key: BuildKey {
            system: "builder".into(),
            artifact: artifact.as_str().into(),
            target: String::new(),
            mode: BuildMode::Real,
        },
        slot: BuildSlot::Current,
        kind: ArtifactKind::Image,
        source: None,
        parameters: Parameters::default(),
        parents: Vec::new(),
        demands: Default::default(),
        because: RebuildReason::Dependency,
        asked: false,
        inputs: None,
        pending: 0,
        priority: 0,
        estimate: Some(Duration::from_secs(600)),
        attempts: 1,
        tries: 1,
        resubmits: 0,
        no_cache: false,
        release: Some("1".into()),
        not_before: None,
        reason: Reason::new("built", format!("built as {artifact}")),
        output: None,
        cancel_at: None,
        created_at: of.created_at,
        done_at: of.done_at,
    }
}

async fn fill(storage: &SqliteStorage) -> Result<()> {
    storage.upkeep().migrate().await?;
    let mut changes = Vec::new();
    for number in 1..=EVENTS {
        let event = event(number);
        for place in 0..BUILDS_OF_EVENT {
            let record = Box::new(build((number - 1) * BUILDS_OF_EVENT + place + 1, &event));
            let cause = Cause { build: record.id, event: event.id, because: Vec::new(), live: true };
            changes.push(RowChange::Build { record, expected: None, replanned: true });
            changes.push(RowChange::Cause(cause));
        }
        changes.push(RowChange::Event { record: Box::new(event), expected: None });
        if number % 100 == 0 {
            storage.commit(Commit::unfenced(std::mem::take(&mut changes))).await?;
        }
    }
    Ok(())
}

#[derive(QueryableByName, Serialize)]
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
    #[diesel(sql_type = Nullable<BigInt>)]
    cancel_at: Option<i64>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    done_at: Option<i64>,
}

#[derive(QueryableByName, Serialize)]
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

type Shared = Arc<Mutex<SqliteConnection>>;

/// A route that answers one query.
fn bare<T>(path: &str, connection: &Shared, query: &'static str) -> Router
where
    T: diesel::deserialize::QueryableByName<diesel::sqlite::Sqlite> + Serialize + Send + 'static,
{
    let connection = Arc::clone(connection);
    let handler = move || async move {
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: Vec<T> = diesel::sql_query(query).load(&mut *connection).expect("the query is right");
        Json(rows)
    };
    Router::new().route(path, get(handler))
}

fn bare_lists(path: &Path) -> Result<Router> {
    let url = path.to_str().ok_or("the path is no UTF-8")?;
    let connection = Arc::new(Mutex::new(SqliteConnection::establish(url)?));
    let events = "SELECT * FROM events ORDER BY id DESC LIMIT 51";
    let builds = "SELECT * FROM builds ORDER BY id DESC LIMIT 51";
    let failed = "SELECT * FROM builds WHERE state = 8 ORDER BY id DESC LIMIT 51";
    let of_event =
        "SELECT builds.* FROM builds JOIN build_causes ON build = id WHERE event = 5000 ORDER BY id DESC LIMIT 51";
    Ok(bare::<EventRow>("/events", &connection, events)
        .merge(bare::<BuildRow>("/builds", &connection, builds))
        .merge(bare::<BuildRow>("/failed", &connection, failed))
        .merge(bare::<BuildRow>("/of-event", &connection, of_event)))
}

/// Asks once, for an answer with status 200.
async fn ask(router: &Router, path: &str) -> Result<()> {
    let mut request = Request::get(path).header("host", "localhost").body(Body::empty())?;
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    let response = router.clone().oneshot(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status == 200 { Ok(()) } else { Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("state.sqlite");
    let storage = SqliteStorage::open(&path)?;
    let began = Instant::now();
    fill(&storage).await?;
    println!("{EVENTS} events with {BUILDS_OF_EVENT} builds each, stored in {:.0?}", began.elapsed());
    let mut config = Config::loopback();
    config.limits.requests = Quota { per_minute: 10_000_000, burst: 10_000_000 };
    let router = freshmaker_web::router(Client::new(Arc::new(storage)), config);
    let bare = bare_lists(&path)?;
    for (path, beside) in [
        ("/api/3/events", "/events"),
        ("/api/3/builds", "/builds"),
        ("/api/3/builds?state=FAILED", "/failed"),
        ("/api/3/builds?event=5000", "/of-event"),
    ] {
        let plain = Cost::of(REQUESTS, || ask(&bare, beside)).await?;
        let ours = Cost::of(REQUESTS, || ask(&router, path)).await?;
        let ratio = plain.processor.as_secs_f64() / ours.processor.as_secs_f64();
        println!("{path}: {ours:.1?}; bare: {plain:.1?}; ratio {ratio:.2} (goal: {GOAL})");
    }
    Ok(())
}
