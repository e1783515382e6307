//! What the planning of container images does, point by point, each with a table. The numbers are
//! those of `tests/POINTS.md`.

use crate::outcome::carry_out;
use crate::services::{Services, Teller, Telling};
use crate::world::{CONTENT_SET, Fault, Image, Package, Place, REPOSITORY_ID, Repository, World};
use freshmaker::handler::Decision;
use freshmaker::rebuild::BuildState;
use freshmaker::{Plan, RebuildReason};
use std::collections::BTreeSet;

const FIX: Package = Package { name: "p", version: 2, release: 5, modular: false };
const OLD: Package = Package { name: "p", version: 2, release: 4, modular: false };

/// An image that the repository `shop` offers, with the old package.
fn image(name: &str) -> Image {
    let (base, release) = name.rsplit_once('-').unwrap();
    let (name, version) = base.rsplit_once('-').unwrap();
    Image {
        layer: 0,
        name: name.to_owned(),
        version: version.parse().unwrap(),
        release: release.parse().unwrap(),
        packages: [OLD].into(),
        parent: None,
        builders: BTreeSet::new(),
        content_sets: vec![CONTENT_SET],
        places: vec![Place { repository: "shop".to_owned(), tag: "latest" }],
        hotfix: false,
        fault: None,
    }
}

fn on(name: &str, parent: &str) -> Image {
    Image { layer: 1, parent: Some(parent.to_owned()), ..image(name) }
}

/// In no repository.
fn hidden(image: Image) -> Image {
    Image { places: Vec::new(), ..image }
}

fn with(image: Image, packages: &[Package]) -> Image {
    Image { packages: packages.iter().copied().collect(), ..image }
}

fn repository(name: &str) -> Repository {
    Repository { name: name.to_owned(), published: true, tags: vec!["latest"], category: "Generally Available" }
}

/// These images, and an advisory that fixes one package.
fn world(images: impl IntoIterator<Item = Image>) -> World {
    World {
        fixed: [FIX].into(),
        others: BTreeSet::new(),
        content_types: vec!["rpm"],
        repositories: [("shop".to_owned(), repository("shop"))].into(),
        images: images.into_iter().map(|image| (image.nvr(), image)).collect(),
        blocked: None,
        contradiction: None,
    }
}

async fn plan(world: &World) -> Plan {
    Services::start(world, Telling::plain(Teller::Lightblue)).await.plan().await
}

/// Each image of a plan with the code that it is in or out with, and the images that it is built
/// on: `b on a: affected`.
fn shown(plan: &Plan) -> Vec<String> {
    let nodes = plan.nodes().map(|node| {
        let why = node.impediment.as_ref().or(node.asked.as_ref()).unwrap();
        let on: Vec<&str> = node.parents.iter().map(|parent| parent.id.as_str()).collect();
        let on = if on.is_empty() { String::new() } else { format!(" on {}", on.join(" ")) };
        format!("{}{on}: {}", node.artifact.id, why.code)
    });
    let mut all: Vec<_> = nodes.chain(plan.exclusions().map(|(id, why)| format!("{id}: {}", why.code))).collect();
    all.sort();
    all
}

async fn shows(world: World, expected: &[&str]) {
    assert_eq!(shown(&plan(&world).await), expected, "{world:#?}");
}

#[tokio::test]
async fn point_1_the_content_of_the_advisory_comes_first() {
    for (content_types, planned) in [
        (vec!["rpm"], true),
        (vec!["module"], true),
        (vec!["rpm", "docker"], true),
        (vec!["docker"], false),
        (vec![], false),
    ] {
        let world = World { content_types: content_types.clone(), ..world([image("app-1-1")]) };
        let services = Services::start(&world, Telling::plain(Teller::Lightblue)).await;
        let decision = services.decide().await.unwrap();
        assert_eq!(matches!(decision, Decision::Rebuild(_)), planned, "{content_types:?}: {decision:?}");
        assert_eq!(services.asked().contains_key("koji"), planned, "{content_types:?}: nothing else is asked");
    }
}

#[tokio::test]
async fn point_2_the_packages_of_the_cves_count_or_else_all() {
    let zsh = Package::plain("zsh", 5, 2);
    let images = || [image("app-1-1"), with(image("shell-1-1"), &[Package::plain("zsh", 5, 1)])];
    let both = World { fixed: [FIX, zsh].into(), ..world(images()) };
    shows(both, &["app-1-1: affected", "shell-1-1: affected"]).await;
    let by_cve = World { others: [zsh].into(), ..world(images()) };
    shows(by_cve, &["app-1-1: affected"]).await;
}

#[tokio::test]
async fn point_3_content_sets_and_ids_of_repositories_count() {
    for (content_sets, counts) in [
        (vec![CONTENT_SET], true),
        (vec![REPOSITORY_ID], true),
        (vec!["crb", CONTENT_SET], true),
        (vec!["crb"], false),
        (vec![], false),
    ] {
        let expected: &[&str] = if counts { &["app-1-1: affected"] } else { &[] };
        shows(world([Image { content_sets, ..image("app-1-1") }]), expected).await;
    }
}

