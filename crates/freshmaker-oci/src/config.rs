//! How registries are reached.

use crate::manifest::Platform;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Secret, TlsFiles};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The most mirrors of one registry.
const MIRRORS_MAX: usize = 8;

/// How an [`OciClient`](crate::OciClient) reaches registries: logins, mirrors, certificates and
/// bounds.
///
/// A registry needs an entry only if it differs from the usual: HTTPS, the authorities of the
/// system, and a login from [`credentials_files`](Self::credentials_files). In serde formats,
/// durations are numbers of seconds, with fractions if needed.
///
/// ```
/// use freshmaker_oci::OciConfig;
///
/// let config: OciConfig = serde_json::from_str(
///     r#"{"registries": {"localhost:5000": {"plain_http": true}}, "timeout": 20}"#,
/// )?;
/// assert!(config.registries["localhost:5000"].plain_http);
/// config.check_offline()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct OciConfig {
    /// Registries that differ from the usual, by the name that references have, such as
    /// `docker.io` or `localhost:5000`. Mirrors that differ have entries here as well.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Files in the format of docker's `config.json`, with logins of users (`auths`, `credHelpers`
    /// and `credsStore`). The first file with a login for a registry counts. A file that does not
    /// exist is the same as an empty one. Default: none.
    pub credentials_files: Vec<PathBuf>,
    /// The platform whose image is taken from an index. Default: Linux, on the processor of this
    /// machine.
    pub platform: Platform,
    /// Longest time to establish a connection. Default: 10 s.
    #[serde(deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// Longest time from a request to the end of its answer. Default: 60 s.
    #[serde(deserialize_with = "seconds")]
    pub timeout: Duration,
    /// Longest time that a program of `credHelpers` or `credsStore` may take. Default: 10 s.
    #[serde(deserialize_with = "seconds")]
    pub helper_timeout: Duration,
    /// Largest configuration or other blob that is read, in bytes. Default: 8 MiB. Manifests have
    /// at most [`MANIFEST_BYTES_MAX`](crate::MANIFEST_BYTES_MAX).
    pub blob_bytes_max: usize,
}

/// What is special about one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RegistryConfig {
    /// Uses HTTP without TLS. Passwords and images are then readable for the network. Default:
    /// `false`; no registry is exempt, not even `localhost`.
    pub plain_http: bool,
    /// Where copies of this registry's repositories are, as `host[:port][/prefix]`. They are asked
    /// in this order, before the registry itself. A mirror that fails is passed over, but not one
    /// that sends wrong content. Default: none.
    pub mirrors: Vec<String>,
    /// What mirrors are asked for. Default: content by digest.
    pub mirrors_for: MirrorsFor,
    /// User of the login. Default: the one in the files of credentials.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// File with the password of `user`, at most 64 KiB; white space around it is removed.
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that the registry's certificate is checked with. Default:
    /// those of the system.
    pub ca: Option<PathBuf>,
    /// Certificate that the client shows. Default: none.
    pub client_cert: Option<PathBuf>,
    /// Private key of `client_cert`. Default: it is in the same file.
    pub client_key: Option<PathBuf>,
}

/// What mirrors of a registry are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MirrorsFor {
    /// Content by digest, which is the same everywhere. What a tag means is asked of the registry
    /// itself, because a mirror may be behind it.
    #[default]
    Digests,
    /// Tags as well.
    All,
}

impl Default for OciConfig {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            credentials_files: Vec::new(),
            platform: Platform::of_machine(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            helper_timeout: Duration::from_secs(10),
            blob_bytes_max: 8 << 20,
        }
    }
}

