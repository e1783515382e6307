//! Connections that are lost, or that stay silent.

use super::place::{Place, message, remedy, until_waiting, url};
use freshmaker::backend::{Remedy, Storage, StorageReads};
use freshmaker::rebuild::{Commit, RowChange};
use freshmaker_sql::{PostgresConfig, PostgresStorage};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::config::Host;

/// What happens to a piece that the storage sends.
#[derive(Clone, Copy)]
enum Fault {
    /// The server does not get it, and both lose their connection.
    Lost,
    /// The server does what it says, and the answer is lost.
    Unanswered,
    /// The server does what it says; the connection stays open and nothing comes any more.
    Silent,
}

type Next = Arc<Mutex<Option<(&'static str, Fault)>>>;

/// Between a storage and the server; the next piece with a certain word goes wrong.
struct Relay {
    address: SocketAddr,
    next: Next,
}

impl Relay {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, next) = (listener.local_addr().unwrap(), Next::default());
        let faults = Arc::clone(&next);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(relay(socket, Arc::clone(&faults)));
            }
        });
        Self { address, next }
    }

    fn goes_wrong(&self, word: &'static str, fault: Fault) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((word, fault));
    }

    fn config(&self, place: &Place) -> PostgresConfig {
        let server: tokio_postgres::Config = url().parse().unwrap();
        let password = server.get_password().map(|word| format!(":{}", String::from_utf8_lossy(word)));
        place.config_at(&format!(
            "postgresql://{}{}@{}/{}",
            server.get_user().unwrap(),
            password.unwrap_or_default(),
            self.address,
            server.get_dbname().unwrap()
        ))
    }
}

async fn relay(mut storage: TcpStream, next: Next) {
    let server: tokio_postgres::Config = url().parse().unwrap();
    let Host::Tcp(host) = &server.get_hosts()[0] else { panic!("these tests need a server on a port") };
    let port = server.get_ports().first().copied().unwrap_or(5432);
    let mut server = TcpStream::connect((host.as_str(), port)).await.unwrap();
    let (mut sent, mut answered) = ([0; 8192], [0; 8192]);
    loop {
        tokio::select! {
            read = storage.read(&mut sent) => {
                let Ok(count @ 1..) = read else { return };
                let piece = &sent[..count];
                let fault = {
                    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                    let has = |word: &str| piece.windows(word.len()).any(|part| part == word.as_bytes());
                    next.take_if(|(word, _)| has(word)).map(|(_, fault)| fault)
                };
                match fault {
                    Some(Fault::Lost) => return,
                    Some(Fault::Unanswered) => {
                        server.write_all(piece).await.unwrap();
                        assert!(server.read(&mut answered).await.unwrap() > 0);
                        return;
                    }
                    Some(Fault::Silent) => {
                        server.write_all(piece).await.unwrap();
                        while matches!(storage.read(&mut sent).await, Ok(1..)) {}
                        return;
                    }
                    None => server.write_all(piece).await.unwrap(),
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if storage.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// How this statement ends, unlike `READ COMMITTED`.
const COMMIT: &str = "COMMIT\0";

fn receive(id: &str) -> Commit {
    Commit::unfenced(vec![RowChange::Receive(message(id))])
}

async fn is_there(storage: &PostgresStorage, id: &str) -> bool {
    storage.message("local", id).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_means_depends_on_when_it_is_lost() {
    let Some(place) = Place::new() else { return };
    let relay = Relay::new().await;
    let storage = PostgresStorage::new(&relay.config(&place)).unwrap();
    storage.upkeep().migrate().await.unwrap();
    let cases = [
        ("begin-1", "BEGIN", Fault::Lost, Remedy::Unavailable, false),
        ("begin-2", "BEGIN", Fault::Unanswered, Remedy::Unavailable, false),
        ("insert-1", "insert-1", Fault::Lost, Remedy::Unavailable, false),
        ("insert-2", "insert-2", Fault::Unanswered, Remedy::Unavailable, false),
        ("commit-1", COMMIT, Fault::Lost, Remedy::Unclear, false),
        ("commit-2", COMMIT, Fault::Unanswered, Remedy::Unclear, true),
    ];
    for (id, word, fault, expected, written) in cases {
        relay.goes_wrong(word, fault);
        let outcome = storage.commit(receive(id)).await;
        assert_eq!(remedy(&outcome), Some(expected), "{id}: {outcome:?}");
        assert_eq!(is_there(&storage, id).await, written, "{id}");
        storage.commit(receive(id)).await.unwrap();
        assert!(is_there(&storage, id).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_silent_is_given_up() {
    let Some(place) = Place::new() else { return };
    let relay = Relay::new().await;
    place.migrated().await;
    let mut config = relay.config(&place);
    config.statement_timeout = Duration::from_secs(1);
    let storage = PostgresStorage::new(&config).unwrap();
    for (id, word, expected) in [("commit", COMMIT, Remedy::Unclear), ("insert", "insert", Remedy::Unavailable)] {
        relay.goes_wrong(word, Fault::Silent);
        let outcome = storage.commit(receive(id)).await;
        assert_eq!(remedy(&outcome), Some(expected), "{outcome:?}");
    }
    assert!(is_there(&storage, "commit").await && !is_there(&storage, "insert").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_its_administrator_ends_is_replaced() {
    let Some(place) = Place::new() else { return };
    let storage = Arc::new(place.migrated().await);
    let client = place.client().await;
    client.batch_execute("BEGIN; LOCK TABLE inbox").await.unwrap();
    let writing = tokio::spawn({
        let storage = Arc::clone(&storage);
        async move { storage.commit(receive("1")).await }
    });
    until_waiting(&client, 1).await;
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))";
    client.batch_execute(end).await.unwrap();
    let outcome = writing.await.unwrap();
    assert_eq!(remedy(&outcome), Some(Remedy::Unavailable), "{outcome:?}");
    client.batch_execute("COMMIT").await.unwrap();
    storage.commit(receive("1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_lock_without_end() {
    let Some(place) = Place::new() else { return };
    place.migrated().await;
    let mut config = place.config();
    config.lock_timeout = Duration::from_millis(100);
    let storage = PostgresStorage::new(&config).unwrap();
    let client = place.client().await;
    client.batch_execute("BEGIN; LOCK TABLE inbox").await.unwrap();
    let outcome = storage.commit(receive("1")).await;
    assert_eq!(remedy(&outcome), Some(Remedy::Unavailable), "{outcome:?}");
    client.batch_execute("COMMIT").await.unwrap();
    storage.commit(receive("1")).await.unwrap();
}
