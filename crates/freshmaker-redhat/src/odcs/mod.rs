//! Package repositories on demand, made by [ODCS](https://pagure.io/odcs/) ("composes"), as
//! prerequisites of builds.
//!
//! A repository is an artifact of the kind [`Repository`](freshmaker::ArtifactKind::Repository),
//! whose parameters say what it is made from; the artifacts that are built with it depend on it.
//! [`Compose`] creates the parameters and the name, so that equal repositories of several events
//! share one build.
//!
//! ```
//! use freshmaker_redhat::odcs::{Compose, Flag, OdcsComposer, OdcsConfig};
//! use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
//! use std::sync::Arc;
//!
//! let compose =
//!     Compose::tag("rhel-9-candidate").with_packages(["bash"]).with_flags([Flag::NoDeps]);
//! let mut repository =
//!     Artifact::new(compose.artifact(), ArtifactKind::Repository).with_source("odcs", None);
//! repository.parameters = (&compose).into();
//! let mut graph = ArtifactGraph::new();
//! graph.insert(repository);
//! graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("images/app", None));
//! graph.depend("app", compose.artifact(), EdgeKind::Repository)?;
//!
//! let odcs = OdcsComposer::new(OdcsConfig::new("https://odcs.example.org"))?;
//! let builder = Engine::builder().composer("odcs", Arc::new(odcs));
//! # drop(builder);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a compose is made only once
//! The service has no idempotency key by which it could recognise a repeated request. This adapter
//! looks up the compose that an unclear request may have made:
//!
//! * For composes of Pulp the service stores the label, shows it and filters by it, but gives it no
//!   meaning. The marker of the attempt is the label, and the lookup is exact. All other composes
//!   are made by Pungi, which accepts only labels of releases.
//! * For the others the lookup searches for an equal compose, in any state, since shortly before
//!   the request was sent. It compares the source, packages, builds, keys, architectures, flags,
//!   results and other properties, as the service writes them. An equal compose is adopted,
//!   whichever client requested it. A property that the request leaves to the server, for example
//!   the architectures, matches any value.
//! * Repeating a renewal does not harm a compose that still exists. For a compose that is gone the
//!   service makes a copy; the lookup searches for it in the same way.
//!
//! One compose can therefore belong to several attempts: an [`ExternalId`] is the number of the
//! compose, `@`, the attempt, `+`, and the seconds that the compose is kept. The output of a build
//! is named by the number alone.
//!
//! # A compose that expires before it is used
//! A compose that is done and expires within [`OdcsConfig::margin`] is renewed before it counts as
//! done, for as long as its request said that it is kept. If the server refuses, the compose counts
//! as done until it expires, and then as a failure of the infrastructure, after which a new compose
//! is made. Before the engine submits a build that uses a compose it asks for the state again, with
//! the same effect: a compose that expires soon is renewed, and a compose that is gone is replaced.

mod client;
mod compose;
mod known;
mod record;

pub use client::About;
pub use compose::{Compose, ComposeError, Flag, SourceType};
pub use record::ComposeRecord;

use crate::messages::odcs::ComposeState;
use async_trait::async_trait;
use client::{Client, Odd};
use freshmaker::backend::{Capabilities, Clock, ComposeRequest, Composer, Error, Found, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::{AttemptId, ExternalId, Failure, FailureClass, Observed};
use freshmaker::time::Timestamp;
use freshmaker_net::{HttpConfig, Kerberos, Negotiate, Secret};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Largest number of composes whose state is requested at the same time.
const PARALLEL: usize = 8;

/// Number of polls in a row that may bring nonsense about a compose. With the last one its attempt
/// has failed. They are counted in memory, so a restart begins anew.
const ODD_POLLS_MAX: u32 = 10;

/// Largest number of composes whose nonsense is counted.
const ODD_COMPOSES_MAX: usize = 10_000;

/// How [`OdcsComposer`] logs in. A client certificate is part of [`HttpConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OdcsLogin {
    /// No login, or only the client certificate.
    #[default]
    None,
    /// A token of OpenID Connect.
    Token(Secret),
    /// A file with a token of OpenID Connect, at most 64 KiB. The file is read again after the
    /// server has refused the token.
    TokenFile(PathBuf),
    /// A Kerberos ticket. Needs the feature `gssapi`, or a [`Negotiate`] of your own.
    Kerberos,
}

