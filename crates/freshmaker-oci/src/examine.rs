use crate::manifest::{Descriptor, Manifest};
use crate::provenance::{Material, PREDICATE, materials};
use crate::snapshot::{Image, Snapshot, by_digest};
use crate::staleness::{BaseNote, Current, Freshness, Parent, Role, State, Subject, claimed, judge};
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{Remedy, Result};
use serde::Serialize;

/// The most attestations of one image that are read.
const ATTESTATIONS_MAX: usize = 16;
/// What names a manifest as an attestation of BuildKit, in an index.
const BUILDKIT_TYPE: &str = "vnd.docker.reference.type";
/// The manifest that an attestation of BuildKit is about.
const BUILDKIT_DIGEST: &str = "vnd.docker.reference.digest";
/// The kind of a statement, as BuildKit and cosign annotate it.
const PREDICATE_TYPES: [&str; 2] = ["in-toto.io/predicate-type", "predicateType"];

/// One parent of an image, and how the image stands to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The parent, as the recipe names it.
    pub parent: ImageReference,
    /// What it is used for.
    pub role: Role,
    /// The line of the recipe, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// How the image stands to it.
    #[serde(flatten)]
    pub state: State,
}

/// How an image stands to its parents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Examined {
    /// The image.
    pub image: ImageReference,
    /// The digest of what its name means now.
    pub digest: Digest,
    /// When it was made, as its configuration says.
    pub created: Option<String>,
    /// How it stands to all parents: the worst of [`findings`](Self::findings).
    #[serde(rename = "state")]
    pub freshness: Freshness,
    /// Its parents, as the recipe lists them.
    pub findings: Vec<Finding>,
    /// What could not be read and might have been evidence, as sentences.
    pub remarks: Vec<String>,
}

/// What is known about the recipe of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recipe<'a> {
    /// All images that it is built from; none for an image that is built from nothing.
    Known(&'a [Parent]),
    /// Nothing: the image itself has to tell of its parents.
    Unknown,
}

impl Snapshot {
    /// Finds out whether an image is built on what its parents are today; see
    /// [`staleness`](crate::staleness) for what counts as evidence.
    ///
    /// A parent that no registry has (any more) is [`State::Unknown`]. An attestation that cannot
    /// be read is a remark.
    ///
    /// # Errors
    /// Those of the requests about the image and its parents.
    pub async fn examine(&self, image: &ImageReference, recipe: Recipe<'_>) -> Result<Examined> {
        let found = self.image(image).await?;
        let mut remarks = Vec::new();
        let subject = Subject {
            materials: self.provenance(&found, &mut remarks).await?,
            annotated: BaseNote::of(&found.annotations),
            labelled: BaseNote::of(&found.config.labels),
            diff_ids: found.config.diff_ids.clone(),
        };
        let own;
        let parents = match recipe {
            Recipe::Known(parents) => parents,
            Recipe::Unknown => {
                own = claimed(&subject);
                own.as_slice()
            }
        };
        let mut findings = Vec::new();
        for parent in parents {
            let state = self.state(&subject, parent).await?;
            findings.push(Finding { parent: parent.image.clone(), role: parent.role, line: parent.line, state });
        }
        let mut freshness = Freshness::of(findings.iter().map(|finding| &finding.state));
        if recipe == Recipe::Unknown && !findings.iter().any(|finding| finding.role == Role::Base) {
            // Whatever it was copied from, nothing says what it begins with.
            freshness = freshness.max(Freshness::Unknown);
            remarks.push("nothing says what the image is built on".to_owned());
        }
        let (image, created) = (image.clone(), found.config.created);
        Ok(Examined { image, digest: found.digest, created, freshness, findings, remarks })
    }

