//! What a look at a result leads to: it counts, is built once more from what is prepared anew, or
//! fails.

use crate::world::{World, digest, graph};
use freshmaker::rebuild::{
    BuildId, BuildState, EventId, EventState, IllegalInput, Input, Limits, Observed, Outcome, Output, Verification,
};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};

/// `app` and `tool` take packages from `repo`, which follows `base`; `site` is built on `app`.
fn with_repository() -> ArtifactGraph {
    let mut graph = graph("repo: base; app: base; tool: base; site: app");
    let repository = Artifact::new("repo", ArtifactKind::Repository).with_source("repo", None);
    graph.insert(repository);
    for child in ["app", "tool"] {
        graph.depend(child, "repo", EdgeKind::Repository).unwrap();
    }
    graph
}

fn planned() -> (World, EventId) {
    let mut world = World::new();
    let event = world.change(&with_repository(), "base").unwrap();
    world.make("repo", "r1");
    (world, event)
}

/// Builds it; its result waits to be looked at.
fn build(world: &mut World, name: &str) {
    world.run(name);
    let attempt = world.attempt(name).id.clone();
    let output = Output { name: format!("{name}-1"), digest: Some(digest(name)), contents: None };
    world.apply(&Input::Observe { attempt, observed: Observed::Succeeded(output), verify: true }).unwrap();
    assert_eq!(world.build(name).state, BuildState::Verifying);
}

fn see(world: &mut World, name: &str, seen: Verification) {
    let build = world.build(name).id;
    let unused = world.unused();
    world.apply(&Input::Verified { build, seen, unused }).unwrap();
}

fn stale() -> Verification {
    Verification::Stale("bash-1-1 is older than bash-1-2".into())
}

#[test]
fn what_nobody_has_looked_at_is_done_and_says_so() {
    let (mut world, _) = planned();
    build(&mut world, "app");
    see(&mut world, "app", Verification::Unverified);
    assert_eq!(world.states(), ["app DONE", "repo DONE", "site READY", "tool READY"]);
    assert_eq!(world.build("app").reason.text, "it was built; its result was not verified");
}

#[test]
fn what_passes_is_done_under_the_digest_that_was_seen() {
    let (mut world, event) = planned();
    build(&mut world, "app");
    assert_eq!(
        world.states(),
        ["app VERIFYING", "repo DONE", "site BLOCKED", "tool READY"],
        "nothing is built on it yet"
    );
    assert_eq!(world.event(event).builds_open, 3);
    see(&mut world, "app", Verification::Passed(Some(digest("seen"))));
    assert_eq!(world.build("app").output.as_ref().unwrap().digest, Some(digest("seen")));
    assert_eq!(world.states(), ["app DONE", "repo DONE", "site READY", "tool READY"]);
    build(&mut world, "tool");
    see(&mut world, "tool", Verification::Passed(None));
    assert_eq!(world.build("tool").output.as_ref().unwrap().digest, Some(digest("tool")), "nothing better is known");
}

#[test]
fn what_is_wrong_fails_with_the_evidence() {
    let (mut world, _) = planned();
    build(&mut world, "app");
    see(&mut world, "app", Verification::Failed("it contains a key".into()));
    let app = world.build("app");
    assert_eq!((app.state, app.reason.code.as_str()), (BuildState::Failed, "verification_failed"));
    assert_eq!((app.reason.text.as_str(), &app.output), ("it contains a key", &None));
    assert_eq!(world.states(), ["app FAILED", "repo DONE", "site DEP_FAILED", "tool READY"]);
}

#[test]
fn what_is_stale_is_built_once_more_from_a_renewed_repository() {
    let (mut world, event) = planned();
    build(&mut world, "app");
    let release = world.attempt("app").release.clone();
    see(&mut world, "app", stale());
    assert_eq!(world.states(), ["app BLOCKED", "repo DONE READY", "site BLOCKED", "tool READY"]);
    assert!(world.build("app").release.as_ref() > Some(&release), "what is there is not built again");
    let (app, repo) = (world.build("app").clone(), world.build("repo").clone());
    assert!(app.no_cache && repo.no_cache && app.output.is_none());
    assert!(app.tries == 0 && repo.reason.code == "renewed", "{repo:?}");
    assert_eq!(world.event(event).builds_open, 4, "the event waits for the renewed repository as well");

    world.make("repo", "r2");
    build(&mut world, "app");
    let parent = world.build("app").parents.iter().find(|parent| parent.id.as_str() == "repo").unwrap();
    assert_eq!((parent.digest.clone(), parent.name.as_deref()), (Some(digest("r2")), Some("repo")), "what was renewed");
    see(&mut world, "app", Verification::Passed(None));
    assert_eq!(world.states(), ["app DONE", "repo DONE DONE", "site READY", "tool READY"]);
    world.make("site", "s");
    world.make("tool", "t");
    assert_eq!(world.event(event).state, EventState::Complete);
}

