//! `/sign-in`, `/sign-out`: sessions for people who have a token.

use super::answer;
use super::form::Form;
use super::frame::{Frame, Place};
use super::problem::forget;
use super::see_other;
use super::text;
use super::visit::Visit;
use crate::auth::{cookie, over_tls_alone};
use crate::problem::{Problem, ProblemCode};
use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    to: String,
    takes_tokens: bool,
}

pub(crate) async fn page(visit: Visit) -> Result<Response, Problem> {
    let page = SignInPage {
        frame: visit.frame(Place::Other, "Sign in"),
        to: visit.value("to").unwrap_or_default().to_owned(),
        takes_tokens: visit.web.config().authentication.tokens,
    };
    answer(&visit, &page)
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    token: String,
    #[serde(default)]
    to: String,
}

/// The page that a person asked for before the sign-in.
#[derive(Clone, Debug)]
pub(super) struct Wanted(pub(super) String);

/// Begins a session, and leads to the page that was asked for.
pub(crate) async fn sign_in(visit: Visit, Form(SignIn { token, to }): Form<SignIn>) -> Result<Response, Problem> {
    let Visit { web, caller, headers, path, .. } = &visit;
    if !web.config().authentication.tokens {
        return Err(Problem::new(ProblemCode::Unsupported, "this service does not take tokens"));
    }
    let page = web.config().page.clone().unwrap_or_default();
    web.may_log_in(caller)?;
    let logins = web.authenticators();
    let begun = web.ask(async { Ok(logins.sessions.begin(&logins.tokens, token.trim(), page.session).await) }).await?;
    let begun = match begun {
        Ok(begun) => begun,
        Err(problem) => {
            if problem.code.status().is_client_error() {
                web.refuse_login(caller, "POST", &format!("/{path}"), &problem).await?;
            }
            let mut response = problem.into_response();
            response.extensions_mut().insert(Wanted(within(&to).to_owned()));
            return Ok(response);
        }
    };
    let mut response = see_other(&format!("./{}", within(&to)))?;
    let cookie = cookie(&begun.secret, begun.lifetime, over_tls_alone(headers, page.plain_http));
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Ends the session, here and in the browser.
pub(crate) async fn sign_out(visit: Visit) -> Result<Response, Problem> {
    let Visit { web, headers, .. } = &visit;
    web.change(async { Ok(web.authenticators().sessions.end(headers).await) }).await??;
    let page = web.config().page.clone().unwrap_or_default();
    let mut response = see_other("./sign-in")?;
    forget(response.headers_mut(), over_tls_alone(headers, page.plain_http));
    Ok(response)
}

/// A page of this service, below its root; the overview if it is something else.
fn within(to: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%/?=&,:+@".contains(&byte);
    let path = to.split('?').next().unwrap_or_default();
    let climbs = path.split('/').any(|step| step == ".." || step.eq_ignore_ascii_case("%2e%2e"));
    let is_within = to.bytes().all(is_plain) && !to.starts_with('/') && !climbs;
    if is_within { to } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_no_other_site() {
        for good in ["", "events/7", "artifacts/a%2Fb?event=7", "builds?state=READY,FAILED"] {
            assert_eq!(within(good), good);
        }
        for bad in ["//evil.example", "/\\evil.example", "..//evil.example", "a/../../b", "%2e%2E/x", "a\r\nb", "\\x"] {
            assert_eq!(within(bad), "", "{bad}");
        }
    }
}
