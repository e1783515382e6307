//! Whether an image is rebuilt, as far as the catalog says.

use super::Api;
use super::answer::{Answer, Failure, told};
use crate::image::Publication;
use freshmaker::artifact::Nvr;
use freshmaker_web::Problem;
use freshmaker_web::axum::extract::{Path, State};
use freshmaker_web::axum::http::StatusCode;
use serde_json::json;
use std::collections::BTreeSet;

/// Says from which content sets an image is rebuilt, or why it is not.
pub(super) async fn verify(State(api): State<Api>, Path(image): Path<String>) -> Answer {
    let Some(catalog) = &api.images else {
        return Err(not_there("This service has no catalog of images to ask."));
    };
    let nvr: Nvr = image.parse().map_err(|_| Failure::bad(format!("{image:?} is no name-version-release.")))?;
    let found = catalog.images(&[nvr.clone()].into(), &BTreeSet::new()).await;
    let found = found.map_err(Problem::from)?;
    let Some(image) = found.into_iter().find(|image| *image.nvr() == nvr) else {
        return Err(Failure::bad("No images found for the specified NVR"));
    };
    if image.publication() == Publication::Unpublished {
        let text = "Only published repositories or unpublished exceptions can be rebuilt";
        return Err(Failure::bad(format!("{text}, but the repository of {nvr} is not published.")));
    }
    if image.is_hotfix() {
        return Err(Failure::bad(format!("{nvr} is a hotfix for one customer, which is not rebuilt.")));
    }
    let content_sets: Vec<_> = image.content_sets().collect();
    if content_sets.is_empty() {
        let text = "in this repository, but it cannot be rebuilt, because the \"content_sets\" are not set";
        return Err(Failure::bad(format!("Found image \"{nvr}\" {text} for this image.")));
    }
    let msg = "Found 1 images which are handled by Freshmaker for defined content_sets.";
    Ok(told(StatusCode::OK, &json!({ "images": { (nvr.to_string()): content_sets }, "msg": msg })))
}

/// Says that catalogs cannot be asked about repositories.
pub(super) async fn verify_repository() -> Failure {
    not_there("The catalog cannot be asked about a repository. Ask verify-image about its images.")
}

fn not_there(message: &str) -> Failure {
    Failure::Refused(StatusCode::NOT_IMPLEMENTED, message.to_owned())
}
