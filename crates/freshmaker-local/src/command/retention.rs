//! Removes old directories of attempts.
//!
//! `status` leaves the mark `told` in the directory of an attempt that has ended, and renews it
//! each time it is asked again: an engine that has not stored the answer asks again. A directory
//! whose mark is at least `keep_for` old is removed. Before that, the end of its attempt is written
//! to the file `removed`, so that the attempt is not started again and its end is still answered.
//!
//! * The date is set: marks have the time of a [`Calendar`], which no step of the date moves far.
//! * The process dies while it removes: the directory has another name by then, and the next look
//!   finds it.
//! * Two processes remove at the same time: one of them does it, by a lock of the state directory.
//! * An attempt runs, or its end was never reported: its directory stays.

use super::{is_plain, result, supervisor};
use freshmaker::backend::Clock;
use freshmaker::rebuild::Observed;
use freshmaker::time::{Timestamp, since};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

/// The mark in the directory of an attempt: when its end was last reported, in seconds of the
/// calendar.
const TOLD: &str = "told";

/// The file of the calendar, in the state directory.
const CALENDAR: &str = "calendar";

/// The file with the ends of attempts whose directories were removed.
const REMOVED: &str = "removed";

/// What the name of a directory ends with while it is removed. No attempt is called so.
const REMOVING: &str = ".removing";

/// Time between two looks at all directories, each of which costs a call for each directory.
const LOOK: Duration = Duration::from_secs(3600);

/// Largest number of directories that are removed after one submission.
const REMOVED_AT_ONCE: usize = 16;

/// Largest number of directories that one look remembers; the next look finds the others.
const DUE_MAX: usize = 4096;

/// Size of the file of ends, in bytes, from which on its older half is dropped. Most lines have
/// between 150 and 400 bytes.
const REMOVED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Largest length of the reason of a failure in the file of ends, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Largest number of directories about which something is logged.
const REPORTED_MAX: usize = 1000;

/// The present moment: by the date, and by a clock that is never set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) date: Timestamp,
    pub(super) steady: Duration,
}

impl Moment {
    pub(super) fn by(clock: &dyn Clock) -> Self {
        Self { date: clock.now(), steady: clock.elapsed() }
    }
}

/// Removes the directories of one state directory.
#[derive(Debug)]
pub(super) struct Retention {
    keep_for: Duration,
    look: Mutex<Look>,
}

#[derive(Debug, Default)]
struct Look {
    /// When all directories were looked at.
    last: Option<Duration>,
    /// The time of the calendar then.
    counted: u64,
    /// The names of the directories that were to be removed then.
    due: Vec<String>,
    /// The names of the directories about which something was logged.
    reported: BTreeSet<String>,
}

impl Retention {
    pub(super) fn new(keep_for: Duration) -> Self {
        Self { keep_for, look: Mutex::default() }
    }

    /// Records that the end of an attempt was reported.
    pub(super) fn told(&self, state_dir: &Path, directory: &Path, date: Timestamp) -> io::Result<()> {
        let counted = Calendar::read(state_dir, date)?.at(date, self.step()).counted;
        replace(&directory.join(TOLD), &counted.to_string())
    }

