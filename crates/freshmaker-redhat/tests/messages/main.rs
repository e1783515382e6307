//! What services say: recorded messages, messages that are wrong, and messages that are mutilated.
#![allow(clippy::unwrap_used)]

mod broken;
mod forms;
mod recorded;
mod requests;
mod samples;
mod topics;
