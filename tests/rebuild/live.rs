//! The forecast of open builds, and what each of them waits for.

use crate::world::{World, graph, with};
use freshmaker::Reason;
use freshmaker::rebuild::{
    BuildId, BuildState, ConcurrencyLimits, Dependency, DependencyKind, EventId, FailureClass, Follows, Input,
    LiveForecast, NextChange, OpenBuilds, PausedSystem, WaitKind, WaitingFor,
};
use freshmaker::time::{Timestamp, later, since};
use std::collections::BTreeMap;
use std::time::Duration;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn limit(limit: u32) -> ConcurrencyLimits {
    ConcurrencyLimits::default().with_others(limit)
}

impl World {
    /// The rows as a client would read them; with those that have ended, if `all`.
    fn open(&self, all: bool) -> OpenBuilds {
        let mut open = OpenBuilds::default();
        let builds = self.rows.builds.values().filter(|build| all || !build.state.is_terminal());
        open.at = self.at;
        open.complete = true;
        open.builds = builds.map(|build| (build.id, build.clone())).collect();
        let live = self.rows.attempts.values().filter(|attempt| attempt.state.is_live());
        open.attempts = live.map(|attempt| (attempt.build, attempt.clone())).collect();
        open.dependencies = self.rows.dependencies.values().filter(|edge| !edge.satisfied).cloned().collect();
        open.causes = self.rows.causes.values().cloned().collect();
        open.live = BTreeMap::from([("builder".to_owned(), u32::try_from(open.attempts.len()).unwrap())]);
        open
    }

    /// From when to when each build is expected to run, in minutes from now on.
    fn expects(&self, forecast: &LiveForecast) -> BTreeMap<String, (u64, u64)> {
        let left = |at: Option<Timestamp>| since(at.unwrap(), self.at).as_secs() / 60;
        let spans = forecast
            .builds()
            .iter()
            .map(|(id, build)| (self.rows.builds[id].key.artifact.to_string(), (left(build.start), left(build.end))));
        spans.collect()
    }

    fn waits(&self, open: &OpenBuilds, name: &str) -> Option<WaitingFor> {
        open.waiting(None).of(self.build(name).id)
    }
}

/// `lib` and `tool` are built from `base`, `app` from both. All take 10 minutes, `tool` takes 30.
fn diamond() -> (World, EventId) {
    let mut world = World::new();
    let graph = graph("base: os; lib: base; tool: base; app: lib tool");
    let event = world.change(&with(graph, "tool", |tool| tool.with_estimate(minutes(30))), "os").unwrap();
    (world, event)
}

#[test]
fn open_builds_are_played_through_the_schedule() {
    let (mut world, event) = diamond();
    world.run("base");
    world.wait(minutes(4));
    let forecast = world.open(false).forecast(&limit(2));
    let expected = [("app", (36, 46)), ("base", (0, 6)), ("lib", (6, 16)), ("tool", (6, 36))];
    assert_eq!(world.expects(&forecast), expected.map(|(name, span)| (name.to_owned(), span)).into());
    let [base, lib, tool, app] = ["base", "lib", "tool", "app"].map(|name| world.build(name).id);
    assert_eq!(forecast.build(base).unwrap().start, Some(world.attempt("base").intent_at), "it runs already");
    assert_eq!(forecast.build(base).unwrap().follows, None);
    let whole = forecast.event(event).unwrap();
    assert_eq!(whole.critical_path, [base, tool, app]);
    assert_eq!((whole.end, whole.known_end), (Some(later(world.at, minutes(46))), whole.end));
    assert_eq!((whole.open, whole.unknown, whole.overdue), (4, 0, 0));
    assert_eq!(forecast.systems()["builder"], whole.end);
    // With one slot, what gets it last follows what had it.
    let narrow = world.open(false).forecast(&limit(1));
    assert_eq!(narrow.build(lib).unwrap().follows, Some(Follows::Slot(tool)), "tool has the longer way to the end");
    assert_eq!(narrow.build(app).unwrap().follows, Some(Follows::Dependency(lib)));
    assert_eq!(narrow.event(event).unwrap().critical_path, [base, tool, lib, app]);
    assert_eq!(forecast.event(EventId(404)), None);
}

#[test]
fn an_overdue_build_never_ends_in_the_past() {
    let (mut world, event) = diamond();
    world.run("base");
    for (elapsed, left) in [(0, 600), (9, 60), (10, 60), (30, 180), (600, 3600)] {
        let mut later_world = world.clone();
        later_world.wait(minutes(elapsed));
        let open = later_world.open(false);
        let (remaining, overdue) = open.remaining(later_world.build("base"));
        assert_eq!((remaining.as_secs(), overdue), (left, elapsed >= 10), "after {elapsed} minutes");
        let forecast = open.forecast(&limit(2));
        assert_eq!(forecast.event(event).unwrap().overdue, usize::from(overdue));
        assert!(forecast.builds().values().all(|build| build.end.unwrap() > later_world.at));
    }
    // A clock that was set back: it has just begun.
    world.at = later(world.at, Duration::ZERO) - chrono::TimeDelta::hours(5);
    assert_eq!(world.open(false).remaining(world.build("base")), (minutes(10), false));
}

