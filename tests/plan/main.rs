//! What a plan tells: read back, explained, compared, drawn.
#![allow(clippy::unwrap_used)]

mod stored;
mod world;
