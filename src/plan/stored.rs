//! How a plan is read back: versions of the stored form, and what must hold about a plan that comes
//! from elsewhere.
//!
//! A stored plan is a JSON object with `version`, `changed`, `nodes`, `excluded` and `cycles`. It
//! may have been written by another version, by another program, or by hand. Whatever is read is
//! either a plan with all its invariants, or an error that names the place:
//!
//! | place | what must hold |
//! |---|---|
//! | `version` | it is 1 or 2 |
//! | `nodes.*.artifact.id` | it is the key of the node |
//! | `nodes.*.because`, `.parents`, `.parents.*.kinds` | sorted, without repetition |
//! | `nodes.*.because` | each is changed or rebuilt, and a parent |
//! | `nodes.*.wave` | later than that of each parent that is waited for, and of no other |
//! | `nodes.*.rank` | at least the estimate; a parent's rank includes those of its children |
//! | `excluded.*` | it is no node, and what it follows is excluded |
//! | `cycles[*].members` | they are nodes, each in one cycle only |
//! | `cycles[*].broken` | each is a dependency between two members |
//!
//! A worked example of the order: lib and tool need each other, and lib is built first.
//!
//! 1. `cycles` has the members lib and tool, and `broken` has (lib, tool): lib does not wait.
//! 2. The reason tool of lib is broken, so its wave may be later than that of lib; it must not be
//!    earlier, or the plan would wait for what it says that it gives up.
//! 3. The reason lib of tool is not broken, so lib must be in an earlier wave, and is.
//! 4. tool can be reached from lib, which was asked for: nothing is left to object to.

use super::nodes::Nodes;
use super::{Changed, Exclusion, PLAN_VERSION, Plan, PlanCycle, PlanNode, RebuildReason};
use crate::artifact::ArtifactId;
use crate::graph::KeyedGraph;
use crate::reason::Reason;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A plan as it is stored, before anything is known about it.
#[derive(Deserialize)]
pub(super) struct Stored {
    version: Version,
    changed: BTreeMap<ArtifactId, Changed>,
    nodes: BTreeMap<ArtifactId, PlanNode>,
    excluded: BTreeMap<ArtifactId, Exclusion>,
    #[serde(default)]
    cycles: Vec<PlanCycle>,
}

/// A version that can be read. Any other one is refused as soon as it is met, before anything else
/// of a form that this program does not know.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
enum Version {
    /// Without estimates, cycles and reasons of what was asked for.
    First,
    Present,
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        match number {
            1 => Ok(Self::First),
            PLAN_VERSION => Ok(Self::Present),
            other => Err(format!("a plan of version {other} cannot be read, only of 1 to {PLAN_VERSION}")),
        }
    }
}

/// A stored plan that contradicts itself: the place in the form, and what is wrong there.
#[derive(Debug)]
pub(super) struct Invalid {
    place: String,
    text: String,
}

impl Invalid {
    fn new(place: impl fmt::Display, text: impl fmt::Display) -> Self {
        Self { place: place.to_string(), text: text.to_string() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plan contradicts itself: {}: {}", self.place, self.text)
    }
}

impl TryFrom<Stored> for Plan {
    type Error = Invalid;

