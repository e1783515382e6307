//! Lightblue over HTTP: recorded answers, the fake, and services that answer wrongly.

mod form;
mod found;
mod recorded;
mod requests;
mod troubles;
mod world;
