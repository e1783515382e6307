//! The three questions, asked of the fake: which images are found, and what is said of them.

use crate::world::{REGISTRY, World, app, bare, bash, nvrs, texts};
use freshmaker::graph::EdgeKind;
use freshmaker_redhat::contracts::{Containing, ImageRepositories, Images};
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeRepository};
use freshmaker_redhat::image::{CatalogImage, Publication};
use freshmaker_redhat::lightblue::UnpublishedRepository;
use serde_json::json;

fn image(nvr: &str) -> CatalogImage {
    CatalogImage::new(nvr.parse().unwrap())
}

/// A world with repositories of all sorts.
async fn shop() -> World {
    let world = World::with(|config| {
        config.build_registries = texts(["build.example.com"]);
        config
            .unpublished_exceptions
            .insert(UnpublishedRepository { registry: REGISTRY.to_owned(), repository: "eus".to_owned() });
    })
    .await;
    let repository = |name: &str| FakeRepository::new(REGISTRY, name);
    for repository in [
        repository("app"),
        repository("slow").with_tags(["stable"]),
        repository("beta").in_categories(["Beta"]),
        repository("tech").in_categories(["Tech Preview"]),
        repository("old").in_categories(["Deprecated"]),
        repository("manual").with_tags([]),
        repository("hidden").unpublished(),
        repository("eus").unpublished(),
        FakeRepository::new("other.example.com", "eus").unpublished(),
        repository("partner").of_vendor("partner"),
    ] {
        world.service.add_repository(repository);
    }
    world
}

