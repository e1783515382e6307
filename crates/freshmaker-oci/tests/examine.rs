//! Whether images are stale, asked of a registry.
#![allow(clippy::unwrap_used)]

use freshmaker::artifact::Digest;
use freshmaker::backend::Remedy;
use freshmaker_oci::fakes::{FakeImage, FakeRegistry};
use freshmaker_oci::staleness::{Evidence, Freshness, Parent, Role, State};
use freshmaker_oci::{Examined, OciClient, Recipe};
use freshmaker_testing::http::Reply;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct World {
    registry: FakeRegistry,
    client: OciClient,
}

impl World {
    async fn new() -> Self {
        let registry = FakeRegistry::start().await.unwrap();
        let client = OciClient::new(registry.config()).unwrap();
        Self { registry, client }
    }

    fn parent(&self, name: &str, role: Role) -> Parent {
        Parent { image: self.registry.image(name), role, line: Some(1) }
    }

    async fn examine(&self, image: &str, parents: &[Parent]) -> Examined {
        self.client.snapshot().examine(&self.registry.image(image), Recipe::Known(parents)).await.unwrap()
    }

    async fn alone(&self, image: &str) -> Examined {
        self.client.snapshot().examine(&self.registry.image(image), Recipe::Unknown).await.unwrap()
    }

    fn base(&self, version: &str) -> Digest {
        self.registry.push("base", "1", &FakeImage::new([format!("base {version}"), "more".to_owned()]))
    }
}

fn app(version: &str) -> FakeImage {
    FakeImage::new([format!("base {version}"), "more".to_owned(), "app".to_owned()])
}

fn provenance(subject: &Digest, materials: &[(&str, &Digest)]) -> Value {
    let hex = |digest: &Digest| digest.as_str().replace("sha256:", "");
    let materials: Vec<_> = materials
        .iter()
        .map(|(name, digest)| json!({ "uri": format!("pkg:docker/{name}"), "digest": { "sha256": hex(digest) } }))
        .collect();
    json!({ "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{ "name": "app", "digest": { "sha256": hex(subject) } }],
        "predicate": { "materials": materials } })
}

#[tokio::test]
async fn layers_tell_where_nothing_else_does() {
    let world = World::new().await;
    let old = world.base("old");
    world.registry.push("app", "1", &app("old"));
    let base = [world.parent("base:1", Role::Base)];
    let fresh = world.examine("app:1", &base).await;
    assert_eq!((fresh.freshness, &fresh.remarks), (Freshness::Fresh, &Vec::new()));
    assert_eq!(fresh.findings[0].state, State::Fresh { current: old, evidence: Evidence::Layers });
    let new = world.base("new");
    let stale = world.examine("app:1", &base).await;
    assert_eq!(stale.freshness, Freshness::Stale);
    assert_eq!(stale.findings[0].state, State::Stale { built_on: None, current: new, evidence: Evidence::Layers });
    let alone = world.alone("app:1").await;
    assert_eq!(alone.freshness, Freshness::Unknown, "without a recipe nobody knows the base");
    assert!(alone.remarks[0].contains("nothing says"));
}

#[tokio::test]
async fn annotations_need_one_question_about_the_base() {
    let world = World::new().await;
    let digest = world.base("old");
    let name = world.registry.image("base:1").to_string();
    world.registry.push("app", "1", &app("old").with_base(&name, &digest));
    world.registry.push("labelled", "1", &app("old").with_base_labels(&name, &digest));
    let before = world.registry.requests().len();
    assert_eq!(world.alone("app:1").await.freshness, Freshness::Fresh);
    let asked = world.registry.requests().split_off(before);
    assert_eq!(asked.iter().filter(|line| line.contains("/base/")).collect::<Vec<_>>(), ["HEAD /v2/base/manifests/1"]);
    assert_eq!(world.alone("labelled:1").await.freshness, Freshness::Fresh);
    let new = world.base("new");
    for (image, evidence) in [("app:1", Evidence::Annotation), ("labelled:1", Evidence::Label)] {
        let stale = world.alone(image).await;
        let state = State::Stale { built_on: Some(digest.clone()), current: new.clone(), evidence };
        assert_eq!(stale.findings[0].state, state, "{image}");
    }
}

#[tokio::test]
async fn a_base_in_an_index_is_known_by_both_digests() {
    let world = World::new().await;
    let manifest = world.base("old");
    let here = freshmaker_oci::manifest::Platform::of_machine().to_string();
    world.registry.push_index("base", Some("1"), &[(OCI_MANIFEST, manifest.clone(), &here, BTreeMap::new())]);
    let name = world.registry.image("base:1").to_string();
    // Buildah notes the manifest, BuildKit the index.
    world.registry.push("app", "1", &app("old").with_base(&name, &manifest));
    assert_eq!(world.alone("app:1").await.freshness, Freshness::Fresh);
}

