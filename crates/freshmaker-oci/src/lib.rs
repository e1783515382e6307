//! Container registries for [freshmaker]: what a tag names today, whether an image is built on what
//! its parents are today, and events for tags that have new content.
//!
//! * [`OciClient`] reads from registries of OCI and Docker, and verifies the digest of all content.
//!   One client speaks to all of them: what one does differently is in `auth` (logins), `host`
//!   (requests, redirections) or `status` (refusals).
//! * [`Snapshot::examine`] says whether an image is stale, from which evidence; the rules are those
//!   of [`staleness`].
//! * [`poll::Poller`] sends an event for each tag that has new content, also for changes that
//!   happened while the service was stopped.
//!
//! ```no_run
//! use freshmaker_oci::staleness::Freshness;
//! use freshmaker_oci::{OciClient, OciConfig, Recipe};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = OciClient::new(OciConfig::of_user())?; // the logins of docker and podman
//! let image = "registry.example.org/app:1".parse()?;
//! let examined = client.snapshot().examine(&image, Recipe::Unknown).await?;
//! if examined.freshness == Freshness::Stale {
//!     println!("{image} has to be built again: {:?}", examined.findings);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `fakes` | | `fakes`: a registry for tests, with wrong, refused and endless answers |
//!
//! # Limits
//! * Registries are only read, except by [`OciClient::tag`]. Signatures are not checked.
//! * Manifests have at most 4 MiB, blobs that are read at most
//!   [`blob_bytes_max`](OciConfig::blob_bytes_max), lists of tags at most 100,000 tags on 100
//!   pages, and at most 4 indexes are nested.
//! * Digests are verified with SHA-256 and SHA-512; other algorithms are refused.
//! * Docker's manifests of schema 1 are refused.
//! * A request is repeated only with the login that its first answer demanded. After 429 with
//!   `Retry-After` no request is sent to the registry for that time: every call returns
//!   [`NotNow`](freshmaker::backend::Remedy::NotNow).

mod auth;
mod cache;
mod client;
mod config;
mod credentials;
mod examine;
#[cfg(feature = "fakes")]
pub mod fakes;
mod host;
pub mod manifest;
pub mod poll;
pub mod provenance;
mod snapshot;
pub mod staleness;
mod status;

pub use client::{Fetched, OciClient};
pub use config::{MirrorsFor, OciConfig, RegistryConfig};
pub use examine::{Examined, Finding, Recipe};
pub use manifest::MANIFEST_BYTES_MAX;
pub use snapshot::{Image, Snapshot};
