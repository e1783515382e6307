//! The message buses of the simulated world, and the messages that they deliver.

use super::backends::Shared;
use super::executor::step;
use super::handlers::{ANNOUNCE, ImagesPushed, Noted, PushWithdrawn, Riddle};
use super::world::World;
use async_trait::async_trait;
use freshmaker::backend::{Bus, Clock, Delivery, DeliveryTag, Error, Remedy, Result};
use freshmaker::client::Client;
use freshmaker::event::Message;
use freshmaker::handler::ImagePushed;
use freshmaker::rebuild::{InboxRecord, InboxState};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The buses. The second one is there in some worlds. It takes no notification until everything
/// else has ended, and gives its messages the ids that the first one gives.
pub(super) const BUSES: [&str; 2] = ["bus", "another"];

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A base is pushed. Each handler of pushes makes an event of it.
    Push,
    /// All bases are pushed. A handler emits so many messages, a push each.
    Pushes(usize),
    /// What is under way is to be cancelled.
    Withdrawal,
    /// Two handlers make an event of it: one skips it slowly, the other one panics.
    Note,
    /// Its reader panics.
    Riddle,
}

impl Kind {
    /// How many events become of it, where so many handlers are asked about pushes.
    pub(super) fn events(self, handlers: usize) -> usize {
        match self {
            Self::Push => handlers,
            Self::Note => 2,
            Self::Pushes(_) | Self::Withdrawal | Self::Riddle => 0,
        }
    }

    /// Whether this is how it must be stored in the end.
    pub(super) fn is_end(self, record: &InboxRecord) -> bool {
        match self {
            Self::Push | Self::Pushes(_) | Self::Note => record.state == InboxState::Done,
            Self::Withdrawal => matches!(record.state, InboxState::Done | InboxState::Ignored),
            Self::Riddle => {
                let malformed = record.reason.as_ref().is_some_and(|reason| reason.code == "malformed");
                record.state == InboxState::Dead && malformed
            }
        }
    }
}

/// A message that must be stored in the end, by a bus or because a handler emitted it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) source: &'static str,
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) acknowledged: bool,
}

/// A bus outside of the processes.
#[derive(Debug, Default)]
pub(super) struct BusWorld {
    waiting: VecDeque<(u64, Message)>,
    /// With the process that has it.
    delivered: BTreeMap<u64, (usize, Message)>,
    sent: BTreeMap<String, Kind>,
    acknowledged: BTreeSet<String>,
    pub(super) published: Vec<Message>,
    last_tag: u64,
}

impl BusWorld {
    /// Whether no message is on its way to an engine.
    fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.delivered.is_empty()
    }
}

impl World {
    /// Whether no message is on its way to an engine.
    pub(super) fn is_quiet(&self) -> bool {
        self.buses.iter().all(BusWorld::is_quiet)
    }

    /// All messages that must be stored in the end.
    pub(super) fn sent(&self) -> Vec<Sent> {
        let mut all = Vec::new();
        for (source, bus) in BUSES.into_iter().zip(&self.buses) {
            for (id, kind) in &bus.sent {
                let acknowledged = bus.acknowledged.contains(id);
                all.push(Sent { source, id: id.clone(), kind: *kind, acknowledged });
                if let Kind::Pushes(count) = kind {
                    let emitted = (0..*count).map(|number| Sent {
                        source: Client::EMITTED,
                        id: format!("{source}/{id}/{ANNOUNCE}/{number}"),
                        kind: Kind::Push,
                        acknowledged: true,
                    });
                    all.extend(emitted);
                }
            }
        }
        all
    }

    /// A message comes by one of the buses, perhaps twice, perhaps before others that wait.
    pub(super) fn send(&mut self, kind: Kind) {
        let number = self.rng.usize(..self.weather.buses as usize);
        let id = format!("m{}", self.buses[number].sent.len());
        let Ok((kind, message)) = self.happen(kind, BUSES[number], &id) else {
            return self.violation("a message cannot be written".to_owned());
        };
        self.say(|| format!("message {id} on {}: {}", BUSES[number], String::from_utf8_lossy(&message.body)));
        self.buses[number].sent.insert(id, kind);
        self.put(number, message.clone());
        if self.chance(self.weather.duplicate) {
            self.put(number, message);
        }
    }

