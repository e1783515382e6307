//! Every event ends, whatever becomes of its builds, and says how.

use super::service::{Service, message};
use super::town::{HOUR, Town, builds, events, outcome};
use super::world::{FIXED, Known, World, affected, layers, old};
use freshmaker::Message;
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{BuildMode, EventState, Failure, FailureClass, Observed};
use freshmaker_redhat::fakes::odcs::Course;
use freshmaker_redhat::handlers::RebuildImagesOfAdvisory;
use freshmaker_redhat::odcs::Compose;
use freshmaker_testing::world::until;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn service() -> Service {
    let world = Arc::new(World::new(FIXED, &layers()));
    Service::new(|builder| builder.on(RebuildImagesOfAdvisory(affected(&world))))
}

fn shipped() -> Message {
    message("ID:1", "errata.activity.status", &json!({ "errata_id": 28484, "from": "QE", "to": "SHIPPED_LIVE" }))
}

fn refuse(builds: &MemoryBuildSystem, image: &str) {
    builds.fail_next(&image.into(), Failure::new(FailureClass::Permanent, "the target is locked"));
}

/// Number 6 of the faults of the Python service: all first submissions fail, and the event ends.
#[tokio::test(start_paused = true)]
async fn an_event_whose_first_builds_all_fail_ends() {
    let service = service();
    refuse(&service.world.builds, "base-container-9-1");
    service.deliver([shipped()]).await;
    let states = ["app-container-1-1 DEP_FAILED", "base-container-9-1 FAILED", "python-container-3-1 DEP_FAILED"];
    assert_eq!(service.builds().await, states);
    let event = events(&service.client()).await.remove(0);
    assert!(event.state.is_terminal(), "{event:?}");
    assert_eq!((event.builds_failed, event.builds_done), (3, 0));
}

/// Number 6: somebody cancels a task in the build system, and the event ends.
#[tokio::test(start_paused = true)]
async fn an_event_with_a_task_that_somebody_cancelled_ends() {
    let service = service();
    let [app, base, python] = ["app-container-1-1", "base-container-9-1", "python-container-3-1"];
    service.world.builds.hold(&python.into());
    service.world.bus.send(shipped());
    let builds = service.world.builds.clone();
    let runs = until(move || std::future::ready(builds.requests().len() == 2));
    service.engine.run_until(runs).await.unwrap();
    service.world.builds.finish(&python.into(), Observed::Canceled);
    service.world.settle(&service.engine).await;
    let event = events(&service.client()).await.remove(0);
    assert!(event.state.is_terminal(), "{event:?}");
    let states = [format!("{app} DEP_FAILED"), format!("{base} DONE"), format!("{python} CANCELED")];
    assert_eq!(service.builds().await, states);
}

/// Number 5: ODCS needs an hour for a compose, and no message says that it is there.
#[tokio::test]
async fn composes_are_asked_about_without_a_message() {
    let image = Known { content_sets: &["baseos", "crb"], ..old(&[]) };
    let town = Town::new(World::new(FIXED, &[("app-container-1-1", image)])).await;
    let baseos = town.made(&Compose::pulp(["baseos"])).await;
    assert_eq!(baseos, 1);
    town.service.script("baseos crb", Course::slow(Duration::ZERO, HOUR));
    let client = town.ship().await;
    assert!(outcome(&client, "app-container-1-1").await.starts_with("DONE"), "{:?}", events(&client).await);
    assert!(town.asked("GET") > 1, "it was asked for");
}

/// Number 22 of the faults of the Python service: that a run was dry is part of the event and of
/// each build. Number 13: it submits nothing.
#[tokio::test(start_paused = true)]
async fn a_dry_run_says_so_for_ever() {
    let world = Arc::new(World::new(FIXED, &layers()));
    let service = Service::new(|builder| builder.on(RebuildImagesOfAdvisory(affected(&world))).mode(BuildMode::DryRun));
    service.deliver([shipped()]).await;
    let client = service.client();
    let events = client.events(EventFilter::default(), Paging::first(9)).await.unwrap().items;
    assert_eq!((events.len(), events[0].mode, events[0].state), (1, BuildMode::DryRun, EventState::Complete));
    let builds = client.builds(BuildFilter::default(), Paging::first(9)).await.unwrap().items;
    assert_eq!(builds.len(), 3);
    assert!(builds.iter().all(|build| build.key.mode == BuildMode::DryRun && build.id.0 > 0), "{builds:?}");
    assert_eq!(service.world.submitted(), [] as [String; 0]);
}

/// Numbers 13 and 22, on a service that really builds: a person asks for a dry run of one advisory.
/// It is planned with its composes, and says what it is; neither ODCS nor the build system is asked
/// for anything, and a real event afterwards builds everything.
#[tokio::test]
async fn a_single_dry_run_makes_no_compose_and_no_build() {
    let image = Known { content_sets: &["baseos", "crb"], ..old(&[]) };
    let town = Town::new(World::new(FIXED, &[("app-container-1-1", image)])).await;
    let made = town.made(&Compose::pulp(["baseos"])).await;
    let client = town.ask(json!({ "errata_id": 28484, "dry_run": true })).await;
    let event = events(&client).await.remove(0);
    assert_eq!((event.mode, event.state), (BuildMode::DryRun, EventState::Complete), "{event:?}");
    let pretended = builds(&client).await;
    let kinds: Vec<_> = pretended.iter().map(|build| build.kind).collect();
    assert!(kinds.contains(&ArtifactKind::Image) && kinds.contains(&ArtifactKind::Repository), "{pretended:?}");
    assert!(pretended.iter().all(|build| build.key.mode == BuildMode::DryRun && build.state.is_success()));
    assert_eq!(town.submissions(), [""; 0]);
    assert_eq!(i64::try_from(town.service.composes().len()).unwrap(), made, "no compose was asked for");
    let client = town.ask(json!({ "errata_id": 28484 })).await;
    assert_eq!(events(&client).await[1].mode, BuildMode::Real);
    assert_eq!(town.submissions().len(), 1);
    assert!(i64::try_from(town.service.composes().len()).unwrap() > made);
}
