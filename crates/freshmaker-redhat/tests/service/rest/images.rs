//! Whether images and repositories are rebuilt, asked of a Pyxis.

use super::{api, get, open};
use freshmaker::Client;
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeRepository};
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
use freshmaker_testing::world::World;
use freshmaker_web::axum::Router;
use serde_json::json;
use std::sync::Arc;

const REGISTRY: &str = "registry.example.com";

/// An interface over a catalog, which has to live as long.
async fn over_catalog() -> (FakePyxis, Router) {
    let (service, pyxis) = catalog().await;
    let world = World::new();
    let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
    let router = api(&world, client, open()).images(pyxis.clone()).repositories(pyxis).router();
    (service, router)
}

/// A catalog with some images.
pub(super) async fn catalog() -> (FakePyxis, Arc<Pyxis>) {
    let service = FakePyxis::start().await.unwrap();
    let pyxis = Arc::new(Pyxis::new(PyxisConfig::new(service.url())).unwrap());
    for name in ["team/app", "team/bare", "team/empty"] {
        service.add_repository(FakeRepository::new(REGISTRY, name));
    }
    service.add_repository(FakeRepository::new(REGISTRY, "team/old").in_categories(["Deprecated"]));
    let image = |name: &str| FakeImage::new(name, &format!("{name}-1-1"));
    for image in [
        image("app").with_content_set("cs-2").published_in(REGISTRY, "team/app", ["1.0", "latest"]).on("amd64"),
        image("app").with_content_set("cs-1").published_in(REGISTRY, "team/app", ["1.0", "latest"]).on("s390x"),
        image("tool").with_content_set("cs-1").published_in(REGISTRY, "team/app", ["1.0"]),
        image("hot").with_content_set("cs-1").with_label("com.redhat.hotfix").published_in(
            REGISTRY,
            "team/app",
            ["latest"],
        ),
        image("bare").published_in(REGISTRY, "team/bare", ["latest"]),
        image("old").with_content_set("cs-1").published_in(REGISTRY, "team/old", ["latest"]),
    ] {
        service.add_image(image);
    }
    (service, pyxis)
}

#[tokio::test]
async fn a_repository_is_told_with_its_images_or_why_it_has_none() {
    let (_service, router) = over_catalog().await;
    let told = get(&router, "/api/2/verify-image-repository/team/app").await;
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(
        told.json(),
        json!({
            "images": { "app-1-1": { "content_sets": ["cs-1", "cs-2"], "tags": ["1.0", "latest"] } },
            "msg": "Found 1 images which are handled by Freshmaker for defined content_sets.",
            "repository": { "auto_rebuild_tags": ["latest"] },
        })
    );
    for (name, why) in [
        ("team/none", "Cannot get repository team/none from pyxis."),
        ("team/empty", "No published images tagged by ['latest'] found in repository"),
        (
            "team/bare",
            "Found image \"bare-1-1\" in this repository, but it cannot be rebuilt, because the \"content_sets\" \
             are not set for this image.",
        ),
        (
            "team/old",
            "Only repositories with one of the release categories ['Beta', 'Generally Available', 'Tech Preview'] \
             can be rebuilt, but found ['Deprecated'].",
        ),
        ("a%22b/%7B%7D", "Cannot get repository a\"b/{} from pyxis."),
    ] {
        for version in ["1", "2"] {
            let told = get(&router, &format!("/api/{version}/verify-image-repository/{name}")).await;
            assert_eq!((told.status, told.error().as_str()), (400, why), "{name}");
        }
    }
}

#[tokio::test]
async fn an_image_is_rebuilt_if_its_repository_is() {
    let (service, router) = over_catalog().await;
    let told = get(&router, "/api/1/verify-image/tool-1-1").await;
    assert_eq!((told.status, &told.json()["images"]), (200, &json!({ "tool-1-1": ["cs-1"] })));
    let old = get(&router, "/api/1/verify-image/old-1-1").await;
    assert_eq!(old.status, 400);
    assert!(old.error().ends_with("but found ['Deprecated']."), "{old:?}");
    service.add_image(FakeImage::new("lost", "lost-1-1").with_content_set("cs-1"));
    let lost = get(&router, "/api/1/verify-image/lost-1-1").await;
    assert_eq!((lost.status, lost.error().as_str()), (400, "Cannot get repository for image lost-1-1."));
}

#[tokio::test]
async fn a_catalog_that_is_away_is_told_as_such() {
    let (service, router) = over_catalog().await;
    drop(service);
    for path in ["verify-image/app-1-1", "verify-image-repository/team/app"] {
        let told = get(&router, &format!("/api/2/{path}")).await;
        assert_eq!(told.status, 503, "{path}: {told:?}");
    }
}
