//! Lightblue over HTTP: recorded answers, the fake, and services that answer wrongly.

#![allow(clippy::unwrap_used)]

mod form;
mod found;
mod images;
mod recorded;
mod requests;
mod troubles;
mod world;
