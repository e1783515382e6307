//! A tree that is a branch of a git repository: what is fetched, checked out and kept of it.
//!
//! | in the directory of the repository, below the state | what |
//! |---|---|
//! | `repository` | the objects, without history |
//! | `modules` | the same of each submodule |
//! | `commits/COMMIT/NAME` | the files of a commit, which never change |
//! | `current` | a symbolic link to the files that count |
//!
//! A process that needs a commit for longer than a look holds a shared lock on its directory.
//! Directories that are neither locked nor current are removed.

mod submodules;

use crate::Result;
use crate::config::Seconds;
use crate::entry::plain;
use freshmaker::artifact::Digest;
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use submodules::Module;

/// Where the branch is kept in our repository.
const REFERENCE: &str = "refs/freshmaker/branch";
/// How often a commit is looked for that is removed at the same moment.
const TRIES: usize = 10;
/// How much of the output of git goes into an error, in characters.
const SAID_MAX: usize = 500;

/// The section `[tree.git]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Git {
    /// What `git fetch` takes: an address or an absolute path.
    url: String,
    #[serde(default = "main")]
    branch: String,
    /// The pause between two fetches.
    #[serde(default = "interval")]
    interval: Seconds,
    /// What is done about submodules.
    #[serde(default)]
    submodules: Submodules,
}

/// What is done about the submodules of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Submodules {
    /// Their files are fetched, and theirs.
    #[default]
    Fetch,
    /// A commit with submodules is not used.
    Refuse,
    /// Their directories stay empty.
    Empty,
}

fn main() -> String {
    "main".to_owned()
}

fn interval() -> Seconds {
    Seconds::of(300)
}

impl Git {
    /// Returns what is wrong, as a sentence with the key before it.
    pub(crate) fn fault(&self, path: &Path) -> Option<String> {
        if let Some(fault) = fault_of_url(&self.url) {
            return Some(format!("url: {fault}"));
        }
        let is_word = |word: &str| !word.is_empty() && !word.starts_with(['.', '-']) && !word.ends_with(".lock");
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        if !self.branch.split('/').all(is_word) || self.branch.contains(is_odd) || self.branch.contains("..") {
            return Some(format!("branch: {:?} cannot be the name of a branch", self.branch));
        }
        let is_inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        (!is_inside).then(|| "tree.path: it has to be a directory of the repository".to_owned())
    }

    /// Returns the name of a directory for the repository. A branch has one, whatever its files are
    /// used for.
    pub(crate) fn place(&self) -> String {
        format!("git-{}", Digest::of_parts([self.url.as_bytes(), self.branch.as_bytes()]).short())
    }

    /// Returns what the repository is called, after which the directory of its files is named: a
    /// Containerfile in that directory may be named after it.
    fn name(&self) -> &str {
        let last = self.url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
        match last.strip_suffix(".git").unwrap_or(last) {
            "" | "." | ".." => "tree",
            name => name,
        }
    }
}

/// Returns what is wrong with the address of a repository.
fn fault_of_url(url: &str) -> Option<String> {
    let is_secret = url.split_once("://").is_some_and(|(scheme, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| scheme.starts_with("http") || user.contains(':'))
    });
    if is_secret {
        return Some("users and passwords belong to a credential helper of git".to_owned());
    }
    let is_remote = url.contains("://") || url.split('/').next().is_some_and(|host| host.contains(':'));
    // What has two colons is a program that git runs.
    let is_odd = url.starts_with('-') || url.contains("::");
    (is_odd || !(is_remote || url.starts_with('/')))
        .then(|| format!("{url:?} is neither an address nor an absolute path"))
}

/// Returns where the files that count are, in the directory of a repository.
pub(crate) fn current(directory: &Path) -> PathBuf {
    directory.join("current")
}

/// The commits of a service.
#[derive(Clone, Debug)]
pub(crate) struct Checkouts {
    git: Git,
    directory: PathBuf,
}

impl Checkouts {
    /// Makes those of a repository, which has a directory of its own.
    pub(crate) fn new(git: Git, directory: PathBuf) -> Self {
        Self { git, directory }
    }

    /// Returns the address of the repository.
    pub(crate) fn url(&self) -> &str {
        &self.git.url
    }

    /// Returns the pause between two fetches.
    pub(crate) fn interval(&self) -> Duration {
        self.git.interval.duration()
    }

    fn commits(&self) -> PathBuf {
        self.directory.join("commits")
    }

