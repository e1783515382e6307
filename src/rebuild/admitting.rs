//! Admission in steps: the same as [`Rebuild::admit`] does in one piece, as a value that can be
//! interrupted after every row.
//!
//! Deciding on a plan of 50,000 builds takes longer than everything else that a process has to do
//! may wait. So the decision is a state machine of its own: each [`Stage`] goes over rows of one
//! sort, and hands what it has collected to the next one. What is decided does not depend on where
//! it was interrupted, because nothing else changes the rows meanwhile.
//!
//! *Invariant:* one row costs at most the logarithm of the number of rows, times its own
//! dependencies; only the positions of all builds are sorted in one piece. The exceptions are a
//! refusal, which is named and undone in one piece, and a build that fails at once, with all that
//! waits for it.

use super::admit::{Admission, NotAdmitted, Outcome};
use super::history::Actor;
use super::neighbourhood::{Rebuild, Savepoint};
use super::record::{BuildId, BuildKey, BuildRecord, BuildSlot, Cause, Dependency, DependencyKind, EventRecord};
use super::state::EventState;
use crate::artifact::{ArtifactId, Digest};
use crate::graph::KeyedGraph;
use crate::plan::{Hashing, Plan, PlanNode};
use crate::reason::Reason;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::ControlFlow;
use std::slice::Iter;
use std::vec::IntoIter;

/// A decision that becomes rows step by step; see [`Rebuild::admitting`].
#[derive(Debug)]
pub struct Admitting<'a> {
    rebuild: &'a mut Rebuild,
    admission: &'a Admission,
    savepoint: Savepoint,
    placed: BTreeMap<ArtifactId, BuildId>,
    /// The number of the next build that is created.
    unused: BuildId,
    stage: Stage<'a>,
}

/// Number of dependencies that are looked at as one row: to look at one is cheaper than to find the
/// next one again.
const EDGES_AT_ONCE: usize = 8;

/// A dependency, by its parent and its child.
type Edge = (BuildId, BuildId);

