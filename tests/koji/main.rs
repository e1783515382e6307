//! Koji: the codec against recorded traffic, and the client against scripted servers.
#![cfg(feature = "koji")]

mod codec;
mod recorded;
