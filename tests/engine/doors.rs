//! Doors: what waits for a person can be decided by one.

use crate::each;
use freshmaker::backend::{Clock, Paging, Remedy};
use freshmaker::client::{Client, RetryPart};
use freshmaker::memory::MemoryBuildSystem;
use freshmaker::rebuild::{
    AttemptId, BuildId, EventState, ExternalId, Failure, FailureClass, InboxState, Observed, Output, RowKey,
};
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, HandlerResult};
use freshmaker_testing::world::{Pushed, TokioClock, World, builds, events, message, pushed, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let graph = cx.catalog().dependents(&[event.image.as_str().into()]).await?;
    Ok(Decision::Rebuild(graph.planner().changed(event.image, None).plan()?))
}

async fn build_of(client: &Client, artifact: &str) -> BuildId {
    let all = client.builds(Default::default(), Paging::first(100)).await.unwrap().items;
    all.iter().find(|build| build.key.artifact.as_str() == artifact).unwrap().id
}

async fn attempt_of(client: &Client, artifact: &str) -> AttemptId {
    client.attempts(build_of(client, artifact).await).await.unwrap().pop().unwrap().id
}

mod unclear {
    use super::*;
    use async_trait::async_trait;
    use freshmaker::backend::{BuildRequest, BuildSystem, Capabilities, Error, Found, Result};
    use freshmaker::time::Timestamp;

    /// Cannot tell what it has, and does not answer the first submission.
    #[derive(Debug)]
    struct Mute {
        inner: Arc<MemoryBuildSystem>,
        submitted: AtomicBool,
    }

    #[async_trait]
    impl BuildSystem for Mute {
        fn capabilities(&self) -> Capabilities {
            Capabilities { lookup: false, ..self.inner.capabilities() }
        }

        async fn submit(&self, request: &BuildRequest) -> Result<ExternalId> {
            if !self.submitted.swap(true, Ordering::SeqCst) {
                return Err(Error::new(Remedy::Unclear, "submit", "connection reset"));
            }
            self.inner.submit(request).await
        }

        async fn find(&self, _: &BuildRequest, _: Timestamp) -> Result<Vec<Found>> {
            panic!("it is never asked")
        }

        async fn status(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
            self.inner.status(ids).await
        }

