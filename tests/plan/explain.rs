use crate::world::{Scene, odd_scene, scene};
use freshmaker::plan::{Explanation, Plan, RebuildReason};
use freshmaker::{Artifact, ArtifactGraph, ArtifactId, ArtifactKind, EdgeKind, Policy, Reason};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The dependencies over which a change reaches the artifact, as (parent, child, kinds): tried one
/// by one until no more is found.
fn steps_to(scene: &Scene, plan: &Plan, target: usize) -> BTreeMap<(usize, usize), BTreeSet<EdgeKind>> {
    let rebuilt = |number: usize| plan.node(&scene.id(number)).is_some();
    let mut reaching = BTreeSet::from([target]);
    let mut steps: BTreeMap<_, BTreeSet<EdgeKind>> = BTreeMap::new();
    loop {
        let before = steps.clone();
        for &(parent, child, kind) in &scene.edges {
            let goes_on = rebuilt(child) && (rebuilt(parent) || scene.changed.contains(&parent));
            if goes_on && reaching.contains(&child) {
                reaching.insert(parent);
                steps.entry((parent, child)).or_default().insert(kind);
            }
        }
        if steps == before {
            return steps;
        }
    }
}

/// How many steps are needed at least from a start other than the artifact itself.
fn distance(
    scene: &Scene,
    plan: &Plan,
    steps: &BTreeMap<(usize, usize), BTreeSet<EdgeKind>>,
    target: usize,
) -> Option<usize> {
    let starts = |at: usize| {
        let asked = scene.asked.contains_key(&at) && plan.node(&scene.id(at)).is_some();
        at != target && (asked || scene.changed.contains(&at))
    };
    let mut ends = BTreeSet::from([target]);
    for length in 0..=scene.names.len() {
        if ends.iter().any(|end| starts(*end)) {
            return Some(length);
        }
        ends = steps.keys().filter(|(_, child)| ends.contains(child)).map(|(parent, _)| *parent).collect();
    }
    None
}

proptest! {
    #[test]
    fn everything_over_which_a_change_reaches_it_is_told(scene in scene()) {
        let plan = scene.plan();
        for target in 0..scene.names.len() {
            let Explanation::Rebuilt { node, derivation } = plan.explain(&scene.id(target)) else { continue };
            prop_assert_eq!(&node.artifact.id, &scene.id(target));
            let expected = steps_to(&scene, &plan, target);
            let mut known: BTreeSet<_> = scene.changed.iter().map(|number| scene.id(*number)).collect();
            known.extend(derivation.starts.iter().map(|start| start.id.clone()));
            for step in &derivation.steps {
                let edge = (scene.number(step.parent), scene.number(step.child));
                let kinds: BTreeSet<_> = step.kinds.iter().copied().collect();
                prop_assert_eq!(Some(&kinds), expected.get(&edge));
                let direct = scene.changed.contains(&edge.0);
                prop_assert_eq!(step.reason == RebuildReason::DirectlyAffected, direct);
                prop_assert!(known.contains(step.parent), "{} comes too early", step.parent);
                known.insert(step.child.clone());
            }
            prop_assert_eq!(derivation.steps.len(), expected.len());
            for number in 0..scene.names.len() {
                let start = derivation.starts.iter().find(|start| *start.id == scene.id(number));
                let parent = expected.keys().any(|(parent, _)| *parent == number);
                let (changed, asked) = (scene.changed.contains(&number), plan.node(&scene.id(number)).is_some_and(|it| it.asked.is_some()));
                let takes_part = (parent && (changed || asked)) || (number == target && asked);
                prop_assert_eq!(start.is_some(), takes_part);
                if let Some(start) = start {
                    prop_assert_eq!((start.changed.is_some(), start.asked.is_some()), (changed, asked));
                }
            }
            let shortest: Vec<_> = derivation.shortest.iter().map(|id| scene.number(id)).collect();
            let edges: Vec<_> = shortest.windows(2).map(|pair| (pair[0], pair[1])).collect();
            prop_assert!(edges.iter().all(|edge| expected.contains_key(edge)), "{shortest:?}");
            prop_assert_eq!(shortest.len().checked_sub(1), distance(&scene, &plan, &expected, target));
        }
    }

    #[test]
    fn an_exclusion_leads_to_its_cause(scene in scene()) {
        let plan = scene.plan();
        for (id, _) in plan.exclusions() {
            let Explanation::Excluded { reason, follows } = plan.explain(id) else { panic!("{id} is out") };
            prop_assert_eq!(reason.code == "parent_not_rebuilt", !follows.is_empty());
            let mut child = scene.number(id);
            for (position, excluded) in follows.iter().enumerate() {
                let parent = scene.number(excluded.id);
                prop_assert!(scene.edges.iter().any(|edge| (edge.0, edge.1) == (parent, child)));
                prop_assert_eq!(plan.excluded(excluded.id), Some(excluded.reason));
                prop_assert_eq!(excluded.reason.code == "parent_not_rebuilt", position + 1 < follows.len());
                child = parent;
            }
        }
    }

    #[test]
    fn an_explanation_is_one_line(scene in odd_scene()) {
        let plan = scene.plan();
        for number in 0..scene.names.len() {
            let text = plan.explain(&scene.id(number)).to_string();
            prop_assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
            serde_json::to_string(&plan.explain(&scene.id(number))).unwrap();
        }
    }
}

