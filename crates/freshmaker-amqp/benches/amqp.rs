//! What the bus costs over AMQP: messages received and acknowledged in a second, against the client
//! library alone with the same prefetch and the same acknowledgements, on the broker at
//! `FRESHMAKER_AMQP_URL`, else the one of this machine.
//!
//! `cargo bench --all-features --bench amqp` prints the ratio, which is what counts. With
//! `-- --long N` it passes N messages through the bus, and prints how much memory the process has
//! meanwhile.

use freshmaker::backend::{Bus, DeliveryTag};
use freshmaker::event::Message;
use freshmaker_amqp::{AmqpBus, AmqpConfig, QueueConfig};
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use std::error::Error;
use std::time::Instant;

const MESSAGES: usize = 40_000;
const BATCH: usize = 1000;
const PREFETCH: u16 = 2000;
const ROUNDS: usize = 7;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Fills a queue with messages of the size and with the headers that Fedora's have.
async fn fill(channel: &Channel, queue: &str, count: usize) -> Outcome<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut headers = FieldTable::default();
    headers.insert("fedora_messaging_schema".into(), AMQPValue::LongString("base.message".into()));
    headers.insert("fedora_messaging_severity".into(), AMQPValue::LongInt(20));
    headers.insert("sent-at".into(), AMQPValue::LongString("2026-11-23T07:24:47+00:00".into()));
    let body = [b'x'; 500];
    for start in (0..count).step_by(BATCH) {
        let mut confirms = Vec::with_capacity(BATCH);
        for n in start..count.min(start + BATCH) {
            let properties = BasicProperties::default()
                .with_message_id(format!("{n}").into())
                .with_content_type("application/json".into())
                .with_content_encoding("utf-8".into())
                .with_headers(headers.clone());
            let options = BasicPublishOptions::default();
            confirms.push(channel.basic_publish("".into(), queue.into(), options, &body, properties).await?);
        }
        try_join_all(confirms).await?;
    }
    Ok(())
}

/// Messages in a second with the library alone, from the connection on.
async fn bare(url: &str, queue: &str, count: usize) -> Outcome<f64> {
    let start = Instant::now();
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    let mut left = count;
    while left > 0 {
        let mut last = consumer.next().await.ok_or("cancelled")??.delivery_tag;
        left -= 1;
        for _ in 1..BATCH.min(left + 1) {
            let Some(next) = consumer.next().now_or_never() else { break };
            last = next.ok_or("cancelled")??.delivery_tag;
            left -= 1;
        }
        channel.basic_ack(last, BasicAckOptions { multiple: true }).await?;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn bus(url: &str, queue: &str) -> Outcome<AmqpBus> {
    let mut config = AmqpConfig::new(url)?.with_queue(queue, QueueConfig::durable());
    config.prefetch = PREFETCH;
    config.bindings.clear();
    Ok(AmqpBus::new(config)?)
}

async fn take(bus: &AmqpBus, count: usize) -> Outcome<()> {
    let mut left = count;
    while left > 0 {
        let deliveries = bus.receive(BATCH.min(left)).await?;
        let tags: Vec<DeliveryTag> = deliveries.iter().map(|delivery| delivery.tag).collect();
        bus.acknowledge(&tags).await?;
        left -= tags.len();
    }
    Ok(())
}

/// Messages in a second through the bus, from the connection on.
async fn ours(url: &str, queue: &str, count: usize) -> Outcome<f64> {
    let start = Instant::now();
    let bus = bus(url, queue)?;
    take(&bus, count).await?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// Memory of this process, in KiB.
fn memory() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

async fn long(url: &str, queue: &str, count: usize) -> Outcome<()> {
    let bus = bus(url, queue)?;
    let mut printed = 0;
    for done in (0..count).step_by(BATCH) {
        for start in (0..BATCH).step_by(100) {
            let messages: Vec<_> = (start..start + 100).map(|n| message(queue, done + n)).collect();
            try_join_all(messages.iter().map(|message| bus.publish(message))).await?;
        }
        take(&bus, BATCH).await?;
        if done * 10 >= printed * count {
            println!("{:>9} messages  {:>8} KiB", done + BATCH, memory()?);
            printed += 1;
        }
    }
    println!("{count:>9} messages  {:>8} KiB", memory()?);
    Ok(())
}

fn message(queue: &str, n: usize) -> Message {
    Message { id: n.to_string(), topic: queue.to_owned(), headers: Default::default(), body: vec![b'x'; 500] }
}

async fn compare(url: &str, channel: &Channel, queue: &str) -> Outcome<()> {
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        // Each has a queue that was just filled, and neither is always the first.
        let (mut bare_rate, mut our_rate) = (0.0, 0.0);
        for turn in [round % 2, (round + 1) % 2] {
            fill(channel, queue, MESSAGES).await?;
            match turn {
                0 => bare_rate = bare(url, queue, MESSAGES).await?,
                _ => our_rate = ours(url, queue, MESSAGES).await?,
            }
        }
        let ratio = our_rate / bare_rate;
        println!("library {bare_rate:>8.0}/s  bus {our_rate:>8.0}/s  ratio {ratio:.2}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} (target at least 0.9)", ratios[ROUNDS / 2]);
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = std::env::var("FRESHMAKER_AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queue = format!("freshmaker-bench-{}", std::process::id());
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().position(|argument| argument == "--long") {
        None => compare(&url, &channel, &queue).await,
        Some(at) => {
            // Through an exchange, as a bus publishes.
            let count = arguments.get(at + 1).ok_or("--long needs a number of messages")?.parse()?;
            let bind = channel.queue_bind(
                queue.as_str().into(),
                "amq.topic".into(),
                queue.as_str().into(),
                Default::default(),
                FieldTable::default(),
            );
            bind.await?;
            long(&url, &queue, count).await
        }
    };
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    outcome
}
