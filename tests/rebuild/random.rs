//! Any inputs in any order: nothing panics, and what must hold holds after each step.

use crate::world::{World, failure, graph, skip};
use freshmaker::rebuild::{
    AttemptId, AttemptState, BuildId, BuildRecord, BuildState, ExternalId, Failure, FailureClass, Input, Observed,
    Output, Verification,
};
use freshmaker::{ArtifactGraph, ArtifactKind, EdgeKind, Reason};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::Index;
use std::time::Duration;

const ARTIFACTS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    /// A plan over a random DAG, in which the first artifacts of some order changed.
    Change {
        edges: Vec<(Index, Index)>,
        turn: bool,
        changed: Index,
        branch: u8,
    },
    Skip,
    /// Any input about any build, attempt or event, fitting or not.
    Apply {
        what: u8,
        which: Index,
        class: FailureClass,
        content: u8,
    },
    /// As time goes by, another run of the engine may take over.
    TakeOver,
}

fn class() -> impl Strategy<Value = FailureClass> {
    prop_oneof![
        Just(FailureClass::Deterministic),
        Just(FailureClass::Infrastructure),
        Just(FailureClass::Interrupted),
        Just(FailureClass::Permanent),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let edges = proptest::collection::vec((any::<Index>(), any::<Index>()), 0..10);
    prop_oneof![
        3 => (edges, any::<bool>(), any::<Index>(), 0..2_u8)
            .prop_map(|(edges, turn, changed, branch)| Step::Change { edges, turn, changed, branch }),
        1 => Just(Step::Skip),
        30 => (any::<u8>(), any::<Index>(), class(), 0..2_u8)
            .prop_map(|(what, which, class, content)| Step::Apply { what, which, class, content }),
        1 => Just(Step::TakeOver),
    ]
}

/// Edges go from lower to higher names, or all the other way round: plans of both sorts can only be
/// joined in part.
fn dag(edges: &[(Index, Index)], turn: bool, branch: u8) -> ArtifactGraph {
    let mut dag = graph("a0: base; a1: base; a2: base; a3: base; a4: base; a5: base");
    for (one, two) in edges {
        let (one, two) = (one.index(ARTIFACTS), two.index(ARTIFACTS));
        let (parent, child) = if turn { (one.max(two), one.min(two)) } else { (one.min(two), one.max(two)) };
        if parent != child {
            dag.depend(format!("a{child}"), format!("a{parent}"), EdgeKind::ParentImage).unwrap();
        }
    }
    // What some are made of can be prepared anew.
    dag.insert(freshmaker::Artifact::new("a3", ArtifactKind::Repository).with_source("a3", None));
    let a0 = freshmaker::Artifact::new("a0", ArtifactKind::Image).with_source("a0", None);
    dag.insert(a0.with_parameter("branch", i64::from(branch)));
    dag
}

fn observed(what: u8, class: FailureClass, content: u8) -> Observed {
    match what % 5 {
        0 | 1 => {
            let digest = Some(super::world::digest(&content.to_string()));
            Observed::Succeeded(Output { name: String::new(), digest, contents: None })
        }
        2 => failure(class),
        3 => Observed::Canceled,
        _ => Observed::Vanished,
    }
}

/// How many kinds of inputs there are, the frequent ones counted several times.
const KINDS: u8 = 19;

/// An input that fits somewhere, most of the time.
fn input(world: &mut World, what: u8, which: Index, class: FailureClass, content: u8) -> Option<Input> {
    let builds: Vec<_> = world.rows.builds.values().collect();
    let ready: Vec<_> = builds.iter().filter(|build| build.state == BuildState::Ready).map(|build| build.id).collect();
    let any_build: Vec<_> = builds.iter().map(|build| build.id).collect();
    let live = |state: AttemptState| -> Vec<AttemptId> {
        let attempts = world.rows.attempts.values();
        attempts.filter(|it| it.state == state).map(|it| it.id.clone()).collect()
    };
    let pick = |fitting: Vec<AttemptId>| {
        let all: Vec<_> = world.rows.attempts.keys().cloned().collect();
        let from = if fitting.is_empty() { all } else { fitting };
        (!from.is_empty()).then(|| which.get(&from).clone())
    };
    let (text, after) = (String::from("text"), Duration::from_secs(1));
    Some(match what % KINDS {
        0..=3 => {
            let from = if ready.is_empty() { any_build } else { ready };
            let build = *(!from.is_empty()).then(|| which.get(&from))?;
            Input::Start { build, attempt: world.fresh(), session: None }
        }
        4..=6 => {
            let attempt = pick(live(AttemptState::Intent))?;
            Input::Accepted { external: ExternalId::new(attempt.as_str()), attempt }
        }
        7 => Input::Refused { attempt: pick(live(AttemptState::Intent))?, failure: Failure::new(class, "no") },
        8 => match content {
            0 => Input::NotSent { attempt: pick(live(AttemptState::Intent))?, text },
            _ => Input::Unclear { attempt: pick(live(AttemptState::Intent))?, text },
        },
        9 => Input::LookUp { attempt: pick(live(AttemptState::Unknown))?, settle: after },
        10 => match content {
            0 => Input::LookupFailed {
                attempt: pick(live(AttemptState::Resolving))?,
                reason: Reason::new("look_up_failed", text),
                after,
            },
            _ => Input::LookedUp { attempt: pick(live(AttemptState::Resolving))?, external: None },
        },
        11 => {
            Input::LookedUp { attempt: pick(live(AttemptState::Resolving))?, external: Some(ExternalId::new("found")) }
        }
        12..=13 => {
            let attempt = pick(live(AttemptState::Bound))?;
            Input::Observe { attempt, observed: observed(what / KINDS, class, content), verify: content == 1 }
        }
        14..=15 => {
            let verifying = builds.iter().filter(|build| build.state == BuildState::Verifying).map(|build| build.id);
            let verifying: Vec<_> = verifying.collect();
            let from = if verifying.is_empty() { any_build } else { verifying };
            let build = *(!from.is_empty()).then(|| which.get(&from))?;
            let seen = match class {
                FailureClass::Permanent => Verification::Failed(text),
                FailureClass::Deterministic | FailureClass::Infrastructure => Verification::Stale(text),
                _ => Verification::Passed(None),
            };
            Input::Verified { build, seen, unused: world.unused() }
        }
        16 => {
            let build = *(!ready.is_empty()).then(|| which.get(&ready))?;
            match world.rows.prepared_for(build) {
                repositories if repositories.is_empty() => Input::Postponed { build, text, after },
                repositories => Input::Lost { build, repositories, unused: world.unused() },
            }
        }
        17 => Input::Overdue { attempt: pick(live(AttemptState::Bound))? },
        _ => {
            let events: Vec<_> = world.rows.events.keys().copied().collect();
            Input::Cancel {
                event: *(!events.is_empty()).then(|| which.get(&events))?,
                by: freshmaker::rebuild::Actor::Person("somebody".into()),
                because: String::new(),
            }
        }
    })
}

fn is_next(build: &BuildRecord) -> bool {
    matches!(build.state, BuildState::Ready | BuildState::Verifying)
}

/// Everything that is still open ends when the build system does its work.
fn finish(world: &mut World) {
    for _ in 0..2000 {
        let live = world.rows.attempts.values().find(|attempt| attempt.state.is_live()).cloned();
        let next = match live {
            Some(attempt) => {
                let attempt_id = attempt.id.clone();
                match attempt.state {
                    AttemptState::Bound => Input::Observe {
                        attempt: attempt_id,
                        observed: observed(0, FailureClass::Permanent, 0),
                        verify: false,
                    },
                    AttemptState::Resolving => Input::LookedUp { attempt: attempt_id, external: None },
                    _ => Input::LookUp { attempt: attempt_id, settle: Duration::ZERO },
                }
            }
            None => match world.rows.builds.values().find(|build| is_next(build)) {
                Some(build) if build.state == BuildState::Verifying => {
                    Input::Verified { build: build.id, seen: Verification::Passed(None), unused: BuildId(i64::MAX) }
                }
                Some(build) => Input::Start { build: build.id, attempt: AttemptId::new("?"), session: None },
                None => break,
            },
        };
        let next = match next {
            Input::Start { build, session, .. } => Input::Start { build, attempt: world.fresh(), session },
            other => other,
        };
        world.apply(&next).unwrap();
        // The first answer after a lookup is that nothing is there; the next submission is taken.
        let intent = world.rows.attempts.values().find(|attempt| attempt.state == AttemptState::Intent).cloned();
        if let Some(attempt) = intent.filter(|attempt| attempt.run == world.run) {
            let external = ExternalId::new(attempt.id.as_str());
            world.apply(&Input::Accepted { attempt: attempt.id, external }).unwrap();
        }
    }
    for build in world.rows.builds.values() {
        assert!(build.state.is_terminal(), "{build:?} never ends: {:?}", world.states());
    }
    assert!(world.rows.events.values().all(|event| event.state.is_terminal()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_breaks_and_everything_ends(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Change { edges, turn, changed, branch } => {
                    let dag = dag(&edges, turn, branch);
                    let changed = ["base", "a0", "a1", "a2", "a3"][changed.index(5)];
                    // What has to wait for builds under way has changed nothing; `decide` sees to
                    // it.
                    let _ = if changed == "base" { world.change(&dag, changed) } else { world.request(&dag, changed) };
                }
                Step::Skip => drop(world.decide(skip())),
                Step::Apply { what, which, class, content } => {
                    if let Some(input) = input(&mut world, what, which, class, content) {
                        let _ = world.apply(&input);
                    }
                }
                Step::TakeOver => world.run.0 += 1,
            }
        }
        finish(&mut world);
    }
}
