use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Longest text of a version or an NVR that is read; real ones have less than a hundred bytes.
pub(super) const TEXT_MAX: usize = 512;

/// Epoch, version and release of a package, compared as RPM compares them.
///
/// The text form is `version-release`, with `epoch:` before it if the epoch is not 0; no epoch means 0. Two values are equal if RPM
/// takes them for the same, however they are written: equality, order and hash agree, and a map holds `1.01-1` and `1.1-1` once.
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

/// A text is not an EVR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not version-release or epoch:version-release")]
pub struct EvrError {
    text: String,
}

impl Evr {
    /// Parts that were checked by [`is_part`].
    pub(super) fn of_parts(epoch: u32, version: &str, release: &str) -> Self {
        Self { epoch, version: version.to_owned(), release: release.to_owned() }
    }

    /// The epoch, 0 if none was written.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The version as it was written.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The release as it was written.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }
}

/// Whether a text can be a version or a release: not empty, no dash (which separates them), nothing that does not belong into a name.
pub(super) fn is_part(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '-'))
}

/// An epoch: digits only, no sign, at most what RPM can store.
pub(super) fn read_epoch(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// RPM's order of version and release.
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
        // The sort key has only what the comparison sees, so equal values have equal keys.
        rpm_version::Evr::new("", self.version.as_str(), self.release.as_str()).sortkey().hash(state);
    }
}

impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Koji allows a colon in a version, and what stands before it must not be read as the epoch.
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
