//! The receiving side: one task that keeps a consumer alive, and what it shares with those who receive and acknowledge.

use super::config::AmqpConfig;
use super::connection::{Backoff, connect, declare, failure, short, until};
use super::tags::Unsettled;
use super::wire;
use freshmaker::backend::{Clock, Delivery, DeliveryTag, Error, Remedy, Result};
use freshmaker::time::{Timestamp, later, since};
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt, select_biased};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// So many deliveries that are there already are taken at once.
const BATCH: usize = 256;

#[derive(Debug)]
pub(super) struct Consumer {
    shared: Arc<Shared>,
    /// Started by the first who receives, and ended with this.
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: Arc<AmqpConfig>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Deliveries came, or an error that somebody has to do something about.
    arrived: Notify,
    /// Somebody receives, or acknowledged.
    progress: Notify,
    /// The channel is not to be used any more.
    broken: Notify,
    /// Acknowledgements go out in the order in which they were decided: one that covers several tags would make the next one an error.
    settling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    arrived: VecDeque<Delivery>,
    /// Since when nobody has taken what is there.
    untouched_since: Option<Timestamp>,
    receivers: usize,
    link: Option<Link>,
    /// The last tag given out. Tags of a channel follow those of all channels before it.
    last_tag: u64,
    /// A new connection alone will not help.
    failure: Option<Error>,
}

/// The channel that is consumed from.
#[derive(Debug)]
struct Link {
    channel: Channel,
    /// The tags of the broker begin at 1; ours begin after this one.
    base: u64,
    unsettled: Unsettled,
}

/// Counts who receives, also if the future is dropped.
struct Receiver<'a>(&'a Shared);

impl<'a> Receiver<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.lock().receivers += 1;
        shared.progress.notify_one();
        Self(shared)
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.0.lock().receivers -= 1;
    }
}

