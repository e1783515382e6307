//! A service that is away, wrong or incomplete: the error says so, and nothing is lost in silence.

use crate::world::{REGISTRY, World, app, bare, bash, client, nvrs, texts};
use freshmaker::backend::Remedy;
use freshmaker_redhat::contracts::Images;
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeRepository, Fault};
use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig, UnpublishedRepository};
use freshmaker_testing::http::{Reply, Server};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn object(code: &str) -> Value {
    json!({ "objectType": "error", "context": "rest", "errorCode": code, "msg": "the text" })
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code() {
    let status = |status, body| Fault::Status(status, body);
    let error = |code: &str| json!({ "status": "ERROR", "errors": [object(code)] });
    let complete = |more: Value| {
        let mut answer = json!({ "status": "COMPLETE", "matchCount": 0, "processed": [] });
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer
    };
    let cases = [
        (Fault::Error("crud:NoAccess".into(), "no".into()), Remedy::NotNow, "the state is ERROR: crud:NoAccess: no"),
        (status(200, error("crud")), Remedy::Unavailable, "the state is ERROR: crud: the text"),
        (status(200, error("mongo-crud:TooManyResults")), Remedy::Unsupported, "TooManyResults"),
        (status(200, json!({ "status": "ERROR" })), Remedy::Unavailable, "without an error"),
        (status(200, json!({ "status": "PARTIAL", "processed": [] })), Remedy::Unavailable, "PARTIAL"),
        (status(200, json!({ "status": "ASYNC", "taskHandle": "7" })), Remedy::Unavailable, "ASYNC"),
        (status(200, complete(json!({ "errors": [object("crud")] }))), Remedy::Unavailable, "crud: the text"),
        (
            status(200, complete(json!({ "dataErrors": [{ "data": {}, "errors": [object("crud:x")] }] }))),
            Remedy::Unavailable,
            "crud:x: the text",
        ),
        (status(200, complete(json!({ "dataErrors": [{ "data": {} }] }))), Remedy::Unavailable, "no code"),
        (status(400, error("rest-crud:NoEntityMatch")), Remedy::Unsupported, "status 400: rest-crud:NoEntityMatch"),
        (status(400, error("crud")), Remedy::Rejected, "status 400: crud: the text"),
        (status(500, error("crud")), Remedy::Unavailable, "status 500: crud: the text"),
        (status(404, error("metadata:UnknownEntity")), Remedy::Unsupported, "metadata:UnknownEntity"),
        (Fault::Html(404), Remedy::Unavailable, "status 404, not in the format"),
        (Fault::Html(401), Remedy::Unavailable, "status 401, not in the format"),
        (Fault::Html(403), Remedy::NotNow, "status 403, not in the format"),
        (Fault::Html(500), Remedy::Unavailable, "status 500, not in the format"),
        (Fault::Html(502), Remedy::Unavailable, "status 502, not in the format"),
        (Fault::Html(302), Remedy::Unavailable, "status 302, not in the format"),
        (Fault::Html(413), Remedy::Rejected, "status 413, not in the format"),
        (Fault::TooMany(30), Remedy::NotNow, "status 429, not in the format of the service (Retry-After: 30)"),
        (Fault::Html(200), Remedy::Corrupt, "that is not JSON"),
        (status(200, json!([])), Remedy::Corrupt, "`the answer`: expected an object, found a list"),
        (status(200, json!({ "status": "COMPLETE", "matchCount": 0 })), Remedy::Corrupt, "`processed`: it is missing"),
        (
            status(200, complete(json!({ "processed": {} }))),
            Remedy::Corrupt,
            "`processed`: expected a list, found an object",
        ),
        (
            status(200, complete(json!({ "matchCount": "0" }))),
            Remedy::Corrupt,
            "`matchCount`: expected a whole number, not negative, found text",
        ),
        (
            status(200, complete(json!({ "processed": [{ "repository": "a" }, {}], "matchCount": 2 }))),
            Remedy::Corrupt,
            "`processed[1].repository`: it is missing",
        ),
        (
            status(200, complete(json!({ "processed": [null], "matchCount": 1 }))),
            Remedy::Corrupt,
            "`processed[0]`: expected an object, found null",
        ),
        (
            status(200, complete(json!({ "processed": ["a"], "matchCount": 1 }))),
            Remedy::Corrupt,
            "`processed[0]`: expected an object, found text",
        ),
        (Fault::Cut(100), Remedy::Unavailable, ""),
    ];
    for (fault, remedy, text) in cases {
        let world = World::small().await;
        world.service.disturb(fault.clone());
        let error = world.error().await;
        assert_eq!(error.remedy, remedy, "{fault:?}: {error}");
        assert!(error.text.contains(text), "{fault:?}: {error}");
        assert_eq!(error.place, "lightblue: POST /rest/data/find/containerRepository/");
        assert_eq!(world.service.asked().len(), 1, "{fault:?}: it was repeated");
        // And the next call works.
        assert_eq!(world.containing_bash().await.unwrap().len(), 1);
    }
}

/// Every request of each question can fail.
#[tokio::test]
async fn an_error_of_one_query_is_one_of_the_whole() {
    let nvrs = ["app-container-1-1".parse().unwrap()].into();
    let releases = [("app-container".to_owned(), "1".to_owned())].into();
    for (question, requests) in [(0, 3), (1, 2), (2, 2)] {
        for failing in 0..requests {
            // Those before it are answered with nothing wrong.
            let world = World::small().await;
            world.service.add_image(app("app-container-1-2").published_in(REGISTRY, "second", ["x"]));
            let proxy = failing_at(world.service.url(), failing).await;
            let lightblue = client(&proxy.url(), |_| {});
            let answer = match question {
                0 => lightblue.containing(&bash()).await,
                1 => lightblue.images(&nvrs, &texts(["bash"])).await,
                _ => lightblue.offered(&releases, &texts(["bash"])).await,
            };
            assert_eq!(answer.unwrap_err().remedy, Remedy::Unavailable, "question {question}, request {failing}");
            assert_eq!(world.service.asked().len(), failing, "question {question}");
        }
    }
}

/// Passes requests on to this service, and answers the one with this number by a 503.
async fn failing_at(url: String, failing: usize) -> Server {
    let count = Arc::new(AtomicUsize::new(0));
    let http = freshmaker_net::Http::new(&freshmaker_net::HttpConfig::new(&url)).unwrap();
    let server = Server::start(move |request| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let (http, url) = (http.clone(), url.clone());
        async move {
            if number == failing {
                return Reply::new(503);
            }
            let forwarded = http.request(reqwest::Method::POST, &format!("{url}{}", request.path)).body(request.body);
            let reply = http.send(forwarded, freshmaker_net::Call::Read, "proxy").await.unwrap();
            Reply::new(reply.status).with_body(reply.body)
        }
    });
    server.await.unwrap()
}

