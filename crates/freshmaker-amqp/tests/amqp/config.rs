//! The configuration file. Needs no broker.

use freshmaker::backend::Remedy;
use freshmaker_amqp::{AmqpBus, AmqpConfig, QueueConfig};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Every key that the reference client knows.
const FULL: &str = r##"
amqp_url = "amqps://robot:s3cret@rabbitmq.example.org/%2Fpublic_pubsub?heartbeat=20&connection_attempts=3"
callback = "package.module:function"
passive_declares = true
publish_exchange = "amq.topic"
publish_priority = 3
topic_prefix = "org.example.stg"

[tls]
ca_cert = "/etc/fedora-messaging/cacert.pem"
keyfile = "/etc/fedora-messaging/key.pem"
certfile = "/etc/fedora-messaging/cert.pem"

[client_properties]
app = "Rebuilder"
app_url = "https://example.org"

[exchanges."amq.topic"]
type = "topic"
durable = true
auto_delete = false
arguments = {}

[queues.rebuilder]
durable = true
auto_delete = false
exclusive = false
arguments = { "x-max-priority" = 5, "x-queue-mode" = "lazy" }

[[bindings]]
queue = "rebuilder"
exchange = "amq.topic"
routing_keys = ["org.example.#", "com.example.*.done"]

[consumer_config]
anything = ["the", { program = "wants" }]

[consumer_config.freshmaker]
delivery_limit = 12
listen_only = true
connect_timeout = 7
dead_letter_exchange = "dead"
body_bytes_max = 1000
mandatory = true
confirm_timeout = 2.5
stall_timeout = 3
reconnect_min = 0.5
reconnect_max = 60

[monitoring]
address = "127.0.0.1"
port = 8080

[qos]
prefetch_size = 0
prefetch_count = 25

[log_config]
version = 1
disable_existing_loggers = true

[log_config.root]
level = "ERROR"
handlers = ["console"]
"##;

#[test]
fn the_file_of_the_reference_client_is_read_as_it_is() {
    let config = AmqpConfig::parse(FULL, "config.toml").unwrap();
    assert!(config.passive_declares && config.mandatory);
    assert_eq!(config.topic_prefix, "org.example.stg");
    assert_eq!(config.publish_priority, 3);
    assert_eq!(config.tls.client_cert.as_deref(), Some("/etc/fedora-messaging/cert.pem".as_ref()));
    assert_eq!(config.client_properties["app"], "Rebuilder");
    assert_eq!(config.queue, "rebuilder");
    assert_eq!(config.queues["rebuilder"].arguments["x-max-priority"], 5);
    assert_eq!(config.exchanges["amq.topic"].kind, "topic");
    assert_eq!(config.bindings[0].routing_keys, ["org.example.#", "com.example.*.done"]);
    assert_eq!(config.prefetch, 25);
    assert_eq!(config.delivery_limit, Some(12));
    assert_eq!(config.dead_letter_exchange.as_deref(), Some("dead"));
    assert_eq!(config.body_bytes_max, 1000);
    assert!(config.listen_only);
    assert_eq!(config.connect_timeout, Duration::from_secs(7));
    assert_eq!(config.confirm_timeout, Duration::from_millis(2500));
    assert_eq!(config.stall_timeout, Duration::from_secs(3));
    assert_eq!((config.reconnect_min, config.reconnect_max), (Duration::from_millis(500), Duration::from_secs(60)));
    AmqpBus::new(config).unwrap();
}

#[test]
fn the_case_of_the_outermost_keys_means_nothing_as_in_the_reference_client() {
    let text = "TOPIC_PREFIX = \"org.first\"\nTopic_Prefix = \"org.last\"\npublish_priority = 1\nPUBLISH_PRIORITY = 2\n[QoS]\nprefetch_count = 7";
    let config = AmqpConfig::parse(text, "config.toml").unwrap();
    assert_eq!((config.topic_prefix.as_str(), config.publish_priority, config.prefetch), ("org.last", 2, 7));
}

#[test]
fn what_is_not_said_is_as_in_the_reference_client() {
    let config = AmqpConfig::parse("", "config.toml").unwrap();
    assert_eq!(config.publish_exchange, "amq.topic");
    assert_eq!(config.prefetch, 10);
    assert_eq!(config.queues, BTreeMap::from([(config.queue.clone(), QueueConfig::transient())]));
    assert_eq!(config.bindings[0].routing_keys, ["#"]);
    assert!(config.topic_prefix.is_empty() && !config.passive_declares && !config.mandatory);
    let again = AmqpConfig::parse("", "config.toml").unwrap();
    assert_ne!(config.queue, again.queue, "nobody else has a queue of this name");
    assert!(format!("{config:?}").contains("amqp://localhost:5672/"));
}

