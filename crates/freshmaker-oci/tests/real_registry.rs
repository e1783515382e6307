//! The client against the registry of the Debian package `docker-registry` (2.8), with images that
//! this test makes.
#![allow(clippy::unwrap_used)]

use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::Remedy;
use freshmaker_net::{Call, Http, HttpConfig};
use freshmaker_oci::fakes::{FakeImage, push_to, tar};
use freshmaker_oci::staleness::{Evidence, Freshness, Parent, Role, State};
use freshmaker_oci::{OciClient, OciConfig, Recipe};
use reqwest::Method;
use serde_json::json;

struct Registry {
    real: test_support::registry::Registry,
    http: Http,
    _directory: tempfile::TempDir,
}

impl Registry {
    /// Starts the registry; `None` if the program is not installed.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let real = test_support::registry::Registry::start(directory.path())?;
        let http = Http::new(&HttpConfig::new(format!("http://{}", real.name))).unwrap();
        Some(Self { real, http, _directory: directory })
    }

    async fn push_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.real.name);
        let request = self.http.request(Method::PUT, &url).header("content-type", kind).body(bytes);
        let reply = self.http.send(request, Call::Write, "push").await.unwrap();
        assert_eq!(reply.status, 201, "{url}: {}", String::from_utf8_lossy(&reply.body));
        digest
    }

    async fn push(&self, repository: &str, tag: &str, image: &FakeImage) -> Digest {
        push_to(&self.image(&format!("{repository}:{tag}")), image).await.unwrap()
    }

    fn image(&self, name: &str) -> ImageReference {
        format!("{}/{name}", self.real.name).parse().unwrap()
    }

    fn client(&self) -> OciClient {
        let config = json!({ "registries": { (self.real.name.clone()): { "plain_http": true } } });
        OciClient::new(serde_json::from_value::<OciConfig>(config).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_real_registry_is_read() {
    let Some(registry) = Registry::start() else { return };
    let client = registry.client();
    let base = FakeImage::new([tar("etc/os", "1"), tar("bin/sh", "#!")]);
    let old = registry.push("base", "1", &base).await;
    let app = base.clone().with_layer(tar("app", "app"));
    let app_digest = registry.push("team/app", "1", &app).await;
    assert_eq!(client.head(&registry.image("team/app:1")).await.unwrap(), app_digest);
    let read = client.snapshot().image(&registry.image("team/app:1")).await.unwrap();
    assert_eq!(read.config.diff_ids.len(), 3);
    let error = client.head(&registry.image("team/app:2")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::NotFound);
    let error = client.manifest(&registry.image("team/app:2")).await.unwrap_err();
    assert!(error.to_string().contains("MANIFEST_UNKNOWN: manifest unknown"), "{error}");

    let base_today = [Parent { image: registry.image("base:1"), role: Role::Base, line: None }];
    let image = registry.image("team/app:1");
    let fresh = client.snapshot().examine(&image, Recipe::Known(&base_today)).await.unwrap();
    let wanted = State::Fresh { current: old.clone(), evidence: Evidence::Layers };
    assert_eq!((&fresh.findings[0].state, &fresh.remarks), (&wanted, &Vec::new()));

    // The same in Docker's media types, and with annotations.
    let named = base.clone().with_layer(tar("app", "named")).with_base(&registry.image("base:1").to_string(), &old);
    registry.push("named", "1", &named).await;
    assert_eq!(
        client.snapshot().examine(&registry.image("named:1"), Recipe::Unknown).await.unwrap().freshness,
        Freshness::Fresh
    );
    let docker =
        String::from_utf8(base.manifest()).unwrap().replace("oci.image.manifest.v1", "docker.distribution.manifest.v2");
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let docker = registry.push_manifest("base", "docker", kind, docker.into_bytes()).await;
    assert_eq!(client.snapshot().image(&registry.image("base:docker")).await.unwrap().digest, docker);

    client.tag(&registry.image(&format!("base@{old}")), "kept").await.unwrap();
    assert_eq!(client.head(&registry.image("base:kept")).await.unwrap(), old);
    client.tag(&registry.image(&format!("base@{docker}")), "kept").await.unwrap();
    assert_eq!(client.head(&registry.image("base:kept")).await.unwrap(), docker, "its media type is kept");

    let new = registry.push("base", "1", &FakeImage::new([tar("etc/os", "2"), tar("bin/sh", "#!")])).await;
    let stale = client.snapshot().examine(&image, Recipe::Known(&base_today)).await.unwrap();
    assert!(matches!(&stale.findings[0].state, State::Stale { built_on: None, current, .. } if *current == new));
    let stale = client.snapshot().examine(&registry.image("named:1"), Recipe::Unknown).await.unwrap();
    assert!(matches!(&stale.findings[0].state, State::Stale { built_on: Some(built_on), .. } if *built_on == old));

    let mut tags = client.tags(&registry.image("base")).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "docker", "kept"]);
    assert_eq!(client.tags(&registry.image("nothing")).await.unwrap_err().remedy, Remedy::NotFound);
    assert!(client.referrers(&image, &app_digest).await.unwrap().is_empty(), "it has no such API");
}
