//! What depends on what changed is rebuilt: on real data, or on your own tree of Containerfiles.
//! `--help` says how.

mod args;
mod changed;
mod check;
mod demo;
#[path = "../../shared/display.rs"]
mod display;
mod init;
mod lookalike;
#[path = "../../shared/out.rs"]
mod out;
mod progress;
mod scan;
mod step;
mod summary;

use crate::out::{complain, say};
use args::Command;
use quickstart::{Result, store, world};
use std::process::ExitCode;

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
}

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(text) => {
            complain!("quickstart: {text}\nTry `quickstart --help`.");
            return ExitCode::from(USAGE);
        }
    };
    let outcome = run(command).and_then(|outcome| {
        out::finish().map_err(|error| format!("standard output: {error}"))?;
        Ok(outcome)
    });
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::FAILURE,
        Err(error) => {
            complain!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Help => {
            say!("{}", args::HELP.trim_end());
            Ok(Outcome::Good)
        }
        Command::Demo(options) => block_on(demo::run(&options)),
        Command::Check { state } => check::run(&state),
        Command::BuildStep => step::run().map(|()| Outcome::Good),
        Command::Scan { tree } => scan::run(&tree),
        Command::Init { tree } => init::run(&tree),
        Command::Changed(options) => block_on(changed::run(&options)),
        Command::Show(options) => block_on(changed::show(&options)),
    }
}

fn block_on(work: impl Future<Output = Result<Outcome>>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // A call on a blocking thread must not hold up the end: whatever it does can also be cut off by
    // a crash.
    runtime.shutdown_background();
    outcome
}
