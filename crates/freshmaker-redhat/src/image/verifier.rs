use super::Unmet;
use crate::contracts::InstalledPackages;
use async_trait::async_trait;
use freshmaker::artifact::{ArtifactKind, Nvr};
use freshmaker::backend::{Clock, Error, Made, Remedy, Result, Verifier};
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::{BuildMode, Verification};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A [`Verifier`] that checks that rebuilt images contain the packages that they were rebuilt for,
/// as Koji, Lightblue or Pyxis lists them.
///
/// * A package that is older than demanded is [stale](Verification::Stale): the image is built once
///   more, and may get the newer one. If it does not, its build fails.
/// * A package that is missing, or that is from a module when it should not be (or the reverse), is
///   a [failure](Verification::Failed).
/// * Both say which package is wrong, and in which architecture.
/// * Scratch builds, other artifacts than images, and requests without demands pass without a
///   check: services do not list the packages of scratch builds.
///
/// Catalogs learn of an image some time after it was built. Until then the result is looked at
/// again, with the back-off of the engine, and nothing is built on it. After the
/// [patience](Self::with_patience) its build fails.
///
/// # Errors
/// [`verify`](Verifier::verify) fails with [`Unavailable`](Remedy::Unavailable) if the service does
/// not list the packages yet, and otherwise like [`InstalledPackages::unmet`].
///
/// # Examples
///
/// ```
/// # #[cfg(all(feature = "koji", feature = "pyxis"))]
/// # fn main() -> freshmaker::backend::Result<()> {
/// use freshmaker::Engine;
/// use freshmaker_redhat::image::ImageVerifier;
/// use freshmaker_redhat::koji::{KojiBuildSystem, KojiConfig, KojiReader};
/// use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
/// use std::sync::Arc;
///
/// let config = KojiConfig::new("https://koji.example.org/kojihub");
/// let by_koji = ImageVerifier::new(Arc::new(KojiReader::new(&config)?));
/// let pyxis = Pyxis::new(PyxisConfig::new("https://graphql.pyxis.example.org"))?;
/// let by_catalog = ImageVerifier::new(Arc::new(pyxis));
/// let builder = Engine::builder()
///     .build_system("koji", Arc::new(KojiBuildSystem::new(config)?))
///     .verifier("koji", Arc::new(by_catalog));
/// # drop((builder, by_koji));
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "koji", feature = "pyxis")))]
/// # fn main() {}
/// ```
#[derive(Debug)]
#[doc(alias = "KojiVerifier")]
pub struct ImageVerifier {
    packages: Arc<dyn InstalledPackages>,
    patience: Duration,
    clock: Arc<dyn Clock>,
    /// Since when the packages of each image are waited for. Lost with the process, which costs
    /// only time.
    waits: Mutex<BTreeMap<Nvr, Duration>>,
}

impl ImageVerifier {
    /// How long the packages of an image are waited for, by default: a day.
    pub const PATIENCE: Duration = Duration::from_secs(24 * 3600);

    /// Makes a verifier that asks this service.
    #[must_use]
    pub fn new(packages: Arc<dyn InstalledPackages>) -> Self {
        let waits = Mutex::default();
        Self { packages, patience: Self::PATIENCE, clock: Arc::new(SystemClock), waits }
    }

    /// Sets how long a result is looked at again while the service does not list its packages.
    /// After a restart of the process the time begins anew.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sets the clock; that of the system if not set.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Returns whether the packages of an image have been waited for long enough, counted from the
    /// first question.
    fn has_waited(&self, image: &Nvr) -> bool {
        let now = self.clock.elapsed();
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        // Images that are no longer asked about, because their builds were cancelled.
        waits.retain(|_, since| now.saturating_sub(*since) <= self.patience.saturating_mul(2));
        now.saturating_sub(*waits.entry(image.clone()).or_insert(now)) >= self.patience
    }

    fn stop_waiting(&self, image: &Nvr) {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(image);
    }
}

#[async_trait]
impl Verifier for ImageVerifier {
    async fn verify(&self, made: &Made) -> Result<Verification> {
        let request = &made.request;
        if request.kind != ArtifactKind::Image || request.mode == BuildMode::Scratch || request.demands.is_empty() {
            return Ok(Verification::Passed(None));
        }
        let image: Nvr = match made.output.name.parse() {
            Ok(image) => image,
            Err(error) => {
                let text = format!("the packages of the result cannot be looked up: {error}");
                return Ok(Verification::Failed(text));
            }
        };
        let service = self.packages.service();
        let Some(unmet) = self.packages.unmet(&image, &request.demands).await? else {
            if !self.has_waited(&image) {
                let place = format!("{service}: packages of {image}");
                return Err(Error::new(Remedy::Unavailable, place, "it does not list them yet"));
            }
            self.stop_waiting(&image);
            let text = format!("{service} has not listed the packages of {image} for {:?}", self.patience);
            return Ok(Verification::Failed(text));
        };
        self.stop_waiting(&image);
        if unmet.is_empty() {
            return Ok(Verification::Passed(None));
        }
        let evidence: Vec<_> = unmet.iter().map(ToString::to_string).collect();
        let evidence = evidence.join("; ");
        let newer_may_come = unmet.iter().all(|unmet| matches!(unmet, Unmet::Older { .. }));
        Ok(if newer_may_come { Verification::Stale(evidence) } else { Verification::Failed(evidence) })
    }
}
