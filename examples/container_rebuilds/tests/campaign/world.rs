//! Everything around the replicas: a database, a broker, a hub with a ledger, and who asks.

use crate::replicas::{Replica, Ways, program};
use crate::told::Told;
use freshmaker::Message;
use freshmaker::backend::{Bus, Remedy};
use freshmaker::client::Client;
use freshmaker::engine::SystemClock;
use freshmaker_amqp::{AmqpBus, AmqpConfig};
use freshmaker_redhat::fakes::koji::{Fate, Hub, Trouble};
use freshmaker_sql::{PostgresConfig, PostgresStorage, PostgresTls};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::broker::Node;
use test_support::postgres::Cluster;

/// The number of replicas.
const REPLICAS: usize = 3;

/// The most tasks that may be live at the hub, over all replicas.
pub(crate) const SLOTS: usize = 12;

/// The number of groups of images: a base, two on it, and one on both.
const GROUPS: usize = 12;

pub(crate) struct World {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) hub: Hub,
    pub(crate) broker: Arc<Node>,
    pub(crate) cluster: Arc<Cluster>,
    /// A look at the database that no fault concerns.
    pub(crate) client: Client,
    pub(crate) told: Told,
    pub(crate) directory: tempfile::TempDir,
    bus: AmqpBus,
    /// The messages that the broker has taken.
    pub(crate) sent: Vec<String>,
    random: fastrand::Rng,
}

/// Waits in real time, as processes do.
pub(crate) async fn pass(time: Duration) {
    drop(tokio::time::timeout(time, std::future::pending::<()>()).await);
}

impl World {
    /// `None`, and says so, if something is missing.
    pub(crate) async fn new(seed: u64) -> Option<Self> {
        let cluster = Arc::new(Cluster::start()?);
        let broker = Arc::new(Node::start()?);
        let hub = hub(seed).await;
        let directory = tempfile::tempdir().unwrap();
        let prefix = format!("org.example.campaign{}", fastrand::u64(..));
        let told = Told::listen(&broker.url(), &prefix).await;
        let mut publishing = AmqpConfig::new(&broker.url()).unwrap();
        publishing.topic_prefix.clone_from(&prefix);
        let hub_at = hub.url().split('/').nth(2).unwrap().to_owned();
        let place = Place { directory: directory.path(), prefix: &prefix, hub: &hub, hub_at: &hub_at };
        let mut replicas = Vec::new();
        for number in 0..REPLICAS {
            let name = format!("replica-{number}");
            let ways = Ways::to(cluster.address(), broker.address(), hub_at.clone()).await;
            let config = place.write(&name, &ways);
            replicas.push(Replica::new(&name, program(number), directory.path(), config, ways));
        }
        let storage = PostgresStorage::new(&database(&cluster.address())).unwrap();
        Some(Self {
            replicas,
            hub,
            broker,
            cluster,
            client: Client::new(Arc::new(storage)),
            told,
            bus: AmqpBus::new(publishing).unwrap(),
            sent: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            directory,
        })
    }

    /// Asks for the images of a group; what the broker has confirmed counts.
    pub(crate) async fn ask(&mut self) {
        let id = format!("{:08x}-0000-4000-8000-{:012x}", self.random.u32(..), self.sent.len());
        let image = format!("registry.example.org/base{}:40", self.random.usize(..GROUPS));
        let body = serde_json::json!({ "container_images": [image], "errata_id": 7 }).to_string().into_bytes();
        let topic = "freshmaker.manual.rebuild".into();
        let message = Message { id: id.clone(), topic, headers: Default::default(), body };
        // The broker may be away; the same message again is no other one.
        while let Err(error) = self.bus.publish(&message).await {
            assert_ne!(error.remedy, Remedy::Rejected, "{error}");
            pass(Duration::from_millis(500)).await;
        }
        self.sent.push(id);
    }

