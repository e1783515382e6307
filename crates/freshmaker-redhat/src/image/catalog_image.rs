use crate::contracts::Recipe;
use freshmaker::Reason;
use freshmaker::artifact::{Artifact, ArtifactKind, Nvr};
use freshmaker::graph::EdgeKind;
use std::collections::BTreeSet;

/// The label of images that were made for the problem of one customer. Other images do not replace
/// them.
pub(super) const HOTFIX_LABEL: &str = "com.redhat.hotfix";

/// How far the publication of a release has come. The states are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Publication {
    /// The catalog does not say.
    #[default]
    Unknown,
    /// The image is in no published repository.
    Unpublished,
    /// The image is in a published repository, but other images should not move to it: it is a
    /// beta, a technology preview, or not offered any more.
    Published,
    /// The image is generally available and offered now. It replaces older releases of its group.
    Released,
}

/// A release of a container image, as a catalog knows it: the input of
/// [`Releases`](super::Releases).
///
/// Start with the NVR, and add with each method what the catalog knows. What is not added counts as
/// unknown. An image whose packages are unknown counts as affected by the fix.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker_redhat::image::{CatalogImage, Publication};
///
/// let image = CatalogImage::new("python-container-3.9-12".parse()?)
///     .with_source("https://git.example.com/containers/python", Some("3a74023"))
///     .with_parent("ubi9-container-9.4-1123".parse()?, EdgeKind::ParentImage)
///     .with_parent("go-toolset-container-1.21-7".parse()?, EdgeKind::BuilderStage)
///     .in_repository("ubi9/python-39")
///     .with_content_set("rhel-9-baseos-rpms")
///     .with_rpm("bash-5.1.8-6.el9".parse()?)
///     .with_publication(Publication::Released)
///     .affected();
/// assert_eq!(image.nvr().name(), "python-container");
/// # Ok::<(), freshmaker::artifact::NvrError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CatalogImage {
    pub(super) nvr: Nvr,
    pub(super) artifact: Artifact,
    pub(super) parents: BTreeSet<(Nvr, EdgeKind)>,
    pub(super) repositories: BTreeSet<String>,
    pub(super) content_sets: BTreeSet<String>,
    /// Content sets of a child, used only if the image has none of its own.
    pub(super) borrowed_content_sets: BTreeSet<String>,
    pub(super) rpms: Option<BTreeSet<Nvr>>,
    pub(super) labels: BTreeSet<String>,
    pub(super) composes: BTreeSet<i64>,
    pub(super) publication: Publication,
    pub(super) affected: bool,
    /// Whether a person asked for this very image.
    pub(super) named: bool,
    pub(super) rejected: Option<Reason>,
    /// Why it is rebuilt, if that is not because of a fix.
    pub(super) why: Option<Reason>,
    pub(super) error: Option<String>,
}

impl CatalogImage {
    /// Makes an image of which only the NVR is known.
    pub fn new(nvr: Nvr) -> Self {
        Self {
            artifact: Artifact::new(&nvr, ArtifactKind::Image),
            nvr,
            parents: BTreeSet::new(),
            repositories: BTreeSet::new(),
            content_sets: BTreeSet::new(),
            borrowed_content_sets: BTreeSet::new(),
            rpms: None,
            labels: BTreeSet::new(),
            composes: BTreeSet::new(),
            publication: Publication::Unknown,
            affected: false,
            named: false,
            rejected: None,
            why: None,
            error: None,
        }
    }

    /// Returns the image's name, version and release.
    #[must_use]
    pub fn nvr(&self) -> &Nvr {
        &self.nvr
    }

    /// Sets the recipe. An image without one cannot be rebuilt.
    pub fn with_source(mut self, location: impl Into<String>, revision: Option<&str>) -> Self {
        self.artifact = self.artifact.with_source(location, revision);
        self
    }

    /// Sets how the image is built, if there is more than the recipe: target, parameters, build
    /// system. Id and kind of the artifact are ignored.
    pub fn with_artifact(mut self, artifact: Artifact) -> Self {
        self.artifact = Artifact { id: self.artifact.id, kind: self.artifact.kind, ..artifact };
        self
    }

    /// Adds how the image was built.
    pub(super) fn learn(&mut self, Recipe { artifact, parents, composes }: Recipe) {
        let Artifact { id, kind, .. } = &self.artifact;
        self.artifact = Artifact { id: id.clone(), kind: *kind, ..artifact };
        self.parents.extend(parents);
        self.composes.extend(composes);
    }

    /// Adds an image that this one was built from: the image that its last stage starts from
    /// ([`EdgeKind::ParentImage`]), or an image that another stage uses
    /// ([`EdgeKind::BuilderStage`]).
    pub fn with_parent(mut self, parent: Nvr, kind: EdgeKind) -> Self {
        self.parents.insert((parent, kind));
        self
    }

    /// Adds a repository that has the image.
    ///
    /// Releases replace each other only if name, version and all repositories are equal. A rebuild
    /// without repositories (`name-1-5.1764000000`) counts as being where the build before it
    /// (`name-1-5`) is.
    pub fn in_repository(mut self, repository: impl Into<String>) -> Self {
        self.repositories.insert(repository.into());
        self
    }

