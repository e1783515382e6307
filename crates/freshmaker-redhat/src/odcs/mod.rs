//! Package repositories on demand, made by [ODCS](https://pagure.io/odcs/), as prerequisites of builds.
//!
//! A repository is an artifact of the kind [`Repository`](freshmaker::ArtifactKind::Repository) whose parameters say what it is made of; what is built with
//! it depends on it. [`Compose`] makes the parameters and the name, so that equal repositories of several events are one build.
//!
//! ```
//! use freshmaker_redhat::odcs::{Compose, Flag, OdcsComposer, OdcsConfig};
//! use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
//! use std::sync::Arc;
//!
//! let compose = Compose::tag("rhel-9-candidate").with_packages(["bash"]).with_flags([Flag::NoDeps]);
//! let mut repository = Artifact::new(compose.artifact(), ArtifactKind::Repository).with_source("odcs", None);
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
//! # How a compose is not made twice
//! The service has no key by which it knows a request again. What there is instead:
//!
//! * For composes of Pulp the label means nothing to the service, which stores it, shows it and searches by it. So the marker of the attempt is the
//!   label, and the look-up is exact. (All other composes are made by Pungi, which takes no labels but those of releases.)
//! * For all others the look-up is for an equal compose since shortly before the request was sent, in any state: same source, packages,
//!   builds, keys, architectures, flags, results and so on, as the service writes them down. An unclear request is asked after that way, and an equal
//!   compose is adopted, whoever asked for it. What a request leaves to the server, architectures for example, is equal to anything.
//! * A renewal that is repeated does no harm to a compose that lives. For one that is gone the service makes a copy, which is looked for in the same way.
//!
//! So one compose can serve several attempts; an [`ExternalId`] is the number of the compose, `@`, and the attempt. The output of a
//! build is named by the number alone.
//!
//! # A compose that expires before it is used
//! When a compose is found to be done and lives no longer than [`OdcsConfig::margin`], it is renewed before it counts as done. If the server refuses, it counts as
//! done while it lives, and as failed (of the machinery: a new one is made) afterwards. Before a build that uses it is submitted the engine asks again, with the
//! same effect: one that goes soon is renewed, and in the place of one that is gone another one is made.

mod client;
mod compose;
mod record;

pub use client::About;
pub use compose::{Compose, ComposeError, Flag, SourceType};
pub use record::ComposeRecord;

use crate::messages::odcs::ComposeState;
use async_trait::async_trait;
use client::Client;
use freshmaker::backend::{Capabilities, Clock, ComposeRequest, Composer, Error, Found, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::{AttemptId, ExternalId, Failure, FailureClass, Observed};
use freshmaker::time::Timestamp;
use freshmaker_net::{HttpConfig, Negotiate, Secret};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Composes that are asked about at the same time.
const PARALLEL: usize = 8;

/// How [`OdcsComposer`] logs in. A client certificate is part of [`HttpConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OdcsAuth {
    /// Not, or by the client certificate alone.
    #[default]
    None,
    /// With this token of OpenID Connect.
    Token(Secret),
    /// With the token in this file, which is read again after the server has refused it.
    TokenFile(PathBuf),
    /// With a ticket of Kerberos; needs the feature `gssapi`, or a [`Negotiate`] of your own.
    Kerberos,
}

/// Where an ODCS is and how it is used.
///
/// ```
/// use freshmaker_redhat::odcs::{OdcsAuth, OdcsConfig};
///
/// let mut config = OdcsConfig::new("https://odcs.example.org");
/// config.auth = OdcsAuth::TokenFile("/run/secrets/odcs-token".into());
/// config.owner = Some("freshmaker".to_owned());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OdcsConfig {
    /// How it is reached; the address without `/api`.
    pub http: HttpConfig,
    /// How to log in.
    pub auth: OdcsAuth,
    /// The name that the service knows us by: only composes of this owner are adopted. Without it, equal composes of everybody are.
    pub owner: Option<String>,
    /// How long a compose is kept, if its request says nothing else.
    pub lifetime: Duration,
    /// A compose that is done and lives no longer than this is renewed, because what is built with it might come too late.
    pub margin: Duration,
    /// How far the clock of the service may be behind ours.
    pub clock_skew: Duration,
    /// How long a request that was sent may still take effect.
    pub settle: Duration,
    /// How often a compose that is being made is asked about.
    pub poll: Duration,
}

