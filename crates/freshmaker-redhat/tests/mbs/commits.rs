//! Commits by `git`, in repositories on disk.

use freshmaker::backend::Remedy;
use freshmaker_redhat::mbs::{Commits, GitCommits, Place};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args(arguments);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "maintainer").env(format!("GIT_{who}_EMAIL"), "m@example.com");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with the branch `5.26`, and one commit.
fn repository(directory: &Path) -> String {
    let (work, bare) = (directory.join("work"), directory.join("perl"));
    std::fs::create_dir(&work).unwrap();
    git(&work, &["init", "--quiet", "--initial-branch", "5.26"]);
    std::fs::write(work.join("perl.yaml"), "document: modulemd\n").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "first"]);
    git(directory, &["clone", "--quiet", "--bare", "work", "perl"]);
    format!("file://{}", bare.display())
}

fn place(marker: &str) -> Place<'_> {
    Place::new("https://src.example.com/modules/perl", "5.26", marker)
}

#[tokio::test]
async fn a_commit_is_made_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let address = repository(directory.path());
    let commits = GitCommits::new("freshmaker", "freshmaker@example.com")
        .pushing_to("https://src.example.com/modules/perl", &address);
    assert_eq!(commits.find(place("one")).await.unwrap(), None);
    let first = commits.add(place("one")).await.unwrap();
    assert_eq!(commits.add(place("one")).await.unwrap(), first, "the marker is known");
    let second = commits.add(place("two")).await.unwrap();
    assert_ne!(first, second);
    for (marker, commit) in
        [("one", Some(&first)), ("two", Some(&second)), ("on.", None), ("on", None), ("three", None)]
    {
        assert_eq!(commits.find(place(marker)).await.unwrap().as_ref(), commit, "{marker}");
    }
    let bare = directory.path().join("perl");
    assert_eq!(git(&bare, &["rev-list", "--count", "5.26"]), "3");
    assert_eq!(git(&bare, &["rev-parse", "5.26"]), second);
    assert_eq!(git(&bare, &["diff", "--stat", &format!("{second}~2"), &second]), "", "nothing is changed");
    assert_eq!(git(&bare, &["log", "-1", "--format=%an %ae", "5.26"]), "freshmaker freshmaker@example.com");
}

#[tokio::test]
async fn what_git_cannot_do_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let address = repository(directory.path());
    let commits = GitCommits::new("f", "f@example.com").pushing_to("https://src.example.com/modules/perl", &address);
    // A hook that refuses, as a repository does to users without the right to push.
    let hook = directory.path().join("perl/hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho 'not permitted' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = commits.add(place("one")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::NotNow, "{error}");
    assert!(error.text.contains("not permitted"), "{error}");
    assert_eq!(error.place, "git: https://src.example.com/modules/perl 5.26");
    assert_eq!(commits.find(place("one")).await.unwrap(), None);
    // A repository that breaks off while it is pushed to.
    std::fs::write(&hook, "#!/bin/sh\nkill -9 $PPID\n").unwrap();
    let error = commits.add(place("one")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unclear, "{error}");

    let other = Place::new("https://src.example.com/modules/perl", "5.28", "one");
    let error = commits.add(other).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable, "nothing was pushed: {error}");
    let missing = commits.clone().with_program("/nonexistent/git");
    assert_eq!(missing.find(place("one")).await.unwrap_err().remedy, Remedy::Unavailable);
    // A program that never ends is killed.
    let program = directory.path().join("hangs");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hanging = commits.with_program(&program).with_timeout(Duration::from_millis(100));
    let error = hanging.find(place("one")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert!(error.text.contains("no end of `git`"), "{error}");
}
