//! Removes rows that `Retention` does not keep any longer, in small transactions.

use super::dialect::{self, Now, immediately};
use super::rows::inbox_number;
use super::schema::{attempts, build_causes, build_deps, builds, events, inbox, plans, transitions};
use super::write::must_live;
use super::{CHUNK, Connection, failed};
use diesel::dsl::{exists, not};
use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, RunQueryDsl};
use freshmaker::backend::{Result, Retention, Swept};
use freshmaker::rebuild::{BuildState, EventState, InboxState, RunId};
use freshmaker::time::{Timestamp, earlier, to_micros};
use std::time::Duration;

diesel::alias!(builds as newer: NewerBuild, builds as children: ChildBuild);

pub(super) fn sweep(
    connection: &mut Connection,
    run: RunId,
    retention: Retention,
    limit: u32,
    now: Now,
) -> Result<Swept> {
    immediately(connection, |connection| {
        must_live(connection, run)?;
        dialect::lock_sweep(connection)?;
        let now = dialect::moment(connection, now)?;
        let events = remove_events(connection, retention, limit, now)?;
        let builds = remove_builds(connection, limit)?;
        let handled = [InboxState::Done, InboxState::Ignored];
        let messages = remove_messages(connection, &handled, retention.messages, limit, now)?;
        let rest = limit.saturating_sub(u32::try_from(messages).unwrap_or(limit));
        let dead = remove_messages(connection, &[InboxState::Dead], retention.dead_letters, rest, now)?;
        Ok(Swept { messages: messages + dead, events, builds })
    })
}

fn terminal_events() -> Vec<i16> {
    EventState::ALL.iter().filter(|state| state.is_terminal()).map(|state| state.number()).collect()
}

fn terminal_builds() -> Vec<i16> {
    BuildState::ALL.iter().filter(|state| state.is_terminal()).map(|state| state.number()).collect()
}

