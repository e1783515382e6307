//! What the command line means.

mod completions;
mod spec;
pub(crate) mod stale;

pub(crate) use completions::Shell;
pub(crate) use spec::help;

use crate::commands::Given;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::client::RetryPart;
use freshmaker::plan::Format;
use freshmaker::rebuild::EventId;
use spec::TABLE;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Version,
    HelpOfStale,
    Completions(Shell),
    Stale(stale::Stale),
    Init(Start),
    Serve(Start),
    /// What runs for each build; not in the help, because only the engine calls it.
    BuildStep,
    /// Something about the service of a directory.
    Of(Directory, Act),
}

/// Which service is meant, and how the answer is written.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) json: bool,
}

/// A directory that a service is to be started on.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) path: PathBuf,
    /// Where images are pushed to, if the directory has no configuration yet.
    pub(crate) registry: Option<String>,
    pub(crate) plain_http: bool,
}

/// What is done with the service of a directory.
#[derive(Debug)]
pub(crate) enum Act {
    CheckConfig { online: bool },
    CheckState,
    Plan { images: Vec<String>, format: Format },
    Send { images: Vec<String>, what: Sent, by: String },
    Status { watch: bool },
    Show { event: Option<EventId> },
    Why { image: String },
    Logs { image: String, follow: bool },
    Retry { event: EventId, part: RetryPart, by: String },
    Cancel { event: EventId, by: String },
    Confirm { event: EventId },
    Pause { reason: String, by: String },
    Resume,
    Hold { image: String, reason: String, by: String },
    Release { image: String },
    Rollback { image: ImageReference, to: Option<Digest>, by: String },
    DeadLetters { requeue: Option<String> },
    Dismiss { message: String, reason: String, by: String },
    Backup { file: PathBuf },
    Restore { file: PathBuf },
    Token { name: String, by: String },
}

/// What is said of images.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// They have changed, or are to be rebuilt; what a base is now is asked if it is not known.
    Changed { digest: Option<Digest> },
    /// They are to be rebuilt, without what is built on them.
    Alone,
    /// They contain what this advisory is about.
    Fix { advisory: String },
}

pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = Vec::from_iter(arguments)
        .into_iter()
        .map(|argument| argument.into_string().map_err(|argument| format!("{argument:?} is not text")))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter();
    let name = match arguments.next().as_deref() {
        None => return Err("what is to be done?".to_owned()),
        Some("-h" | "--help" | "help") => return Ok(Command::Help),
        Some("-V" | "--version") => return Ok(Command::Version),
        Some("build-step") => return Ok(Command::BuildStep),
        Some("stale") => {
            return Ok(stale::parse(arguments)?.map_or(Command::HelpOfStale, Command::Stale));
        }
        Some(name) => name.to_owned(),
    };
    match Given::read(&TABLE, TABLE.find(&name)?, arguments)? {
        None => Ok(Command::Help),
        Some(given) => command(given),
    }
}

fn command(mut given: Given) -> Result<Command, String> {
    let name = given.spec.name;
    match name {
        "completions" => return Ok(Command::Completions(given.word()?.parse()?)),
        "init" => return Ok(Command::Init(start(&mut given))),
        "serve" => return Ok(Command::Serve(start(&mut given))),
        _ => {}
    }
    let path = given.value("--dir").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let directory = Directory { path, json: given.flag("--json") };
    let by = given.by();
    let act = match name {
        "check-config" => Act::CheckConfig { online: given.flag("--online") },
        "check-state" => Act::CheckState,
        "plan" => Act::Plan { format: format(&mut given, directory.json)?, images: given.words },
        "send" => {
            let what = sent(&mut given)?;
            Act::Send { what, images: given.words, by }
        }
        "status" => Act::Status { watch: given.flag("--watch") },
        "show" => Act::Show { event: given.words.first().map(|word| event(word)).transpose()? },
        "why" => Act::Why { image: given.word()? },
        "logs" => Act::Logs { follow: given.flag("--follow"), image: given.word()? },
        "retry" => {
            let part = if given.flag("--all") { RetryPart::Whole } else { RetryPart::Failed };
            Act::Retry { event: event(&given.word()?)?, part, by }
        }
        "cancel" => Act::Cancel { event: event(&given.word()?)?, by },
        "confirm" => Act::Confirm { event: event(&given.word()?)? },
        "pause" => Act::Pause { reason: given.text_from(0), by },
        "resume" => Act::Resume,
        "hold" => {
            let image = given.word()?;
            Act::Hold { image, reason: given.text_from(1), by }
        }
        "release" => Act::Release { image: given.word()? },
        "rollback" => {
            let to = given.value("--to").map(|text| digest(&text)).transpose()?;
            Act::Rollback { image: image(&given.word()?)?, to, by }
        }
        "dead-letters" => Act::DeadLetters { requeue: given.value("--requeue") },
        "dismiss" => Act::Dismiss { message: given.word()?, reason: given.text_from(1), by },
        "backup" => Act::Backup { file: PathBuf::from(given.word()?) },
        "restore" => Act::Restore { file: PathBuf::from(given.word()?) },
        "token" => Act::Token { name: given.word()?, by },
        other => return Err(format!("there is no command {other:?}")),
    };
    Ok(Command::Of(directory, act))
}

