//! Diagrams of builds: what the builds of an event wait for, and how far they are.

use super::record::{BuildId, BuildRecord, Dependency};
use super::state::BuildState;
use crate::plan::{Diagram, DiagramBox, Mark};
use std::collections::BTreeSet;

impl From<BuildState> for Mark {
    /// Returns the mark of a build in this state.
    fn from(state: BuildState) -> Self {
        match state {
            BuildState::Blocked | BuildState::Ready => Self::Waiting,
            BuildState::Submitting | BuildState::Building | BuildState::Verifying | BuildState::Canceling => {
                Self::Running
            }
            BuildState::Done => Self::Done,
            BuildState::Reused => Self::Unchanged,
            BuildState::Failed | BuildState::DependencyFailed => Self::Failed,
            BuildState::Canceled => Self::Canceled,
        }
    }
}

impl Mark {
    /// Returns the states of builds that have this mark.
    ///
    /// ```
    /// use freshmaker::plan::Mark;
    /// use freshmaker::rebuild::BuildState;
    ///
    /// assert_eq!(Mark::from(BuildState::Verifying), Mark::Running);
    /// assert_eq!(Mark::Waiting.states().collect::<Vec<_>>(), [BuildState::Blocked, BuildState::Ready]);
    /// assert_eq!(Mark::Changed.states().count(), 0);
    /// ```
    pub fn states(self) -> impl Iterator<Item = BuildState> {
        BuildState::ALL.iter().copied().filter(move |state| Self::from(*state) == self)
    }
}

impl Diagram {
    /// Returns a diagram of builds: their states, reasons and dependencies, whether these are
    /// satisfied or not. The key of a box is the number of its build. `critical` is the critical
    /// path, see [`EventForecast`](super::EventForecast).
    ///
    /// ```
    /// use freshmaker::plan::Diagram;
    ///
    /// let diagram = Diagram::of_builds("event 7", &[], &[], &[]);
    /// assert!(diagram.is_empty());
    /// ```
    #[must_use]
    pub fn of_builds(title: &str, builds: &[BuildRecord], dependencies: &[Dependency], critical: &[BuildId]) -> Self {
        let mut diagram = Self::new(title);
        let critical: BTreeSet<_> = critical.iter().collect();
        for build in builds {
            diagram.add(DiagramBox {
                mark: Some(build.state.into()),
                critical: critical.contains(&build.id),
                details: vec![format!("build {}", build.id), build.reason.text.clone()],
                ..DiagramBox::new(build.id.to_string(), build.key.artifact.as_str())
            });
        }
        for edge in dependencies {
            diagram.connect(&edge.parent.to_string(), &edge.child.to_string());
        }
        diagram
    }
}