/// How to reach and use an ODCS.
///
/// ```
/// use freshmaker_redhat::odcs::{OdcsLogin, OdcsConfig};
///
/// let mut config = OdcsConfig::new("https://odcs.example.org");
/// config.login = OdcsLogin::TokenFile("/run/secrets/odcs-token".into());
/// config.owner = Some("freshmaker".to_owned());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OdcsConfig {
    /// Base URL of the service (without `/api`), certificates and bounds.
    pub http: HttpConfig,
    /// How to log in. Default: [`OdcsLogin::None`].
    pub login: OdcsLogin,
    /// The identity for [`OdcsLogin::Kerberos`]. Default: that of the default ticket.
    pub kerberos: Kerberos,
    /// Our user name at the service: a lookup adopts only composes of this owner. Default: none,
    /// which means that it adopts equal composes of any owner.
    pub owner: Option<String>,
    /// How long a compose is kept, unless its request says otherwise. Default: 24 h.
    pub lifetime: Duration,
    /// A finished compose that expires within this time is renewed, because builds that use it
    /// might start after it expired. For a compose that is kept for less than twice this time, half
    /// of its lifetime counts. Default: 6 h.
    pub margin: Duration,
    /// How far the clock of the service may be behind ours. Default: 120 s.
    pub clock_skew: Duration,
    /// How long a request that was sent may still take effect. Default: 60 s.
    pub settle: Duration,
    /// How often the state of an unfinished compose is polled. Default: 20 s.
    pub poll: Duration,
}

impl OdcsConfig {
    /// Creates a configuration for the service at this URL, without a login and with the defaults:
    /// composes live for 24 h and are renewed in their last 6 h.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            login: OdcsLogin::None,
            kerberos: Kerberos::default(),
            owner: None,
            lifetime: Duration::from_secs(24 * 3600),
            margin: Duration::from_secs(6 * 3600),
            clock_skew: Duration::from_secs(120),
            settle: Duration::from_secs(60),
            poll: Duration::from_secs(20),
        }
    }

    /// Checks what can be checked without the network: URL, certificates, token file, Kerberos, and
    /// times.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        HttpConfig::check_url(&self.http.url)?;
        if self.poll.is_zero() || self.lifetime.is_zero() {
            let text = "`poll` and `lifetime` must be greater than 0";
            return Err(Error::new(Remedy::Unsupported, self.http.url.as_str(), text));
        }
        client::check_offline(self)
    }
}

/// A [`Composer`] that lets ODCS make package repositories; see the [module documentation](self).
///
/// # Cancel safety
/// If a [`prepare`](Composer::prepare) future is dropped after the request was sent, the compose
/// may exist. Treat it like [`Unclear`](Remedy::Unclear) and look it up with
/// [`find`](Composer::find).
#[derive(Debug)]
#[doc(alias = "compose")]
#[doc(alias = "pulp")]
#[doc(alias = "pungi")]
pub struct OdcsComposer {
    client: Client,
    config: OdcsConfig,
    clock: Arc<dyn Clock>,
    /// How many polls in a row brought nonsense, by compose.
    odd: Mutex<BTreeMap<u64, u32>>,
}

impl OdcsComposer {
    /// Creates a composer that uses this service. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the address is not a URL or a certificate file
    /// cannot be used.
    pub fn new(config: OdcsConfig) -> Result<Self> {
        Ok(Self { client: Client::new(&config)?, config, clock: Arc::new(SystemClock), odd: Mutex::default() })
    }

