//! What tests of backends, and of programs that embed the engine, are made of.

pub mod conformance;
