//! Lists of events, builds and messages by a filter, page by page, and counts of them.
//!
//! A filter becomes one condition, made of those of its fields that restrict. Totals by state alone
//! come from `tallies`, which triggers keep in the writing transaction; others are counted.

use super::dialect::{OutputName, among, only};
use super::prepared::{Plain, part_of};
use super::query::readable;
use super::rows::{BuildRow, CauseRow, DependencyRow, EventRow, InboxRow, Place, dependency_number, inbox_number};
use super::schema::{attempts, build_causes, build_deps, builds, events, inbox, tallies};
use super::text::StoredText;
use super::{CHUNK, Connection, Db, failed};
use diesel::dsl::count_star;
use diesel::expression::BoxableExpression;
use diesel::prelude::{Queryable, Selectable};
use diesel::sql_types::Bool;
use diesel::{
    BoolExpressionMethods, EscapeExpressionMethods, ExpressionMethods, QueryDsl, QueryResult, RunQueryDsl,
    SelectableHelper, TextExpressionMethods,
};
use freshmaker::artifact::ArtifactKind;
use freshmaker::backend::{
    BuildCount, BuildFilter, BuildLinks, CausedCount, Error, EventCount, EventFilter, Links, NeededBuild, Page, Paging,
    Remedy, Result, Violation,
};
use freshmaker::rebuild::{
    BuildId, BuildRecord, BuildState, DependencyKind, EventId, EventRecord, EventState, ExternalId, InboxRecord,
    InboxState,
};
use freshmaker::store::page_limit;
use freshmaker::time::to_micros;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Condition<Table> = Box<dyn BoxableExpression<Table, Db, SqlType = Bool>>;

/// Adds a condition to those that must hold.
macro_rules! must {
    ($all:ident, $condition:expr) => {
        $all = Box::new($all.and($condition))
    };
}

/// Adds that a column has one of the values, if there are any.
macro_rules! one_of {
    ($all:ident, $column:expr, $values:expr) => {
        match $values.as_slice() {
            [] => {}
            [one] => must!($all, only($column, one)?),
            some => must!($all, among($column, fits(some)?)?),
        }
    };
}

/// Checks that a list is not longer than one question may have.
fn fits<V>(values: &[V]) -> Result<&[V]> {
    if values.len() <= CHUNK {
        return Ok(values);
    }
    let text = format!("a filter with {} values is too long: at most {CHUNK} at once", values.len());
    Err(Error::new(Remedy::Unsupported, super::PLACE, text))
}

fn of_events(filter: &EventFilter) -> Result<Condition<events::table>> {
    let EventFilter { states, ids, kinds, search_keys, message_ids, requesters, reason_codes, .. } = filter;
    let lists = [states.len(), ids.len(), kinds.len(), search_keys.len(), message_ids.len(), requesters.len()];
    let conditions = lists.into_iter().chain([reason_codes.len()]).filter(|values| *values > 0).count();
    let times = [filter.created_from, filter.created_until].into_iter().flatten().count();
    let mut all: Condition<events::table> = Box::new(Plain::all(conditions + times));
    let states: Vec<_> = filter.states.iter().map(|state| state.number()).collect();
    one_of!(all, events::state, states);
    one_of!(all, events::id, filter.ids);
    one_of!(all, events::kind, filter.kinds);
    one_of!(all, events::search_key, filter.search_keys);
    one_of!(all, events::message_id, filter.message_ids);
    one_of!(all, events::requester, filter.requesters);
    one_of!(all, events::reason_code, filter.reason_codes);
    if let Some(from) = filter.created_from {
        must!(all, events::created_at.ge(to_micros(from)));
    }
    if let Some(until) = filter.created_until {
        must!(all, events::created_at.lt(to_micros(until)));
    }
    Ok(all)
}

/// How many fields of a filter restrict.
fn conditions_on_builds(filter: &BuildFilter) -> usize {
    let BuildFilter { states, ids, events, artifacts, kinds, systems, reason_codes, .. } = filter;
    let BuildFilter { event_kinds, search_keys, names, outputs, externals, parents, .. } = filter;
    let own = [states.len(), ids.len(), artifacts.len(), kinds.len(), systems.len(), reason_codes.len()];
    let others = [events.len(), event_kinds.len(), search_keys.len(), names.len(), outputs.len(), externals.len()];
    let lists = own.into_iter().chain(others).chain([parents.len()]).filter(|values| *values > 0).count();
    lists + [filter.created_from, filter.created_until].into_iter().flatten().count()
}