    fn link(&self) -> PathBuf {
        current(&self.directory)
    }

    /// Asks the repository for the branch, and returns the commit that it names there.
    pub(crate) async fn ask(&self) -> Result<String> {
        let branch = format!("refs/heads/{}", self.git.branch);
        let answer = self.run(&["ls-remote", "--exit-code", "--", &self.git.url, &branch], &[]).await?;
        let text = String::from_utf8_lossy(&answer);
        let commit = text.split_whitespace().next().unwrap_or_default();
        Ok(commit.to_owned())
    }

    /// Fetches the branch; its files are the current ones afterwards. Returns the commit if it is
    /// another one than before.
    ///
    /// # Cancel safety
    /// What was current stays current until all files of the next commit are there. What is left of
    /// a fetch that ended early is removed by the next one.
    pub(crate) async fn fetch(&self) -> Result<Option<String>> {
        make(&self.commits())?;
        let _lock = Lock::take(&self.directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| format!("{}: another process fetches into it: {error}", self.directory.display()))?;
        let repository = self.directory.join("repository");
        if !repository.join("HEAD").is_file() {
            let path = repository.to_string_lossy();
            self.run(&["init", "--quiet", "--bare", "--template=", "--", &path], &[]).await?;
        }
        let wanted = format!("+refs/heads/{}:{REFERENCE}", self.git.branch);
        let fetch =
            ["fetch", "--quiet", "--no-tags", "--depth=1", "--no-recurse-submodules", "--", &self.git.url, &wanted];
        self.within(&repository, &fetch, &[]).await?;
        let commit = format!("{REFERENCE}^{{commit}}");
        let answer = self.within(&repository, &["rev-parse", "--verify", "--quiet", &commit], &[]).await?;
        let commit = String::from_utf8_lossy(&answer).trim().to_owned();
        if !(40..=64).contains(&commit.len()) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("git names the commit {commit:.100?}").into());
        }
        let files = self.commits().join(&commit).join(self.git.name());
        if fs::canonicalize(&files)
            .is_ok_and(|files| fs::canonicalize(self.link()).is_ok_and(|current| current == files))
        {
            self.remove_old(&files);
            return Ok(None);
        }
        if !files.is_dir() {
            self.check_out(&repository, &commit).await?;
        }
        let next = self.directory.join(".next");
        let _ = fs::remove_file(&next);
        std::os::unix::fs::symlink(Path::new("commits").join(&commit).join(self.git.name()), &next)
            .and_then(|()| fs::rename(&next, self.link()))
            .map_err(|error| format!("{}: {error}", self.link().display()))?;
        self.remove_old(&files);
        Ok(Some(commit))
    }

    /// Writes the files of a commit.
    async fn check_out(&self, repository: &Path, commit: &str) -> Result<()> {
        let temporary = self.commits().join(format!(".{commit}"));
        let _ = fs::remove_dir_all(&temporary);
        let files = temporary.join(self.git.name());
        make(&files)?;
        self.write_all(Module::of(&self.git.url, repository, commit, &files)).await?;
        // The directory is there if the repository was called something else before.
        let there = self.commits().join(commit);
        make(&there)?;
        let place = there.join(self.git.name());
        fs::rename(&files, &place).map_err(|error| format!("{}: {error}", place.display()))?;
        Ok(fs::remove_dir_all(&temporary)?)
    }

    /// Removes the commits that are not locked, but for the one with these files. What cannot be
    /// removed now is removed after a later fetch.
    fn remove_old(&self, current: &Path) {
        let kept = current.parent();
        for entry in fs::read_dir(self.commits()).into_iter().flatten().flatten() {
            let path = entry.path();
            if Some(path.as_path()) == kept {
                continue;
            }
            let Ok(_lock) = Lock::take(&path, FlockOperation::NonBlockingLockExclusive) else { continue };
            // Under another name first: no one takes the rest for a whole commit.
            let gone = self.commits().join(".gone");
            let _ = fs::remove_dir_all(&gone);
            if let Err(error) = fs::rename(&path, &gone).and_then(|()| fs::remove_dir_all(&gone)) {
                tracing::warn!(commit = %path.display(), %error, "an old commit cannot be removed");
            }
        }
    }

    /// Returns the current commit, whose files stay until this is dropped.
    pub(crate) fn hold(&self) -> Result<Held> {
        let link = self.link();
        for _ in 0..TRIES {
            let files = fs::canonicalize(&link).map_err(|error| format!("{}: {error}", link.display()))?;
            let directory = files.parent().unwrap_or(&files);
            let Ok(lock) = Lock::take(directory, FlockOperation::LockShared) else { continue };
            if files.is_dir() {
                let commit = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Ok(Held { link, commit, files, _lock: lock });
            }
        }
        Err(format!("{}: its commit is removed again and again", link.display()).into())
    }

    /// Runs git within our repository.
    async fn within(&self, repository: &Path, arguments: &[&str], variables: &[(&str, &Path)]) -> Result<Vec<u8>> {
        let mut all = vec![("GIT_DIR", repository)];
        all.extend(variables);
        self.run(arguments, &all).await
    }

    /// Runs git, which must not ask for a password, and returns what it writes.
    async fn run(&self, arguments: &[&str], variables: &[(&str, &Path)]) -> Result<Vec<u8>> {
        let mut command = tokio::process::Command::new("git");
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
            command.env_remove(variable);
        }
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").envs(variables.iter().copied());
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|error| format!("git: {error}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let what = arguments.first().unwrap_or(&"");
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = plain(said.trim()).chars().take(SAID_MAX).collect();
        Err(match said.as_str() {
            "" => format!("git {what}: {}", output.status),
            said => format!("git {what}: {said}"),
        }
        .into())
    }
}

