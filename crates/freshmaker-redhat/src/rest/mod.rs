//! What the clients of REST services have in common that are only asked: the meaning of a status,
//! and reading JSON with errors that name the field.

#![allow(dead_code, reason = "which of this is used depends on the clients that are compiled")]

pub(crate) mod field;

use field::Read;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Call, Http, HttpConfig, Reply, off_runtime};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// A service that is asked for JSON. Every request only reads, whatever its method is.
#[derive(Debug)]
pub(crate) struct Rest {
    http: Http,
    url: String,
}

/// A complete answer in JSON, and the place that errors about it name.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    place: String,
}

impl Answer {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`Corrupt`](Remedy::Corrupt) with the path of the field that is wrong.
    pub(crate) fn read<'v, T>(&'v self, read: impl FnOnce(&'v Value) -> Read<T>) -> Result<T> {
        read(&self.value).map_err(|wrong| Error::new(Remedy::Corrupt, self.place.as_str(), wrong))
    }
}

impl Rest {
    pub(crate) fn new(config: &HttpConfig) -> Result<Self> {
        Ok(Self { http: Http::new(config)?, url: config.url.clone() })
    }

    /// Returns the base URL, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns a request to complete and pass to [`send`](Self::send). The path begins with a
    /// slash, and is encoded.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, &format!("{}{path}", self.url))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// As the status says, see [`expect`]; [`Unavailable`](Remedy::Unavailable) if there is no
    /// complete answer in time, or one that is too large; [`Corrupt`](Remedy::Corrupt) if the
    /// answer is not JSON.
    pub(crate) async fn send(&self, request: RequestBuilder, place: String) -> Result<Answer> {
        let reply = expect(self.http.send(request, Call::Read, &place).await?, &place)?;
        let (status, bytes) = (reply.status, reply.body.len());
        let parsed = off_runtime(bytes, move || serde_json::from_slice(&reply.body)).await;
        let value = match parsed {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => {
                let text = format!("status {status} with an answer of {bytes} bytes that is not JSON: {error}");
                return Err(Error::new(Remedy::Corrupt, place, text));
            }
            Err(error) => return Err(Error::new(Remedy::Unavailable, place, error)),
        };
        Ok(Answer { value, place })
    }
}

/// Returns the answer if its status is a success. Other statuses mean:
///
/// * 401: a login that does not work says nothing about what was asked, so it is asked again.
/// * 403: this user may not read this until somebody allows it.
/// * 404: there is no such thing.
/// * 429: too many requests. Other 4xx: the service refused the request definitely.
/// * 3xx, 408 and 5xx: asked again.
fn expect(reply: Reply, place: &str) -> Result<Reply> {
    let remedy = match reply.status {
        200..=299 => return Ok(reply),
        300..=399 | 401 | 408 | 500..=599 => Remedy::Unavailable,
        403 | 429 => Remedy::NotNow,
        404 => Remedy::NotFound,
        400..=499 => Remedy::Rejected,
        _ => Remedy::Corrupt,
    };
    let header = |name| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let mut text = match (message(&reply), header("location")) {
        (Some(text), _) => format!("status {}: {text}", reply.status),
        (None, Some(to)) => format!("status {}: redirected to {to}", reply.status),
        (None, None) => format!("status {}, not in the format of the service", reply.status),
    };
    if let Some(after) = header("retry-after") {
        text.push_str(&format!(" (Retry-After: {after})"));
    }
    Err(Error::new(remedy, place, text))
}

/// Returns the message of an error: the Errata Tool calls it `error`, Pulp `error_message`, Pyxis
/// `detail`, and GraphQL has a list.
fn message(reply: &Reply) -> Option<String> {
    let answer: Value = serde_json::from_slice(&reply.body).ok()?;
    let places = ["/error", "/error_message", "/detail", "/errors/0/message"];
    places.iter().find_map(|place| answer.pointer(place)?.as_str()).map(str::to_owned)
}
