//! Modules in the simulated world: what MBS knows of one, and a package in it that changes.

use crate::Result;
use crate::wires::{Mbs, System};
use async_trait::async_trait;
use freshmaker::Message;
use freshmaker::artifact::Digest;
use freshmaker::engine::SystemClock;
use freshmaker_redhat::fakes::mbs::{Course, FakeMbs, FakeModule};
use freshmaker_redhat::mbs::{Commits, MbsConfig, Place};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// MBS, and the repositories that commits are made in.
pub(crate) struct Modules {
    mbs: FakeMbs,
    repositories: Arc<Repositories>,
}

impl Modules {
    pub(crate) async fn start() -> Result<Self> {
        let mbs = FakeMbs::start(Arc::new(SystemClock)).await?;
        mbs.add(FakeModule::new("web", "1").with_component("zlib", Some("f40")), "c0ffee");
        mbs.script("web:1", Course::slow(Duration::from_millis(800)));
        Ok(Self { mbs, repositories: Arc::default() })
    }

    pub(crate) fn wire(&self) -> Mbs {
        let mut config = MbsConfig::new(self.mbs.url());
        config.owner = Some("freshmaker".to_owned());
        config.settle = Duration::from_millis(500);
        config.poll = Duration::from_millis(200);
        Mbs { system: System { name: "mbs".to_owned(), slots: 4, config }, commits: Some(self.repositories.clone()) }
    }

    /// What MBS has said since the last time.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.mbs.messages()
    }

    /// How many builds were asked for.
    pub(crate) fn submitted(&self) -> usize {
        self.mbs.submitted().len()
    }
}

/// Commits without changes, by their marker.
#[derive(Debug, Default)]
struct Repositories(Mutex<BTreeMap<String, String>>);

#[async_trait]
impl Commits for Repositories {
    async fn find(&self, place: Place<'_>) -> freshmaker::backend::Result<Option<String>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(place.marker).cloned())
    }

    async fn add(&self, place: Place<'_>) -> freshmaker::backend::Result<String> {
        let digest = Digest::of(place.marker.as_bytes());
        let commit: String = digest.as_str().chars().rev().take(40).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place.marker.to_owned(), commit.clone());
        Ok(commit)
    }
}

/// What dist-git says when the spec file of a package changes.
pub(crate) fn changed(prefix: &str) -> Message {
    let body = serde_json::json!({
        "commit": {
            "namespace": "rpms",
            "repo": "zlib",
            "branch": "f40",
            "rev": "3f1e2d4c5b6a79880716253443526170f8e9dacb",
            "stats": { "files": { "zlib.spec": { "additions": 1 } } },
        },
    });
    Message {
        id: "a0e1f2c4-5b66-4c0f-9d0a-2f6f2d1c9a13".to_owned(),
        topic: format!("{prefix}.git.receive"),
        headers: Default::default(),
        body: body.to_string().into_bytes(),
    }
}