fn of_builds(filter: &BuildFilter) -> Result<Condition<builds::table>> {
    let mut all: Condition<builds::table> = Box::new(Plain::all(conditions_on_builds(filter)));
    let states: Vec<_> = filter.states.iter().map(|state| state.number()).collect();
    let kinds: Vec<_> = filter.kinds.iter().map(|kind| kind.number()).collect();
    one_of!(all, builds::state, states);
    one_of!(all, builds::id, filter.ids);
    one_of!(all, builds::artifact, filter.artifacts);
    one_of!(all, builds::kind, kinds);
    one_of!(all, builds::system, filter.systems);
    one_of!(all, builds::reason_code, filter.reason_codes);
    if !filter.outputs.is_empty() {
        must!(all, builds::output.is_not_null());
        one_of!(all, OutputName, filter.outputs);
    }
    if !filter.names.is_empty() {
        must!(all, has_name(fits(&filter.names)?));
    }
    if let Some(from) = filter.created_from {
        must!(all, builds::created_at.ge(to_micros(from)));
    }
    if let Some(until) = filter.created_until {
        must!(all, builds::created_at.lt(to_micros(until)));
    }
    beside_builds(filter, all)
}

/// Adds the conditions of a filter about other rows than the build.
fn beside_builds(filter: &BuildFilter, mut all: Condition<builds::table>) -> Result<Condition<builds::table>> {
    if !filter.events.is_empty() {
        let caused = build_causes::table.filter(among(build_causes::event, fits(&filter.events)?)?);
        must!(all, builds::id.eq_any(caused.select(build_causes::build)));
    }
    if !filter.event_kinds.is_empty() {
        let of_kind = events::table.filter(among(events::kind, fits(&filter.event_kinds)?)?).select(events::id);
        let caused = build_causes::table.filter(build_causes::event.eq_any(of_kind));
        must!(all, builds::id.eq_any(caused.select(build_causes::build)));
    }
    if !filter.search_keys.is_empty() {
        let about = events::table.filter(among(events::search_key, fits(&filter.search_keys)?)?).select(events::id);
        let caused = build_causes::table.filter(build_causes::event.eq_any(about));
        must!(all, builds::id.eq_any(caused.select(build_causes::build)));
    }
    if !filter.externals.is_empty() {
        let known = attempts::table.filter(among(attempts::external, fits(&filter.externals)?)?);
        must!(all, builds::id.eq_any(known.select(attempts::build)));
    }
    if !filter.parents.is_empty() {
        let children = build_deps::table.filter(among(build_deps::parent, fits(&filter.parents)?)?);
        must!(all, builds::id.eq_any(children.select(build_deps::child)));
    }
    Ok(all)
}

/// Whether the artifact has one of these names, or is an NVR with one of them: version and release
/// have no hyphen, so that exactly one is behind the name and its hyphen.
fn has_name(names: &[String]) -> Condition<builds::table> {
    let mut any: Condition<builds::table> = Box::new(Plain::none(names.len()));
    for name in names {
        let (first, last) = (format!("{name}-"), format!("{name}."));
        let literal = name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let one = builds::artifact.like(format!("{literal}-_%-_%")).escape('\\');
        let more = builds::artifact.not_like(format!("{literal}-%-%-%")).escape('\\');
        let is_nvr = builds::artifact.gt(first).and(builds::artifact.lt(last)).and(one).and(more);
        any = Box::new(any.or(builds::artifact.eq(name.clone())).or(is_nvr));
    }
    any
}

/// Reads the rows of a page from a query without order and limit: one row more than the page has,
/// which shows whether there are further rows.
macro_rules! page_of {
    ($query:expr, $id:expr, $paging:expr, $columns:expr) => {{
        let paging: Paging = $paging;
        let mut query = $query.into_boxed();
        if let Some(behind) = paging.behind {
            query = if paging.oldest_first { query.filter($id.gt(behind)) } else { query.filter($id.lt(behind)) };
        }
        query = if paging.oldest_first { query.order($id.asc()) } else { query.order($id.desc()) };
        let offset = i64::try_from(paging.offset).unwrap_or(i64::MAX);
        part_of(query.select($columns), offset, i64::from(page_limit(paging)) + 1)
    }};
}

