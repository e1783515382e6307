//! A user who may only listen, as on Fedora's public broker, with the file that the reference
//! client ships for it.

use crate::node::Node;
use crate::world::{eventually, message, soon};
use freshmaker::backend::{Bus, Remedy};
use freshmaker_amqp::{AmqpBus, AmqpConfig, Check};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use test_support::python;

const VHOST: &str = "/public_pubsub";

/// What the user `fedora`, known by its certificate alone, may do: configure and write to queues
/// with names of UUIDs and of the broker, and read everything. `mute` may nothing.
const DEFINITIONS: &str = r#"{
    "vhosts": [{ "name": "/public_pubsub" }],
    "users": [
        { "name": "fedora", "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "" },
        { "name": "mute", "password": "hush", "tags": "" }
    ],
    "permissions": [
        { "user": "guest", "vhost": "/public_pubsub", "configure": ".*", "write": ".*", "read": ".*" },
        { "user": "mute", "vhost": "/public_pubsub", "configure": "^$", "write": "^$", "read": "^$" },
        {
            "user": "fedora", "vhost": "/public_pubsub", "read": ".*",
            "configure": "^(amq\\.gen-.*|\\w{8}(-\\w{4}){3}-\\w{12}.*)$",
            "write": "^(amq\\.gen-.*|\\w{8}(-\\w{4}){3}-\\w{12}.*)$"
        }
    ],
    "topic_permissions": [
        { "user": "guest", "vhost": "/public_pubsub", "exchange": "amq.topic", "write": "^org\\.", "read": ".*" }
    ]
}"#;

