use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use freshmaker_redhat::koji::xmlrpc::{Request, Response};
use serde_json::Value as Json;
use std::io::Read;

/// One recorded exchange with a hub.
pub(crate) struct Exchange {
    pub(crate) name: String,
    json: Json,
}

impl Exchange {
    pub(crate) fn all() -> Vec<Self> {
        let lines = include_str!("../data/koji/exchanges.jsonl").lines();
        let exchange = |line| {
            let json: Json = serde_json::from_str(line).expect("a line is JSON");
            Self { name: text(&json["name"]), json }
        };
        lines.map(exchange).collect()
    }

    /// The one whose name starts so.
    pub(crate) fn named(start: &str) -> Self {
        Self::all().into_iter().find(|exchange| exchange.name.starts_with(start)).expect("it was recorded")
    }

    pub(crate) fn asked(&self) -> Vec<u8> {
        body(&self.json["request"])
    }

    pub(crate) fn answered(&self) -> Vec<u8> {
        body(&self.json["response"])
    }

    pub(crate) fn asked_header(&self, name: &str) -> Option<&str> {
        self.json["request"]["headers"][name].as_str()
    }

    pub(crate) fn answered_header(&self, name: &str) -> Option<&str> {
        self.json["response"]["headers"][name].as_str()
    }

    pub(crate) fn request(&self) -> Request {
        Request::parse(&self.asked()).expect(&self.name)
    }

    pub(crate) fn response(&self) -> Response {
        Response::parse(&self.answered()).expect(&self.name)
    }
}

/// An answer of a hub in production.
pub(crate) fn production(compressed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(compressed).expect("zstd").read_to_end(&mut bytes).expect("whole");
    bytes
}

fn body(side: &Json) -> Vec<u8> {
    match side["base64"].as_str() {
        Some(encoded) => BASE64_STANDARD.decode(encoded).expect("base64"),
        None => text(&side["body"]).into_bytes(),
    }
}

fn text(json: &Json) -> String {
    json.as_str().expect("a text").to_owned()
}
