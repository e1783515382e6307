//! Recorded answers of the Python service. They are a hint: the same images on the same parents,
//! except where the service was wrong.

use crate::cases::{Answer, Case, read};
use crate::laws;
use freshmaker::{EdgeKind, RebuildReason};
use freshmaker_redhat::image::Selection;
use std::collections::BTreeMap;

/// Where the service was wrong: the case, what it has otherwise, and why. DESIGN.md tells more.
const DIFFERENCES: [(u64, &str, &str); 10] = [
    (17, "k-container-1-1 waits for a-container-1-1, not for nothing", BEFORE_ITS_PARENT),
    (19, "x-container-1-1 on p-container-1-1 is on p-container-1-2", DETACHED),
    (19, "x-container-1-1 waits for p-container-1-2, not for nothing", DETACHED),
    (20, "k-container-1-1 waits for a-container-1-2, not for nothing", BEFORE_ITS_PARENT),
    (22, "a-1-1 on p-1-2 is on p-1-10", SEEN_LAST),
    (22, "b-1-1 on p-1-2 is on p-1-10", SEEN_LAST),
    (22, "p-1-2 is missing", SEEN_LAST),
    (22, "p-1-10 is there", SEEN_LAST),
    (22, "a-1-1 waits for p-1-10, not for p-1-2", SEEN_LAST),
    (22, "b-1-1 waits for p-1-10, not for p-1-2", SEEN_LAST),
];

const BEFORE_ITS_PARENT: &str = "it came before its parent, and was rebuilt on the old one, without the fix";
const DETACHED: &str = "it stayed on a release that is replaced by one with another parent, and so not rebuilt";
const SEEN_LAST: &str = "of two releases marked as the latest it took the one seen last, here the older one";

fn ours(selection: &Selection) -> BTreeMap<String, Answer> {
    let answer = |image: &freshmaker_redhat::image::SelectedImage| Answer {
        parent: image
            .parents
            .iter()
            .find(|parent| parent.kind == EdgeKind::ParentImage)
            .map(|parent| parent.nvr.to_string()),
        directly_affected: image.reason == RebuildReason::DirectlyAffected,
        content_sets: image.content_sets.clone(),
    };
    selection.images().iter().map(|image| (image.nvr.to_string(), answer(image))).collect()
}

fn differences(case: &Case, ours: &BTreeMap<String, Answer>) -> Vec<String> {
    let mut found = Vec::new();
    for nvr in case.answer.keys().chain(ours.keys().filter(|nvr| !case.answer.contains_key(*nvr))) {
        let on = |answer: &Answer| answer.parent.clone().unwrap_or_else(|| "nothing".into());
        match (case.answer.get(nvr), ours.get(nvr)) {
            (Some(_), None) => found.push(format!("{nvr} is missing")),
            (None, _) => found.push(format!("{nvr} is there")),
            (Some(theirs), Some(ours)) if theirs.parent != ours.parent => {
                found.push(format!("{nvr} on {} is on {}", on(theirs), on(ours)));
            }
            (Some(theirs), Some(ours)) if theirs != ours => found.push(format!("{nvr}: {theirs:?} is {ours:?}")),
            _ => {}
        }
    }
    for (nvr, theirs) in &case.waits_for {
        let parent =
            ours.get(nvr).and_then(|answer| answer.parent.as_ref()).filter(|parent| ours.contains_key(*parent));
        if ours.contains_key(nvr) && parent != theirs.as_ref() {
            let nothing = || "nothing".to_owned();
            let [ours, theirs] = [parent, theirs.as_ref()].map(|name| name.cloned().unwrap_or_else(nothing));
            found.push(format!("{nvr} waits for {ours}, not for {theirs}"));
        }
    }
    found
}

#[test]
fn recorded_answers_are_reached() {
    let mut expected: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (number, difference, _) in DIFFERENCES {
        expected.entry(number).or_default().push(difference);
    }
    for case in read(include_str!("../data/planning/recorded.json")) {
        let selection = case.world.releases().select().unwrap();
        let found = differences(&case, &ours(&selection));
        assert_eq!(found, expected.remove(&case.number).unwrap_or_default(), "{} {}", case.number, case.name);
        laws::hold(&case.world, &selection);
        laws::one_release_of_each_group(&case.world, &selection);
    }
    assert!(expected.is_empty(), "differences in cases that are not there: {expected:?}");
}

#[test]
fn what_the_tests_of_the_service_expect_is_reached() {
    for case in read(include_str!("../data/planning/converted.json")) {
        let selection = case.world.releases().select().unwrap();
        assert_eq!(differences(&case, &ours(&selection)), Vec::<String>::new(), "{} {}", case.number, case.name);
        for (name, code) in &case.excluded {
            let why = selection.excluded(&name.parse().unwrap()).map(|why| why.code.as_str());
            assert_eq!(why, Some(code.as_str()), "{} {}: {name}", case.number, case.name);
        }
        laws::hold(&case.world, &selection);
    }
}
