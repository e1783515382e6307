//! The client against a registry that answers well, badly, late or without end.
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use freshmaker::artifact::Digest;
use freshmaker::backend::{Clock, Error, Remedy};
use freshmaker::time::{Timestamp, from_micros, later};
use freshmaker_oci::fakes::{FakeImage, FakeRegistry};
use freshmaker_oci::manifest::Manifest;
use freshmaker_oci::{MirrorsFor, OciClient, RegistryConfig};
use freshmaker_testing::http::Reply;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
struct Still(Mutex<Duration>);

impl Still {
    fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += Duration::from_secs(seconds);
    }
}

#[async_trait]
impl Clock for Still {
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

async fn registry() -> (FakeRegistry, OciClient, Digest) {
    let registry = FakeRegistry::start().await.unwrap();
    let digest = registry.push("app", "1", &FakeImage::new(["layer"]));
    let client = OciClient::new(registry.config()).unwrap();
    (registry, client, digest)
}

#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, Error>, remedy: Remedy, wanted: &str) {
    let error = result.unwrap_err();
    assert!(error.remedy == remedy && error.to_string().contains(wanted), "{:?} {error}", error.remedy);
}

#[tokio::test]
async fn tags_and_digests_lead_to_manifests() {
    let (registry, client, digest) = registry().await;
    let (by_tag, by_digest) = (registry.image("app:1"), registry.image(&format!("app:other@{digest}")));
    assert_eq!(client.head(&by_tag).await.unwrap(), digest);
    assert_eq!(client.head(&by_digest).await.unwrap(), digest, "the digest counts, and not the tag");
    let fetched = client.manifest(&by_digest).await.unwrap();
    let Manifest::Image(manifest) = fetched.manifest else { panic!() };
    let config = client.image_config(&by_tag, &manifest).await.unwrap();
    assert_eq!(config.diff_ids, [Digest::of(b"layer")]);
    assert_eq!(config.created.as_deref(), Some("2025-11-24T16:00:00Z"));
    assert_eq!(client.blob(&by_tag, &manifest.layers[0]).await.unwrap(), b"layer");
    failed(
        client.head(&registry.image("app:2")).await,
        Remedy::NotFound,
        &format!("HEAD {}/v2/app/manifests/2", registry.name()),
    );
    failed(client.manifest(&registry.image("other")).await, Remedy::NotFound, "NOT_FOUND: not found");
}

#[tokio::test]
async fn a_registry_that_lies_is_named() {
    let (registry, client, digest) = registry().await;
    let by_digest = registry.image(&format!("app@{digest}"));
    let other = FakeImage::new(["other"]);
    let manifest = Reply::new(200).with_header("content-type", OCI_MANIFEST).with_body(other.manifest());
    registry.next("GET /v2/app/manifests/sha256", manifest.clone());
    failed(client.manifest(&by_digest).await, Remedy::Corrupt, &format!("{}/v2/app/manifests", registry.name()));
    registry.next("GET /v2/app/manifests/1", manifest.with_header("docker-content-digest", digest.as_str()));
    failed(client.manifest(&registry.image("app:1")).await, Remedy::Corrupt, "the registry sends wrong content");
    let wrong = Digest::of(b"wrong");
    registry.next("HEAD", Reply::new(200).with_header("docker-content-digest", wrong.as_str()));
    failed(client.head(&by_digest).await, Remedy::Corrupt, &format!("the registry answers for {wrong}"));
    registry.next("HEAD", Reply::new(200).with_header("docker-content-digest", "latest"));
    failed(client.head(&registry.image("app:1")).await, Remedy::Corrupt, "is not a digest");

    let Manifest::Image(manifest) = client.manifest(&by_digest).await.unwrap().manifest else { panic!() };
    for (body, wanted) in [("lay", "sends 3 bytes, and the manifest says 5"), ("lying", "sends wrong content")] {
        registry.next("GET /v2/app/blobs", Reply::new(200).with_body(body));
        failed(client.blob(&by_digest, &manifest.layers[0]).await, Remedy::Corrupt, wanted);
    }
}

