//! A rebuild service over Fedora Messaging, Koji and ODCS that stores everything in SQLite or
//! PostgreSQL. `--help` lists its commands; `--world simulated` needs none of these services.
//!
//! | what | files |
//! |---|---|
//! | which backends and handlers make up the service | `wires` (all of them), `advisories` (Errata Tool, Pulp, Lightblue, Pyxis), `handlers` (of this service alone), `stored` (the storage) |
//! | the configuration | `config`, `shipped` (the commented examples), `check` (is it right, and is everything reachable), `policy` (converts the rules of the Python service) |
//! | the command line | `args`, `show` (plan, show), `why`, `retry`, `operate` (status, stuck, pause, dead letters, …), `tokens` |
//! | REST and pages | `site` |
//! | fakes of all services | `simulated`, with `released` (images and an advisory) and `modules` |

mod advisories;
mod args;
mod check;
#[path = "../../shared/commands.rs"]
mod commands;
mod config;
#[path = "../../shared/display.rs"]
mod display;
mod handlers;
mod modules;
mod operate;
#[path = "../../shared/out.rs"]
mod out;
#[path = "../../shared/plain.rs"]
mod plain;
mod policy;
mod released;
mod retry;
mod shipped;
mod show;
mod simulated;
mod site;
mod stored;
mod tokens;
#[path = "../../shared/traces.rs"]
mod traces;
#[path = "../../shared/verbs.rs"]
mod verbs;
mod why;
mod wires;

use crate::advisories::Sources;
use crate::args::{Command, Verb};
use crate::config::Config;
use crate::out::{complain, say};
use crate::site::Site;
use crate::stored::Stored;
use crate::wires::Wires;
use freshmaker::client::Client;
use freshmaker::time::Timestamp;
use freshmaker_redhat::scan::ShippedScan;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

/// The example has one way to fail: with a sentence for who runs it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(text) => {
            complain!("container_rebuilds: {text}\nTry `container_rebuilds --help`.");
            return ExitCode::from(USAGE);
        }
    };
    match run(command).and_then(|good| Ok(out::finish().map(|()| good)?)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain!("container_rebuilds: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(command: Command) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Help => {
                say!("{}", args::help().trim_end());
                Ok(true)
            }
            Command::ExampleConfig(shipped) => {
                say!("{}", shipped.text().trim_end());
                Ok(true)
            }
            Command::Simulated { catalog } => simulated::run(catalog).await,
            Command::ConvertPolicy { file } => policy::convert(&file),
            Command::Of(config, act) => of_site(&config, act).await,
        }
    })
}

/// Does something with the service of a configuration.
async fn of_site(path: &Path, act: Verb) -> Result<bool> {
    if let Verb::CheckConfig { online } = act {
        return check::run(path, online).await;
    }
    let mut config = Config::read(path)?;
    match act {
        Verb::ImportState { file } => return Stored::of(&config)?.import(&file).await,
        Verb::Serve { listen, dry_run } => {
            config.dry_run |= dry_run;
            return serve(&config, listen).await;
        }
        _ => {}
    }
    let wires = Wires::of(&config)?;
    match act {
        Verb::Plan { artifacts } => show::plan(wires, &artifacts).await,
        Verb::Show { event } => show::show(&wires.client()?, event).await,
        Verb::Why { name, json } => why::why(&wires, &name, json).await,
        Verb::Retry { event, part, by } => retry::retry(&wires.client()?, event, part, &by).await,
        Verb::Rescan { since } => rescan(&wires, since).await,
        Verb::Token(act) => {
            let client = if act.is_first() { wires.first_client()? } else { wires.client()? };
            tokens::run(client, act).await
        }
        act => operate::run(&wires, act).await,
    }
}

/// Runs until it is interrupted or terminated; then finishes the calls under way.
async fn serve(config: &Config, listen: Option<SocketAddr>) -> Result<bool> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    let wires = Wires::of(config)?;
    if wires.dry_run {
        tracing::warn!("this is a dry run: events are planned and stored, and nothing is built");
    }
    let site = Site::of(config, listen, &wires)?;
    let scan = wires.advisories.as_ref().map(Sources::scan).transpose()?;
    let engine = wires.engine()?;
    let client = engine.client();
    let traces = traces::exporter(config.otel.as_ref(), &client).map_err(|error| format!("otel: {error}"))?;
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let shutdown = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
            () = scan_for_ever(scan, &client) => {}
            () = traces::export(traces.as_ref()) => {}
        }
    };
    match site {
        Some(site) => site.run(&engine, shutdown).await?,
        None => engine.run_until(shutdown).await?,
    }
    Ok(true)
}

/// Looks for advisories that were missed, if there are advisories.
async fn scan_for_ever(scan: Option<ShippedScan>, client: &Client) {
    match scan {
        Some(scan) => scan.run(client).await,
        None => std::future::pending().await,
    }
}

/// Stores what has shipped since then; the service that runs handles it.
async fn rescan(wires: &Wires, since: Timestamp) -> Result<bool> {
    let Some(sources) = &wires.advisories else {
        return Err("advisories are not known here: the configuration has no [advisories]".into());
    };
    let scan = sources.scan()?;
    let scanned = scan.since(&wires.first_client()?, since).await?;
    say!("{} advisories have shipped since {since}, {} of them are new here", scanned.found, scanned.new);
    Ok(true)
}