impl Consumer {
    pub(super) fn new(config: Arc<AmqpConfig>, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            config,
            clock,
            state: Mutex::default(),
            arrived: Notify::new(),
            progress: Notify::new(),
            broken: Notify::new(),
            settling: tokio::sync::Mutex::new(()),
        };
        Self { shared: Arc::new(shared), supervisor: Mutex::default() }
    }

    pub(super) async fn receive(&self, limit: usize) -> Result<Vec<Delivery>> {
        self.supervise()?;
        let _receiver = Receiver::new(&self.shared);
        loop {
            let mut arrived = pin!(self.shared.arrived.notified());
            arrived.as_mut().enable();
            if let Some(answer) = self.shared.take(limit.max(1)) {
                return answer;
            }
            arrived.await;
        }
    }

    pub(super) async fn acknowledge(&self, tags: &[DeliveryTag]) -> Result<()> {
        let shared = &self.shared;
        let _order = shared.settling.lock().await;
        let Some((channel, steps)) = shared.settle(tags) else { return Ok(()) };
        let acks = steps.into_iter().map(|(tag, multiple)| channel.basic_ack(tag, BasicAckOptions { multiple }));
        let deadline = later(shared.clock.now(), shared.config.confirm_timeout);
        match until(&*shared.clock, deadline, try_join_all(acks)).await {
            Some(Ok(_)) => shared.progress.notify_one(),
            // The messages will be delivered again over the next channel, so there is nothing to be repeated.
            Some(Err(_)) | None => shared.give_up(),
        }
        Ok(())
    }

    /// Makes sure that the supervisor runs; the runtime of an earlier one may be gone.
    fn supervise(&self) -> Result<()> {
        let mut supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        if supervisor.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::new(Remedy::Unsupported, self.shared.config.place("receive"), "this bus needs a tokio runtime")
        })?;
        *supervisor = Some(runtime.spawn(supervise(Arc::clone(&self.shared))));
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let supervisor = self.supervisor.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = supervisor.take() {
            task.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and the state is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, limit: usize) -> Option<Result<Vec<Delivery>>> {
        let mut state = self.lock();
        if state.arrived.is_empty() {
            return state.failure.take().map(Err);
        }
        let count = limit.min(state.arrived.len());
        let taken = state.arrived.drain(..count).collect();
        state.untouched_since = (!state.arrived.is_empty()).then(|| self.clock.now());
        Some(Ok(taken))
    }

    /// Which tags to acknowledge at the broker, and where; nothing if these were of a lost connection.
    fn settle(&self, tags: &[DeliveryTag]) -> Option<(Channel, Vec<(u64, bool)>)> {
        let mut state = self.lock();
        let link = state.link.as_mut()?;
        let of_broker = tags.iter().filter_map(|tag| tag.0.checked_sub(link.base)).collect();
        let steps = link.unsettled.settle(of_broker);
        (!steps.is_empty()).then(|| (link.channel.clone(), steps))
    }

    /// What came over the channel, except for what is too large.
    fn add(&self, deliveries: Vec<lapin::message::Delivery>) -> Vec<u64> {
        let now = self.clock.now();
        let (mut tags, mut too_large) = (Vec::with_capacity(deliveries.len()), Vec::new());
        let mut messages = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let tag = delivery.delivery_tag;
            tags.push(tag);
            if delivery.data.len() > self.config.body_bytes_max {
                tracing::error!(
                    queue = %self.config.queue,
                    topic = %delivery.routing_key,
                    bytes = delivery.data.len(),
                    bytes_max = self.config.body_bytes_max,
                    "a message is too large and goes to the dead letters, if there is a place for them"
                );
                too_large.push(tag);
            } else {
                messages.push((tag, wire::message(delivery)));
            }
        }
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(link) = state.link.as_mut() else { return too_large };
        let base = link.base;
        for tag in tags {
            link.unsettled.insert(tag);
            state.last_tag = state.last_tag.max(base + tag);
        }
        let messages = messages.into_iter();
        state.arrived.extend(messages.map(|(tag, message)| Delivery { tag: DeliveryTag(base + tag), message }));
        if !state.arrived.is_empty() {
            state.untouched_since.get_or_insert(now);
            state.failure = None;
        }
        drop(guard);
        self.arrived.notify_waiters();
        too_large
    }

    async fn refuse(&self, channel: &Channel, tags: Vec<u64>) -> Result<()> {
        for tag in tags {
            let _order = self.settling.lock().await;
            let refused = channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await;
            refused.map_err(|error| self.failed("reject", &error))?;
            if let Some(link) = &mut self.lock().link {
                link.unsettled.remove(tag);
            }
        }
        Ok(())
    }

    /// When the messages that are there will have waited for too long, or could have at the earliest.
    fn stalled_at(&self) -> Timestamp {
        let state = self.lock();
        let since = state.untouched_since.filter(|_| state.receivers == 0);
        later(since.unwrap_or_else(|| self.clock.now()), self.config.stall_timeout)
    }

    fn is_stalled(&self) -> bool {
        let state = self.lock();
        let waited = state.untouched_since.map(|at| since(self.clock.now(), at));
        state.receivers == 0 && waited.is_some_and(|waited| waited >= self.config.stall_timeout)
    }

    /// For how many messages more there is room, if somebody wants any.
    fn wanted(&self) -> Option<u16> {
        let state = self.lock();
        let held = state.link.as_ref().map_or(0, |link| link.unsettled.len());
        let room = self.config.prefetch.saturating_sub(u16::try_from(held).unwrap_or(u16::MAX));
        (state.receivers > 0 && state.arrived.is_empty() && room > 0).then_some(room)
    }

    fn attach(&self, channel: &Channel) {
        let mut state = self.lock();
        let base = state.last_tag;
        state.link = Some(Link { channel: channel.clone(), base, unsettled: Unsettled::default() });
    }

    /// The channel is gone, and what came over it will come again.
    fn detach(&self) {
        let mut state = self.lock();
        state.link = None;
        state.arrived.clear();
        state.untouched_since = None;
    }

    /// The channel does not do what it should.
    fn give_up(&self) {
        self.detach();
        self.broken.notify_one();
    }

    fn failed(&self, what: &str, error: &lapin::Error) -> Error {
        failure(&self.config, &format!("queue {:?}, {what}", self.config.queue), error)
    }
}

/// Keeps a consumer alive, for ever.
async fn supervise(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(&shared.config);
    loop {
        let started = shared.clock.now();
        let error = consume(&shared).await;
        shared.detach();
        let now = shared.clock.now();
        // One that fails as soon as it is there does not count as success.
        if since(now, started) > shared.config.reconnect_max {
            backoff.reset();
        }
        let pause = backoff.next();
        tracing::warn!(%error, pause_ms = pause.as_millis(), "the consumer ended and will be started again");
        if !error.is_transient() {
            shared.lock().failure = Some(error);
            shared.arrived.notify_waiters();
        }
        shared.clock.sleep_until(later(now, pause)).await;
    }
}