    /// Asks only for what decides: the digest first, and layers if that says nothing.
    async fn state(&self, subject: &Subject, parent: &Parent) -> Result<State> {
        let latest = match (parent.image.digest(), parent.image.tag()) {
            (Some(_), Some(_)) => match self.head(&parent.image.without_digest()).await {
                Err(error) if error.remedy == Remedy::NotFound => None,
                latest => Some(latest?),
            },
            _ => None,
        };
        let current = match parent.image.digest() {
            Some(pinned) => Current::new(pinned.clone()),
            None => match self.head(&parent.image).await {
                Ok(digest) => Current::new(digest),
                Err(error) if error.remedy == Remedy::NotFound => return Ok(gone(&error)),
                Err(error) => return Err(error),
            },
        };
        let state = judge(subject, parent, &current, latest.clone());
        if matches!(state, State::Fresh { .. } | State::Pinned { .. }) {
            return Ok(state);
        }
        if parent.role == Role::Builder && matches!(state, State::Unknown { .. }) {
            // Nothing more about the parent is evidence.
            return Ok(state);
        }
        // Evidence may name the manifest of the platform, where the tag names an index. The content
        // is asked for by the digest of the first answer, so that both are of one moment.
        match self.image(&by_digest(&parent.image, &current.digest)?).await {
            Ok(image) => {
                let current = Current {
                    digest: current.digest,
                    manifest_digest: Some(image.manifest_digest),
                    labelled: BaseNote::of(&image.config.labels),
                    diff_ids: Some(image.config.diff_ids),
                };
                Ok(judge(subject, parent, &current, latest))
            }
            Err(error) if error.remedy == Remedy::NotFound => Ok(gone(&error)),
            Err(error) => Err(error),
        }
    }

    /// Returns the images that were used for another one, as the attestations of BuildKit in its
    /// index and the artifacts that refer to it say.
    ///
    /// # Errors
    /// Those of the requests. What cannot be read becomes a remark.
    pub async fn provenance(&self, image: &Image, remarks: &mut Vec<String>) -> Result<Vec<Material>> {
        let about = [&image.manifest_digest, &image.digest];
        let inside = image.index.iter().flat_map(|index| &index.manifests);
        let mut candidates: Vec<Descriptor> = inside
            .filter(|entry| {
                let is = |key: &str, value: &str| entry.annotations.get(key).is_some_and(|there| there == value);
                is(BUILDKIT_TYPE, "attestation-manifest") && is(BUILDKIT_DIGEST, image.manifest_digest.as_str())
            })
            .cloned()
            .collect();
        let mut digests = about.to_vec();
        digests.dedup();
        for digest in digests {
            let referrers = self.referrers(&image.reference, digest).await?;
            candidates.extend(referrers.into_iter().filter(is_attestation));
        }
        if candidates.len() > ATTESTATIONS_MAX {
            remarks.push(format!("only {ATTESTATIONS_MAX} of {} attestations were read", candidates.len()));
        }
        let mut found = Vec::new();
        for candidate in candidates.iter().take(ATTESTATIONS_MAX) {
            match self.attested(image, candidate, &about).await {
                Ok(materials) => found.extend(materials),
                // Another answer may come later: then it is not known what it says.
                Err(error) if matches!(error.remedy, Remedy::Unavailable | Remedy::NotNow) => return Err(error),
                Err(error) => remarks.push(format!("an attestation cannot be read: {error}")),
            }
        }
        Ok(found)
    }

    async fn attested(&self, image: &Image, of: &Descriptor, about: &[&Digest]) -> Result<Vec<Material>> {
        let fetched = self.manifest(&by_digest(&image.reference, &of.digest)?).await?;
        let Manifest::Image(manifest) = fetched.manifest else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for layer in manifest.layers.iter().filter(|layer| is_provenance(layer)).take(ATTESTATIONS_MAX) {
            let bytes = self.blob(&image.reference, layer).await?;
            let place =
                format!("oci: {}/{}@{}", image.reference.registry(), image.reference.repository(), layer.digest);
            found.extend(materials(&bytes, about, &place)?.into_iter().flatten());
        }
        Ok(found)
    }
}

fn gone(error: &freshmaker::backend::Error) -> State {
    State::Unknown { why: format!("it cannot be found today: {error}") }
}

fn predicate(of: &Descriptor) -> Option<&String> {
    PREDICATE_TYPES.iter().find_map(|key| of.annotations.get(*key))
}

/// Whether a layer of an attestation may be provenance. Statements have no common media type.
fn is_provenance(layer: &Descriptor) -> bool {
    let is_statement = ["in-toto", "dsse", "sigstore.bundle"].iter().any(|kind| layer.media_type.contains(kind));
    predicate(layer).map_or(is_statement, |kind| kind.starts_with(PREDICATE))
}

/// Whether an artifact may contain provenance; those of other kinds are not fetched.
fn is_attestation(referrer: &Descriptor) -> bool {
    let kind = referrer.artifact_type.as_deref().unwrap_or_default();
    let may_be = ["in-toto", "dsse", "sigstore", "provenance", "slsa"].iter().any(|word| kind.contains(word));
    (kind.is_empty() || may_be) && predicate(referrer).is_none_or(|kind| kind.starts_with(PREDICATE))
}
