//! The query of a list, its page, and the links between pages.

use super::Api;
use super::address::Place;
use super::answer::Failure;
use super::order::Order;
use freshmaker::backend::Paging;
use freshmaker_web::axum::extract::FromRequestParts;
use freshmaker_web::axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::IntErrorKind;
use utoipa::openapi::schema::{AnyOf, ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, ToSchema};

/// The longest page, in rows.
pub(super) const PER_PAGE_MAX: u32 = 100;

/// What the service has instead of a negative length.
const PER_PAGE_NEGATIVE: u32 = 20;

const PER_PAGE: u32 = 10;

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl FromRequestParts<Api> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Failure> {
        Self::of(parts.uri.query().unwrap_or_default())
    }
}

impl Query {
    pub(super) fn of(text: &str) -> Result<Self, Failure> {
        let pairs = serde_urlencoded::from_str(text);
        pairs.map(Self).map_err(|error| Failure::bad(format!("The query cannot be read: {error}")))
    }

    /// The parameters that a form of queries has. Others are ignored, as in the service.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.0 {
            values.entry(name).or_default().push(value);
        }
        let read = T::deserialize(MapDeserializer::new(values.into_iter()));
        read.map_err(|error: serde::de::value::Error| Failure::bad(format!("The query cannot be read: {error}")))
    }
}

/// The first value of a parameter; the others do not count.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<String>")]
pub(super) struct First(Option<String>);

impl From<Vec<String>> for First {
    fn from(values: Vec<String>) -> Self {
        Self(values.into_iter().next())
    }
}

impl First {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The value, if it is not empty.
    pub(super) fn given(&self) -> Option<&str> {
        self.get().filter(|text| !text.is_empty())
    }
}

/// Which part of a list, in which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct PageQuery {
    #[param(schema_with = page_number)]
    page: First,
    #[param(schema_with = page_length)]
    per_page: First,
    /// A column, with `-` in front for the opposite order. Events have `id` and `message_id`,
    /// builds `id`, `name`, `event_id`, `dep_on_id`, `build_id`, `original_nvr` and `rebuilt_nvr`.
    #[param(value_type = Option<String>)]
    order_by: First,
}

fn page_number() -> Schema {
    number("The number of the page, from 1. What is no number is 1.")
}

fn page_length() -> Schema {
    number("How many rows a page has: 10 if this is missing or no number, at most 100.")
}

/// A number, or any text, which is as if there were none.
fn number(text: &str) -> Schema {
    let of = |kind| ObjectBuilder::new().schema_type(kind);
    let (items, description) = (vec![of(Type::Integer).into(), of(Type::String).into()], Some(text.to_owned()));
    Schema::AnyOf(AnyOf { items, description, ..AnyOf::default() })
}

impl PageQuery {
    /// Which page is wanted.
    pub(super) fn page(&self) -> Wanted {
        let number = |given: &First| given.get().and_then(|text| saturated(text.trim()));
        let per_page = match number(&self.per_page) {
            None => PER_PAGE,
            Some(negative) if negative < 0 => PER_PAGE_NEGATIVE,
            Some(size) => u32::try_from(size).unwrap_or(PER_PAGE_MAX).min(PER_PAGE_MAX),
        };
        let page = number(&self.page).and_then(|page| u64::try_from(page).ok());
        Wanted { page: page.unwrap_or(1).max(1), per_page }
    }

    pub(super) fn order_by(&self) -> &str {
        self.order_by.get().unwrap_or("-id")
    }
}

/// Reads a number; one that has no room is the nearest that has.
pub(super) fn saturated(text: &str) -> Option<i64> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Some(i64::MAX),
            IntErrorKind::NegOverflow => Some(i64::MIN),
            _ => None,
        },
    }
}

/// No list has more rows.
const OFFSET_MAX: u64 = 1 << 53;

/// Which page of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    page: u64,
    per_page: u32,
}

impl Wanted {
    /// How many rows are on the pages before.
    fn offset(self) -> u64 {
        (self.page - 1).saturating_mul(u64::from(self.per_page)).min(OFFSET_MAX)
    }

    /// What the storage is asked for, in an order that it has.
    pub(super) fn paging(self, order: Order) -> Paging {
        let paging = Paging::first(self.per_page).skip(self.offset()).counted();
        Paging { oldest_first: !order.descending, ..paging }
    }

