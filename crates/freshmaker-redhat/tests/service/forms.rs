//! Our forms of events and builds against those that the service Freshmaker was recorded with.

use crate::fixture::{Rows, at, attempt, build, named, parent, reason, rows, text};
use crate::schemas::schema;
use freshmaker::artifact::{ArtifactKind, Nvr};
use freshmaker::plan::PlanParent;
use freshmaker::rebuild::{BuildId, BuildState, DependencyKind, EventId, EventState, PublicBuildState};
use freshmaker::{EdgeKind, Reason};
use freshmaker_redhat::forms::{Builds, Forms, StateChange};
use serde_json::{Value, json};
use test_support::schema::faults;

fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/freshmaker/recorded.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What we know less of than the service, or otherwise.
pub(crate) fn ours(mut theirs: Value) -> Value {
    theirs["depending_events"] = json!([]);
    for build in theirs.get_mut("builds").and_then(Value::as_array_mut).into_iter().flatten() {
        if build["state_name"] != "DONE" {
            build["rebuilt_nvr"] = Value::Null;
        }
        let args = build["build_args"].as_object_mut().unwrap();
        args.remove("retry_count");
        if args.is_empty() {
            let none = ["repository", "commit", "original_parent", "target", "branch", "arches"];
            args.extend(none.map(|key| (key.to_owned(), Value::Null)));
            args.extend(["flatpak", "isolated"].map(|key| (key.to_owned(), json!(false))));
            args.insert("renewed_odcs_compose_ids".to_owned(), json!([]));
        }
    }
    theirs
}

#[test]
fn the_same_facts_have_the_same_forms() {
    let recorded = recorded();
    let rows = rows(&recorded["fixture"]);
    let event = Forms::new(&rows, "").event(EventId(1)).unwrap();
    assert_eq!(json!(event), ours(recorded["event_1"].clone()));
    assert_eq!(json!(event.summarised()), ours(recorded["event_1_min"].clone()));
}

/// The messages about this, as topic and body.
fn said(told: &StateChange, forms: &Forms<'_>) -> Vec<(String, Value)> {
    told.messages(forms).into_iter().map(|message| (message.topic, message.body)).collect()
}

#[test]
fn the_same_change_has_the_same_messages() {
    let recorded = recorded();
    let mut rows = rows(&recorded["fixture"]);
    let told =
        |at: usize| (recorded["published"][at]["topic"].as_str().unwrap(), recorded["published"][at]["msg"].clone());
    let canceled = reason(&told(0).1["state_reason"]);
    rows.events.get_mut(&EventId(2)).unwrap().done_at = at(&told(0).1["time_done"]);
    let event = StateChange::Event(EventId(2), EventState::Canceled, canceled);
    let expected = [told(0), told(1)].map(|(topic, body)| (topic.to_owned(), ours(body)));
    assert_eq!(said(&event, &Forms::new(&rows, "")), expected);
    for (topic, body) in [told(2), told(3), told(4)] {
        let id = BuildId(body["id"].as_i64().unwrap());
        rows.builds.get_mut(&id).unwrap().done_at = at(&body["time_completed"]);
        let build = StateChange::Build(id, PublicBuildState::Canceled, reason(&body["state_reason"]));
        let mut body = ours(json!({ "builds": [body] }))["builds"][0].clone();
        body["state_reason"] = json!(text(&body["state_reason"]));
        assert_eq!(said(&build, &Forms::new(&rows, "")), [(topic.to_owned(), body)]);
    }
}

#[test]
fn the_schemas_hold_for_what_the_service_sent() {
    let recorded = recorded();
    for message in recorded["published"].as_array().unwrap() {
        let schema = schema(message["topic"].as_str().unwrap());
        assert_eq!(faults(&schema, &schema, &message["msg"], "body"), Vec::<String>::new());
    }
    assert_eq!(
        schema("event.state.changed")["definitions"]["build"]["properties"],
        schema("build.state.changed")["properties"]
    );

    // Messages of older versions of the service: what they have is of the same types, but for names
    // instead of builds.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/freshmaker/captured.jsonl");
    let captured = std::fs::read_to_string(path).unwrap();
    assert_eq!(captured.lines().count(), 7);
    let mut other = std::collections::BTreeSet::new();
    for line in captured.lines() {
        let message: Value = line.parse().unwrap();
        let body = &message["body"];
        let schema = schema(if body.get("builds").is_some() { "event.state.changed" } else { "build.state.changed" });
        let found = faults(&schema, &schema, body, "body");
        other.extend(found.into_iter().filter(|fault| !fault.contains(": required of")));
    }
    let other: Vec<_> = other.iter().map(|fault| fault.split(" of ").next().unwrap().to_owned()).collect();
    let old = ["odcs_pulp_compose_id", "parent"];
    let is_old =
        |fault: &String| old.iter().any(|key| fault.ends_with(&format!("build_args.{key}: not in the schema")));
    let rest: Vec<_> = other.into_iter().filter(|fault| !is_old(fault)).collect();
    assert_eq!(rest, ["body.builds[0]: type", "body.builds[1]: type"]);
}

