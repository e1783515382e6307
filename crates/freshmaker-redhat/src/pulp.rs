//! Content sets of package repositories, from [Pulp](https://pulpproject.org/) 2, as
//! [`contracts::ContentSets`](crate::contracts::ContentSets).
//!
//! ```no_run
//! use freshmaker::backend::Result;
//! use freshmaker_net::Secret;
//! use freshmaker_redhat::contracts::ContentSets;
//! use freshmaker_redhat::pulp::{Pulp, PulpConfig, PulpLogin};
//!
//! # async fn example() -> Result<()> {
//! let mut config = PulpConfig::new("https://pulp.example.org");
//! config.login = PulpLogin::Password { user: "freshmaker".into(), password: Secret::new("…") };
//! let pulp = Pulp::new(config)?;
//! let sets = pulp.content_sets(&["rhel-7-server-rpms__7Server__x86_64".to_owned()].into()).await?;
//! println!("{sets:?}");
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//! The service is only read, by `POST /pulp/api/v2/repositories/search/`. A request asks for at
//! most 500 repositories, and at most 4 requests are sent at the same time. Pulp 3 has another
//! interface, which this module does not know.

use crate::contracts::ContentSets;
use crate::rest::Rest;
use crate::rest::field::{Read, Wrong, at, items, maybe_at, text};
use async_trait::async_trait;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Secret};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Largest number of repositories in one request, which keeps it below 100 KiB.
const REPOSITORIES_MAX: usize = 500;
/// Largest number of requests that are sent at the same time.
const PARALLEL: usize = 4;
/// Largest accepted answer in bytes, unless the configuration says otherwise. A repository takes
/// less than 10 KiB.
const BYTES_MAX: usize = 16 << 20;

const PATH: &str = "/pulp/api/v2/repositories/search/";

/// How [`Pulp`] logs in. A client certificate is part of [`HttpConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PulpLogin {
    /// No login, or only the client certificate.
    #[default]
    None,
    /// A user with a password (HTTP Basic).
    Password {
        /// The name of the user, which must not contain a colon.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// How to reach a Pulp.
///
/// ```
/// use freshmaker_redhat::pulp::PulpConfig;
///
/// let mut config = PulpConfig::new("https://pulp.example.org");
/// config.http.tls.client_cert = Some("/etc/pki/freshmaker.pem".into());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PulpConfig {
    /// Base URL of the service (without `/pulp`), certificates and bounds. Unlike elsewhere, an
    /// answer may have at most 16 MiB by default.
    pub http: HttpConfig,
    /// How to log in. Default: [`PulpLogin::None`].
    pub login: PulpLogin,
}

impl PulpConfig {
    /// Creates a configuration for the service at this URL, without a login.
    pub fn new(url: impl Into<String>) -> Self {
        let mut http = HttpConfig::new(url);
        http.bytes_max = BYTES_MAX;
        Self { http, login: PulpLogin::None }
    }

    /// Checks what can be checked without the network: URL, certificates, and the name of the user.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        Rest::new(&self.http)?;
        match &self.login {
            PulpLogin::Password { user, .. } if user.is_empty() || user.contains(':') => {
                let text = "the `user` of the login must not be empty or contain a colon";
                Err(Error::new(Remedy::Unsupported, self.http.url.as_str(), text))
            }
            PulpLogin::Password { .. } | PulpLogin::None => Ok(()),
        }
    }
}

/// A client of Pulp that reads repositories; see the [module documentation](self).
///
/// ```
/// use freshmaker_redhat::contracts::ContentSets;
/// use freshmaker_redhat::pulp::{Pulp, PulpConfig};
/// use std::sync::Arc;
///
/// let sets: Arc<dyn ContentSets> = Arc::new(Pulp::new(PulpConfig::new("https://pulp.example.org"))?);
/// # drop(sets);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
///
/// # Cancel safety
/// Every method may be dropped at any time: nothing is changed by it.
#[derive(Debug)]
#[doc(alias = "repository")]
pub struct Pulp {
    rest: Rest,
    login: PulpLogin,
}

impl Pulp {
    /// Creates a client of this service. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) as for [`PulpConfig::check_offline`].
    pub fn new(config: PulpConfig) -> Result<Self> {
        config.check_offline()?;
        Ok(Self { rest: Rest::new(&config.http)?, login: config.login })
    }

    /// Returns the content sets of a few repositories by one request.
    async fn search(&self, ids: BTreeSet<&str>) -> Result<BTreeSet<String>> {
        let mut request = self.rest.request(Method::POST, PATH);
        if let PulpLogin::Password { user, password } = &self.login {
            request = request.basic_auth(user, Some(password.expose()));
        }
        let criteria = json!({ "filters": { "id": { "$in": &ids } }, "fields": ["id", "notes"] });
        let request = request.json(&json!({ "criteria": criteria }));
        let answer = self.rest.send(request, format!("pulp: POST {PATH}")).await.map_err(|error| {
            match error.remedy {
                // A search that finds nothing is an empty list. This is a wrong address: asked
                // again until the configuration is corrected.
                Remedy::NotFound => error.with_remedy(Remedy::Unavailable),
                _ => error,
            }
        })?;
        answer.read(|answer| content_sets(answer, &ids))
    }
}

/// Reads the content sets of repositories. Those of users and of tests have none.
fn content_sets(answer: &Value, ids: &BTreeSet<&str>) -> Read<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    items(answer, |repository| {
        at(repository, "id", |id| match text(id)? {
            id if ids.contains(id) => Ok(()),
            id => Err(Wrong::new(format_args!("nobody asked for the repository `{id}`"))),
        })?;
        found.extend(at(repository, "notes", |notes| maybe_at(notes, "content_set", text))?.map(str::to_owned));
        Ok(())
    })?;
    Ok(found)
}

#[async_trait]
impl ContentSets for Pulp {
    /// Sends one request for each 500 repositories, and none if there are none.
    async fn content_sets(&self, repositories: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let ids: Vec<&str> = repositories.iter().map(String::as_str).collect();
        let searches: Vec<_> =
            ids.chunks(REPOSITORIES_MAX).map(|part| self.search(part.iter().copied().collect())).collect();
        let found: Vec<BTreeSet<String>> = stream::iter(searches).buffer_unordered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}