    /// Removes up to [`REMOVED_AT_ONCE`] directories. Once in an hour it looks for them first.
    pub(super) fn sweep(
        &self,
        state_dir: &Path,
        now: Moment,
        observe: impl Fn(&Path) -> io::Result<Observed>,
    ) -> io::Result<()> {
        let mut look = match self.look.try_lock() {
            Ok(look) => look,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another submission has just begun it.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let rests = look.last.is_some_and(|last| now.steady.saturating_sub(last) < LOOK);
        if look.due.is_empty() && rests {
            return Ok(());
        }
        let lock = File::open(state_dir)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        if look.due.is_empty() {
            look.last = Some(now.steady);
            self.look(state_dir, now.date, &mut look)?;
        }
        let rest = look.due.len().saturating_sub(REMOVED_AT_ONCE);
        for name in look.due.split_off(rest) {
            if let Err(error) = self.remove(state_dir, &name, look.counted, &observe) {
                look.report(&name, &error);
            }
        }
        shorten(&state_dir.join(REMOVED))
    }

    /// Looks at all directories, and lets the calendar go on.
    fn look(&self, state_dir: &Path, date: Timestamp, look: &mut Look) -> io::Result<()> {
        let calendar = Calendar::read(state_dir, date)?.at(date, self.step());
        calendar.write(state_dir)?;
        look.counted = calendar.counted;
        for entry in std::fs::read_dir(state_dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type()?.is_dir() || look.due.len() == DUE_MAX {
                continue;
            }
            match self.is_due(&entry.path(), &name, look.counted) {
                Ok(true) => look.due.push(name),
                Ok(false) => {}
                Err(error) => look.report(&name, &error),
            }
        }
        Ok(())
    }

    /// Whether a directory is to be removed: its removal has begun, or its mark is old enough.
    fn is_due(&self, directory: &Path, name: &str, counted: u64) -> io::Result<bool> {
        if name.strip_suffix(REMOVING).is_some_and(is_plain) {
            return Ok(true);
        }
        if !is_plain(name) {
            return Err(io::Error::new(ErrorKind::InvalidData, "it belongs to no attempt"));
        }
        let told = match std::fs::read_to_string(directory.join(TOLD)) {
            Ok(text) => text.trim().parse::<u64>().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(counted.checked_sub(told).is_some_and(|age| age >= self.keep_for.as_secs()))
    }

    /// Removes one directory, unless its attempt was asked about again meanwhile, or runs.
    fn remove(
        &self,
        state_dir: &Path,
        name: &str,
        counted: u64,
        observe: impl Fn(&Path) -> io::Result<Observed>,
    ) -> io::Result<()> {
        let directory = state_dir.join(name);
        if !result::exists(&directory)? || !self.is_due(&directory, name, counted)? {
            return Ok(());
        }
        if name.ends_with(REMOVING) {
            return std::fs::remove_dir_all(directory);
        }
        let end = observe(&directory)?;
        let Some(_lock) = supervisor::lock(&directory)? else { return Ok(()) };
        if end == Observed::Running {
            return Ok(());
        }
        // An attempt that was never started may still be.
        if result::started(&directory)? || result::exists(&directory.join("cancel"))? {
            append(&state_dir.join(REMOVED), name, end)?;
        }
        let removing = state_dir.join(format!("{name}{REMOVING}"));
        std::fs::rename(directory, &removing)?;
        std::fs::remove_dir_all(removing)
    }

    /// The longest time that passes between two looks, whatever the date says.
    fn step(&self) -> Duration {
        (self.keep_for / 10).max(LOOK)
    }
}

impl Look {
    /// Logs once that a directory is left as it is.
    fn report(&mut self, name: &str, error: &io::Error) {
        if self.reported.len() < REPORTED_MAX && self.reported.insert(name.to_owned()) {
            tracing::warn!(directory = name, %error, "a directory in the state directory of builds is left as it is");
        }
    }
}

/// Counts time by the date, but between two looks no more than a tenth of `keep_for`, and never
/// back.
///
/// So a date that is years ahead for a while makes no mark old, nor does a mark get old that was
/// made while the date was years behind. What is looked at rarely is kept longer.
#[derive(Clone, Copy, Debug)]
struct Calendar {
    /// The time that was counted at the last look, in seconds.
    counted: u64,
    /// The date of the last look, in seconds since 1970.
    date: u64,
}

impl Calendar {
    /// Reads the calendar. It begins now if there is none, or if what is there makes no sense:
    /// marks that were made before are then kept longer.
    fn read(state_dir: &Path, date: Timestamp) -> io::Result<Self> {
        let text = match std::fs::read_to_string(state_dir.join(CALENDAR)) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        Ok(match (numbers.next(), numbers.next()) {
            (Some(Ok(counted)), Some(Ok(date))) => Self { counted, date },
            _ => Self { counted: 0, date: seconds(date) },
        })
    }

    fn write(self, state_dir: &Path) -> io::Result<()> {
        replace(&state_dir.join(CALENDAR), &format!("{} {}", self.counted, self.date))
    }

    /// Returns what the calendar shows at this date.
    fn at(self, date: Timestamp, step: Duration) -> Self {
        let date = seconds(date);
        let passed = date.saturating_sub(self.date).min(step.as_secs());
        Self { counted: self.counted.saturating_add(passed), date }
    }
}

fn seconds(date: Timestamp) -> u64 {
    since(date, Timestamp::UNIX_EPOCH).as_secs()
}

/// One line of the file of ends.
#[derive(Serialize, Deserialize)]
struct End {
    attempt: String,
    end: Observed,
}

/// Returns how an attempt ended whose directory was removed; `None` if that is not known.
pub(super) fn end(state_dir: &Path, attempt: &str) -> io::Result<Option<Observed>> {
    let text = read_ends(&state_dir.join(REMOVED))?;
    // Most lines are those of others, and need not be read.
    let lines = text.lines().filter(|line| line.contains(attempt));
    let mut ends = lines.filter_map(|line| serde_json::from_str::<End>(line).ok());
    Ok(ends.find(|line| line.attempt == attempt).map(|line| line.end))
}

fn read_ends(path: &Path) -> io::Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Removes the mark of a reported end from an attempt that starts only now.
pub(super) fn not_told(directory: &Path) -> io::Result<()> {
    match std::fs::remove_file(directory.join(TOLD)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes how an attempt ended, before its directory goes.
fn append(path: &Path, attempt: &str, mut end: Observed) -> io::Result<()> {
    if let Observed::Failed(failure) = &mut end {
        failure.text = failure.text.chars().take(REASON_CHARS_MAX).collect();
    }
    let line = serde_json::to_string(&End { attempt: attempt.to_owned(), end })?;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // A line that a process began and did not end makes no other one unreadable.
    file.write_all(format!("\n{line}\n").as_bytes())?;
    file.sync_data()
}

/// Drops the older half of the file of ends if it is too long.
fn shorten(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).map_or(0, |file| file.len()) <= REMOVED_BYTES_MAX as u64 {
        return Ok(());
    }
    let text = read_ends(path)?;
    let half = text.len() / 2;
    let line = text.bytes().skip(half).position(|byte| byte == b'\n').map_or(text.len(), |end| half + end + 1);
    replace(path, &text[line..])
}

/// Writes a file so that every reader sees all of the old or all of the new text.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker::artifact::Digest;
    use freshmaker::rebuild::{Failure, FailureClass, Output};
    use freshmaker::time::later;
    use std::path::PathBuf;
    use tempfile::TempDir;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const KEEP_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

    fn day(number: u32) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, number * DAY)
    }

