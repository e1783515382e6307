use super::{Context, Decision, HandlerResult};
use crate::artifact::ArtifactId;
use crate::event::Event;
use serde::{Deserialize, Serialize};

/// Somebody asks for artifacts to be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildRequested {
    /// The artifacts, as people write them.
    pub artifacts: Vec<String>,
    /// Whether what depends on them follows.
    #[serde(default = "yes")]
    pub dependents: bool,
    /// Who asks.
    #[serde(default)]
    pub requester: Option<String>,
}

fn yes() -> bool {
    true
}

impl Event for RebuildRequested {
    const KIND: &'static str = "rebuild.requested";

    fn search_key(&self) -> Option<String> {
        self.artifacts.first().cloned()
    }

    fn manual(&self) -> bool {
        true
    }

    fn requester(&self) -> Option<String> {
        self.requester.clone()
    }
}

/// Rebuilds what was asked for.
///
/// # Errors
/// Those of the catalog, and [`PlanError`](crate::plan::PlanError).
pub async fn rebuild_requested(event: RebuildRequested, cx: Context) -> HandlerResult {
    if event.artifacts.is_empty() {
        return Ok(Decision::Skip("the request names no artifact".into()));
    }
    let artifacts: Vec<_> = event.artifacts.into_iter().map(ArtifactId::new).collect();
    let graph = cx.catalog().dependents(&artifacts).await?;
    let planner = cx.planner(&graph).await?.facts(cx.facts().with("manual", "true"));
    let mut planner = artifacts.into_iter().fold(planner, |planner, id| planner.rebuild(id));
    if !event.dependents {
        planner = planner.without_dependents();
    }
    Ok(Decision::Rebuild(planner.plan()?))
}
