use super::OidcConfig;
use crate::problem::Problem;
use freshmaker::backend::Clock;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whether this build can check tokens of an issuer.
pub(crate) const HAS_OIDC: bool = false;

/// Stands for what the feature `oidc` brings: it accepts nothing.
#[derive(Debug)]
pub(super) struct Verifier;

impl Verifier {
    pub(super) fn new(_: OidcConfig, _: Arc<dyn Clock>) -> Self {
        Self
    }

    pub(super) async fn verify(&self, _: &str) -> Result<(String, BTreeSet<String>), Problem> {
        Err(Problem::refused("this program is built without the feature `oidc`"))
    }
}