/// Where it stands. `after` is the last row that a stage has looked at.
#[derive(Debug)]
enum Stage<'a> {
    /// The hash of the plan is made.
    Hash(Hashing<'a>),
    /// Each node gets its key; after the last one all get their positions.
    Keys {
        nodes: Iter<'a, PlanNode>,
        keyed: Vec<(&'a PlanNode, BuildKey)>,
    },
    /// Builds that have not ended are found by their keys.
    Index {
        after: Option<BuildId>,
        open: BTreeMap<BuildKey, OfKey>,
        queue: Vec<Queued<'a>>,
    },
    /// Each node gets its build.
    Place {
        queue: IntoIter<Queued<'a>>,
        open: BTreeMap<BuildKey, OfKey>,
    },
    /// Each build waits for the builds of its parents.
    Connect(Iter<'a, PlanNode>),
    /// Next builds are found, each behind its current one.
    Behind {
        after: Option<Edge>,
        behind: BTreeMap<BuildId, BuildId>,
    },
    /// What the current builds need is found.
    Needed {
        after: Option<Edge>,
        behind: BTreeMap<BuildId, BuildId>,
        found: Vec<Edge>,
    },
    /// The next builds wait for that too.
    InFront(IntoIter<Edge>),
    /// It is counted how many others each build waits for.
    Count {
        after: Option<Edge>,
        waits: BTreeMap<BuildId, u32>,
    },
    /// Builds that wait for none are found.
    Roots {
        after: Option<Edge>,
        waits: BTreeMap<BuildId, u32>,
        roots: Vec<BuildId>,
    },
    /// Builds are taken away that wait for none of those that are left.
    Order {
        waits: BTreeMap<BuildId, u32>,
        roots: Vec<BuildId>,
    },
    /// Parents are found by their children.
    Parents {
        after: Option<Edge>,
        parents: BTreeMap<BuildId, Vec<BuildId>>,
    },
    /// Builds that the event waits for move to the front.
    Hasten {
        parents: BTreeMap<BuildId, Vec<BuildId>>,
        open: BinaryHeap<Reverse<(i64, BuildId)>>,
    },
    /// Builds fail that cannot be built.
    Fail(Iter<'a, PlanNode>),
    Done(Result<(), NotAdmitted>),
}

/// A node of the plan with its build key and its priority.
type Queued<'a> = (&'a PlanNode, BuildKey, i64);

/// The builds of a key that have not ended: there is at most one in each slot.
#[derive(Clone, Copy, Debug, Default)]
struct OfKey {
    current: Option<BuildId>,
    successor: Option<BuildId>,
}

impl<'a> Admitting<'a> {
    pub(super) fn new(rebuild: &'a mut Rebuild, admission: &'a Admission) -> Self {
        rebuild.actor = Actor::Handler(admission.handler.clone());
        let savepoint = rebuild.savepoint(admission.event);
        let (placed, unused) = (BTreeMap::new(), admission.first_build);
        let mut admitting = Self { rebuild, admission, savepoint, placed, unused, stage: Stage::Done(Ok(())) };
        admitting.stage = match admission.outcome.plan() {
            Some(plan) => Stage::Hash(Hashing::new(plan)),
            None => admitting.begin(None),
        };
        admitting
    }

    /// Advances by this many rows, at least one, and returns the result once it is complete.
    ///
    /// # Errors
    /// The result is that of [`Rebuild::admit`].
    pub fn step(&mut self, rows: usize) -> ControlFlow<Result<(), NotAdmitted>> {
        for _ in 0..rows.max(1) {
            let stage = std::mem::replace(&mut self.stage, Stage::Done(Ok(())));
            self.stage = self.advance(stage).unwrap_or_else(|refused| {
                self.rebuild.roll_back(&mut self.savepoint, &self.placed);
                Stage::Done(Err(refused))
            });
            if let Stage::Done(result) = &self.stage {
                return ControlFlow::Break(result.clone());
            }
        }
        ControlFlow::Continue(())
    }

    /// Does one row.
    fn advance(&mut self, stage: Stage<'a>) -> Result<Stage<'a>, NotAdmitted> {
        Ok(match stage {
            Stage::Hash(mut hashing) => match hashing.step() {
                None => Stage::Hash(hashing),
                Some(hash) => self.begin(Some(hash)),
            },
            Stage::Keys { nodes, keyed } => self.key(nodes, keyed),
            Stage::Index { after, open, queue } => self.index(after, open, queue),
            Stage::Place { mut queue, open } => match queue.next() {
                Some(queued) => {
                    self.place(queued, &open)?;
                    Stage::Place { queue, open }
                }
                None => self.nodes().map_or(Stage::Done(Ok(())), Stage::Connect),
            },
            Stage::Connect(nodes) => self.connect(nodes),
            Stage::Behind { after, behind } => self.behind(after, behind),
            Stage::Needed { after, behind, found } => self.needed(after, behind, found),
            Stage::InFront(mut found) => match found.next() {
                Some((parent, next)) => {
                    self.wait(parent, next);
                    Stage::InFront(found)
                }
                None => Stage::Count { after: None, waits: BTreeMap::new() },
            },
            Stage::Count { after, waits } => self.count(after, waits),
            Stage::Roots { after, waits, roots } => self.roots(after, waits, roots),
            Stage::Order { waits, roots } => self.order(waits, roots)?,
            Stage::Parents { after, parents } => self.parents(after, parents),
            Stage::Hasten { parents, open } => self.hasten(parents, open),
            Stage::Fail(nodes) => self.fail(nodes),
            Stage::Done(result) => Stage::Done(result),
        })
    }

    /// The plan whose builds are made.
    fn plan(&self) -> Option<&'a Plan> {
        self.admission.outcome.to_be_built()
    }

    fn nodes(&self) -> Option<Iter<'a, PlanNode>> {
        self.plan().map(Plan::in_order)
    }

    /// Adds the event.
    fn begin(&mut self, plan: Option<Digest>) -> Stage<'a> {
        let (admission, at) = (self.admission, self.rebuild.at);
        let (state, reason) = beginning(&admission.outcome);
        self.rebuild.add_event(EventRecord {
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
            plan,
            builds_open: 0,
            builds_done: 0,
            builds_failed: 0,
            cancel_at: None,
            created_at: at,
            done_at: state.is_terminal().then_some(at),
        });
        match self.nodes() {
            Some(nodes) => Stage::Keys { nodes, keyed: Vec::new() },
            None => self.end(),
        }
    }

    fn end(&mut self) -> Stage<'a> {
        if let Some(plan) = self.admission.outcome.plan() {
            self.rebuild.plans.push((self.admission.event, plan.clone()));
        }
        Stage::Done(Ok(()))
    }

    /// Gives a node its key, and after the last one all of them their priorities. Nodes without a
    /// build system have none.
    fn key(&mut self, mut nodes: Iter<'a, PlanNode>, mut keyed: Vec<(&'a PlanNode, BuildKey)>) -> Stage<'a> {
        if let Some(node) = nodes.next() {
            keyed.extend(self.admission.key(node).map(|key| (node, key)));
            return Stage::Keys { nodes, keyed };
        }
        let priorities = self.admission.priorities(&keyed);
        let queue = keyed.into_iter().zip(priorities).map(|((node, key), priority)| (node, key, priority));
        Stage::Index { after: None, open: BTreeMap::new(), queue: queue.collect() }
    }

    /// Finds the builds that have not ended, by key.
    fn index(
        &mut self,
        after: Option<BuildId>,
        mut open: BTreeMap<BuildKey, OfKey>,
        queue: Vec<Queued<'a>>,
    ) -> Stage<'a> {
        let after = after.map_or(Unbounded, Excluded);
        let Some((&id, build)) = self.rebuild.now.builds.range((after, Unbounded)).next() else {
            return Stage::Place { queue: queue.into_iter(), open };
        };
        if !build.state.is_terminal() {
            let of_key = open.entry(build.key.clone()).or_default();
            match build.slot {
                BuildSlot::Current => of_key.current = Some(id),
                BuildSlot::Successor => of_key.successor = Some(id),
            }
        }
        Stage::Index { after: Some(id), open, queue }
    }

    /// Finds or creates the build of a node, and makes the event a cause of it.
    ///
    /// The next build is tried before the current one, because the current one may have started. If
    /// neither can be joined and there is a next build already, the plan is refused: a third build
    /// of the key has no slot. If there is only a current build, a next build is created behind it.
    /// A plan has each key once, so that what it creates is not looked for.
    ///
    /// # Errors
    /// [`NotAdmitted`] with the next build whose parameters do not unite with those of the node.
    fn place(
        &mut self,
        (node, key, priority): Queued<'a>,
        open: &BTreeMap<BuildKey, OfKey>,
    ) -> Result<(), NotAdmitted> {
        let OfKey { current, successor } = open.get(&key).copied().unwrap_or_default();
        let queued = |id: &BuildId| self.rebuild.now.builds.get(id).is_some_and(|build| build.state.is_queued());
        let waiting: Vec<_> = [successor, current].into_iter().flatten().filter(queued).collect();
        let joinable = waiting.into_iter().find(|id| {
            self.savepoint.keep(self.rebuild, *id);
            self.rebuild.try_join(*id, node, priority)
        });
        let build = match (joinable, successor) {
            (Some(build), _) => build,
            // The next build is promised to others with other parameters: there is no place for a
            // third.
            (None, Some(successor)) => return Err(NotAdmitted { builds: vec![successor] }),
            (None, None) => {
                let id = self.unused;
                self.unused = BuildId(id.0 + 1);
                self.savepoint.keep(self.rebuild, id);
                if let Some(current) = current {
                    self.savepoint.keep_edge(self.rebuild, (current, id));
                }
                self.rebuild.create(id, key, node, priority, current);
                id
            }
        };
        self.rebuild.touch(build);
        let event = self.admission.event;
        self.rebuild.now.causes.entry((build, event)).or_insert_with(|| Cause {
            build,
            event,
            because: node.because.clone(),
            live: true,
        });
        self.placed.insert(node.artifact.id.clone(), build);
        Ok(())
    }

    /// Makes the build of a node wait for those of its parents that the plan rebuilds before it.
    fn connect(&mut self, mut nodes: Iter<'a, PlanNode>) -> Stage<'a> {
        let Some((node, plan)) = nodes.next().zip(self.plan()) else {
            return Stage::Behind { after: None, behind: BTreeMap::new() };
        };
        if let Some(&child) = self.placed.get(&node.artifact.id) {
            for parent in plan.needs(node) {
                if let Some(&parent) = self.placed.get(&parent.artifact.id) {
                    self.wait(parent, child);
                }
            }
        }
        Stage::Connect(nodes)
    }

    fn wait(&mut self, parent: BuildId, child: BuildId) {
        self.savepoint.keep(self.rebuild, child);
        self.savepoint.keep_edge(self.rebuild, (parent, child));
        self.rebuild.wait(parent, child, DependencyKind::Needs);
    }

    /// Returns the next dependencies, with the last of them; `None` after the last one.
    fn next_edges(&self, after: Option<Edge>) -> Option<(Edge, impl Iterator<Item = &Dependency>)> {
        let after = after.map_or(Unbounded, Excluded);
        let next = self.rebuild.now.dependencies.range((after, Unbounded)).take(EDGES_AT_ONCE);
        let last = *next.clone().last()?.0;
        Some((last, next.map(|(_, dependency)| dependency).filter(|dependency| !dependency.satisfied)))
    }

    /// Finds the next builds behind current ones.
    ///
    /// Each next build also waits for those of its parents that the current build of its key still
    /// needs. Their contents will be newer than the ones that its plan knows: a next build that was
    /// made of the latter would take back what the current build brings.
    ///
    /// Example: `base` 1 is running, and `app` 2 waits for it. A new event wants `app` alone, with
    /// other parameters.
    ///
    /// ```text
    /// 3 is the next build of app     it waits for 2 (After), and for 1 (Needs)
    /// ```
    fn behind(&mut self, after: Option<Edge>, mut behind: BTreeMap<BuildId, BuildId>) -> Stage<'a> {
        match self.next_edges(after) {
            Some((last, edges)) => {
                let edges = edges.filter(|edge| edge.kind == DependencyKind::After);
                behind.extend(edges.map(|edge| (edge.parent, edge.child)));
                Stage::Behind { after: Some(last), behind }
            }
            None if behind.is_empty() => Stage::Count { after: None, waits: BTreeMap::new() },
            None => Stage::Needed { after: None, behind, found: Vec::new() },
        }
    }

    /// Finds what the current builds need and the next builds are built from.
    fn needed(&mut self, after: Option<Edge>, behind: BTreeMap<BuildId, BuildId>, mut found: Vec<Edge>) -> Stage<'a> {
        let Some((last, edges)) = self.next_edges(after) else { return Stage::InFront(found.into_iter()) };
        let edges = edges.filter(|edge| edge.kind == DependencyKind::Needs);
        let needed = edges.filter_map(|edge| Some((edge.parent, *behind.get(&edge.child)?)));
        found.extend(needed.filter(|(parent, next)| self.is_built_from(*next, *parent)));
        Stage::Needed { after: Some(last), behind, found }
    }

    fn is_built_from(&self, build: BuildId, parent: BuildId) -> bool {
        let builds = &self.rebuild.now.builds;
        let artifact = builds.get(&parent).map(|parent| &parent.key.artifact);
        let parents = builds.get(&build).into_iter().flat_map(|build| &build.parents);
        parents.map(|parent| &parent.id).any(|id| Some(id) == artifact)
    }

    /// Counts how many others each build waits for.
    ///
    /// The plan is refused if unsatisfied dependencies form a cycle. All loaded builds are looked
    /// at, not only those of the plan: a plan without a cycle can close one together with what
    /// waits already. By Kahn's algorithm, builds that wait for none are taken away, until none is
    /// left or the others wait for each other.
    fn count(&mut self, after: Option<Edge>, mut waits: BTreeMap<BuildId, u32>) -> Stage<'a> {
        let Some((last, edges)) = self.next_edges(after) else {
            return Stage::Roots { after: None, waits, roots: Vec::new() };
        };
        edges.for_each(|edge| *waits.entry(edge.child).or_default() += 1);
        Stage::Count { after: Some(last), waits }
    }

    /// Finds the builds that wait for none.
    fn roots(&mut self, after: Option<Edge>, waits: BTreeMap<BuildId, u32>, mut roots: Vec<BuildId>) -> Stage<'a> {
        let Some((last, edges)) = self.next_edges(after) else { return Stage::Order { waits, roots } };
        for parent in edges.map(|edge| edge.parent) {
            // Dependencies are in the order of their parents.
            if roots.last() != Some(&parent) && !waits.contains_key(&parent) {
                roots.push(parent);
            }
        }
        Stage::Roots { after: Some(last), waits, roots }
    }

    /// Takes one build away that waits for none of those that are left.
    ///
    /// # Errors
    /// [`NotAdmitted`] if those that are left wait for each other.
    fn order(&mut self, mut waits: BTreeMap<BuildId, u32>, mut roots: Vec<BuildId>) -> Result<Stage<'a>, NotAdmitted> {
        let Some(root) = roots.pop() else {
            if !waits.is_empty() {
                return Err(self.cycles());
            }
            // Without builds that were there before, the event waits for nothing but its own.
            let first = self.rebuild.now.builds.keys().next();
            return Ok(if first.is_none_or(|first| *first >= self.admission.first_build) {
                self.begin_to_fail()
            } else {
                Stage::Parents { after: None, parents: BTreeMap::new() }
            });
        };
        for edge in self.rebuild.now.dependents(root).filter(|edge| !edge.satisfied) {
            if let Some(left) = waits.get_mut(&edge.child) {
                *left -= 1;
                if *left == 0 {
                    waits.remove(&edge.child);
                    roots.push(edge.child);
                }
            }
        }
        Ok(Stage::Order { waits, roots })
    }

    /// Returns why a plan is refused: the members of cycles that are under way, because their end
    /// dissolves the cycle; if there are none, all members.
    ///
    /// Example: build 1 (`a`) waits for build 2 (`b`), planned when `a` was built from `b`. Since
    /// then the recipes have changed, and a new plan joins both and makes `b` wait for `a`: 1 and 2
    /// are named, and the message is handled again, with a delay, until they have ended.
    fn cycles(&self) -> NotAdmitted {
        let waits = self.rebuild.now.dependencies.values().filter(|edge| !edge.satisfied);
        let graph = KeyedGraph::new([], waits.map(|edge| (edge.parent, edge.child)));
        let mut members: Vec<BuildId> = graph.cycles().into_iter().flatten().collect();
        members.sort_unstable();
        let ours: BTreeSet<_> = self.placed.values().collect();
        let under_way = |id: &BuildId| self.rebuild.loaded.builds.contains_key(id) || !ours.contains(id);
        let builds: Vec<_> = members.iter().copied().filter(under_way).collect();
        // Two decisions about one message can contradict each other without any build under way.
        NotAdmitted { builds: if builds.is_empty() { members } else { builds } }
    }

    /// Finds the parents of each build; after the last one, begins to move builds.
    fn parents(&mut self, after: Option<Edge>, mut parents: BTreeMap<BuildId, Vec<BuildId>>) -> Stage<'a> {
        if let Some((last, edges)) = self.next_edges(after) {
            edges.for_each(|edge| parents.entry(edge.child).or_default().push(edge.parent));
            return Stage::Parents { after: Some(last), parents };
        }
        let placed = self.placed.values().filter_map(|id| self.rebuild.now.builds.get(id));
        let open = placed.map(|build| Reverse((behind(self.admission, build), build.id))).collect();
        Stage::Hasten { parents, open }
    }

    /// Moves the parents of one build to positions at least as early as its own; in all, those of
    /// everything that the event waits for, directly or indirectly.
    ///
    /// A build that was joined brings its own parents, which the event did not plan and which
    /// another, less urgent event may have placed far behind. The search is that of Dijkstra:
    /// builds are taken from a heap by their distance behind the current position of their queue,
    /// the least distance first, and each queued parent with a larger distance gets the distance of
    /// its child. So each build is moved once. Distances and not priorities are compared, because
    /// parent and child may be in queues of different build systems. A build that has started is
    /// not moved. The search goes no further from it, nor from a parent that is early enough.
    ///
    /// *Invariant:* a build never moves back in its queue.
    ///
    /// Example: `app` waits for `lib`, and `lib` for `base`; an urgent event joins `app`.
    ///
    /// ```text
    /// distance before   app 5    lib 40   base 3
    /// distance after    app 5    lib 5    base 3     base is early enough and stays
    /// ```
    fn hasten(
        &mut self,
        mut parents: BTreeMap<BuildId, Vec<BuildId>>,
        mut open: BinaryHeap<Reverse<(i64, BuildId)>>,
    ) -> Stage<'a> {
        let Some(Reverse((wanted, child))) = open.pop() else { return self.begin_to_fail() };
        for parent in parents.remove(&child).into_iter().flatten() {
            let Some(parent) = self.rebuild.now.builds.get_mut(&parent) else { continue };
            if parent.state.is_queued() && wanted < behind(self.admission, parent) {
                parent.priority = self.admission.queues.priority(&parent.key.system, wanted);
                open.push(Reverse((wanted, parent.id)));
            }
        }
        Stage::Hasten { parents, open }
    }

    fn begin_to_fail(&mut self) -> Stage<'a> {
        if let Some(event) = self.rebuild.now.events.get_mut(&self.admission.event) {
            event.builds_open = u32::try_from(self.placed.len()).unwrap_or(u32::MAX);
        }
        self.nodes().map_or(Stage::Done(Ok(())), Stage::Fail)
    }

    /// Ends the build of a node if it is new and cannot be built, and what waits for it. A build
    /// that was joined continues: the event that planned it first knows how it is built.
    fn fail(&mut self, mut nodes: Iter<'a, PlanNode>) -> Stage<'a> {
        let Some(node) = nodes.next() else { return self.end() };
        let numbers = self.admission.numbers();
        let build = self.placed.get(&node.artifact.id).filter(|build| numbers.contains(&build.0));
        if let (Some(why), Some(build)) = (&node.impediment, build)
            && self.rebuild.now.builds.get(build).is_some_and(|build| !build.state.is_terminal())
        {
            self.rebuild.fail(*build, why.clone());
        }
        Stage::Fail(nodes)
    }
}

/// How far a build is behind the current position of its queue.
fn behind(admission: &Admission, build: &BuildRecord) -> i64 {
    admission.queues.behind(&build.key.system, build.priority)
}

/// The first state of the event, and why.
fn beginning(outcome: &Outcome) -> (EventState, Reason) {
    match outcome {
        Outcome::Skip(reason) | Outcome::Ask { reason, .. } => (EventState::Skipped, reason.clone()),
        Outcome::Fail(reason) => (EventState::Failed, reason.clone()),
        Outcome::Build { plan, .. } if plan.is_empty() => {
            (EventState::Skipped, Reason::new("nothing_to_rebuild", "nothing that depends on it may be rebuilt"))
        }
        Outcome::Build { plan, .. } => {
            (EventState::Building, Reason::new("planned", format!("planned: {} to build", plan.len())))
        }
    }
}
