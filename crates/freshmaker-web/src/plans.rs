//! A cache of plans by their hashes. A plan never changes, so a cached plan is never outdated.

use crate::problem::{Problem, ProblemCode};
use crate::web::Web;
use freshmaker::Plan;
use freshmaker::artifact::Digest;
use freshmaker::rebuild::{EventId, EventRecord};
use std::sync::{Arc, Mutex, PoisonError};

/// Builds and exclusions of all plans that are kept, which bounds the memory to some 100 MB.
const ROWS_MAX: usize = 100_000;

/// The plans that were asked for last, the latest at the end.
#[derive(Debug, Default)]
pub(crate) struct PlanCache {
    plans: Mutex<Vec<(Digest, usize, Arc<Plan>)>>,
}

impl PlanCache {
    fn get(&self, hash: &Digest) -> Option<Arc<Plan>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let place = plans.iter().position(|(known, ..)| known == hash)?;
        let found = plans.remove(place);
        let plan = Arc::clone(&found.2);
        plans.push(found);
        Some(plan)
    }

    fn put(&self, hash: Digest, plan: &Arc<Plan>) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|(known, ..)| *known != hash);
        plans.push((hash, plan.len() + plan.exclusions().count(), Arc::clone(plan)));
        while plans.len() > 1 && plans.iter().map(|(_, rows, _)| rows).sum::<usize>() > ROWS_MAX {
            plans.remove(0);
        }
    }
}

impl Web {
    /// The plan that an event follows; `None` if its handler gave none.
    pub(crate) async fn plan_of_event(&self, event: &EventRecord) -> Result<Option<Arc<Plan>>, Problem> {
        let Some(hash) = &event.plan else { return Ok(None) };
        if let Some(plan) = self.plans().get(hash) {
            return Ok(Some(plan));
        }
        let Some(plan) = self.ask(self.client().plan(event.id)).await?.map(Arc::new) else { return Ok(None) };
        self.plans().put(hash.clone(), &plan);
        Ok(Some(plan))
    }

    /// The plan that the event with this number follows.
    ///
    /// # Errors
    /// If there is no such event, or it has no plan.
    pub(crate) async fn plan_of(&self, id: i64) -> Result<Arc<Plan>, Problem> {
        let event = self.ask(self.client().event(EventId(id))).await?;
        let none = || Problem::new(ProblemCode::NotFound, format!("event {id} has no plan: its handler gave none"));
        self.plan_of_event(&event).await?.ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker::{Artifact, ArtifactGraph, ArtifactKind};

    fn plan(builds: usize) -> Arc<Plan> {
        let names = (0..builds).map(|number| format!("app-{number}"));
        let graph = names.clone().map(|name| Artifact::new(name, ArtifactKind::Image).with_source("app/", None));
        let graph = ArtifactGraph::of(graph, []).unwrap();
        let planner = names.fold(graph.planner(), |planner, name| planner.rebuild(name));
        Arc::new(planner.plan().unwrap())
    }

    #[test]
    fn what_was_used_last_stays() {
        let cache = PlanCache::default();
        let (large, small) = (plan(ROWS_MAX / 2 + 1), plan(1));
        let [first, second, third] = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
        cache.put(first.clone(), &large);
        cache.put(second.clone(), &small);
        assert!(cache.get(&first).is_some());
        cache.put(third.clone(), &large);
        assert!(cache.get(&first).is_none() && cache.get(&third).is_some(), "two large ones have no room");
        cache.put(third.clone(), &large);
        assert_eq!(cache.plans.lock().unwrap().len(), 1, "a plan is there once");
    }
}
