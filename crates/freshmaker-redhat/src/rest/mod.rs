//! Shared by the clients of REST services that are only read: the meaning of a status, JSON with
//! errors that name the field, and answers in pages.

#![allow(dead_code, reason = "which of this is used depends on the clients that are compiled")]

pub(crate) mod field;
pub(crate) mod pages;

use field::Read;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Call, Http, HttpConfig, Reply, off_runtime};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// Largest number of errors of one answer that our error quotes.
const QUOTED_MAX: usize = 5;

/// A service that is asked for JSON. Every request only reads, whatever its method is.
#[derive(Debug)]
pub(crate) struct Rest {
    http: Http,
    url: String,
    errors: fn(&Value) -> Option<Said>,
}

/// What a service says in an answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// What is to be done, if the service says more than its status.
    pub(crate) remedy: Option<Remedy>,
    pub(crate) text: String,
}

impl Said {
    /// Unites the errors of an answer, of which the first ones are quoted; `None` if there is none.
    pub(crate) fn all(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let (mut remedy, mut quoted, mut more) = (None, Vec::new(), 0_usize);
        for error in errors {
            remedy = remedy.or(error.remedy);
            if quoted.len() < QUOTED_MAX {
                quoted.push(error.text);
            } else {
                more += 1;
            }
        }
        if quoted.is_empty() {
            return None;
        }
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        Some(Self { remedy, text: quoted.join("; ") + &rest })
    }
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
        Ok(Self { http: Http::new(config)?, url: config.url.clone(), errors: message })
    }

    /// Reads errors of the service in its own form.
    pub(crate) fn with_errors(self, errors: fn(&Value) -> Option<Said>) -> Self {
        Self { errors, ..self }
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
    /// As the service or else the status says, see [`expect`];
    /// [`Unavailable`](Remedy::Unavailable) if there is no complete answer in time, or one that is
    /// too large; [`Corrupt`](Remedy::Corrupt) if the answer is not JSON.
    pub(crate) async fn send(&self, request: RequestBuilder, place: String) -> Result<Answer> {
        let reply = expect(self.http.send(request, Call::Read, &place).await?, self.errors, &place)?;
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
/// * 403: this user may not read this until the permission is granted.
/// * 404: there is no such thing.
/// * 429: too many requests. Other 4xx: the service refused the request definitely.
/// * 3xx, 408 and 5xx: asked again.
///
/// What the service itself says counts more than the status.
fn expect(reply: Reply, errors: fn(&Value) -> Option<Said>, place: &str) -> Result<Reply> {
    let by_status = match reply.status {
        200..=299 => return Ok(reply),
        300..=399 | 401 | 408 | 500..=599 => Remedy::Unavailable,
        403 | 429 => Remedy::NotNow,
        404 => Remedy::NotFound,
        400..=499 => Remedy::Rejected,
        _ => Remedy::Corrupt,
    };
    let header = |name| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let said = serde_json::from_slice(&reply.body).ok().and_then(|answer| errors(&answer));
    let remedy = said.as_ref().and_then(|said| said.remedy).unwrap_or(by_status);
    let mut text = match (said, header("location")) {
        (Some(said), _) => format!("status {}: {}", reply.status, said.text),
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
fn message(answer: &Value) -> Option<Said> {
    let places = ["/error", "/error_message", "/detail", "/errors/0/message"];
    let text = places.iter().find_map(|place| answer.pointer(place)?.as_str())?;
    Some(Said { remedy: None, text: text.to_owned() })
}

/// Makes an error about an address that is always the same retryable: it is wrong until the
/// configuration is corrected, and says nothing about what was asked for.
pub(crate) fn wrong_address(error: Error) -> Error {
    match error.remedy {
        Remedy::NotFound => error.with_remedy(Remedy::Unavailable),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_errors_are_counted_and_the_first_remedy_counts() {
        let said = |n: usize| Said {
            remedy: (n >= 3).then_some([Remedy::NotNow, Remedy::Rejected][n % 2]),
            text: n.to_string(),
        };
        let all = Said::all((0..9).map(said)).unwrap();
        assert_eq!((all.remedy, all.text.as_str()), (Some(Remedy::Rejected), "0; 1; 2; 3; 4; and 4 more"));
        assert_eq!(Said::all([]), None);
    }
}
