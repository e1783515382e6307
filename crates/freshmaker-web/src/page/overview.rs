//! `/`: what is wrong and what to do about it, what is under way, and what has ended.

use super::answer;
use super::bar::{Segment, bar};
use super::decided::confirmed;
use super::failures::failed_events;
use super::frame::{Frame, Place};
use super::visit::Visit;
use super::{events, links, states, text};
use crate::api::systems::open_counts;
use crate::open_builds::{Kept, Open};
use crate::problem::Problem;
use askama::Template;
use axum::response::Response;
use freshmaker::backend::{BuildCount, EventFilter, Overview, Paging};
use freshmaker::client::{Client, FailureGroup, Pause, Stuck, StuckSubject};
use freshmaker::plan::Mark;
use freshmaker::rebuild::{BuildId, EventForecast, EventId, EventRecord, EventState};
use freshmaker::time::{Timestamp, earlier};
use std::collections::BTreeSet;
use std::time::Duration;

/// What failed or asked longer ago is not news.
const NEWS: Duration = Duration::from_secs(24 * 3600);

/// The most rows of each sort of alarm that are shown.
const ALARMS_MAX: usize = 5;

/// The most events that are shown.
const EVENTS_MAX: u32 = 15;

/// After this time without a change something is stuck.
const STUCK: Duration = Duration::from_secs(15 * 60);

/// How long readings for alarms are used for other requests. What is stuck is asked for build by
/// build, and thousands of rows may be read for what failed.
const STUCK_KEPT: Duration = Duration::from_secs(10);
const FAILURES_KEPT: Duration = Duration::from_secs(1);

/// What the alarms are made of, as it was read last.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    stuck: Kept<Vec<Stuck>>,
    failures: Kept<Vec<FailureGroup>>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    alarms: Vec<Alarm>,
    overview: Overview,
    bar: Vec<Segment>,
    open: Vec<BuildCount>,
    events: Vec<Running>,
    no_times: Option<String>,
    /// When all that is open is expected to be done; `None` if that is not known of all of it.
    done: Option<Timestamp>,
    ended: Vec<EventRecord>,
    confirmed: BTreeSet<EventId>,
}

/// An event that is open, and when it is expected to end.
struct Running {
    event: EventRecord,
    expected: Option<EventForecast>,
}

impl Running {
    fn of(event: EventRecord, open: &Open) -> Self {
        let expected = open.forecast.event(event.id);
        Self { event, expected }
    }
}

/// Something that needs a person.
struct Alarm {
    class: &'static str,
    text: String,
    advice: &'static str,
    /// Where to act: the path from the root, and what is there.
    path: String,
    place: String,
}

impl Alarm {
    fn new(class: &'static str, text: String, advice: &'static str, path: impl Into<String>, place: &str) -> Self {
        Self { class, text, advice, path: path.into(), place: place.to_owned() }
    }

    fn of_stuck(stuck: &Stuck) -> Option<Self> {
        let Stuck { what, cause, advice, .. } = stuck;
        match what {
            StuckSubject::Build { build: BuildId(id), .. } => {
                let text = format!("Build {id} does not move: {}", cause.text);
                Some(Self::new("ask", text, advice, format!("builds/{id}"), &format!("build {id}")))
            }
            StuckSubject::Bus { bus, .. } => {
                let text = format!("Bus {bus} takes no notifications: {}", cause.text);
                Some(Self::new("fail", text, advice, "health", "health"))
            }
            StuckSubject::Message(key) => {
                let text = format!("Message {} of {} is not handled: {}", key.message_id, key.source, cause.text);
                Some(Self::new("ask", text, advice, "health", "health"))
            }
            // Dead letters are counted.
            _ => None,
        }
    }

