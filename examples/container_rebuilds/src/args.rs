//! What the command line means.

use crate::commands::{ANY, Flag, Given, Spec, Table, flag, spec};
use crate::released::Teller;
use crate::shipped::Shipped;
use crate::tokens::Act;
use freshmaker::client::RetryPart;
use freshmaker::rebuild::EventId;
use freshmaker::time::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The configuration, if none is named.
const CONFIG: &str = "container_rebuilds.toml";

const FLAGS: [Flag; 13] = [
    flag("--config", "FILE", "container_rebuilds.toml, if not given"),
    flag("--listen", "ADDRESS", "where pages and REST are served, such as 127.0.0.1:8080, if not as [web] says"),
    flag("--dry-run", "", "build nothing, as with `dry_run` in the configuration"),
    flag("--json", "", "what is stored about it, as JSON"),
    flag("--all", "", "everything, and not only what failed or was cancelled"),
    flag("--for", "MINUTES", "what has not moved for so long; 60 if not given"),
    flag("--requeue", "ID", "handle this message again"),
    flag("--since", "TIME", "2026-11-29T06:00:00Z, for example; needed"),
    flag("--online", "", "also try every login and permission, which changes nothing anywhere"),
    flag("--role", "ROLE", "admin, manual_rebuilder or freshmaker_async_rebuilders; only reads without one"),
    flag("--days", "N", "how long the token is valid; 90 if not given"),
    flag("--by", "NAME", "who does it; the user of this process if not given"),
    flag("--help", "", "(-h) this text"),
];

const COMMANDS: [Spec; 21] = [
    spec("example-config", "[catalog]", 0, 1, &[], "write the commented configuration; or a catalog, see below"),
    spec("check-config", "", 0, 0, &["--online"], "read everything, and say what cannot work"),
    spec("serve", "", 0, 0, &["--listen", "--dry-run"], "take messages, submit builds, follow them; until SIGINT"),
    spec("plan", "ARTIFACT…|ADVISORY", 1, ANY, &[], "what a rebuild of these, or this advisory, would bring; not done"),
    spec("status", "", 0, 0, &["--json"], "what is under way, and what needs somebody: 1 if anything does"),
    spec("show", "[EVENT]", 0, 1, &[], "the latest events; or one of them, with its plan and its builds"),
    spec("why", "NAME", 1, 1, &["--json"], "why this image was rebuilt or not, and what it waits for; see below"),
    spec("stuck", "", 0, 0, &["--for", "--json"], "what does not move, why, and what can be done: 1 if anything is"),
    spec("retry", "EVENT", 1, 1, &["--all", "--by"], "build again what failed or was cancelled for an event"),
    spec("cancel", "EVENT", 1, 1, &["--by"], "stop what this event started, unless others want it as well"),
    spec("confirm", "EVENT", 1, 1, &[], "start a plan that was too large to be started unasked"),
    spec("pause", "SYSTEM [REASON]", 1, ANY, &["--by"], "start no more builds of Koji, ODCS or MBS, by its `name`"),
    spec("resume", "SYSTEM", 1, 1, &[], "end a pause"),
    spec("dead-letters", "", 0, 0, &["--requeue", "--json"], "messages that could not be handled: 1 if there are any"),
    spec("dismiss", "MESSAGE [REASON]", 1, ANY, &["--by"], "put a dead letter away that cannot be mended"),
    spec("rescan", "", 0, 0, &["--since"], "handle what the Errata Tool says has shipped since then"),
    spec("backup", "FILE", 1, 1, &[], "copy everything in `state`, while the service runs"),
    spec("check-state", "", 0, 0, &[], "compare all that is stored with itself, also while services run"),
    spec("token", "create NAME|list|revoke ID", 1, 2, &["--role", "--days", "--by"], "tokens for users of REST"),
    spec("import-state", "FILE", 1, 1, &[], "move this file of SQLite into the empty [storage.postgres]"),
    spec("convert-policy", "FILE", 1, 1, &[], "write the lists of the Python service (JSON) as a policy"),
];

const TABLE: Table = Table {
    commands: &COMMANDS,
    flags: &FLAGS,
    short: &[],
    repeated: &["--role"],
    common: |name| if matches!(name, "example-config" | "convert-policy") { &[] } else { &["--config"] },
};

const NOTES: &str = "\
A new site: `example-config > container_rebuilds.toml` and `example-config catalog > catalog.toml`, edit both,
`check-config --online`, `serve --dry-run` for as long as you like with a `state` of its own, `serve`.
catalog.toml has the images that somebody lists, and the policy. Those of an advisory are found by Lightblue or
Pyxis, and others by what Koji knows of its builds: then it needs no images.

