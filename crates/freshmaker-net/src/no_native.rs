use super::HttpConfig;
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::ClientBuilder;

/// Replaces OpenSSL in builds without the feature `native-tls`: always returns an error.
pub(super) fn configure(_: ClientBuilder, config: &HttpConfig) -> Result<ClientBuilder> {
    Err(Error::new(
        Remedy::Unsupported,
        format!("TLS for {}", config.url),
        "OpenSSL needs the feature `native-tls` of this crate",
    ))
}
