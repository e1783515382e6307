//! The two questions to Pyxis, and the filters that they are asked with.

use super::PyxisConfig;
use crate::released::begins_with;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Asks for repositories. The order gives pages a meaning.
pub(super) const REPOSITORIES: &str = r#"
query repositories($page: Int!, $page_size: Int!, $filter: ContainerRepositoryFilter!) {
  find_repositories(
    page: $page, page_size: $page_size, sort_by: [{field: "_id", order: ASC}], filter: $filter
  ) {
    error { status detail }
    page
    page_size
    total
    data { _id registry repository published auto_rebuild_tags release_categories }
  }
}"#;

/// Asks for images, with all their packages if `$packages` is true. The service counts the images
/// on all pages only if `$total` is true, because that makes it slow.
pub(super) const IMAGES: &str = r#"
query images(
  $page: Int!, $page_size: Int!, $filter: ContainerImageFilter!, $packages: Boolean!, $total: Boolean!
) {
  find_images(
    page: $page, page_size: $page_size, sort_by: [{field: "_id", order: ASC}], filter: $filter
  ) {
    error { status detail }
    page
    page_size
    total @include(if: $total)
    data {
      _id
      architecture
      brew { build }
      parent_brew_build
      content_sets
      parsed_data { labels { name } }
      repositories { registry repository published tags { name removed_date } }
      edges @include(if: $packages) {
        rpm_manifest { error { status detail } data { rpms { name nvra } } }
      }
    }
  }
}"#;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    Repository,
    Image { packages: bool, total: bool },
}

impl Entity {
    /// Returns the name of the field that answers.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Repository => "find_repositories",
            Self::Image { .. } => "find_images",
        }
    }

    /// Returns whether answers say how many objects there are on all pages.
    pub(super) fn is_counted(self) -> bool {
        matches!(self, Self::Repository | Self::Image { total: true, .. })
    }
}

/// A question, but for its page.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) entity: Entity,
    pub(super) filter: Value,
}

impl Question {
    /// Returns the body of the request for a page.
    pub(super) fn body(&self, page: u64, page_size: u64) -> Value {
        let mut variables = json!({ "page": page, "page_size": page_size, "filter": self.filter });
        let query = match self.entity {
            Entity::Repository => REPOSITORIES,
            Entity::Image { packages, total } => {
                variables["packages"] = packages.into();
                variables["total"] = total.into();
                IMAGES
            }
        };
        json!({ "query": query, "variables": variables })
    }
}

/// Asks for the repositories that are offered: those that are published, in an allowed category and
/// of an allowed vendor, and the exceptions.
pub(super) fn offered_repositories(config: &PyxisConfig) -> Question {
    let mut published = vec![json!({ "published": { "eq": true } })];
    if !config.release_categories.is_empty() {
        published.push(json!({ "release_categories": { "in": config.release_categories } }));
    }
    if !config.vendors.is_empty() {
        published.push(json!({ "vendor_label": { "in": config.vendors } }));
    }
    let mut any = vec![json!({ "and": published })];
    any.extend(config.unpublished_exceptions.iter().map(|exception| {
        json!({ "and": [
            { "published": { "eq": false } },
            { "registry": { "eq": exception.registry } },
            { "repository": { "eq": exception.repository } },
        ] })
    }));
    Question { entity: Entity::Repository, filter: json!({ "or": any }) }
}

/// Asks for repositories by their names, in whichever registry they are.
pub(super) fn named_repositories(names: &[String]) -> Question {
    Question { entity: Entity::Repository, filter: json!({ "repository": { "in": names } }) }
}

/// Asks for repositories by their names, of one of these vendors if there are any.
pub(super) fn own_repositories(names: &[String], vendors: &BTreeSet<String>) -> Question {
    let mut all = vec![json!({ "repository": { "in": names } })];
    if !vendors.is_empty() {
        all.push(json!({ "vendor_label": { "in": vendors } }));
    }
    Question { entity: Entity::Repository, filter: json!({ "and": all }) }
}

/// Holds for images that are published in some repository.
fn published() -> Value {
    json!({ "repositories_elemMatch": { "and": [{ "published": { "eq": true } }] } })
}

/// Asks for the published images that are in one of these repositories with one of these tags, with
/// one of these packages, and one of these content sets if there are any.
///
/// Without `by_package` the service does not look at packages: all these images are the answer.
pub(super) fn images_in(
    repositories: &[String],
    tags: &BTreeSet<String>,
    packages: &BTreeSet<String>,
    content_sets: &BTreeSet<String>,
    by_package: bool,
) -> Question {
    // The narrowest condition first: the service is faster then.
    let tagged = json!({ "tags_elemMatch": { "and": [{ "name": { "in": tags } }] } });
    let place = json!([{ "repository": { "in": repositories } }, tagged]);
    let mut all = vec![json!({ "repositories_elemMatch": { "and": place } }), published()];
    if !content_sets.is_empty() {
        all.push(json!({ "content_sets": { "in": content_sets } }));
    }
    if by_package {
        all.push(json!({ "rpm_manifest": { "rpms": { "name": { "in": packages } } } }));
    }
    let packages = !packages.is_empty();
    Question { entity: Entity::Image { packages, total: false }, filter: json!({ "and": all }) }
}

/// Asks for images by the NVRs of their builds.
pub(super) fn images_of(builds: &[String], packages: bool) -> Question {
    let filter = json!({ "brew": { "build": { "in": builds } } });
    Question { entity: Entity::Image { packages, total: true }, filter }
}

/// Asks for the published images of which the build has one of these names and versions.
pub(super) fn releases_of(names_and_versions: &[(String, String)], packages: bool) -> Question {
    let names: BTreeSet<_> = names_and_versions.iter().map(|(name, _)| name).collect();
    let begins = |release| json!({ "brew": { "build": { "regex": begins_with(release) } } });
    let begins: Vec<_> = names_and_versions.iter().map(begins).collect();
    // The package has an index; a regular expression alone would look at all images.
    let filter = json!({ "and": [
        { "brew": { "package": { "in": names } } },
        { "or": begins },
        published(),
    ] });
    Question { entity: Entity::Image { packages, total: true }, filter }
}
