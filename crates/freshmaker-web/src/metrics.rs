//! `/metrics`, in the text format of Prometheus.
//!
//! Labels come from closed sets only: routes as they are registered, methods, statuses, build
//! systems, states, codes of reasons. `observability/` of the crate has a dashboard and alerts.
//!
//! A new gauge of stored rows goes to `write_overview` or `write_open`; times of events that have
//! ended are in `stages`.

use crate::problem::Problem;
use crate::web::Web;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use freshmaker::backend::{BuildCount, BuildFilter, Overview, Paging};
use freshmaker::rebuild::{BuildState, InboxState};
use freshmaker::time::since;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of request times, in seconds.
const BUCKETS: [f64; 7] = [0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0];

const HOUR: Duration = Duration::from_secs(3600);

/// Requests since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_route: Mutex<BTreeMap<Labels, Histogram<{ BUCKETS.len() }>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    route: String,
    method: &'static str,
    status: u16,
}

/// Times, counted by how long they were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Histogram<const N: usize> {
    /// Upper bounds, in seconds, lowest first.
    bounds: &'static [f64; N],
    count: u64,
    seconds: f64,
    /// How many were at most as long as each bound.
    buckets: [u64; N],
}

impl<const N: usize> Histogram<N> {
    pub(crate) fn new(bounds: &'static [f64; N]) -> Self {
        Self { bounds, count: 0, seconds: 0.0, buckets: [0; N] }
    }

    pub(crate) fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.count += 1;
        self.seconds += seconds;
        for (bucket, bound) in self.buckets.iter_mut().zip(self.bounds) {
            *bucket += u64::from(seconds <= *bound);
        }
    }

    /// Writes the lines of these labels, of which there is at least one.
    pub(crate) fn write(&self, text: &mut String, name: &str, labels: &str) {
        for (count, bound) in self.buckets.iter().zip(self.bounds) {
            line(text, &format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), count);
        }
        line(text, &format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), self.count);
        line(text, &format!("{name}_sum"), labels, self.seconds);
        line(text, &format!("{name}_count"), labels, self.count);
    }
}

impl Counters {
    pub(crate) fn answered(&self, route: Option<&str>, method: &Method, status: StatusCode, elapsed: Duration) {
        let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let method = known.iter().position(|known| known == method).map_or("other", |place| names[place]);
        let labels = Labels { route: route.unwrap_or("none").to_owned(), method, status: status.as_u16() };
        let mut by_route = self.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        by_route.entry(labels).or_insert_with(|| Histogram::new(&BUCKETS)).add(elapsed);
    }

    fn write(&self, text: &mut String) {
        let name = "freshmaker_http_request_seconds";
        head(text, name, "histogram", "Time from a request to the beginning of its answer.");
        let by_route = self.by_route.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (Labels { route, method, status }, times) in by_route {
            let labels = labels(&[("route", &route), ("method", method), ("status", &status.to_string())]);
            times.write(text, name, &labels);
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Labels with their values, as they are between braces.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    pairs.join(",")
}

pub(crate) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing into a text cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

pub(crate) fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "{name}{labels} {value}");
}

fn write_overview(text: &mut String, overview: &Overview) {
    let gauges = [
        ("freshmaker_inbox_depth", "Messages that are stored and not handled yet.", overview.messages_waiting),
        ("freshmaker_dead_letters", "Messages that could not be handled.", overview.messages_dead),
        ("freshmaker_events_open", "Events that have not ended.", overview.events_open),
        ("freshmaker_outbox_depth", "Notifications that a bus has not got yet.", overview.notifications_waiting),
    ];
    for (name, help, value) in gauges {
        head(text, name, "gauge", help);
        line(text, name, "", value);
    }
    let name = "freshmaker_builds";
    head(text, name, "gauge", "Builds that are stored, by state.");
    let states = [
        ("waiting", overview.builds_waiting),
        ("running", overview.builds_running),
        ("done", overview.builds_done),
        ("reused", overview.builds_reused),
        ("failed", overview.builds_failed),
        ("canceled", overview.builds_canceled),
    ];
    for (state, value) in states {
        line(text, name, &format!("state=\"{state}\""), value);
    }
}

/// What is open and why, what does not move, and which build systems are paused: each is as many
/// lines as there are build systems and codes of reasons.
async fn write_open(text: &mut String, web: &Web) -> Result<(), Problem> {
    let client = web.client();
    let states = BuildState::ALL.iter().copied().filter(|state| !state.is_terminal()).collect();
    let open = web.ask(client.count_builds(BuildFilter { states, ..BuildFilter::default() })).await?;
    let name = "freshmaker_builds_open";
    head(text, name, "gauge", "Builds that have not ended, by the reason of their state.");
    for BuildCount { system, state, reason_code, count } in open {
        let (system, reason) = (escaped(&system), escaped(&reason_code));
        line(text, name, &format!("system=\"{system}\",state=\"{state}\",reason=\"{reason}\""), count);
    }
    let name = "freshmaker_stuck";
    head(text, name, "gauge", "What has not moved for an hour, by its cause.");
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    for stuck in web.ask(client.stuck(HOUR)).await? {
        *causes.entry(stuck.cause.code).or_default() += 1;
    }
    for (cause, count) in causes {
        line(text, name, &format!("cause=\"{}\"", escaped(&cause)), count);
    }
    let name = "freshmaker_system_paused_seconds";
    head(text, name, "gauge", "How long a build system has been paused.");
    for pause in web.ask(client.pauses()).await? {
        let seconds = since(web.now(), pause.since).as_secs();
        line(text, name, &format!("system=\"{}\"", escaped(&pause.system)), seconds);
    }
    let name = "freshmaker_inbox_oldest_seconds";
    head(text, name, "gauge", "Age of the oldest message that is not handled yet.");
    let oldest = Paging::first(1).oldest_first();
    let waiting = web.ask(client.messages(vec![InboxState::New, InboxState::Claimed], oldest)).await?;
    let oldest = waiting.items.first().map_or(0, |message| since(web.now(), message.received_at).as_secs());
    line(text, name, "", oldest);
    Ok(())
}

/// How much there is of everything, and how requests were answered.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "Metrics in the text format of Prometheus", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(web): State<Web>) -> Result<Response, Problem> {
    let overview = web.ask(web.client().overview()).await?;
    let mut text = String::new();
    head(&mut text, "freshmaker_build_info", "gauge", "Version of freshmaker-web.");
    line(&mut text, "freshmaker_build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    write_overview(&mut text, &overview);
    write_open(&mut text, &web).await?;
    web.stages().write(&mut text, &web).await?;
    let (streams, resets) = web.hub().counts();
    head(&mut text, "freshmaker_sse_subscribers", "gauge", "Streams of changes that are open.");
    line(&mut text, "freshmaker_sse_subscribers", "", streams);
    head(&mut text, "freshmaker_sse_resets_total", "counter", "Streams that were told that changes are missing.");
    line(&mut text, "freshmaker_sse_resets_total", "", resets);
    web.counters().write(&mut text);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