    struct World {
        state: TempDir,
        retention: Retention,
        now: Moment,
    }

    impl World {
        fn new() -> Self {
            let now = Moment { date: day(20_000), steady: Duration::ZERO };
            let world = Self { state: tempfile::tempdir().unwrap(), retention: Retention::new(KEEP_FOR), now };
            world.sweep();
            world
        }

        fn path(&self, name: &str) -> PathBuf {
            self.state.path().join(name)
        }

        /// An attempt that has ended.
        fn attempt(&self, name: &str) -> PathBuf {
            let directory = self.path(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("pgid"), "1\n").unwrap();
            std::fs::write(directory.join("status"), "3\n").unwrap();
            directory
        }

        fn told(&self, name: &str) -> PathBuf {
            let directory = self.attempt(name);
            self.tell(name);
            directory
        }

        fn tell(&self, name: &str) {
            self.retention.told(self.state.path(), &self.path(name), self.now.date).unwrap();
        }

        fn sweep(&self) {
            let observe = |directory: &Path| result::observe(directory, DAY, DAY);
            self.retention.sweep(self.state.path(), self.now, observe).unwrap();
        }

        /// Lets time pass, with a submission now and then.
        fn passes(&mut self, time: Duration) {
            for _ in 0..time.as_secs() / DAY.as_secs() {
                self.now = Moment { date: later(self.now.date, DAY), steady: self.now.steady + DAY };
                self.sweep();
            }
        }

        fn end(&self, name: &str) -> Option<Observed> {
            end(self.state.path(), name).unwrap()
        }
    }

    #[test]
    fn what_was_told_long_ago_is_removed_and_its_end_stays_known() {
        let mut world = World::new();
        let directory = world.told("ab-1");
        world.passes(KEEP_FOR - DAY);
        assert!(directory.exists() && world.end("ab-1").is_none());
        world.passes(DAY);
        assert!(!directory.exists());
        assert!(matches!(world.end("ab-1"), Some(Observed::Failed(failure)) if failure.text.contains("status 3")));
        assert_eq!(world.end("ab"), None, "another attempt");
        let left: BTreeSet<_> =
            std::fs::read_dir(world.state.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, BTreeSet::from([CALENDAR.into(), REMOVED.into()]));
    }

    #[test]
    fn what_is_asked_about_again_is_kept() {
        let mut world = World::new();
        let directory = world.told("a");
        world.passes(KEEP_FOR / 2);
        world.tell("a");
        world.passes(KEEP_FOR / 2);
        assert!(directory.exists());
        world.passes(KEEP_FOR / 2);
        assert!(!directory.exists());
    }

