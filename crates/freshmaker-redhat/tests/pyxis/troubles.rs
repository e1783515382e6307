//! A service that is away, wrong or incomplete: the error says so, and nothing is lost in silence.

use crate::world::{REGISTRY, World, app, bash, client, nvrs, texts};
use freshmaker::backend::Remedy;
use freshmaker_net::Secret;
use freshmaker_redhat::contracts::Images;
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeRepository};
use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig, PyxisLogin, UnpublishedRepository};
use freshmaker_testing::http::{Reply, Server};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn reply(status: u16, body: &Value) -> Reply {
    Reply::new(status).with_body(body.to_string())
}

/// An answer about repositories, with other fields.
fn answer(more: &Value) -> Value {
    let mut field = json!({ "error": null, "page": 0, "page_size": 200, "total": 0, "data": [] });
    field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "data": { "find_repositories": field } })
}

#[tokio::test]
async fn a_refusal_is_told() {
    let html = |status| Reply::new(status).with_header("content-type", "text/html").with_body("<html>Pyxis</html>");
    let error = |code: &str| json!({ "errors": [{ "message": "the text", "extensions": { "code": code } }] });
    let beside = |code: &str| {
        let mut both = answer(&json!({}));
        both["errors"] = error(code)["errors"].take();
        both
    };
    let refused = |status: Value| answer(&json!({ "error": { "status": status, "detail": "the text" }, "data": null }));
    let cases = [
        (reply(200, &error("GRAPHQL_VALIDATION_FAILED")), Remedy::Unsupported, "GRAPHQL_VALIDATION_FAILED: the text"),
        (reply(200, &beside("INTERNAL_SERVER_ERROR")), Remedy::Unavailable, "INTERNAL_SERVER_ERROR: the text"),
        (reply(200, &json!({ "data": null, "errors": [{}] })), Remedy::Unavailable, "no message"),
        (reply(400, &error("BAD_USER_INPUT")), Remedy::Rejected, "status 400: the text"),
        (reply(200, &refused(json!(504))), Remedy::Unavailable, "status 504: the text"),
        (reply(200, &refused(json!(400))), Remedy::Unsupported, "status 400: the text"),
        (reply(200, &refused(json!(429))), Remedy::NotNow, "status 429: the text"),
        (reply(200, &refused(json!(null))), Remedy::Unavailable, "no status: the text"),
        (reply(500, &json!({ "detail": "the text" })), Remedy::Unavailable, "status 500: the text"),
        (html(401), Remedy::Unavailable, "status 401, not in the format"),
        (html(403), Remedy::NotNow, "status 403, not in the format"),
        (html(404), Remedy::Unavailable, "status 404, not in the format"),
        (html(302), Remedy::Unavailable, "status 302, not in the format"),
        (html(413), Remedy::Rejected, "status 413, not in the format"),
        (Reply::new(429).with_header("retry-after", "30"), Remedy::NotNow, "(Retry-After: 30)"),
        (html(200), Remedy::Corrupt, "status 200 with an answer of 18 bytes that is not JSON"),
        (reply(200, &json!([])), Remedy::Corrupt, "`the answer`: expected an object, found a list"),
        (reply(200, &json!({})), Remedy::Corrupt, "`data`: it is missing"),
        (reply(200, &json!({ "data": null })), Remedy::Corrupt, "`data`: expected an object, found null"),
        (reply(200, &json!({ "data": {} })), Remedy::Corrupt, "`data.find_repositories`: it is missing"),
        (
            reply(200, &answer(&json!({ "data": {} }))),
            Remedy::Corrupt,
            "`data.find_repositories.data`: expected a list",
        ),
        (reply(200, &answer(&json!({ "total": null }))), Remedy::Corrupt, "`data.find_repositories.total`: expected"),
        (reply(200, &answer(&json!({ "page": 1 }))), Remedy::Corrupt, "page 1, where 0 was asked for"),
        (
            reply(200, &answer(&json!({ "page_size": 0 }))),
            Remedy::Corrupt,
            "0, where 200 objects a page were asked for",
        ),
        (reply(200, &answer(&json!({ "page_size": 201 }))), Remedy::Corrupt, "`data.find_repositories.page_size`: 201"),
        (reply(200, &answer(&json!({ "total": 1 }))), Remedy::Corrupt, "total is 1, but the data end after 0"),
        (
            reply(200, &answer(&json!({ "total": 1, "data": [{}] }))),
            Remedy::Corrupt,
            "`data.find_repositories.data[0].repository`: it is missing",
        ),
        (
            reply(200, &answer(&json!({ "page_size": 1, "total": 2, "data": [{}, {}] }))),
            Remedy::Corrupt,
            "2 objects on a page of 1",
        ),
        (reply(200, &answer(&json!({}))).cut_after(100), Remedy::Unavailable, ""),
    ];
    for (fault, remedy, text) in cases {
        let world = World::small().await;
        let shown = format!("{fault:?}");
        world.service.disturb(fault);
        let error = world.error().await;
        assert_eq!(error.remedy, remedy, "{shown}: {error}");
        assert!(error.text.contains(text), "{shown}: {error}");
        assert_eq!(error.place, "pyxis: POST /graphql/ (find_repositories)");
        assert_eq!(world.service.asked().len(), 1, "{shown}: it was repeated");
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
            let world = World::small().await;
            world.service.add_image(app("app-container-1-2").published_in(REGISTRY, "second", ["x"]));
            let proxy = failing_at(world.service.url(), failing).await;
            let pyxis = client(&proxy.url(), |_| {});
            let answer = match question {
                0 => pyxis.containing(&bash()).await,
                1 => pyxis.images(&nvrs, &texts(["bash"])).await,
                _ => pyxis.offered(&releases, &texts(["bash"])).await,
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
    world.service.disturb(Reply::nothing());
    assert_eq!(world.error().await.remedy, Remedy::Unavailable);
    // An answer of 50 MiB, where 1 MiB is allowed.
    let world = World::with(|config| config.http.bytes_max = 1 << 20).await;
    world.service.disturb(Reply::new(200).with_body(vec![b' '; 50 << 20]));
    let error = world.error().await;
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert!(error.text.contains("more than the 1048576 bytes"), "{error}");
    let nobody = client("http://127.0.0.1:1", |_| {});
    assert_eq!(nobody.containing(&bash()).await.unwrap_err().remedy, Remedy::Unavailable);
}

/// Answers with pages that are made by a function of their number.
async fn pages(page: impl Fn(u64) -> (u64, Vec<Value>) + Send + Sync + 'static) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let number = body["variables"]["page"].as_u64().unwrap();
        let (total, objects) = page(number);
        let answer = answer(&json!({ "page": number, "page_size": 2, "total": total, "data": objects }));
        async move { Reply::new(200).with_body(answer.to_string()) }
    });
    (server.await.unwrap(), count)
}

