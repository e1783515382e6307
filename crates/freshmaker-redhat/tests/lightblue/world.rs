use crate::form;
pub(crate) use crate::images::{REGISTRY, app, bare, bash, nvrs, texts};
use freshmaker::backend::{Error, Result};
use freshmaker_redhat::contracts::Images;
use freshmaker_redhat::fakes::lightblue::{FakeLightblue, FakeRepository};
use freshmaker_redhat::image::CatalogImage;
use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig};
use std::time::Duration;

pub(crate) struct World {
    pub(crate) service: FakeLightblue,
    pub(crate) lightblue: Lightblue,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration that is changed first.
    pub(crate) async fn with(change: impl FnOnce(&mut LightblueConfig)) -> Self {
        let service = FakeLightblue::start().await.unwrap();
        let lightblue = client(&service.url(), change);
        Self { service, lightblue }
    }

    /// With the repository `app` and one image in it that contains bash.
    pub(crate) async fn small() -> Self {
        let world = Self::new().await;
        world.service.add_repository(FakeRepository::new(REGISTRY, "app"));
        world.service.add_image(app("app-container-1-1"));
        world
    }

    /// What contains bash from the content set `set`.
    pub(crate) async fn containing_bash(&self) -> Result<Vec<CatalogImage>> {
        self.lightblue.containing(&bash()).await
    }

    /// The error of asking for what contains bash.
    pub(crate) async fn error(&self) -> Error {
        self.containing_bash().await.unwrap_err()
    }

    /// How many requests there were for repositories and for images, all of them well-formed.
    pub(crate) fn asked(&self) -> (usize, usize) {
        let asked = self.service.asked();
        for (path, request) in &asked {
            assert_eq!(form::faults(request), [] as [String; 0], "{path}: {request}");
        }
        let count = |entity: &str| asked.iter().filter(|(path, _)| path.contains(entity)).count();
        (count("containerRepository"), count("containerImage"))
    }
}

pub(crate) fn client(url: &str, change: impl FnOnce(&mut LightblueConfig)) -> Lightblue {
    let mut config = LightblueConfig::new(url);
    config.http.timeout = Duration::from_secs(30);
    change(&mut config);
    Lightblue::new(config).unwrap()
}
