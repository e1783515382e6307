use super::fault::Fault;
use freshmaker::rebuild::{Failure, FailureClass};

/// Classes of failed tasks by the number of the fault and by words of its text; the first matching
/// row decides.
///
/// A failure of the recipe will repeat; a failure of the infrastructure may not. Without a match
/// the failure counts as one of the recipe (`Deterministic`), which costs at most one further try.
const TABLE: &[(Option<i64>, &[&str], FailureClass)] = &[
    // The builder or the hub failed under the task.
    (Some(1012), &[], FailureClass::Infrastructure),
    (Some(1014), &[], FailureClass::Infrastructure),
    (Some(1001), &[], FailureClass::Infrastructure),
    (Some(1009), &[], FailureClass::Infrastructure),
    (None, &["mock exited with status 20", "mock exited with status 30"], FailureClass::Infrastructure),
    (
        None,
        &["task was interrupted", "builder was restarted", "host restarted", "task is orphaned"],
        FailureClass::Interrupted,
    ),
    (None, &["was killed by signal", "killed by signal 9", "out of memory"], FailureClass::Infrastructure),
    (None, &["no space left on device", "read-only file system", "input/output error"], FailureClass::Infrastructure),
    (
        None,
        &[
            "timed out",
            "timeout",
            "connection refused",
            "connection reset",
            "connection aborted",
            "name resolution",
            "name or service not known",
            "network is unreachable",
            "no route to host",
            "connectionerror",
            "read timed out",
        ],
        FailureClass::Infrastructure,
    ),
    (
        None,
        &[
            "502 bad gateway",
            "503 service unavailable",
            "504 gateway",
            "bad gateway",
            "service unavailable",
            "gateway time-out",
            "toomanyrequests",
            "too many requests",
            "unexpected http status",
        ],
        FailureClass::Infrastructure,
    ),
    (
        None,
        &["error pulling image", "unable to pull", "failed to pull", "cannot download", "failed to download"],
        FailureClass::Infrastructure,
    ),
    // The request cannot succeed, however often it is repeated.
    (Some(1004), &[], FailureClass::Permanent),
    (Some(1019), &[], FailureClass::Permanent),
    (Some(1024), &[], FailureClass::Permanent),
    (
        None,
        &[
            "build already exists",
            "already exists, id ",
            "build already in progress",
            "target `",
            "invalid target",
            "no such build target",
            "unknown build target",
        ],
        FailureClass::Permanent,
    ),
    (None, &["not in list for tag", "is blocked for tag", "policy violation"], FailureClass::Permanent),
];

/// Returns the class and the text of a failed task.
pub(crate) fn failure(fault: &Fault) -> Failure {
    let text = fault.text.to_ascii_lowercase();
    let fits = |(code, words, _): &&(Option<i64>, &[&str], FailureClass)| {
        code.is_none_or(|code| code == fault.code) && (words.is_empty() || words.iter().any(|word| text.contains(word)))
    };
    let class = TABLE.iter().find(fits).map_or(FailureClass::Deterministic, |&(_, _, class)| class);
    Failure::new(class, fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_real_builders_are_sorted() {
        use FailureClass::{Deterministic, Infrastructure, Interrupted, Permanent};
        for (code, text, class) in [
            (2001, "BuildError: image build failed\nlast line", Deterministic),
            (
                1005,
                "BuildError: error building package (arch x86_64), mock exited with status 1; see build.log",
                Deterministic,
            ),
            (1005, "error building package (arch x86_64), mock exited with status 30; see root.log", Infrastructure),
            (1005, "error building package (arch s390x), mock exited with status 20; see root.log", Infrastructure),
            (1012, "could not init mock buildroot, mock exited with status 30", Infrastructure),
            (2001, "Image build failed. Error in plugin pull_base_image: read timed out", Infrastructure),
            (2001, "received unexpected HTTP status: 503 Service Unavailable", Infrastructure),
            (1000, "Build already exists (id=7, state=COMPLETE): {'name': 'x'}", Permanent),
            (2001, "Build already exists: base-40-3.1795601012 (id=234)", Permanent),
            (1005, "Build for base-40-3.1795601012 already exists, id 234", Permanent),
            (1005, "Target `f40-containers` not found", Permanent),
            (1005, "unknown build target: f40-containers", Permanent),
            (1005, "package (container)  base is blocked for tag f40-candidate", Permanent),
            (1004, "user is not allowed to build here", Permanent),
            (1005, "package foo not in list for tag f43-updates", Permanent),
            (1, "Traceback (most recent call last):", Deterministic),
            (2001, "task was interrupted", Interrupted),
        ] {
            let failure = failure(&Fault::new(code, text));
            assert_eq!(failure.class, class, "{code} {text}");
            assert!(!failure.text.contains('\n') && failure.text.contains(text.lines().next().unwrap()));
        }
    }
}