/// The shipped file, with the address of this broker and the places of our certificates.
fn file(home: &Path, tls_port: u16) -> PathBuf {
    let at = |name: &str| home.join(name).display().to_string();
    let text = include_str!("../data/fedora.toml")
        .replace("rabbitmq.fedoraproject.org", &format!("localhost:{tls_port}"))
        .replace("/etc/fedora-messaging/cacert.pem", &at("ca.pem"))
        .replace("/etc/fedora-messaging/fedora-key.pem", &at("fedora.key"))
        .replace("/etc/fedora-messaging/fedora-cert.pem", &at("fedora.pem"));
    let path = home.join("fedora.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Publishes as somebody who may.
async fn publish(node: &Node, topic: &str) {
    let url = node.url().replace("/%2f", "/%2Fpublic_pubsub");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let properties = BasicProperties::default().with_message_id("d681fa46-cb6d-4174-8fcd-14d509583318".into());
    let options = BasicPublishOptions::default();
    channel.basic_publish("amq.topic".into(), topic.into(), options, b"{}", properties).await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

/// What was found wrong, by what was checked.
fn wrong(checks: &[Check]) -> Vec<(&str, Remedy)> {
    checks.iter().filter_map(|check| Some((check.what.as_str(), check.outcome.as_ref().err()?.remedy))).collect()
}

pub(crate) async fn listens(node: &Node) {
    std::fs::write(node.home.path().join("definitions.json"), DEFINITIONS).unwrap();
    node.control(&["import_definitions", "definitions.json"]).await;
    let file = file(node.home.path(), node.tls_port);
    permissions_are_told_and_nothing_is_changed(node, &file).await;
    the_shipped_file_receives(node, &file).await;
    a_refused_topic_concerns_one_message(node).await;
    the_reference_client_receives_too(node, &file).await;
}

async fn permissions_are_told_and_nothing_is_changed(node: &Node, file: &Path) {
    let mut config = AmqpConfig::read(file).unwrap();
    let (queue, dead) = (config.queue.clone(), "freshmaker-test-dead");
    let checks = AmqpBus::new(config.clone()).unwrap().check().await;
    let absent = format!("queue {queue:?}");
    let to_publish = "permission to publish to \"amq.topic\"";
    assert_eq!(wrong(&checks), [(&*absent, Remedy::NotFound), (to_publish, Remedy::Unsupported)], "{checks:#?}");
    assert!(checks[0].what.ends_with("by its certificate"), "{checks:#?}");

    config.listen_only = true;
    config.dead_letter_exchange = Some(dead.to_owned());
    let checks = AmqpBus::new(config.clone()).unwrap().check().await;
    // To create the queue, its user needs to be allowed to publish dead letters.
    let expected = [
        (format!("exchange {dead:?}"), Remedy::NotFound),
        (format!("permission to create exchange {dead:?}"), Remedy::Rejected),
        (absent, Remedy::NotFound),
        (format!("permission to create queue {queue:?}"), Remedy::Rejected),
        (format!("queue \"{queue}.dead\""), Remedy::NotFound),
    ];
    assert_eq!(wrong(&checks), expected.each_ref().map(|(what, remedy)| (what.as_str(), *remedy)), "{checks:#?}");

    let url = node.url().replace("guest:guest", "mute:hush").replace("/%2f", "/%2Fpublic_pubsub");
    let mute = AmqpConfig::new(&url).unwrap();
    let checks = AmqpBus::new(mute.clone()).unwrap().check().await;
    let queue = &mute.queue;
    let expected = [
        (format!("queue {queue:?}"), Remedy::NotFound),
        (format!("permission to create queue {queue:?}"), Remedy::Rejected),
        (format!("permission to bind queue {queue:?} to \"amq.topic\""), Remedy::Rejected),
        (format!("permission to consume from queue {queue:?}"), Remedy::Rejected),
        (to_publish.to_owned(), Remedy::Unsupported),
    ];
    assert_eq!(wrong(&checks), expected.each_ref().map(|(what, remedy)| (what.as_str(), *remedy)), "{checks:#?}");

    let queues = node.control(&["list_queues", "-p", VHOST, "name"]).await;
    assert_eq!(queues.trim(), "", "nothing was created");
    let exchanges = node.control(&["list_exchanges", "-p", VHOST, "name"]).await;
    assert!(!exchanges.contains(dead), "{exchanges}");
}

async fn the_shipped_file_receives(node: &Node, file: &Path) {
    let bus = AmqpBus::new(AmqpConfig::read(file).unwrap()).unwrap();
    let delivery = tokio::select! {
        came = soon("a message", bus.receive(1)) => came.unwrap().remove(0),
        () = async {
            // The binding is made after the queue; what comes before it is lost.
            loop {
                publish(node, "org.fedoraproject.prod.bodhi.update.complete.stable").await;
            }
        } => unreachable!(),
    };
    assert_eq!(delivery.message.topic, "org.fedoraproject.prod.bodhi.update.complete.stable");
    bus.acknowledge(&[delivery.tag]).await.unwrap();
    let connections = node.control(&["list_connections", "user", "auth_mechanism"]).await;
    assert!(connections.contains("fedora\tEXTERNAL"), "{connections}");

    let refused = soon("an answer", bus.publish(&message("1", b"{}"))).await.unwrap_err();
    assert_eq!(refused.remedy, Remedy::Unsupported, "{refused}");
    assert!(refused.text.contains("ACCESS_REFUSED"), "{refused}");
    // The answer is remembered: no other call is made, not even one that takes a moment.
    let again = futures_util::FutureExt::now_or_never(bus.publish(&message("2", b"{}")));
    assert_eq!(again, Some(Err(refused)));

    let mut config = AmqpConfig::read(file).unwrap();
    config.listen_only = true;
    let silent = AmqpBus::new(config).unwrap();
    let error = futures_util::FutureExt::now_or_never(silent.publish(&message("3", b"{}"))).unwrap().unwrap_err();
    assert!(error.remedy == Remedy::Unsupported && error.text.contains("listen_only"), "{error}");
}

/// Who may publish some topics and not others loses only messages with the others.
async fn a_refused_topic_concerns_one_message(node: &Node) {
    let url = node.url().replace("/%2f", "/%2Fpublic_pubsub");
    let bus = AmqpBus::new(AmqpConfig::new(&url).unwrap()).unwrap();
    let topic = |topic: &str| freshmaker::event::Message { topic: topic.to_owned(), ..message("1", b"{}") };
    let error = soon("an answer", bus.publish(&topic("com.example"))).await.unwrap_err();
    assert!(error.remedy == Remedy::Rejected && error.text.contains("com.example"), "{error}");
    soon("a confirmation", bus.publish(&topic("org.example"))).await.unwrap();
}

async fn the_reference_client_receives_too(node: &Node, file: &Path) {
    let Some(python) = python().await else { return };
    let mut command = tokio::process::Command::new("timeout");
    command.arg("60").arg(python).arg(test_support::peer("fedora_messaging_peer.py")).args(["consume", "1"]);
    command.env("FEDORA_MESSAGING_CONF", file).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let consuming = command.spawn().unwrap();
    let output = tokio::select! {
        output = consuming.wait_with_output() => output.unwrap(),
        () = async {
            let mut again = tokio::time::interval(std::time::Duration::from_millis(200));
            loop {
                again.tick().await;
                publish(node, "org.example.both").await;
            }
        } => unreachable!(),
    };
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("org.example.both"), "{printed}");
    eventually("nobody consumes any more", async || {
        node.control(&["list_queues", "-p", VHOST, "name"]).await.trim().is_empty()
    })
    .await;
}
