use serde::{Deserialize, Serialize};
use std::fmt;

/// Why one artifact depends on another. The names are stored and shown.
///
/// The order of the variants is the order of strength: when a cycle is broken, a
/// [`BundleReference`](Self::BundleReference) is given up before a
/// [`ParentImage`](Self::ParentImage). Plans can be limited to some kinds with
/// [`Planner::along`](crate::plan::Planner::along): a changed interface of a library, for example,
/// is carried on by [`Link`](Self::Link) only.
///
/// ```
/// use freshmaker::EdgeKind;
///
/// assert_eq!(EdgeKind::Link.to_string(), "link");
/// assert_eq!(serde_json::to_value(EdgeKind::ParentImage)?, "parent_image");
/// assert!(EdgeKind::ParentImage < EdgeKind::BundleReference);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
    /// The child is linked against the parent: a new interface of the parent makes the child's
    /// binaries wrong.
    Link,
    /// The child names the parent by digest: an operator bundle and its related images.
    BundleReference,
}

impl EdgeKind {
    /// All kinds, strongest first.
    pub const ALL: [Self; 7] = [
        Self::ParentImage,
        Self::BuilderStage,
        Self::BuildDependency,
        Self::Repository,
        Self::RuntimeContent,
        Self::Link,
        Self::BundleReference,
    ];

    /// Returns the stable name, which is also the serialized form.
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

/// A set of [`EdgeKind`]s, in one byte.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker::graph::EdgeKinds;
///
/// let images = EdgeKinds::from_iter([EdgeKind::ParentImage, EdgeKind::BuilderStage]);
/// assert!(images.contains(EdgeKind::BuilderStage) && !images.contains(EdgeKind::Link));
/// assert_eq!(EdgeKinds::ALL.without(images).iter().count(), 5);
/// assert_eq!(images.common(EdgeKind::ParentImage.into()), EdgeKind::ParentImage.into());
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKinds(u8);

impl EdgeKinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self((1 << EdgeKind::ALL.len()) - 1);

    /// Returns whether this kind is in the set.
    #[must_use]
    pub fn contains(self, kind: EdgeKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Returns the set with this kind added.
    #[must_use]
    pub fn with(self, kind: EdgeKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// Returns the kinds that are in this set or in the other one.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the kinds that are in both sets.
    #[doc(alias = "intersection")]
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the kinds that are in this set and not in the other one.
    #[doc(alias = "difference")]
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns whether the set has no kind.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the kinds in the order of [`EdgeKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = EdgeKind> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let kind = EdgeKind::ALL.get(bits.trailing_zeros() as usize);
            bits &= bits.wrapping_sub(1);
            kind.copied()
        })
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
