use super::gssapi;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::header::HeaderValue;
use std::fmt;
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

/// Returns the Kerberos of the system: a ticket from `kinit`, or the keytab that the environment
/// variable `KRB5_CLIENT_KTNAME` names.
///
/// Without the feature `gssapi`, every token fails with a text that names the feature.
#[doc(alias = "kerberos")]
pub fn of_system() -> Arc<dyn Negotiate> {
    Arc::new(gssapi::System)
}

/// Returns the value of the header `Authorization` that proves our identity to the server of this
/// URL. The value is marked as sensitive, so reqwest does not log it.
///
/// # Errors
/// [`Unavailable`](Remedy::Unavailable) if there is no token or the URL cannot be parsed. The
/// request that needs the header was not sent.
///
/// # Panics
/// Without a tokio runtime.
pub async fn authorization(negotiate: Arc<dyn Negotiate>, url: &str) -> Result<HeaderValue> {
    let failed = |text: &dyn fmt::Display| Error::new(Remedy::Unavailable, format!("Kerberos for {url}"), text);
    let parsed = reqwest::Url::parse(url).map_err(|error| failed(&error))?;
    let service = format!("HTTP@{}", parsed.host_str().unwrap_or_default());
    let token = tokio::task::spawn_blocking(move || negotiate.token(&service)).await.map_err(|error| failed(&error))?;
    let token = BASE64_STANDARD.encode(token.map_err(|error| failed(&error))?);
    let mut header = HeaderValue::from_str(&format!("Negotiate {token}")).map_err(|error| failed(&error))?;
    header.set_sensitive(true);
    Ok(header)
}
