//! Advisories: images that are to get a fix.

use freshmaker::event::{Event, Severity};
use serde::{Deserialize, Serialize};

/// Says that images contain what an advisory is about, and that there is a fix.
///
/// Its kind is `image.fix-available`, and its JSON form `{"advisory": "CVE-2026-1234", "images":
/// ["registry.example.org/web:latest"], "severity": "critical", "requester": "kim"}`; the last two
/// may be left out. A scanner can send it to the REST interface, as a message or as a CloudEvent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FixAvailable {
    /// The name of the advisory, such as `CVE-2026-1234`.
    pub(crate) advisory: String,
    /// The images, in any form that the tree understands.
    pub(crate) images: Vec<String>,
    #[serde(default)]
    pub(crate) severity: Severity,
    /// Who asks.
    #[serde(default)]
    pub(crate) requester: Option<String>,
}

impl Event for FixAvailable {
    const KIND: &'static str = "image.fix-available";

    fn search_key(&self) -> Option<String> {
        Some(self.advisory.clone())
    }

    fn requester(&self) -> Option<String> {
        self.requester.clone()
    }

    fn severity(&self) -> Severity {
        self.severity
    }
}
