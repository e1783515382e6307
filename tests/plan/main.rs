//! What a plan tells: read back, explained, compared, drawn.
#![allow(clippy::unwrap_used)]

mod bounds;
mod diagram;
mod diff;
mod explain;
mod render;
mod stored;
mod world;
