//! Advisories of the Errata Tool, as [`contracts::Advisories`](crate::contracts::Advisories).
//!
//! ```no_run
//! use freshmaker::backend::Result;
//! use freshmaker_redhat::errata::{ErrataConfig, ErrataLogin, ErrataTool};
//! use freshmaker_redhat::contracts::Advisories;
//!
//! # async fn example() -> Result<()> {
//! let mut config = ErrataConfig::new("https://errata.example.org");
//! config.login = ErrataLogin::Kerberos;
//! config.check_offline()?;
//! let errata = ErrataTool::new(config)?;
//! let advisory = errata.advisory(139856).await?;
//! println!("{} in {}", advisory.name, advisory.state);
//! # Ok(())
//! # }
//! ```
//!
//! # Requests
//! Each question costs as many requests as it needs; independent ones are sent at the same time.
//!
//! | question | requests | paths |
//! |---|---|---|
//! | [`advisory`] | 3 | `api/v1/erratum/ID`, `advisory/ID.json`, `advisory/ID/bugs.json` |
//! | [`fixed_packages`] | 1 or 2 | `api/v1/erratum/ID/builds_by_cve`, and `advisory/ID/builds.json` if the CVEs name no packages |
//! | [`builds`] | 1 | `advisory/ID/builds.json` |
//! | [`repositories`] | 1 | `errata/get_pulp_packages/ID.json` |
//! | [`unsigned_builds`](ErrataTool::unsigned_builds) | 1 | `api/v1/erratum/ID/builds_list?with_sig_key=1` |
//! | [`advisories_of_build`](ErrataTool::advisories_of_build) | 1 | `api/v1/build/NVR` |
//! | [`shipped_since`] | 1 for each page | `api/v1/erratum/search`, and `advisory/ID.json` for each row without times |
//!
//! # Limits
//! A search for shipped advisories looks at those that were created at most 180 days before the
//! time in question, and at no more than 2,000 pages. The service is only read. Answers larger than
//! 32 MiB are refused, unless [`HttpConfig`] allows more. Builds of all products of an advisory
//! count: there is no choice of the release of RHEL that a product is based on.
//!
//! [`advisory`]: crate::contracts::Advisories::advisory
//! [`fixed_packages`]: crate::contracts::Advisories::fixed_packages
//! [`builds`]: crate::contracts::Advisories::builds
//! [`repositories`]: crate::contracts::Advisories::repositories
//! [`shipped_since`]: crate::contracts::ShippedAdvisories::shipped_since

mod packages;
mod read;
mod shipped;

use crate::contracts::{Advisories, Advisory, AdvisoryBuilds, ShippedAdvisories};
use crate::rest::{Answer, Rest};
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::time::{Timestamp, earlier};
use freshmaker_net::{HttpConfig, Kerberos, Negotiate, authorization, check_kerberos, of_system};
use futures_util::future::join3;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Url};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Largest accepted answer in bytes, unless the configuration says otherwise. The files of the
/// builds of one large advisory take a few MiB.
const BYTES_MAX: usize = 32 << 20;

/// How [`ErrataTool`] logs in. A client certificate is part of [`HttpConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrataLogin {
    /// No login, or only the client certificate.
    #[default]
    None,
    /// A Kerberos ticket. Needs the feature `gssapi`, or a [`Negotiate`] of your own.
    Kerberos,
}

/// How to reach an Errata Tool.
///
/// ```
/// use freshmaker_redhat::errata::{ErrataConfig, ErrataLogin};
///
/// let mut config = ErrataConfig::new("https://errata.example.org/");
/// config.login = ErrataLogin::Kerberos;
/// assert_eq!(config.http.url, "https://errata.example.org");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrataConfig {
    /// Base URL of the service (without `/api`), certificates and bounds. Unlike elsewhere, an
    /// answer may have at most 32 MiB by default.
    pub http: HttpConfig,
    /// How to log in. Default: [`ErrataLogin::None`].
    pub login: ErrataLogin,
    /// The identity for [`ErrataLogin::Kerberos`]. Default: that of the default ticket.
    pub kerberos: Kerberos,
}