/// The commits of all repositories, whose files stay until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Commits(pub(crate) Vec<Held>);

impl Commits {
    /// Returns the commit that has a path among the current files.
    pub(crate) fn of(&self, current: &Path) -> Option<&Held> {
        self.0.iter().find(|held| current.starts_with(&held.link))
    }

    /// Returns a path among the current files as one among the files of these commits.
    pub(crate) fn path(&self, current: &Path) -> PathBuf {
        self.of(current).map_or_else(|| current.to_owned(), |held| held.path(current))
    }
}

/// A commit whose files stay.
#[derive(Debug)]
pub(crate) struct Held {
    link: PathBuf,
    pub(crate) commit: String,
    files: PathBuf,
    _lock: Lock,
}

/// A lock on a directory. It ends with this value, also if a process that is just being started has
/// a copy of the open file for a moment.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn take(path: &Path, how: FlockOperation) -> std::io::Result<Self> {
        let file = File::open(path)?;
        flock(&file, how)?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file releases it as well, if not at once.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Held {
    /// Returns a path among the current files as one among the files of this commit.
    pub(crate) fn path(&self, current: &Path) -> PathBuf {
        match current.strip_prefix(&self.link) {
            Ok(below) if below.as_os_str().as_bytes().is_empty() => self.files.clone(),
            Ok(below) => self.files.join(below),
            Err(_) => current.to_owned(),
        }
    }
}

