use super::gssapi;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::header::HeaderValue;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes the tokens of `Authorization: Negotiate` (SPNEGO), which prove the identity of a Kerberos
/// ticket to a server.
///
/// The default implementation, [`of_system`], uses the GSSAPI library of the system. Implement this
/// trait to take tokens from another source.
///
/// ```
/// use freshmaker_net::Negotiate;
/// use std::sync::Arc;
///
/// #[derive(Debug)]
/// struct FromAgent;
///
/// impl Negotiate for FromAgent {
///     fn token(&self, service: &str) -> Result<Vec<u8>, String> {
///         Err(format!("the agent has no ticket for {service}"))
///     }
/// }
///
/// // A client takes it with its `with_negotiate`.
/// let negotiate: Arc<dyn Negotiate> = Arc::new(FromAgent);
/// assert!(negotiate.token("HTTP@koji.example.org").is_err());
/// ```
#[doc(alias = "kerberos")]
#[doc(alias = "gssapi")]
#[doc(alias = "spnego")]
pub trait Negotiate: fmt::Debug + Send + Sync {
    /// Returns the first token for a service, such as `HTTP@koji.example.org`. This method may
    /// block for as long as a network call takes; [`authorization`] calls it on a blocking thread.
    ///
    /// # Errors
    /// A sentence about what the user has to fix: there is no ticket, no keytab, or no library.
    fn token(&self, service: &str) -> Result<Vec<u8>, String>;
}

/// Which identity of Kerberos a client uses.
///
/// ```
/// use freshmaker_net::Kerberos;
///
/// let service = Kerberos {
///     principal: Some("rebuilder/host.example.org@EXAMPLE.ORG".to_owned()),
///     keytab: Some("/etc/rebuilder.keytab".into()),
/// };
/// assert_ne!(service, Kerberos::default(), "the default is the ticket of the user");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kerberos {
    /// The principal. Default: that of the default ticket.
    pub principal: Option<String>,
    /// Keytab with the key of the principal, from which tickets are made when there are none.
    /// Default: the keytab that the environment variable `KRB5_CLIENT_KTNAME` names, if it is set.
    pub keytab: Option<PathBuf>,
}

/// Returns the Kerberos of the system, with this identity.
///
/// Without the feature `gssapi`, every token fails with a text that names the feature.
#[doc(alias = "kerberos")]
pub fn of_system(identity: Kerberos) -> Arc<dyn Negotiate> {
    Arc::new(gssapi::System(identity))
}

/// Returns whether [`of_system`] can make tokens at all, as far as that can be said without a
/// ticket.
///
/// # Errors
/// [`Unsupported`](Remedy::Unsupported) if the feature `gssapi` is not compiled in, the library of
/// the system cannot be loaded, or the keytab cannot be read or is none.
pub fn check_kerberos(identity: &Kerberos) -> Result<()> {
    let failed = |place: &str, text: &dyn fmt::Display| Err(Error::new(Remedy::Unsupported, place, text));
    if let Some(path) = &identity.keytab {
        match begins_like_keytab(path) {
            Ok(true) => {}
            Ok(false) => return failed(&path.display().to_string(), &"this is no keytab"),
            Err(error) => return failed(&path.display().to_string(), &error),
        }
    }
    gssapi::check().or_else(|text| failed("Kerberos", &text))
}

/// Returns whether a file begins with the number and the version of the format of keytabs.
fn begins_like_keytab(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    std::fs::File::open(path)?.take(2).read_to_end(&mut start)?;
    Ok(matches!(start[..], [5, 1 | 2]))
}

/// Returns the value of the header `Authorization` that proves our identity to the server of this
/// URL. The value is marked as sensitive, so reqwest does not log it.
///
/// # Errors
/// [`Unsupported`](Remedy::Unsupported) if the URL cannot be parsed;
/// [`Unavailable`](Remedy::Unavailable) if there is no token. The request that needs the header was
/// not sent.
///
/// # Panics
/// Without a tokio runtime.
pub async fn authorization(negotiate: Arc<dyn Negotiate>, url: &str) -> Result<HeaderValue> {
    let failed = |text: &dyn fmt::Display| Error::new(Remedy::Unavailable, format!("Kerberos for {url}"), text);
    let parsed = reqwest::Url::parse(url).map_err(|error| failed(&error).with_remedy(Remedy::Unsupported))?;
    let service = format!("HTTP@{}", parsed.host_str().unwrap_or_default());
    let token = tokio::task::spawn_blocking(move || negotiate.token(&service)).await.map_err(|error| failed(&error))?;
    let token = BASE64_STANDARD.encode(token.map_err(|error| failed(&error))?);
    let mut header = HeaderValue::from_str(&format!("Negotiate {token}")).map_err(|error| failed(&error))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keytabs_are_known_by_their_first_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keytab");
        for (bytes, expected) in
            [(&[5, 2, 0][..], true), (&[5, 1], true), (&[5, 3], false), (&[5], false), (b"", false), (b"text", false)]
        {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(begins_like_keytab(&file).unwrap(), expected, "{bytes:?}");
        }
        assert!(begins_like_keytab(directory.path()).is_err());
        assert!(begins_like_keytab(&directory.path().join("no")).is_err());
    }
}
