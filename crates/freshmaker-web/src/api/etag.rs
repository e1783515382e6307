//! Versions of rows as entity tags.

use crate::extract::header;
use crate::problem::{self, Problem, ProblemCode};
use axum::http::{HeaderMap, StatusCode, header as names};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::fmt;

/// The entity tag of a version: the number of a row's changes, or the hash of a plan.
pub(crate) fn tag(version: impl fmt::Display) -> String {
    format!("\"{version}\"")
}

/// Answers with a value of this version, or 304 if the caller has it.
pub(crate) fn answer<T: Serialize>(
    headers: &HeaderMap,
    version: impl fmt::Display,
    value: T,
) -> Result<Response, Problem> {
    let tag = tag(version);
    if is_known(headers, &tag)? {
        return Ok(not_modified(tag));
    }
    Ok(problem::json(StatusCode::OK, &[(names::ETAG, tag)], value))
}

pub(crate) fn not_modified(tag: String) -> Response {
    (StatusCode::NOT_MODIFIED, [(names::ETAG, tag)]).into_response()
}

/// Whether `If-None-Match` has the tag. The comparison is weak.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> Result<bool, Problem> {
    let known = header(headers, &names::IF_NONE_MATCH)?;
    Ok(known.is_some_and(|known| tags(known).any(|known| known == "*" || known.trim_start_matches("W/") == tag)))
}

/// Refuses a change of what is not in the version that `If-Match` names. Without that header
/// everything is in it.
///
/// The version is compared just before the change. Whether the change is possible in the state of
/// that moment is decided by the engine, in one transaction.
pub(crate) fn must_match(headers: &HeaderMap, version: impl fmt::Display) -> Result<(), Problem> {
    let Some(wanted) = header(headers, &names::IF_MATCH)? else { return Ok(()) };
    let tag = tag(version);
    if tags(wanted).any(|wanted| wanted == "*" || wanted == tag) {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::PreconditionFailed, format!("its version is {tag}"))
        .parameter("if-match", "is another version"))
}

fn tags(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_as_http_says() {
        let headers = |name: axum::http::HeaderName, value: &str| -> HeaderMap {
            HeaderMap::from_iter([(name, value.parse().unwrap())])
        };
        for (value, known) in
            [("\"7\"", true), ("W/\"7\"", true), ("\"6\", \"7\"", true), ("*", true), ("\"8\"", false), ("7", false)]
        {
            assert_eq!(is_known(&headers(names::IF_NONE_MATCH, value), &tag(7)).unwrap(), known, "{value}");
        }
        for (value, matches) in
            [("\"7\"", true), ("*", true), ("\"8\", \"7\"", true), ("W/\"7\"", false), ("\"8\"", false)]
        {
            assert_eq!(must_match(&headers(names::IF_MATCH, value), 7).is_ok(), matches, "{value}");
        }
        assert!(must_match(&HeaderMap::new(), 7).is_ok());
    }
}
