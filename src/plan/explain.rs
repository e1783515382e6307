//! Explanations: why an artifact is in a plan or not, derived from the reasons that the plan
//! stores.
//!
//! A plan stores for each build its direct reasons and for each exclusion a code, a sentence and
//! the excluded parent. All longer chains are computed here when they are asked for, because the
//! paths from the changes to all builds are as many as the edges of the graph, for each build.

use super::render::Line;
use super::{Changed, Exclusion, Plan, PlanNode, RebuildReason};
use crate::artifact::ArtifactId;
use crate::graph::EdgeKind;
use crate::reason::Reason;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most artifacts of a chain that a sentence names; the first and the last ones are kept.
const NAMES_SHOWN: usize = 10;

/// Why an artifact is in a plan, or why not: [`Plan::explain`].
///
/// As text it is a sentence, which shortens long chains. As JSON it has everything: `status` is the
/// name of the variant.
///
/// ```
/// use freshmaker::plan::Explanation;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
///
/// let mut graph = ArtifactGraph::new();
/// graph.insert(Artifact::new("debian", ArtifactKind::Image));
/// graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app/", None));
/// graph.insert(Artifact::new("vendor", ArtifactKind::Image));
/// graph.insert(Artifact::new("plugin", ArtifactKind::Image).with_source("plugin/", None));
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
/// graph.depend("vendor", "debian", EdgeKind::ParentImage)?;
/// graph.depend("plugin", "vendor", EdgeKind::ParentImage)?;
/// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
///
/// assert_eq!(plan.explain(&"debian".into()), Explanation::Changed);
/// assert_eq!(plan.explain(&"other".into()), Explanation::Unaffected);
/// let app = plan.explain(&"app".into());
/// assert_eq!(app.to_string(), "rebuilt because debian changed: debian -> app");
/// assert_eq!(
///     plan.explain(&"plugin".into()).to_string(),
///     "not rebuilt (parent_not_rebuilt): it would only follow vendor, which is not rebuilt; \
///      the cause is vendor (no_recipe): the catalog has no recipe for it: somebody else builds it"
/// );
/// let json = serde_json::to_value(plan.explain(&"app".into()))?;
/// assert_eq!(json["status"], "rebuilt");
/// assert_eq!(json["derivation"]["steps"][0]["kinds"][0], "parent_image");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Explanation<'a> {
    /// It has changed, and is not rebuilt by the plan.
    Changed,
    /// It is rebuilt.
    Rebuilt {
        /// The planned build, with its reason in one word, and why it was asked for if it was.
        node: &'a PlanNode,
        /// How changes reach it.
        derivation: Derivation<'a>,
    },
    /// It was a candidate, and is not in the plan.
    Excluded {
        /// The reason.
        reason: &'a Exclusion,
        /// If the change would have reached it only through another excluded candidate: that
        /// candidate, the one before it, and so on. The last is the cause.
        follows: Vec<Excluded<'a>>,
    },
    /// No change reaches it.
    Unaffected,
}

/// How changes reach an artifact: every dependency over which one does.
///
/// It is computed when it is asked for, from the reasons that a plan stores for each node, by
/// breadth-first search from the artifact back to its reasons. Cost: O(m log n) for the m
/// dependencies of the answer.
///
/// A worked example, with debian changed and the edges debian-python, python-app and debian-app:
///
/// 1. From app back: its reasons are debian and python, at distance 1. Steps: debian-app,
///    python-app.
/// 2. From debian back: it changed, so it has no reasons. It is a start.
/// 3. From python back: its reason is debian, which was found before. Step: debian-python.
/// 4. The nearest start is debian, so the shortest chain is debian, app. There are three steps.
///
/// ```
/// use freshmaker::plan::Explanation;
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind};
///
/// let image = |name| Artifact::new(name, ArtifactKind::Image).with_source(name, None);
/// let graph = ArtifactGraph::of(["debian", "python", "app"].map(image), [
///     ("python".into(), "debian".into(), EdgeKind::ParentImage),
///     ("app".into(), "python".into(), EdgeKind::BuilderStage),
///     ("app".into(), "debian".into(), EdgeKind::ParentImage),
/// ])?;
/// let plan = graph.planner().changed("debian", None).plan()?;
/// let Explanation::Rebuilt { derivation, .. } = plan.explain(&"app".into()) else { panic!() };
/// assert_eq!(derivation.shortest, [&"debian".into(), &"app".into()]);
/// assert_eq!((derivation.starts.len(), derivation.steps.len()), (1, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Derivation<'a> {
    /// The artifacts with which it begins, by name.
    pub starts: Vec<Start<'a>>,
    /// The dependencies, by the wave of the child: those of a parent come before those of its
    /// children, except within a cycle.
    pub steps: Vec<Step<'a>>,
    /// One shortest chain of steps, by its artifacts, from a start to the artifact; empty if the
    /// artifact was only asked for itself.
    pub shortest: Vec<&'a ArtifactId>,
}

