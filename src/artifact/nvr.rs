use super::ArtifactId;
use super::evr::{Evr, TEXT_MAX, compare, is_part, read_epoch};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// Name, version and release of a build, as in `bash-5.1.8-6.el9_1`.
///
/// The text form is `name-version-release`, or `epoch:name-version-release`: Koji writes an epoch
/// before the name, as in `1:bash-5.1.8-6.el9_1`.
///
/// * Name: may contain dashes; not empty, no colon, no `/`, no white space, no control characters.
/// * Version and release: as in an [`Evr`], so without dashes.
/// * Epoch: digits only, at most 4294967295.
/// * Length of the whole text: at most 512 bytes.
///
/// An NVR is a name: `==`, `<` and the hash compare the written parts, so it can be a key. To find
/// out which of two builds is newer, compare with [`by_release`](Self::by_release), or compare
/// their [`evr`](Self::evr). In serde formats an NVR is its text. A clone costs one reference
/// count, and so does the [`ArtifactId`] with the same text.
///
/// ```
/// use freshmaker::Nvr;
///
/// let nvr: Nvr = "openssl-container-3.0-12".parse()?;
/// assert_eq!((nvr.name(), nvr.version(), nvr.release()), ("openssl-container", "3.0", "12"));
/// assert_eq!(nvr.rebuilt("1764000000")?.to_string(), "openssl-container-3.0-12.1764000000");
/// assert!(nvr.rebuilt("no-suffix").is_err());
///
/// let older: Nvr = "openssl-container-3.0-9".parse()?;
/// assert!(older.evr() < nvr.evr() && older > nvr);
/// assert_eq!([&nvr, &older].into_iter().max_by(|a, b| a.by_release(b)), Some(&nvr));
/// assert_eq!(freshmaker::ArtifactId::from(&nvr).as_str(), nvr.as_str());
/// # Ok::<(), freshmaker::artifact::NvrError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nvr {
    /// The canonical text: with the epoch, if there is one, as a number.
    text: Arc<str>,
    epoch: Option<u32>,
    /// Where the name, the version and the release begin in the text, in bytes.
    name_at: u16,
    version_at: u16,
    release_at: u16,
}

/// The parts of an NVR.
type Parts<'a> = (&'a str, &'a str, &'a str, Option<u32>);

/// Says that a text is not an [`Nvr`].
///
/// The message contains the first 120 characters of the text and the expected form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {form}")]
pub struct NvrError {
    text: String,
    form: &'static str,
}

impl Nvr {
    /// Returns the NVR of an RPM, given the name of its file: `bash-5.1.8-6.el9_1.x86_64`.
    ///
    /// The text may end with `.rpm`. An epoch may stand before the name, or before the version as
    /// RPM writes it: `bash-0:5.1.8-6.el9_1.src`. If both places have one, the epoch before the
    /// version counts.
    ///
    /// ```
    /// use freshmaker::Nvr;
    ///
    /// assert_eq!(Nvr::of_rpm("bash-5.1.8-6.el9_1.x86_64")?.to_string(), "bash-5.1.8-6.el9_1");
    /// let with_epoch = Nvr::of_rpm("bind-libs-32:9.16.23-1.el9.i686.rpm")?;
    /// assert_eq!(with_epoch.to_string(), "32:bind-libs-9.16.23-1.el9");
    /// # Ok::<(), freshmaker::artifact::NvrError>(())
    /// ```
    ///
    /// # Errors
    /// [`NvrError`] if the text has no architecture, or if the part before the architecture is not
    /// an NVR.
    pub fn of_rpm(text: &str) -> Result<Self, NvrError> {
        let error = || NvrError::new(text, "name-version-release.architecture");
        let (nvr, arch) = text.strip_suffix(".rpm").unwrap_or(text).rsplit_once('.').ok_or_else(error)?;
        let nvr: Self = nvr.parse().map_err(|_| error())?;
        if !is_part(arch) {
            return Err(error());
        }
        let Some((epoch, version)) = nvr.version().split_once(':') else { return Ok(nvr) };
        let epoch = read_epoch(epoch).ok_or_else(error)?;
        let version = Some(version).filter(|version| is_part(version)).ok_or_else(error)?;
        Ok(Self::of_parts((nvr.name(), version, nvr.release(), Some(epoch))))
    }

