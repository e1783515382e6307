//! What is tried again, how often and when, and what becomes of submissions without a clear answer.

use crate::world::World;
use freshmaker::Reason;
use freshmaker::rebuild::{
    AttemptState, BuildState, Effect, EventState, ExternalId, Failure, FailureClass, IllegalInput, Input, Observed,
};
use freshmaker::time::since;
use std::time::Duration;

/// Runs the build until it fails for good; the pauses before each further try, in seconds.
fn pauses(class: FailureClass, rounds: usize) -> (World, Vec<u64>) {
    let (mut world, _) = World::planned("app: base", "base");
    let mut pauses = Vec::new();
    for _ in 0..rounds {
        world.run("app");
        let release = world.attempt("app").release.clone();
        world.fail("app", class);
        let build = world.build("app").clone();
        if build.state == BuildState::Failed {
            return (world, pauses);
        }
        assert_eq!(build.state, BuildState::Ready);
        assert_ne!(build.release, Some(release), "a new try gets a new release");
        let pause = since(build.not_before.unwrap(), world.at);
        pauses.push(pause.as_secs());
        world.wait(pause);
    }
    (world, pauses)
}

#[test]
fn each_class_of_failure_has_its_tries() {
    for (class, expected, tries) in [
        (FailureClass::Permanent, vec![], 1),
        (FailureClass::Deterministic, vec![1], 2),
        (FailureClass::Infrastructure, vec![1, 2], 3),
    ] {
        let (world, pauses) = pauses(class, 10);
        assert_eq!(pauses, expected, "{class:?}");
        let build = world.build("app");
        assert_eq!((build.state, build.tries), (BuildState::Failed, tries));
        let expected = if tries > 1 { format!("it broke (try {tries})") } else { "it broke".to_owned() };
        assert_eq!(build.reason.text, expected);
    }
}

#[test]
fn interruptions_do_not_count_as_tries_but_have_pauses_and_a_limit() {
    let (mut world, pauses) = pauses(FailureClass::Interrupted, 11);
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!((world.build("app").tries, world.build("app").resubmits), (0, 11));
    world.make("app", "a2");
    assert_eq!(world.build("app").state, BuildState::Done);

    let (mut world, _) = World::planned("app: base", "base");
    world.limits.resubmits_max = 3;
    for state in [BuildState::Ready, BuildState::Ready, BuildState::Ready, BuildState::Failed] {
        world.run("app");
        world.fail("app", FailureClass::Interrupted);
        assert_eq!(world.build("app").state, state);
    }
}

#[test]
fn a_counted_try_forgets_the_interruptions_of_the_one_before() {
    let (mut world, _) = World::planned("app: base", "base");
    for class in [FailureClass::Interrupted, FailureClass::Interrupted, FailureClass::Infrastructure] {
        world.run("app");
        world.fail("app", class);
    }
    assert_eq!((world.build("app").tries, world.build("app").resubmits), (1, 0));
}

#[test]
fn what_vanished_is_tried_again_like_broken_machinery() {
    let (mut world, _) = World::planned("app: base", "base");
    for state in [BuildState::Ready, BuildState::Ready, BuildState::Failed] {
        world.run("app");
        world.observe("app", Observed::Vanished);
        assert_eq!(world.build("app").state, state);
    }
}

#[test]
fn refusals_end_or_wait_by_class() {
    for (class, again) in [
        (FailureClass::Permanent, false),
        (FailureClass::Deterministic, false),
        (FailureClass::Infrastructure, true),
        (FailureClass::Interrupted, true),
    ] {
        let (mut world, event) = World::planned("app: base; site: app", "base");
        world.start("app");
        let attempt = world.attempt("app").id.clone();
        let release = world.attempt("app").release.clone();
        world.apply(&Input::Refused { attempt: attempt.clone(), failure: Failure::new(class, "no quota") }).unwrap();
        assert_eq!(world.rows.attempts[&attempt].state, AttemptState::Refused);
        let build = world.build("app").clone();
        assert_eq!(build.tries, 0, "nothing was tried");
        if again {
            assert_eq!((build.state, build.release), (BuildState::Ready, Some(release)), "{class:?}");
        } else {
            assert_eq!((build.state, build.reason.text.as_str()), (BuildState::Failed, "no quota"), "{class:?}");
            assert_eq!(world.build("site").state, BuildState::DependencyFailed);
            assert_eq!(world.event(event).state, EventState::Complete);
        }
    }
}

