//! Requests for rebuilds: what is refused at once, and how a request becomes a message.

use super::Api;
use super::address::Place;
use super::answer::{Answer, Failure, told};
use super::events::{self, ShownEvent};
use super::fields::{Fields, or_nothing};
use super::filters::kinds_of;
use super::load::Shown;
use crate::messages::request::{AsyncBuild, ManualRebuild};
use freshmaker::Client;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::event::Event;
use freshmaker::rebuild::{EventId, EventRecord, EventState};
use freshmaker_web::axum::extract::State;
use freshmaker_web::axum::http::{HeaderMap, StatusCode, header};
use freshmaker_web::axum::response::{IntoResponse, Response};
use freshmaker_web::{Caller, ProblemCode, Web, WholeBody};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Schema, Type};

/// The numbers of the kinds of events that are about an advisory.
const ABOUT_ADVISORIES: [i64; 7] = [8, 10, 13, 15, 16, 17, 18];

/// The number of async builds.
const ASYNC: i64 = 14;

/// A message names no more images.
const IMAGES_MAX: usize = 1000;

/// What both sorts of requests have.
struct Common {
    event: Option<EventRecord>,
    images: Vec<String>,
    dry_run: bool,
    metadata: Option<Value>,
}

/// Reads what both sorts of requests have, in the order of the service.
async fn common(api: &Api, fields: &Fields) -> Result<Common, Failure> {
    fields.number("errata_id")?;
    let event = match fields.number("freshmaker_event_id")? {
        Some(id) => Some(named_event(api, EventId(id)).await?),
        None => None,
    };
    for key in ["dist_git_branch", "brew_target"] {
        fields.text(key)?;
    }
    let images = fields.texts("container_images")?;
    if images.len() > IMAGES_MAX {
        return Err(Failure::bad(format!("\"container_images\" has more than {IMAGES_MAX} images.")));
    }
    let dry_run = fields.flag("dry_run")?;
    fields.flag("force")?;
    let metadata = fields.object("metadata")?;
    Ok(Common { event, images, dry_run, metadata })
}

async fn named_event(api: &Api, id: EventId) -> Result<EventRecord, Failure> {
    let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
    let mut found = api.web.ask(api.web.client().events(filter, Paging::first(1))).await?.items;
    found.pop().ok_or_else(|| Failure::bad("The provided \"freshmaker_event_id\" is invalid."))
}

fn is_async(event: &EventRecord) -> bool {
    kinds_of(ASYNC).contains(&event.envelope.kind)
}

/// Overrides for operator bundles.
fn overrides(fields: &Fields, images: &[String]) -> Result<Option<serde_json::Map<String, Value>>, Failure> {
    const KEY: &str = "bundle_related_image_overrides";
    match fields.given(KEY) {
        None => Ok(None),
        Some(_) if images.is_empty() => {
            let text = "Manual image overriding allowed only when \"container_images\" is set explicitly";
            Err(Failure::bad(text))
        }
        Some(Value::Object(overrides)) => Ok(Some(overrides.clone())),
        Some(_) => Err(Failure::bad(format!("\"{KEY}\" must be a dictionary"))),
    }
}

/// A request for the rebuild of the images of an advisory. `errata_id` or `freshmaker_event_id`
/// must be there.
#[derive(Debug, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(dead_code, reason = "only its description is used")]
struct NewRebuild {
    #[schema(schema_with = advisory_or_nothing)]
    errata_id: Option<Value>,
    #[schema(schema_with = event_or_nothing)]
    freshmaker_event_id: Option<Value>,
    /// Only these images, as `name-version-release`.
    #[schema(max_items = 1000)]
    container_images: Vec<String>,
    /// Whether nothing is really built.
    dry_run: bool,
    /// Whether to rebuild although another event of the advisory is in progress.
    force: bool,
    /// Any data to be stored with the event.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[schema(schema_with = overrides_or_nothing)]
    bundle_related_image_overrides: Option<Value>,
    #[schema(schema_with = unused)]
    dist_git_branch: Option<Value>,
    #[schema(schema_with = unused)]
    brew_target: Option<Value>,
}

/// Keys of async builds alone.
const OF_NAMED: [&str; 2] = ["dist_git_branch", "brew_target"];

fn unused() -> Schema {
    or_nothing(None, "A key of the other sort of requests, which has no value here.")
}

fn advisory_or_nothing() -> Schema {
    or_nothing(Some(&Type::Integer), "The advisory.")
}

fn event_or_nothing() -> Schema {
    let text = "An earlier event whose rebuilds the request builds on. Its advisory is used if the request names none.";
    or_nothing(Some(&Type::Integer), text)
}

fn overrides_or_nothing() -> Schema {
    let text = "For bundles: images to be used instead of others; with `container_images` alone.";
    or_nothing(Some(&Type::Object), text)
}

