//! The API as its clients see it.

#![allow(clippy::unwrap_used)]

mod access;
mod limits;
mod reads;
mod server;
mod stream;
mod support;
mod writes;
