//! Writes queries and projections in the language of Lightblue.

use super::{LightblueConfig, UnpublishedRepository};
use crate::released::begins_with;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An entity of Lightblue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    Repository,
    Image,
}

impl Entity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Repository => "containerRepository",
            Self::Image => "containerImage",
        }
    }
}

/// What is asked for, and which fields of it.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) entity: Entity,
    pub(super) query: Value,
    pub(super) projection: Vec<Value>,
}

fn equal(field: &str, value: impl Into<Value>) -> Value {
    json!({ "field": field, "op": "$eq", "rvalue": value.into() })
}

fn one_of<'a>(field: &str, values: impl IntoIterator<Item = &'a str>) -> Value {
    // The language wants each value once.
    let values: BTreeSet<&str> = values.into_iter().collect();
    json!({ "field": field, "op": "$in", "values": values })
}

fn texts(set: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    set.iter().map(String::as_str)
}

/// Asks for a field, without what is below it.
fn include(field: &str) -> Value {
    json!({ "field": field, "include": true })
}

/// Asks for a field with all that is below it.
fn include_all(field: &str) -> Value {
    json!({ "field": field, "include": true, "recursive": true })
}

fn repositories(query: Value) -> Question {
    let projection = vec![
        include("_id"),
        include("registry"),
        include("repository"),
        include("published"),
        include_all("auto_rebuild_tags"),
        include_all("release_categories"),
    ];
    Question { entity: Entity::Repository, query, projection }
}

/// Asks for the repositories that are offered: those that are published, in an allowed category and
/// of an allowed vendor, and the exceptions.
pub(super) fn offered_repositories(config: &LightblueConfig) -> Question {
    let mut published = vec![equal("published", true)];
    if !config.release_categories.is_empty() {
        published.push(one_of("release_categories.*", texts(&config.release_categories)));
    }
    if !config.vendors.is_empty() {
        published.push(one_of("vendorLabel", texts(&config.vendors)));
    }
    let exception = |exception: &UnpublishedRepository| {
        let registry = equal("registry", exception.registry.as_str());
        let repository = equal("repository", exception.repository.as_str());
        json!({ "$and": [equal("published", false), registry, repository] })
    };
    let mut any = vec![json!({ "$and": published })];
    any.extend(config.unpublished_exceptions.iter().map(exception));
    repositories(json!({ "$or": any }))
}

/// Asks for repositories by their names, in whichever registry they are.
pub(super) fn named_repositories(names: &[String]) -> Question {
    repositories(one_of("repository", names.iter().map(String::as_str)))
}

/// Asks for repositories by their names, of one of these vendors if there are any.
pub(super) fn own_repositories(names: &[String], vendors: &BTreeSet<String>) -> Question {
    let named = one_of("repository", names.iter().map(String::as_str));
    if vendors.is_empty() {
        return repositories(named);
    }
    repositories(json!({ "$and": [named, one_of("vendorLabel", texts(vendors))] }))
}

/// Asks for images, with their packages of these names. Without names, packages are not asked for.
fn images(query: Value, packages: &BTreeSet<String>) -> Question {
    let mut projection = vec![
        include("_id"),
        include("architecture"),
        include("brew.build"),
        include("parent_brew_build"),
        include("parsed_data.labels.*.name"),
        include("repositories.*.registry"),
        include("repositories.*.repository"),
        include("repositories.*.published"),
        include("repositories.*.tags.*.name"),
        include_all("content_sets"),
    ];
    if !packages.is_empty() {
        projection.push(json!({
            "field": "rpm_manifest.*.rpms",
            "include": true,
            "match": one_of("name", texts(packages)),
            "project": [include("name"), include("nvra")],
        }));
    }
    Question { entity: Entity::Image, query, projection }
}

/// Asks for the published images in these repositories that have one of these tags somewhere, and
/// one of these packages and one of these content sets if there are any.
pub(super) fn images_in(
    repositories: &[String],
    tags: &BTreeSet<String>,
    packages: &BTreeSet<String>,
    content_sets: &BTreeSet<String>,
) -> Question {
    let mut all = vec![equal("repositories.*.published", true), one_of("repositories.*.tags.*.name", texts(tags))];
    if !content_sets.is_empty() {
        all.push(one_of("content_sets.*", texts(content_sets)));
    }
    if !packages.is_empty() {
        all.push(one_of("rpm_manifest.*.rpms.*.name", texts(packages)));
    }
    all.push(one_of("repositories.*.repository", repositories.iter().map(String::as_str)));
    images(json!({ "$and": all }), packages)
}

/// Asks for images by the NVRs of their builds.
pub(super) fn images_of(builds: &[String], packages: &BTreeSet<String>) -> Question {
    images(one_of("brew.build", builds.iter().map(String::as_str)), packages)
}

/// Asks for the published images of which the build has one of these names and versions.
pub(super) fn releases_of(names_and_versions: &[(String, String)], packages: &BTreeSet<String>) -> Question {
    let begins = |release| json!({ "field": "brew.build", "regex": begins_with(release) });
    let begins: Vec<_> = names_and_versions.iter().map(begins).collect();
    // The package has an index; a regular expression alone would look at all images.
    let package = one_of("brew.package", names_and_versions.iter().map(|(name, _)| name.as_str()));
    let published = equal("repositories.*.published", true);
    images(json!({ "$and": [package, published, { "$or": begins }] }), packages)
}
