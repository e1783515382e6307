use crate::backend::{Bus, Delivery, DeliveryTag, Result};
use crate::event::Message;
use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A bus in the memory of the process, for tests and for engines without a message broker.
///
/// [`send`](Self::send) stands for the senders of messages, and [`published`](Self::published) for
/// the receivers. Messages are delivered in the order in which they were sent. A message that was
/// delivered but not acknowledged is delivered again after [`reconnect`](Self::reconnect). Messages
/// and publications have no bound.
///
/// ```
/// use freshmaker::memory::MemoryBus;
/// use freshmaker::Message;
///
/// let bus = MemoryBus::new();
/// bus.send(Message {
///     id: "1".into(),
///     topic: "base.pushed".into(),
///     headers: Default::default(),
///     body: b"{}".to_vec(),
/// });
/// assert!(bus.published().is_empty(), "sent to us is not published by us");
/// ```
#[derive(Debug, Default)]
pub struct MemoryBus {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(u64, Message)>,
    delivered: BTreeMap<u64, Message>,
    published: Vec<Message>,
    last_tag: u64,
}

impl MemoryBus {
    /// Makes an empty bus.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a message, which [`Bus::receive`] then delivers.
    pub fn send(&self, message: Message) {
        let mut state = self.lock();
        state.last_tag += 1;
        let tag = state.last_tag;
        state.waiting.push_back((tag, message));
        drop(state);
        self.arrived.notify_one();
    }

    /// Returns all messages that were published so far, oldest first.
    #[must_use]
    pub fn published(&self) -> Vec<Message> {
        self.lock().published.clone()
    }

    /// Returns how many messages are not acknowledged yet, delivered or not.
    #[must_use]
    pub fn backlog(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.delivered.len()
    }

    /// Simulates a lost connection: all deliveries without an acknowledgement are delivered again,
    /// first.
    pub fn reconnect(&self) {
        let mut state = self.lock();
        let again = std::mem::take(&mut state.delivered);
        for (tag, message) in again.into_iter().rev() {
            state.waiting.push_front((tag, message));
        }
        drop(state);
        self.arrived.notify_one();
    }

    fn take(&self, limit: usize) -> Vec<Delivery> {
        let mut state = self.lock();
        let count = limit.min(state.waiting.len());
        let taken: Vec<_> = state.waiting.drain(..count).collect();
        state.delivered.extend(taken.iter().cloned());
        taken.into_iter().map(|(tag, message)| Delivery { tag: DeliveryTag(tag), message }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and the state is consistent after every
        // statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        loop {
            let arrived = self.arrived.notified();
            let taken = self.take(limit.max(1));
            if !taken.is_empty() {
                return Ok(taken);
            }
            arrived.await;
        }
    }

    async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        let mut state = self.lock();
        for tag in tags {
            state.delivered.remove(&tag.0);
        }
        Ok(())
    }

    async fn publish(&self, message: &Message) -> Result<()> {
        self.lock().published.push(message.clone());
        Ok(())
    }
}
