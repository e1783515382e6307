//! Which releases of container images are rebuilt on what.
//!
//! Packages have been fixed; a catalog tells
//! about [images](CatalogImage) that contain them and what those were built from; which are to be rebuilt, and on which parents?
//! [`Releases`] takes what the catalog knows, [`Selection`] has the answer.
//!
//! * Releases with the same name, version and set of repositories are a group. Older ones are replaced by the latest released one (if none is
//!   released, by the newest); [newer ones](NewerReleases) stay or are replaced, too. Each release is rebuilt on *its own* parents.
//! * An image is rebuilt if it is affected itself, or needed by one that is and in need of the fix, too. All parents count, those of
//!   builder stages included.
//! * What is needed only by others is not rebuilt if a published release of it has the fix already; that is what the others are built on then.
//! * No image is built on one that needs the fix and cannot be rebuilt. There is one exception, and the parent says so: an image whose
//!   builder stage uses an older release of itself keeps it.

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
