//! The world of the demonstrations: the Docker Official Images, and a registry in a directory.

pub mod store;
pub mod world;

/// An example has one way to fail: with a sentence for who runs it.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
