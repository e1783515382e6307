//! Checks whether the broker has the exchanges and queues that the bus needs, and gives the
//! permissions, without changing anything.

use super::config::{AmqpConfig, ExchangeConfig, QueueConfig};
use super::connection::{Declare, arguments, channel, connect, declare_exchange, declare_queue, failure, short};
use super::publisher::forbidden;
use super::wire;
use freshmaker::backend::{Clock, Error, Remedy, Result};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ErrorKind};
use serde_json::json;

/// One result of [`AmqpBus::check`](super::AmqpBus::check).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked: the broker with the user, an exchange, a queue, or a permission.
    pub what: String,
    /// `Ok` if it exists, matches the configuration, or is granted. A permission that is missing is
    /// [`Rejected`](Remedy::Rejected); that to publish is [`Unsupported`](Remedy::Unsupported),
    /// because a bus can do without it.
    pub outcome: Result<()>,
}

/// The topic of the engine's messages about events, with which the permission to publish is tried.
const TOPIC: &str = "event.changed";

pub(super) async fn check(config: &AmqpConfig, clock: &dyn Clock) -> Vec<Check> {
    let user = &config.endpoint.uri.authority.userinfo.username;
    let login = if config.logs_in_by_certificate() { "by its certificate".to_owned() } else { format!("as {user}") };
    let what = format!("{} {login}", config.endpoint);
    let connection = match connect(config, clock).await {
        Ok(connection) => connection,
        Err(error) => return vec![Check { what, outcome: Err(error) }],
    };
    let mut checks = vec![Check { what, outcome: Ok(()) }];
    let mut add = |what: String, outcome| checks.push(Check { what, outcome });
    let broker = Broker { config, connection };
    let dead_letters = config.dead_letter_exchange.as_ref().map(|name| (name, ExchangeConfig::topic()));
    let exchanges = config.exchanges.iter().chain(dead_letters.iter().map(|(name, exchange)| (*name, exchange)));
    for (name, exchange) in exchanges {
        let look = async || declare_exchange(config, &broker.channel().await?, Declare::Look, name, exchange).await;
        let looked = look().await;
        let missing = looked.as_ref().is_err_and(|error| error.remedy == Remedy::NotFound);
        add(format!("exchange {name:?}"), looked);
        if missing && Declare::of(config, exchange.passive) == Declare::Make {
            add(format!("permission to create exchange {name:?}"), broker.may_create_exchange(name, exchange).await);
        }
    }
    let dead_letters =
        config.dead_letter_exchange.is_some().then(|| (config.dead_letter_queue(), QueueConfig::durable()));
    let queues = config.queues.iter().chain(dead_letters.iter().map(|(name, queue)| (name, queue)));
    for (name, queue) in queues {
        let look = async || declare_queue(config, &broker.channel().await?, Declare::Look, name, queue).await;
        let looked = look().await;
        let missing = looked.as_ref().is_err_and(|error| error.remedy == Remedy::NotFound);
        add(format!("queue {name:?}"), looked);
        if missing && Declare::of(config, queue.passive) == Declare::Make {
            add(format!("permission to create queue {name:?}"), broker.may_create_queue(name, queue).await);
        }
    }
    for binding in &config.bindings {
        let queue = binding.queue.as_ref().unwrap_or(&config.queue);
        let what = format!("permission to bind queue {queue:?} to {:?}", binding.exchange);
        add(what, broker.may_bind(queue, &binding.exchange).await);
    }
    add(format!("permission to consume from queue {:?}", config.queue), broker.may_consume().await);
    if !config.listen_only {
        add(format!("permission to publish to {:?}", config.publish_exchange), broker.may_publish().await);
    }
    checks
}

struct Broker<'a> {
    config: &'a AmqpConfig,
    connection: Connection,
}