/// Makes a directory that only its owner can enter.
fn make(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn git(url: &str) -> Git {
        Git { url: url.to_owned(), branch: main(), interval: interval(), submodules: Submodules::default() }
    }

    /// A repository with one branch.
    struct Origin(tempfile::TempDir);

    impl Origin {
        fn new() -> Self {
            let origin = Self(tempfile::tempdir().unwrap());
            origin.run(&["init", "--quiet", "--initial-branch=main"]);
            origin
        }

        fn run(&self, arguments: &[&str]) {
            let identity =
                ["-c", "user.name=kim", "-c", "user.email=kim@example.org", "-c", "protocol.file.allow=always"];
            let mut command = Command::new("git");
            let status = command.current_dir(self.0.path()).args(identity).args(arguments).status().unwrap();
            assert!(status.success(), "{arguments:?}");
        }

        fn commit(&self, file: &str, text: &str) {
            fs::write(self.0.path().join(file), text).unwrap();
            self.run(&["add", "--all"]);
            self.run(&["commit", "--quiet", "--allow-empty", "--message", text]);
        }

        fn checkouts(&self, state: &Path) -> Checkouts {
            Checkouts::new(git(self.0.path().to_str().unwrap()), state.to_owned())
        }
    }

    fn commits(state: &Path) -> usize {
        fs::read_dir(state.join("commits")).unwrap().count()
    }

    #[tokio::test]
    async fn a_commit_stays_as_long_as_it_is_held() {
        let (origin, state) = (Origin::new(), tempfile::tempdir().unwrap());
        let checkouts = origin.checkouts(state.path());
        assert!(checkouts.fetch().await.unwrap_err().to_string().contains("refs/heads/main"), "there is no branch yet");
        assert!(checkouts.hold().is_err());
        origin.commit("file", "one");
        let first = checkouts.fetch().await.unwrap().unwrap();
        assert_eq!(checkouts.ask().await.unwrap(), first);
        assert_eq!(checkouts.fetch().await.unwrap(), None);
        let held = checkouts.hold().unwrap();
        assert_eq!(held.commit, first);
        origin.commit("file", "two");
        let second = checkouts.fetch().await.unwrap().unwrap();
        let current = current(state.path()).join("file");
        assert_eq!(fs::read_to_string(&current).unwrap(), "two");
        assert_eq!(fs::read_to_string(held.path(&current)).unwrap(), "one");
        assert_eq!(commits(state.path()), 2);
        drop(held);
        // What a run that was killed has left goes as well.
        fs::create_dir_all(state.path().join("commits/.0000/x")).unwrap();
        fs::create_dir_all(state.path().join("commits/.gone/x")).unwrap();
        assert_eq!(checkouts.fetch().await.unwrap(), None);
        assert_eq!(commits(state.path()), 1);
        assert_eq!(checkouts.hold().unwrap().commit, second);
        // A history that was written anew counts like any other.
        origin.run(&["reset", "--quiet", "--hard", "HEAD~1"]);
        assert_eq!(checkouts.fetch().await.unwrap(), Some(first));
        assert_eq!(fs::read_to_string(&current).unwrap(), "one");
    }

    #[tokio::test]
    async fn what_cannot_be_fetched_leaves_what_was_there() {
        let (origin, state) = (Origin::new(), tempfile::tempdir().unwrap());
        origin.commit("file", "one");
        std::os::unix::fs::symlink("/etc/passwd", origin.0.path().join("link")).unwrap();
        origin.commit("other", "with a link");
        let checkouts = origin.checkouts(state.path());
        let commit = checkouts.fetch().await.unwrap().unwrap();
        assert!(fs::symlink_metadata(current(state.path()).join("link")).unwrap().is_symlink());
        let moved = origin.0.path().with_extension("moved");
        fs::rename(origin.0.path(), &moved).unwrap();
        let error = checkouts.fetch().await.unwrap_err().to_string();
        assert!(error.starts_with("git fetch: ") && error.len() < 700, "{error}");
        assert_eq!(checkouts.hold().unwrap().commit, commit);
        fs::rename(&moved, origin.0.path()).unwrap();
        assert_eq!(checkouts.fetch().await.unwrap(), None);
        // An empty commit has no files, and is one all the same.
        origin.run(&["rm", "--quiet", "-r", "."]);
        origin.run(&["commit", "--quiet", "--message", "nothing"]);
        assert!(checkouts.fetch().await.unwrap().is_some());
        assert!(!current(state.path()).join("file").exists());
    }

    #[test]
    fn mistakes_name_their_key() {
        for (url, branch, path, wanted) in [
            ("images", "main", ".", "url: \"images\""),
            ("--upload-pack=x", "main", ".", "url"),
            ("https://kim:secret@git.example.org/images", "main", ".", "credential helper"),
            ("https://secret@git.example.org/images", "main", ".", "credential helper"),
            ("ssh://kim:secret@git.example.org/images", "main", ".", "credential helper"),
            ("ext::sh -c x", "main", ".", "url"),
            ("https://git.example.org/images", "a b", ".", "branch"),
            ("https://git.example.org/images", "-x", ".", "branch"),
            ("https://git.example.org/images", "a..b", ".", "branch"),
            ("https://git.example.org/images", "main", "/etc", "tree.path"),
            ("https://git.example.org/images", "main", "a/../..", "tree.path"),
        ] {
            let fault = Git { branch: branch.to_owned(), ..git(url) }.fault(Path::new(path)).unwrap();
            assert!(fault.contains(wanted) && !fault.contains("secret"), "{url} {branch}: {fault}");
        }
        for (url, name) in [
            ("https://git.example.org/team/images.git", "images"),
            ("ssh://git@git.example.org/team/images/", "images"),
            ("git@git.example.org:images.git", "images"),
            ("/srv/git/images", "images"),
            ("/", "tree"),
        ] {
            assert_eq!((git(url).fault(Path::new("a/b")), git(url).name()), (None, name), "{url}");
        }
    }
}
