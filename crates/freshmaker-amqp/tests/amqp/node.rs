//! A broker of our own, which can be killed and starved.

use crate::world::{World, eventually, message, soon};
use freshmaker::backend::{Bus, Remedy};
use freshmaker_amqp::{AmqpBus, TlsFiles};
use lapin::{Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use test_support::certificates;
use test_support::missing;

/// Where distributions have the programs themselves, without wrappers that change the user.
const PROGRAMS: [&str; 2] = ["/usr/lib/rabbitmq/bin", "/usr/local/lib/rabbitmq/bin"];

pub(crate) struct Node {
    programs: &'static Path,
    pub(crate) home: TempDir,
    port: u16,
    pub(crate) tls_port: u16,
    dist_port: u16,
    process: Child,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Node {
    async fn start() -> Option<Self> {
        let Some(programs) = PROGRAMS.into_iter().map(Path::new).find(|path| path.join("rabbitmq-server").exists())
        else {
            missing("rabbitmq-server is not installed");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        let (port, tls_port, dist_port) = (free_port(), free_port(), free_port());
        certificates::make(home.path());
        configure(home.path(), tls_port);
        let process = Self::command(programs, "rabbitmq-server", home.path(), port, dist_port).spawn().unwrap();
        let node = Self { programs, home, port, tls_port, dist_port, process };
        node.ready().await;
        Some(node)
    }

    fn command(programs: &Path, program: &str, home: &Path, port: u16, dist_port: u16) -> Command {
        let mut command = Command::new(programs.join(program));
        let at = |name: &str| -> PathBuf { home.join(name) };
        command
            .env("HOME", home)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("freshmaker-test-{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", dist_port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_MNESIA_BASE", at("data"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", at("none.sh"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .current_dir(home)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    async fn ready(&self) {
        let url = self.url();
        let answers = async || Connection::connect(&url, ConnectionProperties::default()).await.is_ok();
        // It takes 11 seconds alone, and more beside other tests.
        for _ in 0..2 {
            let ready = eventually("the node is there", answers);
            if futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(ready)).await.is_ok() {
                return;
            }
        }
        panic!("the node did not start");
    }

    fn kill(&mut self) {
        let group = Pid::from_child(&self.process);
        kill_process_group(group, Signal::KILL).unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        let mut command = Self::command(self.programs, "rabbitmq-server", self.home.path(), self.port, self.dist_port);
        self.process = command.spawn().unwrap();
    }

    /// What `rabbitmqctl` prints.
    pub(crate) async fn control(&self, arguments: &'static [&'static str]) -> String {
        let mut command = Self::command(self.programs, "rabbitmqctl", self.home.path(), self.port, self.dist_port);
        command.arg("--quiet").args(arguments).stdout(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "rabbitmqctl {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_may_be_killed_and_starved_and_asked_for_a_certificate() {
    let Some(mut node) = Node::start().await else { return };
    let Some(world) = World::at(&node.url(), "node").await else { return };
    let mut config = world.config_at(&node.url());
    config.confirm_timeout = Duration::from_secs(3);
    // What goes out comes in again.
    config.publish_exchange = world.exchange();
    let bus = AmqpBus::new(config).unwrap();
    world.prepare(&bus).await;
    killed(&mut node, &bus).await;
    starved(&node, &bus).await;
    over_tls(&node, &world).await;
    crate::listener::listens(&node).await;
}

/// Publishes and receives while the broker is killed and started again: whatever it confirmed
/// comes.
async fn killed(node: &mut Node, bus: &AmqpBus) {
    const COUNT: usize = 600;
    let confirmed = AtomicU32::new(0);
    let publish = async {
        for n in 0..COUNT {
            let message = message(&n.to_string(), b"{}");
            while let Err(error) = bus.publish(&message).await {
                assert!(matches!(error.remedy, Remedy::Unclear | Remedy::Unavailable), "{error}");
            }
            confirmed.fetch_add(1, Ordering::SeqCst);
        }
    };
    let receive = async {
        let mut came = BTreeSet::new();
        while came.len() < COUNT {
            let deliveries = bus.receive(20).await.unwrap();
            came.extend(deliveries.iter().map(|delivery| delivery.message.id.clone()));
            bus.acknowledge(&deliveries.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).await.unwrap();
        }
    };
    let kill = async {
        eventually("some are confirmed", async || confirmed.load(Ordering::SeqCst) >= 100).await;
        node.kill();
        let before = confirmed.load(Ordering::SeqCst);
        assert!((before as usize) < COUNT, "it was killed too late to disturb anybody");
        node.start_again();
    };
    let all = async { tokio::join!(publish, receive, kill) };
    assert!(tokio::time::timeout(Duration::from_secs(75), all).await.is_ok(), "not everything came");
}

/// While the broker has no memory, publications fail in time, and acknowledgements do not.
async fn starved(node: &Node, bus: &AmqpBus) {
    bus.publish(&message("before", b"{}")).await.unwrap();
    node.control(&["set_vm_memory_high_watermark", "0"]).await;
    let first = bus.publish(&message("first", b"{}")).await.unwrap_err();
    assert!(matches!(first.remedy, Remedy::Unclear | Remedy::Unavailable), "{first}");
    let second = bus.publish(&message("second", b"{}")).await.unwrap_err();
    assert_eq!(second.remedy, Remedy::Unavailable, "{second}");
    assert!(second.text.contains("blocks"), "{second}");
    let mut came = soon("a message", bus.receive(1)).await.unwrap();
    while came[0].message.id != "before" {
        bus.acknowledge(&[came[0].tag]).await.unwrap();
        came = soon("a message", bus.receive(1)).await.unwrap();
    }
    soon("an acknowledgement", bus.acknowledge(&[came[0].tag])).await.unwrap();
    node.control(&["set_vm_memory_high_watermark", "0.4"]).await;
    eventually("it is published again", async || bus.publish(&message("after", b"{}")).await.is_ok()).await;
}

/// The broker shows its certificate and asks for ours, which says who we are.
async fn over_tls(node: &Node, world: &World) {
    let at = |name: &str| Some(node.home.path().join(name));
    let url = format!("amqps://localhost:{}/%2f", node.tls_port);
    let with = |tls: TlsFiles| {
        let mut config = world.config_at(&url);
        (config.confirm_timeout, config.tls) = (Duration::from_secs(5), tls);
        AmqpBus::new(config).unwrap()
    };
    let files = TlsFiles { ca: at("ca.pem"), client_cert: at("client.pem"), client_key: at("client.key") };
    let bus = with(files.clone());
    soon("a confirmation", bus.publish(&message("sealed", b"{}"))).await.unwrap();
    let connections = node.control(&["list_connections", "auth_mechanism", "ssl"]).await;
    assert!(connections.contains("EXTERNAL\ttrue"), "{connections}");
    assert!(bus.check().await[0].outcome.is_ok());

    // The certificate counts, whatever the URL says.
    for login in ["guest:wr0ng@", "nobody:@", "nobody@"] {
        let mut config = world.config_at(&url.replacen("amqps://", &format!("amqps://{login}"), 1));
        config.tls = files.clone();
        let bus = AmqpBus::new(config).unwrap();
        soon("a confirmation", bus.publish(&message("named", b"{}"))).await.unwrap();
    }

    // A server that nobody vouches for is not spoken to.
    let error = with(TlsFiles::default()).publish(&message("open", b"{}")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
    assert!(error.text.contains("certificate"), "{error}");
    let other = with(TlsFiles { ca: at("client.pem"), ..files });
    assert!(other.publish(&message("open", b"{}")).await.is_err());
}

/// A broker that shows and wants certificates.
fn configure(directory: &Path, tls_port: u16) {
    let at = |name: &str| directory.join(name).display().to_string();
    let text = format!(
        "listeners.ssl.1 = 127.0.0.1:{tls_port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n\
         ssl_cert_login_from = common_name\nauth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\n",
        at("ca.pem"),
        at("server.pem"),
        at("server.key"),
    );
    std::fs::write(directory.join("rabbitmq.conf"), text).unwrap();
    std::fs::write(directory.join("plugins"), "[rabbitmq_auth_mechanism_ssl].\n").unwrap();
}
