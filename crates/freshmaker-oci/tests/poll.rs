//! The poller against fake registries, with a clock that jumps.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use freshmaker::artifact::ImageReference;
use freshmaker::backend::{Clock, Paging};
use freshmaker::client::Client;
use freshmaker::memory::MemoryStorage;
use freshmaker::rebuild::InboxState;
use freshmaker::time::{Timestamp, from_micros, later};
use freshmaker_oci::OciClient;
use freshmaker_oci::fakes::{FakeImage, FakeRegistry};
use freshmaker_oci::poll::{FirstSight, PollConfig, Poller};
use freshmaker_testing::http::Reply;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that ends every wait at once.
#[derive(Debug, Default)]
struct Leaps(Mutex<Duration>);

#[async_trait]
impl Clock for Leaps {
    fn now(&self) -> Timestamp {
        later(from_micros(0), self.elapsed())
    }
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }
    async fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
    }
}

struct World {
    client: Client,
    clock: Arc<Leaps>,
}

impl World {
    fn new() -> Self {
        Self { client: Client::new(Arc::new(MemoryStorage::new())), clock: Arc::default() }
    }

    /// A poller as a process that has just started would have it.
    fn poller(&self, registries: &OciClient, images: &[ImageReference], config: &PollConfig) -> Poller {
        let poller = Poller::new(registries.clone(), self.client.clone(), images.to_vec(), config.clone());
        poller.with_clock(self.clock.clone(), fastrand::Rng::with_seed(7))
    }

    /// The identities of all messages, sorted.
    async fn sent(&self) -> Vec<String> {
        let page = |paging| self.client.messages(vec![InboxState::New], paging);
        let all = Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, page).await.unwrap();
        let mut found: Vec<_> = all.items.into_iter().map(|message| message.message_id).collect();
        found.sort();
        found
    }
}

fn heads(registry: &FakeRegistry) -> usize {
    registry.requests().iter().filter(|line| line.starts_with("HEAD ")).count()
}

#[tokio::test]
async fn a_thousand_tags_cost_a_thousand_requests() {
    let (world, registry) = (World::new(), FakeRegistry::start().await.unwrap());
    let registries = OciClient::new(registry.config()).unwrap();
    let mut images = Vec::new();
    for number in 0..1000 {
        registry.push("app", &format!("{number}"), &FakeImage::new([format!("{number}")]));
        images.push(registry.image(&format!("app:{number}")));
    }
    images.push(images[0].clone());
    let config = PollConfig::default();
    let round = world.poller(&registries, &images, &config).round().await.unwrap();
    assert_eq!((round.first_seen.len(), round.changed.len(), round.failed.len()), (1000, 0, 0));
    assert_eq!((heads(&registry), registry.requests().len()), (1000, 1000));
    let passed = world.clock.elapsed();
    assert!(passed > config.spread / 2 && passed <= config.spread * 2, "spread over {passed:?}");
    assert!(world.sent().await.is_empty(), "at first sight");

    let digest = registry.push("app", "17", &FakeImage::new(["changed"]));
    let round = world.poller(&registries, &images, &config).round().await.unwrap();
    assert_eq!((round.unchanged, &round.changed), (999, &vec![(images[17].clone(), digest.clone())]));
    assert_eq!(heads(&registry), 2000);
    let identity = format!("oci/{}@{digest}", images[17]);
    assert_eq!(world.sent().await, std::slice::from_ref(&identity));
    let round = world.poller(&registries, &images, &config).round().await.unwrap();
    assert_eq!((round.unchanged, world.sent().await), (1000, vec![identity]), "nothing is sent twice");
}

#[tokio::test]
async fn what_comes_back_is_another_change() {
    let (world, registry) = (World::new(), FakeRegistry::start().await.unwrap());
    let registries = OciClient::new(registry.config()).unwrap();
    let image = registry.image("app:1");
    let mut config = PollConfig::default();
    config.first_sight = FirstSight::Send;
    let mut digests = Vec::new();
    for content in ["a", "b", "a"] {
        digests.push(registry.push("app", "1", &FakeImage::new([content])));
        let round = world.poller(&registries, std::slice::from_ref(&image), &config).round().await.unwrap();
        assert_eq!(round.changed.len(), 1);
    }
    let mut wanted = ["", "", "#2"]
        .iter()
        .zip(&digests)
        .map(|(end, digest)| format!("oci/{image}@{digest}{end}"))
        .collect::<Vec<_>>();
    wanted.sort();
    assert_eq!(world.sent().await, wanted);
}

#[tokio::test]
async fn two_pollers_send_once() {
    let (world, registry) = (World::new(), FakeRegistry::start().await.unwrap());
    let registries = OciClient::new(registry.config()).unwrap();
    let images: Vec<_> = (0..20).map(|number| registry.image(&format!("app:{number}"))).collect();
    let config = PollConfig::default();
    for version in ["old", "new"] {
        for number in 0..20 {
            registry.push("app", &number.to_string(), &FakeImage::new([format!("{version} {number}")]));
        }
        let (mut one, mut other) =
            (world.poller(&registries, &images, &config), world.poller(&registries, &images, &config));
        let (one, other) = tokio::join!(one.round(), other.round());
        one.unwrap();
        other.unwrap();
    }
    assert_eq!(world.sent().await.len(), 20);
}

#[tokio::test]
async fn a_registry_that_is_down_costs_only_its_own_images() {
    let world = World::new();
    let (good, bad) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    let mut config = good.config();
    config.registries.extend(bad.config().registries);
    let registries = OciClient::new(config).unwrap();
    let mut images = Vec::new();
    for number in 0..50 {
        good.push("app", &number.to_string(), &FakeImage::new(["layer"]));
        images.extend([good.image(&format!("app:{number}")), bad.image(&format!("app:{number}"))]);
    }
    bad.always("HEAD", Reply::new(503));
    let config = PollConfig::default();
    let round = world.poller(&registries, &images, &config).round().await.unwrap();
    assert_eq!(round.first_seen.len(), 50);
    assert_eq!(round.failed.len() + round.skipped.len(), 50);
    assert!(round.failed.iter().all(|(image, _)| image.registry() == bad.name()));
    assert!(heads(&bad) <= 3 + config.parallel, "{}", heads(&bad));
    // An image that is missing is the fault of nobody else.
    let missing: Vec<_> = (100..110).map(|number| good.image(&format!("app:{number}"))).collect();
    let round = world.poller(&registries, &missing, &config).round().await.unwrap();
    assert_eq!((round.failed.len(), round.skipped.len()), (10, 0));
}