#[tokio::test]
async fn point_4_repositories_and_tags_decide_what_is_offered() {
    let shop = || repository("shop");
    for (repository, tag, offered) in [
        (shop(), "latest", true),
        (shop(), "1", false),
        (Repository { tags: vec!["1", "2"], ..shop() }, "2", true),
        (Repository { tags: vec![], ..shop() }, "latest", false),
        (Repository { category: "Beta", ..shop() }, "latest", true),
        (Repository { category: "Tech Preview", ..shop() }, "latest", true),
        (Repository { category: "Deprecated", ..shop() }, "latest", false),
        // It is an exception of the configuration.
        (Repository { published: false, ..shop() }, "latest", true),
    ] {
        let mut world =
            world([Image { places: vec![Place { repository: "shop".to_owned(), tag }], ..image("app-1-1") }]);
        let what = format!("{repository:?} {tag}");
        world.repositories.insert("shop".to_owned(), repository);
        for teller in [Teller::Lightblue, Teller::Pyxis] {
            let plan = Services::start(&world, Telling::plain(teller)).await.plan().await;
            assert_eq!(plan.len(), usize::from(offered), "{what}: {teller:?}");
        }
    }
}

/// 100 repositories are in a query to Lightblue, 20 in one to Pyxis.
#[tokio::test]
async fn point_4_repositories_are_asked_about_together() {
    let mut world = world([image("app-1-1")]);
    world.repositories.extend((1..250).map(|n| (format!("shop-{n:03}"), repository(&format!("shop-{n:03}")))));
    for (teller, service, requests) in [(Teller::Lightblue, "lightblue", 1 + 3), (Teller::Pyxis, "pyxis", 1 + 13)] {
        let services = Services::start(&world, Telling::plain(teller)).await;
        services.plan().await;
        assert_eq!(services.asked()[service], requests, "{teller:?}");
    }
}

#[tokio::test]
async fn point_5_what_has_the_fix_or_is_not_meant_is_left_out() {
    let module = |version, release| Package::modular("p", version, release);
    for (packages, code) in [
        (&[OLD][..], "affected"),
        (&[FIX], "already_fixed"),
        (&[Package::plain("p", 2, 10)], "already_fixed"),
        (&[Package::plain("p", 1, 99)], "affected"),
        (&[Package::plain("p", 10, 1)], "already_fixed"),
        (&[module(1, 1)], "modularity"),
        (&[module(9, 1), OLD], "affected"),
    ] {
        shows(world([with(image("app-1-1"), packages)]), &[&format!("app-1-1: {code}")]).await;
    }
    shows(world([Image { hotfix: true, ..image("app-1-1") }]), &["app-1-1: hotfix"]).await;
    shows(World { blocked: Some("app".to_owned()), ..world([image("app-1-1")]) }, &["app-1-1: policy"]).await;
    let mut unpublished = world([image("app-1-2"), image("app-1-10"), image("app-2-1")]);
    unpublished.repositories.insert("shop".to_owned(), Repository { published: false, ..repository("shop") });
    shows(unpublished, &["app-1-10: affected", "app-1-2: older_unpublished", "app-2-1: affected"]).await;
}

#[tokio::test]
async fn point_6_an_image_that_cannot_be_looked_up_is_a_failed_build() {
    for (fault, code) in [
        (None, "affected"),
        (Some(Fault::NotInKoji), "lookup_error"),
        (Some(Fault::NoTask), "lookup_error"),
        (Some(Fault::OddPackage), "lookup_error"),
        (Some(Fault::OddParent), "lookup_error"),
    ] {
        shows(world([Image { fault, ..image("app-1-1") }]), &[&format!("app-1-1: {code}")]).await;
    }
    let plan = plan(&world([image("app-3-1")])).await;
    let artifact = &plan.node(&"app-3-1".into()).unwrap().artifact;
    let source = artifact.source.as_ref().unwrap();
    assert_eq!(source.location, "git://src.example.com/containers/app");
    assert_eq!((source.revision.as_deref(), artifact.target.as_str()), (Some("3"), "rhel-9"));
    assert_eq!(artifact.parameters.get("git_branch"), Some(&"rhel-9".into()));
}

#[tokio::test]
async fn point_7_parents_are_rebuilt_as_long_as_they_have_the_package() {
    let builders = ["tool-1-1".to_owned(), "other-1-1".to_owned()].into();
    shows(
        world([
            hidden(with(image("ubi-1-1"), &[Package::plain("s", 1, 1)])),
            hidden(on("base-1-1", "ubi-1-1")),
            hidden(Image { layer: 1, ..image("tool-1-1") }),
            hidden(with(Image { layer: 1, ..image("other-1-1") }, &[FIX])),
            Image { layer: 2, builders, ..on("app-1-1", "base-1-1") },
        ]),
        &[
            "app-1-1 on base-1-1 other-1-1 tool-1-1: affected",
            "base-1-1 on ubi-1-1: dependency",
            "tool-1-1: dependency",
        ],
    )
    .await;
}

