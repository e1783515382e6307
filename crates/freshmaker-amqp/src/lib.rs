//! Messages over AMQP 0-9-1 and RabbitMQ, as Fedora Messaging sends them.
//!
//! # Receiving
//! The bus declares its exchanges, queues and bindings and consumes from one queue. The id of a message is its message id, the topic its
//! routing key, and the body stays as it is. Headers are texts: a value of another type is its JSON (`20`, `true`, `["a"]`).
//! The properties `content_type`, `content_encoding`, `correlation_id`, `reply_to`, `type`, `app_id` and `timestamp` (seconds) are headers of
//! these names, unless the sender has a header of that name.
//!
//! No more than [`prefetch`](AmqpConfig::prefetch) messages are unacknowledged at a time. If nobody takes those that came, no more are asked
//! for, until somebody does. A lost connection is made again for ever, with growing pauses, and so is a queue that was deleted; what was
//! not acknowledged comes again. Only what a new connection does not mend, such as a refused login, is an error of
//! [`receive`](Bus::receive), and tried again all the same.
//!
//! # Publishing
//! `Ok` means that the broker has confirmed the message. Without an answer within the [time](AmqpConfig::confirm_timeout) the error is
//! [`Unclear`](Remedy::Unclear): the message may be delivered, and again if it is published again, with the same message id. That id is the id
//! of the message if it is a UUID, else a UUID made from it; the id itself is then the header `freshmaker-id`, and read from there again.
//! The headers `fedora_messaging_schema`, `fedora_messaging_severity`, `priority` and `sent-at` are added if the message does not have them.
//!
//! # What it needs
//! A tokio runtime with its timer and I/O. Consumer and publisher have a connection each, made when they are needed first. What runs
//! in the background ends when the bus is dropped.

mod config;
mod connection;
mod consumer;
mod file;
mod publisher;
mod tags;
mod wire;

pub use config::{AmqpConfig, Arguments, Binding, ExchangeConfig, QueueConfig, TlsFiles};

use async_trait::async_trait;
use connection::{Declare, connect, declare_exchange, declare_queue, failure};
use consumer::Consumer;
use freshmaker::backend::{Bus, Clock, Delivery, DeliveryTag, Error, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker::event::Message;
use publisher::Publisher;
use std::sync::Arc;

/// A bus over AMQP 0-9-1; see the [module](self) for what it does.
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
pub struct AmqpBus {
    config: Arc<AmqpConfig>,
    clock: Arc<dyn Clock>,
    consumer: Consumer,
    publisher: Publisher,
}

/// One thing that [`AmqpBus::check`] looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it was, as a place in an error would name it.
    pub what: String,
    /// Whether it is as it has to be.
    pub outcome: Result<()>,
}

impl AmqpBus {
    /// A bus with this configuration. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the configuration cannot work.
    pub fn new(config: AmqpConfig) -> Result<Self> {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    /// The same, with another clock than the machine's.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(config: AmqpConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        config.check().map_err(|text| Error::new(Remedy::Unsupported, config.place("configuration"), text))?;
        let config = Arc::new(config);
        let consumer = Consumer::new(Arc::clone(&config), Arc::clone(&clock));
        let publisher = Publisher::new(Arc::clone(&config), Arc::clone(&clock));
        Ok(Self { config, clock, consumer, publisher })
    }

    /// Connects once and looks for everything that the configuration names, without making anything: the connection first, then
    /// each exchange and queue. If there is no connection, that is all there is to tell. Bindings cannot be looked at over this protocol.
    pub async fn check(&self) -> Vec<Check> {
        let config = &*self.config;
        let user = &config.endpoint.uri.authority.userinfo.username;
        let what = format!("{} as {user}", config.endpoint);
        let connection = match connect(config, &*self.clock).await {
            Ok(connection) => connection,
            Err(error) => return vec![Check { what, outcome: Err(error) }],
        };
        let mut checks = vec![Check { what, outcome: Ok(()) }];
        // A refusal closes the channel, so each question has its own.
        let channel = async || connection.create_channel().await.map_err(|error| failure(config, "channel", &error));
        for (name, exchange) in &config.exchanges {
            let look = async || declare_exchange(config, &channel().await?, Declare::Look, name, exchange).await;
            checks.push(Check { what: format!("exchange {name:?}"), outcome: look().await });
        }
        for (name, queue) in &config.queues {
            let look = async || declare_queue(config, &channel().await?, Declare::Look, name, queue).await;
            checks.push(Check { what: format!("queue {name:?}"), outcome: look().await });
        }
        checks
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
