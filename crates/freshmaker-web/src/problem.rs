//! Errors as RFC 9457 (problem details) describes them.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use freshmaker::backend::{Error, Remedy};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

macro_rules! codes {
    ($($name:ident $code:literal $status:ident $title:literal $help:literal;)*) => {
        /// What went wrong, by a stable name; each has a page at `/problems/{code}`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ProblemCode { $(#[doc = $title] $name,)* }

        impl ProblemCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// Returns the status that it is answered with.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// Returns one sentence for people.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }

            /// Returns what the caller can do.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help),* }
            }
        }
    };
}

codes! {
    BadRequest "bad_request" BAD_REQUEST "The request cannot be read." "Look at `errors`: each names the place and what is wrong there.";
    BadParameter "bad_parameter" BAD_REQUEST "A parameter of the path or the query cannot be read." "Look at `errors`: each names the parameter and what it must be.";
    Unauthenticated "unauthenticated" UNAUTHORIZED "The caller is not known." "Send a valid token as `Authorization: Bearer …`.";
    Forbidden "forbidden" FORBIDDEN "The caller may not do this." "Ask an administrator for the role that `detail` names.";
    CrossSite "cross_site" FORBIDDEN "A page of another site sent the request." "Send writes from the service's own pages, or from a program.";
    OpenToNetwork "open_to_network" FORBIDDEN "The service has no login, so it only serves this machine." "Configure a login, or connect from the machine itself under one of its own names.";
    NotFound "not_found" NOT_FOUND "There is no such thing." "Look it up in the lists; it may have been removed after its time of retention.";
    NoSuchPath "no_such_path" NOT_FOUND "There is no such path." "The paths are in `/api/3/openapi.json`.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The path does not have this method." "The header `Allow` has those that there are.";
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "The body of the request did not arrive in time." "Send it again, faster or shorter.";
    Conflict "conflict" CONFLICT "Somebody else changed the same thing at the same time." "Read it again, and decide again.";
    PlanChanged "plan_changed" CONFLICT "The plan is not the one any more that was looked at." "`detail` has the difference. Look at the new plan, and decide again.";
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED "The thing is not in the version that `If-Match` names." "Read it again, and decide again.";
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "The body of the request is too large." "Send less at once.";
    UrlTooLong "url_too_long" URI_TOO_LONG "The path and query are too long." "Ask for less at once.";
    MediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body is of a type that is not read here." "`detail` has the types that are.";
    Invalid "invalid" UNPROCESSABLE_ENTITY "The content of the body is not what is expected." "Look at `errors`: each points at the place and says what is wrong there.";
    Rejected "rejected" UNPROCESSABLE_ENTITY "What was asked for cannot be done." "`detail` says why. Sending the same request again does not help.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY "The key was used for a message with other content." "Use a new key for a new message.";
    RateLimited "rate_limited" TOO_MANY_REQUESTS "There were too many requests." "Come again after the seconds in `Retry-After`.";
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The headers are too large." "Send less in them.";
    Internal "internal" INTERNAL_SERVER_ERROR "The service has a fault." "Report it with the id of the request.";
    Corrupt "corrupt" INTERNAL_SERVER_ERROR "A stored row cannot be read." "Report it with `detail`: somebody has to look at the storage.";
    Unsupported "unsupported" NOT_IMPLEMENTED "This service is not set up to do this." "`detail` says what is missing.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The storage does not answer." "Nothing was changed. Send the request again after the seconds in `Retry-After`.";
    Unclear "unclear" SERVICE_UNAVAILABLE "It is not known whether the change was stored." "Read the thing before you send the request again.";
    Timeout "timeout" SERVICE_UNAVAILABLE "The answer was not ready in time." "Send the request again after the seconds in `Retry-After`.";
}

/// One thing that is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct FieldError {
    /// Where in the body, as a JSON Pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Which parameter of the path, the query or the headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong.
    pub detail: String,
}

/// The answer to a request that cannot be met.
///
/// ```
/// use freshmaker::backend::{Error, Remedy};
/// use freshmaker_web::axum::response::IntoResponse;
/// use freshmaker_web::{Problem, ProblemCode};
///
/// let problem = Problem::from(Error::new(Remedy::Rejected, "client", "event 7 has ended"));
/// assert_eq!(problem.code, ProblemCode::Rejected);
/// assert_eq!(problem.into_response().status(), 422);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What went wrong.
    pub code: ProblemCode,
    /// One sentence about this case; never a secret.
    pub detail: String,
    /// What is wrong with the request, by place.
    pub errors: Vec<FieldError>,
    /// After which time the request may be sent again, if that helps.
    pub retry_after: Option<Duration>,
    /// The whole error, for the log alone: it may name hosts, ports and files.
    pub(crate) cause: Option<String>,
    /// For [`ProblemCode::Unauthenticated`]: whether credentials were sent and refused.
    pub(crate) refused: bool,
}

