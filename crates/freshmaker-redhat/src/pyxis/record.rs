//! Reads repositories and images out of answers.

use crate::released::{Entry, Image, Repository};
use crate::rest::field::{Read, Wrong, at, flag, items, maybe_at, number, object, optional, text, text_if_any, texts};
use serde_json::Value;
use std::collections::BTreeSet;

/// Statuses of an error within an answer, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: Option<u64>,
    pub(super) detail: String,
}

/// Reads the error that an object may have beside its data.
pub(super) fn refusal(value: &Value) -> Read<Option<Refusal>> {
    maybe_at(value, "error", |error| {
        let status = maybe_at(error, "status", number)?;
        let detail = maybe_at(error, "detail", text_if_any)?.unwrap_or_default().to_owned();
        Ok(Refusal { status, detail })
    })
}

/// Reads a `ContainerRepository`.
pub(super) fn repository(value: &Value) -> Read<Repository> {
    Ok(Repository {
        registry: optional(value, "registry")?,
        name: at(value, "repository", text)?.to_owned(),
        published: maybe_at(value, "published", flag)?.unwrap_or_default(),
        auto_rebuild_tags: texts(value, "auto_rebuild_tags")?,
        release_categories: texts(value, "release_categories")?,
    })
}

/// Reads a `ContainerImageRepo`. A tag with a date of its removal is not there any more.
fn entry(value: &Value) -> Read<Entry> {
    let mut tags = BTreeSet::new();
    maybe_at(value, "tags", |list| {
        items(list, |tag| {
            let name = at(tag, "name", text)?;
            if maybe_at(tag, "removed_date", text)?.is_none() {
                tags.insert(name.to_owned());
            }
            Ok(())
        })
    })?;
    Ok(Entry {
        registry: optional(value, "registry")?,
        repository: at(value, "repository", text)?.to_owned(),
        published: maybe_at(value, "published", flag)?.unwrap_or_default(),
        tags,
    })
}

/// Reads a `ContainerImage`: one architecture of an image, with its packages of these names.
pub(super) fn image(value: &Value, packages: &BTreeSet<String>) -> Read<Image> {
    object(value)?;
    let manifest = |edges| maybe_at(edges, "rpm_manifest", |manifest| rpms(manifest, packages));
    let image = Image::read(value, entry)?;
    Ok(Image { rpms: maybe_at(value, "edges", manifest)?.flatten().flatten(), ..image })
}

/// Reads the packages of these names out of a manifest; `None` if there is no manifest.
fn rpms(manifest: &Value, packages: &BTreeSet<String>) -> Read<Option<BTreeSet<String>>> {
    match refusal(manifest)? {
        None | Some(Refusal { status: Some(404), .. }) => {}
        // Packages that could not be read are not packages that do not exist.
        Some(Refusal { status, detail }) => {
            let status = status.map_or("no status".to_owned(), |status| format!("status {status}"));
            return Err(Wrong::new(format_args!("the service could not read it: {status}: {detail}")).below("error"));
        }
    }
    let rpms = |data| {
        maybe_at(data, "rpms", |list| {
            let mut found = BTreeSet::new();
            items(list, |rpm| {
                if packages.contains(at(rpm, "name", text)?) {
                    found.insert(at(rpm, "nvra", text)?.to_owned());
                }
                Ok(())
            })?;
            Ok(found)
        })
    };
    Ok(maybe_at(manifest, "data", rpms)?.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bash() -> BTreeSet<String> {
        ["bash".to_owned()].into()
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (value, text) in [
            (json!({ "brew": { "build": 7 } }), "`brew.build`: expected text, found a number"),
            (json!({ "content_sets": "a" }), "`content_sets`: expected a list, found text"),
            (json!({ "content_sets": ["a", {}] }), "`content_sets[1]`: expected text, found an object"),
            (json!({ "repositories": [{}] }), "`repositories[0].repository`: it is missing"),
            (
                json!({ "repositories": [{ "repository": "r", "published": "yes" }] }),
                "`repositories[0].published`: expected true or false, found text",
            ),
            (
                json!({ "repositories": [{ "repository": "r", "tags": [{ "name": null }] }] }),
                "`repositories[0].tags[0].name`: expected text, found null",
            ),
            (
                json!({ "edges": { "rpm_manifest": { "data": { "rpms": [{ "name": "bash" }] } } } }),
                "`edges.rpm_manifest.data.rpms[0].nvra`: it is missing",
            ),
            (
                json!({ "edges": { "rpm_manifest": { "error": { "status": 504, "detail": "in time" } } } }),
                "`edges.rpm_manifest.error`: the service could not read it: status 504: in time",
            ),
            (json!({ "parsed_data": "x" }), "`parsed_data`: expected an object, found text"),
            (json!(null), "`the answer`: expected an object, found null"),
        ] {
            assert_eq!(image(&value, &bash()).unwrap_err().to_string(), text);
        }
        assert_eq!(repository(&json!({})).unwrap_err().to_string(), "`repository`: it is missing");
    }

    #[test]
    fn no_manifest_is_not_an_empty_one() {
        let rpms = json!([{ "name": "bash", "nvra": "bash-1-1.x" }, { "name": "zsh", "nvra": "zsh-1-1.x" }]);
        for (edges, known) in [
            (json!(null), None),
            (json!({}), None),
            (json!({ "rpm_manifest": null }), None),
            (json!({ "rpm_manifest": { "data": null, "error": { "status": 404, "detail": "none" } } }), None),
            (json!({ "rpm_manifest": { "data": { "rpms": null } } }), None),
            (json!({ "rpm_manifest": { "data": { "rpms": [] }, "error": null } }), Some(0)),
            (json!({ "rpm_manifest": { "data": { "rpms": rpms } } }), Some(1)),
        ] {
            let image = image(&json!({ "edges": edges }), &bash()).unwrap();
            assert_eq!(image.rpms.map(|rpms| rpms.len()), known, "{edges}");
        }
    }

    #[test]
    fn a_tag_that_was_removed_does_not_count() {
        let tags = json!([{ "name": "1.0" }, { "name": "latest", "removed_date": "2024-12-05T14:33:00+00:00" }]);
        let entry = entry(&json!({ "repository": "app", "tags": tags })).unwrap();
        assert_eq!(entry.tags, ["1.0".to_owned()].into());
    }
}
