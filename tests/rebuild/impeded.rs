//! What is known beforehand not to be possible.

use crate::world::{World, graph};
use freshmaker::Reason;
use freshmaker::plan::Plan;
use freshmaker::rebuild::{BuildState, EventState};

fn plan(text: &str, impeded: &[&str]) -> Plan {
    let graph = graph(text);
    let planner = graph.planner().changed("base", None);
    let why = || Reason::new("lookup_error", "nobody knows how it is built");
    impeded.iter().fold(planner, |planner, name| planner.impeded(*name, why())).plan().unwrap()
}

#[test]
fn it_fails_at_once_with_what_waits_for_it_and_nothing_else() {
    let mut world = World::new();
    let event = world.admit(&plan("lib: base; app: lib; site: app other; other: base", &["lib"])).unwrap();
    assert_eq!(world.states(), ["app DEP_FAILED", "lib FAILED", "other READY", "site DEP_FAILED"]);
    assert_eq!(world.build("lib").reason, Reason::new("lookup_error", "nobody knows how it is built"));
    assert!(world.build("app").reason.text.contains("lib"), "{}", world.build("app").reason);
    let counts = |world: &World| (world.event(event).builds_open, world.event(event).builds_failed);
    assert_eq!((world.event(event).state, counts(&world)), (EventState::Building, (1, 3)));
    world.make("other", "o2");
    assert_eq!((world.event(event).state, counts(&world)), (EventState::Complete, (0, 3)));
}

#[test]
fn an_event_of_which_nothing_is_possible_ends_at_once() {
    let mut world = World::new();
    let event = world.admit(&plan("lib: base; app: base", &["lib", "app"])).unwrap();
    assert_eq!(world.states(), ["app FAILED", "lib FAILED"]);
    assert!(world.event(event).state.is_terminal(), "{:?}", world.event(event));
    assert_eq!(world.event(event).builds_failed, 2);
}

/// Another event knows how it is built, and is not harmed.
#[test]
fn a_build_that_waits_already_goes_on() {
    let (mut world, first) = World::planned("lib: base", "base");
    let second = world.admit(&plan("lib: base; app: lib", &["lib"])).unwrap();
    assert_eq!(world.states(), ["app BLOCKED", "lib READY"]);
    assert!(world.build("lib").source.is_some());
    world.make("lib", "l2");
    world.make("app", "a2");
    for event in [first, second] {
        assert_eq!((world.event(event).state, world.event(event).builds_failed), (EventState::Complete, 0));
    }
}

/// What the second event wants of it is not forgotten: it asked for it, so that it is not reused.
#[test]
fn what_is_wanted_of_a_build_that_waits_already_is_added() {
    let (mut world, _) = World::planned("lib: base", "base");
    let why = || Reason::new("lookup_error", "nobody knows how it is built");
    let graph = graph("lib: base");
    let planner = graph.planner().rebuild("lib").demand("lib", "curl-8-2".parse().unwrap());
    world.admit(&planner.impeded("lib", why()).plan().unwrap()).unwrap();
    let lib = world.build("lib");
    assert!(lib.asked && !lib.may_be_reused() && lib.source.is_some(), "{lib:?}");
    assert_eq!(lib.demands.iter().map(ToString::to_string).collect::<Vec<_>>(), ["curl-8-2"]);
}

/// The next build of what runs cannot be made; the one that runs is not harmed.
#[test]
fn the_next_build_of_what_runs_fails() {
    let (mut world, first) = World::planned("lib: base", "base");
    world.run("lib");
    let second = world.admit(&plan("lib: base", &["lib"])).unwrap();
    assert_eq!(world.states(), ["lib BUILDING FAILED"]);
    assert!(world.event(second).state.is_terminal());
    world.succeed("lib", "l2");
    assert_eq!(world.event(first).state, EventState::Complete);
    assert_eq!(world.rows.builds.values().filter(|build| build.state == BuildState::Done).count(), 1);
}
