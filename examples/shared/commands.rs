//! The commands of a program and their options, as one table: what is read and the help are made of
//! it. Several examples have this module.

use std::fmt::Write;

/// An option, and whether a value follows it.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    /// What the value is; empty for an option without one.
    pub(crate) value: &'static str,
    about: &'static str,
}

pub(crate) const fn flag(name: &'static str, value: &'static str, about: &'static str) -> Flag {
    Flag { name, value, about }
}

/// A command.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    /// What its words are.
    words: &'static str,
    pub(crate) least: usize,
    pub(crate) most: usize,
    options: &'static [&'static str],
    about: &'static str,
}

/// As many words as are given.
pub(crate) const ANY: usize = usize::MAX;

pub(crate) const fn spec(
    name: &'static str,
    words: &'static str,
    least: usize,
    most: usize,
    options: &'static [&'static str],
    about: &'static str,
) -> Spec {
    Spec { name, words, least, most, options, about }
}

/// All commands of a program.
pub(crate) struct Table {
    pub(crate) commands: &'static [Spec],
    pub(crate) flags: &'static [Flag],
    /// Short forms of options.
    pub(crate) short: &'static [(&'static str, &'static str)],
    /// Options that may be given several times.
    pub(crate) repeated: &'static [&'static str],
    /// Options of many commands, beside those that each names.
    pub(crate) common: fn(&str) -> &'static [&'static str],
}

impl Table {
    pub(crate) fn find(&self, name: &str) -> Result<&'static Spec, String> {
        self.commands.iter().find(|spec| spec.name == name).ok_or_else(|| format!("there is no command {name:?}"))
    }

    /// Returns the options that go with a command.
    pub(crate) fn flags_of(&self, spec: &Spec) -> impl Iterator<Item = &'static Flag> {
        let (options, common) = (spec.options, (self.common)(spec.name));
        self.flags.iter().filter(move |flag| options.contains(&flag.name) || common.contains(&flag.name))
    }

    /// Returns a line of the help for each command.
    pub(crate) fn help_of_commands(&self) -> String {
        let line = |spec: &Spec| (format!("{} {}", spec.name, spec.words), spec.about.to_owned());
        lines(self.commands.iter().map(line))
    }

    /// Returns a line of the help for each option, with the commands that it goes with.
    pub(crate) fn help_of_flags(&self) -> String {
        lines(self.flags.iter().map(|flag| {
            let with = self.commands.iter().filter(|spec| spec.options.contains(&flag.name)).map(|it| it.name);
            let with: Vec<_> = with.collect();
            let with = if with.is_empty() { String::new() } else { format!(" ({})", with.join(", ")) };
            (format!("{} {}", flag.name, flag.value), format!("{}{with}", flag.about))
        }))
    }
}

fn lines(lines: impl Iterator<Item = (String, String)>) -> String {
    let mut text = String::new();
    for (what, about) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {what:<24} {about}");
    }
    text
}

/// A command with what was given to it.
pub(crate) struct Given {
    pub(crate) spec: &'static Spec,
    pub(crate) words: Vec<String>,
    options: Vec<(&'static str, String)>,
}

impl Given {
    /// Reads what follows the name of a command; `None` if it asks for the help.
    pub(crate) fn read(
        table: &Table,
        spec: &'static Spec,
        mut from: impl Iterator<Item = String>,
    ) -> Result<Option<Self>, String> {
        let mut given = Self { spec, words: Vec::new(), options: Vec::new() };
        while let Some(argument) = from.next() {
            let short = |name: &str| table.short.iter().find(|(short, _)| *short == name).map(|(_, long)| *long);
            let name = match argument.as_str() {
                "-h" | "--help" => return Ok(None),
                name if name.starts_with('-') && name.len() > 1 => short(name).unwrap_or(name),
                _ => {
                    given.words.push(argument);
                    continue;
                }
            };
            let Some(flag) = table.flags_of(spec).find(|flag| flag.name == name) else {
                let known = table.flags.iter().any(|flag| flag.name == name);
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
            let is_repeated = given.options.iter().any(|(known, _)| *known == flag.name);
            if is_repeated && !table.repeated.contains(&flag.name) {
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

    pub(crate) fn value(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(option, _)| *option == name)?;
        Some(self.options.remove(at).1)
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(crate) fn word(&self) -> Result<String, String> {
        self.words.first().cloned().ok_or_else(|| format!("{} needs {}", self.spec.name, self.spec.words))
    }

    /// Returns the words from this one on, as one text.
    pub(crate) fn text_from(&self, word: usize) -> String {
        self.words.get(word..).unwrap_or_default().join(" ")
    }

    /// Returns who gives the command: as `--by` says, or the user of this process.
    pub(crate) fn by(&mut self) -> String {
        self.value("--by").or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "somebody".to_owned())
    }
}
