//! The request to the collector, and what its answer means.

use super::TraceExporter;
use super::spans::Span;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Call, Reply};
use reqwest::Method;
use serde_json::{Value, json};

/// How much of an answer is quoted.
const QUOTED: usize = 200;

const PLACE: &str = "opentelemetry: POST /v1/traces";

impl TraceExporter {
    /// Sends spans. Those that the collector refuses for good are lost, and the log says so: what
    /// is sent after them must not wait for ever.
    pub(super) async fn send(&self, spans: Vec<Span>) -> Result<()> {
        let count = spans.len();
        let (status, body) = self.post(spans).await?;
        match status {
            200..=299 => tell_of_rejected(&body),
            400 | 413 | 422 => {
                tracing::error!(status, said = said(&body), spans = count, "the collector refuses spans: they are lost")
            }
            _ => return Err(refused(status, &body)),
        }
        Ok(())
    }

    /// Sends a request with spans, and returns the status and the body of the answer.
    pub(super) async fn post(&self, spans: Vec<Span>) -> Result<(u16, Vec<u8>)> {
        let body = json!({ "resourceSpans": [{
            "resource": { "attributes": [
                { "key": "service.name", "value": { "stringValue": self.config.service } },
                { "key": "service.instance.id", "value": { "stringValue": self.config.instance } },
            ] },
            "scopeSpans": [{
                "scope": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }] });
        let url = format!("{}/v1/traces", self.config.http.url.trim_end_matches('/'));
        let request = self.http.request(Method::POST, &url).json(&body).headers(self.headers.clone());
        // The same spans may be sent twice, so an answer that is missing is no question.
        let Reply { status, body, .. } = self.http.send(request, Call::Read, PLACE).await?;
        Ok((status, body))
    }
}

/// The beginning of an answer.
fn said(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).chars().take(QUOTED).collect()
}

/// The collector does not take spans now.
pub(super) fn refused(status: u16, answer: &[u8]) -> Error {
    Error::new(Remedy::Unavailable, PLACE, format!("status {status}: {}", said(answer)))
}

/// Writes into the log if the collector has taken only a part.
fn tell_of_rejected(answer: &[u8]) {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    // A number of 64 bits is a text in this form; many write a number.
    let rejected = partial["rejectedSpans"].as_str().and_then(|text| text.parse().ok());
    let rejected = rejected.or_else(|| partial["rejectedSpans"].as_i64()).unwrap_or_default();
    if rejected > 0 {
        let said: String = partial["errorMessage"].as_str().unwrap_or_default().chars().take(QUOTED).collect();
        tracing::error!(rejected, said, "the collector refuses spans: they are lost");
    }
}
