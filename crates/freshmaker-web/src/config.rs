//! The configuration of the service, and its checks.

use crate::auth::{Members, Network, ProxyConfig, ReadAccess, Role};
use crate::limits::Limits;
use crate::page_config::PageConfig;
use freshmaker::backend::Clock;
use freshmaker::engine::SystemClock;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// How the REST API behaves: who may do what, and within which limits.
///
/// It is read from a configuration file of the service, in any format that serde knows. Unknown
/// keys are errors. It has no secrets: tokens are [issued](crate::Tokens::issue), and stored as
/// hashes.
///
/// ```
/// use freshmaker_web::{Config, Role};
///
/// let config: Config = toml::from_str(r#"
///     [access]
///     read = "authenticated"
///
///     [access.roles.admin]
///     users = ["alice"]
///
///     [access.roles.manual_rebuilder]
///     groups = ["release-engineers"]
///
///     [authentication.proxy]
///     peers = ["10.0.0.0/8"]
///     user_header = "x-remote-user"
///     groups_header = "x-remote-groups"
///
///     [limits]
///     body_bytes = 262144
///     timeout_s = 20
/// "#)?;
/// config.check("0.0.0.0:8080".parse()?)?;
/// assert!(config.access.roles[&Role::Admin].users.contains("alice"));
///
/// let error = toml::from_str::<Config>("[access.roles.owner]\nusers = []").unwrap_err();
/// assert!(error.to_string().contains("owner"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// How callers are recognized.
    pub authentication: Authentication,
    /// What they may do.
    pub access: Access,
    /// Bounds of everything that comes in.
    pub limits: Limits,
    /// Pages for people, beside the API. Default: none. A program that is built without the feature
    /// `page` refuses such a configuration in [`Config::check`].
    pub page: Option<PageConfig>,
    /// The clock by which tokens end and limits fill up again. It is not part of a file. Default:
    /// that of the system.
    #[serde(skip, default = "system_clock")]
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authentication: Authentication::default(),
            access: Access::default(),
            limits: Limits::default(),
            page: None,
            clock: system_clock(),
        }
    }
}

fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// How callers are recognized. Several ways can be on at the same time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Authentication {
    /// Whether tokens that this service has issued are accepted. Default: `true`.
    pub tokens: bool,
    /// Headers of a proxy that authenticates people. Default: none.
    pub proxy: Option<ProxyConfig>,
    /// Bearer tokens of an OpenID Connect issuer. Default: none. A program that is built without
    /// the feature `oidc` refuses such a configuration in [`Config::check`].
    pub oidc: Option<crate::auth::OidcConfig>,
    /// Whether everybody who connects from this machine may do everything, without any login. Only
    /// for a listener on a loopback address: requests from elsewhere, and those whose `Host` is no
    /// name of this machine, are refused. Default: `false`.
    pub none: bool,
}

impl Default for Authentication {
    fn default() -> Self {
        Self { tokens: true, proxy: None, oidc: None, none: false }
    }
}

/// What callers may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Access {
    /// Who may read events, builds and plans. Default: everybody who is authenticated.
    pub read: ReadAccess,
    /// Who may read `/metrics`. Default: the same.
    pub metrics: ReadAccess,
    /// Who has which role. A token has the roles with which it was issued instead.
    pub roles: BTreeMap<Role, Members>,
    /// Origins of web pages, beside the service's own, that may send writes: `https://host`.
    /// Default: none.
    pub origins: Vec<String>,
}

/// Why a service must not start with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text}")]
pub struct ConfigError {
    /// The key, by its path: `authentication.none`.
    pub field: &'static str,
    /// What is wrong with it, and what to do.
    pub text: String,
}

impl Config {
    /// Returns the configuration for a service that only listens on a loopback address, without any
    /// login.
    #[must_use]
    pub fn loopback() -> Self {
        let mut config = Self::default();
        config.authentication.none = true;
        config
    }

