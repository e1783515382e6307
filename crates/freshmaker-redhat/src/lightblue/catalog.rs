//! Puts together what Lightblue says about one image, and says it as a release.

use super::record::{Entry, Image, Repository};
use crate::image::{CatalogImage, Publication};
use freshmaker::artifact::Nvr;
use freshmaker::graph::EdgeKind;
use std::collections::{BTreeMap, BTreeSet};

/// Release category of what is offered without reservation.
const GENERALLY_AVAILABLE: &str = "Generally Available";
/// Release categories of what other images should not move to.
const RESERVED: [&str; 3] = ["Beta", "Deprecated", "Tech Preview"];

/// The architectures of one image, united.
#[derive(Debug, Default)]
pub(super) struct Architectures {
    parents: BTreeSet<String>,
    pub(super) content_sets: BTreeSet<String>,
    pub(super) entries: BTreeSet<Entry>,
    labels: BTreeSet<String>,
    rpms: Option<BTreeSet<String>>,
}

impl Architectures {
    fn add(&mut self, image: Image) {
        self.parents.extend(image.parent);
        self.content_sets.extend(image.content_sets);
        self.entries.extend(image.entries);
        self.labels.extend(image.labels);
        if let Some(rpms) = image.rpms {
            self.rpms.get_or_insert_default().extend(rpms);
        }
    }

    /// Returns whether one of these packages is among the known ones, or packages are unknown.
    pub(super) fn may_contain(&self, packages: &BTreeSet<String>) -> bool {
        let Some(rpms) = &self.rpms else { return true };
        // What cannot be read may be one of them.
        rpms.iter().any(|rpm| package(rpm).map_or(true, |rpm| packages.contains(rpm.name())))
    }

    /// Describes the image as a release, with the faults of its description as a lookup error.
    pub(super) fn describe(self, nvr: Nvr, publication: Publication) -> CatalogImage {
        let mut image = CatalogImage::new(nvr).with_publication(publication);
        let mut faults = Vec::new();
        for parent in self.parents {
            match parent.parse() {
                Ok(parent) => image = image.with_parent(parent, EdgeKind::ParentImage),
                Err(error) => faults.push(format!("parent_brew_build: {error}")),
            }
        }
        image = self.entries.into_iter().fold(image, |image, entry| image.in_repository(entry.repository));
        image = self.content_sets.into_iter().fold(image, CatalogImage::with_content_set);
        image = self.labels.into_iter().fold(image, CatalogImage::with_label);
        let rpms = self.rpms.map(|rpms| rpms.iter().map(|rpm| package(rpm)).collect::<Result<Vec<_>, _>>());
        match rpms {
            None => {}
            Some(Ok(rpms)) => image = rpms.into_iter().fold(image.with_known_rpms(), CatalogImage::with_rpm),
            // The packages count as unknown.
            Some(Err(error)) => faults.push(format!("rpm_manifest.*.rpms.*.nvra: {error}")),
        }
        if faults.is_empty() { image } else { image.with_lookup_error(format!("lightblue: {}", faults.join("; "))) }
    }
}

/// Returns the package of an installed RPM, without its architecture and epoch.
fn package(nvra: &str) -> Result<Nvr, freshmaker::artifact::NvrError> {
    let rpm = Nvr::of_rpm(nvra)?;
    if rpm.epoch().is_none() { Ok(rpm) } else { format!("{}-{}-{}", rpm.name(), rpm.version(), rpm.release()).parse() }
}

/// Unites architectures by NVR. Images that have none are counted and left out.
pub(super) fn unite(images: Vec<Image>) -> BTreeMap<Nvr, Architectures> {
    let mut united: BTreeMap<Nvr, Architectures> = BTreeMap::new();
    let mut nameless = BTreeSet::new();
    for image in images {
        match image.build.as_deref().map(str::parse::<Nvr>) {
            Some(Ok(nvr)) => united.entry(nvr).or_default().add(image),
            // An image can be in several answers of one decision.
            Some(Err(error)) => drop(nameless.insert(format!("{}: {error}", image.id.unwrap_or_default()))),
            None => drop(nameless.insert(format!("{}: no build", image.id.unwrap_or_default()))),
        }
    }
    if let Some(first) = nameless.first() {
        let images = nameless.len();
        tracing::warn!(images, first, "images in Lightblue without the NVR of a build are left out");
    }
    united
}

