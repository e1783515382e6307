//! A fake Koji hub: sessions, tasks that progress with a clock, builds with their contents, and
//! scripted faults.
//!
//! The hub answers over real HTTP as the hub of Koji 1.35 does, to any client. A
//! [script](Hub::script) decides the progress and the result of submissions, and each call can be
//! made to [fail](Trouble). The [`Ledger`] records every submitted task, so that a test can check
//! that the client submitted nothing twice.
//!
//! ```
//! use freshmaker_redhat::koji::xmlrpc::{Request, Response, Value};
//! use freshmaker::engine::SystemClock;
//! use freshmaker_redhat::fakes::koji::{Fate, Hub};
//! use std::sync::Arc;
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let hub = Hub::start(Arc::new(SystemClock)).await?;
//! hub.add_user("freshmaker", "secret");
//! hub.script(|submission| match submission.artifact() {
//!     "git://src.example.com/broken" => Some(Fate::fails(1005, "it does not compile")),
//!     _ => Some(Fate::succeeds().taking(Duration::from_secs(600))),
//! });
//!
//! // The bytes on the wire; a client library sends them for you.
//! let call = Request::new("login", vec!["freshmaker".into(), "secret".into()]).encode()?;
//! let head = format!("POST /kojihub HTTP/1.0\r\nContent-Length: {}\r\n\r\n", call.len());
//! let mut stream = tokio::net::TcpStream::connect(hub.address()).await?;
//! stream.write_all((head + &call).as_bytes()).await?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer).await?;
//! let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
//! let Response::Value(session) = Response::parse(body.as_bytes())? else {
//!     panic!("no session: {answer}")
//! };
//! assert_eq!(session.get::<i64>(&["session-id"])?, 1);
//!
//! assert!(hub.ledger().violations().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builds;
mod bus;
mod calls;
mod container;
mod hub;
mod ledger;
mod output;
mod script;
mod session;
mod tags;
mod tasks;
mod values;
mod world;

pub use bus::Dialect;
pub use container::Container;
pub use hub::Hub;
pub use ledger::{Entry, Ledger, Violation};
pub use script::{End, Fate, Submission, Trouble};
