//! Reads the configuration file of the reference client of Fedora Messaging.

use super::config::{AmqpConfig, Arguments, Binding, Endpoint, ExchangeConfig, QueueConfig};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::TlsFiles;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The keys that the reference client reads; all others are an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    amqp_url: Option<Spanned<String>>,
    client_properties: Option<BTreeMap<String, toml::Value>>,
    publish_exchange: Option<String>,
    topic_prefix: Option<String>,
    publish_priority: Option<u64>,
    passive_declares: Option<bool>,
    exchanges: Option<BTreeMap<String, ExchangeConfig>>,
    queues: Option<BTreeMap<String, QueueConfig>>,
    bindings: Option<Vec<Binding>>,
    qos: Option<Qos>,
    tls: Option<Tls>,
    #[serde(default)]
    consumer_config: ConsumerConfig,
    #[serde(rename = "callback")]
    _callback: Option<IgnoredAny>,
    #[serde(rename = "monitoring")]
    _monitoring: Option<IgnoredAny>,
    #[serde(rename = "log_config")]
    _log_config: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Qos {
    /// RabbitMQ supports no limit in bytes and refuses values other than 0.
    #[serde(default, rename = "prefetch_size")]
    _prefetch_size: u32,
    prefetch_count: Option<u16>,
}

/// As for the reference client, an empty text means that there is no file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    ca_cert: Option<PathBuf>,
    keyfile: Option<PathBuf>,
    certfile: Option<PathBuf>,
}

impl Tls {
    fn files(self) -> Result<TlsFiles, String> {
        let file = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let (ca, client_cert, client_key) = (file(self.ca_cert), file(self.certfile), file(self.keyfile));
        if client_cert.is_some() != client_key.is_some() {
            return Err("[tls] needs both certfile and keyfile, or neither".to_owned());
        }
        Ok(TlsFiles { ca, client_cert, client_key })
    }
}

#[derive(Default, Deserialize)]
struct ConsumerConfig {
    #[serde(default)]
    freshmaker: Ours,
}

/// The settings that only this bus has. Durations are in seconds, fractions included.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    queue: Option<String>,
    topics: Option<Vec<String>>,
    listen_only: Option<bool>,
    delivery_limit: Option<u32>,
    dead_letter_exchange: Option<String>,
    body_bytes_max: Option<usize>,
    mandatory: Option<bool>,
    #[serde(default, deserialize_with = "seconds")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "seconds")]
    confirm_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "seconds")]
    stall_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "seconds")]
    reconnect_min: Option<Duration>,
    #[serde(default, deserialize_with = "seconds")]
    reconnect_max: Option<Duration>,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map(Some).map_err(serde::de::Error::custom)
}

/// The default broker of the reference client.
const DEFAULT_URL: &str = "amqp://localhost";

pub(super) fn parse(text: &str, place: &str) -> Result<AmqpConfig> {
    let file = read(text).map_err(|error| {
        // The error's own text quotes the line, which may contain a password.
        let start = error.span().unwrap_or_default().start;
        let keys = DeTable::parse(text).ok().and_then(|table| keys(table.get_ref(), start));
        let keys = keys.map(|keys| format!(": {keys}")).unwrap_or_default();
        Error::new(Remedy::Unsupported, format!("{place}:{}{keys}", line(text, start)), error.message())
    })?;
    let mut config = AmqpConfig::new(DEFAULT_URL)?;
    if let Some(url) = &file.amqp_url {
        config.endpoint = Endpoint::parse(url.get_ref()).map_err(|reason| {
            Error::new(Remedy::Unsupported, format!("{place}:{}: amqp_url", line(text, url.span().start)), reason)
        })?;
    }
    let ours = take_theirs(&mut config, file).map_err(|text| Error::new(Remedy::Unsupported, place, text))?;
    take_ours(&mut config, ours);
    config.check().map_err(|text| Error::new(Remedy::Unsupported, place, text))?;
    Ok(config)
}

/// Parses the file as the reference client does: the outermost keys are case-insensitive, and the
/// last of several keys that differ only in case is used.
fn read(text: &str) -> Result<File, toml::de::Error> {
    let mut table = DeTable::parse(text)?;
    let mut entries: Vec<_> = std::mem::take(table.get_mut()).into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let lower = Spanned::new(key.span(), key.get_ref().to_lowercase().into());
        table.get_mut().remove(&lower);
        table.get_mut().insert(lower, value);
    }
    for (section, known) in LENIENT {
        for (_, value) in table.get_mut().iter_mut().filter(|(key, _)| *key.get_ref() == section) {
            let DeValue::Table(keys) = value.get_mut() else { continue };
            let unknown: Vec<_> = keys.keys().filter(|key| !known.contains(&&**key.get_ref())).cloned().collect();
            for key in unknown {
                tracing::warn!(section, key = &**key.get_ref(), "a key that Fedora Messaging does not know is ignored");
                keys.remove(&key);
            }
        }
    }
    File::deserialize(toml::Deserializer::from(table))
}

