//! Why an artifact was rebuilt or not, from what is stored.

use crate::each;
use freshmaker::client::Client;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::plan::Explanation;
use freshmaker::rebuild::{Failure, FailureClass, Observed, Output};
use freshmaker::{Artifact, ArtifactKind, EdgeKind};
use freshmaker_testing::world::{World, builds, until};

/// `app` on `base`, `site` on `app`; nobody has a recipe for `vendor-1-2`.
fn worlds() -> [World; 2] {
    each().map(|world| {
        world.catalog.update(|graph| {
            graph.insert(Artifact::new("vendor-1-2", ArtifactKind::Image));
            graph.depend("vendor-1-2", "base", EdgeKind::ParentImage).unwrap();
        });
        world
    })
}

fn pushed() -> ImagePushed {
    ImagePushed { image: "base".into(), digest: None }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_says_why() {
    for world in worlds() {
        world.builds.hold(&"app".into());
        let engine = world.builder().on(rebuild_dependents).build().unwrap();
        // In another process than the engine.
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let nothing = client.why("app", 5).await.unwrap().to_string();
        assert!(
            nothing.starts_with("nothing is stored about app: ") && nothing.ends_with("no event has a plan with it\n")
        );
        let story = async {
            engine.client().send(&pushed()).await.unwrap();
            until(async || builds(&client).await == ["app BUILDING", "site BLOCKED"]).await;
            let why = client.why("site", 5).await.unwrap();
            let said = why.to_string();
            assert!(said.contains("site: rebuilt because base changed: base -> app -> site"), "{said}");
            assert!(said.contains("because of app") && said.contains("it waits for app (build "), "{said}");
            let json = serde_json::to_value(&why).unwrap();
            assert_eq!(json["events"][0]["explanation"]["status"], "rebuilt");
            assert_eq!(json["events"][0]["builds"][0]["waits"]["kind"], "running");
            let output = Output { name: "app-1-2.7".into(), digest: None, contents: None };
            world.builds.finish(&"app".into(), Observed::Succeeded(output));
            client.wait_for_event(why.events[0].event.id).await.unwrap();

            // By the name in an NVR, and by the name of an output.
            let vendor = client.why("vendor", 5).await.unwrap();
            assert_eq!((vendor.events.len(), vendor.events[0].artifact.as_str()), (1, "vendor-1-2"));
            assert!(matches!(vendor.events[0].explanation(), Some(Explanation::Excluded { .. })));
            assert!(vendor.to_string().contains("vendor-1-2: not rebuilt (no_recipe): "), "{vendor}");
            let made = client.why("app-1-2.7", 5).await.unwrap();
            assert_eq!(made.events[0].artifact.as_str(), "app");
            assert!(made.complete && made.to_string().contains(" DONE as app-1-2.7 ("), "{made}");

            let permanent = Failure::new(FailureClass::Permanent, "no such\ntarget");
            world.builds.hold(&"app".into());
            engine.client().send(&pushed()).await.unwrap();
            until(async || builds(&client).await.len() == 4).await;
            until(async || builds(&client).await[2] == "app BUILDING").await;
            world.builds.finish(&"app".into(), Observed::Failed(permanent));
            client.wait_until_idle().await;
            let why = client.why("site", 5).await.unwrap();
            assert_eq!(why.events.len(), 2);
            assert!(why.events[0].event.id > why.events[1].event.id, "the newest first");
            let newest = why.events[0].to_string();
            assert!(newest.contains("it cannot be built, because app (build "), "{newest}");
            assert!(newest.lines().all(|line| line.starts_with("event ") || line.starts_with("  ")), "{newest}");
            let one = client.why("site", 1).await.unwrap();
            assert_eq!((one.events.len(), one.complete), (1, false));
            assert!(one.to_string().ends_with("there may be more: older events and builds were not looked at\n"));
        };
        engine.run_until(story).await.unwrap();
    }
}
