//! An update of a distribution became stable.

use super::farm::Farm;
use super::service::{Service, message};
use super::world::{Known, World};
use freshmaker::Message;
use freshmaker_redhat::handlers::RebuildImagesOfUpdate;
use freshmaker_redhat::image::ImageSearch;
use serde_json::json;
use std::sync::Arc;

const FC40: &[&str] = &["bash-5.2-1.fc40", "sed-4-1.fc40"];
const FC41: &[&str] = &["bash-5.2-1.fc41"];

/// Two layers of one release, an image of another one, and one with the update.
fn world() -> Arc<World> {
    let old = |rpms, parents| Known { rpms, parents, ..Known::default() };
    let mut world = World::new(
        &[],
        &[
            ("base-container-40-1", old(FC40, &[])),
            ("app-container-1-1", old(FC40, &["base-container-40-1"])),
            ("next-container-1-1", old(FC41, &[])),
            ("fresh-container-1-1", old(&["bash-5.2-2.fc40"], &[])),
            ("other-container-1-1", old(&["zsh-1-1.fc40"], &[])),
        ],
    );
    world.without_content_sets = true;
    Arc::new(world)
}

fn farm() -> Farm {
    let mut farm = Farm::default();
    let made: [(&str, &[&'static str]); 3] = [
        ("bash-5.2-2.fc40", &["bash-5.2-2.fc40", "bash-doc-5.2-2.fc40"]),
        ("texlive-1-1.fc40", &["texlive-base-1-1.fc40"]),
        ("flatpak-runtime-40-1", &[]),
    ];
    farm.packages = made.map(|(build, packages)| (build.parse().unwrap(), packages.to_vec())).into();
    farm
}

fn service(world: &Arc<World>, policy: serde_json::Value) -> Service {
    let search = ImageSearch::new(world.clone(), world.clone());
    let policy = serde_json::from_value(policy).unwrap();
    let handler = RebuildImagesOfUpdate::new(Arc::new(farm()), search);
    Service::new(|builder| builder.policy(policy).on(handler))
}

fn update(id: &str, builds: &[&str]) -> Message {
    let builds: Vec<_> = builds.iter().map(|nvr| json!({ "nvr": nvr })).collect();
    let release = json!({ "name": "F40", "branch": "f40" });
    message(
        id,
        "bodhi.update.complete.stable",
        &json!({ "update": { "alias": id, "builds": builds, "release": release } }),
    )
}

#[tokio::test(start_paused = true)]
async fn images_with_an_older_package_of_the_same_release_are_rebuilt() {
    let world = world();
    let service = service(&world, json!({}));
    service.deliver([update("FEDORA-1", &["bash-5.2-2.fc40", "gone-1-1.fc40", "odd"])]).await;
    assert_eq!(
        service.submissions(),
        [
            "base-container-40-1 from git/base-container#c0ffee for ?",
            "app-container-1-1 from git/app-container#c0ffee for ? on rebuilt base-container-40-1",
        ]
    );
    assert_eq!(
        service.reasons().await,
        [
            "app-container-1-1: affected (it contains bash-5.2-1.fc40, older than bash-5.2-2.fc40)",
            "base-container-40-1: affected (it contains bash-5.2-1.fc40, older than bash-5.2-2.fc40)",
            "fresh-container-1-1: not, already_fixed (all its packages are at least as new as the fixed ones)",
            "gone-1-1.fc40: not, lookup_error (Koji has no build gone-1-1.fc40)",
            "next-container-1-1: not, package_absent (it contains none of the fixed packages)",
            r#"odd: not, lookup_error ("odd" is not name-version-release)"#,
        ]
    );
    for request in service.world.builds.requests() {
        let demands: Vec<_> = request.demands.iter().map(ToString::to_string).collect();
        assert_eq!(demands, ["bash-5.2-2.fc40"], "{request:?}");
    }
    assert_eq!(service.events().await, ["bodhi.update-stable COMPLETE: all 2 builds ended well"]);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_no_image_contains_leads_to_nothing() {
    let world = world();
    let service = service(&world, json!({}));
    service.deliver([update("FEDORA-1", &["texlive-1-1.fc40"]), update("FEDORA-2", &["flatpak-runtime-40-1"])]).await;
    assert_eq!(service.events().await, [""; 0]);
    assert_eq!(world.calls.lock().unwrap()["containing"].len(), 1, "an update without packages is not looked up");
}

#[tokio::test(start_paused = true)]
async fn an_update_of_which_nothing_is_known_fails_by_name() {
    let service = service(&world(), json!({}));
    service.deliver([update("FEDORA-1", &["gone-1-1.fc40"])]).await;
    let expected = "bodhi.update-stable FAILED: gone-1-1.fc40: Koji has no build gone-1-1.fc40";
    assert_eq!(service.events().await, [expected]);
}

#[tokio::test(start_paused = true)]
async fn the_policy_knows_the_update() {
    let world = world();
    let service = service(&world, json!({ "block": [{ "update_release": "F40", "because": "it is frozen" }] }));
    service.deliver([update("FEDORA-1", &["bash-5.2-2.fc40"])]).await;
    let expected = "bodhi.update-stable SKIPPED: FEDORA-1 is blocked by policy.block[0]: it is frozen";
    assert_eq!(service.events().await, [expected]);
    assert!(world.calls.lock().unwrap().is_empty());
}
