//! Events and lists of the REST interface over 10,000 events and 100,000 builds in SQLite, beside a
//! bare axum handler that asks for the same rows by queries written by hand and answers with the
//! same bytes: `cargo bench -p freshmaker-redhat --bench rest`. The goal is at least half of the
//! speed, by the processor time of the process, which other programs on the machine disturb less
//! than the time of a clock.

use chrono::SecondsFormat;
use diesel::prelude::{Connection, QueryableByName, RunQueryDsl};
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use diesel::sqlite::SqliteConnection;
use freshmaker::client::Client;
use freshmaker::time::from_micros;
use freshmaker_redhat::api::FreshmakerApi;
use freshmaker_sql::SqliteStorage;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::http::{Uri, header};
use freshmaker_web::axum::response::{IntoResponse, Response};
use freshmaker_web::axum::routing::get;
use freshmaker_web::{Config, Quota, Web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use test_support::history;
use test_support::web::compare;

const REQUESTS: u32 = 500;

/// An answer must be at least so fast, as a part of the bare handler.
const GOAL: f64 = 0.5;

/// Rows of a list.
const PER_PAGE: i64 = 20;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(QueryableByName)]
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
    #[diesel(sql_type = Text)]
    payload: String,
    #[diesel(sql_type = SmallInt)]
    mode: i16,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    done_at: Option<i64>,
}

#[derive(QueryableByName)]
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
    #[diesel(sql_type = Nullable<Text>)]
    repository: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    revision: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    branch: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    original_parent: Option<String>,
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
    #[diesel(sql_type = Nullable<Text>)]
    parent_name: Option<String>,
    #[diesel(sql_type = BigInt)]
    event: i64,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    event: i64,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = BigInt)]
    amount: i64,
}

/// The columns that the answers have.
macro_rules! events {
    ($rest:expr) => {
        format!(
            "SELECT id, state, reason_text, kind, search_key, message_id, requester, payload, mode, created_at, \
             done_at FROM events {}",
            $rest
        )
    };
}

macro_rules! builds {
    ($rest:expr) => {
        format!(
            "SELECT builds.id, builds.state, builds.reason_text, builds.artifact, builds.target, builds.kind, \
             json_extract(builds.source, '$.location') AS repository, json_extract(builds.source, '$.revision') AS \
             revision, json_extract(builds.parameters, '$.git_branch') AS branch, json_extract(builds.parents, \
             '$[0].id') AS original_parent, builds.because, json_extract(builds.output, '$.name') AS output, \
             builds.created_at, builds.done_at, (SELECT external FROM attempts WHERE attempts.build = builds.id ORDER \
             BY number DESC LIMIT 1) AS task, needed.id AS parent, needed.artifact AS parent_name, \
             build_causes.event FROM builds JOIN build_causes ON build_causes.build = builds.id LEFT JOIN build_deps \
             ON build_deps.child = builds.id LEFT JOIN builds AS needed ON needed.id = build_deps.parent WHERE \
             builds.kind <> 4 {}",
            $rest
        )
    };
}

const COUNTS: &str = "SELECT event, builds.state, count(*) AS amount FROM build_causes JOIN builds ON builds.id = \
                      build WHERE kind <> 4 AND event ";

#[derive(Serialize)]
struct Args {
    arches: Option<String>,
    branch: Option<String>,
    commit: Option<String>,
    flatpak: bool,
    isolated: bool,
    original_parent: Option<String>,
    renewed_odcs_compose_ids: [i64; 0],
    repository: Option<String>,
    target: Option<String>,
}

#[derive(Serialize)]
struct ShownBuild {
    build_args: Args,
    build_id: Option<i64>,
    dep_on: Option<String>,
    dep_on_id: Option<i64>,
    event_id: i64,
    id: i64,
    name: String,
    odcs_composes: [i64; 0],
    original_nvr: String,
    rebuild_reason: &'static str,
    rebuilt_nvr: Option<String>,
    state: i16,
    state_name: &'static str,
    state_reason: String,
    time_completed: Option<String>,
    time_submitted: String,
    #[serde(rename = "type")]
    kind: i16,
    type_name: &'static str,
    url: String,
}

/// The name in an NVR.
fn name(nvr: &str) -> String {
    nvr.rsplitn(3, '-').last().unwrap_or(nvr).to_owned()
}

