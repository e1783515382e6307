//! The build system of modules: the
//! [Module Build Service](https://pagure.io/fm-orchestrator) (MBS).
//!
//! [`MbsBuildSystem`] submits module builds, follows and cancels them, and tells handlers which
//! modules contain a package, as [`contracts::Modules`](crate::contracts::Modules).
//!
//! ```
//! use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Engine};
//! use freshmaker_redhat::mbs::{MbsBuildSystem, MbsConfig, MbsLogin};
//! use std::sync::Arc;
//!
//! let mut config = MbsConfig::new("https://mbs.example.org");
//! config.login = MbsLogin::None;
//! config.owner = Some("freshmaker".to_owned());
//! let mbs = MbsBuildSystem::new(config)?;
//! let builder = Engine::builder().build_system("mbs", Arc::new(mbs));
//! # drop(builder);
//!
//! let mut module = Artifact::new("perl:5.26", ArtifactKind::Module)
//!     .with_source("https://src.example.org/modules/perl", Some("f1d2d2f9"))
//!     .with_parameter("new_commit", true);
//! module.target = "5.26".to_owned();
//! # Ok::<(), freshmaker::backend::Error>(())
//! ```
//!
//! # What is submitted
//! The source of the artifact is `scmurl` (`REPOSITORY?#COMMIT`), its target is `branch`. A scratch
//! build is submitted as one. Parameters:
//!
//! | parameter | value | meaning |
//! |---|---|---|
//! | `new_commit` | flag | a commit without changes is made first, and built instead |
//! | `rebuild_strategy` | text | as in the interface of MBS: `all`, `changed-and-after`, `only-changed` |
//!
//! One submission can make several builds, one for each context (what the module is built with).
//! They are one attempt: it succeeds if all are ready, and has failed if all have ended and one of
//! them failed. A build in the state `done` runs, because it waits for gates.
//!
//! # How a module is built only once
//! MBS stores no marker with a build. It guarantees something else: it builds a commit of a module
//! once. A second submission of the same commit is refused (409), or resumes the build if it had
//! failed, under the same number. So a submission that is repeated never makes a second build,
//! except a scratch build.
//!
//! * With `new_commit` the marker of the attempt is in the message of the commit, and the commit in
//!   the `scmurl` of the build. The lookup is exact: there is no other build of this commit.
//! * Else the lookup finds the builds of the same `scmurl`, and of [`MbsConfig::owner`] if there is
//!   one, that have not ended or have changed since shortly before the request was sent. This
//!   adopts an equal build that another client has submitted at the same time.
//! * A commit that MBS has built earlier cannot be built again: the build fails with a text that
//!   says so. Ask for a `new_commit`.
//!
//! An [`ExternalId`] has the form `12+13@ATTEMPT`: the numbers of the builds, and the attempt.
//!
//! # Limits
//! MBS 3 is spoken to by version 2 of its interface. A list is read up to 5,000 items. MBS lets
//! only the owner of a build cancel it, and refuses to cancel one that is in the state `done`.

mod client;
mod commits;
mod modules;
mod record;

pub use commits::{Commits, GitCommits, Place};
pub use record::ModuleBuild;

use crate::messages::mbs::ModuleState;
use async_trait::async_trait;
use client::Client;
use freshmaker::artifact::{ArtifactKind, Digest, Parameter};
use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Error, Found, Remedy, Result};
use freshmaker::rebuild::{AttemptId, BuildMode, ExternalId, Failure, FailureClass, Observed, Output};
use freshmaker::time::{Timestamp, earlier};
use freshmaker_net::{HttpConfig, Kerberos, Negotiate, Secret};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Largest number of requests for states that are sent at the same time.
const PARALLEL: usize = 8;
/// Largest number of builds that one attempt can have.
const BUILDS_MAX: usize = 64;
/// How the reason of a build begins that was cancelled.
const CANCELED: &str = "Canceled by ";

/// How [`MbsBuildSystem`] logs in to submit and to cancel. A client certificate is part of
/// [`HttpConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MbsLogin {
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

/// How to reach and use an MBS.
///
/// ```
/// use freshmaker_redhat::mbs::{MbsConfig, MbsLogin};
///
/// let mut config = MbsConfig::new("https://mbs.example.org");
/// config.login = MbsLogin::TokenFile("/run/secrets/mbs-token".into());
/// config.owner = Some("freshmaker".to_owned());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MbsConfig {
    /// Base URL of the service (without `/module-build-service`), certificates and bounds.
    pub http: HttpConfig,
    /// How to log in. Default: [`MbsLogin::None`].
    pub login: MbsLogin,
    /// The identity for [`MbsLogin::Kerberos`]. Default: that of the default ticket.
    pub kerberos: Kerberos,
    /// Our user name at the service: a lookup adopts only builds of this owner. Default: none,
    /// which means that it adopts equal builds of any owner.
    pub owner: Option<String>,
    /// How far the clock of the service may be behind ours. Default: 120 s.
    pub clock_skew: Duration,
    /// How long a request that was sent may still take effect. Default: 120 s, because the service
    /// clones the repository before it stores a build.
    pub settle: Duration,
    /// How often the state of a build is polled. Default: 60 s.
    pub poll: Duration,
}