    /// Takes the tokens for [`OdcsLogin::Kerberos`] from `negotiate` instead of the GSSAPI library
    /// of the system.
    #[must_use]
    #[doc(alias = "kerberos")]
    pub fn with_negotiate(self, negotiate: Arc<dyn Negotiate>) -> Self {
        Self { client: self.client.with_negotiate(negotiate), ..self }
    }

    /// Replaces the clock, which is the system's by default.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the server's description of itself, and checks that the configured login is one that
    /// the server accepts.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the server requires another login; else the error of
    /// the request.
    pub async fn check(&self) -> Result<About> {
        let about = self.client.about().await?;
        let token = matches!(self.config.login, OdcsLogin::Token(_) | OdcsLogin::TokenFile(_));
        let certificate = self.config.http.tls.client_cert.is_some();
        let kerberos = self.config.login == OdcsLogin::Kerberos;
        let fits = match about.auth_backend.as_str() {
            "openidc" => token,
            "kerberos" => kerberos,
            "ssl" => certificate,
            "kerberos_or_ssl" => kerberos || certificate,
            "oidc_or_kerberos" => token || kerberos,
            // No login is required, or one that this crate does not know.
            _ => true,
        };
        if !fits {
            let text = format!("the server requires a login by {}, and another one is configured", about.auth_backend);
            return Err(Error::new(Remedy::Unsupported, "odcs: GET /api/1/about/", text));
        }
        Ok(about)
    }

