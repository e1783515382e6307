//! The service, run as people run it: against a fake registry that can lie, and against a real one.
#![allow(clippy::unwrap_used)]

mod again;
mod buildah;
mod builder;
mod deploy;
mod elsewhere;
mod faults;
mod git;
mod killed;
mod mistakes;
mod notify;
mod stories;
mod support;
mod timing;
mod traces;
mod web;