#[test]
fn topics_replace_the_bindings_of_the_consumed_queue_and_no_others() {
    let text = r##"
        [queues.ours]
        durable = true
        auto_delete = false
        exclusive = false
        arguments = {}
        [queues.theirs]
        durable = true
        auto_delete = false
        exclusive = false
        arguments = {}
        [[bindings]]
        queue = "theirs"
        exchange = "amq.topic"
        routing_keys = ["#"]
        [[bindings]]
        queue = "ours"
        exchange = "zmq.topic"
        routing_keys = ["#"]
        [consumer_config.freshmaker]
        queue = "ours"
        topics = ["a.b", "c.#"]
    "##;
    let config = AmqpConfig::parse(text, "config.toml").unwrap();
    assert_eq!(config.queue, "ours");
    let keys: Vec<_> =
        config.bindings.iter().map(|binding| (binding.exchange.as_str(), &*binding.routing_keys)).collect();
    assert_eq!(keys, [("amq.topic", &["#".to_owned()][..]), ("zmq.topic", &["a.b".to_owned(), "c.#".to_owned()])]);
}

/// The reference client accepts each of these files.
#[test]
fn legal_keys_that_are_rare_are_read() {
    let text = r##"
        publish_priority = 300
        [tls]
        ca_cert = "a"
        cacert = "b"
        [QOS]
        prefetch_count = 7
        PREFETCH_COUNT = 1
        global = true
        [exchanges.inner]
        type = "headers"
        internal = true
        passive = true
        [queues.q]
        durable = true
        auto_delete = false
        exclusive = false
        passive = true
        arguments = {}
        [[bindings]]
        exchange = "inner"
        routing_keys = [""]
        arguments = { x-match = "any", a = 1 }
        [consumer_config.freshmaker]
        listen_only = true
    "##;
    let config = AmqpConfig::parse(text, "config.toml").unwrap();
    assert_eq!((config.publish_priority, config.prefetch), (0, 7));
    assert_eq!(config.tls.ca.as_deref(), Some(std::path::Path::new("a")));
    let inner = &config.exchanges["inner"];
    assert!(inner.internal && inner.passive == Some(true) && config.queues["q"].passive == Some(true));
    assert_eq!(config.bindings[0].arguments["x-match"], "any");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let two = "[queues.a]\ndurable=true\nauto_delete=false\nexclusive=false\narguments={}\n\
               [queues.b]\ndurable=true\nauto_delete=false\nexclusive=false\narguments={}\n";
    for (text, place, says) in [
        ("topic_prefix = \"a\"\ntopic_perfix = \"b\"", "config.toml:2: topic_perfix", "topic_perfix"),
        ("publish_priority = 256", "config.toml", "publish_priority"),
        ("[queues.q]\ndurable = true", "config.toml:1: queues.q", "auto_delete"),
        (
            "[consumer_config.freshmaker]\nconfirm_timeout = -1",
            "config.toml:2: consumer_config.freshmaker.confirm_timeout",
            "negative",
        ),
        (
            "[consumer_config.freshmaker]\nconfirm_timout = 1",
            "config.toml:2: consumer_config.freshmaker.confirm_timout",
            "confirm_timout",
        ),
        ("amqp_url = \"http://localhost\"", "config.toml:1: amqp_url", "http"),
        ("\n\namqp_url = 7", "config.toml:3: amqp_url", "integer"),
        ("[qos]\nprefetch_count = 0", "config.toml", "prefetch_count"),
        ("[qos]\nprefetch_count = 70000", "config.toml:2: qos.prefetch_count", "70000"),
        ("[[bindings]]\nexchange = \"e\"\nrouting_key = []", "config.toml:3: bindings.routing_key", "routing_keys"),
        ("topic_prefix = ", "config.toml:1", ""),
        ("[tls]\ncertfile = \"a\"", "config.toml", "keyfile"),
        ("[tls]\nkeyfile = \"a\"\ncertfile = \"\"", "config.toml", "keyfile"),
        ("[client_properties]\nversion = \"1\"", "config.toml", "client_properties.version"),
        ("[client_properties]\nsince = 2026-11-28", "config.toml", "client_properties.since: a date"),
        ("[client_properties]\nnested = { deep = [inf] }", "config.toml", "client_properties.nested: this number"),
        ("amqp_url = \"amqp://host:0\"", "config.toml:1: amqp_url", "port 0"),
        ("amqp_url = \"amqps://public@host\"", "config.toml", "\"public\" has no password"),
        ("amqp_url = \"amqps://public:@host\"", "config.toml", "no client certificate"),
        (
            "amqp_url = \"amqp://public:@host\"\n[tls]\nkeyfile = \"k\"\ncertfile = \"c\"",
            "config.toml",
            "a client certificate needs `amqps`",
        ),
        ("[consumer_config.freshmaker]\ndelivery_limit = 3", "config.toml", "durable"),
        (two, "config.toml", "several queues"),
        ("[queues]", "config.toml", "no queue"),
    ] {
        let error = AmqpConfig::parse(text, "config.toml").unwrap_err();
        assert_eq!((error.remedy, error.place.as_str()), (Remedy::Unsupported, place), "{error}");
        assert!(error.text.contains(says), "{text:?}: {error}");
    }
    let error = AmqpConfig::read("/nonexistent/config.toml").unwrap_err();
    assert_eq!((error.remedy, error.place.as_str()), (Remedy::Unsupported, "/nonexistent/config.toml"));
}

