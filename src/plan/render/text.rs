//! A plan as a tree of text, for terminals, logs and tests.
//!
//! A build with several reasons appears once, below the reason in the latest wave, because it
//! cannot start before that one. Control characters in names are replaced, so that a name cannot
//! write into the terminal.

use super::Line;
use crate::artifact::ArtifactId;
use crate::plan::{Plan, PlanNode};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Builds further down are only counted: each further level would make every line below it longer.
const DEPTH_MAX: usize = 100;

/// The plan as a tree: each build under the reason that puts it into the latest wave, with its
/// other reasons named, then what is out and why.
///
/// ```text
/// debian:12 changed
/// ├─ python:3.12
/// │  └─ app:latest (also follows node:22)
/// └─ node:22
/// not rebuilt:
///    vendor/agent — no_recipe: the catalog has no recipe for it: somebody else builds it
/// ```
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tree = Tree::of(self);
        for id in self.changed.keys().filter(|id| !self.nodes.contains_key(id)) {
            writeln!(f, "{} changed", Line(id.as_str()))?;
            tree.write(f, id)?;
        }
        for id in &tree.starts {
            let asked = self.node(id).and_then(|node| node.asked.as_ref());
            match asked {
                None if self.changed.contains_key(*id) => writeln!(f, "{} changed, and is rebuilt", Line(id.as_str()))?,
                Some(why) if why.code == Self::PREREQUISITE => {
                    writeln!(f, "{} is prepared: {}", Line(id.as_str()), Line(&why.text))?;
                }
                Some(why) if why.code != Self::REQUESTED => {
                    writeln!(f, "{} is rebuilt: {}", Line(id.as_str()), Line(&why.text))?;
                }
                _ => writeln!(f, "{} is rebuilt as asked", Line(id.as_str()))?,
            }
            tree.write(f, id)?;
        }
        let impeded = self.nodes.iter().filter_map(|(id, node)| Some((id, node.impediment.as_ref()?)));
        for (number, (id, why)) in impeded.enumerate() {
            if number == 0 {
                writeln!(f, "cannot be built:")?;
            }
            writeln!(f, "   {} — {}: {}", Line(id.as_str()), why.code, Line(&why.text))?;
        }
        if !self.excluded.is_empty() {
            writeln!(f, "not rebuilt:")?;
            for (id, exclusion) in &self.excluded {
                writeln!(f, "   {} — {}: {}", Line(id.as_str()), exclusion.code, Line(&exclusion.text))?;
            }
        }
        Ok(())
    }
}

/// A spanning forest of the reasons of a plan: each build is a child of the reason in the latest
/// wave.
///
/// Found by breadth-first search from what changed or was asked for. A build whose main reason is
/// not placed yet waits in `late`; only builds of broken cycles are still there at the end. Cost:
/// O(m log n) for n builds and m reasons.
///
/// *Invariant:* each build is in the forest exactly once.
struct Tree<'a> {
    children: BTreeMap<&'a ArtifactId, Vec<&'a ArtifactId>>,
    /// Builds of what changed, and builds that follow nothing before them.
    starts: Vec<&'a ArtifactId>,
    plan: &'a Plan,
}

