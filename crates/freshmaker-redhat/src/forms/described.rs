//! Parts of the OpenAPI text that differ from what would be derived from the forms.

use super::BuildForm;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// [`Builds`](super::Builds) as the OpenAPI text has them: many generators of clients cannot read
/// that exactly one of two keys is there.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) struct EitherBuilds {
    /// All builds, by number; in version 1, unless the request says otherwise.
    #[schema(nullable = false)]
    builds: Option<Vec<BuildForm>>,
    /// The number of builds in each state that occurs, and the `total`; in version 2, unless the
    /// request says otherwise.
    #[schema(nullable = false)]
    builds_summary: Option<BTreeMap<String, usize>>,
}
