//! Admission: turns the decision of a handler into rows.
//!
//! Reads the rows of `Scope::Keys`: the open builds of the plan's keys, and every open build that
//! is connected to one of them over dependencies. Writes one event, its plan, new builds, causes
//! and dependencies; changes builds that are joined, and the priority of builds that they wait for.
//!
//! Admission has five steps. A refusal in step 1 or 3 undoes all of them.
//!
//! 1. *Place.* For each node of the plan, the next build of its key is joined if it can be; else
//!    the current one; else a new build is created. A new build becomes the next build of its key,
//!    and waits for the current one, if there is a current one.
//! 2. *Connect.* Each build waits for the builds of the parents that the plan rebuilds before it.
//!    A next build also waits for those of its parents that the current build of its key needs.
//! 3. *Check for cycles.* If unsatisfied dependencies now form a cycle, the plan is refused.
//! 4. *Hasten.* What the event waits for gets a position that is at least as early.
//! 5. *Fail.* New builds of which the plan knows that they cannot be built end as failed, and what
//!    waits for them fails too.
//!
//! Example: `base` 1 is running, and `app` 2 waits for it. A new event wants both.
//!
//! ```text
//! base   1 is running and cannot be joined: 10 is created as next build, and waits for 1 (After)
//! app    2 has not started and is joined: event 2 becomes its second cause
//! then   2 needs 10 as well: 1 -> 10 -> 2 and 1 -> 2, no cycle
//! ```
//!
//! *Invariant:* a build key has at most one current and one next build that have not ended.
//! *Invariant:* unsatisfied dependencies form no cycle. *Invariant:* a refused plan changes
//! nothing.
//!
//! Two decisions at the same time: a joined build gets a new version, and so does a build that
//! something new waits for; two decisions that change the same build therefore conflict. Two new
//! builds of one key and slot conflict by the uniqueness that the storage checks. Dependencies
//! between rows that neither decision shares are covered by the version of all edges: a commit that
//! adds an unsatisfied dependency fails if any other was added since the rows were loaded.
//!
//! Cost: for n nodes in the plan and b loaded builds with e dependencies, O(b log b) to index the
//! loaded builds by key, O(n log n) to place, and O(e log e) to check for cycles. `Admitting` does
//! it step by step, so that nothing else of the process stands still meanwhile.

use super::admitting::Admitting;
use super::neighbourhood::Rebuild;
use super::record::{BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, Dependency, DependencyKind, EventId};
use super::schedule::{Entry, QueuePositions};
use super::state::BuildState;
use crate::artifact::ArtifactId;
use crate::event::Envelope;
use crate::plan::{Plan, PlanNode};
use crate::reason::Reason;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A decision of a handler about to become rows: one new event and, if it rebuilds something, its
/// builds.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// Number of the new event.
    pub event: EventId,
    /// The first of as many unused build numbers as the plan has nodes.
    pub first_build: BuildId,
    /// Source of the message that brought it.
    pub source: String,
    /// Identity of that message.
    pub message_id: String,
    /// The handler that decided.
    pub handler: String,
    /// 1, or one more than that of the event that this one retries.
    pub generation: u32,
    /// The event that this one retries.
    pub retry_of: Option<EventId>,
    /// What came in.
    pub envelope: Envelope,
    /// Whether builds are real.
    pub mode: BuildMode,
    /// The queues in which the builds get their positions.
    pub queues: QueuePositions,
    /// What was decided.
    pub outcome: Outcome,
}

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// These builds; which system builds each node is named.
    Build {
        /// The plan.
        plan: Box<Plan>,
        /// The registered build system of each node.
        systems: BTreeMap<ArtifactId, String>,
    },
    /// Nothing before a person has confirmed this plan: the event is skipped for this reason, and
    /// the plan is kept to be looked at.
    Ask {
        /// The plan.
        plan: Box<Plan>,
        /// What is asked.
        reason: Reason,
    },
    /// Nothing, for this reason: the event is skipped.
    Skip(Reason),
    /// Nothing, because deciding failed for good.
    Fail(Reason),
}

