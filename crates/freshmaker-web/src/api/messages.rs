//! Messages in, each stored once: as they are, under their `Idempotency-Key`, or as CloudEvents,
//! under their source and id.

use super::cloudevents;
use super::views::MessageView;
use crate::auth::Caller;
use crate::extract::{Name, Source, header, media_type, read_body, read_json};
use crate::problem::{self, Problem, ProblemCode};
use crate::web::Web;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header as names};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use freshmaker::backend::{self, Remedy};
use freshmaker::client::{Client, Sent};
use freshmaker::event::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use utoipa::ToSchema;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A batch has no more messages.
const BATCH_MAX: usize = 100;

/// Topics and headers are no longer, in bytes.
const TEXT_MAX: usize = 1024;

/// A message has no more headers.
const HEADERS_MAX: usize = 64;

/// A message to be handled, in the form that its parser expects.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// The dotted address of the message.
    #[schema(example = "image.pushed")]
    pub(crate) topic: String,
    /// Header fields. Those that begin with `freshmaker-` are the engine's own, and refused.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The body, if it is JSON.
    #[schema(value_type = Option<Object>)]
    pub(crate) body: Option<Value>,
    /// The body as bytes, in Base64, instead of `body`.
    pub(crate) body_base64: Option<String>,
}

/// A message that was stored, and is handled once an engine runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Its identity, among the messages of the source `local`.
    pub(crate) message_id: String,
    /// `false` if the same message was stored before.
    pub(crate) new: bool,
}

/// What became of the messages of a batch, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AcceptedBatch {
    items: Vec<Accepted>,
}

/// The answer with a message that was stored. `root` is the way from the request to `/api/3/`, so
/// that the location is right wherever the router is nested.
pub(crate) fn accepted(root: &str, sent: &Sent) -> Response {
    let location = (names::LOCATION, format!("{root}messages/{}/{}", Client::LOCAL, encoded(sent.id())));
    problem::json(StatusCode::ACCEPTED, &[location], Accepted::from(sent))
}

impl From<&Sent> for Accepted {
    fn from(sent: &Sent) -> Self {
        Self { message_id: sent.id().to_owned(), new: matches!(sent, Sent::New(_)) }
    }
}

impl Web {
    /// Returns the path of a message that was sent through a client, below the router.
    #[must_use]
    pub fn message_path(id: &str) -> String {
        format!("/api/3/messages/{}/{}", Client::LOCAL, encoded(id))
    }

    /// Whether a message with this identity was sent through a client.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn is_sent(&self, message_id: &str) -> Result<bool, Problem> {
        let found = async {
            match self.client().message(Client::LOCAL, message_id).await {
                Err(error) if error.remedy == Remedy::NotFound => Ok(false),
                found => found.map(|_| true),
            }
        };
        self.ask(found).await
    }

    /// Makes a decision whose message has this identity. Of one that was made before, the message
    /// is known.
    pub(crate) async fn decided(
        &self,
        message_id: &str,
        decision: impl Future<Output = backend::Result<String>>,
    ) -> Result<Sent, Problem> {
        let known = self.is_sent(message_id).await?;
        let message = self.change(decision).await?;
        Ok(if known { Sent::Known(message) } else { Sent::New(message) })
    }
}

impl Caller {
    /// Returns the identity of the message that a request with an `Idempotency-Key` sends; `None`
    /// without that header. Keys of different callers are different.
    ///
    /// # Errors
    /// 400 if the header has not 1 to 255 printable characters, or is there twice.
    pub fn keyed_message(&self, headers: &HeaderMap) -> Result<Option<String>, Problem> {
        let Some(key) = header(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
        if !(1..=255).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = Problem::new(ProblemCode::BadRequest, "a header cannot be read");
            return Err(problem.parameter(IDEMPOTENCY_KEY.as_str(), "it must have 1 to 255 printable characters"));
        }
        Ok(Some(self.message_id(key)))
    }

    fn message_id(&self, key: &str) -> String {
        // Names of principals may have slashes, which must not make two callers one.
        format!("api/{}/{key}", encoded(self.name()))
    }
}

/// A text as one segment of a path, or as a value in a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing into a text cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

/// Hands in a message: as JSON with topic, headers and body, or as a CloudEvent 1.0 (binary,
/// structured, or a batch of at most 100).
///
/// A message under an `Idempotency-Key` is stored once, however often it is sent; with other
/// content under the same key it is refused. Keys of different callers are different. A CloudEvent
/// has its `source` and `id` for that. The identity is known for as long as the message is kept.
///
/// Requests of people are for those who may make them by their own routes, and are made by the
/// caller, whatever the body says. One that cannot be read is refused; other messages are kept as
/// dead letters then.
#[utoipa::path(
    post,
    path = "/api/3/messages",
    tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters; not with CloudEvents")),
    request_body(content(
        (NewMessage = "application/json"),
        (cloudevents::CloudEvent = "application/cloudevents+json"),
        (Vec<cloudevents::CloudEvent> = "application/cloudevents-batch+json"),
    )),
    responses(
        (status = 202, description = "It is stored; `Location` is where to see what becomes of it", body = Accepted)
    )
)]
pub(crate) async fn send(State(web): State<Web>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let kind = media_type(&headers);
    let (is_batch, is_structured) = match kind.as_deref() {
        Some("application/cloudevents-batch+json") => (true, true),
        Some("application/cloudevents+json") => (false, true),
        _ => (false, false),
    };
    let is_binary = headers.contains_key(cloudevents::SPECVERSION);
    if (is_structured || is_binary) && headers.contains_key(IDEMPOTENCY_KEY) {
        let problem = Problem::new(ProblemCode::BadRequest, "a CloudEvent has its source and id");
        return Err(problem.parameter(IDEMPOTENCY_KEY.as_str(), "is not for CloudEvents"));
    }
    if !is_structured && !is_binary && kind.as_deref() != Some("application/json") {
        let types = "application/json, application/cloudevents+json, application/cloudevents-batch+json, \
                     or any type with the headers of a CloudEvent";
        return Err(Problem::new(ProblemCode::MediaType, types));
    }
    let body = read_body(request).await?;
    if is_batch {
        return batch(&web, &caller, cloudevents::batch(&body, BATCH_MAX)?).await;
    }
    let message = if is_structured {
        cloudevents::structured(&body)?
    } else if is_binary {
        cloudevents::binary(&headers, &body)?
    } else {
        plain(&caller, &headers, read_json(&body)?)?
    };
    let message = web.permitted(&caller, "send", checked(message, "", &caller)?, "").await?;
    let sent = store(&web, &caller, message).await?;
    Ok(accepted("", &sent))
}

