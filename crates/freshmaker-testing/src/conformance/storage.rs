mod audit;
mod inbox;
mod queries;
mod sample;
mod scopes;
mod writing;

use freshmaker::backend::{Remedy, Result, Storage};
use freshmaker::rebuild::RowChange;

/// Holds a [`Storage`] to its contract; `make` gives a fresh, empty one each time it is called.
///
/// ```
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_testing::conformance;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// conformance::storage(async || MemoryStorage::new()).await;
/// # }
/// ```
///
/// # Panics
/// Where the contract is broken, saying what was expected.
pub async fn storage<S: Storage>(make: impl AsyncFn() -> S) {
    macro_rules! run {
        ($($case:path),* $(,)?) => {
            $(
                let storage = make().await;
                done("migrate", storage.migrate().await);
                done("migrate again", storage.migrate().await);
                $case(&storage).await;
            )*
        };
    }
    run!(
        inbox::a_message_is_stored_once,
        inbox::messages_are_claimed_oldest_first,
        inbox::only_a_later_run_claims_again,
        inbox::tokens_and_numbers_never_repeat,
        inbox::dead_letters_keep_their_bytes,
        writing::every_field_survives,
        writing::moments_are_microseconds,
        writing::nothing_or_everything_is_written,
        writing::versions_are_compared,
        writing::a_build_has_one_live_attempt,
        writing::a_key_has_one_build_in_each_slot,
        writing::an_external_id_is_written_once,
        writing::rows_refer_to_rows_that_are_there,
        scopes::builds_come_with_what_is_beside_them,
        scopes::descendants_are_those_that_wait,
        scopes::a_renewal_comes_with_what_prepares_its_parents,
        scopes::an_event_comes_with_its_builds,
        scopes::an_attempt_comes_with_its_build,
        scopes::keys_come_with_what_is_connected,
        scopes::what_is_unknown_is_empty,
        queries::due_builds_are_ordered_and_limited,
        queries::a_long_line_hides_no_other,
        queries::the_priorities_of_what_runs_are_known,
        queries::durations_are_those_of_the_latest_successes,
        queries::due_attempts_are_longest_unobserved_first,
        queries::the_next_moment_is_the_earliest_left_out,
        queries::events_are_filtered_and_paged,
        queries::builds_are_filtered_and_paged,
        queries::notifications_wait_in_order_until_published,
        queries::trails_and_plans_come_back,
        queries::the_overview_counts,
        audit::sound_rows_have_no_violations,
        audit::wrong_counters_are_found,
        audit::wrong_ends_are_found,
        audit::wrong_trails_are_found,
    );
}

fn done<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {:?}: {error}", error.remedy))
}

async fn write(storage: &dyn Storage, changes: impl IntoIterator<Item = RowChange>) {
    done("transact", storage.transact(changes.into_iter().collect()).await);
}

async fn refused(storage: &dyn Storage, why: &str, remedy: Remedy, changes: impl IntoIterator<Item = RowChange>) {
    match storage.transact(changes.into_iter().collect()).await {
        Ok(()) => panic!("{why}: it was written, but must be refused as {remedy:?}"),
        Err(error) => assert_eq!(error.remedy, remedy, "{why}: refused, but with another remedy: {error}"),
    }
}

fn ids<T, K>(rows: &[T], id: impl Fn(&T) -> K) -> Vec<K> {
    rows.iter().map(id).collect()
}
