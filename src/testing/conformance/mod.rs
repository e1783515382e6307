//! Public contract suites: each checks one backend against its contract and panics with what is broken.

mod catalog;

pub use catalog::{CatalogExpectation, catalog};
