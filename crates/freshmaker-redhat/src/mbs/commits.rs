//! Makes new commits, because MBS does not build a commit twice.

use async_trait::async_trait;
use freshmaker::backend::{Error, Remedy, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Where a new commit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place<'a> {
    /// The repository, as MBS names it.
    pub repository: &'a str,
    /// The branch.
    pub branch: &'a str,
    /// A text that no other commit has: the marker of an attempt.
    pub marker: &'a str,
}

impl<'a> Place<'a> {
    /// Makes a place from its parts.
    #[must_use]
    pub fn new(repository: &'a str, branch: &'a str, marker: &'a str) -> Self {
        Self { repository, branch, marker }
    }
}

/// Makes new commits in the repositories of modules, and finds them again.
///
/// [`MbsBuildSystem`](super::MbsBuildSystem) calls it for builds with the parameter `new_commit`,
/// see [its module](super).
///
/// # Contract
/// * After [`add`](Self::add) has succeeded, [`find`](Self::find) returns the same commit.
/// * [`add`](Self::add) makes no second commit for a marker: it returns the one that exists.
/// * [`add`](Self::add) fails with [`Unclear`](Remedy::Unclear) if it is not known whether a commit
///   was made, and in other ways only if none was.
///
/// # Examples
/// A forge that makes commits by its own interface, which is a map here:
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::Result;
/// use freshmaker_redhat::mbs::{Commits, MbsBuildSystem, MbsConfig, Place};
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Debug, Default)]
/// struct Forge(Mutex<BTreeMap<String, String>>);
///
/// #[async_trait]
/// impl Commits for Forge {
///     async fn find(&self, place: Place<'_>) -> Result<Option<String>> {
///         Ok(self.0.lock().expect("no panic").get(place.marker).cloned())
///     }
///     async fn add(&self, place: Place<'_>) -> Result<String> {
///         let mut commits = self.0.lock().expect("no panic");
///         let next = format!("{:040x}", commits.len() + 1);
///         Ok(commits.entry(place.marker.to_owned()).or_insert(next).clone())
///     }
/// }
///
/// let mbs = MbsBuildSystem::new(MbsConfig::new("https://mbs.example.org"))?;
/// let mbs = mbs.with_commits(Arc::new(Forge::default()));
/// # drop(mbs);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[async_trait]
pub trait Commits: fmt::Debug + Send + Sync {
    /// Returns the commit with this marker; `None` if the branch has none.
    ///
    /// # Errors
    /// If the repository cannot be asked.
    async fn find(&self, place: Place<'_>) -> Result<Option<String>>;

    /// Makes a commit without changes at the end of the branch, and returns it.
    ///
    /// # Errors
    /// If the repository cannot be asked, or refuses.
    async fn add(&self, place: Place<'_>) -> Result<String>;
}

/// How many commits of a branch are looked through for a marker.
const DEPTH: u32 = 100;

/// Makes commits by the program `git`, in a fresh clone of the end of the branch each time.
///
/// ```
/// use freshmaker_redhat::mbs::GitCommits;
///
/// let commits = GitCommits::new("freshmaker", "freshmaker@example.com")
///     .pushing_to("https://src.example.com/", "ssh://freshmaker@pkgs.example.com/");
/// # drop(commits);
/// ```
///
/// # Limits
/// The marker is looked for in the last 100 commits of the branch. A clone or a push takes at most
/// 50 s by default, which is less than the engine waits for a submission. Logins and host keys are
/// those of `git` and `ssh` of the user; nothing is asked for interactively.
///
/// # Cancel safety
/// The program is killed if the future is dropped. A push may have taken effect then.
#[derive(Clone, Debug)]
pub struct GitCommits {
    name: String,
    email: String,
    push: BTreeMap<String, String>,
    program: PathBuf,
    timeout: Duration,
}

impl GitCommits {
    /// Makes commits as this author.
    pub fn new(name: impl Into<String>, email: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            email: email.into(),
            push: BTreeMap::new(),
            program: "git".into(),
            timeout: Duration::from_secs(50),
        }
    }

    /// Uses another address for the repositories that begin with `prefix`: the one that the user
    /// may push to. The longest prefix counts.
    #[must_use]
    pub fn pushing_to(mut self, prefix: impl Into<String>, address: impl Into<String>) -> Self {
        self.push.insert(prefix.into(), address.into());
        self
    }

    /// Checks the addresses of [`pushing_to`](Self::pushing_to).
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if one has a password, which errors and lists of
    /// processes would show. The error does not show it.
    pub fn check_offline(&self) -> Result<()> {
        if !self.push.iter().any(|(prefix, address)| has_password(prefix) || has_password(address)) {
            return Ok(());
        }
        let text = "an address to push to has a user and a password: leave them to a credential helper of git";
        Err(Error::new(Remedy::Unsupported, "commits", text))
    }

    /// Replaces the program. Default: the `git` that is found in `PATH`.
    #[must_use]
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self }
    }

    /// Sets how long a command of `git` may take. Default: 50 s.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn address(&self, repository: &str) -> String {
        let fitting = self
            .push
            .iter()
            .filter_map(|(prefix, to)| Some((prefix.len(), to, repository.strip_prefix(prefix.as_str())?)));
        match fitting.max_by_key(|(length, ..)| *length) {
            Some((_, to, rest)) => format!("{to}{rest}"),
            None => repository.to_owned(),
        }
    }

    /// Runs `git` in a directory to its end; what is not known without it is `remedy`.
    async fn run(&self, directory: &Path, arguments: &[&str], remedy: Remedy, at: &str) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.current_dir(directory).args(arguments).kill_on_drop(true);
        command.stdin(Stdio::null()).env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), &self.name).env(format!("GIT_{who}_EMAIL"), &self.email);
        }
        match tokio::time::timeout(self.timeout, command.output()).await {
            Ok(Ok(output)) => Ok(output),
            // It was not started.
            Ok(Err(error)) => Err(Error::new(Remedy::Unavailable, at, error)),
            Err(_) => {
                let text = format!("no end of `git` within {} s", self.timeout.as_secs_f32());
                Err(Error::new(remedy, at, text))
            }
        }
    }

    /// Runs `git`, which changes nothing elsewhere, and returns what it prints.
    async fn print(&self, directory: &Path, arguments: &[&str], at: &str) -> Result<String> {
        let output = self.run(directory, arguments, Remedy::Unavailable, at).await?;
        if !output.status.success() {
            return Err(failed(&output, Remedy::Unavailable, at));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Clones the end of the branch, and returns the commit with the marker if it is there.
    async fn clone(&self, directory: &Path, place: Place<'_>, at: &str) -> Result<Option<String>> {
        let address = self.address(place.repository);
        let depth = DEPTH.to_string();
        let clone = ["clone", "--quiet", "--bare", "--single-branch", "--depth", &depth];
        let clone = [&clone[..], &["--branch", place.branch, "--", &address, "."]].concat();
        self.print(directory, &clone, at).await?;
        let grep = format!("--grep={}", trailer(place.marker));
        let log = ["log", "--fixed-strings", "--format=%H", "--max-count=1", &grep];
        let found = self.print(directory, &log, at).await?;
        Ok((!found.is_empty()).then_some(found))
    }
}

/// Returns whether the address of a repository has a password, or over HTTP a user, which may be a
/// token.
fn has_password(address: &str) -> bool {
    address.split_once("://").is_some_and(|(scheme, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| scheme.to_ascii_lowercase().starts_with("http") || user.contains(':'))
    })
}

