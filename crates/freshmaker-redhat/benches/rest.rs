//! One event with its 100 builds in version 1 of the REST interface, beside a bare axum handler
//! that asks for the same rows by hand-written queries: `cargo bench -p freshmaker-redhat --bench
//! rest`. The goal is at least half of the speed, by the processor time of the process, which other
//! programs on the machine disturb less than the time of a clock.

use diesel::prelude::{Connection, QueryableByName, RunQueryDsl};
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use diesel::sqlite::SqliteConnection;
use freshmaker::artifact::{ArtifactKind, Parameters};
use freshmaker::backend::Storage;
use freshmaker::client::Client;
use freshmaker::event::Envelope;
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, BuildState, Cause,
    Commit, Dependency, DependencyKind, EventId, EventRecord, EventState, ExternalId, Output, RowChange, RunId,
};
use freshmaker::time::{Timestamp, later};
use freshmaker::{Reason, RebuildReason};
use freshmaker_redhat::api::FreshmakerApi;
use freshmaker_sql::SqliteStorage;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::extract::ConnectInfo;
use freshmaker_web::axum::http::Request;
use freshmaker_web::axum::routing::get;
use freshmaker_web::axum::{Json, Router};
use freshmaker_web::{Config, Quota, Web};
use http_body_util::BodyExt;
use serde::Serialize;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use test_support::cost::Cost;
use tower::ServiceExt;

const EVENTS: i64 = 1_000;
const BUILDS_OF_EVENT: i64 = 100;
const REQUESTS: u32 = 500;

/// An answer must be at least so fast, as a part of the bare handler.
const GOAL: f64 = 0.5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn event(id: i64) -> EventRecord {
    let at = later(Timestamp::UNIX_EPOCH, Duration::from_secs(1_700_000_000 + id as u64));
    EventRecord {
        id: EventId(id),
        version: 3,
        state: EventState::Complete,
        source: "umb".into(),
        message_id: format!("ID:{id}.RHSA-2026:{id}-01"),
        handler: "rebuild_affected".into(),
        generation: 1,
        retry_of: None,
        envelope: Envelope {
            kind: "errata.shipped".into(),
            search_key: id.to_string(),
            manual: false,
            requester: None,
            severity: Default::default(),
            payload: serde_json::json!({ "advisory": id }),
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
    let artifact = format!("service-{}-container-1.2-{}", id % BUILDS_OF_EVENT, of.id);
    BuildRecord {
        id: BuildId(id),
        version: 6,
        state: if id % 11 == 0 { BuildState::Failed } else { BuildState::Done },
        key: BuildKey {
            system: "koji".into(),
            artifact: artifact.as_str().into(),
            target: "rhel-9".into(),
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
        output: Some(Output { name: format!("{artifact}.1700000000"), digest: None, contents: None }),
        cancel_at: None,
        created_at: of.created_at,
        done_at: of.done_at,
    }
}

fn attempt(build: &BuildRecord) -> AttemptRecord {
    AttemptRecord {
        id: AttemptId::new(format!("attempt-{}", build.id)),
        version: 3,
        state: AttemptState::Succeeded,
        build: build.id,
        system: build.key.system.clone(),
        number: 1,
        run: RunId(0),
        release: "1".into(),
        session: None,
        intent_at: build.created_at,
        external: Some(ExternalId::new(build.id.to_string())),
        observed_at: build.done_at,
        reason: Reason::new("succeeded", "closed"),
        deadline: None,
        not_before: None,
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
            changes.push(RowChange::Attempt { record: Box::new(attempt(&record)), expected: None });
            if place > 0 {
                let (parent, child) = (BuildId(record.id.0 - place), record.id);
                let need = Dependency { parent, child, kind: DependencyKind::Needs, satisfied: true };
                changes.push(RowChange::Dependency(need));
            }
            changes.push(RowChange::Build { record, expected: None, replanned: true });
            changes.push(RowChange::Cause(cause));
        }
        changes.push(RowChange::Event { record: Box::new(event), expected: None });
        if number % 20 == 0 {
            storage.commit(Commit::unfenced(std::mem::take(&mut changes))).await?;
        }
    }
    Ok(())
}

#[derive(QueryableByName, Serialize)]
struct EventRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = Text)]
    reason_text: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    search_key: String,
    #[diesel(sql_type = Text)]
    message_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    requester: Option<String>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    done_at: Option<i64>,
}

#[derive(QueryableByName, Serialize)]
struct BuildRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = Text)]
    reason_text: String,
    #[diesel(sql_type = Text)]
    artifact: String,
    #[diesel(sql_type = Text)]
    target: String,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Text)]
    parameters: String,
    #[diesel(sql_type = Text)]
    parents: String,
    #[diesel(sql_type = SmallInt)]
    because: i16,
    #[diesel(sql_type = Nullable<Text>)]
    output: Option<String>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    done_at: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    task: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    parent: Option<i64>,
}

#[derive(Serialize)]
struct Whole {
    event: Vec<EventRow>,
    builds: Vec<BuildRow>,
}

const BUILDS: &str = "SELECT builds.*, (SELECT external FROM attempts WHERE attempts.build = builds.id \
                      ORDER BY number DESC LIMIT 1) AS task, (SELECT parent FROM build_deps WHERE child = builds.id \
                      LIMIT 1) AS parent FROM builds JOIN build_causes ON build = builds.id WHERE event = 500 \
                      ORDER BY builds.id";

fn bare(path: &Path) -> Result<Router> {
    let url = path.to_str().ok_or("the path is no UTF-8")?;
    let connection = Arc::new(Mutex::new(SqliteConnection::establish(url)?));
    let handler = move || async move {
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let event = diesel::sql_query("SELECT * FROM events WHERE id = 500").load(&mut *connection);
        let builds = diesel::sql_query(BUILDS).load(&mut *connection);
        Json(Whole { event: event.expect("the query is right"), builds: builds.expect("the query is right") })
    };
    Ok(Router::new().route("/event", get(handler)))
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
    fill(&storage).await?;
    println!("{EVENTS} events with {BUILDS_OF_EVENT} builds each");
    let mut config = Config::loopback();
    config.limits.requests = Quota { per_minute: 10_000_000, burst: 10_000_000 };
    let router = FreshmakerApi::new(Web::new(Client::new(Arc::new(storage)), config)).router();
    let bare = bare(&path)?;
    for path in ["/api/1/events/500", "/api/2/events/500?show_full_json=True"] {
        let plain = Cost::of(REQUESTS, || ask(&bare, "/event")).await?;
        let ours = Cost::of(REQUESTS, || ask(&router, path)).await?;
        let ratio = plain.processor.as_secs_f64() / ours.processor.as_secs_f64();
        println!("{path}: {ours:.1?}; bare: {plain:.1?}; ratio {ratio:.2} (goal: {GOAL})");
    }
    Ok(())
}
