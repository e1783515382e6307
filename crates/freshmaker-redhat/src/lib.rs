//! [freshmaker] in the world of Fedora and Red Hat.
//!
//! * [`messages`]: the events of Koji, the Errata Tool, ODCS, MBS, dist-git and Bodhi, and parsers
//!   of their messages.
//! * [`forms`]: events and builds as the Python service Freshmaker shows them, and its messages.
//! * [`lookup`]: what handlers ask about advisories and images, as contracts.
//! * [`image`]: which releases of container images are rebuilt on which parents.
//! * `errata` (feature `errata`): advisories of the Errata Tool.
//! * `koji` (feature `koji`): the build system Koji, and what it knows about builds.
//! * `lightblue` (feature `lightblue`): released images, as Lightblue knows them.
//! * `odcs` (feature `odcs`): package repositories made by ODCS, as prerequisites of builds.
//! * `pulp` (feature `pulp`): content sets of package repositories, from Pulp.
//! * [`handlers`]: handlers that are ready to use.
//! * `fakes` (feature `fakes`): an Errata Tool, a Koji hub, a Lightblue, an ODCS and a Pulp for
//!   tests and demonstrations.
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
//! # Features
//!
//! | feature | default | gives | needs |
//! |---|---|---|---|
//! | `errata` | yes | `errata` | |
//! | `koji` | yes | `koji` | |
//! | `lightblue` | yes | `lightblue` | |
//! | `odcs` | yes | `odcs` | |
//! | `pulp` | yes | `pulp` | |
//! | `gssapi` | | logins with Kerberos | `libgssapi_krb5.so.2` when it is used |
//! | `native-tls` | | TLS by OpenSSL, for hubs that ask for a client certificate only at the path of the login | OpenSSL with its headers |
//! | `fakes` | | `fakes` | |
//!
//! # Limits
//! Koji is spoken to as hub 1.35 answers, ODCS as its REST API of version 1, Pulp as
//! its REST API of version 2. Each module states its own limits.

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
pub mod lookup;
pub mod messages;
#[cfg(feature = "odcs")]
pub mod odcs;
#[cfg(feature = "pulp")]
pub mod pulp;
#[cfg(any(feature = "errata", feature = "pulp"))]
mod rest;
