//! What waits, for a service or for a limit, and what goes on meanwhile.

use super::service::{Service, message};
use super::world::{FIXED, Known, World, affected, layers, old};
use async_trait::async_trait;
use freshmaker::Message;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{BuildSystem, Capabilities, Clock, Result};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{Failure, FailureClass, Limits, Observed, Output};
use freshmaker_redhat::contracts::{Advisories, Advisory};
use freshmaker_redhat::handlers::{AffectedImages, RebuildImagesOfAdvisory};
use freshmaker_redhat::image::ImageSearch;
use freshmaker_testing::world::{self, until};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn shipped(advisory: u64) -> Message {
    let body = json!({ "errata_id": advisory, "from": "QE", "to": "SHIPPED_LIVE" });
    message(&format!("ID:{advisory}"), "errata.activity.status", &body)
}

/// Images that have nothing to do with each other, but the package.
fn independent(count: usize) -> Vec<(&'static str, Known)> {
    let names = (0..count).map(|n| &*format!("image{n:02}-container-1-1").leak());
    names.map(|name| (name, old(&[]))).collect()
}

fn finish(builds: &MemoryBuildSystem, image: &str) {
    let output = Output { name: format!("{image}.1764"), digest: None, contents: None };
    builds.finish(&image.into(), Observed::Succeeded(output));
}

/// An Errata Tool that does not answer about advisory 2 as long as nobody lets it.
#[derive(Debug)]
struct Slow {
    world: Arc<World>,
    answers: Semaphore,
}

#[async_trait]
impl Advisories for Slow {
    async fn advisory(&self, id: u64) -> Result<Advisory> {
        if id == 2 {
            self.answers.acquire().await.unwrap().forget();
        }
        self.world.advisory(28484).await
    }

    async fn fixed_packages(&self, id: u64) -> Result<BTreeSet<Nvr>> {
        self.world.fixed_packages(id).await
    }

    async fn builds(&self, id: u64) -> Result<BTreeSet<Nvr>> {
        self.world.builds(id).await
    }

    async fn repositories(&self, id: u64) -> Result<BTreeSet<String>> {
        self.world.repositories(id).await
    }
}

/// Number 14 of the faults of the Python service: while one advisory is planned, the builds of
/// another one go on.
#[tokio::test(start_paused = true)]
async fn planning_holds_up_no_builds() {
    let world = Arc::new(World::new(FIXED, &layers()));
    let slow = Arc::new(Slow { world: world.clone(), answers: Semaphore::new(0) });
    let search = ImageSearch::new(world.clone(), world.clone());
    let affected = AffectedImages::new(slow.clone(), world, search);
    let service = Service::new(|builder| builder.on(RebuildImagesOfAdvisory(affected)));
    let images = ["base-container-9-1", "python-container-3-1", "app-container-1-1"];
    service.world.builds.hold(&images[0].into());
    service.world.bus.send(shipped(1));
    let has = |count: usize| {
        let builds = service.world.builds.clone();
        until(move || std::future::ready(builds.requests().len() >= count))
    };
    service.engine.run_until(has(1)).await.unwrap();
    service.world.bus.send(shipped(2));
    let others = async {
        // The second advisory is asked about, and there is no answer.
        let asked = || std::future::ready(service.world.bus.backlog() == 0);
        until(asked).await;
        finish(&service.world.builds, images[0]);
        has(3).await;
    };
    service.engine.run_until(others).await.unwrap();
    assert_eq!(service.world.submitted(), images);
    slow.answers.add_permits(1);
    service.world.settle(&service.engine).await;
    assert_eq!(service.events().await.len(), 2);
}

