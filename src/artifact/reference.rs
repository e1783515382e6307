use super::{ArtifactId, Digest};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of a container image, completed as container tools do.
///
/// `debian` becomes `docker.io/library/debian:latest`. The text form is
/// `registry/repository:tag@digest`, where everything but the repository may be missing:
///
/// * Registry: `docker.io` if it is missing. The part before the first slash is a registry if it
///   has a dot, a colon or an upper-case letter, or is `localhost`. `index.docker.io` becomes
///   `docker.io`.
/// * Repository: lower-case letters and digits, in components separated by slashes; at most 255
///   bytes. On `docker.io`, a repository without a slash gets `library/` before it.
/// * Tag: 1 to 128 of `a-z`, `A-Z`, `0-9`, `_`, `.` and `-`, not beginning with `.` or `-`. If
///   there is neither a tag nor a digest, the tag is `latest`. A tag next to a digest is kept.
/// * Digest: 64, 96 or 128 hexadecimal digits for `sha256`, `sha384` and `sha512`, at least 32 for
///   other algorithms.
///
/// Two texts that mean the same image parse to equal values. [`Display`](fmt::Display) writes the
/// canonical text, [`familiar`](Self::familiar) the short one. In serde formats a reference is its
/// canonical text; any valid text is accepted.
///
/// ```
/// use freshmaker::artifact::ImageReference;
///
/// let image: ImageReference = "debian:12".parse()?;
/// assert_eq!(image.to_string(), "docker.io/library/debian:12");
/// assert_eq!(image.familiar(), "debian:12");
/// assert_eq!((image.registry(), image.repository()), ("docker.io", "library/debian"));
/// assert_eq!(image.tag(), Some("12"));
/// assert!("Debian:12".parse::<ImageReference>().is_err());
/// # Ok::<(), freshmaker::artifact::ReferenceError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Says that a text is not the name of an image, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image name: {fault}")]
pub struct ReferenceError {
    /// The text, cut after 120 characters.
    pub text: String,
    /// What is wrong with the text.
    pub fault: ReferenceFault,
}

/// The rule that an image name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceFault {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// The text is 64 hexadecimal digits. Container tools name an image like this by its content,
    /// without a repository, so it cannot be looked up in a registry.
    #[error("it is the identifier of an image, not a name")]
    Identifier,
    /// The registry is not a host name or address with an optional port.
    #[error("the registry must be a host name or address, with a port perhaps")]
    Registry,
    /// The repository has upper-case letters.
    #[error("the repository must be in lower case")]
    UpperCase,
    /// The repository has a character or a separator that is not allowed there.
    #[error("the repository must be made of a-z and 0-9, separated by /, -, _, __ or .")]
    Repository,
    /// The repository is longer than [`REPOSITORY_MAX`](ImageReference::REPOSITORY_MAX) bytes.
    #[error("the repository is longer than {} characters", ImageReference::REPOSITORY_MAX)]
    TooLong,
    /// The tag is empty, longer than 128 characters, or has a character that is not allowed there.
    #[error("the tag must be 1 to 128 of a-z, A-Z, 0-9, _, . and -, and not begin with . or -")]
    Tag,
    /// The digest has a wrong form, or not the length that its algorithm has.
    #[error("the digest must be algorithm:hexadecimal of full length")]
    Digest,
}

const DEFAULT_REGISTRY: &str = "docker.io";
const LEGACY_REGISTRY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const TAG_MAX: usize = 128;

impl ImageReference {
    /// The longest repository in bytes, without the registry.
    pub const REPOSITORY_MAX: usize = 255;

    /// Returns the registry: a host name or address, with a port if one was written.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository within the registry, as in `library/debian`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag; `None` only if there is a digest and no tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if the name pins the content.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the name without its digest, so that it follows new content.
    ///
    /// The tag is kept; if there is none, it is `latest`.
    ///
    /// ```
    /// use freshmaker::artifact::ImageReference;
    ///
    /// let pinned: ImageReference = format!("debian:12@sha256:{}", "0".repeat(64)).parse()?;
    /// assert_eq!(pinned.without_digest().to_string(), "docker.io/library/debian:12");
    /// # Ok::<(), freshmaker::artifact::ReferenceError>(())
    /// ```
    #[must_use]
    pub fn without_digest(&self) -> Self {
        let tag = self.tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned());
        Self { tag: Some(tag), digest: None, ..self.clone() }
    }

    /// Returns the short text that people write, without `docker.io/` and `library/`.
    ///
    /// Where the short text would mean another image, these parts are kept.
    #[must_use]
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        let Some(short) = text.strip_prefix("docker.io/") else { return text };
        let short = short.strip_prefix(OFFICIAL).unwrap_or(short);
        if short.parse::<Self>().as_ref() == Ok(self) { short.to_owned() } else { text }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|fault| ReferenceError { text: text.chars().take(120).collect(), fault })
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

