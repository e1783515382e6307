use crate::world::{Scene, odd_scene, scene};
use freshmaker::plan::{Plan, PlanDiff};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Two scenes that differ in one thing, or in none.
fn neighbours() -> impl Strategy<Value = (Scene, Scene)> {
    (scene(), scene(), 0..8).prop_map(|(one, other, what)| {
        let mut two = one.clone();
        match what {
            0 => two.edges = other.edges,
            1 => two.buildable = other.buildable,
            2 => two.allowed = other.allowed,
            3 => two.minutes = other.minutes,
            4 => two.changed = other.changed,
            5 => two.asked = other.asked,
            6 => two = other,
            _ => {}
        }
        (one, two)
    })
}

/// The keys at which two JSON objects differ, sorted by who has them: only the first, only the
/// second, both.
fn differing(one: &Value, two: &Value) -> [Vec<String>; 3] {
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    let (one, two) = (one.as_object().unwrap(), two.as_object().unwrap());
    for key in one.keys().chain(two.keys()).collect::<BTreeSet<_>>() {
        match (one.get(key), two.get(key)) {
            (Some(_), None) => found[0].push(key.clone()),
            (None, Some(_)) => found[1].push(key.clone()),
            (one, two) if one != two => found[2].push(key.clone()),
            _ => {}
        }
    }
    found
}

fn all(lists: &[Vec<String>; 3]) -> Vec<String> {
    let mut all = lists.concat();
    all.sort();
    all
}

