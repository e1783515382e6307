//! The REST interface and the pages beside the engine, if the configuration has one.

use crate::Result;
use crate::hooks::{self, Wakes};
use crate::site::{SYSTEM, Site};
use freshmaker::Engine;
use freshmaker_web::axum::Router;
use freshmaker_web::{Config, Web};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Where the interface is served: bound, so that nothing can go wrong with it later.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    listen: SocketAddr,
    config: Config,
    listener: Arc<TcpListener>,
}

/// Returns where the interface is served and how; `None` if it is not.
///
/// # Errors
/// If it would be open to the network without a login.
pub(crate) fn config(site: &Site) -> Result<Option<(SocketAddr, Config)>> {
    let Some(given) = site.config.web.clone() else { return Ok(None) };
    let listen = given.listen.ok_or("web: `listen` is missing")?;
    let mut config = Config::default();
    (config.authentication, config.access, config.limits) = (given.authentication, given.access, given.limits);
    config.page = given.page.map(|mut page| {
        page.limits.entry(SYSTEM.to_owned()).or_insert(site.config.build.slots());
        page
    });
    config.check(listen).map_err(|error| format!("web: {error}"))?;
    Ok(Some((listen, config)))
}

/// Takes the address, unless what was bound before has it.
pub(crate) fn bind(site: &Site, before: Option<&Bound>) -> Result<Option<Bound>> {
    hooks::secret(&site.config.hooks).map_err(|error| format!("hooks: {error}"))?;
    let Some((listen, config)) = config(site)? else { return Ok(None) };
    let listener = match before.filter(|before| before.listen == listen) {
        Some(before) => Arc::clone(&before.listener),
        None => {
            let listener = TcpListener::bind(listen).map_err(|error| format!("web: {listen}: {error}"))?;
            listener.set_nonblocking(true)?;
            Arc::new(listener)
        }
    };
    Ok(Some(Bound { listen, config, listener }))
}

/// Returns the routes.
pub(crate) fn router(site: &Site, bound: &Bound, engine: &Engine, wakes: &Wakes) -> Result<Router> {
    let web = Web::new(engine.client(), bound.config.clone());
    let hooks = hooks::routes(&web, wakes, &site.config.hooks).map_err(|error| format!("hooks: {error}"))?;
    Ok(web.router_with(hooks))
}

/// Runs the engine, and serves requests beside it. At the end, requests that are under way are
/// answered before the engine stops.
pub(crate) async fn run(
    engine: &Engine,
    served: Option<(&Bound, Router)>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let Some((bound, router)) = served else {
        return Ok(engine.run_until(shutdown).await?);
    };
    let listener = tokio::net::TcpListener::from_std(bound.listener.try_clone()?)?;
    let address = listener.local_addr()?;
    match bound.config.page {
        Some(_) => tracing::info!(%address, "serves REST and pages"),
        None => tracing::info!(%address, "serves REST"),
    }
    Ok(freshmaker_web::serve_with_engine(engine, listener, router, shutdown).await?)
}
