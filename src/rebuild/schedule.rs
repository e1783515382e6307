use super::record::BuildRecord;
use std::collections::BTreeMap;

/// How many attempts of each build system may live at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    limits: BTreeMap<String, u32>,
}

impl Slots {
    /// The limits by registered name of the system. A system without one may run [`Slots::DEFAULT`].
    #[must_use]
    pub fn new(limits: BTreeMap<String, u32>) -> Self {
        Self { limits }
    }

    /// Attempts of a system for which no limit was set.
    pub const DEFAULT: u32 = 10;

    /// How many attempts of this system may live at once.
    #[must_use]
    pub fn limit(&self, system: &str) -> u32 {
        self.limits.get(system).copied().unwrap_or(Self::DEFAULT)
    }

    /// Which of the ready builds start now, given how many attempts of each system live: in the given order, as far as there are slots.
    #[must_use]
    pub fn admit<'a>(&self, ready: &'a [BuildRecord], live: &BTreeMap<String, u32>) -> Vec<&'a BuildRecord> {
        let mut used = live.clone();
        ready
            .iter()
            .filter(|build| {
                let used = used.entry(build.key.system.clone()).or_default();
                let free = *used < self.limit(&build.key.system);
                *used += u32::from(free);
                free
            })
            .collect()
    }
}
