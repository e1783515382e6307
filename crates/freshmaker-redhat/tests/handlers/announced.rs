//! Advisories that are signed, shipped, or something else than they seem.

use super::service::{Service, carrying, message};
use super::world::{FIXED, World, affected, layers};
use freshmaker::engine::EngineBuilder;
use freshmaker::{Message, Policy};
use freshmaker_redhat::handlers::{AnnounceAdvisories, RebuildImagesOfSignedAdvisory, UnreleasedPackages};
use freshmaker_redhat::messages::errata::AdvisoryStatusChanged;
use freshmaker_redhat::messages::number;
use serde_json::json;
use std::sync::Arc;

fn announcing(builder: EngineBuilder, world: &Arc<World>) -> EngineBuilder {
    let announce = AnnounceAdvisories::new(world.clone(), world.clone());
    builder.on(announce.clone().on_signatures()).on(announce.clone().on_modules()).on(announce)
}

fn service(world: &Arc<World>) -> Service {
    Service::new(|builder| announcing(builder, world).on(RebuildImagesOfSignedAdvisory::new(affected(world))))
}

/// An advisory in this state whose builds `bash-5.1-9` and `zsh-5-1` are signed or not.
fn in_state(state: &str, unsigned: &'static [&'static str]) -> World {
    let mut world = World::new(FIXED, &layers());
    world.advisory.state = state.into();
    world.builds = vec![("bash-5.1-9.el9", None), ("zsh-5-1.el9", None)];
    world.unsigned = unsigned;
    world
}

fn status(id: &str, to: &str) -> Message {
    message(id, "errata.activity.status", &json!({ "errata_id": 28484, "from": "QE", "to": to }))
}

fn signed(id: &str, build: &str) -> Message {
    message(id, "brew.sign.rpm", &json!({ "build": { "nvr": build } }))
}

#[tokio::test(start_paused = true)]
async fn a_shipped_advisory_is_planned_once_whoever_tells() {
    let world = Arc::new(in_state("REL_PREP", &[]));
    let service = service(&world);
    // From the bus under two ids, and from a scan; late, because the tool is behind.
    let scanned = AdvisoryStatusChanged {
        errata_id: 28484,
        from: None,
        to: "SHIPPED_LIVE".into(),
        advisory: None,
        synopsis: None,
        product: None,
        release: None,
        content_types: None,
    };
    service.client().send_as("scan", &scanned).await.unwrap();
    service.deliver([status("1", "SHIPPED_LIVE"), status("2", "SHIPPED_LIVE"), status("1", "SHIPPED_LIVE")]).await;
    assert_eq!(service.events().await, ["errata.advisory-rpms-signed COMPLETE: all 3 builds ended well"]);
    assert_eq!(
        service.submissions(),
        [
            "base-container-9-1 from git/base-container#c0ffee for ?",
            "python-container-3-1 from git/python-container#c0ffee for ? on rebuilt base-container-9-1",
            "app-container-1-1 from git/app-container#c0ffee for ? on rebuilt python-container-3-1",
        ]
    );
    assert_eq!(number("errata.advisory-rpms-signed"), Some(8));
}

