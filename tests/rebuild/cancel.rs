//! Cancelling an event, whatever its builds are doing.

use crate::world::{World, graph};
use freshmaker::rebuild::{
    Actor, BuildState, EventState, ExternalId, Failure, FailureClass, IllegalInput, Input, Limits, Observed,
};
use std::time::Duration;

fn refused(world: &mut World, class: FailureClass) {
    let attempt = world.attempt("app").id.clone();
    world.apply(&Input::Refused { attempt, failure: Failure::new(class, "no") }).unwrap();
}

#[test]
fn what_does_not_run_is_dropped_at_once() {
    let (mut world, event) = World::planned("app: base; site: app", "base");
    world.cancel(event);
    assert_eq!(world.states(), ["app CANCELED", "site CANCELED"]);
    assert_eq!(world.event(event).state, EventState::Canceled);
    let again =
        Input::Cancel { event, by: freshmaker::rebuild::Actor::Person("somebody".into()), because: String::new() };
    assert!(matches!(world.apply(&again), Err(IllegalInput::Stale { .. })));
}

#[test]
fn what_runs_is_stopped_first() {
    let (mut world, event) = World::planned("app: base; site: app", "base");
    world.run("app");
    world.cancel(event);
    assert_eq!(world.states(), ["app CANCELING", "site CANCELED"]);
    assert_eq!(world.event(event).state, EventState::Building, "it is not cancelled before it is");
    assert_eq!(world.event(event).reason.code, "canceling");
    world.observe("app", Observed::Canceled);
    assert_eq!(world.build("app").state, BuildState::Canceled);
    assert_eq!(world.event(event).state, EventState::Canceled);
}

#[test]
fn what_is_being_submitted_is_decided_by_the_answer() {
    let never = |world: &mut World, event| {
        assert_eq!(world.build("app").state, BuildState::Canceled);
        assert_eq!(world.event(event).state, EventState::Canceled);
    };
    let start = || {
        let (mut world, event) = World::planned("app: base; site: app", "base");
        world.start("app");
        world.cancel(event);
        assert_eq!(world.states(), ["app SUBMITTING", "site CANCELED"]);
        assert_eq!(world.event(event).state, EventState::Building);
        (world, event)
    };

    let (mut world, event) = start();
    world.accept("app");
    assert_eq!(world.build("app").state, BuildState::Canceling);
    world.observe("app", Observed::Canceled);
    never(&mut world, event);

    for class in [FailureClass::Permanent, FailureClass::Infrastructure] {
        let (mut world, event) = start();
        refused(&mut world, class);
        never(&mut world, event);
    }

    let (mut world, event) = start();
    let attempt = world.attempt("app").id.clone();
    world.apply(&Input::NotSent { attempt, text: "down".into() }).unwrap();
    never(&mut world, event);

    for external in [None, Some(ExternalId::new("task"))] {
        let (mut world, event) = start();
        let attempt = world.attempt("app").id.clone();
        world.apply(&Input::Unclear { attempt: attempt.clone(), text: "timeout".into() }).unwrap();
        world.apply(&Input::LookUp { attempt: attempt.clone(), settle: Duration::ZERO }).unwrap();
        world.apply(&Input::LookedUp { attempt, external: external.clone() }).unwrap();
        if external.is_some() {
            assert_eq!(world.build("app").state, BuildState::Canceling);
            world.fail("app", FailureClass::Infrastructure);
        }
        never(&mut world, event);
    }
}

#[test]
fn what_ended_keeps_its_end() {
    let (mut world, event) = World::planned("app: base; site: app", "base");
    world.make("app", "a2");
    world.cancel(event);
    assert_eq!(world.states(), ["app DONE", "site CANCELED"]);
    let event = world.event(event);
    assert_eq!((event.state, event.builds_done, event.builds_failed), (EventState::Canceled, 1, 1));
}

#[test]
fn what_ends_before_the_stop_takes_effect_keeps_its_output_and_releases_nobody() {
    let (mut world, event) = World::planned("app: base; site: app", "base");
    world.run("app");
    world.cancel(event);
    world.succeed("app", "a2");
    let app = world.build("app");
    assert_eq!((app.state, app.reason.code.as_str()), (BuildState::Canceled, "canceled_after_end"));
    assert!(app.output.is_some());
    assert_eq!(world.build("site").state, BuildState::Canceled);
    assert_eq!(world.event(event).state, EventState::Canceled);
}

