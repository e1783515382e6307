use super::{BuildRequest, Result};
use crate::rebuild::{ExternalId, Output, Verification};
use async_trait::async_trait;
use std::fmt;

/// A result that a build system has reported, and the request that led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The request, including the packages that the result [must contain](BuildRequest::demands).
    pub request: BuildRequest,
    /// The build system's own id of the attempt.
    pub external: ExternalId,
    /// The output, as the build system reported it.
    pub output: Output,
}

/// Checks the result of a build before other builds use it.
///
/// A build system that reports success does not guarantee that the result contains what it was
/// rebuilt for. A verifier finds that out. Register it for one build system with
/// [`EngineBuilder::verifier`](crate::engine::EngineBuilder::verifier); the engine then calls it
/// for each successful build of that system. Without a verifier, the report of the build system
/// counts. Builds of a dry run are not verified.
///
/// The [`Verification`] decides what follows:
///
/// * [`Passed`](Verification::Passed): the build is done, and its dependents can start.
/// * [`Unverified`](Verification::Unverified): the same; the reason of the build says so.
/// * [`Stale`](Verification::Stale): the artifact is built once more, without caches, after what
///   was prepared for it has been prepared anew.
/// * [`Failed`](Verification::Failed): the build fails, and with it the builds that wait for it.
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::{Made, Result, Verifier};
/// use freshmaker::rebuild::Verification;
///
/// // Accepts only results that have a digest.
/// #[derive(Debug)]
/// struct HasDigest;
///
/// #[async_trait]
/// impl Verifier for HasDigest {
///     async fn verify(&self, made: &Made) -> Result<Verification> {
///         Ok(match &made.output.digest {
///             Some(_) => Verification::Passed(None),
///             None => Verification::Failed("it has no digest".into()),
///         })
///     }
/// }
///
/// use freshmaker::Engine;
/// use std::sync::Arc;
/// let builder = Engine::builder().verifier("farm", Arc::new(HasDigest));
/// # drop(builder);
/// ```
#[async_trait]
pub trait Verifier: fmt::Debug + Send + Sync + 'static {
    /// Checks whether the result contains what was demanded.
    ///
    /// # Errors
    /// A [transient](super::Error::is_transient) error means that the check is not possible now:
    /// the engine calls this again later. Any other error counts as
    /// [`Failed`](Verification::Failed), with its text.
    ///
    /// # Errors
    /// If that cannot be found out now: it is asked again later.
    async fn verify(&self, made: &Made) -> Result<Verification>;
}
