//! Two decisions on the same rows at once: which pairs must not both be stored, and what each rests
//! on without changing it.

use crate::world::{World, digest, graph};
use freshmaker::rebuild::{Actor, BuildId, BuildState, Commit, Input, Limits, Observed, Outcome, Output, RowKey};
use freshmaker::{Artifact, ArtifactKind, EdgeKind, Plan};

fn commit_of(world: &World, input: &Input) -> Commit {
    let mut rebuild = world.rebuild();
    rebuild.apply(input, &Limits::default()).unwrap();
    rebuild.commit()
}

fn commit_of_plan(world: &mut World, plan: &Plan) -> Commit {
    let systems = plan.nodes().map(|node| (node.artifact.id.clone(), "builder".to_owned())).collect();
    let admission = world.admission(Outcome::Build { plan: Box::new(plan.clone()), systems });
    let mut rebuild = world.rebuild();
    rebuild.admit(&admission).unwrap();
    rebuild.commit()
}

fn success(world: &World, name: &str) -> Input {
    let output = Output { name: name.into(), digest: Some(digest(name)), contents: None };
    Input::Observe { attempt: world.attempt(name).id.clone(), observed: Observed::Succeeded(output), verify: false }
}

fn rests_on(commit: &Commit, build: BuildId) -> bool {
    commit.unchanged.iter().any(|(key, _)| *key == RowKey::Build(build))
}

/// A later output of the earlier build's key would be the one to compare with.
#[test]
fn a_reuse_rests_on_the_build_whose_output_it_takes() {
    let chain = graph("lib: base; app: lib");
    let mut world = World::new();
    world.change(&chain, "base").unwrap();
    world.make("lib", "l2");
    world.make("app", "a2");
    let earlier = world.build("app").id;
    world.change(&chain, "base").unwrap();
    world.make("lib", "l2");
    let reuse = commit_of(&world, &Input::Reuse { build: world.build("app").id });
    assert!(rests_on(&reuse, earlier), "{:?}", reuse.unchanged);
}

/// The next build of a key waits for the current one, whose row says nothing about that.
#[test]
fn a_build_that_begins_to_wait_conflicts_with_the_end_of_what_it_waits_for() {
    let chain = graph("app: base");
    let mut world = World::new();
    world.change(&chain, "base").unwrap();
    world.run("app");
    let plan = chain.planner().changed("base", None).plan().unwrap();
    let [end, next] = [commit_of(&world, &success(&world, "app")), commit_of_plan(&mut world, &plan)];
    assert!(world.conflicts(&end, &next), "it would wait for a build that has ended");
    assert!(world.conflicts(&next, &end), "the end would leave it waiting");
}

/// The plan finds a build that will do, and the event that wants it is cancelled meanwhile.
#[test]
fn a_plan_that_joins_a_build_conflicts_with_its_cancellation() {
    let chain = graph("app: base");
    let mut world = World::new();
    let event = world.change(&chain, "base").unwrap();
    let plan = chain.planner().changed("base", None).plan().unwrap();
    let by = Actor::Person("somebody".into());
    let cancel = commit_of(&world, &Input::Cancel { event, by, because: String::new() });
    let join = commit_of_plan(&mut world, &plan);
    assert!(world.conflicts(&cancel, &join), "it would join a build that nobody builds");
    assert!(world.conflicts(&join, &cancel), "the build would end although it is wanted again");
}

/// `app` and `tool` are built from what `repo` prepares.
fn with_repository() -> World {
    let mut graph = graph("repo: base; app: base; tool: other");
    graph.insert(Artifact::new("repo", ArtifactKind::Repository).with_source("repo", None));
    for child in ["app", "tool"] {
        graph.depend(child, "repo", EdgeKind::Repository).unwrap();
    }
    let mut world = World::new();
    world.change(&graph, "base").unwrap();
    world.make("repo", "r1");
    world
}

fn lost(world: &mut World, name: &str) -> Input {
    let build = world.build(name).id;
    Input::Lost { build, repositories: world.rows.prepared_for(build), unused: world.unused() }
}

/// Only an edge is stored, so nothing else would say that the build was started meanwhile with the
/// repository that is lost.
#[test]
fn a_build_that_takes_a_newer_repository_rests_on_both() {
    let mut world = with_repository();
    let input = lost(&mut world, "app");
    world.apply(&input).unwrap();
    world.make("repo", "r2");
    let newer = world.build("repo").id;
    let input = lost(&mut world, "tool");
    let takes = commit_of(&world, &input);
    let tool = world.build("tool").id;
    assert_eq!(world.build("tool").state, BuildState::Ready);
    assert!(rests_on(&takes, tool) && rests_on(&takes, newer), "{:?}", takes.unchanged);
}
