//! The real engine with backends in memory: what becomes of messages, decisions, builds and runs.
#![allow(clippy::unwrap_used)]

mod config;
mod decisions;
mod gate;
mod messages;
mod runs;
mod schedule;
mod schemas;
mod systems;
mod telling;

use freshmaker_sql::SqliteStorage;
use freshmaker_testing::world::World;
use std::sync::Arc;

/// A world on each storage.
fn each() -> [World; 2] {
    [World::new(), World::on(Arc::new(SqliteStorage::in_memory().unwrap()))]
}
