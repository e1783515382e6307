//! Which releases of images are rebuilt on what: against recorded answers of the Python service,
//! and against laws that hold for any catalog.
#![allow(clippy::unwrap_used)]

mod cases;
mod laws;
mod random;
mod recorded;
mod scenarios;
mod world;
