use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The script is fixed. Everything that varies is an argument or an environment variable.
const SCRIPT: &str = include_str!("supervisor.sh");
const SHELL: &str = "/bin/sh";

/// The parameters of a supervisor that is about to start.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) directory: &'a Path,
    pub(super) working: &'a Path,
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [String],
    pub(super) environment: BTreeMap<String, OsString>,
    pub(super) timeout: Duration,
    pub(super) stop_grace: Duration,
    pub(super) log_bytes_max: u64,
}

impl Start<'_> {
    /// Starts the supervisor. From then on it holds `lock`, and this process does not.
    pub(super) fn spawn(self, lock: File) -> io::Result<Child> {
        let log = self.directory.join("log");
        OpenOptions::new().append(true).create(true).open(log)?;
        // Without unsafe code only three descriptors can be passed on; the script moves them to
        // where they belong.
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(SHELL);
        // The engine may itself run in a build of another engine.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(super::PARAMETER.as_bytes()) {
                command.env_remove(name);
            }
        }
        command
            .args(["-c", SCRIPT, "freshmaker-supervisor"])
            .arg(self.directory)
            .arg(self.log_bytes_max.clamp(1, i64::MAX.unsigned_abs()).to_string())
            .arg(whole_seconds(self.timeout).max(1).to_string())
            .arg(whole_seconds(self.stop_grace).to_string())
            .arg(self.program)
            .args(self.arguments)
            .envs(self.environment)
            .current_dir(self.working)
            .stdin(Stdio::from(lock))
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(reader))
            .process_group(0);
        command.spawn()
    }
}

/// Returns whole seconds, because `sleep` of the shell knows only these on all systems. It rounds
/// up: stopping too early is worse than too late.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).min(u64::from(u32::MAX))
}

/// Returns the path of the program, or why it cannot be started.
pub(super) fn resolve(program: &Path, search: Option<&OsStr>) -> Result<PathBuf, String> {
    if program.components().count() == 1 && !program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return search
            .iter()
            .flat_map(std::env::split_paths)
            .map(|directory| directory.join(program))
            .filter_map(|candidate| std::path::absolute(candidate).ok())
            .find(|candidate| executable(candidate).is_ok())
            .ok_or_else(|| format!("the program {} is not in any directory of PATH", program.display()));
    }
    let program =
        std::path::absolute(program).map_err(|error| format!("the program {}: {error}", program.display()))?;
    match executable(&program) {
        Ok(()) => Ok(program),
        Err(error) => Err(format!("the program {} cannot be started: {error}", program.display())),
    }
}

pub(super) fn executable(program: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(program)?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        let text = format!("permission denied; `chmod +x {}` makes it executable", program.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    Ok(access(program, Access::EXEC_OK)?)
}

/// Returns whether the start failed because of the present state of the machine, and not because of
/// what was to be started.
pub(super) fn passes(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::ArgumentListTooLong
            | ErrorKind::NotADirectory
    )
}

/// Takes the lock of an attempt; `None` if another process has it.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join("lock"))?;
    // A process that only tests the lock holds it for a moment.
    for _ in 0..20 {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Returns whether a supervisor or its program is alive.
pub(super) fn held(directory: &Path) -> io::Result<bool> {
    let file = match File::open(directory.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // The lock is shared, so that two processes that test it at once do not take each other for a
    // supervisor.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Sends a signal to all processes that are left of an attempt; `false` if its process group is
/// gone and the lock is held by a process that left the group.
///
/// Call this only while the lock of the attempt is held: the number of a group that has ended may
/// belong to another one.
pub(super) fn signal(directory: &Path, signal: Signal) -> io::Result<bool> {
    let group = match std::fs::read_to_string(directory.join("pgid")) {
        Ok(text) => text.trim().parse().ok().and_then(Pid::from_raw).filter(|group| group.as_raw_nonzero().get() > 1),
        // The supervisor has not started the program yet. It will see the mark of the cancellation
        // before it does.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let Some(group) = group else {
        return Err(io::Error::new(ErrorKind::InvalidData, "pgid holds no process group"));
    };
    if !held(directory)? {
        return Ok(true);
    }
    match kill_process_group(group, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
