//! The places of builds in the lines of their build systems.

use crate::world::{World, graph};
use freshmaker::plan::Plan;
use freshmaker::rebuild::{BuildState, Outcome};
use freshmaker::{ArtifactGraph, Severity};

fn plan(graph: &ArtifactGraph, changed: &str) -> Plan {
    graph.planner().changed(changed, None).plan().unwrap()
}

fn many(count: usize) -> ArtifactGraph {
    graph(&(0..count).map(|number| format!("many{number:03}: base")).collect::<Vec<_>>().join("; "))
}

/// Those that are ready, as they would start.
fn line(world: &World) -> Vec<&str> {
    let mut ready: Vec<_> = world.rows.builds.values().filter(|build| build.state == BuildState::Ready).collect();
    ready.sort_by_key(|build| (-build.priority, build.id));
    ready.iter().map(|build| build.key.artifact.as_str()).collect()
}

#[test]
fn the_longest_chain_goes_first() {
    let (world, _) = World::planned("lib: base; app: lib; site: app; tool: base; cli: tool; single: base", "base");
    assert_eq!(line(&world), ["lib", "tool", "single"]);
}

#[test]
fn a_small_event_is_not_behind_a_large_one() {
    let mut world = World::new();
    world.change(&many(100), "base").unwrap();
    for started in ["many000", "many001"] {
        world.run(started);
    }
    world.change(&graph("small1: other; small2: other"), "other").unwrap();
    assert_eq!(line(&world)[..5], ["many002", "small1", "many003", "small2", "many004"]);
}

#[test]
fn a_severe_event_goes_at_once() {
    let mut world = World::new();
    world.change(&many(100), "base").unwrap();
    world.run("many000");
    world.severity = Severity::Critical;
    world.change(&graph("a: other; b: other; c: other"), "other").unwrap();
    assert_eq!(line(&world)[..5], ["a", "b", "c", "many001", "many002"]);
}

#[test]
fn a_line_goes_on_from_what_was_started_last() {
    let mut world = World::new();
    world.change(&graph("a: base; b: a; c: b; d: c"), "base").unwrap();
    for name in ["a", "b"] {
        world.make(name, name);
    }
    world.run("c");
    // Nobody waits. Without a memory of where the line stands, this event would stand before all
    // that the first one has left.
    world.change(&many(9), "base").unwrap();
    world.succeed("c", "c");
    assert_eq!(line(&world)[..3], ["d", "many000", "many001"]);
}

#[test]
fn what_was_passed_over_for_long_does_not_hold_up_what_is_new() {
    let mut world = World::new();
    world.change(&graph("lib: base; app: lib"), "base").unwrap();
    world.run("lib");
    world.change(&many(50), "base").unwrap();
    (0..10).for_each(|number| world.run(&format!("many{number:03}")));
    world.succeed("lib", "lib");
    // The line is far beyond the place of the build that has become ready: it goes on from there.
    world.change(&graph("small: other"), "other").unwrap();
    assert_eq!(line(&world)[..3], ["app", "small", "many010"]);
}

#[test]
fn what_a_joined_build_waits_for_is_hastened_as_well() {
    let chains = (0..50).map(|number| format!("many{number:03}: base; leaf{number:03}: many{number:03}"));
    let large = graph(&format!("{}; zz-lib: base; zz-app: zz-lib", chains.collect::<Vec<_>>().join("; ")));
    let small = graph("zz-app: other");
    for others in ["builder", "another"] {
        let mut world = World::new();
        let mut decide = |plan: Plan, severity| {
            let system = |name: &str| if name == "zz-app" { "builder" } else { others }.to_owned();
            let systems =
                plan.nodes().map(|node| (node.artifact.id.clone(), system(node.artifact.id.as_str()))).collect();
            world.severity = severity;
            world.decide(Outcome::Build { systems, plan: plan.into() }).unwrap();
            line(&world).iter().position(|name| *name == "zz-lib").unwrap()
        };
        assert_eq!(decide(plan(&large, "base"), Severity::Moderate), 50, "it is the last that can start");
        assert_eq!(decide(plan(&small, "other"), Severity::Critical), 1, "what it holds up is critical");
        assert_eq!(world.build("zz-app").state, BuildState::Blocked);
    }
}
