//! Shows states as a word with a shape; the colour has no information of its own.

use askama::filters::HtmlSafe;
use freshmaker::plan::Mark;
use freshmaker::rebuild::{AttemptState, BuildState, EventId, EventRecord, EventState};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// How a state is drawn: the shape comes from the style sheet, by this class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chip {
    class: &'static str,
    word: &'static str,
}

impl Chip {
    /// A state by its word; `class` says its colour and shape: `fail`, `ask`, `run`, `wait`,
    /// `done`, `same` or `stop`.
    pub(crate) const fn new(class: &'static str, word: &'static str) -> Self {
        Self { class, word }
    }
}

impl Display for Chip {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"s {}\">{}</span>", self.class, self.word)
    }
}

impl HtmlSafe for Chip {}

/// An event whose plan was confirmed: another one follows it.
pub(crate) const CONFIRMED: Chip = Chip::new("same", "CONFIRMED");

/// An event that waits for a person.
pub(crate) const ASKS: &str = "ask_first";

/// The code of builds that failed because of what they depend on.
pub(crate) const DEPENDENCY_FAILED: &str = "dependency_failed";

pub(crate) fn event(event: &EventRecord) -> Chip {
    let (class, word) = match event.state {
        EventState::Initialized => ("wait", "INITIALIZED"),
        EventState::Building if event.cancel_at.is_some() => ("stop", "CANCELING"),
        EventState::Building => ("run", "BUILDING"),
        EventState::Complete if event.builds_failed > 0 && event.builds_done == 0 => ("fail", "COMPLETE, ALL FAILED"),
        EventState::Complete if event.builds_failed > 0 => ("fail", "COMPLETE, SOME FAILED"),
        EventState::Complete => ("done", "COMPLETE"),
        EventState::Failed => ("fail", "FAILED"),
        EventState::Skipped if event.reason.code == ASKS => ("ask", "ASKS FIRST"),
        EventState::Skipped => ("same", "SKIPPED"),
        EventState::Canceled => ("stop", "CANCELED"),
    };
    Chip::new(class, word)
}

/// An event in a list; `confirmed` are those that do not ask any more.
pub(crate) fn listed(record: &EventRecord, confirmed: &BTreeSet<EventId>) -> Chip {
    if confirmed.contains(&record.id) { CONFIRMED } else { event(record) }
}

/// How a mark is drawn, and its word.
pub(crate) fn of_mark(mark: Mark) -> (&'static str, &'static str) {
    match mark {
        Mark::Failed => ("fail", "failed"),
        Mark::Running => ("run", "running"),
        Mark::Waiting => ("wait", "waiting"),
        Mark::Done => ("done", "done"),
        Mark::Unchanged => ("same", "not needed"),
        Mark::Canceled => ("stop", "cancelled"),
        _ => ("stop", mark.as_str()),
    }
}

/// A mark as a chip.
pub(crate) fn mark(mark: &Mark) -> Chip {
    let (class, word) = of_mark(*mark);
    Chip::new(class, word)
}

pub(crate) fn build(state: &BuildState) -> Chip {
    Chip::new(of_mark((*state).into()).0, state.as_str())
}

pub(crate) fn attempt(state: &AttemptState) -> Chip {
    let class = match state {
        AttemptState::Intent | AttemptState::Resolving => "wait",
        AttemptState::Unknown => "ask",
        AttemptState::Bound => "run",
        AttemptState::Succeeded => "done",
        AttemptState::Failed | AttemptState::Refused => "fail",
        AttemptState::Canceled | AttemptState::NotSubmitted => "stop",
    };
    Chip::new(class, state.as_str())
}