    /// Lets happen what a message says.
    fn happen(&mut self, kind: Kind, bus: &str, id: &str) -> serde_json::Result<(Kind, Message)> {
        Ok(match kind {
            Kind::Push | Kind::Pushes(_) => {
                let mut bases: Vec<_> =
                    self.graph.artifacts().filter(|base| !base.buildable()).map(|base| base.id.clone()).collect();
                if kind == Kind::Push {
                    bases = vec![bases.swap_remove(self.rng.usize(..bases.len()))];
                }
                bases.iter().for_each(|base| self.change(base, &format!("{bus}/{id}")));
                let images: Vec<_> = bases.iter().map(ToString::to_string).collect();
                if kind == Kind::Push {
                    (kind, Message::of(id, &ImagePushed { image: images.concat(), digest: None })?)
                } else {
                    (Kind::Pushes(images.len()), Message::of(id, &ImagesPushed { images })?)
                }
            }
            Kind::Withdrawal => {
                self.canceled = true;
                (kind, Message::of(id, &PushWithdrawn {})?)
            }
            Kind::Note => (kind, Message::of(id, &Noted {})?),
            Kind::Riddle => (kind, Message::of(id, &Riddle)?),
        })
    }

    fn put(&mut self, number: usize, message: Message) {
        let bus = &mut self.buses[number];
        bus.last_tag += 1;
        let entry = (bus.last_tag, message);
        if self.rng.bool() {
            bus.waiting.push_back(entry);
        } else {
            bus.waiting.push_front(entry);
        }
    }

    /// What a process that died had not acknowledged will come again.
    pub(super) fn deliver_again(&mut self, process: usize) {
        for bus in &mut self.buses {
            let delivered = std::mem::take(&mut bus.delivered);
            let (lost, kept): (Vec<_>, Vec<_>) = delivered.into_iter().partition(|(_, (of, _))| *of == process);
            bus.delivered.extend(kept);
            bus.waiting.extend(lost.into_iter().map(|(tag, (_, message))| (tag, message)));
        }
    }
}

/// A bus as one process sees it.
#[derive(Debug)]
pub(super) struct SimBus {
    pub(super) shared: Shared,
    /// Which of [`BUSES`] it is.
    pub(super) number: usize,
}

#[async_trait]
impl Bus for SimBus {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        loop {
            self.shared.delay().await;
            self.shared.fails_plainly("bus.receive")?;
            let clock = {
                let mut world = self.shared.world();
                let bus = &mut world.buses[self.number];
                let count = limit.min(bus.waiting.len());
                if count > 0 {
                    let taken: Vec<_> = bus.waiting.drain(..count).collect();
                    let process = self.shared.process;
                    bus.delivered.extend(taken.iter().cloned().map(|(tag, message)| (tag, (process, message))));
                    return Ok(taken
                        .into_iter()
                        .map(|(tag, message)| Delivery { tag: DeliveryTag(tag), message })
                        .collect());
                }
                world.clock.clone()
            };
            clock.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        self.shared.delay().await;
        self.shared.fails("bus.acknowledge").await?;
        let mut world = self.shared.world();
        let bus = &mut world.buses[self.number];
        for tag in tags {
            if let Some((_, message)) = bus.delivered.remove(&tag.0) {
                bus.acknowledged.insert(message.id);
            }
        }
        Ok(())
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        step().await;
        if self.number > 0 && self.shared.world().second_bus_is_down {
            return Err(Error::new(Remedy::Unavailable, "another.publish", "it is down"));
        }
        if self.number == 0 && !self.shared.world().takes(message) {
            return Err(Error::new(Remedy::Unavailable, "bus.publish", "not this one"));
        }
        self.shared.fails("bus.publish, before").await?;
        self.shared.world().buses[self.number].published.push(message.clone());
        step().await;
        self.shared.fails("bus.publish, after it was done,").await
    }
}