/// Says that `git` failed, with what it said.
fn failed(output: &Output, remedy: Remedy, at: &str) -> Error {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).trim().to_owned());
    let said = [stdout, stderr].join(" ");
    Error::new(remedy, at, format!("git failed with {}: {}", output.status, said.trim()))
}

/// Returns what to do if the repository has refused a push. `[rejected]` says that the branch has
/// moved meanwhile, `[remote rejected]` that the server does not permit it; other failures say
/// nothing definite.
fn refused(pushed: &Output) -> Option<Remedy> {
    let said = String::from_utf8_lossy(&pushed.stdout).into_owned();
    let line = said.lines().find(|line| line.starts_with("!\t"))?;
    match line {
        _ if line.contains("[rejected]") => Some(Remedy::Unavailable),
        _ if line.contains("[remote rejected]") => Some(Remedy::NotNow),
        _ => None,
    }
}

/// Returns the line that has the marker. It has an end, so no marker is found in a longer one.
fn trailer(marker: &str) -> String {
    format!("Freshmaker-Attempt: [{marker}]")
}

/// Returns how errors name a repository, after looking at what would be options or other addresses.
fn checked(place: Place<'_>) -> Result<String> {
    let at = format!("git: {} {}", place.repository, place.branch);
    let is_branch = !place.branch.is_empty() && !place.branch.starts_with('-');
    if !is_branch || place.repository.is_empty() || place.repository.starts_with('-') {
        return Err(Error::new(Remedy::Rejected, at, "this is not a repository with a branch"));
    }
    let is_marker = |c: char| c.is_ascii_graphic() && !"[]".contains(c);
    if place.marker.is_empty() || !place.marker.chars().all(is_marker) {
        return Err(Error::new(Remedy::Rejected, at, "a marker has no characters but visible ones of ASCII"));
    }
    Ok(at)
}

