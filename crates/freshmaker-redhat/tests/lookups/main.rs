//! The services that handlers ask: the clients, and the fakes that stand for the services, held to
//! what the real ones say.

#![allow(clippy::unwrap_used)]

mod errata;
mod errata_recorded;
mod pulp;
mod shipped;

use freshmaker::Nvr;
use freshmaker::backend::{Error, Remedy};
use freshmaker_testing::http::Reply;
use serde_json::Value;
use std::collections::BTreeSet;

/// A recorded answer.
struct Recorded {
    source: String,
    path: String,
    body: Value,
}

fn recorded(lines: &str) -> Vec<Recorded> {
    let read = |line| {
        let json: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        Recorded { source: text("source"), path: text("path"), body: json["body"].clone() }
    };
    lines.lines().map(read).collect()
}

fn nvrs(names: &[&str]) -> BTreeSet<Nvr> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn texts(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn status(status: u16) -> Reply {
    Reply::new(status).with_body(r#"{"error": "this is why", "error_message": "this is why"}"#)
}

/// Replies of a service in trouble: what each means, and a part of the text about it.
fn troubles() -> Vec<(Reply, Remedy, &'static str)> {
    let html = "<html><body>Sign in</body></html>";
    vec![
        (status(400), Remedy::Rejected, "status 400: this is why"),
        (status(401), Remedy::Unavailable, "status 401: this is why"),
        (Reply::new(401).with_body(html), Remedy::Unavailable, "status 401, not in the format of the service"),
        (status(403), Remedy::NotNow, "status 403: this is why"),
        (status(429).with_header("retry-after", "120"), Remedy::NotNow, "this is why (Retry-After: 120)"),
        (status(500), Remedy::Unavailable, "status 500: this is why"),
        (status(502), Remedy::Unavailable, "status 502"),
        (status(503), Remedy::Unavailable, "status 503"),
        (Reply::new(302).with_header("location", "https://sso.example.org/"), Remedy::Unavailable, "sso.example.org"),
        (Reply::new(200).with_body(html), Remedy::Corrupt, "an answer of 33 bytes that is not JSON"),
        (Reply::new(200), Remedy::Corrupt, "an answer of 0 bytes that is not JSON"),
        (Reply::new(200).with_body("{}").cut_after(0), Remedy::Unavailable, ""),
        (Reply::new(200).with_body("[1, 2, 3]").declaring(100), Remedy::Unavailable, "broke off after 9 bytes"),
        (Reply::new(200).with_body(vec![b' '; 50 << 20]), Remedy::Unavailable, "bytes that are allowed"),
    ]
}

#[track_caller]
fn assert_corrupt(error: &Error, place: &str, text: &str) {
    assert_eq!(error.remedy, Remedy::Corrupt, "{error}");
    assert_eq!(error.place, place, "{error}");
    assert!(error.text.contains(text), "{error}");
}
