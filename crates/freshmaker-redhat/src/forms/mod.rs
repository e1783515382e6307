//! Events and builds as the service Freshmaker presents them, in its REST interface and its
//! messages.
//!
//! A form is made of stored rows and has a JSON form. What the service has and the rows do not have
//! is null or empty. The meaning of the keys:
//!
//! * `event_type_id`: the number of the kind in [`messages::NUMBERS`](crate::messages::NUMBERS) or
//!   [`RESERVED_KINDS`](crate::messages::RESERVED_KINDS); null for any other kind.
//! * `requested_rebuilds`, `requester_metadata`: `container_images` and `metadata` of the request;
//!   empty if it has none.
//! * `depends_on_events`: the event that the request builds on, if it names one. Otherwise events
//!   share builds here, and do not depend on each other.
//! * `depending_events`: empty.
//! * `name`, `original_nvr`: if the id of the artifact is an NVR, its name and the whole NVR; else
//!   the id, and null.
//! * `rebuilt_nvr`: the NVR of the output; null before there is one. The service knows it earlier,
//!   because it chooses the NVR.
//! * `dep_on`, `dep_on_id`: the service has one parent for each build. This is the parent image if
//!   it is rebuilt too, else another needed parent; of several the one with the lowest number.
//! * `event_id`: the service has one event for each build. This is the oldest event that still
//!   wants the build, else the oldest that wanted it.
//! * `build_id`: the number of the latest task; null if there is none, or if the build system has
//!   no numbers.
//! * `time_submitted`: when the build was planned, as in the service.
//! * `build_args`: parameters with the names that Koji has for them. `repository` is the whole
//!   location, `original_parent` the id of the parent image. Parameters that are not set are null,
//!   false or empty.
//! * `odcs_composes`: the numbers of the repositories that the build waits for, or takes packages
//!   from.
//! * `state_reason`: the text of the [`Reason`](freshmaker::Reason), never null. If it says how
//!   many builds of an event ended how, it counts those that the form has.
//!
//! The service has no builds for repositories that are prepared for builds; they are composes of
//! those builds. So such a repository has no form.

mod build;
#[cfg(feature = "rest")]
mod described;
mod event;
#[cfg(any(feature = "lightblue", feature = "pyxis", feature = "rest"))]
pub(crate) mod python;
mod state_change;

pub use build::{BuildArgs, BuildForm};
pub use event::{Builds, EventForm};
pub use state_change::{FreshmakerMessages, StateChange};

use build::links_of;
use chrono::SecondsFormat;
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::BuildLinks;
use freshmaker::rebuild::{BuildId, Neighbourhood};
use freshmaker::time::Timestamp;
use std::collections::BTreeMap;

/// Makes forms of stored rows, with addresses below a base URL.
///
/// Load the rows of the [`Scope`](freshmaker::backend::Scope) of the form (`Builds` with one build,
/// or `Event`), and add all attempts of the builds: a scope has only the live attempts.
///
/// ```
/// use freshmaker_redhat::forms::Forms;
/// use freshmaker::rebuild::{EventId, Neighbourhood};
///
/// let rows = Neighbourhood::default();
/// let forms = Forms::new(&rows, "https://freshmaker.example.org/");
/// assert!(forms.event(EventId(1)).is_none(), "there is no such row");
/// ```
#[derive(Clone, Debug)]
pub struct Forms<'a> {
    rows: &'a Neighbourhood,
    base: &'a str,
    /// What is beside each build.
    links: BTreeMap<BuildId, BuildLinks>,
}

impl<'a> Forms<'a> {
    /// Makes forms of these rows. Every `url` begins with `base`, followed by `/api/1/…`.
    #[must_use]
    pub fn new(rows: &'a Neighbourhood, base: &'a str) -> Self {
        Self { rows, base: base.trim_end_matches('/'), links: links_of(rows) }
    }
}

/// Formats a point in time as the service does, in seconds: `2026-01-10T08:00:00Z`.
fn moment(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns Freshmaker's name of a kind; `None` for repositories of packages.
pub(crate) fn type_name(kind: ArtifactKind) -> Option<&'static str> {
    match kind {
        ArtifactKind::Rpm => Some("RPM"),
        ArtifactKind::Image => Some("IMAGE"),
        ArtifactKind::Module => Some("MODULE"),
        ArtifactKind::ImageRepository => Some("IMAGE_REPOSITORY"),
        ArtifactKind::Repository => None,
    }
}
