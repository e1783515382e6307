//! The receiving side: one task that keeps a consumer running, and the state that it shares with
//! the calls that receive and acknowledge.

use super::config::AmqpConfig;
use super::connection::{Backoff, connect, declare, failure, short, until};
use super::tags::Unsettled;
use super::wire;
use freshmaker::backend::{Clock, Delivery, DeliveryTag, Error, Remedy, Result};
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt, select_biased};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Largest number of deliveries that have arrived already and are taken at once.
const BATCH: usize = 256;

#[derive(Debug)]
pub(super) struct Consumer {
    shared: Arc<Shared>,
    /// The task that consumes; started by the first call of `receive`, aborted when this value is
    /// dropped.
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: Arc<AmqpConfig>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes receivers: deliveries arrived, or an error that a user has to fix.
    arrived: Notify,
    /// Wakes a paused consumer: a call receives, or has acknowledged.
    progress: Notify,
    /// Wakes the consumer: the channel must not be used any more.
    broken: Notify,
    /// Keeps acknowledgements in the order in which they were decided: one that covers several tags
    /// would make a later one for the same tags an error.
    settling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    arrived: VecDeque<Delivery>,
    /// Since when the stored deliveries have waited without a receiver taking any; `None` if no
    /// delivery is stored.
    untouched_since: Option<Duration>,
    receivers: usize,
    link: Option<Link>,
    /// The last tag given out. Tags of a channel continue after those of all earlier channels.
    last_tag: u64,
    /// An error that a new connection cannot solve; the next receiver gets it.
    failure: Option<Error>,
}

/// The channel that is consumed from.
#[derive(Debug)]
struct Link {
    channel: Channel,
    /// The broker's tags begin at 1; the tags given to callers begin after this number.
    base: u64,
    unsettled: Unsettled,
}

/// Acknowledgements to send over a channel: tags of the broker, each with AMQP's flag `multiple`.
struct Settling {
    channel: Channel,
    base: u64,
    steps: Vec<(u64, bool)>,
}

/// Counts a waiting receiver, until it is dropped; so a dropped future is counted off too.
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
        let Some(Settling { channel, base, steps }) = shared.steps(tags) else { return Ok(()) };
        // A tag is forgotten in the same step in which its acknowledgement is handed to the
        // channel. If this future is dropped before, a later call acknowledges the tag.
        let acks = steps.into_iter().map(async |(tag, multiple)| {
            shared.settled(base, tag, multiple);
            channel.basic_ack(tag, BasicAckOptions { multiple }).await
        });
        let deadline = shared.clock.elapsed() + shared.config.confirm_timeout;
        match until(&*shared.clock, deadline, try_join_all(acks)).await {
            Some(Ok(_)) => shared.progress.notify_one(),
            // The broker delivers these messages again over the next channel, so the caller need
            // not repeat the call.
            Some(Err(_)) | None => shared.give_up(),
        }
        Ok(())
    }

    /// Starts the supervisor unless it runs. An earlier one has ended if its runtime was shut down.
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
        // No code panics while it holds the lock, and the state is consistent after every
        // statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, limit: usize) -> Option<Result<Vec<Delivery>>> {
        let mut state = self.lock();
        if state.arrived.is_empty() {
            return state.failure.take().map(Err);
        }
        let count = limit.min(state.arrived.len());
        let taken = state.arrived.drain(..count).collect();
        state.untouched_since = (!state.arrived.is_empty()).then(|| self.clock.elapsed());
        Some(Ok(taken))
    }

    /// Returns the acknowledgements to send; `None` if all tags belong to a lost connection.
    fn steps(&self, tags: &[DeliveryTag]) -> Option<Settling> {
        let state = self.lock();
        let link = state.link.as_ref()?;
        let of_broker = tags.iter().filter_map(|tag| tag.0.checked_sub(link.base)).collect();
        let steps = link.unsettled.steps(&of_broker);
        (!steps.is_empty()).then(|| Settling { channel: link.channel.clone(), base: link.base, steps })
    }

    /// Forgets what an acknowledgement or a refusal settles, unless the channel with this base is
    /// lost.
    fn settled(&self, base: u64, tag: u64, multiple: bool) {
        if let Some(link) = self.lock().link.as_mut().filter(|link| link.base == base) {
            link.unsettled.settled(tag, multiple);
        }
    }

    /// Stores deliveries for receivers, and returns the tags of those that are too large.
    fn add(&self, deliveries: Vec<lapin::message::Delivery>) -> Vec<u64> {
        let now = self.clock.elapsed();
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
                    "refused a message whose body is too large; if the queue has a dead letter exchange, it goes there"
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
                link.unsettled.settled(tag, false);
            }
        }
        Ok(())
    }

    /// Returns when to check for a stall: when the stored messages will have waited for the stall
    /// timeout, or the earliest moment at which any could have.
    fn stalled_at(&self) -> Duration {
        let state = self.lock();
        let since = state.untouched_since.filter(|_| state.receivers == 0);
        since.unwrap_or_else(|| self.clock.elapsed()) + self.config.stall_timeout
    }

    fn is_stalled(&self) -> bool {
        let state = self.lock();
        let waited = state.untouched_since.map(|at| self.clock.elapsed().saturating_sub(at));
        state.receivers == 0 && waited.is_some_and(|waited| waited >= self.config.stall_timeout)
    }

    /// Returns how many more messages may be unacknowledged, if a receiver waits and no message is
    /// stored.
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

    /// Forgets the channel and its stored deliveries, which the broker will deliver again.
    fn detach(&self) {
        let mut state = self.lock();
        state.link = None;
        state.arrived.clear();
        state.untouched_since = None;
    }

    /// Forgets the channel and makes the consumer reconnect.
    fn give_up(&self) {
        self.detach();
        self.broken.notify_one();
    }

    fn failed(&self, what: &str, error: &lapin::Error) -> Error {
        failure(&self.config, &format!("queue {:?}, {what}", self.config.queue), error)
    }
}

