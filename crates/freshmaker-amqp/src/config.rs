use super::file;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::time::Timestamp;
use freshmaker_net::{TlsFiles, client_config};
use lapin::uri::{AMQPScheme, AMQPUri};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Arguments of an exchange or a queue by name, such as `x-queue-type`.
pub type Arguments = BTreeMap<String, serde_json::Value>;

/// An exchange to declare.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeConfig {
    /// Type of the exchange: `topic`, `direct`, `fanout`, `headers`, or a type that a plugin adds.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the exchange survives a restart of the broker. Default: `false`.
    #[serde(default)]
    pub durable: bool,
    /// Whether the broker deletes the exchange after the last queue is unbound from it. Default:
    /// `false`.
    #[serde(default)]
    pub auto_delete: bool,
    /// Whether only other exchanges may send messages to the exchange. Default: `false`.
    #[serde(default)]
    pub internal: bool,
    /// Whether the exchange is only looked at, and not created. Default: that of
    /// [`AmqpConfig::passive_declares`].
    pub passive: Option<bool>,
    /// Further arguments of the declaration. Default: none.
    #[serde(default)]
    pub arguments: Arguments,
}

impl ExchangeConfig {
    /// Returns a durable exchange of the type `topic`.
    #[must_use]
    pub fn topic() -> Self {
        Self {
            kind: "topic".to_owned(),
            durable: true,
            auto_delete: false,
            internal: false,
            passive: None,
            arguments: Arguments::new(),
        }
    }
}

/// A queue to declare. All fields but `passive` are required in a configuration file.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Whether the queue survives a restart of the broker.
    pub durable: bool,
    /// Whether the broker deletes the queue, with all its messages, after its last consumer ends.
    pub auto_delete: bool,
    /// Whether only one connection may use the queue; the broker deletes the queue when that
    /// connection closes.
    pub exclusive: bool,
    /// Whether the queue is only looked at, and not created. Default: that of
    /// [`AmqpConfig::passive_declares`].
    pub passive: Option<bool>,
    /// Further arguments of the declaration.
    pub arguments: Arguments,
}

impl QueueConfig {
    /// Returns a durable queue, which exists until it is deleted explicitly. Engines should use
    /// this one, because it collects messages while no engine runs.
    #[must_use]
    pub fn durable() -> Self {
        Self { durable: true, auto_delete: false, exclusive: false, passive: None, arguments: Arguments::new() }
    }

    /// Returns an exclusive queue, which the broker deletes when the connection closes.
    #[must_use]
    pub fn transient() -> Self {
        Self { durable: false, auto_delete: true, exclusive: true, passive: None, arguments: Arguments::new() }
    }
}

/// A binding: routes messages of an exchange with certain topics to a queue.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The queue. Default: the consumed queue.
    pub queue: Option<String>,
    /// The exchange that the messages come from.
    pub exchange: String,
    /// Patterns of topics: `*` matches one word, `#` any number of words.
    pub routing_keys: Vec<String>,
    /// Arguments of the binding, such as `x-match` for an exchange of the type `headers`. Default:
    /// none.
    #[serde(default)]
    pub arguments: Arguments,
}

/// Address of the broker, virtual host, and login.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) uri: AMQPUri,
    login: UrlLogin,
}

/// What a URL says about the login.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UrlLogin {
    /// Neither a user nor a password: those of the reference client, `guest` and `guest`.
    Default,
    /// A user, and a password that is missing or empty.
    UserOnly,
    /// A user and a password.
    Password,
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        // The error text must not contain the password.
        let mut uri: AMQPUri = url.parse().map_err(|error| format!("not a URL of an AMQP broker: {error}"))?;
        let authority = url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // The parser does not support IPv6 addresses in brackets, and would connect to localhost
        // instead.
        if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            uri.authority.host = address.to_owned();
        }
        if uri.authority.port == 0 {
            return Err("not a URL of an AMQP broker: no broker has the port 0".to_owned());
        }
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        let login = match user.split_once(':') {
            None if user.is_empty() => UrlLogin::Default,
            None | Some((_, "")) => UrlLogin::UserOnly,
            Some(_) => UrlLogin::Password,
        };
        if login == UrlLogin::UserOnly {
            // The parser puts in a default.
            uri.authority.userinfo.password.clear();
        }
        Ok(Self { uri, login })
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