fn moment(micros: i64) -> String {
    from_micros(micros).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The public state of a build.
fn public(state: i16) -> (i16, &'static str) {
    match state {
        0 | 1 => (4, "PLANNED"),
        2..=5 => (0, "BUILD"),
        6 | 7 => (1, "DONE"),
        8 | 9 => (2, "FAILED"),
        _ => (3, "CANCELED"),
    }
}

impl From<BuildRow> for ShownBuild {
    fn from(row: BuildRow) -> Self {
        let (state, state_name) = public(row.state);
        Self {
            build_args: Args {
                arches: None,
                branch: row.branch,
                commit: row.revision,
                flatpak: false,
                isolated: false,
                original_parent: row.original_parent,
                renewed_odcs_compose_ids: [],
                repository: row.repository,
                target: Some(row.target).filter(|target| !target.is_empty()),
            },
            build_id: row.task.and_then(|task| task.parse().ok()),
            dep_on: row.parent_name.as_deref().map(name),
            dep_on_id: row.parent,
            event_id: row.event,
            id: row.id,
            name: name(&row.artifact),
            odcs_composes: [],
            original_nvr: row.artifact,
            rebuild_reason: ["unknown", "directly_affected", "dependency"][row.because as usize],
            rebuilt_nvr: row.output,
            state,
            state_name,
            state_reason: row.reason_text,
            time_completed: row.done_at.map(moment),
            time_submitted: moment(row.created_at),
            kind: row.kind,
            type_name: ["RPM", "IMAGE", "MODULE", "IMAGE_REPOSITORY"][row.kind as usize],
            url: format!("/api/1/builds/{}", row.id),
        }
    }
}

/// What came in, as far as the answers have it.
#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    container_images: Vec<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    freshmaker_event_id: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Builds {
    Builds(Vec<ShownBuild>),
    BuildsSummary(BTreeMap<&'static str, i64>),
}

#[derive(Serialize)]
struct ShownEvent {
    #[serde(flatten)]
    builds: Builds,
    depending_events: [i64; 0],
    depends_on_events: Vec<i64>,
    dry_run: bool,
    event_type_id: Option<i32>,
    id: i64,
    message_id: String,
    requested_rebuilds: Vec<String>,
    requester: Option<String>,
    requester_metadata: Map<String, Value>,
    search_key: String,
    state: i16,
    state_name: &'static str,
    state_reason: String,
    time_created: String,
    time_done: Option<String>,
    url: String,
}

impl ShownEvent {
    fn of(row: EventRow, builds: Builds) -> Self {
        let payload: Payload = serde_json::from_str(&row.payload).expect("what is stored is JSON");
        Self {
            builds,
            depending_events: [],
            depends_on_events: payload.freshmaker_event_id.into_iter().collect(),
            dry_run: row.mode == 2,
            event_type_id: freshmaker_redhat::messages::number(&row.kind),
            id: row.id,
            message_id: row.message_id,
            requested_rebuilds: payload.container_images,
            requester: row.requester,
            requester_metadata: payload.metadata,
            search_key: row.search_key,
            state: row.state,
            state_name: ["INITIALIZED", "BUILDING", "COMPLETE", "FAILED", "SKIPPED", "CANCELED"][row.state as usize],
            state_reason: row.reason_text,
            time_created: moment(row.created_at),
            time_done: row.done_at.map(moment),
            url: format!("/api/1/events/{}", row.id),
        }
    }
}

#[derive(Serialize)]
struct Meta {
    first: String,
    last: String,
    next: Option<String>,
    page: i64,
    pages: i64,
    per_page: i64,
    prev: Option<String>,
    total: i64,
}

#[derive(Serialize)]
struct Listing<T> {
    items: Vec<T>,
    meta: Meta,
}

impl Meta {
    /// The first page of a list with so many rows.
    fn first(path: &str, total: i64) -> Self {
        let pages = (total + PER_PAGE - 1) / PER_PAGE;
        let link = |page: i64| format!("http://localhost{path}?page={page}&per_page={PER_PAGE}");
        let next = (pages > 1).then(|| link(2));
        Self { first: link(1), last: link(pages), next, page: 1, pages, per_page: PER_PAGE, prev: None, total }
    }
}

/// The answers of the bare handler.
struct Bare(Mutex<SqliteConnection>);

impl Bare {
    fn load<R>(&self, query: &str) -> Vec<R>
    where
        R: QueryableByName<diesel::sqlite::Sqlite> + 'static,
    {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        diesel::sql_query(query).load(&mut *connection).expect("the query is right")
    }

    /// Events with all their builds.
    fn whole(&self, events: &str) -> Vec<ShownEvent> {
        let rows = self.load::<EventRow>(&events!(events));
        let ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
        let builds = builds!(format!("AND event IN ({}) ORDER BY builds.id", ids.join(", ")));
        let mut of: BTreeMap<i64, Vec<ShownBuild>> = BTreeMap::new();
        for row in self.load::<BuildRow>(&builds) {
            of.entry(row.event).or_default().push(row.into());
        }
        let shown = |row: EventRow| {
            let builds = Builds::Builds(of.remove(&row.id).unwrap_or_default());
            ShownEvent::of(row, builds)
        };
        rows.into_iter().map(shown).collect()
    }

    /// Events with the numbers of their builds.
    fn brief(&self, events: &str) -> Vec<ShownEvent> {
        let rows = self.load::<EventRow>(&events!(events));
        let ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
        let counts = format!("{COUNTS} IN ({}) GROUP BY event, builds.state", ids.join(", "));
        let mut of: BTreeMap<i64, BTreeMap<&'static str, i64>> = BTreeMap::new();
        for Count { event, state, amount } in self.load::<Count>(&counts) {
            let summary = of.entry(event).or_default();
            *summary.entry(public(state).1).or_default() += amount;
            *summary.entry("total").or_default() += amount;
        }
        let shown = |row: EventRow| {
            let builds = Builds::BuildsSummary(of.remove(&row.id).unwrap_or_default());
            ShownEvent::of(row, builds)
        };
        rows.into_iter().map(shown).collect()
    }

    fn total(&self, of: &str) -> i64 {
        let query = format!("SELECT 0 AS event, 0 AS state, sum(amount) AS amount FROM tallies WHERE subject {of}");
        self.load::<Count>(&query)[0].amount
    }

    fn answer(&self, uri: &Uri) -> Response {
        let (path, last) = (uri.path(), format!("ORDER BY id DESC LIMIT {PER_PAGE}"));
        let whole = path.starts_with("/api/1") || uri.query() == Some("show_full_json=True");
        let events = |rest: &str| if whole { self.whole(rest) } else { self.brief(rest) };
        match path.get("/api/1/".len()..).unwrap_or_default() {
            "events/" => told(&Listing { items: events(&last), meta: Meta::first(path, self.total("= 'events'")) }),
            "builds/" => {
                let builds = self.load::<BuildRow>(&builds!(last.replace("id", "builds.id")));
                let items = builds.into_iter().map(ShownBuild::from).collect();
                told(&Listing { items, meta: Meta::first(path, self.total(BUILDS)) })
            }
            path => told(&events(&path.replace("events/", "WHERE id = ")).pop()),
        }
    }
}

/// What counts builds that are shown.
const BUILDS: &str = "= 'builds'";

fn told(form: &impl Serialize) -> Response {
    let text = serde_json::to_string(form).expect("it has a JSON form");
    ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

fn bare(path: &Path) -> Result<Router> {
    let url = path.to_str().ok_or("the path is no UTF-8")?;
    let bare = Arc::new(Bare(Mutex::new(SqliteConnection::establish(url)?)));
    Ok(Router::new().route("/{*path}", get(move |uri: Uri| async move { bare.answer(&uri) })))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("state.sqlite");
    let storage = SqliteStorage::open(&path)?;
    history::store(&storage).await?;
    println!("{} events with {} builds", history::EVENTS, history::BUILDS);
    let mut config = Config::loopback();
    config.limits.requests = Quota { per_minute: 10_000_000, burst: 10_000_000 };
    let router = FreshmakerApi::new(Web::new(Client::new(Arc::new(storage)), config)).router();
    let bare = bare(&path)?;
    for path in [
        "/api/1/events/5000",
        "/api/2/events/5000?show_full_json=True",
        "/api/2/events/5000",
        "/api/1/events/?per_page=20",
        "/api/2/events/?per_page=20",
        "/api/1/builds/?per_page=20",
        "/api/2/builds/?per_page=20",
    ] {
        compare(path, &router, &bare, REQUESTS, GOAL).await?;
    }
    Ok(())
}
