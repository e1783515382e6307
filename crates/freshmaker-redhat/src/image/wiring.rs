use super::index::{Declared, Index};
use super::latest::Latest;
use freshmaker::artifact::Nvr;
use freshmaker::graph::{EdgeKind, KeyedGraph};
use std::collections::{BTreeMap, BTreeSet};

/// An image that another one is built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// An image that is rebuilt first.
    Rebuilt(usize),
    /// An image that is used as it is.
    AsIs(Nvr),
    /// An image that is used as it is although it needs the fix, because rebuilding it first would
    /// make a cycle.
    Unfixed(Nvr),
}

impl Base {
    pub(super) fn rebuilt(&self) -> Option<usize> {
        match self {
            Self::Rebuilt(place) => Some(*place),
            Self::AsIs(_) | Self::Unfixed(_) => None,
        }
    }
}

/// What becomes of a dependency that would make a cycle if it moved to another release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// It stays at the release that the image was built with, which is rebuilt.
    Rebuilt,
    /// It stays at the release that the image was built with, which is not rebuilt.
    Unfixed,
}

/// The images to rebuild, by place, each with its bases in the order of its declared parents.
pub(super) type Wires = BTreeMap<usize, Vec<Base>>;

/// Decides for each dependency to which release it leads.
#[derive(Debug)]
pub(super) struct Wiring<'a> {
    pub(super) index: &'a Index<'a>,
    pub(super) latest: &'a Latest,
    /// The rebuilds that exist already, by their original.
    pub(super) already_rebuilt: &'a BTreeMap<Nvr, Nvr>,
    /// Published images that are used instead of unfixed ones.
    pub(super) stand_ins: BTreeMap<usize, usize>,
    stays: BTreeMap<(usize, usize), Stay>,
}

impl<'a> Wiring<'a> {
    pub(super) fn new(index: &'a Index<'a>, latest: &'a Latest, already_rebuilt: &'a BTreeMap<Nvr, Nvr>) -> Self {
        Self { index, latest, already_rebuilt, stand_ins: BTreeMap::new(), stays: BTreeMap::new() }
    }

    /// Returns all images that are rebuilt if these are, parents before children and without
    /// cycles.
    ///
    /// The algorithm repeats two steps until there is no cycle: it follows all dependencies, and
    /// moves some dependencies of each cycle back to where they were declared.
    ///
    /// # Errors
    /// The members of each cycle that the catalog declared, and that was not made by moving to
    /// other releases.
    pub(super) fn wire(&mut self, roots: &BTreeSet<usize>) -> Result<(Wires, Vec<usize>), Vec<BTreeSet<usize>>> {
        loop {
            let reached = Index::walk(roots.iter().copied(), |place| self.rebuilt_parents(place));
            let wires: Wires = reached.into_iter().map(|place| (place, self.bases(place).collect())).collect();
            let order = graph(&wires).topological_order();
            // Each round moves at least one dependency back to where it was declared, or finds that
            // its target is rebuilt anyway. So the loop ends.
            if order.len() < wires.len() {
                self.open_cycles(&wires)?;
            } else if !self.use_what_is_rebuilt(&wires) {
                return Ok((wires, order));
            }
        }
    }

    fn bases(&self, place: usize) -> impl Iterator<Item = Base> {
        self.index.parents(place).iter().enumerate().map(move |(number, declared)| self.base(place, number, declared))
    }

    fn rebuilt_parents(&self, place: usize) -> Vec<usize> {
        self.bases(place).filter_map(|base| base.rebuilt()).collect()
    }

