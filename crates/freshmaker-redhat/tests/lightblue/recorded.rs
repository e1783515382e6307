//! What the tests of the Python service recorded, served over HTTP.

use crate::world::{bash, client, nvrs, texts};
use freshmaker::backend::Remedy;
use freshmaker::graph::EdgeKind;
use freshmaker_redhat::contracts::{Containing, Images};
use freshmaker_redhat::image::{CatalogImage, Publication};
use freshmaker_testing::http::{Reply, Server};
use serde_json::{Value, json};

/// The value of a variable of a test; the last one if there are several.
fn recorded(test: &str, name: &str) -> Value {
    let lines = include_str!("../data/lightblue/recorded.jsonl").lines();
    let values = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut matching = values.filter(|it| it["test"].as_str().unwrap().ends_with(test) && it["name"] == name);
    matching.next_back().unwrap_or_else(|| panic!("{test}: {name}"))["value"].clone()
}

/// Serves these repositories, and these images.
async fn serve(repositories: Value, images: Value) -> Server {
    let envelope = |objects: &Value| {
        let count = objects.as_array().unwrap().len();
        json!({ "status": "COMPLETE", "modifiedCount": 0, "matchCount": count, "processed": objects }).to_string()
    };
    let (repositories, images) = (envelope(&repositories), envelope(&images));
    let server = Server::start(move |request| {
        let repositories_asked = request.path.contains("containerRepository");
        let reply = Reply::new(200).with_body(if repositories_asked { repositories.clone() } else { images.clone() });
        async { reply }
    });
    server.await.unwrap()
}

fn openssl() -> Containing {
    Containing { packages: texts(["openssl"]), content_sets: texts(["dummy-content-set-1"]) }
}

fn image(nvr: &str) -> CatalogImage {
    let image = CatalogImage::new(nvr.parse().unwrap());
    image.with_publication(Publication::Released).with_content_set("dummy-content-set-1").affected()
}

#[tokio::test]
async fn images_of_the_repositories_are_read() {
    let mut images = recorded("QueryEntityFromLightBlue.setUp", "self.fake_images_with_parsed_data");
    let floating = recorded("QueryEntityFromLightBlue.setUp", "self.fake_images_with_parsed_data_floating_tag");
    images.as_array_mut().unwrap().extend(floating.as_array().unwrap().clone());
    // An image of a repository that is not in the list (`product1` instead of `product`).
    let repositories = recorded("QueryEntityFromLightBlue.setUp", "self.fake_repositories_with_content_sets");
    let server = serve(repositories.clone(), images.clone()).await;
    let lightblue = client(&server.url(), |_| {});
    let two = image("package-name-2-4-12.10")
        .in_repository("product2/repo2")
        .with_rpm("openssl-1.2.3-1".parse().unwrap())
        .with_rpm("testpackage2-1.2.3-1".parse().unwrap());
    let three = image("package-name-3-4-12.10")
        .in_repository("product2/repo2")
        .with_content_set("dummy-content-set-2")
        .with_rpm("openssl-1.2.3-1".parse().unwrap())
        .with_rpm("testpackage-1.2.3-1".parse().unwrap());
    assert_eq!(lightblue.containing(&openssl()).await.unwrap(), [two.clone(), three.clone()]);
    // With that repository.
    let mut known = repositories;
    known[0]["repository"] = json!("product1/repo1");
    let server = serve(known, images).await;
    let one = image("package-name-1-4-12.10")
        .in_repository("product1/repo1")
        .with_content_set("dummy-content-set-2")
        .with_rpm("openssl-1.2.3-1".parse().unwrap())
        .with_rpm("testpackage-1.2.3-1".parse().unwrap())
        .with_parent("some-original-nvr-7.6-252.1561619826".parse().unwrap(), EdgeKind::ParentImage);
    let found = client(&server.url(), |_| {}).containing(&openssl()).await.unwrap();
    assert_eq!(found, [one, two, three]);
}

#[tokio::test]
async fn images_in_registries_of_builds_do_not_count() {
    let build = recorded("exclude_build_repo_images", "build_repo_image");
    let repositories = recorded("QueryEntityFromLightBlue.setUp", "self.fake_repositories_with_content_sets");
    for (registries, found) in [(texts([]), 1), (texts(["registry.internel-build.example.com"]), 0)] {
        let server = serve(repositories.clone(), json!([build])).await;
        let lightblue = client(&server.url(), |config| config.build_registries = registries);
        assert_eq!(lightblue.containing(&openssl()).await.unwrap().len(), found);
    }
}

#[tokio::test]
async fn architectures_are_united() {
    let images = recorded("find_container_images_with_multi_arch", "post.return_value.json.return_value");
    let server = serve(json!([]), images).await;
    let lightblue = client(&server.url(), |_| {});
    let nvr = "sadc-container-1.1-6";
    let found = lightblue.images(&[nvr.parse().unwrap()].into(), &texts([])).await.unwrap();
    let expected = CatalogImage::new(nvr.parse().unwrap())
        .with_content_set("dummy-content-set-1")
        .with_content_set("dummy-content-set-2")
        .with_publication(Publication::Unpublished);
    assert_eq!(found, [expected]);
    // Two builds with other fields than we ask for.
    let server = serve(json!([]), recorded("find_container_images", "post.return_value.json.return_value")).await;
    let asked = ["jboss-webserver-3-webserver30-tomcat7-openshift-docker-1.1-6", "sadc-docker-7.2-7"];
    let found = client(&server.url(), |_| {}).images(&asked.map(|nvr| nvr.parse().unwrap()).into(), &texts([])).await;
    assert_eq!(nvrs(&found.unwrap()), asked);
}

