//! The composes that images are rebuilt with: what ODCS is asked, and what the builds are given.

use super::town::{HOUR, Town, builds, events, outcome};
use super::world::{FIXED, Known, NO_SETS, World, layers, old};
use freshmaker::rebuild::{BuildState, EventState};
use freshmaker_redhat::fakes::odcs::{Course, Fault};
use freshmaker_redhat::messages::errata::AdvisoryStatusChanged;
use freshmaker_redhat::odcs::Compose;
use serde_json::{Value, json};
use std::time::Duration;

/// A base with a compose that has its content set, an image with the same compose and one content
/// set more, and two images without composes and the same content sets.
fn world() -> World {
    let sets = &["baseos", "crb", "rhel-9-hidden-rpms"];
    World::new(
        FIXED,
        &[
            ("base-container-9-1", Known { composes: &[1], ..old(&[]) }),
            ("app-container-1-1", Known { composes: &[1, 2], content_sets: sets, ..old(&["base-container-9-1"]) }),
            ("one-container-1-1", Known { content_sets: sets, ..old(&[]) }),
            ("two-container-1-1", Known { content_sets: sets, ..old(&[]) }),
        ],
    )
}

fn shipped() -> AdvisoryStatusChanged {
    serde_json::from_value(json!({ "errata_id": 28484, "to": "SHIPPED_LIVE" })).unwrap()
}

/// Compose 1 has a content set, compose 2 the packages of a tag.
async fn town(world: World) -> Town {
    let town = Town::new(world).await;
    assert_eq!(town.made(&Compose::pulp(["baseos"])).await, 1);
    assert_eq!(town.made(&Compose::tag("extras").with_packages(["extra"])).await, 2);
    town
}

#[tokio::test]
async fn composes_are_renewed_and_missing_content_sets_are_asked_for_once() {
    let town = town(world()).await;
    *town.clock.ahead.lock().unwrap() += HOUR * 20;
    let before = town.asked("GET");
    let client = town.ship().await;
    let event = events(&client).await.remove(0);
    assert_eq!((event.state, event.builds_done), (EventState::Complete, 7), "{event:?}");
    // 3 is for `app`, 4 for the two others.
    let flags = json!(["use_only_compatible_arch"]);
    let mut requested = town.requested(2);
    requested.sort_by_key(Value::to_string);
    let of = |source: &str| json!([4, source, null, null, "", flags, ""]);
    let simple = |asked: &Value| json!([asked[0], asked[1], asked[2], asked[3], "", asked[5], ""]);
    assert_eq!(requested.iter().map(simple).collect::<Vec<_>>(), [of("baseos crb"), of("crb")]);
    assert_eq!(town.asked("PATCH"), 1, "one compose is renewed, once");
    let number = |source: &str| {
        let composes = town.service.composes();
        composes.iter().find(|compose| compose["source"] == source).unwrap()["id"].as_u64().unwrap()
    };
    let (crb, both) = (number("crb"), number("baseos crb"));
    let mut submitted = town.submissions();
    submitted.sort();
    let expected = [
        format!("app-container-1-1 on [base-container-9-1] with [{crb} 1] [\"2\"]"),
        "base-container-9-1 on [] with [1]".to_owned(),
        format!("one-container-1-1 on [] with [{both}]"),
        format!("two-container-1-1 on [] with [{both}]"),
    ];
    assert_eq!(submitted, expected);
    assert!(town.asked("GET") - before >= 2, "each compose was asked about once, and then polled");
    assert_eq!(town.service.violations(), [] as [String; 0]);
    let renewed = &town.service.composes()[0];
    assert!(renewed["time_to_expire"].as_str() > Some("2026-11-25"), "{renewed}");
}

/// A parent of which the catalog has no content sets gets the packages from where the nearest image
/// that is rebuilt on it has them.
#[tokio::test]
async fn a_parent_without_content_sets_gets_those_of_its_child() {
    let without = |parents| Known { content_sets: NO_SETS, unoffered: true, ..old(parents) };
    let world = World::new(
        FIXED,
        &[
            ("base-container-9-1", without(&[])),
            ("middle-container-1-1", without(&["base-container-9-1"])),
            ("app-container-1-1", Known { content_sets: &["baseos", "crb"], ..old(&["middle-container-1-1"]) }),
            ("near-container-1-1", old(&["base-container-9-1"])),
        ],
    );
    let town = Town::new(world).await;
    let client = town.ship().await;
    assert_eq!(events(&client).await[0].state, EventState::Complete);
    let composes = town.service.composes();
    let number = |source: &str| composes.iter().find(|it| it["source"] == source).unwrap()["id"].as_u64().unwrap();
    // The parents, which are not offered, also get the builds that are in them.
    let (near, far, hidden) = (number("baseos"), number("baseos crb"), number(""));
    let both = |one: u64| {
        let both = std::collections::BTreeSet::from([one, hidden]);
        both.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    };
    let mut submitted = town.submissions();
    submitted.sort();
    let expected = [
        format!("app-container-1-1 on [middle-container-1-1] with [{far}]"),
        format!("base-container-9-1 on [] with [{}]", both(near)),
        format!("middle-container-1-1 on [base-container-9-1] with [{}]", both(far)),
        format!("near-container-1-1 on [base-container-9-1] with [{near}]"),
    ];
    assert_eq!((submitted, composes.len()), (expected.to_vec(), 3));
}

