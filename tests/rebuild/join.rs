//! Several events that want the same: builds that are shared, that follow each other, and plans
//! that have to wait.

use crate::world::{World, digest, graph, with};
use freshmaker::artifact::Parameter;
use freshmaker::plan::RebuildReason;
use freshmaker::rebuild::{BuildMode, BuildSlot, BuildState, DependencyKind, EventState, Outcome};
use freshmaker::{Artifact, ArtifactGraph, Severity};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

fn repositories(graph: ArtifactGraph, name: &str, repositories: [&str; 1]) -> ArtifactGraph {
    with(graph, name, |artifact| artifact.with_parameter("repositories", repositories))
}

fn branch(name: &'static str) -> impl FnOnce(Artifact) -> Artifact {
    move |artifact| artifact.with_parameter("branch", name)
}

#[test]
fn a_queued_build_is_joined_and_serves_both() {
    let first = repositories(graph("lib: base; app: lib"), "app", ["a"]);
    let second = repositories(graph("app: tool"), "app", ["b"]);
    let second = with(second, "app", |app| app.with_source("app", Some("newer")));
    let mut world = World::new();
    let one = world.change(&first, "base").unwrap();
    assert_eq!(world.build("app").because, RebuildReason::Dependency);
    let before = world.build("app").clone();
    world.severity = Severity::Critical;
    let two = world.change(&second, "tool").unwrap();
    let app = world.build("app").clone();
    assert_eq!(app.id, before.id);
    assert!(app.version > before.version);
    assert_eq!(app.parameters.get("repositories"), Some(&Parameter::from(["a", "b"])));
    assert_eq!(app.because, RebuildReason::DirectlyAffected);
    assert_eq!(app.source.as_ref().unwrap().revision.as_deref(), Some("newer"));
    assert!(app.priority > before.priority);
    let parents: Vec<_> = app.parents.iter().map(|parent| parent.id.as_str()).collect();
    assert_eq!(parents, ["lib", "tool"]);
    assert_eq!(app.state, BuildState::Blocked, "it still waits for what the first event rebuilds");
    world.make("lib", "l2");
    world.make("app", "a2");
    assert_eq!([one, two].map(|event| world.event(event).state), [EventState::Complete; 2]);
}

#[test]
fn a_joined_ready_build_waits_for_the_new_parent() {
    let mut world = World::new();
    world.change(&graph("app: base"), "base").unwrap();
    assert_eq!(world.build("app").state, BuildState::Ready);
    world.change(&graph("lib: tool; app: lib"), "tool").unwrap();
    assert_eq!(world.states(), ["app BLOCKED", "lib READY"]);
}

#[test]
fn a_running_build_gets_one_successor_that_later_events_join() {
    let graph = graph("app: base");
    let mut world = World::new();
    let events: Vec<_> = (0..4)
        .map(|number| {
            let event = world.change(&graph, "base").unwrap();
            if number == 0 {
                world.run("app");
            }
            event
        })
        .collect();
    assert_eq!(world.states(), ["app BUILDING BLOCKED"]);
    let [current, next] = [0, 1].map(|number| world.rows.builds.values().nth(number).unwrap().clone());
    assert_eq!((current.slot, next.slot), (BuildSlot::Current, BuildSlot::Successor));
    assert_eq!(world.dependency(current.id, next.id).kind, DependencyKind::After);
    assert_eq!(world.rows.causes_of(next.id).count(), 3);
    world.fail("app", freshmaker::rebuild::FailureClass::Permanent);
    assert_eq!(world.states(), ["app FAILED READY"], "however the first ends, the next one comes");
    assert_eq!(world.build("app").slot, BuildSlot::Current);
    assert_eq!(world.event(events[0]).state, EventState::Complete);
    assert_eq!(world.event(events[3]).state, EventState::Building);
    world.make("app", "a3");
    assert_eq!(world.event(events[3]).state, EventState::Complete);
}

#[test]
fn what_waits_for_a_successor_waits_for_it_and_not_for_the_running_build() {
    let graph = graph("app: base; site: app");
    let mut world = World::new();
    world.change(&graph, "base").unwrap();
    world.run("app");
    world.change(&graph, "base").unwrap();
    assert_eq!(world.states(), ["app BUILDING BLOCKED", "site BLOCKED"]);
    world.succeed("app", "a2");
    assert_eq!(world.states(), ["app DONE READY", "site BLOCKED"]);
    world.make("app", "a3");
    world.start("site");
    let parents = &world.build("site").parents;
    assert_eq!(parents[0].digest, Some(digest("a3")), "it is built on the newest");
}

#[test]
fn what_one_build_cannot_serve_becomes_the_next_one() {
    let mut world = World::new();
    let main = with(graph("app: base"), "app", branch("main"));
    let stable = with(graph("app: base"), "app", branch("stable"));
    let third = with(graph("app: base"), "app", branch("third"));
    world.change(&main, "base").unwrap();
    world.change(&stable, "base").unwrap();
    assert_eq!(world.states(), ["app READY BLOCKED"]);
    let refused = world.change(&third, "base").unwrap_err();
    assert_eq!(refused.builds, [world.build("app").id]);
    assert_eq!(
        refused.to_string(),
        format!("it has to wait for the end of builds under way: {}", world.build("app").id)
    );
    world.change(&main, "base").unwrap();
    world.change(&stable, "base").unwrap();
    assert_eq!(world.states(), ["app READY BLOCKED"], "each finds its own");
    world.make("app", "m2");
    world.change(&third, "base").unwrap();
    assert_eq!(world.states(), ["app DONE READY BLOCKED"]);
}

