//! What is in an image is asked of the hub, before anything is built on it.

use crate::farm::{Farm, source};
use freshmaker_redhat::fakes::koji::Fate;

async fn farm(builds_of_base: &[&str]) -> Farm {
    let mut farm = Farm::new().await;
    farm.verifies = true;
    for zlib in builds_of_base {
        farm.hub.next(
            &source("base"),
            Fate::succeeds().with_rpm("aarch64", "zlib-1.2.11-41.el9").with_rpm("x86_64", *zlib),
        );
    }
    farm
}

#[tokio::test]
async fn what_is_too_old_is_built_once_more() {
    let farm = farm(&["zlib-1.2.11-39.el9", "zlib-1.2.11-40.el9"]).await;
    assert_eq!(farm.succeeds().await, 5);
    let artifacts: Vec<_> = farm.hub.ledger().entries.into_iter().map(|entry| entry.artifact).collect();
    assert_eq!(artifacts[..3], [source("base"), source("base"), source("middle")]);
}

#[tokio::test]
async fn what_is_too_old_again_has_failed_and_says_where() {
    let farm = farm(&["zlib-1.2.11-39.el9", "zlib-1.2.11-39.el9"]).await;
    let engine = farm.engine(1);
    farm.push(&engine).await;
    engine.run_until(engine.client().wait_until_idle()).await.unwrap();
    let states = farm.states().await;
    assert_eq!(states, ["base FAILED", "left DEP_FAILED", "middle DEP_FAILED", "right DEP_FAILED"]);
    assert_eq!(farm.hub.ledger().entries.len(), 2);
    let builds = farm.builds().await;
    let base = builds.iter().find(|build| build.key.artifact.as_str() == "base").unwrap();
    let text = &base.reason.text;
    assert!(["zlib-1.2.11-39.el9", "zlib-1.2.11-40.el9", "x86_64"].iter().all(|word| text.contains(word)), "{text}");
    assert!(!text.contains("aarch64"), "{text}");
}
