//! Pages for people: the same answers as the API, as HTML that needs no script.
//!
//! *Invariant:* a page decides nothing. What a form does is the handler of the API that does it.
//! *Invariant:* nothing is on a page that is not in its address: filters, tabs and selections are
//! parameters.
//!
//! A new page is a file here with a template in `templates/`, and a line in `routes` below; what a
//! form does is in `acts`.

mod acts;
mod artifact;
mod assets;
mod audit;
mod bar;
mod build;
mod builds;
mod dead_letters;
mod decided;
mod event;
mod events;
mod failures;
mod form;
mod frame;
mod graph;
mod health;
mod links;
mod list;
mod message;
mod not_rebuilt;
mod overview;
mod past;
mod plans;
mod problem;
mod queue;
mod report;
mod search;
mod sign_in;
mod states;
mod text;
mod visit;

pub(crate) use problem::Reader;

use crate::auth::Allowed;
use crate::problem::{Problem, ProblemCode};
use crate::routes::PageRoute;
use crate::web::Web;
use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use freshmaker::artifact::Digest;
use std::sync::LazyLock;
use visit::Visit;

/// Whether this build has pages.
pub(crate) const HAS_PAGE: bool = true;

/// A page loads its own style, script and pictures, and sends its forms to where it came from.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' {}; img-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        *assets::STYLE_SOURCE
    );
    HeaderValue::try_from(policy).expect("a policy is plain text")
});

/// What pages keep between requests.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    alarms: overview::Alarms,
}

impl Pages {
    /// The person who reads the page; `None` if the request is not for a page.
    pub(crate) fn reader(&self, web: &Web, request: &Request) -> Option<Reader> {
        Reader::of(web, request)
    }
}

/// The pages, and what their forms do.
pub(crate) fn routes() -> Vec<PageRoute> {
    let (everybody, readers) = (Allowed::Everybody, Allowed::Readers);
    let page = |allowed, path, route| (allowed, Method::GET, path, route);
    let pages = [
        page(readers, "/", get(overview::page)),
        page(readers, "/events", get(events::page)),
        page(readers, "/events/{id}", get(event::page)),
        page(readers, "/events/{id}/graph", get(graph::page)),
        page(readers, "/events/{id}/not-rebuilt", get(not_rebuilt::page)),
        page(readers, "/builds", get(builds::page)),
        page(readers, "/builds/{id}", get(build::page)),
        page(readers, "/artifacts/{*id}", get(artifact::page)),
        page(readers, "/search", get(search::page)),
        page(Allowed::REBUILDERS, "/plans/new", get(plans::new)),
        page(readers, "/plans/{hash}", get(plans::page)),
        page(Allowed::REBUILDERS, "/plans/{hash}/diff", get(plans::difference)),
        page(readers, "/queue", get(queue::page)),
        page(readers, "/failures", get(failures::page)),
        page(readers, "/dead-letters", get(dead_letters::page)),
        page(readers, "/messages/{source}/{id}", get(message::page)),
        page(readers, "/report", get(report::page)),
        page(Allowed::ADMINS, "/audit", get(audit::page)),
        page(readers, "/health", get(health::page)),
        page(everybody, "/sign-in", get(sign_in::page)),
        page(everybody, "/assets/{name}", get(assets::asset)),
    ];
    pages.into_iter().chain(acts::routes()).collect()
}

/// The answer with a page, or 304 if the browser has it.
fn answer(visit: &Visit, page: &impl Template) -> Result<Response, Problem> {
    let text = page.render().map_err(|error| Problem::new(ProblemCode::Internal, format!("a page: {error}")))?;
    let tag = crate::api::etag::tag(Digest::of(without_position(&text).as_bytes()).short());
    if crate::api::etag::is_known(&visit.headers, &tag)? {
        let mut response = crate::api::etag::not_modified(tag);
        frame_headers(response.headers_mut());
        return Ok(response);
    }
    let mut response = html(StatusCode::OK, text);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// A page without the position of its stream of changes. To have an earlier position is no harm:
/// the stream then begins with what the page shows already.
fn without_position(text: &str) -> String {
    const START: &str = " data-after=\"";
    let Some((before, rest)) = text.split_once(START) else { return text.to_owned() };
    let after = rest.split_once('"').map_or("", |(_, after)| after);
    format!("{before}{after}")
}

fn html(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    frame_headers(headers);
    response
}

fn frame_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
}

/// Sends the browser on with a page to look at, which is relative to the one that was asked for.
fn see_other(to: &str) -> Result<Response, Problem> {
    let to = HeaderValue::from_str(to).map_err(|_| Problem::new(ProblemCode::BadParameter, "this is no address"))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_not_part_of_the_tag() {
        let page = |after: &str| format!("<body data-after=\"{after}\" data-stream=\"\">x</body>");
        assert_eq!(without_position(&page("7")), without_position(&page("1234")));
        assert_eq!(without_position("<p>no stream</p>"), "<p>no stream</p>");
    }
}
