//! Where contents stop to change, the wave ends.

use crate::world::{World, digest, failure, graph};
use freshmaker::plan::RebuildReason;
use freshmaker::rebuild::{BuildState, EventState, FailureClass, Observed, Output};

const CHAIN: &str = "lib: base; app: lib; site: app";

/// A world in which the whole chain was built once, and the base has changed again.
fn again() -> World {
    let mut world = World::new();
    world.change(&graph(CHAIN), "base").unwrap();
    world.make("lib", "l2");
    world.make("app", "a2");
    world.make("site", "s2");
    world.change(&graph(CHAIN), "base").unwrap();
    world
}

#[test]
fn unchanged_contents_end_the_wave() {
    let mut world = again();
    world.make("lib", "l2");
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Reused);
    assert_eq!(world.build("app").output.as_ref().unwrap().digest, Some(digest("a2")));
    assert_eq!(world.build("app").reason.code, "inputs_unchanged");
    world.start("site");
    assert_eq!(world.build("site").state, BuildState::Reused, "the end of the wave spreads");
    let attempts = world.rows.attempts.values().filter(|it| it.build == world.build("app").id).count();
    assert_eq!(attempts, 0);
    assert!(world.rows.events.values().all(|event| event.state == EventState::Complete));
}

#[test]
fn other_parameters_are_built() {
    let mut world = World::new();
    world.change(&graph(CHAIN), "base").unwrap();
    for (name, content) in [("lib", "l2"), ("app", "a2"), ("site", "s2")] {
        world.make(name, content);
    }
    let mut other = graph(CHAIN);
    let mut app = other.get(&"app".into()).unwrap().clone();
    app.parameters.insert("flavour", "vanilla");
    other.insert(app);
    world.change(&other, "base").unwrap();
    world.make("lib", "l2");
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Submitting, "its parents are the same, its parameters are not");
}

#[test]
fn changed_contents_are_built() {
    let mut world = again();
    world.make("lib", "l3");
    world.make("app", "a2");
    assert_eq!(world.build("app").state, BuildState::Done);
    world.start("site");
    assert_eq!(world.build("site").state, BuildState::Reused, "app came out as before");
}

#[test]
fn what_changed_itself_is_always_built() {
    let mut world = again();
    world.start("lib");
    assert_eq!(world.build("lib").state, BuildState::Submitting, "its parent changed");
    let mut world = again();
    world.make("lib", "l2");
    world.request(&graph(CHAIN), "app").unwrap();
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Submitting, "somebody asked for it");
}

/// An image in a plan that only follows from its parent, but contains what is affected.
#[test]
fn what_was_asked_for_as_a_dependency_is_built() {
    let mut world = again();
    world.make("lib", "l2");
    world.ask(&graph(CHAIN), "app", RebuildReason::Dependency).unwrap();
    assert_eq!(world.build("app").because, RebuildReason::Dependency);
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Submitting, "joined by an event that asks for it");

    let mut world = World::new();
    for digest in ["a2", "a3"] {
        world.ask(&graph(CHAIN), "app", RebuildReason::Dependency).unwrap();
        world.make("app", digest);
        assert_eq!(world.build("app").state, BuildState::Done, "planned by an event that asks for it");
    }
    assert_eq!(world.build("site").state, BuildState::Ready);
}

#[test]
fn what_nobody_asked_for_can_join_what_was() {
    let mut world = again();
    world.make("lib", "l2");
    world.ask(&graph(CHAIN), "app", RebuildReason::Dependency).unwrap();
    world.change(&graph(CHAIN), "lib").unwrap();
    assert!(world.build("app").asked, "asked for by one event is enough");
}

#[test]
fn a_build_without_cache_is_built() {
    let mut world = again();
    world.make("lib", "l2");
    let app = world.build("app").id;
    world.rows.builds.get_mut(&app).unwrap().no_cache = true;
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Submitting);
}

#[test]
fn a_parent_of_unknown_content_is_no_proof() {
    let mut world = World::new();
    for _ in 0..2 {
        world.change(&graph("lib: base; app: lib"), "base").unwrap();
        world.run("lib");
        world.observe("lib", Observed::Succeeded(Output { name: "lib".into(), digest: None, contents: None }));
        world.start("app");
        assert_eq!((world.build("app").state, &world.build("app").inputs), (BuildState::Submitting, &None));
        world.accept("app");
        world.succeed("app", "a2");
    }
}

#[test]
fn only_the_latest_output_counts() {
    let mut world = again();
    world.make("lib", "l3");
    world.make("app", "a3");
    world.make("site", "s3");
    world.change(&graph(CHAIN), "base").unwrap();
    world.make("lib", "l2");
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Submitting, "a2 was made of l2, but people use a3 by now");
}

#[test]
fn a_failure_in_between_does_not_hide_the_latest_output() {
    let mut world = again();
    world.make("lib", "l3");
    world.run("app");
    world.observe("app", failure(FailureClass::Permanent));
    world.change(&graph(CHAIN), "base").unwrap();
    world.make("lib", "l2");
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Reused);
}

#[test]
fn another_recipe_is_built() {
    let mut world = again();
    world.make("lib", "l2");
    let app = world.build("app").id;
    world.rows.builds.get_mut(&app).unwrap().source.as_mut().unwrap().revision = Some("newer".into());
    world.start("app");
    assert_eq!(world.build("app").state, BuildState::Submitting);
}

#[test]
fn a_start_that_comes_too_early_changes_nothing() {
    let (mut world, _) = World::planned("left: base; right: base; app: left right", "base");
    world.make("left", "l2");
    let build = world.build("app").id;
    let attempt = world.fresh();
    let input = freshmaker::rebuild::Input::Start { build, attempt, session: None };
    assert!(world.apply(&input).is_err());
}
