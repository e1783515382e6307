//! What handlers and the REST interface ask about repositories of images.

use crate::image::CatalogImage;
use async_trait::async_trait;
use freshmaker::backend::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A repository whose images are rebuilt automatically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltRepository {
    /// The registry that has the repository; `None` if the catalog does not say.
    pub registry: Option<String>,
    /// The name of the repository, such as `ubi9/python-39`.
    pub name: String,
    /// The tags whose images are rebuilt; at least one.
    pub tags: BTreeSet<String>,
}

/// An image, as it is found in one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedImage {
    /// The image.
    pub image: CatalogImage,
    /// All tags that the image has in the repository.
    pub tags: BTreeSet<String>,
}

/// What is known about repositories of images.
///
/// ```
/// use freshmaker_redhat::contracts::ImageRepositories;
///
/// /// Says how many images of a repository are rebuilt, or why none is.
/// async fn rebuilt(catalog: &dyn ImageRepositories, name: &str) -> freshmaker::backend::Result<String> {
///     let mut found = catalog.rebuilt(&[name.to_owned()].into()).await?;
///     Ok(match found.remove(name) {
///         Some(Ok(repository)) => format!("{} images", catalog.images_in(&repository).await?.len()),
///         Some(Err(why)) => why,
///         None => "it was not asked about".to_owned(),
///     })
/// }
/// ```
#[async_trait]
pub trait ImageRepositories: fmt::Debug + Send + Sync {
    /// Returns for each of these names the repository whose images are rebuilt, or in a sentence
    /// why there is none.
    ///
    /// # Errors
    /// If the catalog cannot be asked. What is wrong with one repository is part of the answer.
    async fn rebuilt(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, std::result::Result<RebuiltRepository, String>>>;

    /// Returns the images that this repository has with one of its tags, by NVR. Their installed
    /// packages are unknown.
    ///
    /// # Errors
    /// If the catalog cannot be asked.
    async fn images_in(&self, repository: &RebuiltRepository) -> Result<Vec<TaggedImage>>;
}
