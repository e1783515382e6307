//! What tests need that may not be there.

/// Says that a test is left out; where everything has to be there, it fails instead.
pub fn missing(what: &str) {
    assert!(std::env::var_os("FRESHMAKER_REQUIRE_SERVICES").is_none(), "missing: {what}");
    eprintln!("*** SKIPPED, THIS WAS NOT TESTED: {what} ***");
}
