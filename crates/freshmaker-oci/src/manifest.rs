//! Manifests, indexes and configurations of images, as OCI and Docker write them.
//!
//! The format is that of the OCI image specification 1.1
//! (<https://github.com/opencontainers/image-spec>), and of Docker's "image manifest version 2,
//! schema 2", which differ in their media types.

use freshmaker::artifact::Digest;
use freshmaker::backend::{Error, Remedy, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The largest manifest or index in bytes: 4 MiB, the limit of the OCI distribution specification.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What is asked for, in the header `Accept` of requests for manifests.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Annotations by key.
pub type Annotations = BTreeMap<String, String>;

/// An operating system and a processor.
///
/// Its text form is `os/architecture[/variant]`, as in `linux/arm64/v8`.
///
/// ```
/// use freshmaker_oci::manifest::Platform;
///
/// let platform: Platform = "linux/arm/v7".parse()?;
/// assert_eq!((platform.architecture.as_str(), platform.variant.as_deref()), ("arm", Some("v7")));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "PlatformForm")]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor, by its name in Go, such as `amd64`.
    pub architecture: String,
    /// The variant of the processor, such as `v8`; `None` accepts every variant.
    pub variant: Option<String>,
}

/// A platform in an index, or as text in a configuration.
#[derive(Deserialize)]
#[serde(untagged)]
enum PlatformForm {
    Text(String),
    Fields { os: String, architecture: String, variant: Option<String> },
}

impl TryFrom<PlatformForm> for Platform {
    type Error = String;

    fn try_from(form: PlatformForm) -> Result<Self, String> {
        match form {
            PlatformForm::Text(text) => text.parse(),
            PlatformForm::Fields { os, architecture, variant } => {
                Ok(Self { os, architecture, variant: variant.filter(|variant| !variant.is_empty()) })
            }
        }
    }
}

impl Platform {
    /// Returns Linux on the processor that this program was compiled for.
    #[must_use]
    pub fn of_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Returns how well a platform fits this one; `None` if it does not.
    fn fit(&self, other: &Self) -> Option<u8> {
        let usual = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7".to_owned()),
            (_, variant) => variant.map(str::to_owned),
        };
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        match (usual(self) == usual(other), &self.variant) {
            (true, _) => Some(0),
            (false, None) => Some(1),
            (false, Some(_)) => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl std::str::FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => ("", "", None),
        };
        if os.is_empty() || architecture.is_empty() || variant == Some("") {
            return Err(format!("{text:.80?} is not a platform: expected os/architecture, such as linux/amd64"));
        }
        let variant = variant.map(str::to_owned);
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

/// A reference to content: what it is, how large it is, and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Descriptor {
    /// Media type of the content; empty if the reference does not say it.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// The platform of an image in an index.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// The kind of an artifact that is not an image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Annotations.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: Annotations,
}

/// An image of one platform: its configuration and its layers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageManifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: Annotations,
}

/// A list of manifests: those of one image for several platforms, or those of the artifacts that
/// refer to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Index {
    /// The manifests.
    #[serde(deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: Annotations,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manifest {
    /// An image of one platform.
    Image(ImageManifest),
    /// An index.
    Index(Index),
}

/// The configuration of an image: what is in its layers, and how they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// When the image was made, as it is written there. Reproducible builds set an old date.
    pub created: Option<String>,
    /// The labels. An image inherits those of its parent.
    pub labels: BTreeMap<String, String>,
    /// Digests of the uncompressed layers, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// The steps of the build, the first one first.
    pub history: Vec<History>,
    /// Digest of what a container gets from the image: its platform, its runtime configuration and
    /// its layers. Dates and history are not part of it, so two builds that made the same have the
    /// same digest here, whatever their manifests are called.
    pub content: Digest,
    /// The same without the layers: digest of its platform and its runtime configuration.
    pub runtime: Digest,
}