#[test]
fn what_waits_for_a_person_has_no_expected_time() {
    let (mut world, event) = diamond();
    let mut open = world.open(false);
    let reason = Reason::new("paused", "builder is paused by alice: the farm is moved");
    open.paused.insert("builder".into(), PausedSystem::new(reason, world.at));
    let forecast = open.forecast(&limit(2));
    let whole = forecast.event(event).unwrap();
    assert_eq!((whole.end, whole.known_end, whole.unknown), (None, None, 4));
    assert_eq!((whole.critical_path.len(), forecast.systems()["builder"]), (0, None));
    let app = world.waits(&open, "app").unwrap();
    assert_eq!((app.kind, app.blocker, app.next), (WaitKind::Paused, world.build("base").id, None));
    assert_eq!(app.since, Some(world.at));
    let base = app.blocker;
    let text = "which does not start: builder is paused by alice: the farm is moved";
    assert_eq!(app.reason.text, format!("it waits, behind one other build, for base (build {base}), {text}"));
    assert_eq!(app.reason.code, "paused");

    // Nothing starts either if a system may run nothing.
    assert_eq!(world.open(false).forecast(&limit(0)).event(event).unwrap().unknown, 4);

    world.start("base");
    let attempt = world.attempt("base").id.clone();
    world.apply(&Input::Unclear { attempt: attempt.clone(), text: "cut off".into() }).unwrap();
    let reason = Reason::new("needs_decision", "the build system cannot tell");
    world.apply(&Input::LookUp { attempt: attempt.clone(), settle: Duration::ZERO }).unwrap();
    world.apply(&Input::LookupFailed { attempt, reason, after: minutes(5) }).unwrap();
    let open = world.open(false);
    assert_eq!(open.forecast(&limit(2)).event(event).unwrap().unknown, 4);
    let waits = world.waits(&open, "base").unwrap();
    let text = "it may have been submitted: the build system cannot tell";
    assert_eq!((waits.kind, waits.reason.text.as_str()), (WaitKind::NeedsDecision, text));
    assert_eq!(waits.path, []);
}

#[test]
fn the_path_leads_to_the_build_that_holds_longest() {
    let (mut world, _) = diamond();
    world.make("base", "b");
    world.run("lib");
    world.wait(minutes(5));
    world.run("tool");
    let open = world.open(false);
    assert_eq!(world.waits(&open, "lib"), None, "it runs");
    let app = world.waits(&open, "app").unwrap();
    let tool = world.build("tool").id;
    assert_eq!((app.kind, app.blocker, app.others), (WaitKind::Running, tool, 1));
    assert_eq!(
        app.path.iter().map(|step| (step.build, step.state)).collect::<Vec<_>>(),
        [(tool, BuildState::Building)]
    );
    let next = app.next.unwrap();
    assert_eq!((next.at, next.what), (later(world.at, minutes(30)), NextChange::Ends));
    assert_eq!(app.since, Some(world.at));
    assert_eq!(app.reason.text, format!("it waits for tool (build {tool}), which is being built by builder"));
    world.wait(minutes(31));
    let app = world.waits(&world.open(false), "app").unwrap();
    assert!(app.reason.text.ends_with("by builder, for longer than was expected"), "{}", app.reason.text);
    assert!(app.next.unwrap().at > world.at);
}

#[test]
fn a_ready_build_tells_its_place_its_pause_and_its_build_system() {
    let mut world = World::new();
    world.change(&graph("a: os; b: os; c: os"), "os").unwrap();
    let open = world.open(false);
    let text = |waits: WaitingFor| waits.reason.text;
    let c = world.waits(&open, "c").unwrap();
    assert_eq!((c.kind, c.next), (WaitKind::Queue, None), "nobody has started anything");
    assert_eq!(text(c), "it is number 3 in the queue of builder, which has 0 live attempts");
    assert_eq!(open.waiting(None).counts(), BTreeMap::from([(WaitKind::Queue, 3)]));

    world.run("a");
    let open = world.open(false);
    let b = world.waits(&open, "b").unwrap();
    assert_eq!(b.next.unwrap().what, NextChange::Slot);
    assert_eq!(text(b), "it is number 1 in the queue of builder, which has 1 live attempt");
    let forecast = open.forecast(&limit(1));
    let c = open.waiting(Some(&forecast)).of(world.build("c").id).unwrap().next.unwrap();
    assert_eq!((c.at, c.what), (later(world.at, minutes(20)), NextChange::Starts));

    world.start("b");
    let attempt = world.attempt("b").id.clone();
    world.apply(&Input::NotSent { attempt, text: "no route to host".into() }).unwrap();
    let open = world.open(false);
    let b = world.waits(&open, "b").unwrap();
    assert_eq!((b.kind, b.next.unwrap().what), (WaitKind::BackOff, NextChange::Retry));
    assert_eq!(text(b), "it waits a while: no route to host");
    let c = world.waits(&open, "c").unwrap();
    assert_eq!((c.kind, c.next), (WaitKind::Unreachable, world.waits(&open, "b").unwrap().next));
    assert_eq!(text(c), "it does not start yet: builder could not be reached lately");
    world.wait(minutes(10));
    assert_eq!(
        world.waits(&world.open(false), "c").unwrap().kind,
        WaitKind::Queue,
        "a present sentence, not an old one"
    );
}