    fn try_from(stored: Stored) -> Result<Self, Invalid> {
        let Stored { version, changed, nodes, excluded, cycles } = stored;
        if let Some((id, node)) = nodes.iter().find(|(id, node)| node.artifact.id != **id) {
            let place = format_args!("nodes.{id:?}.artifact.id").to_string();
            return Err(Invalid::new(place, format_args!("it is {:?}", node.artifact.id)));
        }
        let nodes = Nodes::of(nodes);
        let mut plan = Self { version: PLAN_VERSION, changed, nodes, excluded, cycles };
        if matches!(version, Version::First) {
            complete_first(&mut plan);
        }
        check(&plan)?;
        Ok(plan)
    }
}

/// Fills in what version 1 did not store. A rank is the estimate plus the longest rank among the
/// children, so the estimate is the difference. What follows no change was asked for.
fn complete_first(plan: &mut Plan) {
    let mut after: BTreeMap<ArtifactId, Duration> = BTreeMap::new();
    for node in plan.nodes.values() {
        for parent in &node.parents {
            let longest = after.entry(parent.id.clone()).or_default();
            *longest = node.rank.max(*longest);
        }
    }
    for node in plan.nodes.values_mut() {
        node.estimate = node.rank.saturating_sub(after.get(&node.artifact.id).copied().unwrap_or_default());
        let follows_change = node.because.iter().any(|id| plan.changed.contains_key(id));
        let only_asked = node.reason == RebuildReason::DirectlyAffected && !follows_change;
        if only_asked || node.because.is_empty() {
            node.asked = Some(Reason::new(Plan::REQUESTED, "it was asked for"));
        }
    }
}

/// Checks the invariants of [`Plan`], [`PlanNode`] and [`PlanCycle`]: a stored form may come from
/// elsewhere, and everything that uses a plan relies on them. Cost: O((n + m) log n).
fn check(plan: &Plan) -> Result<(), Invalid> {
    for (id, node) in plan.nodes.iter() {
        check_node(plan, id, node)?;
    }
    for (id, exclusion) in &plan.excluded {
        if let Some(other) = exclusion.follows.as_ref().filter(|other| !plan.excluded.contains_key(*other)) {
            let text = format_args!("{other:?} is not excluded");
            return Err(Invalid::new(format_args!("excluded.{id:?}.follows"), text));
        }
    }
    let cycles = Cycles::of(plan)?;
    plan.nodes.values().try_for_each(|node| check_order(plan, node, &cycles))?;
    check_reached(plan)
}

fn check_node(plan: &Plan, id: &ArtifactId, node: &PlanNode) -> Result<(), Invalid> {
    let place = |field: &str| format!("nodes.{id:?}.{field}");
    if plan.excluded.contains_key(id) {
        return Err(Invalid::new(format_args!("excluded.{id:?}"), "it is among the nodes as well"));
    }
    sorted(&node.because).map_err(|text| Invalid::new(place("because"), text))?;
    sorted(node.parents.iter().map(|parent| &parent.id)).map_err(|text| Invalid::new(place("parents"), text))?;
    for parent in &node.parents {
        let kinds = || format!("nodes.{id:?}.parents.{:?}.kinds", parent.id);
        sorted(&*parent.kinds).map_err(|text| Invalid::new(kinds(), text))?;
    }
    for reason in &node.because {
        if !plan.changed.contains_key(reason) && !plan.nodes.contains_key(reason) {
            return Err(Invalid::new(place("because"), format_args!("{reason:?} is neither changed nor rebuilt")));
        }
        if node.parent(reason).is_none() {
            return Err(Invalid::new(place("because"), format_args!("{reason:?} is not among the parents")));
        }
    }
    Ok(())
}

/// Checks that a build waits for the parents that it has to wait for, and for no others, and that
/// ranks agree.
///
/// Waves that follow the dependencies prove that there is no other cycle: along a cycle, wave
/// numbers would have to ascend and come back.
fn check_order(plan: &Plan, node: &PlanNode, cycles: &Cycles<'_>) -> Result<(), Invalid> {
    let id = &node.artifact.id;
    let place = |field: &str| format!("nodes.{id:?}.{field}");
    if node.wave as usize >= plan.nodes.len() {
        let text = format!("there is no wave {} with {} nodes", node.wave, plan.nodes.len());
        return Err(Invalid::new(place("wave"), text));
    }
    if node.rank < node.estimate {
        return Err(Invalid::new(place("rank"), "it is shorter than the estimate"));
    }
    // What is no reason does not decide on the order: dependencies along which no change was
    // carried, and that on itself.
    let reasons = node.because.iter().filter(|reason| *reason != id);
    for parent in reasons.filter_map(|reason| plan.nodes.get(reason)) {
        let waits = parent.wave < node.wave;
        if waits == cycles.is_broken(id, &parent.artifact.id) {
            let (not, parent_id) = (if waits { "" } else { "not " }, &parent.artifact.id);
            let text = format!("{parent_id:?} is in wave {}, so it is {not}waited for", parent.wave);
            return Err(Invalid::new(place("wave"), text));
        }
        if waits && parent.rank.checked_sub(parent.estimate).is_none_or(|rest| rest < node.rank) {
            let text = format!("the rank of {:?} does not include it", parent.artifact.id);
            return Err(Invalid::new(place("rank"), text));
        }
    }
    Ok(())
}

/// Checks that everything is in the plan because of something that changed or was asked for.
fn check_reached(plan: &Plan) -> Result<(), Invalid> {
    let reasons = plan.nodes.iter().flat_map(|(id, node)| node.because.iter().map(move |reason| (reason, id)));
    let graph = KeyedGraph::new(plan.nodes.keys(), reasons);
    let asked = plan.nodes.iter().filter(|(_, node)| node.asked.is_some()).map(|(id, _)| id);
    let reached = graph.reached_from(plan.changed.keys().chain(asked));
    match plan.nodes.keys().find(|id| reached.binary_search(id).is_err()) {
        Some(id) => {
            Err(Invalid::new(format_args!("nodes.{id:?}.because"), "nothing that changed or was asked for reaches it"))
        }
        None => Ok(()),
    }
}

/// Dependencies within cycles that no build waits for.
struct Cycles<'a> {
    broken: BTreeSet<(&'a ArtifactId, &'a ArtifactId)>,
    /// Members of cycles in which none waits for another, with the number of their cycle.
    groups: BTreeMap<&'a ArtifactId, usize>,
}

