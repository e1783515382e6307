use super::{Kerberos, Negotiate};

const MISSING: &str = "Kerberos needs the feature `gssapi` of this crate";

/// Replaces the Kerberos of the system in builds without the feature `gssapi`: every token fails.
#[derive(Debug)]
pub(super) struct System(pub(super) Kerberos);

impl Negotiate for System {
    fn token(&self, service: &str) -> Result<Vec<u8>, String> {
        Err(match &self.0.principal {
            Some(principal) => format!("no ticket of {principal} for {service}: {MISSING}"),
            None => format!("no ticket for {service}: {MISSING}"),
        })
    }
}

pub(super) fn check() -> Result<(), String> {
    Err(MISSING.to_owned())
}
