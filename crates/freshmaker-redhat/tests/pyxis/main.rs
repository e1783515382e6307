//! Pyxis over HTTP: its schema, recorded answers, the fake, and services that answer wrongly.

#![allow(clippy::unwrap_used)]

#[path = "../lightblue/images.rs"]
mod images;
mod recorded;
mod requests;
mod same;
mod schema;
mod troubles;
mod world;
