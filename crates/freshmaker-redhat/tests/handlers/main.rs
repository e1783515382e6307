//! The handlers, from a message to what is built, over a small world of advisories and images.

#![allow(clippy::unwrap_used)]

mod advisory;
mod announced;
mod cancelled;
mod composes;
mod crashed;
mod earlier;
mod ended;
mod farm;
mod follow;
mod hung;
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
