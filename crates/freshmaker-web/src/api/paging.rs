//! Pages of lists: opaque cursors, and the header `Link`.

use super::views::{Listing, UnreadableView};
use crate::problem::{self, Problem, ProblemCode};
use axum::http::{StatusCode, Uri, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshmaker::backend::{Page, Paging};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

/// Rows of a page, if the request does not ask for another number.
const LIMIT_DEFAULT: u32 = 50;

/// No part is longer.
pub(crate) const LIMIT_MAX: u32 = 200;

/// Where a part of a list begins. Clients do not look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) String);

impl Cursor {
    pub(crate) fn encoded(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1:{}", self.0))
    }

    fn decoded(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(String::from_utf8(bytes).ok()?.strip_prefix("1:")?.to_owned()))
    }

    /// The number that it stands for, in lists that are in the order of numbers.
    pub(crate) fn number(this: Option<&Self>) -> Result<Option<i64>, Problem> {
        this.map(|cursor| cursor.0.parse()).transpose().map_err(|_| {
            Problem::new(ProblemCode::BadParameter, "the query cannot be read")
                .parameter("cursor", "it is of another list")
        })
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::decoded(&text).ok_or_else(|| de::Error::custom("it is no cursor that this service has given"))
    }
}

/// How many rows: 1 to [`LIMIT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) u32);

impl Default for Limit {
    fn default() -> Self {
        Self(LIMIT_DEFAULT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            limit @ 1..=LIMIT_MAX => Ok(Self(limit)),
            limit => Err(de::Error::custom(format!("{limit} is not from 1 to {LIMIT_MAX}"))),
        }
    }
}

/// What to ask for, to get this part.
pub(crate) fn paging(cursor: Option<&Cursor>, limit: Limit, count: bool) -> Result<Paging, Problem> {
    Ok(Paging { behind: Cursor::number(cursor)?, counted: count, ..Paging::first(limit.0) })
}

/// The answer with one part of a list of rows.
pub(crate) fn part<R, T: Serialize + ToSchema>(uri: &Uri, page: Page<R>, view: impl Fn(R) -> T) -> Response {
    let Page { items, next, total, unreadable } = page;
    let next = next.map(|number| Cursor(number.to_string()));
    let unreadable = unreadable.into_iter().map(UnreadableView::from).collect();
    answer(uri, items.into_iter().map(view).collect(), next.as_ref(), total, unreadable)
}

/// The answer with one part of a list.
pub(crate) fn answer<T: Serialize + ToSchema>(
    uri: &Uri,
    items: Vec<T>,
    next: Option<&Cursor>,
    total: Option<u64>,
    unreadable: Vec<UnreadableView>,
) -> Response {
    let next = next.map(Cursor::encoded);
    let link = next.as_ref().map(|next| (header::LINK, format!("<?{}>; rel=\"next\"", with_cursor(uri, next))));
    let link: Vec<_> = link.into_iter().collect();
    problem::json(StatusCode::OK, &link, Listing { items, next, total, unreadable })
}

/// The query of a request with another cursor. The reference is relative to the request, so it is
/// right wherever the router is nested.
fn with_cursor(uri: &Uri, cursor: &str) -> String {
    let query = uri.query().unwrap_or_default();
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    kept.chain([format!("cursor={cursor}").as_str()]).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_were_written() {
        for text in ["0", "17", "docker.io/library/app:1", ""] {
            let cursor = Cursor(text.to_owned());
            assert_eq!(Cursor::decoded(&cursor.encoded()), Some(cursor));
        }
        for text in ["", "17", "!", "Mjox", "MToxNw=="] {
            assert_eq!(Cursor::decoded(text), None, "{text}");
        }
        assert_eq!(Cursor::number(Some(&Cursor("a".to_owned()))).unwrap_err().code, ProblemCode::BadParameter);
    }

    #[test]
    fn the_next_part_has_the_same_filter() {
        let uri: Uri = "/events?state=FAILED&cursor=abc&limit=5".parse().unwrap();
        assert_eq!(with_cursor(&uri, "def"), "state=FAILED&limit=5&cursor=def");
        assert_eq!(with_cursor(&"/events".parse().unwrap(), "def"), "cursor=def");
    }
}
