//! `/api/3/stream`: changes as they are stored, as server-sent events.

use crate::extract::{List, Query, header};
use crate::hub::{Change, Listener};
use crate::problem::{Problem, ProblemCode};
use crate::serve::Ending;
use crate::web::Web;
use crate::wire::Endless;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header as names};
use axum::response::{IntoResponse, Response};
use freshmaker::rebuild::{BuildId, EventId, RowKey};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::IntoParams;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// After this time without a change `event: alive` is sent, with the position.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// After this time a stream ends. Its client comes back where it was, and shows who it is anew.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamQuery {
    /// Of these events, with commas between their numbers.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    event: List<i64>,
    /// Of these builds, with commas between their numbers. Without both parameters: all changes.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    build: List<i64>,
    /// Behind this position. The header `Last-Event-ID`, which browsers send when they come back,
    /// counts instead of it. Default: from now on.
    after: Option<i64>,
}

/// Changes of events and builds from now on, or behind a position, as server-sent events.
///
/// The `id` of each is its position. A client that comes back with `Last-Event-ID` misses nothing
/// and gets nothing twice. If the position is not kept any more, there is one `event: reset`: what
/// is shown has to be asked for anew. `event` is `event.changed` or `build.changed`, and `data` has
/// the fields of such a message of the engine. Without a change there is an `event: alive` every 15
/// seconds, whose `data` is empty: a client that hears nothing for longer has lost the connection.
#[utoipa::path(
    get,
    path = "/api/3/stream",
    tag = "events",
    params(StreamQuery, ("Last-Event-ID" = Option<i64>, Header, description = "The position to go on behind")),
    responses(
        (status = 200, description = "The stream; it ends after an hour", body = String, content_type = "text/event-stream")
    )
)]
pub(crate) async fn stream(
    State(web): State<Web>,
    headers: HeaderMap,
    ending: Option<Extension<Ending>>,
    Query(StreamQuery { event, build, after }): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let last = header(&headers, &LAST_EVENT_ID)?.filter(|text| !text.is_empty());
    let last = last.map(|text| {
        let bad = |error| {
            let problem = Problem::new(ProblemCode::BadRequest, "a header cannot be read");
            problem.parameter(LAST_EVENT_ID.as_str(), format!("it is not a position: {error}"))
        };
        text.parse::<i64>().map_err(bad)
    });
    let after = last.transpose()?.or(after);
    let listener = web.hub().listen(&web, after).await?;
    let wanted = Wanted {
        events: event.0.into_iter().map(EventId).collect(),
        builds: build.0.into_iter().map(BuildId).collect(),
    };
    let began = web.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let open = Open { web, listener, wanted, first: true, ends: Instant::now() + LIFETIME };
    let ending = async move {
        match ending {
            Some(Extension(ending)) => ending.begun().await,
            None => std::future::pending().await,
        }
    };
    let body = Body::from_stream(futures_util::StreamExt::take_until(sent(open), Box::pin(ending)));
    let headers = [
        (names::CONTENT_TYPE, "text/event-stream"),
        (names::CACHE_CONTROL, "no-store"),
        // nginx would hold the changes back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, [(names::DATE, began)], Extension(Endless), body).into_response())
}

#[derive(Debug)]
struct Wanted {
    events: Vec<EventId>,
    builds: Vec<BuildId>,
}

impl Wanted {
    fn has(&self, change: &Change) -> bool {
        match &change.subject {
            // That something is missing concerns everybody.
            None => true,
            Some(_) if self.events.is_empty() && self.builds.is_empty() => true,
            Some(RowKey::Event(id)) => self.events.contains(id),
            Some(RowKey::Build(id)) => self.builds.contains(id),
            Some(RowKey::Attempt(_)) => false,
        }
    }
}

struct Open {
    web: Web,
    listener: Listener,
    wanted: Wanted,
    first: bool,
    ends: Instant,
}

fn sent(open: Open) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(open, |mut open| async move {
        let bytes = open.next().await?;
        Some((Ok(bytes), open))
    })
}

impl Open {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.first) {
            return Some(format!("retry: 2000\nid: {}\n\n", self.listener.position()).into());
        }
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            let moment = heartbeat.min(self.ends);
            match tokio::time::timeout_at(moment, self.listener.next()).await {
                Ok(Some(change)) if self.wanted.has(&change) => {
                    if change.subject.is_none() {
                        self.web.hub().count_reset();
                    }
                    return Some(change.bytes.clone());
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(_) if moment == self.ends => return None,
                // It has data, so that a browser tells its page, which else could not know a silent
                // connection from one that is lost.
                Err(_) => {
                    let position = self.listener.position();
                    return Some(format!("id: {position}\nevent: alive\ndata: {{}}\n\n").into());
                }
            }
        }
    }
}
