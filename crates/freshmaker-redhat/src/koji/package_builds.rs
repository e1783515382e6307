//! Which builds packages come from, and where those are tagged.

use super::KojiRecipes;
use super::packages::Package;
use super::read::{Archive, Build};
use super::recipes::{keys, nvr};
use super::xmlrpc::{Request, Value};
use crate::contracts::{Each, Ingredients, PackageOrigins, TaggedBuild};
use async_trait::async_trait;
use freshmaker::artifact::Nvr;
use freshmaker::backend::Result;
use std::collections::{BTreeMap, BTreeSet};

/// The end of the name of a tag whose builds are candidates for a release.
const CANDIDATE: &str = "-candidate";

/// A package in an image: its name, and the number of the build that it comes from, if the hub has
/// that build.
type Part = (String, Option<i64>);

/// The latest build of a name in each tag, if the tag has one.
type Latest = BTreeMap<(Nvr, String), std::result::Result<Option<String>, String>>;

/// The architectures of an image, and its packages.
type Installed = (BTreeSet<String>, Vec<Part>);

#[async_trait]
impl PackageOrigins for KojiRecipes {
    async fn ingredients(&self, images: &BTreeSet<Nvr>) -> Result<Each<Ingredients>> {
        let mut found = Each::new();
        let mut installed: BTreeMap<Nvr, Installed> = BTreeMap::new();
        for (image, answer) in self.installed_in(images).await? {
            match answer {
                Ok(all) => drop(installed.insert(image, all)),
                Err(text) => drop(found.insert(image, Err(text))),
            }
        }
        let numbers: BTreeSet<i64> =
            installed.values().flat_map(|(_, packages)| packages).filter_map(|(_, build)| *build).collect();
        let builds = self.builds(numbers.into_iter().map(|number| (number, Value::Int(number)))).await?;
        for (image, (arches, packages)) in installed {
            found.insert(image, ingredients(arches, packages, &builds));
        }
        Ok(found)
    }

    async fn tagged(&self, builds: &BTreeSet<Nvr>) -> Result<Each<TaggedBuild>> {
        let (mut found, mut known) = (Each::new(), BTreeMap::new());
        for (build, answer) in self.builds(keys(builds)).await? {
            match answer {
                Ok(answer) => drop(known.insert(build, answer.id)),
                Err(text) => drop(found.insert(build, Err(text))),
            }
        }
        let numbers = || known.iter().map(|(build, number)| (build.clone(), Value::Int(*number))).collect();
        let names = |method: &'static str| {
            move |_: &Nvr, rows: &Value| {
                let name = |row: &Value| row.get::<&str>(&["name"]).map(str::to_owned);
                rows.each(&[], name).map_err(|error| self.reader.corrupt(method, &error))
            }
        };
        let packages = self.each("listBuildRPMs", numbers(), names("listBuildRPMs")).await?;
        let tags = self.each("listTags", numbers(), names("listTags")).await?;
        let mut tried = BTreeMap::new();
        for (build, answer) in tags {
            tried.insert(build, answer.map(|tags| in_order(&tags)));
        }
        let latest = self.latest_in(&tried).await?;
        for (build, packages) in packages {
            let tagged = packages.and_then(|packages| {
                let tag = tag_of(&build, &tried, &latest)?;
                Ok(TaggedBuild { packages: packages.into_iter().collect(), tag })
            });
            found.insert(build, tagged);
        }
        Ok(found)
    }
}