fn lost(world: &mut World, name: &str) -> Input {
    let build = world.build(name).id;
    let repositories = world.rows.prepared_for(build);
    assert_eq!(repositories.len(), 1);
    Input::Lost { build, repositories, unused: world.unused() }
}

fn lose(world: &mut World, name: &str) {
    let input = lost(world, name);
    world.apply(&input).unwrap();
}

/// Neither of them sees the dependencies that the other one adds, which together may be a cycle.
#[test]
fn a_renewal_and_a_plan_that_add_dependencies_at_once_conflict() {
    let (mut world, _) = planned();
    let renewal = {
        let input = lost(&mut world, "app");
        let mut rebuild = world.rebuild();
        rebuild.apply(&input, &Limits::default()).unwrap();
        rebuild.commit()
    };
    let plan = graph("one: pushed; two: one").planner().changed("pushed", None).plan().unwrap();
    let plan = {
        let systems = plan.nodes().map(|node| (node.artifact.id.clone(), "builder".to_owned())).collect();
        let admission = world.admission(Outcome::Build { plan: Box::new(plan), systems });
        let mut rebuild = world.rebuild();
        rebuild.admit(&admission).unwrap();
        rebuild.commit()
    };
    assert!(renewal.edges.is_some() && renewal.edges == plan.edges);
    assert!(world.conflicts(&renewal, &plan) && world.conflicts(&plan, &renewal));
}

#[test]
fn what_was_prepared_and_is_gone_is_prepared_anew_once_for_all() {
    let (mut world, event) = planned();
    lose(&mut world, "app");
    assert_eq!(world.states(), ["app BLOCKED", "repo DONE READY", "site BLOCKED", "tool READY"]);
    assert_eq!(world.build("repo").reason.code, "renewed");
    assert!(!world.build("app").no_cache, "nothing was wrong with it");
    lose(&mut world, "tool");
    assert_eq!(world.states(), ["app BLOCKED", "repo DONE READY", "site BLOCKED", "tool BLOCKED"], "they share it");
    assert_eq!(world.event(event).builds_open, 4);
    world.make("repo", "r2");
    let renewed = world.build("repo").id;
    for name in ["app", "tool"] {
        assert_eq!(world.rows.prepared_for(world.build(name).id), [renewed], "{name}");
        world.run(name);
        let parent = world.build(name).parents.iter().find(|parent| parent.id.as_str() == "repo").unwrap().clone();
        assert_eq!(parent.digest, Some(digest("r2")), "{name}");
    }
}

#[test]
fn what_has_been_prepared_since_is_taken() {
    let (mut world, _) = planned();
    lose(&mut world, "app");
    world.make("repo", "r2");
    lose(&mut world, "tool");
    assert_eq!(world.states(), ["app READY", "repo DONE DONE", "site BLOCKED", "tool READY"], "no third one");
    let tool = world.build("tool").id;
    assert_eq!(world.rows.prepared_for(tool), [world.build("repo").id]);
    // That one can go as well.
    lose(&mut world, "tool");
    assert_eq!(world.states(), ["app READY", "repo DONE DONE READY", "site BLOCKED", "tool BLOCKED"]);
}

#[test]
fn what_nobody_can_say_now_is_asked_later() {
    let (mut world, _) = planned();
    let (build, after) = (world.build("app").id, std::time::Duration::from_secs(30));
    let input = Input::Postponed { build, text: "odcs is down".into(), after };
    world.apply(&input).unwrap();
    let app = world.build("app");
    assert_eq!((app.state, app.reason.code.as_str()), (BuildState::Ready, "postponed"));
    assert_eq!(app.not_before, Some(freshmaker::time::later(world.at, after)));
    world.wait(after);
    world.run("app");
    let unused = world.unused();
    for late in [input, Input::Lost { build, repositories: Vec::new(), unused }] {
        assert!(matches!(world.apply(&late), Err(IllegalInput::Stale { .. })), "{late:?}");
    }
}

#[test]
fn a_repository_that_waits_for_the_build_it_is_for_fails_it() {
    let (mut world, _) = planned();
    build(&mut world, "app");
    let (app, unused) = (world.build("app").id, world.unused());
    // The dependencies turn round while it is looked at.
    let mut turned = graph("app: base; site: app");
    turned.insert(Artifact::new("repo", ArtifactKind::Repository).with_source("repo", None));
    turned.depend("repo", "app", EdgeKind::RuntimeContent).unwrap();
    turned.depend("site", "repo", EdgeKind::Repository).unwrap();
    world.change(&turned, "base").unwrap();
    assert_eq!(world.states()[..2], ["app VERIFYING BLOCKED", "repo DONE BLOCKED"]);
    world.apply(&Input::Verified { build: app, seen: stale(), unused }).unwrap();
    let failed = &world.rows.builds[&app];
    assert_eq!((failed.state, failed.reason.code.as_str()), (BuildState::Failed, "cycle"), "{failed:?}");
    assert_eq!(world.states()[..2], ["app FAILED READY", "repo DONE BLOCKED"]);
}

