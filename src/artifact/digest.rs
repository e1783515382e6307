use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Identifies content by its hash, written as `algorithm:hexadecimal`, for example `sha256:4f2c…`.
///
/// Two outputs with the same digest are the same output. The engine uses this for early cutoff: a
/// build whose inputs have the digests of its last output's inputs need not run.
///
/// [`of`](Self::of) and [`of_parts`](Self::of_parts) always make SHA-256. A digest that is parsed
/// may use any algorithm name, because registries do. The parser checks the form and not the length
/// of the hexadecimal part: it does not know every algorithm.
/// [`ImageReference`](super::ImageReference) checks the length as well.
///
/// * Algorithm: at least one of `a-z`, `0-9`, `+`, `.`, `_` and `-`.
/// * Hexadecimal part: at least one of `0-9` and `a-f`. Upper case is refused.
/// * Length of the whole text: at most 256 bytes.
///
/// In serde formats a digest is its text. Order and equality are those of the text.
///
/// ```
/// use freshmaker::artifact::Digest;
///
/// let digest: Digest = "sha256:ab01".parse()?;
/// assert_eq!(digest.to_string(), "sha256:ab01");
/// assert!("debian:bookworm".parse::<Digest>().is_err());
/// # Ok::<(), freshmaker::artifact::DigestError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Says that a text is not a [`Digest`].
///
/// The message contains the first 80 characters of the text and an example of the expected form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a digest: expected algorithm:hexadecimal, such as sha256:4f2c…")]
pub struct DigestError {
    text: String,
}

impl Digest {
    /// Returns the SHA-256 of some bytes, the same value as `sha256sum` prints, with `sha256:`
    /// before it.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::sha256(Sha256::new().chain_update(bytes))
    }

    /// Returns the SHA-256 of several byte strings, each preceded by its length (8 bytes,
    /// big-endian).
    ///
    /// Because of the lengths, moving a border between two parts changes the digest: the parts
    /// `"ab", "c"` and the parts `"a", "bc"` have different digests. No parts at all have a digest
    /// too.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self::sha256(hash)
    }

    /// Returns a SHA-256 that was computed piece by piece.
    pub(crate) fn sha256(hash: Sha256) -> Self {
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash.finalize() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        Self(text)
    }

    /// Returns the whole text, including the algorithm and the colon.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first twelve hexadecimal digits, without the algorithm, for display.
    ///
    /// A shorter digest is returned whole. Do not compare digests by this text: two different ones
    /// may begin with the same twelve digits.
    #[must_use]
    pub fn short(&self) -> &str {
        let hex = self.0.split_once(':').map_or(self.0.as_str(), |(_, hex)| hex);
        &hex[..hex.len().min(12)]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() <= 256
            && text.split_once(':').is_some_and(|(algorithm, hex)| {
                !algorithm.is_empty()
                    && algorithm.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b))
                    && !hex.is_empty()
                    && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            });
        if valid { Ok(Self(text.to_owned())) } else { Err(DigestError { text: text.chars().take(80).collect() }) }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_between_parts_count() {
        assert_ne!(Digest::of_parts([&b"ab"[..], b"c"]), Digest::of_parts([&b"a"[..], b"bc"]));
    }

    #[test]
    fn the_digest_of_bytes_is_their_sha256() {
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").as_str(), abc);
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        for text in ["", "sha256", "sha256:", ":ab", "sha256:AB", "sha256:xyz", "sha256:ab\n", "debian:bookworm"] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }
}