#[test]
fn what_is_being_stopped_as_overdue_is_cancelled_and_not_tried_again() {
    for end in [Observed::Canceled, Observed::Vanished, super::world::failure(FailureClass::Infrastructure)] {
        let (mut world, event) = World::planned("app: base", "base");
        world.run("app");
        let attempt = world.attempt("app").id.clone();
        world.apply(&Input::Overdue { attempt }).unwrap();
        world.cancel(event);
        assert_eq!(world.build("app").state, BuildState::Canceling);
        world.observe("app", end);
        assert_eq!(world.build("app").state, BuildState::Canceled);
        assert_eq!(world.event(event).state, EventState::Canceled);
    }
}

#[test]
fn what_waits_for_a_retry_is_dropped() {
    let (mut world, event) = World::planned("app: base", "base");
    world.run("app");
    world.fail("app", FailureClass::Infrastructure);
    world.cancel(event);
    assert_eq!(world.build("app").state, BuildState::Canceled);
    assert_eq!(world.event(event).state, EventState::Canceled);
}

#[test]
fn a_shared_build_goes_on_for_the_others() {
    let graph = graph("app: base tool");
    let mut world = World::new();
    let first = world.change(&graph, "base").unwrap();
    let second = world.change(&graph, "tool").unwrap();
    assert_eq!(world.rows.builds.len(), 1);
    world.run("app");
    world.cancel(first);
    assert_eq!(world.event(first).state, EventState::Canceled, "nothing of it is left to stop");
    assert_eq!(world.build("app").state, BuildState::Building);
    world.succeed("app", "a2");
    assert_eq!(world.event(second).state, EventState::Complete);
    assert_eq!((world.event(first).builds_done, world.event(second).builds_done), (0, 1));
}

#[test]
fn two_that_cancel_at_once_do_not_leave_a_build_to_nobody() {
    let graph = graph("app: base tool");
    let mut world = World::new();
    let first = world.change(&graph, "base").unwrap();
    let second = world.change(&graph, "tool").unwrap();
    let [one, two] = [first, second].map(|event| {
        let mut rebuild = world.rebuild();
        let input = Input::Cancel { event, by: Actor::Person("somebody".into()), because: String::new() };
        rebuild.apply(&input, &Limits::default()).unwrap();
        rebuild.commit()
    });
    assert!(world.conflicts(&one, &two), "each takes the other for the one that wants the build");
    assert!(world.conflicts(&two, &one));
}

#[test]
fn a_shared_build_is_stopped_with_its_last_event() {
    let graph = graph("app: base tool");
    let mut world = World::new();
    let first = world.change(&graph, "base").unwrap();
    let second = world.change(&graph, "tool").unwrap();
    world.run("app");
    world.cancel(first);
    world.cancel(second);
    assert_eq!(world.build("app").state, BuildState::Canceling);
    world.observe("app", Observed::Canceled);
    assert_eq!(world.event(second).state, EventState::Canceled);
}

#[test]
fn a_withdrawn_parent_does_not_fail_what_others_want() {
    let graph = graph("app: base; site: app tool");
    for ends_well in [true, false] {
        let mut world = World::new();
        let first = world.change(&graph, "base").unwrap();
        let second = world.change(&graph, "tool").unwrap();
        world.run("app");
        world.cancel(first);
        assert_eq!(world.states(), ["app CANCELING", "site BLOCKED"]);
        if ends_well {
            world.succeed("app", "a2");
        } else {
            world.observe("app", Observed::Canceled);
        }
        assert_eq!(world.states(), ["app CANCELED", "site READY"]);
        world.make("site", "s2");
        assert_eq!(world.event(first).state, EventState::Canceled);
        assert_eq!(world.event(second).state, EventState::Complete);
    }
}

#[test]
fn a_cancelled_build_makes_way_for_its_successor() {
    let graph = graph("app: base");
    let mut world = World::new();
    let first = world.change(&graph, "base").unwrap();
    world.run("app");
    world.cancel(first);
    let second = world.change(&graph, "base").unwrap();
    assert_eq!(world.states(), ["app CANCELING BLOCKED"]);
    world.observe("app", Observed::Canceled);
    assert_eq!(world.states(), ["app CANCELED READY"]);
    world.make("app", "a2");
    assert_eq!(world.event(second).state, EventState::Complete);
}