#[tokio::test]
async fn silence_and_long_answers_have_bounds() {
    let world = World::with(|config| config.http.timeout = Duration::from_millis(200)).await;
    world.service.disturb(Fault::Silence);
    assert_eq!(world.error().await.remedy, Remedy::Unavailable);
    let world = World::with(|config| config.http.bytes_max = 300).await;
    world.service.add_repository(FakeRepository::new(REGISTRY, "app"));
    let error = world.error().await;
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert!(error.text.contains("more than the 300 bytes"), "{error}");
    let nobody = client("http://127.0.0.1:1", |_| {});
    assert_eq!(nobody.containing(&bash()).await.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn an_answer_that_lacks_objects_is_an_error() {
    let world = World::small().await;
    world.service.disturb(Fault::Short);
    let error = world.error().await;
    assert_eq!(error.remedy, Remedy::Corrupt);
    assert_eq!(error.text, "total is 1, but the data end after 0");
    // On a page that is not the last one.
    let world = World::with(|config| config.page = 2).await;
    for n in 0..5 {
        world.service.add_repository(FakeRepository::new(REGISTRY, &format!("app-{n}")));
    }
    let whole = json!({ "status": "COMPLETE", "matchCount": 5, "processed": [
        { "_id": "1", "repository": "app-1" }, { "_id": "2", "repository": "app-2" },
    ] });
    world.service.disturb(Fault::Status(200, whole));
    world.service.disturb(Fault::Short);
    assert_eq!(world.error().await.text, "total is 5, but the data end after 3");
}

/// Answers with pages that are made by a function of their first index.
async fn pages(page: impl Fn(u64) -> (u64, Vec<Value>) + Send + Sync + 'static) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let (total, objects) = page(body["from"].as_u64().unwrap());
        let answer = json!({ "status": "complete", "matchCount": total, "processed": objects });
        async move { Reply::new(200).with_body(answer.to_string()) }
    });
    (server.await.unwrap(), count)
}