/// How an [`AmqpBus`](super::AmqpBus) reaches its broker, and what it declares there.
///
/// [`read`](Self::read) accepts the configuration file of the reference client of Fedora Messaging
/// unchanged; the defaults are those of the reference client. Settings that only this bus has are
/// read from the table `[consumer_config.freshmaker]`, which the reference client leaves to the
/// application.
///
/// # Login
/// Over TLS with a client certificate and its key, the login is by the certificate (SASL mechanism
/// `EXTERNAL`), whatever the URL says, as in the reference client. Otherwise it is by user and
/// password of the URL; a user without a password is an error. A URL with neither means `guest`
/// with the password `guest`, the default of the reference client and of RabbitMQ.
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
/// let mut built = AmqpConfig::new("amqp://rabbitmq.example.org/%2F")?
///     .with_queue("freshmaker", QueueConfig::durable())
///     .bind(["org.fedoraproject.prod.buildsys.#"]);
/// built.prefetch = 500;
/// assert_eq!(built.bindings, read.bindings);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[doc(alias = "rabbitmq")]
#[doc(alias = "fedora-messaging")]
pub struct AmqpConfig {
    pub(super) endpoint: Endpoint,
    /// Client properties that the broker shows, in addition to `product` and `version`, which this
    /// crate sets. A value that is not a text is sent as its JSON text: `["ops@example.org"]`,
    /// `8080`.
    pub client_properties: Arguments,
    /// Whether this bus only receives. Then [`publish`](freshmaker::backend::Bus::publish) always
    /// fails with [`Unsupported`](Remedy::Unsupported), and connects to nothing. Default: `false`.
    pub listen_only: bool,
    /// Files for TLS; used only for URLs with `amqps`.
    pub tls: TlsFiles,
    /// Prefix of each published topic, followed by a dot. Default: empty, which means no prefix and
    /// no dot.
    pub topic_prefix: String,
    /// Exchange that messages are published to. Default: `amq.topic`.
    pub publish_exchange: String,
    /// AMQP priority of published messages, from 0 to 255. Default: 0.
    pub publish_priority: u8,
    /// Whether a published message that matches no binding is an error
    /// ([`NotNow`](Remedy::NotNow)). Default: `false`, because a topic exchange usually accepts
    /// messages whether or not a queue is bound for them.
    pub mandatory: bool,
    /// If set, exchanges and queues are expected to exist and are not created. Default: `false`.
    pub passive_declares: bool,
    /// Exchanges that are needed, by name. One that exists is used as it is, whatever its type;
    /// this needs no permission. One that does not exist is created. Default: `amq.topic`.
    pub exchanges: BTreeMap<String, ExchangeConfig>,
    /// Queues to declare, by name. Default: one transient queue with a random name.
    pub queues: BTreeMap<String, QueueConfig>,
    /// Name of the consumed queue; it must be a key of `queues`.
    pub queue: String,
    /// Bindings to declare. Default: all messages of `amq.topic` go to the consumed queue.
    pub bindings: Vec<Binding>,
    /// Largest number of unacknowledged messages, at least 1. Default: 10. Set it to twice the
    /// number of messages per [`receive`](freshmaker::backend::Bus::receive), so that the next
    /// batch arrives while one is handled.
    pub prefetch: u16,
    /// Number of deliveries without an acknowledgement after which the broker drops a message or
    /// makes it a dead letter. If set, the consumed queue is declared as a quorum queue, and must
    /// be durable, not `auto_delete` and not exclusive. Default: none.
    pub delivery_limit: Option<u32>,
    /// Exchange for dead letters of the consumed queue: messages that were refused or reached the
    /// delivery limit. The bus also declares a durable queue for them, whose name is that of the
    /// consumed queue with `.dead` appended. Default: none, which means that the broker drops them.
    pub dead_letter_exchange: Option<String>,
    /// Longest time to establish a connection, login included. Default: 30 s.
    pub connect_timeout: Duration,
    /// Largest accepted body in bytes; larger messages are refused. Default: 64 MiB.
    pub body_bytes_max: usize,
    /// Longest time from the call of a publication to the confirmation of the broker, including the
    /// time to connect. Also bounds an acknowledgement. Default: 15 s.
    pub confirm_timeout: Duration,
    /// How long received messages may wait for a call of
    /// [`receive`](freshmaker::backend::Bus::receive) before the bus stops consuming.
    /// Default: 30 s.
    pub stall_timeout: Duration,
    /// Back-off before the first reconnect. It doubles with each failure, up to `reconnect_max`,
    /// and a random part of up to one half is taken off. Default: 1 s; must not be zero.
    pub reconnect_min: Duration,
    /// Longest back-off between two connections. Default: 30 s; must be at least `reconnect_min`.
    pub reconnect_max: Duration,
    /// Seed of the random part of the back-off. Default: none, which means a random seed.
    pub seed: Option<u64>,
}

