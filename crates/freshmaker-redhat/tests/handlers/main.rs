//! The handlers, from a message to what is built, over a small world of advisories and images.

#![allow(clippy::unwrap_used)]

mod advisory;
mod composes;
mod earlier;
#[path = "../odcs/hurry.rs"]
mod hurry;
mod request;
mod town;
mod unshipped;
mod world;
