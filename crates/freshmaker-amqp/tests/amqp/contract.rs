use crate::proxy::Proxy;
use crate::world::{World, soon, url_at};
use async_trait::async_trait;
use freshmaker::event::Message;
use freshmaker_amqp::AmqpBus;
use freshmaker_testing::conformance::{BusWorld, bus};
use lapin::types::AMQPValue;
use std::collections::BTreeMap;
use std::sync::Mutex;
use test_support::broker::address;

struct Suite {
    world: World,
    proxy: Proxy,
    published: Mutex<Vec<Message>>,
}

/// What the bus adds to headers.
const ADDED: [&str; 5] =
    ["fedora_messaging_schema", "fedora_messaging_severity", "priority", "sent-at", "freshmaker-id"];

#[async_trait]
impl BusWorld for Suite {
    async fn send(&self, message: Message) {
        self.world.send(&message).await;
    }

    async fn reconnect(&self) {
        self.proxy.cut();
    }

    async fn published(&self) -> Vec<Message> {
        for delivery in self.world.drain(&self.world.outbox()).await {
            let table = delivery.properties.headers().clone().unwrap();
            let texts = table.into_iter().filter_map(|(name, value)| match value {
                AMQPValue::LongString(text) => Some((name.to_string(), text.to_string())),
                _ => None,
            });
            let mut headers: BTreeMap<_, _> = texts.collect();
            let id = headers.remove("freshmaker-id").unwrap();
            headers.retain(|name, _| !ADDED.contains(&name.as_str()));
            let topic = delivery.routing_key.to_string();
            self.published.lock().unwrap().push(Message { id, topic, headers, body: delivery.data });
        }
        self.published.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_bus_keeps_the_contract() {
    let Some(world) = World::new("contract").await else { return };
    let proxy = Proxy::to(address()).await;
    let amqp = AmqpBus::new(world.config_at(&url_at(proxy.port))).unwrap();
    world.prepare(&amqp).await;
    let suite = Suite { world, proxy, published: Mutex::default() };
    soon("the suite", bus(&amqp, &suite)).await;
    suite.world.clean().await;
}
