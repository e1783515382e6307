use super::Result;
use crate::event::Message;
use async_trait::async_trait;
use std::fmt;

/// Identifies a delivery until it is acknowledged. Only the bus that made it can interpret it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryTag(pub u64);

/// A received message, with the tag to acknowledge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The tag to pass to [`Bus::acknowledge`].
    pub tag: DeliveryTag,
    /// The message.
    pub message: Message,
}

/// Receives messages for the engine, and publishes the engine's notifications.
///
/// # Contract
/// * The bus delivers a message again, after a reconnect or a restart, until it is acknowledged.
/// * Deliveries may be repeated and may come in any order. The engine recognizes repetitions by the
///   message's [identity](Message::identity).
/// * Dropping the future of [`receive`](Self::receive) loses no message.
/// * [`publish`](Self::publish) returns `Ok` only after the bus has taken responsibility for the
///   message.
/// * The remedy of an error of `publish` decides what the engine does. After a
///   [transient](super::Error::is_transient) error the engine publishes this message again, and
///   later ones wait for it. If it fails for some minutes while the bus takes other messages, or
///   after any other error, it becomes a dead letter, and the engine continues with the next one.
/// * So return [`NotNow`](super::Remedy::NotNow) for errors that affect every message, such as a
///   failed login or a missing exchange.
/// * [`Unsupported`](super::Remedy::Unsupported) from `publish` means that the bus takes no
///   messages of this program: it only receives. The engine logs that once and skips the
///   notifications for this bus; they are neither kept for it nor become dead letters. The engine
///   still calls `publish` for each later notification, so a bus that may publish again begins with
///   the next one.
///
/// ```
/// use freshmaker::memory::MemoryBus;
/// use freshmaker::backend::Bus;
/// use freshmaker::Message;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let bus = MemoryBus::new();
/// bus.send(Message {
///     id: "1".into(),
///     topic: "a.b".into(),
///     headers: Default::default(),
///     body: b"{}".to_vec(),
/// });
/// let delivery = bus.receive(10).await?.remove(0);
/// bus.acknowledge(&[delivery.tag]).await?;
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Waits for messages, and returns at least one and at most `limit`.
    ///
    /// # Errors
    /// After any error the engine waits a moment and calls this again. So an implementation
    /// reconnects here if its connection is lost.
    ///
    /// # Cancel safety
    /// The engine may drop the future at any time. Messages that it had taken must be delivered
    /// again, or returned by a later call.
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>>;

    /// Acknowledges these messages: they are stored, and the bus need not deliver them again.
    ///
    /// A tag of a lost connection is no error: its message is delivered again anyway.
    ///
    /// # Errors
    /// The engine repeats the call after any error, until it succeeds. So return only errors that
    /// may pass.
    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()>;

    /// Publishes a message.
    ///
    /// # Errors
    /// See the contract: the remedy of the error decides whether the engine sends the message
    /// again.
    async fn publish(&self, message: &Message) -> Result<()>;
}
