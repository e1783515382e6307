//! Judges whether an image is built on the present content of its parents, from given facts: no
//! registry is asked.
//!
//! For each parent, the first of these that gives an answer counts:
//!
//! 1. Provenance: the build system recorded which content it used.
//! 2. Annotations `org.opencontainers.image.base.name` and `.digest` of the image, also as labels:
//!    the base alone. Labels that the parent has as well are inherited, and say nothing.
//! 3. Layers: those of the base are the lowest layers of the image. A change of the configuration
//!    of the base alone cannot be seen in the layers.
//!
//! An image without evidence is [`Unknown`](State::Unknown), and never fresh.

use crate::manifest::Annotations;
use crate::provenance::Material;
use freshmaker::artifact::{Digest, ImageReference};
use serde::Serialize;
use std::fmt;

const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What an image says about its base.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaseNote {
    /// The name of the base; `None` if it is missing, or not the name of an image.
    pub name: Option<ImageReference>,
    /// The digest that the base had.
    pub digest: Digest,
}

impl BaseNote {
    /// Reads the keys `org.opencontainers.image.base.name` and `.digest` of annotations or labels;
    /// `None` if there is no valid digest.
    #[must_use]
    pub fn of(annotations: &Annotations) -> Option<Self> {
        let digest = annotations.get(BASE_DIGEST)?.parse().ok()?;
        let name = annotations.get(BASE_NAME).and_then(|name| name.parse().ok());
        Some(Self { name, digest })
    }

    fn names(&self, parent: &ImageReference) -> bool {
        self.name.as_ref().is_some_and(|name| is_same(name, parent))
    }
}

/// What is known about an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// The images that were used, as its provenance says.
    pub materials: Vec<Material>,
    /// What its annotations say about the base.
    pub annotated: Option<BaseNote>,
    /// What its labels say about the base.
    pub labelled: Option<BaseNote>,
    /// Digests of its uncompressed layers, the lowest first.
    pub diff_ids: Vec<Digest>,
}

/// What a parent is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The image begins with it.
    Base,
    /// Something was copied from it, or was made with it.
    Builder,
}

/// An image that another one is built from, as its recipe names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parent {
    /// The name, with a digest if the recipe pins it.
    pub image: ImageReference,
    /// What it is used for.
    pub role: Role,
    /// The line of the recipe, counted from 1; `None` if no recipe is known.
    pub line: Option<usize>,
}

/// What a parent is today. For a pinned one, what it is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Current {
    /// What the reference names: an index, if there is one.
    pub digest: Digest,
    /// The manifest of the platform, if it was asked for; the same as `digest` without an index.
    pub manifest_digest: Option<Digest>,
    /// Digests of the uncompressed layers, if they were asked for.
    pub diff_ids: Option<Vec<Digest>>,
    /// What the labels of the parent say about its own base.
    pub labelled: Option<BaseNote>,
}

impl Current {
    /// Returns a parent of which only the digest is known.
    #[must_use]
    pub fn new(digest: Digest) -> Self {
        Self { digest, manifest_digest: None, diff_ids: None, labelled: None }
    }

    fn is(&self, digest: &Digest) -> bool {
        self.digest == *digest || self.manifest_digest.as_ref() == Some(digest)
    }
}

/// What a statement about a parent rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Evidence {
    /// Provenance of the build.
    Provenance,
    /// Annotations of the image.
    Annotation,
    /// Labels of the image.
    Label,
    /// The layers.
    Layers,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provenance => "provenance",
            Self::Annotation => "annotations",
            Self::Label => "labels",
            Self::Layers => "layers",
        })
    }
}

/// How an image stands to one of its parents.
///
/// In serde formats it is an object with the field `state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It is built on what the parent is today.
    Fresh {
        /// What the parent is today.
        current: Digest,
        /// What says so.
        evidence: Evidence,
    },
    /// It is built on something else.
    Stale {
        /// What it is built on; `None` if only the layers tell.
        built_on: Option<Digest>,
        /// What the parent is today, or is pinned to.
        current: Digest,
        /// What says so.
        evidence: Evidence,
    },
    /// The recipe names the parent by its digest, so a new build would use the same content.
    Pinned {
        /// What it is pinned to.
        pinned: Digest,
        /// What the tag names today; `None` if the recipe names no tag.
        current: Option<Digest>,
    },
    /// There is no evidence.
    Unknown {
        /// Why, as a sentence without its end.
        why: String,
    },
}

/// How an image stands to all of its parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Freshness {
    /// It is built on what all its parents are today.
    Fresh,
    /// It is built on what its recipe pins, and all other parents are fresh.
    Pinned,
    /// There is no evidence for one of its parents, and none is stale.
    Unknown,
    /// It is built on something else than one of its parents is today.
    Stale,
}

impl Freshness {
    /// Returns how an image stands whose parents stand like this.
    pub fn of<'a>(states: impl IntoIterator<Item = &'a State>) -> Self {
        let one = |state: &State| match state {
            State::Fresh { .. } => Self::Fresh,
            State::Pinned { .. } => Self::Pinned,
            State::Unknown { .. } => Self::Unknown,
            State::Stale { .. } => Self::Stale,
        };
        states.into_iter().map(one).max().unwrap_or(Self::Fresh)
    }
}