    #[test]
    fn what_was_not_told_or_lives_or_is_foreign_is_kept() {
        let mut world = World::new();
        let untold = world.attempt("1");
        let alive = world.told("2");
        std::fs::remove_file(alive.join("status")).unwrap();
        let _lock = supervisor::lock(&alive).unwrap().unwrap();
        let foreign = world.path("lost+found");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join(TOLD), "0").unwrap();
        let unreadable = world.attempt("3");
        std::fs::write(unreadable.join(TOLD), "once upon a time").unwrap();
        let link = world.path("4");
        std::os::unix::fs::symlink(&untold, &link).unwrap();
        world.passes(2 * KEEP_FOR);
        for kept in [untold, alive, foreign, unreadable, link] {
            assert!(kept.exists(), "{}", kept.display());
        }
        let reported = &world.retention.look.lock().unwrap().reported;
        assert_eq!(*reported, BTreeSet::from(["3".to_owned(), "lost+found".to_owned()]));
    }

    #[test]
    fn a_date_that_is_set_removes_nothing_early() {
        // A year ahead for a while, and years behind when the end is reported.
        for wrong in [day(20_400), day(0)] {
            let mut world = World::new();
            let directory = world.told("a");
            world.now = Moment { date: wrong, steady: world.now.steady + DAY };
            world.sweep();
            let behind = world.told("b");
            world.passes(3 * DAY);
            world.now.date = day(20_004);
            world.passes(KEEP_FOR - 20 * DAY);
            assert!(directory.exists() && behind.exists());
            world.passes(20 * DAY);
            assert!(!directory.exists() && !behind.exists());
        }
    }

    #[test]
    fn few_are_removed_at_once_and_looks_are_rare() {
        let mut world = World::new();
        let of = |number| format!("{number:x}");
        (0..40).for_each(|number| drop(world.told(&of(number))));
        let left = |world: &World| (0..40).filter(|number| world.path(&of(*number)).exists()).count();
        world.passes(KEEP_FOR - DAY);
        world.now =
            Moment { date: later(world.now.date, DAY), steady: world.now.steady + LOOK - Duration::from_secs(1) };
        world.sweep();
        assert_eq!(left(&world), 40, "the hour has not passed");
        world.now.steady += Duration::from_secs(1);
        for expected in [24, 8, 0] {
            world.sweep();
            assert_eq!(left(&world), expected);
        }
    }

    #[test]
    fn a_removal_that_was_interrupted_goes_on() {
        let mut world = World::new();
        let half = world.path(&format!("ab{REMOVING}"));
        std::fs::create_dir(&half).unwrap();
        // A line that was begun.
        std::fs::write(world.path(REMOVED), r#"{"attempt": "a"#).unwrap();
        let directory = world.told("a");
        world.passes(KEEP_FOR);
        assert!(!half.exists() && !directory.exists() && world.end("a").is_some());
    }

    #[test]
    fn a_calendar_that_cannot_be_read_begins_anew() {
        let mut world = World::new();
        let directory = world.told("a");
        std::fs::write(world.path(CALENDAR), "\0\0").unwrap();
        world.passes(DAY);
        assert!(directory.exists());
        world.passes(KEEP_FOR);
        assert!(!directory.exists());
    }

    #[test]
    fn the_file_of_ends_is_bounded_and_has_the_latest() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(REMOVED);
        let output = Output { name: "é".repeat(1000), digest: Some(Digest::of(b"it")), contents: None };
        let line = |number| End { attempt: format!("a-{number}"), end: Observed::Succeeded(output.clone()) };
        let lines = (0..6000).map(|number| serde_json::to_string(&line(number)).unwrap() + "\n");
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        append(&path, "a", Observed::Canceled).unwrap();
        shorten(&path).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() <= REMOVED_BYTES_MAX as u64);
        assert_eq!(end(state.path(), "a").unwrap(), Some(Observed::Canceled));
        assert_eq!(end(state.path(), "a-5999").unwrap(), Some(line(5999).end));
        assert_eq!(end(state.path(), "a-0").unwrap(), None);
        let long = Observed::Failed(Failure::new(FailureClass::Deterministic, "é".repeat(10_000)));
        append(&path, "b", long).unwrap();
        assert!(matches!(end(state.path(), "b").unwrap(), Some(Observed::Failed(it)) if it.text.len() < 1000));
    }
}