    /// Checks that a service that listens on this address would not be open to the network without
    /// authentication, and that the parts of the configuration fit to each other.
    ///
    /// ```
    /// use freshmaker_web::Config;
    ///
    /// let config = Config::loopback();
    /// assert!(config.check("127.0.0.1:8080".parse()?).is_ok());
    /// let error = config.check("0.0.0.0:8080".parse()?).unwrap_err();
    /// assert_eq!(error.field, "authentication.none");
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    ///
    /// # Errors
    /// Names the first field that does not fit.
    pub fn check(&self, listen_address: SocketAddr) -> Result<(), ConfigError> {
        let Authentication { tokens, proxy, oidc, none } = &self.authentication;
        let error = |field, text: String| Err(ConfigError { field, text });
        if *none && !Network::is_loopback(listen_address.ip()) {
            let text = "is only for a listener on a loopback address, and this one would be open to the network";
            return error("authentication.none", format!("{text} ({listen_address})"));
        }
        if *none && proxy.is_some() {
            let text = "cannot be used with authentication.proxy: a proxy on this machine would let everybody in";
            return error("authentication.none", text.to_owned());
        }
        if !*none && !*tokens && proxy.is_none() && oidc.is_none() {
            return error("authentication", "nobody can be recognized: switch one of its ways on".to_owned());
        }
        if oidc.is_some() && !crate::auth::HAS_OIDC {
            let text = "this program is built without the feature `oidc` of freshmaker-web";
            return error("authentication.oidc", text.to_owned());
        }
        if let Some(problem) = oidc.as_ref().and_then(|oidc| oidc.fault()) {
            return error("authentication.oidc", problem);
        }
        if let Some(problem) = proxy.as_ref().and_then(|proxy| proxy.fault()) {
            return error("authentication.proxy", problem);
        }
        if self.page.is_some() && !crate::page::HAS_PAGE {
            return error("page", "this program is built without the feature `page` of freshmaker-web".to_owned());
        }
        if let Some(problem) = self.page.as_ref().and_then(PageConfig::fault) {
            return error("page", problem);
        }
        for origin in &self.access.origins {
            if tower_http::csrf::CsrfLayer::new().add_trusted_origin(origin).is_err() {
                return error("access.origins", format!("{origin:?} is not an origin, such as https://host"));
            }
        }
        self.limits.fault().map_or(Ok(()), |(field, text)| error(field, text))
    }

    /// What works, and perhaps not as it is meant to: for commands that check a configuration.
    ///
    /// ```
    /// use freshmaker_web::Config;
    ///
    /// assert!(Config::default().warnings().is_empty());
    /// ```
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let proxy = self.authentication.proxy.as_ref().filter(|proxy| proxy.address_header.is_none());
        let text = "authentication.proxy has no `address_header`: all callers behind the proxy have one address, so \
                    that wrong tokens of one of them can keep the others from logging in";
        proxy.map(|_| text.to_owned()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, listen: &str) -> ConfigError {
        toml::from_str::<Config>(text).unwrap().check(listen.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn a_service_is_not_open_to_the_network_by_mistake() {
        assert!(Config::default().check("0.0.0.0:80".parse().unwrap()).is_ok());
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            Config::loopback().check(address.parse().unwrap()).unwrap();
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
            assert_eq!(refused("authentication.none = true", address).field, "authentication.none");
        }
        let both = "authentication = { none = true, proxy = { peers = ['127.0.0.1'], user_header = 'x-user' } }";
        assert_eq!(refused(both, "127.0.0.1:1").field, "authentication.none");
        assert_eq!(refused("authentication.tokens = false", "127.0.0.1:1").field, "authentication");
    }

    #[test]
    fn a_proxy_that_tells_no_addresses_is_warned_of() {
        let warned = |more: &str| {
            let text = format!("authentication.proxy = {{ peers = ['127.0.0.1'], user_header = 'x-user'{more} }}");
            let config: Config = toml::from_str(&text).unwrap();
            config.warnings().iter().any(|warning| warning.contains("address_header"))
        };
        assert!(warned("") && !warned(", address_header = 'x-forwarded-for'"));
    }

    #[test]
    fn mistakes_name_their_field() {
        for (text, field) in [
            ("authentication.proxy = { peers = [], user_header = 'x-user' }", "authentication.proxy"),
            ("access.origins = ['nonsense']", "access.origins"),
            ("limits.body_bytes = 0", "limits.body_bytes"),
            ("limits.requests = { per_minute = 0, burst = 5 }", "limits.requests"),
            ("limits.timeout_s = 0", "limits.timeout_s"),
            ("page.session_s = 0", "page"),
            ("page.links.koji = 'javascript:alert(1)//{id}'", "page"),
            ("page.links.koji = 'https://koji.example/'", "page"),
        ] {
            assert_eq!(refused(text, "127.0.0.1:1").field, field);
        }
        for (text, named) in [
            ("access.read = 'everybody'", "everybody"),
            ("authentication.proxy = { peers = ['10.0.0.0/40'], user_header = 'x' }", "10.0.0.0/40"),
            ("authentication.proxy = { peers = ['10.0.0.0/4'], user_header = 'a b' }", "user_header"),
            ("limits.unheard_of = 1", "unheard_of"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
