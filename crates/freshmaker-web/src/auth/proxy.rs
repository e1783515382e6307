use super::{Network, Principal};
use crate::problem::{Problem, ProblemCode};
use axum::http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A proxy that authenticates people and tells who they are in headers.
///
/// The headers are used only if the connection comes from one of its addresses. The proxy must
/// remove headers of these names that a client sends; a request that has one of them twice is
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxyConfig {
    /// The addresses from which the proxy connects.
    pub peers: Vec<Network>,
    /// The header with the name of the user, such as `x-remote-user`. Not there or empty: the
    /// caller is not known.
    #[serde(deserialize_with = "header_name")]
    pub user_header: HeaderName,
    /// The realm of Kerberos that is taken off names: with `EXAMPLE.COM`, `alice@EXAMPLE.COM` is
    /// `alice`, as in the service Freshmaker. Names of other realms stay whole, so that they are
    /// those of other people. Default: none.
    #[serde(default)]
    pub realm: Option<String>,
    /// The header with the groups of the user. Default: none.
    #[serde(default, deserialize_with = "some_header_name")]
    pub groups_header: Option<HeaderName>,
    /// What stands between two groups. Default: a comma.
    #[serde(default = "comma")]
    pub groups_separator: char,
    /// The header with the address of the client, such as `x-forwarded-for`; the last address in it
    /// counts, which is the one that the proxy has added. Default: none, and all callers behind the
    /// proxy that are not known share one rate limit: wrong tokens of one of them keep the others
    /// from logging in, except with a token or a session that was accepted within the hour.
    #[serde(default, deserialize_with = "some_header_name")]
    pub address_header: Option<HeaderName>,
}

fn comma() -> char {
    ','
}

fn header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom(format!("{text:?} is not the name of a header")))
}

fn some_header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
    header_name(deserializer).map(Some)
}

/// The most groups of a person; a login with more is refused.
pub(super) const GROUPS_MAX: usize = 1000;

impl ProxyConfig {
    /// Makes the configuration of a proxy that connects from these addresses, and names the user in
    /// this header.
    ///
    /// ```
    /// use freshmaker_web::axum::http::HeaderName;
    /// use freshmaker_web::{Config, ProxyConfig};
    ///
    /// let mut config = Config::default();
    /// let user = HeaderName::from_static("x-remote-user");
    /// config.authentication.proxy = Some(ProxyConfig::new(vec!["10.0.0.7".parse()?], user));
    /// config.check("0.0.0.0:80".parse()?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(peers: Vec<Network>, user_header: HeaderName) -> Self {
        let (realm, groups_header, address_header) = (None, None, None);
        Self { peers, user_header, realm, groups_header, groups_separator: comma(), address_header }
    }

    pub(crate) fn fault(&self) -> Option<String> {
        if self.realm.as_ref().is_some_and(|realm| realm.is_empty() || realm.contains('@')) {
            return Some("realm: what stands behind the @ of names, such as EXAMPLE.COM".to_owned());
        }
        self.peers.is_empty().then(|| "peers: name the addresses of the proxy".to_owned())
    }

    pub(crate) fn is_trusted(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| self.peers.iter().any(|network| network.contains(peer)))
    }

    /// The user and the groups that the proxy tells; to be asked only about requests of the proxy.
    pub(super) fn told(&self, headers: &HeaderMap) -> Result<Option<(String, BTreeSet<String>)>, Problem> {
        let Some(user) = one(headers, &self.user_header)?.filter(|user| !user.is_empty()) else { return Ok(None) };
        let groups = match &self.groups_header {
            Some(name) => one(headers, name)?.unwrap_or_default(),
            None => "",
        };
        let groups = groups.split(self.groups_separator).map(str::trim).filter(|group| !group.is_empty());
        let groups: BTreeSet<_> = groups.take(GROUPS_MAX + 1).map(str::to_owned).collect();
        if groups.len() > GROUPS_MAX || groups.iter().any(|group| group.len() > Principal::NAME_MAX) {
            return Err(Problem::refused("the caller is in too many groups, or one has too long a name"));
        }
        Ok(Some((self.without_realm(user).to_owned(), groups)))
    }

    fn without_realm<'a>(&self, user: &'a str) -> &'a str {
        let name = self.realm.as_ref().and_then(|realm| user.strip_suffix(realm.as_str())?.strip_suffix('@'));
        name.unwrap_or(user)
    }

    /// The address of the client, as the proxy tells it.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let name = self.address_header.as_ref()?;
        let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse().ok()
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let bad =
        |text| Err(Problem::new(ProblemCode::BadRequest, "a header cannot be read").parameter(name.as_str(), text));
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => bad("it is there more than once"),
        (Some(value), None) => match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => bad("it is not UTF-8"),
        },
    }
}
