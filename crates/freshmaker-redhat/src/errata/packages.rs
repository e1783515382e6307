//! The builds of an advisory, and the packages in them.
//!
//! The service shows builds by product, and the files of a build by variant and architecture. A
//! package is in as many of these as it is shipped to.

use crate::rest::field::{Read, Wrong, at, each, flag, items, maybe_at, text};
use freshmaker::artifact::Nvr;
use serde_json::Value;
use std::collections::BTreeSet;

/// What the service calls the architecture of source packages.
const SOURCES: &str = "SRPMS";

/// Reads the builds of each CVE (`builds_by_cve`): objects with `nevr`, and files in
/// `variant_arch`.
pub(super) fn by_cve(answer: &Value) -> Read<BTreeSet<Nvr>> {
    let mut packages = BTreeSet::new();
    each(answer, |_cve, products| {
        each(products, |_product, product| {
            builds(product, |_, build| {
                let epoch = epoch(build)?;
                // A build that has no files of this advisory lacks the field.
                maybe_at(build, "variant_arch", |variants| files(variants, epoch.as_ref(), &mut packages)).map(drop)
            })
        })
    })?;
    Ok(packages)
}

/// Reads all builds (`builds.json`): files only.
pub(super) fn of_builds(answer: &Value) -> Read<BTreeSet<Nvr>> {
    let mut packages = BTreeSet::new();
    each(answer, |_product, list| {
        items(list, |named| each(named, |_nvr, variants| files(variants, None, &mut packages)))
    })?;
    Ok(packages)
}

/// Reads the names of all builds (`builds.json`).
pub(super) fn names(answer: &Value) -> Read<BTreeSet<Nvr>> {
    let mut names = BTreeSet::new();
    each(answer, |_product, list| {
        items(list, |named| {
            each(named, |nvr, _variants| {
                names.insert(nvr.parse().map_err(Wrong::new)?);
                Ok(())
            })
        })
    })?;
    Ok(names)
}

/// Reads which builds are not signed (`builds_list`).
pub(super) fn unsigned(answer: &Value) -> Read<BTreeSet<Nvr>> {
    let mut unsigned = BTreeSet::new();
    each(answer, |_product, product| {
        builds(product, |nvr, build| {
            if maybe_at(build, "is_signed", flag)? != Some(true) {
                unsigned.insert(nvr.parse().map_err(Wrong::new)?);
            }
            Ok(())
        })
    })?;
    Ok(unsigned)
}

/// Reads each build of a product, by its name. A product without builds has no such field.
fn builds<'v>(product: &'v Value, mut read: impl FnMut(&'v str, &'v Value) -> Read<()>) -> Read<()> {
    maybe_at(product, "builds", |list| items(list, |named| each(named, &mut read))).map(drop)
}

/// Returns the build as its `nevr` names it, which is where its epoch is. The epoch of a module is
/// none of its packages.
fn epoch(build: &Value) -> Read<Option<Nvr>> {
    if maybe_at(build, "is_module", flag)? == Some(true) {
        return Ok(None);
    }
    maybe_at(build, "nevr", |value| {
        let nevr = text(value)?;
        // The form is that of a package without its architecture.
        Nvr::of_rpm(&format!("{nevr}.src"))
            .map_err(|_| Wrong::new(format_args!("`{nevr}` is not name-epoch:version-release")))
    })
}

/// Reads the files of a build, by variant and architecture.
fn files(variants: &Value, build: Option<&Nvr>, packages: &mut BTreeSet<Nvr>) -> Read<()> {
    each(variants, |_variant, architectures| {
        each(architectures, |architecture, files| {
            if architecture == SOURCES {
                return Ok(());
            }
            items(files, |file| {
                // Older versions of the service show the name alone.
                let name = if file.is_object() { at(file, "filename", text)? } else { text(file)? };
                packages.extend(package(name, build)?);
                Ok(())
            })
        })
    })
}

/// Returns the binary package in a file. Other files (images, archives, source packages) have none.
fn package(file: &str, build: Option<&Nvr>) -> Read<Option<Nvr>> {
    let Some(name) = file.strip_suffix(".rpm") else { return Ok(None) };
    if name.ends_with(".src") || name.ends_with(".nosrc") {
        return Ok(None);
    }
    let package = Nvr::of_rpm(name).map_err(Wrong::new)?;
    // A package with a version of its own may have an epoch of its own.
    let same = |build: &&Nvr| (build.version(), build.release()) == (package.version(), package.release());
    match build.filter(same).and_then(Nvr::epoch) {
        Some(epoch) if package.epoch().is_none() => format!("{epoch}:{package}").parse().map(Some).map_err(Wrong::new),
        _ => Ok(Some(package)),
    }
}
