//! The real engine with backends in memory: what becomes of messages, decisions, builds and runs.
#![allow(clippy::unwrap_used)]

mod answers;
mod applied;
mod bounds;
mod config;
mod decisions;
mod doors;
mod dry_run;
mod gate;
mod group;
mod history;
mod hosts;
mod isolation;
mod messages;
mod paused;
mod replicas;
mod runs;
mod schedule;
mod schemas;
mod systems;
mod telling;
mod trouble;
mod why;

use freshmaker_sql::SqliteStorage;
use freshmaker_testing::world::{TokioClock, World};
use std::sync::Arc;

/// A world on each storage.
fn each() -> [World; 2] {
    let clock = Arc::new(TokioClock::new());
    let sqlite = SqliteStorage::in_memory().unwrap().with_clock(clock.clone());
    [World::new(), World::on(Arc::new(sqlite), clock)]
}
