//! What the command line means.

use crate::released::Teller;
use crate::tokens::Act;
use freshmaker::client::RetryPart;
use freshmaker::rebuild::EventId;
use freshmaker::time::Timestamp;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
Rebuilds container images with Koji when packages, sources or people say so.

usage: container_rebuilds [--config FILE] serve [--listen ADDRESS]
       container_rebuilds [--config FILE] plan ARTIFACT... | ADVISORY
       container_rebuilds [--config FILE] show [EVENT]
       container_rebuilds [--config FILE] why NAME [--json]
       container_rebuilds [--config FILE] retry EVENT [--all] [--by NAME]
       container_rebuilds [--config FILE] cancel EVENT [--by NAME]
       container_rebuilds [--config FILE] rescan --since TIME
       container_rebuilds [--config FILE] check-config [--online]
       container_rebuilds [--config FILE] check-state
       container_rebuilds [--config FILE] token create NAME [--role ROLE]... [--days N] [--by NAME] | list | revoke ID
       container_rebuilds [--config FILE] import-state FILE
       container_rebuilds convert-policy FILE
       container_rebuilds --world simulated [--catalog lightblue | pyxis]

  serve             take messages, submit builds, follow them; until SIGINT or SIGTERM
  plan ARTIFACT...  what a rebuild of these would bring with it, and why; nothing is done
  plan ADVISORY     the number of an advisory: what would be rebuilt if it were shipped now, and why
  show              the latest events; with EVENT its plan, its builds and why they are as they are
  why NAME          why this image was rebuilt or not, by its NVR, the name in it, or another name of an artifact: what the
                    latest events did about it, its builds, and what they wait for; 1 if nothing is stored about it
  retry EVENT       build again what failed or was cancelled for an event that has ended; with --all everything. The
                    service that runs decides anew, so the plan may be another one
  cancel EVENT      stop what this event started, unless others want it as well
  rescan            put into the inbox what the Errata Tool says has shipped since then; what was handled is not
                    handled again. `serve` does so by itself, every 10 minutes
  check-config      read everything, and say what cannot work; with --online also try every login and permission,
                    which changes nothing anywhere
  check-state       compare all that is stored with itself, also while services run; what contradicts itself or cannot
                    be read is listed, and 1 the exit status
  token             make a token for a program that uses the REST interfaces, list the tokens, or take one back

  import-state FILE move everything from this file of SQLite into the empty database of [storage.postgres]; the file
                    stays as it is. No service may run on either

  convert-policy    read the allow and block lists of the Python service from a file in JSON, write them as a policy, and
                    say on standard error where their meaning differs

  --config FILE     container_rebuilds.toml, if not given
  --since TIME      2026-11-29T06:00:00Z, for example
  --listen ADDRESS  where the pages and the REST interfaces are served, such as 127.0.0.1:8080, if not as [web] says
  --role ROLE       what the token may do: admin, manual_rebuilder, freshmaker_async_rebuilders; only read, if none
  --days N          how long the token is valid; 90, if not given
  --json            everything that is stored about it, as JSON
  --by NAME         who cancels, retries or makes a token; the user of this process, if not given
  --world simulated the whole story without any service, against fakes of Koji, ODCS, MBS, Errata Tool, Pulp, and
                    Lightblue or Pyxis; ends by itself
  --catalog NAME    which of these two says which released images there are; lightblue, if not given
  -h, --help        this text

exit status: 0 good, 1 something failed, 2 the command line makes no sense
";

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Simulated { catalog: Teller },
    Serve { config: PathBuf, listen: Option<SocketAddr> },
    Plan { config: PathBuf, artifacts: Vec<String> },
    Show { config: PathBuf, event: Option<EventId> },
    Why { config: PathBuf, name: String, json: bool },
    Retry { config: PathBuf, event: EventId, part: RetryPart, by: String },
    Cancel { config: PathBuf, event: EventId, by: String },
    Rescan { config: PathBuf, since: Timestamp },
    ImportState { config: PathBuf, file: PathBuf },
    ConvertPolicy { file: PathBuf },
    CheckConfig { config: PathBuf, online: bool },
    CheckState { config: PathBuf },
    Token { config: PathBuf, act: Act },
}

#[derive(Default)]
struct Given {
    config: Option<String>,
    by: Option<String>,
    world: Option<String>,
    catalog: Option<String>,
    since: Option<String>,
    online: bool,
    json: bool,
    all: bool,
    listen: Option<String>,
    roles: Vec<String>,
    days: Option<String>,
    words: Vec<String>,
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut args = args;
    let mut given = Given::default();
    while let Some(arg) = args.next() {
        let mut value = |option: &str| args.next().ok_or_else(|| format!("{option} needs a value"));
        match arg.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--config" => given.config = Some(value("--config")?),
            "--by" => given.by = Some(value("--by")?),
            "--since" => given.since = Some(value("--since")?),
            "--world" => given.world = Some(value("--world")?),
            "--catalog" => given.catalog = Some(value("--catalog")?),
            "--online" => given.online = true,
            "--json" => given.json = true,
            "--all" => given.all = true,
            "--listen" => given.listen = Some(value("--listen")?),
            "--role" => given.roles.push(value("--role")?),
            "--days" => given.days = Some(value("--days")?),
            option if option.starts_with('-') => return Err(format!("there is no option {option}")),
            _ => given.words.push(arg),
        }
    }
    given.command()
}