/// Repositories by name; several registries can have one of the same name.
#[derive(Debug, Default)]
pub(super) struct Repositories {
    by_name: BTreeMap<String, Vec<Repository>>,
}

impl Repositories {
    pub(super) fn new(repositories: Vec<Repository>) -> Self {
        let mut all = Self::default();
        all.extend(repositories);
        all
    }

    pub(super) fn extend(&mut self, repositories: Vec<Repository>) {
        for repository in repositories {
            let same = self.by_name.entry(repository.name.clone()).or_default();
            if !same.contains(&repository) {
                same.push(repository);
            }
        }
    }

    /// Returns names and repositories, in the order of the names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<Repository>)> {
        self.by_name.iter()
    }

    /// Returns the repositories that the entry may be about.
    fn of<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Repository> {
        let same = self.by_name.get(&entry.repository).into_iter().flatten();
        same.filter(|repository| entry.is_of(repository))
    }

    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.of(entry).next().is_some()
    }

    /// Returns whether the entry has a tag whose images its own repository wants to be rebuilt.
    pub(super) fn is_rebuilt(&self, entry: &Entry) -> bool {
        self.of(entry).any(|repository| !repository.auto_rebuild_tags.is_disjoint(&entry.tags))
    }

    /// Returns how far the publication of an image with these entries has come.
    pub(super) fn publication<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Publication {
        let of_repository = |repository: &Repository| {
            let categories = &repository.release_categories;
            let reserved = RESERVED.iter().any(|category| categories.contains(*category));
            match (repository.published, reserved) {
                (false, _) => Publication::Unpublished,
                (true, false) if categories.contains(GENERALLY_AVAILABLE) => Publication::Released,
                (true, _) => Publication::Published,
            }
        };
        let published = entries.filter(|entry| entry.published);
        let all = published.map(|entry| self.of(entry).map(of_repository).max());
        all.flatten().max().unwrap_or(Publication::Unpublished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn repository(name: &str, published: bool, categories: &[&str]) -> Repository {
        let object = json!({ "repository": name, "published": published, "release_categories": categories });
        Repository::read(&object).unwrap()
    }

    #[test]
    fn publication_is_that_of_the_best_repository() {
        let repositories = Repositories::new(vec![
            repository("ga", true, &["Generally Available"]),
            repository("beta", true, &["Beta"]),
            repository("tech", true, &["Tech Preview"]),
            repository("old", true, &["Deprecated"]),
            repository("both", true, &["Generally Available", "Beta"]),
            repository("none", true, &[]),
            repository("eus", false, &["Generally Available"]),
        ]);
        let entry = |name: &str, published: bool| {
            let object = json!({ "repositories": [{ "repository": name, "published": published }] });
            Image::read(&object).unwrap().entries.pop_first().unwrap()
        };
        for (entries, publication) in [
            (vec![("ga", true)], Publication::Released),
            (vec![("ga", false)], Publication::Unpublished),
            (vec![("beta", true)], Publication::Published),
            (vec![("tech", true)], Publication::Published),
            (vec![("old", true)], Publication::Published),
            (vec![("both", true)], Publication::Published),
            (vec![("none", true)], Publication::Published),
            (vec![("eus", true)], Publication::Unpublished),
            (vec![("other", true)], Publication::Unpublished),
            (vec![("beta", true), ("ga", true)], Publication::Released),
            (vec![("beta", true), ("ga", false)], Publication::Published),
            (vec![], Publication::Unpublished),
        ] {
            let read: Vec<_> = entries.iter().map(|(name, published)| entry(name, *published)).collect();
            assert_eq!(repositories.publication(read.iter()), publication, "{entries:?}");
        }
    }

    #[test]
    fn a_package_has_no_epoch_and_no_architecture() {
        for text in ["bash-5.1-6.el9.x86_64", "bash-0:5.1-6.el9.x86_64", "4:bash-5.1-6.el9.src.rpm"] {
            assert_eq!(package(text).unwrap().to_string(), "bash-5.1-6.el9", "{text}");
        }
    }
}
