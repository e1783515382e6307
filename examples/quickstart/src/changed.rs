//! Rebuilds what depends on an image in a tree of the user's own.

use crate::args::{Changed, Show};
use crate::demo::{SHUTDOWN_GRACE, interrupted};
use crate::out::say;
use crate::progress::{Followed, follow};
use crate::summary::{self, Summary};
use crate::{Outcome, Result, init, scan};
use freshmaker::backend::{Catalog, EventFilter, Paging, Storage};
use freshmaker::client::Client;
use freshmaker::handler::{Context, Decision, ImagePushed, rebuild_dependents};
use freshmaker::plan::Format;
use freshmaker::rebuild::{EventId, EventState};
use freshmaker::{Artifact, ArtifactId, Engine};
use freshmaker_local::command::{CommandBuildSystem, CommandConfig};
use freshmaker_local::files::FilesCatalog;
use freshmaker_sql::SqliteStorage;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// From this size on, the first lines of a plan do not show how large it is.
const MANY_BUILDS: usize = 20;
const POLL: Duration = Duration::from_millis(100);

pub(crate) async fn run(options: &Changed) -> Result<Outcome> {
    // Absolute, because the sources are stored and a later run may be started elsewhere.
    let tree = options.tree.canonicalize().map_err(|error| format!("{}: {error}", options.tree.display()))?;
    let catalog = scan::catalog(&tree)?;
    scan::complain_of(&catalog);
    let image = find(&catalog, &options.image).await?;
    let state = tree.join(".freshmaker");
    let mut config = CommandConfig::new(program(options, &tree)?, state.join("attempts")).with_poll(POLL);
    // Before anything is stored.
    config.find_program()?;
    if options.pull && !image.buildable() && !image.id.as_str().starts_with("localhost/") {
        config = config.with_variable("FRESHMAKER_PULL", image.id.as_str());
    }
    let builds = CommandBuildSystem::new(config)?;
    // What is kept here concerns this machine only.
    std::fs::write(state.join(".gitignore"), "*\n").map_err(|error| format!("{}: {error}", state.display()))?;
    let storage = Arc::new(SqliteStorage::open(state.join("freshmaker.sqlite"))?);
    storage.upkeep().migrate().await?;
    let engine = Engine::builder()
        .storage(storage)
        .policy(catalog.policy().clone())
        .catalog("files", Arc::new(catalog))
        .build_system("command", Arc::new(builds.clone()))
        .limit("command", options.slots)
        .on(rebuild_dependents)
        .shutdown_grace(SHUTDOWN_GRACE)
        .build()?;
    let client = engine.client();

    let mut summary = None;
    engine
        .run_until(async {
            let work = async {
                let followed = send(&client, &image.id).await?;
                let events = follow(&client, &followed).await?;
                Summary::of(&client, &events).await
            };
            summary = tokio::select! {
                summary = work => Some(summary),
                _ = tokio::signal::ctrl_c() => None,
            };
        })
        .await?;
    let Some(summary) = summary else { return interrupted() };
    let summary = summary?;
    summary.print_outputs();
    summary.print_failures(&client, &builds).await?;
    summary.print(options.slots);
    Ok(summary.outcome())
}

/// Prints what would be built, and builds nothing: asks the handler outside an engine.
pub(crate) async fn show(options: &Show) -> Result<Outcome> {
    let catalog = scan::catalog(&options.tree)?;
    scan::complain_of(&catalog);
    let image = find(&catalog, &options.image).await?;
    let policy = catalog.policy().clone();
    policy.check_facts([])?;
    let cx = Context::outside(Arc::new(catalog), policy, SystemTime::now().into());
    let pushed = ImagePushed { image: image.id.to_string(), digest: None };
    let decision = rebuild_dependents(pushed, cx).await.map_err(|error| error.to_string())?;
    if let Decision::Rebuild(plan) = decision {
        if options.format == Format::Text && plan.len() >= MANY_BUILDS {
            say!("{}\n", summary::of_plan(&plan));
        }
        say!("{}", plan.render(options.format).to_string().trim_end());
    }
    Ok(Outcome::Good)
}

/// The image by any of its names.
async fn find(catalog: &FilesCatalog, name: &str) -> Result<Artifact> {
    let asked = ArtifactId::new(name);
    let graph = catalog.describe(std::slice::from_ref(&asked)).await?.complete()?;
    graph.get(&asked).cloned().ok_or_else(|| format!("there is no image {name}").into())
}

fn program(options: &Changed, tree: &Path) -> Result<PathBuf> {
    let program = options.program.clone().unwrap_or_else(|| tree.join(init::PROGRAM));
    if program.components().count() > 1 && !program.is_file() {
        let path = program.display();
        return Err(format!(
            "{path}: there is no such build program; `quickstart {} --init` writes one, --program names another",
            options.tree.display()
        )
        .into());
    }
    Ok(program)
}

/// Says that the image has changed, unless an earlier run has said so and did not come to its end.
async fn send(client: &Client, image: &ArtifactId) -> Result<Followed> {
    let unfinished = EventFilter {
        states: EventState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect(),
        ..EventFilter::default()
    };
    let open = client.events(unfinished, Paging::first(Paging::LIMIT_MAX)).await?.items;
    let newest = client.events(EventFilter::default(), Paging::first(1)).await?.items;
    let oldest_open = open.iter().map(|event| EventId(event.id.0 - 1)).min();
    let after = oldest_open.or(newest.first().map(|event| event.id)).unwrap_or(EventId(0));
    if client.overview().await?.messages_waiting > 0 || !open.is_empty() {
        say!("an earlier run did not come to its end: going on with it\n");
    }
    let pushed = ImagePushed { image: image.to_string(), digest: None };
    let waiting = open.iter().any(|event| event.envelope.search_key == image.as_str());
    let message = if waiting { None } else { Some(client.send(&pushed).await?) };
    Ok(Followed::After(after, message))
}
