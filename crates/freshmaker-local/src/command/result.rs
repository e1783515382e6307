use super::supervisor;
use freshmaker::artifact::Digest;
use freshmaker::rebuild::{Failure, FailureClass, Observed, Output};
use rustix::process::Signal;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// The result that the program writes; unknown keys are ignored.
#[derive(Debug, Default, Deserialize)]
struct ResultFile {
    name: Option<String>,
    digest: Option<Digest>,
    contents: Option<String>,
}

const RESULT_BYTES_MAX: u64 = 64 * 1024;
const TAIL_BYTES: usize = 1024;
const TAIL_LINES: usize = 10;
/// `EX_TEMPFAIL`: the program reports that it could not do its work at the moment.
const TEMPORARY: i32 = 75;
/// How long to wait between the recorded end and the end of the process group. It takes
/// microseconds, or more on a busy machine. A process that left the group is not waited for any
/// longer.
const CLOSING: Duration = Duration::from_secs(5);

/// Returns the state of an attempt, from its directory alone.
pub(super) fn observe(directory: &Path, stop_grace: Duration, timeout: Duration) -> io::Result<Observed> {
    if !exists(directory)? {
        return Ok(Observed::Vanished);
    }
    if let Some(code) = status(directory)? {
        let closing = age(&directory.join("status"))?.is_some_and(|age| age < CLOSING);
        return if closing && supervisor::held(directory)? {
            Ok(Observed::Running)
        } else {
            ended(directory, code, timeout)
        };
    }
    if supervisor::held(directory)? {
        if age(&directory.join("cancel"))?.is_some_and(|age| age >= stop_grace) {
            let group_is_there = supervisor::signal(directory, Signal::KILL)?;
            if !group_is_there && status(directory)?.is_none() {
                // The end is recorded so that the number of the group is never used again.
                record_killed(directory)?;
            }
        }
        return Ok(Observed::Running);
    }
    // The attempt may have ended between the two checks.
    match status(directory)? {
        Some(code) => ended(directory, code, timeout),
        None if exists(&directory.join("cancel"))? => Ok(Observed::Canceled),
        None if exists(&directory.join("timeout"))? => Ok(Observed::Failed(too_long(directory, timeout))),
        None => Ok(Observed::Failed(Failure::new(FailureClass::Interrupted, "the build was interrupted"))),
    }
}

/// Returns whether the attempt was ever started. Its supervisor records that before it starts the
/// program.
pub(super) fn started(directory: &Path) -> io::Result<bool> {
    Ok(exists(&directory.join("pgid"))? || exists(&directory.join("status"))?)
}

pub(super) fn exists(path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Returns how long ago a file was made. A file from the future counts as old, because the clock
/// was set back.
fn age(path: &Path) -> io::Result<Option<Duration>> {
    match std::fs::metadata(path).and_then(|metadata| metadata.modified()) {
        Ok(modified) => Ok(Some(modified.elapsed().unwrap_or(Duration::MAX))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the recorded exit status; `Some(None)` if what is recorded is not a number.
fn status(directory: &Path) -> io::Result<Option<Option<i32>>> {
    match std::fs::read(directory.join("status")) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().parse().ok())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn record_killed(directory: &Path) -> io::Result<()> {
    let temporary = directory.join("killed.tmp");
    std::fs::write(&temporary, "137\n")?;
    std::fs::rename(temporary, directory.join("status"))
}

fn ended(directory: &Path, code: Option<i32>, timeout: Duration) -> io::Result<Observed> {
    let outcome = match code {
        Some(0) => result(directory)?,
        Some(code) => Err(exit(directory, code)),
        None => Err(Failure::new(FailureClass::Infrastructure, "the recorded exit status is no number")),
    };
    Ok(match outcome {
        Ok(output) => Observed::Succeeded(output),
        Err(_) if exists(&directory.join("cancel"))? => Observed::Canceled,
        Err(_) if exists(&directory.join("timeout"))? => Observed::Failed(too_long(directory, timeout)),
        Err(failure) => Observed::Failed(failure),
    })
}

fn result(directory: &Path) -> io::Result<Result<Output, Failure>> {
    let path = directory.join("result.json");
    let broken = |what: String| Ok(Err(Failure::new(FailureClass::Deterministic, what)));
    let file = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => File::open(&path)?,
        Ok(_) => return broken(format!("the result {} is not a file", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return broken(with_tail("the program ended well but left no result file".into(), directory));
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(RESULT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > RESULT_BYTES_MAX {
        return broken(format!("the result file {} is larger than {RESULT_BYTES_MAX} bytes", path.display()));
    }
    match serde_json::from_slice::<ResultFile>(&bytes) {
        Ok(ResultFile { name, digest, contents }) => {
            Ok(Ok(Output { name: name.unwrap_or_default(), digest, contents }))
        }
        Err(error) => {
            broken(format!("the result file {} makes no sense: {}", path.display(), plain(&error.to_string())))
        }
    }
}

fn exit(directory: &Path, code: i32) -> Failure {
    let signal = code - 128;
    // People and machines stop programs with these signals; a program that crashes ends by others.
    let stopped = [Signal::HUP, Signal::INT, Signal::KILL, Signal::TERM].iter().any(|stop| stop.as_raw() == signal);
    let class = if stopped || code == TEMPORARY { FailureClass::Infrastructure } else { FailureClass::Deterministic };
    let text = if (1..=64).contains(&signal) {
        format!("the program ended with status {code} (signal {signal})")
    } else {
        format!("the program ended with status {code}")
    };
    Failure::new(class, with_tail(text, directory))
}

fn too_long(directory: &Path, timeout: Duration) -> Failure {
    let text = format!("the program did not end within {}s and was stopped", timeout.as_secs_f64());
    Failure::new(FailureClass::Infrastructure, with_tail(text, directory))
}

fn with_tail(text: String, directory: &Path) -> String {
    // The log only adds detail to the reason, so an error of reading it is ignored.
    match tail(&directory.join("log")) {
        Ok(tail) if !tail.is_empty() => format!("{text}; its log ends: {tail}"),
        _ => text,
    }
}

/// Returns the last lines of a log as one line.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES as u64)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES as u64).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(plain).collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | "))
}

/// Removes characters that could control a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_short_and_tame() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let text: String = (0..500).map(|n| format!("line {n}\r\n\n")).collect();
        std::fs::write(&log, format!("{text}\x1b[31mé\tred")).unwrap();
        let tail = tail(&log).unwrap();
        assert!(tail.starts_with("line 491 | ") && tail.ends_with("line 499 | \u{fffd}[31mé red"), "{tail}");
        std::fs::write(&log, "é".repeat(2000)).unwrap();
        assert!(super::tail(&log).unwrap().len() <= TAIL_BYTES + 8);
    }

    #[test]
    fn a_crash_is_the_recipes_and_a_stop_is_not() {
        let directory = Path::new("/nonexistent");
        let class = |code| exit(directory, code).class;
        for code in [1, 2, 126, 127, 134, 139] {
            assert_eq!(class(code), FailureClass::Deterministic, "{code}");
        }
        for code in [75, 129, 130, 137, 143] {
            assert_eq!(class(code), FailureClass::Infrastructure, "{code}");
        }
    }
}
