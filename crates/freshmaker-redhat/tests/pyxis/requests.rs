//! How many requests there are, and what they say.

use crate::world::{REGISTRY, World, app, bare, bash, client, nvrs, texts};
use freshmaker_net::Secret;
use freshmaker_redhat::contracts::Images;
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeRepository};
use freshmaker_redhat::pyxis::PyxisLogin;
use serde_json::json;

/// The number of queries grows with the repositories, not with images, architectures and tags.
#[tokio::test]
async fn repositories_are_asked_about_together() {
    for (repositories, queries) in [(1, 1), (20, 1), (21, 2), (50, 3)] {
        let world = World::new().await;
        for n in 0..repositories {
            let name = format!("repository-{n:03}");
            world.service.add_repository(FakeRepository::new(REGISTRY, &name).with_tags(["latest", &name]));
            let image = bare(&format!("app-{n:03}-1-1")).published_in(REGISTRY, &name, ["latest", &name]);
            world.service.add_image(image.clone());
            world.service.add_image(image.on("s390x"));
        }
        let found = world.containing_bash().await.unwrap();
        assert_eq!(found.len(), repositories);
        assert_eq!(world.asked(), (1, queries), "{repositories}");
    }
}

#[tokio::test]
async fn builds_and_releases_are_asked_about_together() {
    let world = World::with(|config| config.page_with_packages = 500).await;
    world.service.add_repository(FakeRepository::new(REGISTRY, "app"));
    let builds: Vec<_> = (0..150).map(|n| format!("app-container-{n}-1")).collect();
    builds.iter().for_each(|build| world.service.add_image(app(build)));
    let nvrs = builds.iter().map(|build| build.parse().unwrap()).collect();
    assert_eq!(world.pyxis.images(&nvrs, &texts(["bash"])).await.unwrap().len(), 150);
    // One question about the repository that all of them are in.
    assert_eq!(world.asked(), (1, 2));
    let releases = (0..50).map(|n| ("app-container".to_owned(), n.to_string())).collect();
    assert_eq!(world.pyxis.offered(&releases, &texts(["bash"])).await.unwrap().len(), 50);
    assert_eq!(world.asked(), (2, 5));
}

/// Pages end where the service says, or with the first one that is not full.
#[tokio::test]
async fn answers_are_read_page_by_page() {
    for (images, containing, by_nvr) in [(0, 1, 1), (2, 1, 1), (3, 2, 1), (4, 2, 2), (6, 3, 2), (7, 3, 3)] {
        let world = World::with(|config| config.page_with_packages = 3).await;
        world.service.add_repository(FakeRepository::new(REGISTRY, "app"));
        let builds: Vec<_> = (0..images).map(|n| format!("app-{n}-1")).collect();
        builds.iter().for_each(|build| world.service.add_image(app(build)));
        assert_eq!(world.containing_bash().await.unwrap().len(), images);
        assert_eq!(world.asked(), (1, containing), "{images}");
        let pages: Vec<_> = world.service.asked()[1..].iter().map(|body| body["variables"]["page"].clone()).collect();
        assert_eq!(pages, (0..containing).map(|page| json!(page)).collect::<Vec<_>>());
        let nvrs = builds.iter().map(|build| build.parse().unwrap()).collect();
        assert_eq!(world.pyxis.images(&nvrs, &texts(["bash"])).await.unwrap().len(), images);
        let asked = if images == 0 { containing } else { containing + by_nvr };
        assert_eq!(world.asked().1, asked, "{images}");
    }
}

#[tokio::test]
async fn a_service_may_answer_with_smaller_pages() {
    let world = World::new().await;
    world.service.limit_pages(2);
    for n in 0..5 {
        world.service.add_repository(FakeRepository::new(REGISTRY, &format!("app-{n}")));
        let image = bare(&format!("app-{n}-1-1")).published_in(REGISTRY, &format!("app-{n}"), ["latest"]);
        world.service.add_image(image);
    }
    assert_eq!(world.containing_bash().await.unwrap().len(), 5);
    assert_eq!(world.asked(), (3, 3));
}

/// Without the filter all offered images are read, and the answer is the same.
#[tokio::test]
async fn packages_are_found_without_a_filter() {
    for package_filter in [true, false] {
        let world = World::with(|config| config.package_filter = package_filter).await;
        if !package_filter {
            world.service.hide_package_filter();
        }
        world.service.add_repository(FakeRepository::new(REGISTRY, "app"));
        world.service.add_image(app("app-container-1-1"));
        let other = FakeImage::new("other", "other-1-1").with_content_set("set");
        let other = other.published_in(REGISTRY, "app", ["latest"]);
        world.service.add_image(other.clone().with_rpm("dash", "dash-1-1.x86_64"));
        assert_eq!(nvrs(&world.containing_bash().await.unwrap()), ["app-container-1-1"]);
        assert_eq!(world.asked(), (1, 1));
    }
    let world = World::small().await;
    world.service.hide_package_filter();
    let error = world.error().await;
    assert!(error.text.contains("Field \"rpm_manifest\" is not defined"), "{error}");
}

#[tokio::test]
async fn a_tag_that_was_removed_does_not_count() {
    let world = World::small().await;
    let tags = json!([{ "name": "1" }, { "name": "latest", "removed_date": "2024-12-05T14:33:00+00:00" }]);
    let place = json!({ "registry": REGISTRY, "repository": "app", "published": true, "tags": tags });
    world.service.add_image(bare("app-container-1-0").with_field("repositories", json!([place])));
    assert_eq!(nvrs(&world.containing_bash().await.unwrap()), ["app-container-1-1"]);
}

#[tokio::test]
async fn without_packages_nothing_is_asked_and_none_are_read() {
    let world = World::small().await;
    let nothing = freshmaker_redhat::contracts::Containing::default();
    assert_eq!(world.pyxis.containing(&nothing).await.unwrap(), []);
    assert_eq!(world.pyxis.images(&[].into(), &texts(["bash"])).await.unwrap(), []);
    assert_eq!(world.pyxis.offered(&[].into(), &texts(["bash"])).await.unwrap(), []);
    assert_eq!(world.asked(), (0, 0));
    world.pyxis.images(&["app-container-1-1".parse().unwrap()].into(), &texts([])).await.unwrap();
    assert_eq!(world.service.asked()[0]["variables"]["packages"], false);
}

#[tokio::test]
async fn an_api_key_is_sent_and_never_shown() {
    let world = World::small().await;
    world.service.require_api_key("s3cret");
    let error = world.error().await;
    let place = "pyxis: POST /graphql/ (find_repositories)";
    assert_eq!(error.to_string(), format!("{place}: status 401: the API key is not valid"));
    let pyxis = client(&world.service.url(), |config| config.login = PyxisLogin::ApiKey(Secret::new("s3cret")));
    assert_eq!(pyxis.containing(&bash()).await.unwrap().len(), 1);
    assert!(!format!("{pyxis:?}").contains("s3cret"));
}
