//! What was cancelled before it was checked, and decisions that join earlier ones.

use crate::world::{World, digest, graph};
use freshmaker::Severity;
use freshmaker::rebuild::{BuildState, Input, Observed, Outcome, Output};

fn verifying(world: &mut World, name: &str) {
    world.run(name);
    let attempt = world.attempt(name).id.clone();
    let output = Output { name: format!("{name}-1"), digest: Some(digest(name)), contents: None };
    world.apply(&Input::Observe { attempt, observed: Observed::Succeeded(output), verify: true }).unwrap();
}

/// What was never looked at is taken for the latest output.
#[test]
fn a_result_that_nobody_has_looked_at_is_not_reused() {
    let (mut world, event) = World::planned("lib: base; app: lib", "base");
    world.make("lib", "l2");
    verifying(&mut world, "app");
    world.cancel(event);
    assert_eq!(world.build("app").state, BuildState::Canceled);
    world.change(&graph("lib: base; app: lib"), "base").unwrap();
    world.make("lib", "l2");
    world.start("app");
    assert_ne!(world.build("app").state, BuildState::Reused, "{}", world.build("app").reason);
}

/// The same, if it was cancelled while it ran and ended before.
#[test]
fn a_result_that_came_after_the_cancellation_is_not_reused() {
    let (mut world, event) = World::planned("lib: base; app: lib", "base");
    world.make("lib", "l2");
    world.run("app");
    world.cancel(event);
    let attempt = world.attempt("app").id.clone();
    let output = Output { name: "app-1".into(), digest: Some(digest("app")), contents: None };
    world.apply(&Input::Observe { attempt, observed: Observed::Succeeded(output), verify: true }).unwrap();
    world.change(&graph("lib: base; app: lib"), "base").unwrap();
    world.make("lib", "l2");
    world.start("app");
    assert_ne!(world.build("app").state, BuildState::Reused, "{}", world.build("app").reason);
}

/// Two decisions about one message that begin with empty rows.
#[test]
fn what_a_second_decision_waits_for_is_hastened() {
    let mut world = World::new();
    world.severity = Severity::Low;
    let large = graph("lib: base; app: lib").planner().changed("base", None).plan().unwrap();
    let systems = |plan: &freshmaker::plan::Plan| {
        plan.nodes().map(|node| (node.artifact.id.clone(), "builder".to_owned())).collect()
    };
    let one = {
        let systems = systems(&large);
        world.admission(Outcome::Build { plan: Box::new(large), systems })
    };
    world.severity = Severity::Critical;
    let small = graph("app: other").planner().changed("other", None).plan().unwrap();
    let two = {
        let systems = systems(&small);
        world.admission(Outcome::Build { plan: Box::new(small), systems })
    };
    let mut rebuild = world.rebuild();
    rebuild.admit(&one).unwrap();
    rebuild.admit(&two).unwrap();
    let of = |name: &str| rebuild.rows().builds.values().find(|it| it.key.artifact.as_str() == name).unwrap().priority;
    assert!(of("lib") >= of("app"), "lib {} app {}", of("lib"), of("app"));
}
