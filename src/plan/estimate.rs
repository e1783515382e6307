//! Estimates of how long builds take, from the durations of earlier builds, which
//! `Context::estimates` reads.
//!
//! They decide on the order of builds (ranks, positions in queues) and on expected times, never on
//! whether something is built. So a wrong estimate costs time, and nothing else.

use crate::artifact::{Artifact, ArtifactId, ArtifactKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long one successful build took. Failed builds are no observations: they often end early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was built.
    pub artifact: ArtifactId,
    /// The kind of the artifact.
    pub kind: ArtifactKind,
    /// From the intent to submit it to the last observation of its attempt.
    pub duration: Duration,
}

/// Estimates how long builds will take, from how long earlier builds took.
///
/// For an artifact that was built before, the estimate is the median of its latest five builds: one
/// build that hung does not change it, three builds of another length do. Otherwise it is the
/// estimate of the catalog, else the median of the latest builds of its kind, else a guess by kind.
///
/// ```
/// use freshmaker::plan::{Estimates, Observation};
/// use freshmaker::{Artifact, ArtifactKind};
/// use std::time::Duration;
///
/// let took = |minutes: u64| Observation {
///     artifact: "app".into(),
///     kind: ArtifactKind::Image,
///     duration: Duration::from_secs(60 * minutes),
/// };
/// let estimates: Estimates = [took(5), took(300), took(5)].into_iter().collect();
/// assert_eq!(estimates.of(&Artifact::new("app", ArtifactKind::Image)), Duration::from_secs(300));
/// let never_built = Artifact::new("never-built", ArtifactKind::Image);
/// assert_eq!(estimates.of(&never_built), Duration::from_secs(300));
/// let known = Artifact::new("known", ArtifactKind::Image).with_estimate(Duration::from_secs(90));
/// assert_eq!(estimates.of(&known), Duration::from_secs(90));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Estimates {
    artifacts: BTreeMap<ArtifactId, Recent<{ Self::LATEST_OF_ARTIFACT }>>,
    kinds: BTreeMap<ArtifactKind, Recent<{ Self::LATEST_OF_KIND }>>,
}

impl Estimates {
    /// More artifacts are not remembered by name: further ones only count for their kind. The bound
    /// is several times what a distribution has.
    pub const ARTIFACTS_MAX: usize = 100_000;
    /// How many of the latest builds of an artifact count: an odd number, so that the median is one
    /// of them.
    pub const LATEST_OF_ARTIFACT: usize = 5;
    /// How many of the latest builds of a kind count.
    pub const LATEST_OF_KIND: usize = 101;

    /// Learns from a build. Of the builds of one artifact or kind, the latest count, in the order
    /// in which they are observed. Cost: O(log n) for n artifacts.
    pub fn observe(&mut self, observation: Observation) {
        let Observation { artifact, kind, duration } = observation;
        self.kinds.entry(kind).or_default().push(duration);
        if self.artifacts.len() < Self::ARTIFACTS_MAX || self.artifacts.contains_key(&artifact) {
            self.artifacts.entry(artifact).or_default().push(duration);
        }
    }

    /// Returns how long a build of this artifact will probably take.
    ///
    /// A worked example, for an artifact with the latest builds 5, 300, 5, 6 and 5 minutes:
    ///
    /// 1. Sorted: 5, 5, 5, 6, 300. The median is 5 minutes; the build that hung does not matter.
    /// 2. After three further builds of 9 minutes, the latest five are 6, 5, 9, 9, 9: the median is
    ///    9.
    #[must_use]
    pub fn of(&self, artifact: &Artifact) -> Duration {
        let of_artifact = || self.artifacts.get(&artifact.id)?.median();
        let of_kind = || self.kinds.get(&artifact.kind)?.median();
        of_artifact().or(artifact.estimate).or_else(of_kind).unwrap_or_else(|| Self::guess(artifact.kind))
    }

    /// Returns how long a build of this kind takes if nothing is known: 2 minutes for a repository,
    /// else 10 minutes. That is enough to order builds by.
    #[must_use]
    pub fn guess(kind: ArtifactKind) -> Duration {
        match kind {
            ArtifactKind::Repository => Duration::from_secs(120),
            _ => Duration::from_secs(600),
        }
    }
}

impl Extend<Observation> for Estimates {
    fn extend<I: IntoIterator<Item = Observation>>(&mut self, observations: I) {
        observations.into_iter().for_each(|observation| self.observe(observation));
    }
}

impl FromIterator<Observation> for Estimates {
    /// From observations in the order of their ends, the latest last.
    fn from_iter<I: IntoIterator<Item = Observation>>(observations: I) -> Self {
        let mut estimates = Self::default();
        estimates.extend(observations);
        estimates
    }
}

/// The latest durations, oldest first, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Recent<const MAX: usize>(VecDeque<u64>);

impl<const MAX: usize> Recent<MAX> {
    fn push(&mut self, duration: Duration) {
        self.push_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    fn push_millis(&mut self, millis: u64) {
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back(millis);
    }

    /// The upper median: overestimating is safer than underestimating. `None` without durations.
    fn median(&self) -> Option<Duration> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(|millis| Duration::from_millis(*millis))
    }
}

