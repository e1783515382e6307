use serde::{Deserialize, Serialize};
use std::fmt;

/// Why one artifact depends on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// The final stage of the child starts from the parent (`FROM`).
    ParentImage,
    /// An earlier stage of the child uses the parent (`FROM … AS`, `COPY --from=`).
    BuilderStage,
    /// The parent is needed to build the child: a tool, a header file.
    BuildDependency,
    /// The child takes packages from the parent, a repository.
    Repository,
    /// The child contains, or needs at run time, content of the parent.
    RuntimeContent,
    /// The child is linked against the parent: a new interface of the parent makes the child's binaries wrong.
    Link,
    /// The child names the parent by digest: an operator bundle and its related images.
    BundleReference,
}

impl EdgeKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::ParentImage,
        Self::BuilderStage,
        Self::BuildDependency,
        Self::Repository,
        Self::RuntimeContent,
        Self::Link,
        Self::BundleReference,
    ];

    /// Its stable name, which is also its serialized form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ParentImage => "parent_image",
            Self::BuilderStage => "builder_stage",
            Self::BuildDependency => "build_dependency",
            Self::Repository => "repository",
            Self::RuntimeContent => "runtime_content",
            Self::Link => "link",
            Self::BundleReference => "bundle_reference",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for EdgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of [`EdgeKind`]s.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker::graph::EdgeKinds;
///
/// let images = EdgeKinds::from_iter([EdgeKind::ParentImage, EdgeKind::BuilderStage]);
/// assert!(images.contains(EdgeKind::BuilderStage) && !images.contains(EdgeKind::Link));
/// assert_eq!(EdgeKinds::ALL.without(images).iter().count(), 5);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKinds(u8);

impl EdgeKinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self((1 << EdgeKind::ALL.len()) - 1);

    /// Whether this kind is among them.
    #[must_use]
    pub fn contains(self, kind: EdgeKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The same kinds and this one.
    #[must_use]
    pub fn with(self, kind: EdgeKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// The kinds that are here or there.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kinds that are here and there.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The kinds that are here but not there.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds, in the order of [`EdgeKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = EdgeKind> {
        EdgeKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl From<EdgeKind> for EdgeKinds {
    fn from(kind: EdgeKind) -> Self {
        Self(kind.bit())
    }
}

impl FromIterator<EdgeKind> for EdgeKinds {
    fn from_iter<I: IntoIterator<Item = EdgeKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for EdgeKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serialized_form() {
        for kind in EdgeKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn sets_keep_what_was_put_in() {
        for kind in EdgeKind::ALL {
            let rest = EdgeKinds::ALL.without(kind.into());
            assert!(!rest.contains(kind) && rest.with(kind) == EdgeKinds::ALL);
            assert_eq!(EdgeKinds::from(kind).iter().collect::<Vec<_>>(), [kind]);
            assert_eq!(rest.common(kind.into()), EdgeKinds::NONE);
            assert_eq!(rest.union(kind.into()), EdgeKinds::ALL);
        }
        assert!(EdgeKinds::NONE.is_empty() && !EdgeKinds::ALL.is_empty());
    }
}