/// A message as it was described in JSON.
fn plain(caller: &Caller, headers: &HeaderMap, new: NewMessage) -> Result<Message, Problem> {
    let NewMessage { topic, headers: fields, body, body_base64 } = new;
    let invalid = || Problem::new(ProblemCode::Invalid, "the body is not what is expected");
    let body = match (body, body_base64) {
        (Some(body), None) => body.to_string().into_bytes(),
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| invalid().at("/body_base64", error.to_string()))?,
        _ => return Err(invalid().at("", "it must have one of `body` and `body_base64`")),
    };
    let random = || caller.message_id(&format!("{:032x}", fastrand::u128(..)));
    let id = caller.keyed_message(headers)?.unwrap_or_else(random);
    Ok(Message { id, topic, headers: fields, body })
}

/// A message as it was described in JSON, within its bounds, from this caller.
pub(super) fn described(caller: &Caller, headers: &HeaderMap, new: NewMessage) -> Result<Message, Problem> {
    checked(plain(caller, headers, new)?, "", caller)
}

/// Refuses what is out of bounds, or only the engine may say; adds who sends it. `at` is where the
/// message is in the body.
fn checked(mut message: Message, at: &str, caller: &Caller) -> Result<Message, Problem> {
    let invalid = |place: &str, text: String| {
        Err(Problem::new(ProblemCode::Invalid, "the message cannot be taken").at(format!("{at}{place}"), text))
    };
    if message.topic.is_empty() || message.topic.len() > TEXT_MAX {
        return invalid("/topic", format!("it must have 1 to {TEXT_MAX} bytes"));
    }
    if message.headers.len() > HEADERS_MAX {
        return invalid("/headers", format!("there are more than {HEADERS_MAX}"));
    }
    for (name, value) in &message.headers {
        if name.to_ascii_lowercase().starts_with("freshmaker-") {
            return invalid("/headers", format!("{name:?} is for the engine alone"));
        }
        if name.is_empty() || name.len() > TEXT_MAX || value.len() > TEXT_MAX {
            return invalid("/headers", format!("a name or value has more than {TEXT_MAX} bytes, or none"));
        }
    }
    message.headers.insert(Message::REQUESTER.to_owned(), caller.name().to_owned());
    Ok(message)
}

async fn store(web: &Web, caller: &Caller, message: Message) -> Result<Sent, Problem> {
    let on = format!("message {}/{}, topic {}", Client::LOCAL, message.id, message.topic);
    web.audited(caller, "send", &on, async {
        let stored = web.change(web.client().receive(message)).await;
        stored.map_err(|problem| match problem.code {
            ProblemCode::Rejected => Problem { code: ProblemCode::IdempotencyKeyReused, ..problem },
            _ => problem,
        })
    })
    .await
}

/// Stores the messages of a batch, in their order. All are read and permitted before the first is
/// stored. If one cannot be stored, those before it are; sending the batch again is the same as
/// once.
async fn batch(web: &Web, caller: &Caller, messages: Vec<Message>) -> Result<Response, Problem> {
    let messages = (0..).zip(messages).map(|(place, message)| checked(message, &format!("/{place}"), caller));
    let messages: Vec<_> = messages.collect::<Result<_, _>>()?;
    let (mut permitted, mut items) = (Vec::new(), Vec::new());
    for (place, message) in messages.into_iter().enumerate() {
        permitted.push(web.permitted(caller, "send", message, &format!("/{place}")).await?);
    }
    for (place, message) in permitted.into_iter().enumerate() {
        let sent = store(web, caller, message).await;
        let sent =
            sent.map_err(|problem| problem.at(format!("/{place}"), "this one and those after it are not stored"))?;
        items.push(Accepted::from(&sent));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(AcceptedBatch { items })).into_response())
}

/// A message that came in: whether it was handled, ignored, or is dead, and why.
#[utoipa::path(
    get,
    path = "/api/3/messages/{source}/{id}",
    tag = "messages",
    params(
        ("source" = String, Path, description = "The name of a bus, `local`, `emitted` or `refused`"),
        ("id" = String, Path, description = "Its identity, with slashes as `%2F`")
    ),
    responses((status = 200, description = "The message", body = MessageView))
)]
pub(crate) async fn one(State(web): State<Web>, Source(source): Source, Name(id): Name) -> Result<Response, Problem> {
    let row = web.ask(web.client().message(&source, &id)).await?;
    Ok(axum::Json(MessageView::whole(row)).into_response())
}
