//! Who is released, who fails with whom, and how events end.

use crate::world::{World, skip};
use freshmaker::Reason;
use freshmaker::rebuild::{BuildState, EventState, FailureClass, Outcome, RowKey};

#[test]
fn the_bottom_of_a_diamond_is_released_once() {
    let (mut world, event) = World::planned("left: base; right: base; app: left right", "base");
    assert_eq!(world.states(), ["app BLOCKED", "left READY", "right READY"]);
    world.make("left", "l2");
    assert_eq!((world.build("app").state, world.build("app").pending), (BuildState::Blocked, 1));
    world.make("right", "r2");
    assert_eq!((world.build("app").state, world.build("app").pending), (BuildState::Ready, 0));
    let app = RowKey::Build(world.build("app").id);
    let ready = world.history.iter().filter(|row| row.of == app && row.to == "READY");
    assert_eq!(ready.count(), 1);
    assert_eq!(world.event(event).state, EventState::Building);
    world.make("app", "a2");
    assert_eq!(world.event(event).state, EventState::Complete);
    assert_eq!(world.event(event).reason.text, "all 3 builds ended well");
}

#[test]
fn a_child_of_many_waits_for_the_last_in_any_order() {
    for last in 0..5 {
        let (mut world, _) = World::planned("a: base; b: base; c: base; d: base; e: base; sum: a b c d e", "base");
        let mut parents = ["a", "b", "c", "d", "e"];
        parents.rotate_left(last);
        for (done, parent) in parents.into_iter().enumerate() {
            assert_eq!(world.build("sum").pending as usize, 5 - done);
            assert_eq!(world.build("sum").state, BuildState::Blocked);
            world.make(parent, "new");
        }
        assert_eq!(world.build("sum").state, BuildState::Ready);
    }
}

#[test]
fn a_failed_parent_fails_all_that_wait_for_it_and_is_named() {
    let (mut world, event) = World::planned("lib: base; tool: lib; app: tool; site: app other; other: base", "base");
    world.run("lib");
    world.fail("lib", FailureClass::Permanent);
    assert_eq!(world.states(), ["app DEP_FAILED", "lib FAILED", "other READY", "site DEP_FAILED", "tool DEP_FAILED"]);
    for (child, parent) in [("tool", "lib"), ("app", "tool"), ("site", "app")] {
        let reason = &world.build(child).reason;
        let text = format!(
            "it cannot be built, because its dependency {parent} (build {}) cannot be built",
            world.build(parent).id
        );
        assert_eq!((reason.code.as_str(), reason.text.as_str()), ("dependency_failed", text.as_str()));
    }
    world.make("other", "o2");
    assert_eq!(world.build("site").state, BuildState::DependencyFailed, "nothing wakes what has failed");
    let event = world.event(event);
    assert_eq!((event.state, event.reason.code.as_str()), (EventState::Complete, "some_failed"));
    assert_eq!(event.reason.text, "4 of 5 builds failed");
}

#[test]
fn an_event_whose_builds_all_fail_ends() {
    let (mut world, event) = World::planned("a: base; b: a", "base");
    world.run("a");
    world.fail("a", FailureClass::Permanent);
    let event = world.event(event);
    assert_eq!((event.state, event.reason.text.as_str()), (EventState::Complete, "all 2 builds are in failed state"));
    assert!(event.done_at.is_some());
}

#[test]
fn decisions_without_builds_end_their_event_at_once() {
    let fail = Outcome::Fail(Reason::new("handler_failed", "no such image"));
    for (outcome, state, code) in
        [(skip(), EventState::Skipped, "skipped"), (fail, EventState::Failed, "handler_failed")]
    {
        let mut world = World::new();
        let event = world.decide(outcome).unwrap();
        let event = world.event(event);
        assert_eq!((event.state, event.reason.code.as_str()), (state, code));
        assert!(event.done_at.is_some());
    }
}

#[test]
fn the_first_message_about_an_event_has_its_plan_and_its_builds() {
    let (world, event) = World::planned("a: base; b: a", "base");
    let notification = world.notifications.iter().find(|notification| notification.of == RowKey::Event(event)).unwrap();
    assert_eq!(notification.body["builds"]["open"], 2);
    assert_eq!(notification.body["plan"], serde_json::to_value(&world.event(event).plan).unwrap());
}

#[test]
fn a_new_build_that_waits_was_never_seen_ready() {
    let (world, _) = World::planned("a: base; b: a", "base");
    let b = RowKey::Build(world.build("b").id);
    let rows: Vec<_> = world.history.iter().filter(|row| row.of == b).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].to, "BLOCKED");
    let notification = world.notifications.iter().find(|notification| notification.of == b).unwrap();
    assert_eq!((&notification.body["state"], &notification.body["detail"]), (&"PLANNED".into(), &"BLOCKED".into()));
}
