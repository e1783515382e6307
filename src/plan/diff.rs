//! Differences between two plans, for the question "what if" and for a plan that is shown again.
//!
//! Plans are compared as they are stored, in the order of names; estimates and ranks are
//! differences as well, which `PlanDiff::without_times` leaves out. Nothing is asked of a catalog.

use super::render::Line;
use super::{Changed, Exclusion, Plan, PlanCycle, PlanNode};
use crate::artifact::{Artifact, ArtifactId, Nvr, Parameter};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// The differences of another plan, from [`Plan::diff`]. Lists are by name.
///
/// *Invariant:* everything is empty if and only if the plans are equal.
///
/// As text it has one line for each difference, such as `altered: app: wave: 0 -> 1`. As JSON it
/// has everything. A use for it is the question "what if": make a plan of the graph as it is,
/// another one of the graph as it would be, and compare.
///
/// ```
/// use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Policy};
///
/// let mut graph = ArtifactGraph::new();
/// for name in ["debian", "python", "app"] {
///     graph.insert(Artifact::new(name, ArtifactKind::Image).with_source(name, None));
/// }
/// graph.depend("python", "debian", EdgeKind::ParentImage)?;
/// graph.depend("app", "debian", EdgeKind::ParentImage)?;
/// let plan = graph.plan(&["debian".into()], &Policy::allow_all())?;
///
/// graph.depend("app", "python", EdgeKind::BuilderStage)?;
/// graph.insert(Artifact::new("site", ArtifactKind::Image).with_source("site", None));
/// graph.depend("site", "app", EdgeKind::ParentImage)?;
/// let later = graph.plan(&["debian".into()], &Policy::allow_all())?;
///
/// let diff = plan.diff(&later);
/// assert_eq!(diff.added, [&"site".into()]);
/// assert_eq!(diff.altered[0].id, &"app".into());
/// assert!(diff.to_string().contains("app: because: nothing -> python"));
/// assert!(later.diff(&later).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "what-if")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlanDiff<'a> {
    /// Changes that started only one of the plans, or with another content.
    pub changed: Vec<Difference<'a, Changed>>,
    /// Artifacts that only the other plan builds.
    pub added: Vec<&'a ArtifactId>,
    /// Artifacts that the other plan does not build any more.
    pub removed: Vec<&'a ArtifactId>,
    /// Planned builds of both that differ.
    pub altered: Vec<NodeDiff<'a>>,
    /// Exclusions that only one plan has, or with another reason.
    pub excluded: Vec<Difference<'a, Exclusion>>,
    /// All cycles of both, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<CyclesDiff<'a>>,
}

/// A value in both plans; `None` for a plan in which it is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference<'a, T> {
    /// The artifact that the value is about.
    pub id: &'a ArtifactId,
    /// Before.
    pub from: Option<&'a T>,
    /// In the other plan.
    pub to: Option<&'a T>,
}

/// The cycles of two plans, all of them, in the order of each plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CyclesDiff<'a> {
    /// Before.
    pub from: &'a [PlanCycle],
    /// In the other plan.
    pub to: &'a [PlanCycle],
}

/// A planned build of both plans that differs.
///
/// *Invariant:* it has at least one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeDiff<'a> {
    /// The artifact.
    pub id: &'a ArtifactId,
    /// The aspects in which it differs.
    pub changes: Vec<Change<'a>>,
}

/// One aspect in which a planned build differs, with both values as texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change<'a> {
    /// The aspect.
    pub aspect: Aspect,
    /// The parent or parameter that it is about, if there can be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Before; `None` if it was not there.
    pub from: Option<String>,
    /// In the other plan; `None` if it is not there.
    pub to: Option<String>,
}

/// The aspects in which planned builds can differ. The serialized names are stable.
///
/// ```
/// use freshmaker::plan::Aspect;
///
/// assert_eq!(serde_json::to_value(Aspect::CatalogEstimate)?, "catalog_estimate");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Aspect {
    /// The kind of the artifact.
    Kind,
    /// The build system.
    System,
    /// Where the recipe lies.
    Source,
    /// The revision of the recipe.
    Revision,
    /// The target or branch.
    Target,
    /// The digest of its present output.
    Output,
    /// A build parameter, in its JSON form.
    Parameter,
    /// The duration that the catalog expects.
    CatalogEstimate,
    /// Why it is rebuilt, in one word.
    Reason,
    /// An artifact because of which it is rebuilt.
    Because,
    /// Why it was asked for.
    Asked,
    /// Why it cannot be built.
    Impediment,
    /// In which roles it uses a parent.
    Parent,
    /// The digest of a parent's content.
    Content,
    /// A package that the result must contain.
    Demand,
    /// The wave.
    Wave,
    /// The expected duration.
    Estimate,
    /// The expected time to the end of the last build that waits for it.
    Rank,
}

