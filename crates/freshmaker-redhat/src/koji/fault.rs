use freshmaker::backend::{Error, Remedy};
use freshmaker_net::Call;
use std::fmt;

/// An error that a method of the hub raised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Koji's number of the error.
    pub code: i64,
    /// Koji's name of that number, such as `ActionNotAllowed`.
    pub name: &'static str,
    /// One line that says what happened, at most 300 characters.
    pub text: String,
}

impl Fault {
    pub(crate) const AUTH_EXPIRED: i64 = 1007;

    /// Creates a fault with this number. Keeps the first line of `text`, or the last line of a
    /// traceback, at most 300 characters, without the `user:password@` of URLs.
    pub fn new(code: i64, text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        let line = if first.starts_with("Traceback") { lines.next_back().unwrap_or(first) } else { first };
        Self { code, name: name(code), text: brief(&without_credentials(line)).to_owned() }
    }

    /// Returns the remedy for a request that raised this fault.
    pub(crate) fn remedy(&self, call: Call) -> Remedy {
        match (self.code, call) {
            // An offline hub raises it before any method runs.
            (1014, _) => Remedy::Unavailable,
            (1002 | 1006 | 1007 | 1008 | 1009, Call::Read) | (1 | 1001, Call::Read) => Remedy::Unavailable,
            // The hub did nothing for this request. But it may have done it for an earlier copy of
            // the same request, or the session is not in the expected state.
            (1002 | 1006 | 1007 | 1008 | 1009, Call::Write) => Remedy::Unclear,
            // An unexpected error of the hub, raised at an unknown point of the method.
            (1, Call::Write) => Remedy::Unclear,
            (1000, Call::Read) if self.says(&["no such", "no matching", "could not find"]) => Remedy::NotFound,
            (1004 | 1013, Call::Read) => Remedy::Unsupported,
            (_, Call::Read) => Remedy::Rejected,
            (1001, Call::Write) => Remedy::NotNow,
            (_, Call::Write) if self.passes() => Remedy::NotNow,
            (_, Call::Write) => Remedy::Rejected,
        }
    }

    /// Returns whether this is the hub's answer to a logout from a session that belongs to another
    /// user or no longer exists. The hub raises "query returned no rows" in that case, because it
    /// queries the session before it checks the permission.
    pub(crate) fn denies_session(&self) -> bool {
        match self.code {
            1000 => self.says(&["query returned no rows"]),
            1004 => self.says(&["logout other session"]),
            _ => false,
        }
    }

    /// Returns whether this fault is about the present state of the hub and not about the request,
    /// so that a later try may succeed.
    fn passes(&self) -> bool {
        self.code != 1019
            && self.says(&[
                "disabled",
                "locked",
                "quota",
                "too many",
                "policy violation",
                "no such channel",
                "not ready",
            ])
    }

    fn says(&self, words: &[&str]) -> bool {
        let text = self.text.to_ascii_lowercase();
        words.iter().any(|word| text.contains(word))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.code, self.text)
    }
}

impl std::error::Error for Fault {}

/// Why a call returned no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The method raised an error.
    Fault(Fault),
    /// There was no answer, or it could not be parsed.
    Failed(Error),
}

impl CallError {
    pub(crate) fn into_error(self, call: Call, place: &str) -> Error {
        match self {
            Self::Fault(fault) => Error::new(fault.remedy(call), place, fault),
            Self::Failed(error) => error,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

/// Returns the line without the `user:password@` of its URLs.
fn without_credentials(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        text.push_str(before);
        let host =
            after.find(|c: char| matches!(c, '/' | '?' | '#' | '"' | '\'') || c.is_whitespace()).unwrap_or(after.len());
        rest = after[..host].rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    text.push_str(rest);
    text
}

/// Returns at most 300 characters of a line; the hub may quote long texts.
fn brief(line: &str) -> &str {
    let end = line.char_indices().nth(300).map_or(line.len(), |(at, _)| at);
    &line[..end]
}

fn name(code: i64) -> &'static str {
    match code {
        1000 => "GenericError",
        1001 => "LockError",
        1002 => "AuthError",
        1003 => "TagError",
        1004 => "ActionNotAllowed",
        1005 => "BuildError",
        1006 => "AuthLockError",
        1007 => "AuthExpired",
        1008 => "SequenceError",
        1009 => "RetryError",
        1010 => "PreBuildError",
        1011 => "PostBuildError",
        1012 => "BuildrootError",
        1013 => "FunctionDeprecated",
        1014 => "ServerOffline",
        1015 => "LiveCDError",
        1016 => "PluginError",
        1017 => "CallbackError",
        1018 => "ApplianceError",
        1019 => "ParameterError",
        1020 => "ImportError",
        1021 => "ConfigurationError",
        1022 => "LiveMediaError",
        1023 => "GSSAPIAuthError",
        1024 => "NameValidationError",
        2001 => "ContainerBuildError",
        1 => "Exception",
        _ => "Fault",
    }
}
