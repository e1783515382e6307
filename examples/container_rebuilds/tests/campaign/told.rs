//! What the world was told of events.

use freshmaker::backend::Bus;
use freshmaker_amqp::{AmqpBus, AmqpConfig, Arguments, QueueConfig};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The versions of each event in the order in which they were first told, with their states.
pub(crate) type Versions = BTreeMap<i64, Vec<(i64, String)>>;

/// A queue for the messages about events, which is read all the time.
pub(crate) struct Told {
    heard: Arc<Mutex<Versions>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Told {
    pub(crate) async fn listen(broker: &str, prefix: &str) -> Self {
        let arguments = Arguments::from([("x-expires".to_owned(), 600_000.into())]);
        let queue = QueueConfig { arguments, ..QueueConfig::durable() };
        let config = AmqpConfig::new(broker).unwrap();
        let config = config.with_queue(format!("{prefix}-told"), queue);
        let bus = AmqpBus::new(config.bind([format!("{prefix}.event.changed")])).unwrap();
        let heard = Arc::<Mutex<Versions>>::default();
        let into = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            loop {
                // While the broker is away, nothing is heard; it comes later.
                let Ok(deliveries) = bus.receive(100).await else {
                    crate::world::pass(std::time::Duration::from_millis(500)).await;
                    continue;
                };
                for delivery in &deliveries {
                    note(&mut into.lock().unwrap(), &delivery.message.body);
                }
                let tags: Vec<_> = deliveries.into_iter().map(|delivery| delivery.tag).collect();
                // What is not acknowledged comes again.
                drop(bus.acknowledge(&tags).await);
            }
        });
        Self { heard, listening }
    }

    /// How many events were told to have ended well.
    pub(crate) fn ended(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.values().filter(|versions| versions.iter().any(|(_, state)| state == "COMPLETE")).count()
    }

    pub(crate) fn versions(&self) -> Versions {
        self.heard.lock().unwrap().clone()
    }
}

/// A message that comes again is no news.
fn note(heard: &mut Versions, body: &[u8]) {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let (event, version) = (body["id"].as_i64().unwrap(), body["version"].as_i64().unwrap());
    let versions = heard.entry(event).or_default();
    if !versions.iter().any(|(known, _)| *known == version) {
        versions.push((version, body["state"].as_str().unwrap().to_owned()));
    }
}
