use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Name, version and release of a build: `bash-5.1.8-6.el9_1`.
///
/// The name may contain dashes, version and release may not.
///
/// ```
/// use freshmaker::Nvr;
///
/// let nvr: Nvr = "openssl-container-3.0-12".parse()?;
/// assert_eq!((nvr.name(), nvr.version(), nvr.release()), ("openssl-container", "3.0", "12"));
/// assert_eq!(nvr.rebuilt("1764000000").to_string(), "openssl-container-3.0-12.1764000000");
/// # Ok::<(), freshmaker::artifact::NvrError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nvr {
    name: String,
    version: String,
    release: String,
}

/// A text is not an NVR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not name-version-release")]
pub struct NvrError {
    text: String,
}

impl Nvr {
    /// The name, which may contain dashes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The release.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The NVR of a rebuild: the release up to its first dot, followed by `.suffix`.
    #[must_use]
    pub fn rebuilt(&self, suffix: &str) -> Self {
        let stem = self.release.split('.').next().unwrap_or_default();
        Self { release: format!("{stem}.{suffix}"), ..self.clone() }
    }
}

impl fmt::Display for Nvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.name, self.version, self.release)
    }
}

impl FromStr for Nvr {
    type Err = NvrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(3, '-');
        let release = parts.next().filter(|part| !part.is_empty());
        let version = parts.next().filter(|part| !part.is_empty());
        let name = parts.next().filter(|part| !part.is_empty());
        match (name, version, release) {
            (Some(name), Some(version), Some(release))
                if text.len() <= 512 && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') =>
            {
                Ok(Self { name: name.to_owned(), version: version.to_owned(), release: release.to_owned() })
            }
            _ => Err(NvrError { text: text.chars().take(120).collect() }),
        }
    }
}

impl TryFrom<String> for Nvr {
    type Error = NvrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Nvr> for String {
    fn from(nvr: Nvr) -> Self {
        nvr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_dashes_count() {
        let nvr: Nvr = "bash-5.1.8-6.el9_1".parse().unwrap();
        assert_eq!((nvr.name(), nvr.version(), nvr.release()), ("bash", "5.1.8", "6.el9_1"));
        assert_eq!(nvr.rebuilt("17").to_string(), "bash-5.1.8-6.17");
    }

    #[test]
    fn what_is_not_an_nvr_is_refused() {
        for text in ["", "bash", "bash-5", "-5-6", "bash--6", "bash-5-", "a b-1-2", "a/b-1-2"] {
            assert!(text.parse::<Nvr>().is_err(), "{text:?}");
        }
    }
}
