//! What a message is on the wire, in both directions.

use crate::world::{World, eventually, message, soon};
use freshmaker::backend::{Bus, Remedy};
use freshmaker::event::Message;
use freshmaker_amqp::AmqpBus;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use std::collections::BTreeMap;

/// Computed by another program: SHA-256 of the namespace and `build:7:1`, cut to a UUID of version
/// 8.
const ID_OF_BUILD_7_1: &str = "7e6abb2f-97a1-8b26-a12e-2cc10716d56b";

async fn one(bus: &AmqpBus) -> Message {
    let delivery = soon("a message", bus.receive(1)).await.unwrap().remove(0);
    bus.acknowledge(&[delivery.tag]).await.unwrap();
    delivery.message
}

#[tokio::test]
async fn what_comes_is_told_whole() {
    let Some(world) = World::new("whole").await else { return };
    let bus = world.bus();
    world.prepare(&bus).await;

    let mut inner = FieldTable::default();
    inner.insert("n".into(), AMQPValue::LongLongInt(-5));
    let mut table = FieldTable::default();
    for (name, value) in [
        ("text", AMQPValue::LongString("as it is \"quoted\"".into())),
        ("severity", AMQPValue::LongInt(20)),
        ("truth", AMQPValue::Boolean(true)),
        ("half", AMQPValue::Double(0.5)),
        ("list", AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Void, AMQPValue::LongString("a".into())]))),
        ("table", AMQPValue::FieldTable(inner)),
        ("bytes", AMQPValue::LongString(vec![0xff_u8, 0].into())),
        ("app_id", AMQPValue::LongString("of the sender".into())),
    ] {
        table.insert(name.into(), value);
    }
    let properties = BasicProperties::default()
        .with_message_id("d681fa46-cb6d-4174-8fcd-14d509583318".into())
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_type("t".into())
        .with_app_id("of the protocol".into())
        .with_timestamp(1_764_000_000)
        .with_headers(table);
    world.send_raw("org.example.done", properties, b"{}").await;
    let came = one(&bus).await;
    assert_eq!(came.id, "d681fa46-cb6d-4174-8fcd-14d509583318");
    assert_eq!(came.topic, "org.example.done");
    let expected = BTreeMap::from(
        [
            ("text", "as it is \"quoted\""),
            ("severity", "20"),
            ("truth", "true"),
            ("half", "0.5"),
            ("list", "[null,\"a\"]"),
            ("table", "{\"n\":-5}"),
            ("bytes", "[255,0]"),
            ("app_id", "of the sender"),
            ("content_type", "application/json"),
            ("content_encoding", "utf-8"),
            ("correlation_id", "c"),
            ("reply_to", "r"),
            ("type", "t"),
            ("timestamp", "1764000000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(came.headers, expected);

    // Without an id, headers or a body it is a message as well.
    world.send_raw("org.example.bare", BasicProperties::default(), b"").await;
    let bare = one(&bus).await;
    assert_eq!((bare.id.as_str(), bare.topic.as_str(), bare.body.len()), ("", "org.example.bare", 0));
    assert!(bare.headers.is_empty());
    world.clean().await;
}

#[tokio::test]
async fn bodies_are_bytes_and_may_be_large() {
    let Some(world) = World::new("bodies").await else { return };
    let bus = world.bus();
    world.prepare(&bus).await;
    let large: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    for body in [&b"\xff\xfe\x00{"[..], &large] {
        world.send(&message("in", body)).await;
        assert!(one(&bus).await.body == body, "{} bytes came changed", body.len());
        bus.publish(&message("out", body)).await.unwrap();
        let published = world.take(&world.outbox()).await.unwrap();
        assert!(published.data == body, "{} bytes went changed", body.len());
        let kind = published.properties.content_type().clone().unwrap();
        assert_eq!(kind.as_str(), "application/octet-stream", "what is no text does not claim to be");
        assert!(published.properties.content_encoding().is_none());
    }
    world.clean().await;
}

#[tokio::test]
async fn what_goes_is_what_the_reference_client_would_send() {
    let Some(world) = World::new("goes").await else { return };
    let bus = world.bus_with(|config| config.topic_prefix = "org.example.test".to_owned());
    let uuid = "d681fa46-cb6d-4174-8fcd-14d509583318";
    let given = [("fedora_messaging_severity", "30"), ("fedora_messaging_user_joe", "true"), ("note", "true")];
    let headers = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let rich = Message { headers, ..message(uuid, b"{}") };
    let plain = message("build:7:1", b"{}");
    for each in [&rich, &plain, &plain] {
        bus.publish(each).await.unwrap();
    }
    let published = world.drain(&world.outbox()).await;
    assert_eq!(published.len(), 3);
    let headers = |n: usize| published[n].properties.headers().clone().unwrap();
    let text = |text: &str| AMQPValue::LongString(text.into());
    for (n, delivery) in published.iter().enumerate() {
        let properties = &delivery.properties;
        assert_eq!(delivery.routing_key.as_str(), "org.example.test.test.sent");
        assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        assert_eq!(properties.content_encoding().as_ref().unwrap().as_str(), "utf-8");
        let table = headers(n);
        assert_eq!(table.inner()["fedora_messaging_schema"], text("base.message"));
        assert_eq!(table.inner()["priority"], AMQPValue::LongInt(0));
        let AMQPValue::LongString(sent_at) = &table.inner()["sent-at"] else { panic!("sent-at is a text") };
        let sent_at = sent_at.to_string();
        assert!(sent_at.ends_with("+00:00") && sent_at.len() == 25 && sent_at.as_bytes()[10] == b'T', "{sent_at}");
    }
    assert_eq!(published[0].properties.message_id().as_ref().unwrap().as_str(), uuid);
    assert_eq!(headers(0).inner()["fedora_messaging_severity"], AMQPValue::LongInt(30));
    assert_eq!(headers(0).inner()["fedora_messaging_user_joe"], AMQPValue::Boolean(true));
    assert_eq!(headers(0).inner()["note"], text("true"));
    assert!(!headers(0).contains_key("freshmaker-id"));
    assert_eq!(headers(1).inner()["fedora_messaging_severity"], AMQPValue::LongInt(20));
    assert_eq!(headers(1).inner()["freshmaker-id"], text("build:7:1"));
    // Others know repeated messages by this id, so it is part of what is promised.
    let ids = [1, 2].map(|n: usize| published[n].properties.message_id().clone().unwrap().to_string());
    assert_eq!(ids, [ID_OF_BUILD_7_1; 2]);
    world.clean().await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_harms_nothing() {
    let Some(world) = World::new("refused").await else { return };
    let bus = world.bus();
    let long = "x".repeat(300);
    let header = |name: &str, bytes: usize| BTreeMap::from([(name.to_owned(), "v".repeat(bytes))]);
    for bad in [
        Message { topic: long.clone(), ..message("1", b"") },
        Message { headers: header(&long, 1), ..message("1", b"") },
        Message { headers: header("much", 200_000), ..message("1", b"") },
        Message { headers: header("content_type", 300), ..message("1", b"") },
    ] {
        let error = bus.publish(&bad).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected, "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
    let nearly = Message { headers: header("much", 96_000), ..message("1", b"") };
    bus.publish(&nearly).await.unwrap();
    assert_eq!(world.drain(&world.outbox()).await.len(), 1);
    world.clean().await;
}

#[tokio::test]
async fn what_is_too_large_goes_to_the_dead_letters() {
    let Some(world) = World::new("large").await else { return };
    let dead_letters = format!("{}.dlx", world.name);
    let bus = world.bus_with(|config| {
        config.body_bytes_max = 1000;
        config.dead_letter_exchange = Some(dead_letters);
        config.delivery_limit = Some(20);
    });
    world.prepare(&bus).await;
    for (id, bytes) in [("before", 1000), ("large", 1001), ("after", 10)] {
        world.send(&message(id, &vec![b'x'; bytes])).await;
    }
    assert_eq!(one(&bus).await.id, "before");
    assert_eq!(one(&bus).await.id, "after");
    let mut dead = Vec::new();
    let dead_queue = format!("{}.dead", world.queue());
    eventually("the large message is among the dead letters", async || {
        dead.extend(world.drain(&dead_queue).await);
        !dead.is_empty()
    })
    .await;
    let ids: Vec<_> =
        dead.iter().map(|delivery| delivery.properties.message_id().clone().unwrap().to_string()).collect();
    assert_eq!(ids, ["large"]);
    world.clean().await;
}