#[tokio::test]
async fn which_images_are_rebuilt() {
    let here = |name: &str, tag: &str| bare("x-container-1-1").published_in(REGISTRY, name, [tag]);
    let with = |rpm: &str| FakeImage::new("x-container", "x-container-1-1").with_rpm(rpm, &format!("{rpm}-1-1.noarch"));
    // What is in the repositories, and what is found.
    type Case = (&'static str, FakeImage, Option<(&'static [&'static str], Publication)>);
    let cases: [Case; 23] = [
        ("offered, with the tag", here("app", "latest"), Some((&["app"], Publication::Released))),
        ("a tag of its own repository", here("slow", "stable"), Some((&["slow"], Publication::Released))),
        ("a beta", here("beta", "latest"), Some((&["beta"], Publication::Published))),
        ("a technology preview", here("tech", "latest"), Some((&["tech"], Publication::Published))),
        ("an exception", here("eus", "latest"), Some((&["eus"], Publication::Unpublished))),
        ("a tag that is not rebuilt", here("app", "1.0"), None),
        ("a tag of another repository", here("slow", "latest"), None),
        ("a deprecated repository", here("old", "latest"), None),
        ("a repository without tags", here("manual", "latest"), None),
        ("an unpublished repository", here("hidden", "latest"), None),
        ("a partner's repository", here("partner", "latest"), None),
        ("an unknown repository", here("unknown", "latest"), None),
        ("unpublished in the repository", bare("x-container-1-1").unpublished_in(REGISTRY, "app", ["latest"]), None),
        (
            "the tag in a registry of builds",
            here("app", "1.0").published_in("build.example.com", "app", ["latest"]),
            None,
        ),
        ("the name in another registry", bare("x-container-1-1").published_in("r", "app", ["latest"]), None),
        (
            "an exception of another registry",
            bare("x-container-1-1").published_in("other.example.com", "eus", ["latest"]),
            None,
        ),
        ("another package", with("dash").with_content_set("set").published_in(REGISTRY, "app", ["latest"]), None),
        ("another content set", with("bash").with_content_set("y").published_in(REGISTRY, "app", ["latest"]), None),
        ("no content set", with("bash").published_in(REGISTRY, "app", ["latest"]), None),
        (
            "no manifest",
            FakeImage::new("x", "x-1-1").with_content_set("set").published_in(REGISTRY, "app", ["latest"]),
            None,
        ),
        (
            "no build",
            FakeImage::without_build().with_content_set("set").with_rpm("bash", "bash-1-1.x").published_in(
                REGISTRY,
                "app",
                ["latest"],
            ),
            None,
        ),
        (
            "a beta that is also deprecated elsewhere",
            here("beta", "latest").published_in(REGISTRY, "old", ["1"]),
            Some((&["beta", "old"], Publication::Published)),
        ),
        (
            "an exception that is offered elsewhere",
            here("eus", "latest").published_in(REGISTRY, "manual", ["1"]),
            Some((&["eus", "manual"], Publication::Released)),
        ),
    ];
    for (what, fake, expected) in cases {
        let world = shop().await;
        world.service.add_image(fake);
        let described = |(repositories, publication): (&[&str], Publication)| {
            let described = image("x-container-1-1")
                .with_content_set("set")
                .with_rpm("bash-5.1-6.el9".parse().unwrap())
                .with_publication(publication)
                .affected();
            repositories.iter().fold(described, |image, name| image.in_repository(*name))
        };
        let expected: Vec<_> = expected.into_iter().map(described).collect();
        assert_eq!(world.containing_bash().await.unwrap(), expected, "{what}");
        world.asked();
    }
}

#[tokio::test]
async fn without_filters_all_published_repositories_count() {
    let world = World::with(|config| {
        config.release_categories.clear();
        config.vendors.clear();
    })
    .await;
    for (name, repository) in [
        ("old", FakeRepository::new(REGISTRY, "old").in_categories(["Deprecated"])),
        ("partner", FakeRepository::new(REGISTRY, "partner").of_vendor("partner")),
        ("hidden", FakeRepository::new(REGISTRY, "hidden").unpublished()),
    ] {
        world.service.add_repository(repository);
        world.service.add_image(bare(&format!("{name}-container-1-1")).published_in(REGISTRY, name, ["latest"]));
    }
    let found = world.lightblue.containing(&Containing { packages: texts(["bash"]), ..Containing::default() }).await;
    assert_eq!(nvrs(&found.unwrap()), ["old-container-1-1", "partner-container-1-1"]);
}

#[tokio::test]
async fn architectures_are_one_image() {
    let world = World::small().await;
    let other = FakeImage::new("app-container", "app-container-1-1")
        .on("s390x")
        .published_in(REGISTRY, "app", ["1.1"])
        .published_in(REGISTRY, "second", ["latest"])
        .with_content_set("set-s390x")
        .with_content_set("set")
        .with_rpm("bash", "bash-5.1-6.el9.s390x")
        .with_rpm("bash", "bash-5.1-7.el9.s390x")
        .with_rpm("zsh", "zsh-5-1.el9.s390x")
        .with_label("com.redhat.hotfix")
        .with_parent("base-container-2-3");
    // Another release, that is not looked for with the same tag.
    world.service.add_image(other);
    world.service.add_image(bare("app-container-1-0").published_in(REGISTRY, "app", ["1.0"]));
    let expected = image("app-container-1-1")
        .in_repository("app")
        .in_repository("second")
        .with_content_set("set")
        .with_content_set("set-s390x")
        .with_rpm("bash-5.1-6.el9".parse().unwrap())
        .with_rpm("bash-5.1-7.el9".parse().unwrap())
        .with_label("com.redhat.hotfix")
        .with_parent("base-container-2-3".parse().unwrap(), EdgeKind::ParentImage)
        .with_publication(Publication::Released)
        .affected();
    assert_eq!(world.containing_bash().await.unwrap(), [expected]);
    // The repository `second` is asked for by its name, because it is not in the list.
    assert_eq!(world.asked(), (2, 1));
}

#[tokio::test]
async fn images_are_found_by_nvr() {
    let world = shop().await;
    world.service.add_image(app("app-container-1-1"));
    world.service.add_image(bare("hidden-container-1-1").unpublished_in("build.example.com", "hidden", ["x"]));
    world.service.add_image(FakeImage::new("no-manifest", "no-manifest-1-1"));
    world.service.add_image(FakeImage::new("empty", "empty-1-1").with_manifest());
    world.service.add_image(FakeImage::new("other", "other-1-1").with_rpm("zsh", "zsh-1-1.x86_64"));
    world.service.add_image(app("app-container-1-2"));
    let asked =
        ["1:app-container-1-1", "hidden-container-1-1", "no-manifest-1-1", "empty-1-1", "other-1-1", "gone-1-1"];
    let asked = asked.map(|nvr| nvr.parse().unwrap()).into();
    let found = world.lightblue.images(&asked, &texts(["bash"])).await.unwrap();
    let bash = "bash-5.1-6.el9".parse().unwrap();
    let unpublished = |nvr| image(nvr).with_publication(Publication::Unpublished);
    assert_eq!(
        found,
        [
            image("app-container-1-1")
                .in_repository("app")
                .with_content_set("set")
                .with_rpm(bash)
                .with_publication(Publication::Released),
            unpublished("empty-1-1").with_known_rpms(),
            unpublished("hidden-container-1-1")
                .in_repository("hidden")
                .with_content_set("set")
                .with_rpm("bash-5.1-6.el9".parse().unwrap()),
            unpublished("no-manifest-1-1"),
            unpublished("other-1-1").with_known_rpms(),
        ]
    );
    // Without names of packages, nothing is known of packages.
    let found = world.lightblue.images(&["empty-1-1".parse().unwrap()].into(), &texts([])).await.unwrap();
    assert_eq!(found, [unpublished("empty-1-1")]);
    world.asked();
}

#[tokio::test]
async fn offered_releases_are_found_by_name_and_version() {
    let world = shop().await;
    for build in ["app-container-1.0-1", "app-container-1.0-2", "app-container-1.1-1", "app-container-1x0-1"] {
        world.service.add_image(app(build));
    }
    // Names of which others are the beginning, and dashes where others have none.
    world.service.add_image(app("app-container-1.0-1-1"));
    world.service.add_image(app("c++-container-2-1"));
    world.service.add_image(bare("app-container-1.0-3").unpublished_in(REGISTRY, "app", ["latest"]));
    world.service.add_image(bare("app-container-1.0-4").published_in("build.example.com", "app", ["latest"]));
    world.service.add_image(bare("app-container-1.0-5").published_in(REGISTRY, "beta", ["latest"]));
    let asked = [("app-container", "1.0"), ("c++-container", "2"), ("gone", "1")];
    let asked = asked.map(|(name, version)| (name.to_owned(), version.to_owned())).into();
    let found = world.lightblue.offered(&asked, &texts(["bash"])).await.unwrap();
    assert_eq!(
        nvrs(&found),
        ["app-container-1.0-1", "app-container-1.0-2", "app-container-1.0-5", "c++-container-2-1"]
    );
    let expected = |nvr, repository| {
        image(nvr).in_repository(repository).with_content_set("set").with_rpm("bash-5.1-6.el9".parse().unwrap())
    };
    assert_eq!(found[0], expected("app-container-1.0-1", "app").with_publication(Publication::Released));
    assert_eq!(found[2], expected("app-container-1.0-5", "beta").with_publication(Publication::Published));
    world.asked();
}

/// What makes no sense about one image is said of that image alone.
#[tokio::test]
async fn an_odd_image_does_not_hide_others() {
    let world = World::small().await;
    world.service.add_image(app("odd-container-1-1").with_rpm("bash", "bash"));
    world.service.add_image(app("orphan-container-1-1").with_parent("nobody"));
    world.service.add_image(app("not_an_nvr"));
    let found = world.containing_bash().await.unwrap();
    let base = |nvr| {
        image(nvr).in_repository("app").with_content_set("set").with_publication(Publication::Released).affected()
    };
    let whole = |nvr| base(nvr).with_rpm("bash-5.1-6.el9".parse().unwrap());
    let odd = r#"lightblue: rpm_manifest.*.rpms.*.nvra: "bash" is not name-version-release.architecture"#;
    let orphan = r#"lightblue: parent_brew_build: "nobody" is not name-version-release"#;
    assert_eq!(
        found,
        [
            whole("app-container-1-1"),
            base("odd-container-1-1").with_lookup_error(odd),
            whole("orphan-container-1-1").with_lookup_error(orphan),
        ]
    );
}

#[tokio::test]
async fn repositories_of_one_name_are_told_apart() {
    let world = World::new().await;
    world.service.add_repository(FakeRepository::new("one.example.com", "app").with_tags(["one"]));
    world
        .service
        .add_repository(FakeRepository::new("two.example.com", "app").with_tags(["two"]).in_categories(["Beta"]));
    for (build, registry, tag) in [
        ("right-one-1-1", "one.example.com", "one"),
        ("right-two-1-1", "two.example.com", "two"),
        ("wrong-one-1-1", "one.example.com", "two"),
        ("wrong-two-1-1", "two.example.com", "one"),
    ] {
        world.service.add_image(bare(build).published_in(registry, "app", [tag]));
    }
    // An entry that names no registry fits both.
    let entry = json!([{ "repository": "app", "published": true, "tags": [{ "name": "two" }] }]);
    world.service.add_image(bare("vague-1-1").with_field("repositories", entry));
    let found = world.containing_bash().await.unwrap();
    assert_eq!(nvrs(&found), ["right-one-1-1", "right-two-1-1", "vague-1-1"]);
}

#[tokio::test]
async fn nothing_is_asked_about_nothing() {
    let world = World::small().await;
    let nothing = Containing { packages: texts([]), ..bash() };
    assert_eq!(world.lightblue.containing(&nothing).await.unwrap(), []);
    assert_eq!(world.lightblue.images(&[].into(), &texts(["bash"])).await.unwrap(), []);
    assert_eq!(world.lightblue.offered(&[].into(), &texts(["bash"])).await.unwrap(), []);
    assert_eq!(world.asked(), (0, 0));
}

#[tokio::test]
async fn why_no_image_of_a_repository_is_rebuilt() {
    let world = shop().await;
    world.service.add_repository(FakeRepository::new("build.example.com", "app"));
    for registry in [REGISTRY, "other.example.com"] {
        world.service.add_repository(FakeRepository::new(registry, "twice"));
    }
    let names = ["app", "slow", "eus", "beta", "old", "manual", "hidden", "partner", "twice"];
    let verdicts = world.lightblue.rebuilt(&texts(names)).await.unwrap();
    let unpublished = "Only published repositories or unpublished exceptions can be rebuilt, but this repository is \
                       not published.";
    for (name, tags) in [("app", "latest"), ("slow", "stable"), ("eus", "latest"), ("beta", "latest")] {
        let repository = verdicts[name].as_ref().unwrap();
        assert_eq!((repository.registry.as_deref(), &repository.tags), (Some(REGISTRY), &texts([tags])), "{name}");
    }
    for (name, why) in [
        (
            "old",
            "Only repositories with one of the release categories ['Beta', 'Generally Available', 'Tech Preview'] \
             can be rebuilt, but found ['Deprecated'].",
        ),
        (
            "manual",
            "The \"auto_rebuild_tags\" are not set, or set to an empty list: rebuilds of images in this repository \
             are disabled.",
        ),
        ("hidden", unpublished),
        ("partner", "Cannot get repository partner from lightblue."),
        ("twice", "Several registries have the repository twice: other.example.com, registry.example.com."),
    ] {
        assert_eq!(verdicts[name].as_ref().unwrap_err(), why);
    }
    assert_eq!(verdicts.len(), names.len());
    assert_eq!(world.asked(), (1, 0));
}

#[tokio::test]
async fn images_of_a_repository_come_with_their_tags_there() {
    let world = shop().await;
    for image in [
        bare("a-container-1-1").published_in(REGISTRY, "app", ["latest", "1.0"]),
        bare("b-container-1-1").published_in(REGISTRY, "app", ["1.0"]).published_in(REGISTRY, "slow", ["latest"]),
        bare("c-container-1-1").published_in("build.example.com", "app", ["latest"]),
        FakeImage::new("d-container", "d-container-1-1").published_in(REGISTRY, "app", ["latest"]),
    ] {
        world.service.add_image(image);
    }
    let verdicts = world.lightblue.rebuilt(&texts(["app"])).await.unwrap();
    let found = world.lightblue.images_in(verdicts["app"].as_ref().unwrap()).await.unwrap();
    let shown: Vec<_> = found.iter().map(|it| (it.image.nvr().to_string(), it.tags.clone())).collect();
    let tags = |tags: &[&str]| texts(tags.iter().copied());
    // The last one has no packages that anybody knows.
    let (first, last) = (("a-container-1-1", ["1.0", "latest"].as_slice()), ("d-container-1-1", ["latest"].as_slice()));
    assert_eq!(shown, [first, last].map(|(nvr, names)| (nvr.to_owned(), tags(names))));
    assert_eq!(found[0].image.publication(), Publication::Released);
}