    /// The parts are valid, and together no longer than a `u16` can count.
    fn of_parts((name, version, release, epoch): Parts<'_>) -> Self {
        let mut text = String::with_capacity(name.len() + version.len() + release.len() + 13);
        if let Some(epoch) = epoch {
            // Writing to a string cannot fail.
            let _ = write!(text, "{epoch}:");
        }
        // Texts have at most `TEXT_MAX` bytes.
        let here = |text: &str| u16::try_from(text.len()).unwrap_or(u16::MAX);
        let name_at = here(&text);
        text.push_str(name);
        text.push('-');
        let version_at = here(&text);
        text.push_str(version);
        text.push('-');
        let release_at = here(&text);
        text.push_str(release);
        Self { text: text.into(), epoch, name_at, version_at, release_at }
    }

    /// Returns the parts in the order in which they are compared. Bytes have the order of the
    /// texts, and no ends of characters are looked for.
    fn bytes(&self) -> (&[u8], &[u8], &[u8], Option<u32>) {
        let text = self.text.as_bytes();
        let [name, version, release] = [self.name_at, self.version_at, self.release_at].map(usize::from);
        (&text[name..version - 1], &text[version..release - 1], &text[release..], self.epoch)
    }

    /// Returns the text, with the epoch if there is one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the name, which may contain dashes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[usize::from(self.name_at)..usize::from(self.version_at) - 1]
    }

    /// Returns the version as it was written.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.text[usize::from(self.version_at)..usize::from(self.release_at) - 1]
    }

    /// Returns the release as it was written.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.text[usize::from(self.release_at)..]
    }

    /// Returns the epoch, if the text has one.
    ///
    /// Most sources leave the epoch out even where the package has one, so `None` does not mean 0.
    #[must_use]
    pub fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    /// Returns the epoch, version and release for a comparison by RPM's rules; no epoch counts as
    /// 0.
    #[must_use]
    pub fn evr(&self) -> Evr {
        Evr::of_parts(self.epoch.unwrap_or(0), self.version(), self.release())
    }

    /// Compares two builds by name, then by release, the newer one being the greater one.
    ///
    /// The comparison goes by name (bytes), then by epoch (none counts as 0), then by version and
    /// release by RPM's rules. Where RPM sees no difference, the written text decides. So the order
    /// is total, and only equal NVRs compare as equal.
    #[must_use]
    pub fn by_release(&self, other: &Self) -> Ordering {
        self.name()
            .cmp(other.name())
            .then_with(|| self.epoch.unwrap_or(0).cmp(&other.epoch.unwrap_or(0)))
            .then_with(|| self.by_version_and_release(other))
            .then_with(|| self.cmp(other))
    }

    /// Compares version and release by RPM's rules, ignoring epoch and name.
    #[must_use]
    pub fn by_version_and_release(&self, other: &Self) -> Ordering {
        compare((self.version(), self.release()), (other.version(), other.release()))
    }

    /// Returns the NVR of a rebuild: the release up to its first dot, followed by `.suffix`, no
    /// epoch.
    ///
    /// The NVR of a rebuild of a rebuild therefore does not grow: `app-1-7.1764000000` rebuilt with
    /// the suffix `1764009999` is `app-1-7.1764009999`.
    ///
    /// # Errors
    /// [`NvrError`] if the result is not an NVR: the suffix is empty, has a character that no
    /// release may have, such as a dash or white space, or is too long.
    pub fn rebuilt(&self, suffix: &str) -> Result<Self, NvrError> {
        let stem = self.release().split('.').next().unwrap_or_default();
        let release = format!("{stem}.{suffix}");
        let length = self.name().len() + self.version().len() + release.len() + 2;
        if suffix.is_empty() || !is_part(&release) || length > TEXT_MAX {
            let text = format!("{}-{}-{release}", self.name(), self.version());
            return Err(NvrError::new(&text, "name-version-release with a suffix of the release"));
        }
        Ok(Self::of_parts((self.name(), self.version(), &release, None)))
    }

    /// Returns the NVR of which this one may be a rebuild: the release without its last dotted
    /// part.
    ///
    /// Returns `None` if the release has no dot, or nothing before its last dot. The epoch is kept.
    /// This looks at the form only: it cannot tell a rebuild from a release that simply has a dot
    /// in it.
    #[must_use]
    pub fn before_rebuild(&self) -> Option<Self> {
        let (stem, _) = self.release().rsplit_once('.')?;
        is_part(stem).then(|| Self::of_parts((self.name(), self.version(), stem, self.epoch)))
    }
}

