//! Events and parsers for Bodhi, which publishes updates of Fedora.

use super::body::Shape;
use super::field::Field;
use super::{parsed, read};
use freshmaker::event::{Event, Message, Parsed, Parser, Severity};
use serde::{Deserialize, Serialize};

/// Says that an update was published in the stable repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStable {
    /// The update, for example `FEDORA-2019-d64d0caab3`.
    pub update_id: String,
    /// The builds of the update, as `name-version-release`.
    pub builds: Vec<String>,
    /// The release, for example `F29`.
    pub release: String,
    /// The branch of the release in dist-git, for example `f29`, if the message has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The severity in Bodhi's words: `urgent`, `high`, `medium`, `low` or `unspecified`.
    ///
    /// The [severity of the event](freshmaker::Severity) is critical, important or low for
    /// `urgent`, `high` and `low`, and moderate for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

impl Event for UpdateStable {
    const KIND: &'static str = "bodhi.update-stable";

    fn search_key(&self) -> Option<String> {
        Some(self.update_id.clone())
    }

    fn severity(&self) -> Severity {
        match self.severity.as_deref() {
            Some("urgent") => Severity::Critical,
            Some("high") => Severity::Important,
            Some("low") => Severity::Low,
            _ => Severity::Moderate,
        }
    }
}

/// Reads updates that become stable, and makes [`UpdateStable`].
pub const UPDATE_STABLE: Parser = Parser::new(&["bodhi.update.complete.stable"], &[UpdateStable::KIND], update_stable);

const SHAPE: Shape = Shape::Fields(&[(
    "update",
    Shape::Fields(&[
        ("alias", Shape::Whole),
        ("updateid", Shape::Whole),
        ("builds", Shape::Fields(&[("nvr", Shape::Whole)])),
        ("release", Shape::Fields(&[("name", Shape::Whole), ("branch", Shape::Whole)])),
        ("severity", Shape::Whole),
    ]),
)]);

fn update_stable(message: &Message) -> Parsed {
    read(message, &SHAPE, |body| {
        let root = Field::root(body);
        let update = root.at("update");
        let release = update.at("release");
        let id = if update.at("updateid").is_there() { update.at("updateid") } else { update.at("alias") };
        parsed(
            message,
            &UpdateStable {
                update_id: id.owned()?,
                builds: update.at("builds").list(|build| build.at("nvr").owned())?,
                release: release.at("name").owned()?,
                branch: release.at("branch").optional_text()?,
                severity: update.at("severity").optional_text()?,
            },
        )
    })
}
