//! The world: implementations of the backend contracts.

#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(feature = "command")]
pub mod command;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "koji")]
pub mod koji;
pub mod memory;
#[cfg(any(feature = "net", feature = "amqp"))]
pub mod net;
#[cfg(feature = "odcs")]
pub mod odcs;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod store;
