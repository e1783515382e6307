//! Plans that are previewed, kept, and applied as they were seen.

use crate::each;
use freshmaker::artifact::Digest;
use freshmaker::backend::{Clock, Documents, NewDocument, Remedy};
use freshmaker::client::{Applied, Client};
use freshmaker::engine::{PreviewOutcome, Previewed};
use freshmaker::policy::Policy;
use freshmaker::rebuild::EventState;
use freshmaker::{Artifact, ArtifactKind, Context, Decision, EdgeKind, HandlerResult, Message};
use freshmaker_testing::world::{Pushed, World, builds, events, pushed};

async fn rebuild(event: Pushed, cx: Context) -> HandlerResult {
    let image = [event.image.into()];
    Ok(Decision::Rebuild(cx.catalog().dependents(&image).await?.plan(&image, cx.policy())?))
}

fn add_shop(world: &World) {
    world.catalog.update(|graph| {
        graph.insert(Artifact::new("shop", ArtifactKind::Image).with_source("shop", None));
        graph.depend("shop", "site", EdgeKind::ParentImage).unwrap();
    });
}

async fn kept(client: &Client) -> Digest {
    let previewed = client.keep_plans(Message::of("seen", &pushed("base")).unwrap(), "alice").await.unwrap();
    let [Previewed { decision: PreviewOutcome::Rebuilds(plan) | PreviewOutcome::Asks { plan, .. }, .. }] =
        &previewed[..]
    else {
        panic!("{previewed:?}")
    };
    plan.hash()
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_is_what_is_done() {
    for world in each() {
        // However large it is.
        let engine = world.builder().policy(Policy::allow_all().with_ask_above(1)).on(rebuild).build().unwrap();
        let client = engine.client();
        let hash = kept(&client).await;
        assert!(events(&client).await.is_empty() && world.submitted().is_empty(), "a preview does nothing");
        let plan = client.kept_plan(&hash).await.unwrap();
        assert_eq!((plan.plan.hash(), plan.by.as_str(), plan.handler.as_str()), (hash.clone(), "alice", "rebuild"));

        let Applied::Sent(message) = client.apply(&hash, "bob").await.unwrap() else { panic!("it has not changed") };
        assert_eq!(client.apply(&hash, "carol").await.unwrap(), Applied::Sent(message.clone()), "twice is once");
        world.settle(&engine).await;
        assert_eq!(builds(&client).await, ["app DONE", "site DONE"]);
        assert_eq!(events(&client).await.len(), 1);
        // Previewed anew, it can be applied anew.
        let again = kept(&client).await;
        assert!(matches!(client.apply(&again, "bob").await.unwrap(), Applied::Sent(other) if other != message));
        world.settle(&engine).await;
        assert_eq!(events(&client).await.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_has_changed_is_not_applied() {
    for world in each() {
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        let hash = kept(&client).await;
        let seen = client.kept_plan(&hash).await.unwrap().plan;
        add_shop(&world);
        let Applied::Changed(Some(now)) = client.apply(&hash, "bob").await.unwrap() else { panic!("it has changed") };
        assert_eq!(seen.diff(&now).added, [&"shop".into()]);
        assert!(events(&client).await.is_empty());

        // It changes between the wish and its message.
        let hash = kept(&client).await;
        assert!(matches!(client.apply(&hash, "bob").await.unwrap(), Applied::Sent(_)));
        world.catalog.update(|graph| drop(graph.remove(&"shop".into())));
        world.settle(&engine).await;
        let event = events(&client).await.pop().unwrap();
        assert_eq!((event.state, event.reason.code.as_str()), (EventState::Skipped, "plan_changed"));
        assert!(world.submitted().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_kept_for_a_day() {
    for world in each() {
        let engine = world.builder().on(rebuild).build().unwrap();
        let client = engine.client();
        let hash = kept(&client).await;
        world.clock.sleep(Client::PLAN_KEPT).await;
        for error in [client.kept_plan(&hash).await.unwrap_err(), client.apply(&hash, "bob").await.unwrap_err()] {
            assert_eq!(error.remedy, Remedy::NotFound, "{error}");
            assert!(error.to_string().contains(&hash.to_string()), "{error}");
        }
        let documents: &dyn Documents = world.storage.documents();
        documents.put(NewDocument::new("plan", hash.to_string(), "nonsense".into())).await.unwrap();
        assert_eq!(client.kept_plan(&hash).await.unwrap_err().remedy, Remedy::Corrupt);
        assert_eq!(kept(&client).await, hash, "it can be kept again");
        client.kept_plan(&hash).await.unwrap();
        let bare = Client::new(world.storage.clone());
        let error = bare.apply(&hash, "bob").await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported, "without handlers it is not known whether it has changed");
    }
}
