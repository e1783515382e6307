use super::CatalogImage;
use super::fixes::{Finding, Fixes};
use freshmaker::artifact::Nvr;
use freshmaker::graph::EdgeKind;
use std::collections::{BTreeMap, BTreeSet};

/// A parent as an image declares it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared<'a> {
    pub(super) nvr: &'a Nvr,
    pub(super) kind: EdgeKind,
    /// The number of the parent in the index, if the catalog knows it.
    pub(super) place: Option<usize>,
}

/// Images by place. A place is a number in the order of the images' names, so that results do not
/// depend on the order in which images were added.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) images: Vec<&'a CatalogImage>,
    places: BTreeMap<&'a Nvr, usize>,
    parents: Vec<Vec<Declared<'a>>>,
    groups: Vec<usize>,
    findings: Vec<Finding<'a>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(images: &'a BTreeMap<Nvr, CatalogImage>, fixes: &'a Fixes) -> Self {
        let places: BTreeMap<&Nvr, usize> = images.keys().zip(0..).collect();
        let declared = |image: &'a CatalogImage| {
            let parents = image.parents.iter();
            parents.map(|(nvr, kind)| Declared { nvr, kind: *kind, place: places.get(nvr).copied() }).collect()
        };
        let parents = images.values().map(declared).collect();
        let findings = images.values().map(|image| fixes.find(image.rpms.as_ref())).collect();
        let mut index = Self { images: images.values().collect(), places, parents, groups: Vec::new(), findings };
        index.groups = index.find_groups();
        index
    }

    pub(super) fn place(&self, nvr: &Nvr) -> Option<usize> {
        self.places.get(nvr).copied()
    }

    pub(super) fn nvr(&self, place: usize) -> &'a Nvr {
        &self.images[place].nvr
    }

    pub(super) fn parents(&self, place: usize) -> &[Declared<'a>] {
        &self.parents[place]
    }

    /// Returns whether the image contains a package that must be fixed, or may contain one.
    pub(super) fn needs_fix(&self, place: usize) -> bool {
        self.findings[place].needs_fix()
    }

    /// Returns how the packages of the image compare with the fixes.
    pub(super) fn finding(&self, place: usize) -> Finding<'a> {
        self.findings[place]
    }

    /// Returns the parents that need the fix as well.
    pub(super) fn unfixed_parents(&self, place: usize) -> impl Iterator<Item = usize> {
        self.parents[place].iter().filter_map(|parent| parent.place).filter(|parent| self.needs_fix(*parent))
    }

    /// Returns the number of the group: images with the same name, version and set of repositories.
    pub(super) fn group(&self, place: usize) -> usize {
        self.groups[place]
    }

    /// Returns the repositories of an image. A rebuild without repositories has those of the build
    /// before it.
    pub(super) fn repositories(&self, place: usize) -> &'a BTreeSet<String> {
        let image = self.images[place];
        let mut found = image;
        let mut before = if found.repositories.is_empty() { image.nvr.before_rebuild() } else { None };
        // This ends, because each step removes a part of the release.
        while let Some(nvr) = before.filter(|_| found.repositories.is_empty()) {
            found = self.place(&nvr).map_or(found, |place| self.images[place]);
            before = nvr.before_rebuild();
        }
        &found.repositories
    }

    /// Returns all places that a walk from these places reaches, including these.
    pub(super) fn walk<I: IntoIterator<Item = usize>>(
        starts: impl IntoIterator<Item = usize>,
        next: impl Fn(usize) -> I,
    ) -> BTreeSet<usize> {
        let mut waiting: Vec<usize> = starts.into_iter().collect();
        let mut reached = BTreeSet::new();
        while let Some(place) = waiting.pop() {
            if reached.insert(place) {
                waiting.extend(next(place));
            }
        }
        reached
    }

    fn find_groups(&self) -> Vec<usize> {
        let mut numbers = BTreeMap::new();
        let mut number_of = |place: usize| {
            let nvr = self.nvr(place);
            let next = numbers.len();
            *numbers.entry((nvr.name(), nvr.version(), self.repositories(place))).or_insert(next)
        };
        (0..self.images.len()).map(&mut number_of).collect()
    }
}
