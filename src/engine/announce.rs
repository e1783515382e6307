use crate::rebuild::{Neighbourhood, Notification};
use serde_json::Value;
use std::fmt;

/// A message to be sent about a change, besides the engine's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// The topic. It must be different for each message about one change, since it is part of the
    /// message's id.
    pub topic: String,
    /// The body.
    pub body: Value,
}

/// Announces changes in another form, for programs that expect the messages of another service.
///
/// Registered with [`EngineBuilder::announcer`](super::EngineBuilder::announcer).
///
/// ```
/// use freshmaker::engine::{Announcement, Announcer};
/// use freshmaker::rebuild::{Neighbourhood, Notification, RowKey};
/// use serde_json::json;
///
/// /// Tells a dashboard how many builds an event has.
/// #[derive(Debug)]
/// struct Dashboard;
///
/// impl Announcer for Dashboard {
///     fn announce(&self, change: &Notification, rows: &Neighbourhood) -> Vec<Announcement> {
///         let RowKey::Event(id) = &change.of else { return Vec::new() };
///         let body = json!({"event": id, "builds": rows.builds.len()});
///         vec![Announcement { topic: "dashboard.event".to_owned(), body }]
///     }
/// }
/// # let builder = freshmaker::Engine::builder().announcer(Dashboard);
/// # drop(builder);
/// ```
pub trait Announcer: fmt::Debug + Send + Sync + 'static {
    /// Returns the messages about a change, at most one for each topic.
    ///
    /// `rows` has the event with all its builds, or the build with its events, and all attempts of
    /// these builds, as they are stored now. They may have changed since `change` was stored. The
    /// call must be cheap, and must give the same messages when it is made again with the same
    /// arguments: a change may be announced twice.
    fn announce(&self, change: &Notification, rows: &Neighbourhood) -> Vec<Announcement>;
}
