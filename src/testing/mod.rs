//! Public contract suites: what every implementation of a backend must do, as code that anybody can run.

pub mod conformance;
