//! The page that a person gets when a page cannot be shown or a form could not be carried out.

use super::frame::BareFrame;
use super::html;
use super::sign_in::Wanted;
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

    /// Shows a problem instead of the requested page.
    pub(crate) fn tell(self, response: &mut Response, problem: &Problem, request_id: &str) {
        let is_unknown = problem.code == ProblemCode::Unauthenticated;
        let (title, help) = self.words(problem);
        let wanted = response.extensions_mut().remove::<Wanted>();
        let to = wanted.map_or_else(|| self.to.clone(), |Wanted(to)| to);
        let page = ProblemPage {
            frame: BareFrame { title, root: &self.root },
            detail: &problem.detail,
            help: &help,
            errors: &problem.errors,
            back: if self.writes { &self.to } else { "" },
            back_name: if self.writes { "Back to where you were" } else { "To the overview" },
            signs_in: is_unknown && self.takes_tokens,
            to: &to,
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

    /// What has happened, and what to do, for people: the words of the codes are for programs.
    fn words(&self, problem: &Problem) -> (&'static str, String) {
        use ProblemCode as Code;
        if let Some((title, help)) = self.words_of_login(problem.code) {
            return (title, help.to_owned());
        }
        let (read, written) = match problem.code {
            Code::NotFound => (
                ("This is not here, or not any more", "Old rows are removed after a while. Search for its name."),
                ("This is not here, or not any more", "Nothing was done. Search for its name."),
            ),
            Code::BadRequest | Code::BadParameter => (
                (
                    "This address cannot be read",
                    "What is wrong with it is below. Correct it, or begin at the overview.",
                ),
                ("This cannot be read", "Nothing was done. What is wrong is below: go back and correct it."),
            ),
            code => (everywhere(code), everywhere(code)),
        };
        let (title, help) = if self.writes { written } else { read };
        match problem.retry_after {
            Some(pause) if help.ends_with("Try again") => {
                (title, format!("{help} in {}.", text::about(&pause.max(Duration::from_secs(1)))))
            }
            _ if help.ends_with("Try again") => (title, format!("{help} in a moment.")),
            _ => (title, help.to_owned()),
        }
    }

    /// The same, if it has to do with who asks.
    fn words_of_login(&self, code: ProblemCode) -> Option<Words> {
        let (read, written) = match code {
            ProblemCode::Unauthenticated if self.path == "sign-in" => {
                return Some(("The token is not accepted", "Check that it is whole, and not revoked or ended."));
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
            _ => return None,
        };
        Some(if self.writes { written } else { read })
    }
}

/// What has happened, and what to do. After "Try again" the page says when.
type Words = (&'static str, &'static str);

/// Words that are right whether somebody has read or sent something.
fn everywhere(code: ProblemCode) -> Words {
    use ProblemCode as Code;
    match code {
        Code::NoSuchPath => ("There is no such page", "Check the address, or begin at the overview."),
        Code::MethodNotAllowed => ("This is no page", "Forms are sent here. Begin at the overview."),
        Code::PreconditionFailed | Code::Conflict => {
            ("It has changed since you looked", "Nothing was done. Look at it again, then decide.")
        }
        Code::PlanChanged => (
            "The plan is another one by now",
            "Nothing was done. The difference is below: preview it again, then apply.",
        ),
        Code::Unclear => ("It is not known whether this was stored", "Look at the page before you send it again."),
        Code::Invalid => {
            ("The form is not complete", "Nothing was done. What is missing or wrong is below: go back and correct it.")
        }
        Code::Rejected => {
            ("This cannot be done", "Nothing was done, for the reason below. It does not help to send it again.")
        }
        Code::CrossSite => {
            ("A page of another site sent this", "Nothing was done. Open the page here, and send its form.")
        }
        Code::RateLimited => ("There were too many requests", "Nothing was done. Try again"),
        Code::Unavailable => ("The storage does not answer", "Nothing was changed. Try again"),
        Code::Timeout => ("The answer was not ready in time", "What was asked for may take long. Try again"),
        Code::RequestTimeout => ("The form did not arrive in time", "Nothing was done. Try again"),
        Code::BodyTooLarge | Code::UrlTooLong | Code::HeadersTooLarge => {
            ("This is too long", "Nothing was done. Write less, or ask for less at once.")
        }
        Code::Internal | Code::Corrupt => {
            ("The service has a fault", "Tell an administrator the id of the request, at the end of this page.")
        }
        Code::Unsupported => {
            ("This service is not set up to do this", "What is missing is below: ask an administrator.")
        }
        code => (code.title(), "Nothing was done. The reason is below."),
    }
}

/// Makes a browser forget its session.
pub(super) fn forget(headers: &mut HeaderMap, over_tls_alone: bool) {
    headers.insert(header::SET_COOKIE, crate::auth::cookie("", Duration::ZERO, over_tls_alone));
}
