//! Shared by the catalogs of released images, Lightblue and Pyxis: which images count, and how they
//! are described.
//!
//! A catalog asks its service for repositories and for architectures of images. The questions,
//! their order, and which of the answers count are the same for both, and are here.

mod catalog;
mod rebuilt;

use crate::contracts::Containing;
use crate::image::{CatalogImage, Unmet};
use async_trait::async_trait;
use catalog::Architectures;
pub(crate) use catalog::{Entry, Image, Repositories, Repository};
use freshmaker::artifact::Nvr;
use freshmaker::backend::{Error, Remedy, Result};
pub(crate) use rebuilt::{images_in, rebuilt};
use std::collections::{BTreeMap, BTreeSet};

/// Names a repository that is not published, and whose images are rebuilt all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnpublishedRepository {
    /// The registry that has the repository, such as `registry.example.com`.
    pub registry: String,
    /// The name of the repository, such as `rhel8/support-tools`.
    pub repository: String,
}

/// Returns what is wrong with exceptions of a configuration.
pub(crate) fn check_exceptions(exceptions: &BTreeSet<UnpublishedRepository>) -> std::result::Result<(), &'static str> {
    if exceptions.iter().any(|it| it.registry.is_empty() || it.repository.is_empty()) {
        return Err("`unpublished_exceptions` needs a registry and a repository in each");
    }
    Ok(())
}

/// The questions to a service. Each may answer with more than was asked for.
#[async_trait]
pub(crate) trait Catalog: Sync {
    /// Returns the name of the service, for errors.
    fn name(&self) -> &'static str;

    /// Returns the registries that only builds use.
    fn build_registries(&self) -> &BTreeSet<String>;

    /// Returns the release categories of repositories whose images are rebuilt; if empty, all.
    fn release_categories(&self) -> &BTreeSet<String>;

    /// Returns the unpublished repositories whose images are rebuilt all the same.
    fn unpublished_exceptions(&self) -> &BTreeSet<UnpublishedRepository>;

    /// Returns the repositories whose images are offered, with those that have no tags.
    async fn offered_repositories(&self) -> Result<Vec<Repository>>;

    /// Returns the repositories of these names, in whichever registry they are.
    async fn named_repositories(&self, names: BTreeSet<String>) -> Result<Vec<Repository>>;

    /// Returns the repositories of these names and of the configured vendors.
    async fn own_repositories(&self, names: BTreeSet<String>) -> Result<Vec<Repository>>;

    /// Returns the published images in these repositories. If no packages are asked for, those with
    /// any packages.
    async fn images_in(&self, repositories: &Repositories, wanted: &Containing) -> Result<Vec<Image>>;

    /// Returns the images of these builds.
    async fn images_of(&self, builds: &BTreeSet<String>, packages: &BTreeSet<String>) -> Result<Vec<Image>>;

    /// Returns the published images of these names and versions.
    async fn releases_of(
        &self,
        names_and_versions: &BTreeSet<(String, String)>,
        packages: &BTreeSet<String>,
    ) -> Result<Vec<Image>>;
}

/// Returns whether the entry is one of users, and not only of builds.
fn is_public(catalog: &impl Catalog, entry: &Entry) -> bool {
    entry.registry.as_ref().is_none_or(|registry| !catalog.build_registries().contains(registry))
}

/// Describes images, after asking for those of their repositories that are not known.
async fn describe(
    catalog: &impl Catalog,
    images: BTreeMap<Nvr, Architectures>,
    mut known: Repositories,
) -> Result<Vec<CatalogImage>> {
    // An entry that is not published is the same in every repository.
    let matters = |entry: &&Entry| entry.published && is_public(catalog, entry) && !known.has(entry);
    let entries = images.values().flat_map(|image| &image.entries).filter(matters);
    let missing: BTreeSet<_> = entries.map(|entry| entry.repository.clone()).collect();
    if !missing.is_empty() {
        known.extend(catalog.named_repositories(missing).await?);
    }
    let describe = |(nvr, image): (Nvr, Architectures)| {
        let publication = known.publication(image.entries.iter().filter(|entry| is_public(catalog, entry)));
        image.describe(nvr, publication, catalog.name())
    };
    Ok(images.into_iter().map(describe).collect())
}

