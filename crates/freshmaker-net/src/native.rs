use super::HttpConfig;
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::tls::Version;
use reqwest::{Certificate, ClientBuilder, Identity};
use std::fmt;
use std::path::Path;

const KEY_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const KEY_END: &str = "-----END PRIVATE KEY-----";

/// Configures TLS by OpenSSL, at most version 1.2: the last version in which a server may ask for a
/// certificate after the handshake by renegotiation.
pub(super) fn configure(builder: ClientBuilder, config: &HttpConfig) -> Result<ClientBuilder> {
    let mut builder = builder.tls_backend_native().tls_version_max(Version::TLS_1_2);
    if let Some(path) = &config.ca {
        let authorities = Certificate::from_pem_bundle(&read(path)?).map_err(|error| unusable(path, &error))?;
        builder = builder.tls_certs_only(authorities);
    }
    if let Some(path) = &config.client_cert {
        let pem = read(path)?;
        let key = std::str::from_utf8(&pem).ok().and_then(key);
        let key = key.ok_or_else(|| unusable(path, &"there is no private key in the form of PKCS #8 in it"))?;
        builder = builder.identity(Identity::from_pkcs8_pem(&pem, key).map_err(|error| unusable(path, &error))?);
    }
    Ok(builder)
}

fn key(pem: &str) -> Option<&[u8]> {
    let (_, after) = pem.split_at(pem.find(KEY_BEGIN)?);
    let end = after.find(KEY_END)? + KEY_END.len();
    Some(&after.as_bytes()[..end])
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &dyn fmt::Display) -> Error {
    Error::new(Remedy::Unsupported, path.display().to_string(), error)
}
