//! What a plan tells: read back, explained, compared, drawn.
#![allow(clippy::unwrap_used)]

mod explain;
mod stored;
mod world;
