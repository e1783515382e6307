//! The engine with what this crate gives it: messages of services in, and the forms and messages of
//! the service Freshmaker out, by bus and by REST.
#![allow(clippy::unwrap_used)]

mod conversion;
mod fixture;
mod forms;
mod messages;
mod rest;
mod schemas;
mod telling;

use freshmaker_sql::SqliteStorage;
use freshmaker_testing::world::{TokioClock, World};
use std::sync::Arc;

/// A world on each storage.
fn each() -> [World; 2] {
    let clock = Arc::new(TokioClock::new());
    let sqlite = SqliteStorage::in_memory().unwrap().with_clock(clock.clone());
    [World::new(), World::on(Arc::new(sqlite), clock)]
}
