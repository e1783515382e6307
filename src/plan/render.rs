use super::{Plan, PlanNode};
use crate::artifact::ArtifactId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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
            writeln!(f, "{id} changed")?;
            tree.write(f, id, "")?;
        }
        for node in self.nodes.values().filter(|node| node.because.is_empty()) {
            writeln!(f, "{} is rebuilt as asked", node.artifact.id)?;
            tree.write(f, &node.artifact.id, "")?;
        }
        if !self.excluded.is_empty() {
            writeln!(f, "not rebuilt:")?;
            for (id, exclusion) in &self.excluded {
                writeln!(f, "   {id} — {}: {}", exclusion.code, exclusion.text)?;
            }
        }
        Ok(())
    }
}

struct Tree<'a> {
    children: BTreeMap<&'a ArtifactId, BTreeSet<&'a ArtifactId>>,
    plan: &'a Plan,
}

impl<'a> Tree<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut children: BTreeMap<&ArtifactId, BTreeSet<&ArtifactId>> = BTreeMap::new();
        for node in plan.nodes.values() {
            if let Some(main) = Self::main_reason(plan, node) {
                children.entry(main).or_default().insert(&node.artifact.id);
            }
        }
        Self { children, plan }
    }

    fn main_reason(plan: &'a Plan, node: &'a PlanNode) -> Option<&'a ArtifactId> {
        node.because.iter().max_by_key(|id| plan.node(id).map_or(0, |parent| parent.wave + 1))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, id: &ArtifactId, indent: &str) -> fmt::Result {
        // Depth is the number of waves; the stack holds one frame a wave.
        let Some(children) = self.children.get(id) else { return Ok(()) };
        for (position, child) in children.iter().enumerate() {
            let last = position + 1 == children.len();
            write!(f, "{indent}{} {child}", if last { "└─" } else { "├─" })?;
            if let Some(node) = self.plan.node(child) {
                let others: Vec<_> = node.because.iter().filter(|other| *other != id).map(ArtifactId::as_str).collect();
                if !others.is_empty() {
                    write!(f, " (also follows {})", others.join(", "))?;
                }
            }
            writeln!(f)?;
            self.write(f, child, &format!("{indent}{}", if last { "   " } else { "│  " }))?;
        }
        Ok(())
    }
}
