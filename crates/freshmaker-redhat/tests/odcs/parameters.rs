//! From composes to parameters and back.

use freshmaker::artifact::{Parameter, Parameters};
use freshmaker_redhat::odcs::{Compose, Flag};
use proptest::prelude::{Just, Strategy, any, prop, proptest};
use std::time::Duration;

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.:_-]{0,8}"
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(word(), 0..4)
}

fn compose() -> impl Strategy<Value = Compose> {
    let kind = proptest::prop_oneof![
        word().prop_map(Compose::tag),
        words().prop_map(Compose::module),
        words().prop_map(Compose::pulp),
        words().prop_map(Compose::build),
        (word(), word()).prop_map(|(name, commit)| Compose::raw_config(&name, &commit)),
    ];
    let flags = prop::sample::subsequence(Flag::ALL.to_vec(), 0..=Flag::ALL.len());
    let life = proptest::option::of(any::<u32>());
    let keys = proptest::option::of(prop::collection::vec(proptest::prop_oneof![word(), Just(String::new())], 1..4));
    (kind, words(), flags, keys, life, words()).prop_map(|(compose, packages, flags, keys, life, arches)| {
        let compose = compose.with_packages(packages).with_flags(flags).with_arches(arches);
        let compose = keys.into_iter().fold(compose, Compose::with_sigkeys);
        life.into_iter().fold(compose, |compose, life| compose.with_lifetime(Duration::from_secs(life.into())))
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
    #[test]
    fn nothing_is_lost_on_the_way(compose in compose(), id: u32) {
        assert_eq!(Compose::try_from(&Parameters::from(&compose)), Ok(compose.clone()));
        let stored = serde_json::to_string(&Parameters::from(&compose)).unwrap();
        let read: Parameters = serde_json::from_str(&stored).unwrap();
        assert_eq!(Compose::try_from(&read), Ok(compose));
        let renewal = Compose::renew(id.into());
        assert_eq!(Compose::try_from(&Parameters::from(&renewal)), Ok(renewal));
    }
}

#[test]
fn equal_composes_are_one_artifact_and_others_are_not() {
    let compose = Compose::tag("t").with_packages(["a", "b"]);
    assert_eq!(compose.artifact(), Compose::tag("t").with_packages(["b", "a"]).artifact());
    let others = [
        Compose::tag("u").with_packages(["a", "b"]),
        Compose::tag("t").with_packages(["a"]),
        Compose::tag("t").with_builds(["a", "b"]),
        compose.clone().with_flags([Flag::NoDeps]),
        compose.clone().with_sigkeys(["K", ""]),
        compose.clone().with_sigkeys(["", "K"]),
    ];
    let mut names: Vec<_> = others.iter().map(Compose::artifact).chain([compose.artifact()]).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 7);
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    let base = || Parameters::from(&Compose::tag("t"));
    let with = |key: &str, value: Parameter| {
        let mut parameters = base();
        parameters.insert(key, value);
        parameters
    };
    let cases: Vec<(Parameters, &str, &str)> = vec![
        (Parameters::default(), "source_type", "is missing"),
        (with("source_type", "repo".into()), "source_type", "one of tag, module"),
        (with("source_type", 1.into()), "source_type", "one of tag, module"),
        (with("source", "t".into()), "source", "a set"),
        (with("packages", "a".into()), "packages", "a set"),
        (with("packages", ["a b"].into()), "packages", "\"a b\""),
        (with("arches", [""].into()), "arches", "empty"),
        (with("flags", ["fast"].into()), "flags", "\"fast\""),
        (with("sigkeys", ["a"].into()), "sigkeys", "a text"),
        (with("koji_event", "7".into()), "koji_event", "a number"),
        (with("seconds_to_live", Parameter::Number(-1)), "seconds_to_live", "not negative"),
        (with("label", true.into()), "label", "a text"),
        (with("module_defaults_url", "u".into()), "module_defaults_url", "module_defaults_commit"),
        (with("colour", "red".into()), "colour", "no such"),
        (with("renew", "7".into()), "renew", "a number"),
        (with("renew", Parameter::Number(-7)), "renew", "no id"),
        (with("renew", 7.into()), "renew", "either"),
    ];
    for (parameters, key, text) in cases {
        let error = Compose::try_from(&parameters).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let mut renewal = Parameters::from(&Compose::renew(7).with_lifetime(Duration::from_secs(9)));
    assert!(Compose::try_from(&renewal).is_ok());
    renewal.insert("arches", ["x86_64"]);
    assert_eq!(Compose::try_from(&renewal).unwrap_err().key, "arches");
}