impl OciConfig {
    /// Returns the defaults, with the files of credentials that container tools of this user read:
    /// the one that `REGISTRY_AUTH_FILE` names, else those of podman
    /// (`$XDG_RUNTIME_DIR/containers/auth.json`) and docker (`$DOCKER_CONFIG/config.json`, or
    /// `~/.docker/config.json`).
    #[must_use]
    pub fn of_user() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let credentials_files = match path("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file],
            None => {
                let podman = path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
                let docker = path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker")));
                podman.into_iter().chain(docker.map(|directory| directory.join("config.json"))).collect()
            }
        };
        Self { credentials_files, ..Self::default() }
    }

    /// Checks what can be checked without the network: names, certificates and bounds.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the registry and the option.
    pub fn check_offline(&self) -> Result<()> {
        for (name, registry) in &self.registries {
            let refused = |text: String| Err(Error::new(Remedy::Unsupported, format!("oci: registry {name}"), text));
            if !is_host(name) {
                return refused("this is not the name of a registry: a host, with a port perhaps".to_owned());
            }
            if registry.mirrors.len() > MIRRORS_MAX {
                return refused(format!("`mirrors` has more than {MIRRORS_MAX} entries"));
            }
            if let Some(mirror) = registry.mirrors.iter().find(|mirror| !is_host(split(mirror).0)) {
                return refused(format!("`mirrors`: {mirror:?} is not host[:port][/prefix]"));
            }
            let has_password = registry.password.is_some() || registry.password_file.is_some();
            if registry.password.is_some() && registry.password_file.is_some() {
                return refused("`password` and `password_file` exclude each other".to_owned());
            }
            match &registry.user {
                None if has_password => return refused("a password needs a `user`".to_owned()),
                Some(_) if !has_password => {
                    return refused("`user` needs a `password` or a `password_file`".to_owned());
                }
                Some(user) if user.is_empty() || user.contains(':') => {
                    return refused("`user` must not be empty or contain a colon".to_owned());
                }
                Some(_) | None => {}
            }
            freshmaker_net::Http::new(&self.http(name))?;
        }
        Ok(())
    }

    /// Returns how a host is reached: a registry or a mirror, by its name in references.
    pub(crate) fn http(&self, host: &str) -> HttpConfig {
        let special = self.registries.get(host);
        let scheme = if special.is_some_and(|special| special.plain_http) { "http" } else { "https" };
        let mut http = HttpConfig::new(format!("{scheme}://{}", address(host)));
        if let Some(special) = special {
            http.tls = TlsFiles {
                ca: special.ca.clone(),
                client_cert: special.client_cert.clone(),
                client_key: special.client_key.clone(),
            };
        }
        (http.connect_timeout, http.timeout, http.bytes_max) =
            (self.connect_timeout, self.timeout, self.blob_bytes_max);
        http
    }

    /// Returns where a repository is asked for, in order: host, and repository there.
    pub(crate) fn places(&self, registry: &str, repository: &str, wanted: MirrorsFor) -> Vec<(String, String)> {
        let origin = (registry.to_owned(), repository.to_owned());
        let mirrors = self
            .registries
            .get(registry)
            .filter(|special| wanted == MirrorsFor::Digests || special.mirrors_for == MirrorsFor::All);
        let mirrors = mirrors.map_or(&[][..], |special| special.mirrors.as_slice()).iter().map(|mirror| {
            let (host, prefix) = split(mirror);
            let path = if prefix.is_empty() { repository.to_owned() } else { format!("{prefix}/{repository}") };
            (host.to_owned(), path)
        });
        mirrors.chain([origin]).collect()
    }
}

/// Returns the address at which a registry answers. Docker Hub has another name than in references.
fn address(host: &str) -> &str {
    if host == "docker.io" { "registry-1.docker.io" } else { host }
}

fn split(mirror: &str) -> (&str, &str) {
    let (host, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
    (host, prefix.trim_end_matches('/'))
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && !text.contains('/')
        && format!("{}{text}/x", if text.contains(['.', ':']) { "" } else { "localhost:1/" })
            .parse::<freshmaker::artifact::ImageReference>()
            .is_ok()
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> OciConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn mistakes_are_named() {
        for (text, wanted) in [
            (r#"{"registries": {"a/b": {}}}"#, "not the name of a registry"),
            (r#"{"registries": {"r.example": {"user": "u"}}}"#, "`user` needs a `password`"),
            (r#"{"registries": {"r.example": {"password": "p"}}}"#, "a password needs a `user`"),
            (r#"{"registries": {"r.example": {"user": "a:b", "password": "p"}}}"#, "contain a colon"),
            (r#"{"registries": {"r.example": {"mirrors": ["/x"]}}}"#, "is not host"),
            (r#"{"registries": {"r.example": {"ca": "/nonexistent"}}}"#, "/nonexistent"),
        ] {
            let error = config(text).check_offline().unwrap_err();
            assert_eq!(error.remedy, Remedy::Unsupported);
            assert!(error.to_string().contains(wanted), "{error}");
        }
        assert!(serde_json::from_str::<OciConfig>(r#"{"registry": {}}"#).is_err());
        let shown = format!("{:?}", config(r#"{"registries": {"r.example": {"user": "u", "password": "geheim"}}}"#));
        assert!(!shown.contains("geheim"));
    }

    #[test]
    fn mirrors_are_asked_for_digests_unless_told_otherwise() {
        let text = r#"{"registries": {"docker.io": {"mirrors": ["m.example:5000/hub/"]}}}"#;
        let mut config = config(text);
        let hosts = |config: &OciConfig, wanted| -> Vec<String> {
            let places = config.places("docker.io", "library/debian", wanted);
            places.into_iter().map(|(host, repository)| format!("{host} {repository}")).collect()
        };
        let (mirror, origin) = ("m.example:5000 hub/library/debian", "docker.io library/debian");
        assert_eq!(hosts(&config, MirrorsFor::Digests), [mirror, origin]);
        assert_eq!(hosts(&config, MirrorsFor::All), [origin]);
        config.registries.get_mut("docker.io").unwrap().mirrors_for = MirrorsFor::All;
        assert_eq!(hosts(&config, MirrorsFor::All), [mirror, origin]);
        assert_eq!(config.http("docker.io").url, "https://registry-1.docker.io");
    }
}
