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
//! * No image is built on a parent that needs the fix and cannot be rebuilt. The
//!   exception is a builder stage that uses an older release of the same image: it keeps that
//!   release, and the parent is marked so.
//!
//! # Reasons
//!
//! Why a release is rebuilt, or is not:
//!
//! | code | meaning |
//! |---|---|
//! | `affected` | it contains a package that is older than its fix, or may contain one |
//! | `dependency` | another release that is rebuilt needs it |
//! | `between` | it is built on an image that was asked for, and one that was asked for on it |
//! | `parent_rebuilt` | it is built on an image with new content |
//! | `source_changed` | its recipe has changed |
//! | `already_fixed` | all its packages are at least as new as their fixes |
//! | `package_absent` | it contains none of the fixed packages |
//! | `modularity` | its packages are from modules and the fixed ones are not, or the reverse |
//! | `hotfix` | it has the label of a hotfix: only its author replaces it |
//! | `policy` | the policy blocks it |
//! | `not_affected` | the request names it, and the catalog does not say that the fix concerns it |
//! | `other_version` | it is built on another version of the image in question |
//! | `newer_parent` | it is built on the same or a newer build of the image in question |
//! | `older_unpublished` | a newer image of the same name and version is not published either |
//! | `superseded_by_release` | a newer release is rebuilt and used instead |
//! | `fixed_release_published` | a published release has the fix, and is used instead |
//! | `already_rebuilt` | it, or the release that replaces it, has been rebuilt before |
//! | `not_needed` | nothing that is rebuilt is built on it |
//! | `parent_not_rebuilt` | it would be built on one that needs the fix and cannot be rebuilt |
//! | `no_recipe` | the catalog has no recipe for it |
//! | `lookup_error` | the catalog could not tell enough about it |
//! | `built_from_itself` | at a parent: it keeps an older release of the same image |

mod catalog_image;
mod choice;
mod content_sets;
mod contents;
mod fixes;
mod index;
mod latest;
mod releases;
mod search;
mod selection;
mod stand_ins;
mod verifier;
mod wiring;

pub use catalog_image::{CatalogImage, Publication};
pub use contents::{Contents, Unmet};
pub(crate) use fixes::{is_modular, is_older};
pub use releases::{IMAGES_MAX, NewerReleases, PARENTS_MAX, Releases, SelectError};
pub use search::ImageSearch;
pub use selection::{SelectedImage, SelectedParent, Selection};
pub use verifier::ImageVerifier;