    /// Tries the login and its permissions to make and to renew composes, without making or
    /// renewing any.
    ///
    /// The service checks these before it reads a request. So an empty request for a compose is
    /// refused as one that makes no sense (400), and a renewal of compose 0, which no service has,
    /// as unknown (404), or the login is refused (401, 403).
    ///
    /// # Errors
    /// The error of a request that is refused for another reason, or has no answer.
    pub async fn check_login(&self) -> Result<()> {
        let empty = json!({});
        match self.client.post(&empty).await {
            Err(error) if error.remedy == Remedy::Rejected => {}
            Err(error) => return Err(error),
            Ok(record) => {
                let text = format!("an empty request made compose {}", record.id);
                return Err(Error::new(Remedy::Corrupt, "odcs: POST /api/1/composes/", text));
            }
        }
        match self.client.patch(0, &empty).await {
            Err(error) if matches!(error.remedy, Remedy::NotFound | Remedy::Rejected) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Returns a compose by its id, whichever client requested it.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if there is no compose with this id; else the error of the
    /// request.
    pub async fn compose(&self, id: u64) -> Result<ComposeRecord> {
        self.client.get(id).await
    }

    fn seconds(&self, compose: &Compose) -> u64 {
        compose.lifetime().unwrap_or(self.config.lifetime).as_secs()
    }

    /// Returns how long a renewed compose is to be kept: as its request says, else as long as it
    /// was kept so far.
    async fn seconds_renewed(&self, compose: &Compose, id: u64) -> Result<u64> {
        if let Some(lifetime) = compose.lifetime() {
            return Ok(lifetime.as_secs());
        }
        match self.client.get(id).await {
            Ok(record) => Ok(record.lifetime().unwrap_or(self.config.lifetime).as_secs()),
            // The service still knows composes that it has removed; this one never was.
            Err(error) if error.remedy == Remedy::NotFound => Err(error),
            // Nothing was requested yet.
            Err(error) => Err(error.with_remedy(Remedy::Unavailable)),
        }
    }

    /// Renews a compose. The service refuses to renew a compose that is not finished; that is no
    /// error, because its whole lifetime begins when it is finished.
    async fn renew(&self, id: u64, seconds: u64) -> Result<ComposeRecord> {
        match self.client.patch(id, &json!({ "seconds-to-live": seconds })).await {
            Err(error) if error.remedy == Remedy::NotFound => {
                let record = self.client.get(id).await?;
                if record.is_live(self.clock.now()) { Ok(record) } else { Err(error) }
            }
            answer => answer,
        }
    }

    /// Returns the state of a compose; `None` if its description makes no sense for now.
    async fn observe(&self, id: u64, lifetime: Option<Duration>) -> Result<Option<Observed>> {
        let record = match self.client.look(id).await {
            Ok(Ok(record)) => record,
            Ok(Err(odd)) => return Ok(self.odd(id, &odd.reason)),
            Err(error) if error.remedy == Remedy::NotFound => return Ok(Some(Observed::Vanished)),
            Err(error) => return Err(error),
        };
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.renewed_in_time(id, record, lifetime).await.map(Some)
    }

    /// Counts a poll that brought nonsense about a compose; returns its failure after too many.
    fn odd(&self, id: u64, reason: &str) -> Option<Observed> {
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        let polls = odd.get(&id).map_or(1, |polls| polls + 1);
        if polls < ODD_POLLS_MAX {
            odd.insert(id, polls);
            if odd.len() > ODD_COMPOSES_MAX {
                odd.pop_first();
            }
            tracing::warn!(compose.id = id, reason, polls, "the description of a compose makes no sense");
            return None;
        }
        odd.remove(&id);
        let text = format!("the description of compose {id} made no sense {polls} times in a row: {reason}");
        Some(Observed::Failed(Failure::new(FailureClass::Permanent, text)))
    }

    /// Returns within which time of its end a compose is renewed. One that lives shortly would
    /// otherwise be renewed with each look at it.
    fn margin(&self, lifetime: Duration) -> Duration {
        self.config.margin.min(lifetime / 2)
    }

    /// Renews a finished compose that expires soon, by its own lifetime.
    async fn renewed_in_time(&self, id: u64, record: ComposeRecord, lifetime: Option<Duration>) -> Result<Observed> {
        let now = self.clock.now();
        let observed = record.observed(now);
        let lifetime = lifetime.or_else(|| record.lifetime()).unwrap_or(self.config.lifetime);
        if !matches!(observed, Observed::Succeeded(_)) || !record.expires_within(now, self.margin(lifetime)) {
            return Ok(observed);
        }
        let seconds = lifetime.as_secs();
        let text = match self.client.patch(id, &json!({ "seconds-to-live": seconds })).await {
            Ok(renewed) if renewed.id == id && !renewed.expires_within(now, Duration::ZERO) => {
                return Ok(renewed.observed(now));
            }
            Ok(renewed) if renewed.id == id => "the server did not extend its lifetime".to_owned(),
            Ok(renewed) => format!("it expired; compose {} was made in its place", renewed.id),
            // The server refused definitely.
            Err(error) if matches!(error.remedy, Remedy::Rejected | Remedy::NotNow | Remedy::NotFound) => {
                error.to_string()
            }
            Err(error) => return Err(error),
        };
        if record.expires_within(now, Duration::ZERO) {
            let text = format!("compose {id} expired before it was used, and could not be renewed: {text}");
            return Ok(Observed::Failed(Failure::new(FailureClass::Infrastructure, text)));
        }
        tracing::warn!(compose.id = id, error = text, "a compose expires soon and could not be renewed");
        Ok(observed)
    }

    /// Returns composes with these properties that were submitted since `from`, newest first.
    async fn recent(&self, mut filter: Vec<(&str, &str)>, from: Timestamp) -> Result<(Vec<ComposeRecord>, Vec<Odd>)> {
        if let Some(owner) = &self.config.owner {
            filter.push(("owner", owner));
        }
        self.client.list(&filter, |record| record.time_submitted.is_none_or(|at| at >= from)).await
    }

    async fn find_made(
        &self,
        compose: &Compose,
        attempt: &AttemptId,
        sent: Timestamp,
    ) -> Result<Option<ComposeRecord>> {
        let from = earlier(sent, self.config.clock_skew);
        if let Some(label) = marker(compose, attempt) {
            let (mut found, mut odd) = self.recent(vec![("label", &label)], from).await?;
            // A server that does not filter by labels still shows them.
            found.retain(|record| record.label.as_ref() == Some(&label));
            odd.retain(|odd| odd.label.as_ref().is_none_or(|other| *other == label));
            return complete(self.best(found, from), odd);
        }
        let number = compose.source_type().map(|kind| kind.number().to_string()).unwrap_or_default();
        let (mut found, odd) = self.recent(vec![("source_type", &number)], from).await?;
        let sigkeys = match compose.text("sigkeys") {
            Some(_) => Vec::new(),
            None => self.client.about().await?.sigkeys,
        };
        found.retain(|record| record.is_made_as(compose, &sigkeys));
        complete(self.best(found, sent), odd)
    }

    async fn find_renewed(
        &self,
        id: u64,
        lifetime: Option<Duration>,
        sent: Timestamp,
    ) -> Result<Option<ComposeRecord>> {
        let original = match self.client.get(id).await {
            Ok(record) => record,
            Err(error) if error.remedy == Remedy::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        if original.is_live(now) {
            let margin = self.margin(lifetime.or_else(|| original.lifetime()).unwrap_or(self.config.lifetime));
            let lives = original.state != ComposeState::Done || !original.expires_within(now, margin);
            return Ok(lives.then_some(original));
        }
        let number = original.source_type.to_string();
        let from = earlier(sent, self.config.clock_skew);
        let (mut found, odd) = self.recent(vec![("source_type", &number)], from).await?;
        found.retain(|record| record.is_copy_of(&original));
        complete(self.best(found, sent), odd)
    }

    /// Returns the newest usable compose; else the newest compose that is no older than the
    /// request. Older ones that are not usable are results of earlier attempts.
    fn best(&self, found: Vec<ComposeRecord>, sent: Timestamp) -> Option<ComposeRecord> {
        let now = self.clock.now();
        // The service reports whole seconds.
        let sent = earlier(sent, Duration::from_secs(1));
        let late = |record: &ComposeRecord| record.time_submitted.is_none_or(|at| at > sent);
        let usable = found.into_iter().filter(|record| record.is_live(now) || late(record));
        usable.max_by_key(|record| (record.is_live(now), record.state != ComposeState::Removed, record.id))
    }
}

#[async_trait]
impl Composer for OdcsComposer {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: self.config.settle, poll: self.config.poll, submissions: None }
    }

    async fn prepare(&self, request: &ComposeRequest) -> Result<ExternalId> {
        let compose = read(request)?;
        let (record, seconds) = match compose.renewed() {
            Some(id) => {
                let seconds = self.seconds_renewed(&compose, id).await?;
                (self.renew(id, seconds).await?, seconds)
            }
            None => {
                let seconds = self.seconds(&compose);
                let mut body = compose.body();
                body.insert("seconds-to-live".to_owned(), json!(seconds));
                if let Some(label) = marker(&compose, &request.attempt) {
                    body.insert("label".to_owned(), json!(label));
                }
                (self.client.post(&Value::Object(body)).await?, seconds)
            }
        };
        Ok(external(record.id, &request.attempt, Some(seconds)))
    }

    async fn find(&self, request: &ComposeRequest, since: Timestamp) -> Result<Vec<Found>> {
        let compose = read(request)?;
        let found = match compose.renewed() {
            Some(id) => self.find_renewed(id, compose.lifetime(), since).await?,
            None => self.find_made(&compose, &request.attempt, since).await?,
        };
        let now = self.clock.now();
        let seconds = match compose.renewed() {
            Some(_) => compose.lifetime().map(|lifetime| lifetime.as_secs()),
            None => Some(self.seconds(&compose)),
        };
        let found = found.map(|record| Found {
            external: external(record.id, &request.attempt, seconds),
            observed: record.observed(now),
        });
        Ok(found.into_iter().collect())
    }

    /// Asks for several states at the same time. A compose whose request fails is left out, which
    /// means "unchanged", unless all requests fail.
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let asked = ids.iter().cloned().map(|external| async move {
            let observed = match number(&external) {
                Some(id) => self.observe(id, lifetime(&external)).await?,
                // This adapter made no such id, and the service would answer with an error of its
                // own.
                None => Some(Observed::Vanished),
            };
            Ok(observed.map(|observed| Found { external, observed }))
        });
        let answers: Vec<Result<Option<Found>>> = futures_util::stream::iter(asked).buffered(PARALLEL).collect().await;
        let (mut found, mut odd, mut failed) = (Vec::new(), false, None);
        for answer in answers {
            match answer {
                Ok(Some(known)) => found.push(known),
                Ok(None) => odd = true,
                Err(error) => {
                    tracing::warn!(%error, "the state of a compose could not be read; it counts as unchanged");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if found.is_empty() && !odd => Err(error),
            Some(_) | None => Ok(found),
        }
    }

    /// Cancels a compose that is not finished. A finished compose may serve other attempts, and is
    /// kept until it expires.
    async fn release(&self, id: &ExternalId) -> Result<()> {
        let Some(id) = number(id) else { return Ok(()) };
        let stopped = match self.client.get(id).await {
            Ok(record) => match record.state {
                ComposeState::Wait | ComposeState::Generating => self.client.delete(id).await,
                ComposeState::Done | ComposeState::Removed | ComposeState::Failed => Ok(()),
            },
            Err(error) => Err(error),
        };
        match stopped {
            // The compose has ended meanwhile, or can no longer be stopped, or only administrators
            // may stop it.
            Err(error) if matches!(error.remedy, Remedy::Rejected | Remedy::NotFound | Remedy::NotNow) => {
                tracing::info!(compose.id = id, %error, "a compose could not be cancelled and continues");
                Ok(())
            }
            answer => answer,
        }
    }
}

/// Reads the compose from the parameters of a request.
fn read(request: &ComposeRequest) -> Result<Compose> {
    let place = || format!("odcs: compose {}", request.artifact);
    let compose =
        Compose::try_from(&request.parameters).map_err(|error| Error::new(Remedy::Rejected, place(), error))?;
    // The service never reuses an older compose for Pulp.
    let fresh = request.no_cache && compose.source_type().is_some_and(|kind| kind != SourceType::Pulp);
    Ok(if fresh { compose.and_flag(Flag::NoReuse) } else { compose })
}

/// Returns the label by which the compose of an attempt can be looked up, if labels have no other
/// meaning.
fn marker(compose: &Compose, attempt: &AttemptId) -> Option<String> {
    let free = compose.source_type() == Some(SourceType::Pulp) && compose.text("label").is_none();
    free.then(|| format!("freshmaker-{attempt}"))
}

/// Returns the result of a lookup; an error if there is none, and the compose may be one whose
/// description makes no sense.
fn complete(found: Option<ComposeRecord>, odd: Vec<Odd>) -> Result<Option<ComposeRecord>> {
    match odd.into_iter().next() {
        Some(odd) if found.is_none() => Err(odd.into_error("odcs: GET /api/1/composes/")),
        Some(_) | None => Ok(found),
    }
}

/// Returns the id of a compose for an attempt: `number@attempt+seconds`, with its own lifetime.
fn external(id: u64, attempt: &AttemptId, seconds: Option<u64>) -> ExternalId {
    let shared = ExternalId::shared(&ExternalId::new(id.to_string()), attempt);
    seconds.map_or(shared.clone(), |seconds| ExternalId::new(format!("{shared}+{seconds}")))
}

/// Returns the lifetime in an id.
fn lifetime(external: &ExternalId) -> Option<Duration> {
    external.as_str().rsplit_once('+')?.1.parse().ok().map(Duration::from_secs)
}

fn number(external: &ExternalId) -> Option<u64> {
    external.unshared()?.as_str().parse().ok()
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(by).ok().and_then(|by| at.checked_sub_signed(by)).unwrap_or(Timestamp::MIN_UTC)
}