/// Answers [`Images::containing`](crate::contracts::Images::containing).
pub(crate) async fn containing(catalog: &impl Catalog, wanted: &Containing) -> Result<Vec<CatalogImage>> {
    if wanted.packages.is_empty() {
        return Ok(Vec::new());
    }
    let offered = catalog.offered_repositories().await?.into_iter();
    let (rebuilt, others): (Vec<_>, Vec<_>) = offered.partition(|it| !it.auto_rebuild_tags.is_empty());
    let name = catalog.name();
    tracing::debug!(catalog = name, rebuilt = rebuilt.len(), without_tags = others.len(), "repositories in a catalog");
    let repositories = Repositories::new(rebuilt);
    let mut images = catalog::unite(catalog.images_in(&repositories, wanted).await?, name);
    let answered = images.len();
    images.retain(|_, image| {
        let rebuilt = image.entries.iter().any(|entry| is_public(catalog, entry) && repositories.is_rebuilt(entry));
        let used = wanted.content_sets.is_empty() || !wanted.content_sets.is_disjoint(&image.content_sets);
        rebuilt && used && image.may_contain(&wanted.packages)
    });
    tracing::debug!(catalog = name, answered, meant = images.len(), "images in a catalog that contain packages");
    let images = describe(catalog, images, repositories).await?;
    Ok(images.into_iter().map(CatalogImage::affected).collect())
}

/// Returns how catalogs write the build of an image: without an epoch.
fn build(nvr: &Nvr) -> String {
    format!("{}-{}-{}", nvr.name(), nvr.version(), nvr.release())
}

/// Answers [`InstalledPackages::unmet`](crate::contracts::InstalledPackages::unmet).
pub(crate) async fn unmet(catalog: &impl Catalog, image: &Nvr, demands: &BTreeSet<Nvr>) -> Result<Option<Vec<Unmet>>> {
    let corrupt = |text: String| Error::new(Remedy::Corrupt, format!("{}: {image}", catalog.name()), text);
    let names = demands.iter().map(|demand| demand.name().to_owned()).collect();
    let build = build(image);
    let mut images = catalog.images_of(&[build.clone()].into(), &names).await?;
    images.retain(|image| image.build.as_ref() == Some(&build));
    let Some(contents) = catalog::contents(&images).map_err(corrupt)? else { return Ok(None) };
    let demands: std::result::Result<_, _> = demands.iter().map(catalog::without_epoch).collect();
    Ok(Some(contents.unmet(&demands.map_err(|error| corrupt(error.to_string()))?)))
}

/// Answers [`Images::images`](crate::contracts::Images::images).
pub(crate) async fn images(
    catalog: &impl Catalog,
    nvrs: &BTreeSet<Nvr>,
    packages: &BTreeSet<String>,
) -> Result<Vec<CatalogImage>> {
    let builds: BTreeSet<_> = nvrs.iter().map(build).collect();
    let mut images = catalog::unite(catalog.images_of(&builds, packages).await?, catalog.name());
    images.retain(|nvr, _| builds.contains(&nvr.to_string()));
    describe(catalog, images, Repositories::default()).await
}

/// Answers [`Images::offered`](crate::contracts::Images::offered).
pub(crate) async fn offered(
    catalog: &impl Catalog,
    names_and_versions: &BTreeSet<(String, String)>,
    packages: &BTreeSet<String>,
) -> Result<Vec<CatalogImage>> {
    let mut images = catalog::unite(catalog.releases_of(names_and_versions, packages).await?, catalog.name());
    images.retain(|nvr, image| {
        let wanted = names_and_versions.contains(&(nvr.name().to_owned(), nvr.version().to_owned()));
        wanted && image.entries.iter().any(|entry| entry.published && is_public(catalog, entry))
    });
    describe(catalog, images, Repositories::default()).await
}

/// Returns the things in lists of at most `size`.
pub(crate) fn chunks<T: Clone>(things: impl IntoIterator<Item = T>, size: usize) -> Vec<Vec<T>> {
    let things: Vec<T> = things.into_iter().collect();
    things.chunks(size).map(<[T]>::to_vec).collect()
}

/// Returns a regular expression for the builds of this name and version.
pub(crate) fn begins_with((name, version): &(String, String)) -> String {
    format!("^{}-{}-", escaped(name), escaped(version))
}

/// Returns a regular expression that matches this text alone. A backslash before a character that
/// is no letter and no digit means that character, in the expressions of Java and of MongoDB.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && c != '_' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        for (text, expression) in [
            ("ubi9-container", r"ubi9\-container"),
            ("9.4", r"9\.4"),
            ("c++_x", r"c\+\+_x"),
            ("a^b$c|d(e)", r"a\^b\$c\|d\(e\)"),
            (r"a\d", r"a\\d"),
            ("é1", "é1"),
        ] {
            assert_eq!(escaped(text), expression);
        }
    }
}
