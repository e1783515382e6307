//! Whether images are rebuilt, according to the catalog.

use super::Api;
use super::answer::{Answer, Failure, told};
use crate::contracts::ImageRepositories;
use crate::forms::python::listed;
use crate::image::{CatalogImage, Publication};
use freshmaker::artifact::Nvr;
use freshmaker_web::Problem;
use freshmaker_web::axum::extract::{Path, State};
use freshmaker_web::axum::http::StatusCode;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// An image that is rebuilt.
#[derive(Debug, Serialize, ToSchema)]
struct VerifiedImage {
    /// The content sets of the image, by its name, version and release.
    images: BTreeMap<String, Vec<String>>,
    msg: String,
}

/// Says from which content sets an image is rebuilt, or why it is not.
#[utoipa::path(
    get,
    path = "/verify-image/{image}",
    tag = "images",
    params(("image" = String, Path, description = "Its name, version and release")),
    responses((status = 200, description = "It is rebuilt", body = VerifiedImage))
)]
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
    if let Some(repositories) = &api.repositories {
        in_rebuilt_repository(repositories.as_ref(), &image).await?;
    } else if image.publication() == Publication::Unpublished {
        let text = "Only published repositories or unpublished exceptions can be rebuilt";
        return Err(Failure::bad(format!("{text}, but the repository of {nvr} is not published.")));
    }
    if image.is_hotfix() {
        return Err(Failure::bad(format!("{nvr} is a hotfix for one customer, which is not rebuilt.")));
    }
    let content_sets = content_sets(&image)?;
    let images = BTreeMap::from([(nvr.to_string(), content_sets)]);
    Ok(told(StatusCode::OK, &VerifiedImage { images, msg: found_images(1) }))
}

/// Refuses an image if no repository that has it is one whose images are rebuilt.
async fn in_rebuilt_repository(catalog: &dyn ImageRepositories, image: &CatalogImage) -> Result<(), Failure> {
    let names: BTreeSet<String> = image.repositories().cloned().collect();
    let verdicts = catalog.rebuilt(&names).await.map_err(Problem::from)?;
    let mut refusals = BTreeSet::new();
    for verdict in verdicts.into_values() {
        match verdict {
            Ok(_) => return Ok(()),
            Err(why) => drop(refusals.insert(why)),
        }
    }
    match refusals.pop_first() {
        Some(why) => Err(Failure::bad(why)),
        None => Err(Failure::bad(format!("Cannot get repository for image {}.", image.nvr()))),
    }
}

/// An image of a repository that is rebuilt.
#[derive(Debug, Serialize, ToSchema)]
struct ImageOfRepository {
    content_sets: Vec<String>,
    /// The tags of the repository that name it.
    tags: BTreeSet<String>,
}

/// How the images of a repository are rebuilt.
#[derive(Debug, Serialize, ToSchema)]
struct RebuiltTags {
    /// Images that these tags name are rebuilt.
    auto_rebuild_tags: BTreeSet<String>,
}

/// A repository whose images are rebuilt.
#[derive(Debug, Serialize, ToSchema)]
struct VerifiedRepository {
    /// The images, by name, version and release.
    images: BTreeMap<String, ImageOfRepository>,
    msg: String,
    repository: RebuiltTags,
}

/// Says which images of a repository are rebuilt, or why none is. Hotfixes for one customer are
/// left out, because they are not rebuilt.
#[utoipa::path(
    get,
    path = "/verify-image-repository/{project}/{name}",
    tag = "images",
    params(
        ("project" = String, Path, description = "What is before the slash in the name of the repository"),
        ("name" = String, Path, description = "What is behind it")
    ),
    responses((status = 200, description = "They are rebuilt", body = VerifiedRepository))
)]
pub(super) async fn verify_repository(State(api): State<Api>, Path((project, name)): Path<(String, String)>) -> Answer {
    let Some(catalog) = &api.repositories else {
        return Err(not_there("This service has no catalog of image repositories to ask."));
    };
    let name = format!("{project}/{name}");
    let mut verdicts = catalog.rebuilt(&[name.clone()].into()).await.map_err(Problem::from)?;
    let repository = match verdicts.remove(&name) {
        Some(Ok(repository)) => repository,
        Some(Err(why)) => return Err(Failure::bad(why)),
        None => return Err(Failure::bad(format!("Cannot get repository {name}."))),
    };
    let mut images = BTreeMap::new();
    for tagged in catalog.images_in(&repository).await.map_err(Problem::from)? {
        if !tagged.image.is_hotfix() {
            let content_sets = content_sets(&tagged.image)?;
            images.insert(tagged.image.nvr().to_string(), ImageOfRepository { content_sets, tags: tagged.tags });
        }
    }
    if images.is_empty() {
        let tags = listed(&repository.tags);
        return Err(Failure::bad(format!("No published images tagged by {tags} found in repository")));
    }
    let (msg, repository) = (found_images(images.len()), RebuiltTags { auto_rebuild_tags: repository.tags });
    Ok(told(StatusCode::OK, &VerifiedRepository { images, msg, repository }))
}

/// Returns the content sets of an image, without which it is not rebuilt.
fn content_sets(image: &CatalogImage) -> Result<Vec<String>, Failure> {
    let content_sets: Vec<_> = image.content_sets().cloned().collect();
    if content_sets.is_empty() {
        let text = "in this repository, but it cannot be rebuilt, because the \"content_sets\" are not set";
        return Err(Failure::bad(format!("Found image \"{}\" {text} for this image.", image.nvr())));
    }
    Ok(content_sets)
}

fn found_images(count: usize) -> String {
    format!("Found {count} images which are handled by Freshmaker for defined content_sets.")
}

fn not_there(message: &str) -> Failure {
    Failure::Refused(StatusCode::NOT_IMPLEMENTED, message.to_owned())
}