impl Outcome {
    /// Returns the plan that is stored with the event, also for a plan that waits to be confirmed.
    pub(super) fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Build { plan, .. } | Self::Ask { plan, .. } => Some(plan),
            Self::Skip(_) | Self::Fail(_) => None,
        }
    }

    /// Returns the plan whose builds are to be made.
    pub(crate) fn to_be_built(&self) -> Option<&Plan> {
        match self {
            Self::Build { plan, .. } => Some(plan),
            Self::Ask { .. } | Self::Skip(_) | Self::Fail(_) => None,
        }
    }

    /// Returns how many builds are created at most: the number of nodes of a plan that is built,
    /// and zero otherwise. Builds that are joined are not created.
    #[must_use]
    pub fn builds(&self) -> usize {
        match self {
            Self::Build { plan, .. } => plan.len(),
            Self::Ask { .. } | Self::Skip(_) | Self::Fail(_) => 0,
        }
    }
}

/// The plan cannot be admitted now: builds would wait for each other, or a build key has a next
/// build already that cannot be shared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has to wait for the end of builds under way: {}", .builds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct NotAdmitted {
    /// Builds under way that must end first.
    pub builds: Vec<BuildId>,
}

impl Admission {
    /// Returns the keys of the plan's builds, to be loaded with
    /// [`Scope::Keys`](crate::backend::Scope::Keys) before [`Rebuild::admit`].
    ///
    /// The list is empty if nothing is built.
    #[must_use]
    pub fn keys(&self) -> Vec<BuildKey> {
        match &self.outcome {
            Outcome::Build { plan, .. } => plan.nodes().filter_map(|node| self.key(node)).collect(),
            Outcome::Ask { .. } | Outcome::Skip(_) | Outcome::Fail(_) => Vec::new(),
        }
    }

    /// Returns the numbers that new builds of this decision have.
    pub(super) fn numbers(&self) -> std::ops::Range<i64> {
        let BuildId(first) = self.first_build;
        first..first.saturating_add(i64::try_from(self.outcome.builds()).unwrap_or(i64::MAX))
    }

    /// Returns the build key of a node. `None` if nothing is to be built, or if no build system is
    /// named for the node.
    pub(super) fn key(&self, node: &PlanNode) -> Option<BuildKey> {
        let Outcome::Build { systems, .. } = &self.outcome else { return None };
        Some(BuildKey {
            system: systems.get(&node.artifact.id)?.clone(),
            artifact: node.artifact.id.clone(),
            target: node.artifact.target.clone(),
            mode: self.mode,
        })
    }

    /// Returns the priorities that follow from the positions of these nodes, in their order.
    ///
    /// The positions of all nodes are assigned together, so that the builds of the event follow
    /// each other by rank and not by name.
    pub(super) fn priorities(&self, nodes: &[(&PlanNode, BuildKey)]) -> Vec<i64> {
        let entries =
            nodes.iter().map(|(node, key)| Entry { system: &key.system, rank: node.rank, estimate: node.estimate });
        self.queues.enqueue(self.envelope.severity, &entries.collect::<Vec<_>>())
    }
}

impl Rebuild {
    /// Turns a decision into rows: an event and, if something is to be built, its builds.
    ///
    /// A build that has not started is joined if the parameters unite. For a build that has
    /// started, one next build is created, which waits for its end. An event that builds nothing is
    /// stored in a final state, with the reason; an empty plan is stored as skipped.
    ///
    /// Several decisions about one message can be admitted one after another. Each sees the rows of
    /// the earlier ones.
    ///
    /// # Errors
    /// [`NotAdmitted`] if the plan has to wait for builds under way; then nothing was changed.
    pub fn admit(&mut self, admission: &Admission) -> Result<(), NotAdmitted> {
        let mut admitting = self.admitting(admission);
        loop {
            if let ControlFlow::Break(done) = admitting.step(usize::MAX) {
                return done;
            }
        }
    }

    /// Begins to do what [`admit`](Self::admit) does, step by step. If it is dropped before it is
    /// complete, the decision is of no use any more.
    pub fn admitting<'a>(&'a mut self, admission: &'a Admission) -> Admitting<'a> {
        Admitting::new(self, admission)
    }