#[test]
fn refusals_have_a_limit() {
    let (mut world, _) = World::planned("app: base", "base");
    for number in 1..=world.limits.resubmits_max + 1 {
        assert_eq!(world.build("app").state, BuildState::Ready, "{number}");
        world.start("app");
        let attempt = world.attempt("app").id.clone();
        let failure = Failure::new(FailureClass::Infrastructure, "no quota");
        world.apply(&Input::Refused { attempt, failure }).unwrap();
    }
    assert_eq!(world.build("app").state, BuildState::Failed);
}

#[test]
fn what_was_not_sent_is_sent_again_without_counting() {
    let (mut world, _) = World::planned("app: base", "base");
    let (mut releases, mut pauses) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        world.start("app");
        releases.push(world.attempt("app").release.clone());
        let attempt = world.attempt("app").id.clone();
        world.apply(&Input::NotSent { attempt, text: "refused".into() }).unwrap();
        assert_eq!((world.build("app").tries, world.build("app").resubmits), (0, 0));
        assert_eq!(world.build("app").state, BuildState::Ready);
        pauses.push(since(world.build("app").not_before.unwrap(), world.at).as_secs());
    }
    releases.dedup();
    assert_eq!(releases.len(), 1);
    assert_eq!((&pauses[..4], pauses[49]), (&[1, 2, 4, 8][..], 300), "it lets others go first, more and more");
}

#[test]
fn an_unclear_submission_is_looked_up_and_adopted() {
    let (mut world, _) = World::planned("app: base", "base");
    world.start("app");
    let attempt = world.attempt("app").id.clone();
    world.apply(&Input::Unclear { attempt: attempt.clone(), text: "timeout".into() }).unwrap();
    assert_eq!(world.build("app").state, BuildState::Submitting, "nothing is decided on a guess");
    let settle = Duration::from_secs(30);
    world.apply(&Input::LookUp { attempt: attempt.clone(), settle }).unwrap();
    assert_eq!(since(world.attempt("app").not_before.unwrap(), world.at), settle);
    world.wait(settle);
    let again = Input::LookupFailed {
        attempt: attempt.clone(),
        reason: Reason::new("look_up_failed", "down"),
        after: Duration::from_secs(5),
    };
    world.apply(&again).unwrap();
    assert_eq!(world.build("app").state, BuildState::Submitting);
    world.apply(&Input::LookedUp { attempt, external: Some(ExternalId::new("task-1")) }).unwrap();
    assert_eq!(world.attempt("app").state, AttemptState::Bound);
    assert_eq!((world.build("app").state, world.build("app").tries), (BuildState::Building, 1));
    world.succeed("app", "a2");
    assert_eq!(world.rows.attempts.len(), 1, "one submission, one attempt");
}

#[test]
fn what_proves_not_submitted_is_sent_again_under_the_same_release() {
    let (mut world, _) = World::planned("app: base", "base");
    world.start("app");
    let first = world.attempt("app").clone();
    world.apply(&Input::Unclear { attempt: first.id.clone(), text: "timeout".into() }).unwrap();
    world.apply(&Input::LookUp { attempt: first.id.clone(), settle: Duration::ZERO }).unwrap();
    world.apply(&Input::LookedUp { attempt: first.id.clone(), external: None }).unwrap();
    assert_eq!(world.rows.attempts[&first.id].state, AttemptState::NotSubmitted);
    assert_eq!((world.build("app").tries, world.build("app").resubmits), (0, 1));
    world.start("app");
    let second = world.attempt("app").clone();
    assert_ne!(first.id, second.id);
    assert_eq!(first.release, second.release);
    world.accept("app");
    world.fail("app", FailureClass::Infrastructure);
    world.start("app");
    assert_ne!(world.attempt("app").release, first.release, "another try, another release");
}

#[test]
fn the_releases_of_an_artifact_rise_whatever_the_clock_says() {
    let release = |world: &World| world.attempt("app").release.parse::<i64>().unwrap();
    let (mut world, _) = World::planned("app: base", "base");
    world.run("app");
    let first = release(&world);
    assert_eq!(first, world.at.timestamp(), "the time in seconds");
    // A retry in the same second.
    world.fail("app", FailureClass::Infrastructure);
    world.run("app");
    assert_eq!(release(&world), first + 1);
    world.succeed("app", "a1");
    // Another build, by a clock that has gone back.
    world.at -= chrono::TimeDelta::seconds(30);
    world.change(&crate::world::graph("app: base"), "base").unwrap();
    world.run("app");
    assert_eq!(release(&world), first + 2);
    world.at += chrono::TimeDelta::seconds(100);
    world.fail("app", FailureClass::Infrastructure);
    world.run("app");
    assert_eq!(release(&world), world.at.timestamp());
}