impl MbsConfig {
    /// Creates a configuration for the service at this URL, without a login.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            login: MbsLogin::None,
            kerberos: Kerberos::default(),
            owner: None,
            clock_skew: Duration::from_secs(120),
            settle: Duration::from_secs(120),
            poll: Duration::from_secs(60),
        }
    }

    /// Checks what can be checked without the network: URL, certificates, token file, Kerberos, and
    /// times.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file or the option.
    pub fn check_offline(&self) -> Result<()> {
        HttpConfig::check_url(&self.http.url)?;
        if self.poll.is_zero() {
            return Err(Error::new(Remedy::Unsupported, self.http.url.as_str(), "`poll` must be greater than 0"));
        }
        client::check_offline(self)
    }
}

/// A [`BuildSystem`] that lets MBS build modules; see the [module documentation](self).
///
/// # Cancel safety
/// If a [`submit`](BuildSystem::submit) future is dropped after the request was sent, the build may
/// exist. Look it up with [`find`](BuildSystem::find).
#[derive(Debug)]
#[doc(alias = "modularity")]
pub struct MbsBuildSystem {
    client: Client,
    config: MbsConfig,
    commits: Option<Arc<dyn Commits>>,
}

impl MbsBuildSystem {
    /// Creates a build system that uses this service. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the address is not a URL or a certificate file
    /// cannot be used.
    pub fn new(config: MbsConfig) -> Result<Self> {
        Ok(Self { client: Client::new(&config)?, config, commits: None })
    }

    /// Takes the tokens for [`MbsLogin::Kerberos`] from `negotiate` instead of the GSSAPI library
    /// of the system.
    #[must_use]
    #[doc(alias = "kerberos")]
    pub fn with_negotiate(self, negotiate: Arc<dyn Negotiate>) -> Self {
        Self { client: self.client.with_negotiate(negotiate), ..self }
    }

    /// Makes new commits in this way, for builds with the parameter `new_commit`. Without it, such
    /// builds fail.
    #[must_use]
    pub fn with_commits(self, commits: Arc<dyn Commits>) -> Self {
        Self { commits: Some(commits), ..self }
    }

    /// Returns the version of the service, after checking that the configured login is one that it
    /// accepts. Sends one request, which needs no login.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the service requires another login; else the error
    /// of the request.
    pub async fn check(&self) -> Result<String> {
        let about = self.client.about().await?;
        let method = about["auth_method"].as_str().unwrap_or_default();
        let fits = match method {
            "oidc" => matches!(self.config.login, MbsLogin::Token(_) | MbsLogin::TokenFile(_)),
            "kerberos" => self.config.login == MbsLogin::Kerberos,
            // One that this crate does not know.
            _ => true,
        };
        if !fits {
            let text = format!("the service requires a login by {method}, and another one is configured");
            return Err(Error::new(Remedy::Unsupported, self.config.http.url.as_str(), text));
        }
        Ok(about["version"].as_str().unwrap_or("of an unknown version").to_owned())
    }

