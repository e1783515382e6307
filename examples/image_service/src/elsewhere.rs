//! The section `[build.elsewhere]`: a service that builds instead of a program.

use crate::config::Seconds;
use freshmaker::backend::{BuildSystem, Result};
use freshmaker_ci::Login;
use freshmaker_ci::github::{GithubBuildSystem, GithubConfig};
use freshmaker_ci::gitlab::{GitlabBuildSystem, GitlabConfig};
use freshmaker_ci::http::{HttpBuildConfig, HttpBuildSystem};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "service", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Elsewhere {
    Github {
        owner: String,
        repository: String,
        workflow: String,
        reference: Option<String>,
        url: Option<String>,
        token_file: Option<PathBuf>,
        poll: Option<Seconds>,
    },
    Gitlab {
        url: String,
        project: String,
        reference: Option<String>,
        job: Option<String>,
        token_file: Option<PathBuf>,
        poll: Option<Seconds>,
    },
    Http {
        url: String,
        token_file: Option<PathBuf>,
        poll: Option<Seconds>,
    },
}

impl Elsewhere {
    pub(crate) fn token_file(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Github { token_file, .. } | Self::Gitlab { token_file, .. } | Self::Http { token_file, .. } => {
                token_file.as_mut()
            }
        }
    }

    /// Returns the client of the service.
    pub(crate) fn system(&self) -> Result<Box<dyn BuildSystem>> {
        match self {
            Self::Github { owner, repository, workflow, reference, url, token_file, poll } => {
                let mut config = GithubConfig::new(owner, repository, workflow);
                config.login = login(token_file.as_ref());
                set(&mut config.poll, poll.map(Seconds::duration));
                set(&mut config.reference, reference.clone());
                set(&mut config.http.url, url.clone());
                Ok(Box::new(GithubBuildSystem::new(config)?))
            }
            Self::Gitlab { url, project, reference, job, token_file, poll } => {
                let mut config = GitlabConfig::new(url, project);
                config.login = login(token_file.as_ref());
                set(&mut config.poll, poll.map(Seconds::duration));
                set(&mut config.reference, reference.clone());
                set(&mut config.job, job.clone());
                Ok(Box::new(GitlabBuildSystem::new(config)?))
            }
            Self::Http { url, token_file, poll } => {
                let mut config = HttpBuildConfig::new(url);
                config.login = login(token_file.as_ref());
                set(&mut config.poll, poll.map(Seconds::duration));
                Ok(Box::new(HttpBuildSystem::new(config)?))
            }
        }
    }
}

fn login(token_file: Option<&PathBuf>) -> Login {
    token_file.map_or(Login::None, |file| Login::TokenFile(file.clone()))
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
