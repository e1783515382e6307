use super::{Each, Recipe, Recipes};
use async_trait::async_trait;
use freshmaker::artifact::{Nvr, Parameter};
use freshmaker::backend::Result;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The parameter of a build in Koji with the files of further package repositories.
const REPOSITORIES: &str = "yum_repourls";

/// Recipes with further package repositories: everything that is built by them may take packages
/// from there too. For packages that are not released yet, see
/// [`RebuildImagesOfSignedAdvisory`](crate::handlers::RebuildImagesOfSignedAdvisory).
///
/// ```
/// use freshmaker_redhat::contracts::{Recipes, WithRepositories};
/// use std::sync::Arc;
///
/// fn with_candidates(recipes: Arc<dyn Recipes>) -> Arc<dyn Recipes> {
///     Arc::new(WithRepositories::new(recipes, ["https://repos.example.org/candidates.repo"]))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct WithRepositories {
    recipes: Arc<dyn Recipes>,
    urls: BTreeSet<String>,
}

impl WithRepositories {
    /// Adds the URLs of these repository files to each recipe.
    pub fn new<T: Into<String>>(recipes: Arc<dyn Recipes>, urls: impl IntoIterator<Item = T>) -> Self {
        Self { recipes, urls: urls.into_iter().map(Into::into).collect() }
    }
}

#[async_trait]
impl Recipes for WithRepositories {
    async fn recipes(&self, images: &BTreeSet<Nvr>) -> Result<Each<Recipe>> {
        let mut found = self.recipes.recipes(images).await?;
        for recipe in found.values_mut().flatten() {
            let mut urls = self.urls.clone();
            if let Some(Parameter::Set(own)) = recipe.artifact.parameters.get(REPOSITORIES) {
                urls.extend(own.iter().cloned());
            }
            recipe.artifact = recipe.artifact.clone().with_parameter(REPOSITORIES, Parameter::Set(urls));
        }
        Ok(found)
    }

    async fn installed(&self, images: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        self.recipes.installed(images).await
    }
}
