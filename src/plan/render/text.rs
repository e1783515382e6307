use super::Line;
use crate::artifact::ArtifactId;
use crate::plan::{Plan, PlanNode};
use std::collections::BTreeMap;
use std::fmt;

/// Builds further down are only counted: nobody reads them, and each further level would make every line below it longer.
const DEPTH_MAX: usize = 100;

/// The plan as a tree: each build under the reason that puts it into the latest wave, with its other reasons named, then what is out and why.
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
        for id in self.changed.keys().filter(|id| !self.nodes.contains_key(*id)) {
            writeln!(f, "{} changed", Line(id.as_str()))?;
            tree.write(f, id)?;
        }
        for node in self.nodes.values().filter(|node| node.because.is_empty()) {
            writeln!(f, "{} is rebuilt as asked", Line(node.artifact.id.as_str()))?;
            tree.write(f, &node.artifact.id)?;
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

struct Tree<'a> {
    children: BTreeMap<&'a ArtifactId, Vec<&'a ArtifactId>>,
    plan: &'a Plan,
}

impl<'a> Tree<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut children: BTreeMap<&ArtifactId, Vec<&ArtifactId>> = BTreeMap::new();
        for node in plan.nodes.values() {
            if let Some(main) = Self::main_reason(plan, node) {
                children.entry(main).or_default().push(&node.artifact.id);
            }
        }
        Self { children, plan }
    }

    fn main_reason(plan: &'a Plan, node: &'a PlanNode) -> Option<&'a ArtifactId> {
        node.because.iter().max_by_key(|id| plan.node(id).map_or(0, |parent| parent.wave + 1))
    }

    /// What follows from this artifact, without recursion: a plan can be as deep as it is large.
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

    /// How many artifacts the tree has from this one on.
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
