use super::{Facts, Policy, Rule};
use crate::artifact::{Artifact, ArtifactKind};
use serde_json::{Value, json};

fn load(value: Value) -> Policy {
    serde_json::from_value(value).unwrap()
}

fn error(value: Value) -> String {
    serde_json::from_value::<Policy>(value).unwrap_err().to_string()
}

fn facts(pairs: &[(&str, &str)]) -> Facts {
    pairs.iter().fold(Facts::default(), |facts, (key, value)| facts.with(*key, *value))
}

/// Translates the recorded notation `["any", [..]]` into that of this crate.
fn in_our_notation(rule: &Value) -> Value {
    match rule.as_array().map(Vec::as_slice) {
        Some([Value::String(operator), Value::Array(rules)]) => {
            json!({ operator: rules.iter().map(in_our_notation).collect::<Vec<_>>() })
        }
        _ => rule.clone(),
    }
}

#[test]
fn recorded_rules_are_answered_the_same_but_for_the_differences_with_a_reason() {
    let recorded: Value = serde_json::from_str(include_str!("../../tests/data/policy_rules.json")).unwrap();
    let facts = recorded["facts"].as_object().unwrap().iter().fold(Facts::default(), |facts, (key, value)| {
        facts.with(key, value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    let cases = recorded["recorded"].as_array().unwrap();
    assert_eq!(cases.len(), 21);
    for case in cases {
        let expected = case.get("ours").unwrap_or(&case["recorded"]);
        assert_eq!(case.get("ours").is_some(), case.get("why").is_some(), "{case}");
        let policy = json!({ "allow": [in_our_notation(&case["rule"])] });
        let answer = match serde_json::from_value::<Policy>(policy) {
            Ok(policy) => Value::Bool(policy.judge(&facts).allowed),
            Err(error) => Value::String(error.to_string()),
        };
        assert_eq!(answer, *expected, "{case}");
    }
}

#[test]
fn the_verdict_names_the_deepest_rule_that_decided() {
    let policy = load(json!({
        "allow": [{ "artifact": "a.*" }, { "name": "outer", "because": "of this", "any": [
            { "target": "x" },
            { "target": "y", "any": [{ "artifact": "nothing" }, { "artifact": "b", "name": "inner" }] },
        ]}],
        "block": [{ "artifact": "ab" }, { "all": [{ "artifact": "a.*" }, { "target": "t" }], "because": "two" }],
    }));
    for (artifact, target, expected) in [
        ("a", "x", "allowed by policy.allow[0]"),
        ("c", "x", "allowed by policy.allow[1].any[0] (outer): of this"),
        ("b", "y", "allowed by policy.allow[1].any[1].any[1] (inner): of this"),
        ("b", "z", "blocked: no allow rule matches"),
        ("ab", "x", "blocked by policy.block[0]"),
        ("ac", "t", "blocked by policy.block[1]: two"),
    ] {
        let verdict = policy.judge(&facts(&[("artifact", artifact), ("target", target)]));
        assert_eq!(verdict.to_string(), expected);
    }
    assert_eq!(Policy::allow_all().judge(&Facts::default()).to_string(), "allowed: no rule blocks it");
}

#[test]
fn expressions_match_whole_values_and_any_value_of_a_fact() {
    for (pattern, value, matches) in [
        ("a|b", "a", true),
        ("a|b", "ab", false),
        ("a|ab", "ab", true),
        ("a", "a\n", false),
        ("a$", "a", true),
        ("^a", "ba", false),
        ("(?m)^a$", "a\nb", false),
        ("(?i)A", "a", true),
        ("a.c", "abc", true),
        ("a-c_/:@ #&~", "a-c_/:@ #&~", true),
        ("", "", true),
    ] {
        let policy = load(json!({ "allow": [{ "k": pattern }] }));
        assert_eq!(policy.judge(&facts(&[("k", value)])).allowed, matches, "{pattern:?} {value:?}");
    }
    let policy = load(json!({ "allow": [{ "k": "b", "n": [7, "8"], "f": true }] }));
    let known = facts(&[("k", "a"), ("k", "b"), ("n", "7"), ("f", "true")]);
    assert!(policy.judge(&known).allowed);
    assert!(!policy.judge(&facts(&[("k", "b"), ("n", "7")])).allowed);
}

#[test]
fn not_turns_the_whole_rule_round() {
    let policy = load(json!({ "block": [{ "not": { "k": "a", "l": "b" } }] }));
    for (known, allowed) in [
        (facts(&[("k", "a"), ("l", "b")]), true),
        (facts(&[("k", "a"), ("k", "c"), ("l", "b")]), true),
        (facts(&[("k", "a"), ("l", "c")]), false),
        (facts(&[("k", "a")]), false),
        (Facts::default(), false),
    ] {
        assert_eq!(policy.judge(&known).allowed, allowed, "{known:?}");
    }
}

#[test]
fn rules_of_handlers_and_kinds_add_to_those_for_everything() {
    let policy = load(json!({
        "block": [{ "artifact": "never" }],
        "kind": { "image": { "allow": [{ "target": "t" }] } },
        "handler": { "nightly": {
            "allow": [{ "artifact": "extra" }],
            "block": [{ "artifact": "day" }],
            "kind": { "rpm": { "block": [{ "target": "t" }] } },
        }},
    }));
    let judge = |handler: Option<&str>, artifact: &str, kind: &str, target: &str| {
        let known = facts(&[("artifact", artifact), ("kind", kind), ("target", target)]);
        let verdict = handler.map_or_else(|| policy.judge(&known), |name| policy.judge_for(name, &known));
        assert_eq!(handler.map_or_else(|| policy.clone(), |name| policy.for_handler(name)).judge(&known), verdict);
        (verdict.allowed, verdict.rule)
    };
    let nightly = Some("nightly");
    for (handler, artifact, kind, target, allowed, rule) in [
        (None, "a", "image", "t", true, "policy.kind.image.allow[0]"),
        (None, "a", "image", "u", false, "no allow rule matches"),
        (None, "a", "rpm", "u", true, "no rule blocks it"),
        (None, "never", "image", "t", false, "policy.block[0]"),
        (None, "day", "image", "t", true, "policy.kind.image.allow[0]"),
        (Some("other"), "day", "rpm", "t", true, "no rule blocks it"),
        (nightly, "day", "image", "t", false, "policy.handler.nightly.block[0]"),
        (nightly, "a", "image", "t", true, "policy.kind.image.allow[0]"),
        (nightly, "extra", "image", "u", true, "policy.handler.nightly.allow[0]"),
        (nightly, "extra", "rpm", "u", true, "policy.handler.nightly.allow[0]"),
        (nightly, "extra", "rpm", "t", false, "policy.handler.nightly.kind.rpm.block[0]"),
    ] {
        assert_eq!(judge(handler, artifact, kind, target), (allowed, rule.to_owned()), "{handler:?} {artifact} {kind}");
    }
    assert!(policy.handlers().eq(["nightly"]));
}

#[test]
fn errors_name_the_place_of_the_bad_rule() {
    let long = "x".repeat(1_001);
    for (value, expected) in [
        (json!({ "block": [{ "a": "a" }, { "artifact": "(" }] }), r#"policy.block[1].artifact: "(": unclosed group"#),
        (json!({ "block": [{ "a": ["b", "a)|(b"] }] }), r#"policy.block[0].a[1]: "a)|(b": unopened group"#),
        (json!({ "ask_above": -1 }), "policy.ask_above: expected a number of builds from 0 to 4294967295, found -1"),
        (
            json!({ "handler": { "h": { "ask_above": "5" } } }),
            "policy.handler.h.ask_above: expected a number of builds from 0 to 4294967295, found the text \"5\"",
        ),
        (
            json!({ "kind": { "image": { "ask_above": 5 } } }),
            "policy.kind.image.ask_above: unknown key; there are allow, block",
        ),
        (json!({ "blok": [] }), "policy.blok: unknown key; there are allow, block, ask_above, kind, handler"),
        (
            json!({ "handler": { "h": { "handler": {} } } }),
            "policy.handler.h.handler: unknown key; there are allow, block, ask_above, kind",
        ),
        (json!({ "kind": { "image": { "kind": {} } } }), "policy.kind.image.kind: unknown key; there are allow, block"),
        (
            json!({ "kind": { "deb": {} } }),
            "policy.kind.deb: unknown kind of artifact; there are rpm, image, module, image_repository, repository",
        ),
        (json!({ "allow": { "a": "b" } }), "policy.allow: expected a list of rules, found a table"),
        (json!({ "allow": [] }), "policy.allow: the list of rules is empty"),
        (json!([]), "policy: expected a table, found a list"),
        (json!({ "allow": [{ "name": "x" }] }), "policy.allow[0]: a rule needs at least one condition"),
        (json!({ "allow": [{ "name": 1, "a": "a" }] }), "policy.allow[0].name: expected a text, found 1"),
        (json!({ "allow": [{ "a": 1.5 }] }), "policy.allow[0].a: expected a regular expression, found a fraction"),
        (json!({ "allow": [{ "a": null }] }), "policy.allow[0].a: expected a regular expression, found nothing"),
        (json!({ "allow": [{ "a": [] }] }), "policy.allow[0].a: there is nothing to match in it"),
        (json!({ "allow": [{ "or": [] }] }), "policy.allow[0].or: or is no fact; rules join by any, all and not"),
        (
            json!({ "allow": [{ "a b": "c" }] }),
            "policy.allow[0].a b: the name of a fact has only letters, digits, and _ - .",
        ),
        (
            json!({ "allow": [{ "not": [] }] }),
            "policy.allow[0].not: expected a rule, which is a table, but found a list",
        ),
        (json!({ "allow": [{ "a": long }] }), "policy.allow[0].a: the expression has more than 1000 characters"),
        (
            json!({ "allow": [{ "a": "(\\w{200}){200}" }] }),
            r#"policy.allow[0].a: "(\\w{200}){200}": Compiled regex exceeds size limit of 1048576 bytes"#,
        ),
    ] {
        assert_eq!(error(value), expected);
    }
    let twice = r#"{"block": [{"a": "b"}], "block": [{"a": "c"}]}"#;
    let twice = serde_json::from_str::<Policy>(twice).unwrap_err().to_string();
    assert!(twice.contains(r#"the key "block" is given twice"#), "{twice}");
}

#[test]
fn nesting_and_numbers_are_bounded() {
    let nested = |depth: usize| (1..depth).fold(Rule::when("k", "a"), |inner, _| Rule::all([inner]));
    assert!(Policy::from_rules([nested(16)], []).unwrap().judge(&facts(&[("k", "a")])).allowed);
    let refused = Policy::from_rules([nested(17)], []).unwrap_err();
    assert_eq!(refused.text, "rules are nested more than 16 deep");
    let many = |count: usize| (0..count).map(|_| Rule::when("k", "a"));
    assert!(Policy::from_rules(many(9_000), many(1_000)).is_ok());
    let refused = Policy::from_rules(many(9_000), many(1_001)).unwrap_err();
    assert_eq!(refused.to_string(), "policy.block[1000]: there are more than 10000 rules");
    let deep = format!(r#"{{"allow": [{}1{}]}}"#, "[".repeat(100), "]".repeat(100));
    let refused = serde_json::from_str::<Policy>(&deep).unwrap_err().to_string();
    assert!(refused.contains("nested too deep"), "{refused}");
}

#[test]
fn facts_of_an_artifact_replace_what_was_said_about_it() {
    let artifact = Artifact::new("localhost:5000/a/b@sha256:00", ArtifactKind::Image)
        .with_source("dir", None)
        .with_system("make")
        .with_parameter("repositories", ["x", "y"])
        .with_parameter("squash", true)
        .with_parameter("artifact", "other");
    let known = facts(&[("artifact", "forged"), ("parameter.branch", "forged"), ("manual", "true")]).about(&artifact);
    for (key, values) in [
        ("artifact", &["localhost:5000/a/b@sha256:00"][..]),
        ("kind", &["image"]),
        ("image_name", &["localhost:5000/a/b"]),
        ("image_tag", &[]),
        ("image_digest", &["sha256:00"]),
        ("system", &["make"]),
        ("source", &["dir"]),
        ("target", &[]),
        ("manual", &["true"]),
        ("parameter.branch", &[]),
        ("parameter.repositories", &["x", "y"]),
        ("parameter.squash", &["true"]),
        ("parameter.artifact", &["other"]),
    ] {
        assert!(known.get(key).eq(values.iter().copied()), "{key}: {:?}", known.get(key).collect::<Vec<_>>());
    }
    assert_eq!(Facts::default().about(&Artifact::new("a:1", ArtifactKind::Rpm)).get("image_tag").count(), 0);
}

#[test]
fn kinds_are_called_what_they_serialize_to() {
    for kind in (0..).map_while(ArtifactKind::from_number) {
        assert_eq!(serde_json::to_value(kind).unwrap(), super::kind_name(kind));
    }
}

#[test]
fn a_policy_can_be_written_in_toml() {
    #[derive(serde::Deserialize)]
    struct Config {
        policy: Policy,
    }
    let text = r#"
        [[policy.block]]
        name = "freeze"
        because = "the release is frozen until Monday"
        artifact = 'registry\.example\.org/product/.*'
        not = { image_tag = ["dev", "nightly-.*"] }

        [[policy.kind.image.allow]]
        any = [{ image_name = '.*/base' }, { parameter.branch = "stable" }]

        [[policy.handler.nightly.block]]
        target = "stable"
    "#;
    let policy = toml::from_str::<Config>(text).unwrap().policy;
    let image = |id: &str| Artifact::new(id, ArtifactKind::Image);
    let judge = |artifact: &Artifact| policy.judge(&Facts::default().about(artifact)).to_string();
    assert_eq!(
        judge(&image("registry.example.org/product/base:1")),
        "blocked by policy.block[0] (freeze): the release is frozen until Monday"
    );
    assert_eq!(
        judge(&image("registry.example.org/product/base:nightly-3")),
        "allowed by policy.kind.image.allow[0].any[0]"
    );
    let branch = image("x/y").with_parameter("branch", "stable");
    assert_eq!(judge(&branch), "allowed by policy.kind.image.allow[0].any[1]");
    let wrong = toml::from_str::<Config>("policy.allow = [{ parameter.branch = '[' }]").err().unwrap().to_string();
    assert!(wrong.contains(r#"policy.allow[0].parameter.branch: "[": unclosed character class"#), "{wrong}");
}

#[test]
fn what_is_said_for_a_handler_counts_instead_of_what_is_said_for_all() {
    let policy = load(json!({ "ask_above": 50, "handler": { "nightly": { "ask_above": 500 }, "other": {} } }));
    assert_eq!(policy.ask_above(), Some(50));
    assert_eq!(policy.for_handler("nightly").ask_above(), Some(500));
    assert_eq!(policy.for_handler("other").ask_above(), Some(50));
    assert_eq!(policy.handlers().collect::<Vec<_>>(), ["nightly", "other"]);
    assert_eq!(policy.with_ask_above(0).ask_above(), Some(0));
    let policy = load(json!({ "handler": { "nightly": { "ask_above": 0 } } }));
    assert_eq!((policy.ask_above(), policy.for_handler("nightly").ask_above()), (None, Some(0)));
    assert_eq!(Policy::allow_all().ask_above(), None);
}

#[test]
fn what_looks_like_a_glob_is_refused_and_what_does_not_is_read() {
    for (pattern, meant) in [
        ("legacy-*", "legacy-.*"),
        ("*-dev", ".*-dev"),
        ("*", ".*"),
        ("registry.example.org/team/*", "registry.example.org/team/.*"),
        (r"registry\.example\.org/a*/b.*", r"registry\.example\.org/a.*/b.*"),
    ] {
        let error = serde_json::from_value::<Policy>(json!({ "block": [{ "artifact": pattern }] })).unwrap_err();
        let error = error.to_string();
        let expected = format!("policy.block[0].artifact: {pattern:?} looks like a glob");
        assert!(error.starts_with(&expected) && error.contains(&format!("write {meant:?}")), "{error}");
    }
    for (pattern, value) in [
        ("legacy-.*", "legacy-app"),
        ("(?:ab)*", "abab"),
        ("[a-z*]*", "a*b"),
        (r"v\d*", "v17"),
        ("a{2}*", "aaaa"),
        (r"a\-*", "a--"),
        ("x(a|b)*", "xba"),
        ("rc-?1", "rc1"),
    ] {
        let policy = load(json!({ "block": [{ "artifact": pattern }] }));
        assert!(!policy.judge(&facts(&[("artifact", value)])).allowed, "{pattern}");
    }
}

#[test]
fn a_fact_that_nothing_adds_is_named_with_its_place() {
    for (rules, place) in [
        (json!({ "block": [{ "image-name": "a" }] }), "policy.block[0].image-name"),
        (json!({ "block": [{ "artifact": "a" }, { "not": { "traget": "x" } }] }), "policy.block[1].not.traget"),
        (json!({ "allow": [{ "any": [{ "kind": "a" }, { "tag": "b" }] }] }), "policy.allow[0].any[1].tag"),
        (json!({ "allow": [{ "all": [{ "knd": "a" }] }] }), "policy.allow[0].all[0].knd"),
        (json!({ "kind": { "image": { "block": [{ "imagetag": "1" }] } } }), "policy.kind.image.block[0].imagetag"),
        (json!({ "handler": { "n": { "block": [{ "x": "1" }] } } }), "policy.handler.n.block[0].x"),
    ] {
        let error = load(rules).check_facts(["advisory"]).unwrap_err();
        assert_eq!(error.path, place);
        assert!(error.text.contains("advisory, artifact, dry_run, image_digest"), "{error}");
    }
    let known = load(json!({ "block": [
        { "artifact": "a", "kind": "a", "system": "a", "target": "a", "source": "a", "image_name": "a" },
        { "image_tag": "a", "image_digest": "a", "parameter": { "branch": "a" }, "dry_run": true, "manual": true },
    ]}));
    assert_eq!(known.check_facts([]), Ok(()));
    let own = load(json!({ "block": [{ "advisory": "RHSA-.*" }] }));
    assert_eq!(own.check_facts(["advisory"]), Ok(()));
    assert!(own.check_facts([]).is_err());
}

/// What is said before an artifact is known holds for every artifact.
#[test]
fn all_is_blocked_only_if_every_artifact_is() {
    let policy = |allow: Value, block: Value| {
        let mut sections = json!({ "allow": allow, "block": block });
        sections.as_object_mut().unwrap().retain(|_, rules| *rules != json!([]));
        load(sections)
    };
    let impact = json!([{ "impact": "critical" }]);
    let mixed = json!([{ "impact": "critical" }, { "impact": "low", "artifact": "app" }]);
    for (policy, facts_of_event, expected) in [
        (policy(json!([]), json!([])), &[("impact", "low")][..], None),
        (policy(impact.clone(), json!([])), &[("impact", "low")], Some("blocked: no allow rule matches")),
        (policy(impact.clone(), json!([])), &[("impact", "critical")], None),
        (policy(impact, json!([])), &[], None),
        (policy(mixed, json!([])), &[("impact", "low")], None),
        (policy(json!([]), json!([{ "impact": "low" }])), &[("impact", "low")], Some("blocked by policy.block[0]")),
        (policy(json!([]), json!([{ "impact": "low", "artifact": "app" }])), &[("impact", "low")], None),
        (policy(json!([]), json!([{ "impact": "low", "not": { "artifact": "app" } }])), &[("impact", "low")], None),
        (
            policy(json!([{ "not": { "impact": "low" } }]), json!([])),
            &[("impact", "low")],
            Some("blocked: no allow rule matches"),
        ),
        (
            policy(json!([{ "any": [{ "impact": "high" }, { "artifact": "a" }] }]), json!([])),
            &[("impact", "low")],
            None,
        ),
        (
            policy(json!([{ "all": [{ "impact": "high" }, { "artifact": "a" }] }]), json!([])),
            &[("impact", "low")],
            Some("blocked: no allow rule matches"),
        ),
    ] {
        let facts = facts(facts_of_event);
        let verdict = policy.blocks_all(&facts);
        assert_eq!(verdict.as_ref().map(ToString::to_string).as_deref(), expected, "{policy:?}");
        for artifact in ["app", "a", "b"] {
            let judged = policy.judge(&facts.clone().with("artifact", artifact));
            assert!(verdict.is_none() || !judged.allowed, "{policy:?} allows {artifact}");
        }
    }
}