#[tokio::test]
async fn point_8_the_latest_released_one_replaces_older_ones() {
    shows(
        world([image("base-1-2"), image("base-1-10"), Image { layer: 1, ..on("app-1-1", "base-1-2") }]),
        &["app-1-1 on base-1-10: affected", "base-1-10: affected", "base-1-2: superseded_by_release"],
    )
    .await;
    // The newer one has another parent, whose chain comes with it.
    shows(
        world([hidden(image("old-1-1")), hidden(image("new-1-1")), on("app-1-1", "old-1-1"), on("app-1-2", "new-1-1")]),
        &[
            "app-1-1: superseded_by_release",
            "app-1-2 on new-1-1: affected",
            "new-1-1: dependency",
            "old-1-1: not_needed",
        ],
    )
    .await;
}

#[tokio::test]
async fn point_9_a_published_release_with_the_fix_ends_the_chain() {
    let fixed = with(image("base-1-2"), &[FIX]);
    shows(
        world([hidden(image("base-1-1")), fixed.clone(), on("app-1-1", "base-1-1")]),
        &["app-1-1 on base-1-2: affected", "base-1-1: fixed_release_published", "base-1-2: already_fixed"],
    )
    .await;
    // Not if it lacks a fix that the other one needs.
    let q = Package::plain("q", 1, 1);
    let both = with(hidden(image("base-1-1")), &[OLD, q]);
    let two = World {
        fixed: [FIX, Package::plain("q", 1, 3)].into(),
        ..world([both, with(image("base-1-2"), &[FIX]), on("app-1-1", "base-1-1")])
    };
    shows(two, &["app-1-1 on base-1-1: affected", "base-1-1: dependency", "base-1-2: already_fixed"]).await;
}

#[tokio::test]
async fn point_10_each_image_is_once_in_the_plan_behind_all_its_parents() {
    let chain = |layer, name: &str, parent: &str| Image { layer, ..on(name, parent) };
    let short = Image { builders: ["c-1-1".to_owned()].into(), ..chain(3, "short-1-1", "a-1-1") };
    let images = [image("a-1-1"), chain(1, "b-1-1", "a-1-1"), chain(2, "c-1-1", "b-1-1"), short, image("z-1-1")];
    let plan = plan(&world(images)).await;
    let waves: Vec<Vec<&str>> =
        plan.waves().map(|wave| wave.iter().map(|node| node.artifact.id.as_str()).collect()).collect();
    assert_eq!(waves, [vec!["a-1-1", "z-1-1"], vec!["b-1-1"], vec!["c-1-1"], vec!["short-1-1"]]);
}

/// Runs a plan in virtual time, after the services told it in real time.
fn carried_out(world: &World) -> crate::outcome::Outcome {
    let real = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plan = real.block_on(plan(world));
    let unreal = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    unreal.block_on(carry_out(&plan))
}

#[test]
fn point_11_each_image_is_recorded_with_its_reason() {
    let outcome = carried_out(&world([hidden(image("base-1-1")), on("app-2-1", "base-1-1")]));
    for (nvr, because, version) in
        [("base-1-1", RebuildReason::Dependency, "1"), ("app-2-1", RebuildReason::DirectlyAffected, "2")]
    {
        let build = &outcome.builds[nvr];
        assert_eq!((build.because, build.key.target.as_str()), (because, "rhel-9"), "{nvr}");
        let source = build.source.as_ref().unwrap();
        assert_eq!(source.revision.as_deref(), Some(version), "{nvr}");
        assert_eq!(build.parameters.get("git_branch"), Some(&"rhel-9".into()), "{nvr}");
        assert_eq!(build.demands.iter().map(ToString::to_string).collect::<Vec<_>>(), [FIX.to_string()], "{nvr}");
    }
}

#[test]
fn point_13_what_has_no_parent_in_the_plan_is_submitted_first() {
    let broken = Image { fault: Some(Fault::NoTask), ..hidden(image("bad-1-1")) };
    let outcome = carried_out(&world([
        hidden(image("base-1-1")),
        on("a-1-1", "base-1-1"),
        Image { layer: 2, ..on("b-1-1", "a-1-1") },
        broken,
        on("c-1-1", "bad-1-1"),
    ]));
    assert_eq!(outcome.submitted, ["base-1-1", "a-1-1", "b-1-1"]);
    assert_eq!(outcome.builds["b-1-1"].state, BuildState::Done);
    assert_eq!(outcome.builds["c-1-1"].state, BuildState::Failed);
}
