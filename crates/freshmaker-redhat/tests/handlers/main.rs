//! The handlers, from a message to what is built, over a small world of advisories and images.

#![allow(clippy::unwrap_used)]

mod advisory;
mod announced;
mod composes;
mod earlier;
mod farm;
mod follow;
#[path = "../odcs/hurry.rs"]
mod hurry;
mod named;
mod request;
mod scanned;
mod service;
mod town;
mod unshipped;
mod update;
mod world;
