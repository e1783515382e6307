//! The broker as the other side sees it: a client that shares no code with the bus.

use freshmaker::event::Message;
use freshmaker_amqp::{AmqpBus, AmqpConfig, ExchangeConfig, QueueConfig};
use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use std::collections::BTreeMap;
use std::time::Duration;
use test_support::broker::{address, url};
use test_support::missing;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The URL with another port.
pub(crate) fn url_at(port: u16) -> String {
    url().replacen(&address(), &format!("127.0.0.1:{port}"), 1)
}

/// Asks until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut again = tokio::time::interval(Duration::from_millis(50));
    let waiting = async {
        while !is_so().await {
            again.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "it never came to be that {what}");
}

/// Waits with a bound.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

/// Names of a test of its own, and a connection to look at them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) channel: Channel,
    pub(crate) connection: Connection,
}

impl World {
    /// `None`, said loudly, if there is no broker.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        Self::at(&url(), name).await
    }

    pub(crate) async fn at(url: &str, name: &str) -> Option<Self> {
        let connection = match Connection::connect(url, ConnectionProperties::default()).await {
            Ok(connection) => connection,
            Err(error) => {
                missing(&format!("no RabbitMQ (set FRESHMAKER_AMQP_URL): {error}"));
                return None;
            }
        };
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let name = format!("freshmaker-test-{name}-{}", std::process::id());
        let world = Self { name, channel, connection };
        for exchange in [world.exchange(), world.outbox()] {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let kind = ExchangeKind::Topic;
            world.channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await.unwrap();
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        world.channel.queue_declare(world.outbox().into(), options, FieldTable::default()).await.unwrap();
        let options = QueueBindOptions::default();
        let outbox = world.outbox();
        world
            .channel
            .queue_bind(outbox.clone().into(), outbox.into(), "#".into(), options, FieldTable::default())
            .await
            .unwrap();
        Some(world)
    }

    /// Where the bus takes messages from.
    pub(crate) fn exchange(&self) -> String {
        self.name.clone()
    }

    pub(crate) fn queue(&self) -> String {
        self.name.clone()
    }

    /// Where the bus publishes, and a queue that has everything that was published.
    pub(crate) fn outbox(&self) -> String {
        format!("{}.out", self.name)
    }

    pub(crate) fn config(&self) -> AmqpConfig {
        self.config_at(&url())
    }

    pub(crate) fn config_at(&self, url: &str) -> AmqpConfig {
        let topic = |durable| ExchangeConfig { durable, ..ExchangeConfig::topic() };
        let mut config = AmqpConfig::new(url)
            .unwrap()
            .with_exchange(self.exchange(), topic(true))
            .with_queue(self.queue(), QueueConfig::durable());
        config.prefetch = 100;
        (config.reconnect_min, config.reconnect_max) = (Duration::from_millis(50), Duration::from_millis(500));
        config.seed = Some(1);
        config.exchanges.insert(self.outbox(), topic(true));
        config.publish_exchange = self.outbox();
        config
    }

    /// A bus whose configuration differs in this.
    pub(crate) fn bus_with(&self, change: impl FnOnce(&mut AmqpConfig)) -> AmqpBus {
        let mut config = self.config();
        change(&mut config);
        AmqpBus::new(config).unwrap()
    }

    pub(crate) fn bus(&self) -> AmqpBus {
        AmqpBus::new(self.config()).unwrap()
    }

    pub(crate) async fn send_raw(&self, topic: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = self.channel.basic_publish(self.exchange().into(), topic.into(), options, body, properties).await;
        let confirmation = sent.unwrap().await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "the queue of the bus is bound");
    }

    pub(crate) async fn send(&self, message: &Message) {
        let mut headers = FieldTable::default();
        for (name, value) in &message.headers {
            headers.insert(name.as_str().into(), AMQPValue::LongString(LongString::from(value.as_str())));
        }
        let properties = BasicProperties::default()
            .with_message_id(message.id.as_str().into())
            .with_headers(headers)
            .with_delivery_mode(2);
        self.send_raw(&message.topic, properties, &message.body).await;
    }

    /// Declares the queue of the bus before the bus does, so that nothing is lost that is sent
    /// before it.
    pub(crate) async fn prepare(&self, bus: &AmqpBus) {
        use freshmaker::backend::Bus;
        let connected = async || self.consumers(&self.queue()).await == Some(1);
        tokio::select! {
            _ = bus.receive(1) => panic!("there is nothing to receive"),
            () = eventually("the bus consumes", connected) => {}
        }
    }

    /// How many consume from a queue; nothing if it is not there.
    pub(crate) async fn consumers(&self, queue: &str) -> Option<u32> {
        // A refusal closes the channel.
        let channel = self.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(queue.into(), options, FieldTable::default()).await.ok()?;
        Some(queue.consumer_count())
    }

    /// The next message of a queue, taken out of it.
    pub(crate) async fn take(&self, queue: &str) -> Option<Delivery> {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap();
        got.map(|got| got.delivery)
    }

    /// Everything in a queue, taken out of it.
    pub(crate) async fn drain(&self, queue: &str) -> Vec<Delivery> {
        let mut all = Vec::new();
        while let Some(delivery) = self.take(queue).await {
            all.push(delivery);
        }
        all
    }

    pub(crate) async fn delete_queue(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Leaves the broker as it was.
    pub(crate) async fn clean(&self) {
        for queue in [self.queue(), self.outbox(), format!("{}.dead", self.queue())] {
            self.delete_queue(&queue).await;
        }
        for exchange in [self.exchange(), self.outbox(), format!("{}.dlx", self.name)] {
            self.channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
    }
}

pub(crate) fn message(id: &str, body: &[u8]) -> Message {
    Message { id: id.to_owned(), topic: "test.sent".to_owned(), headers: BTreeMap::new(), body: body.to_vec() }
}
