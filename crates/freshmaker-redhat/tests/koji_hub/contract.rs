//! The Koji client keeps the contract of build systems, and what it promises beyond.

use crate::world::{Hands, SECOND, hub};
use async_trait::async_trait;
use freshmaker::artifact::Source;
use freshmaker::backend::{BuildRequest, BuildSystem, Remedy};
use freshmaker::rebuild::{AttemptId, ExternalId, Observed};
use freshmaker_net::Secret;
use freshmaker_redhat::fakes::koji::{Fate, Hub, Trouble};
use freshmaker_redhat::koji::{KojiBuildSystem, KojiConfig, KojiLogin};
use freshmaker_testing::conformance::{BuildWorld, Ending, build_system};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// How the client is set up for this hub.
pub(crate) fn config(hub: &Hub) -> KojiConfig {
    let mut config = KojiConfig::new(hub.url());
    config.topurl = Some(hub.files_url());
    config.login = KojiLogin::Password { user: "freshmaker".to_owned(), password: Secret::new("freshpw") };
    config
}

struct World {
    hub: Hub,
    clock: Arc<Hands>,
    requests: AtomicU32,
}

impl World {
    async fn new() -> Self {
        let clock = Hands::new();
        Self { hub: hub(&clock).await, clock, requests: AtomicU32::new(0) }
    }

    fn builds(&self) -> KojiBuildSystem {
        KojiBuildSystem::new(config(&self.hub)).unwrap()
    }
}

#[async_trait]
impl BuildWorld for World {
    fn request(&self, ending: Ending) -> BuildRequest {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let source = format!("git://src.example.com/containers/image-{number}");
        let fate = match ending {
            Ending::Succeeds => Fate::succeeds().queued(SECOND).taking(SECOND),
            Ending::Fails => Fate::fails(2001, "it does not compile").taking(SECOND),
            Ending::Hangs => Fate::hangs(),
        };
        self.hub.next(&source, fate);
        let mut request = BuildRequest::new(AttemptId::from_random(number.into()), format!("image-{number}"));
        request.source = Some(Source { location: source, revision: Some("abc".to_owned()) });
        request.target = "rhel-9-containers".to_owned();
        request
    }

    fn unknown(&self) -> ExternalId {
        ExternalId::new("4711")
    }

    async fn settle(&self) {
        self.clock.forward(SECOND);
    }
}

#[tokio::test]
async fn the_contract_of_build_systems_holds() {
    let world = World::new().await;
    build_system(&world.builds(), &world).await;
    assert_eq!(world.hub.ledger().violations(), []);
    assert_eq!(world.hub.calls("login"), 1, "one after the other needs one session");
}

#[tokio::test]
async fn sessions_that_come_to_nothing_are_shared() {
    let world = World::new().await;
    let builds = world.builds();
    for _ in 0..100 {
        builds.session().await.unwrap();
    }
    let mut request = world.request(Ending::Succeeds);
    request.session = builds.session().await.unwrap();
    builds.submit(&request).await.unwrap();
    assert_eq!(world.hub.calls("login"), 4);
    assert_eq!(world.hub.ledger().entries.len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_in_a_session_that_is_in_doubt() {
    let world = World::new().await;
    let mut config = config(&world.hub);
    config.sessions = 1;
    // Long enough for a login on a loaded machine.
    config.http.timeout = Duration::from_secs(1);
    let builds = KojiBuildSystem::new(config).unwrap();
    let mut requests = [Ending::Succeeds; 3].map(|ending| world.request(ending));
    for request in &mut requests {
        request.session = builds.session().await.unwrap();
    }
    assert_eq!(requests[0].session, requests[1].session);

    world.hub.trouble("buildContainer", 0, Trouble::Stalls);
    let (first, second) = tokio::join!(builds.submit(&requests[0]), builds.submit(&requests[1]));
    assert_eq!(first.unwrap_err().remedy, Remedy::Unclear);
    assert_eq!(second.unwrap_err().remedy, Remedy::Unavailable);
    assert_eq!(builds.submit(&requests[2]).await.unwrap_err().remedy, Remedy::Unavailable);
    assert_eq!(world.hub.calls("buildContainer"), 1);

    // Nor if nobody waited for the answer.
    world.hub.trouble("buildContainer", 0, Trouble::Stalls);
    let session = builds.session().await.unwrap();
    requests[1].session = session.clone();
    timeout(Duration::from_millis(50), builds.submit(&requests[1])).await.unwrap_err();
    assert_ne!(builds.session().await.unwrap(), session);
}

#[tokio::test]
async fn ids_that_cannot_be_have_vanished_and_hold_up_nobody() {
    let world = World::new().await;
    let builds = world.builds();
    let task = builds.submit(&world.request(Ending::Hangs)).await.unwrap();
    let ids = ["", "-1", "0", "abc", "4294967296", "99999999999999999999", "77", task.as_str()].map(ExternalId::new);
    let found = builds.status(&ids).await.unwrap();
    let found: BTreeMap<_, _> = found.into_iter().map(|found| (found.external, found.observed)).collect();
    for id in &ids {
        let expected = if *id == task { Observed::Running } else { Observed::Vanished };
        assert_eq!(found.get(id), Some(&expected), "{id}");
    }
}
