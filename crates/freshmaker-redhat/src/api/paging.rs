//! The query of a list, its page, and the links between pages.

use super::Api;
use super::answer::Failure;
use super::order::Order;
use super::place::Place;
use freshmaker::backend::Paging;
use freshmaker_web::axum::extract::FromRequestParts;
use freshmaker_web::axum::http::request::Parts;
use serde::Serialize;

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
        Self::read(parts.uri.query().unwrap_or_default())
    }
}

impl Query {
    fn read(text: &str) -> Result<Self, Failure> {
        let pairs = serde_urlencoded::from_str(text);
        pairs.map(Self).map_err(|error| Failure::bad(format!("The query cannot be read: {error}")))
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Whether events are shown with all their builds. Only the two values of Python count.
    pub(super) fn shows_builds(&self, place: &Place) -> bool {
        let mut values = self.all("show_full_json");
        match (values.next(), values.next()) {
            (Some("True"), None) => true,
            (Some("False"), None) => false,
            _ => place.version_1,
        }
    }

    /// Which page is wanted.
    pub(super) fn page(&self) -> Wanted {
        let number = |name| self.first(name).and_then(|text| text.trim().parse::<i64>().ok());
        let per_page = match number("per_page") {
            None => PER_PAGE,
            Some(negative) if negative < 0 => PER_PAGE_NEGATIVE,
            Some(size) => u32::try_from(size).unwrap_or(PER_PAGE_MAX).min(PER_PAGE_MAX),
        };
        let page = number("page").and_then(|page| u64::try_from(page).ok());
        // No list reaches beyond, and the links have room for the next number.
        let page = page.unwrap_or(1).clamp(1, u64::from(u32::MAX));
        Wanted { page, per_page }
    }

    /// Reads the order: one of the columns that the service has, with `-` in front for the
    /// opposite.
    pub(super) fn order(&self, columns: &[&'static str]) -> Result<Order, Failure> {
        let text = self.first("order_by").unwrap_or("-id");
        let name = text.strip_prefix('-').filter(|name| !name.is_empty()).unwrap_or(text);
        if let Some(column) = columns.iter().find(|column| **column == name) {
            return Ok(Order { column, descending: name != text });
        }
        // Columns in the form of Python, as the service has them in its answer.
        let columns: Vec<_> = columns.iter().map(|column| format!("'{column}'")).collect();
        let columns = columns.join(", ");
        Err(Failure::bad(format!("An invalid order_by key was suplied, allowed keys are: [{columns}]")))
    }
}

/// Which page of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    page: u64,
    per_page: u32,
}

impl Wanted {
    /// How many rows are on the pages before.
    fn offset(self) -> u64 {
        (self.page - 1) * u64::from(self.per_page)
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
            let pairs: Vec<_> = own.iter().chain(query.0.iter().filter(|(name, _)| is_kept(name))).collect();
            let text = serde_urlencoded::to_string(pairs).expect("pairs of texts");
            format!("{}?{text}", place.address)
        };
        Meta {
            first: link(1),
            last: link(pages),
            next: (page < pages).then(|| link(page + 1)),
            prev: (page > 1).then(|| link(page - 1)),
            page,
            pages,
            per_page,
            total,
            unreadable: Vec::new(),
        }
    }
}

/// The position of a page in its list.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Meta {
    first: String,
    last: String,
    next: Option<String>,
    prev: Option<String>,
    page: u64,
    pages: u64,
    per_page: u32,
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unreadable: Vec<String>,
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct Listing<T> {
    pub(super) items: Vec<T>,
    pub(super) meta: Meta,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::read(text).unwrap()
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
            ("page=99999999999999999999&per_page=99999999999999999999", 1, 10),
            ("page=9223372036854775807&per_page=9223372036854775807", u64::from(u32::MAX), 100),
        ] {
            assert_eq!(query(text).page(), Wanted { page, per_page }, "{text}");
        }
    }

    #[test]
    fn links_keep_repeated_filters() {
        let query = query("state=a&per_page=5&state=b&_external=1&x=a%20b%26c");
        let meta = query.page().meta(&query, &place(), 11);
        assert_eq!(meta.first, "http://h/api/2/events/?page=1&per_page=5&state=a&state=b&x=a+b%26c");
        assert_eq!(meta.last, meta.first.replace("page=1", "page=3"));
        assert_eq!((meta.pages, meta.prev), (3, None));
        let none = Query::default();
        let empty = Query::read("per_page=0").unwrap().page().meta(&none, &place(), 11);
        assert_eq!((empty.pages, empty.next), (0, None));
    }

    #[test]
    fn orders_are_read() {
        let columns = ["id", "message_id"];
        for (text, column, descending) in [
            ("", "id", true),
            ("order_by=id", "id", false),
            ("order_by=-id", "id", true),
            ("order_by=message_id", "message_id", false),
            ("order_by=-message_id&order_by=id", "message_id", true),
        ] {
            assert_eq!(query(text).order(&columns).unwrap(), Order { column, descending }, "{text}");
        }
        for text in ["order_by=name", "order_by=-", "order_by=--id", "order_by=", "order_by=id;"] {
            let Failure::Refused(status, message) = query(text).order(&columns).unwrap_err() else { panic!() };
            assert_eq!(status, 400);
            assert!(message.ends_with("allowed keys are: ['id', 'message_id']"), "{message}");
        }
    }

    #[test]
    fn a_page_is_cut_out_of_all_rows() {
        let cut = |text: &str| query(text).page().cut((0..25).collect()).collect::<Vec<i32>>();
        assert_eq!(cut("page=2&per_page=10"), (10..20).collect::<Vec<_>>());
        assert_eq!(cut("page=3&per_page=10"), (20..25).collect::<Vec<_>>());
        assert!(cut("page=4&per_page=10").is_empty());
        assert!(cut("per_page=0").is_empty());
    }
}
