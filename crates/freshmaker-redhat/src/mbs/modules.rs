use super::MbsBuildSystem;
use super::record::{ModuleBuild, components};
use crate::contracts::{Module, Modules};
use crate::messages::mbs::ModuleState;
use async_trait::async_trait;
use freshmaker::backend::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Returns a number that orders builds of a stream: versions are numbers of different lengths.
fn age(build: &ModuleBuild) -> (u128, u64) {
    (build.version.parse().unwrap_or_default(), build.id)
}

/// Returns the builds of the latest version of each stream that is ready, by module and stream.
fn latest(builds: Vec<ModuleBuild>) -> BTreeMap<(String, String), Vec<ModuleBuild>> {
    let mut latest: BTreeMap<_, Vec<ModuleBuild>> = BTreeMap::new();
    for build in builds.into_iter().filter(|build| build.state == ModuleState::Ready && !build.scratch) {
        let same = latest.entry((build.name.clone(), build.stream.clone())).or_default();
        match same.first().map(|known| age(known).0.cmp(&age(&build).0)) {
            Some(std::cmp::Ordering::Greater) => {}
            Some(std::cmp::Ordering::Equal) => same.push(build),
            Some(std::cmp::Ordering::Less) | None => *same = vec![build],
        }
    }
    latest
}

impl MbsBuildSystem {
    /// Describes a module by the newest of these builds; `None` if it has no source.
    async fn describe(&self, builds: &[ModuleBuild]) -> Result<Option<Module>> {
        let Some(newest) = builds.iter().max_by_key(|build| age(build)) else { return Ok(None) };
        let (build, components) = self.client.build(newest.id, components).await?;
        let Some((source, commit)) = build.source() else {
            tracing::warn!(build.id = build.id, "a module build without a source is left out");
            return Ok(None);
        };
        Ok(Some(Module { name: build.name, stream: build.stream, source, commit, components }))
    }
}

#[async_trait]
impl Modules for MbsBuildSystem {
    /// Asks for the component builds of each package, then once for all builds of each module that
    /// is found, then once for the latest build of each stream that still has the package.
    async fn containing(&self, packages: &BTreeSet<String>) -> Result<Vec<Module>> {
        let mut with = BTreeSet::new();
        for package in packages {
            with.extend(self.client.builds_with(package).await?);
        }
        let (mut unknown, mut found) = (with.clone(), BTreeMap::new());
        // A newer build tells more than an older one: its module is likely still there.
        while let Some(id) = unknown.pop_last() {
            let (build, ()) = self.client.build(id, |_| Ok(())).await?;
            let builds = self.client.builds(&[("name", &build.name)]).await?;
            for build in &builds {
                unknown.remove(&build.id);
            }
            found.extend(latest(builds));
        }
        let mut modules = Vec::new();
        for builds in found.values().filter(|builds| builds.iter().any(|build| with.contains(&build.id))) {
            modules.extend(self.describe(builds).await?);
        }
        Ok(modules)
    }

    /// Sends two requests.
    async fn module(&self, name: &str, stream: &str) -> Result<Option<Module>> {
        let ready = ModuleState::Ready.number().to_string();
        let builds = self.client.builds(&[("name", name), ("stream", stream), ("state", &ready)]).await?;
        match latest(builds).get(&(name.to_owned(), stream.to_owned())) {
            Some(builds) => self.describe(builds).await,
            None => Ok(None),
        }
    }
}