/// One connection, from its beginning to the error that ended it.
async fn consume(shared: &Shared) -> Error {
    let connection = match connect(&shared.config, &*shared.clock).await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    let deadline = later(shared.clock.now(), super::connection::CONNECT_TIMEOUT);
    let opened = match until(&*shared.clock, deadline, open(shared, &connection)).await {
        Some(Ok(opened)) => opened,
        Some(Err(error)) => return error,
        None => {
            let place = shared.config.place("consume");
            return Error::new(Remedy::Unavailable, place, "the broker did not answer in time");
        }
    };
    let (channel, consumer) = opened;
    tracing::info!(broker = %shared.config.endpoint, queue = %shared.config.queue, "consuming");
    match pump(shared, &channel, consumer).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn open(shared: &Shared, connection: &Connection) -> Result<(Channel, lapin::Consumer)> {
    let channel = connection.create_channel().await.map_err(|error| shared.failed("channel", &error))?;
    declare(&shared.config, &channel).await?;
    shared.attach(&channel);
    let consumer = start(shared, &channel, shared.config.prefetch).await?;
    Ok((channel, consumer))
}

async fn start(shared: &Shared, channel: &Channel, prefetch: u16) -> Result<lapin::Consumer> {
    let failed = |error| shared.failed("consume", &error);
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(short(&shared.config.queue), short(""), options, arguments).await.map_err(failed)
}

/// From the channel to those who receive. Stops asking for messages while nobody takes them.
async fn pump(shared: &Shared, channel: &Channel, mut consumer: lapin::Consumer) -> Result<std::convert::Infallible> {
    loop {
        let mut check = shared.clock.sleep_until(shared.stalled_at()).fuse();
        loop {
            let delivery = select_biased! {
                delivery = consumer.next().fuse() => delivery,
                () = shared.broken.notified().fuse() => {
                    if shared.lock().link.is_some() {
                        // That was an earlier channel.
                        continue;
                    }
                    let place = shared.config.place("acknowledge");
                    return Err(Error::new(Remedy::Unavailable, place, "the broker did not take it"));
                }
                () = check => break,
            };
            let batch = batch(shared, &mut consumer, came(shared, delivery)?).await?;
            let too_large = shared.add(batch);
            shared.refuse(channel, too_large).await?;
        }
        if shared.is_stalled() {
            consumer = rest(shared, channel, consumer).await?;
        }
    }
}

/// A delivery and those that come right behind it. To let others run as long as more come makes fewer and larger batches, and so fewer
/// wake-ups and acknowledgements.
async fn batch(
    shared: &Shared,
    consumer: &mut lapin::Consumer,
    first: lapin::message::Delivery,
) -> Result<Vec<lapin::message::Delivery>> {
    let mut batch = vec![first];
    loop {
        let before = batch.len();
        while batch.len() < BATCH
            && let Some(delivery) = consumer.next().now_or_never()
        {
            batch.push(came(shared, delivery)?);
        }
        if batch.len() == before || batch.len() == BATCH {
            return Ok(batch);
        }
        tokio::task::yield_now().await;
    }
}

fn came(
    shared: &Shared,
    delivery: Option<lapin::Result<lapin::message::Delivery>>,
) -> Result<lapin::message::Delivery> {
    match delivery {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(shared.failed("consume", &error)),
        None => {
            let place = shared.config.place(&format!("queue {:?}", shared.config.queue));
            Err(Error::new(Remedy::Unavailable, place, "the broker cancelled the consumer"))
        }
    }
}

/// Takes no more messages until somebody wants some. Those that are there stay ours: to give them back, in whichever way, counts as a
/// delivery against the limit of a quorum queue.
async fn rest(shared: &Shared, channel: &Channel, mut consumer: lapin::Consumer) -> Result<lapin::Consumer> {
    let cancelled = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
    cancelled.map_err(|error| shared.failed("cancel", &error))?;
    while let Some(delivery) = consumer.next().await {
        let too_large = shared.add(vec![came(shared, Some(delivery))?]);
        shared.refuse(channel, too_large).await?;
    }
    tracing::warn!(queue = %shared.config.queue, "nobody takes the messages that came: no more are asked for");
    let room = loop {
        let mut progress = pin!(shared.progress.notified());
        progress.as_mut().enable();
        if let Some(room) = shared.wanted() {
            break room;
        }
        progress.await;
    };
    tracing::info!(queue = %shared.config.queue, "messages are taken again");
    // The limit is one of the consumer, so what is still held has to be taken off it.
    start(shared, channel, room).await
}