/// Keeps a consumer running: reconnects without end, with a back-off.
async fn supervise(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(&shared.config);
    loop {
        let started = shared.clock.elapsed();
        let error = consume(&shared).await;
        shared.detach();
        let now = shared.clock.elapsed();
        // A connection that fails soon after it was made does not count as a success.
        if now.saturating_sub(started) > shared.config.reconnect_max {
            backoff.reset();
        }
        let pause = backoff.next();
        tracing::warn!(%error, pause_ms = pause.as_millis(), "the consumer ended and will be started again");
        if !error.is_transient() {
            shared.lock().failure = Some(error);
            shared.arrived.notify_waiters();
        }
        shared.clock.sleep(pause).await;
    }
}

/// Runs one connection, and returns the error that ended it.
async fn consume(shared: &Shared) -> Error {
    let connection = match connect(&shared.config, &*shared.clock).await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    let deadline = shared.clock.elapsed() + shared.config.connect_timeout;
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
    declare(&shared.config, connection, &channel).await?;
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

/// Moves deliveries from the channel to the shared state. Pauses consuming while no receiver takes
/// them.
async fn pump(shared: &Shared, channel: &Channel, mut consumer: lapin::Consumer) -> Result<std::convert::Infallible> {
    loop {
        let mut check = shared.clock.sleep(shared.stalled_at().saturating_sub(shared.clock.elapsed())).fuse();
        loop {
            let delivery = select_biased! {
                delivery = consumer.next().fuse() => delivery,
                () = shared.broken.notified().fuse() => {
                    if shared.lock().link.is_some() {
                        // The wake-up was meant for an earlier channel.
                        continue;
                    }
                    let place = shared.config.place("acknowledge");
                    return Err(Error::new(Remedy::Unavailable, place, "an acknowledgement failed or was not sent in time"));
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

/// Collects a delivery and those that arrive directly after it. Yielding to other tasks while more
/// arrive makes fewer and larger batches, and so fewer wake-ups and acknowledgements.
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

/// Pauses consuming until a receiver waits. Stored messages stay unacknowledged: to requeue them,
/// in any way, counts as a delivery against the limit of a quorum queue.
async fn rest(shared: &Shared, channel: &Channel, mut consumer: lapin::Consumer) -> Result<lapin::Consumer> {
    let cancelled = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
    cancelled.map_err(|error| shared.failed("cancel", &error))?;
    while let Some(delivery) = consumer.next().await {
        let too_large = shared.add(vec![came(shared, Some(delivery))?]);
        shared.refuse(channel, too_large).await?;
    }
    tracing::warn!(queue = %shared.config.queue, "no receiver takes the messages that arrived: consuming is paused");
    let room = loop {
        let mut progress = pin!(shared.progress.notified());
        progress.as_mut().enable();
        if let Some(room) = shared.wanted() {
            break room;
        }
        progress.await;
    };
    tracing::info!(queue = %shared.config.queue, "a receiver takes messages again: consuming is resumed");
    // The prefetch limit counts per consumer, and the new consumer does not count the messages that
    // are still unacknowledged, so they are subtracted.
    start(shared, channel, room).await
}