/// The sections in which the reference client ignores keys that it does not know, and those that it
/// knows.
const LENIENT: [(&str, &[&str]); 2] =
    [("qos", &["prefetch_size", "prefetch_count"]), ("tls", &["ca_cert", "keyfile", "certfile"])];

/// Returns the path of keys to the value at this byte offset, joined by dots.
fn keys(table: &DeTable<'_>, offset: usize) -> Option<String> {
    let within = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::Table(table) => keys(table, offset),
        _ => None,
    };
    table.iter().find_map(|(key, value)| {
        let deeper = match value.get_ref() {
            DeValue::Array(items) => items.iter().find_map(within),
            _ => within(value),
        };
        let here = key.span().contains(&offset) || value.span().contains(&offset);
        match deeper {
            Some(deeper) => Some(format!("{}.{deeper}", key.get_ref())),
            None => here.then(|| key.get_ref().to_string()),
        }
    })
}

fn line(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn take_theirs(config: &mut AmqpConfig, file: File) -> Result<Ours, String> {
    if let Some(given) = file.client_properties {
        config.client_properties = client_properties(given)?;
    }
    set(&mut config.publish_exchange, file.publish_exchange);
    set(&mut config.topic_prefix, file.topic_prefix);
    set(&mut config.passive_declares, file.passive_declares);
    set(&mut config.exchanges, file.exchanges);
    if let Some(tls) = file.tls {
        config.tls = tls.files()?;
    }
    set(&mut config.prefetch, file.qos.and_then(|qos| qos.prefetch_count));
    let ours = file.consumer_config.freshmaker;
    config.publish_priority = match file.publish_priority.map(u8::try_from) {
        None => config.publish_priority,
        Some(Ok(priority)) => priority,
        // The reference client fails when it publishes with it, and not before.
        Some(Err(_)) if ours.listen_only == Some(true) => config.publish_priority,
        Some(Err(_)) => return Err("publish_priority: no message can have a priority above 255".to_owned()),
    };
    if let Some(queues) = file.queues {
        config.queue = match (&ours.queue, queues.len()) {
            (Some(queue), _) => queue.clone(),
            (None, 1) => queues.keys().next().cloned().unwrap_or_default(),
            (None, 0) => return Err("[queues] has no queue to consume".to_owned()),
            (None, _) => {
                let text =
                    "[queues] has several queues: name the one to consume as `queue` in [consumer_config.freshmaker]";
                return Err(text.to_owned());
            }
        };
        config.queues = queues;
    }
    set(&mut config.bindings, file.bindings);
    for binding in &mut config.bindings {
        // A binding that names the consumed queue equals one that names no queue.
        binding.queue.take_if(|queue| *queue == config.queue);
    }
    Ok(ours)
}

/// Properties that name the client library, which a file must not set.
const RESERVED: [&str; 3] = ["product", "information", "version"];

fn client_properties(given: BTreeMap<String, toml::Value>) -> Result<Arguments, String> {
    let property = |(name, value): (String, toml::Value)| {
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("client_properties.{name}: this property names the client library and cannot be set"));
        }
        let value = json(value).map_err(|text| format!("client_properties.{name}: {text}"))?;
        Ok((name, value))
    };
    given.into_iter().map(property).collect()
}

fn json(value: toml::Value) -> Result<serde_json::Value, &'static str> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).ok_or("this number is not supported, only finite ones are")?.into()
        }
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(_) => return Err("a date is not supported, write it as a text"),
        toml::Value::Array(items) => items.into_iter().map(json).collect::<Result<_, _>>()?,
        toml::Value::Table(table) => {
            let items = table.into_iter().map(|(name, value)| json(value).map(|value| (name, value)));
            serde_json::Value::Object(items.collect::<Result<_, _>>()?)
        }
    })
}

fn take_ours(config: &mut AmqpConfig, ours: Ours) {
    set(&mut config.body_bytes_max, ours.body_bytes_max);
    set(&mut config.mandatory, ours.mandatory);
    set(&mut config.listen_only, ours.listen_only);
    set(&mut config.connect_timeout, ours.connect_timeout);
    set(&mut config.confirm_timeout, ours.confirm_timeout);
    set(&mut config.stall_timeout, ours.stall_timeout);
    set(&mut config.reconnect_min, ours.reconnect_min);
    set(&mut config.reconnect_max, ours.reconnect_max);
    config.delivery_limit = ours.delivery_limit;
    config.dead_letter_exchange = ours.dead_letter_exchange;
    if let Some(topics) = ours.topics {
        *config = config.clone().bind(topics);
    }
}