impl AmqpConfig {
    /// Creates a configuration for the broker at this URL, with the defaults of the reference
    /// client: a transient queue with a random name, bound to all messages of `amq.topic`.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if `url` is not a URL with the scheme `amqp` or
    /// `amqps`.
    pub fn new(url: &str) -> Result<Self> {
        let endpoint = Endpoint::parse(url).map_err(|text| Error::new(Remedy::Unsupported, "amqp", text))?;
        let queue = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid().to_string();
        Ok(Self {
            endpoint,
            client_properties: Arguments::new(),
            listen_only: false,
            tls: TlsFiles::default(),
            topic_prefix: String::new(),
            publish_exchange: "amq.topic".to_owned(),
            publish_priority: 0,
            mandatory: false,
            passive_declares: false,
            exchanges: BTreeMap::from([("amq.topic".to_owned(), ExchangeConfig::topic())]),
            queues: BTreeMap::from([(queue.clone(), QueueConfig::transient())]),
            queue,
            bindings: vec![Binding {
                queue: None,
                exchange: "amq.topic".to_owned(),
                routing_keys: vec!["#".to_owned()],
                arguments: Arguments::new(),
            }],
            prefetch: 10,
            delivery_limit: None,
            dead_letter_exchange: None,
            connect_timeout: Duration::from_secs(30),
            body_bytes_max: 64 << 20,
            confirm_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
            seed: None,
        })
    }

