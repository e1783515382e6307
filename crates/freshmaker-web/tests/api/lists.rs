//! What stands around lists: groups that are retried, filters, reports, compression.

use super::pages::{form, html, lived_in, page, service};
use super::support::{Service, ask, post, request, with};
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_web::axum::http::Method;
use serde_json::json;
use std::io::Read;

#[tokio::test(start_paused = true)]
async fn a_group_of_failures_is_retried_once() {
    let service = service();
    for _ in 0..3 {
        service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
        service.push("base").await;
        service.settle().await;
    }
    let groups = service.get("/api/3/failures").await.json();
    let group = &groups["items"][0];
    assert_eq!((&group["system"], &group["count"]), (&json!("builder"), &json!(1)), "one artifact: {groups}");
    assert_eq!(group["newest"]["artifact"], "app");
    let reason = group["reason"].as_str().unwrap();
    let shown = page(&service, "/failures").await;
    assert!(shown.contains("failures/retry") && shown.contains("Retry this group"), "{shown}");
    let fields = format!("system=builder&reason={reason}");
    let first = ask(&service.router, form("/failures/retry", &fields)).await;
    assert_eq!((first.status.as_u16(), first.header("location")), (303, "../events?told=group-retried"));
    assert!(page(&service, "/events?told=group-retried").await.contains("Retried."));
    let second = ask(&service.router, form("/failures/retry", &fields)).await;
    assert_eq!((second.status.as_u16(), second.header("location")), (303, "../failures?told=nothing-to-retry"));
    service.settle().await;
    let events = service.get("/api/3/events").await.json();
    let retries = events["items"].as_array().unwrap().iter().filter(|event| !event["retry_of"].is_null());
    assert_eq!(retries.count(), 1, "its last build is of one event: {events}");
    let audit = service.get("/api/3/audit?what=retry").await.json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "each event has a row: {audit}");
    for (body, code) in [
        (json!({"system": "builder", "reason": "never"}), "rejected"),
        (json!({"system": "builder"}), "invalid"),
        (json!({"system": "builder", "reason": "x", "since": "yesterday"}), "invalid"),
    ] {
        assert_eq!(service.post("/api/3/failures/retry", &body).await.problem(), code, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_audit_log_is_narrowed_by_who_what_and_outcome() {
    let service = Service::open();
    for number in 0..450 {
        let path = if number % 150 == 149 { "/api/3/systems/builder/resume" } else { "/api/3/systems/builder/pause" };
        service.post(path, &json!({"reason": "x"})).await;
        // Rates are not what is tested here.
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    let rows = async |query: &str| {
        let (mut all, mut parts, mut path) = (0, 0, format!("/api/3/audit?{query}"));
        loop {
            let part = service.get(&path).await.json();
            (all, parts) = (all + part["items"].as_array().unwrap().len(), parts + 1);
            match part["next"].as_str() {
                Some(next) => path = format!("/api/3/audit?{query}&cursor={next}"),
                None => return (all, parts),
            }
        }
    };
    assert_eq!(rows("limit=200").await, (450, 3));
    assert_eq!(rows("what=resume").await, (3, 1), "rows of the whole log are looked at");
    assert_eq!(rows("what=resume&limit=1").await, (3, 3));
    // A system that is paused cannot be paused once more.
    assert_eq!((rows("outcome=failed&limit=200").await.0, rows("outcome=done").await.0), (444, 6));
    assert_eq!(rows("who=local&what=system%20builder&outcome=done&limit=4").await, (6, 2));
    assert_eq!(rows("who=nobody").await, (0, 1));
    assert_eq!(service.get("/api/3/audit?outcome=good").await.problem(), "bad_parameter");
}

#[tokio::test(start_paused = true)]
async fn times_to_fix_are_a_table_for_spreadsheets() {
    let service = service();
    service.push("base").await;
    service.settle().await;
    let report = service.get("/api/3/report").await.json();
    assert_eq!(report["items"][0]["search_key"], "base", "{report}");
    assert!(report["items"][0]["took_s"].as_u64().is_some(), "{report}");
    let csv = service.get("/api/3/report?format=csv").await;
    assert!(csv.header("content-type").starts_with("text/csv") && csv.header("content-disposition").contains(".csv"));
    let lines: Vec<_> = std::str::from_utf8(&csv.body).unwrap().split("\r\n").collect();
    assert_eq!(lines[0], "event,search_key,severity,builds,received_at,done_at,took_s");
    assert!(lines[1].contains(",\"base\",") && lines[2].is_empty(), "{lines:?}");
    let page = page(&service, "/report").await;
    assert!(page.contains("./api/3/report?format=csv"), "{page}");
    assert_eq!(service.get("/api/3/report?format=xlsx").await.problem(), "bad_parameter");
}

#[tokio::test(start_paused = true)]
async fn what_waits_and_when_it_ends_is_told_as_json() {
    let service = lived_in().await;
    let builds = service.get("/api/3/builds?state=BLOCKED,READY").await.json();
    let id = builds["items"][0]["id"].as_i64().unwrap();
    let waits = service.get(&format!("/api/3/builds/{id}/waiting-for")).await.json();
    assert!(waits["waits"]["reason"]["text"].as_str().unwrap().contains("paused"), "{waits}");
    let systems = service.get("/api/3/systems").await.json();
    assert_eq!(systems["items"][0]["pause"]["by"], "alice", "{systems}");
    let events = service.get("/api/3/events").await.json();
    let [open, ended] = [0, 1].map(|place| events["items"][place]["id"].as_i64().unwrap());
    let forecast = service.get(&format!("/api/3/events/{open}/forecast")).await.json();
    assert!(forecast["forecast"]["unknown"].as_u64().unwrap() > 0, "a person has to resume: {forecast}");
    let forecast = service.get(&format!("/api/3/events/{ended}/forecast")).await.json();
    assert_eq!(forecast, json!({"why_not": "the event has no open builds"}));
    for path in ["/api/3/builds/404/waiting-for", "/api/3/events/404/forecast"] {
        assert_eq!(service.get(path).await.problem(), "not_found");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_is_compressed_for_those_who_take_it() {
    let service = lived_in().await;
    for path in ["/", "/builds", "/api/3/builds", "/api/3/openapi.json"] {
        let plain = ask(&service.router, html(Method::GET, path)).await;
        assert_eq!(plain.header("content-encoding"), "");
        let small = ask(&service.router, with(html(Method::GET, path), "accept-encoding", "br, gzip")).await;
        assert_eq!((small.status.as_u16(), small.header("content-encoding")), (200, "gzip"), "{path}");
        let vary: Vec<_> = small.headers.get_all("vary").iter().map(|vary| vary.to_str().unwrap()).collect();
        assert!(vary.contains(&"accept-encoding") && vary.len() == 2, "{path}: {vary:?}");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&small.body[..]).read_to_end(&mut text).unwrap();
        assert!(small.body.len() * 2 < text.len() && text.len().abs_diff(plain.body.len()) < 200, "{path}");
        assert_eq!(small.header("etag"), plain.header("etag"), "{path}");
    }
    let events = with(request(Method::GET, "/api/3/stream"), "accept-encoding", "gzip");
    let stream = tower::ServiceExt::oneshot(service.router.clone(), events).await.unwrap();
    assert!(!stream.headers().contains_key("content-encoding"), "changes are sent at once");
    // A write is made and answered, whatever encodings are taken.
    let write = with(post("/api/3/systems/builder/resume", &json!({})), "accept-encoding", "identity;q=0");
    assert_eq!(ask(&service.router, write).await.status, 204);
}
