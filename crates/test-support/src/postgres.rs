//! A PostgreSQL cluster of its own, which can be killed.

use crate::services::missing;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A server in a directory that goes with this value.
#[derive(Debug)]
pub struct Cluster {
    directory: tempfile::TempDir,
    bin: PathBuf,
    /// Where it listens, on this machine.
    pub port: u16,
}

impl Cluster {
    /// `None`, and says so, if PostgreSQL is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::with_settings("", &[])
    }

    /// The same with a certificate and its key, in PEM.
    #[must_use]
    pub fn start_with_tls(certificate: &Path, key: &Path) -> Option<Self> {
        let settings = "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n";
        Self::with_settings(settings, &[(certificate, "server.pem"), (key, "server.key")])
    }

    fn with_settings(more: &str, files: &[(&Path, &str)]) -> Option<Self> {
        let Some(bin) = bin() else {
            missing("the programs of a PostgreSQL server");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { directory, bin, port };
        if is_root() {
            // The server refuses to run as root.
            must(Command::new("chown").arg("postgres").arg(cluster.directory.path()));
        }
        let data = cluster.data();
        must(cluster.command("initdb").args(["--auth=trust", "--username=freshmaker", "-D"]).arg(&data));
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1, 127.0.0.2'\nunix_socket_directories = ''\nmax_connections = 200\n\
             fsync = on\nlogging_collector = off\n{more}"
        );
        let file = data.join("postgresql.auto.conf");
        std::fs::write(&file, settings).unwrap();
        for (from, name) in files {
            let to = data.join(name);
            std::fs::copy(from, &to).unwrap();
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                must(Command::new("chown").arg("postgres").arg(&to));
            }
        }
        cluster.control("start", "fast");
        Some(cluster)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// `127.0.0.1:5432`, for example.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A program of the server, as a user that may run it.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.directory.path());
        command
    }

    fn control(&self, what: &str, mode: &str) {
        let log = self.directory.path().join("log");
        let mut command = self.command("pg_ctl");
        command.arg("-D").arg(self.data()).arg("-l").arg(log).args(["-m", mode, "-w", "-t", "60", "-s", what]);
        must(&mut command);
    }

    /// Stops the server as a loss of power would, and starts it again.
    pub fn crash(&self) {
        self.control("restart", "immediate");
    }

    /// Ends all sessions, and starts the server again.
    pub fn restart(&self) {
        self.control("restart", "fast");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = self.command("pg_ctl");
        drop(command.arg("-D").arg(self.data()).args(["-m", "immediate", "-s", "stop"]).output());
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The newest server that is installed.
fn bin() -> Option<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    found.sort_by_key(|version| version.file_name().to_string_lossy().parse::<u32>().unwrap_or_default());
    let of_system = found.pop().map(|version| version.path().join("bin"));
    of_system.filter(|bin| bin.join("initdb").exists()).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|bin: &PathBuf| bin.join("initdb").exists())
    })
}

fn must(command: &mut Command) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {said}");
}