impl Plan {
    /// Returns what is different in the other plan. Both are in the order of names, so they are
    /// merged like two sorted lists. Cost: O(n + m) for both plans together.
    #[doc(alias = "what-if")]
    #[doc(alias = "compare")]
    #[must_use]
    pub fn diff<'a>(&'a self, other: &'a Self) -> PlanDiff<'a> {
        // Taken apart, so that a new field cannot be forgotten. The version is that of this
        // program.
        let Self { version: _, changed, nodes, excluded, cycles } = self;
        let builds = differences(nodes.iter(), other.nodes.iter());
        let altered = builds.iter().filter_map(|build| {
            let changes = Changes::between(build.from?, build.to?);
            Some(NodeDiff { id: build.id, changes })
        });
        PlanDiff {
            changed: differences(changed.iter(), other.changed.iter()),
            added: builds.iter().filter(|build| build.from.is_none()).map(|build| build.id).collect(),
            removed: builds.iter().filter(|build| build.to.is_none()).map(|build| build.id).collect(),
            altered: altered.collect(),
            excluded: differences(excluded.iter(), other.excluded.iter()),
            cycles: (*cycles != other.cycles).then_some(CyclesDiff { from: cycles, to: &other.cycles }),
        }
    }
}

/// Merges two sequences in the order of names and returns what is different.
///
/// A worked example, with the names a, b on one side and b, c on the other:
///
/// 1. The least name at the front is a, only on the left: it is different.
/// 2. The least name is b, on both sides: it is different if the values are.
/// 3. The least name is c, only on the right: it is different. Both sides are at their end.
fn differences<'a, T: PartialEq + 'a>(
    from: impl Iterator<Item = (&'a ArtifactId, &'a T)>,
    to: impl Iterator<Item = (&'a ArtifactId, &'a T)>,
) -> Vec<Difference<'a, T>> {
    let (mut from, mut to) = (from.peekable(), to.peekable());
    let mut differences = Vec::new();
    while let Some(id) = [from.peek(), to.peek()].into_iter().flatten().map(|(id, _)| *id).min() {
        let from = from.next_if(|(other, _)| *other == id).map(|(_, value)| value);
        let to = to.next_if(|(other, _)| *other == id).map(|(_, value)| value);
        if from != to {
            differences.push(Difference { id, from, to });
        }
    }
    differences
}

/// Collects changes of one planned build.
struct Changes<'a>(Vec<Change<'a>>);