#[tokio::test]
async fn a_registry_that_tells_no_digest_is_asked_for_the_content() {
    let (registry, client, digest) = registry().await;
    registry.always("HEAD", Reply::new(200));
    assert_eq!(client.head(&registry.image("app:1")).await.unwrap(), digest);
}

#[tokio::test]
async fn what_is_too_large_or_broken_is_refused() {
    let (registry, client, _) = registry().await;
    let image = registry.image("app:1");
    let huge = Reply::new(200).with_body(vec![b' '; freshmaker_oci::MANIFEST_BYTES_MAX + 1]);
    registry.next("GET", huge);
    failed(client.manifest(&image).await, Remedy::Rejected, "more than the 4194304 bytes");
    registry.next("GET", Reply::new(200).with_body("{\"config\": {}}").with_header("content-type", OCI_MANIFEST));
    failed(client.manifest(&image).await, Remedy::Corrupt, "`config`: missing field");
    registry.next("GET", Reply::new(200).with_body("<html>"));
    failed(client.manifest(&image).await, Remedy::Corrupt, "line 1 column 1");
    registry.next(
        "GET",
        Reply::new(200)
            .with_body("{}")
            .with_header("content-type", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    );
    failed(client.manifest(&image).await, Remedy::Unsupported, "v1+prettyjws\" is not supported");
    registry.next("GET", Reply::new(200).with_body("{\"manifests\": []}").cut_after(60));
    failed(client.manifest(&image).await, Remedy::Unavailable, "app/manifests/1");

    let mut config = registry.config();
    config.blob_bytes_max = 4;
    let client = OciClient::new(config).unwrap();
    let Manifest::Image(manifest) = client.manifest(&image).await.unwrap().manifest else { panic!() };
    failed(client.blob(&image, &manifest.layers[0]).await, Remedy::Rejected, "5 bytes, more than 4");
}

#[tokio::test]
async fn each_status_has_its_remedy() {
    let (registry, client, _) = registry().await;
    let image = registry.image("app:1");
    for (status, remedy) in [
        (401, Remedy::Unavailable),
        (403, Remedy::NotNow),
        (404, Remedy::NotFound),
        (405, Remedy::Rejected),
        (500, Remedy::Unavailable),
        (502, Remedy::Unavailable),
    ] {
        registry.next("HEAD", Reply::new(status));
        failed(client.head(&image).await, remedy, &format!("status {status}"));
    }
    registry.next("HEAD", Reply::nothing());
    let mut config = registry.config();
    config.timeout = Duration::from_millis(50);
    failed(OciClient::new(config).unwrap().head(&image).await, Remedy::Unavailable, "app/manifests/1");
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_left_alone() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.push("app", "1", &FakeImage::new(["layer"]));
    let clock = Arc::new(Still::default());
    let client = OciClient::with_clock(registry.config(), clock.clone()).unwrap();
    let image = registry.image("app:1");
    registry.next("HEAD", Reply::new(429).with_header("retry-after", "30"));
    failed(client.head(&image).await, Remedy::NotNow, "status 429 (to be asked again in 30 s)");
    clock.advance(10);
    failed(client.head(&registry.image("other:1")).await, Remedy::NotNow, "left alone for another 20 s");
    assert_eq!(registry.requests().len(), 1, "nothing more was sent");
    clock.advance(20);
    assert!(client.head(&image).await.is_ok());
}

#[tokio::test]
async fn tokens_are_fetched_when_demanded_and_kept_while_valid() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.push("app", "1", &FakeImage::new(["layer"]));
    registry.push("team/other", "1", &FakeImage::new(["layer"]));
    registry.demand_token(Some("user:secret"), 300);
    let mut config = registry.config();
    let image = registry.image("app:1");
    let anonymous = OciClient::new(config.clone()).unwrap().head(&image).await;
    failed(anonymous, Remedy::Unavailable, "incorrect username or password");

    let special = config.registries.get_mut(&registry.name()).unwrap();
    special.user = Some("user".to_owned());
    special.password = Some(freshmaker_net::Secret::new("secret"));
    let clock = Arc::new(Still::default());
    let client = OciClient::with_clock(config, clock.clone()).unwrap();
    let head = || client.head(&image);
    let (one, two, three) = tokio::join!(head(), head(), head());
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(registry.tokens_made(), 1, "those who ask at the same time share a token");
    client.head(&registry.image("team/other:1")).await.unwrap();
    assert_eq!(registry.tokens_made(), 2, "a token is for one repository");
    clock.advance(290);
    head().await.unwrap();
    assert_eq!(registry.tokens_made(), 2);
    clock.advance(10);
    head().await.unwrap();
    assert_eq!(registry.tokens_made(), 3, "it was too old to be sent");
    registry.forget_tokens();
    head().await.unwrap();
    assert_eq!(registry.tokens_made(), 4, "a refused token is replaced");
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test]
async fn passwords_and_identities_come_from_files() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.push("app", "1", &FakeImage::new(["layer"]));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let mut config = registry.config();
    config.credentials_files = vec![file.clone()];
    let image = registry.image("app:1");
    registry.demand_password("user", "secret");
    let client = OciClient::new(config.clone()).unwrap();
    failed(client.head(&image).await, Remedy::Unavailable, "status 401");
    // "user:secret" in base64. The file is read at the next login.
    let name = registry.name();
    std::fs::write(&file, json!({ "auths": { (name.clone()): { "auth": "dXNlcjpzZWNyZXQ=" } } }).to_string()).unwrap();
    client.head(&image).await.unwrap();
    registry.demand_token(Some("nobody:x"), 60);
    std::fs::write(&file, json!({ "auths": { name: { "identitytoken": "identity" } } }).to_string()).unwrap();
    OciClient::new(config).unwrap().head(&image).await.unwrap();
}