impl KojiRecipes {
    /// Returns the architectures of each image and its packages.
    async fn installed_in(&self, images: &BTreeSet<Nvr>) -> Result<Each<Installed>> {
        let mut found: Each<Installed> = Each::new();
        let mut known = Vec::new();
        for (image, build) in self.builds(keys(images)).await? {
            match build {
                Ok(build) => known.push((image, Value::Int(build.id))),
                Err(text) => drop(found.insert(image, Err(text))),
            }
        }
        let archives = |_: &Nvr, rows: &Value| {
            rows.each(&[], Archive::of).map_err(|error| self.reader.corrupt("listArchives", &error))
        };
        let mut lists = Vec::new();
        for (image, archives) in self.each("listArchives", known, archives).await? {
            match archives {
                Ok(archives) => {
                    let of_images = archives.into_iter().filter_map(|archive| Some((archive.arch?, archive.id)));
                    lists.extend(of_images.map(|(arch, archive)| {
                        let call = Request::new("listRPMs", Vec::new()).named([("imageID", archive.into())]);
                        ((image.clone(), arch), call)
                    }));
                    found.insert(image, Ok(Default::default()));
                }
                Err(text) => drop(found.insert(image, Err(text))),
            }
        }
        let packages = |_: &(Nvr, String), rows: &Value| {
            let package = |row: &Value| Ok((Package::of(row)?.name, row.get::<Option<i64>>(&["build_id"])?));
            rows.each(&[], package).map_err(|error| self.reader.corrupt("listRPMs", &error))
        };
        for ((image, arch), packages) in self.all(lists, packages).await? {
            match (found.get_mut(&image), packages) {
                (Some(Ok((arches, all))), Ok(packages)) => {
                    arches.insert(arch);
                    all.extend(packages);
                }
                (_, Err(text)) => drop(found.insert(image, Err(text))),
                (_, Ok(_)) => {}
            }
        }
        Ok(found)
    }

    /// Returns the latest build of a name in each of the tags that are tried.
    async fn latest_in(&self, tried: &Each<Vec<String>>) -> Result<Latest> {
        let mut calls = Vec::new();
        for (build, tags) in tried {
            for tag in tags.iter().flatten() {
                let named = [("latest", true.into()), ("package", build.name().into())];
                let call = Request::new("listTagged", vec![tag.as_str().into()]).named(named);
                calls.push(((build.clone(), tag.clone()), call));
            }
        }
        let latest = |_: &(Nvr, String), rows: &Value| {
            let rows = rows.each(&[], Build::of).map_err(|error| self.reader.corrupt("listTagged", &error))?;
            Ok(rows.into_iter().next().map(|build| build.nvr))
        };
        Ok(self.all(calls, latest).await?.into_iter().collect())
    }
}

fn ingredients(
    arches: BTreeSet<String>,
    packages: Vec<Part>,
    builds: &BTreeMap<i64, std::result::Result<Build, String>>,
) -> std::result::Result<Ingredients, String> {
    if packages.is_empty() {
        return Err("Koji lists no packages of it".to_owned());
    }
    let mut found = Ingredients { arches, ..Ingredients::default() };
    for (package, number) in packages {
        let build = number.and_then(|number| builds.get(&number));
        let build = build.ok_or_else(|| format!("the package {package} comes from no build of Koji"))?;
        found.builds.insert(nvr(&build.as_ref().map_err(String::clone)?.nvr)?);
        found.packages.insert(package);
    }
    Ok(found)
}

/// Returns the tags that are looked at, the preferred ones first: final ones, then candidates.
fn in_order(tags: &[String]) -> Vec<String> {
    let candidates = || tags.iter().filter(|tag| tag.ends_with(CANDIDATE));
    let finals =
        candidates().filter_map(|tag| tag.strip_suffix(CANDIDATE)).filter(|name| tags.iter().any(|tag| tag == name));
    finals.map(str::to_owned).chain(candidates().cloned()).collect()
}

/// Returns the first tag in which the build is the latest one of its name.
fn tag_of(build: &Nvr, tried: &Each<Vec<String>>, latest: &Latest) -> std::result::Result<Option<String>, String> {
    let name = format!("{}-{}-{}", build.name(), build.version(), build.release());
    let Some(tags) = tried.get(build) else { return Ok(None) };
    for tag in tags.as_ref().map_err(String::clone)? {
        match latest.get(&(build.clone(), tag.clone())) {
            Some(Ok(found)) if found.as_ref() == Some(&name) => return Ok(Some(tag.clone())),
            Some(Err(text)) => return Err(text.clone()),
            Some(Ok(_)) | None => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_tags_are_preferred_to_candidates() {
        let tags = ["b-candidate", "a-build", "a-candidate", "a", "c"].map(str::to_owned);
        assert_eq!(in_order(&tags), ["a", "b-candidate", "a-candidate"]);
    }
}
