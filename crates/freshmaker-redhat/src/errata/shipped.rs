//! Searches for advisories that have shipped.
//!
//! The search knows states and no times, and answers in pages. It sorts by number, which is the
//! order in which advisories were created; how long each is in preparation differs.

use crate::rest::field::{Read, Wrong, at, items, maybe_at, number, text};
use freshmaker::time::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// How long an advisory may be in preparation. One that was created longer before the time in
/// question than this is not found.
pub(super) const PREPARATION: Duration = Duration::from_secs(180 * 24 * 3600);

/// Most pages of one search, each with 20 advisories or more. Some ten thousand advisories are
/// shipped in a year.
pub(super) const PAGES_MAX: usize = 2_000;

/// What is asked for: shipped ones, those with the highest numbers first.
pub(super) fn query(page: usize) -> String {
    format!("?show_state_SHIPPED_LIVE=1&sort_by_fields%5B%5D=new&page%5Bnumber%5D={page}")
}

/// When an advisory was created, and when it shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) created: Timestamp,
    pub(super) shipped: Timestamp,
}

/// A page of a search.
pub(super) struct Page {
    /// Numbers of advisories, with their times if the row has them.
    pub(super) rows: Vec<(u64, Option<Times>)>,
    /// Whether no other page follows.
    pub(super) last: bool,
}

/// Reads a page of `erratum/search`.
pub(super) fn page(answer: &Value) -> Read<Page> {
    let mut rows = Vec::new();
    at(answer, "data", |data| {
        items(data, |row| {
            let id = at(row, "id", number)?;
            let has_times = maybe_at(row, "timestamps", |_| Ok(()))?.is_some();
            rows.push((id, if has_times { Some(times(row)?) } else { None }));
            Ok(())
        })
    })?;
    let pages =
        maybe_at(answer, "page", |page| Ok((at(page, "current_page", number)?, at(page, "total_pages", number)?)))?;
    let last = rows.is_empty() || pages.is_some_and(|(current, total)| current >= total);
    Ok(Page { rows, last })
}

/// Reads the times of an advisory, as `advisory/ID.json` shows them. An advisory without the time
/// at which it shipped has that of its last change of state.
pub(super) fn times(advisory: &Value) -> Read<Times> {
    at(advisory, "timestamps", |times| {
        let created = at(times, "created_at", time)?;
        let shipped = match maybe_at(times, "actual_ship_date", time)? {
            Some(shipped) => shipped,
            None => at(times, "status_time", time)?,
        };
        Ok(Times { created, shipped })
    })
}

fn time(value: &Value) -> Read<Timestamp> {
    let text = text(value)?;
    text.parse().map_err(|error| Wrong::new(format_args!("`{text}` is no time: {error}")))
}
