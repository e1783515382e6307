//! Networks of their own for the replicas, joined to this machine by one cable each.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace; a process in it reaches this machine by [`host`](Self::host) only.
pub(crate) struct Namespace {
    name: String,
    /// The end of the cable on this machine.
    cable: String,
    /// The address of this machine, as seen from within.
    pub(crate) host: String,
}

impl Namespace {
    /// `None`, and says so, if this user may not make any.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = format!("fm{process}n{number}");
        // Addresses that are for tests of networks.
        let at = |last: u32| format!("198.18.{}.{}", process % 256, number % 64 * 4 + last);
        let namespace = Self { cable: format!("fm{process}c{number}"), host: at(1), name: name.clone() };
        let cable = namespace.cable.clone();
        let steps = [
            format!("netns add {name}"),
            format!("link add {cable} type veth peer name eth0 netns {name}"),
            format!("addr add {}/30 dev {cable}", at(1)),
            format!("link set {cable} up"),
            format!("-n {name} addr add {}/30 dev eth0", at(2)),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
        ];
        for step in steps {
            if let Err(said) = ip(&step) {
                eprintln!("*** PARTITIONS BETWEEN NETWORK NAMESPACES WERE NOT TESTED: ip {step}: {said} ***");
                return None;
            }
        }
        Some(namespace)
    }

    /// A command that runs within.
    pub(crate) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Cuts the cable: connections stay as they are, and nothing passes any more.
    pub(crate) fn cut(&self) {
        ip(&format!("link set {} down", self.cable)).unwrap();
    }

    pub(crate) fn mend(&self) {
        ip(&format!("link set {} up", self.cable)).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with it. One that could not be made is not there.
        drop(ip(&format!("netns del {}", self.name)));
    }
}

fn ip(words: &str) -> Result<(), String> {
    let done = Command::new("ip").args(words.split(' ')).output();
    let Output { status, stderr, .. } = done.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&stderr).trim().to_owned()) }
}
