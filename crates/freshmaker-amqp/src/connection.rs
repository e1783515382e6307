//! Connections, declarations, back-offs between connections, and the meaning of AMQP errors.

use super::config::{AmqpConfig, Arguments, ExchangeConfig, QueueConfig};
use super::wire;
use freshmaker::backend::{Clock, Error, Remedy, Result};
use freshmaker_net::client_config;
use futures_util::future::{Either, select};
use lapin::auth::AuthProvider;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::tcp::{AMQPUriTcpExt, RustlsConnector};
use lapin::types::ShortString;
use lapin::uri::AMQPScheme;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Login by the client certificate: the SASL mechanism `EXTERNAL`, without user and password.
struct External;

impl AuthProvider for External {}

/// Waits for `work` until [`Clock::elapsed`] has reached `deadline`; returns `None` if the deadline
/// comes first.
pub(super) async fn until<T>(clock: &dyn Clock, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), clock.sleep(deadline.saturating_sub(clock.elapsed()))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// Connects within [`AmqpConfig::connect_timeout`].
pub(super) async fn connect(config: &AmqpConfig, clock: &dyn Clock) -> Result<Connection> {
    let deadline = clock.elapsed() + config.connect_timeout;
    until(clock, deadline, handshake(config)).await.unwrap_or_else(|| {
        let text = format!("no connection within {} s", config.connect_timeout.as_secs_f64());
        Err(Error::new(Remedy::Unavailable, config.place("connect"), text))
    })
}

async fn handshake(config: &AmqpConfig) -> Result<Connection> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(Error::new(Remedy::Unsupported, config.place("connect"), "this bus needs a tokio runtime"));
    }
    let failed = |error| failure(config, "connect", &error);
    let mut properties = ConnectionProperties::default();
    // The library takes only texts.
    let given = config.client_properties.iter().map(|(name, value)| match value {
        Value::String(text) => (name.as_str(), text.clone()),
        other => (name.as_str(), other.to_string()),
    });
    let own = [("product", "freshmaker".to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())];
    for (name, value) in given.chain(own) {
        properties = properties.with_client_property(short(name), value.into());
    }
    if config.logs_in_by_certificate() {
        properties = properties.with_auth_provider(External);
    }
    let place = config.endpoint.to_string();
    let tls = config.endpoint.is_tls().then(|| client_config(&place, &config.tls)).transpose()?;
    let tls = tls.map(RustlsConnector::from);
    let runtime = lapin::runtime::default_runtime().map_err(failed)?;
    let open = async move |uri: lapin::uri::AMQPUri, runtime| {
        // lapin's own TLS uses the crypto provider that is installed for the process; there may be
        // none, or two that conflict.
        let plain = lapin::uri::AMQPUri { scheme: AMQPScheme::AMQP, ..uri };
        let stream = plain.connect_async(&runtime).await?;
        match &tls {
            None => Ok(stream),
            Some(connector) => Ok(stream.into_rustls(connector, &plain.authority.host).await?),
        }
    };
    Connection::connector(config.endpoint.uri.clone(), runtime, open, properties).await.map_err(failed)
}

/// Returns the meaning of an error for a request that can be repeated without harm.
pub(super) fn failure(config: &AmqpConfig, what: &str, error: &lapin::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::ProtocolError(error) => match error.get_id() {
            // Access was refused, or the declaration contradicts the existing object.
            403 | 406 => Remedy::Rejected,
            404 => Remedy::NotFound,
            // The virtual host does not exist.
            530 => Remedy::NotFound,
            _ => Remedy::Unavailable,
        },
        _ => Remedy::Unavailable,
    };
    Error::new(remedy, config.place(what), error)
}

/// Converts a name whose length was checked with the configuration.
pub(super) fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}

/// Whether a declaration creates an object or only checks that it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declare {
    Make,
    Look,
}

impl Declare {
    /// Returns what an object says itself, else what the configuration says of all of them.
    pub(super) fn of(config: &AmqpConfig, passive: Option<bool>) -> Self {
        if passive.unwrap_or(config.passive_declares) { Self::Look } else { Self::Make }
    }
}

/// Opens a channel. It closes when its last copy is dropped.
pub(super) async fn channel(config: &AmqpConfig, connection: &Connection) -> Result<Channel> {
    connection.create_channel().await.map_err(|error| failure(config, "channel", &error))
}

/// Makes sure that an exchange exists: looks first, which needs no permission, and creates it only
/// if it is not there.
pub(super) async fn provide_exchange(
    config: &AmqpConfig,
    connection: &Connection,
    name: &str,
    exchange: &ExchangeConfig,
) -> Result<()> {
    // A refused declaration closes the channel, so each gets its own.
    let declare = async |how| declare_exchange(config, &channel(config, connection).await?, how, name, exchange).await;
    let may_make = Declare::of(config, exchange.passive) == Declare::Make;
    match declare(Declare::Look).await {
        Err(error) if error.remedy == Remedy::NotFound && may_make => declare(Declare::Make).await,
        found => found,
    }
}