/// Makes a page of rows with their numbers, each of which is read as it comes.
fn page<Row, T>(
    rows: impl Iterator<Item = QueryResult<(i64, Row)>>,
    paging: Paging,
    total: Option<u64>,
    record: impl Fn(Row) -> Result<T>,
) -> Result<Page<T>> {
    let limit = usize::try_from(page_limit(paging)).unwrap_or(usize::MAX);
    let (mut items, mut unreadable) = (Vec::with_capacity(limit.min(ROOM)), Vec::new());
    let (mut last, mut next) = (None, None);
    for (place, row) in rows.enumerate() {
        let (id, row) = row.map_err(failed)?;
        if place == limit {
            next = last;
            break;
        }
        last = Some(id);
        items.extend(readable(record(row), &mut unreadable));
    }
    Ok(Page { items, next, total, unreadable })
}

/// For so many rows there is room from the beginning.
const ROOM: usize = 64;

/// How many rows of a table there are in these states, or in any.
fn tally(connection: &mut Connection, subject: &str, states: &[i16]) -> Result<u64> {
    let rows = tallies::table.filter(tallies::subject.eq(subject)).select((tallies::state, tallies::amount));
    let rows = rows.load::<(i16, i64)>(connection).map_err(failed)?;
    let wanted = rows.into_iter().filter(|(state, _)| states.is_empty() || states.contains(state));
    Ok(count(wanted.map(|(_, amount)| amount).sum()))
}

fn count(amount: i64) -> u64 {
    u64::try_from(amount).unwrap_or(0)
}

pub(super) fn events_page(
    connection: &mut Connection,
    filter: &EventFilter,
    paging: Paging,
) -> Result<Page<EventRecord>> {
    let states: Vec<_> = filter.states.iter().map(|state| state.number()).collect();
    let by_state = EventFilter { states: filter.states.clone(), ..EventFilter::default() };
    let total = match paging.counted {
        false => None,
        true if *filter == by_state => Some(tally(connection, "events", &states)?),
        true => {
            let all = events::table.filter(of_events(filter)?).select(count_star());
            Some(count(all.get_result(connection).map_err(failed)?))
        }
    };
    let columns = (events::id, EventRow::as_select());
    let rows = page_of!(events::table.filter(of_events(filter)?), events::id, paging, columns);
    let rows = rows.load_iter(connection).map_err(failed)?;
    page(rows, paging, total, |row: EventRow| if paging.brief { row.brief().record() } else { row.record() })
}

/// How many builds a filter lets through. By state, and without repositories, the tallies say so.
fn total_of_builds(connection: &mut Connection, filter: &BuildFilter) -> Result<u64> {
    let states: Vec<_> = filter.states.iter().map(|state| state.number()).collect();
    let by_state = BuildFilter { states: filter.states.clone(), ..BuildFilter::default() };
    if *filter == by_state {
        return tally(connection, "builds", &states);
    }
    let is_repository = |kind: &ArtifactKind| *kind == ArtifactKind::Repository;
    let others: BTreeSet<_> = filter.kinds.iter().filter(|kind| !is_repository(kind)).collect();
    let no_repositories = filter.kinds.len() == others.len() && others.len() == OTHER_KINDS;
    if no_repositories && *filter == (BuildFilter { kinds: filter.kinds.clone(), ..by_state }) {
        let mut hidden: Condition<builds::table> = Box::new(Plain::IS_REPOSITORY);
        one_of!(hidden, builds::state, states);
        let hidden = builds::table.filter(hidden).select(count_star()).get_result(connection).map_err(failed)?;
        return Ok(tally(connection, "builds", &states)?.saturating_sub(count(hidden)));
    }
    let all = builds::table.filter(of_builds(filter)?).select(count_star());
    Ok(count(all.get_result(connection).map_err(failed)?))
}

/// How many kinds of artifacts there are beside repositories.
const OTHER_KINDS: usize = 4;

pub(super) fn builds_page(
    connection: &mut Connection,
    filter: &BuildFilter,
    paging: Paging,
) -> Result<Page<BuildRecord>> {
    let total = if paging.counted { Some(total_of_builds(connection, filter)?) } else { None };
    let columns = (builds::id, BuildRow::as_select());
    let rows = page_of!(builds::table.filter(of_builds(filter)?), builds::id, paging, columns);
    let rows = rows.load_iter(connection).map_err(failed)?;
    page(rows, paging, total, |row: BuildRow| if paging.brief { row.brief().record() } else { row.record() })
}

