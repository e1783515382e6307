//! Failures that last for hours. Each must delay nothing that does not depend on it, and must not
//! be retried without a pause.

use super::backends::Shared;
use super::bus::Kind;
use super::handlers::{CLUMSY, Noted};
use super::world::World;
use freshmaker::artifact::ArtifactId;
use freshmaker::backend::{BuildFilter, EventFilter, Paging, Result, Storage};
use freshmaker::event::{Event as _, Message};
use freshmaker::graph::KeyedGraph;
use freshmaker::rebuild::{BuildRecord, ExternalId, InboxRecord, InboxState};
use freshmaker::time::{Timestamp, later};
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that goes wrong for hours. Most are about one artifact, the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The row of a build of the victim cannot be read any more.
    Row,
    /// The build system takes no request for the victim.
    Sending,
    /// A question that includes the victim gets no answer.
    Status,
    /// The verifier does not come back from the victim.
    Verification,
    /// Whether the victim was submitted is unclear each time, and cannot be looked up.
    Lookups,
    /// What builds the victim is interrupted each time.
    Interruptions,
    /// What is to be stored about attempts of the victim is refused as overtaken.
    Conflicts,
    /// What the victim was made into, and what a note says, is refused for good.
    Refusals,
    /// A handler of notes does not come back.
    Handler,
    /// The catalogs are away.
    Catalogs,
    /// The first bus does not take what is published about builds of the victim.
    Publishing,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Row,
        Self::Sending,
        Self::Status,
        Self::Verification,
        Self::Lookups,
        Self::Interruptions,
        Self::Conflicts,
        Self::Refusals,
        Self::Handler,
        Self::Catalogs,
        Self::Publishing,
    ];

    /// Whether a message may have to wait for it.
    fn holds_messages(self) -> bool {
        matches!(self, Self::Row | Self::Conflicts | Self::Catalogs)
    }

    /// How often one process asks for one thing in the window. A pause that is doubled from 1 s
    /// lets it ask ten times within ten minutes: after 0, 1, 3, 7, … 255, 511 s. The pauses of a
    /// bus grow to half a minute. A commit that meets changes, or is refused, is tried again
    /// sooner.
    fn asks_max(self) -> usize {
        match self {
            Self::Conflicts | Self::Refusals => 400,
            Self::Publishing => 26,
            _ => 11,
        }
    }
}

/// When was asked for what is in trouble, within the last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    /// By what is asked for: an attempt, a message.
    recent: BTreeMap<String, Vec<Timestamp>>,
    /// When a process began or was stopped, or the clocks were set: how often was asked is
    /// forgotten, or another process takes over.
    changes: Vec<Timestamp>,
}

/// How long a question is counted.
const WINDOW: Duration = Duration::from_secs(600);

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

    /// Whether the first bus takes this.
    pub(super) fn takes(&mut self, message: &Message) -> bool {
        if !self.suffers(Trouble::Publishing) || message.topic != "build.changed" {
            return true;
        }
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap_or_default();
        let takes = body["artifact"] != self.victim.as_str();
        if !takes {
            self.asked(format!("the bus for {}", message.id));
        }
        takes
    }

    /// Counts a call about this, which may be in trouble.
    pub(super) fn asked(&mut self, what: String) {
        let Some(trouble) = self.trouble else { return };
        let now = self.now();
        let recent = |at: &Timestamp| later(*at, WINDOW) > now;
        let changes = self.asks.changes.iter().filter(|at| recent(at)).count();
        let asked = self.asks.recent.entry(what);
        let what = asked.key().clone();
        let times = asked.or_default();
        times.retain(recent);
        times.push(now);
        let several = match trouble {
            // One process after the other looks at a result.
            Trouble::Verification => self.weather.processes,
            // The buses give their messages the same ids.
            Trouble::Catalogs | Trouble::Handler => self.weather.buses,
            _ => 1,
        } as usize;
        if times.len() > trouble.asks_max() * (several + changes) {
            let count = std::mem::take(times).len();
            self.violation(format!("{trouble:?}: {count} times {what} in {} s", WINDOW.as_secs()));
        }
    }

    /// Whether this message is a dead letter because it could not be stored.
    pub(super) fn refuses(&self, kind: Kind, record: &InboxRecord) -> bool {
        let refused = record.reason.as_ref().is_some_and(|reason| reason.code == "refused");
        kind == Kind::Note && self.weather.trouble == Some(Trouble::Refusals) && refused
    }

    /// A process begins or is stopped for a while, or the clocks are set.
    pub(super) fn changes(&mut self) {
        let now = self.now();
        self.asks.changes.push(now);
    }

    /// The trouble is over.
    pub(super) fn mend(&mut self) {
        self.broken_row = None;
        if let Some(trouble) = self.trouble.take() {
            self.say(|| format!("{trouble:?} is mended"));
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
        let noted = |message: &&InboxRecord| trouble == Trouble::Handler && message.message.topic == Noted::KIND;
        let (noted, others): (Vec<_>, Vec<_>) = waiting.items.iter().partition(noted);
        left.extend(others.into_iter().map(|message| format!("message {} of {}", message.message_id, message.source)));
        // What the handler that does not come back does not touch: the other one of its message.
        for message in noted {
            let filter = EventFilter { message_ids: vec![message.message_id.clone()], ..EventFilter::default() };
            let events = reads.events(filter, Paging::first(Paging::LIMIT_MAX)).await?.items;
            if !events.iter().any(|event| event.handler == CLUMSY && event.source == message.source) {
                left.push(format!("{CLUMSY}, of message {} of {}", message.message_id, message.source));
            }
        }
    }
    Ok(left)
}
