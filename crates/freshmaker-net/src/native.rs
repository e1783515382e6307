use super::HttpConfig;
use super::pem::{authorities, no_key};
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
    if let Some(path) = &config.tls.ca {
        let certificates = authorities(path)?.into_iter().map(|der| Certificate::from_der(&der));
        let certificates = certificates.collect::<reqwest::Result<Vec<_>>>().map_err(|error| unusable(path, &error))?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some((certificate, key_file)) = config.tls.client() {
        let (pem, key_pem) = (read(certificate)?, read(key_file)?);
        let key = std::str::from_utf8(&key_pem).ok().and_then(key);
        let missing = "there is no private key in the form of PKCS #8 in it";
        let key = key.ok_or_else(|| no_key(key_file, &key_pem, &missing))?;
        let identity = Identity::from_pkcs8_pem(&pem, key).map_err(|error| unusable(certificate, &error))?;
        builder = builder.identity(identity);
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
