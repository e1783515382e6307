use freshmaker::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// A task that somebody submitted, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Id of the task.
    pub task: i64,
    /// `buildContainer`, `build` or another method.
    pub method: String,
    /// Name of the user who submitted it.
    pub owner: String,
    /// The source without its revision.
    pub artifact: String,
    /// The target.
    pub target: String,
    /// The marker: `fm_attempt` in `userdata` or `custom_user_metadata`.
    pub marker: Option<String>,
    /// The release that was asked for.
    pub release: Option<String>,
    /// The session that it was submitted in.
    pub session: Option<i64>,
    /// When the request arrived.
    pub arrived: Timestamp,
    /// When the task came into being.
    pub made: Timestamp,
    /// Whether only to see if it builds.
    pub scratch: bool,
    /// Other tasks of the same artifact and target that had not ended when it came into being, scratch beside scratch and real beside real.
    pub beside: Vec<i64>,
}

/// What must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// One attempt was submitted more than once.
    TwoTasks {
        /// The marker of the attempt.
        marker: String,
        /// Its tasks.
        tasks: Vec<i64>,
    },
    /// Two tasks of one artifact and target were there at once.
    TwoAlive {
        /// What was built.
        artifact: String,
        /// The tasks.
        tasks: Vec<i64>,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoTasks { marker, tasks } => write!(f, "attempt {marker} was submitted more than once: {tasks:?}"),
            Self::TwoAlive { artifact, tasks } => write!(f, "{artifact} was built by several tasks at once: {tasks:?}"),
        }
    }
}

/// Everything that was ever submitted, to be compared with what the client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// All submitted tasks, oldest first.
    pub entries: Vec<Entry>,
}

impl Ledger {
    /// What must not have happened, and did.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut markers: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for entry in &self.entries {
            if let Some(marker) = &entry.marker {
                markers.entry(marker).or_default().push(entry.task);
            }
            if !entry.beside.is_empty() {
                let tasks = entry.beside.iter().copied().chain([entry.task]).collect();
                found.push(Violation::TwoAlive { artifact: entry.artifact.clone(), tasks });
            }
        }
        let twice = markers.into_iter().filter(|(_, tasks)| tasks.len() > 1);
        found.extend(twice.map(|(marker, tasks)| Violation::TwoTasks { marker: marker.to_owned(), tasks }));
        found
    }
}
