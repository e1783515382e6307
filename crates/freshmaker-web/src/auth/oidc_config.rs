use serde::Deserialize;
use std::path::PathBuf;

/// An OpenID Connect issuer whose bearer tokens are accepted.
///
/// The keys are found by discovery (`/.well-known/openid-configuration`) and are kept. A token
/// whose key is not known leads to at most one request a minute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OidcConfig {
    /// The issuer, an `https` URL: what tokens have as `iss`, to the letter.
    pub issuer: String,
    /// Who the tokens must be for: one of what they have as `aud`.
    pub audience: String,
    /// Algorithms of signatures that are accepted. Only those with a public key can be named:
    /// `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`. Default:
    /// `RS256` and `ES256`.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<String>,
    /// The claim with the name of the user. Default: `preferred_username`.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim with the names of the groups. Default: `groups`.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    /// A file with the authorities that the issuer's certificate is checked with, in PEM. Default:
    /// those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// By how many seconds the clocks may differ. Default: 60.
    #[serde(default = "leeway")]
    pub leeway_s: u32,
}

/// What can be checked with a public key.
pub(crate) const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

fn algorithms() -> Vec<String> {
    vec!["RS256".to_owned(), "ES256".to_owned()]
}

fn name_claim() -> String {
    "preferred_username".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

fn leeway() -> u32 {
    60
}

impl OidcConfig {
    /// Makes the configuration of an issuer, whose tokens must be for this audience.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            algorithms: algorithms(),
            name_claim: name_claim(),
            groups_claim: groups_claim(),
            ca: None,
            leeway_s: leeway(),
        }
    }

    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<String> {
        let loopback = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|start| self.issuer.starts_with(start));
        if !self.issuer.starts_with("https://") && !loopback {
            return Some(format!("issuer: {:?} is not an https URL", self.issuer));
        }
        if self.audience.is_empty() {
            return Some("audience: tokens for other services would be accepted without one".to_owned());
        }
        if self.algorithms.is_empty() {
            return Some("algorithms: name at least one".to_owned());
        }
        let bad = self.algorithms.iter().find(|name| !ALGORITHMS.contains(&name.as_str()))?;
        Some(format!("algorithms: {bad:?} is not one of {}", ALGORITHMS.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_settings_are_refused() {
        assert_eq!(OidcConfig::new("https://issuer.example", "freshmaker").fault(), None);
        assert_eq!(OidcConfig::new("http://127.0.0.1:9", "freshmaker").fault(), None);
        assert!(OidcConfig::new("http://issuer.example", "freshmaker").fault().unwrap().starts_with("issuer"));
        assert!(OidcConfig::new("https://issuer.example", "").fault().unwrap().starts_with("audience"));
        for name in ["none", "HS256", "HS512", "rs256"] {
            let mut config = OidcConfig::new("https://issuer.example", "freshmaker");
            config.algorithms.push(name.to_owned());
            assert!(config.fault().unwrap().contains(name));
        }
    }
}