fn start(given: &mut Given) -> Start {
    Start {
        path: given.words.first().map_or_else(|| PathBuf::from("."), PathBuf::from),
        registry: given.value("--registry"),
        plain_http: given.flag("--plain-http"),
    }
}

fn format(given: &mut Given, json: bool) -> Result<Format, String> {
    match given.value("--format") {
        Some(_) if json => Err("--json and --format say the same twice".to_owned()),
        Some(text) => text.parse().map_err(|error| format!("--format: {error}")),
        None => Ok(if json { Format::Json } else { Format::Text }),
    }
}

fn sent(given: &mut Given) -> Result<Sent, String> {
    let digest = given.value("--digest").map(|text| digest(&text)).transpose()?;
    match (given.value("--fix"), given.flag("--alone"), digest) {
        (None, false, digest) => Ok(Sent::Changed { digest }),
        (None, true, None) => Ok(Sent::Alone),
        (Some(advisory), false, None) => Ok(Sent::Fix { advisory }),
        _ => Err("--alone, --digest and --fix exclude each other".to_owned()),
    }
}

fn event(text: &str) -> Result<EventId, String> {
    text.parse().map(EventId).map_err(|_| format!("an event is a number, not {text:?}; `show` lists them"))
}

fn image(text: &str) -> Result<ImageReference, String> {
    text.parse::<ImageReference>().map_err(|error| error.to_string())
}

fn digest(text: &str) -> Result<Digest, String> {
    let digest: Digest = text.parse().map_err(|error| format!("{text:?} is not a digest: {error}"))?;
    match digest.as_str().strip_prefix("sha256:") {
        Some(hash) if hash.len() != 64 => Err(format!("{text:?} is not a digest: it has not 64 digits")),
        _ => Ok(digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_command_is_read() {
        for spec in TABLE.commands {
            let word = match spec.name {
                "show" | "retry" | "cancel" | "confirm" => "7",
                "completions" => "bash",
                _ => "app",
            };
            let words = [word].repeat(spec.least.max(1).min(spec.most)).join(" ");
            let read = read(&format!("{} {words}", spec.name));
            assert!(read.is_ok(), "{}: {read:?}", spec.name);
        }
    }

    #[test]
    fn options_are_read() {
        let Command::Of(directory, Act::Plan { images, format }) = read("plan --dir x debian:12 --format svg").unwrap()
        else {
            panic!()
        };
        assert_eq!((directory.path, images, format), ("x".into(), vec!["debian:12".to_owned()], Format::Svg));
        let Command::Serve(start) = read("serve images --registry localhost:5000 --plain-http").unwrap() else {
            panic!()
        };
        assert!(start.plain_http && start.registry.as_deref() == Some("localhost:5000"));
        let Command::Of(_, Act::Send { images, what, .. }) = read("send app --fix CVE-2026-1").unwrap() else {
            panic!()
        };
        assert_eq!((images.len(), what), (1, Sent::Fix { advisory: "CVE-2026-1".to_owned() }));
        let Command::Of(_, Act::Logs { follow, .. }) = read("logs -f app").unwrap() else { panic!() };
        assert!(follow);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, wanted) in [
            ("", "what is to be done?"),
            ("dance", "there is no command \"dance\""),
            ("plan", "plan needs IMAGE…"),
            ("show 1 2", "show takes no more than 1"),
            ("show x", "an event is a number"),
            ("status --online", "--online does not go with status"),
            ("status --dir", "--dir needs a value"),
            ("status --json --json", "--json is given twice"),
            ("plan a --json --format svg", "say the same twice"),
            ("send a --alone --fix CVE-2026-1", "exclude each other"),
            ("rollback app --to x", "is not a digest"),
            ("send app --digest sha256:abc", "it has not 64 digits"),
            ("completions tcsh", "bash, zsh and fish"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
