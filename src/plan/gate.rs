//! Whether a person has to confirm a plan before it is started.
//!
//! The limit is `ask_above` of the policy. `engine::decision` asks, and refuses plans above
//! `Limits::plan_builds_max` without asking anybody.

use super::Plan;
use crate::artifact::Digest;
use crate::policy::Policy;
use serde::Serialize;
use std::fmt;

/// Whether a plan may be started, or a person has to confirm it first: the answer of
/// [`Plan::gate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// It may be started.
    Open,
    /// It is so large that a person has to confirm it.
    Ask(Ask),
}

/// The question to a person. As text it is a sentence.
///
/// *Invariant:* `builds` is larger than `limit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ask {
    /// How many builds the plan has.
    pub builds: usize,
    /// How many builds a plan may have without a confirmation.
    pub limit: u32,
    /// The hash of the plan that is to be confirmed.
    pub plan: Digest,
}

impl Plan {
    /// Returns whether the plan may be started under this policy. `confirmed` is the
    /// [hash](Self::hash) of the plan that a person has confirmed: if it is the hash of this plan,
    /// the plan may be started, however large it is.
    ///
    /// ```
    /// use freshmaker::plan::Gate;
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Policy};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
    /// let plan = graph.planner().rebuild("app").plan()?;
    ///
    /// let policy = Policy::allow_all().with_ask_above(0);
    /// let Gate::Ask(ask) = plan.gate(&policy, None) else { panic!("one is more than none") };
    /// assert_eq!(plan.gate(&policy, Some(&ask.plan)), Gate::Open);
    /// assert_eq!(plan.gate(&Policy::allow_all(), None), Gate::Open);
    /// # Ok::<(), freshmaker::plan::PlanError>(())
    /// ```
    #[must_use]
    pub fn gate(&self, policy: &Policy, confirmed: Option<&Digest>) -> Gate {
        match policy.ask_above().filter(|limit| self.len() > *limit as usize) {
            Some(limit) if confirmed != Some(&self.hash()) => {
                Gate::Ask(Ask { builds: self.len(), limit, plan: self.hash() })
            }
            _ => Gate::Open,
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { builds, limit, plan } = self;
        write!(
            f,
            "the plan has {builds} builds, more than the {limit} that are started unasked; confirm plan {plan} to start it"
        )
    }
}
