//! Names of container images.

mod reference;

pub use reference::{ImageReference, ReferenceError, ReferenceFault};