#[tokio::test(start_paused = true)]
async fn an_advisory_is_announced_once_all_its_builds_are_signed() {
    let world = Arc::new(in_state("QE", &["zsh-5-1.el9"]));
    let first = service(&world);
    first.deliver([signed("1", "bash-5.1-9.el9"), signed("2", "unknown-1-1")]).await;
    assert_eq!(
        first.events().await,
        ["koji.rpm-signed SKIPPED: RHSA-2017:28484 has builds that are not signed: zsh-5-1.el9"]
    );

    let world = Arc::new(in_state("QE", &[]));
    let second = service(&world);
    second.deliver([signed("1", "bash-5.1-9.el9"), signed("2", "zsh-5-1.el9"), status("3", "REL_PREP")]).await;
    assert_eq!(
        second.events().await,
        ["errata.advisory-rpms-signed SKIPPED: RHSA-2017:28484 would rebuild 3 images: base-container-9-1; \
          then python-container-3-1; then app-container-1-1; its packages are in no repository until it is \
          SHIPPED_LIVE, and none is prepared for them"],
        "three messages, one announcement"
    );
    assert_eq!(second.submissions(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn images_are_rebuilt_on_signed_packages_that_a_repository_offers() {
    let world = Arc::new(in_state("QE", &[]));
    let service = Service::new(|builder| {
        let rebuild = RebuildImagesOfSignedAdvisory::new(affected(&world));
        announcing(builder, &world).on(rebuild.with_unreleased(UnreleasedPackages::InRepositories))
    });
    service.deliver([signed("1", "bash-5.1-9.el9")]).await;
    assert_eq!(service.submissions().len(), 3);
    // When it ships it is an event of its own.
    service.deliver([status("2", "SHIPPED_LIVE")]).await;
    assert_eq!(service.events().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn late_messages_about_earlier_states_lead_to_nothing() {
    let world = Arc::new(in_state("SHIPPED_LIVE", &[]));
    let service = service(&world);
    let messages = ["NEW_FILES", "QE", "REL_PREP", "PUSH_READY", "IN_PUSH", "DROPPED_NO_SHIP"];
    service.deliver(messages.map(|state| status(state, state))).await;
    service.deliver([signed("6", "bash-5.1-9.el9")]).await;
    assert_eq!(service.events().await, [""; 0]);
    // What was announced while it was not released, and is handled after it has shipped.
    let announced = freshmaker_redhat::messages::errata::AdvisoryRpmsSigned {
        errata_id: 28484,
        advisory: "RHSA-2017:28484".into(),
        released: false,
        security_impact: "important".into(),
    };
    service.deliver([carrying("7", &announced)]).await;
    assert_eq!(
        service.events().await,
        ["errata.advisory-rpms-signed SKIPPED: RHSA-2017:28484 has shipped meanwhile, which is an event of its own"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_policy_is_asked_before_signatures_are() {
    let world = Arc::new(in_state("QE", &[]));
    let policy: Policy =
        serde_json::from_value(json!({ "allow": [{ "advisory_security_impact": "critical" }] })).unwrap();
    let service = Service::new(|builder| announcing(builder.policy(policy), &world));
    service.deliver([signed("1", "bash-5.1-9.el9")]).await;
    let expected = "koji.rpm-signed SKIPPED: RHSA-2017:28484 is blocked: no allow rule matches";
    assert_eq!(service.events().await, [expected]);
    assert!(!world.calls.lock().unwrap().contains_key("unsigned_builds"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_advisory_of_packages_says_what_it_is() {
    for (change, expected) in [
        (
            (|world| world.advisory.reporter = "botas/dev-jenkins".into()) as fn(&mut World),
            "errata.advisory-status-changed SKIPPED: RHSA-2017:28484 ships operator bundles, which are not rebuilt yet",
        ),
        (
            |world| world.advisory.content_types = ["docker".to_owned()].into(),
            "errata.advisory-status-changed SKIPPED: RHSA-2017:28484 ships no packages or modules, but [docker]",
        ),
        (
            |world| world.advisory.content_types.clear(),
            "errata.advisory-status-changed SKIPPED: RHSA-2017:28484 ships a text alone",
        ),
    ] {
        let mut world = in_state("SHIPPED_LIVE", &[]);
        change(&mut world);
        let service = service(&Arc::new(world));
        service.deliver([status("1", "SHIPPED_LIVE"), signed("2", "bash-5.1-9.el9")]).await;
        assert_eq!(service.events().await, [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn flatpaks_come_later() {
    let message = || {
        let body =
            json!({ "errata_id": 28484, "errata_status": "QE", "content_types": ["module"], "to": "bash-5.1-9.el9" });
        message("1", "errata.activity.signing", &body)
    };
    let mut world = in_state("QE", &[]);
    world.advisory.content_types = ["module".to_owned()].into();
    world.repositories = &["rhel-8-hidden-rpms", "rhel-8-hidden-debug"];
    let skipped = ": Flatpak applications could be built from RHSA-2017:28484, which comes later";
    let one = service(&Arc::new(world));
    one.deliver([message(), status("2", "QE")]).await;
    let mut events = one.events().await;
    events.sort();
    let kinds = ["errata.advisory-status-changed SKIPPED", "errata.module-advisory-signed SKIPPED"];
    assert_eq!(events, kinds.map(|kind| format!("{kind}{skipped}")));

    let mut public = in_state("QE", &[]);
    public.advisory.content_types = ["module".to_owned()].into();
    let mut unsigned = in_state("QE", &["zsh-5-1.el9"]);
    unsigned.advisory.content_types = ["module".to_owned()].into();
    unsigned.repositories = &["rhel-8-hidden-rpms"];
    for world in [public, unsigned] {
        let service = service(&Arc::new(world));
        service.deliver([message()]).await;
        assert_eq!(service.events().await, [""; 0]);
    }
}

/// Number 18 of the faults of the Python service: the Errata Tool may be away, and no message is
/// lost.
#[tokio::test(start_paused = true)]
async fn a_tool_that_is_away_is_asked_again() {
    let world = Arc::new(in_state("QE", &[]));
    *world.outages.lock().unwrap() = 4;
    let service = service(&world);
    service.deliver([signed("1", "bash-5.1-9.el9")]).await;
    assert_eq!(service.events().await.len(), 1);
    let body = json!({ "errata_id": 4711, "to": "SHIPPED_LIVE" });
    service.deliver([message("2", "errata.activity.status", &body)]).await;
    let events = service.events().await;
    assert!(events[1].contains("there is no advisory 4711"), "{events:?}");
}
