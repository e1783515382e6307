//! An advisory ships.

use super::world::{FIXED, Known, World, affected, context, layers, old, waves};
use freshmaker::backend::Paging;
use freshmaker::client::Client;
use freshmaker::handler::{Decision, Handler};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::plan::Plan;
use freshmaker::rebuild::{BuildState, EventState};
use freshmaker::{ArtifactGraph, Engine, Message, Policy};
use freshmaker_redhat::handlers::{FACTS, RebuildImagesOfAdvisory};
use freshmaker_redhat::messages::{self, errata::AdvisoryStatusChanged};
use serde_json::json;
use std::sync::Arc;

fn handler(world: &Arc<World>) -> RebuildImagesOfAdvisory {
    RebuildImagesOfAdvisory(affected(world))
}

fn shipped(to: &str) -> AdvisoryStatusChanged {
    serde_json::from_value(json!({ "errata_id": 28484, "to": to })).unwrap()
}

async fn decide_by(world: &Arc<World>, policy: Policy) -> Decision {
    handler(world).handle(shipped("SHIPPED_LIVE"), context(policy)).await.unwrap()
}

async fn plan_of(world: &Arc<World>) -> Plan {
    match decide_by(world, Policy::allow_all()).await {
        Decision::Rebuild(plan) => plan,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn images_with_an_older_package_are_rebuilt_from_their_base_up() {
    let world = Arc::new(World::new(FIXED, &layers()));
    let plan = plan_of(&world).await;
    assert_eq!(waves(&plan), [["base-container-9-1"], ["python-container-3-1"], ["app-container-1-1"]]);
    assert_eq!(plan.excluded(&"fresh-container-1-1".into()).unwrap().code, "already_fixed");
    for node in plan.nodes() {
        assert_eq!(node.demands.iter().map(ToString::to_string).collect::<Vec<_>>(), FIXED, "{node:?}");
        assert_eq!(node.asked.as_ref().unwrap().code, "affected");
        assert_eq!(node.artifact.source.as_ref().unwrap().revision.as_deref(), Some("c0ffee"));
    }
}

/// Requests grow with layers, not with images.
#[tokio::test]
async fn a_layer_is_asked_for_at_once() {
    let mut images = layers();
    images.push(("hidden-container-1-1", Known { unoffered: true, ..old(&["base-container-9-1"]) }));
    images.push(("two-container-1-1", old(&["hidden-container-1-1"])));
    let world = Arc::new(World::new(FIXED, &images));
    plan_of(&world).await;
    let calls = world.calls.lock().unwrap();
    let expected = [
        ("advisory", vec![1]),
        ("containing", vec![1]),
        ("content_sets", vec![1]),
        ("fixed_packages", vec![1]),
        ("images", vec![1]),
        ("offered", vec![1]),
        // The four that are offered, then the hidden parent.
        ("recipes", vec![4, 1]),
        ("repositories", vec![1]),
    ];
    assert_eq!(calls.iter().map(|(name, sizes)| (*name, sizes.clone())).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn every_parent_counts_also_those_that_the_catalog_does_not_have() {
    let hidden = Known { unknown_to_catalog: true, unoffered: true, ..old(&[]) };
    let image = Known { builders: &["builder-container-1-1"], ..old(&["hidden-container-1-1"]) };
    let world = Arc::new(World::new(
        FIXED,
        &[
            ("app-container-1-1", image),
            ("hidden-container-1-1", hidden),
            ("builder-container-1-1", Known { unoffered: true, ..old(&[]) }),
        ],
    ));
    let plan = plan_of(&world).await;
    assert_eq!(
        waves(&plan),
        [vec!["builder-container-1-1", "hidden-container-1-1"], vec!["app-container-1-1"]],
        "a builder stage and a parent that only Koji knows"
    );
    assert_eq!(plan.node(&"hidden-container-1-1".into()).unwrap().asked.as_ref().unwrap().code, "dependency");
}

#[tokio::test]
async fn a_parent_with_the_fix_is_used_as_it_is() {
    let world = Arc::new(World::new(
        FIXED,
        &[
            ("base-container-9-1", Known { unoffered: true, ..old(&[]) }),
            ("base-container-9-2", Known { rpms: FIXED, ..Known::default() }),
            ("app-container-1-1", old(&["base-container-9-1"])),
        ],
    ));
    let plan = plan_of(&world).await;
    assert_eq!(waves(&plan), [["app-container-1-1"]]);
    let parents = &plan.node(&"app-container-1-1".into()).unwrap().parents;
    assert_eq!(parents.iter().map(|parent| parent.id.as_str()).collect::<Vec<_>>(), ["base-container-9-2"]);
}

/// What is not known about an image decides nothing about it.
#[tokio::test]
async fn a_policy_about_recipes_does_not_hide_a_failed_look_up() {
    let broken = Known { broken: Some("its build has no task in Koji"), ..old(&[]) };
    let world = Arc::new(World::new(FIXED, &[("app-container-1-1", broken)]));
    for policy in [json!({ "allow": [{ "source": "git/.*" }] }), json!({ "block": [{ "source": "other/.*" }] })] {
        let Decision::Rebuild(plan) = decide_by(&world, serde_json::from_value(policy).unwrap()).await else {
            panic!("a plan")
        };
        assert!(plan.node(&"app-container-1-1".into()).unwrap().impediment.is_some());
    }
    let policy = json!({ "block": [{ "image_name": "app-container" }] });
    let Decision::Rebuild(plan) = decide_by(&world, serde_json::from_value(policy).unwrap()).await else {
        panic!("a plan")
    };
    assert_eq!(plan.excluded(&"app-container-1-1".into()).unwrap().code, "policy");
}

/// Lightblue and Pyxis write no epochs, advisories do.
#[tokio::test]
async fn an_epoch_that_the_catalog_leaves_out_makes_no_image_unfixed() {
    const WITH_EPOCH: &[&str] = &["1:openssl-libs-3.0-9.el9"];
    let fresh = Known { rpms: &["openssl-libs-3.0-9.el9"], ..Known::default() };
    let stale = Known { rpms: &["openssl-libs-3.0-8.el9"], ..Known::default() };
    let images = [("fresh-container-1-1", fresh), ("stale-container-1-1", stale)];
    let plan = plan_of(&Arc::new(World::new(WITH_EPOCH, &images))).await;
    assert_eq!(waves(&plan), [["stale-container-1-1"]]);
    let demands = &plan.node(&"stale-container-1-1".into()).unwrap().demands;
    assert_eq!(demands.iter().map(ToString::to_string).collect::<Vec<_>>(), WITH_EPOCH);
}

/// Numbers 8 and 15 of the faults of the Python service: what cannot be looked up is named, and
/// nothing is built on a parent without the fix.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_up_fails_with_what_is_built_on_it() {
    let broken = Known { broken: Some("build base-container-9-1 has no task in Koji"), ..old(&[]) };
    let gone = old(&["gone-container-1-1"]);
    let mut images = layers();
    images[0].1 = broken;
    images.push(("lonely-container-1-1", gone));
    images.push(("well-container-1-1", old(&[])));
    let world = Arc::new(World::new(FIXED, &images));
    let plan = plan_of(&world).await;
    let why = |name: &str| {
        let why = plan.node(&name.into()).unwrap().impediment.as_ref().unwrap();
        format!("{}: {}", why.code, why.text)
    };
    assert_eq!(why("base-container-9-1"), "lookup_error: build base-container-9-1 has no task in Koji");
    assert!(why("app-container-1-1").starts_with("parent_not_rebuilt: "), "{}", why("app-container-1-1"));
    assert_eq!(why("gone-container-1-1"), "lookup_error: Koji has no build gone-container-1-1");
    assert!(why("lonely-container-1-1").contains("gone-container-1-1"), "{}", why("lonely-container-1-1"));
    assert_eq!(plan.node(&"well-container-1-1".into()).unwrap().impediment, None);

    let (builds, client) = run(&world, Policy::allow_all()).await;
    assert_eq!(builds.requests().len(), 1, "only the image that is well was submitted");
    let events = client.events(Default::default(), Paging::first(9)).await.unwrap().items;
    assert_eq!((events[0].builds_done, events[0].builds_failed), (1, 5), "{events:?}");
    let all = client.builds(Default::default(), Paging::first(9)).await.unwrap().items;
    let base = all.iter().find(|build| build.key.artifact == "base-container-9-1".into()).unwrap();
    assert_eq!(base.state, BuildState::Failed);
    assert_eq!(base.reason.to_string(), why("base-container-9-1").replace("lookup_error: ", ""));
    assert!(client.check_consistency().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_policy_judges_the_advisory_before_anything_is_looked_up() {
    let world = Arc::new(World::new(FIXED, &layers()));
    let policy = json!({ "allow": [{ "advisory_security_impact": "critical", "image_name": "app-.*" }] });
    let skipped = decide_by(&world, serde_json::from_value(policy).unwrap()).await;
    assert_eq!(skipped, Decision::Skip("RHSA-2017:28484 is blocked: no allow rule matches".into()));
    assert_eq!(world.calls.lock().unwrap().keys().collect::<Vec<_>>(), [&"advisory"]);
}

/// A parent is rebuilt for what is built on it, whatever the policy says about the parent itself.
#[tokio::test]
async fn the_policy_judges_affected_images() {
    let world = Arc::new(World::new(FIXED, &layers()));
    let policy = json!({
        "allow": [{ "advisory_name": "RHSA-.*", "image_name": ["app-container", "python-container"] }],
        "block": [{ "image_name": "python-container", "because": "its team rebuilds it" }],
    });
    let Decision::Rebuild(plan) = decide_by(&world, serde_json::from_value(policy).unwrap()).await else {
        panic!("a plan")
    };
    assert_eq!(waves(&plan), [["base-container-9-1"], ["python-container-3-1"], ["app-container-1-1"]]);
    let asked = |name: &str| plan.node(&name.into()).unwrap().asked.clone().unwrap().code;
    assert_eq!(asked("app-container-1-1"), "affected");
    assert_eq!(asked("python-container-3-1"), "dependency");

    let policy = json!({ "block": [{ "image_repository": "app-container", "because": "frozen" }] });
    let Decision::Rebuild(plan) = decide_by(&world, serde_json::from_value(policy).unwrap()).await else {
        panic!("a plan")
    };
    let why = plan.excluded(&"app-container-1-1".into()).unwrap();
    assert_eq!((why.code.as_str(), why.text.as_str()), ("policy", "blocked by policy.block[0]: frozen"));
}

#[tokio::test]
async fn other_advisories_are_skipped_with_the_reason() {
    let skipped = |change: fn(&mut World)| async move {
        let mut world = World::new(FIXED, &layers());
        change(&mut world);
        decide_by(&Arc::new(world), Policy::allow_all()).await
    };
    for (change, expected) in [
        (
            (|world| world.advisory.content_types = ["docker".to_owned()].into()) as fn(&mut World),
            "RHSA-2017:28484 ships no packages or modules, but [docker]",
        ),
        (
            |world| world.advisory.reporter = "botas/dev-jenkins".into(),
            "RHSA-2017:28484 ships operator bundles, which are not rebuilt yet",
        ),
        (|world| world.fixed = &[], "RHSA-2017:28484 has no packages"),
        // Without a content set, every image would count.
        (|world| world.repositories = &[], "RHSA-2017:28484 ships to no repository"),
    ] {
        assert_eq!(skipped(change).await, Decision::Skip(expected.into()));
    }
    let world = Arc::new(World::new(FIXED, &layers()));
    let cx = context(Policy::allow_all());
    assert_eq!(handler(&world).handle(shipped("QE"), cx).await.unwrap(), Decision::Ignore);
    assert!(world.calls.lock().unwrap().is_empty(), "a change of another kind costs no request");
}

/// From the message of the bus to the end of the builds.
#[tokio::test(start_paused = true)]
async fn the_message_of_an_advisory_rebuilds_its_images_in_order() {
    let mut world = World::new(FIXED, &layers());
    world.advisory.state = "PUSH_READY".into();
    let world = Arc::new(world);
    let policy = json!({ "allow": [{ "advisory_state": "SHIPPED_LIVE" }] });
    let (builds, client) = run(&world, serde_json::from_value(policy).unwrap()).await;
    let events = client.events(Default::default(), Paging::first(9)).await.unwrap().items;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].state, events[0].builds_done), (EventState::Complete, 3), "{events:?}");
    let built: Vec<_> = builds.requests().iter().map(|request| request.artifact.to_string()).collect();
    assert_eq!(built, ["base-container-9-1", "python-container-3-1", "app-container-1-1"]);
}

/// A service that gets the message of the advisory twice, until it has nothing to do.
async fn run(world: &Arc<World>, policy: Policy) -> (Arc<MemoryBuildSystem>, Client) {
    let builds = Arc::new(MemoryBuildSystem::new());
    let engine = Engine::builder()
        .storage(Arc::new(MemoryStorage::new()))
        .catalog("none", Arc::new(MemoryCatalog::new(ArtifactGraph::new())))
        .build_system("koji", builds.clone())
        .parsers(messages::parsers(["VirtualTopic.eng"]))
        .facts(FACTS)
        .policy(policy)
        .on(handler(world))
        .build()
        .unwrap();
    let client = engine.client();
    let message = Message {
        id: "ID:1".into(),
        topic: "VirtualTopic.eng.errata.activity.status".into(),
        headers: [].into(),
        body: r#"{"errata_id": 28484, "from": "REL_PREP", "to": "SHIPPED_LIVE"}"#.into(),
    };
    client.receive(message.clone()).await.unwrap();
    // The broker delivers it again: number 17 of the faults of the Python service.
    client.receive(message).await.unwrap();
    engine.run_until(client.wait_until_idle()).await.unwrap();
    (builds, client)
}
