//! How far events are: a bar on a terminal, lines elsewhere. Several examples have this module.

use freshmaker::rebuild::EventRecord;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Longest time between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// How many builds have ended for an event.
pub(crate) fn ends(event: &EventRecord) -> u64 {
    u64::from(event.builds_done) + u64::from(event.builds_failed)
}

/// A bar on a terminal, lines elsewhere.
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    /// Without a terminal there is a line for each such part of the work, and at most one for each
    /// build.
    parts: u64,
    shown: Option<u64>,
}

impl Display {
    pub(crate) fn new(parts: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("[{elapsed}] {bar:40} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(LOOK);
            bar
        });
        Self { bar, parts, shown: None }
    }

    pub(crate) fn show(&mut self, events: &[EventRecord], running: u64) {
        let ended: u64 = events.iter().map(ends).sum();
        let total = ended + events.iter().map(|event| u64::from(event.builds_open)).sum::<u64>();
        let failed: u64 = events.iter().map(|event| u64::from(event.builds_failed)).sum();
        let text = format!("{running} running, {failed} failed");
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(ended);
                bar.set_message(text);
            }
            None => {
                let part = ended * self.parts / total.max(1);
                if self.shown.is_none_or(|shown| part > shown) {
                    self.shown = Some(part);
                    line(format_args!("{ended} of {total} builds ended, {text}"));
                }
            }
        }
    }

    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
            line(format_args!(""));
        }
    }
}

fn line(text: fmt::Arguments<'_>) {
    // There is no other place to tell that this one is gone.
    let _ = writeln!(io::stderr(), "{text}");
}
