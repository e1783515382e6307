//! The handlers, from a message to what is built, over a small world of advisories and images.

#![allow(clippy::unwrap_used)]

mod advisory;
mod announced;
mod farm;
mod follow;
mod named;
mod request;
mod scanned;
mod service;
mod update;
mod world;
