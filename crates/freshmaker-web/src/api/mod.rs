//! `/api/3`.

pub(crate) mod artifacts;
pub(crate) mod builds;
mod cloudevents;
pub(crate) mod dead_letters;
pub(crate) mod etag;
pub(crate) mod events;
pub(crate) mod failures;
pub(crate) mod messages;
pub(crate) mod operations;
pub(crate) mod paging;
pub(crate) mod plans;
pub(crate) mod report;
pub(crate) mod stream;
pub(crate) mod systems;
pub(crate) mod tokens;
pub(crate) mod views;
