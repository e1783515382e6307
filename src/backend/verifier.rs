use super::{BuildRequest, Result};
use crate::rebuild::{ExternalId, Output, Verification};
use async_trait::async_trait;
use std::fmt;

/// Something that a build system says it has built.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// What was asked for, with what the result [must contain](BuildRequest::demands).
    pub request: BuildRequest,
    /// What the build system calls it.
    pub external: ExternalId,
    /// What came out.
    pub output: Output,
}

/// Who looks at a result before others are built on it: "the build system says done" is not yet "it has what it was rebuilt for".
///
/// Registered for a build system with [`EngineBuilder::verifier`](crate::engine::EngineBuilder::verifier), it is asked about each of its successes. A
/// result that is [stale](Verification::Stale) is built once more, with what it needs prepared anew and without caches.
///
/// ```
/// use async_trait::async_trait;
/// use freshmaker::backend::{Made, Result, Verifier};
/// use freshmaker::rebuild::Verification;
///
/// /// Trusts only what has a digest.
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
    /// Whether the result has what was demanded.
    ///
    /// # Errors
    /// If that cannot be found out now: it is asked again later.
    async fn verify(&self, made: &Made) -> Result<Verification>;
}
