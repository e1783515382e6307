use super::support::Service;
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker::{Artifact, ArtifactKind, EdgeKind};
use serde_json::{Value, json};

fn pushed(image: &str) -> Value {
    json!({"topic": "image.pushed", "body": {"image": image, "digest": null}})
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_looked_at_and_then_applied_as_it_is() {
    let service = Service::open();
    let preview = service.post("/api/3/plans", &pushed("base")).await.json();
    let item = &preview["items"][0];
    assert_eq!((&item["decision"], &item["builds"]), (&json!("rebuilds"), &json!(2)));
    let path = format!("/api/3/plans/{}", item["hash"].as_str().unwrap());
    assert_eq!(service.get("/api/3/events").await.json()["items"], json!([]), "nothing was started");
    assert_eq!(service.get(&path).await.json()["plan"], item["plan"]);
    assert_eq!(service.get(&format!("{path}/diff")).await.json()["same"], true);

    let first = service.post(&format!("{path}/apply"), &Value::Null).await;
    assert_eq!((first.status.as_u16(), &first.json()["new"]), (202, &json!(true)));
    let again = service.post(&format!("{path}/apply"), &Value::Null).await;
    assert_eq!(again.json()["message_id"], first.json()["message_id"], "two people apply it, and it is done once");
    assert_eq!(again.json()["new"], false);
    service.settle().await;
    let events = service.get("/api/3/events").await.json();
    assert_eq!((events["items"].as_array().unwrap().len(), &events["items"][0]["state"]), (1, &json!("COMPLETE")));
    assert_eq!(
        service.get(&format!("/api/3/{}", first.header("location").trim_start_matches("../"))).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_has_changed_is_refused_with_the_difference() {
    let service = Service::open();
    let preview = service.post("/api/3/plans", &pushed("base")).await.json();
    let path = format!("/api/3/plans/{}", preview["items"][0]["hash"].as_str().unwrap());
    service.world.catalog.update(|graph| {
        graph.insert(Artifact::new("shop", ArtifactKind::Image).with_source("shop", None));
        graph.depend("shop", "site", EdgeKind::ParentImage).unwrap();
    });
    let diff = service.get(&format!("{path}/diff")).await.json();
    assert_eq!((&diff["same"], &diff["diff"]["added"]), (&json!(false), &json!(["shop"])));
    let refused = service.post(&format!("{path}/apply"), &Value::Null).await;
    assert_eq!(refused.problem(), "plan_changed");
    assert!(refused.json()["detail"].as_str().unwrap().contains("shop"), "{refused:?}");
    assert_eq!(service.get("/api/3/events").await.json()["items"], json!([]));
    assert_eq!(service.get("/api/3/plans/nonsense").await.problem_at(), ("bad_parameter".into(), "hash".into()));
    let unknown = format!("/api/3/plans/{}", freshmaker::artifact::Digest::of(b"x"));
    assert_eq!(service.get(&unknown).await.problem(), "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_build_system_is_paused_and_resumed() {
    let service = Service::open();
    let reason = json!({"reason": "the farm is moved"});
    assert_eq!(service.post("/api/3/systems/builder/pause", &reason).await.status, 204);
    assert_eq!(service.post("/api/3/systems/builder/pause", &reason).await.problem(), "rejected");
    let pauses = service.get("/api/3/pauses").await.json();
    assert_eq!((&pauses["items"][0]["system"], &pauses["items"][0]["reason"]), (&json!("builder"), &reason["reason"]));
    assert_eq!(service.post("/api/3/systems/builder/resume", &Value::Null).await.status, 204);
    assert_eq!(service.post("/api/3/systems/builder/resume", &Value::Null).await.problem(), "rejected");
}

/// A name with a mistake in it must not look like a pause.
#[tokio::test(start_paused = true)]
async fn a_build_system_that_nobody_knows_is_not_paused() {
    let service = Service::new(|config| {
        config.authentication.none = true;
        let mut page = freshmaker_web::PageConfig::default();
        page.limits.insert("koji".to_owned(), 20);
        config.page = Some(page);
    });
    let reason = json!({"reason": "the farm is moved"});
    // Before there are builds of it, a client may pause what it likes.
    service.engine.client().pause("nonsense", "a mistake", "alice").await.unwrap();
    service.push("base").await;
    service.settle().await;
    let unknown = service.post("/api/3/systems/nonsens/pause", &reason).await;
    assert_eq!(unknown.problem(), "not_found");
    let detail = unknown.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "no build system is called \"nonsens\"; there are builder, koji");
    assert_eq!(service.post("/api/3/systems/nonsense/pause", &reason).await.problem(), "rejected", "it is paused");
    for known in ["nonsense", "builder", "koji"] {
        if known != "nonsense" {
            assert_eq!(service.post(&format!("/api/3/systems/{known}/pause"), &reason).await.status, 204, "{known}");
        }
        assert_eq!(service.post(&format!("/api/3/systems/{known}/resume"), &Value::Null).await.status, 204, "{known}");
    }
}

#[tokio::test(start_paused = true)]
async fn builds_are_counted_by_reason() {
    let service = Service::open();
    service.world.builds.fail_next(&"site".into(), Failure::new(FailureClass::Permanent, "broken"));
    service.push("base").await;
    service.settle().await;
    let counts = service.get("/api/3/counts").await.json();
    let lines: Vec<_> = counts["items"].as_array().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            r#"{"count":1,"reason":"built","state":"DONE","system":"builder"}"#,
            r#"{"count":1,"reason":"failed","state":"FAILED","system":"builder"}"#,
        ]
    );
    assert_eq!(service.get("/api/3/counts?state=FAILED&system=builder").await.json()["items"][0]["count"], 1);
    assert_eq!(service.get("/api/3/counts?state=BROKEN").await.problem_at(), ("bad_parameter".into(), "state".into()));
}
