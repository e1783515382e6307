//! Bounds of requests. The layers in `layers` apply them to every route, also to those that the
//! embedding service adds with `Web::router_with`. Bounds of connections are in `serve`.

use crate::rate::Quota;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Bounds of everything that comes in. No limit can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// Longest body of a request, in bytes; a longer one is answered with 413. Default: 1 MiB.
    pub body_bytes: usize,
    /// Longest path and query of a request, in bytes; a longer one is answered with 414. Default:
    /// 8 KiB.
    pub url_bytes: usize,
    /// Longest names and values of all headers together, in bytes; longer ones are answered with
    /// 431. [`serve`](crate::serve) reads no more than 64 KiB of them. Default: 16 KiB.
    pub header_bytes: usize,
    /// How long a request may take until its answer begins; then it is answered with 503. The key
    /// in a file is `timeout_s`. Default: 30 s.
    #[serde(rename = "timeout_s", deserialize_with = "seconds")]
    pub timeout: Duration,
    /// How long a request may take to send its body; then it is answered with 408. The key in a
    /// file is `body_timeout_s`. Default: 15 s.
    #[serde(rename = "body_timeout_s", deserialize_with = "seconds")]
    pub body_timeout: Duration,
    /// How long one call to the storage may take; then the request is answered with 503. The key in
    /// a file is `storage_timeout_s`. Default: 10 s.
    #[serde(rename = "storage_timeout_s", deserialize_with = "seconds")]
    pub storage_timeout: Duration,
    /// Requests of one principal, or of one address if the caller is unknown. Default: 600 a
    /// minute, 120 at once.
    pub requests: Quota,
    /// Refused logins of one address. Beyond, it can only log in with what was accepted within the
    /// hour. Default: 10 a minute, 20 at once.
    pub refused_logins: Quota,
    /// How many streams of changes may be open. Default: 2,000.
    pub streams: usize,
    /// How many rows of writes, and how many of refusals, the audit log keeps. Default: 10,000.
    pub audit_rows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            url_bytes: 8 << 10,
            header_bytes: 16 << 10,
            timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(15),
            storage_timeout: Duration::from_secs(10),
            requests: Quota { per_minute: 600, burst: 120 },
            refused_logins: Quota { per_minute: 10, burst: 20 },
            streams: 2_000,
            audit_rows: 10_000,
        }
    }
}

impl Limits {
    /// The first limit that would let nothing through.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        let zero = "must be at least 1".to_owned();
        let bounds = [
            ("limits.body_bytes", self.body_bytes == 0),
            ("limits.url_bytes", self.url_bytes == 0),
            ("limits.header_bytes", self.header_bytes == 0),
            ("limits.timeout_s", self.timeout.is_zero()),
            ("limits.body_timeout_s", self.body_timeout.is_zero()),
            ("limits.storage_timeout_s", self.storage_timeout.is_zero()),
            ("limits.requests", self.requests.is_empty()),
            ("limits.refused_logins", self.refused_logins.is_empty()),
            ("limits.streams", self.streams == 0),
            ("limits.audit_rows", self.audit_rows == 0),
        ];
        bounds.into_iter().find(|(_, is_zero)| *is_zero).map(|(field, _)| (field, zero))
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u32::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.into()))
}
