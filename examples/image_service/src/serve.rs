//! The service: the engine, what finds out what has changed, and the REST interface.

use crate::args::Start;
use crate::hooks::Wakes;
use crate::live::LiveCatalog;
use crate::records::Records;
use crate::site::{SYSTEM, Site};
use crate::sources::Sources;
use crate::verify::RegistryVerifier;
use crate::watch::{FETCH, Watch};
use crate::{Outcome, Result, complain, handlers, init, notify, step, web};
use freshmaker::Engine;
use freshmaker::client::Client;
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::Limits;
use freshmaker_local::command::{CommandBuildSystem, CommandConfig};
use freshmaker_local::files::FilesCatalog;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

/// How soon the engine sees what another process has stored.
const TICK: Duration = Duration::from_secs(1);
/// How long calls under way may take at the end. Builds go on without the service.
const GRACE: Duration = Duration::from_secs(5);
/// The time for what is left of a build that is stopped.
const STOP_GRACE: Duration = Duration::from_secs(10);

pub(crate) async fn run(start: &Start) -> Result<Outcome> {
    if start.registry.is_some() && init::write(start)? {
        complain(format_args!("wrote {}", start.path.join(crate::config::FILE).display()));
    }
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    let mut reload = signal(SignalKind::hangup())?;
    loop {
        match serve(Arc::new(Site::open(&start.path)?), &mut reload).await? {
            End::Stopped => return Ok(Outcome::Good),
            End::Reload => tracing::info!("the configuration is read again"),
        }
    }
}

/// Why the service has stopped.
enum End {
    Stopped,
    /// To go on with another configuration. Builds go on meanwhile.
    Reload,
}

/// Waits until the service is asked to read its configuration again and can be started with it.
async fn changed(site: &Site, reload: &mut Signal) {
    while reload.recv().await.is_some() {
        let next = Site::open(&site.directory).and_then(|site| build_system(&site).and(web::config(&site)));
        match next {
            Ok(_) => return,
            Err(error) => tracing::error!(%error, "the new configuration is not used"),
        }
    }
    std::future::pending().await
}

async fn serve(site: Arc<Site>, reload: &mut Signal) -> Result<End> {
    let registries = site.registries()?;
    let builds = build_system(&site)?;
    let storage = site.storage().await?;
    let records = Records::new(Client::new(storage.clone()));
    first_fetch(&site).await?;
    let read = Sources::default().read(&site)?;
    report(&read.files)?;
    let policy = read.files.policy().clone();
    let live = LiveCatalog::new(read, records.clone());
    let verifier =
        RegistryVerifier { site: Arc::clone(&site), registries: registries.clone(), records: records.clone() };
    let mut limits = Limits::default();
    limits.tries_infrastructure_max = site.config.build.tries;
    let builder = Engine::builder()
        .storage(storage)
        .policy(policy)
        .facts(["manual"])
        .catalog("tree", Arc::new(live.clone()))
        .build_system(SYSTEM, Arc::new(builds))
        .verifier(SYSTEM, Arc::new(verifier))
        .limit(SYSTEM, site.config.build.slots)
        .limits(limits)
        .tick(TICK)
        .shutdown_grace(GRACE);
    let quiet = site.config.build.quiet.duration();
    let engine = handlers::on(builder, &records, &site.config.freeze, quiet).build()?;
    let wakes = Wakes::default();
    let watch = Watch {
        records: Records::new(engine.client()),
        live,
        registries,
        clock: Arc::new(SystemClock),
        wakes: wakes.clone(),
        is_due: AtomicBool::new(false),
        site: Arc::clone(&site),
    };
    let client = engine.client();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut end = End::Stopped;
    let shutdown = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
            () = changed(&site, reload) => end = End::Reload,
            () = watch.run() => {}
            () = notify::watch(&client, &site.config.notify) => {}
        }
    };
    web::run(&site, &engine, &wakes, shutdown).await?;
    Ok(end)
}

/// Fetches the tree, if it is that of a repository. One that was fetched before will do for now.
async fn first_fetch(site: &Site) -> Result<()> {
    let Some(checkouts) = site.checkouts() else { return Ok(()) };
    match tokio::time::timeout(FETCH, checkouts.fetch()).await {
        Ok(Ok(commit)) => {
            tracing::info!(commit, "the tree was fetched");
            Ok(())
        }
        Ok(Err(error)) if site.catalog().is_err() => Err(error),
        Err(_) if site.catalog().is_err() => Err("the tree was not fetched in time".into()),
        // The watch says so, and tries again.
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

/// Returns the build system, which runs this program for each build.
pub(crate) fn build_system(site: &Site) -> Result<CommandBuildSystem> {
    let program = std::env::current_exe()?;
    let mut config = CommandConfig::new(program, site.attempts())
        .with_arguments(["build-step"])
        .with_variable(step::DIRECTORY, site.directory.display().to_string())
        .with_timeout(site.config.build.timeout.duration())
        .with_keep_for(site.config.build.keep_for.duration())
        .with_stop_grace(STOP_GRACE);
    for (name, value) in &site.config.build.environment {
        config = config.with_variable(name, value);
    }
    Ok(CommandBuildSystem::new(config)?)
}

/// Says what is wrong with the tree, and refuses one whose images could not be pushed.
fn report(files: &FilesCatalog) -> Result<()> {
    let own: Vec<_> = files.graph().artifacts().filter(|artifact| artifact.buildable()).collect();
    for problem in files.problems() {
        tracing::warn!(%problem, "something is wrong with the tree");
    }
    if let Some(nowhere) = own.iter().find(|artifact| artifact.id.as_str().starts_with("localhost/")) {
        let id = &nowhere.id;
        return Err(format!("{id} is in no registry: say under [tree] how images are named, such as image = \"registry.example.org/{{path}}:{{tag}}\"").into());
    }
    let bases = files.graph().artifacts().count() - own.len();
    tracing::info!(images = own.len(), bases, "the tree is watched");
    Ok(())
}
