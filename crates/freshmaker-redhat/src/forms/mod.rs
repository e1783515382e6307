//! Events and builds in the words of the service Freshmaker: what its REST interface answers, and what its messages have as bodies.
//!
//! Rows go in, values with a JSON form come out. What the service has and rows do not have is null or empty, never made up:
//!
//! | key | what is there |
//! |---|---|
//! | `event_type_id` | the number of the kind in [`messages::NUMBERS`](crate::messages::NUMBERS) or [`RESERVED_KINDS`](freshmaker::event::RESERVED_KINDS); null for any other kind |
//! | `requested_rebuilds`, `requester_metadata` | `container_images` and `metadata` of the request; empty if it has none |
//! | `depends_on_events`, `depending_events` | empty: events here share builds, and do not depend on each other |
//! | `name`, `original_nvr` | the name and the whole of an artifact that is called by an NVR; for any other its own name, and null |
//! | `rebuilt_nvr` | the NVR that came out; null before. The service knows it ahead, because it chooses it |
//! | `dep_on`, `dep_on_id` | the service knows one parent: here it is the parent image that is rebuilt too, else another needed parent; of several the one with the lowest number |
//! | `event_id` | a build belongs to one event there: here it is the oldest event that still wants it, else the oldest that did |
//! | `build_id` | the number of the latest task; null if there is none, or if the build system has no numbers |
//! | `time_submitted` | when the build was planned, as there |
//! | `build_args` | parameters by the names that Koji has for them; `repository` is the whole location; `original_parent` is the parent image by its name here; what is not set is null, false or empty |
//! | `odcs_composes` | the numbers of repositories that the build waits for, or takes packages from |
//! | `state_reason` | the text of the [`Reason`](freshmaker::Reason), never null |
//!
//! A repository that is prepared for builds is no build there, but a compose of these builds. It has no form.

mod build;
mod event;
mod told;

pub use build::{BuildArgs, BuildForm};
pub use event::{Builds, EventForm};
pub use told::{FreshmakerMessages, Told};

use freshmaker::rebuild::Neighbourhood;
use freshmaker::time::Timestamp;

/// Rows, and the address at which events and builds are shown.
///
/// The rows of a form are those of its [`Scope`](freshmaker::backend::Scope) (`Builds` with one build, or `Event`), with all attempts of the
/// builds: a scope has only the live ones.
///
/// ```
/// use freshmaker_redhat::forms::Forms;
/// use freshmaker::rebuild::{EventId, Neighbourhood};
///
/// let rows = Neighbourhood::default();
/// let forms = Forms::new(&rows, "https://freshmaker.example.org/");
/// assert!(forms.event(EventId(1)).is_none(), "there is no such row");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Forms<'a> {
    rows: &'a Neighbourhood,
    base: &'a str,
}

impl<'a> Forms<'a> {
    /// Forms of these rows. `base` is in front of `/api/1/…` in every `url`.
    #[must_use]
    pub fn new(rows: &'a Neighbourhood, base: &'a str) -> Self {
        Self { rows, base: base.trim_end_matches('/') }
    }
}

/// A point in time as the service writes it, without fractions: `2026-01-10T08:00:00Z`.
fn moment(at: Timestamp) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
