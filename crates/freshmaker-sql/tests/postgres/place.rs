//! A schema of its own for each test on a real server, and rows to put into it.

use freshmaker::Reason;
use freshmaker::artifact::{ArtifactKind, Parameters};
use freshmaker::backend::{Remedy, Storage};
use freshmaker::event::{Envelope, Message, Severity};
use freshmaker::plan::RebuildReason;
use freshmaker::rebuild::{
    AttemptId, AttemptRecord, AttemptState, BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, BuildState, Cause,
    Dependency, DependencyKind, EventId, EventRecord, EventState, InboxRecord, Notification, RowChange, RowKey, RunId,
};
use freshmaker::time::from_micros;
use freshmaker_sql::{PostgresConfig, PostgresStorage, PostgresTls};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

/// Where the server is: `FRESHMAKER_POSTGRES_URL`, or the standard port of this machine.
pub(crate) fn url() -> String {
    let standard = "postgresql://postgres@127.0.0.1:5432/test".to_owned();
    std::env::var("FRESHMAKER_POSTGRES_URL").unwrap_or(standard)
}

/// Runs something to its end on a runtime of its own, whatever runtime this is called from.
fn aside<T: Send + 'static>(work: impl AsyncFnOnce(Client) -> T + Send + 'static) -> Result<T, String> {
    let working = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(&url(), NoTls).await.map_err(|error| format!("{error:?}"))?;
            let driver = tokio::spawn(connection);
            let done = work(client).await;
            driver.await.ok();
            Ok(done)
        })
    });
    working.join().unwrap()
}

/// A schema, which goes with this value.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) schema: String,
}

impl Place {
    /// `None`, and says so, if there is no server.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let schema = format!("freshmaker test {} {}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE SCHEMA \"{schema}\"");
        match aside(async move |client| client.batch_execute(&create).await.unwrap()) {
            Ok(()) => Some(Self { schema }),
            Err(error) => {
                test_support::missing(&format!("PostgreSQL at {}: {error}", url()));
                None
            }
        }
    }

    /// Sessions have the name of the schema.
    pub(crate) fn config(&self) -> PostgresConfig {
        let separator = if url().contains('?') { '&' } else { '?' };
        self.config_at(&format!("{}{separator}application_name={}", url(), self.schema.replace(' ', "%20")))
    }

    pub(crate) fn config_at(&self, url: &str) -> PostgresConfig {
        let mut config = PostgresConfig::new(url);
        config.tls = PostgresTls::Disable;
        config.schema.clone_from(&self.schema);
        config
    }

    /// What a process has: a storage of its own.
    pub(crate) fn process(&self) -> PostgresStorage {
        PostgresStorage::new(&self.config()).unwrap()
    }

    /// The same, with tables.
    pub(crate) async fn migrated(&self) -> PostgresStorage {
        let storage = self.process();
        storage.upkeep().migrate().await.unwrap();
        storage
    }

    /// A connection beside the storage.
    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path = \"{}\"", self.schema)).await.unwrap();
        client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let remove = format!("DROP SCHEMA \"{}\" CASCADE", self.schema);
        let removed = aside(async move |client| client.batch_execute(&remove).await);
        if !std::thread::panicking() {
            removed.unwrap().unwrap();
        }
    }
}

/// Waits until so many sessions wait for a lock of this one.
pub(crate) async fn until_waiting(client: &Client, count: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))";
    let all_wait = async {
        while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < count {
            // Within a transaction the list of sessions is kept.
            client.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_wait).await.expect("they wait");
}

pub(crate) fn remedy<T>(result: &freshmaker::backend::Result<T>) -> Option<Remedy> {
    result.as_ref().err().map(|error| error.remedy)
}

pub(crate) fn message(id: impl std::fmt::Display) -> InboxRecord {
    let message = Message { id: id.to_string(), topic: "t".into(), headers: Default::default(), body: b"x".to_vec() };
    InboxRecord::new("local", message, from_micros(0))
}

