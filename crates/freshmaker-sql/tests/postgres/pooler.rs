//! PgBouncer between the storage and the server.

use super::place::{Place, url};
use freshmaker::backend::{Remedy, Storage};
use freshmaker_sql::PostgresStorage;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio_postgres::config::Host;

/// A pooler of its own, which ends with this value.
struct Pooler {
    child: Child,
    port: u16,
    user: String,
    _directory: TempDir,
}

impl Pooler {
    /// `None`, and says so, if there is no PgBouncer.
    fn start(settings: &str) -> Option<Self> {
        let server: tokio_postgres::Config = url().parse().unwrap();
        let Host::Tcp(host) = &server.get_hosts()[0] else { panic!("this test needs a server on a port") };
        let (user, name) = (server.get_user().unwrap(), server.get_dbname().unwrap());
        let password = server.get_password().map(|word| format!("password={}", String::from_utf8_lossy(word)));
        let password = password.unwrap_or_default();
        let database = format!(
            "pooled = host={host} port={} dbname={name} user={user} {password}",
            server.get_ports().first().unwrap_or(&5432)
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\n{settings}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("pgbouncer");
        // It does not run as root.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        let Ok(mut child) = command.arg(&file).stderr(Stdio::piped()).spawn() else {
            test_support::missing("the program pgbouncer");
            return None;
        };
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("process up") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "pgbouncer has ended");
        }
        // What it logs later is read, so that it never waits.
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(drop));
        Some(Self { child, port, user: user.to_owned(), _directory: directory })
    }

    fn storage(&self, place: &Place) -> PostgresStorage {
        let url = format!("postgresql://{}@127.0.0.1:{}/pooled", self.user, self.port);
        PostgresStorage::new(&place.config_at(&url)).unwrap()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_drops_settings_is_refused() {
    let Some(place) = Place::new() else { return };
    for settings in [
        "pool_mode = transaction",
        "pool_mode = session",
        "pool_mode = transaction\nignore_startup_parameters = options",
        "pool_mode = session\nignore_startup_parameters = options",
    ] {
        let Some(pooler) = Pooler::start(settings) else { return };
        let error = pooler.storage(&place).upkeep().migrate().await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported, "{settings}: {error}");
        assert!(error.to_string().contains("a pooler in between, such as PgBouncer"), "{settings}: {error}");
        assert!(!error.to_string().contains("session mode"), "none of its modes will do: {error}");
    }
}