#[tokio::test]
async fn a_repository_without_tags_is_passed_over() {
    let repositories = recorded("find_container_repositories", "post.return_value.json.return_value");
    let (sender, mut asked) = tokio::sync::mpsc::channel(9);
    let objects = json!({ "status": "COMPLETE", "matchCount": 3, "processed": repositories });
    let none = json!({ "status": "COMPLETE", "matchCount": 0, "processed": [] });
    let server = Server::start(move |request| {
        let first = request.path.contains("containerRepository");
        sender.try_send(request).unwrap();
        let reply = Reply::new(200).with_body(if first { objects.to_string() } else { none.to_string() });
        async { reply }
    });
    let server = server.await.unwrap();
    assert_eq!(client(&server.url(), |_| {}).containing(&bash()).await.unwrap(), []);
    assert_eq!(asked.recv().await.unwrap().path, "/rest/data/find/containerRepository/");
    let request = asked.recv().await.unwrap();
    assert_eq!(request.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let in_repositories = &body["query"]["$and"][4];
    assert_eq!(
        *in_repositories,
        json!({ "field": "repositories.*.repository", "op": "$in", "values": ["bacon", "spam"] })
    );
}

/// The entries of one image in a registry of users and in one of builds.
#[tokio::test]
async fn entries_are_read() {
    let server = serve(
        json!([{ "repository": "foo/bar", "registry": "registry.example.com", "published": true,
            "release_categories": ["Generally Available"], "auto_rebuild_tags": ["latest"] }]),
        json!([recorded("test_verify_repository", "self.lb.find_images_with_included_rpms.return_value")]),
    )
    .await;
    let wanted = Containing { packages: texts(["bash"]), content_sets: texts(["content-set"]) };
    let found = client(&server.url(), |_| {}).containing(&wanted).await.unwrap();
    let expected = CatalogImage::new("foo-1-1".parse().unwrap())
        .in_repository("foo/bar")
        .in_repository("buildsys/foobar")
        .with_content_set("content-set")
        .with_publication(Publication::Released)
        .affected();
    assert_eq!(found, [expected], "its packages are unknown");
}

#[tokio::test]
async fn the_error_object_is_understood() {
    let body = recorded("TestLightBlueRequestError.setUp", "self.fake_error_data");
    for status in [200, 400, 500] {
        let text = body.to_string();
        let server = Server::start(move |_| {
            let reply = Reply::new(status).with_body(text.clone());
            async { reply }
        });
        let server = server.await.unwrap();
        let error = client(&server.url(), |_| {}).containing(&bash()).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported, "{error}");
        let said = "metadata:InvalidFieldReference: rpm_manifes in parsed_data.rpm_manifes.*.nvra";
        assert!(error.text.ends_with(said), "{error}");
    }
}

/// Our queries mean what the queries of the Python service mean.
#[tokio::test]
async fn the_queries_are_those_of_the_python_service() {
    let (sender, mut asked) = tokio::sync::mpsc::channel(9);
    let repositories = recorded("QueryEntityFromLightBlue.setUp", "self.fake_repositories_with_content_sets");
    let objects = json!({ "status": "COMPLETE", "matchCount": 2, "processed": repositories });
    let none = json!({ "status": "COMPLETE", "matchCount": 0, "processed": [] });
    let server = Server::start(move |request| {
        let first = request.path.contains("containerRepository");
        sender.try_send(request.body).unwrap();
        let reply = Reply::new(200).with_body(if first { objects.to_string() } else { none.to_string() });
        async { reply }
    });
    let server = server.await.unwrap();
    let lightblue = client(&server.url(), |config| {
        config.unpublished_exceptions.insert(freshmaker_redhat::lightblue::UnpublishedRepository {
            registry: "some_registry".to_owned(),
            repository: "some_repo".to_owned(),
        });
    });
    let content_sets = texts(["dummy-content-set-1", "dummy-content-set-2"]);
    lightblue.containing(&Containing { content_sets, ..openssl() }).await.unwrap();
    let theirs = [
        recorded("find_all_container_repositories", "expected_repo_request")["query"].clone(),
        recorded("find_images_with_included_srpm", "expected_image_request"),
    ];
    for theirs in theirs {
        let ours: Value = serde_json::from_slice(&asked.recv().await.unwrap()).unwrap();
        assert_eq!(meaning(&ours["query"]), meaning(&theirs));
    }
}

/// A query with one spelling of what can be written in two ways: `=` is `$eq`, and several values
/// of one field are `$in`, whose values have no order.
fn meaning(query: &Value) -> Value {
    let joint = |key: &str| Some(query.get(key)?.as_array()?.iter().map(meaning).collect::<Vec<_>>());
    if let Some(parts) = joint("$and") {
        return json!({ "$and": parts });
    }
    if let Some(parts) = joint("$or") {
        let fields: Vec<_> = parts.iter().map(|part| part.get("values").and(part.get("field"))).collect();
        if fields[0].is_some() && fields.iter().all(|field| *field == fields[0]) {
            let values = parts.iter().flat_map(|part| part["values"].as_array().unwrap().clone()).collect::<Vec<_>>();
            return sorted(&parts[0]["field"], values);
        }
        return json!({ "$or": parts });
    }
    let values = query.get("values").and_then(Value::as_array).cloned();
    sorted(&query["field"], values.unwrap_or_else(|| vec![query["rvalue"].clone()]))
}

fn sorted(field: &Value, mut values: Vec<Value>) -> Value {
    values.sort_by_key(Value::to_string);
    json!({ "field": field, "values": values })
}
