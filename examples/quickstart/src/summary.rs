//! The numbers of a demonstration, from the stored rows, so that they include what earlier calls
//! did.

use crate::out::say;
use crate::{Outcome, Result};
use freshmaker::ArtifactId;
use freshmaker::backend::{BuildFilter, Paging};
use freshmaker::client::Client;
use freshmaker::plan::{Plan, RebuildReason};
use freshmaker::rebuild::{BuildId, BuildRecord, BuildState, EventRecord, EventState};
use freshmaker::time::since;
use freshmaker_local::command::CommandBuildSystem;
use std::collections::BTreeMap;
use std::time::Duration;

/// The most lines of a log that are shown for a build that failed.
const LOG_LINES: usize = 10;

/// Returns how much a plan is, in one line.
pub(crate) fn of_plan(plan: &Plan) -> String {
    let direct = plan.nodes().filter(|node| node.reason == RebuildReason::DirectlyAffected).count();
    let (waves, out) = (plan.waves().count(), plan.exclusions().count());
    format!(
        "{} to rebuild in {waves} waves: {direct} contain what changed, {} follow those; {out} left out",
        plan.len(),
        plan.len() - direct,
    )
}

#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// All builds with the wave they are in.
    builds: BTreeMap<BuildId, (u32, BuildRecord)>,
    why_not: BTreeMap<String, usize>,
    /// Of the builds that ran: how long the last attempt took.
    durations: BTreeMap<ArtifactId, Duration>,
    wall: Duration,
    /// Events that ended without having been carried out.
    failed_events: Vec<String>,
}

impl Summary {
    pub(crate) async fn of(client: &Client, events: &[EventRecord]) -> Result<Self> {
        let mut summary = Self::default();
        for event in events {
            if matches!(event.state, EventState::Failed | EventState::Canceled) {
                summary.failed_events.push(format!("event {}: {}", event.id, event.reason));
            }
            let plan = client.plan(event.id).await?;
            for (_, exclusion) in plan.iter().flat_map(|plan| plan.exclusions()) {
                *summary.why_not.entry(exclusion.code.clone()).or_default() += 1;
            }
            for build in builds(client, event).await? {
                let wave = plan.as_ref().and_then(|plan| plan.node(&build.key.artifact)).map_or(0, |node| node.wave);
                summary.builds.insert(build.id, (wave, build));
            }
        }
        for (_, build) in summary.builds.values() {
            let attempts = client.attempts(build.id).await?;
            if let (Some(last), Some(end)) = (attempts.last(), build.done_at) {
                summary.durations.insert(build.key.artifact.clone(), since(end, last.intent_at));
            }
        }
        let start = events.iter().map(|event| event.created_at).min();
        let end = events.iter().filter_map(|event| event.done_at).max();
        summary.wall = start.zip(end).map_or(Duration::ZERO, |(start, end)| since(end, start));
        Ok(summary)
    }

    fn count(&self, states: &[BuildState]) -> usize {
        self.builds.values().filter(|(_, build)| states.contains(&build.state)).count()
    }

    /// The longest chain of builds that had to wait for each other.
    fn critical_path(&self) -> Duration {
        let mut by_wave: Vec<_> = self.builds.values().collect();
        by_wave.sort_by_key(|(wave, build)| (*wave, build.id));
        let mut ends: BTreeMap<&ArtifactId, Duration> = BTreeMap::new();
        for (_, build) in by_wave {
            let start = build.parents.iter().filter_map(|parent| ends.get(&parent.id)).max().copied();
            let own = self.durations.get(&build.key.artifact).copied().unwrap_or_default();
            ends.insert(&build.key.artifact, start.unwrap_or_default() + own);
        }
        ends.into_values().max().unwrap_or_default()
    }

    /// Prints the numbers.
    pub(crate) fn print(&self, slots: u32) {
        let built = self.count(&[BuildState::Done]);
        let unchanged = self.count(&[BuildState::Reused]);
        say!("built: {built}, unchanged: {unchanged}, failed: {}, of {}", self.failed(), self.builds.len());
        let why_not: Vec<_> = self.why_not.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        if !why_not.is_empty() {
            say!("not rebuilt: {}", why_not.join(", "));
        }
        let critical = self.critical_path();
        let work: Duration = self.durations.values().sum();
        say!(
            "wall time {:.2} s; at least {:.2} s were needed: critical path {:.2} s, {:.2} s of work on {slots} slots",
            self.wall.as_secs_f64(),
            critical.max(work / slots.max(1)).as_secs_f64(),
            critical.as_secs_f64(),
            work.as_secs_f64(),
        );
    }

    /// Prints what each build made, in the order in which they ended.
    pub(crate) fn print_outputs(&self) {
        let mut ended: Vec<_> = self.builds.values().map(|(_, build)| build).collect();
        ended.sort_by_key(|build| (build.done_at, build.id));
        for build in ended.into_iter().filter(|build| build.state.is_success()) {
            let digest = build.output.as_ref().and_then(|output| output.digest.as_ref());
            let how = if build.state == BuildState::Reused { "unchanged" } else { "built" };
            say!("{how} {} {}", build.key.artifact, digest.map_or("without a digest", |digest| digest.as_str()));
        }
    }

    /// Prints why what failed did, with the end of its log.
    pub(crate) async fn print_failures(&self, client: &Client, system: &CommandBuildSystem) -> Result<()> {
        for text in &self.failed_events {
            say!("failed: {text}");
        }
        for (_, build) in self.builds.values().filter(|(_, build)| !build.state.is_success()) {
            say!("failed: {}: {}", build.key.artifact, first_sentence(&build.reason.text));
            let attempts = client.attempts(build.id).await?;
            let Some(log) = attempts.last().and_then(|attempt| system.log(&attempt.id).ok()) else { continue };
            let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                say!("    | {}", plain(line));
            }
        }
        Ok(())
    }

    fn failed(&self) -> usize {
        self.builds.values().filter(|(_, build)| !build.state.is_success()).count()
    }

    pub(crate) fn outcome(&self) -> Outcome {
        if self.failed() == 0 && self.failed_events.is_empty() { Outcome::Good } else { Outcome::Bad }
    }
}

/// The stored reason repeats the end of the log, which is shown line by line.
fn first_sentence(text: &str) -> &str {
    text.split("; its log ends: ").next().unwrap_or(text)
}

/// Without characters that could drive a terminal.
pub(crate) fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

async fn builds(client: &Client, event: &EventRecord) -> Result<Vec<BuildRecord>> {
    let filter = BuildFilter { events: vec![event.id], ..BuildFilter::default() };
    let page = |paging| client.builds(filter.clone(), paging);
    Ok(Paging::first(Paging::LIMIT_MAX).collect(usize::MAX, page).await?.items)
}
