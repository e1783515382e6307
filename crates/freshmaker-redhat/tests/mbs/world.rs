use async_trait::async_trait;
use freshmaker::artifact::{ArtifactKind, Source};
use freshmaker::backend::{BuildRequest, BuildSystem, Clock, Found, Result};
use freshmaker::rebuild::{AttemptId, ExternalId, Observed};
use freshmaker::time::{Timestamp, later};
use freshmaker_redhat::fakes::mbs::{FakeMbs, FakeModule};
use freshmaker_redhat::mbs::{Commits, MbsBuildSystem, MbsConfig, Place};
use freshmaker_testing::sim::VirtualClock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct World {
    pub(crate) clock: VirtualClock,
    pub(crate) service: FakeMbs,
    pub(crate) mbs: MbsBuildSystem,
    pub(crate) commits: Arc<Marked>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration that is changed first.
    pub(crate) async fn with(change: impl FnOnce(&mut MbsConfig)) -> Self {
        let clock = VirtualClock::new("2026-11-23T07:07:28Z".parse().unwrap());
        let service = FakeMbs::start(Arc::new(clock.clone())).await.unwrap();
        let commits = Arc::new(Marked::default());
        let mbs = client(&service.url(), change).with_commits(commits.clone());
        Self { clock, service, mbs, commits }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance_to(later(self.clock.now(), time));
    }

    pub(crate) async fn status(&self, id: &ExternalId) -> Observed {
        let mut found = self.mbs.status(std::slice::from_ref(id)).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0).observed
    }

    /// What the lookup finds that a request left which was sent now.
    pub(crate) async fn found(&self, request: &BuildRequest) -> Result<Vec<Found>> {
        self.mbs.find(request, self.clock.now()).await
    }
}

pub(crate) fn client(url: &str, change: impl FnOnce(&mut MbsConfig)) -> MbsBuildSystem {
    let mut config = MbsConfig::new(url);
    config.http.timeout = Duration::from_millis(500);
    config.owner = Some("freshmaker".to_owned());
    change(&mut config);
    config.check_offline().unwrap();
    MbsBuildSystem::new(config).unwrap()
}

pub(crate) fn perl() -> FakeModule {
    FakeModule::new("perl", "5.26").with_component("perl-libs", Some("f29"))
}

/// A request to build the module `perl:5.26` from this commit.
pub(crate) fn request(number: u128, commit: &str) -> BuildRequest {
    of("perl", number, commit)
}

pub(crate) fn of(name: &str, number: u128, commit: &str) -> BuildRequest {
    let mut request = BuildRequest::new(AttemptId::from_random(number), format!("{name}:5.26"));
    request.kind = ArtifactKind::Module;
    let location = format!("https://src.example.com/modules/{name}");
    request.source = Some(Source { location, revision: Some(commit.to_owned()) });
    request.target = "5.26".to_owned();
    request
}

/// The longest ago that a request can have been sent.
pub(crate) const LONG_AGO: Timestamp = Timestamp::UNIX_EPOCH;

/// Commits in memory: the marker of each, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    pub(crate) commits: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Commits for Marked {
    async fn find(&self, place: Place<'_>) -> Result<Option<String>> {
        Ok(self.commits.lock().unwrap().get(place.marker).cloned())
    }

    async fn add(&self, place: Place<'_>) -> Result<String> {
        let mut commits = self.commits.lock().unwrap();
        let number = commits.len() + 1;
        Ok(commits.entry(place.marker.to_owned()).or_insert_with(|| format!("new{number}")).clone())
    }
}
