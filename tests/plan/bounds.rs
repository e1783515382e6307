use crate::world::{Scene, scene};
use freshmaker::plan::Plan;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest chain from this build on: all chains tried.
fn longest(scene: &Scene, plan: &Plan, from: usize) -> u64 {
    let rebuilt = |number: &usize| plan.node(&scene.id(*number)).is_some();
    let children = scene.edges.iter().filter(|(parent, child, _)| *parent == from && rebuilt(child));
    scene.minutes[from] + children.map(|(_, child, _)| longest(scene, plan, *child)).max().unwrap_or(0)
}

/// When each build ends if builders take the first that is ready, by number: one schedule of many.
fn some_schedule(scene: &Scene, plan: &Plan, builders: &BTreeMap<usize, usize>) -> u64 {
    let mut waiting: Vec<usize> = plan.nodes().map(|node| scene.number(&node.artifact.id)).collect();
    waiting.sort_unstable();
    let mut ends: BTreeMap<usize, u64> = BTreeMap::new();
    for now in 0.. {
        let open = waiting.clone();
        for number in open {
            let running = ends.iter().filter(|(other, end)| *other % 2 == number % 2 && **end > now).count();
            let parents = scene.edges.iter().filter(|edge| edge.1 == number && plan.node(&scene.id(edge.0)).is_some());
            let ready = parents.map(|edge| edge.0).all(|parent| ends.get(&parent).is_some_and(|end| *end <= now));
            if ready && running < builders[&(number % 2)] {
                ends.insert(number, now + scene.minutes[number]);
                waiting.retain(|other| *other != number);
            }
        }
        if waiting.is_empty() {
            break;
        }
    }
    ends.into_values().max().unwrap_or(0)
}

fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

proptest! {
    #[test]
    fn the_critical_builds_are_a_longest_chain(scene in scene()) {
        let plan = scene.plan();
        let chain: Vec<_> = plan.critical_builds().iter().map(|node| scene.number(&node.artifact.id)).collect();
        for pair in chain.windows(2) {
            prop_assert!(scene.edges.iter().any(|edge| (edge.0, edge.1) == (pair[0], pair[1])), "{chain:?}");
        }
        let length = chain.iter().map(|number| scene.minutes[*number]).sum();
        let expected = plan.nodes().map(|node| longest(&scene, &plan, scene.number(&node.artifact.id))).max();
        prop_assert_eq!(minutes(length), plan.critical_path());
        prop_assert_eq!(length, expected.unwrap_or(0));
    }

    /// Artifacts of even numbers are built by one system, those of odd ones by another.
    #[test]
    fn no_schedule_is_shorter_than_the_bound(scene in scene(), even in 1..4_usize, odd in 1..4_usize) {
        let mut stored = serde_json::to_value(scene.plan()).unwrap();
        for (name, node) in stored["nodes"].as_object_mut().unwrap() {
            if scene.number(&name.as_str().into()) % 2 == 0 {
                node["artifact"]["system"] = "even".into();
            }
        }
        let plan: Plan = serde_json::from_value(stored).unwrap();
        let builders = |system: Option<&str>| u32::try_from(if system == Some("even") { even } else { odd }).unwrap();
        let bound = plan.lower_bound_by(builders);
        prop_assert!(minutes(some_schedule(&scene, &plan, &BTreeMap::from([(0, even), (1, odd)]))) >= bound);
        prop_assert!(bound >= plan.lower_bound(builders(Some("even")) + builders(None)), "a part of them cannot be faster than all");
        let work = |rest: usize| plan.nodes().map(|node| scene.number(&node.artifact.id)).filter(|number| number % 2 == rest).map(|number| scene.minutes[number]).sum::<u64>();
        let per = |rest: usize, count: usize| minutes(work(rest)) / u32::try_from(count).unwrap();
        prop_assert_eq!(bound, plan.critical_path().max(per(0, even)).max(per(1, odd)));
    }
}

#[test]
fn durations_without_end_do_no_harm() {
    let mut stored = serde_json::to_value(crate::world::pair()).unwrap();
    for name in ["a", "b"] {
        for field in ["estimate", "rank"] {
            stored["nodes"][name][field] = serde_json::json!({"secs": u64::MAX, "nanos": 999_999_999});
        }
    }
    let plan: Plan = serde_json::from_value(stored).unwrap();
    assert_eq!(plan.lower_bound(1), Duration::MAX);
    assert_eq!(plan.lower_bound_by(|_| 1), Duration::MAX);
    assert_eq!(plan.critical_builds().len(), 1);
}
