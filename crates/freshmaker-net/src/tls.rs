use super::pem::{authorities, certificates, check_validity, private_key, unreadable};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::time::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The PEM files of a connection over TLS.
///
/// ```
/// use freshmaker_net::TlsFiles;
///
/// let files = TlsFiles {
///     ca: Some("/etc/pki/example-ca.pem".into()),
///     client_cert: Some("/etc/pki/me.pem".into()),
///     client_key: None,
/// };
/// assert_eq!(files.client().map(|(cert, key)| cert == key), Some(true), "both in one file");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the trusted authorities, also in OpenSSL's form `TRUSTED CERTIFICATE`.
    /// Default: those of the system.
    pub ca: Option<PathBuf>,
    /// Certificate that the client shows to the server. Default: none.
    pub client_cert: Option<PathBuf>,
    /// Private key of the client's certificate. Default: it is in the file of the certificate.
    pub client_key: Option<PathBuf>,
}

impl TlsFiles {
    /// Returns the files with the client's certificate and its key, which may be the same file;
    /// `None` if there is no certificate.
    #[must_use]
    pub fn client(&self) -> Option<(&Path, &Path)> {
        let certificate = self.client_cert.as_deref()?;
        Some((certificate, self.client_key.as_deref().unwrap_or(certificate)))
    }

    /// Returns whether the client's certificate is valid at a moment: a server refuses it if not.
    /// Without a certificate there is nothing to refuse.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file, if the certificate has expired or is
    /// not valid yet, or the file cannot be read.
    pub fn check_validity(&self, at: Timestamp) -> Result<()> {
        self.client().map_or(Ok(()), |(certificate, _)| check_validity(certificate, at))
    }
}

/// Returns a rustls configuration that verifies the server, with the crypto provider of ring.
///
/// The provider is passed explicitly and not installed for the process, so libraries with different
/// providers can run in one program. `place` names the service in errors.
///
/// # Errors
/// [`Unsupported`](Remedy::Unsupported) if a file cannot be read, has no certificate or no private
/// key, or the key does not match the certificate.
pub fn client_config(place: &str, files: &TlsFiles) -> Result<ClientConfig> {
    let failed = |error: &dyn std::fmt::Display| Error::new(Remedy::Unsupported, format!("TLS for {place}"), error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots(files.ca.as_deref())?);
    match files.client() {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let certificates = certificates(certificate)?;
            builder.with_client_auth_cert(certificates, private_key(key)?).map_err(|error| failed(&error))
        }
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in authorities(path)? {
                roots.add(certificate).map_err(|error| unreadable(path, &error))?;
            }
        }
        // A system without certificates is no error here: connections without TLS still work.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}
