//! Build systems to which nothing is submitted for a while.

use crate::each;
use freshmaker::backend::{Clock, Remedy};
use freshmaker::client::Client;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::{Artifact, ArtifactKind, EdgeKind};
use freshmaker_testing::world::{builds, until};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn nothing_is_submitted_to_a_paused_build_system() {
    for world in each() {
        world.catalog.update(|graph| {
            graph.insert(Artifact::new("tool", ArtifactKind::Image).with_source("tool", None).with_system("other"));
            graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("app", None).with_system("builder"));
            graph.insert(Artifact::new("site", ArtifactKind::Image).with_source("site", None).with_system("builder"));
            graph.depend("tool", "base", EdgeKind::ParentImage).unwrap();
        });
        let other = Arc::new(freshmaker::memory::MemoryBuildSystem::new());
        let engine = world.builder().build_system("other", other).on(rebuild_dependents).build().unwrap();
        let client = engine.client();
        client.pause("builder", "the farm is moved", "alice").await.unwrap();
        let twice = client.pause("builder", "again", "bob").await.unwrap_err();
        assert_eq!(twice.remedy, Remedy::Rejected, "{twice}");
        client.send(&ImagePushed { image: "base".into(), digest: None }).await.unwrap();
        // In another process than the engine: it sees the end of the pause within a tick.
        let person = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let story = async {
            until(async || builds(&client).await.iter().any(|line| line == "tool DONE")).await;
            world.clock.sleep(Duration::from_secs(7200)).await;
            assert_eq!(builds(&client).await, ["app READY", "site BLOCKED", "tool DONE"], "the other one goes on");
            let [stuck] = &client.stuck(Duration::from_secs(3600)).await.unwrap()[..] else { panic!("one is stuck") };
            let text = (stuck.cause.code.as_str(), stuck.cause.text.as_str(), stuck.advice);
            assert_eq!(text, ("paused", "builder is paused by alice: the farm is moved", "resume the build system"));
            let [pause] = &person.pauses().await.unwrap()[..] else { panic!("one is paused") };
            assert_eq!((pause.system.as_str(), pause.by.as_str()), ("builder", "alice"));
            person.resume("builder").await.unwrap();
            client.wait_until_idle().await;
        };
        engine.run_until(story).await.unwrap();
        assert_eq!(builds(&client).await, ["app DONE", "site DONE", "tool DONE"]);
        let twice = client.resume("builder").await.unwrap_err();
        assert_eq!(twice.remedy, Remedy::Rejected, "{twice}");
    }
}