`plan ADVISORY` takes the number of an advisory, and says what would be rebuilt if it were shipped now.
`why` takes the NVR of an image, the name in it, or another name of an artifact; 1 if nothing is stored about it.
`--world simulated` is the whole story against fakes of all services, and ends by itself.
`serve` rescans by itself, every 10 minutes; what was handled is not handled again. A retry decides anew, so its
plan may be another one. `convert-policy` says on standard error where the meaning differs.

exit status: 0 good, 1 something failed, 2 the command line makes no sense
";

/// Returns the text of `--help`.
pub(crate) fn help() -> String {
    format!(
        "Rebuilds container images with Koji when packages, sources or people say so.\n\n\
         usage: container_rebuilds COMMAND [options]\n       \
         container_rebuilds --world simulated [--catalog lightblue | pyxis]\n\n{}\noptions\n{}\n{NOTES}",
        TABLE.help_of_commands(),
        TABLE.help_of_flags(),
    )
}

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Simulated { catalog: Teller },
    ExampleConfig(Shipped),
    ConvertPolicy { file: PathBuf },
    Of(PathBuf, Verb),
}

/// What is done with the service of a configuration.
#[derive(Debug, PartialEq)]
pub(crate) enum Verb {
    Serve { listen: Option<SocketAddr>, dry_run: bool },
    Plan { artifacts: Vec<String> },
    Status { json: bool },
    Show { event: Option<EventId> },
    Why { name: String, json: bool },
    Stuck { longer_than: Duration, json: bool },
    Retry { event: EventId, part: RetryPart, by: String },
    Cancel { event: EventId, by: String },
    Confirm { event: EventId },
    Pause { system: String, reason: String, by: String },
    Resume { system: String },
    DeadLetters { requeue: Option<String>, json: bool },
    Dismiss { message: String, reason: String, by: String },
    Rescan { since: Timestamp },
    Backup { file: PathBuf },
    ImportState { file: PathBuf },
    CheckConfig { online: bool },
    CheckState,
    Token(Act),
}

pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut arguments: Vec<String> = arguments.collect();
    // The configuration may come before the command.
    if arguments.first().is_some_and(|first| first == "--config") && arguments.len() > 2 {
        arguments.rotate_left(2);
    }
    let mut arguments = arguments.into_iter();
    let name = match arguments.next() {
        None => return Err("what is to be done?".to_owned()),
        Some(first) if ["-h", "--help", "help"].contains(&first.as_str()) => return Ok(Command::Help),
        Some(first) if first == "--world" => return world(arguments),
        Some(name) => name,
    };
    match Given::read(&TABLE, TABLE.find(&name)?, arguments)? {
        None => Ok(Command::Help),
        Some(given) => command(given),
    }
}

/// Reads what follows `--world`.
fn world(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let world = arguments.next().ok_or("--world needs a value")?;
    if world != "simulated" {
        return Err(format!("there is no world {world:?}; the only one is `simulated`"));
    }
    let rest: Vec<String> = arguments.collect();
    let rest: Vec<_> = rest.iter().map(String::as_str).collect();
    match &rest[..] {
        [] => Ok(Command::Simulated { catalog: Teller::Lightblue }),
        ["--catalog", catalog] => Ok(Command::Simulated { catalog: catalog.parse()? }),
        _ => Err("--world simulated goes with --catalog alone".to_owned()),
    }
}

fn command(mut given: Given) -> Result<Command, String> {
    match given.spec.name {
        "example-config" => {
            Ok(Command::ExampleConfig(given.words.first().map_or(Ok(Shipped::Config), |it| it.parse())?))
        }
        "convert-policy" => Ok(Command::ConvertPolicy { file: PathBuf::from(given.word()?) }),
        name => {
            let config = given.value("--config").map_or_else(|| PathBuf::from(CONFIG), PathBuf::from);
            Ok(Command::Of(config, site(name, &mut given)?))
        }
    }
}

