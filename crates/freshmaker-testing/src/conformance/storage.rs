mod audit;
mod documents;
mod inbox;
mod leases;
mod lists;
mod outbox;
mod queries;
mod retention;
mod sample;
mod scopes;
mod writing;

use crate::sim::VirtualClock;
use freshmaker::backend::{Clock, Lease, Remedy, Result, Scope, Storage};
use freshmaker::rebuild::{Commit, RowChange, RunId};
use std::sync::Arc;

/// Runs cases, each on a fresh storage and its clock.
macro_rules! run {
    ($make:expr, $($case:path),* $(,)?) => {
        $(
            let clock = VirtualClock::new(sample::at(0));
            let storage = ($make)(Arc::new(clock.clone())).await;
            done("migrate", storage.upkeep().migrate().await);
            done("migrate again", storage.upkeep().migrate().await);
            $case(World { storage: &storage, clock: &clock }).await;
        )*
    };
}

/// Holds a [`Storage`] to its contract; `make` gives a fresh, empty one each time it is called,
/// which takes its time from the clock.
///
/// The suite moves the clock, so that leases end and moments come without waiting. A storage that
/// has a clock of its own, such as a database, needs a way to be given another one for this suite.
///
/// ```
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_testing::conformance;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// conformance::storage(async |clock| MemoryStorage::new().with_clock(clock)).await;
/// # }
/// ```
///
/// # Panics
/// Where the contract is broken, saying what was expected.
pub async fn storage<S: Storage>(make: impl AsyncFn(Arc<dyn Clock>) -> S) {
    writes(&make).await;
    questions(&make).await;
}

async fn writes<S: Storage>(make: &impl AsyncFn(Arc<dyn Clock>) -> S) {
    run!(
        make,
        inbox::a_message_is_stored_once,
        inbox::messages_are_claimed_oldest_first,
        inbox::only_what_no_living_run_handles_is_claimed_again,
        inbox::what_a_dead_run_has_left_comes_first_and_counts_a_try,
        inbox::a_dead_letter_can_be_new_again,
        inbox::a_dead_letter_can_be_dismissed,
        inbox::a_clock_that_is_set_back_holds_no_message_up,
        inbox::a_message_is_changed_only_by_the_run_that_claimed_it,
        inbox::numbers_never_repeat,
        leases::runs_never_repeat,
        leases::a_run_that_is_over_writes_nothing,
        leases::a_renewed_lease_holds,
        leases::a_clock_that_is_set_back_keeps_no_lease_alive,
        leases::what_is_left_by_a_run_that_is_over_is_due,
        leases::partitions_are_shared_among_the_living,
        inbox::dead_letters_keep_their_bytes,
        writing::every_field_survives,
        writing::moments_are_microseconds,
        writing::nothing_or_everything_is_written,
        writing::versions_are_compared,
        writing::builds_that_make_progress_together_are_compared_one_by_one,
        writing::a_build_has_one_live_attempt,
        writing::a_key_has_one_build_in_each_slot,
        writing::an_external_id_is_written_once,
        writing::an_event_is_decided_once,
        writing::what_a_decision_rests_on_must_not_change,
        writing::dependencies_are_counted,
        writing::limits_hold_after_a_commit,
        writing::rows_refer_to_rows_that_are_there,
    );
}

async fn questions<S: Storage>(make: &impl AsyncFn(Arc<dyn Clock>) -> S) {
    run!(
        make,
        scopes::builds_come_with_what_is_beside_them,
        scopes::descendants_are_those_that_wait,
        scopes::a_renewal_comes_with_what_prepares_its_parents,
        scopes::several_scopes_are_the_rows_of_each,
        scopes::an_event_comes_with_its_builds,
        scopes::an_attempt_comes_with_its_build,
        scopes::keys_come_with_what_is_connected,
        scopes::what_is_unknown_is_empty,
        queries::due_builds_are_ordered_and_limited,
        queries::a_clock_that_is_set_back_holds_no_build_up,
        queries::a_long_line_hides_no_other,
        queries::the_priorities_of_what_runs_are_known,
        queries::durations_are_those_of_the_latest_successes,
        queries::due_attempts_are_longest_unobserved_first,
        queries::the_next_moment_is_the_earliest_left_out,
        lists::events_are_filtered,
        lists::pages_follow_each_other,
        lists::builds_are_filtered,
        lists::builds_are_counted_and_linked,
        lists::events_come_with_counts,
        lists::builds_come_with_links,
        documents::documents_have_versions,
        documents::documents_are_listed_newest_first,
        documents::documents_expire_and_are_limited,
        outbox::all_partitions_have_one_order,
        outbox::notifications_come_in_order_of_their_positions,
        outbox::each_bus_has_a_position,
        outbox::what_is_trimmed_is_gone,
        retention::ended_events_go_by_age_and_number,
        retention::builds_go_when_nobody_needs_them,
        retention::what_is_counted_or_estimated_stays,
        retention::messages_go_when_no_event_is_left,
        queries::histories_and_plans_come_back,
        queries::the_overview_counts,
        audit::sound_rows_have_no_violations,
        audit::wrong_counters_are_found,
        audit::wrong_ends_are_found,
        audit::cycles_are_found,
        audit::wrong_histories_are_found,
    );
}

fn done<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {:?}: {error}", error.remedy))
}

/// A storage, and the clock that it has.
#[derive(Clone, Copy)]
struct World<'a> {
    storage: &'a dyn Storage,
    clock: &'a VirtualClock,
}

impl World<'_> {
    /// Moves the clock so many seconds behind the moment at which a case begins.
    fn pass_to(&self, seconds: i64) {
        self.clock.advance_to(sample::at(seconds));
    }

    async fn lease(&self) -> Lease {
        done("lease", self.storage.lease(None).await)
    }
}

/// The changes as a client commits them, with the count of edges if they need it.
async fn commit(storage: &dyn Storage, changes: impl IntoIterator<Item = RowChange>) -> Commit {
    let changes: Vec<_> = changes.into_iter().collect();
    let adds_edges = changes.iter().any(|change| matches!(change, RowChange::Dependency(edge) if !edge.satisfied));
    let edges = if adds_edges { Some(edges(storage).await) } else { None };
    Commit { edges, ..Commit::unfenced(changes) }
}

async fn edges(storage: &dyn Storage) -> u64 {
    done("load", storage.load(&Scope::Builds(Vec::new())).await).edges
}

async fn write(storage: &dyn Storage, changes: impl IntoIterator<Item = RowChange>) {
    done("commit", storage.commit(commit(storage, changes).await).await);
}

async fn write_by(storage: &dyn Storage, run: RunId, changes: impl IntoIterator<Item = RowChange>) {
    done("commit", storage.commit(Commit::by(run, changes.into_iter().collect())).await);
}

async fn refused(storage: &dyn Storage, why: &str, remedy: Remedy, changes: impl IntoIterator<Item = RowChange>) {
    let commit = commit(storage, changes).await;
    refused_commit(storage, why, remedy, commit).await;
}

async fn refused_commit(storage: &dyn Storage, why: &str, remedy: Remedy, commit: Commit) {
    match storage.commit(commit).await {
        Ok(()) => panic!("{why}: it was written, but must be refused as {remedy:?}"),
        Err(error) => assert_eq!(error.remedy, remedy, "{why}: refused, but with another remedy: {error}"),
    }
}

fn ids<T, K>(rows: &[T], id: impl Fn(&T) -> K) -> Vec<K> {
    rows.iter().map(id).collect()
}
