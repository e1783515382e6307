//! Keeps the images of a tree of Containerfiles current, with one registry and one machine.
//! `--help` says how.

mod args;
mod entry;
mod report;
mod sarif;
mod stale;
mod tree;

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
    let outcome = match args::parse(std::env::args_os().skip(1)) {
        Err(text) => {
            complain(format_args!("{text}\nTry `image_service --help`."));
            Outcome::Usage
        }
        Ok(command) => run(command).unwrap_or_else(|error| {
            complain(format_args!("{error}"));
            Outcome::Failed
        }),
    };
    ExitCode::from(outcome as u8)
}

fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Help => say(args::HELP).map(|()| Outcome::Good),
        Command::Stale(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let (text, outcome) = runtime.block_on(stale::run(&options))?;
            say(&text)?;
            Ok(outcome)
        }
    }
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
