//! The command `serve`: runs the engine, the watch for changes, and the REST interface together.

use crate::args::Start;
use crate::entry::plain;
use crate::hooks::Wakes;
use crate::live::{LiveCatalog, Read};
use crate::quiet::Quiets;
use crate::records::Records;
use crate::site::{SYSTEM, Site};
use crate::sources::Sources;
use crate::verify::RegistryVerifier;
use crate::watch::{FETCH, Said, Watch};
use crate::web::Bound;
use crate::{Outcome, Result, complain, handlers, init, notify, step, traces, web};
use freshmaker::Engine;
use freshmaker::client::Client;
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::Limits;
use freshmaker_local::command::{CommandBuildSystem, CommandConfig};
use freshmaker_web::TraceExporter;
use freshmaker_web::axum::Router;
use futures_util::future::join_all;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
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
    let site = Site::open(&start.path)?;
    init::agree(start, &site.config)?;
    let mut ready = Ready::of(site, None).await?;
    while let Some(next) = ready.serve(&mut reload).await? {
        tracing::info!("the configuration is read again");
        ready = next;
    }
    Ok(Outcome::Good)
}

/// A service that only has to be started: all that can be wrong with a configuration is found out
/// while it is made, so that another service can go on until then.
struct Ready {
    site: Arc<Site>,
    engine: Engine,
    watch: Watch,
    bound: Option<Bound>,
    router: Option<Router>,
    traces: Option<TraceExporter>,
}

impl Ready {
    /// Makes a service beside the one that has `before`.
    async fn of(site: Site, before: Option<&Bound>) -> Result<Self> {
        let site = Arc::new(site);
        let registries = site.registries()?;
        let builds = build_system(&site)?;
        let bound = web::bind(&site, before)?;
        let storage = site.storage().await?;
        let records = Records::new(Client::new(storage.clone()));
        // Late, because the files of another service may be replaced by it.
        first_fetch(&site).await?;
        let read = Sources::default().read(&site)?;
        report(&read)?;
        let policy = read.files.policy().clone();
        let problems = Mutex::new(read.problems.clone());
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
            .limit(SYSTEM, site.config.build.slots())
            .limits(limits)
            .retention(site.config.retention.retention())
            .tick(TICK)
            .shutdown_grace(GRACE)
            // So that `status` sees that a service runs.
            .replica(SYSTEM);
        let quiets = Quiets::of(&site.config);
        let engine = handlers::on(builder, &records, Some(registries.clone()), &site.config.freeze, quiets).build()?;
        let wakes = Wakes::default();
        let traces = traces::exporter(site.config.otel.as_ref(), &engine.client());
        let traces = traces.map_err(|error| format!("otel: {error}"))?;
        let router = bound.as_ref().map(|bound| web::router(&site, bound, &engine, &wakes)).transpose()?;
        let watch = Watch {
            records: Records::new(engine.client()),
            live,
            registries,
            clock: Arc::new(SystemClock),
            wakes,
            is_due: AtomicBool::new(false),
            said: Said::default(),
            problems,
            site: Arc::clone(&site),
        };
        Ok(Self { site, engine, watch, bound, router, traces })
    }

    /// Serves until it is to end; returns what goes on, if that is a service with another
    /// configuration. Builds go on meanwhile.
    async fn serve(self, reload: &mut Signal) -> Result<Option<Self>> {
        let Self { site, engine, watch, bound, router, traces } = self;
        let client = engine.client();
        let mut terminated = signal(SignalKind::terminate())?;
        let mut next = None;
        let shutdown = async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
                ready = changed(&site, bound.as_ref(), reload) => next = Some(ready),
                () = watch.run() => {}
                () = notify::watch(&client, &site.config.notify, &site.directory) => {}
                () = notify::log_failures(&client) => {}
                () = traces::export(traces.as_ref()) => {}
            }
        };
        web::run(&engine, bound.as_ref().zip(router), shutdown).await?;
        Ok(next)
    }
}

/// Waits until the service is asked to read its configuration again and can be started with it.
async fn changed(site: &Site, bound: Option<&Bound>, reload: &mut Signal) -> Ready {
    while reload.recv().await.is_some() {
        let next = match Site::open(&site.directory) {
            Ok(next) => Ready::of(next, bound).await,
            Err(error) => Err(error),
        };
        match next {
            Ok(ready) => return ready,
            Err(error) => tracing::error!(error = plain(&error.to_string()), "the new configuration is not used"),
        }
    }
    std::future::pending().await
}

/// Fetches the trees that are those of repositories. One that was fetched before will do for now.
async fn first_fetch(site: &Site) -> Result<()> {
    let checkouts = site.checkouts();
    let fetching = checkouts.iter().map(|checkouts| tokio::time::timeout(FETCH, checkouts.fetch()));
    let mut failed = Ok(());
    for (fetched, checkouts) in join_all(fetching).await.into_iter().zip(&checkouts) {
        let url = checkouts.url();
        match fetched {
            Ok(Ok(commit)) => tracing::info!(url, commit, "the tree was fetched"),
            Ok(Err(error)) => failed = Err(error),
            Err(_) => failed = Err(format!("{url}: the tree was not fetched in time").into()),
        }
    }
    // Else the watch says so, and tries again.
    if site.catalog().is_err() { failed } else { Ok(()) }
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
fn report(read: &Read) -> Result<()> {
    let files = &read.files;
    let own: Vec<_> = files.graph().artifacts().filter(|artifact| artifact.buildable()).collect();
    for problem in &read.problems {
        tracing::warn!(problem = plain(problem), "something is wrong with the tree");
    }
    if let Some(nowhere) = own.iter().find(|artifact| artifact.id.as_str().starts_with("localhost/")) {
        let id = &nowhere.id;
        return Err(format!("{id} is in no registry: say under [tree] how images are named, such as image = \"registry.example.org/{{path}}:{{tag}}\"").into());
    }
    let bases = files.graph().artifacts().count() - own.len();
    tracing::info!(images = own.len(), bases, "the tree is watched");
    Ok(())
}
