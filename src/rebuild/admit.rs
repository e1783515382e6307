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
//! between rows that neither decision shares are covered by the count of edges: a commit that adds
//! an unsatisfied dependency fails if any other was added since the rows were loaded.
//!
//! Cost: for n nodes in the plan and b loaded builds with e dependencies, O(b) to index the loaded
//! builds by key, O(n log n) to place, and O(e log e) to check for cycles.

use super::history::Actor;
use super::neighbourhood::Rebuild;
use super::record::{
    BuildId, BuildKey, BuildMode, BuildRecord, BuildSlot, Cause, Dependency, DependencyKind, EventId, EventRecord,
};
use super::schedule::{Entry, QueuePositions};
use super::state::{BuildState, EventState};
use crate::artifact::ArtifactId;
use crate::event::Envelope;
use crate::graph::KeyedGraph;
use crate::plan::{Plan, PlanNode};
use crate::reason::Reason;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

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
    /// Nothing before somebody has confirmed this plan: the event is skipped for this reason, and
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
    fn plan(&self) -> Option<&Plan> {
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

/// The builds of a key that have not ended: there is at most one in each slot.
#[derive(Clone, Copy, Debug, Default)]
struct OpenBuilds {
    current: Option<BuildId>,
    successor: Option<BuildId>,
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
    fn numbers(&self) -> std::ops::Range<i64> {
        let BuildId(first) = self.first_build;
        first..first.saturating_add(i64::try_from(self.outcome.builds()).unwrap_or(i64::MAX))
    }

    /// Returns the build key of a node. `None` if nothing is to be built, or if no build system is
    /// named for the node.
    fn key(&self, node: &PlanNode) -> Option<BuildKey> {
        let Outcome::Build { systems, .. } = &self.outcome else { return None };
        Some(BuildKey {
            system: systems.get(&node.artifact.id)?.clone(),
            artifact: node.artifact.id.clone(),
            target: node.artifact.target.clone(),
            mode: self.mode,
        })
    }

    /// Returns the nodes of the plan that have a build system, each with its key and the priority
    /// that follows from its position.
    ///
    /// The positions of all nodes are assigned together, so that the builds of the event follow
    /// each other by rank and not by name.
    fn queue<'a>(&self, plan: &'a Plan) -> Vec<(&'a PlanNode, BuildKey, i64)> {
        let nodes: Vec<_> = plan.nodes().filter_map(|node| Some((node, self.key(node)?))).collect();
        let entries =
            nodes.iter().map(|(node, key)| Entry { system: &key.system, rank: node.rank, estimate: node.estimate });
        let priorities = self.queues.enqueue(self.envelope.severity, &entries.collect::<Vec<_>>());
        nodes.into_iter().zip(priorities).map(|((node, key), priority)| (node, key, priority)).collect()
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
        let (state, reason) = match &admission.outcome {
            Outcome::Skip(reason) | Outcome::Ask { reason, .. } => (EventState::Skipped, reason.clone()),
            Outcome::Fail(reason) => (EventState::Failed, reason.clone()),
            Outcome::Build { plan, .. } if plan.is_empty() => {
                (EventState::Skipped, Reason::new("nothing_to_rebuild", "nothing that depends on it may be rebuilt"))
            }
            Outcome::Build { plan, .. } => {
                (EventState::Building, Reason::new("planned", format!("planned: {} to build", plan.len())))
            }
        };
        self.actor = Actor::Handler(admission.handler.clone());
        let before = self.savepoint();
        self.add_event(EventRecord {
            id: admission.event,
            version: 1,
            state,
            source: admission.source.clone(),
            message_id: admission.message_id.clone(),
            handler: admission.handler.clone(),
            generation: admission.generation,
            retry_of: admission.retry_of,
            envelope: admission.envelope.clone(),
            mode: admission.mode,
            reason,
            plan: admission.outcome.plan().map(Plan::hash),
            builds_open: 0,
            builds_done: 0,
            builds_failed: 0,
            cancel_at: None,
            created_at: self.at,
            done_at: state.is_terminal().then_some(self.at),
        });
        if let Outcome::Build { plan, .. } = &admission.outcome {
            let joined =
                match self.place(admission, plan).and_then(|placed| self.connect(plan, &placed).map(|()| placed)) {
                    Ok(placed) => {
                        self.hasten(&admission.queues, &placed);
                        placed
                    }
                    Err(refused) => {
                        self.roll_back(before);
                        return Err(refused);
                    }
                };
            if let Some(event) = self.now.events.get_mut(&admission.event) {
                event.builds_open = u32::try_from(joined.len()).unwrap_or(u32::MAX);
            }
            self.fail_impeded(admission, plan, &joined);
        }
        if let Some(plan) = admission.outcome.plan() {
            self.plans.push((admission.event, plan.clone()));
        }
        Ok(())
    }

    /// Ends the new builds that cannot be built, and what waits for them. A build that was joined
    /// goes on: whoever asked for it before knows how it is built.
    fn fail_impeded(&mut self, admission: &Admission, plan: &Plan, placed: &BTreeMap<ArtifactId, BuildId>) {
        let new = |build: &&BuildId| admission.numbers().contains(&build.0);
        for node in plan.nodes() {
            let build = placed.get(&node.artifact.id).filter(new);
            if let (Some(why), Some(build)) = (&node.impediment, build)
                && self.now.builds.get(build).is_some_and(|build| !build.state.is_terminal())
            {
                self.fail(*build, why.clone());
            }
        }
    }

    /// Finds or creates the build of each node, and makes the event a cause of it.
    ///
    /// The next build is tried before the current one, because the current one may have started. If
    /// neither can be joined and there is a next build already, the plan is refused: a third build
    /// of the key has no slot. If there is only a current build, a next build is created behind it.
    ///
    /// # Errors
    /// [`NotAdmitted`] with the next build whose parameters do not unite with those of the node.
    fn place(&mut self, admission: &Admission, plan: &Plan) -> Result<BTreeMap<ArtifactId, BuildId>, NotAdmitted> {
        let mut placed = BTreeMap::new();
        let mut unused = admission.first_build;
        // A plan has each key once, so that what it creates is not looked for.
        let open = self.open_builds();
        for (node, key, priority) in admission.queue(plan) {
            let OpenBuilds { current, successor } = open.get(&key).copied().unwrap_or_default();
            let joinable = [successor, current].into_iter().flatten().find(|id| self.try_join(*id, node, priority));
            let build = match (joinable, successor) {
                (Some(build), _) => build,
                // The next build is promised to others with other parameters: there is no place for
                // a third.
                (None, Some(successor)) => return Err(NotAdmitted { builds: vec![successor] }),
                (None, None) => {
                    let id = unused;
                    unused = BuildId(unused.0 + 1);
                    self.create(id, key, node, priority, current);
                    id
                }
            };
            self.touch(build);
            self.now.causes.entry((build, admission.event)).or_insert_with(|| Cause {
                build,
                event: admission.event,
                because: node.because.clone(),
                live: true,
            });
            placed.insert(node.artifact.id.clone(), build);
        }
        Ok(placed)
    }

    /// Returns the builds that have not ended, by key. Takes time linear in the number of loaded
    /// builds.
    fn open_builds(&self) -> BTreeMap<BuildKey, OpenBuilds> {
        let mut open: BTreeMap<BuildKey, OpenBuilds> = BTreeMap::new();
        for build in self.now.builds.values().filter(|build| !build.state.is_terminal()) {
            let of_key = open.entry(build.key.clone()).or_default();
            match build.slot {
                BuildSlot::Current => of_key.current = Some(build.id),
                BuildSlot::Successor => of_key.successor = Some(build.id),
            }
        }
        open
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
    fn try_join(&mut self, id: BuildId, node: &PlanNode, priority: i64) -> bool {
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
    fn create(&mut self, id: BuildId, key: BuildKey, node: &PlanNode, priority: i64, after: Option<BuildId>) {
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

    /// Makes each build wait for those of its parents that the plan rebuilds before it, and refuses
    /// the plan if builds then wait for each other.
    ///
    /// # Errors
    /// [`NotAdmitted`] with the builds of the cycles.
    fn connect(&mut self, plan: &Plan, placed: &BTreeMap<ArtifactId, BuildId>) -> Result<(), NotAdmitted> {
        for node in plan.nodes() {
            let Some(&child) = placed.get(&node.artifact.id) else { continue };
            for parent in plan.needs(node) {
                if let Some(&parent) = placed.get(&parent.artifact.id) {
                    self.wait(parent, child, DependencyKind::Needs);
                }
            }
        }
        self.wait_as_in_front();
        self.refuse_cycles(&placed.values().copied().collect())
    }

    /// Makes each next build wait for those of its parents that the current build of its key still
    /// needs.
    ///
    /// Their contents will be newer than the ones that its plan knows: a next build that was made
    /// of the latter would take back what the current build brings.
    ///
    /// Example: `base` 1 is running, and `app` 2 waits for it. A new event wants `app` alone, with
    /// other parameters.
    ///
    /// ```text
    /// 3 is the next build of app     it waits for 2 (After), and for 1 (Needs)
    /// ```
    ///
    /// Takes time linear in the number of loaded dependencies.
    fn wait_as_in_front(&mut self) {
        let unsatisfied = |kind| move |edge: &&Dependency| !edge.satisfied && edge.kind == kind;
        let behind = self.now.dependencies.values().filter(unsatisfied(DependencyKind::After));
        let behind: BTreeMap<BuildId, BuildId> = behind.map(|edge| (edge.parent, edge.child)).collect();
        if behind.is_empty() {
            return;
        }
        let needed = self.now.dependencies.values().filter(unsatisfied(DependencyKind::Needs));
        let needed = needed.filter_map(|edge| Some((edge.parent, *behind.get(&edge.child)?)));
        let is_parent = |(parent, next): &(BuildId, BuildId)| {
            let artifact = self.now.builds.get(parent).map(|parent| &parent.key.artifact);
            let next = self.now.builds.get(next).into_iter();
            next.flat_map(|next| &next.parents).any(|parent| Some(&parent.id) == artifact)
        };
        for (parent, next) in needed.filter(is_parent).collect::<Vec<_>>() {
            self.wait(parent, next, DependencyKind::Needs);
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

    /// Moves the builds that the event waits for, directly or indirectly, to positions at least as
    /// early as its own.
    ///
    /// A build that was joined brings its own parents, which the event did not plan and which
    /// another, less urgent event may have placed far behind. The search is that of Dijkstra:
    /// builds are taken from a heap by their distance behind the current position of their queue,
    /// the least distance first, and each queued parent with a larger distance gets the distance of
    /// its child. Distances and not priorities are compared, because parent and child may be in
    /// queues of different build systems. A build that has started is not moved. The search goes
    /// no further from it, nor from a parent that is early enough.
    ///
    /// *Invariant:* a build never moves back in its queue.
    ///
    /// Cost: O((b + e) log b) for b loaded builds and e dependencies. Nothing is done if no build
    /// was loaded, because then the event waits for nothing but its own builds.
    ///
    /// Example: `app` waits for `lib`, and `lib` for `base`; an urgent event joins `app`.
    ///
    /// ```text
    /// distance before   app 5    lib 40   base 3
    /// distance after    app 5    lib 5    base 3     base is early enough and stays
    /// ```
    fn hasten(&mut self, queues: &QueuePositions, placed: &BTreeMap<ArtifactId, BuildId>) {
        if self.loaded.builds.is_empty() {
            return;
        }
        let mut parents: BTreeMap<BuildId, Vec<BuildId>> = BTreeMap::new();
        for edge in self.now.dependencies.values().filter(|edge| !edge.satisfied) {
            parents.entry(edge.child).or_default().push(edge.parent);
        }
        let behind = |build: &BuildRecord| queues.behind(&build.key.system, build.priority);
        let placed = placed.values().filter_map(|id| self.now.builds.get(id));
        // The foremost first, so that each build is moved once.
        let mut open: BinaryHeap<_> = placed.map(|build| Reverse((behind(build), build.id))).collect();
        while let Some(Reverse((wanted, child))) = open.pop() {
            for parent in parents.remove(&child).into_iter().flatten() {
                let Some(parent) = self.now.builds.get_mut(&parent) else { continue };
                if parent.state.is_queued() && wanted < behind(parent) {
                    parent.priority = queues.priority(&parent.key.system, wanted);
                    open.push(Reverse((wanted, parent.id)));
                }
            }
        }
    }

    /// Refuses the plan if unsatisfied dependencies form a cycle.
    ///
    /// All loaded builds are looked at, not only those of the plan: a plan without a cycle can
    /// close one together with what waits already. Named are the members that are under way,
    /// because their end dissolves the cycle; if there are none, all members.
    ///
    /// Example: build 1 (`a`) waits for build 2 (`b`), planned when `a` was built from `b`. Since
    /// then the recipes have changed, and a new plan joins both and makes `b` wait for `a`: 1 and 2
    /// are named, and the message is handled again, with a delay, until they have ended.
    ///
    /// Cost: that of Tarjan's algorithm and of sorting the e dependencies, O(e log e).
    fn refuse_cycles(&self, ours: &BTreeSet<BuildId>) -> Result<(), NotAdmitted> {
        let waits = self.now.dependencies.values().filter(|edge| !edge.satisfied);
        let graph = KeyedGraph::new([], waits.map(|edge| (edge.parent, edge.child)));
        let mut members: Vec<BuildId> = graph.cycles().into_iter().flatten().collect();
        members.sort_unstable();
        if members.is_empty() {
            return Ok(());
        }
        let under_way = |id: &BuildId| self.loaded.builds.contains_key(id) || !ours.contains(id);
        let builds: Vec<_> = members.iter().copied().filter(under_way).collect();
        // Two decisions about one message can contradict each other without any build under way.
        Err(NotAdmitted { builds: if builds.is_empty() { members } else { builds } })
    }
}
