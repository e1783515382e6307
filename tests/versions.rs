//! Versions and names of builds against RPM's own table, against what Koji and kobo answered, and
//! against the laws of an order.
#![allow(clippy::unwrap_used)]

use freshmaker::Nvr;
use freshmaker::artifact::Evr;
use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::RngSeed;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

fn tables() -> Value {
    serde_json::from_str(include_str!("data/versions/nvr.json")).unwrap()
}

fn rows(table: &Value) -> &Vec<Value> {
    table.as_array().unwrap()
}

fn hash(evr: &Evr) -> u64 {
    let mut hasher = DefaultHasher::new();
    evr.hash(&mut hasher);
    hasher.finish()
}

fn order(number: i64) -> Ordering {
    number.cmp(&0)
}

/// What koji and kobo read, and we do otherwise: the text and why.
const READ_OTHERWISE: [(&str, &str); 1] = [("-1-2", "a build without a name cannot be asked for")];

#[test]
fn rpm_agrees_about_every_row_of_its_table() {
    let table: Vec<Vec<&str>> =
        include_str!("data/versions/rpmvercmp.tsv").lines().map(|line| line.split('\t').collect()).collect();
    assert!(table.len() > 90, "{}", table.len());
    for row in table {
        let expected = order(row[2].parse().unwrap());
        // As version, as release, and after the same version.
        for (one, other) in
            [(format!("{}-1", row[0]), format!("{}-1", row[1])), (format!("1-{}", row[0]), format!("1-{}", row[1]))]
        {
            let (one, other): (Evr, Evr) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(one.cmp(&other), expected, "{row:?}");
            assert_eq!(one == other, expected.is_eq(), "{row:?}");
            assert!(one != other || hash(&one) == hash(&other), "{row:?}");
        }
    }
}

#[test]
fn names_are_read_as_koji_reads_them() {
    let tables = tables();
    for row in rows(&tables["nvr_parsing"]) {
        let text = row["in"].as_str().unwrap();
        let ours = text.parse::<Nvr>();
        if READ_OTHERWISE.iter().any(|(exception, _)| *exception == text) {
            assert!(ours.is_err(), "{text:?} no longer needs its exception");
            continue;
        }
        match (&row["koji.parse_NVR"], ours) {
            (Value::String(_), Err(_)) => {}
            (koji, Ok(ours)) => {
                let epoch = ours.epoch().map_or(String::new(), |epoch| epoch.to_string());
                let read = [ours.name(), ours.version(), ours.release(), &epoch];
                let koji =
                    ["name", "version", "release", "epoch"].map(|key| koji[key].as_str().unwrap_or("no such key"));
                assert_eq!(read, koji, "{text:?}");
                assert_eq!(ours.to_string(), text);
            }
            (koji, ours) => panic!("{text:?}: {koji} but {ours:?}"),
        }
    }
}

#[test]
fn builds_are_compared_as_kobo_compares_them() {
    let tables = tables();
    let mut refused = Vec::new();
    for row in rows(&tables["nvr_compare"]) {
        let (a, b) = (row["a"].as_str().unwrap(), row["b"].as_str().unwrap());
        match (a.parse::<Nvr>(), b.parse::<Nvr>()) {
            (Ok(one), Ok(other)) => {
                let expected = order(row["compare_nvr"].as_i64().unwrap());
                assert_eq!(one.evr().cmp(&other.evr()), expected, "{row}");
                assert_eq!(one.by_release(&other), expected.then(one.cmp(&other)), "{row}");
            }
            _ => refused.push(a.to_owned()),
        }
    }
    assert_eq!(refused, ["f-1-"], "koji refuses it too: no release");

    let sorted = &tables["sorted_by_nvr"];
    let read = |key: &str| rows(&sorted[key]).iter().map(|text| text.as_str().unwrap().parse().unwrap()).collect();
    let mut ours: Vec<Nvr> = read("in");
    ours.sort_by(Nvr::by_release);
    assert_eq!(ours, read("ascending") as Vec<Nvr>);
    ours.reverse();
    assert_eq!(ours, read("descending") as Vec<Nvr>);
}

#[test]
fn a_rebuild_is_named_as_the_service_named_it() {
    let tables = tables();
    let suffix = tables["rebuilt_at"].to_string();
    for row in rows(&tables["get_rebuilt_nvr"]) {
        // The service named rebuilds of images only; of what is to be rebuilt the caller knows the
        // kind.
        let Some(rebuilt) = row["rebuilt"].as_str() else {
            assert_eq!(row["artifact_type"], 0);
            continue;
        };
        let nvr: Nvr = row["in"].as_str().unwrap().parse().unwrap();
        assert_eq!(nvr.rebuilt(&suffix).unwrap().to_string(), rebuilt);
    }
}