#[test]
fn the_next_build_waits_for_the_parents_of_the_current_one() {
    let mut world = World::new();
    let first = graph("lib: base; app: lib");
    let second = with(graph("app: lib tool"), "app", branch("stable"));
    world.change(&with(first, "app", branch("main")), "base").unwrap();
    let other = world.change(&second, "tool").unwrap();
    let next = world.build("app").id;
    assert_eq!(world.states(), ["app BLOCKED BLOCKED", "lib READY"]);
    assert_eq!(world.dependency(world.build("lib").id, next).kind, DependencyKind::Needs);
    world.make("lib", "lib 2");
    world.make("app", "app 2");
    world.start("app");
    let parents: Vec<_> = world.build("app").parents.iter().map(|parent| parent.digest.clone().unwrap()).collect();
    assert_eq!(parents, [digest("lib 2"), digest("tool")], "not what lib was when the next build was planned");
    assert_eq!(world.event(other).builds_open, 1, "the build of lib remains that of the first event");
}

#[test]
fn a_plan_that_would_wait_for_itself_is_not_admitted() {
    let mut world = World::new();
    world.change(&graph("app: lib; lib: base"), "base").unwrap();
    let turned = graph("lib: app; app: base");
    let refused = world.change(&turned, "base").unwrap_err();
    let mut expected = [world.build("app").id, world.build("lib").id];
    expected.sort_unstable();
    let mut builds = refused.builds;
    builds.sort_unstable();
    assert_eq!(builds, expected);
    world.run("lib");
    world.change(&turned, "base").unwrap();
    assert_eq!(world.states(), ["app BLOCKED", "lib BUILDING BLOCKED"], "a running build no longer stands in the way");
    world.succeed("lib", "l2");
    world.make("app", "a2");
    world.make("lib", "l3");
}

#[test]
fn two_decisions_about_one_message_cannot_wait_for_each_other() {
    let mut world = World::new();
    let mut admission = |text: &str| {
        let plan = graph(text).planner().changed("base", None).plan().unwrap();
        let systems = plan.nodes().map(|node| (node.artifact.id.clone(), "builder".to_owned())).collect();
        world.admission(Outcome::Build { plan: Box::new(plan), systems })
    };
    let (one, two) = (admission("app: lib; lib: base"), admission("lib: app; app: base"));
    let mut rebuild = world.rebuild();
    rebuild.admit(&one).unwrap();
    let after_one = rebuild.rows().clone();
    assert!(!rebuild.admit(&two).unwrap_err().builds.is_empty());
    assert_eq!(*rebuild.rows(), after_one);
}

#[test]
fn a_decision_on_many_builds_has_many_steps() {
    let mut world = World::new();
    let images: Vec<_> = (0..500).map(|number| format!("image{number}: base")).collect();
    let plan = graph(&images.join("; ")).planner().changed("base", None).plan().unwrap();
    let systems: BTreeMap<_, _> = plan.nodes().map(|node| (node.artifact.id.clone(), "builder".to_owned())).collect();
    // New builds, builds that are joined, and next builds.
    for state in [None, None, Some(BuildState::Verifying)] {
        for build in world.rows.builds.values_mut() {
            build.state = state.unwrap_or(build.state);
        }
        let outcome = Outcome::Build { plan: Box::new(plan.clone()), systems: systems.clone() };
        let admission = world.admission(outcome);
        let mut rebuild = world.rebuild();
        let mut admitting = rebuild.admitting(&admission);
        let steps = std::iter::repeat_with(|| admitting.step(10)).take_while(ControlFlow::is_continue).count();
        // Its node is looked at to hash, to name, to place, to connect and to fail.
        assert!(steps >= 5 * 500 / 10, "{steps}");
        let mut committing = rebuild.committing();
        let steps = std::iter::repeat_with(|| committing.step(10)).take_while(ControlFlow::is_continue).count();
        assert!(steps >= 2 * 500 / 10, "{steps}");
        if state.is_none() {
            world.admit(&plan).unwrap();
        }
    }
}

#[test]
fn modes_targets_and_systems_share_nothing() {
    let plain = graph("app: base");
    let plan = plain.planner().changed("base", None).plan().unwrap();
    let other_target = with(plain.clone(), "app", |mut app| {
        app.target = "stable".into();
        app
    });
    let mut world = World::new();
    world.admit(&plan).unwrap();
    world.change(&other_target, "base").unwrap();
    for (system, mode) in [("other", BuildMode::Real), ("builder", BuildMode::Scratch), ("builder", BuildMode::DryRun)]
    {
        let systems = [("app".into(), system.to_owned())].into();
        let mut admission = world.admission(Outcome::Build { plan: Box::new(plan.clone()), systems });
        admission.mode = mode;
        let mut rebuild = world.rebuild();
        rebuild.admit(&admission).unwrap();
        assert_eq!(rebuild.rows().builds.len(), world.rows.builds.len() + 1);
    }
    assert_eq!(world.states(), ["app READY READY"]);
}
