//! What a person is told when a page cannot be shown or a form could not be carried out.

use super::frame::BareFrame;
use super::html;
use super::text;
use super::visit::root_of;
use crate::auth::session_of;
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::web::Web;
use askama::Template;
use axum::extract::{OriginalUri, Request};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use std::time::Duration;

/// A browser that asked for a page.
#[derive(Debug)]
pub(crate) struct Reader {
    root: String,
    path: String,
    to: String,
    writes: bool,
    has_session: bool,
    over_tls_alone: bool,
    takes_tokens: bool,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: BareFrame<'a>,
    detail: &'a str,
    help: &'a str,
    errors: &'a [FieldError],
    /// Where to go on.
    back: &'a str,
    back_name: &'a str,
    signs_in: bool,
    to: &'a str,
    code: &'a str,
    request_id: &'a str,
}

impl Reader {
    /// Who asks for HTML, and not from the API.
    pub(crate) fn of(web: &Web, request: &Request) -> Option<Self> {
        let config = web.config().page.as_ref()?;
        let headers = request.headers();
        let path = request.uri().path();
        let wants = |kind: &str| {
            headers.get_all(header::ACCEPT).iter().any(|text| text.to_str().is_ok_and(|text| text.contains(kind)))
        };
        if !wants("text/html") || path.starts_with("/api/") {
            return None;
        }
        let original = request.extensions().get::<OriginalUri>().map_or(path, |uri| uri.0.path());
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let path = path.trim_start_matches('/').to_owned();
        // The page with the form is above its address.
        let to = match (writes, request.uri().query()) {
            (true, _) => path.rsplit_once('/').map_or("", |(page, _)| page).to_owned(),
            (false, Some(query)) => format!("{path}?{query}"),
            (false, None) => path.clone(),
        };
        Some(Self {
            root: root_of(request.uri().path(), original),
            to: if path == "sign-in" { String::new() } else { to },
            path,
            writes,
            has_session: session_of(headers).is_some(),
            over_tls_alone: crate::auth::over_tls_alone(headers, config.plain_http),
            takes_tokens: web.config().authentication.tokens,
        })
    }

    /// Tells of a problem instead of what was asked for.
    pub(crate) fn tell(self, response: &mut Response, problem: &Problem, request_id: &str) {
        let is_unknown = problem.code == ProblemCode::Unauthenticated;
        let (title, help) = self.words(problem);
        let page = ProblemPage {
            frame: BareFrame { title, root: &self.root },
            detail: &problem.detail,
            help,
            errors: &problem.errors,
            back: if self.writes { &self.to } else { "" },
            back_name: if self.writes { "Back to where you were" } else { "To the overview" },
            signs_in: is_unknown && self.takes_tokens,
            to: &self.to,
            code: problem.code.as_str(),
            request_id,
        };
        let Ok(text) = page.render() else { return };
        let page = html(response.status(), text);
        let (parts, body) = page.into_parts();
        *response.body_mut() = body;
        response.headers_mut().extend(parts.headers);
        // A session that is not accepted is not sent again.
        if problem.refused && self.has_session {
            forget(response.headers_mut(), self.over_tls_alone);
        }
    }

    /// What has happened, and what to do.
    fn words(&self, problem: &Problem) -> (&'static str, &'static str) {
        let (read, written) = match problem.code {
            ProblemCode::Unauthenticated if self.path == "sign-in" => {
                return ("The token is not accepted", "Check that it is whole, and not revoked or ended.");
            }
            ProblemCode::Unauthenticated if self.has_session => (
                ("Your session has ended", "Sign in again, and you come back to this page."),
                ("Your session has ended, so nothing was done", "Sign in again, then send the form once more."),
            ),
            ProblemCode::Unauthenticated => (
                ("Please sign in", "This page is for people who are known."),
                ("Please sign in: nothing was done", "Sign in, then send the form once more."),
            ),
            ProblemCode::Forbidden => (
                ("You may not see this", "Ask an administrator for the role that is named."),
                ("You may not do this: nothing was done", "Ask an administrator for the role that is named."),
            ),
            ProblemCode::NotFound => (
                ("This is not here, or not any more", "Old rows are removed after a while. Search for its name."),
                ("This is not here, or not any more", "Nothing was done. Search for its name."),
            ),
            ProblemCode::NoSuchPath => {
                let same = ("There is no such page", "Check the address, or begin at the overview.");
                (same, same)
            }
            ProblemCode::PreconditionFailed | ProblemCode::Conflict => {
                let same = ("It has changed since you looked", "Nothing was done. Look at it again, then decide.");
                (same, same)
            }
            ProblemCode::PlanChanged => {
                let same = ("The plan is another one by now", "Nothing was done. Look at the difference, then apply.");
                (same, same)
            }
            ProblemCode::Unclear => {
                let same = ("It is not known whether this was stored", "Look at the page before you send it again.");
                (same, same)
            }
            code => ((code.title(), code.help()), (code.title(), code.help())),
        };
        if self.writes { written } else { read }
    }
}

/// Makes a browser forget its session.
pub(super) fn forget(headers: &mut HeaderMap, over_tls_alone: bool) {
    headers.insert(header::SET_COOKIE, crate::auth::cookie("", Duration::ZERO, over_tls_alone));
}
