use crate::problem::{Problem, ProblemCode};
use serde::Deserialize;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
///
/// An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`) is the IPv4 address.
///
/// ```
/// use freshmaker_web::Network;
///
/// let network: Network = "10.1.0.0/16".parse()?;
/// assert!(network.contains("10.1.2.3".parse()?));
/// assert!(network.contains("::ffff:10.1.2.3".parse()?));
/// assert!(!network.contains("10.2.0.1".parse()?));
/// assert!("10.1.0.0/33".parse::<Network>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// A text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses, such as 10.0.0.0/8, nor an address")]
pub struct NetworkError(String);

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |prefix| prefix.parse().map_err(|_| error()))?;
        if prefix > longest { Err(error()) } else { Ok(Self { address, prefix }) }
    }
}

impl Network {
    /// Returns whether the address is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros(),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= self.prefix
    }

    pub(crate) fn is_loopback(address: IpAddr) -> bool {
        address.to_canonical().is_loopback()
    }
}

/// Refuses what does not come from this machine, and what was sent under the name of another host:
/// a page in a browser of this machine, whose name was made to point here (DNS rebinding).
///
/// # Errors
/// 403.
pub(super) fn must_be_local(peer: Option<IpAddr>, host: Option<&str>) -> Result<(), Problem> {
    let refuse = |text: &str| Err(Problem::new(ProblemCode::OpenToNetwork, text));
    match peer {
        None => return refuse("the address of the peer is not known: serve with `freshmaker_web::serve`"),
        Some(peer) if !Network::is_loopback(peer) => return refuse("the request comes from another machine"),
        Some(_) => {}
    }
    match host {
        Some(host) if !is_local_name(host) => refuse("the request was sent to a name of another machine"),
        _ => Ok(()),
    }
}

pub(super) fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(Network::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_they_say() {
        for (network, inside, outside) in [
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/25", "192.0.2.127", "192.0.2.128"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()) && !network.contains(outside.parse().unwrap()));
        }
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "example.org", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        let local = |peer: Option<&str>, host: Option<&str>| {
            must_be_local(peer.map(|peer| peer.parse().unwrap()), host).is_ok()
        };
        for host in [None, Some("localhost:80"), Some("127.0.0.1"), Some("[::1]:8080"), Some("LOCALHOST")] {
            assert!(local(Some("127.0.0.1"), host) && local(Some("::1"), host));
            assert!(!local(Some("192.0.2.1"), host) && !local(None, host));
        }
        for host in ["evil.example", "localhost.evil.example:80", "192.0.2.1", "127.0.0.1.evil.example", ""] {
            assert!(!local(Some("127.0.0.1"), Some(host)), "{host}");
        }
    }
}