/// RPM's rule by words: a version is a row of words, compared one by one. End comes after `~` and
/// before all else.
fn naive_words(text: &str) -> Vec<(u8, String)> {
    let mut words: Vec<(u8, String)> = Vec::new();
    let mut apart = true;
    for c in text.chars() {
        let rank = match c {
            '~' => 0,
            '^' => 2,
            c if c.is_ascii_alphabetic() => 3,
            c if c.is_ascii_digit() => 4,
            _ => {
                apart = true;
                continue;
            }
        };
        match words.last_mut() {
            Some((last, word)) if !apart && *last == rank && rank > 2 => word.push(c),
            _ => words.push((rank, c.to_string())),
        }
        apart = false;
    }
    for (_, word) in words.iter_mut().filter(|(rank, _)| *rank == 4) {
        let digits = word.trim_start_matches('0');
        // Longer numbers are larger.
        *word = format!("{:0>600}", digits);
    }
    words.push((1, String::new()));
    words
}

/// Texts in which separators, `~`, `^`, letters, digits and leading zeros meet often.
fn part() -> impl Strategy<Value = String> {
    "[ab019.~^_+é]{1,6}"
}

fn evr() -> impl Strategy<Value = Evr> {
    (0..3_u32, part(), "[01a.]{1,2}")
        .prop_map(|(epoch, version, release)| format!("{epoch}:{version}-{release}").parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(20_260_115),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_order_is_that_of_the_words(one in evr(), other in evr()) {
        let naive = |evr: &Evr| (evr.epoch(), naive_words(evr.version()), naive_words(evr.release()));
        prop_assert_eq!(one.cmp(&other), naive(&one).cmp(&naive(&other)), "{} {}", one, other);
    }

    #[test]
    fn order_equality_and_hash_agree(evrs in proptest::collection::vec(evr(), 3)) {
        let [a, b, c] = [&evrs[0], &evrs[1], &evrs[2]];
        prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
        prop_assert!(a.cmp(b).is_gt() || b.cmp(c).is_gt() || a.cmp(c).is_le());
        prop_assert_eq!(a == b, a.cmp(b).is_eq());
        prop_assert!(a != b || hash(a) == hash(b));
        let ordered: BTreeSet<_> = evrs.iter().collect();
        let hashed: HashSet<_> = evrs.iter().collect();
        prop_assert_eq!(ordered.len(), hashed.len());
    }

    #[test]
    fn what_is_shown_is_read_again(text in "[a:0-9.~-]{1,12}", epoch in 0..3_u32) {
        for text in [text.clone(), format!("{epoch}:{text}"), format!("n-{text}")] {
            if let Ok(evr) = text.parse::<Evr>() {
                let again: Evr = evr.to_string().parse().unwrap();
                prop_assert_eq!((again.epoch(), again.version(), again.release()), (evr.epoch(), evr.version(), evr.release()));
                let json = serde_json::to_value(&evr).unwrap();
                prop_assert_eq!(&json, &Value::String(evr.to_string()));
                prop_assert_eq!(serde_json::from_value::<Evr>(json).unwrap(), evr);
            }
            if let Ok(nvr) = text.parse::<Nvr>() {
                prop_assert_eq!(nvr.to_string().parse::<Nvr>().unwrap(), nvr.clone());
                prop_assert_eq!(nvr.evr().to_string().parse::<Evr>().unwrap(), nvr.evr());
            }
        }
    }

    #[test]
    fn builds_have_one_order(texts in proptest::collection::vec("([01]:)?[ab]-[01.]{1,2}1-[01.]{0,2}1", 3)) {
        let nvrs: Vec<Nvr> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let [a, b, c] = [&nvrs[0], &nvrs[1], &nvrs[2]];
        prop_assert_eq!(a.by_release(b), b.by_release(a).reverse());
        prop_assert!(a.by_release(b).is_gt() || b.by_release(c).is_gt() || a.by_release(c).is_le());
        prop_assert_eq!(a == b, a.by_release(b).is_eq());
        prop_assert!(a.name() != b.name() || a.evr() == b.evr() || a.by_release(b) == a.evr().cmp(&b.evr()));
    }
}
