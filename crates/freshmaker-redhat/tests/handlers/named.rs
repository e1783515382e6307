//! A person names images and a branch.

use super::farm::{Built, Farm, built, on};
use super::service::{Service, message};
use super::world::context;
use async_trait::async_trait;
use freshmaker::backend::Result;
use freshmaker::handler::Handler;
use freshmaker::rebuild::{BuildMode, EventId};
use freshmaker::{EdgeKind, Message, Nvr, Policy};
use freshmaker_redhat::contracts::{Each, Recipe, Recipes};
use freshmaker_redhat::handlers::{BuiltImages, RebuildNamedImages};
use freshmaker_redhat::messages::request::AsyncBuild;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn service(farm: Farm) -> Service {
    Service::new(|builder| builder.on(RebuildNamedImages(built(&Arc::new(farm)))))
}

fn request(body: &Value) -> Message {
    message("async-1", "freshmaker.async.manual.build", body)
}

fn asked(images: &[&str]) -> Message {
    request(&json!({ "dist_git_branch": "main", "container_images": images, "requester": "kim" }))
}

/// `base`, `middle` on it, `top` on that, `other` on `base`; each was built on a release before the
/// newest one.
fn layers() -> Farm {
    Farm::new(&[
        ("base-container-9-1", on(&[])),
        ("base-container-9-2", on(&[])),
        ("middle-container-1-3", on(&["base-container-9-1"])),
        ("top-container-1-4", on(&["middle-container-1-3"])),
        ("top-container-1-5", Built { branch: "next", ..on(&["middle-container-1-3"]) }),
        ("other-container-1-1", on(&["base-container-9-1"])),
    ])
}

#[tokio::test(start_paused = true)]
async fn named_images_are_built_in_order_with_those_between() {
    let service = service(layers());
    service.deliver([asked(&["base", "top-container"])]).await;
    assert_eq!(
        service.submissions(),
        [
            "base-container-9-2 from git://src/containers/base#c0ffee for main-candidate git_branch=main",
            "middle-container-1-3 from git://src/containers/middle#c0ffee for main-candidate git_branch=main \
             on rebuilt base-container-9-2",
            "top-container-1-4 from git://src/containers/top#c0ffee for main-candidate git_branch=main \
             on rebuilt middle-container-1-3",
        ]
    );
    assert_eq!(
        service.reasons().await,
        [
            "base-container-9-2: requested (it was asked for)",
            "middle-container-1-3: between (it is built on an image that was asked for, and one that was asked for \
             is built on it)",
            "top-container-1-4: requested (it was asked for)",
            "base-container-9-1: not, superseded_by_release (base-container-9-2 is rebuilt and used instead)",
        ]
    );
    assert_eq!(service.events().await, ["freshmaker.async-build COMPLETE: all 3 builds ended well"]);
    assert_eq!(service.builds().await.len(), 3);
    let said = service.said();
    assert_eq!(said.iter().filter(|text| text.starts_with("build.changed")).count(), said.len() - 2, "{said:?}");
    assert_eq!(said.last().unwrap(), "event.changed COMPLETE");
}

#[tokio::test(start_paused = true)]
async fn images_that_are_not_related_are_built_at_once() {
    let service = service(layers());
    service.deliver([asked(&["middle", "other"])]).await;
    let parents: Vec<_> =
        service.submissions().iter().map(|text| text.split(" on ").nth(1).unwrap().to_owned()).collect();
    assert_eq!(parents, ["base-container-9-1", "base-container-9-1"], "the base is used as it is");
}

/// Numbers 2 and 17 of the faults of the Python service: a message that comes again builds nothing.
#[tokio::test(start_paused = true)]
async fn a_request_that_comes_twice_is_one_request() {
    let service = service(layers());
    service.deliver([asked(&["top"]), asked(&["top"])]).await;
    service.deliver([asked(&["top"])]).await;
    assert_eq!(service.submissions().len(), 1);
    assert_eq!(service.events().await.len(), 1);
}

/// Number 12 of the faults of the Python service: events that want the same image share its build.
#[tokio::test(start_paused = true)]
async fn two_requests_for_one_image_share_its_build() {
    let service = service(layers());
    let body = json!({ "dist_git_branch": "main", "container_images": ["top"] });
    let other = message("async-2", "freshmaker.async.manual.build", &body);
    service.deliver([asked(&["top"]), other]).await;
    assert_eq!(service.submissions().len(), 1);
    let both = ["freshmaker.async-build COMPLETE: its only build ended well"; 2];
    assert_eq!(service.events().await, both);
}