fn directory(at: &str) -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|error| Error::new(Remedy::Unavailable, at, error))
}

#[async_trait]
impl Commits for GitCommits {
    async fn find(&self, place: Place<'_>) -> Result<Option<String>> {
        let at = checked(place)?;
        let directory = directory(&at)?;
        self.clone(directory.path(), place, &at).await
    }

    async fn add(&self, place: Place<'_>) -> Result<String> {
        let at = checked(place)?;
        let directory = directory(&at)?;
        if let Some(known) = self.clone(directory.path(), place, &at).await? {
            return Ok(known);
        }
        let message = format!("Rebuild with changed packages\n\n{}", trailer(place.marker));
        let commit = ["commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", &message];
        let commit = self.print(directory.path(), &commit, &at).await?;
        let to = format!("{commit}:refs/heads/{}", place.branch);
        let push = ["push", "--porcelain", "origin", &to];
        let pushed = self.run(directory.path(), &push, Remedy::Unclear, &at).await?;
        match refused(&pushed) {
            None if pushed.status.success() => Ok(commit),
            // The answer may have been lost.
            None => Err(failed(&pushed, Remedy::Unclear, &at)),
            Some(remedy) => Err(failed(&pushed, remedy, &at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_says_where_to_push() {
        let commits = GitCommits::new("a", "b")
            .pushing_to("https://src/", "ssh://x/")
            .pushing_to("https://src/modules/", "ssh://y/");
        assert_eq!(commits.address("https://src/modules/a"), "ssh://y/a");
        assert_eq!(commits.address("https://src/rpms/a"), "ssh://x/rpms/a");
        assert_eq!(commits.address("https://other/a"), "https://other/a");
    }

    #[test]
    fn what_would_be_an_option_is_refused() {
        let place = Place { repository: "r", branch: "b", marker: "m" };
        assert_eq!(checked(place).unwrap(), "git: r b");
        for wrong in [
            Place { repository: "--upload-pack=x", ..place },
            Place { repository: "", ..place },
            Place { branch: "-b", ..place },
            Place { branch: "", ..place },
            Place { marker: "", ..place },
            Place { marker: "a\nb", ..place },
            Place { marker: "a]", ..place },
        ] {
            assert_eq!(checked(wrong).unwrap_err().remedy, Remedy::Rejected);
        }
    }
}