fn graph(edges: &[(&str, &str)]) -> ArtifactGraph {
    let mut graph = ArtifactGraph::new();
    for (child, parent) in edges {
        for name in [child, parent] {
            graph.insert(Artifact::new(*name, ArtifactKind::Image).with_source("here", None));
        }
    }
    for (child, parent) in edges {
        graph.depend(*child, *parent, EdgeKind::ParentImage).unwrap();
    }
    graph
}

fn told(plan: &Plan, id: &str) -> String {
    plan.explain(&ArtifactId::new(id)).to_string()
}

#[test]
fn sentences() {
    let graph =
        graph(&[("lib", "base"), ("tool", "base"), ("app", "lib"), ("app", "tool"), ("site", "app"), ("site", "base")]);
    let plan = graph.planner().changed("base", None).rebuild("app").plan().unwrap();
    assert_eq!(told(&plan, "base"), "it changed");
    assert_eq!(told(&plan, "lib"), "rebuilt because base changed: base -> lib");
    assert_eq!(
        told(&plan, "site"),
        "rebuilt because app is rebuilt (it was asked for): app -> site, the shortest of its reasons, of 6 dependencies in all"
    );
    let both = "rebuilt because it was asked for; and because base changed: base -> lib -> app, the shortest of its reasons, of 4 dependencies in all";
    assert_eq!(told(&plan, "app"), both);
    let why = Reason::new("contains", "it contains openssl-3.0.1");
    let plan = graph.planner().rebuild_as("app", RebuildReason::DirectlyAffected, why).plan().unwrap();
    assert_eq!(told(&plan, "app"), "rebuilt because it contains openssl-3.0.1");
    assert_eq!(told(&plan, "site"), "rebuilt because app is rebuilt (it contains openssl-3.0.1): app -> site");
}

#[test]
fn the_cause_of_an_exclusion_is_seen_from_afar() {
    let graph = graph(&[("lib", "base"), ("app", "lib"), ("site", "app")]);
    let policy: Policy = serde_json::from_value(json!({"block": [{"artifact": "lib", "because": "frozen"}]})).unwrap();
    let plan = graph.plan(&["base".into()], &policy).unwrap();
    let cause = "not rebuilt (policy): blocked by policy.block[0]: frozen";
    assert_eq!(told(&plan, "lib"), cause);
    let expected = "not rebuilt (parent_not_rebuilt): it would only follow app, which is not rebuilt; \
        the cause is lib (policy): blocked by policy.block[0]: frozen";
    assert_eq!(told(&plan, "site"), expected);
    let json = serde_json::to_value(plan.explain(&"site".into())).unwrap();
    assert_eq!(json["status"], "excluded");
    assert_eq!(json["reason"]["code"], "parent_not_rebuilt");
    assert_eq!(
        json["follows"],
        json!([
            {"id": "app", "reason": {
                "code": "parent_not_rebuilt", "text": "it would only follow lib, which is not rebuilt", "follows": "lib",
            }},
            {"id": "lib", "reason": {"code": "policy", "text": "blocked by policy.block[0]: frozen"}},
        ])
    );
}