/// A step of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct History {
    /// The command.
    pub created_by: Option<String>,
    /// Whether the step made no layer.
    pub empty_layer: bool,
}

/// Reads null and a missing value as the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads JSON; an error names the path of the field that is wrong.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8], place: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!("`{path}`: ") };
        Error::new(Remedy::Corrupt, place, format!("{at}{}", error.inner()))
    })?;
    let end = reader.end();
    end.map_err(|error| Error::new(Remedy::Corrupt, place, format!("something follows the JSON: {error}")))?;
    Ok(value)
}

/// The fields that tell what a manifest is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde_json::Value>,
    #[serde(default)]
    layers: Option<serde_json::Value>,
    #[serde(default)]
    config: Option<serde_json::Value>,
}

impl Manifest {
    /// Reads a manifest or an index. `content_type` is the media type that the registry gave it;
    /// `place` names the registry and the request in errors.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) for a format that is neither, such as Docker's schema
    /// 1; [`Corrupt`](Remedy::Corrupt) if it contradicts itself or the registry, or a field is
    /// wrong, which is named.
    pub fn parse(bytes: &[u8], content_type: Option<&str>, place: &str) -> Result<Self> {
        let kind: Kind = json(bytes, place)?;
        let said = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        let said = said.filter(|text| !matches!(*text, "" | "application/json" | "application/octet-stream"));
        let corrupt = |text: String| Err(Error::new(Remedy::Corrupt, place, text));
        let media_type = match (kind.media_type.as_deref(), said) {
            (Some(inside), Some(outside)) if inside != outside => {
                return corrupt(format!("`mediaType` is {inside:.100?}, but the registry says {outside:.100?}"));
            }
            (Some(media_type), _) | (None, Some(media_type)) => media_type,
            (None, None) if kind.manifests.is_some() => OCI_INDEX,
            (None, None) => OCI_MANIFEST,
        };
        // Readers that look at different fields would see different images (CVE-2021-41190).
        if kind.manifests.is_some() && (kind.layers.is_some() || kind.config.is_some()) {
            return corrupt("it has `manifests` of an index, and `config` or `layers` of an image".to_owned());
        }
        if kind.schema_version.is_some_and(|version| version != 2) {
            let text = format!("`schemaVersion` {}: only 2 is supported", kind.schema_version.unwrap_or_default());
            return Err(Error::new(Remedy::Unsupported, place, text));
        }
        match media_type {
            OCI_INDEX | DOCKER_INDEX => Ok(Self::Index(json(bytes, place)?)),
            OCI_MANIFEST | DOCKER_MANIFEST => Ok(Self::Image(json(bytes, place)?)),
            other => {
                Err(Error::new(Remedy::Unsupported, place, format!("the media type {other:.100?} is not supported")))
            }
        }
    }
}

impl Index {
    /// Returns the image, or the nested index, for a platform. An entry for the exact variant is
    /// preferred to others, and earlier entries to later ones. A nested index without a platform
    /// may contain it.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound), listing the platforms that are there.
    pub fn choose(&self, platform: &Platform, place: &str) -> Result<&Descriptor> {
        let is_index = |entry: &&Descriptor| matches!(entry.media_type.as_str(), OCI_INDEX | DOCKER_INDEX);
        let fit = |entry: &&Descriptor| entry.platform.as_ref().and_then(|there| platform.fit(there));
        let fitting = self.manifests.iter().filter(|entry| fit(entry).is_some()).min_by_key(fit);
        let nested = || self.manifests.iter().find(|entry| is_index(entry) && entry.platform.is_none());
        fitting.or_else(nested).ok_or_else(|| {
            let there = self.manifests.iter().filter_map(|entry| entry.platform.as_ref());
            // Attestations have the platform `unknown/unknown`.
            let there: Vec<_> = there.filter(|there| there.os != "unknown").map(ToString::to_string).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            Error::new(Remedy::NotFound, place, format!("the index has no image for {platform}; it has: {there}"))
        })
    }
}