    /// Tries the login, without submitting anything: the service checks it before it reads a
    /// request, and refuses an empty one as one that makes no sense (400).
    ///
    /// # Errors
    /// The error of a request that is refused for another reason, or has no answer.
    pub async fn check_login(&self) -> Result<()> {
        match self.client.submit(&json!({})).await {
            Err(error) if error.remedy == Remedy::Rejected => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::new(Remedy::Corrupt, "mbs", "an empty request was accepted")),
        }
    }

    /// Returns the commit that a request is built from; `None` if it is still to be made, and is to
    /// be `only_found`.
    async fn commit(&self, asked: &Asked<'_>, only_found: bool) -> Result<Option<String>> {
        if !asked.new_commit {
            return Ok(Some(asked.revision.to_owned()));
        }
        let Some(commits) = &self.commits else {
            let text = "it asks for a `new_commit`, and nothing is configured that makes commits";
            return Err(Error::new(Remedy::Unsupported, asked.place.as_str(), text));
        };
        let place = Place { repository: asked.location, branch: asked.branch, marker: asked.attempt.as_str() };
        if only_found { commits.find(place).await } else { commits.add(place).await.map(Some) }
    }

    /// Returns all builds of this commit that may be those of an attempt.
    async fn of_commit(&self, asked: &Asked<'_>, scmurl: &str) -> Result<Vec<ModuleBuild>> {
        let mut filter = vec![("scmurl", scmurl)];
        if let Some(owner) = &self.config.owner {
            filter.push(("owner", owner));
        }
        let mut builds = self.client.builds(&filter).await?;
        // Other versions of the service may not know a filter.
        builds.retain(|build| {
            let ours = self.config.owner.as_ref().is_none_or(|owner| build.owner == *owner);
            ours && build.scmurl.as_deref() == Some(scmurl) && build.scratch == asked.scratch
        });
        Ok(builds)
    }

    /// Says why a commit was not built again: a build of it runs, and is to be adopted, or has
    /// ended, and cannot be repeated.
    async fn conflict(&self, asked: &Asked<'_>, scmurl: &str, error: Error) -> Error {
        match self.of_commit(asked, scmurl).await {
            Ok(builds) if builds.iter().any(|build| !build.has_ended()) || (asked.new_commit && !builds.is_empty()) => {
                error
            }
            Ok(builds) => {
                let known: Vec<_> = builds.iter().map(|build| format!("{} ({})", build.id, build.nsvc())).collect();
                let known =
                    if known.is_empty() { "by another owner".into() } else { format!("as {}", known.join(", ")) };
                let text = format!("{}; the commit was built earlier {known}: only a new commit is built", error.text);
                Error::new(Remedy::Rejected, error.place, text)
            }
            Err(lookup) => Error::new(Remedy::Unclear, error.place, format!("{}; {lookup}", error.text)),
        }
    }

    /// Returns the state of an attempt; `Vanished` if one of its builds is gone.
    ///
    /// # Errors
    /// One of its builds could not be asked about.
    async fn observe(&self, external: &ExternalId) -> Result<Observed> {
        let Some(ids) = numbers(external) else { return Ok(Observed::Vanished) };
        let mut builds = Vec::new();
        for id in ids {
            match self.client.build(id, |_| Ok(())).await {
                Ok((build, ())) => builds.push(build),
                Err(error) if error.remedy == Remedy::NotFound => return Ok(Observed::Vanished),
                Err(error) => return Err(error),
            }
        }
        Ok(observed(&builds))
    }
}

/// A request that makes sense.
struct Asked<'a> {
    location: &'a str,
    revision: &'a str,
    branch: &'a str,
    attempt: &'a AttemptId,
    scratch: bool,
    new_commit: bool,
    strategy: Option<&'a str>,
    place: String,
}

impl<'a> Asked<'a> {
    fn of(request: &'a BuildRequest) -> Result<Self> {
        let place = format!("mbs: module {}", request.artifact);
        let wrong = |text: String| Err(Error::new(Remedy::Rejected, place.as_str(), text));
        if request.kind != ArtifactKind::Module {
            return wrong(format!("MBS builds modules only, and this is of the kind {:?}", request.kind));
        }
        let Some(source) = &request.source else { return wrong("it has no source".to_owned()) };
        let Some(revision) = source.revision.as_deref().filter(|it| !it.is_empty()) else {
            return wrong("its source has no commit".to_owned());
        };
        if request.target.is_empty() {
            return wrong("it has no target, which is the branch".to_owned());
        }
        let (mut new_commit, mut strategy) = (false, None);
        for (name, parameter) in request.parameters.iter() {
            match (name, parameter) {
                ("new_commit", Parameter::Flag(flag)) => new_commit = *flag,
                ("rebuild_strategy", Parameter::Text(text)) => strategy = Some(text.as_str()),
                ("new_commit", _) => return wrong("the parameter `new_commit` is not a flag".to_owned()),
                ("rebuild_strategy", _) => return wrong("the parameter `rebuild_strategy` is not a text".to_owned()),
                (name, _) => {
                    return wrong(format!("the parameter `{name}` is none of new_commit, rebuild_strategy"));
                }
            }
        }
        let scratch = request.mode == BuildMode::Scratch;
        let (location, branch, attempt) = (source.location.as_str(), request.target.as_str(), &request.attempt);
        // What is thrown away needs no commit, and MBS builds it again and again.
        let new_commit = new_commit && !scratch;
        Ok(Self { location, revision, branch, attempt, scratch, new_commit, strategy, place })
    }

    fn scmurl(&self, commit: &str) -> String {
        format!("{}?#{commit}", self.location)
    }

    fn body(&self, scmurl: &str) -> Value {
        let mut body = json!({ "scmurl": scmurl, "branch": self.branch });
        if self.scratch {
            body["scratch"] = true.into();
        }
        if let Some(strategy) = self.strategy {
            body["rebuild_strategy"] = strategy.into();
        }
        body
    }
}

