//! The schemas of Freshmaker's messages.

use serde_json::Value;
use test_support::schema::faults;

pub(crate) fn schema(name: &str) -> Value {
    let path = format!("{}/schemas/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_check_finds_what_is_wrong() {
    let schema = schema("event.state.changed");
    for (body, says) in [
        (r#"{"dry_run": 0}"#, "dry_run: type"),
        (r#"{"depends_on_events": {}}"#, "depends_on_events: type"),
        (r#"{"depends_on_events": [1, "2"]}"#, "depends_on_events[1]: type"),
        (r#"{"builds": [{"state": 9}]}"#, "builds[0].state: enum"),
    ] {
        let found = faults(&schema, &schema, &serde_json::from_str(body).unwrap(), "body");
        assert!(found.iter().any(|fault| fault.contains(says)), "{body}: {found:?}");
    }
}