/// The keys of a configuration that say what a container gets.
const CONTENT: [&str; 7] = ["architecture", "config", "os", "os.features", "os.version", "rootfs", "variant"];

/// The keys of its runtime configuration that Docker's format has from the container in which the
/// image was built. No container gets them.
const OF_THE_BUILD: [&str; 2] = ["Hostname", "Image"];

/// Returns the media type under which a manifest is stored again: its own, else the one in the
/// registry's answer.
pub(crate) fn media_type(manifest: &Manifest, bytes: &[u8], told: Option<&str>) -> &'static str {
    let own = serde_json::from_slice::<Kind>(bytes).ok().and_then(|kind| kind.media_type);
    let known = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];
    let find = |said: &str| known.into_iter().find(|known| *known == said);
    let otherwise = match manifest {
        Manifest::Index(_) => OCI_INDEX,
        Manifest::Image(_) => OCI_MANIFEST,
    };
    own.as_deref().or(told).and_then(find).unwrap_or(otherwise)
}

/// The configuration as it is written.
#[derive(Deserialize)]
struct ConfigForm {
    #[serde(default)]
    created: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    config: LabelsForm,
    rootfs: RootfsForm,
    #[serde(default, deserialize_with = "or_default")]
    history: Vec<History>,
}

#[derive(Default, Deserialize)]
struct LabelsForm {
    #[serde(default, rename = "Labels", deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RootfsForm {
    #[serde(deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// Reads the configuration of an image; `place` names it in errors.
    ///
    /// # Errors
    /// [`Corrupt`](Remedy::Corrupt), naming the field that is wrong.
    pub fn parse(bytes: &[u8], place: &str) -> Result<Self> {
        let ConfigForm { created, config, rootfs, history } = json(bytes, place)?;
        let all: serde_json::Map<String, serde_json::Value> = json(bytes, place)?;
        let mut content: BTreeMap<_, _> = all.into_iter().filter(|(key, _)| CONTENT.contains(&key.as_str())).collect();
        if let Some(config) = content.get_mut("config").and_then(|config| config.as_object_mut()) {
            config.retain(|key, _| !OF_THE_BUILD.contains(&key.as_str()));
        }
        let digest = |value: &BTreeMap<_, _>| match serde_json::to_vec(value) {
            Ok(bytes) => Ok(Digest::of(&bytes)),
            Err(error) => Err(Error::new(Remedy::Corrupt, place, error)),
        };
        let whole = digest(&content)?;
        content.remove("rootfs");
        let runtime = digest(&content)?;
        Ok(Self { created, labels: config.labels, diff_ids: rootfs.diff_ids, history, content: whole, runtime })
    }
}

impl Serialize for Platform {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HEX: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parse(value: &serde_json::Value, content_type: Option<&str>) -> Result<Manifest> {
        Manifest::parse(value.to_string().as_bytes(), content_type, "r: GET m")
    }

    #[test]
    fn errors_name_the_field() {
        let good = json!({ "digest": HEX, "size": 1 });
        for (value, content_type, wanted) in [
            (json!({ "manifests": [good, { "digest": HEX }] }), None, "`manifests[1]`: missing field `size`"),
            (json!({ "config": good, "layers": [{ "digest": "x", "size": 1 }] }), None, "`layers[0].digest`: "),
            (json!({ "config": good, "layers": [{ "digest": HEX, "size": -1 }] }), None, "`layers[0].size`: "),
            (json!({ "config": good, "layers": [], "manifests": [] }), None, "and `config` or `layers`"),
            (json!({ "schemaVersion": 1, "fsLayers": [] }), None, "`schemaVersion` 1"),
            (json!({ "mediaType": OCI_INDEX, "manifests": [] }), Some(OCI_MANIFEST), "but the registry says"),
            (json!({ "mediaType": "text/html" }), None, "\"text/html\" is not supported"),
            (json!([]), None, "invalid"),
        ] {
            let error = parse(&value, content_type).unwrap_err().to_string();
            assert!(error.starts_with("r: GET m: ") && error.contains(wanted), "{error}");
        }
        let error = Manifest::parse(b"{\"config\": 1", None, "r").unwrap_err();
        assert!(error.to_string().contains("EOF"), "{error}");
        let error = ImageConfig::parse(b"{\"rootfs\": {\"diff_ids\": [3]}}", "r").unwrap_err();
        assert!(error.to_string().contains("`rootfs.diff_ids[0]`"), "{error}");
    }