/// Number 1 of the faults of the Python service: an event whose handler fails is kept, with the
/// reason.
#[tokio::test(start_paused = true)]
async fn names_that_were_never_built_from_the_branch_fail_the_event() {
    let service = service(layers());
    let body = json!({ "dist_git_branch": "next", "container_images": ["top", "base", "gone"] });
    service.deliver([request(&body)]).await;
    assert_eq!(
        service.events().await,
        ["freshmaker.async-build FAILED: images that were never built from the branch next cannot be rebuilt: \
          no build of base-container; no build of gone-container"]
    );
    assert_eq!(service.submissions(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_target_of_the_request_counts_for_all() {
    let service = service(layers());
    let body = json!({ "dist_git_branch": "main", "container_images": ["base", "top"], "brew_target": "custom" });
    service.deliver([request(&body)]).await;
    let submissions = service.submissions();
    assert_eq!(submissions.len(), 3);
    assert!(submissions.iter().all(|text| text.contains(" for custom ")), "{submissions:?}");
}

/// Number 13 of the faults of the Python service: a dry run submits nothing, and its builds have
/// numbers like others. Number 22: the event says that it is one.
#[tokio::test(start_paused = true)]
async fn a_dry_run_builds_nothing() {
    let service = service(layers());
    let body = json!({ "dist_git_branch": "main", "container_images": ["base", "top"], "dry_run": true });
    service.deliver([request(&body)]).await;
    assert_eq!(service.events().await, ["freshmaker.async-build COMPLETE: all 3 builds ended well"]);
    assert_eq!(
        service.builds().await,
        ["base-container-9-2 DONE", "middle-container-1-3 DONE", "top-container-1-4 DONE"]
    );
    assert_eq!(service.submissions(), [""; 0]);
    let event = service.client().event(EventId(1)).await.unwrap();
    assert_eq!(event.mode, BuildMode::DryRun);
}

#[tokio::test(start_paused = true)]
async fn a_request_on_top_of_an_event_builds_what_it_names() {
    let service = service(layers());
    service.deliver([asked(&["base"])]).await;
    let body = json!({ "dist_git_branch": "main", "container_images": ["base", "other"], "freshmaker_event_id": 1 });
    service.deliver([message("async-2", "freshmaker.async.manual.build", &body)]).await;
    assert_eq!(service.events().await[1], "freshmaker.async-build COMPLETE: all 2 builds ended well");
    assert_eq!(service.submissions().len(), 3);
}

/// Number 16 of the faults of the Python service: nothing is built before its parent, in whatever
/// order images are named, and an image that was built with an older release of itself is built.
#[tokio::test(start_paused = true)]
async fn an_image_that_is_built_with_itself_is_built() {
    let go = Built { builders: &["go-container-1-6"], ..on(&["base-container-9-1"]) };
    let farm = || {
        Farm::new(&[
            ("base-container-9-1", on(&[])),
            ("go-container-1-6", on(&["base-container-9-1"])),
            ("go-container-1-7", go),
        ])
    };
    let mut all = Vec::new();
    for images in [["go", "base"], ["base", "go"]] {
        let service = service(farm());
        service.deliver([asked(&images)]).await;
        all.push(service.submissions());
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(
        all[0],
        [
            "base-container-9-1 from git://src/containers/base#c0ffee for main-candidate git_branch=main",
            "go-container-1-7 from git://src/containers/go#c0ffee for main-candidate git_branch=main \
             on rebuilt base-container-9-1 on go-container-1-6",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_about_one_image_is_a_reason_on_that_image() {
    let mut farm = layers();
    let middle = Built { broken: Some("its build has no task in Koji"), ..on(&["base-container-9-1"]) };
    farm.images.insert("middle-container-1-3".parse().unwrap(), middle);
    let service = service(farm);
    service.deliver([asked(&["base", "middle", "top"])]).await;
    let mut builds = service.builds().await;
    builds.sort();
    assert_eq!(builds, ["base-container-9-2 DONE", "middle-container-1-3 FAILED", "top-container-1-4 FAILED"]);
    let reasons = service.reasons().await;
    assert!(
        reasons.contains(&"middle-container-1-3: lookup_error (its build has no task in Koji)".to_owned()),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn another_version_of_a_named_image_stays() {
    let service = service(Farm::new(&[
        ("base-container-8-1", Built { branch: "old", ..on(&[]) }),
        ("base-container-9-1", on(&[])),
        ("app-container-1-1", on(&["base-container-8-1"])),
    ]));
    service.deliver([asked(&["base", "app"])]).await;
    assert_eq!(service.submissions().len(), 2);
    assert!(service.submissions().iter().any(|text| text.ends_with("on base-container-8-1")));
    let reasons = service.reasons().await;
    assert!(reasons.iter().any(|text| text.starts_with("base-container-8-1: not, other_version")), "{reasons:?}");
}

/// Number 18 of the faults of the Python service: a service that is away makes the message wait.
#[tokio::test(start_paused = true)]
async fn a_build_system_that_is_away_is_asked_again() {
    let farm = layers();
    *farm.outages.lock().unwrap() = 5;
    let service = service(farm);
    service.deliver([asked(&["top"])]).await;
    assert_eq!(service.events().await, ["freshmaker.async-build COMPLETE: its only build ended well"]);
}

/// Recipes of a build system that answers nonsense: each image is built on another one.
#[derive(Debug)]
struct Endless(Farm);

#[async_trait]
impl Recipes for Endless {
    async fn recipes(&self, images: &BTreeSet<Nvr>) -> Result<Each<Recipe>> {
        let mut found = self.0.recipes(&["top-container-1-4".parse().unwrap()].into()).await?;
        let recipe = found.pop_first().unwrap().1.unwrap();
        let next = |nvr: &Nvr| {
            let number: u32 = nvr.release().parse().unwrap();
            let parent = format!("layer-container-1-{}", number + 1).parse().unwrap();
            Recipe { parents: [(parent, EdgeKind::ParentImage)].into(), ..recipe.clone() }
        };
        Ok(images.iter().map(|nvr| (nvr.clone(), Ok(next(nvr)))).collect())
    }

    async fn installed(&self, images: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        self.0.installed(images).await
    }
}

#[tokio::test]
async fn a_chain_without_end_is_an_error_that_says_so() {
    let images = BuiltImages::new(Arc::new(layers()), Arc::new(Endless(layers())));
    let request = json!({ "dist_git_branch": "main", "container_images": ["top"] });
    let request: AsyncBuild = serde_json::from_value(request).unwrap();
    let error = RebuildNamedImages(images).handle(request, context(Policy::allow_all())).await.unwrap_err();
    assert_eq!(error.to_string(), "the build system: more than 100 images are built on each other");
}