/// Says how the layers of an image stand to those of its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// The image begins with all layers of the base.
    Begin,
    /// They differ from this layer on, counted from 0.
    Differ(usize),
    /// The layers can tell nothing: the base has none, or the image has one, or fewer than the
    /// base, as when its layers were merged.
    Silent,
}

impl Layers {
    /// Compares the layers of an image with those of its base.
    ///
    /// ```
    /// use freshmaker::artifact::Digest;
    /// use freshmaker_oci::staleness::Layers;
    ///
    /// let [a, b, c] = [b"a", b"b", b"c"].map(|layer| Digest::of(layer));
    /// let image = [a.clone(), b.clone()];
    /// assert_eq!(Layers::compare(&image, &[a.clone()]), Layers::Begin);
    /// assert_eq!(Layers::compare(&image, &[a, c.clone()]), Layers::Differ(1));
    /// assert_eq!(Layers::compare(&[b], &[c]), Layers::Silent, "merged, perhaps");
    /// ```
    #[must_use]
    pub fn compare(image: &[Digest], base: &[Digest]) -> Self {
        if base.is_empty() {
            return Self::Silent;
        }
        let common = image.iter().zip(base).take_while(|(one, other)| one == other).count();
        if common == base.len() {
            Self::Begin
        } else if common == 0 && (image.len() < 2 || image.len() < base.len()) || common == image.len() {
            Self::Silent
        } else {
            Self::Differ(common)
        }
    }
}

/// Returns the parents that an image itself names, for an image without a recipe: those of its
/// provenance, and the base of its annotations or labels.
#[must_use]
pub fn claimed(subject: &Subject) -> Vec<Parent> {
    let noted = subject.annotated.as_ref().or(subject.labelled.as_ref()).and_then(|note| note.name.as_ref());
    let only = subject.materials.len() == 1;
    let mut found: Vec<Parent> = Vec::new();
    for material in &subject.materials {
        let is_base = noted.map_or(only, |noted| is_same(noted, &material.image));
        let image = match material.pinned {
            true => format!("{}@{}", material.image, material.digest).parse().unwrap_or(material.image.clone()),
            false => material.image.clone(),
        };
        found.push(Parent { image, role: if is_base { Role::Base } else { Role::Builder }, line: None });
    }
    if let Some(noted) = noted.filter(|noted| !found.iter().any(|parent| is_same(&parent.image, noted))) {
        found.push(Parent { image: noted.without_digest(), role: Role::Base, line: None });
    }
    found.sort();
    found.dedup();
    found
}

/// Returns how an image stands to one parent, which is `current` today. `latest` is what the tag
/// of a pinned parent names today.
///
/// A pinned parent is stale if provenance or annotations name other content than the pin: then the
/// recipe was changed after the image was built.
#[must_use]
pub fn judge(subject: &Subject, parent: &Parent, current: &Current, latest: Option<Digest>) -> State {
    let state = compared(subject, parent, current);
    match (parent.image.digest(), state) {
        (None, state) => state,
        (Some(_), state @ State::Stale { built_on: Some(_), .. }) => state,
        (Some(pinned), _) => State::Pinned { pinned: pinned.clone(), current: latest },
    }
}

fn compared(subject: &Subject, parent: &Parent, current: &Current) -> State {
    let built = |digests: &[&Digest], evidence| match digests.iter().any(|digest| current.is(digest)) {
        true => State::Fresh { current: current.digest.clone(), evidence },
        false => {
            let built_on = digests.first().map(|&digest| digest.clone());
            State::Stale { built_on, current: current.digest.clone(), evidence }
        }
    };
    let used = subject.materials.iter().filter(|material| is_same(&material.image, &parent.image));
    let used: Vec<_> = used.map(|material| &material.digest).collect();
    if !used.is_empty() {
        return built(&used, Evidence::Provenance);
    }
    if parent.role == Role::Builder {
        let why = if subject.materials.is_empty() {
            "only provenance could tell what was copied from it, and the image has none"
        } else {
            "the provenance of the image does not list it"
        };
        return State::Unknown { why: why.to_owned() };
    }
    if let Some(note) = &subject.annotated
        && (note.name.is_none() || note.names(&parent.image) || current.is(&note.digest))
    {
        return built(&[&note.digest], Evidence::Annotation);
    }
    let inherited = current.labelled.is_some() && subject.labelled == current.labelled;
    if let Some(note) = subject.labelled.as_ref().filter(|note| !inherited && note.names(&parent.image)) {
        return built(&[&note.digest], Evidence::Label);
    }
    let Some(base) = &current.diff_ids else {
        return State::Unknown { why: "its layers are not known".to_owned() };
    };
    match Layers::compare(&subject.diff_ids, base) {
        Layers::Begin => State::Fresh { current: current.digest.clone(), evidence: Evidence::Layers },
        Layers::Differ(_) => {
            State::Stale { built_on: None, current: current.digest.clone(), evidence: Evidence::Layers }
        }
        Layers::Silent => {
            let why = "no provenance or annotation names it, and the layers of the image cannot tell";
            State::Unknown { why: why.to_owned() }
        }
    }
}

/// Whether two references mean the same image, whatever their digests are. A reference with a
/// digest and without a tag means any tag.
fn is_same(one: &ImageReference, other: &ImageReference) -> bool {
    let any = |image: &ImageReference| image.tag().is_none() && image.digest().is_some();
    one.registry() == other.registry()
        && one.repository() == other.repository()
        && (one.tag() == other.tag() || any(one) || any(other))
}

#[cfg(test)]
mod tests;
