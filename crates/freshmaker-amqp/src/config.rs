use super::file;
use freshmaker::backend::{Error, Remedy, Result};
use lapin::uri::{AMQPScheme, AMQPUri};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of an exchange or a queue, by name.
pub type Arguments = BTreeMap<String, serde_json::Value>;

/// An exchange to be declared.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeConfig {
    /// `topic`, `direct`, `fanout`, `headers`, or the type of a plugin.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it survives a restart of the broker.
    #[serde(default)]
    pub durable: bool,
    /// Whether it goes when the last queue is unbound from it.
    #[serde(default)]
    pub auto_delete: bool,
    /// Further arguments.
    #[serde(default)]
    pub arguments: Arguments,
}

/// A queue to be declared.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Whether it survives a restart of the broker.
    pub durable: bool,
    /// Whether it goes, with all messages in it, when nobody consumes from it any more.
    pub auto_delete: bool,
    /// Whether only one connection may use it; it goes when that does.
    pub exclusive: bool,
    /// Further arguments.
    pub arguments: Arguments,
}

impl QueueConfig {
    /// A queue that outlives everybody who uses it. An engine wants this one.
    #[must_use]
    pub fn durable() -> Self {
        Self { durable: true, auto_delete: false, exclusive: false, arguments: Arguments::new() }
    }

    /// A queue that goes with the connection.
    #[must_use]
    pub fn transient() -> Self {
        Self { durable: false, auto_delete: true, exclusive: true, arguments: Arguments::new() }
    }
}

/// Which messages of an exchange go to a queue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The queue; the one that is consumed, if not set.
    pub queue: Option<String>,
    /// The exchange.
    pub exchange: String,
    /// Patterns of topics: `*` is one word, `#` any number of them.
    pub routing_keys: Vec<String>,
}

/// The files for a connection over TLS, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// Authorities that are trusted; those of the system, if not set.
    pub ca_cert: Option<PathBuf>,
    /// Private key of the client.
    pub keyfile: Option<PathBuf>,
    /// Certificate of the client.
    pub certfile: Option<PathBuf>,
}

/// Where the broker is, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) uri: AMQPUri,
    pub(super) has_password: bool,
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        // The text of the error must not have the password.
        let mut uri: AMQPUri = url.parse().map_err(|error| format!("this is no URL of a broker: {error}"))?;
        let authority = url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // The parser knows no addresses in brackets, and would speak to this machine instead.
        if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            uri.authority.host = address.to_owned();
        }
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        Ok(Self { uri, has_password: user.contains(':') })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let slash = if vhost.starts_with('/') { "" } else { "/" };
        write!(f, "{scheme}://{}:{}{slash}{vhost}", authority.host, authority.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// How an [`AmqpBus`](super::AmqpBus) bus reaches its broker, and what it declares there.
///
/// Everything that the configuration file of the reference client of Fedora Messaging has is read from that file as it is, see
/// [`read`](Self::read); the defaults are those of the reference client. What only this bus has is read from the table
/// `[consumer_config.freshmaker]`, which the reference client leaves to the program.
///
/// ```
/// use freshmaker_amqp::{AmqpConfig, QueueConfig};
/// use std::time::Duration;
///
/// let text = r#"
///     amqp_url = "amqps://rabbitmq.example.org/%2Fpublic_pubsub"
///     topic_prefix = "org.example.prod"
///
///     [tls]
///     ca_cert = "/etc/fedora-messaging/cacert.pem"
///     keyfile = "/etc/fedora-messaging/key.pem"
///     certfile = "/etc/fedora-messaging/cert.pem"
///
///     [queues.freshmaker]
///     durable = true
///     auto_delete = false
///     exclusive = false
///     arguments = {}
///
///     [[bindings]]
///     queue = "freshmaker"
///     exchange = "amq.topic"
///     routing_keys = ["org.fedoraproject.prod.buildsys.#"]
///
///     [qos]
///     prefetch_size = 0
///     prefetch_count = 500
///
///     [consumer_config.freshmaker]
///     confirm_timeout = 20
/// "#;
/// let read = AmqpConfig::parse(text, "config.toml")?;
/// assert_eq!(read.confirm_timeout, Duration::from_secs(20));
///
/// let built = AmqpConfig::new("amqp://rabbitmq.example.org/%2F")?
///     .with_queue("freshmaker", QueueConfig::durable())
///     .bind(["org.fedoraproject.prod.buildsys.#"])
///     .with_prefetch(500);
/// assert_eq!(built.bindings, read.bindings);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AmqpConfig {
    pub(super) endpoint: Endpoint,
    /// What the broker shows of this client, besides product and version.
    pub client_properties: BTreeMap<String, String>,
    /// Files for TLS.
    pub tls: TlsFiles,
    /// Set before each topic that is published, with a dot between.
    pub topic_prefix: String,
    /// Where messages are published.
    pub publish_exchange: String,
    /// Priority of published messages, from 0.
    pub publish_priority: u8,
    /// Whether a message that no queue is bound for is an error ([`NotNow`](Remedy::NotNow)). Usually it is not: a topic exchange is a place
    /// to speak, whether anybody listens or not.
    pub mandatory: bool,
    /// Whether exchanges and queues must be there already.
    pub passive_declares: bool,
    /// Exchanges to be declared, by name.
    pub exchanges: BTreeMap<String, ExchangeConfig>,
    /// Queues to be declared, by name.
    pub queues: BTreeMap<String, QueueConfig>,
    /// The queue that is consumed.
    pub queue: String,
    /// Which messages go to which queue.
    pub bindings: Vec<Binding>,
    /// So many messages, at least one, are held unacknowledged. Twice what is received at once keeps both sides busy.
    pub prefetch: u16,
    /// After so many deliveries without an acknowledgement the broker gives a message up; makes the queue a quorum queue.
    pub delivery_limit: Option<u32>,
    /// Where messages go that were given up or refused: this exchange, and the queue with `.dead` behind the name of the consumed one.
    pub dead_letter_exchange: Option<String>,
    /// Messages with a longer body, in bytes, are refused.
    pub body_bytes_max: usize,
    /// How long a publication may take until the broker confirms it.
    pub confirm_timeout: Duration,
    /// How long received messages may wait for somebody to take them before no more are asked for.
    pub stall_timeout: Duration,
    /// Pause before the first new connection.
    pub reconnect_min: Duration,
    /// Longest pause between two connections.
    pub reconnect_max: Duration,
    /// Seed of the spread of these pauses; by chance, if not set.
    pub seed: Option<u64>,
}