/// Two events that need the same compose share it while it waits to be made.
#[tokio::test]
async fn events_share_a_compose() {
    let town = town(World::new(FIXED, &[("base-container-9-1", Known { composes: &[1], ..old(&[]) })])).await;
    let closed = town.builder().limit("odcs", 0).build().unwrap();
    let client = closed.client();
    for id in ["a", "b"] {
        client.send_as(id, &shipped()).await.unwrap();
    }
    let stored = async {
        while events(&client).await.len() < 2 {
            let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        }
    };
    closed.run_until(stored).await.unwrap();
    let client = town.settle(&town.engine()).await;
    let all: Vec<_> =
        builds(&client).await.iter().map(|build| format!("{} {}", build.key.artifact, build.state)).collect();
    assert_eq!(all, ["base-container-9-1 DONE", "odcs:renew:1 DONE"]);
    assert!(events(&client).await.iter().all(|event| event.builds_done == 2));
    assert_eq!((town.asked("PATCH"), town.service.composes().len()), (1, 2));
}

#[tokio::test]
async fn an_unpublished_image_gets_the_builds_of_its_packages() {
    let hidden = Known { unoffered: true, ..old(&[]) };
    let unknown = Known { of_unknown_origin: Some("Koji lists no packages of it"), ..hidden.clone() };
    let world = World::new(
        FIXED,
        &[
            ("hidden-container-1-1", hidden),
            ("dark-container-1-1", unknown),
            ("app-container-1-1", Known { builders: &["dark-container-1-1"], ..old(&["hidden-container-1-1"]) }),
        ],
    );
    let town = Town::new(world).await;
    let client = town.ship().await;
    let event = events(&client).await.remove(0);
    assert_eq!(event.state, EventState::Complete, "{event:?}");
    assert_eq!(event.builds_failed, 0, "{event:?}");
    let builds: Vec<_> = town.requested(0).into_iter().filter(|asked| asked[0] == 6).collect();
    let expected = json!([6, "", "bash sed", "bash-5.1-6.el9 sed-4-1.el9", "s390x x86_64", ["no_deps"], "FD431D51 "]);
    assert_eq!(builds, [expected], "one that nobody knows the packages of gets none");
    let plan = client.plan(event.id).await.unwrap().unwrap();
    let why = |image: &str| plan.node(&image.into()).unwrap().asked.clone().unwrap().text;
    let remark = "it is not published, and its packages are not offered to its build: Koji lists no packages of it";
    assert!(why("dark-container-1-1").ends_with(remark), "{}", why("dark-container-1-1"));
    assert!(!why("hidden-container-1-1").contains("not offered"));
    assert_eq!(town.world.calls.lock().unwrap()["ingredients"], [2], "all are asked about at once");
}

/// What is wrong with a compose costs the images that it was for, and what is built on them.
#[tokio::test]
async fn a_compose_that_cannot_be_told_fails_its_images_alone() {
    let flatpak = Known { flatpak: true, composes: &[4], ..old(&[]) };
    let world = World::new(
        FIXED,
        &[
            ("base-container-9-1", Known { composes: &[99], ..old(&[]) }),
            ("app-container-1-1", old(&["base-container-9-1"])),
            ("odd-container-1-1", Known { composes: &[3], ..old(&[]) }),
            ("flat-container-1-1", flatpak),
            ("modular-container-1-1", Known { composes: &[1, 4], ..old(&[]) }),
        ],
    );
    let town = town(world).await;
    town.made(&Compose::pulp(["other"])).await;
    assert_eq!(town.made(&Compose::module(["perl:5.32"])).await, 4);
    town.service.disfigure(3, "id", json!(1));
    let client = town.ship().await;
    assert_eq!(outcome(&client, "base-container-9-1").await, "FAILED: ODCS has no compose 99");
    assert!(outcome(&client, "app-container-1-1").await.contains("base-container-9-1"));
    let odd = outcome(&client, "odd-container-1-1").await;
    assert!(odd.contains("compose 3") && odd.contains("about compose 1"), "{odd}");
    let flat = outcome(&client, "flat-container-1-1").await;
    assert!(flat.contains("Flatpak") && flat.contains("compose 4"), "{flat}");
    assert!(outcome(&client, "modular-container-1-1").await.starts_with("DONE"));
    assert_eq!(town.submissions(), ["modular-container-1-1 on [] with [1] [\"4\"]"]);
    let event = events(&client).await.remove(0);
    assert_eq!((event.state, event.builds_failed), (EventState::Complete, 4), "{event:?}");
}

