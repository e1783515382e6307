//! Koji: its builds of packages and container images, and what it knows about them.

pub mod xmlrpc;
