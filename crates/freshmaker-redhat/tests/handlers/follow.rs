//! A parent was rebuilt by somebody else, or a recipe has changed: what is built on it follows.

use super::farm::{Built, Farm, built, on};
use super::service::{Service, message};
use freshmaker::Message;
use freshmaker_redhat::contracts::TaskBuild;
use freshmaker_redhat::handlers::{RebuildImageOfDockerfile, RebuildImagesOnParent};
use serde_json::json;
use std::sync::Arc;

fn service(farm: &Arc<Farm>) -> Service {
    Service::new(|builder| {
        let on_parent = RebuildImagesOnParent::new(built(farm));
        let builder = builder.on(on_parent.clone()).on(on_parent.on_tasks());
        builder.on(RebuildImageOfDockerfile(built(farm)))
    })
}

/// A finished task, as Brew announces it.
fn closed(task: i64) -> Message {
    let request = json!(["git://src/containers/base#1", "main-candidate", { "git_branch": "main" }]);
    let info = json!({ "id": task, "method": "buildContainer", "request": request });
    message(&format!("task-{task}"), "brew.task.closed", &json!({ "old": "OPEN", "new": "CLOSED", "info": info }))
}

/// Two layers on a base, of which there is a new release, and images that have to do with it.
fn layers() -> Farm {
    let mut farm = Farm::new(&[
        ("base-container-9-1", on(&[])),
        ("base-container-9-2", on(&[])),
        ("base-container-8-1", on(&[])),
        ("middle-container-1-2", on(&["base-container-9-1"])),
        ("middle-container-1-3", on(&["base-container-9-1"])),
        ("top-container-1-4", on(&["middle-container-1-2"])),
        ("builder-container-1-1", Built { builders: &["base-container-9-1"], ..on(&[]) }),
        ("ahead-container-1-1", on(&["base-container-9-2"])),
        ("legacy-container-1-1", on(&["base-container-8-1"])),
        ("orphan-container-1-1", Built { orphan: Some("Koji has no build 4711"), ..on(&[]) }),
        ("else-container-1-1", on(&[])),
    ]);
    let made = |name: &str| TaskBuild { nvr: Some(name.parse().unwrap()), marked: false };
    farm.tasks = [
        (1, made("base-container-9-2")),
        (2, TaskBuild { nvr: None, marked: true }),
        (3, TaskBuild { nvr: None, marked: false }),
        (4, made("else-container-1-1")),
    ]
    .into();
    farm
}

#[tokio::test(start_paused = true)]
async fn what_is_built_on_a_new_parent_is_rebuilt_in_order() {
    let service = service(&Arc::new(layers()));
    service.deliver([closed(1)]).await;
    let mut submissions = service.submissions();
    let top = submissions.pop().unwrap();
    submissions.sort();
    assert_eq!(
        submissions,
        [
            "builder-container-1-1 from git://src/containers/builder#c0ffee for main-candidate git_branch=main \
             on base-container-9-2",
            "middle-container-1-3 from git://src/containers/middle#c0ffee for main-candidate git_branch=main \
             koji_parent_build=base-container-9-2 on base-container-9-2",
        ]
    );
    assert_eq!(
        top,
        "top-container-1-4 from git://src/containers/top#c0ffee for main-candidate git_branch=main \
         on rebuilt middle-container-1-3"
    );
    assert_eq!(
        service.reasons().await,
        [
            "builder-container-1-1: parent_rebuilt (it is built on base-container-9-2)",
            "middle-container-1-3: parent_rebuilt (it is built on base-container-9-2)",
            "top-container-1-4: parent_rebuilt (it is built on middle-container-1-3)",
            "ahead-container-1-1: not, newer_parent (it is built on base-container-9-2)",
            "legacy-container-1-1: not, other_version (it is built on base-container-8-1, and base-container-9-2 is \
             another version of that)",
            "middle-container-1-2: not, superseded_by_release (middle-container-1-3 is rebuilt and used instead)",
            "orphan-container-1-1: not, lookup_error (Koji has no build 4711)",
        ]
    );
    assert_eq!(service.events().await, ["koji.container-task-changed COMPLETE: all 3 builds ended well"]);
    assert_eq!(service.said().last().unwrap(), "event.changed COMPLETE");
}

