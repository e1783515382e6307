//! The simulated world on SQLite: eight seeds, since each call goes to another thread.
//! `FRESHMAKER_SIM_SEEDS=from..to` chooses others.
#![allow(clippy::unwrap_used)]

use freshmaker_sql::SqliteStorage;
use freshmaker_testing::sim::simulate_on;
use std::sync::Arc;
use test_support::in_parallel;

#[test]
fn no_seed_breaks_a_promise_on_sqlite() {
    let seeds = std::env::var("FRESHMAKER_SIM_SEEDS").unwrap_or_else(|_| "0..8".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let seeds: Vec<u64> = (from.parse().unwrap()..to.parse().unwrap()).collect();
    in_parallel(&seeds, |seed| {
        let _entered = runtime.enter();
        let report = simulate_on(*seed, |clock| Arc::new(SqliteStorage::in_memory().unwrap().with_clock(clock)));
        report.unwrap_or_else(|failed| panic!("{failed}"));
    });
}