#[test]
fn exclusions_that_point_at_each_other_end() {
    let plan = graph(&[("app", "base")]).planner().changed("base", None).plan().unwrap();
    let mut stored = serde_json::to_value(&plan).unwrap();
    let out = |other: &str| json!({"code": "parent_not_rebuilt", "text": "it follows", "follows": other});
    stored["excluded"] = json!({"a": out("b"), "b": out("a")});
    let plan: Plan = serde_json::from_value(stored.clone()).unwrap();
    let Explanation::Excluded { follows, .. } = plan.explain(&"a".into()) else { panic!("it is out") };
    assert_eq!(follows.len(), 2);
    stored["excluded"] = json!({"a": out("app")});
    let error = serde_json::from_value::<Plan>(stored).unwrap_err().to_string();
    assert_eq!(error, "the plan contradicts itself: excluded.\"a\".follows: \"app\" is not excluded");
}

#[test]
fn keys_of_a_derivation() {
    let plan = graph(&[("lib", "base"), ("app", "lib")]).planner().changed("base", None).rebuild("lib").plan().unwrap();
    let json = serde_json::to_value(plan.explain(&"app".into())).unwrap();
    assert_eq!(json["status"], "rebuilt");
    assert_eq!(json["node"]["reason"], "dependency");
    assert_eq!(
        json["derivation"],
        json!({
            "starts": [
                {"id": "base", "changed": {}},
                {"id": "lib", "asked": {"code": "requested", "text": "it was asked for"}},
            ],
            "steps": [
                {"parent": "base", "child": "lib", "kinds": ["parent_image"], "reason": "directly_affected"},
                {"parent": "lib", "child": "app", "kinds": ["parent_image"], "reason": "dependency"},
            ],
            "shortest": ["lib", "app"],
        })
    );
    assert_eq!(serde_json::to_value(plan.explain(&"base".into())).unwrap(), json!({"status": "changed"}));
    assert_eq!(serde_json::to_value(plan.explain(&"x".into())).unwrap(), json!({"status": "unaffected"}));
}

#[test]
fn a_cycle_is_explained() {
    let node = |name: &str, parents: &[&str]| {
        let parents: Vec<_> = parents.iter().map(|id| json!({"id": id, "kinds": ["link"]})).collect();
        let because: Vec<_> = parents.iter().map(|parent| parent["id"].clone()).collect();
        let zero = json!({"secs": 0, "nanos": 0});
        json!({
            "artifact": {"id": name, "kind": "rpm"}, "reason": "dependency", "because": because, "parents": parents,
            "wave": 0, "estimate": zero, "rank": zero,
        })
    };
    let plan: Plan = serde_json::from_value(json!({
        "version": 2, "changed": {"base": {}}, "excluded": {},
        "nodes": {"a": node("a", &["b", "base"]), "b": node("b", &["c"]), "c": node("c", &["a"])},
        "cycles": [{"members": ["a", "b", "c"]}],
    }))
    .unwrap();
    let Explanation::Rebuilt { derivation, .. } = plan.explain(&"b".into()) else { panic!("it is in") };
    let steps: BTreeSet<_> = derivation.steps.iter().map(|step| (step.parent.as_str(), step.child.as_str())).collect();
    assert_eq!(steps, BTreeSet::from([("base", "a"), ("a", "c"), ("c", "b"), ("b", "a")]));
    assert_eq!(derivation.shortest, [&ArtifactId::new("base"), &"a".into(), &"c".into(), &"b".into()]);
}
