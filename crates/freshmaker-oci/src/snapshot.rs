use crate::client::{Fetched, OciClient};
use crate::manifest::{Annotations, Descriptor, ImageConfig, ImageManifest, Index, Manifest, Platform};
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{Error, Remedy, Result};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// The most indexes between a reference and an image.
const INDEX_DEPTH_MAX: usize = 4;

/// An image of one platform, with all that a registry says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The reference that was asked for.
    pub reference: ImageReference,
    /// The digest of what the reference names: of the index, if there is one.
    pub digest: Digest,
    /// The digest of the manifest of the platform.
    pub manifest_digest: Digest,
    /// The index that the manifest was chosen from.
    pub index: Option<Index>,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The configuration.
    pub config: ImageConfig,
    /// Annotations of the index, of its entry, and of the manifest. If a key is there several
    /// times, the last one of these counts.
    pub annotations: Annotations,
}

/// What registries say during one decision: the same question is asked once, also by several who
/// ask at the same time, and always has the same answer.
///
/// It keeps all answers until it is dropped, so make one for each decision.
///
/// ```no_run
/// use freshmaker_oci::{OciClient, OciConfig};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = OciClient::new(OciConfig::of_user())?;
/// let snapshot = client.snapshot();
/// let image = snapshot.image(&"debian:12".parse()?).await?;
/// println!("{} layers, made on {:?}", image.config.diff_ids.len(), image.config.created);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Every method may be dropped at any time: who else waits for the answer asks then.
#[derive(Debug)]
pub struct Snapshot {
    client: OciClient,
    heads: Memo<Digest>,
    manifests: Memo<Fetched>,
    configs: Memo<ImageConfig>,
    blobs: Memo<Arc<Vec<u8>>>,
    referrers: Memo<Vec<Descriptor>>,
}

/// Answers by question.
#[derive(Debug)]
struct Memo<T>(Mutex<BTreeMap<String, Arc<OnceCell<Result<T>>>>>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Memo<T> {
    async fn get(&self, question: String, ask: impl Future<Output = Result<T>>) -> Result<T> {
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(question).or_default());
        cell.get_or_init(|| ask).await.clone()
    }
}

impl Snapshot {
    pub(crate) fn new(client: OciClient) -> Self {
        Self {
            client,
            heads: Memo::default(),
            manifests: Memo::default(),
            configs: Memo::default(),
            blobs: Memo::default(),
            referrers: Memo::default(),
        }
    }

    /// Returns the platform whose images are taken from indexes.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.client.config().platform
    }

    /// Returns the digest that a reference has now; see [`OciClient::head`].
    ///
    /// # Errors
    /// Those of [`OciClient::head`].
    pub async fn head(&self, image: &ImageReference) -> Result<Digest> {
        self.heads.get(image.to_string(), self.client.head(image)).await
    }

    /// Returns a manifest or an index; see [`OciClient::manifest`].
    ///
    /// # Errors
    /// Those of [`OciClient::manifest`].
    pub async fn manifest(&self, image: &ImageReference) -> Result<Fetched> {
        self.manifests.get(image.to_string(), self.client.manifest(image)).await
    }

    /// Returns the image that a reference names, for the [platform](Self::platform) if there are
    /// several.
    ///
    /// # Errors
    /// Those of [`OciClient::manifest`], [`Index::choose`] and [`OciClient::image_config`];
    /// [`Rejected`](Remedy::Rejected) if more than 4 indexes are nested.
    pub async fn image(&self, reference: &ImageReference) -> Result<Image> {
        let Fetched { digest, mut manifest } = self.manifest(reference).await?;
        let (mut manifest_digest, mut outer) = (digest.clone(), None);
        let mut annotations = Annotations::new();
        for _ in 0..=INDEX_DEPTH_MAX {
            let index = match manifest {
                Manifest::Image(manifest) => {
                    annotations.extend(manifest.annotations.clone());
                    let config = self.config(reference, &manifest).await?;
                    let (reference, index) = (reference.clone(), outer);
                    return Ok(Image { reference, digest, manifest_digest, index, manifest, config, annotations });
                }
                Manifest::Index(index) => index,
            };
            let chosen = index.choose(self.platform(), &format!("oci: {reference}"))?.clone();
            annotations.extend(index.annotations.clone());
            annotations.extend(chosen.annotations);
            let inner = self.manifest(&by_digest(reference, &chosen.digest)?).await?;
            (manifest, manifest_digest) = (inner.manifest, inner.digest);
            outer = outer.or(Some(index));
        }
        let text = format!("more than {INDEX_DEPTH_MAX} indexes are nested");
        Err(Error::new(Remedy::Rejected, format!("oci: {reference}"), text))
    }

    async fn config(&self, image: &ImageReference, manifest: &ImageManifest) -> Result<ImageConfig> {
        let question = format!("{}/{}@{}", image.registry(), image.repository(), manifest.config.digest);
        self.configs.get(question, self.client.image_config(image, manifest)).await
    }

    pub(crate) async fn blob(&self, image: &ImageReference, content: &Descriptor) -> Result<Arc<Vec<u8>>> {
        let question = format!("{}/{}@{}", image.registry(), image.repository(), content.digest);
        self.blobs.get(question, async { self.client.blob(image, content).await.map(Arc::new) }).await
    }

    pub(crate) async fn referrers(&self, image: &ImageReference, of: &Digest) -> Result<Vec<Descriptor>> {
        let question = format!("{}/{}@{of}", image.registry(), image.repository());
        self.referrers.get(question, self.client.referrers(image, of)).await
    }
}

/// Returns the name of other content in the repository of an image.
pub(crate) fn by_digest(image: &ImageReference, digest: &Digest) -> Result<ImageReference> {
    let text = format!("{}/{}@{digest}", image.registry(), image.repository());
    text.parse().map_err(|error| Error::new(Remedy::Corrupt, format!("oci: {image}"), error))
}
