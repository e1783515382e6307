//! A request for a page: where it came from, who sent it, and the way back to the root.

use super::frame::{Frame, Place};
use super::links;
use crate::auth::{Allowed, Caller};
use crate::problem::{Problem, ProblemCode};
use crate::web::Web;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

/// A query has no more parameters than this.
const PARAMETERS_MAX: usize = 100;

/// What a page knows about the request for it.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) web: Web,
    pub(crate) caller: Caller,
    pub(crate) headers: HeaderMap,
    /// The way from this page to the root of the router: `./` or `../../`.
    pub(crate) root: String,
    /// The path below the root, without a slash at its beginning.
    pub(crate) path: String,
    /// The query, without empty values and without the result of a form.
    pub(crate) query: Vec<(String, String)>,
    /// What a form has just done, by its code.
    pub(crate) told: Option<String>,
}

impl FromRequestParts<Web> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, web).await?;
        let original = parts.extensions.get::<OriginalUri>().map_or(parts.uri.path(), |uri| uri.0.path()).to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let mut query: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|error| Problem::new(ProblemCode::BadParameter, format!("the query cannot be read: {error}")))?;
        if query.len() > PARAMETERS_MAX {
            return Err(Problem::new(ProblemCode::BadParameter, "the query has too many parameters"));
        }
        let told = query.iter().find(|(name, _)| name == "told").map(|(_, value)| value.clone());
        // A form sends its empty fields as well.
        query.retain(|(name, value)| !value.is_empty() && name != "told");
        Ok(Self {
            web: web.clone(),
            caller,
            headers: parts.headers.clone(),
            root: root_of(parts.uri.path(), &original),
            path: parts.uri.path().trim_start_matches('/').to_owned(),
            query,
            told,
        })
    }
}

/// The way from a page to the root, as browsers resolve it. It is right behind a proxy that takes a
/// prefix away, and for a router that is nested without a slash at its end.
pub(super) fn root_of(path: &str, original: &str) -> String {
    let depth = path.matches('/').count().saturating_sub(1);
    match original.rsplit('/').next() {
        Some(last) if depth == 0 && path == "/" && !last.is_empty() => format!("./{last}/"),
        _ if depth == 0 => "./".to_owned(),
        _ => "../".repeat(depth),
    }
}

impl Visit {
    /// Whether the caller may do this; otherwise the page has no button for it.
    pub(crate) fn may(&self, allowed: Allowed) -> bool {
        allowed.check(&self.web.config().access, self.caller.principal.as_ref()).is_ok()
    }

    /// The value of a parameter.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that is a list.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let list = self.value(name).unwrap_or_default();
        list.split(',').map(str::trim).filter(|value| !value.is_empty()).collect()
    }

    /// The query with another value of a parameter; without it if the value is empty. A list begins
    /// anew then.
    pub(crate) fn query_with(&self, name: &str, value: &str) -> String {
        let kept = self.query.iter().filter(|(found, _)| found != "cursor");
        pairs_with(kept, name, value)
    }

    /// The query of the same part of a list with another value of a parameter.
    pub(crate) fn query_as(&self, name: &str, value: &str) -> String {
        pairs_with(self.query.iter(), name, value)
    }

    /// The query as it was sent, without the result of a form.
    pub(crate) fn query_text(&self) -> String {
        pairs_with(self.query.iter(), "", "")
    }

    /// A path with the query that was asked for.
    pub(crate) fn with_query(&self, path: &str) -> String {
        format!("{path}?{}", self.query_text()).trim_end_matches('?').to_owned()
    }

    /// What was asked for, as the API reads it.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        crate::extract::read_query(&self.query)
    }

    /// The position of the stream of changes. What is read after it is at least as new.
    pub(crate) async fn position(&self) -> Result<i64, Problem> {
        self.web.ask(self.web.client().subscribe()).await.map(|subscription| subscription.position())
    }

    /// The frame of a page.
    pub(crate) fn frame(&self, place: Place, title: impl AsRef<str>) -> Frame {
        Frame::new(self, place, title.as_ref())
    }

    /// The host that the caller has reached, for commands to copy.
    pub(crate) fn host(&self) -> &str {
        self.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost")
    }
}

/// A query of these pairs, with another value of a parameter; without it if the value is empty.
fn pairs_with<'a>(kept: impl Iterator<Item = &'a (String, String)>, name: &str, value: &str) -> String {
    let kept = kept.filter(|(found, _)| found != name).map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs = kept.chain([(name, value)]).filter(|(_, value)| !value.is_empty());
    let pairs = pairs.map(|(name, value)| format!("{}={}", links::encoded(name), links::encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_everywhere() {
        for (path, original, root) in [
            ("/", "/", "./"),
            ("/events", "/events", "./"),
            ("/events/7", "/events/7", "../"),
            ("/events/7/graph", "/rebuilds/events/7/graph", "../../"),
            ("/", "/rebuilds", "./rebuilds/"),
            ("/", "/rebuilds/", "./"),
            ("/artifacts/docker.io/library/app", "/artifacts/docker.io/library/app", "../../../"),
        ] {
            assert_eq!(root_of(path, original), root, "{original}");
        }
    }
}
