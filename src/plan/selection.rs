//! The first step of planning: which artifacts are rebuilt, and why each other candidate is not.
//!
//! Called by `planner` with everything that the caller has named. Reads the graph, the policy and
//! the facts; the result goes to `members`. An artifact is left out, with the code
//!
//! * `no_recipe`, if the catalog has no source for it;
//! * `policy`, if a rule blocks it or no allow rule matches;
//! * that of the caller, if it was excluded by name;
//! * `parent_not_rebuilt`, if every path to it leads through artifacts that are left out.
//!
//! Repositories that are prepared on demand are added for the artifacts that take packages from
//! them. The policy is not asked about these, because they are not rebuilt for their own sake.

use super::Exclusion;
use super::planner::Planner;
use crate::artifact::{Artifact, ArtifactId};
use crate::graph::{ArtifactIndex, EdgeKind, Table};
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// Which candidates are rebuilt, and why each other one is not.
///
/// Depth-first search from what changed or is asked for, with a mark for each artifact of the
/// graph. Cost: O(n + m) for n artifacts of the graph and m dependencies of what is reached.
///
/// A worked example, with debian changed, the edges debian-vendor, vendor-plugin and debian-app,
/// and no recipe for vendor:
///
/// 1. Everything that can be reached from debian is a candidate: vendor, plugin, app.
/// 2. The search includes app. vendor has no recipe: it is excluded, and the search does not go on.
/// 3. plugin is still a candidate. The nearest excluded artifact that it follows is vendor, so it
///    is excluded as `parent_not_rebuilt`, because of vendor.
pub(super) struct Selection {
    /// In the order of the graph.
    pub(super) included: Vec<ArtifactIndex>,
    /// Those of them that no change reaches, but that others take packages from.
    pub(super) prepared: BTreeSet<ArtifactIndex>,
    pub(super) excluded: BTreeMap<ArtifactId, Exclusion>,
}

/// What is known about an artifact while the selection is made.
///
/// *Invariant:* a mark only ever changes from left to right in: unaffected, candidate, included or
/// excluded; an artifact that is prepared goes from unaffected to included.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// No change can reach it.
    Unaffected,
    /// A path leads from a change to it, perhaps only through what is not rebuilt.
    Candidate,
    Included,
    Excluded,
}

struct Walk<'a> {
    planner: &'a Planner<'a>,
    marks: Table<ArtifactIndex, Mark>,
    excluded: BTreeMap<ArtifactId, Exclusion>,
}

impl Selection {
    pub(super) fn of(planner: &Planner<'_>) -> Self {
        let mut walk = Walk::over_candidates(planner);
        walk.include();
        let prepared = walk.prepare();
        walk.explain_the_rest();
        Self { included: walk.marked(Mark::Included).collect(), prepared, excluded: walk.excluded }
    }
}

impl<'a> Walk<'a> {
    /// Marks everything that may have to be rebuilt, and what the caller has excluded.
    ///
    /// Without limits nothing has to be marked before: whatever the walk reaches is a candidate.
    fn over_candidates(planner: &'a Planner<'a>) -> Self {
        let graph = planner.graph;
        let unlimited = planner.dependents && planner.depth == u32::MAX && planner.excluded.is_empty();
        let mut marks = graph.table(if unlimited { Mark::Candidate } else { Mark::Unaffected });
        planner.rebuild.keys().filter_map(|id| graph.index(id)).for_each(|index| marks[index] = Mark::Candidate);
        if planner.dependents && !unlimited {
            let seeds: Vec<_> = planner.changed.keys().chain(planner.rebuild.keys()).cloned().collect();
            let reached = graph.closure(&seeds).along(planner.kinds).within(planner.depth);
            reached.indices().for_each(|index| marks[index] = Mark::Candidate);
        }
        planner.excluded.keys().filter_map(|id| graph.index(id)).for_each(|index| marks[index] = Mark::Excluded);
        let excluded = planner.excluded.iter().map(|(id, why)| (id.clone(), why.clone().into())).collect();
        Self { planner, marks, excluded }
    }

