//! Unites the objects of a catalog about one image, one for each architecture, into a release.

use crate::image::{CatalogImage, Contents, Publication};
use crate::rest::field::{Read, all, maybe_at, names, optional, texts};
use freshmaker::artifact::{Nvr, NvrError};
use freshmaker::graph::EdgeKind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Release category of what is offered without reservation.
const GENERALLY_AVAILABLE: &str = "Generally Available";
/// Release categories of what other images should not move to.
const RESERVED: [&str; 3] = ["Beta", "Deprecated", "Tech Preview"];

/// A repository of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    pub(crate) registry: Option<String>,
    pub(crate) name: String,
    pub(crate) published: bool,
    pub(crate) auto_rebuild_tags: BTreeSet<String>,
    pub(crate) release_categories: BTreeSet<String>,
}

/// The place of an image in a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) registry: Option<String>,
    pub(crate) repository: String,
    pub(crate) published: bool,
    pub(crate) tags: BTreeSet<String>,
}

impl Entry {
    /// Returns whether the entry is about this repository. A registry that one of them does not
    /// name fits all.
    pub(super) fn is_of(&self, repository: &Repository) -> bool {
        let registries = self.registry.as_ref().zip(repository.registry.as_ref());
        self.repository == repository.name && registries.is_none_or(|(ours, theirs)| ours == theirs)
    }
}

/// One architecture of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) id: Option<String>,
    pub(crate) architecture: Option<String>,
    /// The NVR, if the image has data of its build.
    pub(crate) build: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) content_sets: BTreeSet<String>,
    pub(crate) entries: BTreeSet<Entry>,
    pub(crate) labels: BTreeSet<String>,
    /// The packages that were asked for, with their architectures; `None` if they are unknown.
    pub(crate) rpms: Option<BTreeSet<String>>,
}

impl Image {
    /// Reads what the services write in the same way: all but the packages.
    pub(crate) fn read(value: &Value, entry: fn(&Value) -> Read<Entry>) -> Read<Self> {
        Ok(Self {
            id: optional(value, "_id")?,
            architecture: optional(value, "architecture")?,
            build: maybe_at(value, "brew", |brew| optional(brew, "build"))?.flatten(),
            parent: optional(value, "parent_brew_build")?,
            content_sets: texts(value, "content_sets")?,
            entries: all(value, "repositories", entry)?,
            labels: maybe_at(value, "parsed_data", |parsed| names(parsed, "labels"))?.unwrap_or_default(),
            rpms: None,
        })
    }
}

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
    pub(super) fn describe(self, nvr: Nvr, publication: Publication, catalog: &str) -> CatalogImage {
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
        if faults.is_empty() { image } else { image.with_lookup_error(format!("{catalog}: {}", faults.join("; "))) }
    }
}

/// Returns the package of an installed RPM, without its architecture and epoch.
fn package(nvra: &str) -> Result<Nvr, NvrError> {
    without_epoch(&Nvr::of_rpm(nvra)?)
}

/// Returns the name, version and release of a package.
pub(super) fn without_epoch(nvr: &Nvr) -> Result<Nvr, NvrError> {
    if nvr.epoch().is_none() {
        return Ok(nvr.clone());
    }
    format!("{}-{}-{}", nvr.name(), nvr.version(), nvr.release()).parse()
}

/// Returns the packages in the architectures of one image; `None` if there are no architectures, or
/// the packages of one of them are unknown.
///
/// # Errors
/// A text with the name of a package that makes no sense.
pub(super) fn contents(images: &[Image]) -> Result<Option<Contents>, String> {
    let mut contents = Contents::default();
    for image in images {
        let Some(rpms) = &image.rpms else { return Ok(None) };
        let architecture = image.architecture.as_deref().unwrap_or("an unknown architecture");
        for rpm in rpms {
            let package = package(rpm).map_err(|error| format!("rpm_manifest.*.rpms.*.nvra: {error}"))?;
            contents.install(architecture, package);
        }
    }
    Ok((!images.is_empty()).then_some(contents))
}

/// Unites architectures by NVR. Images that have none are counted and left out.
pub(super) fn unite(images: Vec<Image>, catalog: &str) -> BTreeMap<Nvr, Architectures> {
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
        tracing::warn!(catalog, images, first, "images in a catalog without the NVR of a build are left out");
    }
    united
}

/// Repositories by name; several registries can have one of the same name.
#[derive(Debug, Default)]
pub(crate) struct Repositories {
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

    /// Returns names of repositories, at most `size` together, with all tags of which their images
    /// are rebuilt.
    pub(crate) fn parts(&self, size: usize) -> Vec<(Vec<String>, BTreeSet<String>)> {
        let all: Vec<_> = self.by_name.iter().collect();
        let part = |part: &[(&String, &Vec<Repository>)]| {
            let same = part.iter().flat_map(|(_, repositories)| *repositories);
            let tags = same.flat_map(|repository| &repository.auto_rebuild_tags).cloned().collect();
            (part.iter().map(|(name, _)| (*name).clone()).collect(), tags)
        };
        all.chunks(size).map(part).collect()
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

    fn texts(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn repository(registry: Option<&str>, name: &str, published: bool, categories: &[&str]) -> Repository {
        Repository {
            registry: registry.map(str::to_owned),
            name: name.to_owned(),
            published,
            auto_rebuild_tags: texts(&["latest"]),
            release_categories: texts(categories),
        }
    }

    fn entry(registry: Option<&str>, name: &str, published: bool, tag: &str) -> Entry {
        let registry = registry.map(str::to_owned);
        Entry { registry, repository: name.to_owned(), published, tags: texts(&[tag]) }
    }

    #[test]
    fn publication_is_that_of_the_best_repository() {
        let repositories = Repositories::new(vec![
            repository(None, "ga", true, &["Generally Available"]),
            repository(None, "beta", true, &["Beta"]),
            repository(None, "tech", true, &["Tech Preview"]),
            repository(None, "old", true, &["Deprecated"]),
            repository(None, "both", true, &["Generally Available", "Beta"]),
            repository(None, "none", true, &[]),
            repository(None, "eus", false, &["Generally Available"]),
        ]);
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
            let read: Vec<_> = entries.iter().map(|(name, published)| entry(None, name, *published, "1")).collect();
            assert_eq!(repositories.publication(read.iter()), publication, "{entries:?}");
        }
    }

    #[test]
    fn a_tag_of_its_own_repository_counts() {
        let repositories = Repositories::new(vec![repository(None, "app", true, &[])]);
        for (name, tag, rebuilt) in [("app", "latest", true), ("app", "1", false), ("other", "latest", false)] {
            assert_eq!(repositories.is_rebuilt(&entry(None, name, true, tag)), rebuilt, "{name} {tag}");
        }
    }

    #[test]
    fn a_registry_that_is_not_named_fits_all() {
        let of = |ours, theirs, name| entry(ours, "a/b", true, "1").is_of(&repository(theirs, name, true, &[]));
        assert!(of(Some("r"), Some("r"), "a/b"));
        assert!(of(None, Some("r"), "a/b"));
        assert!(of(Some("r"), None, "a/b"));
        assert!(!of(Some("r"), Some("s"), "a/b"));
        assert!(!of(None, Some("r"), "a/c"));
    }

    #[test]
    fn a_package_has_no_epoch_and_no_architecture() {
        for text in ["bash-5.1-6.el9.x86_64", "bash-0:5.1-6.el9.x86_64", "4:bash-5.1-6.el9.src.rpm"] {
            assert_eq!(package(text).unwrap().to_string(), "bash-5.1-6.el9", "{text}");
        }
    }
}