pub(super) async fn declare_exchange(
    config: &AmqpConfig,
    channel: &Channel,
    how: Declare,
    name: &str,
    exchange: &ExchangeConfig,
) -> Result<()> {
    let options = ExchangeDeclareOptions {
        passive: how == Declare::Look,
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        ..ExchangeDeclareOptions::default()
    };
    let kind = ExchangeKind::Custom(exchange.kind.clone());
    let declared = channel.exchange_declare(short(name), kind, options, wire::table(&exchange.arguments)).await;
    declared.map_err(|error| failure(config, &format!("exchange {name:?}"), &error))
}

pub(super) async fn declare_queue(
    config: &AmqpConfig,
    channel: &Channel,
    how: Declare,
    name: &str,
    queue: &QueueConfig,
) -> Result<()> {
    let options = QueueDeclareOptions {
        passive: how == Declare::Look,
        durable: queue.durable,
        exclusive: queue.exclusive,
        auto_delete: queue.auto_delete,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(short(name), options, wire::table(&arguments(config, name, queue))).await;
    declared.map(drop).map_err(|error| failure(config, &format!("queue {name:?}"), &error))
}

/// Returns the arguments of a queue. Configured arguments override those that follow from the
/// delivery limit and the dead letter exchange.
pub(super) fn arguments(config: &AmqpConfig, name: &str, queue: &QueueConfig) -> Arguments {
    let mut arguments = Arguments::new();
    if name == config.queue {
        if let Some(limit) = config.delivery_limit {
            arguments.insert("x-queue-type".into(), json!("quorum"));
            arguments.insert("x-delivery-limit".into(), json!(limit));
        }
        if let Some(exchange) = &config.dead_letter_exchange {
            arguments.insert("x-dead-letter-exchange".into(), json!(exchange));
            if config.delivery_limit.is_some() {
                // With the default strategy the broker may lose a dead letter. This strategy needs
                // a queue that refuses publications when it is full.
                arguments.insert("x-dead-letter-strategy".into(), json!("at-least-once"));
                arguments.insert("x-overflow".into(), json!("reject-publish"));
            }
        }
    }
    arguments.extend(queue.arguments.clone());
    arguments
}

async fn bind(
    config: &AmqpConfig,
    channel: &Channel,
    queue: &str,
    exchange: &str,
    key: &str,
    arguments: &Arguments,
) -> Result<()> {
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(short(queue), short(exchange), short(key), options, wire::table(arguments)).await;
    bound.map_err(|error| failure(config, &format!("binding of queue {queue:?} to {exchange:?}"), &error))
}

/// Declares everything that the consumer needs: exchanges, queues, then bindings between them.
pub(super) async fn declare(config: &AmqpConfig, connection: &Connection, channel: &Channel) -> Result<()> {
    let how = Declare::of(config, None);
    for (name, exchange) in &config.exchanges {
        provide_exchange(config, connection, name, exchange).await?;
    }
    if let Some(name) = &config.dead_letter_exchange {
        provide_exchange(config, connection, name, &ExchangeConfig::topic()).await?;
        let queue = config.dead_letter_queue();
        declare_queue(config, channel, how, &queue, &QueueConfig::durable()).await?;
        if how == Declare::Make {
            bind(config, channel, &queue, name, "#", &Arguments::new()).await?;
        }
    }
    for (name, queue) in &config.queues {
        declare_queue(config, channel, Declare::of(config, queue.passive), name, queue).await?;
    }
    for binding in &config.bindings {
        let queue = binding.queue.as_ref().unwrap_or(&config.queue);
        for key in &binding.routing_keys {
            bind(config, channel, queue, &binding.exchange, key, &binding.arguments).await?;
        }
    }
    Ok(())
}

/// Back-off before the next connection: it doubles with each failure up to a bound, and is
/// randomised so that many clients of one broker do not reconnect at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    config: Arc<AmqpConfig>,
    spread: fastrand::Rng,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(config: &Arc<AmqpConfig>) -> Self {
        let spread = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self { config: Arc::clone(config), spread, failures: 0 }
    }

    /// Resets the back-off after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns the back-off after one more failure: between half of the full value and the full
    /// value.
    pub(super) fn next(&mut self) -> Duration {
        let doubled = self.config.reconnect_min.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.config.reconnect_max).mul_f64(0.5 + self.spread.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_nothing() {
        let mut config = AmqpConfig::new("amqp://localhost").unwrap();
        config.seed = Some(7);
        let mut backoff = Backoff::new(&Arc::new(config));
        let pauses: Vec<_> = (0..100).map(|_| backoff.next().as_secs_f64()).collect();
        for (pause, longest) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0].into_iter().chain(std::iter::repeat(30.0)))
        {
            assert!((longest / 2.0..=longest).contains(pause), "{pause} after {longest}");
        }
        assert!(pauses[10..].windows(2).any(|pair| (pair[0] - pair[1]).abs() > 1.0), "they are spread");
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}
