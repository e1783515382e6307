//! `debian:bookworm` is pushed, and what depends on it is rebuilt.

use crate::args::{Content, Demo};
use crate::display::ends;
use crate::out::{complain, say};
use crate::progress::{Followed, follow};
use crate::store::{Document, Pushed, Store};
use crate::summary::Summary;
use crate::world::{BASE, Library, World, policy};
use crate::{Outcome, Result, check, step};
use freshmaker::Engine;
use freshmaker::backend::Storage;
use freshmaker::client::Client;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker_local::command::{CommandBuildSystem, CommandConfig};
use freshmaker_sql::SqliteStorage;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The pretended builds are short, so they are looked at often.
const POLL: Duration = Duration::from_millis(25);
const BUILD_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: &Demo) -> Result<Outcome> {
    let world = World::load()?;
    let store = Store::create(&options.state)?;
    let storage = Arc::new(SqliteStorage::open(store.root().join("freshmaker.sqlite"))?);
    storage.upkeep().migrate().await?;
    let builds = CommandBuildSystem::new(
        CommandConfig::new(std::env::current_exe()?, store.root().join("attempts"))
            .with_arguments(["build-step"])
            .with_variable(step::STATE, store.root().to_str().ok_or("the path of --state is not UTF-8")?)
            .with_poll(POLL)
            .with_timeout(BUILD_TIMEOUT),
    )?;
    let engine = Engine::builder()
        .storage(Arc::clone(&storage) as Arc<dyn Storage>)
        .catalog("library", Arc::new(Library::new(world.graph()?, store.clone())))
        .build_system("command", Arc::new(builds.clone()))
        .limit("command", options.slots)
        .policy(policy()?)
        .on(rebuild_dependents)
        .shutdown_grace(SHUTDOWN_GRACE)
        .build()?;
    let client = engine.client();

    let mut summary = None;
    // Within the run, because only then it is sure that no other process works on the same state.
    engine
        .run_until(async {
            let work = async {
                world.first_outputs(&store)?;
                let push = push(options.content, &world, &store, storage.as_ref(), &client).await?;
                let events = follow(&client, &Followed::Messages(push.into_values().collect())).await?;
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
    summary.print_failures(&client, &builds).await?;
    summary.print(options.slots);
    let checked = check::report(&world, &store)?;
    Ok(if checked == Outcome::Good { summary.outcome() } else { checked })
}

pub(crate) fn interrupted() -> Result<Outcome> {
    complain!("stopped; what runs goes on by itself, and the same command takes it from here");
    Ok(Outcome::Bad)
}

/// Pushes, or completes the last push if that is not through; returns the identity of the message
/// for each platform.
async fn push(
    content: Content,
    world: &World,
    store: &Store,
    storage: &SqliteStorage,
    client: &Client,
) -> Result<BTreeMap<usize, String>> {
    let messages = |push: Pushed| -> BTreeMap<usize, String> {
        let name = |at: &usize| (*at, format!("push-{}-{}", push.push, world.images[*at].platform));
        world.pushed().iter().map(name).collect()
    };
    let last = store.pushed()?;
    let open = match last {
        Some(last) => is_open(messages(last).values(), storage, client).await?.then_some(last),
        None => None,
    };
    let push = match (open, last) {
        (Some(open), _) => {
            let events = Followed::Messages(messages(open).into_values().collect()).events(client).await?;
            let ended: u64 = events.iter().map(ends).sum();
            let to_go: u32 = events.iter().map(|event| event.builds_open).sum();
            say!(
                "push {} of {BASE} is not through: going on with it instead of pushing again \
                 ({ended} builds ended, {to_go} to go, {} of them running)\n",
                open.push,
                client.overview().await?.builds_running,
            );
            open
        }
        (None, None) => Pushed { push: 1, content: 1 },
        (None, Some(last)) => Pushed {
            push: last.push + 1,
            content: if content == Content::Same { last.content } else { last.content + 1 },
        },
    };
    if open.is_none() {
        let what = if last.is_some_and(|last| last.content == push.content) { "the same" } else { "new" };
        say!("{BASE} is pushed with {what} content for {} platforms\n", messages(push).len());
        store.set_pushed(push)?;
    }
    // Each step can be repeated: outputs are named by their content, and a message is known by its
    // identity.
    for (at, message) in messages(push) {
        let image = &world.images[at];
        let digest = store.put(&Document {
            artifact: image.id.clone(),
            recipe: world.recipe(at),
            content: push.content,
            parents: BTreeMap::new(),
        })?;
        store.move_tag(&image.id, &digest)?;
        client.send_as(message, &ImagePushed { image: image.id.to_string(), digest: Some(digest) }).await?;
    }
    Ok(messages(push))
}

/// Whether some of the messages were not sent, or something is left to be done.
async fn is_open(messages: impl Iterator<Item = &String>, storage: &SqliteStorage, client: &Client) -> Result<bool> {
    for message in messages {
        if storage.reads().message("local", message).await?.is_none() {
            return Ok(true);
        }
    }
    Ok(!client.overview().await?.is_idle())
}
