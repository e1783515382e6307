//! The pages and the REST interfaces of the service, in its process: those of freshmaker-web and of
//! Freshmaker.

use crate::Result;
use crate::config;
use crate::wires::Wires;
use freshmaker::Engine;
use freshmaker::client::Client;
use freshmaker_redhat::api::FreshmakerApi;
use freshmaker_redhat::contracts::{ImageRepositories, Images};
use freshmaker_web::axum::Router;
use freshmaker_web::{Config, Web};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// How many builds may run at once, by the names of build systems.
fn slots(config: &config::Config) -> impl Iterator<Item = (&String, u32)> {
    let odcs = config.odcs.iter().map(|odcs| (&odcs.name, odcs.slots));
    let mbs = config.mbs.iter().map(|mbs| (&mbs.name, mbs.slots));
    std::iter::once((&config.koji.name, config.koji.slots)).chain(odcs).chain(mbs)
}

/// What is served, and where.
pub(crate) struct Site {
    pub(crate) listen: SocketAddr,
    config: Config,
    base_url: Option<String>,
    images: Option<Arc<dyn Images>>,
    repositories: Option<Arc<dyn ImageRepositories>>,
}

impl Site {
    /// The site of a configuration, or of the command line alone. Without either there is none.
    pub(crate) fn checked(config: &config::Config, listen: Option<SocketAddr>) -> Result<Option<Self>> {
        let given = config.web.clone().unwrap_or_default();
        let Some(listen) = listen.or(given.listen) else {
            return match config.web {
                Some(_) => Err("`listen` is missing, and --listen is not given".into()),
                None => Ok(None),
            };
        };
        let mut web = Config::default();
        (web.authentication, web.access, web.limits) = (given.authentication, given.access, given.limits);
        let mut page = given.page;
        for (system, slots) in slots(config) {
            page.limits.entry(system.clone()).or_insert(slots);
        }
        web.page = Some(page);
        web.check(listen)?;
        if let Some(url) = &given.base_url {
            freshmaker_net::HttpConfig::check_url(url).map_err(|error| format!("base_url: {error}"))?;
        }
        Ok(Some(Self { listen, config: web, base_url: given.base_url, images: None, repositories: None }))
    }

    /// What works, and perhaps not as it is meant to.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.config.warnings()
    }

    /// The same, with the catalog that `verify-image` and `verify-image-repository` ask.
    pub(crate) fn of(config: &config::Config, listen: Option<SocketAddr>, wires: &Wires) -> Result<Option<Self>> {
        let site = Self::checked(config, listen).map_err(|error| format!("web: {error}"))?;
        let images = wires.advisories.as_ref().map(|sources| sources.images()).transpose()?;
        let repositories = wires.advisories.as_ref().map(|sources| sources.images.open()).transpose()?;
        let repositories = repositories.map(|catalog| catalog as Arc<dyn ImageRepositories>);
        Ok(site.map(|site| Self { images, repositories, ..site }))
    }

    fn router(self, client: Client) -> Router {
        let api = FreshmakerApi::new(Web::new(client, self.config));
        let api = self.base_url.into_iter().fold(api, FreshmakerApi::base_url);
        let api = self.images.into_iter().fold(api, FreshmakerApi::images);
        self.repositories.into_iter().fold(api, FreshmakerApi::repositories).router()
    }

    /// Runs the engine, and serves requests beside it. At the end, requests that are under way are
    /// answered before the engine stops.
    pub(crate) async fn run(self, engine: &Engine, shutdown: impl Future<Output = ()>) -> Result<()> {
        let listener = TcpListener::bind(self.listen).await.map_err(|error| format!("{}: {error}", self.listen))?;
        tracing::info!(address = %listener.local_addr()?, "serves REST and pages");
        let router = self.router(engine.client());
        Ok(freshmaker_web::serve_with_engine(engine, listener, router, shutdown).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected times need the limits of the engine, which are in one place of the file.
    #[test]
    fn pages_know_how_many_builds_run_at_once() {
        let text = r#"
            state = "rows.sqlite"
            catalog = "catalog.toml"
            [koji]
            profile = "koji"
            slots = 20
            [odcs]
            url = "https://odcs.example.org"
            slots = 5
            [web]
            listen = "127.0.0.1:8080"
            [web.page.limits]
            odcs = 4
            farm = 2
        "#;
        let config: config::Config = toml::from_str(text).unwrap();
        let site = Site::checked(&config, None).unwrap().unwrap();
        let limits = site.config.page.unwrap().limits;
        let limits: Vec<_> = limits.iter().map(|(name, limit)| (name.as_str(), *limit)).collect();
        assert_eq!(limits, [("farm", 2), ("koji", 20), ("odcs", 4)], "what is given for the pages stays");
    }
}
