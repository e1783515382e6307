use async_trait::async_trait;
use freshmaker::backend::{Bus, DeliveryTag};
use freshmaker::event::Message;
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet};

/// The other side of a bus, for [`bus`].
#[async_trait]
pub trait BusWorld: Send + Sync {
    /// Sends a message that the bus will deliver.
    async fn send(&self, message: Message);

    /// Cuts the consumer off and lets it connect again.
    async fn reconnect(&self);

    /// Every message that the bus took with [`Bus::publish`] so far, oldest first.
    async fn published(&self) -> Vec<Message>;
}

/// The contract of [`Bus`]. The bus must be empty.
///
/// # Panics
/// With what was expected, where the contract is broken.
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::Message;
/// use freshmaker::memory::MemoryBus;
/// use freshmaker_testing::conformance::{BusWorld, bus};
///
/// struct World<'a>(&'a MemoryBus);
///
/// #[async_trait]
/// impl BusWorld for World<'_> {
///     async fn send(&self, message: Message) {
///         self.0.send(message);
///     }
///     async fn reconnect(&self) {
///         self.0.reconnect();
///     }
///     async fn published(&self) -> Vec<Message> {
///         self.0.published()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let memory = MemoryBus::new();
/// bus(&memory, &World(&memory)).await;
/// # }
/// ```
pub async fn bus(bus: &dyn Bus, world: &dyn BusWorld) {
    what_comes_is_what_was_sent(bus, world).await;
    unacknowledged_messages_come_again(bus, world).await;
    a_dropped_receive_loses_nothing(bus, world).await;
    lost_tags_are_no_error(bus, world).await;
    what_is_published_arrives_as_it_is(bus, world).await;
}

fn message(id: &str) -> Message {
    let headers = BTreeMap::from([("sent-by".to_owned(), "the suite".to_owned())]);
    Message { id: id.to_owned(), topic: "suite.sent".to_owned(), headers, body: vec![0, 0xff, b'{', 0xc3] }
}

/// Receives until these messages have come, and acknowledges them.
async fn drain(bus: &dyn Bus, expected: &[&str]) -> Vec<Message> {
    let mut missing: BTreeSet<&str> = expected.iter().copied().collect();
    let mut came = Vec::new();
    while !missing.is_empty() {
        let deliveries = bus.receive(1).await.unwrap_or_else(|error| panic!("receive failed: {error}"));
        assert!(deliveries.len() == 1, "receive(1) returns one delivery, not {}", deliveries.len());
        for delivery in deliveries {
            assert!(
                missing.remove(delivery.message.id.as_str()),
                "{:?} came and was not expected",
                delivery.message.id
            );
            acknowledge(bus, &[delivery.tag]).await;
            came.push(delivery.message);
        }
    }
    came
}

async fn acknowledge(bus: &dyn Bus, tags: &[DeliveryTag]) {
    bus.acknowledge(tags).await.unwrap_or_else(|error| panic!("acknowledge failed: {error}"));
}

async fn what_comes_is_what_was_sent(bus: &dyn Bus, world: &dyn BusWorld) {
    world.send(message("intact")).await;
    let came = drain(bus, &["intact"]).await;
    assert_eq!(came, [message("intact")], "id, topic, headers and bytes arrive as they were sent");
}

async fn unacknowledged_messages_come_again(bus: &dyn Bus, world: &dyn BusWorld) {
    for id in ["kept", "lost"] {
        world.send(message(id)).await;
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let deliveries = bus.receive(10).await.unwrap_or_else(|error| panic!("receive failed: {error}"));
        for delivery in deliveries {
            if delivery.message.id == "kept" {
                acknowledge(bus, &[delivery.tag]).await;
            }
            seen.insert(delivery.message.id);
        }
    }
    world.reconnect().await;
    drain(bus, &["lost"]).await;
    assert!(bus.receive(1).now_or_never().is_none(), "what was acknowledged does not come again");
}

async fn a_dropped_receive_loses_nothing(bus: &dyn Bus, world: &dyn BusWorld) {
    assert!(bus.receive(10).now_or_never().is_none(), "an empty bus has nothing to deliver");
    world.send(message("after the drop")).await;
    drain(bus, &["after the drop"]).await;
}

async fn lost_tags_are_no_error(bus: &dyn Bus, world: &dyn BusWorld) {
    world.send(message("twice")).await;
    let deliveries = bus.receive(1).await.unwrap_or_else(|error| panic!("receive failed: {error}"));
    let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag).collect();
    world.reconnect().await;
    acknowledge(bus, &tags).await;
    // Delivered again or not, depending on whether the bus could still tell which delivery was
    // meant.
    while let Some(again) = bus.receive(1).now_or_never() {
        let again = again.unwrap_or_else(|error| panic!("receive failed: {error}"));
        acknowledge(bus, &again.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).await;
    }
}

async fn what_is_published_arrives_as_it_is(bus: &dyn Bus, world: &dyn BusWorld) {
    let before = world.published().await.len();
    for id in ["first", "second"] {
        bus.publish(&message(id)).await.unwrap_or_else(|error| panic!("publish failed: {error}"));
    }
    let published = world.published().await.split_off(before);
    assert_eq!(published, [message("first"), message("second")], "what was taken is published, in order");
}