impl<'a> Changes<'a> {
    fn between(from: &'a PlanNode, to: &'a PlanNode) -> Vec<Change<'a>> {
        // Taken apart, so that a new field cannot be forgotten.
        let PlanNode { artifact, reason, because, asked, impediment, parents: _, demands, wave, estimate, rank } = from;
        let mut changes = Self(Vec::new());
        changes.artifact(artifact, &to.artifact);
        changes.note(Aspect::Reason, None, Some(reason), Some(&to.reason), word);
        for name in because.iter().chain(&to.because).collect::<BTreeSet<_>>() {
            let side = |list: &'a [ArtifactId]| list.binary_search(name).is_ok().then_some(name);
            changes.note(Aspect::Because, None, side(because), side(&to.because), ToString::to_string);
        }
        let sentence = |reason: &crate::reason::Reason| format!("{}: {}", reason.code, reason.text);
        changes.note(Aspect::Asked, None, asked.as_ref(), to.asked.as_ref(), sentence);
        changes.note(Aspect::Impediment, None, impediment.as_ref(), to.impediment.as_ref(), sentence);
        changes.parents(from, to);
        for package in demands.iter().chain(&to.demands).collect::<BTreeSet<_>>() {
            let side = |set: &'a BTreeSet<Nvr>| set.get(package);
            changes.note(Aspect::Demand, None, side(demands), side(&to.demands), ToString::to_string);
        }
        changes.note(Aspect::Wave, None, Some(wave), Some(&to.wave), ToString::to_string);
        changes.note(Aspect::Estimate, None, Some(estimate), Some(&to.estimate), |time| format!("{time:?}"));
        changes.note(Aspect::Rank, None, Some(rank), Some(&to.rank), |time| format!("{time:?}"));
        changes.0
    }

    fn artifact(&mut self, from: &'a Artifact, to: &'a Artifact) {
        let Artifact { id: _, kind, system, source, target, digest, parameters, estimate } = from;
        self.note(Aspect::Kind, None, Some(kind), Some(&to.kind), word);
        self.note(Aspect::System, None, system.as_ref(), to.system.as_ref(), Clone::clone);
        let (source, source_to) = (source.as_ref(), to.source.as_ref());
        let location = |source: &crate::artifact::Source| source.location.clone();
        let locations = (source.map(location), source_to.map(location));
        self.note(Aspect::Source, None, locations.0.as_ref(), locations.1.as_ref(), Clone::clone);
        let revisions = [source, source_to].map(|source| source.and_then(|source| source.revision.as_ref()));
        self.note(Aspect::Revision, None, revisions[0], revisions[1], Clone::clone);
        self.note(Aspect::Target, None, Some(target), Some(&to.target), Clone::clone);
        self.note(Aspect::Output, None, digest.as_ref(), to.digest.as_ref(), ToString::to_string);
        let names: BTreeSet<_> = parameters.iter().chain(to.parameters.iter()).map(|(name, _)| name).collect();
        for name in names {
            let values = (parameters.get(name), to.parameters.get(name));
            self.note(Aspect::Parameter, Some(name), values.0, values.1, |value: &Parameter| json(value));
        }
        self.note(Aspect::CatalogEstimate, None, estimate.as_ref(), to.estimate.as_ref(), |time| format!("{time:?}"));
    }

    fn parents(&mut self, from: &'a PlanNode, to: &'a PlanNode) {
        let ids: BTreeSet<_> = from.parents.iter().chain(&to.parents).map(|parent| &parent.id).collect();
        for id in ids {
            let (name, sides) = (Some(id.as_str()), (from.parent(id), to.parent(id)));
            let kinds = (sides.0.map(|parent| &parent.kinds), sides.1.map(|parent| &parent.kinds));
            self.note(Aspect::Parent, name, kinds.0, kinds.1, |kinds| {
                kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" and ")
            });
            let contents = (sides.0.and_then(|it| it.digest.as_ref()), sides.1.and_then(|it| it.digest.as_ref()));
            self.note(Aspect::Content, name, contents.0, contents.1, ToString::to_string);
        }
    }

    fn note<T: PartialEq>(
        &mut self,
        aspect: Aspect,
        name: Option<&'a str>,
        from: Option<&T>,
        to: Option<&T>,
        text: impl Fn(&T) -> String,
    ) {
        if from != to {
            self.0.push(Change { aspect, name, from: from.map(&text), to: to.map(&text) });
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The stable name of a value that is one.
fn word(value: &impl Serialize) -> String {
    json(value).trim_matches('"').to_owned()
}

impl PlanDiff<'_> {
    /// Returns whether the plans are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { changed, added, removed, altered, excluded, cycles } = self;
        changed.is_empty()
            && added.is_empty()
            && removed.is_empty()
            && altered.is_empty()
            && excluded.is_empty()
            && cycles.is_none()
    }

    /// Returns the same without expected durations, which are learnt from every build: empty if
    /// and only if the plans have the same [hash](Plan::hash).
    #[must_use]
    pub fn without_times(mut self) -> Self {
        let is_time = |change: &Change<'_>| matches!(change.aspect, Aspect::Estimate | Aspect::Rank);
        self.altered.iter_mut().for_each(|node| node.changes.retain(|change| !is_time(change)));
        self.altered.retain(|node| !node.changes.is_empty());
        self
    }
}

/// One line for each difference, such as `app: wave: 0 -> 1`.
impl fmt::Display for PlanDiff<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "the plans are equal");
        }
        for Difference { id, from, to } in &self.changed {
            let content = |side: &Option<&Changed>| match side {
                None => "unchanged".to_owned(),
                Some(Changed { digest: None }) => "changed".to_owned(),
                Some(Changed { digest: Some(digest) }) => format!("changed to {digest}"),
            };
            writeln!(f, "start: {}: {} -> {}", Line(id.as_str()), content(from), content(to))?;
        }
        for id in &self.added {
            writeln!(f, "added: {}", Line(id.as_str()))?;
        }
        for id in &self.removed {
            writeln!(f, "removed: {}", Line(id.as_str()))?;
        }
        for NodeDiff { id, changes } in &self.altered {
            for change in changes {
                writeln!(f, "altered: {}: {change}", Line(id.as_str()))?;
            }
        }
        for Difference { id, from, to } in &self.excluded {
            let side = |side: &Option<&Exclusion>| match side {
                None => "not excluded".to_owned(),
                Some(Exclusion { code, text, .. }) => format!("excluded ({code}: {text})"),
            };
            let line = format!("{id}: {} -> {}", side(from), side(to));
            writeln!(f, "out: {}", Line(&line))?;
        }
        if let Some(CyclesDiff { from, to }) = &self.cycles {
            writeln!(f, "cycles: {} -> {}", from.len(), to.len())?;
        }
        Ok(())
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<String>| side.as_ref().map_or("nothing".to_owned(), |text| Line(text).to_string());
        write!(f, "{}", word(&self.aspect).replace('_', " "))?;
        if let Some(name) = self.name {
            write!(f, " {}", Line(name))?;
        }
        write!(f, ": {} -> {}", side(&self.from), side(&self.to))
    }
}