/// The stored form, which may be longer than what this version remembers.
#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    artifacts: BTreeMap<ArtifactId, Vec<u64>>,
    #[serde(default)]
    kinds: BTreeMap<ArtifactKind, Vec<u64>>,
}

impl From<Stored> for Estimates {
    fn from(stored: Stored) -> Self {
        fn latest<const MAX: usize>(millis: Vec<u64>) -> Recent<MAX> {
            let mut recent = Recent::default();
            millis.into_iter().for_each(|millis| recent.push_millis(millis));
            recent
        }
        let artifacts = stored.artifacts.into_iter().take(Self::ARTIFACTS_MAX);
        Self {
            artifacts: artifacts.map(|(id, millis)| (id, latest(millis))).collect(),
            kinds: stored.kinds.into_iter().map(|(kind, millis)| (kind, latest(millis))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};
    use proptest::{collection, prop_assert, prop_assert_eq};

    fn took(artifact: &str, kind: ArtifactKind, millis: u64) -> Observation {
        Observation { artifact: artifact.into(), kind, duration: Duration::from_millis(millis) }
    }

    #[test]
    fn what_is_known_best_counts() {
        let rpm = |id: &str| Artifact::new(id, ArtifactKind::Rpm);
        let mut estimates = Estimates::default();
        assert_eq!(estimates.of(&rpm("a")), Duration::from_secs(600));
        assert_eq!(estimates.of(&Artifact::new("r", ArtifactKind::Repository)), Duration::from_secs(120));
        estimates.extend([took("b", ArtifactKind::Rpm, 7), took("b", ArtifactKind::Image, 9)]);
        assert_eq!(estimates.of(&rpm("a")), Duration::from_millis(7), "of its kind");
        let known = rpm("a").with_estimate(Duration::from_millis(3));
        assert_eq!(estimates.of(&known), Duration::from_millis(3), "the catalog knows better than the kind");
        estimates.observe(took("a", ArtifactKind::Rpm, 5));
        assert_eq!(estimates.of(&known), Duration::from_millis(5), "what it took counts more than what was said");
    }

    #[test]
    fn too_many_artifacts_are_not_remembered() {
        let names = (0..=Estimates::ARTIFACTS_MAX).map(|number| took(&format!("a{number:06}"), ArtifactKind::Rpm, 1));
        let mut estimates: Estimates = names.collect();
        estimates.extend([took("a000000", ArtifactKind::Rpm, 9), took("a000000", ArtifactKind::Rpm, 9)]);
        assert_eq!(estimates.artifacts.len(), Estimates::ARTIFACTS_MAX);
        assert_eq!(estimates.of(&Artifact::new("a000000", ArtifactKind::Rpm)), Duration::from_millis(9));
    }

    proptest! {
        #[test]
        fn the_median_of_the_latest_counts(millis in collection::vec(1_u64..100, 1..12)) {
            let estimates: Estimates = millis.iter().map(|millis| took("a", ArtifactKind::Image, *millis)).collect();
            let latest: Vec<_> = millis.iter().rev().take(5).copied().collect();
            let estimate = estimates.of(&Artifact::new("a", ArtifactKind::Image)).as_millis() as u64;
            let below = latest.iter().filter(|millis| **millis < estimate).count();
            let above = latest.iter().filter(|millis| **millis > estimate).count();
            prop_assert!(latest.contains(&estimate), "{estimate} is none of {latest:?}");
            prop_assert!(below <= latest.len() / 2 && above <= latest.len() / 2, "{estimate} is not amid {latest:?}");
        }

        #[test]
        fn one_that_hangs_moves_nothing(usual in 1_u64..1000, place in 0_usize..5, outlier in any::<u64>()) {
            let millis = (0..5).map(|number| if number == place { outlier } else { usual });
            let estimates: Estimates = millis.map(|millis| took("a", ArtifactKind::Image, millis)).collect();
            let estimate = estimates.of(&Artifact::new("a", ArtifactKind::Image));
            prop_assert_eq!(estimate, Duration::from_millis(usual));
        }

        #[test]
        fn what_is_stored_comes_back(millis in collection::vec(any::<u64>(), 0..9)) {
            let estimates: Estimates = millis.iter().map(|millis| took("a", ArtifactKind::Image, *millis)).collect();
            let text = serde_json::to_string(&estimates).unwrap();
            prop_assert_eq!(serde_json::from_str::<Estimates>(&text).unwrap(), estimates);
        }
    }

    #[test]
    fn what_is_stored_is_cut_to_what_is_remembered() {
        let long = format!("{{\"artifacts\":{{\"a\":{:?}}}}}", (0..200).collect::<Vec<u64>>());
        let estimates: Estimates = serde_json::from_str(&long).unwrap();
        assert_eq!(estimates.of(&Artifact::new("a", ArtifactKind::Image)), Duration::from_millis(197));
    }
}
