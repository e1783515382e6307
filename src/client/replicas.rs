use super::Client;
use crate::backend::{Document, Documents, Result};
use crate::rebuild::RunId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The kind of the documents in which engines say how they are configured; their id is the name of
/// the replica.
pub(crate) const KIND: &str = "replica";

/// The most replicas of one storage that are listed.
pub(crate) const REPLICAS_MAX: u32 = 1000;

/// An engine that shares its storage with others, and how it is configured.
///
/// ```
/// use freshmaker::client::Replica;
///
/// let replica = |name: &str, limit: &str| Replica {
///     name: name.to_owned(),
///     settings: [("limit of koji".to_owned(), limit.to_owned())].into(),
///     ..Replica::default()
/// };
/// let (one, other) = (replica("one", "20"), replica("other", "10"));
/// assert!(one.differences(&replica("other", "20")).is_empty());
/// assert_eq!(one.differences(&other)[0].to_string(), "other: limit of koji is 10, on one it is 20");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    /// The [name](crate::engine::EngineBuilder::replica) of the process.
    pub name: String,
    /// Its present run.
    pub run: RunId,
    /// Since when this run lasts, by the clock of the storage.
    pub since: Timestamp,
    /// The settings that must be equal on all replicas: build systems and their limits, catalogs,
    /// verifiers, buses, handlers with the kinds of their events, mode, limits, version; and a
    /// digest of the policy.
    pub settings: BTreeMap<String, String>,
}

/// A setting that differs between two replicas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The other replica.
    pub replica: String,
    /// The name of the setting, such as `limit of koji`.
    pub setting: String,
    /// The value on the other replica; `None` if it does not have the setting.
    pub there: Option<String>,
    /// The replica that was compared with it.
    pub of: String,
    /// The value on that replica; `None` if it does not have the setting.
    pub here: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        let Self { replica, setting, of, .. } = self;
        write!(f, "{replica}: {setting} is {}, on {of} it is {}", value(&self.there), value(&self.here))
    }
}

impl Replica {
    /// Returns the settings that differ on another replica, by name; an empty list if all are
    /// equal.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let names: BTreeSet<_> = self.settings.keys().chain(other.settings.keys()).collect();
        let differ = names.into_iter().filter(|name| self.settings.get(*name) != other.settings.get(*name));
        let difference = |name: &String| Difference {
            replica: other.name.clone(),
            setting: name.clone(),
            there: other.settings.get(name).cloned(),
            of: self.name.clone(),
            here: self.settings.get(name).cloned(),
        };
        differ.map(difference).collect()
    }

    /// Reads it from its document; `None` if that was written by a version with another form.
    pub(crate) fn read(document: Document) -> Option<Self> {
        let Body { run, since, settings } = serde_json::from_value(document.body).ok()?;
        Some(Self { name: document.id, run: RunId(run), since, settings })
    }

    /// Returns the body of its document.
    pub(crate) fn body(&self) -> serde_json::Value {
        let Self { run, since, settings, .. } = self;
        serde_json::json!({ "run": run.0, "since": since, "settings": settings })
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    run: i64,
    since: Timestamp,
    settings: BTreeMap<String, String>,
}

impl Client {
    /// Returns the engines that share this storage and [have a
    /// name](crate::engine::EngineBuilder::replica), by name. An engine that was killed is listed
    /// for up to 90 seconds more.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn replicas(&self) -> Result<Vec<Replica>> {
        replicas(self.documents().await?).await
    }
}

/// Returns the replicas that have announced themselves, by name.
pub(crate) async fn replicas(documents: &dyn Documents) -> Result<Vec<Replica>> {
    let found = documents.list(KIND, None, REPLICAS_MAX).await?;
    let mut replicas: Vec<_> = found.into_iter().filter_map(Replica::read).collect();
    replicas.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(replicas)
}
