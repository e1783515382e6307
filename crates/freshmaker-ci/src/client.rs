//! Shared by the three clients: requests with JSON answers, and which error each status means.

use crate::Login;
use freshmaker::backend::{BuildSystem, Error, Found, Remedy, Result};
use freshmaker::rebuild::{ExternalId, Observed};
use freshmaker_net::{Bearer, Call, Http, HttpConfig, Reply, off_runtime};
use futures_util::StreamExt;
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::future::Future;

/// Number of requests for states that are sent at the same time.
const PARALLEL: usize = 8;
/// Largest number of characters of an error message of a service that is kept.
const SAID_MAX: usize = 400;

/// A service, its address and its login.
#[derive(Debug)]
pub(crate) struct Client {
    name: &'static str,
    http: Http,
    base: Url,
    bearer: Bearer,
    /// Header fields of every request.
    headers: &'static [(&'static str, &'static str)],
}

/// A request. The segments of the path are encoded.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<Value>,
    /// Sent as `Idempotency-Key`.
    key: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(path: &'a [&'a str]) -> Self {
        Self { method: Method::GET, path, query: &[], body: None, key: None }
    }

    pub(crate) fn post(path: &'a [&'a str]) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    pub(crate) fn query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    pub(crate) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn key(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }

    fn call(&self) -> Call {
        if self.method == Method::GET { Call::Read } else { Call::Write }
    }
}

/// A successful answer, and what errors about it name.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
    call: Call,
    pub(crate) place: String,
}

impl Answer {
    /// Reads the answer as JSON. Large ones are read off the runtime.
    ///
    /// # Errors
    /// With the path of the field that is wrong: [`Corrupt`](Remedy::Corrupt) for a question,
    /// [`Unclear`](Remedy::Unclear) for a request that may have had an effect.
    pub(crate) async fn read<T: DeserializeOwned + Send + 'static>(self) -> Result<T> {
        let Self { body, call, place, .. } = self;
        let bytes = body.len();
        let read = move || serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(&body));
        let nonsense = |text: String| Error::new(call.answered_with_nonsense(), place.as_str(), text);
        match off_runtime(bytes, read).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(nonsense(format!("the answer makes no sense: {error}"))),
            Err(error) => Err(Error::new(call.unanswered(), place, error)),
        }
    }
}

impl Client {
    pub(crate) fn new(
        name: &'static str,
        config: &HttpConfig,
        login: &Login,
        headers: &'static [(&'static str, &'static str)],
    ) -> Result<Self> {
        let http = Http::new(config)?;
        let base = Url::parse(&config.url).map_err(|error| Error::new(Remedy::Unsupported, &config.url, error))?;
        Ok(Self { name, http, base, bearer: login.bearer(), headers })
    }

    /// Reads the token, to find out without the network whether there is one.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported), naming the file.
    pub(crate) fn check_login(&self) -> Result<()> {
        self.bearer.token(self.name).map(drop).map_err(|error| error.with_remedy(Remedy::Unsupported))
    }

    /// Sends a request and returns its answer, if the status is a success.
    ///
    /// # Errors
    /// As [`expect`] says, and those of [`Http::send`].
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Answer> {
        let call = ask.call();
        let place = format!("{}: {} /{}", self.name, ask.method, ask.path.join("/"));
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().extend(ask.path)),
            Err(()) => return Err(Error::new(Remedy::Unsupported, place, "the address of the service has no path")),
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        let mut request = self.http.request(ask.method, url.as_str());
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = ask.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(token) = self.bearer.token(self.name)? {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let reply = self.http.send(request, call, &place).await?;
        if reply.status == 401 {
            self.bearer.refused();
        }
        let reply = expect(reply, call, &place)?;
        Ok(Answer { status: reply.status, body: reply.body, call, place })
    }
}

/// Checks that these parts of paths, each with the name of its option, are no dots, which a path
/// would drop.
pub(crate) fn check_names(service: &str, names: &[(&str, &str)]) -> Result<()> {
    match names.iter().find(|(_, value)| value.bytes().all(|byte| byte == b'.')) {
        Some((name, _)) => Err(Error::new(Remedy::Unsupported, service, format!("`{name}` is not a name"))),
        None => Ok(()),
    }
}

/// Returns what an error of a submission means. A wrong name or a missing right must not make
/// builds fail: it is asked again until it is corrected.
pub(crate) fn not_submitted(error: Error) -> Error {
    if error.remedy == Remedy::NotFound { error.with_remedy(Remedy::Unavailable) } else { error }
}

/// Cancels a job whose name lacks the marker; returns the error that says what to do.
pub(crate) async fn cancel_unmarked(system: &dyn BuildSystem, id: &ExternalId, place: String, advice: &str) -> Error {
    match system.cancel(id).await {
        Ok(()) => Error::new(Remedy::Rejected, place, format!("its name lacks the marker: {advice}")),
        Err(error) => error.with_remedy(Remedy::Unclear),
    }
}

