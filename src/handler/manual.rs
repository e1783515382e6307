use super::{Context, Decision, HandlerResult};
use crate::artifact::ArtifactId;
use crate::event::Event;
use serde::{Deserialize, Serialize};

/// Says that a person asks for artifacts to be rebuilt.
///
/// Its kind is `rebuild.requested`, and its JSON form
/// `{"artifacts": ["app"], "dependents": false, "requester": "kim"}`. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildRequested {
    /// The artifacts, in any form that the catalog understands.
    pub artifacts: Vec<String>,
    /// Whether the artifacts that depend on them are rebuilt too; `true` by default.
    #[serde(default = "yes")]
    pub dependents: bool,
    /// Who asks; `None` by default.
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

/// Handles [`RebuildRequested`]: rebuilds the artifacts, and their dependents unless the request
/// says no.
///
/// Policy rules can use the fact `manual`, which is `true` here. A request without artifacts is
/// skipped.
///
/// # Errors
/// The errors of the catalog, such as an artifact that no catalog knows; the errors of the storage;
/// and [`PlanError`](crate::plan::PlanError).
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
