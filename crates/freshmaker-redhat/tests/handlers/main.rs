//! The handlers, from a message to what is built, over a small world of advisories and images.

#![allow(clippy::unwrap_used)]

mod advisory;
mod request;
mod world;
