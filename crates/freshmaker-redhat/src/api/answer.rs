//! Answers: JSON with sorted keys and a newline, and errors in the form of the service.

use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::{Body, to_bytes};
use freshmaker_web::axum::extract::Request;
use freshmaker_web::axum::http::{HeaderValue, StatusCode, header};
use freshmaker_web::axum::middleware::{Next, from_fn};
use freshmaker_web::axum::response::{IntoResponse, Response};
use freshmaker_web::{Problem, ProblemCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a route answers.
pub(super) type Answer = Result<Response, Failure>;

/// An answer with this status.
pub(super) fn told(status: StatusCode, form: &impl Serialize) -> Response {
    (status, [(header::CONTENT_TYPE, JSON)], text(form)).into_response()
}

/// The text of a form: sorted keys, no spaces, a newline at the end. The fields of forms are in the
/// order of their names, so that nothing has to be sorted.
fn text(form: &impl Serialize) -> String {
    let mut text = serde_json::to_string(form).expect("a form has only texts, numbers and maps of texts");
    debug_assert_eq!(text, sorted(form).to_string(), "the keys are not sorted");
    text.push('\n');
    text
}

/// A form with sorted keys.
fn sorted(form: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(form).expect("a form has only texts, numbers and maps of texts");
    value.sort_all_objects();
    value
}

/// The answer with a form; with those of its rows that cannot be read, if there are any.
pub(super) fn shown<F: Serialize, S: Serialize>(
    form: F,
    unreadable: Vec<String>,
    with: impl FnOnce(F, Vec<String>) -> S,
) -> Response {
    match unreadable.is_empty() {
        true => told(StatusCode::OK, &form),
        // One key more has its place in the middle.
        false => told(StatusCode::OK, &sorted(&with(form, unreadable))),
    }
}

/// Why a request is not met.
#[derive(Debug)]
pub(super) enum Failure {
    /// This interface refuses it.
    Refused(StatusCode, String),
    /// What stands below says so.
    Problem(Problem),
}

impl Failure {
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::Refused(StatusCode::BAD_REQUEST, message.into())
    }

    pub(super) fn not_found(message: &str) -> Self {
        Self::Refused(StatusCode::NOT_FOUND, message.to_owned())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(status, message) => error(status, &message),
            // The outermost layer has the last word about problems of all sources.
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    told(status, &ErrorForm::of(status, message))
}

/// Why a request is not met, as callers see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorForm {
    /// What the status means.
    error: &'static str,
    /// One sentence about this case.
    message: String,
    /// The status.
    status: u16,
}

impl ErrorForm {
    fn of(status: StatusCode, message: impl Into<String>) -> Self {
        let error = status.canonical_reason().unwrap_or("Error");
        Self { error, message: message.into(), status: status.as_u16() }
    }
}

/// The answer for an unknown path of these versions.
pub(super) async fn no_such_path() -> Failure {
    Failure::not_found("The requested URL was not found on the server.")
}

/// Gives the problems of all layers the form of the service, below the paths of the service.
pub(super) fn in_our_form(router: Router) -> Router {
    router.layer(from_fn(translated))
}

async fn translated(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_ours = ["/api/1/", "/api/2/"].iter().any(|start| path.starts_with(start));
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !is_ours || kind.is_none_or(|kind| kind != "application/problem+json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, PROBLEM_MAX).await.ok();
    let problem: Value = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    parts.headers.insert(header::CONTENT_TYPE, JSON);
    parts.headers.remove(header::CONTENT_LENGTH);
    let form = text(&ErrorForm::of(parts.status, message(&problem)));
    Response::from_parts(parts, Body::from(form))
}

/// No problem is longer.
const PROBLEM_MAX: usize = 1 << 20;

/// One sentence about a problem, with the places that it names.
fn message(problem: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"].as_array().into_iter().flatten();
    let places = errors.map(|error| {
        let place = error["parameter"].as_str().or(error["pointer"].as_str()).unwrap_or_default();
        format!("; {place}: {}", text(&error["detail"]))
    });
    std::iter::once(text(&problem["detail"])).chain(places).collect()
}

/// Says who lacks which roles, as the service does.
pub(super) fn lacks_roles(response: &mut Response, who: &str, roles: &[freshmaker_web::Role]) {
    if let Some(problem) = response.extensions_mut().get_mut::<Problem>()
        && problem.code == ProblemCode::Forbidden
    {
        let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        problem.detail = format!("User {who} does not have any of the following roles: {}", roles.join(", "));
    }
}
