//! Networks and brokers that fail.

use crate::proxy::Proxy;
use crate::world::{World, eventually, message, soon, url_at};
use freshmaker::backend::{Bus, Remedy};
use freshmaker_amqp::{AmqpBus, AmqpConfig, QueueConfig};
use futures_util::FutureExt;
use std::time::Duration;
use test_support::broker::{address, url};

const SHORT: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_confirmation_that_never_comes_is_unclear() {
    let Some(world) = World::new("unconfirmed").await else { return };
    let proxy = Proxy::to(address()).await;
    let mut config = world.config_at(&url_at(proxy.port));
    config.confirm_timeout = SHORT;
    let bus = AmqpBus::new(config).unwrap();
    bus.publish(&message("1", b"")).await.unwrap();
    proxy.hold();
    let (two, three) = (message("2", b""), message("3", b""));
    let (first, second) = tokio::join!(bus.publish(&two), bus.publish(&three));
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(error.remedy, Remedy::Unclear, "{error}");
        assert!(error.place.contains("publish to") && error.text.contains("0.4 s"), "{error}");
    }
    // No new connection is to be had either, and so the next one is certainly not sent.
    let error = bus.publish(&message("4", b"")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
    proxy.go_on();
    let mut answer = bus.publish(&message("5", b"")).await;
    eventually("it is published again", async || {
        if answer.is_err() {
            answer = bus.publish(&message("5", b"")).await;
        }
        answer.is_ok()
    })
    .await;
    let published = world.drain(&world.outbox()).await;
    let ids: Vec<_> = published
        .iter()
        .map(|delivery| delivery.properties.headers().as_ref().unwrap().inner()["freshmaker-id"].clone())
        .collect();
    assert!(!ids.contains(&lapin::types::AMQPValue::LongString("4".into())), "{ids:?}");
    assert!(ids.contains(&lapin::types::AMQPValue::LongString("5".into())), "{ids:?}");
    world.clean().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_loses_nothing() {
    let Some(world) = World::new("cut").await else { return };
    let proxy = Proxy::to(address()).await;
    let bus = AmqpBus::new(world.config_at(&url_at(proxy.port))).unwrap();
    world.prepare(&bus).await;
    for n in 0..30 {
        world.send(&message(&n.to_string(), b"")).await;
    }
    let mut done = std::collections::BTreeSet::new();
    while done.len() < 30 {
        let deliveries = soon("a message", bus.receive(7)).await.unwrap();
        let acknowledged: Vec<_> = deliveries.iter().take(3).collect();
        bus.acknowledge(&acknowledged.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).await.unwrap();
        done.extend(acknowledged.into_iter().map(|delivery| delivery.message.id.clone()));
        proxy.cut();
        let error = bus.publish(&message("out", b"")).await.err();
        assert!(error.is_none_or(|error| matches!(error.remedy, Remedy::Unclear | Remedy::Unavailable)));
    }
    world.clean().await;
}

#[tokio::test]
async fn a_tag_of_a_lost_connection_acknowledges_nothing() {
    let Some(world) = World::new("lost-tag").await else { return };
    let proxy = Proxy::to(address()).await;
    let bus = AmqpBus::new(world.config_at(&url_at(proxy.port))).unwrap();
    world.prepare(&bus).await;
    world.send(&message("precious", b"")).await;
    let first = soon("a message", bus.receive(1)).await.unwrap().remove(0);
    proxy.cut();
    let again = soon("the message again", bus.receive(1)).await.unwrap().remove(0);
    assert_ne!(first.tag, again.tag);
    bus.acknowledge(&[first.tag]).await.unwrap();
    drop(bus);
    eventually("the broker has the message back", async || world.take(&world.queue()).await.is_some()).await;
    world.clean().await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_is_made_again() {
    let Some(world) = World::new("deleted").await else { return };
    let bus = world.bus();
    world.prepare(&bus).await;
    world.delete_queue(&world.queue()).await;
    world.prepare(&bus).await;
    world.send(&message("after", b"")).await;
    assert_eq!(soon("a message", bus.receive(1)).await.unwrap()[0].message.id, "after");
    world.clean().await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_waited_for() {
    let Some(world) = World::new("absent").await else { return };
    let (wait, last) = (Duration::from_millis(10), Duration::from_millis(50));
    let mut config = world.config_at("amqp://127.0.0.1:1");
    (config.confirm_timeout, config.reconnect_min, config.reconnect_max) = (SHORT, wait, last);
    let bus = AmqpBus::new(config).unwrap();
    let one = message("1", b"");
    let (received, published) = tokio::join!(tokio::time::timeout(SHORT, bus.receive(1)), bus.publish(&one));
    assert!(received.is_err(), "it waits");
    let error = published.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
    assert!(error.place.starts_with("amqp://127.0.0.1:1/"), "{error}");
    assert!(error.text.contains("refused"), "{error}");
    assert_eq!(bus.check().await.len(), 1);
    world.clean().await;
}

#[tokio::test]
async fn what_waiting_does_not_mend_is_told() {
    let Some(world) = World::new("told").await else { return };
    let wrong = url().replacen("guest:guest", "guest:wr0ng", 1);
    if wrong == url() {
        return world.clean().await;
    }
    let bus = AmqpBus::new(world.config_at(&wrong)).unwrap();
    for (error, remedy) in [
        (soon("an error", bus.receive(1)).await.unwrap_err(), Remedy::Rejected),
        (soon("an error", bus.publish(&message("1", b""))).await.unwrap_err(), Remedy::NotNow),
    ] {
        assert_eq!(error.remedy, remedy, "a message is not at fault: {error}");
        assert!(!error.to_string().contains("wr0ng"), "{error}");
    }

    // The queue is there already, and is another one.
    let bus = world.bus();
    world.prepare(&bus).await;
    let other = world.bus_with(|config| config.delivery_limit = Some(3));
    let error = soon("an error", other.receive(1)).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Rejected, "{error}");
    assert!(error.place.contains(&world.queue()), "{error}");

    let mut config = world.config();
    config.passive_declares = true;
    let config = config.with_queue("freshmaker-test-nowhere", QueueConfig::durable());
    let error = soon("an error", AmqpBus::new(config).unwrap().receive(1)).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::NotFound, "{error}");

    let mut config = world.config();
    config.publish_exchange = "freshmaker-test-nowhere".into();
    let error = AmqpBus::new(config).unwrap().publish(&message("1", b"")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::NotNow, "a message is not at fault: {error}");
    drop(bus);
    world.clean().await;
}

#[tokio::test]
async fn what_the_broker_takes_from_nobody_is_refused_for_good() {
    let Some(world) = World::new("refused").await else { return };
    let bus = world.bus();
    // More than a broker takes, unless it is set up to.
    let large = vec![b' '; (128 << 20) + 1];
    let error = soon("an error", bus.publish(&message("large", &large))).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Rejected, "{error}");
    soon("a confirmation", bus.publish(&message("small", b"{}"))).await.unwrap();
    world.clean().await;
}

#[tokio::test]
async fn files_for_tls_that_are_not_there_are_named() {
    let mut config = AmqpConfig::new("amqps://127.0.0.1:1").unwrap();
    config.tls.ca = Some("/nonexistent/ca.pem".into());
    let error = config.check_offline().unwrap_err();
    assert_eq!((error.remedy, error.place.as_str()), (Remedy::Unsupported, "/nonexistent/ca.pem"));
    let error = AmqpBus::new(config).unwrap().publish(&message("1", b"")).await.unwrap_err();
    assert_eq!((error.remedy, error.place.as_str()), (Remedy::NotNow, "/nonexistent/ca.pem"));
}

#[test]
fn without_a_runtime_it_says_so() {
    let bus = AmqpBus::new(AmqpConfig::new("amqp://127.0.0.1:1").unwrap()).unwrap();
    let error = bus.receive(1).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.remedy, Remedy::Unsupported, "{error}");
}
