use super::config::KojiConfig;
use super::read::KojiReader;
use crate::image::Unmet;
use async_trait::async_trait;
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{Error, Made, Remedy, Result, Verifier};
use freshmaker::rebuild::{BuildMode, Verification};

/// A [`Verifier`] that checks that images built by Koji contain the packages that they were rebuilt
/// for.
///
/// A package that is older than demanded is [stale](Verification::Stale): another build may get the
/// newer one. A package that is missing, or that is from a module when it should not be (or the
/// reverse), is a [failure](Verification::Failed). If the hub lists no packages for an image, those
/// in the metadata of the content generator count, which needs a [`topurl`](KojiConfig::topurl).
/// Scratch builds, other artifacts than images, and requests without demands pass without a check;
/// Koji does not list the packages of scratch builds.
///
/// # Errors
/// [`verify`](Verifier::verify) fails with [`NotFound`](Remedy::NotFound) if Koji does not have the
/// build, and otherwise like [`KojiReader::installed_rpms`].
///
/// # Examples
///
/// ```
/// use freshmaker::Engine;
/// use freshmaker_redhat::koji::{KojiConfig, KojiBuildSystem, KojiVerifier};
/// use std::sync::Arc;
///
/// let config = KojiConfig::new("https://koji.example.org/kojihub");
/// let verifier = Arc::new(KojiVerifier::new(&config)?);
/// let builder = Engine::builder()
///     .build_system("koji", Arc::new(KojiBuildSystem::new(config)?))
///     .verifier("koji", verifier);
/// # drop(builder);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "brew")]
pub struct KojiVerifier {
    reader: KojiReader,
}

impl KojiVerifier {
    /// Creates a verifier that asks this hub. Nothing is sent.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if a certificate file cannot be used.
    pub fn new(config: &KojiConfig) -> Result<Self> {
        Ok(Self { reader: KojiReader::new(config)? })
    }
}

#[async_trait]
impl Verifier for KojiVerifier {
    async fn verify(&self, made: &Made) -> Result<Verification> {
        let request = &made.request;
        if request.kind != ArtifactKind::Image || request.mode == BuildMode::Scratch || request.demands.is_empty() {
            return Ok(Verification::Passed(None));
        }
        let name = &made.output.name;
        let build = self.reader.build(name).await?;
        let build =
            build.ok_or_else(|| Error::new(Remedy::NotFound, format!("build {name}"), "Koji does not have it"))?;
        let unmet = self.reader.installed_rpms(&build).await?.unmet(&request.demands);
        if unmet.is_empty() {
            return Ok(Verification::Passed(None));
        }
        let evidence: Vec<_> = unmet.iter().map(ToString::to_string).collect();
        let evidence = evidence.join("; ");
        let newer_may_come = unmet.iter().all(|unmet| matches!(unmet, Unmet::Older { .. }));
        Ok(if newer_may_come { Verification::Stale(evidence) } else { Verification::Failed(evidence) })
    }
}