    fn of_pause(pause: &Pause) -> Self {
        let text = format!("{} is paused by {}: {}", pause.system, pause.by, pause.reason);
        Self::new("stop", text, "Resume it when it is well again.", "queue", "queue")
    }
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let web = &visit.web;
    let client = web.client();
    let after = visit.position().await?;
    let overview = web.ask(client.overview()).await?;
    let mut open = open_counts(web).await?;
    let bar = bar(&open.iter().map(|row| (Mark::from(row.state), row.count)));
    open.sort_by_key(|row| std::cmp::Reverse(row.count));
    let running = EventFilter { states: vec![EventState::Initialized, EventState::Building], ..EventFilter::default() };
    let events = web.ask(client.events(running, Paging::first(EVENTS_MAX))).await?.items;
    let now = web.open().await?;
    let events = events.into_iter().map(|event| Running::of(event, &now)).collect();
    let states = vec![EventState::Complete, EventState::Failed, EventState::Skipped, EventState::Canceled];
    let ended = EventFilter { states, ..EventFilter::default() };
    let mut ended = web.ask(client.events(ended, Paging::first(EVENTS_MAX))).await?.items;
    ended.sort_by_key(|event| std::cmp::Reverse(event.done_at));
    let alarms = alarms(&visit, &overview).await?;
    let page = OverviewPage {
        frame: visit.frame(Place::Overview, "Overview").json("api/3/overview").live(after),
        alarms,
        overview,
        bar,
        open,
        events,
        no_times: now.why_no_times(),
        done: done(&now),
        confirmed: confirmed(&visit, &ended).await?,
        ended,
    };
    answer(&visit, &page)
}

/// When the last open build is expected to end, if that is known of each of them.
fn done(open: &Open) -> Option<Timestamp> {
    let ends: Option<Vec<_>> = open.forecast.systems().values().copied().collect();
    ends?.into_iter().max()
}

/// What is wrong, worst first.
async fn alarms(visit: &Visit, overview: &Overview) -> Result<Vec<Alarm>, Problem> {
    let web = &visit.web;
    let client = web.client();
    let mut alarms = Vec::new();
    let (since, lately) = (earlier(web.now(), NEWS), &web.pages().alarms);
    let failures = lately.failures.get(web, FAILURES_KEPT, web.ask(client.failures(Some(since)))).await?;
    for group in failures.iter().take(ALARMS_MAX) {
        let newest = group.newest.as_ref();
        let (artifact, why) =
            newest.map_or(("", ""), |build| (build.key.artifact.as_str(), build.reason.text.as_str()));
        let others = match group.count {
            0 | 1 => String::new(),
            count => format!(" and {}", text::count(&(count - 1), "other artifact")),
        };
        let text = format!("{}{others} failed in {}: {why}", text::plain(artifact), group.system);
        alarms.push(Alarm::new("fail", text, "Mend the cause, then retry.", "failures", "failures"));
    }
    for event in failed_events(visit, Some(since), ALARMS_MAX).await? {
        let text = format!("Event {} failed: {}", event.id, event.reason.text);
        let (path, place) = (format!("events/{}", event.id), format!("event {}", event.id));
        alarms.push(Alarm::new("fail", text, "Mend the cause, then retry it.", path, &place));
    }
    if overview.messages_dead > 0 {
        let text = format!("{} could not be handled", text::count(&overview.messages_dead, "message"));
        let advice = "See why: a handler can be mended, a wrong message can only be sent anew.";
        alarms.push(Alarm::new("fail", text, advice, "dead-letters", "dead letters"));
    }
    for event in asking(visit).await? {
        let text = format!("Event {} asks first: {}", event.id, event.reason.text);
        let path = format!("events/{}", event.id);
        alarms.push(Alarm::new(
            "ask",
            text,
            "Look at its plan, then confirm it.",
            path,
            &format!("event {}", event.id),
        ));
    }
    alarms.extend(web.ask(client.pauses()).await?.iter().take(ALARMS_MAX).map(Alarm::of_pause));
    let stuck = lately.stuck.get(web, STUCK_KEPT, web.ask(client.stuck(STUCK))).await?;
    alarms.extend(stuck.iter().filter_map(Alarm::of_stuck).take(ALARMS_MAX));
    Ok(alarms)
}

/// Events whose plans are not confirmed yet.
async fn asking(visit: &Visit) -> Result<Vec<EventRecord>, Problem> {
    let web = &visit.web;
    let filter = EventFilter {
        states: vec![EventState::Skipped],
        reason_codes: vec![states::ASKS.to_owned()],
        created_from: Some(earlier(web.now(), NEWS)),
        ..EventFilter::default()
    };
    let mut asking = web.ask(web.client().events(filter, Paging::first(ALARMS_MAX as u32))).await?.items;
    for place in (0..asking.len()).rev() {
        // The message with which it was confirmed.
        if web.is_sent(&Client::confirmation(asking[place].id)).await? {
            asking.remove(place);
        }
    }
    Ok(asking)
}
