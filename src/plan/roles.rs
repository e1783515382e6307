//! The roles in which a build uses a parent, such as parent image or builder stage.
//!
//! They are the kinds of the edge in the graph, in the order of `EdgeKind::ALL`, strongest first.
//! Build systems get them with each parent.

use crate::graph::{EdgeKind, EdgeKinds};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::ops::Deref;

/// The roles in which a parent is used: a short list of [`EdgeKind`]s, without memory of its own.
///
/// A plan of a distribution has hundreds of thousands of such lists, nearly all with one entry. As
/// vectors they took two fifths of the time of a plan. It can be read like a slice, and is made
/// from a vector, an array or a set of kinds; entries beyond the number of kinds are left out.
///
/// ```
/// use freshmaker::EdgeKind;
/// use freshmaker::plan::Roles;
///
/// let roles = Roles::from([EdgeKind::ParentImage, EdgeKind::BuilderStage]);
/// assert!(roles.contains(&EdgeKind::BuilderStage));
/// assert_eq!(serde_json::to_value(roles)?, serde_json::json!(["parent_image", "builder_stage"]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Roles {
    length: u8,
    kinds: [EdgeKind; EdgeKind::ALL.len()],
}

impl Roles {
    /// No role.
    pub const NONE: Self = Self { length: 0, kinds: EdgeKind::ALL };

    /// Keeps the roles for which this says `true`.
    pub fn retain(&mut self, keep: impl FnMut(&EdgeKind) -> bool) {
        let mut kept = self.to_vec();
        kept.retain(keep);
        *self = kept.into_iter().collect();
    }

    /// Adds a role, or returns `false` if there is no room.
    fn push(&mut self, kind: EdgeKind) -> bool {
        let Some(free) = self.kinds.get_mut(usize::from(self.length)) else { return false };
        *free = kind;
        self.length += 1;
        true
    }
}

impl Deref for Roles {
    type Target = [EdgeKind];

    fn deref(&self) -> &[EdgeKind] {
        &self.kinds[..usize::from(self.length)]
    }
}

impl FromIterator<EdgeKind> for Roles {
    fn from_iter<I: IntoIterator<Item = EdgeKind>>(kinds: I) -> Self {
        let mut roles = Self::NONE;
        kinds.into_iter().all(|kind| roles.push(kind));
        roles
    }
}

impl From<EdgeKinds> for Roles {
    fn from(kinds: EdgeKinds) -> Self {
        kinds.iter().collect()
    }
}

impl From<Vec<EdgeKind>> for Roles {
    fn from(kinds: Vec<EdgeKind>) -> Self {
        kinds.into_iter().collect()
    }
}

impl<const N: usize> From<[EdgeKind; N]> for Roles {
    fn from(kinds: [EdgeKind; N]) -> Self {
        kinds.into_iter().collect()
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self::NONE
    }
}

impl PartialEq for Roles {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Roles {}

impl<const N: usize> PartialEq<[EdgeKind; N]> for Roles {
    fn eq(&self, other: &[EdgeKind; N]) -> bool {
        **self == *other
    }
}

impl<'a> IntoIterator for &'a Roles {
    type Item = &'a EdgeKind;
    type IntoIter = std::slice::Iter<'a, EdgeKind>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kinds = Vec::<EdgeKind>::deserialize(deserializer)?;
        if kinds.len() > EdgeKind::ALL.len() {
            return Err(de::Error::invalid_length(kinds.len(), &"each kind at most once"));
        }
        Ok(kinds.into())
    }
}
