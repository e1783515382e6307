//! The allow and block lists of the Python service, and what becomes of them here.

use freshmaker::Policy;
use freshmaker::policy::Facts;
use freshmaker_redhat::conversion::{Conversion, Difference, convert};
use freshmaker_redhat::handlers::FACTS;
use serde_json::{Value, json};

const HANDLERS: [&str; 2] = ["RebuildImagesOfAdvisory", "RebuildNamedImages"];

fn converted(lists: &Value) -> Conversion {
    convert(lists, &HANDLERS).unwrap()
}

fn policy(conversion: &Conversion) -> Policy {
    let policy: Policy = serde_json::from_value(conversion.policy.clone()).unwrap();
    policy.check_facts(FACTS).unwrap();
    policy
}

fn notes(conversion: &Conversion) -> Vec<(Difference, String)> {
    conversion.notes.iter().map(|note| (note.difference, note.to_string())).collect()
}

/// An image of an advisory of this name and impact.
fn image(advisory: &str, impact: &str, name: &str) -> Facts {
    let facts = Facts::default().with("kind", "image").with("artifact", format!("{name}-1-1")).with("image_name", name);
    facts.with("advisory_name", advisory).with("advisory_security_impact", impact).with("manual", "false")
}

/// The example in the configuration file of the service, with its keys.
#[test]
fn the_lists_of_the_example_mean_the_same() {
    let lists = json!({
        "HANDLER_BUILD_ALLOWLIST": { "global": { "image": ["all", [
            { "advisory_name": "RHSA-.*", "advisory_state": "SHIPPED_LIVE" },
            ["any", [{ "advisory_is_major_incident": true }, { "advisory_security_impact": ["critical", "important"] }]],
        ]] } },
        "HANDLER_BUILD_BLOCKLIST": { "global": { "image": { "image_name": "ubi" } } },
    });
    let conversion = converted(&lists);
    let policy = policy(&conversion);
    let shipped = |facts: Facts| facts.with("advisory_state", "SHIPPED_LIVE");
    assert!(policy.judge(&shipped(image("RHSA-2026:1", "critical", "app"))).allowed);
    assert!(
        policy.judge(&shipped(image("RHSA-2026:1", "low", "app")).with("advisory_has_hightouch_bug", "true")).allowed
    );
    assert!(!policy.judge(&shipped(image("RHBA-2026:1", "critical", "app"))).allowed);
    assert!(!policy.judge(&image("RHSA-2026:1", "critical", "app")).allowed);
    let blocked = policy.judge(&shipped(image("RHSA-2026:1", "critical", "ubi9-container")));
    assert_eq!(blocked.to_string(), "blocked by policy.kind.image.block[0] (HANDLER_BUILD_BLOCKLIST.global.image)");
    let differences: Vec<_> = notes(&conversion).into_iter().map(|(difference, _)| difference).collect();
    use Difference::{Beginning, Renamed};
    assert_eq!(differences, [Beginning, Renamed, Beginning, Beginning, Beginning]);
}

#[test]
fn nothing_is_allowed_where_nothing_was() {
    for lists in [json!({}), json!({ "HANDLER_BUILD_ALLOWLIST": { "global": { "image": [] } } })] {
        let conversion = converted(&lists);
        assert!(!policy(&conversion).judge(&image("RHSA-2026:1", "critical", "app")).allowed);
        assert!(conversion.notes.iter().any(|note| note.difference == Difference::NothingAllowed));
    }
}

#[test]
fn rules_of_a_handler_replace_the_global_ones() {
    let lists = json!({ "HANDLER_BUILD_ALLOWLIST": {
        "global": { "image": { "advisory_name": "RHSA-.*" } },
        "RebuildImagesOnAsyncManualBuild": { "image": { "manual": true } },
        "HandleBotasAdvisory": { "image": { "advisory_name": "RHBA-.*" } },
    } });
    let conversion = converted(&lists);
    let policy = policy(&conversion);
    let advisory = image("RHSA-2026:1", "critical", "app");
    let named = Facts::default().with("kind", "image").with("artifact", "app").with("manual", "true");
    assert!(policy.judge_for("RebuildImagesOfAdvisory", &advisory).allowed);
    assert!(!policy.judge_for("RebuildNamedImages", &advisory).allowed);
    assert!(policy.judge_for("RebuildNamedImages", &named).allowed);
    assert!(!policy.judge_for("RebuildImagesOfAdvisory", &named).allowed);
    let texts: Vec<_> = conversion.notes.iter().map(ToString::to_string).collect();
    assert!(texts[0].contains("what HandleBotasAdvisory rebuilds is not rebuilt here yet"), "{texts:?}");
    assert!(texts[1].ends_with("and these are for RebuildNamedImages"), "{texts:?}");
}