    /// Cuts the page out of all rows.
    pub(super) fn cut<T>(self, rows: Vec<T>) -> impl Iterator<Item = T> {
        let offset = usize::try_from(self.offset()).unwrap_or(usize::MAX);
        rows.into_iter().skip(offset).take(self.per_page as usize)
    }

    /// The position in a list with so many rows.
    pub(super) fn meta(self, query: &Query, place: &Place, total: u64) -> Meta {
        let Self { page, per_page } = self;
        let pages = if per_page == 0 { 0 } else { total.div_ceil(u64::from(per_page)) };
        let is_kept = |name: &str| !matches!(name, "page" | "per_page" | "endpoint") && !name.starts_with('_');
        let link = |page: u64| {
            let own = [("page".to_owned(), page.to_string()), ("per_page".to_owned(), per_page.to_string())];
            let pairs = own.iter().chain(query.0.iter().filter(|(name, _)| is_kept(name)));
            let pairs: Vec<_> = pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
            format!("{}?{}", place.address, pairs.join("&"))
        };
        Meta {
            first: link(1),
            last: link(pages),
            next: (page < pages).then(|| link(page + 1)),
            page,
            pages,
            per_page,
            prev: (page > 1).then(|| link(page - 1)),
            total,
            unreadable: Vec::new(),
        }
    }
}

/// Encodes a part of a query. What the service leaves as it is stays as it is, so that links are
/// the same text.
fn encoded(text: &str) -> String {
    const LEFT: &[u8] = b"-._~!$'()*,/:;?@";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            byte if byte.is_ascii_alphanumeric() || LEFT.contains(&byte) => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The position of a page in its list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Meta {
    /// The address of the first page.
    first: String,
    last: String,
    next: Option<String>,
    page: u64,
    pages: u64,
    per_page: u32,
    prev: Option<String>,
    /// The rows of all pages.
    total: u64,
    /// Rows that belong here and cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unreadable: Vec<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing<T: ToSchema> {
    pub(super) items: Vec<T>,
    pub(super) meta: Meta,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(text).unwrap()
    }

    fn wanted(text: &str) -> Wanted {
        query(text).read::<PageQuery>().unwrap().page()
    }

    fn place() -> Place {
        let (prefix, address) = (String::new(), "http://h/api/2/events/".to_owned());
        Place { version_1: false, prefix, address, query: None }
    }

    #[test]
    fn pages_are_bounded() {
        for (text, page, per_page) in [
            ("", 1, 10),
            ("page=3&per_page=7", 3, 7),
            ("page=0&per_page=101", 1, 100),
            ("page=-4&per_page=-4", 1, 20),
            ("page=x&per_page=", 1, 10),
            ("page=99999999999999999999&per_page=99999999999999999999", 9_223_372_036_854_775_807, 100),
            ("page=5000000000&per_page=9223372036854775807", 5_000_000_000, 100),
            ("page=-99999999999999999999&per_page=-99999999999999999999", 1, 20),
        ] {
            assert_eq!(wanted(text), Wanted { page, per_page }, "{text}");
        }
    }

    #[test]
    fn links_keep_repeated_filters() {
        let query = query("state=a&per_page=5&state=b&_external=1&x=a%20b%26c%3Ad%2Fe~f");
        let meta = query.read::<PageQuery>().unwrap().page().meta(&query, &place(), 11);
        assert_eq!(meta.first, "http://h/api/2/events/?page=1&per_page=5&state=a&state=b&x=a+b%26c:d/e~f");
        assert_eq!(meta.last, meta.first.replace("page=1", "page=3"));
        assert_eq!((meta.pages, meta.prev), (3, None));
        let none = Query::default();
        let empty = wanted("per_page=0").meta(&none, &place(), 11);
        assert_eq!((empty.pages, empty.next), (0, None));
    }

    #[test]
    fn a_page_is_cut_out_of_all_rows() {
        let cut = |text: &str| wanted(text).cut((0..25).collect()).collect::<Vec<i32>>();
        assert_eq!(cut("page=2&per_page=10"), (10..20).collect::<Vec<_>>());
        assert_eq!(cut("page=3&per_page=10"), (20..25).collect::<Vec<_>>());
        assert!(cut("page=4&per_page=10").is_empty());
        assert!(cut("per_page=0").is_empty());
    }
}