    /// Reads the configuration file (TOML) of the reference client. The keys `callback`,
    /// `log_config` and `monitoring`, and the rest of `consumer_config`, only concern the program
    /// of the reference client; they are accepted and not used.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the file cannot be read, is not TOML, has an unknown
    /// key, or a value is invalid or contradicts another one. Errors in one value name the file,
    /// the line and the key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| Error::new(Remedy::Unsupported, place.as_str(), error))?;
        Self::parse(&text, &place)
    }

    /// Reads a configuration like [`read`](Self::read), from a text. `place` names the text in
    /// errors.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        file::parse(text, place)
    }

    /// Checks what can be checked without the network: that the configuration does not contradict
    /// itself, and that the files for TLS can be used.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        self.check().map_err(|text| Error::new(Remedy::Unsupported, self.place("configuration"), text))?;
        if self.endpoint.is_tls() {
            client_config(&self.endpoint.to_string(), &self.tls)?;
        }
        Ok(())
    }

    /// Checks that the client's certificate, if it is used, is valid at a moment.
    ///
    /// # Errors
    /// As for [`TlsFiles::check_validity`].
    pub fn check_certificate(&self, at: Timestamp) -> Result<()> {
        if self.endpoint.is_tls() { self.tls.check_validity(at) } else { Ok(()) }
    }

    /// Replaces all queues by this one, which becomes the consumed queue. All bindings are changed
    /// to route to it.
    #[must_use]
    pub fn with_queue(mut self, name: impl Into<String>, queue: QueueConfig) -> Self {
        self.queue = name.into();
        self.queues = BTreeMap::from([(self.queue.clone(), queue)]);
        for binding in &mut self.bindings {
            binding.queue = None;
        }
        self
    }

    /// Replaces all exchanges by this one. Messages are published to it, and all bindings are
    /// changed to take messages from it.
    #[must_use]
    pub fn with_exchange(mut self, name: impl Into<String>, exchange: ExchangeConfig) -> Self {
        self.publish_exchange = name.into();
        self.exchanges = BTreeMap::from([(self.publish_exchange.clone(), exchange)]);
        for binding in &mut self.bindings {
            binding.exchange.clone_from(&self.publish_exchange);
        }
        self
    }

    /// Routes exactly these topics to the consumed queue; bindings of other queues stay. The
    /// exchange is that of the first binding of the consumed queue, else
    /// [`publish_exchange`](Self::publish_exchange). For an engine, pass the topics that its
    /// parsers read.
    #[must_use]
    pub fn bind<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        let (own, mut others): (Vec<_>, Vec<_>) =
            self.bindings.drain(..).partition(|binding| binding.queue.as_ref().is_none_or(|name| *name == self.queue));
        let exchange = own.into_iter().next().map_or_else(|| self.publish_exchange.clone(), |binding| binding.exchange);
        let routing_keys = topics.into_iter().map(Into::into).collect();
        others.push(Binding { queue: None, exchange, routing_keys, arguments: Arguments::new() });
        self.bindings = others;
        self
    }

    /// Returns whether the login is by the client certificate.
    pub(super) fn logs_in_by_certificate(&self) -> bool {
        self.endpoint.is_tls() && self.tls.client_cert.is_some()
    }

    /// Returns the place of an error: the broker, and what was attempted.
    pub(super) fn place(&self, of: &str) -> String {
        format!("{}: {of}", self.endpoint)
    }

    /// Returns the name of the queue for dead letters.
    pub(super) fn dead_letter_queue(&self) -> String {
        format!("{}.dead", self.queue)
    }

    /// Returns a contradiction in the configuration, before the bus connects.
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
                "reconnect_min must be greater than 0, and reconnect_max must be at least reconnect_min".to_owned()
            );
        }
        if self.tls.client_cert.is_none() && self.tls.client_key.is_some() {
            return Err("the client has a private key and no certificate".to_owned());
        }
        if self.endpoint.login == UrlLogin::UserOnly && !self.logs_in_by_certificate() {
            let user = &self.endpoint.uri.authority.userinfo.username;
            let missing =
                if self.endpoint.is_tls() { "no client certificate" } else { "a client certificate needs `amqps`" };
            return Err(format!(
                "the user {user:?} has no password in the URL, and {missing}: there is no way to log in"
            ));
        }
        let names = [&self.publish_exchange, &self.queue].into_iter().chain(&self.dead_letter_exchange);
        let names = names.chain(self.exchanges.keys()).chain(self.queues.keys());
        let bindings = self.bindings.iter();
        let bindings =
            bindings.flat_map(|binding| binding.routing_keys.iter().chain(&binding.queue).chain([&binding.exchange]));
        let types = self.exchanges.values().map(|exchange| &exchange.kind);
        let arguments = self.queues.values().map(|queue| &queue.arguments);
        let arguments = arguments.chain(self.exchanges.values().map(|exchange| &exchange.arguments));
        let arguments = arguments.chain(self.bindings.iter().map(|binding| &binding.arguments));
        let keys = arguments.flat_map(|arguments| arguments.keys()).chain(self.client_properties.keys());
        names.chain(bindings).chain(types).chain(keys).try_for_each(|name| bound(name))?;
        bound(&self.dead_letter_queue())
    }
}