    #[test]
    fn deep_json_is_an_error_and_not_a_crash() {
        let text = format!("{{\"manifests\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Manifest::parse(text.as_bytes(), None, "r").is_err());
    }

    #[test]
    fn null_is_nothing() {
        let config = ImageConfig::parse(br#"{"config": {"Labels": null}, "rootfs": {"diff_ids": null}}"#, "r").unwrap();
        assert!(config.labels.is_empty() && config.diff_ids.is_empty());
        assert!(matches!(parse(&json!({ "manifests": null, "mediaType": OCI_INDEX }), None), Ok(Manifest::Index(_))));
    }

    #[test]
    fn the_content_is_what_a_container_gets() {
        let content = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut config = json!({ "architecture": "amd64", "os": "linux", "created": "2025-11-24T16:00:00Z",
                "config": { "Env": ["A=1"], "Hostname": "73844911250c" }, "history": [{ "created_by": "x" }],
                "rootfs": { "type": "layers", "diff_ids": [HEX] } });
            change(&mut config);
            ImageConfig::parse(config.to_string().as_bytes(), "r").unwrap().content
        };
        let same = content(&|_| {});
        for key in ["created", "history", "container"] {
            assert_eq!(content(&|config| config[key] = json!(null)), same, "{key}");
        }
        assert_eq!(content(&|config| config["config"]["Hostname"] = json!("52928bec581d")), same);
        assert_ne!(content(&|config| config["config"]["Env"] = json!(["A=2"])), same);
        assert_ne!(content(&|config| config["rootfs"]["diff_ids"] = json!([])), same);
        assert_ne!(content(&|config| config["architecture"] = json!("arm64")), same);
    }

    #[test]
    fn the_fitting_platform_is_chosen() {
        let index = |platforms: &[&str]| {
            let entry = |(i, text): (usize, &&str)| {
                let platform: Platform = text.parse().unwrap();
                let (os, architecture, variant) = (platform.os, platform.architecture, platform.variant);
                json!({ "digest": HEX, "size": i,
                    "platform": { "os": os, "architecture": architecture, "variant": variant } })
            };
            let manifests: Vec<_> = platforms.iter().enumerate().map(entry).collect();
            serde_json::from_value::<Index>(json!({ "manifests": manifests })).unwrap()
        };
        let chosen = |wanted: &str, there: &[&str]| {
            let index = index(there);
            let chosen = index.choose(&wanted.parse().unwrap(), "r").map(|entry| entry.size);
            chosen.map_err(|error| error.text)
        };
        let usual = ["unknown/unknown", "linux/386", "linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8"];
        assert_eq!(chosen("linux/amd64", &usual), Ok(2));
        assert_eq!(chosen("linux/arm", &usual), Ok(4));
        assert_eq!(chosen("linux/arm/v5", &usual), Ok(3));
        assert_eq!(chosen("linux/arm64", &usual), Ok(5));
        assert_eq!(chosen("linux/arm", &["linux/arm/v6"]), Ok(0));
        let missing = chosen("linux/arm/v6", &["linux/arm/v7", "unknown/unknown"]).unwrap_err();
        assert_eq!(missing, "the index has no image for linux/arm/v6; it has: linux/arm/v7");
        assert!(chosen("windows/amd64", &[]).unwrap_err().ends_with("it has: none"));
    }
}