    /// Adds a content set from which the image's packages come.
    pub fn with_content_set(mut self, content_set: impl Into<String>) -> Self {
        self.content_sets.insert(content_set.into());
        self
    }

    /// Adds a content set of an image that is built from this one. It is used if the catalog has
    /// neither own content sets of this image nor those of an older release.
    pub fn with_content_set_of_child(mut self, content_set: impl Into<String>) -> Self {
        self.borrowed_content_sets.insert(content_set.into());
        self
    }

    /// Adds a package that the image contains.
    ///
    /// The packages that [`Releases::fixing`](super::Releases::fixing) names are enough. Give the
    /// epoch in both places or in neither.
    pub fn with_rpm(mut self, rpm: Nvr) -> Self {
        self.rpms.get_or_insert_default().insert(rpm);
        self
    }

    /// Says that the packages are known, and that those which were added are all that matter;
    /// possibly none.
    pub fn with_known_rpms(mut self) -> Self {
        self.rpms.get_or_insert_default();
        self
    }

    /// Adds the name of a label. An image with `com.redhat.hotfix` is not rebuilt for its own sake.
    pub fn with_label(mut self, name: impl Into<String>) -> Self {
        self.labels.insert(name.into());
        self
    }

    /// Adds the number of a compose that the image's packages came from.
    pub fn with_compose(mut self, number: i64) -> Self {
        self.composes.insert(number);
        self
    }

    /// Sets how far the publication has come.
    pub fn with_publication(mut self, publication: Publication) -> Self {
        self.publication = publication;
        self
    }

    /// Marks the image as one of those in question. An affected image is rebuilt for its own sake,
    /// other images only as parents.
    pub fn affected(mut self) -> Self {
        self.affected = true;
        self
    }

    /// Says that the image must not be rebuilt for its own sake, for a reason of the caller such as
    /// a policy. It may still be rebuilt as a parent.
    pub fn rejected(mut self, why: Reason) -> Self {
        self.rejected = Some(why);
        self
    }

    /// Says why the image is rebuilt, if it is, for a reason other than a fix of a package.
    pub fn because(mut self, why: Reason) -> Self {
        self.why = Some(why);
        self
    }

    /// Says that the way to build the image could not be looked up. Neither this image, nor any
    /// that would be built on it, can be rebuilt; the [plan](super::Selection::planner) says so,
    /// and their builds fail.
    pub fn with_lookup_error(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }

    pub(crate) fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    pub(crate) fn repositories(&self) -> impl Iterator<Item = &String> {
        self.repositories.iter()
    }

    /// Returns the content sets from which the image's packages come, as far as the catalog says.
    pub fn content_sets(&self) -> impl Iterator<Item = &String> {
        self.content_sets.iter()
    }

    /// Returns how far the publication has come.
    #[must_use]
    pub fn publication(&self) -> Publication {
        self.publication
    }

    pub(crate) fn is_hotfix(&self) -> bool {
        self.labels.contains(HOTFIX_LABEL)
    }

    pub(super) fn is_published(&self) -> bool {
        self.publication >= Publication::Published
    }

    /// Adds another description of the same image, for example of another architecture. The result
    /// does not depend on the order.
    pub(super) fn unite(&mut self, other: Self) {
        let rank = |artifact: &Artifact| {
            let source = artifact.source.clone().unwrap_or_default();
            (!artifact.buildable(), source.location, source.revision, artifact.target.clone())
        };
        if rank(&other.artifact) < rank(&self.artifact) {
            self.artifact = other.artifact;
        }
        self.parents.extend(other.parents);
        self.repositories.extend(other.repositories);
        self.content_sets.extend(other.content_sets);
        self.borrowed_content_sets.extend(other.borrowed_content_sets);
        if let Some(rpms) = other.rpms {
            self.rpms.get_or_insert_default().extend(rpms);
        }
        self.labels.extend(other.labels);
        self.composes.extend(other.composes);
        self.publication = self.publication.max(other.publication);
        self.affected |= other.affected;
        self.named |= other.named;
        self.rejected = least(self.rejected.take(), other.rejected);
        self.why = least(self.why.take(), other.why);
        self.error = least(self.error.take(), other.error);
    }
}

/// Returns the lesser one of the values that exist.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_unite_in_either_order() {
        let bare = CatalogImage::new("a-1-1".parse().unwrap());
        let one = bare.clone().with_source("here", None).with_rpm("bash-1-1".parse().unwrap()).affected();
        let two = bare.clone().with_source("there", None).in_repository("r").with_publication(Publication::Released);
        let three = bare.with_lookup_error("gone").with_known_rpms().with_content_set("s").with_label(HOTFIX_LABEL);
        let unite = |images: [&CatalogImage; 3]| {
            let mut all = images[0].clone();
            images[1..].iter().for_each(|image| all.unite((*image).clone()));
            all
        };
        let all = unite([&one, &two, &three]);
        assert_eq!(all, unite([&three, &two, &one]));
        assert_eq!(all, unite([&two, &one, &three]));
        assert_eq!(all.artifact.source.as_ref().unwrap().location, "here");
        assert!(all.affected && all.is_hotfix() && all.is_published() && all.rpms.unwrap().len() == 1);
    }
}