/// Collects the answers about jobs, which are asked for several at the same time. A job that cannot
/// be read counts as unchanged, and hides no other one.
///
/// # Errors
/// Only if no job could be asked about: the error of the first.
pub(crate) async fn each<R>(ids: &[ExternalId], asked: Vec<R>) -> Result<Vec<Found>>
where
    R: Future<Output = Result<Observed>> + Send,
{
    let answers: Vec<_> = futures_util::stream::iter(asked).buffered(PARALLEL).collect().await;
    let (mut found, mut first) = (Vec::new(), None);
    for (id, answer) in ids.iter().zip(answers) {
        match answer {
            Ok(observed) => found.push(Found { external: id.clone(), observed }),
            Err(error) => {
                tracing::warn!(job = %id, %error, "a job could not be asked about");
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// Returns the answer if its status is a success. Other statuses mean:
///
/// * 401, 403, and redirections: nothing was done, and the login or the address has to be mended.
/// * 429, and 403 with the header fields of an exceeded rate: too many requests.
/// * 404, 410: there is no such thing, or none that this login may see.
/// * 409: it exists already, or has ended.
/// * Other 4xx: the service refused the request definitely.
/// * 408 and 5xx can follow an effect.
fn expect(reply: Reply, call: Call, place: &str) -> Result<Reply> {
    let header = |name| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let limited = header("retry-after").is_some() || header("x-ratelimit-remaining") == Some("0");
    let remedy = match reply.status {
        200..=299 => return Ok(reply),
        429 => Remedy::NotNow,
        403 if limited => Remedy::NotNow,
        300..=399 | 401 | 403 => Remedy::Unavailable,
        404 | 410 => Remedy::NotFound,
        409 => Remedy::Conflict,
        408 | 500..=599 => call.unanswered(),
        400..=499 => Remedy::Rejected,
        _ => call.answered_with_nonsense(),
    };
    let mut text = match (said(&reply.body), header("location")) {
        (Some(said), _) => format!("status {}: {said}", reply.status),
        (None, Some(to)) => format!("status {}: redirected to {to}", reply.status),
        (None, None) => format!("status {}", reply.status),
    };
    if let Some(after) = header("retry-after") {
        text.push_str(&format!(" (Retry-After: {after})"));
    }
    Err(Error::new(remedy, place, text))
}

/// Returns the message of an error. GitLab's can be a text, a list, or an object of lists.
fn said(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let said = ["message", "error_description", "error"].iter().find_map(|key| answer.get(key))?;
    let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    Some(said.chars().take(SAID_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(status: u16, headers: &[(&'static str, &'static str)], call: Call) -> Option<Remedy> {
        let headers = headers.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), reqwest::header::HeaderValue::from_static(value))
        });
        let reply = Reply { status, headers: headers.collect(), body: br#"{"message":{"base":["no"]}}"#.to_vec() };
        expect(reply, call, "farm").err().map(|error| error.remedy)
    }

    #[test]
    fn a_status_says_whether_a_job_may_exist() {
        for (status, written) in [
            (201, None),
            (302, Some(Remedy::Unavailable)),
            (400, Some(Remedy::Rejected)),
            (401, Some(Remedy::Unavailable)),
            (403, Some(Remedy::Unavailable)),
            (404, Some(Remedy::NotFound)),
            (408, Some(Remedy::Unclear)),
            (409, Some(Remedy::Conflict)),
            (422, Some(Remedy::Rejected)),
            (429, Some(Remedy::NotNow)),
            (500, Some(Remedy::Unclear)),
            (503, Some(Remedy::Unclear)),
            (700, Some(Remedy::Unclear)),
        ] {
            assert_eq!(remedy(status, &[], Call::Write), written, "{status}");
        }
        assert_eq!(remedy(502, &[], Call::Read), Some(Remedy::Unavailable));
        for limit in [("retry-after", "60"), ("x-ratelimit-remaining", "0")] {
            assert_eq!(remedy(403, &[limit], Call::Write), Some(Remedy::NotNow), "{limit:?}");
        }
        assert_eq!(remedy(403, &[("x-ratelimit-remaining", "7")], Call::Write), Some(Remedy::Unavailable));
    }

    #[test]
    fn messages_are_texts_or_what_stands_there() {
        assert_eq!(said(br#"{"message":"no"}"#).as_deref(), Some("no"));
        assert_eq!(said(br#"{"message":{"base":["no"]}}"#).as_deref(), Some(r#"{"base":["no"]}"#));
        assert_eq!(said(br#"{"error":"scope"}"#).as_deref(), Some("scope"));
        assert_eq!(said(b"<html>"), None);
    }
}