/// A condition whose fact is missing holds there: this is what the notes are for.
#[test]
fn missing_facts_are_noted_rule_by_rule() {
    let conversion = converted(&json!({
        "HANDLER_BUILD_ALLOWLIST": { "global": { "image": ["any", [
            { "advisory_name": "RHSA-.*", "image_name": "foo.*" },
            { "manual": true, "image_name": "bar.*" },
            { "published": true, "advisory_name": "RHSA-.*" },
            { "severity": "critical", "advisory_name": "RHEA-.*" },
        ]] } },
        "HANDLER_BUILD_BLOCKLIST": { "global": { "image": ["any", [
            { "advisory_name": "RHSA-2026:7.*", "image_name": "foo.*" },
            { "published": false, "advisory_name": "RHBA-.*" },
            { "severity": "low" },
        ]] } },
    }));
    let there = "HANDLER_BUILD_ALLOWLIST.global.image.any";
    let blocked = "HANDLER_BUILD_BLOCKLIST.global.image.any";
    let named = "there it also matches requests for named images, which have no advisory, by the rest of its \
                 conditions; here it does not";
    use Difference::{MissingFact, NeverMatches, UnknownFact};
    let no_fact = "`published` is no fact of an image there; it only says";
    let left_out = "the condition is left out";
    assert_eq!(
        notes(&conversion),
        [
            (MissingFact, format!("{there}[1]: {named}")),
            (
                UnknownFact,
                format!(
                    "{there}[2].published: {no_fact} that published repositories and exceptions are searched, as \
                     always here; {left_out}"
                )
            ),
            (
                UnknownFact,
                format!(
                    "{there}[3].severity: no event has the fact `severity` there either; the condition is left out"
                )
            ),
            (
                MissingFact,
                format!(
                    "{blocked}[0]: there it blocks the whole event, before its images are known; here it blocks these images"
                )
            ),
            (
                UnknownFact,
                format!(
                    "{blocked}[1].published: {no_fact} that published repositories and exceptions are searched, as \
                     always here; {left_out}"
                )
            ),
            (
                UnknownFact,
                format!(
                    "{blocked}[2].severity: no event has the fact `severity` there either; the condition is left out"
                )
            ),
            (NeverMatches, format!("{blocked}[2]: no condition is left; there it matches nothing")),
        ]
    );
    let policy = policy(&conversion);
    assert!(policy.judge(&image("RHSA-2026:1", "low", "foo-container")).allowed);
    assert!(!policy.judge(&image("RHSA-2026:7", "low", "foo-container")).allowed);

    // An image of an exception is not published, and is rebuilt there all the same.
    let exception = image("RHSA-2026:1", "low", "bar-container").with("image_published", "false");
    assert!(policy.judge(&exception).allowed);
    assert!(!policy.judge(&image("RHBA-2026:1", "low", "bar-container")).allowed);

    let all = json!({ "advisory_name": "RHSA-.*", "published": false });
    let conversion = converted(&json!({ "HANDLER_BUILD_ALLOWLIST": { "global": { "image": all } } }));
    let text =
        format!("{no_fact} that all repositories are searched, while here only published ones and exceptions are");
    assert!(conversion.notes.iter().any(|note| note.text == format!("{text}; {left_out}")), "{:?}", conversion.notes);
    assert!(self::policy(&conversion).judge(&exception).allowed);

    let images = json!({ "HANDLER_BUILD_ALLOWLIST": { "global": { "image": { "image_name": "foo" } } } });
    assert!(converted(&images).notes.iter().any(|note| note.text.starts_with("no advisory passes this rule there")));
}

#[test]
fn what_cannot_be_converted_is_refused_by_its_path() {
    let rule = |rule: Value| json!({ "HANDLER_BUILD_BLOCKLIST": { "global": { "image": rule } } });
    let place = "HANDLER_BUILD_BLOCKLIST.global.image";
    for (lists, expected) in [
        (json!([]), "the lists: expected an object".to_owned()),
        (
            json!({ "SYSTEM": "koji" }),
            "SYSTEM: not read; there are HANDLER_BUILD_ALLOWLIST, HANDLER_BUILD_BLOCKLIST".to_owned(),
        ),
        (
            json!({ "HANDLER_BUILD_ALLOWLIST": { "Globl": {} } }),
            "HANDLER_BUILD_ALLOWLIST.Globl: there is no such handler".to_owned(),
        ),
        (
            json!({ "HANDLER_BUILD_ALLOWLIST": { "global": { "images": {} } } }),
            "HANDLER_BUILD_ALLOWLIST.global.images: there is no such type of artifact".to_owned(),
        ),
        (rule(json!("RHSA")), format!("{place}: expected a rule: an object, or a list with any or all")),
        (rule(json!([{ "manual": true }])), format!("{place}: expected [\"any\", [rules]] or [\"all\", [rules]]")),
        (rule(json!(["all", []])), format!("{place}: a list of no rules matches everything; say what it is to match")),
        (
            rule(json!({ "advisory_is_contract_priority": true })),
            format!("{place}: the rule asks only for facts that are not known here"),
        ),
        (
            rule(json!({ "image_name": { "a": 1 } })),
            format!("{place}.image_name: expected an expression, or a list of them"),
        ),
        (
            rule(json!({ "image_name": "a", "name": "b" })),
            format!("{place}.name: `image_name` is asked for twice in one rule"),
        ),
    ] {
        assert_eq!(convert(&lists, &HANDLERS).unwrap_err().to_string(), expected, "{lists}");
    }
    let error = convert(&rule(json!(["any", [{ "image_name": "(?!ubi).*" }]])), &HANDLERS).unwrap_err();
    assert_eq!(error.place, format!("{place}.any[0].image_name"));
    let deep = (0..40).fold(json!({ "manual": true }), |rule, _| json!(["any", [rule]]));
    assert!(convert(&rule(deep), &HANDLERS).unwrap_err().text.contains("nested"));
}