/// The body of an answer that tells of a problem.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// The page about the code.
    #[serde(rename = "type")]
    kind: String,
    /// What the code means.
    title: &'static str,
    /// The status.
    status: u16,
    /// The stable name of what went wrong.
    #[serde(rename = "code")]
    name: &'static str,
    /// One sentence about this case.
    detail: String,
    /// What is wrong with the request, by place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The id of the request, which is also in the log of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl Problem {
    /// How long callers are asked to wait for a storage that does not answer.
    pub(crate) const PAUSE: Duration = Duration::from_secs(5);

    /// Makes a problem with a sentence about this case.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let transient = code.status() == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = transient.then_some(Self::PAUSE);
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after, cause: None, refused: false }
    }

    /// Returns the same with something that is wrong at a place of the body, as a JSON Pointer.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: Some(pointer.into()), parameter: None, detail: detail.into() });
        self
    }

    /// Returns the same with something that is wrong with a parameter of the path, the query or a
    /// header.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: None, parameter: Some(name.into()), detail: detail.into() });
        self
    }

    /// Returns the same, to be sent again after a time.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// What the log says of it.
    pub(crate) fn logged(&self) -> &str {
        self.cause.as_deref().unwrap_or(&self.detail)
    }

    /// Credentials were sent, and are not accepted.
    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self { refused: true, ..Self::new(ProblemCode::Unauthenticated, detail) }
    }

    pub(crate) fn body(&self, base: &str, request_id: Option<String>) -> Vec<u8> {
        let Self { code, detail, errors, .. } = self.clone();
        let kind = format!("{base}/problems/{}", code.as_str());
        let (title, status, name) = (code.title(), code.status().as_u16(), code.as_str());
        let body = ProblemBody { kind, title, status, name, detail, errors, request_id };
        serde_json::to_vec(&body).expect("texts and numbers have a JSON form")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body("", None)));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(pause) = self.retry_after {
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.code == ProblemCode::Unauthenticated {
            let challenge = if self.refused {
                r#"Bearer realm="freshmaker", error="invalid_token""#
            } else {
                r#"Bearer realm="freshmaker""#
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The texts for callers about transient errors. Which backend failed, and its own text, are only
/// in the log.
const AWAY: &str = "something that the service needs does not answer";
const NOT_NOW: &str = "something that the service needs takes nothing at the moment";
const UNCLEAR: &str = "something that the service needs broke off, and it is not known whether the change was stored";

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let plain = |code, text| Self { cause: Some(error.to_string()), ..Self::new(code, text) };
        let told = |code| Self::new(code, error.to_string());
        match error.remedy {
            Remedy::Unavailable => plain(ProblemCode::Unavailable, AWAY),
            Remedy::NotNow | Remedy::Fenced => plain(ProblemCode::Unavailable, NOT_NOW),
            Remedy::Unclear => plain(ProblemCode::Unclear, UNCLEAR),
            Remedy::Conflict => told(ProblemCode::Conflict),
            Remedy::NotFound => told(ProblemCode::NotFound),
            Remedy::Rejected => told(ProblemCode::Rejected),
            Remedy::Unsupported => told(ProblemCode::Unsupported),
            Remedy::Corrupt => told(ProblemCode::Corrupt),
        }
    }
}

/// What an answer of axum or of a layer, which is only a status, means.
pub(crate) fn of_status(status: StatusCode) -> Problem {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (ProblemCode::NoSuchPath, "nothing is served at this path"),
        StatusCode::METHOD_NOT_ALLOWED => (ProblemCode::MethodNotAllowed, "this path has other methods"),
        StatusCode::PAYLOAD_TOO_LARGE => (ProblemCode::BodyTooLarge, "the body is longer than this service reads"),
        StatusCode::REQUEST_TIMEOUT => (ProblemCode::RequestTimeout, "the body did not arrive in time"),
        StatusCode::FORBIDDEN => (ProblemCode::CrossSite, "a page of another origin sent this request"),
        StatusCode::SERVICE_UNAVAILABLE => (ProblemCode::Timeout, "the answer was not ready in time"),
        status if status.is_client_error() => (ProblemCode::BadRequest, "the request cannot be read"),
        _ => (ProblemCode::Internal, "the service could not answer; its log says why"),
    };
    Problem::new(code, detail)
}

/// Serves the page about a code.
pub(crate) async fn page(axum::extract::Path(code): axum::extract::Path<String>) -> Result<Response, Problem> {
    let found = ProblemCode::ALL.iter().find(|known| known.as_str() == code);
    let code = found.ok_or_else(|| Problem::new(ProblemCode::NotFound, "there is no such code"))?;
    let (name, status, title, help) = (code.as_str(), code.status(), code.title(), code.help());
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\
         <h1>{name}</h1><p>HTTP status: {status}</p><p>{title}</p><p>{help}</p></html>"
    );
    Ok(Html(page).into_response())
}

/// An answer as JSON with some headers.
pub(crate) fn json<T: Serialize>(status: StatusCode, headers: &[(HeaderName, String)], body: T) -> Response {
    let mut response = (status, Json(body)).into_response();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
