//! Public contract suites.

pub mod conformance;
