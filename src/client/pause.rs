use super::send::rejected;
use super::{Client, Concerned};
use crate::backend::{Documents, NewDocument, Remedy, Result};
use crate::reason::Reason;
use crate::rebuild::PausedSystem;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The kind of the documents that say which build systems are paused; their id is its name.
const KIND: &str = "pause";

/// The most build systems that can be paused at the same time.
const PAUSES_MAX: u32 = 1000;

/// A build system that a person has paused: nothing is submitted to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pause {
    /// The registered name of the build system.
    pub system: String,
    /// The reason that the person gave.
    pub reason: String,
    /// Who has paused it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

impl From<Pause> for PausedSystem {
    fn from(Pause { system, reason, by, since }: Pause) -> Self {
        Self::new(Reason::new("paused", format!("{system} is paused by {by}: {reason}")), since)
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    reason: String,
    by: String,
}

impl Client {
    /// Pauses a build system: no engine on this storage submits to it until it is
    /// [resumed](Self::resume). Running builds continue and are followed; ready builds wait.
    ///
    /// Engines see the pause within a tick (5 seconds by default). A build whose submission has
    /// begun by then is still submitted.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if it is paused already; else those of the storage.
    #[doc(alias = "maintenance")]
    pub async fn pause(&self, system: &str, reason: &str, by: &str) -> Result<()> {
        let body = serde_json::json!({ "reason": reason, "by": by });
        match self.documents().await?.put(NewDocument::new(KIND, system, body)).await {
            Err(error) if error.remedy == Remedy::Conflict => Err(rejected(format!("{system} is paused already"))),
            stored => stored.map(drop),
        }
    }

    /// Ends a [pause](Self::pause).
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if the build system is not paused; else those of the storage.
    pub async fn resume(&self, system: &str) -> Result<()> {
        if !self.documents().await?.remove(KIND, system).await? {
            return Err(rejected(format!("{system} is not paused")));
        }
        self.inner.wake.stored(Concerned::DRIVE);
        Ok(())
    }

    /// Returns the build systems that are paused, by name.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn pauses(&self) -> Result<Vec<Pause>> {
        let mut pauses = Vec::new();
        for document in self.documents().await?.list(KIND, None, PAUSES_MAX).await? {
            // A pause holds, whatever its text is.
            let body = serde_json::from_value(document.body);
            let Body { reason, by } = body.unwrap_or(Body { reason: String::new(), by: String::new() });
            pauses.push(Pause { system: document.id, reason, by, since: document.created_at });
        }
        pauses.sort_by(|one, other| one.system.cmp(&other.system));
        Ok(pauses)
    }
}

/// The names of the build systems that are paused.
pub(crate) async fn paused(documents: &dyn Documents) -> Result<BTreeSet<String>> {
    let pauses = documents.list(KIND, None, PAUSES_MAX).await?;
    Ok(pauses.into_iter().map(|document| document.id).collect())
}
