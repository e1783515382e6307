//! Which images a build used, as its provenance says: statements of
//! [in-toto](https://github.com/in-toto/attestation) with predicates of
//! [SLSA](https://slsa.dev/spec/v1.0/provenance) 0.1, 0.2 and 1.
//!
//! Signatures are not checked: whoever can write to the repository can also replace the image.

use crate::manifest::json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{Error, Remedy, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The beginning of the types of all predicates that are read.
pub(crate) const PREDICATE: &str = "https://slsa.dev/provenance/";

/// Images that only read the recipe, or look at the result. Their content is not in the image.
const TOOLS: [&str; 4] =
    ["docker/dockerfile", "docker/dockerfile-upstream", "docker/buildkit-syft-scanner", "moby/buildkit"];

/// An image that a build used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Material {
    /// The image, without its digest.
    pub image: ImageReference,
    /// The content that was used.
    pub digest: Digest,
    /// Whether the recipe named this content by its digest.
    pub pinned: bool,
}

impl Material {
    /// Returns a material that the recipe named by its tag.
    #[must_use]
    pub fn new(image: &ImageReference, digest: Digest) -> Self {
        Self { image: image.without_digest(), digest, pinned: false }
    }
}

#[derive(Deserialize)]
struct Form {
    #[serde(default, rename = "dsseEnvelope")]
    bundled: Option<Envelope>,
    #[serde(flatten)]
    envelope: Envelope,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    payload: Option<String>,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(default, rename = "predicateType")]
    predicate_type: String,
    #[serde(default)]
    subject: Vec<SubjectForm>,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct SubjectForm {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct MaterialForm {
    #[serde(default)]
    uri: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// Reads the images among the materials of a statement, which may be in an envelope (DSSE) or in a
/// bundle of sigstore. `None` if it is no provenance, or not about one of these digests.
///
/// # Errors
/// [`Corrupt`](Remedy::Corrupt), naming the field that is wrong.
pub fn materials(bytes: &[u8], about: &[&Digest], place: &str) -> Result<Option<Vec<Material>>> {
    let Form { bundled, envelope } = json(bytes, place)?;
    let payload = bundled.unwrap_or_default().payload.or(envelope.payload);
    let statement: Statement = match payload {
        Some(payload) => {
            let decoded = STANDARD.decode(payload.trim());
            let bytes = decoded.map_err(|error| Error::new(Remedy::Corrupt, place, format!("`payload`: {error}")))?;
            json(&bytes, place)?
        }
        None => json(bytes, place)?,
    };
    let is_about = |subject: &SubjectForm| digests(&subject.digest).iter().any(|digest| about.contains(&digest));
    if !statement.predicate_type.starts_with(PREDICATE) || !statement.subject.iter().any(is_about) {
        return Ok(None);
    }
    let predicate = &statement.predicate;
    let old = &predicate["materials"];
    let new = &predicate["buildDefinition"]["resolvedDependencies"];
    let (list, path) = if new.is_null() { (old, "materials") } else { (new, "resolvedDependencies") };
    if list.is_null() {
        return Ok(Some(Vec::new()));
    }
    let forms = Vec::<MaterialForm>::deserialize(list)
        .map_err(|error| Error::new(Remedy::Corrupt, place, format!("`{path}`: {error}")))?;
    Ok(Some(forms.iter().filter_map(material).collect()))
}

fn digests(set: &BTreeMap<String, String>) -> Vec<Digest> {
    set.iter().filter_map(|(algorithm, hex)| format!("{algorithm}:{hex}").parse().ok()).collect()
}

/// Returns the image of a material; `None` for other things, such as sources.
fn material(form: &MaterialForm) -> Option<Material> {
    let (image, pin) = image(&form.uri)?;
    let listed = form.digest.get("sha256").and_then(|hex| format!("sha256:{hex}").parse().ok());
    let digest = listed.or_else(|| pin.clone())?;
    if TOOLS.iter().any(|tool| image.repository() == *tool) {
        return None;
    }
    Some(Material { image: image.without_digest(), digest, pinned: pin.is_some() })
}

/// Reads the image that a URI names: `pkg:docker/NAME@TAG` as BuildKit writes it, `pkg:oci/…`, or
/// `oci://` and `docker://` with a reference. Returns its digest apart, if it names one.
fn image(uri: &str) -> Option<(ImageReference, Option<Digest>)> {
    let reference = |text: &str| {
        let image: ImageReference = text.parse().ok()?;
        let digest = image.digest().cloned();
        Some((image, digest))
    };
    if let Some(text) = ["oci://", "docker://", "docker-image://"].iter().find_map(|start| uri.strip_prefix(start)) {
        return reference(text);
    }
    let (kind, rest) = uri.strip_prefix("pkg:")?.split_once('/')?;
    let (path, query) = rest.split('#').next()?.split_once('?').unwrap_or((rest, ""));
    let (name, version) = path.rsplit_once('@').unwrap_or((path, ""));
    let (name, version) = (decoded(name)?, decoded(version)?);
    let parts = query.split('&').filter_map(|part| part.split_once('='));
    let qualifiers: BTreeMap<&str, String> = parts.filter_map(|(key, value)| Some((key, decoded(value)?))).collect();
    let (name, tag, digest) = match kind {
        "docker" if version.contains(':') => (name, qualifiers.get("tag").cloned(), Some(version)),
        "docker" => (name, Some(version).filter(|tag| !tag.is_empty()), qualifiers.get("digest").cloned()),
        "oci" => {
            let digest = Some(version).filter(|version| version.contains(':'));
            (qualifiers.get("repository_url").cloned().unwrap_or(name), qualifiers.get("tag").cloned(), digest)
        }
        _ => return None,
    };
    let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
    let digest = digest.map_or_else(String::new, |digest| format!("@{digest}"));
    let found = reference(&format!("{name}{tag}{digest}"))?;
    // A digest of `pkg:oci` is what was used, and not what was asked for.
    Some(if kind == "oci" && !tag.is_empty() { (found.0, None) } else { found })
}

/// Decodes `%2F`; `None` if that makes no text.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn uris_of_images_are_read() {
        let pinned = format!("sha256:{HEX}");
        for (uri, wanted, is_pinned) in [
            ("pkg:docker/debian@12?platform=linux%2Famd64".to_owned(), Some("docker.io/library/debian:12"), false),
            ("pkg:docker/r.example/team/app@1.0".to_owned(), Some("r.example/team/app:1.0"), false),
            (format!("pkg:docker/debian@12?digest=sha256:{HEX}&platform=x"), Some("docker.io/library/debian:12"), true),
            (format!("pkg:docker/debian@sha256%3A{HEX}"), Some("docker.io/library/debian:latest"), true),
            (format!("pkg:oci/app@sha256%3A{HEX}?repository_url=r.example/app&tag=7"), Some("r.example/app:7"), false),
            (format!("oci://r.example/app@{pinned}"), Some("r.example/app:latest"), true),
            ("pkg:docker/docker/dockerfile@1".to_owned(), None, false),
            ("pkg:github/a/b@c".to_owned(), None, false),
            ("https://github.com/a/b".to_owned(), None, false),
            ("pkg:docker/%zz@1".to_owned(), None, false),
            ("pkg:docker/%F@1".to_owned(), None, false),
            ("pkg:".to_owned(), None, false),
        ] {
            let form = MaterialForm { uri: uri.clone(), digest: [("sha256".to_owned(), HEX.to_owned())].into() };
            let found = material(&form);
            assert_eq!(found.as_ref().map(|found| found.image.to_string()).as_deref(), wanted, "{uri}");
            assert_eq!(found.is_some_and(|found| found.pinned), is_pinned, "{uri}");
        }
        assert!(material(&MaterialForm { uri: "pkg:docker/debian@12".to_owned(), digest: BTreeMap::new() }).is_none());
    }

    #[test]
    fn statements_are_read_in_all_wrappings() {
        let (ours, other) = (Digest::of(b"ours"), Digest::of(b"other"));
        let list = json!([{ "uri": "pkg:docker/debian@12", "digest": { "sha256": HEX } },
            { "uri": "pkg:docker/docker/dockerfile@1", "digest": { "sha256": HEX } }]);
        let hex = ours.as_str().trim_start_matches("sha256:");
        let statement = |version: &str, predicate: &Value| {
            json!({ "predicateType": format!("https://slsa.dev/provenance/{version}"),
                "subject": [{ "name": "x", "digest": { "sha256": hex } }], "predicate": predicate })
        };
        let old = statement("v0.2", &json!({ "materials": list }));
        let new = statement("v1", &json!({ "buildDefinition": { "resolvedDependencies": list } }));
        let sealed = json!({ "payload": STANDARD.encode(new.to_string()), "payloadType": "x", "signatures": [] });
        let bundle = json!({ "mediaType": "x", "dsseEnvelope": sealed });
        for value in [&old, &new, &sealed, &bundle] {
            let found = materials(value.to_string().as_bytes(), &[&other, &ours], "p").unwrap().unwrap();
            assert_eq!(found.len(), 1, "{value}");
            assert_eq!(found[0].image.familiar(), "debian:12");
        }
        let read = |value: &Value, about| materials(value.to_string().as_bytes(), &[about], "p");
        assert_eq!(read(&old, &other).unwrap(), None, "it is about another image");
        assert_eq!(read(&json!({ "predicateType": "https://spdx.dev/Document" }), &ours).unwrap(), None);
        assert_eq!(read(&statement("v1", &json!({})), &ours).unwrap(), Some(Vec::new()));
        for (value, wanted) in [
            (json!({ "payload": "%" }), "`payload`"),
            (statement("v1", &json!({ "buildDefinition": { "resolvedDependencies": 3 } })), "`resolvedDependencies`"),
            (json!({ "subject": [{ "digest": { "sha256": 3 } }] }), "`subject[0].digest.sha256`"),
        ] {
            let error = read(&value, &ours).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
