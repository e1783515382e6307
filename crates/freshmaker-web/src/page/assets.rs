//! The style, the script and the icon, under names that have the hash of their contents: a browser
//! asks for each once.

use crate::problem::{Problem, ProblemCode};
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use freshmaker::artifact::Digest;
use freshmaker::plan::Diagram;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// A file of the page.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its name, below `assets/`.
    pub(crate) name: String,
    kind: &'static str,
    pub(crate) text: String,
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, text: String) -> Self {
        Self { name: format!("{stem}.{}.{ending}", Digest::of(text.as_bytes()).short()), kind, text }
    }
}

pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "page",
        "css",
        "text/css; charset=utf-8",
        format!("{}{}", Diagram::STYLE, include_str!("../../assets/page.css")),
    )
});

pub(crate) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("page", "js", "text/javascript; charset=utf-8", include_str!("../../assets/page.js").to_owned())
});

pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("../../assets/icon.svg").to_owned()));

/// The style as a source in a `Content-Security-Policy`, for the page that has it within: the
/// overview, which is what people open first and is painted after one request.
pub(super) static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(&STYLE.text))));

/// Serves a file of the page. An old name, of which a page of an earlier version may be open, is
/// not found.
pub(crate) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let assets: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let found = assets.into_iter().find(|asset| asset.name == name);
    let Asset { kind, text, name } =
        found.ok_or_else(|| Problem::new(ProblemCode::NotFound, "there is no such file: load the page again"))?;
    let headers = [
        (header::CONTENT_TYPE, (*kind).to_owned()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
        (header::ETAG, format!("\"{name}\"")),
        (header::VARY, "accept-encoding".to_owned()),
    ];
    Ok((headers, text.as_str()).into_response())
}