impl OdcsConfig {
    /// At this address, without login; composes live for a day and are renewed in their last six hours.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            auth: OdcsAuth::None,
            owner: None,
            lifetime: Duration::from_secs(24 * 3600),
            margin: Duration::from_secs(6 * 3600),
            clock_skew: Duration::from_secs(120),
            settle: Duration::from_secs(60),
            poll: Duration::from_secs(20),
        }
    }
}

/// Package repositories made by ODCS; see the [module](self).
#[derive(Debug)]
pub struct OdcsComposer {
    client: Client,
    config: OdcsConfig,
    clock: Arc<dyn Clock>,
}

impl OdcsComposer {
    /// A client of this service. Connects only when it is used.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the address is none or a certificate cannot be read.
    pub fn new(config: OdcsConfig) -> Result<Self> {
        Ok(Self { client: Client::new(&config)?, config, clock: Arc::new(SystemClock) })
    }

    /// Takes the tokens for [`OdcsAuth::Kerberos`] from there instead of the system's library.
    #[must_use]
    pub fn with_negotiate(self, negotiate: Arc<dyn Negotiate>) -> Self {
        Self { client: self.client.with_negotiate(negotiate), ..self }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What the server says about itself, if the configured login is one that it takes.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if it wants another login; those of the request.
    pub async fn check(&self) -> Result<About> {
        let about = self.client.about().await?;
        let token = matches!(self.config.auth, OdcsAuth::Token(_) | OdcsAuth::TokenFile(_));
        let certificate = self.config.http.client_cert.is_some();
        let kerberos = self.config.auth == OdcsAuth::Kerberos;
        let fits = match about.auth_backend.as_str() {
            "openidc" => token,
            "kerberos" => kerberos,
            "ssl" => certificate,
            "kerberos_or_ssl" => kerberos || certificate,
            "oidc_or_kerberos" => token || kerberos,
            // None is wanted, or one that is not known here.
            _ => true,
        };
        if !fits {
            let text = format!("the server wants a login by {}, and another one is configured", about.auth_backend);
            return Err(Error::new(Remedy::Unsupported, "odcs: GET /api/1/about/", text));
        }
        Ok(about)
    }

    /// What the service says about a compose, whoever made it.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) if there is none with this id; those of the request.
    pub async fn compose(&self, id: u64) -> Result<ComposeRecord> {
        self.client.get(id).await
    }

    fn seconds(&self, compose: &Compose) -> u64 {
        compose.lifetime().unwrap_or(self.config.lifetime).as_secs()
    }

    /// Renews; a compose that is not done yet gets its whole life when it is, and the service does not renew it.
    async fn renew(&self, id: u64, seconds: u64) -> Result<ComposeRecord> {
        match self.client.patch(id, &json!({ "seconds-to-live": seconds })).await {
            Err(error) if error.remedy == Remedy::NotFound => {
                let record = self.client.get(id).await?;
                if record.is_live(self.clock.now()) { Ok(record) } else { Err(error) }
            }
            answer => answer,
        }
    }

    async fn observe(&self, id: u64) -> Result<Observed> {
        let record = match self.client.get(id).await {
            Ok(record) => record,
            Err(error) if error.remedy == Remedy::NotFound => return Ok(Observed::Vanished),
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        let observed = record.observed(now);
        if !matches!(observed, Observed::Succeeded(_)) || !record.expires_within(now, self.config.margin) {
            return Ok(observed);
        }
        let seconds = self.config.lifetime.max(self.config.margin).as_secs();
        let text = match self.client.patch(id, &json!({ "seconds-to-live": seconds })).await {
            Ok(renewed) if renewed.id == id && !renewed.expires_within(now, Duration::ZERO) => {
                return Ok(renewed.observed(now));
            }
            Ok(renewed) if renewed.id == id => "the server does not let it live longer".to_owned(),
            Ok(renewed) => format!("it expired; compose {} was made in its place", renewed.id),
            // A definite no.
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

    /// Composes with these properties since a moment, the newest first.
    async fn recent(&self, mut filter: Vec<(&str, &str)>, from: Timestamp) -> Result<Vec<ComposeRecord>> {
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
            let mut found = self.recent(vec![("label", &label)], from).await?;
            // A server that does not search by labels shows them.
            found.retain(|record| record.label.as_ref() == Some(&label));
            return Ok(self.best(found, from));
        }
        let number = compose.source_type().map(|kind| kind.number().to_string()).unwrap_or_default();
        let mut found = self.recent(vec![("source_type", &number)], from).await?;
        let sigkeys = match compose.text("sigkeys") {
            Some(_) => Vec::new(),
            None => self.client.about().await?.sigkeys,
        };
        found.retain(|record| record.is_made_as(compose, &sigkeys));
        Ok(self.best(found, sent))
    }

    async fn find_renewed(&self, id: u64, sent: Timestamp) -> Result<Option<ComposeRecord>> {
        let original = match self.client.get(id).await {
            Ok(record) => record,
            Err(error) if error.remedy == Remedy::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        if original.is_live(now) {
            let lives = original.state != ComposeState::Done || !original.expires_within(now, self.config.margin);
            return Ok(lives.then_some(original));
        }
        let number = original.source_type.to_string();
        let mut found = self.recent(vec![("source_type", &number)], earlier(sent, self.config.clock_skew)).await?;
        found.retain(|record| record.is_copy_of(&original));
        Ok(self.best(found, sent))
    }

    /// One that is of use, the newest; else the newest that is not, if it is no older than the request: an older one is the end of another try.
    fn best(&self, found: Vec<ComposeRecord>, sent: Timestamp) -> Option<ComposeRecord> {
        let now = self.clock.now();
        // The service tells whole seconds.
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
        let seconds = self.seconds(&compose);
        let record = match compose.renewed() {
            Some(id) => self.renew(id, seconds).await?,
            None => {
                let mut body = compose.body();
                body.insert("seconds-to-live".to_owned(), json!(seconds));
                if let Some(label) = marker(&compose, &request.attempt) {
                    body.insert("label".to_owned(), json!(label));
                }
                self.client.post(&Value::Object(body)).await?
            }
        };
        Ok(external(record.id, &request.attempt))
    }

    async fn find(&self, request: &ComposeRequest, since: Timestamp) -> Result<Vec<Found>> {
        let compose = read(request)?;
        let found = match compose.renewed() {
            Some(id) => self.find_renewed(id, since).await?,
            None => self.find_made(&compose, &request.attempt, since).await?,
        };
        let now = self.clock.now();
        let found = found
            .map(|record| Found { external: external(record.id, &request.attempt), observed: record.observed(now) });
        Ok(found.into_iter().collect())
    }

    /// Asks about several at the same time. One that cannot be asked about stays as it was, unless that is true of all.
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let asked = ids.iter().cloned().map(|external| async move {
            let observed = match number(&external) {
                Some(id) => self.observe(id).await?,
                // No id of ours: the service would answer with an error of its own.
                None => Observed::Vanished,
            };
            Ok(Found { external, observed })
        });
        let answers: Vec<Result<Found>> = futures_util::stream::iter(asked).buffered(PARALLEL).collect().await;
        let (mut found, mut failed) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(known) => found.push(known),
                Err(error) => {
                    tracing::warn!(%error, "a compose could not be asked about");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if found.is_empty() => Err(error),
            Some(_) | None => Ok(found),
        }
    }

    /// Stops what is not done yet. What is done may serve others, and goes when its time is up.
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
            // It is over meanwhile, or so far that only its end stops it, or only administrators may.
            Err(error) if matches!(error.remedy, Remedy::Rejected | Remedy::NotFound | Remedy::NotNow) => {
                tracing::info!(compose.id = id, %error, "a compose goes on");
                Ok(())
            }
            answer => answer,
        }
    }
}

/// The compose that is asked for.
fn read(request: &ComposeRequest) -> Result<Compose> {
    let place = || format!("odcs: compose {}", request.artifact);
    let compose =
        Compose::try_from(&request.parameters).map_err(|error| Error::new(Remedy::Rejected, place(), error))?;
    // What Pulp has is never kept.
    let fresh = request.no_cache && compose.source_type().is_some_and(|kind| kind != SourceType::Pulp);
    Ok(if fresh { compose.and_flag(Flag::NoReuse) } else { compose })
}

/// The label by which the compose of an attempt is known again, where a label has no other meaning.
fn marker(compose: &Compose, attempt: &AttemptId) -> Option<String> {
    let free = compose.source_type() == Some(SourceType::Pulp) && compose.text("label").is_none();
    free.then(|| format!("freshmaker-{attempt}"))
}

fn external(id: u64, attempt: &AttemptId) -> ExternalId {
    ExternalId::shared(&ExternalId::new(id.to_string()), attempt)
}

fn number(external: &ExternalId) -> Option<u64> {
    external.unshared()?.as_str().parse().ok()
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(by).ok().and_then(|by| at.checked_sub_signed(by)).unwrap_or(Timestamp::MIN_UTC)
}
