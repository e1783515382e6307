//! What the command line means.

use freshmaker::plan::Format;
use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Rebuilds what depends on what changed.

usage: quickstart [--same] [--state DIR] [--slots N]
       quickstart DIR
       quickstart DIR --init
       quickstart DIR --changed IMAGE [--program FILE] [--no-pull] [--slots N]
       quickstart DIR --changed IMAGE --format FORMAT

Without DIR: a demonstration on the parent graph of the Docker Official Images. `debian:bookworm` is pushed, everything that
depends on it is planned and built, and the outputs are checked. Neither a server nor the network is needed. What an earlier run
left unfinished, however it ended, is finished first.
  --same         push the same content as before: what depends on unchanged outputs only is not built
  --state DIR    where everything is kept; .quickstart if not given

With DIR, a directory tree of Containerfiles (or one with a freshmaker.toml): shows which image is built from which, and what the
change of a base would rebuild. Nothing is written.
  --init           write a commented freshmaker.toml, and a build script for docker, podman or buildah
  --changed IMAGE  rebuild everything in the tree that depends on IMAGE; what is stored goes to DIR/.freshmaker
  --program FILE   build with this program; DIR/freshmaker-build.sh if not given
  --no-pull        IMAGE is here already: do not fetch it from its registry
  --format FORMAT  build nothing and write nothing: print the plan, as text, json, dot (Graphviz), mermaid or svg

  --slots N      how many builds may run at once; the number of processors, but at least 4, if not given
  -h, --help     this text

exit status: 0 good, 1 something failed, 2 the command line makes no sense
";

/// More processes than this at once help nobody on one machine.
const SLOTS_MAX: u32 = 256;

#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Demo(Demo),
    /// Only the check at the end of the demonstration; not in the help, because it says nothing
    /// that the demonstration does not.
    Check {
        state: PathBuf,
    },
    /// What the demonstration runs for each build; not in the help, because only the engine calls
    /// it.
    BuildStep,
    Scan {
        tree: PathBuf,
    },
    Init {
        tree: PathBuf,
    },
    Changed(Changed),
    Show(Show),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    New,
    Same,
}

#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) state: PathBuf,
    pub(crate) content: Content,
    pub(crate) slots: u32,
}

#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) tree: PathBuf,
    pub(crate) image: String,
    pub(crate) program: Option<PathBuf>,
    pub(crate) pull: bool,
    pub(crate) slots: u32,
}

/// The plan of a change, to be looked at.
#[derive(Debug)]
pub(crate) struct Show {
    pub(crate) tree: PathBuf,
    pub(crate) image: String,
    pub(crate) format: Format,
}

#[derive(Debug, Default)]
struct Given {
    words: Vec<PathBuf>,
    options: Vec<(String, Option<OsString>)>,
}

impl Given {
    fn take(&mut self, name: &str) -> Option<Option<OsString>> {
        let at = self.options.iter().position(|(option, _)| option == name)?;
        Some(self.options.remove(at).1)
    }

    fn value(&mut self, name: &str) -> Option<OsString> {
        self.take(name).flatten()
    }

    fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some()
    }

    /// Nothing may be left that this use of the program does not know.
    fn done<T>(self, of: &str, command: T) -> Result<T, String> {
        match self.options.first() {
            Some((option, _)) => Err(format!("{option} does not go with {of}")),
            None => Ok(command),
        }
    }

    fn slots(&mut self) -> Result<u32, String> {
        let Some(text) = self.value("--slots") else { return Ok(default_slots()) };
        let number = text.to_str().and_then(|text| text.parse().ok()).filter(|slots| (1..=SLOTS_MAX).contains(slots));
        number.ok_or_else(|| format!("--slots needs a number from 1 to {SLOTS_MAX}, not {text:?}"))
    }

    fn state(&mut self) -> PathBuf {
        self.value("--state").map_or_else(|| PathBuf::from(".quickstart"), PathBuf::from)
    }
}

fn default_slots() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(processors).unwrap_or(SLOTS_MAX).clamp(4, SLOTS_MAX)
}

pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut given = read(arguments)?;
    if given.flag("--help") {
        return Ok(Command::Help);
    }
    let word = match given.words.as_slice() {
        [] => {
            let content = if given.flag("--same") { Content::Same } else { Content::New };
            let demo = Demo { state: given.state(), content, slots: given.slots()? };
            return given.done("the demonstration: name a directory first", Command::Demo(demo));
        }
        [word] => word.clone(),
        [_, second, ..] => return Err(format!("one directory at a time, please: what is {:?}?", second.display())),
    };
    if word.as_os_str() == "build-step" {
        return given.done("build-step", Command::BuildStep);
    }
    if word.as_os_str() == "check" {
        let state = given.state();
        return given.done("check", Command::Check { state });
    }
    if given.flag("--init") {
        return given.done("--init", Command::Init { tree: word });
    }
    if let Some(image) = given.value("--changed") {
        let image = image.into_string().map_err(|image| format!("{image:?} is not the name of an image"))?;
        if let Some(format) = given.value("--format") {
            let format = format.to_string_lossy().parse().map_err(|error| format!("--format: {error}"))?;
            return given.done("--format", Command::Show(Show { tree: word, image, format }));
        }
        let changed = Changed {
            tree: word,
            image,
            program: given.value("--program").map(PathBuf::from),
            pull: !given.flag("--no-pull"),
            slots: given.slots()?,
        };
        return given.done("--changed", Command::Changed(changed));
    }
    given.done("a directory alone", Command::Scan { tree: word })
}

fn read(mut arguments: impl Iterator<Item = OsString>) -> Result<Given, String> {
    let mut given = Given::default();
    while let Some(argument) = arguments.next() {
        let option = match argument.to_str() {
            Some("-h" | "--help") => ("--help".to_owned(), None),
            Some(name @ ("--same" | "--init" | "--no-pull")) => (name.to_owned(), None),
            Some(name @ ("--state" | "--slots" | "--changed" | "--program" | "--format")) => {
                let value = arguments.next().filter(|value| !value.is_empty());
                (name.to_owned(), Some(value.ok_or_else(|| format!("{name} needs a value"))?))
            }
            Some(name) if name.starts_with('-') => return Err(format!("there is no option {name}")),
            Some("") => return Err("an empty argument is not a directory".to_owned()),
            _ => {
                given.words.push(PathBuf::from(argument));
                continue;
            }
        };
        if given.options.iter().any(|(name, _)| *name == option.0) {
            return Err(format!("{} is given twice", option.0));
        }
        given.options.push(option);
    }
    Ok(given)
}
