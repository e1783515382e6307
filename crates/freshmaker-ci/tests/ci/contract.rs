//! The public suite of the contract.

use crate::support::{KINDS, Kind, request};
use async_trait::async_trait;
use freshmaker::backend::BuildRequest;
use freshmaker::rebuild::ExternalId;
use freshmaker_ci::fakes::{Course, FakeCi};
use freshmaker_testing::conformance::{BuildWorld, Ending, build_system};
use std::sync::atomic::{AtomicU64, Ordering};

struct World {
    kind: Kind,
    service: FakeCi,
    number: AtomicU64,
}

#[async_trait]
impl BuildWorld for World {
    fn request(&self, ending: Ending) -> BuildRequest {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let artifact = format!("artifact{number}");
        self.service.script(
            &artifact,
            match ending {
                Ending::Succeeds => Course::Succeeds,
                Ending::Fails => Course::Fails,
                Ending::Hangs => Course::Hangs,
            },
        );
        request(u128::from(number), &artifact)
    }

    fn unknown(&self) -> ExternalId {
        ExternalId::new("4711")
    }

    /// GitHub and GitLab start whatever they are asked to.
    fn knows_again(&self) -> bool {
        self.kind == Kind::Http
    }
}

#[tokio::test]
async fn each_keeps_the_contract() {
    for kind in KINDS {
        let world = World { kind, service: kind.service().await, number: AtomicU64::new(1) };
        build_system(&*kind.client(&world.service), &world).await;
    }
}