#[test]
fn one_parent_one_event_and_one_task_are_told_of_many() {
    let mut rows = Rows::default();
    for (id, artifact, kind) in [
        (1, "openssl-3-1", ArtifactKind::Rpm),
        (2, "registry.example.org/base:1", ArtifactKind::Image),
        (3, "builder-1-1", ArtifactKind::Image),
        (4, "updates", ArtifactKind::Repository),
        (5, "later-1-1", ArtifactKind::Image),
    ] {
        rows.add(build(id, artifact, kind, BuildState::Done));
        let kind = if id == 5 { DependencyKind::After } else { DependencyKind::Needs };
        rows.depend(9, id, kind);
    }
    rows.0.builds.get_mut(&BuildId(4)).unwrap().output = named("7100");
    let mut app = build(9, "app-1-2", ArtifactKind::Image, BuildState::Building);
    app.parents = vec![
        parent("builder-1-1", EdgeKind::BuilderStage),
        parent("registry.example.org/base:1", EdgeKind::ParentImage),
        PlanParent { name: Some("7001".into()), ..parent("given", EdgeKind::Repository) },
        PlanParent { name: Some("https://example.org/repo".into()), ..parent("other", EdgeKind::Repository) },
    ];
    rows.add(app);
    let form = |rows: &Rows| Forms::new(&rows.0, "https://fm.example.org//").build(BuildId(9)).unwrap();
    assert_eq!((form(&rows).event_id, form(&rows).build_id), (None, None));
    for (event, live) in [(30, false), (31, true), (32, true)] {
        rows.cause(9, event, live);
    }
    rows.attempt(attempt("b", 9, 1, Some("71")));
    rows.attempt(attempt("a", 9, 2, Some("72")));
    rows.attempt(attempt("c", 9, 3, None));
    rows.attempt(attempt("d", 2, 4, Some("73")));
    let told = form(&rows);
    assert_eq!((told.dep_on.as_deref(), told.dep_on_id), (Some("registry.example.org/base:1"), Some(BuildId(2))));
    assert_eq!((told.event_id, told.build_id), (Some(EventId(31)), Some(72)));
    assert_eq!(told.odcs_composes, [7001, 7100].into());
    assert_eq!((told.original_nvr, told.name.as_str()), (Some("app-1-2".parse::<Nvr>().unwrap()), "app"));
    assert_eq!(told.url, "https://fm.example.org/api/1/builds/9");
    assert_eq!(Forms::new(&rows.0, "").build(BuildId(4)), None, "a compose is no build there");
    let without_image = rows.0.builds.get_mut(&BuildId(9)).unwrap();
    without_image.parents.clear();
    assert_eq!(form(&rows).dep_on_id, Some(BuildId(1)), "the lowest number");
    rows.cause(9, 31, false);
    rows.cause(9, 32, false);
    assert_eq!(form(&rows).event_id, Some(EventId(30)), "nobody wants it any more: the oldest that did");
}

#[test]
fn a_state_that_has_passed_is_told_as_it_was() {
    let mut rows = rows(&recorded()["fixture"]);
    rows.builds.get_mut(&BuildId(4)).unwrap().kind = ArtifactKind::Repository;
    let forms = Forms::new(&rows, "");
    let why = Reason::new("submitted", "it is under way");
    let event = forms.event(EventId(1)).unwrap();
    let Builds::Builds(builds) = &event.builds else { panic!("{event:?}") };
    assert_eq!(builds.iter().map(|build| build.id.0).collect::<Vec<_>>(), [1, 2, 3], "a repository is none of them");
    let event = event.in_state(EventState::Building, &why);
    assert_eq!((event.state, event.state_reason.as_str(), event.time_done), (1, "it is under way", None));
    let build = forms.build(BuildId(1)).unwrap();
    assert!(build.time_completed.is_some());
    let build = build.in_state(PublicBuildState::Build, &why);
    assert_eq!((build.state, build.state_reason.as_str(), build.time_completed), (0, "it is under way", None));
    assert_eq!(said(&StateChange::Build(BuildId(4), PublicBuildState::Done, why.clone()), &forms), []);
    assert_eq!(said(&StateChange::Event(EventId(7), EventState::Building, why), &forms), [], "there is no such event");
}
