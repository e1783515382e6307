use super::HttpConfig;
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::ClientBuilder;

/// Stands in the place of OpenSSL where this crate was compiled without it.
pub(super) fn configure(_: ClientBuilder, config: &HttpConfig) -> Result<ClientBuilder> {
    Err(Error::new(
        Remedy::Unsupported,
        format!("TLS for {}", config.url),
        "OpenSSL needs the feature `native-tls` of this crate",
    ))
}
