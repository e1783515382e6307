//! Converts the rules of the Python service Freshmaker.

use crate::Result;
use crate::out::say;
use freshmaker_redhat::conversion::convert as converted;
use std::path::Path;

/// The handlers of this program that the lists may have rules for.
const HANDLERS: [&str; 7] = [
    "AnnounceAdvisories",
    "AnnounceSignedAdvisories",
    "RebuildImageOfDockerfile",
    "RebuildImagesOfSignedAdvisory",
    "RebuildImagesOfUpdate",
    "RebuildImagesOnRequest",
    "RebuildNamedImages",
];

/// Writes allow and block lists as the policy of a catalog, and says where the meaning differs.
pub(crate) fn convert(file: &Path) -> Result<bool> {
    let place = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{place}: {error}"))?;
    let lists = serde_json::from_str(&text).map_err(|error| format!("{place}: {error}"))?;
    let conversion = converted(&lists, &HANDLERS).map_err(|error| format!("{place}: {error}"))?;
    conversion.notes.iter().for_each(|note| eprintln!("{note}"));
    say!("{}", toml::to_string(&serde_json::json!({ "policy": conversion.policy }))?.trim_end());
    Ok(true)
}
