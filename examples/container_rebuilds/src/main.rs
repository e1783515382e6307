//! A rebuild service over Fedora Messaging, Koji and ODCS, kept in SQLite or PostgreSQL. `--help`
//! says how; `--world simulated` needs none of them.

mod advisories;
mod args;
mod check;
mod config;
#[path = "../../shared/display.rs"]
mod display;
mod handlers;
mod modules;
#[path = "../../shared/out.rs"]
mod out;
mod policy;
mod released;
mod retry;
mod show;
mod simulated;
mod site;
mod stored;
mod tokens;
#[path = "../../shared/traces.rs"]
mod traces;
mod why;
mod wires;

use crate::advisories::Sources;
use crate::args::Command;
use crate::config::Config;
use crate::out::{complain, say};
use crate::site::Site;
use crate::stored::Stored;
use crate::wires::Wires;
use freshmaker::client::Client;
use freshmaker::rebuild::EventId;
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
                say!("{}", args::HELP.trim_end());
                Ok(true)
            }
            Command::Simulated { catalog } => simulated::run(catalog).await,
            Command::Serve { config, listen } => serve(&config, listen).await,
            Command::Plan { config, artifacts } => show::plan(Wires::of(&Config::read(&config)?)?, &artifacts).await,
            Command::Show { config, event } => show::show(&Wires::of(&Config::read(&config)?)?.client()?, event).await,
            Command::Why { config, name, json } => why::why(&Wires::of(&Config::read(&config)?)?, &name, json).await,
            Command::Retry { config, event, part, by } => {
                retry::retry(&Wires::of(&Config::read(&config)?)?.client()?, event, part, &by).await
            }
            Command::Cancel { config, event, by } => cancel(&config, event, &by).await,
            Command::Rescan { config, since } => rescan(&config, since).await,
            Command::ImportState { config, file } => Stored::of(&Config::read(&config)?)?.import(&file).await,
            Command::ConvertPolicy { file } => policy::convert(&file),
            Command::CheckConfig { config, online } => check::run(&config, online).await,
            Command::CheckState { config } => check::state(&Wires::of(&Config::read(&config)?)?.client()?).await,
            Command::Token { config, act } => {
                let wires = Wires::of(&Config::read(&config)?)?;
                let client = if act.is_first() { wires.first_client()? } else { wires.client()? };
                tokens::run(client, act).await
            }
        }
    })
}

/// Runs until it is interrupted or terminated; then finishes the calls under way.
async fn serve(config: &Path, listen: Option<SocketAddr>) -> Result<bool> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    let config = Config::read(config)?;
    let wires = Wires::of(&config)?;
    let site = Site::of(&config, listen, &wires)?;
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
async fn rescan(config: &Path, since: Timestamp) -> Result<bool> {
    let wires = Wires::of(&Config::read(config)?)?;
    let Some(sources) = &wires.advisories else {
        return Err("advisories are not known here: the configuration has no [advisories]".into());
    };
    let scan = sources.scan()?;
    let scanned = scan.since(&wires.first_client()?, since).await?;
    say!("{} advisories have shipped since {since}, {} of them are new here", scanned.found, scanned.new);
    Ok(true)
}

/// Stores the wish; the service that runs carries it out.
async fn cancel(config: &Path, event: EventId, by: &str) -> Result<bool> {
    let client = Wires::of(&Config::read(config)?)?.client()?;
    client.cancel(event, by).await?;
    say!("event {event}: {}", client.event(event).await?.reason);
    Ok(true)
}
