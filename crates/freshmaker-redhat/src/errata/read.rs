//! What the service says about an advisory as a whole.

use crate::rest::field::{Read, Wrong, at, each, items, maybe_at, number, object, text, text_if_any};
use serde_json::Value;
use std::collections::BTreeSet;

/// The flag of a bug that makes its advisory a major incident.
const HIGHTOUCH: &str = "hightouch+";

/// An advisory as `api/v1/erratum/ID` shows it.
pub(super) struct Erratum {
    id: u64,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) content_types: BTreeSet<String>,
    pub(super) security_impact: String,
    product_id: u64,
    pub(super) cves: BTreeSet<String>,
}

/// What only `advisory/ID.json` shows.
pub(super) struct Summary {
    pub(super) product: String,
    pub(super) release: String,
    pub(super) reporter: String,
}

fn owned(value: &Value) -> Read<String> {
    text(value).map(str::to_owned)
}

fn same_id(value: &Value, id: u64) -> Read<()> {
    match number(value)? {
        found if found == id => Ok(()),
        found => Err(Wrong::new(format_args!("the answer is about advisory {found}"))),
    }
}

/// Reads an advisory. It is in an object with one field, whose name is its type.
pub(super) fn erratum(answer: &Value, id: u64) -> Read<Erratum> {
    // Names between white space.
    let cves = at(answer, "content.content.cve", text_if_any)?.split_whitespace().map(str::to_owned).collect();
    at(answer, "errata", |all| {
        let all = object(all)?;
        let (Some((kind, advisory)), 1) = (all.iter().next(), all.len()) else {
            return Err(Wrong::new(format_args!("expected one advisory, found {}", all.len())));
        };
        described(advisory, id, cves).map_err(|wrong| wrong.below(kind))
    })
}

fn described(advisory: &Value, id: u64, cves: BTreeSet<String>) -> Read<Erratum> {
    at(advisory, "id", |value| same_id(value, id))?;
    let mut content_types = BTreeSet::new();
    at(advisory, "content_types", |types| {
        items(types, |item| {
            content_types.insert(owned(item)?);
            Ok(())
        })
    })?;
    Ok(Erratum {
        id,
        name: at(advisory, "fulladvisory", owned)?,
        state: at(advisory, "status", owned)?,
        content_types,
        security_impact: at(advisory, "security_impact", text_if_any)?.to_lowercase(),
        product_id: at(advisory, "product_id", number)?,
        cves,
    })
}

/// Reads the rest of an advisory, and compares what both descriptions contain. The states are not
/// compared: the state may change between the two requests.
pub(super) fn summary(answer: &Value, erratum: &Erratum) -> Read<Summary> {
    at(answer, "id", |value| same_id(value, erratum.id))?;
    at(answer, "advisory_name", |value| {
        let name = text(value)?;
        // The other description adds the number of its revision: `RHSA-2018:2838-08`.
        match erratum.name.strip_prefix(name) {
            Some(revision) if revision.is_empty() || revision.starts_with('-') => Ok(()),
            _ => Err(Wrong::new(format_args!("`{name}` is called `{}` elsewhere", erratum.name))),
        }
    })?;
    at(answer, "product.id", |value| match number(value)? {
        id if id == erratum.product_id => Ok(()),
        id => Err(Wrong::new(format_args!("it is {id} here and {} elsewhere", erratum.product_id))),
    })?;
    Ok(Summary {
        product: at(answer, "product.short_name", owned)?,
        release: at(answer, "release.name", owned)?,
        reporter: at(answer, "people.reporter", owned)?,
    })
}

/// Returns whether one of the bugs has the flag for major incidents.
pub(super) fn has_hightouch_bug(answer: &Value) -> Read<bool> {
    let mut found = false;
    items(answer, |bug| {
        let flags = maybe_at(bug, "flags", text_if_any)?;
        found |= flags.unwrap_or_default().split(',').any(|flag| flag.trim() == HIGHTOUCH);
        Ok(())
    })?;
    Ok(found)
}

/// Reads the ids of repositories, each with the packages that it gets, which may be none yet.
pub(super) fn repositories(answer: &Value) -> Read<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    each(answer, |id, _| {
        if id.trim().is_empty() {
            return Err(Wrong::new("the id of a repository is empty"));
        }
        ids.insert(id.to_owned());
        Ok(())
    })?;
    Ok(ids)
}

/// Reads the numbers of the advisories of a build.
pub(super) fn advisories_of_build(answer: &Value, name: &str) -> Read<BTreeSet<u64>> {
    at(answer, "nvr", |value| match text(value)? {
        found if found == name => Ok(()),
        found => Err(Wrong::new(format_args!("the answer is about {found}"))),
    })?;
    let mut ids = BTreeSet::new();
    // A build of no advisory has no such field.
    maybe_at(answer, "all_errata", |all| {
        items(all, |advisory| {
            ids.insert(at(advisory, "id", number)?);
            Ok(())
        })
    })?;
    Ok(ids)
}
