//! A bus over AMQP 0-9-1 (RabbitMQ), with the conventions of Fedora Messaging.
//!
//! # Receiving
//! The bus declares its exchanges, queues and bindings, and consumes from one queue. The id of a
//! received message is the AMQP message id, its topic is the routing key, and its body is
//! unchanged. All headers are texts: a value of another type is written as JSON (`20`, `true`,
//! `["a"]`). The properties `content_type`, `content_encoding`, `correlation_id`, `reply_to`,
//! `type`, `app_id` and `timestamp` (seconds) become headers of these names, unless the sender set
//! a header of the same name.
//!
//! At most [`prefetch`](AmqpConfig::prefetch) messages are unacknowledged at a time. If no call to
//! [`receive`](Bus::receive) takes the messages that have arrived within
//! [`stall_timeout`](AmqpConfig::stall_timeout), the bus stops consuming until a call does. A lost
//! connection and a deleted queue are restored without a limit on the number of tries, with a
//! growing back-off. Messages that were not acknowledged are delivered again. An error that a new
//! connection cannot solve, such as a refused login, is returned by [`receive`](Bus::receive); the
//! bus still tries again.
//!
//! # Publishing
//! `Ok` means that the broker has confirmed the message. If no confirmation arrives within
//! [`confirm_timeout`](AmqpConfig::confirm_timeout), the error is [`Unclear`](Remedy::Unclear): the
//! message may have been delivered. If it is published again, it has the same AMQP message id, so
//! consumers can discard the duplicate. The AMQP message id is the id of the message if that is a
//! UUID, else a UUID derived from it; the id itself is then in the header `freshmaker-id`, and is
//! read from there on receipt. The headers `fedora_messaging_schema`, `fedora_messaging_severity`,
//! `priority` and `sent-at` are added if the message does not have them.
//!
//! A bus whose configuration says [`listen_only`](AmqpConfig::listen_only), or whose user may not
//! write to the exchange (403), answers [`Unsupported`](Remedy::Unsupported): the engine passes its
//! notifications over. The bus asks such a broker again after 10 minutes.
//!
//! # Permissions
//! An exchange is looked at first, which needs no permission, and created only if it does not
//! exist. Queues are declared and bound. So a user who may configure, write to and read only its
//! own queues, and read the exchanges, can receive.
//!
//! # What it needs
//! The bus needs a tokio runtime with time and I/O enabled. The consumer and the publisher have one
//! connection each, opened at the first use. Background tasks end when the bus is dropped.

mod check;
mod config;
mod connection;
mod consumer;
mod file;
mod publisher;
mod tags;
mod wire;

pub use check::Check;
pub use config::{AmqpConfig, Arguments, Binding, ExchangeConfig, QueueConfig};
pub use freshmaker_net::TlsFiles;

use async_trait::async_trait;
use consumer::Consumer;
use freshmaker::backend::{Bus, Clock, Delivery, DeliveryTag, Error, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker::event::Message;
use publisher::Publisher;
use std::sync::Arc;

/// A [`Bus`] over AMQP 0-9-1; the [crate documentation](crate) describes its behaviour.
///
/// # Cancel safety
/// A dropped [`receive`](Bus::receive) loses no message. After a dropped [`publish`](Bus::publish)
/// it is not known whether the message was sent; publish it again. A dropped
/// [`acknowledge`](Bus::acknowledge) may leave messages unacknowledged, and the broker delivers
/// them again after the next reconnect.
///
/// # Examples
///
/// ```no_run
/// use freshmaker_amqp::{AmqpBus, AmqpConfig};
/// use freshmaker::backend::Bus;
///
/// # async fn example() -> freshmaker::backend::Result<()> {
/// let bus = AmqpBus::new(AmqpConfig::read("/etc/fedora-messaging/config.toml")?)?;
/// loop {
///     let deliveries = bus.receive(100).await?;
///     for delivery in &deliveries {
///         println!("{} {}", delivery.message.topic, delivery.message.id);
///     }
///     let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag).collect();
///     bus.acknowledge(&tags).await?;
/// }
/// # }
/// ```
#[derive(Debug)]
#[doc(alias = "rabbitmq")]
#[doc(alias = "fedora-messaging")]
pub struct AmqpBus {
    config: Arc<AmqpConfig>,
    clock: Arc<dyn Clock>,
    consumer: Consumer,
    publisher: Publisher,
}

impl AmqpBus {
    /// Creates a bus with this configuration. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the configuration contradicts itself, for example if
    /// the consumed queue is not configured.
    pub fn new(config: AmqpConfig) -> Result<Self> {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    /// Creates a bus like [`new`](Self::new), with another clock than the system's. All time limits
    /// and back-offs follow this clock.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_clock(config: AmqpConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        config.check().map_err(|text| Error::new(Remedy::Unsupported, config.place("configuration"), text))?;
        let config = Arc::new(config);
        let consumer = Consumer::new(Arc::clone(&config), Arc::clone(&clock));
        let publisher = Publisher::new(Arc::clone(&config), Arc::clone(&clock));
        Ok(Self { config, clock, consumer, publisher })
    }

    /// Connects once and checks that the configured exchanges and queues exist, and that the user
    /// has the permissions that the bus will need. Creates, consumes and publishes nothing.
    ///
    /// The first result is the connection; if it fails, it is the only one. Then follow, by name,
    /// the entries of [`exchanges`](AmqpConfig::exchanges), the dead letter exchange and its queue,
    /// the entries of [`queues`](AmqpConfig::queues), and the permissions: to create each exchange
    /// and queue that is not there, for each binding, to consume, and to publish unless the bus is
    /// [`listen_only`](AmqpConfig::listen_only).
    ///
    /// RabbitMQ checks the permission for a request before it checks the request itself. So the
    /// permissions are tried with requests that are invalid: `ACCESS_REFUSED` means that the
    /// permission is missing, `PRECONDITION_FAILED` that it is there. A binding is tried by
    /// removing one that does not exist.
    pub async fn check(&self) -> Vec<Check> {
        check::check(&self.config, &*self.clock).await
    }
}

#[async_trait]
impl Bus for AmqpBus {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        self.consumer.receive(limit).await
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.consumer.acknowledge(tags).await
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        self.publisher.publish(message).await
    }
}
