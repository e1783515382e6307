//! The OpenAPI text of each version, generated from the descriptions of the routes.

use super::answer::ErrorForm;
use freshmaker_web::axum::http::Method;
use std::collections::BTreeMap;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder, Schema};

/// What both versions have in common.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "freshmaker, as the service Freshmaker",
        description = "Rebuilds of what depends on what changed, in the forms of the Python service Freshmaker. Version 1 shows the builds of each event, version 2 how many are in which state. Parameters that are not known are ignored.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "events", description = "What happened, and what is rebuilt because of it"),
        (name = "builds", description = "Artifacts being rebuilt, and requests for rebuilds"),
        (name = "images", description = "Whether images are rebuilt"),
        (name = "names", description = "Kinds and states, with their numbers"),
        (name = "service", description = "The service itself"),
    ),
    components(schemas(ErrorForm)),
    security((), ("bearer" = [])),
)]
struct Common;

/// The descriptions of routes, whose paths have no version.
#[derive(Default)]
pub(super) struct Description {
    paths: BTreeMap<String, PathItem>,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Description {
    /// Adds what describes a route, and returns its paths and methods.
    pub(super) fn add(&mut self, schemas: Vec<(String, RefOr<Schema>)>, paths: Paths) -> Vec<(String, Method)> {
        self.schemas.extend(schemas);
        let mut added = Vec::new();
        for (path, mut item) in paths.paths {
            for (method, operation) in operations(&mut item) {
                name(operation);
                added.push((path.clone(), method));
            }
            self.paths.entry(path).or_default().merge_operations(item);
        }
        added
    }

    /// The text of a version, whose paths begin with this.
    pub(super) fn text(&self, version: &str) -> String {
        let mut whole = Common::openapi();
        whole.paths.paths.extend(self.paths.iter().map(|(path, item)| (format!("{version}{path}"), item.clone())));
        let components = whole.components.get_or_insert_default();
        components.schemas.extend(self.schemas.clone());
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        whole.to_pretty_json().expect("a description has texts for keys")
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, post, patch, .. } = item;
    let all = [(Method::GET, get), (Method::POST, post), (Method::PATCH, patch)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Says that an operation may be answered with an error, and names it by its tag and its function:
/// functions of two files may have the same name.
fn name(operation: &mut Operation) {
    let body = Content::new(Some(Ref::from_schema_name("Error")));
    let error = ResponseBuilder::new().description("Why it cannot be done").content("application/json", body);
    operation.responses.responses.insert("default".to_owned(), error.build().into());
    let tag = operation.tags.iter().flatten().next();
    operation.operation_id = operation.operation_id.take().zip(tag).map(|(id, tag)| format!("{tag}_{id}"));
}