pub(crate) fn build(id: i64) -> BuildRecord {
    BuildRecord {
        id: BuildId(id),
        version: 0,
        state: BuildState::Ready,
        key: BuildKey {
            system: "s".into(),
            artifact: format!("app-{id}").into(),
            target: String::new(),
            mode: BuildMode::Real,
        },
        slot: BuildSlot::Current,
        kind: ArtifactKind::Image,
        source: None,
        parameters: Parameters::default(),
        parents: Vec::new(),
        demands: Default::default(),
        because: RebuildReason::Unknown,
        asked: false,
        inputs: None,
        pending: 0,
        priority: 0,
        estimate: None,
        tries: 0,
        resubmits: 0,
        attempts: 0,
        no_cache: false,
        release: None,
        not_before: None,
        reason: Reason::new("ready", "everything it waited for has ended"),
        output: None,
        cancel_at: None,
        created_at: from_micros(id),
        done_at: None,
    }
}

pub(crate) fn attempt(id: &str, of: i64) -> AttemptRecord {
    AttemptRecord {
        id: AttemptId::new(id),
        version: 0,
        state: AttemptState::Intent,
        build: BuildId(of),
        system: "s".into(),
        number: 1,
        run: RunId::NONE,
        release: String::new(),
        session: None,
        intent_at: from_micros(0),
        external: None,
        observed_at: None,
        reason: Reason::new("intent", "is about to be submitted"),
        deadline: None,
        not_before: None,
    }
}

pub(crate) fn new_build(id: i64) -> RowChange {
    RowChange::Build { record: Box::new(build(id)), expected: None, replanned: false }
}

/// The next version of a build.
pub(crate) fn changed_build(id: i64, expected: u32) -> RowChange {
    let record = BuildRecord { version: expected + 1, priority: 9, ..build(id) };
    RowChange::Build { record: Box::new(record), expected: Some(expected), replanned: true }
}

/// The next version of an attempt.
pub(crate) fn changed_attempt(id: &str, of: i64, expected: u32) -> RowChange {
    let record = AttemptRecord { version: expected + 1, ..attempt(id, of) };
    RowChange::Attempt { record: Box::new(record), expected: Some(expected) }
}

pub(crate) fn event(id: i64) -> EventRecord {
    EventRecord {
        id: EventId(id),
        version: 0,
        state: EventState::Building,
        source: "local".into(),
        message_id: id.to_string(),
        handler: "handler".into(),
        generation: 1,
        retry_of: None,
        envelope: Envelope {
            kind: "test.pushed".into(),
            search_key: String::new(),
            manual: false,
            requester: None,
            severity: Severity::default(),
            payload: serde_json::Value::Null,
        },
        mode: BuildMode::Real,
        reason: Reason::new("building", "its builds are under way"),
        plan: None,
        builds_open: 0,
        builds_done: 0,
        builds_failed: 0,
        cancel_at: None,
        created_at: from_micros(id),
        done_at: None,
    }
}

pub(crate) fn new_event(id: i64) -> RowChange {
    RowChange::Event { record: Box::new(event(id)), expected: None }
}

/// The next version of an event.
pub(crate) fn changed_event(id: i64, expected: u32) -> RowChange {
    let record = EventRecord { version: expected + 1, ..event(id) };
    RowChange::Event { record: Box::new(record), expected: Some(expected) }
}

pub(crate) fn cause(build: i64, event: i64) -> RowChange {
    RowChange::Cause(Cause { build: BuildId(build), event: EventId(event), because: Vec::new(), live: true })
}

pub(crate) fn new_attempt(id: &str, of: i64) -> RowChange {
    RowChange::Attempt { record: Box::new(attempt(id, of)), expected: None }
}

pub(crate) fn edge(parent: i64, child: i64) -> RowChange {
    let (parent, child) = (BuildId(parent), BuildId(child));
    RowChange::Dependency(Dependency { parent, child, kind: DependencyKind::Needs, satisfied: false })
}

pub(crate) fn notification(id: i64, version: u32) -> RowChange {
    RowChange::Notification(Notification {
        of: RowKey::Build(BuildId(id)),
        version,
        topic: "build.changed".into(),
        body: serde_json::json!({}),
    })
}
