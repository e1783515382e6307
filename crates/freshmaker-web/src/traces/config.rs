//! The configuration of the export of spans: as a struct, and as a section of a configuration file.

use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{HttpConfig, Secret};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a request to the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where spans are sent, and under which names.
///
/// ```
/// use freshmaker_web::TraceConfig;
///
/// let mut config = TraceConfig::new("http://localhost:4318");
/// config.page_url = Some("https://rebuilds.example.org".to_owned());
/// assert_eq!(config.service, "freshmaker");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceConfig {
    /// The base URL of the collector, without `/v1/traces`, and bounds. A request may take 10 s.
    pub http: HttpConfig,
    /// Headers of each request by their names, such as `authorization`. Default: none.
    pub headers: BTreeMap<String, Secret>,
    /// `service.name` of the spans. Default: `freshmaker`.
    pub service: String,
    /// Tells several storages apart whose spans go to one collector: the numbers of their events
    /// are the same. Part of every identity, so do not change it. Default: `freshmaker`.
    pub instance: String,
    /// The base URL of the pages, for links from spans to events and builds. Default: none.
    pub page_url: Option<String>,
}

impl TraceConfig {
    /// Makes a configuration for the collector at this URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let mut http = HttpConfig::new(url);
        http.timeout = PATIENCE;
        let name = "freshmaker".to_owned();
        Self { http, headers: BTreeMap::new(), service: name.clone(), instance: name, page_url: None }
    }

    /// The headers as they are sent. Logs do not show their values.
    pub(super) fn header_map(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, secret) in &self.headers {
            let wrong = |what| {
                let text = format!("the header {name:?} has {what} with characters that a header cannot have");
                Error::new(Remedy::Unsupported, self.http.url.as_str(), text)
            };
            let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong("a name"))?;
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| wrong("a value"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(headers)
    }
}

/// Where spans are sent, as a section of a configuration file says it, in any format that serde
/// knows. Unknown keys are errors. It has no secrets: they are in a file or in the environment.
///
/// ```
/// use freshmaker_web::TraceSettings;
///
/// let settings: TraceSettings = toml::from_str(r#"
///     endpoint = "https://collector.example.org:4318"
///     headers_env = "OTEL_EXPORTER_OTLP_HEADERS"
///     page_url = "https://rebuilds.example.org"
/// "#)?;
/// assert_eq!(settings.endpoint, "https://collector.example.org:4318");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TraceSettings {
    /// The base URL of the collector, without `/v1/traces`.
    pub endpoint: String,
    /// A file with the headers of each request, one a line: `authorization: Bearer …`. Empty lines
    /// and those that begin with `#` do not count. Default: none.
    pub headers_file: Option<PathBuf>,
    /// The variable of the environment with the headers of each request, in the form of
    /// `OTEL_EXPORTER_OTLP_HEADERS`: `name=value,name=value`, with percent-encoded values. Default:
    /// none; where there is a file as well, both count.
    pub headers_env: Option<String>,
    /// Certificates of the authorities that are trusted, if not those of the system.
    pub ca: Option<PathBuf>,
    /// See [`TraceConfig::service`].
    pub service: Option<String>,
    /// See [`TraceConfig::instance`].
    pub instance: Option<String>,
    /// See [`TraceConfig::page_url`].
    pub page_url: Option<String>,
}

impl TraceSettings {
    /// Returns the files that are named, for programs whose paths are relative to the
    /// configuration.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.headers_file, &mut self.ca].into_iter().flatten()
    }

    /// Returns what the settings name, with the secrets of the file and of the environment.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if the file cannot be read, the variable is not set,
    /// or one of them has something else than headers. Values of headers are not shown.
    pub fn read(&self) -> Result<TraceConfig> {
        let mut config = TraceConfig::new(self.endpoint.as_str());
        config.http.tls.ca.clone_from(&self.ca);
        config.page_url.clone_from(&self.page_url);
        for (kept, given) in [(&mut config.service, &self.service), (&mut config.instance, &self.instance)] {
            if let Some(given) = given {
                kept.clone_from(given);
            }
        }
        if let Some(path) = &self.headers_file {
            let place = path.display().to_string();
            let wrong = |text: String| Error::new(Remedy::Unsupported, place.as_str(), text);
            let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            config.headers.extend(of_lines(&text).map_err(wrong)?);
        }
        if let Some(name) = &self.headers_env {
            let wrong = |text: &str| Error::new(Remedy::Unsupported, format!("variable {name}"), text);
            let text = std::env::var(name).map_err(|_| wrong("it is not set to a text"))?;
            let headers = of_pairs(&text).ok_or_else(|| wrong("it is not of the form name=value,name=value"))?;
            config.headers.extend(headers);
        }
        Ok(config)
    }
}

type Headers = BTreeMap<String, Secret>;

/// Reads headers, one a line.
fn of_lines(text: &str) -> std::result::Result<Headers, String> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let header = |(number, line): (usize, &str)| match line.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_ascii_lowercase(), Secret::new(value.trim()))),
        None => Err(format!("line {number} is not of the form `name: value`")),
    };
    lines.map(header).collect()
}

/// Reads headers as the environment has them; `None` if that is something else.
fn of_pairs(text: &str) -> Option<Headers> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), Secret::new(decoded(value.trim())?)))
    };
    pairs.map(header).collect()
}

/// Decodes the percent signs of a text.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &Headers) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect()
    }

    #[test]
    fn headers_are_read() {
        let lines = of_lines("# of the team\n\nAuthorization: Bearer a:b=c\r\nx-scope : team\n").unwrap();
        let pairs = of_pairs("Authorization=Bearer%20a:b=c, x-scope=team,").unwrap();
        assert_eq!(lines, pairs);
        assert_eq!(shown(&lines), [("authorization", "Bearer a:b=c"), ("x-scope", "team")]);
        assert_eq!(of_lines("x: y\nsecret").unwrap_err(), "line 2 is not of the form `name: value`");
        for text in ["secret", "a=%", "a=%4", "a=%zz", "a=%ff", "a=%é"] {
            assert_eq!(of_pairs(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_without_its_value() {
        for (name, value) in [("a b", "secret"), ("a", "secret\n"), ("", "secret")] {
            let mut config = TraceConfig::new("http://localhost:4318");
            config.headers.insert(name.to_owned(), Secret::new(value));
            let error = config.header_map().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")) && !error.contains("secret"), "{error}");
        }
    }
}
