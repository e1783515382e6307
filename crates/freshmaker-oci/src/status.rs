//! What the status of an answer means, and when to ask again.

use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::time::{Timestamp, since};
use freshmaker_net::Reply;
use serde_json::Value;
use std::time::Duration;

/// The longest pause that a registry can demand. Longer ones are taken for this one.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longer texts of registries are cut.
const TEXT_MAX: usize = 300;

/// Returns the answer if its status is a success, or 304. Other statuses mean:
///
/// * 401: a login that does not work says nothing about what was asked, so it is asked again.
/// * 403: this user may not read this until the permission is granted.
/// * 404: there is no such thing.
/// * 429: too many requests; the text says when the next one is allowed.
/// * Other 4xx: the registry refused the request definitely.
/// * 3xx, 408 and 5xx: asked again.
pub(crate) fn expect(reply: Reply, place: &str, now: Timestamp) -> Result<Reply> {
    let remedy = match reply.status {
        200..=299 | 304 => return Ok(reply),
        300..=399 | 401 | 408 | 500..=599 => Remedy::Unavailable,
        403 | 429 => Remedy::NotNow,
        404 => Remedy::NotFound,
        400..=499 => Remedy::Rejected,
        _ => Remedy::Corrupt,
    };
    let mut text = format!("status {}", reply.status);
    match message(&reply.body) {
        Some(message) => text.push_str(&format!(": {message}")),
        None if reply.status == 401 => text.push_str(": the registry wants a login, or another one"),
        None => {}
    }
    if let Some(pause) = retry_after(&reply, now) {
        text.push_str(&format!(" (to be asked again in {} s)", pause.as_secs()));
    }
    Err(Error::new(remedy, place, text))
}

/// Returns how long a registry wants to be left alone.
pub(crate) fn retry_after(reply: &Reply, now: Timestamp) -> Option<Duration> {
    let text = reply.headers.get("retry-after")?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => since(chrono::DateTime::parse_from_rfc2822(text).ok()?.to_utc(), now),
    };
    Some(pause.min(PAUSE_MAX))
}

/// Returns the first error of an answer in the format of registries.
fn message(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let first = &answer["errors"][0];
    let (code, message) = (first["code"].as_str(), first["message"].as_str().filter(|text| !text.is_empty()));
    let text = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        // Token services have their own.
        (None, None) => answer["details"].as_str().or(answer["error"].as_str())?.to_owned(),
    };
    Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker::time::from_micros;

    fn reply(status: u16, header: Option<&str>, body: &str) -> Reply {
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(value) = header {
            headers.insert("retry-after", value.parse().unwrap());
        }
        Reply { status, headers, body: body.into() }
    }

    #[test]
    fn each_status_has_its_remedy() {
        let body = r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest\nunknown"}]}"#;
        for (status, remedy) in [
            (301, Remedy::Unavailable),
            (400, Remedy::Rejected),
            (401, Remedy::Unavailable),
            (403, Remedy::NotNow),
            (404, Remedy::NotFound),
            (429, Remedy::NotNow),
            (500, Remedy::Unavailable),
            (503, Remedy::Unavailable),
            (700, Remedy::Corrupt),
        ] {
            let error = expect(reply(status, None, body), "p", from_micros(0)).unwrap_err();
            assert_eq!(
                (error.remedy, error.text),
                (remedy, format!("status {status}: MANIFEST_UNKNOWN: manifest unknown"))
            );
        }
        assert_eq!(expect(reply(404, None, "<html>"), "p", from_micros(0)).unwrap_err().text, "status 404");
        assert!(expect(reply(304, None, ""), "p", from_micros(0)).is_ok());
    }

    #[test]
    fn pauses_are_read_in_both_forms() {
        let now = from_micros(1_445_412_470_000_000); // 2015-10-21T07:27:50Z
        let pause = |text| retry_after(&reply(429, Some(text), ""), now).map(|pause| pause.as_secs());
        assert_eq!(pause("120"), Some(120));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:00 GMT"), Some(10));
        assert_eq!(pause("Wed, 21 Oct 2015 07:27:00 GMT"), Some(0));
        assert_eq!(pause("99999999999"), Some(86_400));
        assert_eq!(pause("soon"), None);
        let error = expect(reply(429, Some("7"), ""), "p", now).unwrap_err();
        assert_eq!(error.text, "status 429 (to be asked again in 7 s)");
    }
}
