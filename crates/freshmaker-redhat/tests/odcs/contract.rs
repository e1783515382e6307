//! The public contract of build systems, over HTTP.

use crate::world::{World, request};
use async_trait::async_trait;
use freshmaker::backend::{BuildRequest, ComposerSystem};
use freshmaker_redhat::fakes::odcs::Course;
use freshmaker_redhat::odcs::{Compose, OdcsComposer, OdcsConfig};
use freshmaker_testing::conformance::{BuildWorld, Ending, build_system};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

struct Composes<'a>(&'a World, AtomicU32);

#[async_trait]
impl BuildWorld for Composes<'_> {
    fn request(&self, ending: Ending) -> BuildRequest {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        let tag = format!("tag-{number}");
        let course = match ending {
            Ending::Succeeds => Course::slow(Duration::from_secs(1), Duration::from_secs(5)),
            Ending::Fails => Course::failing("No such package: bash"),
            Ending::Hangs => Course::hanging(),
        };
        self.0.service.script(&tag, course);
        let compose = Compose::tag(tag);
        let asked = request(number.into(), &compose);
        let mut build = BuildRequest::new(asked.attempt, asked.artifact);
        build.parameters = asked.parameters;
        build
    }

    fn knows_again(&self) -> bool {
        false
    }

    async fn settle(&self) {
        self.0.pass(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn the_contract_of_build_systems_holds() {
    let world = World::new().await;
    let config = OdcsConfig::new(world.service.url());
    let odcs = OdcsComposer::new(config).unwrap().with_clock(Arc::new(world.clock.clone()));
    build_system(&ComposerSystem(Arc::new(odcs)), &Composes(&world, AtomicU32::new(1))).await;
    assert_eq!(world.service.violations(), [] as [String; 0]);
}
