//! All commands and their options, as one table: what is read, the help and the completions are
//! made of it.

use std::fmt::Write;

/// An option, and whether a value follows it.
pub(super) struct Flag {
    pub(super) name: &'static str,
    /// What the value is; empty for an option without one.
    pub(super) value: &'static str,
    about: &'static str,
}

/// A command.
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// What its words are.
    words: &'static str,
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) options: &'static [&'static str],
    about: &'static str,
}

const ANY: usize = usize::MAX;

pub(super) const FLAGS: [Flag; 16] = [
    flag("--dir", "DIR", "the directory of the service; the current one if not given"),
    flag("--json", "", "write JSON"),
    flag("--registry", "HOST[/PATH]", "where images are pushed to; needed if DIR has no image_service.toml yet"),
    flag("--plain-http", "", "reach that registry without TLS"),
    flag("--online", "", "also ask the registries, with each login; changes nothing"),
    flag("--format", "FORMAT", "text, json, dot (Graphviz), mermaid or svg"),
    flag("--digest", "DIGEST", "what the image is now; asked of its registry if not given"),
    flag("--alone", "", "do not rebuild what is built on the images"),
    flag("--fix", "ADVISORY", "the images contain what this advisory (such as CVE-2026-1234) fixes"),
    flag("--watch", "", "show it again when something changes, until interrupted"),
    flag("--follow", "", "(-f) go on until the build has ended"),
    flag("--all", "", "do everything again, and not only what failed"),
    flag("--to", "DIGEST", "an earlier content of the tag; the one before the present one if not given"),
    flag("--requeue", "ID", "handle this message again"),
    flag("--by", "NAME", "who does it; the user of this process if not given"),
    flag("--help", "", "(-h) this text"),
];

const fn flag(name: &'static str, value: &'static str, about: &'static str) -> Flag {
    Flag { name, value, about }
}

pub(super) const COMMANDS: [Spec; 24] = [
    spec("init", "[DIR]", 0, 1, &["--registry", "--plain-http"], "write a commented image_service.toml"),
    spec("serve", "[DIR]", 0, 1, &["--registry", "--plain-http"], "keep the images of DIR fresh, until interrupted"),
    spec("check-config", "", 0, 0, &["--online"], "read everything, and say what cannot work"),
    spec("check-state", "", 0, 0, &[], "compare all that is stored with itself, also while the service runs"),
    spec("plan", "IMAGE…", 1, ANY, &["--format"], "what would be rebuilt if these had changed; nothing is done"),
    spec(
        "send",
        "IMAGE…",
        1,
        ANY,
        &["--digest", "--alone", "--fix", "--by"],
        "say that a base has changed, or rebuild images",
    ),
    spec("status", "", 0, 0, &["--watch"], "the state of all images, and of the service"),
    spec("show", "[EVENT]", 0, 1, &[], "the latest events; or one of them, with its plan and its builds"),
    spec("why", "IMAGE", 1, 1, &[], "why an image was rebuilt, was not, or waits"),
    spec("logs", "IMAGE", 1, 1, &["--follow"], "what the latest build of an image has printed"),
    spec("retry", "EVENT", 1, 1, &["--all", "--by"], "do what failed again"),
    spec("cancel", "EVENT", 1, 1, &["--by"], "stop what an event started, unless others want it as well"),
    spec("confirm", "EVENT", 1, 1, &[], "start a plan that was too large to be started unasked"),
    spec("pause", "[REASON]", 0, ANY, &["--by"], "start no more builds; what runs goes on"),
    spec("resume", "", 0, 0, &[], "end a pause"),
    spec("hold", "IMAGE [REASON]", 1, ANY, &["--by"], "do not rebuild an image, nor what would follow it"),
    spec("release", "IMAGE", 1, 1, &[], "end a hold"),
    spec("rollback", "IMAGE", 1, 1, &["--to", "--by"], "move its tag back, stop what follows it, and hold it"),
    spec("dead-letters", "", 0, 0, &["--requeue"], "messages that could not be handled"),
    spec("dismiss", "MESSAGE [REASON]", 1, ANY, &["--by"], "put a dead letter away that cannot be mended"),
    spec("backup", "FILE", 1, 1, &[], "copy everything that is stored, while the service runs"),
    spec("restore", "FILE", 1, 1, &[], "go back to such a copy; the service has to be stopped"),
    spec("token", "NAME", 1, 1, &["--by"], "make a token for programs that use the REST interface"),
    spec("completions", "SHELL", 1, 1, &[], "completions for bash, zsh or fish"),
];

