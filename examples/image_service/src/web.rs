//! The REST interface beside the engine, if the configuration has one.

use crate::Result;
use crate::hooks::{self, Wakes};
use crate::site::Site;
use freshmaker::Engine;
use freshmaker_web::{Config, Web};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Returns where the interface is served and how; `None` if it is not.
///
/// # Errors
/// If it would be open to the network without a login.
pub(crate) fn config(site: &Site) -> Result<Option<(SocketAddr, Config)>> {
    let Some(given) = site.config.web.clone() else { return Ok(None) };
    let listen = given.listen.ok_or("web: `listen` is missing")?;
    let mut config = Config::default();
    (config.authentication, config.access, config.limits) = (given.authentication, given.access, given.limits);
    config.check(listen).map_err(|error| format!("web: {error}"))?;
    Ok(Some((listen, config)))
}

/// Runs the engine, and serves requests beside it. At the end, requests that are under way are
/// answered before the engine stops.
pub(crate) async fn run(site: &Site, engine: &Engine, wakes: &Wakes, shutdown: impl Future<Output = ()>) -> Result<()> {
    let Some((listen, config)) = config(site)? else {
        return Ok(engine.run_until(shutdown).await?);
    };
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
    tracing::info!(address = %listener.local_addr()?, "serves REST");
    let web = Web::new(engine.client(), config);
    let hooks = hooks::routes(&web, wakes, &site.config.hooks).map_err(|error| format!("hooks: {error}"))?;
    let router = web.router_with(hooks);
    Ok(freshmaker_web::serve_with_engine(engine, listener, router, shutdown).await?)
}