/// Number 10 of the faults of the Python service: no more builds run at once than the build system
/// can bear, however many images an advisory affects.
#[tokio::test(start_paused = true)]
async fn no_more_builds_run_at_once_than_the_limit_says() {
    let images = independent(30);
    let world = Arc::new(World::new(FIXED, &images));
    let service = Service::new(|builder| builder.on(RebuildImagesOfAdvisory(affected(&world))).limit("builder", 4));
    images.iter().for_each(|(image, _)| service.world.builds.hold(&(*image).into()));
    service.world.bus.send(shipped(28484));
    let mut ended = BTreeSet::new();
    for finished in 0..30 {
        let builds = &service.world.builds;
        let running = (finished + 4).min(30);
        service.engine.run_until(until(|| std::future::ready(builds.requests().len() >= running))).await.unwrap();
        // Time for more, if there were any.
        service.engine.run_until(service.world.clock.sleep(Duration::from_secs(60))).await.unwrap();
        let submitted = service.world.submitted();
        assert_eq!(submitted.len(), running, "after {finished} have ended");
        let next = submitted.iter().find(|image| !ended.contains(*image)).unwrap();
        finish(builds, next);
        ended.insert(next.clone());
    }
    service.world.settle(&service.engine).await;
    assert_eq!(service.events().await, ["errata.advisory-status-changed COMPLETE: all 30 builds ended well"]);
}

/// Number 10: what may pass is tried again, each time after a longer pause; what will not pass is
/// not tried again.
#[tokio::test(start_paused = true)]
async fn a_retry_depends_on_the_failure() {
    let world = Arc::new(World::new(FIXED, &independent(2)));
    let service = Service::new(|builder| builder.on(RebuildImagesOfAdvisory(affected(&world))));
    let [flaky, broken] = ["image00-container-1-1", "image01-container-1-1"];
    for _ in 0..2 {
        service.world.builds.fail_next(&flaky.into(), Failure::new(FailureClass::Infrastructure, "no space left"));
    }
    service.world.builds.fail_next(&broken.into(), Failure::new(FailureClass::Permanent, "no such branch"));
    service.deliver([shipped(28484)]).await;
    let tries = |image: &str| service.world.submitted().iter().filter(|other| *other == image).count();
    assert_eq!((tries(flaky), tries(broken)), (3, 1));
    assert_eq!(service.builds().await, [format!("{flaky} DONE"), format!("{broken} FAILED")]);
    let filter = freshmaker::backend::BuildFilter { artifacts: vec![flaky.into()], ..Default::default() };
    let build = service.client().builds(filter, freshmaker::backend::Paging::first(1)).await.unwrap().items.remove(0);
    let attempts = service.client().attempts(build.id).await.unwrap();
    let mut starts: Vec<_> = attempts.iter().map(|attempt| attempt.intent_at).collect();
    starts.sort();
    let pauses: Vec<_> = starts.windows(2).map(|pair| freshmaker::time::since(pair[1], pair[0])).collect();
    assert!(pauses[0] >= Duration::from_secs(1) && pauses[1] >= pauses[0] * 3 / 2, "{pauses:?}");
}

/// Number 5 of the faults of the Python service: no message about a task comes, for longer than a
/// week; and one task is cancelled by somebody else in the build system.
#[tokio::test(start_paused = true)]
async fn tasks_are_asked_about_however_old_the_event_is() {
    let capabilities = Capabilities { poll: Duration::from_secs(600), ..MemoryBuildSystem::new().capabilities() };
    let builds = Arc::new(MemoryBuildSystem::new().with_capabilities(capabilities));
    let of_month = world::World { builds, ..world::World::new() };
    let mut limits = Limits::default();
    limits.attempt_timeout = 30 * DAY;
    let images = Arc::new(World::new(FIXED, &independent(2)));
    let service = Service::of(of_month, |builder| {
        builder.on(RebuildImagesOfAdvisory(affected(&images))).limits(limits).tick(Duration::from_secs(600))
    });
    let [slow, cancelled] = ["image00-container-1-1", "image01-container-1-1"];
    [slow, cancelled].iter().for_each(|image| service.world.builds.hold(&(*image).into()));
    service.world.bus.send(shipped(28484));
    service.engine.run_until(service.world.clock.sleep(8 * DAY)).await.unwrap();
    assert_eq!(service.builds().await, [format!("{slow} BUILDING"), format!("{cancelled} BUILDING")]);
    finish(&service.world.builds, slow);
    service.world.builds.finish(&cancelled.into(), Observed::Canceled);
    service.world.settle(&service.engine).await;
    assert_eq!(service.builds().await, [format!("{slow} DONE"), format!("{cancelled} CANCELED")]);
}