#[tokio::test]
async fn pages_that_never_end_have_a_bound() {
    let repository = |id: u64| json!({ "_id": id.to_string(), "repository": format!("app-{id}") });
    let two = move |page: u64| vec![repository(2 * page), repository(2 * page + 1)];
    let error = |server: Server| async move {
        let pyxis = client(&server.url(), |config| config.page = 2);
        let error = pyxis.containing(&bash()).await.unwrap_err();
        (error.remedy, error.text)
    };
    // Always new ones, and one more than were read.
    let (server, asked) = pages(move |page| (2 * page + 3, two(page))).await;
    let endless = "there are more than 400 objects, which is the most that is read";
    assert_eq!(error(server).await, (Remedy::Rejected, endless.to_owned()));
    assert_eq!(asked.load(Ordering::Relaxed), 200);
    // More than will be read: that is known at once.
    let (server, asked) = pages(move |page| (401, two(page))).await;
    assert_eq!(error(server).await, (Remedy::Rejected, endless.to_owned()));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // Always the same ones, because the service knows no pages.
    let (server, asked) = pages(move |_| (5, two(0))).await;
    let same = "the objects of page 1 are those of earlier pages";
    assert_eq!(error(server).await, (Remedy::Corrupt, same.to_owned()));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // Fewer from page to page: some may have moved to where nobody looks again.
    let (server, _) = pages(move |page| (9 - page, two(page))).await;
    assert_eq!(error(server).await.0, Remedy::Unavailable);
}

/// A world with a repository that is not answered in full is not a smaller world.
#[tokio::test]
async fn an_answer_that_lacks_objects_is_an_error() {
    let repository = |id: u64| json!({ "_id": id.to_string(), "repository": format!("app-{id}") });
    let (server, _) = pages(move |page| (3, if page == 0 { vec![repository(0), repository(1)] } else { vec![] })).await;
    let error = client(&server.url(), |config| config.page = 2).containing(&bash()).await.unwrap_err();
    assert_eq!((error.remedy, error.text.as_str()), (Remedy::Corrupt, "total is 3, but the data end after 2"));
    let world = World::new().await;
    world.service.add_repository(FakeRepository::new(REGISTRY, "app").with_field("auto_rebuild_tags", json!("latest")));
    let error = world.error().await;
    assert_eq!(error.text, "`data.find_repositories.data[0].auto_rebuild_tags`: expected a list, found text");
}

#[tokio::test]
async fn two_images_with_one_nvr_are_united_and_those_without_are_left_out() {
    let world = World::small().await;
    world.service.add_image(app("app-container-1-1").on("s390x").with_content_set("other"));
    let nameless = FakeImage::without_build().with_content_set("set").with_rpm("bash", "bash-1-1.x");
    world.service.add_image(nameless.published_in(REGISTRY, "app", ["latest"]));
    assert_eq!(nvrs(&world.containing_bash().await.unwrap()), ["app-container-1-1"]);
}

#[test]
fn a_wrong_configuration_is_refused() {
    type Change = fn(&mut PyxisConfig);
    let cases: [(Change, &str); 7] = [
        (|config| config.http.url = "pyxis".to_owned(), "not a URL"),
        (|config| config.page = 0, "`page`, `page_with_packages` and `parallel`"),
        (|config| config.parallel = 0, "`page`, `page_with_packages` and `parallel`"),
        (
            |config| {
                let (registry, repository) = ("r".to_owned(), String::new());
                config.unpublished_exceptions.insert(UnpublishedRepository { registry, repository });
            },
            "`unpublished_exceptions`",
        ),
        (|config| config.http.tls.client_cert = Some("/nonexistent/cert.pem".into()), "/nonexistent/cert.pem"),
        (|config| config.login = PyxisLogin::ApiKey(Secret::new("")), "the API key of `login` is empty"),
        (|config| config.login = PyxisLogin::ApiKey(Secret::new("a\nb")), "characters that a header cannot have"),
    ];
    for (change, text) in cases {
        let mut config = PyxisConfig::new("https://pyxis.example.com/");
        config.check_offline().unwrap();
        change(&mut config);
        let error = config.check_offline().unwrap_err();
        assert_eq!(error.remedy, Remedy::Unsupported);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(Pyxis::new(config).unwrap_err(), error);
    }
}