impl<'a> Cycles<'a> {
    fn of(plan: &'a Plan) -> Result<Self, Invalid> {
        let mut cycles = Self { broken: BTreeSet::new(), groups: BTreeMap::new() };
        let mut seen = BTreeSet::new();
        for (number, cycle) in plan.cycles.iter().enumerate() {
            let place = |field: &str| format!("cycles[{number}].{field}");
            sorted(&cycle.members).map_err(|text| Invalid::new(place("members"), text))?;
            sorted(&cycle.broken).map_err(|text| Invalid::new(place("broken"), text))?;
            for member in &cycle.members {
                if !plan.nodes.contains_key(member) {
                    return Err(Invalid::new(place("members"), format_args!("{member:?} is not among the nodes")));
                }
                if !seen.insert(member) {
                    return Err(Invalid::new(place("members"), format_args!("{member:?} is in two cycles")));
                }
                if cycle.broken.is_empty() {
                    cycles.groups.insert(member, number);
                }
            }
            for (child, parent) in &cycle.broken {
                let members = [child, parent].iter().all(|id| cycle.members.binary_search(id).is_ok());
                if !members || plan.nodes.get(child).is_none_or(|node| node.parent(parent).is_none()) {
                    let text = format!("{child:?} does not depend on {parent:?} within the cycle");
                    return Err(Invalid::new(place("broken"), text));
                }
                cycles.broken.insert((child, parent));
            }
        }
        Ok(cycles)
    }

    /// Whether the child is built with the content that the parent had before. A build always uses
    /// its own earlier content.
    fn is_broken(&self, child: &ArtifactId, parent: &ArtifactId) -> bool {
        let group = |id| self.groups.get(id);
        let same_group = group(child).is_some() && group(child) == group(parent);
        child == parent || same_group || self.broken.contains(&(child, parent))
    }
}

/// Checks that a list that is a set is in ascending order: equal plans must have equal bytes.
fn sorted<T: Ord>(list: impl IntoIterator<Item = T>) -> Result<(), &'static str> {
    let mut list = list.into_iter();
    let Some(mut last) = list.next() else { return Ok(()) };
    for next in list {
        if next <= last {
            return Err("the entries are out of order, or one is there twice");
        }
        last = next;
    }
    Ok(())
}