impl ErrataConfig {
    /// Creates a configuration for the service at this URL, without a login.
    pub fn new(url: impl Into<String>) -> Self {
        let mut http = HttpConfig::new(url);
        http.bytes_max = BYTES_MAX;
        Self { http, login: ErrataLogin::None, kerberos: Kerberos::default() }
    }

    /// Checks what can be checked without the network: URL, certificates and Kerberos.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        Rest::new(&self.http)?;
        match self.login {
            ErrataLogin::Kerberos => check_kerberos(&self.kerberos),
            ErrataLogin::None => Ok(()),
        }
    }
}

/// A client of the Errata Tool that reads advisories; see the [module documentation](self).
///
/// ```
/// use freshmaker_redhat::errata::{ErrataConfig, ErrataTool};
/// use freshmaker_redhat::contracts::Advisories;
/// use std::sync::Arc;
///
/// let errata = ErrataTool::new(ErrataConfig::new("https://errata.example.org"))?;
/// let advisories: Arc<dyn Advisories> = Arc::new(errata);
/// # drop(advisories);
/// # Ok::<(), freshmaker::backend::Error>(())
/// ```
///
/// # Cancel safety
/// Every method may be dropped at any time: nothing is changed by it.
#[derive(Debug)]
#[doc(alias = "advisory")]
pub struct ErrataTool {
    rest: Rest,
    login: ErrataLogin,
    negotiate: Arc<dyn Negotiate>,
}

impl ErrataTool {
    /// Creates a client of this service. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the address is not a URL or a certificate file
    /// cannot be used.
    pub fn new(config: ErrataConfig) -> Result<Self> {
        let rest = Rest::new(&config.http)?;
        Ok(Self { rest, login: config.login, negotiate: of_system(config.kerberos) })
    }

    /// Takes the tokens for [`ErrataLogin::Kerberos`] from `negotiate` instead of the GSSAPI
    /// library of the system.
    #[must_use]
    #[doc(alias = "kerberos")]
    pub fn with_negotiate(self, negotiate: Arc<dyn Negotiate>) -> Self {
        Self { negotiate, ..self }
    }

    /// Returns the builds of an advisory that are not signed yet, or of which the service does not
    /// say so. All are signed if there are none, which includes an advisory without builds. Sends
    /// one request.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if there is no advisory with this number,
    /// [`Corrupt`](Remedy::Corrupt) if the answer makes no sense; else the error of the request.
    #[doc(alias = "builds_signed")]
    pub async fn unsigned_builds(&self, id: u64) -> Result<BTreeSet<Nvr>> {
        let path = format!("/api/v1/erratum/{id}/builds_list");
        self.get(&path, "?with_sig_key=1").await?.read(packages::unsigned)
    }

    /// Returns the numbers of the advisories that have this build, in any state. The epoch of the
    /// build does not matter. Sends one request.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if the service does not know the build,
    /// [`Corrupt`](Remedy::Corrupt) if the answer makes no sense or is about another build; else
    /// the error of the request.
    #[doc(alias = "all_errata")]
    pub async fn advisories_of_build(&self, build: &Nvr) -> Result<BTreeSet<u64>> {
        let name = format!("{}-{}-{}", build.name(), build.version(), build.release());
        let path = self.path_of_build(&name)?;
        self.get(&path, "").await?.read(|answer| read::advisories_of_build(answer, &name))
    }

    /// Returns the path of a build. Its name may have characters that have a meaning in a URL.
    fn path_of_build(&self, name: &str) -> Result<String> {
        let unusable = |text: &dyn std::fmt::Display| Error::new(Remedy::Unsupported, self.rest.url(), text);
        let mut url = Url::parse(self.rest.url()).map_err(|error| unusable(&error))?;
        url.set_path("");
        url.path_segments_mut().map_err(|()| unusable(&"this URL has no path"))?.extend(["api", "v1", "build", name]);
        Ok(url.path().to_owned())
    }

