use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Longest text of a version or an NVR that is read, in bytes; real ones have less than a hundred.
pub(super) const TEXT_MAX: usize = 512;

/// Epoch, version and release of a package, compared as RPM compares them.
///
/// The text form is `version-release`, with `epoch:` before it if the epoch is not 0; a missing
/// epoch means 0.
///
/// * Epoch: digits only, at most 4294967295. A colon after anything but digits is part of the
///   version, as in RPM.
/// * Version and release: not empty; no white space, no control characters, no `/` and no `-`.
/// * Length of the whole text: at most 512 bytes.
///
/// Two values are equal if RPM sees no difference between them, however they are written: `1.01-1`
/// equals `1.1-1`. Equality, order and hash agree, so a map holds only one of these two.
/// [`to_string`](ToString::to_string) keeps the version and the release as they were written. In
/// serde formats an EVR is its text.
///
/// RPM's order compares segments of digits as numbers and segments of letters as text. A `~` sorts
/// before everything, even before the end of the text, and a `^` sorts after the end:
///
/// ```
/// use freshmaker::artifact::Evr;
///
/// let evr = |text: &str| text.parse::<Evr>();
/// assert!(evr("1.10-1")? > evr("1.9-3")?);
/// assert!(evr("1.0~rc1-1")? < evr("1.0-1")? && evr("1.0-1")? < evr("1.0^git1-1")?);
/// assert!(evr("1:0.1-1")? > evr("8.0-1")?);
/// assert_eq!(evr("0:1.01-1")?, evr("1.1-1")?);
/// assert_eq!(evr("1:2.0-3.el9")?.to_string(), "1:2.0-3.el9");
/// # Ok::<(), freshmaker::artifact::EvrError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Evr {
    epoch: u32,
    version: String,
    release: String,
}

/// Says that a text is not an [`Evr`].
///
/// The message contains the first 120 characters of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not version-release or epoch:version-release")]
pub struct EvrError {
    text: String,
}

impl Evr {
    /// Makes an EVR from parts that [`is_part`] has checked.
    pub(super) fn of_parts(epoch: u32, version: &str, release: &str) -> Self {
        Self { epoch, version: version.to_owned(), release: release.to_owned() }
    }

    /// Returns the epoch, 0 if the text has none.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Returns the version as it was written.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the release as it was written.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }
}

/// Returns whether a text can be a version or a release: it is not empty and has no dash (which
/// separates the two), no slash, no white space and no control character.
pub(super) fn is_part(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '-'))
}

/// Reads an epoch: digits only, no sign, at most what RPM can store (32 bits).
pub(super) fn read_epoch(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Compares two pairs of version and release by RPM's rules.
pub(super) fn compare(one: (&str, &str), other: (&str, &str)) -> Ordering {
    rpm_version::Evr::new("", one.0, one.1).cmp(&rpm_version::Evr::new("", other.0, other.1))
}

impl Ord for Evr {
    fn cmp(&self, other: &Self) -> Ordering {
        let later = || compare((&self.version, &self.release), (&other.version, &other.release));
        self.epoch.cmp(&other.epoch).then_with(later)
    }
}

impl PartialOrd for Evr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Evr {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Evr {}

impl Hash for Evr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.epoch.hash(state);
        // The sort key has only what the comparison uses, so equal values have equal hashes.
        rpm_version::Evr::new("", self.version.as_str(), self.release.as_str()).sortkey().hash(state);
    }
}

impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Koji allows a colon in a version. The text before that colon must not be read as the
        // epoch.
        if self.epoch != 0 || self.version.contains(':') {
            write!(f, "{}:", self.epoch)?;
        }
        write!(f, "{}-{}", self.version, self.release)
    }
}

impl FromStr for Evr {
    type Err = EvrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || EvrError { text: text.chars().take(120).collect() };
        // As in RPM, only digits before a colon are an epoch.
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
            _ => ("", text),
        };
        let epoch = if epoch.is_empty() { 0 } else { read_epoch(epoch).ok_or_else(error)? };
        match rest.split_once('-') {
            Some((version, release)) if text.len() <= TEXT_MAX && is_part(version) && is_part(release) => {
                Ok(Self::of_parts(epoch, version, release))
            }
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Evr {
    type Error = EvrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Evr> for String {
    fn from(evr: Evr) -> Self {
        evr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_evr_is_refused() {
        for text in ["", "1", "1-", "-1", "1-2-3", "4294967296:1-2", "1 -2", "1-2/3", "1:", "1:-", &"9".repeat(600)] {
            assert!(text.parse::<Evr>().is_err(), "{text:?}");
        }
        let error = serde_json::from_str::<Evr>("\"nothing\"").unwrap_err().to_string();
        assert!(error.starts_with("\"nothing\" is not version-release"), "{error}");
    }

    #[test]
    fn only_digits_before_a_colon_are_an_epoch() {
        for (text, epoch, version, shown) in [
            ("1-2", 0, "1", "1-2"),
            (":1-2", 0, "1", "1-2"),
            ("0:1-2", 0, "1", "1-2"),
            ("007:1-2", 7, "1", "7:1-2"),
            ("a:1-2", 0, "a:1", "0:a:1-2"),
            ("0:5:3-2", 0, "5:3", "0:5:3-2"),
            ("1-2:3", 0, "1", "1-2:3"),
        ] {
            let evr: Evr = text.parse().unwrap();
            assert_eq!((evr.epoch(), evr.version(), evr.to_string().as_str()), (epoch, version, shown), "{text}");
        }
    }
}
