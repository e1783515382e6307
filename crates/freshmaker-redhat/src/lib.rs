//! [freshmaker] for the services of Fedora and Red Hat.
//!
//! * [`messages`]: the events of Koji, the Errata Tool, ODCS, MBS, dist-git and Bodhi, and parsers
//!   of their messages.
//! * [`forms`]: events and builds as the Python service Freshmaker shows them, and its messages.
//! * `api` (feature `rest`): the REST interface of the Python service Freshmaker.
//! * [`contracts`]: what handlers ask about advisories and images, as contracts.
//! * [`image`]: which releases of container images are rebuilt on which parents.
//! * `errata` (feature `errata`): advisories of the Errata Tool.
//! * `koji` (feature `koji`): the build system Koji, and what it knows about builds.
//! * `lightblue` (feature `lightblue`): released images, as Lightblue knows them.
//! * `mbs` (feature `mbs`): the build system of modules, and what it knows about them.
//! * `odcs` (feature `odcs`): package repositories made by ODCS, as prerequisites of builds.
//! * `pulp` (feature `pulp`): content sets of package repositories, from Pulp.
//! * `pyxis` (feature `pyxis`): released images, as Pyxis knows them.
//! * [`handlers`]: handlers that are ready to use.
//! * [`conversion`]: the allow and block lists of the Python service Freshmaker, as a policy.
//! * [`scan`]: finds advisories that have shipped without a message of it.
//! * `fakes` (feature `fakes`): an Errata Tool, a Koji hub, a Lightblue, an MBS, an ODCS, a Pulp
//!   and a Pyxis for tests and demonstrations.
//!
//! ```
//! use freshmaker::Message;
//! use freshmaker_redhat::messages::{self, errata::AdvisoryStatusChanged};
//!
//! let parsers = messages::parsers(["VirtualTopic.eng"]);
//! let message = Message {
//!     id: "ID:1".into(),
//!     topic: "VirtualTopic.eng.errata.activity.status".into(),
//!     headers: [].into(),
//!     body: r#"{"errata_id": 139856, "from": "QE", "to": "SHIPPED_LIVE"}"#.into(),
//! };
//! let envelope = parsers.parse(&message).expect("a topic of a parser")?;
//! assert_eq!(envelope.open::<AdvisoryStatusChanged>()?.to, "SHIPPED_LIVE");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An advisory ships
//! The core of [`handlers::RebuildImagesOfAdvisory`], as a handler of your own: it asks the policy,
//! finds the images, and returns the plan. The engine stores it and starts the builds.
//!
//! ```
//! use async_trait::async_trait;
//! use freshmaker::{Context, Decision, Handler, HandlerResult};
//! use freshmaker_redhat::image::ImageSearch;
//! use freshmaker_redhat::contracts::{Advisories, ContentSets};
//! use freshmaker_redhat::messages::errata::AdvisoryStatusChanged;
//! use std::sync::Arc;
//!
//! struct RebuildImages {
//!     advisories: Arc<dyn Advisories>,
//!     content_sets: Arc<dyn ContentSets>,
//!     search: ImageSearch,
//! }
//!
//! #[async_trait]
//! impl Handler<AdvisoryStatusChanged> for RebuildImages {
//!     async fn handle(&self, event: AdvisoryStatusChanged, cx: Context) -> HandlerResult {
//!         if event.to != "SHIPPED_LIVE" {
//!             return Ok(Decision::Ignore);
//!         }
//!         let advisory = self.advisories.advisory(u64::try_from(event.errata_id)?).await?;
//!         let facts = advisory.facts(cx.facts());
//!         if let Some(verdict) = cx.policy().blocks_all(&facts) {
//!             return Ok(Decision::Skip(verdict.to_string()));
//!         }
//!         let fixed = self.advisories.fixed_packages(advisory.id).await?;
//!         let repositories = self.advisories.repositories(advisory.id).await?;
//!         let content_sets = self.content_sets.content_sets(&repositories).await?;
//!         let found = self.search.find(&fixed, &content_sets).await?;
//!         let selection = found.judged_by(cx.policy(), &facts).select()?;
//!         Ok(Decision::Rebuild(selection.planner().facts(facts).plan()?))
//!     }
//! }
//! ```
//!
//! # Features
//!
//! | feature | default | gives | needs |
//! |---|---|---|---|
//! | `errata` | yes | `errata` | |
//! | `koji` | yes | `koji` | |
//! | `lightblue` | yes | `lightblue` | |
//! | `mbs` | yes | `mbs` | `git`, for builds from new commits |
//! | `odcs` | yes | `odcs` | |
//! | `pulp` | yes | `pulp` | |
//! | `pyxis` | yes | `pyxis` | |
//! | `rest` | | `api` | |
//! | `gssapi` | | logins with Kerberos | `libgssapi_krb5.so.2` when it is used |
//! | `native-tls` | | TLS by OpenSSL, for hubs that ask for a client certificate only at the path of the login | OpenSSL with its headers |
//! | `fakes` | | `fakes` | |
//!
//! # Limits
//! Koji is spoken to as hub 1.35 answers, ODCS as its REST API of version 1, Pulp as
//! its REST API of version 2. Each module states its own limits.

#[cfg(feature = "rest")]
pub mod api;
pub mod contracts;
pub mod conversion;
#[cfg(feature = "errata")]
pub mod errata;
#[cfg(feature = "fakes")]
pub mod fakes;
pub mod forms;
pub mod handlers;
pub mod image;
#[cfg(feature = "koji")]
pub mod koji;
#[cfg(feature = "lightblue")]
pub mod lightblue;
#[cfg(feature = "mbs")]
pub mod mbs;
pub mod messages;
#[cfg(feature = "odcs")]
pub mod odcs;
#[cfg(feature = "pulp")]
pub mod pulp;
#[cfg(feature = "pyxis")]
pub mod pyxis;
#[cfg(any(feature = "lightblue", feature = "pyxis"))]
mod released;
#[cfg(any(feature = "errata", feature = "lightblue", feature = "mbs", feature = "pulp", feature = "pyxis"))]
mod rest;
pub mod scan;