impl NvrError {
    fn new(text: &str, form: &'static str) -> Self {
        Self { text: text.chars().take(120).collect(), form }
    }
}

impl PartialEq for Nvr {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Nvr {}

impl Hash for Nvr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for Nvr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Nvr {
    fn cmp(&self, other: &Self) -> Ordering {
        // What is found in a map is mostly a clone of its key.
        if Arc::ptr_eq(&self.text, &other.text) {
            return Ordering::Equal;
        }
        self.bytes().cmp(&other.bytes())
    }
}

impl fmt::Display for Nvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Nvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl FromStr for Nvr {
    type Err = NvrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NvrError::new(text, "name-version-release");
        let mut parts = text.rsplitn(3, '-');
        let (Some(release), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(error());
        };
        let (epoch, name) = name.split_once(':').unwrap_or(("", name));
        let epoch = if epoch.is_empty() { None } else { Some(read_epoch(epoch).ok_or_else(error)?) };
        let named = name.split('-').all(|part| part.is_empty() || is_part(part)) && !name.contains(':');
        if name.is_empty() || !named || !is_part(version) || !is_part(release) || text.len() > TEXT_MAX {
            return Err(error());
        }
        Ok(Self::of_parts((name, version, release, epoch)))
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
        nvr.as_str().to_owned()
    }
}

impl From<&Nvr> for ArtifactId {
    fn from(nvr: &Nvr) -> Self {
        Self::new(Arc::clone(&nvr.text))
    }
}

impl From<Nvr> for ArtifactId {
    fn from(nvr: Nvr) -> Self {
        Self::new(nvr.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_dashes_count() {
        let nvr: Nvr = "bash-5.1.8-6.el9_1".parse().unwrap();
        assert_eq!((nvr.name(), nvr.version(), nvr.release()), ("bash", "5.1.8", "6.el9_1"));
        assert_eq!(nvr.rebuilt("17").unwrap().to_string(), "bash-5.1.8-6.17");
    }

    #[test]
    fn a_suffix_is_one_of_a_release() {
        let nvr: Nvr = "app-1-7.1".parse().unwrap();
        for suffix in ["17", "el9_1", "1.2", "~rc^1"] {
            let rebuilt = nvr.rebuilt(suffix).unwrap();
            assert_eq!(rebuilt.to_string().parse(), Ok(rebuilt), "{suffix}");
        }
        for suffix in ["", "1-2", "1 2", "a/b", "1\n", &"9".repeat(TEXT_MAX)] {
            assert!(nvr.rebuilt(suffix).is_err(), "{suffix:?}");
        }
    }

    #[test]
    fn what_is_not_an_nvr_is_refused() {
        for text in [
            "",
            "bash",
            "bash-5",
            "-5-6",
            "bash--6",
            "bash-5-",
            "a b-1-2",
            "a/b-1-2",
            "x:a-1-2",
            "1:b:a-1-2",
            "1:-1-2",
            "+1:a-1-2",
        ] {
            assert!(text.parse::<Nvr>().is_err(), "{text:?}");
        }
        for text in ["", "bash-5-6", "bash-5-.x86_64", "bash-5.x86_64", "bash-a:5-6.src", "bash-0:-6.src", "bash-5-6."]
        {
            assert!(Nvr::of_rpm(text).is_err(), "{text:?}");
        }
        let error = Nvr::of_rpm("bash-5-6").unwrap_err().to_string();
        assert_eq!(error, "\"bash-5-6\" is not name-version-release.architecture");
    }

    #[test]
    fn an_epoch_is_kept_but_not_given_to_a_rebuild() {
        let nvr: Nvr = "1:foo-1-2.el9".parse().unwrap();
        assert_eq!((nvr.epoch(), nvr.name(), nvr.to_string().as_str()), (Some(1), "foo", "1:foo-1-2.el9"));
        assert_eq!(
            (nvr.evr().to_string(), nvr.rebuilt("17").unwrap().to_string()),
            ("1:1-2.el9".into(), "foo-1-2.17".into())
        );
        let zero: Nvr = "0:foo-1-2".parse().unwrap();
        let none: Nvr = ":foo-1-2".parse().unwrap();
        assert!(zero != none && zero.evr() == none.evr() && none.to_string() == "foo-1-2");
    }
}
