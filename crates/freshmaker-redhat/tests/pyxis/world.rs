pub(crate) use crate::images::{REGISTRY, app, bare, bash, nvrs, texts};
use freshmaker::backend::{Error, Result};
use freshmaker_redhat::contracts::Images;
use freshmaker_redhat::fakes::lightblue::FakeRepository;
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use freshmaker_redhat::image::CatalogImage;
use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
use std::time::Duration;

pub(crate) struct World {
    pub(crate) service: FakePyxis,
    pub(crate) pyxis: Pyxis,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration that is changed first.
    pub(crate) async fn with(change: impl FnOnce(&mut PyxisConfig)) -> Self {
        let service = FakePyxis::start().await.unwrap();
        let pyxis = client(&service.url(), change);
        Self { service, pyxis }
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
        self.pyxis.containing(&bash()).await
    }

    /// The error of asking for what contains bash.
    pub(crate) async fn error(&self) -> Error {
        self.containing_bash().await.unwrap_err()
    }

    /// How many requests there were for repositories and for images.
    pub(crate) fn asked(&self) -> (usize, usize) {
        let asked = self.service.asked();
        let count = |field: &str| asked.iter().filter(|body| body["query"].as_str().unwrap().contains(field)).count();
        (count("find_repositories"), count("find_images"))
    }
}

pub(crate) fn client(url: &str, change: impl FnOnce(&mut PyxisConfig)) -> Pyxis {
    let mut config = PyxisConfig::new(url);
    config.http.timeout = Duration::from_secs(30);
    change(&mut config);
    Pyxis::new(config).unwrap()
}