impl Broker<'_> {
    /// Opens a channel for one request, because a refusal closes it.
    async fn channel(&self) -> Result<lapin::Channel> {
        channel(self.config, &self.connection).await
    }

    /// Tries to create an exchange with an argument that no exchange can have.
    async fn may_create_exchange(&self, name: &str, exchange: &ExchangeConfig) -> Result<()> {
        let mut impossible = exchange.clone();
        impossible.arguments.insert("alternate-exchange".to_owned(), json!(0));
        let channel = self.channel().await?;
        match declare_exchange(self.config, &channel, Declare::Make, name, &impossible).await {
            // Refused access and refused arguments have the same remedy, and different texts.
            Err(error) if error.text.contains("PRECONDITION_FAILED") => Ok(()),
            answer => answer,
        }
    }

    /// Tries to create a queue with an argument that no queue can have.
    async fn may_create_queue(&self, name: &str, queue: &QueueConfig) -> Result<()> {
        let mut arguments = arguments(self.config, name, queue);
        arguments.insert("x-expires".to_owned(), json!("never"));
        let options = QueueDeclareOptions {
            durable: queue.durable,
            exclusive: queue.exclusive,
            auto_delete: queue.auto_delete,
            ..QueueDeclareOptions::default()
        };
        let answer = self.channel().await?.queue_declare(short(name), options, wire::table(&arguments)).await;
        self.granted(&format!("create queue {name:?}"), answer)
    }

    /// Tries to remove a binding that does not exist.
    async fn may_bind(&self, queue: &str, exchange: &str) -> Result<()> {
        let key = format!("freshmaker.check.{:032x}", fastrand::u128(..));
        let (queue_name, exchange_name) = (short(queue), short(exchange));
        let channel = self.channel().await?;
        let answer = channel.queue_unbind(queue_name, exchange_name, short(&key), FieldTable::default()).await;
        self.granted(&format!("bind queue {queue:?} to {exchange:?}"), answer)
    }

    /// Tries to consume with a priority that is no number.
    async fn may_consume(&self) -> Result<()> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongString("none".into()));
        let (queue, options) = (short(&self.config.queue), BasicConsumeOptions::default());
        let answer = self.channel().await?.basic_consume(queue, short(""), options, arguments).await;
        self.granted(&format!("consume from queue {:?}", self.config.queue), answer)
    }

    /// Tries to publish a message with an expiration that is no number.
    async fn may_publish(&self) -> Result<()> {
        let what = format!("publish to {:?}", self.config.publish_exchange);
        let channel = self.channel().await?;
        let answer = async {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let exchange = short(&self.config.publish_exchange);
            let topic = match self.config.topic_prefix.as_str() {
                "" => TOPIC.to_owned(),
                prefix => format!("{prefix}.{TOPIC}"),
            };
            let properties = BasicProperties::default().with_expiration("never".into());
            let sent =
                channel.basic_publish(exchange, short(&topic), BasicPublishOptions::default(), b"{}", properties);
            sent.await?.await
        };
        match answer.await {
            Err(error) if forbidden(&error).is_some() => {
                let remedy = forbidden(&error).unwrap_or(Remedy::Unsupported);
                Err(failure(self.config, &what, &error).with_remedy(remedy))
            }
            // Without its exchange nothing can be published.
            Err(error) if is(&error, 404) && !self.makes_exchange() => Err(failure(self.config, &what, &error)),
            answer => self.granted(&what, answer),
        }
    }

    fn makes_exchange(&self) -> bool {
        let exchange = self.config.exchanges.get(&self.config.publish_exchange);
        exchange.is_some_and(|exchange| Declare::of(self.config, exchange.passive) == Declare::Make)
    }

    /// Returns the meaning of an answer to an invalid request: refused access is the only failure.
    /// A queue or an exchange that is not there yet is a result of its own.
    fn granted<T>(&self, what: &str, answer: lapin::Result<T>) -> Result<()> {
        match answer {
            Ok(_) => Ok(()),
            Err(error) if is(&error, 406) || is(&error, 404) => Ok(()),
            Err(error) => Err::<(), Error>(failure(self.config, what, &error)),
        }
    }
}

fn is(error: &lapin::Error, id: u16) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == id)
}