        async fn cancel(&self, id: &ExternalId) -> Result<()> {
            self.inner.cancel(id).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_says_what_became_of_an_unclear_submission() {
        for found in [false, true] {
            for world in each() {
                let system = Mute { inner: world.builds.clone(), submitted: AtomicBool::new(false) };
                let engine = world.builder().build_system("mute", Arc::new(system)).on(rebuild).build().unwrap();
                world.catalog.update(|graph| {
                    graph.remove(&"site".into());
                    let app = freshmaker::Artifact::new("app", freshmaker::ArtifactKind::Image);
                    graph.insert(app.with_source("app", None).with_system("mute"));
                });
                let client = engine.client();
                client.send(&pushed("base")).await.unwrap();
                let waits = until(|| async {
                    let all = client.builds(Default::default(), Paging::first(1)).await.unwrap().items;
                    let Some(build) = all.first() else { return false };
                    let attempts = client.attempts(build.id).await.unwrap();
                    attempts.first().is_some_and(|attempt| attempt.reason.code == "needs_decision")
                });
                engine.run_until(waits).await.unwrap();
                let attempt = attempt_of(&client, "app").await;
                let external = found.then(|| ExternalId::new("task-7"));
                client.resolve(&attempt, external.clone(), "ann").await.unwrap();
                let again = client.resolve(&attempt, external, "bob").await.unwrap_err();
                assert_eq!(again.remedy, Remedy::Rejected, "{again}");
                world.settle(&engine).await;
                // The build system does not know the id that was made up, so it is tried again.
                assert_eq!(builds(&client).await, ["app DONE"]);
                let attempts = client.attempts(build_of(&client, "app").await).await.unwrap();
                assert_eq!(attempts.len(), 2);
                let history = client.transitions(&RowKey::Attempt(attempt.clone())).await.unwrap();
                let decided = history.iter().find(|row| row.reason.code == "decided").unwrap();
                assert_eq!(decided.actor.to_string(), "person:ann");
                assert_eq!(decided.to, if found { "BOUND" } else { "NOT_SUBMITTED" });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_does_not_go_on_can_be_given_up() {
    for world in each() {
        let engine = world.builder().limit("builder", 0).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        engine.run_until(until(|| async { builds(&client).await.len() == 2 })).await.unwrap();
        assert_eq!(builds(&client).await, ["app READY", "site BLOCKED"]);
        client.give_up(build_of(&client, "app").await, "the builder is gone", "ann").await.unwrap();
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["app FAILED", "site DEP_FAILED"]);
        let last = client.transitions(&RowKey::Build(build_of(&client, "app").await)).await.unwrap().pop().unwrap();
        assert_eq!((last.reason.code.as_str(), last.actor.to_string().as_str()), ("abandoned", "person:ann"));
        assert_eq!(last.reason.text, "given up by ann: the builder is gone");
        let again = client.give_up(build_of(&client, "app").await, "", "ann").await.unwrap_err();
        assert_eq!(again.remedy, Remedy::Rejected, "{again}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_cancelled_before_it_is_given_up() {
    for world in each() {
        world.builds.hold(&"app".into());
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        engine.run_until(until(|| async { builds(&client).await == ["app BUILDING", "site BLOCKED"] })).await.unwrap();
        let app = build_of(&client, "app").await;
        let error = client.give_up(app, "it takes too long", "ann").await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected, "{error}");
        client.cancel(events(&client).await[0].id, "ann").await.unwrap();
        let twice = client.cancel(events(&client).await[0].id, "bob").await.unwrap_err();
        assert!(twice.to_string().contains("being cancelled already"), "{twice}");
        // No engine runs, so that nobody says how it ended.
        assert_eq!(builds(&client).await, ["app CANCELING", "site CANCELED"]);
        client.give_up(app, "the machine was thrown away", "ann").await.unwrap();
        assert_eq!(builds(&client).await, ["app CANCELED", "site CANCELED"]);
        let event = events(&client).await.remove(0);
        assert_eq!(event.state, EventState::Canceled);
        assert_eq!(event.reason.text, "cancelled by ann; everything it started has ended");
        assert_eq!(world.storage.reads().check_consistency().await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_handled_again_when_its_handler_is_there() {
    for world in each() {
        let other = world
            .builder()
            .on_as("other", |_: freshmaker::handler::ImagePushed, _: Context| async { Ok(Decision::Ignore) });
        let before = other.build().unwrap();
        // A client that knows no handlers takes what it gets.
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        client.send_as("m1", &pushed("base")).await.unwrap();
        world.settle(&before).await;
        assert_eq!(client.message(Client::LOCAL, "m1").await.unwrap().reason.unwrap().code, "no_handler");
        client.requeue(Client::LOCAL, "m1").await.unwrap();
        assert_eq!(client.requeue(Client::LOCAL, "m1").await.unwrap_err().remedy, Remedy::Rejected);
        assert_eq!(client.requeue(Client::LOCAL, "m2").await.unwrap_err().remedy, Remedy::NotFound);
        assert_eq!(client.requeue(Client::REFUSED, "m1").await.unwrap_err().remedy, Remedy::Rejected);
        assert_eq!(client.dismiss(Client::LOCAL, "m1", "no", "ann").await.unwrap_err().remedy, Remedy::Rejected);
        let after = world.builder().on(rebuild).build().unwrap();
        world.settle(&after).await;
        assert_eq!(client.message(Client::LOCAL, "m1").await.unwrap().state, InboxState::Done);
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
    }
}

/// A world in which `base` was pushed, `app` built, and `site` not.
async fn half_failed(world: &World) -> freshmaker::Engine {
    let engine = world.builder().on(rebuild).build().unwrap();
    let permanent = Failure::new(FailureClass::Permanent, "no such target");
    world.builds.fail_next(&"site".into(), permanent);
    engine.client().send(&pushed("base")).await.unwrap();
    world.settle(&engine).await;
    assert_eq!(builds(&engine.client()).await, ["app DONE", "site FAILED"]);
    engine
}

#[tokio::test(start_paused = true)]
async fn the_failed_part_of_an_event_is_built_on_what_was_built_well() {
    for world in each() {
        let engine = half_failed(&world).await;
        let client = engine.client();
        let first = events(&client).await[0].clone();
        let id = client.retry(first.id, RetryPart::Failed, "ann").await.unwrap();
        assert_eq!(client.retry(first.id, RetryPart::Failed, "bob").await.unwrap(), id, "twice is once");
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["app DONE", "site FAILED", "site DONE"]);
        assert_eq!(world.submitted(), ["app", "site", "site"]);
        let all = events(&client).await;
        assert_eq!(all.len(), 2, "what has ended stays as it is");
        assert_eq!(all[0], first);
        let second = &all[1];
        assert_eq!((second.state, second.generation, second.retry_of), (EventState::Complete, 2, Some(first.id)));
        assert_eq!(second.envelope.requester.as_deref(), Some("ann"));
        let plan = client.plan(second.id).await.unwrap().unwrap();
        assert_eq!(plan.excluded(&"app".into()).unwrap().code, "not_retried");
        let requests = world.builds.requests();
        let parent =
            |request: usize| requests[request].parents.iter().find(|parent| parent.id.as_str() == "app").cloned();
        assert_eq!(parent(2).unwrap().digest, parent(1).unwrap().digest, "it is built on what was made then");
        assert!(parent(2).unwrap().digest.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_event_is_done_over() {
    for world in each() {
        let engine = half_failed(&world).await;
        let client = engine.client();
        client.retry(events(&client).await[0].id, RetryPart::Whole, "ann").await.unwrap();
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["app DONE", "site FAILED", "app DONE", "site DONE"]);
        let second = events(&client).await[1].clone();
        let error = client.retry(second.id, RetryPart::Failed, "ann").await.unwrap_err();
        assert_eq!(error.to_string(), format!("client: nothing of event {} failed", second.id));
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_is_not_retried() {
    let world = World::new();
    world.builds.hold(&"app".into());
    let engine = world.builder().on(rebuild).build().unwrap();
    let client = engine.client();
    client.send(&pushed("base")).await.unwrap();
    engine.run_until(until(|| async { builds(&client).await.len() == 2 })).await.unwrap();
    let event = events(&client).await[0].id;
    let error = client.retry(event, RetryPart::Whole, "ann").await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Rejected, "{error}");
    let output = Output { name: String::new(), digest: None, contents: None };
    world.builds.finish(&"app".into(), Observed::Succeeded(output));
}

#[tokio::test(start_paused = true)]
async fn only_a_client_retries_and_only_what_is_there() {
    let world = World::new();
    let engine = half_failed(&world).await;
    let client = engine.client();
    let event = events(&client).await[0].id;
    let retry = |id: &str, of: i64| {
        let mut retry = message(id, "test.pushed", r#"{"image": "base"}"#);
        retry.headers.insert(freshmaker::Message::RETRIES.to_owned(), of.to_string());
        retry.headers.insert(freshmaker::Message::PART.to_owned(), "failed".to_owned());
        retry
    };
    client.receive(retry("gone", 4711)).await.unwrap();
    world.bus.send(retry("forged", event.0));
    world.settle(&engine).await;
    let gone = client.message(Client::LOCAL, "gone").await.unwrap();
    assert_eq!((gone.state, gone.reason.unwrap().code.as_str()), (InboxState::Dead, "event_gone"));
    let all = events(&client).await;
    assert_eq!((all.len(), all[1].generation, all[1].retry_of), (2, 1, None), "a push like any other");
    assert_eq!(world.submitted(), ["app", "site", "app", "site"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_mended_is_put_away() {
    for world in each() {
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        world.settle(&world.builder().on(rebuild).build().unwrap()).await;
        world.bus.send(message("m1", "test.pushed", "no JSON"));
        world.settle(&world.builder().on(rebuild).build().unwrap()).await;
        let letter = client.dead_letters(Paging::first(9)).await.unwrap().items.remove(0);
        assert_eq!(client.stuck(Duration::ZERO).await.unwrap().len(), 1);
        client.dismiss(&letter.source, "m1", "its sender was mended", "ann").await.unwrap();
        assert_eq!(client.stuck(Duration::ZERO).await.unwrap(), []);
        let message = client.message(&letter.source, "m1").await.unwrap();
        assert_eq!(message.state, InboxState::Ignored);
        assert_eq!(message.reason.unwrap().to_string(), "dismissed by ann: its sender was mended");
    }
}

/// A long queue is no cause for worry.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_is_not_listed() {
    for world in each() {
        world.catalog.update(|graph| {
            graph.insert(Artifact::new("tool", ArtifactKind::Image).with_source("tool", None));
            graph.depend("tool", "base", EdgeKind::ParentImage).unwrap();
        });
        world.builds.hold(&"app".into());
        let engine = world.builder().limit("builder", 1).on(rebuild).build().unwrap();
        let client = engine.client();
        client.send(&pushed("base")).await.unwrap();
        engine.run_until(world.clock.sleep(Duration::from_secs(3600))).await.unwrap();
        assert_eq!(builds(&client).await, ["app BUILDING", "site BLOCKED", "tool READY"]);
        assert_eq!(client.stuck(Duration::from_secs(60)).await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_move_is_listed_with_its_cause() {
    for world in each() {
        let engine = world.builder().limit("builder", 0).on(rebuild).build().unwrap();
        let client = engine.client();
        let hour = Duration::from_secs(3600);
        client.send_as("m1", &pushed("base")).await.unwrap();
        let outside = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let mut unknown = message("m2", "test.unknown", "{}");
        unknown.headers.clear();
        outside.receive(unknown).await.unwrap();
        let story = async {
            until(|| async { builds(&client).await.len() == 2 }).await;
            client.wait_for_message("m2").await.unwrap();
            assert_eq!(client.stuck(hour).await.unwrap(), [], "all of it has just happened");
            world.clock.sleep(hour * 2).await;
        };
        engine.run_until(story).await.unwrap();
        let stuck = client.stuck(hour).await.unwrap();
        let told: Vec<_> = stuck.iter().map(|it| (it.cause.code.as_str(), it.advice)).collect();
        let ready = "see that an engine has its build system, with a free place; or give it up";
        let expected =
            [("no_handler", "mend what is wrong with it, then requeue it, or dismiss it"), ("not_started", ready)];
        assert_eq!(told, expected, "site waits for app, and is not listed");
        assert_eq!(stuck[1].cause.text, "no engine has started it, and nothing runs in builder");
        assert_eq!(client.stuck(hour * 3).await.unwrap(), []);
        let late = Arc::new(TokioClock::new());
        late.set_back(hour * 24);
        let elsewhere = Client::new(world.storage.clone()).with_clock(late);
        assert_eq!(elsewhere.stuck(hour).await.unwrap(), stuck, "the clock of the storage counts");
    }
}
