use super::gssapi;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::header::HeaderValue;
use std::fmt;
use std::sync::Arc;

/// Who makes the tokens of `Authorization: Negotiate` (SPNEGO), by which a Kerberos ticket is shown.
///
/// ```
/// use freshmaker_redhat::koji::{Config, KojiBuildSystem};
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
/// let config = Config::new("https://koji.example.org/kojihub");
/// let builds = KojiBuildSystem::new(config)?.with_negotiate(Arc::new(FromAgent));
/// # drop(builds);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
pub trait Negotiate: fmt::Debug + Send + Sync {
    /// The first token for a service, such as `HTTP@koji.example.org`. It may take as long as a call over the network, and is called on a thread where
    /// that does no harm.
    ///
    /// # Errors
    /// What the user can do something about: no ticket, no keytab, no library.
    fn token(&self, service: &str) -> Result<Vec<u8>, String>;
}

/// The system's own Kerberos: tickets of `kinit`, or the keytab that `KRB5_CLIENT_KTNAME` names. Needs the feature `gssapi`.
pub fn of_system() -> Arc<dyn Negotiate> {
    Arc::new(gssapi::System)
}

/// The header that shows who we are to the server of this URL. A failure means that nothing was sent.
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
