use freshmaker::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// A record of one submitted task, which is kept even if the task disappears.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Id of the task.
    pub task: i64,
    /// The method: `buildContainer`, `build` or another one.
    pub method: String,
    /// Name of the user who submitted the task.
    pub owner: String,
    /// The source without its revision.
    pub artifact: String,
    /// The build target.
    pub target: String,
    /// The marker: `fm_attempt` in `userdata` or `custom_user_metadata`.
    pub marker: Option<String>,
    /// The requested release.
    pub release: Option<String>,
    /// The session that the task was submitted in.
    pub session: Option<i64>,
    /// When the request arrived.
    pub arrived: Timestamp,
    /// When the task was created.
    pub made: Timestamp,
    /// Whether it is a scratch build.
    pub scratch: bool,
    /// Other submitted tasks of the same artifact and target that had not ended when this task was
    /// created. Scratch builds are compared only with scratch builds, real builds only with real
    /// builds.
    pub beside: Vec<i64>,
}

/// A violation of what a correct client guarantees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// One attempt was submitted more than once.
    TwoTasks {
        /// Marker of the attempt.
        marker: String,
        /// Ids of its tasks.
        tasks: Vec<i64>,
    },
    /// Two tasks of one artifact and target ran at the same time.
    TwoAlive {
        /// The artifact: the source without its revision.
        artifact: String,
        /// Ids of the tasks.
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

/// A record of all submissions, to compare with what the client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// All submitted tasks, oldest first.
    pub entries: Vec<Entry>,
}

impl Ledger {
    /// Returns all violations; an empty list if the client was correct.
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
