//! Keeps the images of a tree of Containerfiles current, with one registry and one machine.
//! `--help` lists its commands.
//!
//! | what | files |
//! |---|---|
//! | the command line | `args` (`spec`: all commands and options), `init`, `check`, `act` (starts each command; has those that change something), `ask` (those that only read), `plan`, `rollback`, `restore`, `stale` |
//! | the configuration, and the parts made of it | `config`, `site`, `serve` (builds and runs the engine), `machine` (memory) |
//! | which images there are | `tree` (Containerfiles), `sources` (contents of build contexts), `live` (the catalog: tree and registries), `git` (a tree from a repository) |
//! | what has changed | `watch` (polls registries and tree; `compare` sends an event for each image whose files have changed), `hooks` (web hooks make it poll at once), `fix` (advisories) |
//! | which images are rebuilt, and when | `handlers`, `condition` (why an image is not fresh), `freeze` (hours without rebuilds), `quiet` (bases that just changed) |
//! | one build | `step` (build, push, test, sign, then move the tag), by `step/command`, or by `step/job` if another service builds (`elsewhere`: its settings), `pins` (contents of parents), `step/same` (is the result unchanged, by `step/contents`, `step/tar` and `step/zstd`); `verify` looks at the registry afterwards |
//! | what is stored beside the rows of the engine | `records`: what was published, from which parents, and what a person holds back |
//! | output | `entry`, `report`, `sarif`, `notify` (messages to owners of images), `web` (REST and pages) |

mod act;
mod args;
mod ask;
mod check;
#[path = "../../shared/commands.rs"]
mod commands;
mod condition;
mod config;
mod elsewhere;
mod entry;
mod fix;
mod freeze;
mod git;
mod handlers;
mod hooks;
mod init;
mod live;
mod machine;
mod notify;
mod pins;
#[path = "../../shared/plain.rs"]
mod plain;
mod plan;
mod quiet;
mod records;
mod report;
mod restore;
mod rollback;
mod sarif;
mod serve;
mod site;
mod sources;
mod stale;
mod step;
#[path = "../../shared/traces.rs"]
mod traces;
mod tree;
#[path = "../../shared/verbs.rs"]
mod verbs;
mod verify;
mod watch;
mod web;

use args::Command;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// The example has one way to fail: with a sentence for whoever runs it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How a command ended, as its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Good = 0,
    Failed = 1,
    Usage = 2,
    Stale = 3,
    Unknown = 4,
}

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Err(text) => {
            complain(format_args!("{text}\nTry `image_service --help`."));
            ExitCode::from(Outcome::Usage as u8)
        }
        Ok(Command::BuildStep) => match block_on(async { Ok(step::run().await) }) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(failure)) => {
                complain(format_args!("{failure}"));
                ExitCode::from(failure.status())
            }
            Err(error) => failed(&*error),
        },
        Ok(command) => run(command).map_or_else(|error| failed(&*error), |outcome| ExitCode::from(outcome as u8)),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    complain(format_args!("{error}"));
    ExitCode::from(Outcome::Failed as u8)
}

fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Help | Command::BuildStep => say(&args::help()).map(|()| Outcome::Good),
        Command::Version => say(&format!("image_service {}\n", env!("CARGO_PKG_VERSION"))).map(|()| Outcome::Good),
        Command::HelpOfStale => say(args::stale::HELP).map(|()| Outcome::Good),
        Command::Completions(shell) => say(&shell.script()).map(|()| Outcome::Good),
        Command::Stale(options) => {
            let (text, outcome) = block_on(stale::run(&options))?;
            say(&text)?;
            Ok(outcome)
        }
        Command::Init(start) => init::run(&start),
        Command::Serve(start) => block_on(serve::run(&start)),
        Command::Of(directory, act) => block_on(act::run(&directory, act)),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // A call on a blocking thread must not hold up the end: a crash can cut it off as well.
    runtime.shutdown_background();
    outcome
}

/// Writes to standard output. A reader that has seen enough, as with `| head`, is no failure.
fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}").into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn complain(text: fmt::Arguments<'_>) {
    // If standard error is gone, there is nowhere left to say it.
    let _ = writeln!(io::stderr(), "image_service: {text}");
}
