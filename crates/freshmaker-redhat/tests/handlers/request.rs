//! A person asks for images of an advisory.

use super::world::{FIXED, Known, World, affected, context, layers, old, waves};
use freshmaker::Policy;
use freshmaker::handler::{Decision, Handler};
use freshmaker::rebuild::EventId;
use freshmaker_redhat::handlers::{RebuildImagesOnRequest, cancel_on_request};
use freshmaker_redhat::messages::request::{CancelEvent, ManualRebuild};
use serde_json::{Value, json};
use std::sync::Arc;

async fn decide(world: World, policy: Policy, request: Value) -> Decision {
    let request: ManualRebuild = serde_json::from_value(request).unwrap();
    RebuildImagesOnRequest(affected(&Arc::new(world))).handle(request, context(policy)).await.unwrap()
}

#[tokio::test]
async fn only_the_named_images_and_what_they_need_are_rebuilt() {
    let request = json!({
        "errata_id": 28484,
        "container_images": ["python-container-3-1", "fresh-container-1-1", "strange-container-1-1"],
    });
    let Decision::Rebuild(plan) = decide(World::new(FIXED, &layers()), Policy::allow_all(), request).await else {
        panic!("a plan")
    };
    assert_eq!(waves(&plan), [["base-container-9-1"], ["python-container-3-1"]]);
    let codes =
        ["fresh-container-1-1", "strange-container-1-1"].map(|name| plan.excluded(&name.into()).unwrap().code.as_str());
    assert_eq!(codes, ["already_fixed", "not_affected"]);
    let why = plan.excluded(&"strange-container-1-1".into()).unwrap();
    assert_eq!(why.text, "the catalog of images does not have it");
    assert_eq!(plan.excluded(&"app-container-1-1".into()), None);
}

/// What a person names need not be offered: it can be an older release, or not published.
#[tokio::test]
async fn a_named_image_need_not_be_offered() {
    let hidden = |parents| Known { unoffered: true, unpublished: true, ..old(parents) };
    let elsewhere = Known { content_sets: &["crb"], ..hidden(&[]) };
    let images = [
        ("base-container-9-1", hidden(&[])),
        ("app-container-1-1", hidden(&["base-container-9-1"])),
        ("app-container-1-2", old(&[])),
        ("strange-container-1-1", elsewhere),
    ];
    let alone = json!({ "errata_id": 28484, "container_images": ["base-container-9-1"] });
    let older = json!({ "errata_id": 28484, "container_images": ["app-container-1-1", "strange-container-1-1"] });
    for (request, expected) in [
        (alone, vec![vec!["base-container-9-1"]]),
        (older, vec![vec!["base-container-9-1"], vec!["app-container-1-1"]]),
    ] {
        let world = Arc::new(World::new(FIXED, &images));
        let request: ManualRebuild = serde_json::from_value(request).unwrap();
        let handler = RebuildImagesOnRequest(affected(&world));
        let Decision::Rebuild(plan) = handler.handle(request, context(Policy::allow_all())).await.unwrap() else {
            panic!("a plan")
        };
        assert_eq!(waves(&plan), expected);
        assert!(!world.calls.lock().unwrap().contains_key("containing"), "the rest of the catalog does not matter");
        for (nvr, why) in plan.exclusions() {
            assert_eq!((nvr.as_str(), why.code.as_str()), ("strange-container-1-1", "not_affected"));
            assert_eq!(why.text, "it uses no content set that the fixed packages are shipped to");
        }
    }
}

/// Unpublished images that are named are all rebuilt, unless they replace each other.
#[tokio::test]
async fn named_unpublished_images_do_not_push_each_other_out() {
    let hidden = |repository| Known { unoffered: true, unpublished: true, repository, ..old(&[]) };
    let images = [("app-container-1-1", hidden(Some("eus"))), ("app-container-1-2", hidden(None))];
    let request = json!({ "errata_id": 28484, "container_images": ["app-container-1-1", "app-container-1-2"] });
    let Decision::Rebuild(plan) = decide(World::new(FIXED, &images), Policy::allow_all(), request).await else {
        panic!("a plan")
    };
    assert_eq!(waves(&plan), [["app-container-1-1", "app-container-1-2"]]);
}

/// A parent that the request names is one all the same.
#[tokio::test]
async fn a_named_parent_is_rebuilt_for_what_is_built_on_it() {
    let hidden = Known { unoffered: true, ..old(&[]) };
    let images = [("base-container-9-1", hidden), ("app-container-1-1", old(&["base-container-9-1"]))];
    let request = json!({
        "errata_id": 28484,
        "container_images": ["base-container-9-1", "app-container-1-1"],
    });
    let Decision::Rebuild(plan) = decide(World::new(FIXED, &images), Policy::allow_all(), request).await else {
        panic!("a plan")
    };
    assert_eq!(waves(&plan), [["base-container-9-1"], ["app-container-1-1"]]);
    assert_eq!(plan.exclusions().count(), 0);
}

#[tokio::test]
async fn without_names_all_that_the_advisory_affects_is_rebuilt() {
    let policy = json!({ "block": [{ "image_name": "base-container", "not": { "manual": "true" } }] });
    let policy = serde_json::from_value(policy).unwrap();
    let request = json!({ "errata_id": 28484 });
    let Decision::Rebuild(plan) = decide(World::new(FIXED, &layers()), policy, request).await else { panic!("a plan") };
    assert_eq!(plan.len(), 3);
    assert_eq!(plan.node(&"base-container-9-1".into()).unwrap().asked.as_ref().unwrap().code, "affected");
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    for (request, expected) in [
        (json!({ "freshmaker_event_id": 7 }), "earlier events are not known here, so nothing can be built on event 7"),
        (
            json!({ "errata_id": 28484, "bundle_related_image_overrides": { "a": "b" } }),
            "it is about operator bundles, which are not rebuilt yet",
        ),
        (
            json!({ "errata_id": 28484 }),
            "RHSA-2017:28484 is QE, and its packages are in no repository until it is SHIPPED_LIVE",
        ),
    ] {
        let mut world = World::new(FIXED, &layers());
        world.advisory.state = "QE".into();
        assert_eq!(decide(world, Policy::allow_all(), request).await, Decision::Skip(expected.into()));
    }
    let odd: ManualRebuild =
        serde_json::from_value(json!({ "errata_id": 28484, "container_images": ["no nvr"] })).unwrap();
    let world = Arc::new(World::new(FIXED, &layers()));
    let error = RebuildImagesOnRequest(affected(&world)).handle(odd, context(Policy::allow_all())).await.unwrap_err();
    assert!(error.to_string().contains("no nvr"), "{error}");
    assert!(world.calls.lock().unwrap().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn an_event_is_cancelled_by_its_number() {
    let event: CancelEvent = serde_json::from_value(json!({ "event_id": 7, "builds_id": [1, 2] })).unwrap();
    let decision = cancel_on_request(event, context(Policy::allow_all())).await.unwrap();
    assert_eq!(decision, Decision::Cancel(vec![EventId(7)]));
}
