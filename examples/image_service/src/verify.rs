//! The verifier: looks at a published image before anything is built on it.

use crate::records::{Record, Records};
use crate::site::Site;
use async_trait::async_trait;
use freshmaker::EdgeKind;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{Error, Made, Remedy, Result, Verifier};
use freshmaker::rebuild::Verification;
use freshmaker_oci::staleness::Layers;
use freshmaker_oci::{Image, OciClient, Snapshot};
use std::sync::Arc;

/// Returns the name of content in the repository of an image.
pub(crate) fn at(image: &ImageReference, digest: &Digest) -> Result<ImageReference> {
    let text = format!("{}/{}@{digest}", image.registry(), image.repository());
    text.parse().map_err(|error| Error::new(Remedy::Rejected, format!("the name {text}"), error))
}

/// What a registry has of images, for each platform that the service builds for.
#[derive(Debug)]
pub(crate) struct Platforms(Vec<Snapshot>);

impl Platforms {
    /// Returns the digest of what containers get from an image, on all platforms.
    pub(crate) async fn content(&self, image: &ImageReference) -> Result<Digest> {
        let mut contents = Vec::new();
        for snapshot in &self.0 {
            contents.push(snapshot.image(image).await?.config.content);
        }
        match contents.as_slice() {
            [only] => Ok(only.clone()),
            several => Ok(Digest::of_parts(several.iter().map(|content| content.as_str().as_bytes()))),
        }
    }

    /// Returns an image for each platform.
    pub(crate) async fn images(&self, image: &ImageReference) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for snapshot in &self.0 {
            images.push(snapshot.image(image).await?);
        }
        Ok(images)
    }

    /// Checks that an image is there for each platform, and begins with all layers of its base.
    ///
    /// # Errors
    /// Those of the registry; [`Rejected`](Remedy::Rejected) if a platform is missing, or if the
    /// layers are others.
    pub(crate) async fn built_on(
        &self,
        image: &ImageReference,
        digest: &Digest,
        base: Option<(&ImageReference, &Digest)>,
    ) -> Result<()> {
        let wrong = |text: String| Err(Error::new(Remedy::Rejected, image.to_string(), text));
        for snapshot in &self.0 {
            let found = snapshot.image(&at(image, digest)?).await?;
            if self.0.len() > 1 && found.index.is_none() {
                return wrong(format!("{digest} is one image, and no index of {} platforms", self.0.len()));
            }
            let Some((base, of)) = base else { continue };
            let below = snapshot.image(&at(base, of)?).await?;
            let (here, there) = (&found.config.diff_ids, &below.config.diff_ids);
            if Layers::compare(here, there) != Layers::Begin && !there.is_empty() {
                let base = base.familiar();
                return wrong(format!("{digest} does not begin with the layers of {base}, which is {of}"));
            }
        }
        Ok(())
    }
}

impl Site {
    /// Returns a new view of the registries.
    pub(crate) fn platforms(&self) -> Result<Platforms> {
        let mut config = self.config.oci();
        let platforms = match self.config.build.platforms.as_slice() {
            [] => vec![config.platform.clone()],
            platforms => platforms.to_vec(),
        };
        let clients = platforms.into_iter().map(|platform| {
            config.platform = platform;
            OciClient::new(config.clone())
        });
        let clients = clients.collect::<Result<Vec<_>>>()?;
        Ok(Platforms(clients.iter().map(OciClient::snapshot).collect()))
    }
}

/// Asks the registry what the tag names and what that is built on, and compares it with what the
/// build was given.
#[derive(Debug)]
pub(crate) struct RegistryVerifier {
    pub(crate) site: Arc<Site>,
    pub(crate) registries: OciClient,
    pub(crate) records: Records,
}

impl RegistryVerifier {
    async fn look(&self, made: &Made, image: &ImageReference, record: &Record) -> Result<Verification> {
        let told = self.registries.head(image).await?;
        if told != record.digest {
            return Ok(Verification::Stale(format!("the tag names {told}, and not {}", record.digest)));
        }
        for parent in &made.request.parents {
            let used = record.parents.get(parent.id.as_str());
            if let (Some(wanted), Some(used)) = (&parent.digest, used)
                && wanted != used
            {
                let text = format!("it was built on {} {used}, and should be on {wanted}", parent.id);
                return Ok(Verification::Stale(text));
            }
        }
        let base = made.request.parents.iter().find(|parent| parent.kinds.contains(&EdgeKind::ParentImage));
        let base = base.and_then(|base| Some((base.id.as_str().parse().ok()?, record.parents.get(base.id.as_str())?)));
        let base = base.as_ref().map(|(base, digest): &(ImageReference, &Digest)| (base, *digest));
        // What has the same files as before may have other layers: those of its base.
        let built = record.same.as_ref().unwrap_or(&record.digest);
        match self.site.platforms()?.built_on(image, built, base).await {
            Ok(()) => Ok(Verification::Passed(None)),
            Err(error) if error.remedy == Remedy::Rejected => Ok(Verification::Failed(error.text)),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Verifier for RegistryVerifier {
    async fn verify(&self, made: &Made) -> Result<Verification> {
        let artifact = &made.request.artifact;
        let image: ImageReference = artifact
            .as_str()
            .parse()
            .map_err(|error| Error::new(Remedy::Rejected, format!("the image {artifact}"), error))?;
        let record = self.records.of(artifact).await?;
        let Some(record) = record.filter(|record| record.attempt == made.request.attempt.as_str()) else {
            return Ok(Verification::Failed("the attempt has published nothing".to_owned()));
        };
        if made.output.digest.as_ref() != Some(&record.digest) {
            return Ok(Verification::Failed(format!("it reports other content than {}", record.digest)));
        }
        match self.look(made, &image, &record).await {
            Err(error) if error.remedy == Remedy::NotFound => {
                Ok(Verification::Stale(format!("the registry has lost it: {error}")))
            }
            answer => answer,
        }
    }
}