#[test]
fn only_the_run_that_asked_believes_its_answer() {
    let (mut world, _) = World::planned("app: base", "base");
    world.start("app");
    let attempt = world.attempt("app").clone();
    world.run = freshmaker::rebuild::RunId(2);
    let build = world.build("app").clone();
    assert_eq!(
        Effect::of_attempt(&attempt, &build, freshmaker::rebuild::RunId(1), world.at),
        None,
        "its own run is still submitting it"
    );
    assert_eq!(Effect::of_attempt(&attempt, &build, freshmaker::rebuild::RunId(2), world.at), Some(Effect::LookUp));
    let late = Input::Accepted { attempt: attempt.id.clone(), external: ExternalId::new("task") };
    assert!(matches!(world.apply(&late), Err(IllegalInput::Stale { .. })));
    world.apply(&Input::LookUp { attempt: attempt.id.clone(), settle: Duration::ZERO }).unwrap();
    world.run = freshmaker::rebuild::RunId(1);
    assert!(matches!(world.apply(&late), Err(IllegalInput::Stale { .. })), "it has been taken over");
}

#[test]
fn what_does_not_end_in_time_is_stopped_and_tried_again() {
    let (mut world, _) = World::planned("app: base", "base");
    for state in [BuildState::Ready, BuildState::Ready, BuildState::Failed] {
        world.run("app");
        world.wait(world.limits.attempt_timeout);
        let attempt = world.attempt("app").clone();
        assert_eq!(
            Effect::of_attempt(&attempt, world.build("app"), freshmaker::rebuild::RunId(1), world.at),
            Some(Effect::StopOverdue)
        );
        world.apply(&Input::Overdue { attempt: attempt.id.clone() }).unwrap();
        assert_eq!(world.build("app").state, BuildState::Canceling);
        assert_eq!(
            Effect::of_attempt(&attempt, world.build("app"), freshmaker::rebuild::RunId(1), world.at),
            Some(Effect::Stop)
        );
        world.observe("app", Observed::Canceled);
        assert_eq!(world.build("app").state, state);
    }
}

#[test]
fn what_ends_well_after_all_is_done() {
    let (mut world, _) = World::planned("app: base", "base");
    world.run("app");
    let attempt = world.attempt("app").id.clone();
    world.apply(&Input::Overdue { attempt }).unwrap();
    world.succeed("app", "a2");
    assert_eq!(world.build("app").state, BuildState::Done);
}

#[test]
fn what_somebody_else_cancelled_is_not_tried_again() {
    let (mut world, event) = World::planned("app: base; site: app", "base");
    world.run("app");
    world.observe("app", Observed::Canceled);
    assert_eq!(world.build("app").reason.code, "canceled_outside");
    assert_eq!(world.states(), ["app CANCELED", "site DEP_FAILED"]);
    assert_eq!(world.event(event).state, EventState::Complete);
}

#[test]
fn inputs_about_nothing_are_errors() {
    let mut world = World::new();
    let attempt = world.fresh();
    let external = ExternalId::new("task");
    let failure = Failure::new(FailureClass::Permanent, "no");
    let (text, after) = (String::new(), Duration::ZERO);
    for input in [
        Input::Start { build: freshmaker::rebuild::BuildId(9), attempt: attempt.clone(), session: None },
        Input::Accepted { attempt: attempt.clone(), external },
        Input::Refused { attempt: attempt.clone(), failure },
        Input::NotSent { attempt: attempt.clone(), text: text.clone() },
        Input::Unclear { attempt: attempt.clone(), text: text.clone() },
        Input::LookUp { attempt: attempt.clone(), settle: after },
        Input::LookedUp { attempt: attempt.clone(), external: None },
        Input::LookupFailed { attempt: attempt.clone(), reason: Reason::new("look_up_failed", text), after },
        Input::Observe { attempt: attempt.clone(), observed: Observed::Canceled, verify: false },
        Input::Overdue { attempt },
        Input::Cancel {
            event: freshmaker::rebuild::EventId(9),
            by: freshmaker::rebuild::Actor::Person("somebody".into()),
            because: String::new(),
        },
    ] {
        assert!(matches!(world.apply(&input), Err(IllegalInput::Unknown(_))), "{input:?}");
    }
}
