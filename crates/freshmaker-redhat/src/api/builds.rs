//! Builds.

use super::Api;
use super::address::{Number, Place};
use super::answer::{self, Answer, Failure, told};
use super::events::nothing;
use super::filters::{self, BUILD_COLUMNS, BuildQuery, KINDS};
use super::load::noted;
use super::order::{self, Order};
use super::paging::{Listing, PageQuery, Query};
use crate::forms::BuildForm;
use freshmaker::backend::{BuildFilter, BuildLinks, Page, Paging};
use freshmaker::rebuild::{BuildId, BuildRecord};
use freshmaker_web::axum::extract::State;
use freshmaker_web::axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A build, and which of its rows cannot be read.
#[derive(Debug, Serialize, ToSchema)]
struct ShownBuild {
    #[serde(flatten)]
    form: BuildForm,
    /// Rows that belong here and cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// Lists builds, the newest first.
#[utoipa::path(
    get,
    path = "/builds/",
    tag = "builds",
    params(PageQuery, BuildQuery),
    responses((status = 200, description = "A page of the list", body = Listing<BuildForm>))
)]
pub(super) async fn list(State(api): State<Api>, place: Place, query: Query) -> Answer {
    let asked = query.read::<PageQuery>()?;
    let order = Order::read(asked.order_by(), &BUILD_COLUMNS)?;
    let (wanted, client) = (asked.page(), api.web.client());
    let page = match filters::builds(&query.read()?)? {
        Some(filter) if order.is_by_number() => {
            api.web.ask(client.builds_with_links(filter, wanted.paging(order))).await?
        }
        Some(filter) => order::all(|paging| api.web.ask(client.builds_with_links(filter.clone(), paging))).await?,
        None => nothing(),
    };
    let mut meta = wanted.meta(&query, &place, page.total.unwrap_or_default());
    let mut items = forms(&page.items, &place.prefix);
    if !order.is_by_number() {
        items = order.page(items, wanted, order::of_build);
    }
    meta.unreadable = noted(page.unreadable);
    Ok(told(StatusCode::OK, &Listing { items, meta }))
}

/// Returns the forms of builds, in their order.
fn forms(rows: &[(BuildRecord, BuildLinks)], prefix: &str) -> Vec<BuildForm> {
    rows.iter().filter_map(|(build, links)| BuildForm::of(build, links, prefix)).collect()
}

/// Looks a build up that the service would have.
async fn found(api: &Api, id: i64) -> Result<Page<(BuildRecord, BuildLinks)>, Failure> {
    let filter = BuildFilter { ids: vec![BuildId(id)], kinds: KINDS.to_vec(), ..BuildFilter::default() };
    Ok(api.web.ask(api.web.client().builds_with_links(filter, Paging::first(1))).await?)
}

/// One build.
#[utoipa::path(
    get,
    path = "/builds/{id}",
    tag = "builds",
    params(("id" = i64, Path, minimum = 0, description = "Its number")),
    responses((status = 200, description = "The build", body = ShownBuild))
)]
pub(super) async fn one(State(api): State<Api>, Number(id): Number, place: Place) -> Answer {
    let page = found(&api, id).await?;
    let unreadable = noted(page.unreadable);
    match forms(&page.items, &place.prefix).pop() {
        Some(form) => Ok(answer::shown(form, unreadable, |form, unreadable| ShownBuild { form, unreadable })),
        None if unreadable.is_empty() => Err(Failure::not_found("No such build found.")),
        None => Err(Failure::Refused(StatusCode::INTERNAL_SERVER_ERROR, unreadable.join("; "))),
    }
}

/// What replaces the pullspecs of an operator bundle. No build here is one of a bundle, so it is
/// null.
#[utoipa::path(
    get,
    path = "/pullspec_overrides/{id}",
    tag = "builds",
    params(("id" = i64, Path, minimum = 0, description = "The number of the build")),
    responses((status = 200, description = "Nothing is replaced", body = Option<Object>))
)]
pub(super) async fn pullspec_overrides(State(api): State<Api>, Number(id): Number) -> Answer {
    match found(&api, id).await?.items.is_empty() {
        true => Err(Failure::not_found("No such bundle build")),
        false => Ok(told(StatusCode::OK, &Value::Null)),
    }
}