#[tokio::test]
async fn a_login_goes_nowhere_else() {
    let (registry, client, digest) = registry().await;
    let elsewhere = FakeRegistry::start().await.unwrap();
    let bytes = FakeImage::new(["layer"]).manifest();
    elsewhere.demand_password("never", "sent");
    elsewhere.next("GET /moved", Reply::new(200).with_body(bytes));
    let to = format!("http://{}/moved", elsewhere.name());
    registry.next("GET", Reply::new(307).with_header("location", to.as_str()));
    let image = registry.image(&format!("app@{digest}"));
    assert_eq!(client.manifest(&image).await.unwrap().digest, digest, "redirections are followed");
    let image = registry.image("app:1");
    registry.always("GET", Reply::new(302).with_header("location", "/v2/app/manifests/1"));
    failed(client.manifest(&image).await, Remedy::Corrupt, "more than 5 redirections");
    // A realm without TLS is refused unless the registry itself is configured so.
    let config = registry.config();
    assert!(config.registries[&registry.name()].plain_http);
    registry.next("HEAD", Reply::new(401).with_header("www-authenticate", "Bearer realm=\"ftp://x/token\""));
    failed(client.head(&image).await, Remedy::Unsupported, "without TLS");
    let plain = OciClient::new(freshmaker_oci::OciConfig::default()).unwrap().head(&image).await;
    failed(plain, Remedy::Unavailable, "has no TLS, which has to be allowed: `plain_http`");
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let (registry, client, digest) = registry().await;
    let image = registry.image("app:1");
    let first = client.manifest(&image).await.unwrap();
    assert_eq!(client.manifest(&image).await.unwrap(), first);
    registry.next("GET", Reply::new(304));
    assert_eq!(client.manifest(&image).await.unwrap().digest, digest);
    registry.next("GET", Reply::new(304));
    failed(client.manifest(&registry.image("app:2")).await, Remedy::Corrupt, "status 304 for unknown content");
    let newer = registry.push("app", "1", &FakeImage::new(["newer"]));
    assert_eq!(client.manifest(&image).await.unwrap().digest, newer);
}

