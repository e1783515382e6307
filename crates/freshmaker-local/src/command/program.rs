//! Finds the configured program, and says before a build why it cannot be started.

use super::supervisor;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Says why a program cannot be started, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ProgramError {
    text: String,
}

/// The kernel reads no more of the first line of a script.
const FIRST_LINE_MAX: u64 = 256;

pub(super) fn check(program: &Path, search: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let wrong = |text: String| ProgramError { text };
    let found = supervisor::resolve(program, search).map_err(|text| wrong(text + &hint(program)))?;
    let start = first_bytes(&found).map_err(|error| wrong(format!("the program {}: {error}", found.display())))?;
    match interpreter(&start).map(|line| check_interpreter(&line, search)) {
        None | Some(Ok(())) => Ok(found),
        Some(Err(why)) => Err(wrong(format!("the program {} cannot be started: {why}", found.display()))),
    }
}

/// A name without a slash is searched in `PATH` alone, as in a shell.
fn hint(program: &Path) -> String {
    let beside = program.components().count() == 1 && program.is_file();
    if beside { format!("; did you mean ./{}?", program.display()) } else { String::new() }
}

fn first_bytes(program: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(program) {
        Ok(file) => drop(file.take(FIRST_LINE_MAX).read_to_end(&mut bytes)?),
        // A compiled program may be started without being readable.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    Ok(bytes)
}

/// Returns what follows `#!` on the first line of a script.
fn interpreter(start: &[u8]) -> Option<String> {
    let rest = start.strip_prefix(b"#!")?;
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    Some(line.trim_matches([' ', '\t']).to_owned()).filter(|line| !line.is_empty())
}

fn check_interpreter(line: &str, search: Option<&OsStr>) -> Result<(), String> {
    if line.ends_with('\r') {
        return Err("its first line ends with a carriage return, so its interpreter is not found; write it with \
                    Unix line ends"
            .to_owned());
    }
    let (path, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let said = |why: &str| format!("its first line names the interpreter {path}, {why}");
    if !path.starts_with('/') {
        return Err(said("which is not an absolute path"));
    }
    let interpreter = Path::new(path);
    if !interpreter.exists() {
        return Err(said("which does not exist"));
    }
    if let Err(error) = supervisor::executable(interpreter) {
        return Err(said(&format!("which cannot be started: {error}")));
    }
    match env_program(interpreter, argument) {
        Some(name) if supervisor::resolve(Path::new(name), search).is_err() => {
            Err(format!("its first line names the interpreter {name}, which is not in any directory of PATH"))
        }
        _ => Ok(()),
    }
}

/// Returns the program that `#!/usr/bin/env NAME` runs.
fn env_program<'a>(interpreter: &Path, argument: &'a str) -> Option<&'a str> {
    if interpreter.file_name()? != "env" {
        return None;
    }
    // The system passes everything after the interpreter as one argument; `-S` splits it.
    let Some(split) = argument.trim().strip_prefix("-S") else {
        return Some(argument.trim()).filter(|name| !name.is_empty());
    };
    split.split_whitespace().find(|word| !word.starts_with('-') && !word.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_what_the_system_takes() {
        for (start, expected) in [
            ("#!/bin/sh\nx", Some("/bin/sh")),
            ("#! \t/bin/sh -e \nx", Some("/bin/sh -e")),
            ("#!/bin/sh\r\n", Some("/bin/sh\r")),
            ("#!\n", None),
            ("\n#!/bin/sh", None),
            ("\u{7f}ELF", None),
        ] {
            assert_eq!(interpreter(start.as_bytes()).as_deref(), expected, "{start:?}");
        }
    }

    #[test]
    fn wrong_interpreters_are_named() {
        let none = |line: &str| check_interpreter(line, Some(OsStr::new("/bin:/usr/bin")));
        assert_eq!(none("/bin/sh"), Ok(()));
        assert_eq!(none("/bin/sh -eu"), Ok(()));
        assert_eq!(none("/usr/bin/env sh"), Ok(()));
        assert_eq!(none("/usr/bin/env -S A=b sh -e"), Ok(()));
        for (line, expected) in [
            ("/bin/sh\r", "carriage return"),
            ("/no/such/sh", "the interpreter /no/such/sh, which does not exist"),
            ("sh", "the interpreter sh, which is not an absolute path"),
            ("/etc/passwd", "the interpreter /etc/passwd, which cannot be started: "),
            ("/usr/bin/env no-such-program", "the interpreter no-such-program, which is not in any directory of PATH"),
            ("/usr/bin/env sh -e", "the interpreter sh -e, which is not in any directory of PATH"),
            ("/usr/bin/env -S no-such-program -e", "the interpreter no-such-program, which is not in"),
        ] {
            let why = none(line).unwrap_err();
            assert!(why.contains(expected), "{line:?}: {why}");
        }
    }
}