#[tokio::test]
async fn pages_that_never_end_have_a_bound() {
    let repository = |id: u64| json!({ "_id": id.to_string(), "repository": format!("app-{id}") });
    // Always new ones, and one more than were read.
    let (server, asked) = pages(move |from| (from + 3, vec![repository(from), repository(from + 1)])).await;
    let error = client(&server.url(), |config| config.page = 2).containing(&bash()).await.unwrap_err();
    assert_eq!((error.remedy, asked.load(Ordering::Relaxed)), (Remedy::Rejected, 100));
    assert_eq!(error.text, "there are more than 200 objects, which is the most that is read");
    // Always the same ones, because the service knows no pages.
    let (server, asked) = pages(move |_| (5, vec![repository(1), repository(2)])).await;
    let error = client(&server.url(), |config| config.page = 2).containing(&bash()).await.unwrap_err();
    assert_eq!((error.remedy, asked.load(Ordering::Relaxed)), (Remedy::Corrupt, 2));
    assert_eq!(error.text, "the objects of page 1 are those of earlier pages");
    // More than were asked for.
    let (server, _) = pages(move |_| (3, (0..3).map(repository).collect())).await;
    let error = client(&server.url(), |config| config.page = 2).containing(&bash()).await.unwrap_err();
    assert_eq!((error.remedy, error.text.as_str()), (Remedy::Corrupt, "3 objects on a page of 2"));
    // Fewer from page to page: some may have moved to where nobody looks again.
    let (server, _) = pages(move |from| (9 - from, vec![repository(from), repository(from + 1)])).await;
    let error = client(&server.url(), |config| config.page = 2).containing(&bash()).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert_eq!(error.text, "the number of objects fell from 9 to 7 while they were read");
}

/// A field of a wrong type is an error that names it.
#[tokio::test]
async fn a_wrong_field_is_named() {
    for (field, value, text) in [
        ("brew", json!({ "package": "x", "build": ["x"] }), "`processed[0].brew.build`: expected text, found a list"),
        ("parent_brew_build", json!(7), "`processed[0].parent_brew_build`: expected text, found a number"),
        ("content_sets", json!(["set", 1]), "`processed[0].content_sets[1]`: expected text, found a number"),
    ] {
        let world = World::new().await;
        let image = json!({ "_id": "1", field: value });
        let first = json!({ "status": "COMPLETE", "matchCount": 1, "processed": [image] });
        world.service.disturb(Fault::Status(200, first));
        let nvrs = ["app-container-1-1".parse().unwrap()].into();
        let error = world.lightblue.images(&nvrs, &texts(["bash"])).await.unwrap_err();
        assert_eq!((error.remedy, error.text.as_str()), (Remedy::Corrupt, text));
        assert_eq!(error.place, "lightblue: POST /rest/data/find/containerImage/");
    }
    let world = World::new().await;
    world.service.add_repository(FakeRepository::new(REGISTRY, "app").with_field("auto_rebuild_tags", json!("latest")));
    assert_eq!(world.error().await.text, "`processed[0].auto_rebuild_tags`: expected a list, found text");
}