#[test]
fn what_is_stale_twice_fails_with_the_evidence() {
    let (mut world, _) = planned();
    build(&mut world, "app");
    see(&mut world, "app", stale());
    world.make("repo", "r2");
    build(&mut world, "app");
    see(&mut world, "app", stale());
    let app = world.build("app");
    assert_eq!((app.state, app.reason.text.as_str()), (BuildState::Failed, "bash-1-1 is older than bash-1-2"));
}

#[test]
fn two_stale_results_share_a_renewed_repository() {
    let (mut world, _) = planned();
    build(&mut world, "app");
    build(&mut world, "tool");
    see(&mut world, "app", stale());
    let renewed = world.build("repo").id;
    world.run("repo");
    see(&mut world, "tool", stale());
    assert_eq!(world.build("repo").id, renewed);
    assert_eq!(world.states(), ["app BLOCKED", "repo DONE BUILDING", "site BLOCKED", "tool BLOCKED"]);
    world.succeed("repo", "r2");
    assert_eq!(world.states(), ["app READY", "repo DONE DONE", "site BLOCKED", "tool READY"]);
}

#[test]
fn what_is_urgent_hastens_the_repository_that_it_waits_for() {
    let (mut world, _) = planned();
    build(&mut world, "app");
    build(&mut world, "tool");
    see(&mut world, "app", stale());
    let (renewed, tool) = (world.build("repo").id, world.build("tool").id);
    let urgent = world.build("repo").priority + 1000;
    world.rows.builds.get_mut(&tool).unwrap().priority = urgent;
    see(&mut world, "tool", stale());
    assert_eq!((world.build("repo").id, world.build("repo").priority), (renewed, urgent));
}

#[test]
fn without_repositories_it_is_only_built_without_caches() {
    let (mut world, _) = planned();
    build(&mut world, "app");
    see(&mut world, "app", Verification::Passed(None));
    build(&mut world, "site");
    see(&mut world, "site", stale());
    let site = world.build("site");
    assert_eq!((site.state, site.no_cache), (BuildState::Ready, true));
    assert!(site.reason.text.starts_with("bash-1-1 is older"), "{}", site.reason.text);
}

#[test]
fn what_is_cancelled_while_it_is_looked_at_ends_at_once_and_keeps_its_output() {
    let (mut world, event) = planned();
    build(&mut world, "app");
    world.cancel(event);
    let app = world.build("app");
    assert_eq!((app.state, app.output.is_some()), (BuildState::Canceled, true));
    assert_eq!(world.event(event).state, EventState::Canceled);
    let late = Input::Verified { build: app.id, seen: stale(), unused: BuildId(900) };
    assert!(matches!(world.apply(&late), Err(IllegalInput::Stale { .. })));
}

#[test]
fn a_failed_renewal_fails_what_needs_it() {
    let (mut world, event) = planned();
    build(&mut world, "app");
    see(&mut world, "app", stale());
    world.run("repo");
    world.fail("repo", freshmaker::rebuild::FailureClass::Permanent);
    assert_eq!(world.states(), ["app DEP_FAILED", "repo DONE FAILED", "site DEP_FAILED", "tool READY"]);
    world.make("tool", "t");
    assert_eq!(world.event(event).state, EventState::Complete);
}

#[test]
fn what_was_overdue_and_succeeds_is_looked_at_as_well() {
    let (mut world, _) = planned();
    world.run("app");
    let attempt = world.attempt("app").id.clone();
    world.apply(&Input::Overdue { attempt: attempt.clone() }).unwrap();
    let output = Output { name: "app-1".into(), digest: None, contents: None };
    world.apply(&Input::Observe { attempt, observed: Observed::Succeeded(output), verify: true }).unwrap();
    assert_eq!(world.build("app").state, BuildState::Verifying);
}

#[test]
fn a_repository_that_was_overtaken_is_renewed_as_it_is_now() {
    let (mut world, _) = planned();
    world.run("app");
    // While the build runs, the base changes again, and the repository follows.
    let mut newer = with_repository();
    newer.insert(Artifact::new("base", ArtifactKind::Image).with_digest(digest("newer base")));
    world.change(&newer, "base").unwrap();
    world.make("repo", "r2");
    let attempt = world.attempt("app").id.clone();
    let output = Output { name: "app-1".into(), digest: Some(digest("app")), contents: None };
    world.apply(&Input::Observe { attempt, observed: Observed::Succeeded(output), verify: true }).unwrap();
    let build = world.rows.builds.values().find(|build| build.state == BuildState::Verifying).unwrap().id;
    let unused = world.unused();
    world.apply(&Input::Verified { build, seen: stale(), unused }).unwrap();
    let renewed = world.build("repo");
    assert_eq!((renewed.state, renewed.id), (BuildState::Ready, unused));
    assert_eq!(renewed.parents[0].digest, Some(digest("newer base")));
}
