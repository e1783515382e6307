//! A builder for tests: it makes images of bytes, without running anything. The program is this
//! test itself, so it needs no other.

use freshmaker::artifact::{Digest, ImageReference};
use freshmaker_local::files::containerfile::{Usage, parse};
use freshmaker_oci::fakes::{FakeImage, push_to, tar};
use freshmaker_oci::manifest::Manifest;
use freshmaker_oci::{OciClient, OciConfig, RegistryConfig};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Says that this process is a builder, and where it writes what it does.
pub(crate) const LEDGER: &str = "TEST_BUILDER_LEDGER";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Runs as a builder if the service has started it, and does nothing as a test.
#[tokio::test]
async fn as_a_builder() {
    if std::env::var_os(LEDGER).is_none() {
        return;
    }
    let context = PathBuf::from(variable("FRESHMAKER_CONTEXT"));
    let name = context.file_name().unwrap().to_string_lossy().into_owned();
    note("begin", &name);
    if variable("FRESHMAKER_NO_CACHE") == "1" {
        let causes: serde_json::Value = serde_json::from_str(&variable("FRESHMAKER_CAUSES")).unwrap();
        note(&format!("no-cache:{}", causes[0]["about"].as_str().unwrap()), &name);
    }
    let digest = build(&context).await;
    note("end", &name);
    fs::write(variable("FRESHMAKER_DIGEST_FILE"), digest).unwrap();
}

/// Appends to the ledger. The line is one write, because builders write beside each other.
fn note(what: &str, name: &str) {
    let mut ledger = fs::OpenOptions::new().append(true).create(true).open(variable(LEDGER)).unwrap();
    let line = format!("{what} {name} {}\n", variable("FRESHMAKER_ATTEMPT"));
    ledger.write_all(line.as_bytes()).unwrap();
}

async fn build(context: &Path) -> String {
    let has = |file: &str| context.join(file).exists();
    if has("slow") {
        let pause = fs::read_to_string(context.join("slow")).unwrap();
        tokio::time::interval_at(
            tokio::time::Instant::now() + Duration::from_millis(pause.trim().parse().unwrap()),
            Duration::from_secs(1),
        )
        .tick()
        .await;
    }
    let text = fs::read_to_string(variable("FRESHMAKER_CONTAINERFILE")).unwrap();
    let pins = fs::read_to_string(variable("FRESHMAKER_PINS")).unwrap();
    let pins: BTreeMap<&str, ImageReference> = pins
        .lines()
        .map(|line| {
            let (name, content) = line.rsplit_once("=docker-image://").unwrap();
            (name, content.parse().unwrap())
        })
        .collect();
    let to: ImageReference = variable("FRESHMAKER_PUSH_TO").parse().unwrap();
    let mut special = RegistryConfig::default();
    special.plain_http = true;
    let mut config = OciConfig::default();
    config.registries.insert(to.registry().to_owned(), special);
    let client = OciClient::new(config).unwrap();
    let mut image = FakeImage::default();
    let mut copied = Vec::new();
    for used in parse(&text).unwrap().images {
        let content = &pins[used.image.to_string().as_str()];
        let layers = layers(&client, content).await;
        match used.usage {
            Usage::Parent if has("ignores-its-base") => image.layers.push(b"another base".to_vec()),
            Usage::Parent => image.layers = layers,
            // What is copied: the lowest layer, so that it may be the same in another build.
            _ => copied.extend(layers.into_iter().take(1)),
        }
    }
    image.layers.extend(copied);
    let file = fs::read_to_string(context.join("file")).unwrap_or_else(|_| "nothing".to_owned());
    image.layers.push(if has("archive") { tar("file", &file) } else { file.into_bytes() });
    let digest = push_to(&to, &image).await.unwrap();
    assert!(!has("fails"), "this image cannot be built");
    if has("lies") { Digest::of(b"something else").to_string() } else { digest.to_string() }
}

pub(crate) async fn layers(client: &OciClient, image: &ImageReference) -> Vec<Vec<u8>> {
    let Manifest::Image(manifest) = client.manifest(image).await.unwrap().manifest else { panic!("an index") };
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        layers.push(client.blob(image, layer).await.unwrap());
    }
    layers
}
