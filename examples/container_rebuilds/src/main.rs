//! A rebuild service over Fedora Messaging, Koji and ODCS, kept in SQLite. `--help` says how;
//! `--world simulated` needs none of them.

mod advisories;
mod args;
mod check;
mod config;
mod handlers;
mod released;
mod show;
mod simulated;
mod site;
mod tokens;
mod wires;

use crate::args::Command;
use crate::config::Config;
use crate::site::Site;
use crate::wires::Wires;
use freshmaker::rebuild::EventId;
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
            eprintln!("container_rebuilds: {text}\nTry `container_rebuilds --help`.");
            return ExitCode::from(USAGE);
        }
    };
    match run(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("container_rebuilds: {error}");
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
                print!("{}", args::HELP);
                Ok(true)
            }
            Command::Simulated => simulated::run().await,
            Command::Serve { config, listen } => serve(&config, listen).await,
            Command::Plan { config, artifacts } => show::plan(Wires::of(&Config::read(&config)?)?, &artifacts).await,
            Command::Show { config, event } => show::show(&Wires::of(&Config::read(&config)?)?.client()?, event).await,
            Command::Cancel { config, event, by } => cancel(&config, event, &by).await,
            Command::CheckConfig { config, online } => check::run(&config, online).await,
            Command::Token { config, act } => tokens::run(Wires::of(&Config::read(&config)?)?.client()?, act).await,
        }
    })
}

/// Runs until it is interrupted or terminated; then finishes the calls under way.
async fn serve(config: &Path, listen: Option<SocketAddr>) -> Result<bool> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    let config = Config::read(config)?;
    let wires = Wires::of(&config)?;
    let site = Site::of(&config, listen, &wires)?;
    let engine = wires.engine()?;
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let shutdown = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    match site {
        Some(site) => site.run(&engine, shutdown).await?,
        None => engine.run_until(shutdown).await?,
    }
    Ok(true)
}

/// Stores the wish; the service that runs carries it out.
async fn cancel(config: &Path, event: EventId, by: &str) -> Result<bool> {
    let client = Wires::of(&Config::read(config)?)?.client()?;
    client.cancel(event, by).await?;
    println!("event {event}: {}", client.event(event).await?.reason);
    Ok(true)
}