/// The message waits, and nothing is decided without ODCS.
#[tokio::test]
async fn while_odcs_is_away_nothing_is_decided() {
    let town = town(world()).await;
    for fault in
        [Fault::Status(503, "away".to_owned()), Fault::Html, Fault::Silence, Fault::Status(401, "who?".to_owned())]
    {
        town.service.disturb("GET", fault);
    }
    let client = town.ship().await;
    let all = events(&client).await;
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].state, all[0].builds_failed), (EventState::Complete, 0), "{all:?}");
    assert_eq!(town.builds.requests().len(), 4);
}

#[tokio::test]
async fn a_compose_that_fails_fails_the_images_that_need_it_with_its_reason() {
    let town = town(world()).await;
    town.service.script("crb", Course::failing("There is no content set crb."));
    let client = town.ship().await;
    for image in ["app-container-1-1", "one-container-1-1", "two-container-1-1"] {
        let why = outcome(&client, image).await;
        assert!(why.starts_with("DEPENDENCY_FAILED") || why.contains("odcs:pulp:"), "{image}: {why}");
    }
    assert!(outcome(&client, "base-container-9-1").await.starts_with("DONE"));
    let failed = builds(&client).await.into_iter().filter(|build| build.state == BuildState::Failed);
    let reasons: Vec<_> = failed.map(|build| build.reason.text).collect();
    assert!(
        reasons.len() == 2 && reasons.iter().all(|text| text.contains("There is no content set crb.")),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn a_compose_that_is_refused_fails_the_images_that_need_it() {
    let town = town(World::new(
        FIXED,
        &[("one-container-1-1", old(&[])), ("two-container-1-1", Known { composes: &[1], ..old(&[]) })],
    ))
    .await;
    town.service.disturb("POST", Fault::Status(400, "baseos is not for you".to_owned()));
    let client = town.ship().await;
    let failed = builds(&client).await.into_iter().find(|build| build.state == BuildState::Failed).unwrap();
    assert!(failed.reason.text.contains("baseos is not for you"), "{}", failed.reason.text);
    assert!(outcome(&client, "one-container-1-1").await.contains(failed.key.artifact.as_str()));
    assert!(outcome(&client, "two-container-1-1").await.starts_with("DONE"));
}

/// `app` waits for `base`, and meanwhile its compose is gone.
#[tokio::test]
async fn a_compose_that_is_removed_meanwhile_is_made_anew() {
    let town = town(world()).await;
    town.builds.hold(&"base-container-9-1".into());
    let engine = town.engine();
    engine.client().send(&shipped()).await.unwrap();
    town.submitted(&engine, 3).await;
    *town.clock.ahead.lock().unwrap() += HOUR * 48;
    town.service.clean_up();
    town.finish("base-container-9-1", "base-container-9-1.1764");
    let client = town.settle(&engine).await;
    assert!(outcome(&client, "app-container-1-1").await.starts_with("DONE"));
    let app = town.submissions().into_iter().find(|text| text.starts_with("app-")).unwrap();
    let live = |id: u64| town.service.composes()[id as usize - 1]["state"] == 2;
    let used = app.split('[').nth(2).unwrap().split(']').next().unwrap();
    let used: Vec<u64> = used.split(' ').map(|id| id.parse().unwrap()).collect();
    assert!(used.len() == 2 && used.iter().all(|id| live(*id)), "{app}");
}

/// Images of one event ask about each compose once, however many there are.
#[tokio::test]
async fn requests_grow_with_composes_and_not_with_images() {
    let town = town(World::new(FIXED, &layers())).await;
    let names: Vec<String> = (1..40).map(|number| format!("image{number}-container-1-1")).collect();
    let known = Known { composes: &[1, 2], ..old(&[]) };
    let images: Vec<_> = names.iter().map(|name| (name.as_str(), known.clone())).collect();
    let town = town.in_world(World::new(FIXED, &images));
    let before = town.service.asked().len();
    let client = town.ship().await;
    assert_eq!(town.builds.requests().len(), 39);
    let asked = town.service.asked().split_off(before);
    let about = |id: u64| asked.iter().filter(|asked| **asked == format!("GET /api/1/composes/{id}")).count();
    assert_eq!(about(2), 1, "it is used as it is");
    let patched = asked.iter().filter(|asked| asked.starts_with("PATCH")).count();
    assert_eq!(patched, 1, "{asked:?}");
    assert_eq!(events(&client).await[0].builds_done, 40);
}
