//! From the plan of a world to the end of its event: what could not be looked up is a failed build
//! of the event, what is built on it fails with it, and all else is built, parents first.

use crate::services::{Services, Teller, Telling};
use crate::world::World;
use crate::{laws, named, seeds};
use async_trait::async_trait;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use freshmaker::memory::{MemoryBuildSystem, MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{BuildRecord, BuildState, EventRecord, EventState};
use freshmaker::{ArtifactGraph, Engine, Plan};
use freshmaker_redhat::messages::errata::AdvisoryStatusChanged;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Decides what was decided before.
#[derive(Clone, Debug)]
struct Decided(Plan);

#[async_trait]
impl Handler<AdvisoryStatusChanged> for Decided {
    async fn handle(&self, _: AdvisoryStatusChanged, _: Context) -> HandlerResult {
        Ok(Decision::Rebuild(self.0.clone()))
    }
}

/// What became of the event, of its builds, and the submitted artifacts in their order.
pub(crate) struct Outcome {
    event: EventRecord,
    pub(crate) builds: BTreeMap<String, BuildRecord>,
    pub(crate) submitted: Vec<String>,
}

pub(crate) async fn carry_out(plan: &Plan) -> Outcome {
    let system = Arc::new(MemoryBuildSystem::new());
    let engine = Engine::builder()
        .storage(Arc::new(MemoryStorage::new()))
        .catalog("none", Arc::new(MemoryCatalog::new(ArtifactGraph::new())))
        .build_system("koji", system.clone())
        .on(Decided(plan.clone()))
        .build()
        .unwrap();
    let client = engine.client();
    let shipped = serde_json::json!({ "errata_id": 28484, "to": "SHIPPED_LIVE" });
    client.send(&serde_json::from_value::<AdvisoryStatusChanged>(shipped).unwrap()).await.unwrap();
    engine.run_until(client.wait_until_idle()).await.unwrap();
    assert_eq!(client.check_consistency().await.unwrap(), []);
    let event = client.events(EventFilter::default(), Paging::first(1)).await.unwrap().items.remove(0);
    let builds = client.builds(BuildFilter::default(), Paging::first(1_000)).await.unwrap().items;
    let builds = builds.into_iter().map(|build| (build.key.artifact.to_string(), build)).collect();
    let submitted = system.requests().iter().map(|request| request.artifact.to_string()).collect();
    Outcome { event, builds, submitted }
}

#[test]
fn what_cannot_be_looked_up_fails_and_the_rest_is_built() {
    let real = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut failures = 0;
    let seeds = seeds(0..8);
    for seed in seeds.clone() {
        let world = World::random(seed);
        let plan =
            real.block_on(async { Services::start(&world, Telling::plain(Teller::Lightblue)).await.plan().await });
        assert_eq!(laws::broken(&world, &plan), [] as [String; 0], "{}", named(seed));
        let virtual_time =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outcome = virtual_time.block_on(carry_out(&plan));
        holds(seed, &plan, &outcome);
        failures += usize::try_from(outcome.event.builds_failed).unwrap();
    }
    let few = seeds.end - seeds.start < 8;
    assert!(few || failures > 2, "hardly anything fails: {failures}");
}

fn holds(seed: u64, plan: &Plan, outcome: &Outcome) {
    let seed = named(seed);
    for node in plan.nodes() {
        let nvr = node.artifact.id.as_str();
        let build = outcome.builds.get(nvr).unwrap_or_else(|| panic!("{seed}: no build of {nvr}"));
        let (state, text) = match &node.impediment {
            Some(why) => (BuildState::Failed, Some(&why.text)),
            None => (BuildState::Done, None),
        };
        assert_eq!(build.state, state, "{seed}: {nvr}: {}", build.reason);
        assert!(text.is_none_or(|text| build.reason.text == *text), "{seed}: {nvr}: {:?}", build.reason);
        let at = |nvr: &str| outcome.submitted.iter().position(|other| other == nvr);
        let times = outcome.submitted.iter().filter(|other| *other == nvr).count();
        assert_eq!(times, usize::from(node.impediment.is_none()), "{seed}: {nvr} was submitted {times} times");
        for parent in plan.needs(node) {
            let id = parent.artifact.id.as_str();
            assert!(at(id) < at(nvr), "{seed}: {nvr} was submitted before {id}");
        }
    }
    let impeded = plan.nodes().filter(|node| node.impediment.is_some()).count();
    assert_eq!(outcome.builds.len(), plan.len(), "{seed}");
    assert_eq!(usize::try_from(outcome.event.builds_failed).unwrap(), impeded, "{seed}");
    let state = if plan.is_empty() { EventState::Skipped } else { EventState::Complete };
    assert!([state, EventState::Failed].contains(&outcome.event.state), "{seed}: {:?}", outcome.event);
}