impl Given {
    fn command(self) -> Result<Command, String> {
        let config = PathBuf::from(self.config.as_deref().unwrap_or("container_rebuilds.toml"));
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        let plain = self.by.is_none() && !self.online && self.world.is_none();
        if self.catalog.is_some() && self.world.is_none() {
            return Err("--catalog goes with --world alone".to_owned());
        }
        if let Some(since) = &self.since {
            return match &words[..] {
                ["rescan"] if plain => Ok(Command::Rescan { config, since: time(since)? }),
                _ => Err("--since goes with rescan alone".to_owned()),
            };
        }
        if let Some(answer) = self.of_site(&config, &words) {
            return answer;
        }
        if let Some(answer) = self.of_stored(&config, &words) {
            return answer;
        }
        match (&words[..], self.world.as_deref()) {
            ([], Some("simulated")) if self.config.is_none() && self.by.is_none() && !self.online => {
                let catalog = self.catalog.as_deref().map_or(Ok(Teller::Lightblue), str::parse)?;
                Ok(Command::Simulated { catalog })
            }
            (_, Some(world)) => {
                Err(format!("--world {world} does not go with anything else, and the only one is `simulated`"))
            }
            (["plan"], _) => Err("plan needs the names of artifacts".to_owned()),
            (["plan", names @ ..], _) if plain => {
                Ok(Command::Plan { config, artifacts: names.iter().map(|name| (*name).to_owned()).collect() })
            }
            (["show"], _) if plain => Ok(Command::Show { config, event: None }),
            (["show", id], _) if plain => Ok(Command::Show { config, event: Some(event(id)?) }),
            (["cancel", id], _) if !self.online => Ok(Command::Cancel { config, event: event(id)?, by: self.by() }),
            (["rescan"], _) => Err("rescan needs --since".to_owned()),
            (["import-state", file], _) if plain => Ok(Command::ImportState { config, file: PathBuf::from(file) }),
            (["convert-policy", file], _) if plain && self.config.is_none() => {
                Ok(Command::ConvertPolicy { file: PathBuf::from(file) })
            }
            (["check-config"], _) if self.by.is_none() => Ok(Command::CheckConfig { config, online: self.online }),
            (["check-state"], _) if plain => Ok(Command::CheckState { config }),
            ([], _) => Err("what is to be done?".to_owned()),
            ([first, ..], _) => Err(format!("`{first}` with these words and options makes no sense")),
        }
    }

    fn by(&self) -> String {
        let user = || std::env::var("USER").ok();
        self.by.clone().or_else(user).unwrap_or_else(|| "somebody".to_owned())
    }

    /// The commands `why` and `retry`, and the options that only they have.
    fn of_stored(&self, config: &Path, words: &[&str]) -> Option<Result<Command, String>> {
        let config = config.to_owned();
        let plain = !self.online && self.world.is_none();
        match words {
            ["why", name] if plain && self.by.is_none() && !self.all => {
                Some(Ok(Command::Why { config, name: (*name).to_owned(), json: self.json }))
            }
            ["retry", id] if plain && !self.json => {
                let part = if self.all { RetryPart::Whole } else { RetryPart::Failed };
                Some(event(id).map(|event| Command::Retry { config, event, part, by: self.by() }))
            }
            _ if self.json => Some(Err("--json goes with why alone".to_owned())),
            _ if self.all => Some(Err("--all goes with retry alone".to_owned())),
            ["why"] => Some(Err("why needs the name of an image".to_owned())),
            ["retry"] => Some(Err("retry needs the number of an event".to_owned())),
            _ => None,
        }
    }

    /// The commands about the REST interfaces, and the options that only they have.
    fn of_site(&self, config: &Path, words: &[&str]) -> Option<Result<Command, String>> {
        let config = config.to_owned();
        let of_tokens = !self.roles.is_empty() || self.days.is_some();
        let plain = !self.online && self.world.is_none();
        match words {
            ["serve"] if plain && self.by.is_none() && !of_tokens => {
                let listen = self.listen.as_deref().map(address).transpose();
                Some(listen.map(|listen| Command::Serve { config, listen }))
            }
            ["token", words @ ..] if plain && self.listen.is_none() => {
                let act = Act::parse(words, &self.roles, self.days.as_deref(), &self.by());
                Some(act.map(|act| Command::Token { config, act }))
            }
            _ if self.listen.is_some() => Some(Err("--listen goes with serve alone".to_owned())),
            _ if of_tokens => Some(Err("--role and --days go with `token create` alone".to_owned())),
            _ => None,
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("--listen: {text:?} is no address like 127.0.0.1:8080"))
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error| format!("{text:?} is no time like 2026-11-29T06:00:00Z: {error}"))
}

fn event(text: &str) -> Result<EventId, String> {
    text.parse().map(EventId).map_err(|_| format!("an event is a number, not {text:?}"))
}
