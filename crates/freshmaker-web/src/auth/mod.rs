//! Who calls, and what they may do.
//!
//! *Invariant:* a request that carries credentials that are not accepted is refused; it is never
//! treated as one of an unknown caller.

mod accepted;
mod network;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(not(feature = "oidc"))]
#[path = "no_oidc.rs"]
mod oidc;
mod oidc_config;
mod proxy;
mod role;
#[cfg(feature = "page")]
mod sessions;
#[cfg(not(feature = "page"))]
#[path = "no_sessions.rs"]
mod sessions;
mod tokens;

pub(crate) use accepted::{Accepted, SecretHash};
pub use network::{Network, NetworkError};
pub(crate) use oidc::HAS_OIDC;
pub use oidc_config::OidcConfig;
pub use proxy::ProxyConfig;
pub use role::{Allowed, Members, ReadAccess, Role};
pub(crate) use sessions::session_of;
#[cfg(feature = "page")]
pub(crate) use sessions::{cookie, over_tls_alone};
pub use tokens::{IssuedToken, NewToken, TokenInfo, Tokens};

use crate::config::Config;
use crate::documents::Store;
use crate::extract::header;
use crate::problem::{Problem, ProblemCode};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header as names};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A person or program that was recognized.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principal {
    /// The name, as histories and the audit log have it. Tokens are called `token:NAME`, so that
    /// none can take the name of a person.
    pub name: String,
    /// The groups, as the proxy or the issuer tells them.
    pub groups: BTreeSet<String>,
    /// The roles, from the configuration or from the token.
    pub roles: BTreeSet<Role>,
}

impl Principal {
    /// The longest name of a principal or a group, in bytes.
    pub(crate) const NAME_MAX: usize = 256;

    /// A person named by a proxy or an issuer, with the roles of the configuration.
    ///
    /// # Errors
    /// If the text cannot be a name.
    pub(crate) fn told(name: &str, groups: BTreeSet<String>, config: &Config) -> Result<Self, Problem> {
        let is_name = !name.is_empty() && name.len() <= Self::NAME_MAX && !name.chars().any(char::is_control);
        if !is_name || name.starts_with(Self::TOKEN) || name == Self::LOCAL {
            return Err(Problem::refused("the name of the caller cannot be used"));
        }
        let roles = &config.access.roles;
        let has = |members: &Members| members.users.contains(name) || !members.groups.is_disjoint(&groups);
        let roles = roles.iter().filter(|(_, members)| has(members)).map(|(role, _)| *role).collect();
        Ok(Self { name: name.to_owned(), groups, roles })
    }

    const TOKEN: &'static str = "token:";

    const LOCAL: &'static str = "local";

    /// Any user of this machine, for a service without a login.
    fn local() -> Self {
        let roles = Role::ALL.iter().copied().collect();
        Self { name: Self::LOCAL.to_owned(), groups: BTreeSet::new(), roles }
    }
}

/// Who sent a request, and from where. Handlers take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// Who it is, if that is known.
    pub principal: Option<Principal>,
    /// The address, as far as it is known: that of the peer, or what a trusted proxy says.
    pub address: Option<IpAddr>,
    /// The id of the request, for logs.
    pub request_id: String,
}

impl Caller {
    /// Returns the name for histories and the audit log; `anonymous` if it is not known.
    #[must_use]
    pub fn name(&self) -> &str {
        self.principal.as_ref().map_or("anonymous", |principal| &principal.name)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::new(ProblemCode::Internal, "the route is not behind the layers of this service"))
    }
}

/// The ways in which callers are recognized.
#[derive(Debug)]
pub(crate) struct Authenticators {
    pub(crate) tokens: Tokens,
    pub(crate) sessions: sessions::Sessions,
    oidc: Option<oidc::Verifier>,
}

impl Authenticators {
    pub(crate) fn new(store: &Store, config: &Config) -> Self {
        let tokens = Tokens::kept(store.clone(), config.clock.clone());
        let sessions = sessions::Sessions::new(store.clone(), config.clock.clone());
        let oidc = config.authentication.oidc.as_ref();
        Self { tokens, sessions, oidc: oidc.map(|oidc| oidc::Verifier::new(oidc.clone(), config.clock.clone())) }
    }

    /// Finds out who sends a request that came from this peer.
    ///
    /// # Errors
    /// If there are credentials that are not accepted or cannot be looked up, or the service has no
    /// login and the request is not from this machine.
    pub(crate) async fn recognize(
        &self,
        config: &Config,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        host: Option<&str>,
    ) -> Result<Option<Principal>, Problem> {
        if config.authentication.none {
            network::must_be_local(peer, host)?;
        }
        if let Some(token) = bearer(headers)? {
            return self.bearer(config, token).await.map(Some);
        }
        if let Some(proxy) = config.authentication.proxy.as_ref().filter(|proxy| proxy.is_trusted(peer))
            && let Some((name, groups)) = proxy.told(headers)?
        {
            return Principal::told(&name, groups, config).map(Some);
        }
        if config.authentication.tokens
            && let Some(principal) = self.sessions.recognize(&self.tokens, headers).await?
        {
            return Ok(Some(principal));
        }
        Ok(config.authentication.none.then(Principal::local))
    }

    async fn bearer(&self, config: &Config, token: &str) -> Result<Principal, Problem> {
        if Tokens::is_ours(token) && config.authentication.tokens {
            return self.tokens.verify(token).await;
        }
        match &self.oidc {
            Some(oidc) => {
                let (name, groups) = oidc.verify(token).await?;
                Principal::told(&name, groups, config)
            }
            None => Err(Problem::refused("the token is not one of this service")),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(text) = header(headers, &names::AUTHORIZATION)? else { return Ok(None) };
    let is_bearer = |(scheme, _): &(&str, &str)| scheme.eq_ignore_ascii_case("bearer");
    Ok(text.split_once(' ').filter(is_bearer).map(|(_, token)| token.trim()))
}