#[tokio::test]
async fn provenance_comes_first_and_knows_builders() {
    let world = World::new().await;
    let (old, tool) = (world.base("old"), world.registry.push("tool", "1", &FakeImage::new(["tool"])));
    let name = |name: &str| format!("{}/{name}", world.registry.name());
    let image = app("old").with_base(&name("base:1"), &Digest::of(b"something else"));
    let digest = world.registry.push("app", "1", &image);
    let parents = [world.parent("base:1", Role::Base), world.parent("tool:1", Role::Builder)];
    let before = world.examine("app:1", &parents).await;
    assert_eq!(before.freshness, Freshness::Stale, "by its annotation");
    assert!(matches!(before.findings[1].state, State::Unknown { .. }));

    // The purl of an address with a port: the colon is in its name.
    let materials = [(name("base@1"), &old), (name("tool@1"), &tool)];
    let materials: Vec<_> = materials.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
    world.registry.attest("app", &digest, &provenance(&digest, &materials));
    let fresh = world.examine("app:1", &parents).await;
    assert_eq!(fresh.freshness, Freshness::Fresh, "{fresh:?}");
    world.registry.push("tool", "1", &FakeImage::new(["newer tool"]));
    assert_eq!(world.examine("app:1", &parents).await.freshness, Freshness::Stale);
    assert_eq!(world.alone("app:1").await.freshness, Freshness::Stale);
}

#[tokio::test]
async fn attestations_in_an_index_count_for_their_image() {
    let world = World::new().await;
    let old = world.base("old");
    let manifest = world.registry.push("app", "amd64", &app("other"));
    let name = format!("{}/base@1", world.registry.name());
    let attestation = world.registry.attest("elsewhere", &manifest, &provenance(&manifest, &[(&name, &old)]));
    let bytes = reqwest_of(&world, "elsewhere", &attestation).await;
    world.registry.put_manifest("app", None, OCI_MANIFEST, bytes);
    let about = |digest: &Digest| {
        let note = |key: &str, value: &str| (format!("vnd.docker.reference.{key}"), value.to_owned());
        BTreeMap::from([note("type", "attestation-manifest"), note("digest", digest.as_str())])
    };
    let here = freshmaker_oci::manifest::Platform::of_machine().to_string();
    let push = |about: BTreeMap<String, String>| {
        let entries = [
            (OCI_MANIFEST, manifest.clone(), here.as_str(), BTreeMap::new()),
            (OCI_MANIFEST, attestation.clone(), "unknown/unknown", about),
        ];
        world.registry.push_index("app", Some("1"), &entries)
    };
    push(about(&manifest));
    let fresh = world.alone("app:1").await;
    assert_eq!((fresh.freshness, fresh.findings.len()), (Freshness::Fresh, 1), "{fresh:?}");
    push(about(&Digest::of(b"another platform")));
    assert_eq!(world.alone("app:1").await.freshness, Freshness::Unknown);
}

/// The bytes of a manifest, as the registry sends them.
async fn reqwest_of(world: &World, repository: &str, digest: &Digest) -> Vec<u8> {
    let url = format!("http://{}", world.registry.name());
    let http = freshmaker_net::Http::new(&freshmaker_net::HttpConfig::new(&url)).unwrap();
    let request = http.request(reqwest::Method::GET, &format!("{url}/v2/{repository}/manifests/{digest}"));
    http.send(request, freshmaker_net::Call::Read, "test").await.unwrap().body
}

#[tokio::test]
async fn pins_are_told_with_what_is_current() {
    let world = World::new().await;
    let old = world.base("old");
    world.registry.push("app", "1", &app("old"));
    let new = world.base("new");
    let pinned = world.parent(&format!("base:1@{old}"), Role::Base);
    let found = world.examine("app:1", &[pinned]).await;
    assert_eq!(found.freshness, Freshness::Pinned);
    assert_eq!(found.findings[0].state, State::Pinned { pinned: old, current: Some(new) });
}

#[tokio::test]
async fn what_cannot_be_asked_is_no_finding() {
    let world = World::new().await;
    world.registry.push("app", "1", &app("old"));
    let gone = world.examine("app:1", &[world.parent("base:1", Role::Base)]).await;
    assert_eq!(gone.freshness, Freshness::Unknown);
    assert!(matches!(&gone.findings[0].state, State::Unknown { why } if why.contains("cannot be found")));
    assert_eq!(world.examine("app:1", &[]).await.freshness, Freshness::Fresh, "it is built on nothing");
    world.registry.always("HEAD /v2/base", Reply::new(503));
    let parents = [world.parent("base:1", Role::Base)];
    let error = world.client.snapshot().examine(&world.registry.image("app:1"), Recipe::Known(&parents)).await;
    assert_eq!(error.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn a_broken_attestation_is_a_remark_and_one_that_is_late_an_error() {
    let world = World::new().await;
    world.base("old");
    let digest = world.registry.push("app", "1", &app("old"));
    let broken = json!({ "predicateType": "https://slsa.dev/provenance/v1", "subject": 3 });
    let attestation = world.registry.attest("app", &digest, &broken);
    let base = [world.parent("base:1", Role::Base)];
    let found = world.examine("app:1", &base).await;
    assert_eq!(found.freshness, Freshness::Fresh, "by its layers");
    assert!(found.remarks[0].contains("`subject`"), "{:?}", found.remarks);
    world.registry.always(&format!("manifests/{attestation}"), Reply::new(500));
    let late = world.client.snapshot().examine(&world.registry.image("app:1"), Recipe::Known(&base)).await;
    assert_eq!(late.unwrap_err().remedy, Remedy::Unavailable);
}
