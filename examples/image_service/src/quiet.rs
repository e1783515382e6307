//! How long a base must have stayed the same before images are built on its new content.

use crate::config::{Config, Images, Seconds};
use freshmaker::artifact::ArtifactId;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// The period of some images, instead of `build.quiet`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quiet {
    images: Images,
    period: Seconds,
}

/// The periods of all images.
#[derive(Clone, Debug)]
pub(crate) struct Quiets {
    groups: Arc<[Quiet]>,
    others: Duration,
}

impl Quiets {
    pub(crate) fn of(config: &Config) -> Self {
        Self { groups: config.quiet.clone().into(), others: config.build.quiet.duration() }
    }

    /// Periods that are over at once.
    pub(crate) fn none() -> Self {
        Self { groups: Arc::default(), others: Duration::ZERO }
    }

    /// Returns the period of an image: that of the first group that contains it.
    pub(crate) fn period(&self, image: &ArtifactId) -> Duration {
        let group = self.groups.iter().find(|group| group.images.contain(image));
        group.map_or(self.others, |group| group.period.duration())
    }

    /// Returns the longest period of a group; `None` without groups.
    pub(crate) fn longest_of_groups(&self) -> Option<Duration> {
        self.groups.iter().map(|group| group.period.duration()).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_counts() {
        let group =
            |start: &str, seconds| Quiet { images: Images(vec![start.to_owned()]), period: Seconds::of(seconds) };
        let groups = [group("r.io/shop/cart", 5), group("r.io/shop/", 60)];
        let quiets = Quiets { groups: groups.into(), others: Duration::from_secs(1) };
        for (image, wanted) in [("r.io/shop/cart:1", 5), ("r.io/shop/till:1", 60), ("r.io/other:1", 1)] {
            assert_eq!(quiets.period(&ArtifactId::from(image)), Duration::from_secs(wanted), "{image}");
        }
        assert_eq!(quiets.longest_of_groups(), Some(Duration::from_secs(60)));
        assert_eq!(Quiets::none().longest_of_groups(), None);
    }
}