#[tokio::test]
async fn one_decision_asks_for_a_thing_once() {
    let (registry, client, _) = registry().await;
    let image = registry.image("app:1");
    let snapshot = client.snapshot();
    let (one, two) = tokio::join!(snapshot.image(&image), snapshot.image(&image));
    assert_eq!(one.unwrap(), two.unwrap());
    let newer = registry.push("app", "1", &FakeImage::new(["newer"]));
    assert_ne!(snapshot.image(&image).await.unwrap().digest, newer, "its answers do not change");
    assert_eq!(registry.requests().len(), 2, "a manifest and a configuration: {:?}", registry.requests());
    registry.next("HEAD", Reply::new(500));
    let errors = (snapshot.head(&image).await.unwrap_err(), snapshot.head(&image).await.unwrap_err());
    assert_eq!(errors.0, errors.1, "errors as well");
    assert_eq!(client.snapshot().image(&image).await.unwrap().digest, newer);
}

#[tokio::test]
async fn platforms_are_chosen_and_nested_indexes_have_a_bound() {
    let (registry, client, digest) = registry().await;
    let none = BTreeMap::new;
    let here = freshmaker_oci::manifest::Platform::of_machine().to_string();
    let top = registry.push_index(
        "app",
        Some("all"),
        &[
            (OCI_MANIFEST, Digest::of(b"not there"), "plan9/pdp11", none()),
            (OCI_MANIFEST, digest.clone(), &here, none()),
        ],
    );
    let image = client.snapshot().image(&registry.image("app:all")).await.unwrap();
    assert_eq!((image.digest, image.manifest_digest), (top.clone(), digest));
    registry.push_index("app", Some("few"), &[(OCI_MANIFEST, top.clone(), "plan9/pdp11", none())]);
    let few = client.snapshot().image(&registry.image("app:few")).await;
    failed(few, Remedy::NotFound, &format!("no image for {here}; it has: plan9/pdp11"));
    let mut inner = top;
    for depth in 2..=4 {
        inner = registry.push_index("app", Some(&format!("deep-{depth}")), &[(OCI_INDEX, inner, "", none())]);
    }
    assert!(client.snapshot().image(&registry.image("app:deep-4")).await.is_ok());
    registry.push_index("app", Some("deep-5"), &[(OCI_INDEX, inner, "", none())]);
    failed(client.snapshot().image(&registry.image("app:deep-5")).await, Remedy::Rejected, "more than 4 indexes");
}

