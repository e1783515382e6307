use super::CatalogImage;
use super::fixes::Fixes;
use freshmaker::artifact::Nvr;
use freshmaker::graph::EdgeKind;
use std::collections::{BTreeMap, BTreeSet};

/// A parent as an image declares it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared<'a> {
    pub(super) nvr: &'a Nvr,
    pub(super) kind: EdgeKind,
    /// Its place in the index, if the catalog knows it.
    pub(super) place: Option<usize>,
}

/// Images by place: a number that follows the order of their names, so that nothing depends on the order in which they were told.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) images: Vec<&'a CatalogImage>,
    places: BTreeMap<&'a Nvr, usize>,
    parents: Vec<Vec<Declared<'a>>>,
    groups: Vec<usize>,
    needs_fix: Vec<bool>,
}

impl<'a> Index<'a> {
    pub(super) fn new(images: &'a BTreeMap<Nvr, CatalogImage>, fixes: &Fixes) -> Self {
        let places: BTreeMap<&Nvr, usize> = images.keys().zip(0..).collect();
        let declared = |image: &'a CatalogImage| {
            let parents = image.parents.iter();
            parents.map(|(nvr, kind)| Declared { nvr, kind: *kind, place: places.get(nvr).copied() }).collect()
        };
        let parents = images.values().map(declared).collect();
        let needs_fix = images.values().map(|image| fixes.find(image.rpms.as_ref()).needs_fix()).collect();
        let mut index = Self { images: images.values().collect(), places, parents, groups: Vec::new(), needs_fix };
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

    /// Whether what is to be fixed is in it, or may be.
    pub(super) fn needs_fix(&self, place: usize) -> bool {
        self.needs_fix[place]
    }

    /// The parents that need the fix, too.
    pub(super) fn unfixed_parents(&self, place: usize) -> impl Iterator<Item = usize> {
        self.parents[place].iter().filter_map(|parent| parent.place).filter(|parent| self.needs_fix[*parent])
    }

    /// A number for name, version and set of repositories.
    pub(super) fn group(&self, place: usize) -> usize {
        self.groups[place]
    }

    /// The repositories of an image; a rebuild that is in none is where the build before it is.
    pub(super) fn repositories(&self, place: usize) -> &'a BTreeSet<String> {
        let image = self.images[place];
        let mut found = image;
        let mut before = image.nvr.before_rebuild();
        // Each step takes a part of the release away.
        while let Some(nvr) = before.filter(|_| found.repositories.is_empty()) {
            found = self.place(&nvr).map_or(found, |place| self.images[place]);
            before = nvr.before_rebuild();
        }
        &found.repositories
    }

    /// Everything that a walk from these places reaches, themselves included.
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
