use super::Exclusion;
use super::planner::Planner;
use crate::artifact::{Artifact, ArtifactId};
use crate::graph::EdgeKind;
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// Which candidates are rebuilt, by the numbers they have in the graph, and why each other one is not.
pub(super) struct Selection {
    /// In ascending order.
    pub(super) included: Vec<u32>,
    /// Those of them that no change reaches, but that others take packages from.
    pub(super) prepared: BTreeSet<u32>,
    pub(super) excluded: BTreeMap<ArtifactId, Exclusion>,
}

/// What is known about an artifact while the selection is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// No change can reach it.
    Unaffected,
    /// Something leads from a change to it, perhaps only through what is not rebuilt.
    Candidate,
    Included,
    Excluded,
}

struct Walk<'a> {
    planner: &'a Planner<'a>,
    marks: Vec<Mark>,
    excluded: BTreeMap<ArtifactId, Exclusion>,
}

impl Selection {
    pub(super) fn of(planner: &Planner<'_>) -> Self {
        let mut walk = Walk::over_candidates(planner);
        walk.include();
        let prepared = walk.prepare();
        walk.explain_the_rest();
        let marks = (0..).zip(&walk.marks);
        let included = marks.filter(|(_, mark)| **mark == Mark::Included).map(|(number, _)| number).collect();
        Self { included, prepared, excluded: walk.excluded }
    }
}

impl<'a> Walk<'a> {
    /// Marks everything that may have to be rebuilt, and what the caller has excluded.
    fn over_candidates(planner: &'a Planner<'a>) -> Self {
        let graph = planner.graph;
        let mut marks = vec![Mark::Unaffected; graph.numbers_end()];
        planner.rebuild.keys().filter_map(|id| graph.number(id)).for_each(|number| {
            marks[number as usize] = Mark::Candidate;
        });
        if planner.dependents {
            let seeds: Vec<_> = planner.changed.keys().chain(planner.rebuild.keys()).cloned().collect();
            for number in graph.closure(&seeds).along(planner.kinds).within(planner.depth).numbers() {
                marks[number as usize] = Mark::Candidate;
            }
        }
        planner.excluded.keys().filter_map(|id| graph.number(id)).for_each(|number| {
            marks[number as usize] = Mark::Excluded;
        });
        let excluded = planner.excluded.iter().map(|(id, why)| (id.clone(), why.clone().into())).collect();
        Self { planner, marks, excluded }
    }

    fn artifact(&self, number: u32) -> Option<&'a Artifact> {
        self.planner.graph.numbered(number)
    }

    fn children(&self, number: u32) -> impl Iterator<Item = u32> + use<'a> {
        self.planner.graph.numbered_children(number, self.planner.kinds)
    }

    /// Goes from what was asked for and from what follows a change to whatever follows that, through what can and may be rebuilt.
    fn include(&mut self) {
        let graph = self.planner.graph;
        let asked = self.planner.rebuild.keys().filter_map(|id| graph.number(id));
        let changed = self.planner.changed.keys().filter_map(|id| graph.number(id));
        let followers = changed.flat_map(|number| graph.numbered_children(number, self.planner.kinds));
        let mut open: Vec<_> = asked.chain(followers).collect();
        while let Some(number) = open.pop() {
            let candidate = self.marks[number as usize] == Mark::Candidate;
            let Some(artifact) = self.artifact(number).filter(|_| candidate) else { continue };
            if let Some(reason) = self.objection(artifact) {
                self.marks[number as usize] = Mark::Excluded;
                self.excluded.insert(artifact.id.clone(), reason.into());
            } else {
                self.marks[number as usize] = Mark::Included;
                open.extend(self.children(number));
            }
        }
    }

    /// Repositories that are prepared on demand are prepared for those that take packages from them; what else takes packages from them is
    /// not affected by that. No policy is asked: they are not rebuilt for their own sake.
    fn prepare(&mut self) -> BTreeSet<u32> {
        let included = (0..).zip(&self.marks).filter(|(_, mark)| **mark == Mark::Included).map(|(number, _)| number);
        let mut open: Vec<u32> = included.collect();
        let mut prepared = BTreeSet::new();
        while let Some(number) = open.pop() {
            for (parent, kinds) in self.planner.graph.numbered_parents(number) {
                if !kinds.common(self.planner.kinds).contains(EdgeKind::Repository) {
                    continue;
                }
                let taken = matches!(self.marks[parent as usize], Mark::Included | Mark::Excluded);
                let Some(repository) = self.artifact(parent).filter(|_| !taken) else { continue };
                if repository.on_demand() && !self.planner.changed.contains_key(&repository.id) {
                    self.marks[parent as usize] = Mark::Included;
                    prepared.insert(parent);
                    open.push(parent);
                }
            }
        }
        prepared
    }

    /// Why an artifact that a change reaches cannot or must not be rebuilt.
    fn objection(&self, artifact: &Artifact) -> Option<Reason> {
        if !artifact.buildable() {
            return Some(Reason::new("no_recipe", "the catalog has no recipe for it: somebody else builds it"));
        }
        if self.planner.policy.is_empty() {
            return None;
        }
        let verdict = self.planner.policy.judge(&self.planner.facts.clone().about(artifact));
        (!verdict.allowed).then(|| Reason::new("policy", verdict.to_string()))
    }

    /// What is left would only follow what is not rebuilt: each is told the nearest one of these, the first by name of several.
    fn explain_the_rest(&mut self) {
        let by_name = |numbers: Vec<u32>, walk: &Self| {
            let artifacts = numbers.into_iter().filter_map(|number| Some((&walk.artifact(number)?.id, number)));
            let mut named: Vec<(&'a ArtifactId, u32)> = artifacts.collect();
            named.sort_unstable();
            named
        };
        let excluded = (0..).zip(&self.marks).filter(|(_, mark)| **mark == Mark::Excluded);
        let mut nearest = by_name(excluded.map(|(number, _)| number).collect(), self);
        while !nearest.is_empty() {
            let mut next = Vec::new();
            for (parent, number) in nearest {
                for child in self.children(number) {
                    let candidate = self.marks[child as usize] == Mark::Candidate;
                    let Some(artifact) = self.artifact(child).filter(|_| candidate) else { continue };
                    let exclusion = Exclusion {
                        code: "parent_not_rebuilt".into(),
                        text: format!("it would only follow {parent}, which is not rebuilt"),
                        follows: Some(parent.clone()),
                    };
                    self.excluded.insert(artifact.id.clone(), exclusion);
                    self.marks[child as usize] = Mark::Excluded;
                    next.push(child);
                }
            }
            nearest = by_name(next, self);
        }
    }
}
