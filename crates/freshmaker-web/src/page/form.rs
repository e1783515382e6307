//! Forms, as browsers send them.

use crate::extract::{media_type, read_body, read_query};
use crate::problem::{Problem, ProblemCode};
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

/// A form of a page, as browsers send it. Its problem is 422, and names the field.
#[derive(Debug)]
pub(crate) struct Form<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if media_type(request.headers()).as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(Problem::new(ProblemCode::MediaType, "the body must be application/x-www-form-urlencoded"));
        }
        let body = read_body(request).await?;
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(&body)
            .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the form cannot be read: {error}")))?;
        let read = read_query(&pairs);
        read.map(Self).map_err(|problem| Problem { code: ProblemCode::Invalid, ..problem })
    }
}
