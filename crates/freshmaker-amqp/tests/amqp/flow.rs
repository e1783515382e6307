//! How many messages are held, for how long, and what they cost.

use crate::world::{World, eventually, message, soon};
use freshmaker::backend::{Bus, Delivery, Remedy};
use freshmaker_amqp::AmqpBus;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;

const STALL: Duration = Duration::from_millis(150);

fn ids(deliveries: &[Delivery]) -> BTreeSet<&str> {
    deliveries.iter().map(|delivery| delivery.message.id.as_str()).collect()
}

async fn receive(bus: &AmqpBus, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(soon("a message", bus.receive(count - all.len())).await.unwrap());
    }
    all
}

#[tokio::test]
async fn only_what_was_named_is_acknowledged_and_the_broker_forgets_it() {
    let Some(world) = World::new("named").await else { return };
    let bus = world.bus();
    world.prepare(&bus).await;
    for n in 0..20 {
        world.send(&message(&n.to_string(), b"")).await;
    }
    let came = receive(&bus, 20).await;
    let odd: Vec<_> = came.iter().skip(1).step_by(2).map(|delivery| delivery.tag).collect();
    bus.acknowledge(&odd).await.unwrap();
    // A second time is no error, and neither is a tag that never was.
    bus.acknowledge(&odd).await.unwrap();
    bus.acknowledge(&[freshmaker::backend::DeliveryTag(u64::MAX)]).await.unwrap();
    bus.acknowledge(&[came[0].tag]).await.unwrap();
    drop(bus);
    let mut left = BTreeSet::new();
    eventually("the broker has the others back", async || {
        let more = world.drain(&world.queue()).await;
        left.extend(more.iter().map(|delivery| delivery.properties.message_id().clone().unwrap().to_string()));
        left.len() >= 9
    })
    .await;
    assert_eq!(left, (1..10).map(|n| (2 * n).to_string()).collect());
    world.clean().await;
}

#[tokio::test]
async fn no_more_are_held_than_the_prefetch() {
    let Some(world) = World::new("prefetch").await else { return };
    let bus = world.bus_with(|config| config.prefetch = 5);
    world.prepare(&bus).await;
    for n in 0..12 {
        world.send(&message(&n.to_string(), b"")).await;
    }
    let first = receive(&bus, 5).await;
    assert_eq!(world.drain(&world.queue()).await.len(), 7, "the others stay with the broker");
    world.send(&message("last", b"")).await;
    let tags: Vec<_> = first.iter().map(|delivery| delivery.tag).collect();
    bus.acknowledge(&tags).await.unwrap();
    assert_eq!(ids(&receive(&bus, 1).await), BTreeSet::from(["last"]));
    drop(bus);
    world.clean().await;
}

#[tokio::test]
async fn who_takes_nothing_is_no_consumer_until_it_does() {
    let Some(world) = World::new("rest").await else { return };
    let bus = world.bus_with(|config| (config.prefetch, config.stall_timeout) = (4, STALL));
    world.prepare(&bus).await;
    for n in 0..5 {
        world.send(&message(&n.to_string(), b"")).await;
    }
    let mut came = receive(&bus, 1).await;
    eventually("the consumer is cancelled", async || world.consumers(&world.queue()).await == Some(0)).await;
    came.extend(receive(&bus, 3).await);
    assert_eq!(world.consumers(&world.queue()).await, Some(0), "there is no room for more");
    bus.acknowledge(&[came[0].tag]).await.unwrap();
    came.extend(receive(&bus, 1).await);
    assert_eq!(ids(&came), BTreeSet::from(["0", "1", "2", "3", "4"]));
    world.send(&message("too many", b"")).await;
    bus.acknowledge(&[came[1].tag]).await.unwrap();
    assert_eq!(world.consumers(&world.queue()).await, Some(1));
    drop(bus);
    world.clean().await;
}

