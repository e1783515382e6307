use freshmaker::backend::{BuildRequest, BuildSystem};
use freshmaker::rebuild::AttemptId;
use freshmaker_ci::Login;
use freshmaker_ci::fakes::FakeCi;
use freshmaker_ci::github::GithubBuildSystem;
use freshmaker_ci::gitlab::GitlabBuildSystem;
use freshmaker_ci::http::HttpBuildSystem;
use freshmaker_net::Secret;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Github,
    Gitlab,
    Http,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Github, Kind::Gitlab, Kind::Http];

impl Kind {
    pub(crate) async fn service(self) -> FakeCi {
        match self {
            Self::Github => FakeCi::github().await,
            Self::Gitlab => FakeCi::gitlab().await,
            Self::Http => FakeCi::http().await,
        }
        .unwrap()
    }

    pub(crate) fn client(self, service: &FakeCi) -> Arc<dyn BuildSystem> {
        self.client_as(service, Login::Token(Secret::new("t0ken")))
    }

    pub(crate) fn client_as(self, service: &FakeCi, login: Login) -> Arc<dyn BuildSystem> {
        let timeout = Duration::from_secs(5);
        match self {
            Self::Github => {
                let mut config = service.github_config();
                (config.login, config.http.timeout) = (login, timeout);
                config.check_offline().unwrap();
                Arc::new(GithubBuildSystem::new(config).unwrap())
            }
            Self::Gitlab => {
                let mut config = service.gitlab_config();
                (config.login, config.http.timeout) = (login, timeout);
                config.check_offline().unwrap();
                Arc::new(GitlabBuildSystem::new(config).unwrap())
            }
            Self::Http => {
                let mut config = service.http_config();
                (config.login, config.http.timeout) = (login, timeout);
                config.check_offline().unwrap();
                Arc::new(HttpBuildSystem::new(config).unwrap())
            }
        }
    }

    /// The path of the request that starts a job.
    pub(crate) fn start(self) -> &'static str {
        match self {
            Self::Github => "/dispatches",
            Self::Gitlab => "/pipeline",
            Self::Http => "POST /builds",
        }
    }

    /// A part of the path of the request about a job.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Github => "/runs/",
            Self::Gitlab => "/pipelines/",
            Self::Http => "GET /builds/",
        }
    }
}

pub(crate) fn request(number: u128, artifact: &str) -> BuildRequest {
    BuildRequest::new(AttemptId::from_random(number), artifact)
}
