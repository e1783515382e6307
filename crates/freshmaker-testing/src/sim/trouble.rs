//! What goes wrong for hours in a world, and must neither stop anything else nor be asked for
//! without a pause.

use super::backends::Shared;
use super::handlers::Noted;
use super::world::World;
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{BuildFilter, Paging, Result, Storage};
use freshmaker::event::Event as _;
use freshmaker::graph::KeyedGraph;
use freshmaker::rebuild::{BuildRecord, ExternalId, InboxState};
use std::collections::BTreeMap;

/// Something that goes wrong for hours. Most are about one artifact, the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The row of a build of the victim cannot be read any more.
    Row,
    /// The build system takes no request for the victim.
    Sending,
    /// Nothing is told about what is asked together with the victim.
    Status,
    /// The verifier does not come back from the victim.
    Verification,
    /// Whether the victim was submitted is unclear each time, and cannot be looked up.
    Lookups,
    /// What builds the victim is interrupted each time.
    Interruptions,
    /// What is to be stored about attempts of the victim is refused as overtaken.
    Conflicts,
    /// A handler of notes does not come back.
    Handler,
    /// The catalogs are away.
    Catalogs,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Row,
        Self::Sending,
        Self::Status,
        Self::Verification,
        Self::Lookups,
        Self::Interruptions,
        Self::Conflicts,
        Self::Handler,
        Self::Catalogs,
    ];

    /// Whether a message may have to wait for it.
    fn holds_messages(self) -> bool {
        matches!(self, Self::Row | Self::Conflicts | Self::Catalogs)
    }
}

/// How often was asked for what is in trouble.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    pub(super) lookups: u32,
    pub(super) conflicts: u32,
    /// Handlers of pushes, by message.
    handlers: BTreeMap<String, u32>,
}

/// More than so many of a process in an hour, on average, is a loop without a pause.
const ASKS_AN_HOUR: u32 = 300;

impl World {
    /// Whether this is what goes wrong now.
    pub(super) fn suffers(&self, trouble: Trouble) -> bool {
        self.trouble == Some(trouble)
    }

    /// Whether this goes wrong now with this artifact.
    pub(super) fn ails(&self, trouble: Trouble, artifact: &ArtifactId) -> bool {
        self.suffers(trouble) && self.victim == *artifact
    }

    /// Whether this goes wrong now with one of these tasks.
    pub(super) fn some_ail(&self, trouble: Trouble, ids: &[ExternalId]) -> bool {
        self.suffers(trouble)
            && self.tasks.iter().any(|task| task.artifact == self.victim && ids.contains(&task.external))
    }

    /// A handler of pushes is asked about this message.
    pub(super) fn asked(&mut self, message_id: &str) {
        *self.asks.handlers.entry(message_id.to_owned()).or_default() += 1;
    }

    /// The trouble is over, after so many hours.
    pub(super) fn mend(&mut self, hours: u32) {
        let Some(trouble) = self.trouble.take() else { return };
        self.broken_row = None;
        self.say(|| format!("{trouble:?} is mended"));
        let victim = &self.victim;
        let attempts = self.tasks.iter().filter(|task| task.artifact == *victim).count() as u32;
        let handlers = self.asks.handlers.values().copied().max().unwrap_or_default();
        let Asks { lookups, conflicts, .. } = self.asks;
        for (what, count) in [
            ("attempts", attempts),
            ("lookups", lookups),
            ("conflicts", conflicts),
            ("questions to a handler", handlers),
        ] {
            if count > ASKS_AN_HOUR * hours * self.weather.processes {
                self.violation(format!("{trouble:?}: {count} {what} in {hours} hours"));
            }
        }
    }
}

/// Returns what has not ended, although the trouble of this world does not touch it.
pub(super) async fn untouched(shared: &Shared, rows: &dyn Storage) -> Result<Vec<String>> {
    let (trouble, victim, broken) = {
        let world = shared.world();
        (world.trouble, world.victim.clone(), world.broken_row)
    };
    let Some(trouble) = trouble else { return Ok(Vec::new()) };
    let reads = rows.reads();
    let builds = reads.builds(BuildFilter::default(), Paging::first(Paging::LIMIT_MAX)).await?.items;
    let links = reads.links(builds.iter().map(|build| build.id).collect()).await?;
    let hit = |build: &&BuildRecord| build.key.artifact == victim || broken == Some(build.id);
    let edges = links.dependencies.iter().map(|edge| (edge.parent, edge.child));
    let needs = KeyedGraph::new(builds.iter().map(|build| build.id), edges);
    let touched = needs.reached_from(builds.iter().filter(hit).map(|build| build.id));
    let open = builds.iter().filter(|build| !build.state.is_terminal() && !touched.contains(&build.id));
    let mut left: Vec<_> =
        open.map(|build| format!("build {} of {} is {}", build.id, build.key.artifact, build.state)).collect();
    if !trouble.holds_messages() {
        let waiting =
            reads.messages(vec![InboxState::New, InboxState::Claimed], Paging::first(Paging::LIMIT_MAX)).await?;
        let noted = |topic: &str| trouble == Trouble::Handler && topic == Noted::KIND;
        let others = waiting.items.iter().filter(|message| !noted(&message.message.topic));
        left.extend(others.map(|message| format!("message {} of {}", message.message_id, message.source)));
    }
    Ok(left)
}
