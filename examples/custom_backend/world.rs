//! What the contract suite of build systems needs: requests that end as it wishes, each under a fresh marker.
use async_trait::async_trait;
use freshmaker::ArtifactKind;
use freshmaker::backend::BuildRequest;
use freshmaker::rebuild::{AttemptId, BuildId};
use freshmaker::testing::conformance::{BuildWorld, Ending};

pub(crate) struct Requests;

#[async_trait]
impl BuildWorld for Requests {
    fn request(&self, ending: Ending) -> BuildRequest {
        let target = match ending {
            Ending::Succeeds => "sound",
            Ending::Fails => "broken",
            Ending::Hangs => "endless",
        };
        BuildRequest {
            attempt: AttemptId::from_random(fastrand::u128(..)),
            build: BuildId(1),
            artifact: "hello".into(),
            kind: ArtifactKind::Rpm,
            source: None,
            target: target.to_owned(),
            parameters: Default::default(),
            release: "1".to_owned(),
            parents: Vec::new(),
            no_cache: false,
        }
    }

    async fn settle(&self) {
        // A run ends when it is looked at, so there is nothing to wait for.
    }
}
