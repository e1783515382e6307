//! The broker that tests speak to, and a RabbitMQ node of its own, which can be killed.

use crate::services::missing;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The URL of the broker: `FRESHMAKER_AMQP_URL`, or the standard port of this machine.
#[must_use]
pub fn url() -> String {
    std::env::var("FRESHMAKER_AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

/// `127.0.0.1:5672` of the URL.
#[must_use]
pub fn address() -> String {
    let url = url();
    let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap().rsplit('@').next().unwrap();
    if authority.contains(':') { authority.to_owned() } else { format!("{authority}:5672") }
}

/// What starts a node; the program beside it on the search path changes the user and the directory.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// How long a node may take to start.
const START_MAX: Duration = Duration::from_secs(120);

/// A RabbitMQ node in a directory that goes with this value.
#[derive(Debug)]
pub struct Node {
    directory: tempfile::TempDir,
    port: u16,
    dist_port: u16,
    process: Mutex<Option<Child>>,
}

impl Node {
    /// `None`, and says so, if RabbitMQ is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            missing("the programs of a RabbitMQ server");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let [port, dist_port] = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let [port, dist_port] = [port, dist_port].map(|listener| listener.local_addr().unwrap().port());
        let node = Self { directory, port, dist_port, process: Mutex::default() };
        let write = |name: &str, text: &str| std::fs::write(node.directory.path().join(name), text).unwrap();
        write("rabbitmq.conf", &format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.file.level = warning\n"));
        write("plugins", "[].");
        write(".erlang.cookie", &format!("cookie{port}"));
        let cookie = node.directory.path().join(".erlang.cookie");
        std::fs::set_permissions(cookie, std::fs::Permissions::from_mode(0o400)).unwrap();
        if geteuid().is_root() {
            let owner = Command::new("chown").args(["-R", "rabbitmq"]).arg(node.directory.path()).status();
            assert!(owner.unwrap().success(), "there is a user of RabbitMQ");
        }
        node.run();
        Some(node)
    }

    /// The URL of its guest.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address())
    }

    /// `127.0.0.1:5672`, for example.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(if geteuid().is_root() { "setpriv" } else { PROGRAM });
        if geteuid().is_root() {
            command.args(["--reuid=rabbitmq", "--regid=rabbitmq", "--init-groups", "--", PROGRAM]);
        }
        let place = |name: &str| self.directory.path().join(name);
        command.env("HOME", self.directory.path()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_NODENAME", format!("freshmaker{}@localhost", self.port));
        command.env("RABBITMQ_DIST_PORT", self.dist_port.to_string()).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_CONFIG_FILE", place("rabbitmq")).env("RABBITMQ_ENABLED_PLUGINS_FILE", place("plugins"));
        command.env("RABBITMQ_MNESIA_BASE", place("mnesia")).env("RABBITMQ_LOG_BASE", place("log"));
        command.env("RABBITMQ_PID_FILE", place("pid"));
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        command.current_dir(self.directory.path()).stdin(Stdio::null()).process_group(0);
        command
    }

    /// Starts it, and waits until it takes connections.
    fn run(&self) {
        let said = std::fs::File::create(self.directory.path().join("said")).unwrap();
        let mut child = self.command().stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(self.address()).is_err() {
            let ended = child.try_wait().unwrap();
            let said = || std::fs::read_to_string(self.directory.path().join("said")).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < START_MAX, "RabbitMQ does not start: {}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        *self.process() = Some(child);
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, signal: Signal) {
        if let Some(mut child) = self.process().take() {
            kill_process_group(Pid::from_child(&child), signal).unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the node as a loss of power would, and starts it again.
    pub fn crash(&self) {
        self.end(Signal::KILL);
        self.run();
    }

    /// Ends the node in good order, and starts it again.
    pub fn restart(&self) {
        self.end(Signal::TERM);
        self.run();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}
