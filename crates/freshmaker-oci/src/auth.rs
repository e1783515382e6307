//! How a registry asks for a login, and the tokens that it accepts.

use crate::credentials::{self, Credentials};
use crate::host::{Ask, Host};
use crate::manifest::json;
use crate::status::expect;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshmaker::backend::{Clock, Error, Remedy, Result};
use freshmaker_net::{Call, Secret};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use serde::Deserialize;
use std::time::Duration;

/// How long a token without an announced lifetime is valid, as the specification says.
const LIFETIME: Duration = Duration::from_secs(60);
/// The longest lifetime of a token; a longer one is cut to it.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// A token is not used in the last part of its lifetime, because requests take time.
const MARGIN: Duration = Duration::from_secs(5);
/// The largest answer of a token service, in bytes.
const TOKEN_BYTES_MAX: usize = 256 << 10;

/// What is sent with requests for one repository.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    header: HeaderValue,
    /// By the clock's `elapsed`; `None` for a password, which the registry refuses by itself.
    until: Option<Duration>,
}

impl Login {
    fn new(text: &str, until: Option<Duration>, place: &str) -> Result<Self> {
        let mut header = HeaderValue::from_str(text)
            .map_err(|_| Error::new(Remedy::Corrupt, place, "the login has characters that no header may have"))?;
        header.set_sensitive(true);
        Ok(Self { header, until })
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(crate) fn is_valid(&self, clock: &dyn Clock) -> bool {
        self.until.is_none_or(|until| clock.elapsed() < until)
    }
}

/// What a registry demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Returns the demand of an answer with status 401: a token, if that is one of the choices.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<_> = texts.flat_map(challenges).collect();
        let bearer = all.iter().position(|challenge| matches!(challenge, Self::Bearer { .. }));
        all.get(bearer.unwrap_or(0)).cloned()
    }
}

/// Reads a list of challenges (RFC 9110, section 11.6.1). Unknown schemes are left out.
fn challenges(text: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = value_of(value.trim_start());
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            if !word.is_empty() {
                found.push((word.to_ascii_lowercase(), Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    let read = |(scheme, parameters): (String, Vec<(String, String)>)| {
        let get = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
            _ => None,
        }
    };
    found.into_iter().filter_map(read).collect()
}

/// Reads a token or a quoted text, and returns what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            _ => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Host {
    /// Returns the login that a registry demands for a request; `None` if it demands a password and
    /// there is none.
    pub(crate) async fn log_in(&self, challenge: &Challenge, ask: &Ask<'_>) -> Result<Option<Login>> {
        let repository = ask.repository;
        let credentials = credentials::find(&self.config, &self.name, repository).await?;
        let place = format!("oci: login at {}", self.name);
        match (challenge, credentials) {
            (Challenge::Basic, Some(Credentials::Password { user, password })) => {
                Login::new(&basic(&user, &password), None, &place).map(Some)
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service, scope }, credentials) => {
                let scope = scope.clone().unwrap_or_else(|| format!("repository:{repository}:{}", ask.actions()));
                let service = service.as_deref().unwrap_or_default();
                self.token(realm, service, &scope, credentials).await.map(Some)
            }
        }
    }

    /// Fetches a token, as the documentation of docker's registry describes it:
    /// <https://distribution.github.io/distribution/spec/auth/token/>.
    async fn token(&self, realm: &str, service: &str, scope: &str, credentials: Option<Credentials>) -> Result<Login> {
        let place = format!("oci: token for {} from {}", self.name, realm.split(['?', '#']).next().unwrap_or_default());
        let mut url = Url::parse(realm).map_err(|error| Error::new(Remedy::Corrupt, place.as_str(), error))?;
        if url.scheme() != "https" && !(url.scheme() == "http" && self.is_plain()) {
            let text = "the registry wants its login sent without TLS; `plain_http` would allow it";
            return Err(Error::new(Remedy::Unsupported, place, text));
        }
        let http = self.http.bounded(TOKEN_BYTES_MAX, Remedy::Corrupt);
        let parameters = [("service", service), ("scope", scope)];
        let request = match credentials {
            Some(Credentials::Identity(token)) => {
                let fields = [("grant_type", "refresh_token"), ("client_id", "freshmaker")];
                let mut form =
                    Url::parse("http://form/").map_err(|error| Error::new(Remedy::Unsupported, &place, error))?;
                let secret = [("refresh_token", token.expose())];
                form.query_pairs_mut().extend_pairs(fields).extend_pairs(parameters).extend_pairs(secret);
                let body = form.query().unwrap_or_default().to_owned();
                let form = "application/x-www-form-urlencoded";
                http.request(Method::POST, url.as_str()).header("content-type", form).body(body)
            }
            other => {
                url.query_pairs_mut().extend_pairs(parameters.iter().filter(|(_, value)| !value.is_empty()));
                let request = http.request(Method::GET, url.as_str());
                match other {
                    Some(Credentials::Password { user, password }) => {
                        request.header("authorization", basic(&user, &password))
                    }
                    _ => request,
                }
            }
        };
        // A token that nobody receives does no harm, so the request counts as one that only reads.
        let began = self.clock.elapsed();
        let reply = expect(http.send(request, Call::Read, &place).await?, &place, self.clock.now())?;
        // The error of the reader could quote the token.
        let answer: TokenAnswer = json(&reply.body, &place).map_err(|error| {
            Error::new(error.remedy, error.place, "the answer is not in the format of token services")
        })?;
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let token = filled(answer.token).or_else(|| filled(answer.access_token));
        let token = token.ok_or_else(|| Error::new(Remedy::Corrupt, &place, "there is no token in the answer"))?;
        let lifetime = answer.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let lifetime = lifetime.unwrap_or(LIFETIME).min(LIFETIME_MAX);
        let until = began + lifetime.saturating_sub(MARGIN.min(lifetime / 10));
        Login::new(&format!("Bearer {token}"), Some(until), &place)
    }
}

fn basic(user: &str, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        };
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        for (text, wanted) in [
            (
                hub,
                Some(bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            ("Basic realm=\"a, Bearer realm=b\"", Some(Challenge::Basic)),
            ("Basic realm=x, Bearer realm=\"https://t\"", Some(bearer("https://t", None, None))),
            ("Negotiate, bearer Realm = \"a\\\"b\"", Some(bearer("a\"b", None, None))),
            ("Bearer service=x", None),
            ("Digest", None),
            ("\"", None),
            ("= , =,\"", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
            assert_eq!(Challenge::of(&headers), wanted, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_challenge_is_a_panic(text in ".{0,60}") {
            let _ = challenges(&text);
        }

        #[test]
        fn no_near_challenge_is_a_panic(text in "[Bearer =,\"\\\\realm]{0,40}") {
            let _ = challenges(&text);
        }
    }
}
