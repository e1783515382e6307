//! The pages of freshmaker, over the world of the quickstart. `--help` says how.

mod args;
mod pretended;

use args::Options;
use freshmaker::backend::Paging;
use freshmaker::client::Client;
use freshmaker::event::Message;
use freshmaker::handler::{ImagePushed, rebuild_dependents, rebuild_requested};
use freshmaker::memory::{MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker::{ArtifactGraph, ArtifactId, Engine};
use freshmaker_web::{Config, PageConfig};
use pretended::{Pretended, takes};
use quickstart::Result;
use quickstart::world::{BASE, World, policy};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;

/// The build system, by its name.
const SYSTEM: &str = "pretended";

/// What fails once.
const FAILS: &str = "docker.io/amd64/python:3.13.15-bookworm";

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match args::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("demonstration: {text}\nTry `demonstration --help`.");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demonstration: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let mut config = Config::loopback();
    let mut page = PageConfig::default();
    page.limits.insert(SYSTEM.to_owned(), options.slots);
    config.page = Some(page);
    config.check(options.listen)?;
    let world = World::load()?;
    let builds = Arc::new(Pretended::new(options.slower));
    let engine = Engine::builder()
        .storage(Arc::new(MemoryStorage::new()))
        .catalog("library", Arc::new(MemoryCatalog::new(graph(&world, options.slower)?)))
        .build_system(SYSTEM, Arc::clone(&builds) as _)
        .limit(SYSTEM, options.slots)
        .policy(policy()?)
        .on(rebuild_dependents)
        .on(rebuild_requested)
        .build()?;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| format!("{}: {error}", options.listen))?;
    let address = format!("http://{}/", listener.local_addr()?);
    let router = freshmaker_web::router(engine.client(), config);
    begin(&world, &builds, &engine.client()).await?;
    println!("{address}\nCtrl-C ends it; nothing of it is kept.");
    if options.opens_browser {
        open(&address);
    }
    Ok(freshmaker_web::serve_with_engine(&engine, listener, router, asked_to_end(options)).await?)
}

/// The graph of the library, with the times that builds take here.
fn graph(world: &World, slower: u32) -> Result<ArtifactGraph> {
    let mut graph = world.graph()?;
    let artifacts: Vec<_> = graph.artifacts().filter(|artifact| artifact.buildable()).cloned().collect();
    for artifact in artifacts {
        let estimate = takes(&artifact.id, slower);
        graph.insert(artifact.with_estimate(estimate));
    }
    Ok(graph)
}

/// Lets something happen: the pushes of a base image, a build that fails, and a message that nobody
/// can read.
async fn begin(world: &World, builds: &Pretended, client: &Client) -> Result<()> {
    let reason = "the tests of the image failed: ImportError: libssl.so.3 has no version information";
    builds.fail_next(&ArtifactId::new(FAILS), Failure::new(FailureClass::Permanent, reason));
    let broken = Message {
        id: "from-a-script".to_owned(),
        topic: "image.pushed".to_owned(),
        headers: Default::default(),
        body: br#"{"imgae": "debian:bookworm"}"#.to_vec(),
    };
    client.receive(broken).await?;
    for at in world.pushed() {
        let image = &world.images[at];
        client
            .send_as(format!("push-{}", image.platform), &ImagePushed { image: image.id.to_string(), digest: None })
            .await?;
    }
    // That the storage answers is worth knowing before a browser is opened.
    client.events(Default::default(), Paging::first(1)).await?;
    println!("{BASE} was pushed for {} platforms", world.pushed().len());
    Ok(())
}

async fn asked_to_end(options: &Options) {
    let time = async {
        match options.ends_after {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = time => {}
    }
}

/// Opens the page, if this machine has a way to. That it has none is no failure: the address is
/// printed.
fn open(address: &str) {
    for program in ["xdg-open", "open"] {
        let started = tokio::process::Command::new(program)
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if started.is_ok() {
            return;
        }
    }
}