pub(super) fn messages(
    connection: &mut Connection,
    states: &[InboxState],
    paging: Paging,
) -> Result<Page<InboxRecord>> {
    let states: Vec<_> = states.iter().map(|state| inbox_number(*state)).collect();
    if states.is_empty() {
        return Ok(Page { items: Vec::new(), next: None, total: paging.counted.then_some(0), unreadable: Vec::new() });
    }
    let total = if paging.counted { Some(tally(connection, "inbox", &states)?) } else { None };
    let mut wanted: Condition<inbox::table> = Box::new(Plain::all(1));
    one_of!(wanted, inbox::state, states);
    let columns = (inbox::id, InboxRow::as_select());
    let rows = page_of!(inbox::table.filter(wanted), inbox::id, paging, columns);
    let rows = rows.load_iter(connection).map_err(failed)?;
    page(rows, paging, total, InboxRow::letter)
}

/// Rows of one sort, in one state and for one reason. What cannot be read is left out here, and
/// reported where rows are read.
type Counted = (StoredText, i16, StoredText, i64);

pub(super) fn count_events(connection: &mut Connection, filter: &EventFilter) -> Result<Vec<EventCount>> {
    let by = (events::kind, events::state, events::reason_code);
    let rows = events::table.filter(of_events(filter)?).group_by(by).order(by);
    let rows = rows.select((events::kind, events::state, events::reason_code, count_star()));
    let rows = rows.load::<Counted>(connection).map_err(failed)?;
    let row = |(kind, state, reason_code, amount): Counted| {
        let (kind, reason_code) = (kind.into_string().ok()?, reason_code.into_string().ok()?);
        Some(EventCount { kind, state: EventState::from_number(state)?, reason_code, count: count(amount) })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

pub(super) fn count_builds(connection: &mut Connection, filter: &BuildFilter) -> Result<Vec<BuildCount>> {
    let by = (builds::system, builds::state, builds::reason_code);
    let rows = builds::table.filter(of_builds(filter)?).group_by(by).order(by);
    let rows = rows.select((builds::system, builds::state, builds::reason_code, count_star()));
    let rows = rows.load::<Counted>(connection).map_err(failed)?;
    let row = |(system, state, reason_code, amount): Counted| {
        let (system, reason_code) = (system.into_string().ok()?, reason_code.into_string().ok()?);
        Some(BuildCount { system, state: BuildState::from_number(state)?, reason_code, count: count(amount) })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

pub(super) fn events_with_counts(
    connection: &mut Connection,
    filter: &EventFilter,
    paging: Paging,
) -> Result<Page<(EventRecord, Vec<CausedCount>)>> {
    let page = events_page(connection, filter, paging)?;
    let mut counts = count_caused(connection, &ids(&page, |event| event.id))?;
    Ok(page.map(|event| {
        let caused = counts.remove(&event.id.0).unwrap_or_default();
        (event, caused)
    }))
}

fn ids<T, I>(page: &Page<T>, id: impl Fn(&T) -> I) -> Vec<I> {
    page.items.iter().map(id).collect()
}

/// How many builds each of these events has caused.
fn count_caused(connection: &mut Connection, events: &[EventId]) -> Result<BTreeMap<i64, Vec<CausedCount>>> {
    let by = (build_causes::event, builds::kind, builds::state, build_causes::live);
    let rows = build_causes::table.inner_join(builds::table).filter(among(build_causes::event, events)?);
    let rows = rows.group_by(by).order(by);
    let rows = rows.select((build_causes::event, builds::kind, builds::state, build_causes::live, count_star()));
    let mut counts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (event, kind, state, live, amount) in rows.load::<(i64, i16, i16, bool, i64)>(connection).map_err(failed)? {
        // The build itself is reported.
        if let Some((kind, state)) = ArtifactKind::from_number(kind).zip(BuildState::from_number(state)) {
            let count = CausedCount { kind, state, live, count: count(amount) };
            counts.entry(event).or_default().push(count);
        }
    }
    Ok(counts)
}

pub(super) fn builds_with_links(
    connection: &mut Connection,
    filter: &BuildFilter,
    paging: Paging,
) -> Result<Page<(BuildRecord, BuildLinks)>> {
    let mut page = builds_page(connection, filter, paging)?;
    let ids = ids(&page, |build| build.id);
    let mut links = BTreeMap::new();
    add_causes(connection, &ids, &mut links)?;
    add_needs(connection, &ids, &mut links, &mut page.unreadable)?;
    add_externals(connection, &ids, &mut links, &mut page.unreadable)?;
    Ok(page.map(|build| {
        let links = links.remove(&build.id.0).unwrap_or_default();
        (build, links)
    }))
}

/// What is beside builds, by their numbers.
type Beside = BTreeMap<i64, BuildLinks>;

fn add_causes(connection: &mut Connection, of: &[BuildId], links: &mut Beside) -> Result<()> {
    let rows = build_causes::table.filter(among(build_causes::build, of)?);
    let rows = rows.order((build_causes::build, build_causes::event));
    let rows = rows.select((build_causes::build, build_causes::event, build_causes::live));
    for (build, event, live) in rows.load::<(i64, i64, bool)>(connection).map_err(failed)? {
        let BuildLinks { wanted_by, withdrawn_by, .. } = links.entry(build).or_default();
        (if live { wanted_by } else { withdrawn_by }).push(EventId(event));
    }
    Ok(())
}

/// What lists show of a build that another one needs.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = builds)]
struct NeededRow {
    id: i64,
    artifact: StoredText,
    kind: i16,
    output: Option<StoredText>,
}

impl NeededRow {
    fn record(self) -> Result<NeededBuild> {
        let place = Place { table: "builds", id: &self.id };
        Ok(NeededBuild {
            id: BuildId(self.id),
            artifact: place.text("artifact", self.artifact)?.into(),
            kind: place.coded("kind", self.kind, ArtifactKind::from_number)?,
            output: self.output.map(|text| place.json("output", &text)).transpose()?,
        })
    }
}

/// Adds the builds that these need. One that many need, as is usual, is read once.
fn add_needs(
    connection: &mut Connection,
    of: &[BuildId],
    links: &mut Beside,
    unreadable: &mut Vec<Violation>,
) -> Result<()> {
    let edges = build_deps::table.filter(among(build_deps::child, of)?);
    let edges = edges.filter(build_deps::kind.eq(dependency_number(DependencyKind::Needs)));
    let edges = edges.order((build_deps::child, build_deps::parent)).select((build_deps::child, build_deps::parent));
    let edges = edges.load::<(i64, i64)>(connection).map_err(failed)?;
    let parents: BTreeSet<_> = edges.iter().map(|(_, parent)| BuildId(*parent)).collect();
    let parents: Vec<_> = parents.into_iter().collect();
    let rows = builds::table.filter(among(builds::id, &parents)?).select(NeededRow::as_select());
    let rows = rows.load::<NeededRow>(connection).map_err(failed)?.into_iter();
    let needed = rows.filter_map(|row| readable(row.record(), unreadable));
    let needed: BTreeMap<_, _> = needed.map(|build| (build.id, Arc::new(build))).collect();
    for (child, parent) in edges {
        links.entry(child).or_default().needs.extend(needed.get(&BuildId(parent)).cloned());
    }
    Ok(())
}

fn add_externals(
    connection: &mut Connection,
    of: &[BuildId],
    links: &mut Beside,
    unreadable: &mut Vec<Violation>,
) -> Result<()> {
    let rows = attempts::table.filter(among(attempts::build, of)?);
    let rows = rows.order((attempts::build, attempts::number)).select((attempts::build, attempts::external));
    for (build, external) in rows.load::<(i64, Option<StoredText>)>(connection).map_err(failed)? {
        let Some(external) = external else { continue };
        let external = Place { table: "attempts of build", id: &build }.text("external", external);
        if let Some(external) = readable(external, unreadable) {
            links.entry(build).or_default().external = Some(ExternalId::new(external));
        }
    }
    Ok(())
}

pub(super) fn links(connection: &mut Connection, builds: &[BuildId]) -> Result<Links> {
    let builds = fits(builds)?;
    let causes = build_causes::table.filter(among(build_causes::build, builds)?);
    let causes = causes.order((build_causes::build, build_causes::event)).select(CauseRow::as_select());
    let causes = causes.load(connection).map_err(failed)?;
    let beside = among(build_deps::child, builds)?.or(among(build_deps::parent, builds)?);
    let edges = build_deps::table.filter(beside).order((build_deps::child, build_deps::parent));
    let edges = edges.select(DependencyRow::as_select()).load(connection).map_err(failed)?;
    // What cannot be read is reported by the check: it must not hide the links of other builds.
    Ok(Links {
        causes: causes.into_iter().filter_map(|row: CauseRow| row.record().ok()).collect(),
        dependencies: edges.into_iter().filter_map(|row| row.record().ok()).collect(),
    })
}
