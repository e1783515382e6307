//! States as a word with a shape, whose colour only repeats it.

use askama::filters::HtmlSafe;
use freshmaker::client::Answer;
use freshmaker::rebuild::{AttemptState, BuildState, EventRecord, EventState};
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

/// An event that waits for a person.
pub(crate) const ASKS: &str = "ask_first";

pub(crate) fn event(event: &EventRecord) -> Chip {
    let (class, word) = match event.state {
        EventState::Initialized => ("wait", "INITIALIZED"),
        EventState::Building if event.cancel_at.is_some() => ("stop", "CANCELING"),
        EventState::Building => ("run", "BUILDING"),
        EventState::Complete if event.builds_failed > 0 => ("fail", "COMPLETE, SOME FAILED"),
        EventState::Complete => ("done", "COMPLETE"),
        EventState::Failed => ("fail", "FAILED"),
        EventState::Skipped if event.reason.code == ASKS => ("ask", "ASKS FIRST"),
        EventState::Skipped => ("same", "SKIPPED"),
        EventState::Canceled => ("stop", "CANCELED"),
    };
    Chip::new(class, word)
}

/// How an answer to "what became of it?" is drawn, and its word.
pub(crate) fn of_answer(answer: Answer) -> (&'static str, &'static str) {
    match answer {
        Answer::Failed => ("fail", "failed"),
        Answer::Running => ("run", "running"),
        Answer::Waiting => ("wait", "waiting"),
        Answer::Fixed => ("done", "done"),
        Answer::Unchanged => ("same", "not needed"),
        Answer::Canceled => ("stop", "cancelled"),
        _ => ("stop", answer.as_str()),
    }
}

/// An answer as a chip.
pub(crate) fn answer(answer: &Answer) -> Chip {
    let (class, word) = of_answer(*answer);
    Chip::new(class, word)
}

pub(crate) fn build(state: &BuildState) -> Chip {
    Chip::new(of_answer(Answer::of(*state)).0, state.as_str())
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