const fn spec(
    name: &'static str,
    words: &'static str,
    least: usize,
    most: usize,
    options: &'static [&'static str],
    about: &'static str,
) -> Spec {
    Spec { name, words, least, most, options, about }
}

impl Spec {
    /// Whether the command is about the service of a directory.
    fn is_of_directory(&self) -> bool {
        !matches!(self.name, "init" | "serve" | "completions")
    }

    /// Returns the options that go with the command.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        let common: &[&str] = if self.is_of_directory() { &["--dir", "--json"] } else { &[] };
        let options = self.options;
        FLAGS.iter().filter(move |flag| options.contains(&flag.name) || common.contains(&flag.name))
    }
}

/// Returns the text of `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "Keeps the images of a tree of Containerfiles fresh, with one registry and one machine.\n\n\
         usage: image_service COMMAND [options]\n\n",
    );
    for spec in &COMMANDS {
        let line = format!("{} {}", spec.name, spec.words);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {line:<24} {}", spec.about);
    }
    text.push_str(
        "  stale [IMAGE…]           what is stale right now, without a service; see `stale --help`\n\noptions\n",
    );
    for flag in &FLAGS {
        let line = format!("{} {}", flag.name, flag.value);
        let with: Vec<_> = COMMANDS.iter().filter(|spec| spec.options.contains(&flag.name)).map(|it| it.name).collect();
        let with = if with.is_empty() { String::new() } else { format!(" ({})", with.join(", ")) };
        let _ = writeln!(text, "  {line:<24} {}{with}", flag.about);
    }
    text.push_str(
        "  --version                (-V) the version of the program\n\nexit status: 0 good; 1 something failed, or an image is not as it should be; 2 the command line makes no sense;\n\
         of stale: 3 an image is stale, 4 none is stale, but of one it is unknown\n",
    );
    text
}

/// A command with what was given to it.
pub(super) struct Given {
    pub(super) spec: &'static Spec,
    pub(super) words: Vec<String>,
    options: Vec<(&'static str, String)>,
}

impl Given {
    /// Reads what follows the name of a command; `None` if it asks for the help.
    pub(super) fn read(spec: &'static Spec, mut from: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut given = Self { spec, words: Vec::new(), options: Vec::new() };
        while let Some(argument) = from.next() {
            let name = match argument.as_str() {
                "-h" | "--help" => return Ok(None),
                "-f" => "--follow",
                name if name.starts_with('-') && name.len() > 1 => name,
                _ => {
                    given.words.push(argument);
                    continue;
                }
            };
            let Some(flag) = spec.flags().find(|flag| flag.name == name) else {
                let known = FLAGS.iter().any(|flag| flag.name == name);
                let name_of = spec.name;
                return Err(match known {
                    true => format!("{name} does not go with {name_of}"),
                    false => format!("there is no option {name}"),
                });
            };
            let value = match flag.value {
                "" => String::new(),
                _ => from.next().filter(|value| !value.is_empty()).ok_or_else(|| format!("{name} needs a value"))?,
            };
            if given.options.iter().any(|(known, _)| *known == flag.name) {
                return Err(format!("{name} is given twice"));
            }
            given.options.push((flag.name, value));
        }
        match given.words.len() {
            few if few < spec.least => Err(format!("{} needs {}", spec.name, spec.words)),
            many if many > spec.most => Err(format!("{} takes no more than {}", spec.name, spec.most)),
            _ => Ok(Some(given)),
        }
    }

    pub(super) fn value(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(option, _)| *option == name)?;
        Some(self.options.remove(at).1)
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn word(&self) -> Result<String, String> {
        self.words.first().cloned().ok_or_else(|| format!("{} needs {}", self.spec.name, self.spec.words))
    }
}
