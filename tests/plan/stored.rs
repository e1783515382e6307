use crate::world::scene;
use freshmaker::artifact::Digest;
use freshmaker::plan::{Format, Plan};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Reason};
use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::{Value, json};

proptest! {
    #[test]
    fn a_stored_plan_is_read_back(scene in scene()) {
        let plan = scene.plan();
        let stored = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(read.hash(), plan.hash());
        // What a database does that orders the keys by itself.
        let resorted: Value = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(serde_json::from_value::<Plan>(resorted).unwrap().hash(), plan.hash());
        prop_assert_eq!(read, plan);
    }

    /// The hash is made build by build, and must be that of the whole form.
    #[test]
    fn the_hash_is_that_of_the_stored_form_without_estimates(scene in scene()) {
        let plan = scene.plan();
        let mut stored = serde_json::to_value(&plan).unwrap();
        for node in stored["nodes"].as_object_mut().unwrap().values_mut() {
            for time in ["estimate", "rank"] {
                node[time] = json!({"secs": 0, "nanos": 0});
            }
        }
        let zeroed: Plan = serde_json::from_value(stored).unwrap();
        prop_assert_eq!(plan.hash(), Digest::of(&serde_json::to_vec(&zeroed).unwrap()));
    }

    #[test]
    fn version_1_becomes_version_2(mut scene in scene()) {
        scene.asked.clear();
        let plan = scene.plan();
        let mut stored = serde_json::to_value(&plan).unwrap();
        stored["version"] = 1.into();
        for node in stored["nodes"].as_object_mut().unwrap().values_mut() {
            node.as_object_mut().unwrap().remove("estimate").unwrap();
        }
        let read: Plan = serde_json::from_value(stored).unwrap();
        prop_assert_eq!(read.hash(), plan.hash());
        prop_assert_eq!(read, plan);
    }
}

/// base changed, so lib and tool are built, and then app, which was asked for as well.
fn plan() -> Value {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    graph.insert(Artifact::new("vendor", ArtifactKind::Image));
    for name in ["lib", "tool", "app"] {
        graph.insert(Artifact::new(name, ArtifactKind::Image).with_source("here", None));
    }
    for (child, parent, kind) in [
        ("lib", "base", EdgeKind::ParentImage),
        ("tool", "base", EdgeKind::ParentImage),
        ("vendor", "base", EdgeKind::ParentImage),
        ("app", "lib", EdgeKind::ParentImage),
        ("app", "lib", EdgeKind::Link),
        ("app", "tool", EdgeKind::BuilderStage),
    ] {
        graph.depend(child, parent, kind).unwrap();
    }
    serde_json::to_value(graph.planner().changed("base", None).rebuild("app").plan().unwrap()).unwrap()
}

/// The same plan with a cycle between lib and tool, resolved in one of the two ways.
fn cycle(broken: &Value) -> Value {
    let mut plan = plan();
    let parent = |name: &str| json!({"id": name, "kinds": ["link"]});
    for (child, name) in [("lib", "tool"), ("tool", "lib")] {
        plan["nodes"][child]["parents"].as_array_mut().unwrap().push(parent(name));
        plan["nodes"][child]["because"].as_array_mut().unwrap().push(name.into());
    }
    plan["cycles"] = json!([{"members": ["lib", "tool"], "broken": broken}]);
    plan
}

/// The cycle is resolved by building lib first.
pub(crate) fn opened() -> Value {
    let mut plan = cycle(&json!([["lib", "tool"]]));
    plan["nodes"]["tool"]["wave"] = 1.into();
    plan["nodes"]["app"]["wave"] = 2.into();
    plan["nodes"]["lib"]["rank"]["secs"] = 1800.into();
    plan
}

fn error(plan: Value) -> String {
    serde_json::from_value::<Plan>(plan).unwrap_err().to_string()
}

#[test]
fn asked_for_in_version_1_is_seen() {
    let mut stored = plan();
    stored["version"] = 1.into();
    stored["nodes"]["app"].as_object_mut().unwrap().remove("asked").unwrap();
    let plan: Plan = serde_json::from_value(stored).unwrap();
    assert_eq!(plan.node(&"app".into()).unwrap().asked, Some(Reason::new("requested", "it was asked for")));
    assert_eq!(plan.node(&"lib".into()).unwrap().asked, None);
}