/// Returns the id of these builds for an attempt.
fn external(builds: &[ModuleBuild], attempt: &AttemptId) -> ExternalId {
    let mut ids: Vec<_> = builds.iter().map(|build| build.id).collect();
    ids.sort_unstable();
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    ExternalId::shared(&ExternalId::new(ids.join("+")), attempt)
}

fn numbers(external: &ExternalId) -> Option<Vec<u64>> {
    let ids = external.unshared()?;
    let ids: Option<Vec<u64>> = ids.as_str().split('+').map(|id| id.parse().ok()).collect();
    ids.filter(|ids| (1..=BUILDS_MAX).contains(&ids.len()))
}

/// Returns the state of an attempt with these builds.
fn observed(builds: &[ModuleBuild]) -> Observed {
    if builds.iter().any(|build| !build.has_ended()) {
        return Observed::Running;
    }
    let failed: Vec<_> = builds.iter().filter(|build| build.state == ModuleState::Failed).collect();
    let canceled = |build: &&ModuleBuild| build.reason.as_deref().is_some_and(|it| it.starts_with(CANCELED));
    if let Some(worst) = failed.iter().find(|build| !canceled(build)) {
        let reason = worst.reason.as_deref().unwrap_or("MBS gives no reason");
        let text = format!("module build {} ({}) failed: {reason}", worst.id, worst.nsvc());
        return Observed::Failed(Failure::new(FailureClass::Deterministic, text));
    }
    if !failed.is_empty() {
        return Observed::Canceled;
    }
    if builds.iter().any(|build| build.state == ModuleState::Garbage) {
        return Observed::Vanished;
    }
    let mut names: Vec<_> = builds.iter().map(ModuleBuild::nsvc).collect();
    names.sort_unstable();
    // A version of a module in a context never changes.
    let digest = Digest::of_parts(names.iter().map(|name| name.as_bytes()));
    Observed::Succeeded(Output { name: names.join(", "), digest: Some(digest), contents: None })
}

#[async_trait]
impl BuildSystem for MbsBuildSystem {
    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, settle: self.config.settle, poll: self.config.poll, submissions: None }
    }

    async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
        let asked = Asked::of(request)?;
        let commit = self.commit(&asked, false).await?.unwrap_or_default();
        let scmurl = asked.scmurl(&commit);
        let builds = match self.client.submit(&asked.body(&scmurl)).await {
            Err(error) if error.remedy == Remedy::Conflict => return Err(self.conflict(&asked, &scmurl, error).await),
            answer => answer?,
        };
        if !(1..=BUILDS_MAX).contains(&builds.len()) {
            let text = format!("a submission was answered by {} builds", builds.len());
            return Err(Error::new(Remedy::Unclear, asked.place, text));
        }
        Ok(external(&builds, asked.attempt))
    }

    async fn find(&self, request: &BuildRequest, since: Timestamp) -> Result<Vec<Found>> {
        let asked = Asked::of(request)?;
        let Some(commit) = self.commit(&asked, true).await? else { return Ok(Vec::new()) };
        let mut builds = self.of_commit(&asked, &asked.scmurl(&commit)).await?;
        let from = earlier(since, self.config.clock_skew);
        if !asked.new_commit && !builds.iter().any(|it| !it.has_ended() || it.modified.is_none_or(|at| at >= from)) {
            builds.clear();
        }
        if asked.scratch {
            // Each submission makes new ones.
            builds.retain(|build| !build.has_ended() || build.modified.is_none_or(|at| at >= from));
        }
        if builds.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Found { external: external(&builds, asked.attempt), observed: observed(&builds) }])
    }

    /// Asks for several states at the same time: the service has no list of builds by their
    /// numbers. An attempt whose request fails is left out, which means "unchanged", unless all
    /// requests fail.
    async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let asked: Vec<_> = ids.iter().map(|id| async move { (id, self.observe(id).await) }).collect();
        let answers: Vec<_> = futures_util::stream::iter(asked).buffered(PARALLEL).collect().await;
        let (mut found, mut failed) = (Vec::new(), None);
        for (id, answer) in answers {
            match answer {
                Ok(observed) => found.push(Found { external: id.clone(), observed }),
                Err(error) => {
                    tracing::warn!(%error, "the state of a module build could not be read; it counts as unchanged");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if found.is_empty() => Err(error),
            Some(_) | None => Ok(found),
        }
    }

    /// Cancels the builds of an attempt that run. MBS refuses it for a build that has ended or is
    /// `done`, which is no error.
    async fn cancel(&self, id: &ExternalId) -> Result<()> {
        for id in numbers(id).unwrap_or_default() {
            match self.client.cancel(id).await {
                Err(error) if matches!(error.remedy, Remedy::Rejected | Remedy::NotFound) => {
                    tracing::info!(build.id = id, %error, "a module build could not be cancelled");
                }
                answer => answer?,
            }
        }
        Ok(())
    }
}
