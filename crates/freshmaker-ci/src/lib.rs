//! Build systems for [freshmaker] that start jobs of CI services.
//!
//! * [`github`]: a workflow of GitHub Actions, started by `workflow_dispatch`.
//! * [`gitlab`]: a pipeline of GitLab CI, created with variables.
//! * [`http`]: any service that speaks a protocol of four requests.
//!
//! All three store the marker of the attempt with the job, so that a submission whose answer was
//! lost is looked up and no job is started twice. All three return the digest of the result, so
//! that builds on it use exactly this content, and are reused if nothing has changed.
//!
//! ```
//! use freshmaker::Engine;
//! use freshmaker_ci::Login;
//! use freshmaker_ci::github::{GithubBuildSystem, GithubConfig};
//! use std::sync::Arc;
//!
//! let mut config = GithubConfig::new("example", "images", "rebuild.yml");
//! config.login = Login::TokenFile("/run/secrets/github-token".into());
//! let github = GithubBuildSystem::new(config)?;
//! let builder = Engine::builder().build_system("github", Arc::new(github)).limit("github", 5);
//! # drop(builder);
//! # Ok::<(), freshmaker::backend::Error>(())
//! ```
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `fakes` | | `fakes`: the three services for tests, which also lose answers |
//!
//! # Limits
//! * A token is a value in the configuration or a file, which is read again after the service has
//!   refused the token. So a program that renews tokens, such as those of a GitHub App, writes them
//!   to a file.
//! * A lookup reads at most 1,000 runs or pipelines that began since the submission. If there are
//!   more, it fails and is repeated, because an incomplete list cannot show that a job does not
//!   exist.
//! * Logs stay at the CI service. The text of a failure has their address.

mod client;
#[cfg(feature = "fakes")]
pub mod fakes;
pub mod github;
pub mod gitlab;
pub mod http;

use freshmaker_net::{Bearer, Secret};
use std::path::PathBuf;

/// How a client logs in.
///
/// ```
/// use freshmaker_ci::Login;
///
/// let login = Login::TokenFile("/run/secrets/gitlab-token".into());
/// assert_ne!(login, Login::None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// Without a token.
    #[default]
    None,
    /// By this token.
    Token(Secret),
    /// By the token in a file of at most 64 KiB. The file is read again after the service has
    /// refused the token.
    TokenFile(PathBuf),
}

impl Login {
    fn bearer(&self) -> Bearer {
        match self {
            Self::None => Bearer::None,
            Self::Token(token) => Bearer::Given(token.clone()),
            Self::TokenFile(path) => Bearer::file(path),
        }
    }
}
