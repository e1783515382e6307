//! stub
use super::record::EventId;
/// x
#[derive(Debug)]
pub struct Admission {
    /// x
    pub event: EventId,
}
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct NotAdmitted;
