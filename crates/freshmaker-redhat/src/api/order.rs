//! Lists in another order than that of their numbers.
//!
//! No storage keeps rows in such an order, and most of these columns are not columns of its tables:
//! the name is a part of an NVR, the event is one of several. So all rows of a list are read, if
//! they are at most [`ROWS_MAX`], and ordered here. A row without the value comes first, and rows
//! with one value are in the order of their numbers, both as in the service over SQLite.

use super::answer::Failure;
use super::paging::Wanted;
use crate::forms::BuildForm;
use freshmaker::backend::{Page, Paging};
use freshmaker::rebuild::EventRecord;
use freshmaker_web::Problem;

/// A list of more rows is only there in the order of their numbers.
pub(super) const ROWS_MAX: u32 = 10_000;

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// One of the columns of the service.
    pub(super) column: &'static str,
    pub(super) descending: bool,
}

/// What a row is ordered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Missing,
    Number(i64),
    Text(String),
}

impl Key {
    fn number(number: Option<i64>) -> Self {
        number.map_or(Self::Missing, Self::Number)
    }

    fn text(text: Option<String>) -> Self {
        text.map_or(Self::Missing, Self::Text)
    }
}

impl Order {
    /// Reads the order: one of the columns that the service has, with `-` in front for the
    /// opposite.
    pub(super) fn read(text: &str, columns: &[&'static str]) -> Result<Self, Failure> {
        let name = text.strip_prefix('-').filter(|name| !name.is_empty()).unwrap_or(text);
        if let Some(column) = columns.iter().find(|column| **column == name) {
            return Ok(Self { column, descending: name != text });
        }
        // Columns in the form of Python, as the service has them in its answer.
        let columns: Vec<_> = columns.iter().map(|column| format!("'{column}'")).collect();
        let columns = columns.join(", ");
        Err(Failure::bad(format!("An invalid order_by key was suplied, allowed keys are: [{columns}]")))
    }

    /// Whether storages keep the rows in this order.
    pub(super) fn is_by_number(self) -> bool {
        self.column == "id"
    }

    /// Cuts a page out of all rows of a list.
    pub(super) fn page<T>(self, rows: Vec<T>, wanted: Wanted, key: impl Fn(&T, &str) -> (Key, i64)) -> Vec<T> {
        let mut keyed: Vec<_> = rows.into_iter().map(|row| (key(&row, self.column), row)).collect();
        keyed.sort_by(|((one, first), _), ((other, second), _)| {
            let by_column = if self.descending { other.cmp(one) } else { one.cmp(other) };
            by_column.then(first.cmp(second))
        });
        wanted.cut(keyed).map(|(_, row)| row).collect()
    }
}

/// Reads all rows of a list, part by part.
///
/// # Errors
/// 400 if there are too many.
pub(super) async fn all<T, F>(part: impl Fn(Paging) -> F) -> Result<Page<T>, Failure>
where
    F: Future<Output = Result<Page<T>, Problem>>,
{
    let first = Paging::first(Paging::LIMIT_MAX);
    let mut all = part(first.counted()).await?;
    let total = all.total.unwrap_or_default();
    let mut rows = 0;
    loop {
        if total.max(rows) > u64::from(ROWS_MAX) {
            let text = format!("The list has more than {ROWS_MAX} rows, and is only there in the order of \"id\"");
            return Err(Failure::bad(format!("{text}. Filter it, or leave order_by out.")));
        }
        let Some(next) = all.next else { return Ok(all) };
        let Page { items, next, unreadable, .. } = part(first.behind(next)).await?;
        all.items.extend(items);
        all.unreadable.extend(unreadable);
        (all.next, rows) = (next, all.items.len() as u64);
    }
}

/// What an event is ordered by.
pub(super) fn of_event(event: &EventRecord, column: &str) -> (Key, i64) {
    let key = match column {
        "message_id" => Key::Text(event.message_id.clone()),
        _ => Key::Number(event.id.0),
    };
    (key, event.id.0)
}

/// What a build is ordered by.
pub(super) fn of_build(form: &BuildForm, column: &str) -> (Key, i64) {
    let key = match column {
        "name" => Key::Text(form.name.clone()),
        "event_id" => Key::number(form.event_id.map(|id| id.0)),
        "dep_on_id" => Key::number(form.dep_on_id.map(|id| id.0)),
        "build_id" => Key::number(form.build_id),
        "original_nvr" => Key::text(form.original_nvr.as_ref().map(ToString::to_string)),
        "rebuilt_nvr" => Key::text(form.rebuilt_nvr.as_ref().map(ToString::to_string)),
        _ => Key::Number(form.id.0),
    };
    (key, form.id.0)
}

#[cfg(test)]
mod tests {
    use super::super::paging::{PageQuery, Query};
    use super::*;

    /// A list of so many numbers, read part by part.
    async fn numbers(rows: u64) -> Result<Vec<u64>, Failure> {
        let part = |paging: Paging| async move {
            let first = paging.behind.map_or(0, |behind| behind as u64 + 1);
            let end = rows.min(first + u64::from(paging.limit));
            let next = (end < rows).then_some(end as i64 - 1);
            let total = paging.counted.then_some(rows);
            Ok(Page { items: (first..end).collect(), next, total, unreadable: Vec::new() })
        };
        Ok(all(part).await?.items)
    }

    #[tokio::test]
    async fn lists_have_a_bound() {
        for rows in [0, 1, 999, 1000, 1001, 10_000] {
            assert_eq!(numbers(rows).await.unwrap(), (0..rows).collect::<Vec<_>>(), "{rows}");
        }
        let Failure::Refused(status, message) = numbers(10_001).await.unwrap_err() else { panic!() };
        assert_eq!(status, 400);
        assert!(message.contains("more than 10000 rows"), "{message}");
    }

    #[test]
    fn orders_are_read() {
        let read = |text: &str| {
            let query = Query::of(text).unwrap().read::<PageQuery>().unwrap();
            Order::read(query.order_by(), &["id", "message_id"])
        };
        for (text, column, descending) in [
            ("", "id", true),
            ("order_by=id", "id", false),
            ("order_by=-id", "id", true),
            ("order_by=message_id", "message_id", false),
            ("order_by=-message_id&order_by=id", "message_id", true),
        ] {
            assert_eq!(read(text).unwrap(), Order { column, descending }, "{text}");
        }
        for text in ["order_by=name", "order_by=-", "order_by=--id", "order_by=", "order_by=id;"] {
            let Failure::Refused(status, message) = read(text).unwrap_err() else { panic!() };
            assert_eq!(status, 400);
            assert!(message.ends_with("allowed keys are: ['id', 'message_id']"), "{message}");
        }
    }
}
