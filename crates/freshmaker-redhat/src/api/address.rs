//! Where a request was sent: the version of the interface, and the addresses for links in the
//! answer.

use super::Api;
use super::answer::Failure;
use freshmaker_web::axum::extract::{FromRequestParts, OriginalUri, Path};
use freshmaker_web::axum::http::header;
use freshmaker_web::axum::http::request::Parts;
use std::convert::Infallible;

/// Where a request was sent.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Whether events show their builds, unless the request says otherwise.
    pub(super) version_1: bool,
    /// What is in front of `/api/…` in the path: that of the base, else where the router is nested.
    pub(super) prefix: String,
    /// The whole address, without the query.
    pub(super) address: String,
    /// The query, as it was sent.
    pub(super) query: Option<String>,
}

impl FromRequestParts<Api> for Place {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let path = parts.uri.path();
        let whole = parts.extensions.get::<OriginalUri>().map_or(path, |uri| uri.0.path());
        let nested = whole.strip_suffix(path).unwrap_or_default();
        let prefix = api.base.as_deref().map_or(nested, path_of).to_owned();
        let address = match (&api.base, host(parts)) {
            (Some(base), _) => format!("{base}{path}"),
            (None, Some(host)) => format!("http://{host}{whole}"),
            (None, None) => whole.to_owned(),
        };
        let (version_1, query) = (path.starts_with("/api/1/"), parts.uri.query().map(str::to_owned));
        Ok(Self { version_1, prefix, address, query })
    }
}

/// The path of an address, without a slash at the end: `/fm` of `https://h/fm`.
fn path_of(base: &str) -> &str {
    let behind = base.split_once("://").map_or(base, |(_, behind)| behind);
    behind.find('/').map_or("", |slash| &behind[slash..])
}

fn host(parts: &Parts) -> Option<&str> {
    let named = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(|authority| authority.as_str()).or(named)
}

/// The number at the end of a path. If the text is not a number, the path is unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(pub(super) i64);

impl FromRequestParts<Api> for Number {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let text = Path::<String>::from_request_parts(parts, api).await.map(|path| path.0).unwrap_or_default();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(super::answer::no_such_path().await);
        }
        // No row has a number beyond.
        Ok(Self(text.parse().unwrap_or(i64::MAX)))
    }
}
