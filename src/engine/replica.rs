//! Compares the configurations of the engines of a storage: stores how this one is configured, and
//! logs what differs in the others.
//!
//! Only an engine with a name does so, see `EngineBuilder::replica`. Each `TURN` it renews a
//! document under this name, and reads those of the others. A setting that differs is logged once,
//! with its name and both values, and once more when it no longer differs. A difference has no
//! other effect.
//!
//! * The process dies: its document expires after `LIFE`. Until then the others still compare
//!   themselves with it, which is harmless. A process of the same name takes the document over.
//! * Two living processes have the same name: each finds the run of the other one in the document,
//!   and says so.
//! * A document cannot be read, since a newer version has written it: it is left out.
//! * The storage fails: the next turn repeats everything.

use super::core::Core;
use super::outages::STORAGE;
use crate::backend::{NewDocument, Remedy, Result};
use crate::client::{KIND, REPLICAS_MAX, Replica, replicas};
use crate::rebuild::{BuildMode, RunId};
use crate::time::later;
use futures_util::future::select;
use futures_util::pin_mut;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time between two turns.
const TURN: Duration = Duration::from_secs(30);

/// How long a document stays that is not renewed.
const LIFE: Duration = Duration::from_secs(90);

/// Announces this engine and compares it with others, until the stop was requested.
pub(super) async fn run(core: &Core) {
    let Some(mine) = of(core) else { return };
    let mine = Replica { run: core.run(), since: core.storage_now(), ..mine };
    let mut watch = Watch { mine, announced: false, differing: BTreeSet::new() };
    while !core.is_stopping() {
        match watch.turn(core).await {
            Ok(()) => core.works("replica", STORAGE),
            Err(error) => core.fails("replica", STORAGE, &error),
        }
        let (pause, stopped) = (core.sleep(TURN), core.stopped());
        pin_mut!(pause, stopped);
        select(pause, stopped).await;
    }
    // If this fails, the document ends by itself.
    if watch.announced {
        drop(core.storage.documents().remove(KIND, &watch.mine.name).await);
    }
}

/// Returns how this engine is configured, if it has a name.
pub(super) fn of(core: &Core) -> Option<Replica> {
    Some(Replica { name: core.options.replica.clone()?, settings: settings(core), ..Replica::default() })
}

/// What this run has announced, and what it has said about others.
struct Watch {
    mine: Replica,
    announced: bool,
    differing: BTreeSet<String>,
}

impl Watch {
    async fn turn(&mut self, core: &Core) -> Result<()> {
        self.announce(core).await?;
        let others = replicas(core.storage.documents()).await?;
        let (new, gone) = self.compare(&others);
        for text in new {
            tracing::warn!(replica = self.mine.name, difference = text, "a replica is configured differently");
        }
        for text in gone {
            tracing::info!(
                replica = self.mine.name,
                difference = text,
                "a replica is no longer configured differently"
            );
        }
        Ok(())
    }

    /// Renews the document of this name.
    async fn announce(&mut self, core: &Core) -> Result<()> {
        let documents = core.storage.documents();
        let stored = documents.get(KIND, &self.mine.name).await?;
        let expected = stored.as_ref().map(|stored| stored.version);
        let run = stored.and_then(Replica::read).map_or(RunId::NONE, |stored| stored.run);
        if self.announced && run != self.mine.run && run != RunId::NONE {
            tracing::warn!(replica = self.mine.name, engine.run = %self.mine.run, other = %run, "two replicas have the same name");
        }
        let document = NewDocument {
            expected,
            expires_at: Some(later(core.storage_now(), LIFE)),
            keep: Some(REPLICAS_MAX),
            ..NewDocument::new(KIND, self.mine.name.as_str(), self.mine.body())
        };
        match documents.put(document).await {
            // Another process of this name was faster: the next turn finds it.
            Err(error) if error.remedy != Remedy::Conflict => Err(error),
            _ => {
                self.announced = true;
                Ok(())
            }
        }
    }

    /// Returns the differences that are new, and those that are gone, since the last call.
    fn compare(&mut self, others: &[Replica]) -> (Vec<String>, Vec<String>) {
        let others = others.iter().filter(|other| other.name != self.mine.name);
        let differing: BTreeSet<_> =
            others.flat_map(|other| self.mine.differences(other)).map(|differs| differs.to_string()).collect();
        let new = differing.difference(&self.differing).cloned().collect();
        let gone = self.differing.difference(&differing).cloned().collect();
        self.differing = differing;
        (new, gone)
    }
}

/// Returns what all replicas have to have in common. What has a secret or an address is not in it.
fn settings(core: &Core) -> BTreeMap<String, String> {
    let listed = |names: Vec<&str>| names.join(", ");
    let decider = &core.decider;
    let limits = core.systems.keys().map(|name| (format!("limit of {name}"), core.concurrency.limit(name).to_string()));
    let mode = match decider.mode() {
        BuildMode::Real => "real",
        BuildMode::Scratch => "scratch",
        BuildMode::DryRun => "dry run",
    };
    let own = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("mode", mode.to_owned()),
        ("buses", listed(core.buses.keys().map(String::as_str).collect())),
        ("build systems", listed(core.systems.keys().map(String::as_str).collect())),
        ("catalogs", listed(decider.readable.catalogs.names())),
        ("verifiers", listed(core.verifiers.keys().map(String::as_str).collect())),
        ("handlers", decider.registry.names().join(", ")),
        ("policy", decider.policy_digest().to_string()),
        ("limits", format!("{:?}", core.limits)),
    ];
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(limits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(name: &str, limit: &str) -> Replica {
        let settings = [("limit of koji".to_owned(), limit.to_owned())].into();
        Replica { name: name.to_owned(), settings, ..Replica::default() }
    }

    #[test]
    fn a_difference_is_said_when_it_comes_and_when_it_goes() {
        let mut watch = Watch { mine: replica("one", "20"), announced: false, differing: BTreeSet::new() };
        let text = "other: limit of koji is 10, on one it is 20".to_owned();
        assert_eq!(watch.compare(&[replica("one", "20"), replica("third", "20")]), (vec![], vec![]));
        assert_eq!(watch.compare(&[replica("other", "10")]), (vec![text.clone()], vec![]));
        assert_eq!(watch.compare(&[replica("other", "10")]), (vec![], vec![]), "only once");
        assert_eq!(watch.compare(&[replica("other", "20")]), (vec![], vec![text]));
    }
}