proptest! {
    #[test]
    fn a_diff_has_what_differs_in_the_stored_forms((one, two) in neighbours()) {
        let (one, two) = (one.plan(), two.plan());
        let diff = one.diff(&two);
        prop_assert_eq!(diff.is_empty(), one == two);
        prop_assert_eq!(diff.is_empty(), one.hash() == two.hash());
        let (stored_one, stored_two) = (serde_json::to_value(&one).unwrap(), serde_json::to_value(&two).unwrap());
        let differ = |key: &str| differing(&stored_one[key], &stored_two[key]);
        let names = |list: &[&freshmaker::ArtifactId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let [removed, added, altered] = differ("nodes");
        prop_assert_eq!(names(&diff.removed), removed);
        prop_assert_eq!(names(&diff.added), added);
        prop_assert_eq!(diff.altered.iter().map(|node| node.id.to_string()).collect::<Vec<_>>(), altered);
        prop_assert!(diff.altered.iter().all(|node| !node.changes.is_empty()));
        prop_assert!(diff.altered.iter().flat_map(|node| &node.changes).all(|change| change.from != change.to));
        prop_assert_eq!(diff.changed.iter().map(|it| it.id.to_string()).collect::<Vec<_>>(), all(&differ("changed")));
        prop_assert_eq!(diff.excluded.iter().map(|it| it.id.to_string()).collect::<Vec<_>>(), all(&differ("excluded")));
    }

    #[test]
    fn the_way_back_is_the_way_turned_round((one, two) in neighbours()) {
        let (one, two) = (one.plan(), two.plan());
        let (there, back) = (one.diff(&two), two.diff(&one));
        prop_assert_eq!((&there.added, &there.removed), (&back.removed, &back.added));
        let turned = |diff: &PlanDiff<'_>| diff.altered.iter().flat_map(|node| &node.changes).map(|it| (it.to.clone(), it.from.clone())).collect::<Vec<_>>();
        let straight = back.altered.iter().flat_map(|node| &node.changes).map(|it| (it.from.clone(), it.to.clone())).collect::<Vec<_>>();
        prop_assert_eq!(turned(&there), straight);
    }

    #[test]
    fn each_difference_is_a_line((one, two) in (odd_scene(), odd_scene())) {
        let (one, two) = (one.plan(), two.plan());
        let diff = one.diff(&two);
        let count = diff.changed.len() + diff.added.len() + diff.removed.len() + diff.excluded.len()
            + diff.altered.iter().map(|node| node.changes.len()).sum::<usize>();
        prop_assert_eq!(diff.to_string().lines().count(), count.max(1));
        serde_json::to_string(&diff).unwrap();
    }
}

fn stored() -> Value {
    json!({
        "version": 2,
        "changed": {"base": {"digest": "sha256:aa"}},
        "nodes": {"app": {
            "artifact": {
                "id": "app", "kind": "image", "system": "builder", "source": {"location": "app/", "revision": "4f2c"}, "target": "main",
                "digest": "sha256:bb", "parameters": {"tags": ["a"], "level": 3}, "estimate": {"secs": 1, "nanos": 0},
            },
            "reason": "directly_affected", "because": ["base"], "asked": {"code": "requested", "text": "it was asked for"},
            "parents": [{"id": "base", "kinds": ["parent_image"], "digest": "sha256:aa"}],
            "wave": 0, "estimate": {"secs": 60, "nanos": 0}, "rank": {"secs": 60, "nanos": 0},
        }},
        "excluded": {"vendor": {"code": "no_recipe", "text": "the catalog has no recipe for it"}},
    })
}

/// Every single thing that is stored, changed alone.
#[test]
fn each_thing_that_differs_is_named() {
    type Edit = fn(&mut Value);
    let edits: &[(Edit, &str)] = &[
        (
            |plan| plan["changed"]["base"]["digest"] = "sha256:ab".into(),
            "start: base: changed to sha256:aa -> changed to sha256:ab",
        ),
        (|plan| plan["changed"]["base"] = json!({}), "start: base: changed to sha256:aa -> changed"),
        (|plan| plan["changed"]["other"] = json!({}), "start: other: unchanged -> changed"),
        (|plan| plan["nodes"]["app"]["artifact"]["kind"] = "rpm".into(), "altered: app: kind: image -> rpm"),
        (|plan| plan["nodes"]["app"]["artifact"]["system"] = json!(null), "altered: app: system: builder -> nothing"),
        (
            |plan| plan["nodes"]["app"]["artifact"]["source"]["location"] = "else/".into(),
            "altered: app: source: app/ -> else/",
        ),
        (
            |plan| plan["nodes"]["app"]["artifact"]["source"]["revision"] = "5".into(),
            "altered: app: revision: 4f2c -> 5",
        ),
        (|plan| plan["nodes"]["app"]["artifact"]["target"] = "old".into(), "altered: app: target: main -> old"),
        (
            |plan| plan["nodes"]["app"]["artifact"]["digest"] = "sha256:bc".into(),
            "altered: app: output: sha256:bb -> sha256:bc",
        ),
        (
            |plan| plan["nodes"]["app"]["artifact"]["parameters"]["tags"] = json!(["b"]),
            r#"altered: app: parameter tags: ["a"] -> ["b"]"#,
        ),
        (
            |plan| plan["nodes"]["app"]["artifact"]["parameters"]["level"] = "3".into(),
            r#"altered: app: parameter level: 3 -> "3""#,
        ),
        (
            |plan| plan["nodes"]["app"]["artifact"]["parameters"]["new"] = true.into(),
            "altered: app: parameter new: nothing -> true",
        ),
        (
            |plan| plan["nodes"]["app"]["artifact"]["estimate"]["nanos"] = 1.into(),
            "altered: app: catalog estimate: 1s -> 1.000000001s",
        ),
        (
            |plan| plan["nodes"]["app"]["reason"] = "dependency".into(),
            "altered: app: reason: directly_affected -> dependency",
        ),
        (|plan| plan["nodes"]["app"]["because"] = json!([]), "altered: app: because: base -> nothing"),
        (
            |plan| plan["nodes"]["app"]["asked"]["text"] = "why".into(),
            "altered: app: asked: requested: it was asked for -> requested: why",
        ),
        (
            |plan| plan["nodes"]["app"]["parents"].as_array_mut().unwrap().push(json!({"id": "z", "kinds": ["link"]})),
            "altered: app: parent z: nothing -> link",
        ),
        (
            |plan| plan["nodes"]["app"]["parents"][0]["kinds"] = json!(["parent_image", "link"]),
            "altered: app: parent base: parent_image -> parent_image and link",
        ),
        (
            |plan| plan["nodes"]["app"]["parents"][0]["digest"] = "sha256:ab".into(),
            "altered: app: content base: sha256:aa -> sha256:ab",
        ),
        (|plan| plan["nodes"]["app"]["estimate"]["secs"] = 59.into(), "altered: app: estimate: 60s -> 59s"),
        (|plan| plan["nodes"]["app"]["rank"]["secs"] = 61.into(), "altered: app: rank: 60s -> 61s"),
        (
            |plan| plan["excluded"]["vendor"]["code"] = "policy".into(),
            "out: vendor: excluded (no_recipe: the catalog has no recipe for it) -> excluded (policy: the catalog has no recipe for it)",
        ),
        (
            |plan| drop(plan["excluded"].as_object_mut().unwrap().remove("vendor")),
            "out: vendor: excluded (no_recipe: the catalog has no recipe for it) -> not excluded",
        ),
        (|plan| plan["cycles"] = json!([{"members": ["app"]}]), "cycles: 0 -> 1"),
        (|plan| drop(plan["nodes"].as_object_mut().unwrap().remove("app")), "removed: app"),
    ];
    let plan: Plan = serde_json::from_value(stored()).unwrap();
    assert_eq!(plan.diff(&plan).to_string(), "the plans are equal\n");
    for (edit, expected) in edits {
        let mut other = stored();
        edit(&mut other);
        let other: Plan = serde_json::from_value(other).unwrap();
        assert_eq!(plan.diff(&other).to_string(), format!("{expected}\n"));
    }
}

#[test]
fn keys_of_a_diff() {
    let plan: Plan = serde_json::from_value(stored()).unwrap();
    let mut other = stored();
    other["nodes"]["app"]["parents"][0]["digest"] = "sha256:ab".into();
    other["excluded"] = json!({});
    let other: Plan = serde_json::from_value(other).unwrap();
    assert_eq!(
        serde_json::to_value(plan.diff(&other)).unwrap(),
        json!({
            "changed": [], "added": [], "removed": [],
            "altered": [{"id": "app", "changes": [{"aspect": "content", "name": "base", "from": "sha256:aa", "to": "sha256:ab"}]}],
            "excluded": [{"id": "vendor", "from": {"code": "no_recipe", "text": "the catalog has no recipe for it"}, "to": null}],
        })
    );
}