fn site(name: &str, given: &mut Given) -> Result<Verb, String> {
    Ok(match name {
        "serve" => {
            let listen = given.value("--listen").map(|text| address(&text)).transpose()?;
            Verb::Serve { listen, dry_run: given.flag("--dry-run") }
        }
        "plan" => Verb::Plan { artifacts: given.words.clone() },
        "status" => Verb::Status { json: given.flag("--json") },
        "show" => Verb::Show { event: given.words.first().map(|word| event(word)).transpose()? },
        "why" => Verb::Why { name: given.word()?, json: given.flag("--json") },
        "stuck" => {
            let longer_than = given.value("--for").map_or(Ok(MINUTES), |text| number("--for", &text))?;
            Verb::Stuck { longer_than: Duration::from_secs(60 * longer_than), json: given.flag("--json") }
        }
        "retry" => {
            let part = if given.flag("--all") { RetryPart::Whole } else { RetryPart::Failed };
            Verb::Retry { event: event(&given.word()?)?, part, by: given.by() }
        }
        "cancel" => Verb::Cancel { event: event(&given.word()?)?, by: given.by() },
        "confirm" => Verb::Confirm { event: event(&given.word()?)? },
        "pause" => Verb::Pause { system: given.word()?, reason: given.text_from(1), by: given.by() },
        "resume" => Verb::Resume { system: given.word()? },
        "dead-letters" => Verb::DeadLetters { requeue: given.value("--requeue"), json: given.flag("--json") },
        "dismiss" => Verb::Dismiss { message: given.word()?, reason: given.text_from(1), by: given.by() },
        "rescan" => Verb::Rescan { since: time(&given.value("--since").ok_or("rescan needs --since")?)? },
        "backup" => Verb::Backup { file: PathBuf::from(given.word()?) },
        "import-state" => Verb::ImportState { file: PathBuf::from(given.word()?) },
        "check-config" => Verb::CheckConfig { online: given.flag("--online") },
        "check-state" => Verb::CheckState,
        "token" => {
            let roles: Vec<String> = std::iter::from_fn(|| given.value("--role")).collect();
            let days = given.value("--days").map(|text| number("--days", &text)).transpose()?;
            let by = given.by();
            let words: Vec<_> = given.words.iter().map(String::as_str).collect();
            Verb::Token(Act::parse(&words, &roles, days, &by)?)
        }
        other => return Err(format!("there is no command {other:?}")),
    })
}

/// How long something may not have moved until it is stuck, if nothing is said.
const MINUTES: u64 = 60;

fn number<N: std::str::FromStr>(option: &str, text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{option}: {text:?} is no number"))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("--listen: {text:?} is no address like 127.0.0.1:8080"))
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error| format!("{text:?} is no time like 2026-11-29T06:00:00Z: {error}"))
}

fn event(text: &str) -> Result<EventId, String> {
    text.parse().map(EventId).map_err(|_| format!("an event is a number, not {text:?}; `show` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_command_is_read_and_in_the_help() {
        let help = help();
        for spec in TABLE.commands {
            let words = match spec.name {
                "show" | "retry" | "cancel" | "confirm" => "7",
                "token" => "create name",
                "example-config" => "catalog",
                "rescan" => "--since 2026-11-29T06:00:00Z",
                _ if spec.most == 0 => "",
                _ => "app",
            };
            let line = format!("{} {words}", spec.name);
            assert!(read(&line).is_ok(), "{line}: {:?}", read(&line));
            assert!(help.contains(&format!("\n  {} ", spec.name)), "{}", spec.name);
        }
        assert!(help.lines().all(|line| line.chars().count() <= 120), "it fits into a wide terminal");
    }

    #[test]
    fn options_are_read() {
        let forms = ["--config x serve --dry-run --listen [::1]:80", "serve --listen [::1]:80 --dry-run --config x"];
        for line in forms {
            let serve = Verb::Serve { listen: Some("[::1]:80".parse().unwrap()), dry_run: true };
            assert_eq!(read(line).unwrap(), Command::Of("x".into(), serve));
        }
        let stuck = Verb::Stuck { longer_than: Duration::from_secs(300), json: true };
        assert_eq!(read("stuck --for 5 --json").unwrap(), Command::Of(CONFIG.into(), stuck));
        let Command::Of(_, Verb::Pause { system, reason, by }) = read("pause koji it is mended --by kim").unwrap()
        else {
            panic!()
        };
        assert_eq!((system.as_str(), reason.as_str(), by.as_str()), ("koji", "it is mended", "kim"));
        let token = read("token create ci --role admin --role manual_rebuilder --days 5").unwrap();
        let Command::Of(_, Verb::Token(Act::Create { roles, days, .. })) = token else { panic!() };
        assert_eq!((roles.len(), days), (2, 5));
        let simulated = read("--world simulated --catalog pyxis").unwrap();
        assert_eq!(simulated, Command::Simulated { catalog: Teller::Pyxis });
    }

    #[test]
    fn mistakes_are_named() {
        for (line, wanted) in [
            ("", "what is to be done?"),
            ("--config x", "there is no command"),
            ("dance", "there is no command \"dance\""),
            ("plan", "plan needs ARTIFACT"),
            ("show x", "an event is a number"),
            ("show --online", "--online does not go with show"),
            ("serve --listen", "--listen needs a value"),
            ("rescan", "rescan needs --since"),
            ("rescan --since today", "is no time like"),
            ("stuck --for ever", "--for: \"ever\" is no number"),
            ("token create", "token needs `create NAME`"),
            ("token list --days 5", "token needs `create NAME`"),
            ("example-config other", "`catalog`"),
            ("--world simulated --catalog other", "`lightblue` or `pyxis`"),
            ("--world simulated --config x", "goes with --catalog alone"),
            ("--world real", "the only one is `simulated`"),
            ("convert-policy x --config y", "--config does not go with convert-policy"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