#[test]
fn the_password_is_never_shown() {
    let config = AmqpConfig::parse(FULL, "config.toml").unwrap();
    let shown = format!("{config:?} {:?}", AmqpBus::new(config.clone()).unwrap());
    assert!(shown.contains("amqps://rabbitmq.example.org:5671/public_pubsub"), "{shown}");
    for url in ["amqp://robot:s3cret@host:port/x", "amqp//robot:s3cret@host", "amqpx://robot:s3cret@host"] {
        let error = AmqpConfig::new(url).unwrap_err();
        let in_file = AmqpConfig::parse(&format!("amqp_url = \"{url}\" nonsense"), "config.toml").unwrap_err();
        assert!(!format!("{error} {in_file}").contains("s3cret"), "{error} {in_file}");
    }
    assert!(!shown.contains("s3cret"));
}

#[test]
fn addresses_and_default_hosts_are_understood() {
    for (url, shown) in [
        ("amqp://[::1]:5673/x", "amqp://::1:5673/x"),
        ("amqp://127.0.0.1", "amqp://127.0.0.1:5672/"),
        ("amqp://host/", "amqp://host:5672/"),
        ("amqps://host/%2Fpublic", "amqps://host:5671/public"),
        ("amqp://?connection_attempts=3&retry_delay=5", "amqp://localhost:5672/"),
    ] {
        let config = AmqpConfig::new(url).unwrap();
        assert!(format!("{config:?}").contains(&format!("\"{shown}\"")), "{url}: {config:?}");
    }
}

/// The files for Fedora's brokers that the reference client ships.
#[test]
fn the_files_for_the_public_brokers_are_read_as_they_are() {
    for (name, text) in [
        ("fedora.toml", include_str!("../data/fedora.toml")),
        ("fedora.stg.toml", include_str!("../data/fedora.stg.toml")),
    ] {
        let config = AmqpConfig::parse(text, name).unwrap();
        assert_eq!(config.client_properties["app_contacts_email"], json!(["admin@fedoraproject.org"]));
        assert_eq!(config.prefetch, 25);
        assert_eq!(config.queues, BTreeMap::from([(config.queue.clone(), QueueConfig::transient())]));
        assert!(config.tls.client_key.is_some() && !config.passive_declares && !config.listen_only);
        AmqpBus::new(config).unwrap();
    }
}

#[test]
fn client_properties_are_of_any_type() {
    let text = "[client_properties]\nmails = [\"a@b\"]\nport = 8080\nload = 0.5\nup = true\nof = { team = \"x\" }";
    let given = AmqpConfig::parse(text, "config.toml").unwrap().client_properties;
    let expected = json!({"mails": ["a@b"], "port": 8080, "load": 0.5, "up": true, "of": {"team": "x"}});
    assert_eq!(serde_json::to_value(given).unwrap(), expected);
}

#[test]
fn a_file_without_a_name_is_no_file() {
    let text = "[tls]\nca_cert = \"\"\nkeyfile = \"\"\ncertfile = \"\"";
    assert_eq!(AmqpConfig::parse(text, "config.toml").unwrap().tls, freshmaker_amqp::TlsFiles::default());
}
