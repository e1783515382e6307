//! Reads the JSON form of planning cases, `tests/data/README.md` has its keys. A new case only
//! needs a new entry in a file there.

use crate::world::{Image, World};
use freshmaker::Nvr;
use freshmaker_redhat::image::{NewerReleases, Publication};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A question, and what is known of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) world: World,
    /// What the Python service answered, or what we want.
    pub(crate) answer: BTreeMap<String, Answer>,
    /// For which build of the same plan each build waited, where that was recorded.
    pub(crate) waits_for: BTreeMap<String, Option<String>>,
    /// Codes of images that must be left out.
    pub(crate) excluded: BTreeMap<String, String>,
}

/// What is rebuilt, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) parent: Option<String>,
    pub(crate) directly_affected: bool,
    pub(crate) content_sets: BTreeSet<String>,
}

pub(crate) fn read(text: &str) -> Vec<Case> {
    let file: Value = serde_json::from_str(text).unwrap();
    list(&file["cases"]).iter().map(case).collect()
}

fn case(case: &Value) -> Case {
    let answer = list(&case["batches"]).iter().flat_map(list).map(|image| (text(&image["nvr"]), answer(image)));
    let builds = list(&case["recorded"]["builds"]).iter();
    let excluded = case["excluded"].as_object().into_iter().flatten();
    Case {
        number: case["n"].as_u64().unwrap(),
        name: text(&case["name"]),
        world: world(&case["input"]),
        answer: answer.collect(),
        waits_for: builds.map(|build| (text(&build["original_nvr"]), optional(&build["dep_on"]))).collect(),
        excluded: excluded.map(|(nvr, code)| (nvr.clone(), text(code))).collect(),
    }
}

fn answer(image: &Value) -> Answer {
    Answer {
        parent: optional(&image["parent"]),
        directly_affected: flag(&image["directly_affected"]),
        content_sets: texts(&image["content_sets"]).into_iter().collect(),
    }
}

/// Chains go from an affected image over its parents; each image is told as often as it is in a
/// chain.
fn world(input: &Value) -> World {
    let affected: BTreeSet<String> = texts(&input["directly_affected_nvrs"]).into_iter().collect();
    let mut images = Vec::new();
    for chain in list(&input["chains"]) {
        let chain = list(chain);
        for (number, value) in chain.iter().enumerate() {
            let mut image = image(value);
            // A parent that is not told is the next one in the chain.
            image.parent = image.parent.or_else(|| chain.get(number + 1).map(|parent| text(&parent["nvr"])));
            image.affected |= affected.contains(&image.nvr);
            images.push(image);
        }
    }
    images.extend(list(&input["images"]).iter().map(image));
    let fixes = texts(&input["rpm_nvrs"]);
    for found in list(&input["fixed_published_images"]) {
        images.push(fixed_published(&text(&found["image"]), &images, &fixes));
    }
    let rebuilt = input["already_rebuilt"].as_object().into_iter().flatten();
    World {
        images,
        fixes,
        content_sets: texts(&input["advisory_content_sets"]),
        already_rebuilt: rebuilt.map(|(original, rebuild)| (original.clone(), text(rebuild))).collect(),
        newer: if flag(&input["released_dependencies_only"]) { NewerReleases::Replace } else { NewerReleases::Keep },
    }
}

fn image(value: &Value) -> Image {
    let sets = texts(&value["content_sets"]);
    // Content sets without a source are not told by the catalog, and the service does not count
    // them.
    let (own, of_child) = match value["content_sets_source"].as_str() {
        Some("child_image") => (Vec::new(), sets),
        Some(_) => (sets, Vec::new()),
        None => (Vec::new(), Vec::new()),
    };
    let publication = match &value["published"] {
        _ if flag(&value["latest_released"]) => Publication::Released,
        Value::Bool(true) => Publication::Published,
        Value::Bool(false) => Publication::Unpublished,
        _ => Publication::Unknown,
    };
    let labels = list(&value["parsed_data"]["labels"]);
    Image {
        nvr: text(&value["nvr"]),
        parent: optional(&value["parent"]),
        builders: texts(&value["builder_stages"]),
        repositories: list(&value["repositories"]).iter().map(|repository| text(&repository["repository"])).collect(),
        content_sets: own,
        content_sets_of_child: of_child,
        rpms: value["rpm_manifest"].get(0).map(|manifest| list(&manifest["rpms"]).iter().map(rpm).collect()),
        publication,
        affected: flag(&value["directly_affected"]),
        hotfix: labels.iter().any(|label| label["name"] == "com.redhat.hotfix"),
        rejected: flag(&value["rejected"]),
        error: optional(&value["error"]),
        without_recipe: false,
    }
}

fn rpm(value: &Value) -> String {
    Nvr::of_rpm(&text(&value["nvra"])).unwrap().to_string()
}

/// What the service was told when it asked for a published image with the fix: it is where those
/// are that it can replace.
fn fixed_published(found: &str, images: &[Image], fixes: &[String]) -> Image {
    let name_version = |text: &str| text.rsplit_once('-').unwrap().0.to_owned();
    let alike = images.iter().filter(|image| name_version(&image.nvr) == name_version(found));
    Image {
        nvr: found.to_owned(),
        repositories: alike.flat_map(|image| image.repositories.clone()).collect(),
        rpms: Some(fixes.to_vec()),
        publication: Publication::Published,
        ..Image::default()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}
