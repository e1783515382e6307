//! Reads repositories and images out of answers.

use crate::released::{Entry, Image, Repository};
use crate::rest::field::{Read, all, at, flag, items, list, maybe_at, names, object, optional, text, texts};
use serde_json::Value;
use std::collections::BTreeSet;

/// Reads a truth value, which may be written as a text. None means no.
fn truth(value: &Value, name: &str) -> Read<bool> {
    let truth = maybe_at(value, name, |value| match value.as_str() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => flag(value),
    })?;
    Ok(truth.unwrap_or_default())
}

/// Reads a `containerRepository`.
pub(super) fn repository(value: &Value) -> Read<Repository> {
    Ok(Repository {
        registry: optional(value, "registry")?,
        name: at(value, "repository", text)?.to_owned(),
        published: truth(value, "published")?,
        auto_rebuild_tags: texts(value, "auto_rebuild_tags")?,
        release_categories: texts(value, "release_categories")?,
    })
}

fn entry(value: &Value) -> Read<Entry> {
    Ok(Entry {
        registry: optional(value, "registry")?,
        repository: at(value, "repository", text)?.to_owned(),
        published: truth(value, "published")?,
        tags: names(value, "tags")?,
    })
}

/// Reads a `containerImage`: one architecture of an image.
pub(super) fn image(value: &Value) -> Read<Image> {
    object(value)?;
    // The manifest is one object; it is in a list because it is a reference to another entity.
    let mut rpms: Option<BTreeSet<String>> = None;
    maybe_at(value, "rpm_manifest", |manifests| {
        items(manifests, |manifest| {
            if maybe_at(manifest, "rpms", list)?.is_some() {
                let known = all(manifest, "rpms", |rpm| Ok(at(rpm, "nvra", text)?.to_owned()))?;
                rpms.get_or_insert_default().extend(known);
            }
            Ok(())
        })
    })?;
    Ok(Image { rpms, ..Image::read(value, entry)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_field_is_named() {
        for (object, text) in [
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
            (json!({ "rpm_manifest": [{ "rpms": {} }] }), "`rpm_manifest[0].rpms`: expected a list, found an object"),
            (json!({ "rpm_manifest": [{ "rpms": [{}] }] }), "`rpm_manifest[0].rpms[0].nvra`: it is missing"),
            (json!({ "parsed_data": { "labels": [{}] } }), "`parsed_data.labels[0].name`: it is missing"),
            (
                json!({ "parsed_data": { "labels": [true] } }),
                "`parsed_data.labels[0]`: expected an object, found true or false",
            ),
            (json!({ "parsed_data": "x" }), "`parsed_data`: expected an object, found text"),
            (json!({ "brew": [] }), "`brew`: expected an object, found a list"),
            (json!({ "rpm_manifest": ["x"] }), "`rpm_manifest[0]`: expected an object, found text"),
            (json!(null), "`the answer`: expected an object, found null"),
            (json!("x"), "`the answer`: expected an object, found text"),
        ] {
            assert_eq!(image(&object).unwrap_err().to_string(), text);
        }
        let nameless = repository(&json!({ "published": true })).unwrap_err();
        assert_eq!(nameless.to_string(), "`repository`: it is missing");
    }

    #[test]
    fn no_manifest_is_not_an_empty_one() {
        for (manifest, known) in [
            (json!(null), None),
            (json!([]), None),
            (json!([{}]), None),
            (json!([{ "rpms": null }]), None),
            (json!([{ "rpms": [] }]), Some(0)),
            (json!([{ "rpms": [{ "nvra": "a-1-1.noarch" }] }, {}]), Some(1)),
        ] {
            let image = image(&json!({ "rpm_manifest": manifest })).unwrap();
            assert_eq!(image.rpms.map(|rpms| rpms.len()), known, "{manifest}");
        }
    }
}