    /// Asks for a path, which errors name, with a query, which they do not name.
    async fn get(&self, path: &str, query: &str) -> Result<Answer> {
        let mut request = self.rest.request(Method::GET, &format!("{path}{query}"));
        if self.login == ErrataLogin::Kerberos {
            let token = authorization(Arc::clone(&self.negotiate), self.rest.url()).await?;
            request = request.header(AUTHORIZATION, token);
        }
        self.rest.send(request, format!("errata: GET {path}")).await
    }
}

/// Returns the answer to a question about an advisory that is known to exist. If the service does
/// not know it here, it contradicts itself.
fn of_known(answer: Result<Answer>) -> Result<Answer> {
    answer.map_err(|error| match error.remedy {
        Remedy::NotFound => {
            let text = format!("the service knows the advisory elsewhere, but not here: {}", error.text);
            Error::new(Remedy::Corrupt, error.place, text)
        }
        _ => error,
    })
}

#[async_trait]
impl Advisories for ErrataTool {
    async fn advisory(&self, id: u64) -> Result<Advisory> {
        let paths =
            [format!("/api/v1/erratum/{id}"), format!("/advisory/{id}.json"), format!("/advisory/{id}/bugs.json")];
        let [erratum, summary, bugs] = paths.each_ref().map(|path| self.get(path, ""));
        let (erratum, summary, bugs) = join3(erratum, summary, bugs).await;
        let erratum = erratum?.read(|answer| read::erratum(answer, id))?;
        let summary = of_known(summary)?.read(|answer| read::summary(answer, &erratum))?;
        let has_hightouch_bug = of_known(bugs)?.read(read::has_hightouch_bug)?;
        Ok(Advisory {
            id,
            name: erratum.name,
            state: erratum.state,
            content_types: erratum.content_types,
            security_impact: erratum.security_impact,
            product: summary.product,
            release: summary.release,
            reporter: summary.reporter,
            cves: erratum.cves,
            has_hightouch_bug,
        })
    }

    async fn fixed_packages(&self, id: u64) -> Result<BTreeSet<Nvr>> {
        let by_cve = self.get(&format!("/api/v1/erratum/{id}/builds_by_cve"), "").await?;
        let affected = by_cve.read(packages::by_cve)?;
        if !affected.is_empty() {
            return Ok(affected);
        }
        of_known(self.get(&format!("/advisory/{id}/builds.json"), "").await)?.read(packages::of_builds)
    }

    async fn builds(&self, id: u64) -> Result<BTreeSet<Nvr>> {
        self.get(&format!("/advisory/{id}/builds.json"), "").await?.read(packages::names)
    }

    async fn repositories(&self, id: u64) -> Result<BTreeSet<String>> {
        self.get(&format!("/errata/get_pulp_packages/{id}.json"), "").await?.read(read::repositories)
    }
}

#[async_trait]
impl AdvisoryBuilds for ErrataTool {
    async fn unsigned_builds(&self, id: u64) -> Result<BTreeSet<Nvr>> {
        Self::unsigned_builds(self, id).await
    }

    async fn advisories_of_build(&self, build: &Nvr) -> Result<BTreeSet<u64>> {
        Self::advisories_of_build(self, build).await
    }
}

#[async_trait]
impl ShippedAdvisories for ErrataTool {
    async fn shipped_since(&self, since: Timestamp) -> Result<BTreeSet<u64>> {
        const PATH: &str = "/api/v1/erratum/search";
        let created_since = earlier(since, shipped::PREPARATION);
        let mut found = BTreeSet::new();
        for number in 1..=shipped::PAGES_MAX {
            let page = self.get(PATH, &shipped::query(number)).await?.read(shipped::page)?;
            let mut all_older = true;
            for (id, times) in page.rows {
                let times = match times {
                    Some(times) => times,
                    None => of_known(self.get(&format!("/advisory/{id}.json"), "").await)?.read(shipped::times)?,
                };
                all_older &= times.created < created_since;
                if times.shipped >= since {
                    found.insert(id);
                }
            }
            if page.last || all_older {
                return Ok(found);
            }
        }
        let text = format!("more than {} pages of shipped advisories", shipped::PAGES_MAX);
        Err(Error::new(Remedy::Corrupt, format!("errata: GET {PATH}"), text))
    }
}
