use super::Result;
use crate::event::Message;
use async_trait::async_trait;
use std::fmt;

/// How a bus knows a delivery that waits to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryTag(pub u64);

/// A message with the handle to acknowledge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To be passed to [`Bus::acknowledge`].
    pub tag: DeliveryTag,
    /// What came.
    pub message: Message,
}

/// Where messages come from and go to.
///
/// # Contract
/// * A message is delivered again, after a reconnect or a restart, until it was acknowledged.
/// * Deliveries may repeat and may come in any order; the engine copes.
/// * A dropped [`receive`](Self::receive) future loses no message.
/// * [`publish`](Self::publish) returns `Ok` only when the bus has taken responsibility for the message. An error that passes
///   ([`is_transient`](super::Error::is_transient)) holds up this message and all after it, and they are sent again. Any other is about this
///   message alone: it becomes a dead letter. What waiting does not mend but concerns all messages (a login, an exchange that is not
///   there) is therefore [`NotNow`](super::Remedy::NotNow).
///
/// ```
/// use freshmaker::memory::MemoryBus;
/// use freshmaker::backend::Bus;
/// use freshmaker::Message;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let bus = MemoryBus::new();
/// bus.send(Message { id: "1".into(), topic: "a.b".into(), headers: Default::default(), body: b"{}".to_vec() });
/// let delivery = bus.receive(10).await?.remove(0);
/// bus.acknowledge(&[delivery.tag]).await?;
/// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Waits for messages; returns at least one and at most `limit`.
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>>;

    /// These deliveries are safely stored; the bus may forget them. Repeated until it succeeds: a tag of a lost connection, whose
    /// message will be delivered again anyway, is no error.
    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()>;

    /// Hands a message to the bus.
    async fn publish(&self, message: &Message) -> Result<()>;
}
