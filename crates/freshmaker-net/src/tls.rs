use freshmaker::backend::{Error, Remedy, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The PEM files that a client uses for TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct PemFiles<'a> {
    /// Certificates of the trusted authorities. Default: those of the system.
    pub ca: Option<&'a Path>,
    /// Certificate and private key that the client presents to the server, in this order. Both may
    /// be in one file. Default: none.
    pub client: Option<(&'a Path, &'a Path)>,
}

/// Returns a rustls configuration that verifies the server, with the crypto provider of ring.
///
/// The provider is passed explicitly and not installed for the process, so libraries with different
/// providers can run in one program. `place` names the service in errors.
///
/// # Errors
/// [`Unsupported`](Remedy::Unsupported) if a file cannot be read, has no certificate or no private
/// key, or the key does not match the certificate.
pub fn client_config(place: &str, files: PemFiles<'_>) -> Result<ClientConfig> {
    let failed = |error: &dyn std::fmt::Display| Error::new(Remedy::Unsupported, format!("TLS for {place}"), error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots(files.ca)?);
    match files.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let certificates = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(certificates, key).map_err(|error| failed(&error))
        }
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unreadable(path, &error))?;
            }
        }
        // A system without certificates is no error here: connections without TLS still work.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    let certificates = read.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(unreadable(path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Remedy::Unsupported, path.display().to_string(), error)
}