#[test]
fn a_build_that_cannot_be_built_names_the_failure() {
    let (mut world, _) = diamond();
    world.limits.tries_deterministic_max = 1;
    world.make("base", "b");
    world.run("lib");
    world.fail("lib", FailureClass::Deterministic);
    assert_eq!(world.build("app").state, BuildState::DependencyFailed);
    let open = world.open(true);
    let app = world.waits(&open, "app").unwrap();
    let lib = world.build("lib");
    assert_eq!((app.kind, app.blocker, app.since), (WaitKind::Failed, lib.id, lib.done_at));
    assert_eq!(app.reason.text, format!("it cannot be built, because lib (build {}) failed: it broke", lib.id));
    assert_eq!((world.waits(&open, "lib"), world.waits(&open, "base")), (None, None));
    assert_eq!(open.waiting(None).kind(app.build), None, "it is not open");
}

#[test]
fn rows_that_were_not_read_are_not_guessed() {
    let (world, event) = diamond();
    let mut open = world.open(false);
    open.builds.remove(&world.build("base").id);
    open.complete = false;
    let forecast = open.forecast(&limit(2));
    assert!(!forecast.is_complete());
    assert_eq!(forecast.event(event).unwrap().unknown, 3);
    let lib = world.waits(&open, "lib").unwrap();
    assert_eq!((lib.kind, lib.path.len()), (WaitKind::Blocked, 0));
    assert_eq!(lib.reason.text, "it waits for builds that were not read");

    // Dependencies that lead back are no stored rows; if they were, nothing would hang.
    let mut open = world.open(false);
    let [base, app] = ["base", "app"].map(|name| world.build(name).id);
    let back = Dependency { parent: app, child: base, kind: DependencyKind::Needs, satisfied: false };
    open.dependencies.push(back);
    open.builds.get_mut(&base).unwrap().state = BuildState::Blocked;
    assert_eq!(open.forecast(&limit(2)).event(event).unwrap().unknown, 4);
    assert_eq!(world.waits(&open, "app").unwrap().kind, WaitKind::Blocked);
}

#[test]
fn long_paths_and_names_are_cut() {
    let name = |number: usize| if number == 0 { "n".repeat(10_000) } else { format!("b{number}") };
    let lines: Vec<_> = (1..100).map(|at| format!("b{at}: {}", name(at - 1))).collect();
    let mut world = World::new();
    world.change(&graph(&format!("{}: os;{}", name(0), lines.join(";"))), "os").unwrap();
    let open = world.open(false);
    let last = world.waits(&open, "b99").unwrap();
    assert_eq!((last.path.len(), last.path_hidden, last.blocker), (20, 79, world.build(&name(0)).id));
    assert_eq!((last.path[0].build, last.path[19].build), (world.build("b98").id, last.blocker));
    assert!(last.reason.text.len() < 300, "{}", last.reason.text);
    assert!(last.reason.text.starts_with("it waits, behind 98 other builds, for nnn"), "{}", last.reason.text);
}

/// 20,000 builds in 100 chains, on 20 slots.
#[test]
fn twenty_thousand_builds_are_played_to_their_end() {
    let (world, _) = World::planned("a: os", "os");
    let model = world.build("a").clone();
    let mut open = world.open(false);
    open.builds.clear();
    for number in 1..=20_000 {
        let mut build = model.clone();
        build.id = BuildId(number);
        build.priority = -number;
        build.state = if number > 100 { BuildState::Blocked } else { BuildState::Ready };
        if number > 100 {
            let parent = BuildId(number - 100);
            open.dependencies.push(Dependency {
                parent,
                child: build.id,
                kind: DependencyKind::Needs,
                satisfied: false,
            });
        }
        open.builds.insert(build.id, build);
    }
    let forecast = open.forecast(&limit(20));
    let end = forecast.systems()["builder"].unwrap();
    assert_eq!(since(end, world.at), minutes(10) * 1000, "1,000 rounds of 20 builds");
    let waiting = open.waiting(Some(&forecast));
    assert_eq!(waiting.counts(), BTreeMap::from([(WaitKind::Queue, 100), (WaitKind::Blocked, 19_900)]));
    assert_eq!(waiting.of(BuildId(20_000)).unwrap().blocker, BuildId(100));
    assert_eq!(forecast.path_to(BuildId(20_000)).len(), 1000);
}