/// An artifact with which a derivation begins: it changed, was asked for, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Start<'a> {
    /// The artifact.
    pub id: &'a ArtifactId,
    /// Its new content, if it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<&'a Changed>,
    /// Why it was asked for, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<&'a Reason>,
}

/// One dependency over which a change goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step<'a> {
    /// The artifact that changed or is rebuilt.
    pub parent: &'a ArtifactId,
    /// The artifact that is rebuilt because of it.
    pub child: &'a ArtifactId,
    /// In which roles the child uses the parent.
    pub kinds: &'a [EdgeKind],
    /// [`DirectlyAffected`](RebuildReason::DirectlyAffected) if the parent is what changed, else
    /// [`Dependency`](RebuildReason::Dependency).
    pub reason: RebuildReason,
}

/// A candidate that is not in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Excluded<'a> {
    /// The artifact.
    pub id: &'a ArtifactId,
    /// The reason, and the excluded parent through which a change would have come.
    pub reason: &'a Exclusion,
}

/// The exclusions of a plan that have one code, by [`Plan::excluded_by_code`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExcludedGroup<'a> {
    /// The code.
    pub code: &'a str,
    /// The artifacts, by name, each with its reason.
    pub artifacts: Vec<(&'a ArtifactId, &'a Exclusion)>,
}

impl Plan {
    /// Returns the candidates that are not in the plan, grouped by the code of the reason: the
    /// largest group first, then by code.
    ///
    /// ```
    /// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
    ///
    /// let mut graph = ArtifactGraph::new();
    /// for name in ["debian", "vendor", "vendor-2"] {
    ///     graph.insert(Artifact::new(name, ArtifactKind::Image));
    /// }
    /// graph.depend("vendor", "debian", EdgeKind::ParentImage)?;
    /// graph.depend("vendor-2", "debian", EdgeKind::ParentImage)?;
    /// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
    /// let groups = plan.excluded_by_code();
    /// assert_eq!((groups[0].code, groups[0].artifacts.len()), ("no_recipe", 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn excluded_by_code(&self) -> Vec<ExcludedGroup<'_>> {
        let mut groups: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (id, reason) in self.exclusions() {
            groups.entry(reason.code.as_str()).or_default().push((id, reason));
        }
        let groups = groups.into_iter().map(|(code, artifacts)| ExcludedGroup { code, artifacts });
        let mut groups: Vec<_> = groups.collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.artifacts.len()));
        groups
    }

    /// Returns why this artifact is in the plan, or why not, with everything that the plan has
    /// about it. Never fails: an artifact that the plan does not mention is
    /// [`Unaffected`](Explanation::Unaffected).
    #[doc(alias = "provenance")]
    #[doc(alias = "why")]
    #[must_use]
    pub fn explain(&self, id: &ArtifactId) -> Explanation<'_> {
        if let Some(node) = self.node(id) {
            return Explanation::Rebuilt { node, derivation: Derivation::of(self, node) };
        }
        match (self.excluded(id), self.changed.contains_key(id)) {
            (Some(reason), _) => Explanation::Excluded { reason, follows: self.follows(reason) },
            (None, true) => Explanation::Changed,
            (None, false) => Explanation::Unaffected,
        }
    }

    /// Returns the chain from an exclusion to the one that causes it. A chain is at most as long as
    /// there are exclusions, even if a plan that was written by hand has a cycle in it.
    fn follows<'a>(&'a self, reason: &'a Exclusion) -> Vec<Excluded<'a>> {
        let mut chain: Vec<Excluded<'_>> = Vec::new();
        let mut reason = reason;
        while let Some((id, next)) = self.followed(reason)
            // A plan that was written by hand may have a cycle.
            && chain.len() < self.excluded.len()
        {
            chain.push(Excluded { id, reason: next });
            reason = next;
        }
        chain
    }

    /// Returns the excluded candidate that this one would follow, if that is why it is out.
    pub(super) fn followed(&self, exclusion: &Exclusion) -> Option<(&ArtifactId, &Exclusion)> {
        self.excluded.get_key_value(exclusion.follows.as_ref()?)
    }
}