/// Removes events that have ended long ago, or of which there are too many.
fn remove_events(connection: &mut Connection, retention: Retention, limit: u32, now: Timestamp) -> Result<u64> {
    let ended = || events::table.filter(events::state.eq_any(terminal_events()));
    let mut old: Vec<i64> = Vec::new();
    if let Some(age) = retention.events {
        let before = to_micros(earlier(now, age));
        let rows = ended().filter(events::done_at.le(before)).order(events::id).limit(limit.into());
        old = rows.select(events::id).load(connection).map_err(failed)?;
    }
    if let Some(most) = retention.events_max {
        let count = ended().count().get_result::<i64>(connection).map_err(failed)?;
        let surplus = count.saturating_sub(i64::try_from(most).unwrap_or(i64::MAX)).clamp(0, limit.into());
        let rows = ended().order(events::id).limit(surplus).select(events::id);
        old.extend(rows.load::<i64>(connection).map_err(failed)?);
        old.sort_unstable();
        old.dedup();
        old.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    dialect::lock_events(connection, &old)?;
    for chunk in old.chunks(CHUNK) {
        let run = |query: diesel::QueryResult<usize>| query.map(drop).map_err(failed);
        run(diesel::delete(build_causes::table.filter(build_causes::event.eq_any(chunk))).execute(connection))?;
        run(diesel::delete(plans::table.filter(plans::event.eq_any(chunk))).execute(connection))?;
        run(diesel::delete(events::table.filter(events::id.eq_any(chunk))).execute(connection))?;
        forget(connection, "event", &chunk.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    }
    Ok(old.len() as u64)
}

/// Selects builds that have ended, that no event wants any more, and from which no build is made:
/// all, or those of these numbers.
fn needless(connection: &mut Connection, of: Option<&[i64]>, limit: u32) -> Result<Vec<i64>> {
    let wanted = exists(build_causes::table.filter(build_causes::build.eq(builds::id)));
    let later = newer.filter(newer.field(builds::build_key).eq(builds::build_key));
    let later = later.filter(newer.field(builds::output).is_not_null()).filter(newer.field(builds::id).gt(builds::id));
    // Of builds that have run the latest is kept, since its time is the estimate of the next one.
    let done = BuildState::Done.number();
    let later = later.filter(builds::state.ne(done).or(newer.field(builds::state).eq(done)));
    let replaced = builds::output.is_null().or(exists(later));
    let open = children.filter(children.field(builds::state).ne_all(terminal_builds()));
    // A build that ended without what it waited for still counts that: it goes first.
    let by_open = build_deps::child.eq_any(open.select(children.field(builds::id)));
    let used = build_deps::table.filter(build_deps::parent.eq(builds::id));
    let used = used.filter(build_deps::satisfied.eq(false).or(by_open));
    let mut query = builds::table
        .filter(builds::state.eq_any(terminal_builds()))
        .filter(not(wanted))
        .filter(replaced)
        .filter(not(exists(used)))
        .order(builds::id)
        .limit(limit.into())
        .select(builds::id)
        .into_boxed();
    if let Some(of) = of {
        query = query.filter(builds::id.eq_any(of));
    }
    query.load(connection).map_err(failed)
}

/// Removes builds that have ended, that no event wants any more, and from which no build is made.
fn remove_builds(connection: &mut Connection, limit: u32) -> Result<u64> {
    let mut needless_now = needless(connection, None, limit)?;
    if dialect::lock_builds(connection, &needless_now)? {
        needless_now = needless(connection, Some(&needless_now), limit)?;
    }
    for chunk in needless_now.chunks(CHUNK) {
        let run = |query: diesel::QueryResult<usize>| query.map(drop).map_err(failed);
        let edges = build_deps::parent.eq_any(chunk).or(build_deps::child.eq_any(chunk));
        run(diesel::delete(build_deps::table.filter(edges)).execute(connection))?;
        let tried = attempts::table.filter(attempts::build.eq_any(chunk)).select(attempts::id);
        let tried = tried.load::<String>(connection).map_err(failed)?;
        run(diesel::delete(attempts::table.filter(attempts::build.eq_any(chunk))).execute(connection))?;
        run(diesel::delete(builds::table.filter(builds::id.eq_any(chunk))).execute(connection))?;
        forget(connection, "attempt", &tried)?;
        forget(connection, "build", &chunk.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    }
    Ok(needless_now.len() as u64)
}

/// Removes messages in these states that came long ago and of which there is no event.
fn remove_messages(
    connection: &mut Connection,
    states: &[InboxState],
    age: Option<Duration>,
    limit: u32,
    now: Timestamp,
) -> Result<u64> {
    let Some(age) = age else { return Ok(0) };
    let states: Vec<_> = states.iter().map(|state| inbox_number(*state)).collect();
    let same = events::source.eq(inbox::source).and(events::message_id.eq(inbox::message_id));
    // The index has only rows with a source.
    let event = events::table.filter(events::source.ne("")).filter(same);
    let old = inbox::received_at.le(to_micros(earlier(now, age))).and(inbox::state.eq_any(states));
    let rows =
        inbox::table.filter(old.clone()).filter(not(exists(event))).order(inbox::received_at).limit(limit.into());
    let numbers: Vec<i64> = rows.select(inbox::id).load(connection).map_err(failed)?;
    let mut removed = 0;
    for chunk in numbers.chunks(CHUNK) {
        // One that is new again by now stays.
        let rows = inbox::table.filter(inbox::id.eq_any(chunk)).filter(old.clone());
        removed += diesel::delete(rows).execute(connection).map_err(failed)?;
    }
    Ok(removed as u64)
}

/// Removes the history of these rows.
fn forget(connection: &mut Connection, aggregate: &str, ids: &[String]) -> Result<()> {
    for chunk in ids.chunks(CHUNK) {
        let rows =
            transitions::table.filter(transitions::aggregate.eq(aggregate)).filter(transitions::id.eq_any(chunk));
        diesel::delete(rows).execute(connection).map_err(failed)?;
    }
    Ok(())
}