    fn artifact(&self, index: ArtifactIndex) -> Option<&'a Artifact> {
        self.planner.graph.at(index)
    }

    fn children(&self, index: ArtifactIndex) -> impl Iterator<Item = ArtifactIndex> + use<'a> {
        self.planner.graph.children_at(index, self.planner.kinds)
    }

    /// Everything with this mark, in the order of the graph.
    fn marked(&self, wanted: Mark) -> impl Iterator<Item = ArtifactIndex> {
        self.marks.iter().filter(move |(_, mark)| **mark == wanted).map(|(index, _)| index)
    }

    /// Goes from what was asked for and from what follows a change to whatever follows that,
    /// through what can and may be rebuilt.
    fn include(&mut self) {
        let graph = self.planner.graph;
        let asked = self.planner.rebuild.keys().filter_map(|id| graph.index(id));
        let changed = self.planner.changed.keys().filter_map(|id| graph.index(id));
        let followers = changed.flat_map(|index| graph.children_at(index, self.planner.kinds));
        let mut open: Vec<_> = asked.chain(followers).collect();
        while let Some(index) = open.pop() {
            if self.marks[index] != Mark::Candidate {
                continue;
            }
            let objection =
                self.artifact(index).and_then(|artifact| Some((artifact, self.objection(index, artifact)?)));
            if let Some((artifact, reason)) = objection {
                self.marks[index] = Mark::Excluded;
                self.excluded.insert(artifact.id.clone(), reason.into());
            } else {
                self.marks[index] = Mark::Included;
                open.extend(self.children(index).filter(|child| self.marks[*child] == Mark::Candidate));
            }
        }
    }

    /// Repositories that are prepared on demand are prepared for those that take packages from
    /// them; what else takes packages from them is not affected by that. No policy is asked: they
    /// are not rebuilt for their own sake.
    fn prepare(&mut self) -> BTreeSet<ArtifactIndex> {
        let mut prepared = BTreeSet::new();
        if !self.planner.graph.kinds().common(self.planner.kinds).contains(EdgeKind::Repository) {
            return prepared;
        }
        let mut open: Vec<_> = self.marked(Mark::Included).collect();
        while let Some(index) = open.pop() {
            for (parent, kinds) in self.planner.graph.parents_at(index) {
                if !kinds.common(self.planner.kinds).contains(EdgeKind::Repository) {
                    continue;
                }
                let taken = matches!(self.marks[parent], Mark::Included | Mark::Excluded);
                let Some(repository) = self.artifact(parent).filter(|_| !taken) else { continue };
                if repository.on_demand() && !self.planner.changed.contains_key(&repository.id) {
                    self.marks[parent] = Mark::Included;
                    prepared.insert(parent);
                    open.push(parent);
                }
            }
        }
        prepared
    }

    /// Returns why an artifact that a change reaches cannot or must not be rebuilt; `None` if it
    /// may be.
    fn objection(&self, index: ArtifactIndex, artifact: &Artifact) -> Option<Reason> {
        if !self.planner.graph.buildable(index) && !self.planner.impediments.contains_key(&artifact.id) {
            return Some(Reason::new("no_recipe", "the catalog has no recipe for it: somebody else builds it"));
        }
        if self.planner.policy.is_empty() {
            return None;
        }
        let verdict = self.planner.policy.judge(&self.planner.facts.clone().about(artifact));
        (!verdict.allowed).then(|| Reason::new("policy", verdict.to_string()))
    }

    /// Excludes the candidates that are left, which would only follow what is not rebuilt. Each is
    /// given the nearest excluded artifact on a path to it; of several, the first by name.
    /// Breadth-first search from all excluded artifacts, in the order of names within each
    /// distance.
    fn explain_the_rest(&mut self) {
        let by_name = |indices: Vec<ArtifactIndex>, walk: &Self| {
            let artifacts = indices.into_iter().filter_map(|index| Some((&walk.artifact(index)?.id, index)));
            let mut named: Vec<(&'a ArtifactId, ArtifactIndex)> = artifacts.collect();
            named.sort_unstable();
            named
        };
        let mut nearest = by_name(self.marked(Mark::Excluded).collect(), self);
        while !nearest.is_empty() {
            let mut next = Vec::new();
            for (parent, index) in nearest {
                for child in self.children(index) {
                    if self.marks[child] != Mark::Candidate {
                        continue;
                    }
                    let Some(artifact) = self.artifact(child) else { continue };
                    let exclusion = Exclusion {
                        code: "parent_not_rebuilt".into(),
                        text: format!("it would only follow {parent}, which is not rebuilt"),
                        follows: Some(parent.clone()),
                    };
                    self.excluded.insert(artifact.id.clone(), exclusion);
                    self.marks[child] = Mark::Excluded;
                    next.push(child);
                }
            }
            nearest = by_name(next, self);
        }
    }
}
