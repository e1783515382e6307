//! Metrics under the names of the service.
//!
//! They are counts of stored rows, which retention makes smaller: gauges, although their names are
//! those of counters.

use super::Api;
use super::answer::Answer;
use super::filters::KINDS;
use freshmaker::Client;
use freshmaker::backend::{BuildFilter, EventFilter, Paging};
use freshmaker::rebuild::{EventState, InboxState, PublicBuildState};
use freshmaker_web::axum::extract::{Request, State};
use freshmaker_web::axum::http::header;
use freshmaker_web::axum::middleware::Next;
use freshmaker_web::axum::response::{IntoResponse, Response};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of request times, in seconds: those of the service.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The states of messages.
const ALL: [InboxState; 5] =
    [InboxState::New, InboxState::Claimed, InboxState::Done, InboxState::Ignored, InboxState::Dead];

/// How long requests about builds and events took.
#[derive(Debug, Default)]
pub(super) struct Times {
    builds: Mutex<Histogram>,
    events: Mutex<Histogram>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

impl Histogram {
    fn add(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        self.count += 1;
        self.seconds += seconds;
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        head(text, name, "histogram", help);
        // Writing into a text cannot fail.
        for (count, bound) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound:?}\"}} {count}");
        }
        let Self { count, seconds, .. } = self;
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_count {count}\n{name}_sum {seconds}");
    }
}

/// Which requests are timed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timed {
    Builds,
    Events,
}

/// Times what the service times: the requests about builds or events.
pub(super) async fn timed(State((api, what)): State<(Api, Timed)>, request: Request, next: Next) -> Response {
    let clock = &api.web.config().clock;
    let began = clock.elapsed();
    let response = next.run(request).await;
    let elapsed = clock.elapsed().saturating_sub(began);
    let times = match what {
        Timed::Builds => &api.times.builds,
        Timed::Events => &api.times.events,
    };
    times.lock().unwrap_or_else(PoisonError::into_inner).add(elapsed);
    response
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    let name = format!("{name}_total");
    head(text, &name, "gauge", help);
    let _ = writeln!(text, "{name} {value}");
}

/// Metrics in the form of Prometheus, under the names of Freshmaker.
#[utoipa::path(
    get,
    path = "/monitor/metrics",
    tag = "service",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(api): State<Api>) -> Answer {
    let (web, client) = (&api.web, api.web.client());
    let overview = web.ask(client.overview()).await?;
    let mut text = String::new();
    for (name, help, states) in [
        ("messaging_rx", "Messages received and still stored", ALL.to_vec()),
        ("messaging_rx_ignored", "Of these, messages that were ignored", vec![InboxState::Ignored]),
        ("messaging_rx_processed_ok", "Of these, messages that were processed successfully", vec![InboxState::Done]),
        ("messaging_rx_failed", "Of these, messages whose processing failed", vec![InboxState::Dead]),
    ] {
        let page = web.ask(client.messages(states, Paging::first(1).counted())).await?;
        gauge(&mut text, name, help, page.total.unwrap_or_default());
    }
    let (waiting, stored) = (overview.notifications_waiting, web.ask(client.subscribe()).await?.position());
    let sent = u64::try_from(stored).unwrap_or_default().saturating_sub(waiting);
    let dead = web.ask(client.dead_letters(Paging::first(Paging::LIMIT_MAX))).await?.items;
    let refused = dead.iter().filter(|message| message.source == Client::REFUSED).count();
    gauge(&mut text, "messaging_tx_to_send", "Messages to send", waiting);
    gauge(&mut text, "messaging_tx_sent_ok", "Messages that were sent successfully", sent);
    gauge(&mut text, "messaging_tx_failed", "Messages that a bus has refused", refused as u64);
    let filter = BuildFilter { kinds: KINDS.to_vec(), ..BuildFilter::default() };
    let builds = web.ask(client.count_builds(filter)).await?;
    for (name, help, state) in [
        ("freshmaker_artifact_build_done", "Builds that were successful", PublicBuildState::Done),
        ("freshmaker_artifact_build_failed", "Builds that failed", PublicBuildState::Failed),
        ("freshmaker_artifact_build_canceled", "Builds that were canceled", PublicBuildState::Canceled),
    ] {
        let count = builds.iter().filter(|count| count.state.public() == state).map(|count| count.count).sum();
        gauge(&mut text, name, help, count);
    }
    let events = web.ask(client.count_events(EventFilter::default())).await?;
    for (name, help, state) in [
        ("freshmaker_event_complete", "Events that were handled successfully", EventState::Complete),
        ("freshmaker_event_failed", "Events that failed", EventState::Failed),
        ("freshmaker_event_skipped", "Events for which nothing was rebuilt", EventState::Skipped),
        ("freshmaker_event_canceled", "Events that were canceled", EventState::Canceled),
    ] {
        let count = events.iter().filter(|count| count.state == state).map(|count| count.count).sum();
        gauge(&mut text, name, help, count);
    }
    for (times, name, help) in [
        (&api.times.builds, "build_api_latency", "Time to answer requests about builds, in seconds"),
        (&api.times.events, "event_api_latency", "Time to answer requests about events, in seconds"),
    ] {
        let times = *times.lock().unwrap_or_else(PoisonError::into_inner);
        times.write(&mut text, name, help);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