/// Truth values may be texts; other texts are none.
#[tokio::test]
async fn truth_can_be_a_text() {
    let entry = |published: Value| json!([{ "repository": "app", "published": published, "tags": [] }]);
    let image = |published| json!({ "brew": { "build": "app-1-1" }, "repositories": entry(published) });
    let releases = [("app".to_owned(), "1".to_owned())].into();
    for (published, found) in [(json!("true"), 1), (json!("false"), 0), (json!(null), 0)] {
        let world = World::new().await;
        let answer = json!({ "status": "COMPLETE", "matchCount": 1, "processed": [image(published)] });
        world.service.disturb(Fault::Status(200, answer));
        assert_eq!(world.lightblue.offered(&releases, &texts([])).await.unwrap().len(), found);
    }
}

/// What was not asked for is not believed.
#[tokio::test]
async fn answers_are_checked() {
    let world = World::new().await;
    let image =
        |build: &str| json!({ "brew": { "build": build }, "repositories": [{ "repository": "a", "published": true }] });
    let images = ["app-1-1", "app-2-1", "other-1-1"].map(image);
    let answer = json!({ "status": "COMPLETE", "matchCount": 3, "processed": images });
    world.service.disturb(Fault::Status(200, answer.clone()));
    let found = world.lightblue.images(&["app-1-1".parse().unwrap()].into(), &texts([])).await.unwrap();
    assert_eq!(nvrs(&found), ["app-1-1"]);
    world.service.disturb(Fault::Status(200, answer));
    let found = world.lightblue.offered(&[("app".to_owned(), "2".to_owned())].into(), &texts([])).await.unwrap();
    assert_eq!(nvrs(&found), ["app-2-1"]);
}

#[tokio::test]
async fn two_images_with_one_nvr_are_united_and_those_without_are_left_out() {
    let world = World::small().await;
    world.service.add_image(app("app-container-1-1").on("s390x").with_content_set("other"));
    world.service.add_image(
        FakeImage::without_build().with_content_set("set").with_rpm("bash", "bash-1-1.x").published_in(
            REGISTRY,
            "app",
            ["latest"],
        ),
    );
    world.service.add_image(bare("app-container-1-1").with_field("brew", json!({ "package": "app" })).published_in(
        REGISTRY,
        "app",
        ["latest"],
    ));
    assert_eq!(nvrs(&world.containing_bash().await.unwrap()), ["app-container-1-1"]);
}

#[test]
fn a_wrong_configuration_is_refused() {
    type Change = fn(&mut LightblueConfig);
    let cases: [(Change, &str); 7] = [
        (|config| config.http.url = "lightblue".to_owned(), "not a URL"),
        (|config| config.image_version = "1/../2".to_owned(), "`image_version` is not a version"),
        (|config| config.repository_version = "1?".to_owned(), "`repository_version` is not a version"),
        (|config| config.page = 0, "`page` and `parallel`"),
        (|config| config.parallel = 0, "`page` and `parallel`"),
        (
            |config| {
                let (registry, repository) = ("r".to_owned(), String::new());
                config.unpublished_exceptions.insert(UnpublishedRepository { registry, repository });
            },
            "`unpublished_exceptions`",
        ),
        (|config| config.http.tls.client_cert = Some("/nonexistent/cert.pem".into()), "/nonexistent/cert.pem"),
    ];
    for (change, text) in cases {
        let mut config = LightblueConfig::new("https://lightblue.example.com/");
        config.check_offline().unwrap();
        change(&mut config);
        let error = config.check_offline().unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(Lightblue::new(config).unwrap_err(), error);
    }
}
