//! What people ask for is read strictly.

use crate::samples::{message, parse, refusal};
use freshmaker_redhat::messages::request::{AsyncBuild, CancelEvent, ManualRebuild};
use serde_json::{Value, json};

const MANUAL: &str = "org.fedoraproject.prod.freshmaker.manual.rebuild";
const ASYNC: &str = "org.fedoraproject.prod.freshmaker.async.manual.build";
const CANCEL: &str = "org.fedoraproject.prod.freshmaker.manage.eventcancel";

#[test]
fn a_whole_request_is_kept() {
    let body = json!({
        "errata_id": 7, "freshmaker_event_id": 3, "container_images": ["a-1-1"], "dry_run": true, "force": true, "metadata": {"a": [1]},
        "bundle_related_image_overrides": {"x": "y"}, "msg_id": "manual_rebuild_1", "requester": "alice",
    });
    let envelope = parse(&message(MANUAL, body.to_string())).unwrap().unwrap();
    assert_eq!(
        (envelope.search_key.as_str(), envelope.manual, envelope.requester.as_deref()),
        ("7", true, Some("alice"))
    );
    assert_eq!(envelope.payload, body);
    assert_eq!(envelope.open::<ManualRebuild>().unwrap().container_images, ["a-1-1"]);

    let body = json!({
        "dist_git_branch": "main", "container_images": ["foo"], "brew_target": "t", "freshmaker_event_id": 4, "dry_run": true,
        "metadata": "m", "msg_id": "async_build_1", "requester": "bob",
    });
    let envelope = parse(&message(ASYNC, body.to_string())).unwrap().unwrap();
    assert_eq!(
        (envelope.search_key.as_str(), envelope.manual, envelope.requester.as_deref()),
        ("async_build_1", true, Some("bob"))
    );
    assert_eq!(envelope.payload, body);
    assert_eq!(envelope.open::<AsyncBuild>().unwrap().names(), ["foo-container"]);

    let body = json!({"action": "eventcancel", "event_id": 7, "builds_id": [1, 2], "try": 3});
    let envelope = parse(&message(CANCEL, body.to_string())).unwrap().unwrap();
    assert_eq!((envelope.search_key.as_str(), envelope.manual), ("7", true));
    assert_eq!(envelope.open::<CancelEvent>().unwrap(), CancelEvent { event_id: 7, builds_id: vec![1, 2], tries: 3 });
}

#[test]
fn a_request_without_id_of_its_own_is_found_by_its_message() {
    let body = json!({"dist_git_branch": "main", "container_images": ["foo"]}).to_string();
    assert_eq!(parse(&message(ASYNC, body)).unwrap().unwrap().search_key, "m1");
    let body = json!({"freshmaker_event_id": 4, "errata_id": null}).to_string();
    assert_eq!(parse(&message(MANUAL, body)).unwrap().unwrap().search_key, "m1");
}

#[test]
fn what_does_not_fit_is_named() {
    let cancel = |field: &str, value: Value| {
        let mut body = json!({"action": "eventcancel", "event_id": 7, "builds_id": [1]});
        body[field] = value;
        body
    };
    for (topic, body, place, reason) in [
        (MANUAL, json!({}), "errata_id", "missing, and freshmaker_event_id as well"),
        (MANUAL, json!({"errata_id": true}), "errata_id", "expected a whole number, not negative, found true or false"),
        (MANUAL, json!({"errata_id": "7"}), "errata_id", "expected a whole number, not negative, found text"),
        (
            MANUAL,
            json!({"msg": {"errata_id": 7}, "i": 1, "msg_id": "2026-1", "topic": "t", "dry_run": true}),
            "dry_run",
            "stands beside msg and not in it, where it would not be read",
        ),
        (
            CANCEL,
            json!({"msg": r#"{"action": "eventcancel", "event_id": 7, "builds_id": []}"#, "try": 3}),
            "try",
            "stands beside msg and not in it, where it would not be read",
        ),
        (MANUAL, json!({"errata_id": 7.0}), "errata_id", "expected a whole number, not negative, found a fraction"),
        (MANUAL, json!({"errata_id": -7}), "errata_id", "expected a whole number, not negative, found a number"),
        (
            MANUAL,
            json!({"errata_id": 7, "freshmaker_event_id": "1"}),
            "freshmaker_event_id",
            "expected a whole number, not negative, found text",
        ),
        (MANUAL, json!({"errata_id": 7, "container_images": "a"}), "container_images", "expected a list, found text"),
        (
            MANUAL,
            json!({"errata_id": 7, "container_images": ["a", 1]}),
            "container_images[1]",
            "expected text, found a number",
        ),
        (MANUAL, json!({"errata_id": 7, "force": 1}), "force", "expected true or false, found a number"),
        (MANUAL, json!({"errata_id": 7, "dry_run": "yes"}), "dry_run", "expected true or false, found text"),
        (
            MANUAL,
            json!({"errata_id": 7, "bundle_related_image_overrides": "x"}),
            "bundle_related_image_overrides",
            "expected an object, found text",
        ),
        (MANUAL, json!([]), "body", "expected an object, found a list"),
        (
            ASYNC,
            json!({"dist_git_branch": 1, "container_images": ["a"]}),
            "dist_git_branch",
            "expected text, found a number",
        ),
        (
            ASYNC,
            json!({"dist_git_branch": "b", "container_images": []}),
            "container_images",
            "an empty list: name at least one image",
        ),
        (
            ASYNC,
            json!({"dist_git_branch": "b", "container_images": ["a"], "brew_target": 5}),
            "brew_target",
            "expected text, found a number",
        ),
        (CANCEL, json!({"action": "unsupported"}), "action", "not eventcancel, which is the end of the topic"),
        (
            CANCEL,
            cancel("event_id", json!(true)),
            "event_id",
            "expected a whole number, not negative, found true or false",
        ),
        (
            CANCEL,
            cancel("builds_id", json!([1, "2"])),
            "builds_id[1]",
            "expected a whole number, not negative, found text",
        ),
        (CANCEL, cancel("try", json!(4)), "try", "more than 3"),
    ] {
        let error = refusal(&message(topic, body.to_string()));
        assert_eq!((error.place.as_str(), error.reason.as_str()), (place, reason), "{body}");
    }
}

#[test]
fn a_slip_does_not_start_a_real_rebuild() {
    let error = refusal(&message(MANUAL, r#"{"msg": {"errata_id": 7, "dry-run": true}}"#));
    assert_eq!(error.place, "msg.dry-run");
    assert!(
        error.reason.starts_with("not known; there are errata_id, ") && error.reason.contains("dry_run"),
        "{error}"
    );
    let long = json!({"errata_id": 7, "x".repeat(10_000): 1});
    assert!(refusal(&message(MANUAL, long.to_string())).to_string().len() < 500);
}
