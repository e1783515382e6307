//! Every query and every filter is one that the schema of the service allows.

use crate::world::{World, app, bash, texts};
use apollo_compiler::request::coerce_variable_values;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};
use freshmaker_redhat::contracts::{Containing, Images};
use freshmaker_redhat::pyxis::UnpublishedRepository;
use serde_json::{Value, json};

const PUBLIC: &str = include_str!("../data/pyxis/schema.graphql");

/// What the interface inside of Red Hat has besides.
const INTERNAL: &str = "
extend input ContainerImageFilter { rpm_manifest: ContainerImageRPMManifestFilter }
input ContainerImageRPMManifestFilter { rpms: RpmsItemsListFilter }
input RpmsItemsListFilter { name: StringFilter }
";

fn schema(parts: &[&str]) -> Valid<Schema> {
    Schema::parse_and_validate(parts.concat(), "schema.graphql").unwrap()
}

/// What is wrong with a request, if anything.
fn fault(schema: &Valid<Schema>, body: &Value) -> Option<String> {
    let query = body["query"].as_str().unwrap();
    let document = match ExecutableDocument::parse_and_validate(schema, query, "query.graphql") {
        Ok(document) => document,
        Err(error) => return Some(error.to_string()),
    };
    let operation = document.operations.get(None).unwrap();
    let variables = serde_json::from_value(body["variables"].clone()).unwrap();
    let coerced = coerce_variable_values(schema, operation, &variables);
    coerced.err().map(|error| format!("{error:?}"))
}

/// Asks all questions that there are.
async fn ask_all(world: &World) {
    world.service.add_image(app("app-container-1-2").published_in("registry.example.com", "unlisted", ["1"]));
    world.containing_bash().await.unwrap();
    world.pyxis.containing(&Containing { content_sets: texts([]), ..bash() }).await.unwrap();
    for packages in [texts(["bash"]), texts([])] {
        let nvrs = ["app-container-1-2".parse().unwrap()].into();
        assert_eq!(world.pyxis.images(&nvrs, &packages).await.unwrap().len(), 1);
        let releases = [("app-container".to_owned(), "1".to_owned())].into();
        assert_eq!(world.pyxis.offered(&releases, &packages).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn every_request_is_valid() {
    let (public, internal) = (schema(&[PUBLIC]), schema(&[PUBLIC, INTERNAL]));
    for package_filter in [true, false] {
        let world = World::with(|config| {
            config.package_filter = package_filter;
            let (registry, repository) = ("registry.example.com".to_owned(), "eus".to_owned());
            config.unpublished_exceptions.insert(UnpublishedRepository { registry, repository });
        })
        .await;
        world
            .service
            .add_repository(freshmaker_redhat::fakes::lightblue::FakeRepository::new("registry.example.com", "app"));
        ask_all(&world).await;
        let asked = world.service.asked();
        assert!(asked.len() >= 12, "{}", asked.len());
        for body in &asked {
            assert_eq!(fault(&internal, body), None, "{body}");
            let by_package = body.to_string().contains(r#"{"rpm_manifest":"#);
            assert_eq!(fault(&public, body).is_some(), by_package, "{body}");
        }
        assert_eq!(asked.iter().any(|body| fault(&public, body).is_some()), package_filter);
    }
}

#[test]
fn faults_are_found() {
    let schema = schema(&[PUBLIC]);
    let images = "query q($filter: ContainerImageFilter!) { find_images(filter: $filter) { data { _id } } }";
    let with =
        |query: &str, filter: Value| fault(&schema, &json!({ "query": query, "variables": { "filter": filter } }));
    assert_eq!(with(images, json!({ "brew": { "build": { "in": ["a"] } } })), None);
    for (query, filter, text) in [
        (images, json!({ "brew": { "nvr": { "in": ["a"] } } }), "nvr"),
        (images, json!({ "content_sets": { "in": [7] } }), "StringListFilter.in: 7"),
        (images, json!(null), "filter"),
        ("query { find_images { data { nothing } } }", json!({}), "nothing"),
        ("query { find_images(size: 7) { page } }", json!({}), "size"),
        ("query { find_images }", json!({}), "find_images"),
        ("query { find_images { page }", json!({}), "syntax error"),
    ] {
        let fault = with(query, filter).unwrap_or_else(|| panic!("{query} is valid"));
        assert!(fault.contains(text), "{fault}");
    }
}