    /// Returns the build of this key and slot that has not ended. There is at most one.
    ///
    /// Takes time linear in the number of loaded builds.
    pub(super) fn waiting_or_running(&self, key: &BuildKey, slot: BuildSlot) -> Option<BuildId> {
        let mut builds = self.now.builds.values().rev();
        builds.find(|build| build.key == *key && build.slot == slot && !build.state.is_terminal()).map(|build| build.id)
    }

    /// Adds the requirements of a node to a build that has not started.
    ///
    /// Parameters unite, demands are added, the stronger reason and the earlier position win. The
    /// recipe and the data of parents are those of the node; parents that only the build has are
    /// kept. `asked` is never reset.
    ///
    /// Returns `false`, and changes nothing, if the build has started or ended, or if one build
    /// cannot have both sets of parameters.
    pub(super) fn try_join(&mut self, id: BuildId, node: &PlanNode, priority: i64) -> bool {
        let Some(build) = self.now.builds.get_mut(&id) else { return false };
        let queued = build.state.is_queued();
        // How it is built is known from the event that it waits for already.
        let known = node.impediment.is_some();
        let parameters =
            if known { Ok(build.parameters.clone()) } else { build.parameters.unite(&node.artifact.parameters) };
        let Some(parameters) = parameters.ok().filter(|_| queued) else {
            return false;
        };
        build.parameters = parameters;
        if !known {
            build.source.clone_from(&node.artifact.source);
        }
        build.because = build.because.max(node.reason);
        build.asked |= node.asked.is_some();
        build.demands.extend(node.demands.iter().cloned());
        build.priority = build.priority.max(priority);
        for parent in &node.parents {
            match build.parents.iter_mut().find(|known| known.id == parent.id) {
                Some(known) => *known = parent.clone(),
                None => build.parents.push(parent.clone()),
            }
        }
        build.parents.sort_by(|a, b| a.id.cmp(&b.id));
        true
    }

    /// Creates the build of a node. With `after` it is the next build of its key: `Blocked`, and
    /// waiting for the end of `after`, however that ends. Else it is the current one, and `Ready`
    /// until something makes it wait.
    pub(super) fn create(
        &mut self,
        id: BuildId,
        key: BuildKey,
        node: &PlanNode,
        priority: i64,
        after: Option<BuildId>,
    ) {
        let slot = if after.is_some() { BuildSlot::Successor } else { BuildSlot::Current };
        self.add_build(BuildRecord {
            id,
            version: 1,
            state: if after.is_some() { BuildState::Blocked } else { BuildState::Ready },
            key,
            slot,
            kind: node.artifact.kind,
            source: node.artifact.source.clone(),
            parameters: node.artifact.parameters.clone(),
            parents: node.parents.clone(),
            demands: node.demands.clone(),
            because: node.reason,
            asked: node.asked.is_some(),
            inputs: None,
            pending: 0,
            priority,
            estimate: Some(node.estimate),
            attempts: 0,
            tries: 0,
            resubmits: 0,
            no_cache: false,
            release: None,
            not_before: None,
            reason: Reason::new("planned", "planned"),
            output: None,
            cancel_at: None,
            created_at: self.at,
            done_at: None,
        });
        if let Some(after) = after {
            self.wait(after, id, DependencyKind::After);
        }
    }

    /// Adds an unsatisfied dependency, and blocks the child if it was ready. A dependency that is
    /// there already stays as it is.
    ///
    /// *Invariant:* `pending` of a build is the number of its unsatisfied dependencies. The parent
    /// gets a new version, so that a decision which ends it at the same time conflicts with this
    /// one: else the child would wait for a build that has ended.
    pub(super) fn wait(&mut self, parent: BuildId, child: BuildId, kind: DependencyKind) {
        if self.now.dependencies.contains_key(&(parent, child)) {
            return;
        }
        self.now.dependencies.insert((parent, child), Dependency { parent, child, kind, satisfied: false });
        self.touch(parent);
        let Some(build) = self.now.builds.get_mut(&child) else { return };
        build.pending += 1;
        if build.state == BuildState::Ready {
            self.set_build(child, BuildState::Blocked, Reason::new("blocked", "it waits for other builds"));
        }
    }
}
