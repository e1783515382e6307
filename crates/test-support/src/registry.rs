//! The registry of the Debian package `docker-registry` (2.8).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How often a registry is asked whether it is there, and the pause between two questions.
const TRIES: u32 = 600;
const PAUSE: Duration = Duration::from_millis(50);

/// A registry on a port of this machine, without TLS. It stops when it is dropped.
#[derive(Debug)]
pub struct Registry {
    process: Option<Child>,
    /// The name of the registry in references: its address.
    pub name: String,
    directory: PathBuf,
}

impl Registry {
    /// Starts an empty registry that keeps everything in this directory; `None` if the program is
    /// not installed.
    pub fn start(directory: impl Into<PathBuf>) -> Option<Self> {
        let directory = directory.into();
        // Another program may take the port before the registry does: then it ends, and the next
        // port is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
            let name = format!("127.0.0.1:{port}");
            let mut registry = Self { process: None, name, directory: directory.clone() };
            match registry.run() {
                Ok(true) => return Some(registry),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    crate::services::missing("docker-registry (Debian package `docker-registry`)");
                    return None;
                }
                Err(error) => panic!("docker-registry: {error}"),
            }
        }
        panic!("docker-registry does not start");
    }

    /// Stops the registry; what it has stays.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again, under the same name; returns whether it answers.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn run(&mut self) -> io::Result<bool> {
        let config = self.directory.join("config.yml");
        let root = self.directory.join("data");
        // JSON is YAML.
        let text = serde_json::json!({ "version": "0.1", "log": { "level": "error", "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": root } }, "http": { "addr": self.name } });
        std::fs::write(&config, text.to_string())?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = self.process.insert(command.spawn()?);
        for _ in 0..TRIES {
            if process.try_wait()?.is_some() {
                return Ok(false);
            }
            if answers(&self.name) {
                return Ok(true);
            }
            thread::sleep(PAUSE);
        }
        Ok(false)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answers(address: &str) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 200 "))
}
