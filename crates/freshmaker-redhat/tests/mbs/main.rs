//! MBS over HTTP: builds of modules, which modules contain what, and the handlers of modules.

#![allow(clippy::unwrap_used)]

mod builds;
mod commits;
mod engine;
mod modules;
mod world;