    fn base(&self, child: usize, number: usize, declared: &Declared<'_>) -> Base {
        let as_is = || Base::AsIs(declared.nvr.clone());
        let Some(parent) = declared.place.filter(|parent| self.index.needs_fix(*parent)) else {
            return self.already_rebuilt.get(declared.nvr).cloned().map_or_else(as_is, Base::AsIs);
        };
        let base = match self.stays.get(&(child, number)) {
            Some(Stay::Unfixed) => return Base::Unfixed(declared.nvr.clone()),
            Some(Stay::Rebuilt) => parent,
            None => self.latest.successor(self.index, parent).unwrap_or(parent),
        };
        if let Some(rebuilt) = self.already_rebuilt.get(self.index.nvr(base)) {
            return Base::AsIs(rebuilt.clone());
        }
        match self.stand_ins.get(&base) {
            Some(stand_in) => Base::AsIs(self.index.nvr(*stand_in).clone()),
            None => Base::Rebuilt(base),
        }
    }

    /// Breaks each strongly connected component by moving dependencies back to what was declared.
    ///
    /// Dependencies of builder stages that were moved go back first, to a parent that is not
    /// rebuilt: an image may well be built with an older release of itself. If there is none,
    /// dependencies of last stages go back, to a parent that is rebuilt.
    fn open_cycles(&mut self, wires: &Wires) -> Result<(), Vec<BTreeSet<usize>>> {
        let mut declared = Vec::new();
        for component in graph(wires).components().into_iter().rev() {
            let members: BTreeSet<usize> = component.into_iter().collect();
            let moved: Vec<_> = members.iter().flat_map(|child| self.moved(*child, &wires[child], &members)).collect();
            let in_builders: Vec<_> = moved.iter().filter(|(_, kind)| *kind != EdgeKind::ParentImage).collect();
            let stay = if in_builders.is_empty() { Stay::Rebuilt } else { Stay::Unfixed };
            let back = if in_builders.is_empty() { moved.iter().collect() } else { in_builders };
            if back.is_empty() && has_cycle(&members, wires) {
                declared.push(members);
                continue;
            }
            self.stays.extend(back.into_iter().map(|(edge, _)| (*edge, stay)));
        }
        if declared.is_empty() { Ok(()) } else { Err(declared) }
    }

    /// Uses the rebuild of a parent that was left unfixed to break a cycle, if it is rebuilt for
    /// another image anyway. Returns whether there was any.
    fn use_what_is_rebuilt(&mut self, wires: &Wires) -> bool {
        let mut any = false;
        for ((child, number), stay) in self.stays.iter_mut().filter(|(_, stay)| **stay == Stay::Unfixed) {
            let parent = self.index.parents(*child)[*number].place;
            if wires.contains_key(child) && parent.is_some_and(|parent| wires.contains_key(&parent)) {
                *stay = Stay::Rebuilt;
                any = true;
            }
        }
        any
    }

    /// Returns the dependencies of a child that lead into the cycle but would not if they were
    /// where they were declared.
    fn moved(&self, child: usize, bases: &[Base], cycle: &BTreeSet<usize>) -> Vec<((usize, usize), EdgeKind)> {
        let declared = self.index.parents(child).iter().zip(bases).enumerate();
        let moved = declared.filter(|(_, (declared, base))| {
            base.rebuilt().is_some_and(|parent| cycle.contains(&parent) && declared.place != Some(parent))
        });
        moved.map(|(number, (declared, _))| ((child, number), declared.kind)).collect()
    }
}

/// Returns whether these places, which all reach each other, form a cycle. A single place does only
/// if it depends on itself.
fn has_cycle(members: &BTreeSet<usize>, wires: &Wires) -> bool {
    members.len() > 1 || members.iter().any(|place| wires[place].contains(&Base::Rebuilt(*place)))
}

/// Returns what is rebuilt on what, from parent to child. The lower place is first where there is a
/// choice.
fn graph(wires: &Wires) -> KeyedGraph<usize> {
    let edges = wires
        .iter()
        .flat_map(|(child, bases)| bases.iter().filter_map(Base::rebuilt).map(move |parent| (parent, *child)));
    KeyedGraph::new(wires.keys().copied(), edges)
}