#[tokio::test(start_paused = true)]
async fn the_messages_of_fedora_do_the_same() {
    let farm = Arc::new(layers());
    let service = service(&farm);
    let told = |id: &str, method: &str, new: &str, instance: &str| {
        let body = json!({ "id": 1, "method": method, "old": "OPEN", "new": new, "instance": instance });
        message(id, "buildsys.task.state.change", &body)
    };
    service
        .deliver([
            told("1", "build", "CLOSED", "primary"),
            told("2", "buildContainer", "OPEN", "primary"),
            told("3", "buildContainer", "FAILED", "primary"),
            told("4", "buildContainer", "CLOSED", "riscv"),
        ])
        .await;
    assert_eq!(farm.calls.lock().unwrap().len(), 0, "these cost no question");
    service.deliver([told("5", "buildContainer", "CLOSED", "primary")]).await;
    assert_eq!(service.submissions().len(), 3);
}

/// A rebuild of ours starts its children itself; nothing is stored where nothing is to be done.
#[tokio::test(start_paused = true)]
async fn our_own_builds_and_scratch_builds_lead_to_nothing() {
    let farm = Arc::new(layers());
    let service = service(&farm);
    service.deliver([closed(2), closed(3), closed(4)]).await;
    assert_eq!(service.events().await, [""; 0]);
    let asked: Vec<_> = farm.calls.lock().unwrap().iter().map(|(name, _)| *name).collect();
    assert_eq!(asked.iter().filter(|name| **name == "of_task").count(), 3);
    assert_eq!(asked.iter().filter(|name| **name == "newest_since").count(), 1, "for the one that is not ours");

    service.deliver([closed(5)]).await;
    let events = service.events().await;
    assert_eq!(events, ["koji.container-task-changed FAILED: Koji: there is no task 5"], "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn the_policy_judges_each_image_that_follows() {
    let farm = Arc::new(layers());
    let policy = json!({ "block": [{ "image_name": "builder-container", "because": "its team rebuilds it" }] });
    let policy = serde_json::from_value(policy).unwrap();
    let service = Service::new(|builder| builder.policy(policy).on(RebuildImagesOnParent::new(built(&farm))));
    service.deliver([closed(1)]).await;
    assert_eq!(service.submissions().len(), 2);
    let reasons = service.reasons().await;
    assert!(reasons.iter().any(|text| text.starts_with("builder-container-1-1: not, policy")), "{reasons:?}");
}

fn pushed(id: &str, repository: &str, branch: &str, commit: &str) -> Message {
    let body = json!({ "namespace": "containers", "repo": repository, "branch": branch, "newrev": commit });
    message(id, "distgit.push", &body)
}

#[tokio::test(start_paused = true)]
async fn a_changed_recipe_is_built_from_its_commit_and_what_is_built_on_it_follows() {
    let service = service(&Arc::new(layers()));
    service.deliver([pushed("1", "middle", "main", "deadbeef")]).await;
    assert_eq!(
        service.submissions(),
        [
            "middle-container-1-3 from git://src/containers/middle#deadbeef for main-candidate git_branch=main \
             on base-container-9-1",
            "top-container-1-4 from git://src/containers/top#c0ffee for main-candidate git_branch=main \
             on rebuilt middle-container-1-3",
        ]
    );
    let reasons = service.reasons().await;
    assert_eq!(reasons[0], "middle-container-1-3: source_changed (the branch main of middle is at deadbeef)");
    assert_eq!(service.events().await, ["dist-git.dockerfile-changed COMPLETE: all 2 builds ended well"]);
}

#[tokio::test(start_paused = true)]
async fn a_recipe_that_nothing_is_known_about_is_skipped_by_name() {
    let service = service(&Arc::new(layers()));
    service.deliver([pushed("1", "middle", "next", "deadbeef"), pushed("2", "middle", "main", "c0ffee")]).await;
    let mut events = service.events().await;
    events.sort();
    assert_eq!(
        events,
        [
            "dist-git.dockerfile-changed SKIPPED: containers/middle has no build from the branch next, which would \
             tell how: no build of middle; no build of middle-container",
            "dist-git.dockerfile-changed SKIPPED: middle-container-1-3 was built from the commit c0ffee already",
        ]
    );
    assert_eq!(service.submissions(), [""; 0]);
}
