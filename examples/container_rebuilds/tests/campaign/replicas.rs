//! The processes, each with a network of its own.

use crate::namespace::Namespace;
use crate::proxy::{Net, Proxy};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The ways of a replica to everything else.
pub(crate) struct Ways {
    /// Its network, if it has one of its own.
    pub(crate) namespace: Option<Namespace>,
    pub(crate) database: Proxy,
    pub(crate) broker: Proxy,
    pub(crate) hub: Proxy,
}

impl Ways {
    /// From a network of its own, if there can be one, to the servers at these addresses.
    pub(crate) async fn to(database: String, broker: String, hub: String) -> Self {
        let namespace = Namespace::new();
        let host = namespace.as_ref().map_or("127.0.0.1", |namespace| namespace.host.as_str()).to_owned();
        Self {
            namespace,
            database: Proxy::to(database, &host).await,
            broker: Proxy::to(broker, &host).await,
            hub: Proxy::to(hub, &host).await,
        }
    }
}

/// A replica: a process that is started again when it has ended, as by a service manager.
pub(crate) struct Replica {
    pub(crate) name: String,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// It is not started again before.
    down_until: Option<Instant>,
    is_stopped: bool,
    is_cut_off: bool,
    pub(crate) ways: Ways,
    /// Ends that nobody asked for: the database was away at the start.
    pub(crate) ended_by_itself: u64,
}

impl Replica {
    pub(crate) fn new(name: &str, program: PathBuf, directory: &Path, config: PathBuf, ways: Ways) -> Self {
        Self {
            name: name.to_owned(),
            program,
            config,
            log: directory.join(format!("{name}.log")),
            child: None,
            down_until: None,
            is_stopped: false,
            is_cut_off: false,
            ways,
            ended_by_itself: 0,
        }
    }

    /// Starts it if it does not run, unless it is to stay down.
    pub(crate) fn revive(&mut self) {
        if let Some(child) = &mut self.child {
            match child.try_wait().unwrap() {
                None => return,
                Some(_) => self.ended_by_itself += 1,
            }
            self.child = None;
            self.down_until = Some(Instant::now() + Duration::from_millis(200));
        }
        if self.down_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = match &self.ways.namespace {
            Some(namespace) => namespace.command(&self.program),
            None => Command::new(&self.program),
        };
        command.args(["serve", "--config"]).arg(&self.config).stderr(Stdio::from(log));
        self.child = Some(command.spawn().unwrap());
        self.down_until = None;
    }

    /// Ends it at once, and keeps it down for a while; returns whether it ran.
    pub(crate) fn kill(&mut self, down: Duration) -> bool {
        self.is_stopped = false;
        let Some(mut child) = self.child.take() else { return false };
        child.kill().unwrap();
        child.wait().unwrap();
        self.down_until = Some(Instant::now() + down);
        true
    }

    fn signal(&self, signal: Signal) -> bool {
        let Some(child) = &self.child else { return false };
        kill_process(Pid::from_child(child), signal).is_ok()
    }

    /// Stops it until `go_on`; returns whether it ran.
    pub(crate) fn stop(&mut self) -> bool {
        self.is_stopped = self.signal(Signal::STOP);
        self.is_stopped
    }

    pub(crate) fn go_on(&mut self) {
        if std::mem::take(&mut self.is_stopped) {
            self.signal(Signal::CONT);
        }
        self.ways.database.set(Net::Whole);
        if std::mem::take(&mut self.is_cut_off)
            && let Some(namespace) = &self.ways.namespace
        {
            namespace.mend();
        }
    }

    /// Cuts it off from everything else until `go_on`; returns whether it has a network of its own.
    pub(crate) fn cut_off(&mut self) -> bool {
        let Some(namespace) = &self.ways.namespace else { return false };
        namespace.cut();
        self.is_cut_off = true;
        true
    }

    /// Ends it in good order; how, and how long it took.
    pub(crate) async fn terminate(&mut self) -> Option<(ExitStatus, Duration)> {
        let began = Instant::now();
        self.signal(Signal::TERM);
        let mut child = self.child.take()?;
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        Some((ended, began.elapsed()))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The program of a replica: the one of this package, or those of `FRESHMAKER_CAMPAIGN_PROGRAMS` in
/// turn, such as one of an older version beside one of this version.
pub(crate) fn program(number: usize) -> PathBuf {
    let given = std::env::var_os("FRESHMAKER_CAMPAIGN_PROGRAMS");
    let given: Vec<_> = given.iter().flat_map(std::env::split_paths).collect();
    given.get(number % given.len().max(1)).cloned().unwrap_or_else(|| env!("CARGO_BIN_EXE_container_rebuilds").into())
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended. A stopped process dies of this, too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
