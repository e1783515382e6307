//! What it costs to decide on one large plan: rows in memory, nothing stored but at the end.
//!
//! `cargo bench --bench admission`. Three cases: all builds are new, all are joined to builds that
//! wait, all become the next build of one that runs. The decision is made in steps of as many rows
//! as the engine does at once, from the copy of the loaded rows to the commit. The limits are 1.5 s
//! for the decision on 50,000 builds and 50 ms for its longest step; the ratio of the sizes shows
//! that the cost is linear.

use freshmaker::backend::{Scope, Storage};
use freshmaker::event::{Envelope, Severity};
use freshmaker::memory::MemoryStorage;
use freshmaker::plan::Plan;
use freshmaker::rebuild::{
    Admission, BuildId, BuildMode, BuildState, Commit, EventId, Outcome, QueuePositions, Rebuild, RowChange, RunId,
};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
use futures_util::FutureExt;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

type Outcomes<T> = Result<T, Box<dyn Error>>;

/// A tree with ten children for each image.
fn plan(builds: u32) -> Outcomes<Plan> {
    let name = |number: u32| format!("image{number:06}");
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for number in 0..builds {
        let parent = if number < 10 { "base".to_owned() } else { name(number / 10) };
        graph.insert(Artifact::new(name(number), ArtifactKind::Image).with_source("images", None));
        graph.depend(name(number), parent, EdgeKind::ParentImage)?;
    }
    Ok(graph.planner().changed("base", None).plan()?)
}

fn admission(plan: &Plan, first: i64) -> Admission {
    let systems = plan.nodes().map(|node| (node.artifact.id.clone(), "builds".to_owned())).collect();
    Admission {
        event: EventId(first),
        first_build: BuildId(first + 1),
        source: "bus".into(),
        message_id: format!("m{first}"),
        handler: "handler".into(),
        generation: 1,
        retry_of: None,
        envelope: Envelope {
            kind: "image.pushed".into(),
            search_key: "base".into(),
            manual: false,
            requester: None,
            severity: Severity::default(),
            payload: serde_json::Value::Null,
        },
        mode: BuildMode::Real,
        queues: QueuePositions::default(),
        outcome: Outcome::Build { plan: Box::new(plan.clone()), systems },
    }
}

/// As many rows as the engine decides on before everything else goes on.
const ROWS_AT_ONCE: usize = 1000;

struct Took {
    load: Duration,
    decide: Duration,
    /// The longest step of the decision.
    longest: Duration,
    commit: Duration,
}

/// Does all steps; keeps the time of the longest.
fn in_steps<T>(longest: &mut Duration, mut step: impl FnMut(usize) -> ControlFlow<T>) -> T {
    loop {
        let begin = Instant::now();
        let stepped = step(ROWS_AT_ONCE);
        *longest = (*longest).max(begin.elapsed());
        if let ControlFlow::Break(done) = stepped {
            return done;
        }
    }
}

/// Decides on the plan, and stores the rows.
fn admit(storage: &MemoryStorage, plan: &Plan, first: i64) -> Outcomes<Took> {
    let admission = admission(plan, first);
    let now = |begin: &mut Instant| std::mem::replace(begin, Instant::now()).elapsed();
    let mut begin = Instant::now();
    let rows = storage.load(&Scope::Keys(admission.keys())).now_or_never().ok_or("it waits")??;
    let load = now(&mut begin);
    let mut longest = Duration::ZERO;
    let mut beginning = Rebuild::beginning(rows, RunId::NONE);
    let mut rebuild = in_steps(&mut longest, |rows| beginning.step(rows));
    let mut admitting = rebuild.admitting(&admission);
    in_steps(&mut longest, |rows| admitting.step(rows))?;
    let mut committing = rebuild.committing();
    let commit = in_steps(&mut longest, |rows| committing.step(rows));
    let decide = now(&mut begin);
    storage.commit(commit).now_or_never().ok_or("it waits")??;
    Ok(Took { load, decide, longest, commit: now(&mut begin) })
}

/// Lets all builds run.
fn start_all(storage: &MemoryStorage, plan: &Plan) -> Outcomes<()> {
    let admission = admission(plan, 1);
    let rows = storage.load(&Scope::Keys(admission.keys())).now_or_never().ok_or("it waits")??;
    let mut changes = Vec::new();
    for mut build in rows.builds.into_values() {
        let expected = Some(build.version);
        (build.state, build.version) = (BuildState::Building, build.version + 1);
        changes.push(RowChange::Build { record: build.into(), expected, replanned: false });
    }
    storage.commit(Commit::unfenced(changes)).now_or_never().ok_or("it waits")??;
    Ok(())
}

fn measure(builds: u32) -> Outcomes<[Took; 3]> {
    let plan = plan(builds)?;
    let storage = MemoryStorage::new();
    let new = admit(&storage, &plan, 1)?;
    let joined = admit(&storage, &plan, 1_000_000)?;
    start_all(&storage, &plan)?;
    let replaced = admit(&storage, &plan, 2_000_000)?;
    Ok([new, joined, replaced])
}

fn main() -> Outcomes<()> {
    println!(
        "{:>8}  {:<9} {:>10} {:>10} {:>12} {:>10}  per build, to the size before",
        "builds", "case", "load", "decide", "longest step", "commit"
    );
    let mut before: Option<(u32, [Duration; 3])> = None;
    for builds in [3_125, 12_500, 50_000] {
        let took = measure(builds)?;
        for (case, (name, took)) in ["new", "joined", "replaced"].into_iter().zip(&took).enumerate() {
            let each = |took: Duration, builds: u32| took.as_secs_f64() / f64::from(builds);
            let ratio = before.as_ref().map(|(size, all)| each(took.decide, builds) / each(all[case], *size));
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            println!(
                "{builds:>8}  {name:<9} {:>10.1?} {:>10.1?} {:>12.1?} {:>10.1?}  {ratio}",
                took.load, took.decide, took.longest, took.commit
            );
        }
        before = Some((builds, took.map(|took| took.decide)));
    }
    Ok(())
}