#[test]
fn other_versions_are_refused() {
    for version in [json!(0), json!(3), json!(4_294_967_295_u32)] {
        // Whatever the rest looks like, the version is what is wrong with it.
        let stored = format!(r#"{{"version": {version}, "nodes": ["of another form"]}}"#);
        let error = serde_json::from_str::<Plan>(&stored).unwrap_err().to_string();
        assert!(error.starts_with(&format!("a plan of version {version} cannot be read, only of 1 to 2")), "{error}");
    }
    let mut plan = plan();
    plan.as_object_mut().unwrap().remove("version");
    assert!(error(plan).contains("missing field `version`"));
}

#[test]
fn cycles_are_read() {
    for stored in [cycle(&json!([])), opened()] {
        let plan: Plan = serde_json::from_value(stored).unwrap();
        assert_eq!(plan.cycles().len(), 1);
        let lib = plan.node(&"lib".into()).unwrap();
        assert_eq!(plan.needs(lib).count(), 0);
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
    }
}

/// A compiler that is built with the last compiler.
#[test]
fn what_depends_on_itself_is_read() {
    let mut stored = plan();
    stored["nodes"]["lib"]["parents"].as_array_mut().unwrap().push(json!({"id": "lib", "kinds": ["build_dependency"]}));
    stored["nodes"]["lib"]["because"].as_array_mut().unwrap().push("lib".into());
    let plan: Plan = serde_json::from_value(stored).unwrap();
    assert_eq!(plan.needs(plan.node(&"lib".into()).unwrap()).count(), 0);
    for format in Format::ALL {
        assert!(!plan.render(format).to_string().is_empty());
    }
    let told = plan.explain(&"lib".into()).to_string();
    assert_eq!(
        told,
        "rebuilt because base changed: base -> lib, the shortest of its reasons, of 2 dependencies in all"
    );
}

/// Each fault alone, and what is said about it.
#[test]
fn a_plan_that_contradicts_itself_is_refused_with_the_place() {
    type Fault = fn(&mut Value);
    let faults: &[(Fault, &str)] = &[
        (|plan| plan["nodes"]["app"]["artifact"]["id"] = "other".into(), r#"nodes."app".artifact.id: it is "other""#),
        (
            |plan| plan["excluded"]["app"] = json!({"code": "c", "text": "t"}),
            r#"excluded."app": it is among the nodes as well"#,
        ),
        (
            |plan| plan["nodes"]["app"]["because"] = json!(["lib", "nobody"]),
            r#"nodes."app".because: "nobody" is neither changed nor rebuilt"#,
        ),
        (
            |plan| plan["nodes"]["app"]["because"] = json!(["base"]),
            r#"nodes."app".because: "base" is not among the parents"#,
        ),
        (
            |plan| plan["nodes"]["app"]["because"] = json!(["tool", "lib"]),
            r#"nodes."app".because: the entries are out of order"#,
        ),
        (
            |plan| plan["nodes"]["app"]["because"] = json!(["lib", "lib"]),
            r#"nodes."app".because: the entries are out of order, or one is there twice"#,
        ),
        (
            |plan| plan["nodes"]["app"]["parents"].as_array_mut().unwrap().reverse(),
            r#"nodes."app".parents: the entries are out of order"#,
        ),
        (
            |plan| plan["nodes"]["app"]["parents"][0]["kinds"].as_array_mut().unwrap().reverse(),
            r#"nodes."app".parents."lib".kinds: the entries are out of order"#,
        ),
        (
            |plan| plan["nodes"]["lib"]["because"] = json!([]),
            r#"nodes."lib".because: nothing that changed or was asked for reaches it"#,
        ),
        (|plan| plan["changed"] = json!({}), r#"nodes."lib".because: "base" is neither changed nor rebuilt"#),
        (
            |plan| plan["nodes"]["app"]["wave"] = 0.into(),
            r#"nodes."app".wave: "lib" is in wave 0, so it is not waited for"#,
        ),
        (
            |plan| plan["nodes"]["lib"]["wave"] = 1.into(),
            r#"nodes."app".wave: "lib" is in wave 1, so it is not waited for"#,
        ),
        (|plan| plan["nodes"]["app"]["wave"] = 3.into(), r#"nodes."app".wave: there is no wave 3 with 3 nodes"#),
        (
            |plan| plan["nodes"]["lib"]["rank"]["secs"] = 1199.into(),
            r#"nodes."app".rank: the rank of "lib" does not include it"#,
        ),
        (
            |plan| plan["nodes"]["app"]["estimate"]["secs"] = 1200.into(),
            r#"nodes."app".rank: it is shorter than the estimate"#,
        ),
        (
            |plan| plan["cycles"] = json!([{"members": ["lib", "vendor"]}]),
            r#"cycles[0].members: "vendor" is not among the nodes"#,
        ),
        (
            |plan| plan["cycles"] = json!([{"members": ["lib"]}, {"members": ["lib"]}]),
            r#"cycles[1].members: "lib" is in two cycles"#,
        ),
        (
            |plan| plan["cycles"] = json!([{"members": ["tool", "lib"]}]),
            r#"cycles[0].members: the entries are out of order"#,
        ),
        (
            |plan| plan["cycles"] = json!([{"members": ["lib", "tool"], "broken": [["tool", "lib"]]}]),
            r#"cycles[0].broken: "tool" does not depend on "lib" within the cycle"#,
        ),
        (
            |plan| plan["cycles"] = json!([{"members": ["app", "lib"], "broken": [["app", "tool"]]}]),
            r#"cycles[0].broken: "app" does not depend on "tool" within the cycle"#,
        ),
        (
            |plan| plan["cycles"] = json!([{"members": ["app", "lib"]}]),
            r#"nodes."app".wave: "lib" is in wave 0, so it is waited for"#,
        ),
    ];
    assert!(serde_json::from_value::<Plan>(plan()).is_ok());
    for (fault, expected) in faults {
        let mut plan = plan();
        fault(&mut plan);
        let error = error(plan);
        assert!(error.starts_with(&format!("the plan contradicts itself: {expected}")), "{error}\nis not\n{expected}");
    }
}

#[test]
fn a_cycle_that_nothing_reaches_is_refused() {
    let mut plan = cycle(&json!([]));
    for (name, other) in [("lib", "tool"), ("tool", "lib")] {
        plan["nodes"][name]["because"] = json!([other]);
    }
    assert!(error(plan).contains(r#"nodes."lib".because: nothing that changed"#));
}

#[test]
fn a_cycle_that_is_not_resolved_is_refused() {
    let mut plan = opened();
    plan["cycles"] = json!([]);
    assert!(error(plan).contains(r#"nodes."lib".wave: "tool" is in wave 1, so it is not waited for"#));
}
