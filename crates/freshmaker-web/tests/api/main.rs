//! The API as its clients see it.

#![allow(clippy::unwrap_used)]

mod access;
mod limits;
mod observability;
mod pages;
mod plans;
mod reads;
mod server;
mod strangers;
mod stream;
mod support;
mod writes;
