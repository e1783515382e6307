//! What Koji tells about images where no catalog does.

use super::contract::config;
use super::world::{Hands, hub};
use freshmaker::Nvr;
use freshmaker::artifact::Source;
use freshmaker::backend::{BuildRequest, BuildSystem, Clock, Remedy};
use freshmaker::graph::EdgeKind;
use freshmaker::rebuild::AttemptId;
use freshmaker::time::earlier;
use freshmaker_redhat::contracts::{Containing, ImageBuilds, Images, PackageBuilds, TaskBuild};
use freshmaker_redhat::fakes::koji::{Container, Fate, Hub, Trouble};
use freshmaker_redhat::image::ImageSearch;
use freshmaker_redhat::koji::{KojiBuildSystem, KojiConfig, KojiImages, KojiRecipes};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const TARGET: &str = "rhel-9-containers";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn nvr(text: &str) -> Nvr {
    text.parse().unwrap()
}

fn texts(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn add(hub: &Hub, container: &Container) -> i64 {
    hub.add_container(container).unwrap()
}

fn container(name: &str) -> Container {
    Container::new(nvr(name), TARGET)
}

fn images(hub: &Hub, clock: &Arc<Hands>) -> KojiImages {
    KojiImages::new(&KojiConfig::new(hub.url())).unwrap().with_clock(clock.clone())
}

#[tokio::test]
async fn the_newest_build_of_a_branch_is_found_or_the_reason_why_not() {
    let clock = Hands::new();
    let hub = hub(&clock).await;
    add(&hub, &container("app-container-1-9").from_branch("rhel-9.4"));
    add(&hub, &container("app-container-1-10").from_branch("rhel-9.4"));
    add(&hub, &container("app-container-1-11").from_branch("main"));
    add(&hub, &container("old-container-1-1"));
    let found = images(&hub, &clock)
        .newest_from_branch(&texts(&["app-container", "old-container", "gone-container"]), "rhel-9.4")
        .await
        .unwrap();
    let told: Vec<_> = found
        .into_iter()
        .map(|(name, found)| format!("{name}: {}", found.map_or_else(|why| why, |nvr| nvr.to_string())))
        .collect();
    assert_eq!(
        told,
        [
            "app-container: app-container-1-10",
            "gone-container: Koji has no package gone-container",
            "old-container: none of the 1 builds of old-container was made from the branch rhel-9.4",
        ]
    );
}

#[tokio::test]
async fn one_task_that_makes_no_sense_hides_no_other() {
    let clock = Hands::new();
    let hub = hub(&clock).await;
    add(&hub, &container("app-container-1-9").from_branch("rhel-9.4"));
    add(&hub, &container("app-container-1-10").from_branch("rhel-9.4"));
    let images = images(&hub, &clock);
    hub.trouble_within("getTaskRequest", 1000, "no such task");
    let found = images.newest_from_branch(&texts(&["app-container"]), "rhel-9.4").await.unwrap();
    assert_eq!(found["app-container"], Ok(nvr("app-container-1-9")), "the newest one is the odd one");
    hub.trouble_within("getTaskRequest", 1000, "no such task");
    let found = images.newest_from_branch(&texts(&["app-container"]), "main").await.unwrap();
    let text = found["app-container"].clone().unwrap_err();
    assert!(text.contains("what Koji says about one makes no sense") && text.contains("no such task"), "{text}");
    hub.trouble("listBuilds", 0, Trouble::Offline);
    let error = images.newest_from_branch(&texts(&["app-container"]), "main").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_task_tells_what_it_made_and_whether_it_is_ours() {
    let clock = Hands::new();
    let hub = hub(&clock).await;
    let task = add(&hub, &container("app-container-1-9"));
    let images = images(&hub, &clock);
    let made = images.of_task(task).await.unwrap();
    assert_eq!(made, TaskBuild { nvr: Some(nvr("app-container-1-9")), marked: false });
    let error = images.of_task(4711).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");

    // Ours, as the build system of this crate submits it.
    let ours = submitted_by_us(&hub).await;
    assert_eq!(images.of_task(ours).await.unwrap(), TaskBuild { nvr: None, marked: true });
}

#[tokio::test]
async fn the_newest_images_come_with_all_their_parents() {
    let clock = Hands::new();
    let hub = hub(&clock).await;
    add(&hub, &container("stale-container-1-1"));
    clock.forward(200 * DAY);
    let base = nvr("base-container-9-1");
    add(&hub, &container("base-container-9-1"));
    add(&hub, &container("go-container-1-1"));
    add(&hub, &container("app-container-1-9").on(base.clone()).with_builder(nvr("go-container-1-1")));
    add(&hub, &container("app-container-1-10").on(base.clone()).with_builder(nvr("go-container-1-1")));
    // An older build system names the last stage's image by its number alone.
    hub.add_built_image(&nvr("plain-container-1-1"), TARGET, Some(&base), &Fate::succeeds()).unwrap();
    hub.add_packages(&nvr("bash-5-1"), &[], &Fate::succeeds()).unwrap();
    clock.forward(DAY);
    let newest = images(&hub, &clock).newest_since(earlier(clock.now(), 7 * DAY)).await.unwrap();
    let names: Vec<_> = newest.iter().map(|image| image.nvr.to_string()).collect();
    assert_eq!(names, ["app-container-1-10", "base-container-9-1", "go-container-1-1", "plain-container-1-1"]);
    let app = [(base.clone(), EdgeKind::ParentImage), (nvr("go-container-1-1"), EdgeKind::BuilderStage)];
    assert_eq!(newest[0].parents, app.into());
    assert_eq!(newest[3].parents, [(base, EdgeKind::ParentImage)].into());
    assert!(newest.iter().all(|image| image.unknown_parent.is_none()));
}

#[tokio::test]
async fn images_are_found_by_their_packages_and_asked_about_once() {
    let clock = Hands::new();
    let hub = hub(&clock).await;
    let with = |rpm: &str| Fate::succeeds().with_rpm("x86_64", rpm).with_rpm("aarch64", "sed-4-1.fc40");
    add(&hub, &container("base-container-40-1").with_fate(with("bash-5.1-6.fc40")));
    add(&hub, &container("app-container-1-1").on(nvr("base-container-40-1")).with_fate(with("bash-5.1-6.fc40")));
    add(&hub, &container("next-container-1-1").with_fate(with("bash-5.1-6.fc41")));
    add(&hub, &container("fresh-container-1-1").with_fate(with("bash-5.1-9.fc40")));
    add(&hub, &container("other-container-1-1").with_fate(with("zsh-1-1.fc40")));
    let images = Arc::new(images(&hub, &clock));
    let recipes = Arc::new(KojiRecipes::new(&KojiConfig::new(hub.url())).unwrap());
    let search = ImageSearch::new(images.clone(), recipes).of_one_distribution();
    let fixed = BTreeSet::from([nvr("bash-5.1-9.fc40")]);
    let selection = search.find(&fixed, &BTreeSet::new()).await.unwrap().select().unwrap();
    let chosen: Vec<_> = selection.images().iter().map(|image| image.nvr.to_string()).collect();
    assert_eq!(chosen, ["base-container-40-1", "app-container-1-1"]);
    assert_eq!(selection.excluded(&nvr("next-container-1-1")).unwrap().code, "package_absent", "another distribution");
    assert_eq!(selection.excluded(&nvr("fresh-container-1-1")).unwrap().code, "already_fixed");

    let asked = hub.calls("listArchives");
    assert_eq!(asked, 5, "once for each image, although the base was asked about twice");
    drop(search.find(&fixed, &BTreeSet::new()).await.unwrap());
    assert_eq!(hub.calls("listArchives"), asked, "the packages of a build never change");

    let sets = Containing { packages: texts(&["bash"]), content_sets: texts(&["baseos"]) };
    let error = images.containing(&sets).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unsupported, "{error}");
}

#[tokio::test]
async fn the_packages_of_builds_are_told_one_by_one() {
    let clock = Hands::new();
    let hub = hub(&clock).await;
    let fate = Fate::succeeds().with_rpm("x86_64", "bash-5-1").with_rpm("x86_64", "bash-doc-5-1");
    let fate = fate.with_rpm("aarch64", "bash-5-1").with_rpm("src", "bash-source-5-1");
    hub.add_packages(&nvr("bash-5-1"), &[], &fate).unwrap();
    add(&hub, &container("app-container-1-1"));
    let builds = ["bash-5-1", "app-container-1-1", "gone-1-1"].map(nvr).into();
    let found = images(&hub, &clock).packages(&builds).await.unwrap();
    assert_eq!(found[&nvr("bash-5-1")], Ok(["bash-5-1", "bash-doc-5-1"].map(nvr).into()));
    assert_eq!(found[&nvr("app-container-1-1")], Ok(BTreeSet::new()));
    assert_eq!(found[&nvr("gone-1-1")], Err("Koji has no build gone-1-1".to_owned()));
}

/// Submits a build as the build system of this crate does, and returns its task.
async fn submitted_by_us(hub: &Hub) -> i64 {
    let builds = KojiBuildSystem::new(config(hub)).unwrap();
    let mut request = BuildRequest::new(AttemptId::from_random(7), "ours-container-1-1");
    let location = "git://src.example.com/containers/ours-container".to_owned();
    request.source = Some(Source { location, revision: Some("abc".to_owned()) });
    request.target = TARGET.to_owned();
    request.session = builds.session().await.unwrap();
    builds.submit(&request).await.unwrap().as_str().parse().unwrap()
}