/// Asks for the rebuild of the images of an advisory.
#[utoipa::path(
    post,
    path = "/builds/",
    tag = "builds",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters: requests with the same key are one")),
    request_body = NewRebuild,
    responses(
        (status = 200, description = "The event of the request", body = ShownEvent),
        (status = 202, description = "The request is stored, and has no event yet", body = Waiting)
    )
)]
pub(super) async fn manual(
    State(api): State<Api>,
    caller: Caller,
    place: Place,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Answer {
    let fields = Fields::read(&headers, &body)?;
    let Common { event, images, dry_run, metadata } = common(&api, &fields).await?;
    let overrides = overrides(&fields, &images)?;
    fields.only::<NewRebuild>(&OF_NAMED)?;
    if let Some(wrong) = images.iter().find(|image| image.parse::<Nvr>().is_err()) {
        return Err(Failure::bad(format!("\"container_images\": {wrong:?} is no name-version-release.")));
    }
    let advisory = advisory(&fields, event.as_ref())?;
    let force = fields.flag("force")?;
    let (msg_id, is_sent) = message_id(&api, "manual_rebuild", &caller, &headers).await?;
    if !force && !is_sent {
        must_not_run(&api, advisory).await?;
    }
    let request = ManualRebuild {
        errata_id: Some(advisory),
        freshmaker_event_id: event.map(|event| event.id.0),
        container_images: images,
        dry_run,
        force,
        metadata,
        bundle_related_image_overrides: overrides,
        msg_id: Some(msg_id.clone()),
        requester: Some(caller.name().to_owned()),
    };
    let on = format!("advisory {advisory}, message {msg_id}");
    let sent = Sent { what: "manual rebuild", on, id: msg_id, is_known: is_sent };
    sent.answer(&api, &caller, &place, &request).await
}

/// The advisory of a request: that which it names, or that of the earlier event.
fn advisory(fields: &Fields, event: Option<&EventRecord>) -> Result<i64, Failure> {
    let named = fields.number("errata_id")?;
    if named.is_some_and(|advisory| advisory < 0) {
        return Err(Failure::bad("\"errata_id\" must be a positive integer."));
    }
    let Some(event) = event else {
        let text = "You must at least provide \"errata_id\" or \"freshmaker_event_id\" in the request.";
        return named.ok_or_else(|| Failure::bad(text));
    };
    let id = event.id;
    if is_async(event) {
        let text = format!("The event (id={id}) is an async build event, can not be used for this build.");
        return Err(Failure::bad(text));
    }
    let theirs = event.envelope.search_key.parse::<i64>();
    let theirs = theirs.map_err(|_| Failure::bad(format!("The event (id={id}) is not about an advisory.")))?;
    if named.is_some_and(|named| named != theirs) {
        let text = "The provided \"errata_id\" doesn't match the Advisory ID associated with the input";
        return Err(Failure::bad(format!("{text} \"freshmaker_event_id\".")));
    }
    Ok(theirs)
}

/// Refuses an advisory whose events are in progress.
async fn must_not_run(api: &Api, advisory: i64) -> Result<(), Failure> {
    let filter = EventFilter {
        states: vec![EventState::Initialized, EventState::Building],
        kinds: ABOUT_ADVISORIES.into_iter().flat_map(kinds_of).collect(),
        search_keys: vec![advisory.to_string()],
        ..EventFilter::default()
    };
    let running = api.web.ask(api.web.client().events(filter, Paging::first(100).oldest_first())).await?.items;
    if running.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = running.iter().map(|event| event.id.to_string()).collect();
    let text = format!("Events triggered by advisory {advisory} are running: [{}].", ids.join(", "));
    Err(Failure::bad(format!("{text} If you want to rebuild it anyway, use \"force\": true option.")))
}

/// A request for the rebuild of named images from a branch.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its description is used")]
struct NewBuilds {
    /// The branch in dist-git.
    dist_git_branch: String,
    /// The images, with or without `-container`.
    #[schema(min_items = 1, max_items = 1000)]
    container_images: Vec<String>,
    #[schema(schema_with = target_or_nothing)]
    brew_target: Option<Value>,
    #[schema(schema_with = async_build_or_nothing)]
    freshmaker_event_id: Option<Value>,
    #[schema(schema_with = unused)]
    errata_id: Option<Value>,
    #[schema(schema_with = unused)]
    force: Option<Value>,
    #[schema(schema_with = unused)]
    bundle_related_image_overrides: Option<Value>,
    /// Whether nothing is really built.
    #[serde(default)]
    dry_run: bool,
    /// Any data to be stored with the event.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// Keys of requests about an advisory alone.
const OF_ADVISORIES: [&str; 3] = ["errata_id", "force", "bundle_related_image_overrides"];

fn target_or_nothing() -> Schema {
    or_nothing(Some(&Type::String), "The build target; that of the branch if it is missing.")
}

fn async_build_or_nothing() -> Schema {
    let text = "An earlier async build that the request goes on with. All named images are built.";
    or_nothing(Some(&Type::Integer), text)
}

/// Asks for the rebuild of named images from a branch.
#[utoipa::path(
    post,
    path = "/async-builds/",
    tag = "builds",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters: requests with the same key are one")),
    request_body = NewBuilds,
    responses(
        (status = 200, description = "The event of the request", body = ShownEvent),
        (status = 202, description = "The request is stored, and has no event yet", body = Waiting)
    )
)]
pub(super) async fn named(
    State(api): State<Api>,
    caller: Caller,
    place: Place,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Answer {
    let fields = Fields::read(&headers, &body)?;
    let Common { event, images, dry_run, metadata } = common(&api, &fields).await?;
    let branch = fields.text("dist_git_branch")?.filter(|_| !images.is_empty());
    let Some(dist_git_branch) = branch else {
        let text = "\"dist_git_branch\" and \"container_images\" are required in the request for async builds";
        return Err(Failure::bad(text));
    };
    fields.only::<NewBuilds>(&OF_ADVISORIES)?;
    if images.iter().any(String::is_empty) {
        return Err(Failure::bad("\"container_images\": an empty name is none."));
    }
    if let Some(event) = event.as_ref().filter(|event| !is_async(event)) {
        return Err(Failure::bad(format!("The event (id={}) is not an async build event.", event.id)));
    }
    let (msg_id, is_sent) = message_id(&api, "async_build", &caller, &headers).await?;
    let mut request = AsyncBuild {
        dist_git_branch,
        container_images: images,
        brew_target: fields.text("brew_target")?,
        freshmaker_event_id: event.map(|event| event.id.0),
        dry_run,
        metadata,
        msg_id: Some(msg_id.clone()),
        requester: Some(caller.name().to_owned()),
    };
    request.container_images = request.names();
    let images = request.container_images.join(" ");
    let on = format!("message {msg_id}, {images}");
    let sent = Sent { what: "async build", on, id: msg_id, is_known: is_sent };
    sent.answer(&api, &caller, &place, &request).await
}

/// The identity of the message of a request, and whether it was sent before: only one with an
/// `Idempotency-Key` can be.
async fn message_id(api: &Api, sort: &str, caller: &Caller, headers: &HeaderMap) -> Result<(String, bool), Failure> {
    match caller.keyed_message(headers)? {
        Some(id) => {
            let is_sent = api.web.is_sent(&id).await?;
            Ok((id, is_sent))
        }
        None => Ok((api.fresh_message_id(sort), false)),
    }
}

/// A request that is sent: its name and subject for the audit log, and its message.
struct Sent {
    what: &'static str,
    on: String,
    id: String,
    /// Whether a message with this identity was there before.
    is_known: bool,
}

const KEY_REUSED: &str = "The \"Idempotency-Key\" was used for a request with other content.";

impl Sent {
    /// Sends the request, and answers with its event if there soon is one.
    async fn answer<E: Event>(self, api: &Api, caller: &Caller, place: &Place, request: &E) -> Answer {
        let (web, client, id, is_known) = (&api.web, api.web.client(), self.id, self.is_known);
        let sent = web.audited(caller, self.what, &self.on, web.change(client.send_as(id.as_str(), request))).await;
        match sent {
            Err(problem) if is_known && problem.code == ProblemCode::Rejected => {
                return Err(Failure::Refused(StatusCode::UNPROCESSABLE_ENTITY, KEY_REUSED.to_owned()));
            }
            sent => drop(sent?),
        }
        let handled = tokio::time::timeout(api.wait, client.wait_until_handled(&id)).await;
        let Ok(Ok(message)) = handled else { return Ok(waiting(place, &id)) };
        let filter = EventFilter { message_ids: vec![id.clone()], ..EventFilter::default() };
        let events = web.ask(client.events(filter, Paging::first(100).oldest_first())).await?.items;
        let event = events.iter().find(|event| event.source == Client::LOCAL);
        match (event, message.reason) {
            (Some(event), _) => events::shown(web, event.id, &place.prefix, Shown::Builds).await,
            (None, Some(reason)) => Err(without_event(&reason.to_string())),
            (None, None) => Err(without_event("no handler wants it")),
        }
    }
}

fn without_event(why: &str) -> Failure {
    Failure::Refused(StatusCode::UNPROCESSABLE_ENTITY, format!("The request has led to no event: {why}"))
}

/// The answer for a message that is not handled yet.
#[derive(Debug, Serialize, ToSchema)]
struct Waiting {
    /// What has become of the request so far.
    message: &'static str,
    /// The identity of its message.
    message_id: String,
    /// The status.
    status: u16,
    /// Where to see what becomes of it.
    url: String,
}

fn waiting(place: &Place, id: &str) -> Response {
    let url = format!("{}{}", place.prefix, Web::message_path(id));
    let message = "The request is stored, and no handler has made an event of it yet. See \"url\".";
    let form = Waiting { message, message_id: id.to_owned(), status: StatusCode::ACCEPTED.as_u16(), url };
    ([(header::LOCATION, form.url.clone())], told(StatusCode::ACCEPTED, &form)).into_response()
}