impl<'a> Tree<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut followers: BTreeMap<&ArtifactId, Vec<&PlanNode>> = BTreeMap::new();
        for node in plan.nodes.values() {
            node.because.iter().for_each(|reason| followers.entry(reason).or_default().push(node));
        }
        // What changed is what a reader looks for, so it begins a line; what was asked for does if
        // nothing before it is a reason.
        let first = |node: &&'a PlanNode| {
            let id = &node.artifact.id;
            plan.changed.contains_key(id) || (Self::main_reason(plan, node).is_none() && node.asked.is_some())
        };
        let starts = plan.nodes.values().filter(first).map(|node| &node.artifact.id).collect();
        let mut tree = Self { children: BTreeMap::new(), starts, plan };
        let mut placed: Vec<_> = plan.changed.keys().chain(tree.starts.iter().copied()).collect();
        let mut known: BTreeSet<_> = placed.iter().copied().collect();
        let mut late: BTreeMap<(u32, &ArtifactId), &ArtifactId> = BTreeMap::new();
        let mut asked = plan.nodes.values().filter(|node| node.asked.is_some()).map(|node| &node.artifact.id);
        let mut next = 0;
        loop {
            while let Some(&reason) = placed.get(next) {
                next += 1;
                for node in followers.remove(reason).into_iter().flatten() {
                    let id = &node.artifact.id;
                    if Self::main_reason(plan, node).is_some_and(|main| main != reason) {
                        late.entry((node.wave, id)).or_insert(reason);
                    } else if known.insert(id) {
                        tree.children.entry(reason).or_default().push(id);
                        placed.push(id);
                    }
                }
            }
            // Only broken cycles leave anything: what follows its own followers.
            if let Some(((_, id), reason)) = late.pop_first() {
                if known.insert(id) {
                    tree.children.entry(reason).or_default().push(id);
                    placed.push(id);
                }
            } else if let Some(id) = asked.find(|id| !known.contains(id)) {
                known.insert(id);
                tree.starts.push(id);
                placed.push(id);
            } else {
                tree.children.values_mut().for_each(|children| children.sort_unstable());
                return tree;
            }
        }
    }

    /// Returns the reason in the latest of the earlier waves; what changed comes before all waves.
    fn main_reason(plan: &'a Plan, node: &'a PlanNode) -> Option<&'a ArtifactId> {
        let place = |id: &ArtifactId| match plan.node(id) {
            Some(reason) => (reason.wave < node.wave).then_some(reason.wave + 1),
            None => Some(0),
        };
        let earlier = node.because.iter().filter_map(|id| Some((place(id)?, id)));
        earlier.max_by_key(|(place, _)| *place).map(|(_, id)| id)
    }

    /// Writes what follows from an artifact, with a stack of its own instead of recursion: a plan
    /// can be as deep as it is large.
    fn write(&self, f: &mut fmt::Formatter<'_>, root: &'a ArtifactId) -> fmt::Result {
        let mut levels = vec![self.level(root)];
        let mut indent: Vec<&str> = Vec::new();
        while let Some(Level { parent, children }) = levels.last_mut() {
            let (parent, Some(child)) = (*parent, children.next()) else {
                levels.pop();
                indent.pop();
                continue;
            };
            let last = children.len() == 0;
            indent.iter().try_for_each(|part| f.write_str(part))?;
            if indent.len() == DEPTH_MAX {
                let hidden: usize = children.chain([child]).map(|child| self.size(child)).sum();
                writeln!(f, "└─ … {hidden} more")?;
                continue;
            }
            write!(f, "{} {}", if last { "└─" } else { "├─" }, Line(child.as_str()))?;
            if let Some(node) = self.plan.node(child) {
                let others: Vec<_> =
                    node.because.iter().filter(|other| *other != parent).map(ArtifactId::as_str).collect();
                if !others.is_empty() {
                    write!(f, " (also follows {})", Line(&others.join(", ")))?;
                }
                match &node.asked {
                    Some(why) if why.code == Plan::REQUESTED => f.write_str(" (also asked for)")?,
                    Some(why) if why.code != Plan::PREREQUISITE => write!(f, " (also: {})", Line(&why.text))?,
                    _ => {}
                }
            }
            writeln!(f)?;
            indent.push(if last { "   " } else { "│  " });
            levels.push(self.level(child));
        }
        Ok(())
    }

    fn level(&self, parent: &'a ArtifactId) -> Level<'a> {
        Level { parent, children: self.children.get(parent).cloned().unwrap_or_default().into_iter() }
    }

    /// Returns how many artifacts the tree has from this one on.
    fn size(&self, from: &'a ArtifactId) -> usize {
        let mut found = vec![from];
        let mut seen = 0;
        while let Some(id) = found.get(seen) {
            found.extend(self.children.get(*id).into_iter().flatten());
            seen += 1;
        }
        seen
    }
}

/// The children of an artifact that are still to be written.
struct Level<'a> {
    parent: &'a ArtifactId,
    children: std::vec::IntoIter<&'a ArtifactId>,
}
