//! Selects the releases of container images to be rebuilt, and the parents to build each one on.
//!
//! The situation: packages have been fixed, and a catalog knows [images](CatalogImage) that contain
//! them, and the images that those were built from. [`Releases`] takes what the catalog knows, and
//! [`Releases::select`] returns a [`Selection`].
//!
//! * Releases with the same name, version and set of repositories are a group. The latest released
//!   one replaces older ones; if none is released, the newest one does. Newer ones [stay or are
//!   replaced](NewerReleases). Each release is rebuilt on *its own* parents.
//! * An image is rebuilt if it is affected itself, or if it needs the fix and is an ancestor of one
//!   that is rebuilt. All parents count, including those of builder stages.
//! * An ancestor is not rebuilt if a published release of it has the fix already. The others are
//!   then built on that release.
//! * No image is built on a parent that needs the fix and cannot be rebuilt. There is one
//!   exception, marked at the parent: if a builder stage of an image uses an older release of the
//!   same image, it keeps it.

mod catalog_image;
mod choice;
mod content_sets;
mod contents;
mod fixes;
mod index;
mod latest;
mod releases;
mod selection;
mod stand_ins;
mod wiring;

pub use catalog_image::{CatalogImage, Publication};
pub use contents::{Contents, Unmet};
pub use releases::{IMAGES_MAX, NewerReleases, PARENTS_MAX, Releases, SelectError};
pub use selection::{SelectedImage, SelectedParent, Selection};
