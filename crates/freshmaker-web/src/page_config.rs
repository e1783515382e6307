use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The pages for people, which need the feature `page`.
///
/// ```
/// use freshmaker_web::Config;
///
/// let config: Config = toml::from_str(r#"
///     [page]
///     session_s = 28800
///
///     [page.links]
///     koji = "https://koji.example.org/koji/taskinfo?taskID={id}"
///
///     [page.limits]
///     koji = 20
/// "#)?;
/// config.check("127.0.0.1:8080".parse()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PageConfig {
    /// How long a person who has signed in with a token stays signed in: at most as long as the
    /// token is valid. The key in a file is `session_s`. Default: 12 h.
    #[serde(rename = "session_s", deserialize_with = "seconds")]
    pub session: Duration,
    /// Whether sessions are also sent over plain HTTP, where everybody on the way can read them.
    /// Without it they need a proxy with TLS, or a browser on this machine. Default: `false`.
    pub plain_http: bool,
    /// Where a build system shows an attempt: addresses with `{id}` for the id of the attempt, by
    /// the names of build systems.
    pub links: BTreeMap<String, String>,
    /// The concurrency limits of the engine, by the names of build systems, for the expected times.
    /// Default: none; then they are unknown, and a system that is not named has no limit.
    pub limits: BTreeMap<String, u32>,
}

impl Default for PageConfig {
    fn default() -> Self {
        let session = Duration::from_secs(12 * 3600);
        Self { session, plain_http: false, links: BTreeMap::new(), limits: BTreeMap::new() }
    }
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u32::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.into()))
}

impl PageConfig {
    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.session.is_zero() {
            return Some("session_s: must be at least 1".to_owned());
        }
        let is_link = |link: &&String| {
            let known = ["https://", "http://"].iter().any(|scheme| link.starts_with(scheme));
            known && link.contains("{id}")
        };
        let wrong = self.links.iter().find(|(_, link)| !is_link(link));
        wrong.map(|(system, link)| format!("links.{system}: {link:?} is not an http(s) address with {{id}} in it"))
    }
}
