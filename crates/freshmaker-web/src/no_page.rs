//! Replaces `page` if the feature `page` is off: there are no pages.

use crate::problem::Problem;
use crate::routes::PageRoute;
use crate::web::Web;
use axum::extract::Request;
use axum::response::Response;

/// Whether this build has pages.
pub(crate) const HAS_PAGE: bool = false;

/// Pages that are not there keep nothing.
#[derive(Debug, Default)]
pub(crate) struct Pages;

impl Pages {
    pub(crate) fn reader(&self, _: &Web, _: &Request) -> Option<Reader> {
        None
    }
}

/// No request reads a page.
pub(crate) enum Reader {}

impl Reader {
    pub(crate) fn tell(self, _: &mut Response, _: &Problem, _: &str) {
        match self {}
    }
}

pub(crate) fn routes() -> Vec<PageRoute> {
    Vec::new()
}