#[tokio::test]
async fn to_hold_messages_for_long_does_not_count_as_deliveries() {
    let Some(world) = World::new("stall").await else { return };
    let bus = world.bus_with(|config| (config.delivery_limit, config.stall_timeout) = (Some(2), STALL));
    world.prepare(&bus).await;
    let mut probes = 0;
    // More often than the limit of deliveries.
    for round in 0..4 {
        let mut expected: BTreeSet<_> = (0..5).map(|n| format!("{round}.{n}")).collect();
        for id in &expected {
            world.send(&message(id, b"")).await;
        }
        let mut came = receive(&bus, 1).await;
        // A quorum queue counts a cancelled consumer as long as it holds something, so another way
        // to see it is needed.
        eventually("a message stays with the broker", async || {
            let left = world.take(&world.queue()).await;
            if let Some(left) = &left {
                expected.remove(left.properties.message_id().clone().unwrap().as_str());
            } else {
                probes += 1;
                world.send(&message(&format!("probe {probes}"), b"")).await;
                expected.insert(format!("probe {probes}"));
            }
            left.is_some()
        })
        .await;
        while came.len() < expected.len() {
            came.extend(receive(&bus, 1).await);
        }
        assert_eq!(ids(&came), expected.iter().map(String::as_str).collect(), "round {round}");
        let counted = came.iter().find(|delivery| delivery.message.headers.contains_key("x-delivery-count"));
        assert_eq!(counted, None, "a message was given back");
        bus.acknowledge(&came.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).await.unwrap();
        world.send(&message("awake", b"")).await;
        let awake = receive(&bus, 1).await;
        assert_eq!(ids(&awake), BTreeSet::from(["awake"]));
        bus.acknowledge(&[awake[0].tag]).await.unwrap();
    }
    drop(bus);
    world.clean().await;
}

#[tokio::test]
async fn many_publications_are_under_way_at_once() {
    let Some(world) = World::new("many").await else { return };
    let bus = world.bus();
    let messages: Vec<_> = (0..500).map(|n| message(&n.to_string(), b"{}")).collect();
    let answers = soon("500 confirmations", join_all(messages.iter().map(|message| bus.publish(message)))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.drain(&world.outbox()).await.len(), 500);
    world.clean().await;
}

#[tokio::test]
async fn nobody_has_to_listen_unless_that_is_asked_for() {
    let Some(world) = World::new("mandatory").await else { return };
    world.delete_queue(&world.outbox()).await;
    world.bus().publish(&message("1", b"")).await.unwrap();
    let error = world.bus_with(|config| config.mandatory = true).publish(&message("1", b"")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::NotNow, "{error}");
    assert!(error.text.contains("no queue is bound for test.sent"), "{error}");
    world.clean().await;
}

#[tokio::test]
async fn a_check_tells_what_is_there() {
    let Some(world) = World::new("check").await else { return };
    let bus = world.bus();
    let outcomes = async || bus.check().await.into_iter().map(|check| (check.what, check.outcome)).collect::<Vec<_>>();
    let before = outcomes().await;
    let whats: Vec<_> = before[3..].iter().map(|(what, _)| what.replace(&world.name, "NAME")).collect();
    let permissions = [
        "create queue \"NAME\"",
        "bind queue \"NAME\" to \"NAME\"",
        "consume from queue \"NAME\"",
        "publish to \"NAME.out\"",
    ];
    let expected: Vec<_> = permissions.map(|what| format!("permission to {what}")).into();
    assert_eq!(whats, [vec!["queue \"NAME\"".to_owned()], expected].concat());
    let missing = |(what, outcome): &(String, freshmaker::backend::Result<()>)| {
        outcome.as_ref().is_err_and(|error| error.remedy == Remedy::NotFound) && what.starts_with("queue")
    };
    assert!(before.iter().all(|check| check.1.is_ok() || missing(check)), "{before:?}");
    assert!(missing(&before[3]));
    assert_eq!(world.consumers(&world.queue()).await, None, "a check makes nothing");
    world.prepare(&bus).await;
    assert!(outcomes().await.iter().all(|(_, outcome)| outcome.is_ok()));
    world.clean().await;
}

#[tokio::test]
async fn what_runs_in_the_background_ends_with_the_bus() {
    let Some(world) = World::new("end").await else { return };
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let bus = world.bus();
    world.prepare(&bus).await;
    bus.publish(&message("1", b"")).await.unwrap();
    assert!(tasks() > before);
    drop(bus);
    eventually("nobody consumes", async || world.consumers(&world.queue()).await == Some(0)).await;
    eventually("no task is left but those of the other client", async || tasks() <= before).await;
    world.clean().await;
}
