//! What the contract suite of build systems needs: requests that end as it wishes, each under a fresh marker.
use async_trait::async_trait;
use freshmaker::backend::BuildRequest;
use freshmaker::rebuild::AttemptId;
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
        let attempt = AttemptId::from_random(fastrand::u128(..));
        BuildRequest { target: target.to_owned(), ..BuildRequest::new(attempt, "hello") }
    }

    async fn settle(&self) {
        // A run ends when it is looked at, so there is nothing to wait for.
    }
}
