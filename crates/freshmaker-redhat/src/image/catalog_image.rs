use freshmaker::Reason;
use freshmaker::artifact::{Artifact, ArtifactKind, Nvr};
use freshmaker::graph::EdgeKind;
use std::collections::BTreeSet;

/// The label of images that were made for one customer's problem and are not replaced by others.
pub(super) const HOTFIX_LABEL: &str = "com.redhat.hotfix";

/// How far a release has got, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Publication {
    /// The catalog does not say.
    #[default]
    Unknown,
    /// In no published repository.
    Unpublished,
    /// In a published repository, but not what others should move to: a beta, a technology preview, or no longer the offered release.
    Published,
    /// Generally available and offered now; older releases of the same group are replaced by it.
    Released,
}

/// One release of a container image, as a catalog knows it: the input of [`Releases`](super::Releases).
///
/// Begins as a bare name; each method adds what the catalog tells. What is not told is not known, and an image whose packages are not
/// known is taken for affected.
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
    /// Taken from a child, for want of own ones.
    pub(super) borrowed_content_sets: BTreeSet<String>,
    pub(super) rpms: Option<BTreeSet<Nvr>>,
    pub(super) labels: BTreeSet<String>,
    pub(super) publication: Publication,
    pub(super) affected: bool,
    pub(super) rejected: Option<Reason>,
    pub(super) error: Option<String>,
}

impl CatalogImage {
    /// An image of which nothing else is known.
    pub fn new(nvr: Nvr) -> Self {
        Self {
            artifact: Artifact::new(nvr.to_string(), ArtifactKind::Image),
            nvr,
            parents: BTreeSet::new(),
            repositories: BTreeSet::new(),
            content_sets: BTreeSet::new(),
            borrowed_content_sets: BTreeSet::new(),
            rpms: None,
            labels: BTreeSet::new(),
            publication: Publication::Unknown,
            affected: false,
            rejected: None,
            error: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn nvr(&self) -> &Nvr {
        &self.nvr
    }

    /// Its recipe. Without one it cannot be rebuilt.
    pub fn with_source(mut self, location: impl Into<String>, revision: Option<&str>) -> Self {
        self.artifact = self.artifact.with_source(location, revision);
        self
    }

    /// How it is built, if there is more to say than the recipe: target, parameters, system. Its id and kind become those of this image.
    pub fn with_artifact(mut self, artifact: Artifact) -> Self {
        self.artifact = Artifact { id: self.artifact.id, kind: self.artifact.kind, ..artifact };
        self
    }

    /// An image that it was built from: the one its last stage starts from ([`EdgeKind::ParentImage`]), or one that another stage uses
    /// ([`EdgeKind::BuilderStage`]).
    pub fn with_parent(mut self, parent: Nvr, kind: EdgeKind) -> Self {
        self.parents.insert((parent, kind));
        self
    }

    /// A repository that it is in. Releases replace each other only if they have name, version and all repositories in common. A rebuild
    /// that is in none (`name-1-5.1764000000`) is taken to be where the build before it is (`name-1-5`).
    pub fn in_repository(mut self, repository: impl Into<String>) -> Self {
        self.repositories.insert(repository.into());
        self
    }

    /// A content set from which its packages come.
    pub fn with_content_set(mut self, content_set: impl Into<String>) -> Self {
        self.content_sets.insert(content_set.into());
        self
    }

    /// A content set of an image that is built from it, where the catalog knows none of its own. Those of other releases are better.
    pub fn with_content_set_of_child(mut self, content_set: impl Into<String>) -> Self {
        self.borrowed_content_sets.insert(content_set.into());
        self
    }

    /// A package that it contains. Those that [`Releases::fixing`](super::Releases::fixing) names suffice; tell the epoch here and there, or
    /// in neither place.
    pub fn with_rpm(mut self, rpm: Nvr) -> Self {
        self.rpms.get_or_insert_default().insert(rpm);
        self
    }

    /// Its packages are known, and the ones told are all that matter; perhaps none.
    pub fn with_known_rpms(mut self) -> Self {
        self.rpms.get_or_insert_default();
        self
    }

    /// A label, by name. `com.redhat.hotfix` keeps it from being rebuilt for its own sake.
    pub fn with_label(mut self, name: impl Into<String>) -> Self {
        self.labels.insert(name.into());
        self
    }

    /// How far it has got.
    pub fn with_publication(mut self, publication: Publication) -> Self {
        self.publication = publication;
        self
    }

    /// It is one of those the question is about: what is affected is to be rebuilt for its own sake, other images only as parents.
    pub fn affected(mut self) -> Self {
        self.affected = true;
        self
    }

    /// It is not to be rebuilt for its own sake, for a reason that the caller knows (a policy, say); it still may be as a parent.
    pub fn rejected(mut self, why: Reason) -> Self {
        self.rejected = Some(why);
        self
    }

    /// How it is built could not be found out: neither it nor what would be built on it can be rebuilt.
    pub fn with_lookup_error(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }

    pub(super) fn is_hotfix(&self) -> bool {
        self.labels.contains(HOTFIX_LABEL)
    }

    pub(super) fn is_published(&self) -> bool {
        self.publication >= Publication::Published
    }

    /// Adds another description of the same image, for example that of another architecture. Either order gives the same.
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
        self.publication = self.publication.max(other.publication);
        self.affected |= other.affected;
        self.rejected = least(self.rejected.take(), other.rejected);
        self.error = least(self.error.take(), other.error);
    }
}

/// The lesser of what there is.
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