impl AmqpConfig {
    /// The broker at this URL, everything else as the reference client has it: a queue of its own that goes with the connection, bound to all
    /// messages of `amq.topic`.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if this is no URL with `amqp` or `amqps`.
    pub fn new(url: &str) -> Result<Self> {
        let endpoint = Endpoint::parse(url).map_err(|text| Error::new(Remedy::Unsupported, "amqp", text))?;
        let topic =
            ExchangeConfig { kind: "topic".to_owned(), durable: true, auto_delete: false, arguments: Arguments::new() };
        let queue = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid().to_string();
        Ok(Self {
            endpoint,
            client_properties: BTreeMap::new(),
            tls: TlsFiles::default(),
            topic_prefix: String::new(),
            publish_exchange: "amq.topic".to_owned(),
            publish_priority: 0,
            mandatory: false,
            passive_declares: false,
            exchanges: BTreeMap::from([("amq.topic".to_owned(), topic)]),
            queues: BTreeMap::from([(queue.clone(), QueueConfig::transient())]),
            queue,
            bindings: vec![Binding {
                queue: None,
                exchange: "amq.topic".to_owned(),
                routing_keys: vec!["#".to_owned()],
            }],
            prefetch: 10,
            delivery_limit: None,
            dead_letter_exchange: None,
            body_bytes_max: 64 << 20,
            confirm_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
            seed: None,
        })
    }