    /// Starts all, and waits until they take messages.
    pub(crate) async fn start(&mut self) {
        self.replicas.iter_mut().for_each(Replica::revive);
        let begun = Instant::now();
        // What is published before the queue is there is lost.
        let listening = |replica: &Replica| replica.log().contains("consuming");
        while !self.replicas.iter().any(listening) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody listens: {}", self.logs());
            pass(Duration::from_millis(50)).await;
            self.replicas.iter_mut().for_each(Replica::revive);
        }
    }

    /// The last lines of all logs.
    pub(crate) fn logs(&self) -> String {
        let last = |replica: &Replica| {
            let log = replica.log();
            let lines: Vec<_> = log.lines().rev().take(15).collect();
            format!("--- {}\n{}\n", replica.name, lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        self.replicas.iter().map(last).collect()
    }
}

pub(crate) fn database(address: &str) -> PostgresConfig {
    let mut config = PostgresConfig::new(format!("postgresql://freshmaker@{address}/postgres"));
    config.tls = PostgresTls::Disable;
    config
}

/// A hub that takes its time, and now and then loses a request or an answer.
async fn hub(seed: u64) -> Hub {
    let hub = Hub::start(Arc::new(SystemClock)).await.unwrap();
    hub.add_user("freshmaker", "hush-hush");
    hub.add_target("f40-containers");
    let mut random = fastrand::Rng::with_seed(seed);
    hub.script(move |_| {
        let takes = Duration::from_millis(random.u64(50..1500));
        Some(Fate::succeeds().taking(takes).with_version("40"))
    });
    let mut random = fastrand::Rng::with_seed(seed ^ 1);
    hub.sabotage(move |_, _| match random.u32(..60) {
        0 => Some(Trouble::RequestLost),
        1 => Some(Trouble::AnswerLost),
        2 => Some(Trouble::Status(503)),
        _ => None,
    });
    hub
}

/// Where the files of a replica are, and what they name.
struct Place<'a> {
    directory: &'a Path,
    prefix: &'a str,
    hub: &'a Hub,
    /// Where the hub listens.
    hub_at: &'a str,
}

impl Place<'_> {
    /// Writes the configuration of a replica; all have the same, but for their ways.
    fn write(&self, name: &str, ways: &Ways) -> PathBuf {
        let Self { directory, prefix, hub, hub_at } = self;
        let through = |url: String| url.replace(hub_at, &ways.hub.address.to_string());
        let write = |file: &str, text: &str| std::fs::write(directory.join(file), text).unwrap();
        write(
            &format!("{name}-koji.conf"),
            &format!(
                "[test]\nserver = {}\ntopurl = {}\nauthtype = password\nuser = freshmaker\npassword = hush-hush\n",
                through(hub.url()),
                through(hub.files_url())
            ),
        );
        write("catalog.toml", &catalog());
        let url = format!("amqp://guest:guest@{}/%2f", ways.broker.address);
        write(
            &format!("{name}-fedora_messaging.toml"),
            &format!(
                "amqp_url = \"{url}\"\ntopic_prefix = \"{prefix}\"\n[queues.\"{prefix}\"]\ndurable = true\nauto_delete = false\nexclusive = false\n\
             arguments = {{ x-expires = 600000 }}\n[[bindings]]\nqueue = \"{prefix}\"\nexchange = \"amq.topic\"\nrouting_keys = [\"nothing\"]\n"
            ),
        );
        let file = directory.join(format!("{name}.toml"));
        let text = format!(
            "catalog = \"catalog.toml\"\ntopic_prefixes = [\"{prefix}\"]\n\
             [fedora_messaging]\nfile = \"{name}-fedora_messaging.toml\"\n\
             [koji]\nfile = \"{name}-koji.conf\"\nprofile = \"test\"\npoll_s = 1\nsettle_s = 2\nslots = {SLOTS}\n\
             [storage]\nreplica = \"{name}\"\n\
             [storage.postgres]\nurl = \"postgresql://freshmaker@{}/postgres\"\ntls = \"disable\"\n\
             connect_timeout = 3\nstatement_timeout = 10\n",
            ways.database.address
        );
        std::fs::write(&file, text).unwrap();
        file
    }
}

fn catalog() -> String {
    let image = |name: String, parents: &[String]| {
        let parents: Vec<_> = parents.iter().map(|parent| format!("\"registry.example.org/{parent}:40\"")).collect();
        format!(
            "[[artifact]]\nname = \"registry.example.org/{name}:40\"\nkind = \"image\"\nsystem = \"koji\"\ntarget = \"f40-containers\"\n\
             source = \"https://src.example.org/containers/{name}\"\nrevision = \"4f2c1a\"\n\
             parameters = {{ release = \"1\", git_branch = \"f40\" }}\nparents = [{}]\n",
            parents.join(", ")
        )
    };
    let group = |number: usize| {
        let [base, left, right] = ["base", "left", "right"].map(|name| format!("{name}{number}"));
        let middle = [left.clone(), right.clone()];
        let parts = [
            image(base.clone(), &[]),
            image(left, std::slice::from_ref(&base)),
            image(right, &[base]),
            image(format!("top{number}"), &middle),
        ];
        parts.concat()
    };
    (0..GROUPS).map(group).collect()
}
