//! The API as its clients see it.

#![allow(clippy::unwrap_used)]

mod access;
mod attacks;
mod costs;
mod hostile;
mod issuer;
mod limits;
mod lists;
mod observability;
mod pages;
mod plans;
mod reads;
mod requests;
mod server;
mod strangers;
mod stream;
mod support;
mod traces;
mod truth;
mod writes;
