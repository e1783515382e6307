use super::Client;
use crate::artifact::ArtifactId;
use crate::backend::{BuildFilter, Paging, Result};
use crate::rebuild::{BuildId, BuildKey, BuildRecord, BuildState};
use crate::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many of the newest failed builds are read, and of the builds that ended well since.
const BUILDS_MAX: usize = 5_000;

/// The most artifacts in one question.
const CHUNK: usize = 500;

/// Artifacts whose last build failed for one cause, by [`Client::failures`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FailureGroup {
    /// The build system.
    pub system: String,
    /// The code of the reason.
    pub reason_code: String,
    /// How many artifacts there are.
    pub count: u64,
    /// The build that was planned last.
    pub newest: Option<BuildRecord>,
    /// The last failed build of each artifact: [`Client::builds`] with this filter lists them.
    pub filter: BuildFilter,
}

/// Questions about what still fails.
impl Client {
    /// Returns the artifacts whose builds failed and were not built well since, by build system and
    /// reason, the largest group first; at most [`FAILURE_GROUPS_MAX`](Self::FAILURE_GROUPS_MAX)
    /// groups.
    ///
    /// An artifact, for one build system and target, counts once, with the reason of the failed
    /// build that was planned last. It does not count if a build that was planned later ended well.
    /// Builds that only failed because of their dependencies do not count. With `from`, builds that
    /// were planned earlier do not count either. At most the 5,000 newest failed builds are looked
    /// at.
    ///
    /// ```
    /// use freshmaker::client::Client;
    /// use freshmaker::memory::MemoryStorage;
    /// use std::sync::Arc;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let client = Client::new(Arc::new(MemoryStorage::new()));
    /// for group in client.failures(None).await? {
    ///     println!("{} artifacts in {}: {}", group.count, group.system, group.reason_code);
    /// }
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn failures(&self, from: Option<Timestamp>) -> Result<Vec<FailureGroup>> {
        let mut groups: BTreeMap<(String, String), Vec<BuildRecord>> = BTreeMap::new();
        for build in self.failed_last(from).await? {
            groups.entry((build.key.system.clone(), build.reason.code.clone())).or_default().push(build);
        }
        let groups = groups.into_iter().map(|((system, reason_code), builds)| {
            let ids = builds.iter().map(|build| build.id).collect();
            let filter = BuildFilter { ids, ..BuildFilter::default() };
            let newest = builds.iter().max_by_key(|build| build.id).cloned();
            FailureGroup { system, reason_code, count: builds.len() as u64, newest, filter }
        });
        let mut groups: Vec<_> = groups.collect();
        groups.sort_by_key(|group| Reverse(group.count));
        groups.truncate(Self::FAILURE_GROUPS_MAX);
        Ok(groups)
    }

    /// The most groups of failures that are returned.
    pub const FAILURE_GROUPS_MAX: usize = 50;

    /// The last failed build of each artifact that was not built well since.
    async fn failed_last(&self, from: Option<Timestamp>) -> Result<Vec<BuildRecord>> {
        let failed = BuildFilter { states: vec![BuildState::Failed], created_from: from, ..BuildFilter::default() };
        let mut last: BTreeMap<BuildKey, BuildRecord> = BTreeMap::new();
        for build in self.newest(&failed).await? {
            // The newest of an artifact comes first.
            last.entry(build.key.clone()).or_insert(build);
        }
        let artifacts: Vec<_> = last.keys().map(|key| key.artifact.clone()).collect();
        let oldest = last.values().map(|build| build.created_at).min();
        for artifacts in artifacts.chunks(CHUNK) {
            for (key, id) in self.well_since(artifacts.to_vec(), oldest).await? {
                if last.get(&key).is_some_and(|failed| failed.id < id) {
                    last.remove(&key);
                }
            }
        }
        Ok(last.into_values().collect())
    }

    /// The builds of these artifacts that ended well, from a moment on.
    async fn well_since(
        &self,
        artifacts: Vec<ArtifactId>,
        from: Option<Timestamp>,
    ) -> Result<Vec<(BuildKey, BuildId)>> {
        let states = vec![BuildState::Done, BuildState::Reused];
        let well = BuildFilter { states, artifacts, created_from: from, ..BuildFilter::default() };
        Ok(self.newest(&well).await?.into_iter().map(|build| (build.key, build.id)).collect())
    }

    async fn newest(&self, filter: &BuildFilter) -> Result<Vec<BuildRecord>> {
        let page = |paging| self.builds(filter.clone(), paging);
        Ok(Paging::first(Paging::LIMIT_MAX).collect(BUILDS_MAX, page).await?.items)
    }
}