    /// Reads the configuration file of the reference client. Keys that only concern its own program (`callback`, `log_config`, `monitoring`,
    /// the rest of `consumer_config`) are accepted and not used.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), with file and line, for what is no TOML, an unknown key, or a value that makes no sense.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| Error::new(Remedy::Unsupported, place.as_str(), error))?;
        Self::parse(&text, &place)
    }

    /// The same as [`read`](Self::read), from a text; `place` names it in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        file::parse(text, place)
    }

    /// The same with this one queue, which is consumed.
    #[must_use]
    pub fn with_queue(mut self, name: impl Into<String>, queue: QueueConfig) -> Self {
        self.queue = name.into();
        self.queues = BTreeMap::from([(self.queue.clone(), queue)]);
        for binding in &mut self.bindings {
            binding.queue = None;
        }
        self
    }

    /// The same with this exchange, to which messages are published, and from which the bindings take them.
    #[must_use]
    pub fn with_exchange(mut self, name: impl Into<String>, exchange: ExchangeConfig) -> Self {
        self.publish_exchange = name.into();
        self.exchanges = BTreeMap::from([(self.publish_exchange.clone(), exchange)]);
        for binding in &mut self.bindings {
            binding.exchange.clone_from(&self.publish_exchange);
        }
        self
    }

    /// The same, with exactly these topics going to the consumed queue. The exchange is that of its first binding, else the one that is
    /// published to. For an engine, the topics that its parsers read.
    #[must_use]
    pub fn bind<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        let (own, mut others): (Vec<_>, Vec<_>) =
            self.bindings.drain(..).partition(|binding| binding.queue.as_ref().is_none_or(|name| *name == self.queue));
        let exchange = own.into_iter().next().map_or_else(|| self.publish_exchange.clone(), |binding| binding.exchange);
        let routing_keys = topics.into_iter().map(Into::into).collect();
        others.push(Binding { queue: None, exchange, routing_keys });
        self.bindings = others;
        self
    }

    /// The same with another [`topic_prefix`](Self::topic_prefix).
    #[must_use]
    pub fn with_topic_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.topic_prefix = prefix.into();
        self
    }

    /// The same with other files for TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsFiles) -> Self {
        self.tls = tls;
        self
    }

    /// The same with another [`prefetch`](Self::prefetch).
    #[must_use]
    pub fn with_prefetch(mut self, prefetch: u16) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// The same with a quorum queue, of which each message is delivered so many times at most. Needs a durable queue.
    #[must_use]
    pub fn with_delivery_limit(mut self, deliveries: u32) -> Self {
        self.delivery_limit = Some(deliveries);
        self
    }

    /// The same, with messages that were given up or refused going to this exchange, and to a queue of their own.
    #[must_use]
    pub fn with_dead_letter_exchange(mut self, exchange: impl Into<String>) -> Self {
        self.dead_letter_exchange = Some(exchange.into());
        self
    }

    /// The same, with a message that no queue is bound for being an error.
    #[must_use]
    pub fn with_mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// The same with another [`body_bytes_max`](Self::body_bytes_max).
    #[must_use]
    pub fn with_body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// The same with another [`confirm_timeout`](Self::confirm_timeout).
    #[must_use]
    pub fn with_confirm_timeout(mut self, timeout: Duration) -> Self {
        self.confirm_timeout = timeout;
        self
    }

    /// The same with another [`stall_timeout`](Self::stall_timeout).
    #[must_use]
    pub fn with_stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    /// The same with other pauses between connections: the first one, and the longest.
    #[must_use]
    pub fn with_reconnect(mut self, min: Duration, max: Duration) -> Self {
        self.reconnect_min = min;
        self.reconnect_max = max;
        self
    }

    /// The same with a fixed [`seed`](Self::seed).
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where an error comes from.
    pub(super) fn place(&self, of: &str) -> String {
        format!("{}: {of}", self.endpoint)
    }

    /// The queue for dead letters.
    pub(super) fn dead_letter_queue(&self) -> String {
        format!("{}.dead", self.queue)
    }

    /// What cannot work, found before anybody is asked.
    pub(super) fn check(&self) -> Result<(), String> {
        let bound =
            |name: &str| if name.len() > 255 { Err(format!("{name:.40}… is longer than 255 bytes")) } else { Ok(()) };
        if self.prefetch == 0 {
            return Err("prefetch_count must be at least 1: 0 would let the broker fill the memory".to_owned());
        }
        let Some(queue) = self.queues.get(&self.queue) else {
            return Err(format!(
                "the queue {:?} is to be consumed, and there is no [queues.{:?}]",
                self.queue, self.queue
            ));
        };
        if self.delivery_limit.is_some() && (!queue.durable || queue.auto_delete || queue.exclusive) {
            return Err(format!(
                "a delivery limit needs a queue that is durable, not auto_delete and not exclusive: {:?}",
                self.queue
            ));
        }
        if self.reconnect_min.is_zero() || self.reconnect_max < self.reconnect_min {
            return Err(
                "the pauses between connections must be longer than nothing, and the longest not below the first"
                    .to_owned(),
            );
        }
        if self.tls.certfile.is_some() != self.tls.keyfile.is_some() {
            return Err("[tls] needs both certfile and keyfile, or neither".to_owned());
        }
        let names = [&self.publish_exchange, &self.queue].into_iter().chain(&self.dead_letter_exchange);
        let names = names.chain(self.exchanges.keys()).chain(self.queues.keys());
        let bindings = self.bindings.iter();
        let bindings =
            bindings.flat_map(|binding| binding.routing_keys.iter().chain(&binding.queue).chain([&binding.exchange]));
        let types = self.exchanges.values().map(|exchange| &exchange.kind);
        let arguments = self.queues.values().map(|queue| &queue.arguments);
        let arguments = arguments.chain(self.exchanges.values().map(|exchange| &exchange.arguments));
        let keys = arguments.flat_map(|arguments| arguments.keys()).chain(self.client_properties.keys());
        names.chain(bindings).chain(types).chain(keys).try_for_each(|name| bound(name))?;
        bound(&self.dead_letter_queue())
    }
}