#[tokio::test]
async fn lists_of_tags_have_an_end() {
    let (registry, client, _) = registry().await;
    for number in 0..2500 {
        registry.push("many", &format!("{number:04}"), &FakeImage::new(["layer"]));
    }
    let tags = client.tags(&registry.image("many")).await.unwrap();
    assert_eq!((tags.len(), tags[0].as_str(), tags[2499].as_str()), (2500, "0000", "2499"));
    assert_eq!(registry.requests().iter().filter(|line| line.contains("tags/list")).count(), 3);
    for (link, wanted) in [
        ("</v2/app/tags/list?n=1000>; rel=\"next\"", "lead back"),
        ("<https://elsewhere.example/v2/app/tags/list>; rel=\"next\"", "leads out"),
        ("</v2/other/tags/list>; rel=\"next\"", "leads out"),
        ("nothing; rel=\"next\"", "not a URL"),
    ] {
        registry.next("GET", Reply::new(200).with_body(r#"{"tags": null}"#).with_header("link", link));
        failed(client.tags(&registry.image("app")).await, Remedy::Corrupt, wanted);
    }
    registry.list_tags_without_end();
    failed(client.tags(&registry.image("app")).await, Remedy::Rejected, "more than 100 pages");
}

#[tokio::test]
async fn mirrors_are_asked_first_and_passed_over_if_they_fail() {
    let (registry, _, digest) = registry().await;
    let mirror = FakeRegistry::start().await.unwrap();
    let mut config = registry.config();
    config.registries.extend(mirror.config().registries);
    config.registries.get_mut(&registry.name()).unwrap().mirrors = vec![format!("{}/copies", mirror.name())];
    let client = OciClient::new(config.clone()).unwrap();
    let by_digest = registry.image(&format!("app@{digest}"));
    client.manifest(&by_digest).await.unwrap();
    let asked = |registry: &FakeRegistry| registry.requests().len();
    assert_eq!((asked(&mirror), asked(&registry)), (1, 1), "the mirror does not have it");
    mirror.push("copies/app", "1", &FakeImage::new(["layer"]));
    OciClient::new(config.clone()).unwrap().manifest(&by_digest).await.unwrap();
    assert_eq!((asked(&mirror), asked(&registry)), (2, 1));
    client.head(&registry.image("app:1")).await.unwrap();
    assert_eq!((asked(&mirror), asked(&registry)), (2, 2), "a mirror may be behind");
    config.registries.get_mut(&registry.name()).unwrap().mirrors_for = MirrorsFor::All;
    OciClient::new(config.clone()).unwrap().head(&registry.image("app:1")).await.unwrap();
    assert_eq!((asked(&mirror), asked(&registry)), (3, 2));
    mirror.always("GET", Reply::new(200).with_body("{}"));
    failed(OciClient::new(config).unwrap().manifest(&by_digest).await, Remedy::Corrupt, &mirror.name());
}

#[tokio::test]
async fn referrers_are_found_with_and_without_the_api() {
    let (registry, client, digest) = registry().await;
    let image = registry.image("app:1");
    assert!(client.referrers(&image, &digest).await.unwrap().is_empty());
    let by_api = registry.attest("app", &digest, &json!({}));
    assert_eq!(client.referrers(&image, &digest).await.unwrap()[0].digest, by_api);
    registry.without_referrers();
    assert!(client.referrers(&image, &digest).await.unwrap().is_empty());
    let by_tag = registry.attest("app", &digest, &json!({ "x": 1 }));
    assert_eq!(client.referrers(&image, &digest).await.unwrap()[0].digest, by_tag);
    registry.always("GET /v2/app/referrers", Reply::new(500));
    failed(client.referrers(&image, &digest).await, Remedy::Unavailable, "status 500");
}

#[test]
fn the_configuration_of_a_registry_is_the_users_own() {
    let _: RegistryConfig = serde_json::from_value(json!({ "plain_http": true })).unwrap();
    assert!(serde_json::from_value::<RegistryConfig>(json!({ "insecure": true })).is_err());
}

#[tokio::test]
async fn a_tag_is_moved_to_content_that_is_there() {
    let (registry, client, old) = registry().await;
    let new = registry.push("app", "2", &FakeImage::new(["another"]));
    let one = registry.image("app:1");
    client.tag(&registry.image(&format!("app@{new}")), "1").await.unwrap();
    assert_eq!(client.head(&one).await.unwrap(), new);
    client.tag(&registry.image(&format!("app@{old}")), "1").await.unwrap();
    assert_eq!(client.head(&one).await.unwrap(), old);
    failed(client.tag(&one, "2").await, Remedy::Unsupported, "it has no digest");
    let content = registry.image(&format!("app@{old}"));
    failed(client.tag(&content, "a b").await, Remedy::Unsupported, "");
    failed(client.tag(&content, "1@sha256:0").await, Remedy::Unsupported, "");
    let nothing = registry.image(&format!("app@{}", Digest::of(b"nothing")));
    failed(client.tag(&nothing, "1").await, Remedy::NotFound, "");
    registry.always("PUT", Reply::new(403));
    failed(client.tag(&content, "2").await, Remedy::NotNow, "PUT");
    registry.recover();
    // A token to read does not allow to write, so another one is fetched.
    registry.demand_token(Some("kim:secret"), 300);
    let mut config = registry.config();
    let special = config.registries.get_mut(&registry.name()).unwrap();
    (special.user, special.password) = (Some("kim".to_owned()), Some(freshmaker_net::Secret::new("secret")));
    let client = OciClient::new(config).unwrap();
    client.head(&one).await.unwrap();
    client.tag(&content, "3").await.unwrap();
    assert_eq!(client.head(&registry.image("app:3")).await.unwrap(), old);
}
