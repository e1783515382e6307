//! What the tests of the Python service recorded, served over HTTP.

use crate::world::{client, nvrs, texts};
use freshmaker::backend::Remedy;
use freshmaker::graph::EdgeKind;
use freshmaker_redhat::contracts::{Containing, Images};
use freshmaker_redhat::image::CatalogImage;
use freshmaker_testing::http::{Reply, Server};
use serde_json::{Value, json};

/// The value of a variable of a test.
fn recorded(test: &str) -> Value {
    let lines = include_str!("../data/pyxis/recorded.jsonl").lines();
    let mut values = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    values.find(|it| it["test"].as_str().unwrap().ends_with(test)).unwrap_or_else(|| panic!("{test}"))["value"].clone()
}

/// Serves this repository, and these images as one page. The recorded answers say that a page has
/// 250 objects, and count images that their authors have left out.
async fn serve(repository: &str, mut images: Value) -> Server {
    let repository = json!({
        "repository": repository,
        "published": true,
        "auto_rebuild_tags": ["latest", "v0.13"],
        "release_categories": ["Generally Available"],
    });
    let repositories = json!({ "error": null, "page": 0, "page_size": 250, "total": 1, "data": [repository] });
    if let Some(data) = images.pointer("/find_images/data").and_then(Value::as_array) {
        images["find_images"]["total"] = data.len().into();
    }
    let server = Server::start(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let about_images = body["query"].as_str().unwrap().contains("find_images");
        let data = if about_images { images.clone() } else { json!({ "find_repositories": repositories }) };
        async move { Reply::new(200).with_body(json!({ "data": data }).to_string()) }
    });
    server.await.unwrap()
}

#[tokio::test]
async fn images_by_nvr_are_read() {
    let server = serve("dummy/foobar-rhel8", recorded("test_pyxis_graphql_find_images_by_nvrs")).await;
    let pyxis = client(&server.url(), |config| (config.page, config.page_with_packages) = (250, 250));
    let nvr: freshmaker::artifact::Nvr = "foobar-container-v0.13.0-12.1582340001".parse().unwrap();
    let found = pyxis.images(&[nvr.clone()].into(), &texts(["foo", "bar"])).await.unwrap();
    let expected = CatalogImage::new(nvr)
        .with_content_set("rhel-8-for-aarch64-baseos-rpms")
        .with_content_set("rhel-8-for-x86_64-baseos-rpms")
        .in_repository("dummy/foobar-rhel8")
        .with_parent("ubi8-minimal-container-8.6-100.1582220001".parse().unwrap(), EdgeKind::ParentImage)
        .with_rpm("foo-10-123.el8".parse().unwrap())
        .with_publication(freshmaker_redhat::image::Publication::Released);
    assert_eq!(found, [expected]);
}

#[tokio::test]
async fn images_that_contain_packages_are_read() {
    for (test, expected) in [
        ("test_images_with_modular_container_image", vec!["parent-1-2", "parent-1-3"]),
        ("test_images_with_missing_nvr_data", vec![]),
    ] {
        let server = serve("product/repo1", recorded(test)).await;
        let pyxis = client(&server.url(), |config| (config.page, config.page_with_packages) = (250, 250));
        let wanted = Containing { packages: texts(["openssl"]), content_sets: texts(["dummy-content-set-1"]) };
        assert_eq!(nvrs(&pyxis.containing(&wanted).await.unwrap()), expected, "{test}");
    }
}

#[tokio::test]
async fn an_error_beside_the_data_is_one() {
    let server = serve("a", recorded("test_log_trace_id")).await;
    let pyxis = client(&server.url(), |config| (config.page, config.page_with_packages) = (250, 250));
    let error = pyxis.images(&["a-1-1".parse().unwrap()].into(), &texts(["bash"])).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert_eq!(error.to_string(), "pyxis: POST /graphql/ (find_images): status 500: something went wrong");
}