impl<'a> Derivation<'a> {
    fn of(plan: &'a Plan, target: &'a PlanNode) -> Self {
        let target_id = &target.artifact.id;
        let mut steps = Vec::new();
        // Breadth first, so that the first way found from a parent to the target is a shortest.
        let mut towards: BTreeMap<&ArtifactId, &ArtifactId> = BTreeMap::new();
        let mut found = vec![target_id];
        let mut seen = BTreeSet::from([target_id]);
        let mut position = 0;
        while let Some(&child) = found.get(position) {
            position += 1;
            let Some(node) = plan.node(child) else { continue };
            for parent in &node.because {
                steps.push(Step::of(plan, parent, node));
                if seen.insert(parent) {
                    towards.insert(parent, child);
                    found.push(parent);
                }
            }
        }
        let nearest = found.iter().skip(1).find(|id| Start::of(plan, id).is_some());
        let mut shortest: Vec<_> = nearest.into_iter().copied().collect();
        while let Some(next) = shortest.last().and_then(|id| towards.get(id)) {
            shortest.push(next);
        }
        steps.sort_by_key(|step| (plan.node(step.child).map(|node| node.wave), step.child, step.parent));
        // That the target itself changed has no part in it, unless a cycle leads from it back.
        let itself = target.asked.is_some() || steps.iter().any(|step| step.parent == target_id);
        let starts = seen.into_iter().filter(|id| *id != target_id || itself).filter_map(|id| Start::of(plan, id));
        Self { starts: starts.collect(), steps, shortest }
    }
}

impl<'a> Start<'a> {
    fn of(plan: &'a Plan, id: &'a ArtifactId) -> Option<Self> {
        let start =
            Self { id, changed: plan.changed.get(id), asked: plan.node(id).and_then(|node| node.asked.as_ref()) };
        (start.changed.is_some() || start.asked.is_some()).then_some(start)
    }
}

impl<'a> Step<'a> {
    fn of(plan: &'a Plan, parent: &'a ArtifactId, child: &'a PlanNode) -> Self {
        let direct = plan.changed.contains_key(parent);
        Self {
            parent,
            child: &child.artifact.id,
            kinds: child.parent(parent).map_or(&[], |parent| &*parent.kinds),
            reason: if direct { RebuildReason::DirectlyAffected } else { RebuildReason::Dependency },
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("it changed"),
            Self::Unaffected => f.write_str("no change reaches it"),
            Self::Excluded { reason, follows } => {
                write!(f, "not rebuilt ({}): {}", reason.code, Line(&reason.text))?;
                follows.last().map_or(Ok(()), |cause| {
                    let Exclusion { code, text, .. } = cause.reason;
                    write!(f, "; the cause is {} ({code}): {}", Line(cause.id.as_str()), Line(text))
                })
            }
            Self::Rebuilt { node, derivation } => {
                f.write_str("rebuilt because ")?;
                if let Some(asked) = &node.asked {
                    let and = if derivation.steps.is_empty() { "" } else { "; and because " };
                    write!(f, "{}{and}", Line(&asked.text))?;
                }
                derivation.fmt(f)?;
                node.impediment
                    .as_ref()
                    .map_or(Ok(()), |why| write!(f, "; but it cannot be built ({}): {}", why.code, Line(&why.text)))
            }
        }
    }
}

/// The shortest chain, and how many dependencies there are if it is not the only one.
impl fmt::Display for Derivation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.shortest.first() else { return Ok(()) };
        let start = self.starts.iter().find(|start| start.id == *first);
        match start.and_then(|start| start.asked.filter(|_| start.changed.is_none())) {
            Some(asked) => write!(f, "{} is rebuilt ({}): ", Line(first.as_str()), Line(&asked.text))?,
            None => write!(f, "{} changed: ", Line(first.as_str()))?,
        }
        let hidden = self.shortest.len().saturating_sub(NAMES_SHOWN);
        for (position, id) in self.shortest.iter().enumerate() {
            match position.checked_sub(NAMES_SHOWN / 2) {
                Some(0) if hidden > 0 => write!(f, " -> … {hidden} more …")?,
                Some(past) if past < hidden => {}
                _ => write!(f, "{}{}", if position == 0 { "" } else { " -> " }, Line(id.as_str()))?,
            }
        }
        if self.steps.len() >= self.shortest.len() {
            write!(f, ", the shortest of its reasons, of {} dependencies in all", self.steps.len())?;
        }
        Ok(())
    }
}
