//! Sessions of a program that is built without pages: there are none.

use super::{Principal, Tokens};
use crate::documents::Store;
use crate::problem::Problem;
use axum::http::HeaderMap;
use freshmaker::backend::Clock;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Sessions;

impl Sessions {
    pub(crate) fn new(_: Store, _: Arc<dyn Clock>) -> Self {
        Self
    }

    pub(crate) async fn recognize(&self, _: &Tokens, _: &HeaderMap) -> Result<Option<Principal>, Problem> {
        Ok(None)
    }
}

/// No cookie is a session.
pub(crate) fn session_of(_: &HeaderMap) -> Option<&str> {
    None
}
