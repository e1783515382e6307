//! A build that runs elsewhere: its job is started once, followed to its end, and cancelled if the
//! build is stopped.
//!
//! A file for each image says which job may be alive, from before it is started until its end is
//! known. So a build that begins after this machine has stopped finds the job of the one before: it
//! goes on with the job if it is the same build, and has it cancelled first if it is another one.

use super::{Failure, Result, say};
use crate::site::Site;
use freshmaker::artifact::Digest;
use freshmaker::backend::{BuildRequest, BuildSystem, Clock, Found, Remedy, Result as Answer};
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::{AttemptId, BuildId, ExternalId, FailureClass, Observed};
use freshmaker::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The longest pause between two requests that fail.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Which job may be alive.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Alive {
    attempt: AttemptId,
    build: BuildId,
    since: Timestamp,
}

pub(super) struct Job<'a> {
    system: &'a dyn BuildSystem,
    request: BuildRequest,
    file: PathBuf,
}

impl<'a> Job<'a> {
    pub(super) fn new(system: &'a dyn BuildSystem, site: &Site, request: BuildRequest) -> Self {
        let name = Digest::of(request.artifact.as_str().as_bytes()).to_string().replace(':', "-");
        Self { system, request, file: site.config.state.join("elsewhere").join(name) }
    }

    /// Has the image built; returns the digest, if the job reports it. If this process is asked to
    /// stop, the job is cancelled.
    pub(super) async fn run(&self) -> Result<Option<Digest>> {
        let mut stop = signal(SignalKind::terminate()).map_err(Failure::temporary)?;
        tokio::select! {
            end = self.made() => end,
            _ = stop.recv() => {
                if let Some(alive) = self.alive()? {
                    // The file stays: a request under way may still take effect, and then the next
                    // build of the image finds the job.
                    self.cancel(&alive).await?;
                }
                Err(Failure::temporary("the build was stopped"))
            }
        }
    }

    async fn made(&self) -> Result<Option<Digest>> {
        let left = match self.alive()? {
            Some(alive) => self.left(&alive).await?,
            None => None,
        };
        let id = match left {
            Some(id) => id,
            None => self.start().await?,
        };
        say(format_args!("job {id}"));
        let end = self.end(&id).await?;
        self.forget()?;
        match end {
            Observed::Succeeded(output) => Ok(output.digest),
            Observed::Failed(failure) => match failure.class {
                FailureClass::Deterministic | FailureClass::Permanent => Err(Failure::lasting(failure.text)),
                _ => Err(Failure::temporary(failure.text)),
            },
            Observed::Canceled => Err(Failure::lasting(format!("job {id} was cancelled"))),
            Observed::Vanished | Observed::Running => Err(Failure::temporary(format!("job {id} is gone"))),
        }
    }

    /// Starts the job, and looks it up if the answer leaves open whether it was started.
    async fn start(&self) -> Result<ExternalId> {
        let alive =
            Alive { attempt: self.request.attempt.clone(), build: self.request.build, since: SystemClock.now() };
        self.note(&alive)?;
        let started = self.ask(|| async {
            match self.system.submit(&self.request).await {
                Err(error) if matches!(error.remedy, Remedy::Unclear | Remedy::Conflict | Remedy::Corrupt) => {
                    say(format_args!("{error}; it is looked for"));
                    tokio::time::sleep(self.system.capabilities().settle).await;
                    let found = self.ask(|| self.find(&alive)).await?;
                    match found.into_iter().next() {
                        Some(found) => Ok(found.external),
                        // It was never started: the next request may.
                        None => Err(error.with_remedy(Remedy::Unavailable)),
                    }
                }
                answer => answer,
            }
        });
        let started = started.await;
        if started.is_err() {
            self.forget()?;
        }
        Ok(started?)
    }

    /// Returns the job that an attempt has left, if it is one of this build. That of another build
    /// is cancelled.
    async fn left(&self, alive: &Alive) -> Answer<Option<ExternalId>> {
        let mut found = self.ask(|| self.find(alive)).await?;
        if found.is_empty() {
            // A request that was sent just before the machine stopped may still take effect.
            let settle = self.system.capabilities().settle;
            let passed = (SystemClock.now() - alive.since).to_std().unwrap_or_default();
            tokio::time::sleep(settle.saturating_sub(passed)).await;
            found = self.ask(|| self.find(alive)).await?;
        }
        if alive.build == self.request.build {
            return Ok(found.into_iter().next().map(|found| found.external));
        }
        say(format_args!("a job of build {} may be alive, and is cancelled", alive.build));
        self.ask(|| self.cancel(alive)).await?;
        Ok(None)
    }

    async fn find(&self, alive: &Alive) -> Answer<Vec<Found>> {
        let request = BuildRequest { attempt: alive.attempt.clone(), ..self.request.clone() };
        self.system.find(&request, alive.since).await
    }

    /// Cancels all jobs of an attempt, and waits until none is alive.
    async fn cancel(&self, alive: &Alive) -> Answer<()> {
        loop {
            let found = self.find(alive).await?;
            let running: Vec<_> = found.into_iter().filter(|found| found.observed == Observed::Running).collect();
            if running.is_empty() {
                return Ok(());
            }
            for job in running {
                self.system.cancel(&job.external).await?;
            }
            tokio::time::sleep(self.system.capabilities().poll.min(PAUSE_MAX)).await;
        }
    }

    /// Waits for the end of a job.
    async fn end(&self, id: &ExternalId) -> Result<Observed> {
        loop {
            let found = self.ask(|| self.system.status(std::slice::from_ref(id))).await?;
            match found.into_iter().next().map(|found| found.observed) {
                Some(Observed::Running) | None => tokio::time::sleep(self.system.capabilities().poll).await,
                Some(end) => return Ok(end),
            }
        }
    }

    /// Asks until there is an answer that does not pass, with growing pauses. The time that the
    /// build may take is the bound.
    async fn ask<T, F: Future<Output = Answer<T>>>(&self, ask: impl Fn() -> F) -> Answer<T> {
        let mut pause = Duration::from_secs(1);
        loop {
            match ask().await {
                Err(error) if matches!(error.remedy, Remedy::Unavailable | Remedy::NotNow | Remedy::Corrupt) => {
                    say(format_args!("{error}; asked again in {} s", pause.as_secs()));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                answer => return answer,
            }
        }
    }

    fn alive(&self) -> Result<Option<Alive>> {
        match std::fs::read(&self.file) {
            Ok(bytes) => {
                let unreadable = |error| self.broken(&format_args!("{error}; remove it if no job of the image runs"));
                serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn note(&self, alive: &Alive) -> Result<()> {
        let text = serde_json::to_vec(alive).map_err(|error| self.broken(&error))?;
        let temporary = self.file.with_extension("new");
        let written = self.file.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&temporary, text))
            .and_then(|()| std::fs::rename(&temporary, &self.file))
            .map_err(|error| self.broken(&error))
    }

    fn forget(&self) -> Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.broken(&error)),
            _ => Ok(()),
        }
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::temporary(format!("{}: {error}", self.file.display()))
    }
}
