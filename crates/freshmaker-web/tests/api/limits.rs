use super::support::{Service, ask, post, request, with};
use freshmaker_web::Quota;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::{Body, Bytes};
use freshmaker_web::axum::http::Method;
use freshmaker_web::axum::routing::get;
use futures_util::stream;
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn every_answer_has_its_headers() {
    let service = Service::open();
    for path in ["/api/3/events", "/nowhere", "/healthz", "/problems/internal", "/api/3/events/x"] {
        let answer = service.get(path).await;
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache, private"),
        ] {
            assert_eq!(answer.header(name), value, "{path} {name}");
        }
        assert_eq!(answer.header("x-request-id").len(), 32);
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
    let kept = ask(&service.router, with(request(Method::GET, "/healthz"), "x-request-id", "abc-1.2_3")).await;
    assert_eq!(kept.header("x-request-id"), "abc-1.2_3");
    for bad in ["a b", "", &"a".repeat(65), "a\"b"] {
        let made = ask(&service.router, with(request(Method::GET, "/healthz"), "x-request-id", bad)).await;
        assert_eq!(made.header("x-request-id").len(), 32, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_axum_refuses_is_a_problem_too() {
    let service = Service::open();
    assert_eq!(service.get("/api/3/nowhere").await.problem(), "no_such_path");
    let wrong = ask(&service.router, request(Method::DELETE, "/api/3/events")).await;
    assert_eq!((wrong.problem().as_str(), wrong.header("allow")), ("method_not_allowed", "GET,HEAD"));
    let text = with(request(Method::POST, "/api/3/tokens"), "content-type", "text/plain");
    assert_eq!(ask(&service.router, text).await.problem(), "unsupported_media_type");
    let broken =
        with(request(Method::POST, "/api/3/tokens"), "content-type", "application/json").map(|_| Body::from("{"));
    assert_eq!(ask(&service.router, broken).await.problem(), "bad_request");
    let missing = service.post("/api/3/tokens", &json!({"name": "ci", "roles": []})).await;
    assert_eq!(missing.problem(), "invalid");
    assert!(missing.json()["errors"][0]["detail"].as_str().unwrap().contains("lifetime_s"));
    let head = ask(&service.router, request(Method::HEAD, "/api/3/events")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn sizes_have_limits() {
    let service = Service::new(|config| {
        config.authentication.none = true;
        config.limits.body_bytes = 1000;
    });
    let long = json!({"topic": "a", "body": "x".repeat(1000)});
    assert_eq!(service.post("/api/3/messages", &long).await.problem(), "body_too_large");
    // Without a length that is told before.
    let parts = (0..20).map(|_| Ok::<_, Infallible>(Bytes::from("x".repeat(100))));
    let streamed = with(request(Method::POST, "/api/3/messages"), "content-type", "application/json");
    let streamed = streamed.map(|_| Body::from_stream(stream::iter(parts)));
    assert_eq!(ask(&service.router, streamed).await.problem(), "body_too_large");
    let url = format!("/api/3/events?search_key={}", "x".repeat(9000));
    assert_eq!(service.get(&url).await.problem(), "url_too_long");
    let headers = with(request(Method::GET, "/api/3/events"), "x-much", &"x".repeat(17_000));
    assert_eq!(ask(&service.router, headers).await.problem(), "headers_too_large");
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_given_up() {
    let service = Service::open();
    // A byte each second, for ever.
    let drops = stream::unfold((), |()| async {
        tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
        Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
    });
    let slow = with(request(Method::POST, "/api/3/messages"), "content-type", "application/json");
    let began = tokio::time::Instant::now();
    let answer = ask(&service.router, slow.map(|_| Body::from_stream(drops))).await;
    assert_eq!(answer.problem(), "request_timeout");
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_or_panics_is_answered_for() {
    let service = Service::open();
    let routes = Router::new()
        .route("/hangs", get(async || std::future::pending::<()>().await))
        .route("/panics", get(async || -> () { panic!("a secret") }));
    let router = service.web.router_with(routes);
    let began = tokio::time::Instant::now();
    let late = ask(&router, request(Method::GET, "/hangs")).await;
    assert_eq!((late.problem().as_str(), late.header("retry-after")), ("timeout", "5"));
    assert_eq!(began.elapsed().as_secs(), 30);
    let broken = ask(&router, request(Method::GET, "/panics")).await;
    assert_eq!(broken.problem(), "internal");
    assert!(!String::from_utf8(broken.body).unwrap().contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_sites_cannot_write() {
    let service = Service::new(|config| {
        config.authentication.none = true;
        config.access.origins = vec!["https://friend.example".to_owned()];
    });
    let message = json!({"topic": "image.pushed", "body": {"image": "base"}});
    let site = |site: &str| ask(&service.router, with(post("/api/3/messages", &message), "sec-fetch-site", site));
    assert_eq!(site("cross-site").await.problem(), "cross_site");
    assert_eq!(site("same-site").await.problem(), "cross_site");
    assert_eq!(site("same-origin").await.status, 202);
    assert_eq!(service.post("/api/3/messages", &message).await.status, 202, "a program");
    let friend = with(
        with(post("/api/3/messages", &message), "sec-fetch-site", "cross-site"),
        "origin",
        "https://friend.example",
    );
    assert_eq!(ask(&service.router, friend).await.status, 202);
    let read = with(request(Method::GET, "/api/3/events"), "sec-fetch-site", "cross-site");
    assert_eq!(ask(&service.router, read).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn many_requests_of_one_caller_are_slowed_down() {
    let service = Service::new(|config| {
        config.limits.requests = Quota { per_minute: 60, burst: 2 };
    });
    let (one, other) = (service.token("one", &[]).await, service.token("other", &[]).await);
    let get = |token: &str| ask(&service.router, with(request(Method::GET, "/api/3/events"), "authorization", token));
    assert_eq!((get(&one).await.status.as_u16(), get(&one).await.status.as_u16()), (200, 200));
    let limited = get(&one).await;
    assert_eq!((limited.problem().as_str(), limited.header("retry-after")), ("rate_limited", "1"));
    assert_eq!(get(&other).await.status, 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(get(&one).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_hangs_is_answered_for() {
    let service = Service::open();
    let began = tokio::time::Instant::now();
    let pending = || std::future::pending::<freshmaker::backend::Result<()>>();
    let read = service.web.ask(pending()).await.unwrap_err();
    assert_eq!((read.code.as_str(), began.elapsed().as_secs()), ("unavailable", 10));
    let write = service.web.change(pending()).await.unwrap_err();
    assert_eq!((write.code.as_str(), began.elapsed().as_secs()), ("unclear", 20));
}