impl From<&ImageReference> for ArtifactId {
    fn from(reference: &ImageReference) -> Self {
        Self::new(reference.to_string())
    }
}

fn parse(text: &str) -> Result<ImageReference, ReferenceFault> {
    if text.is_empty() {
        return Err(ReferenceFault::Empty);
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(ReferenceFault::Identifier);
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(parse_digest(digest)?)),
        None => (text, None),
    };
    let (registry, rest) = split_registry(name);
    if !is_registry(registry) {
        return Err(ReferenceFault::Registry);
    }
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
        Some(_) => return Err(ReferenceFault::Tag),
        None => (rest, digest.is_none().then(|| DEFAULT_TAG.to_owned())),
    };
    let registry = if registry == LEGACY_REGISTRY { DEFAULT_REGISTRY } else { registry };
    let official = registry == DEFAULT_REGISTRY && !path.contains('/');
    let repository = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceFault::UpperCase);
    }
    if !path.split('/').all(is_path_component) {
        return Err(ReferenceFault::Repository);
    }
    if repository.len() > ImageReference::REPOSITORY_MAX {
        return Err(ReferenceFault::TooLong);
    }
    Ok(ImageReference { registry: registry.to_owned(), repository, tag, digest })
}

/// Splits the registry from the rest. The part before the first slash is a registry only if it
/// cannot be part of a repository, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(text: &str) -> bool {
    let address_end = text.starts_with('[').then(|| text.find(']')).flatten();
    let (host, port) = match address_end {
        Some(end) => match (&text[1..end], &text[end + 1..]) {
            (address, "") => (address, None),
            (address, rest) => match rest.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None => return false,
            },
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let host_is_valid = if address_end.is_some() {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
    } else {
        host.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    host_is_valid && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns whether a text is a component of a repository: letters and digits, separated by one `.`,
/// one or two `_`, or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_are_plain = bytes.first().is_some_and(|&b| plain(b)) && bytes.last().is_some_and(|&b| plain(b));
    ends_are_plain
        && text
            .split(|c: char| u8::try_from(c).is_ok_and(plain))
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn parse_digest(text: &str) -> Result<Digest, ReferenceFault> {
    let (algorithm, hex) = text.split_once(':').ok_or(ReferenceFault::Digest)?;
    let length_is_right = match algorithm {
        "sha256" => hex.len() == 64,
        "sha384" => hex.len() == 96,
        "sha512" => hex.len() == 128,
        _ => hex.len() >= 32,
    };
    let algorithm_is_valid = algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    if length_is_right && algorithm_is_valid {
        text.parse().map_err(|_| ReferenceFault::Digest)
    } else {
        Err(ReferenceFault::Digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert_eq, proptest};

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_completed() {
        for (text, canonical, familiar) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("library/debian:12", "docker.io/library/debian:12", "debian:12"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("docker.io/user/app:1", "docker.io/user/app:1", "user/app:1"),
            ("index.docker.io/debian:12", "docker.io/library/debian:12", "debian:12"),
            ("index.docker.io/library/debian:12", "docker.io/library/debian:12", "debian:12"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "docker.io/library/a/b:latest"),
            ("docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
            ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
            ("127.0.0.1:80/a/b/c", "127.0.0.1:80/a/b/c:latest", "127.0.0.1:80/a/b/c:latest"),
            ("[2001:db8::1]/x:1", "[2001:db8::1]/x:1", "[2001:db8::1]/x:1"),
            ("[2001:db8::1]:5000/x:1", "[2001:db8::1]:5000/x:1", "[2001:db8::1]:5000/x:1"),
            (
                "registry.example.com/a/b:V1.0_x-y",
                "registry.example.com/a/b:V1.0_x-y",
                "registry.example.com/a/b:V1.0_x-y",
            ),
            ("Team/app", "Team/app:latest", "Team/app:latest"),
            ("a/b__c/d--e/f.g", "docker.io/a/b__c/d--e/f.g:latest", "a/b__c/d--e/f.g:latest"),
            ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), canonical, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(canonical.parse::<ImageReference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn digests_stay_with_their_tags() {
        for (text, canonical, followed) in [
            ("debian@D", "docker.io/library/debian@D", "docker.io/library/debian:latest"),
            ("debian:12@D", "docker.io/library/debian:12@D", "docker.io/library/debian:12"),
            ("registry.example.com/a/b@D", "registry.example.com/a/b@D", "registry.example.com/a/b:latest"),
            ("localhost:5000/a:x@D", "localhost:5000/a:x@D", "localhost:5000/a:x"),
        ] {
            let digest = format!("sha256:{HEX}");
            let reference: ImageReference = text.replace('D', &digest).parse().unwrap();
            assert_eq!(reference.to_string(), canonical.replace('D', &digest), "{text}");
            assert_eq!(reference.without_digest().to_string(), followed, "{text}");
            assert_eq!(reference.digest().unwrap().as_str(), digest);
            assert_eq!(reference.tag().is_some(), text.contains(":12") || text.contains(":x"), "{text}");
        }
        for valid in [format!("x@sha512:{HEX}{HEX}"), format!("x@blake3+b64:{HEX}")] {
            assert!(valid.parse::<ImageReference>().is_ok(), "{valid}");
        }
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for (text, fault) in [
            ("", ReferenceFault::Empty),
            (HEX, ReferenceFault::Identifier),
            ("Debian", ReferenceFault::UpperCase),
            ("user/App", ReferenceFault::UpperCase),
            ("a.b/C:1", ReferenceFault::UpperCase),
            (":1", ReferenceFault::Repository),
            ("a b", ReferenceFault::Repository),
            ("a//b", ReferenceFault::Repository),
            ("/a", ReferenceFault::Repository),
            ("a/", ReferenceFault::Repository),
            ("localhost/", ReferenceFault::Repository),
            ("a___b", ReferenceFault::Repository),
            ("a..b", ReferenceFault::Repository),
            ("a._b", ReferenceFault::Repository),
            ("-a", ReferenceFault::Repository),
            ("a-", ReferenceFault::Repository),
            ("dé", ReferenceFault::Repository),
            ("$BASE", ReferenceFault::UpperCase),
            ("https://registry/x", ReferenceFault::Registry),
            ("-a.b/x", ReferenceFault::Registry),
            ("a..b/x", ReferenceFault::Registry),
            ("a:/x", ReferenceFault::Registry),
            ("a:b/x", ReferenceFault::Registry),
            ("[::1/x", ReferenceFault::Registry),
            ("[::1]x/y", ReferenceFault::Registry),
            ("a:", ReferenceFault::Tag),
            ("a:.b", ReferenceFault::Tag),
            ("a:-b", ReferenceFault::Tag),
            ("a:b:c", ReferenceFault::Tag),
            ("a:b/c", ReferenceFault::Registry),
            ("a/b:c/d", ReferenceFault::Tag),
            ("a@", ReferenceFault::Digest),
            ("a@sha256", ReferenceFault::Digest),
            ("a@sha256:abc", ReferenceFault::Digest),
            ("a@x:0123", ReferenceFault::Digest),
        ] {
            assert_eq!(text.parse::<ImageReference>().unwrap_err().fault, fault, "{text:?}");
        }
        let upper = format!("a@sha256:{}", HEX.to_uppercase());
        assert_eq!(upper.parse::<ImageReference>().unwrap_err().fault, ReferenceFault::Digest);
    }

    #[test]
    fn lengths_are_limited() {
        let tag = "t".repeat(TAG_MAX);
        assert!(format!("a:{tag}").parse::<ImageReference>().is_ok());
        assert!(format!("a:{tag}t").parse::<ImageReference>().is_err());
        let path = "p".repeat(ImageReference::REPOSITORY_MAX);
        assert!(format!("localhost/{path}").parse::<ImageReference>().is_ok());
        let error = format!("localhost/{path}p").parse::<ImageReference>().unwrap_err();
        assert_eq!(error.fault, ReferenceFault::TooLong);
        assert!(error.text.len() <= 120);
    }

    fn likely() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a",
            "b0",
            ".",
            "_",
            "-",
            "/",
            ":",
            "@",
            "localhost",
            "docker.io",
            "library",
            "index.docker.io",
            "sha256:",
            HEX,
            "A",
            "é",
            "[",
            "]",
            "5000",
        ]);
        prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn canonical_and_familiar_texts_mean_the_same(text in likely()) {
            if let Ok(reference) = text.parse::<ImageReference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
                prop_assert_eq!(reference.familiar().parse(), Ok(reference));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<ImageReference>();
        }
    }
}
