use freshmaker::artifact::Nvr;
use std::collections::{BTreeMap, BTreeSet};

/// What is built on what.
#[derive(Debug, Default)]
pub(super) struct Family {
    children: BTreeMap<Nvr, BTreeSet<Nvr>>,
    members: BTreeSet<Nvr>,
}

impl Family {
    pub(super) fn add(&mut self, child: &Nvr, parent: &Nvr) {
        self.members.extend([child.clone(), parent.clone()]);
        self.children.entry(parent.clone()).or_default().insert(child.clone());
    }

    /// Returns all images that are built on others, or others on them.
    pub(super) fn members(&self) -> impl Iterator<Item = &Nvr> {
        self.members.iter()
    }

    /// Returns all images that are built on these, at any distance. One of these is among them only
    /// if it is built on another one.
    ///
    /// ```text
    /// base <- python <- shop, tools <- shop
    /// descendants(base) = python, shop
    /// ```
    pub(super) fn descendants(&self, of: impl IntoIterator<Item = Nvr>) -> BTreeSet<Nvr> {
        let mut waiting: Vec<Nvr> = of.into_iter().collect();
        let mut found = BTreeSet::new();
        while let Some(parent) = waiting.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                if found.insert(child.clone()) {
                    waiting.push(child.clone());
                }
            }
        }
        found
    }
}

/// The name and version of an image. Builds that have both in common are releases of one image.
pub(super) fn group(nvr: &Nvr) -> (String, String) {
    (nvr.name().to_owned(), nvr.version().to_owned())
}
