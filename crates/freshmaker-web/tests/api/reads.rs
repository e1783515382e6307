use super::support::{Service, ask, request, with};
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_web::ProblemCode;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::http::Method;
use serde_json::{Value, json};

/// A service in which one event was handled.
async fn handled() -> (Service, i64) {
    let service = Service::open();
    service.push("base").await;
    service.settle().await;
    let id = service.get("/api/3/events").await.json()["items"][0]["id"].as_i64().unwrap();
    (service, id)
}

#[tokio::test(start_paused = true)]
async fn an_event_is_shown_with_all_that_belongs_to_it() {
    let (service, id) = handled().await;
    let event = service.get(&format!("/api/3/events/{id}")).await.json();
    assert_eq!(
        (&event["state"], &event["kind"], &event["search_key"]),
        (&json!("COMPLETE"), &json!("image.pushed"), &json!("base"))
    );
    assert_eq!((&event["builds"]["done"], &event["payload"]["image"]), (&json!(2), &json!("base")));
    let history = service.get(&format!("/api/3/events/{id}/transitions")).await.json();
    assert_eq!(history["items"][0]["from"], Value::Null);
    assert_eq!(history["items"].as_array().unwrap().last().unwrap()["to"], "COMPLETE");
    let plan = service.get(&format!("/api/3/events/{id}/plan")).await.json();
    assert!(plan.is_object());
    let builds = service.get(&format!("/api/3/builds?event={id}")).await.json();
    let names: Vec<_> =
        builds["items"].as_array().unwrap().iter().map(|build| build["artifact"].as_str().unwrap()).collect();
    assert_eq!(names, ["site", "app"]);
    let build = builds["items"][1]["id"].as_i64().unwrap();
    let build_row = service.get(&format!("/api/3/builds/{build}")).await.json();
    assert_eq!((&build_row["detail"], &build_row["inputs"]["parents"][0]["id"]), (&json!("DONE"), &json!("base")));
    let attempts = service.get(&format!("/api/3/builds/{build}/attempts")).await.json();
    assert_eq!(attempts["items"][0]["number"], 1);
    let attempt = attempts["items"][0]["id"].as_str().unwrap();
    for path in [format!("/api/3/builds/{build}/transitions"), format!("/api/3/attempts/{attempt}/transitions")] {
        assert!(!service.get(&path).await.json()["items"].as_array().unwrap().is_empty(), "{path}");
    }
    let latest = service.get("/api/3/artifacts/app").await.json();
    assert_eq!(latest["items"][0]["id"], build);
    let message = event["message_id"].as_str().unwrap();
    assert_eq!(service.get(&format!("/api/3/messages/local/{message}")).await.json()["state"], "done");
    let overview = service.get("/api/3/overview").await.json();
    assert_eq!((&overview["builds_done"], &overview["idle"]), (&json!(2), &json!(true)));
    assert_eq!(service.get("/api/3/stuck?for_s=0").await.json()["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_plan_has_five_forms_and_an_explanation_for_each_artifact() {
    let (service, id) = handled().await;
    for (format, kind, begin) in [
        ("json", "application/json", "{"),
        ("svg", "image/svg+xml", "<svg "),
        ("dot", "text/plain; charset=utf-8", "digraph"),
        ("mermaid", "text/plain; charset=utf-8", "flowchart"),
        ("text", "text/plain; charset=utf-8", ""),
    ] {
        let answer = service.get(&format!("/api/3/events/{id}/plan?format={format}")).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, kind));
        assert!(String::from_utf8(answer.body.clone()).unwrap().starts_with(begin), "{answer:?}");
        let again = with(
            request(Method::GET, &format!("/api/3/events/{id}/plan?format={format}")),
            "if-none-match",
            answer.header("etag"),
        );
        assert_eq!(ask(&service.router, again).await.status, 304);
    }
    let answer = service.get(&format!("/api/3/events/{id}/plan?format=png")).await;
    assert_eq!(answer.problem_at(), ("bad_parameter".into(), "format".into()));

    for (artifact, status) in [("site", "rebuilt"), ("base", "changed"), ("other", "unaffected")] {
        let answer = service.get(&format!("/api/3/artifacts/{artifact}/explain?event={id}")).await.json();
        assert_eq!((&answer["explanation"]["status"], &answer["artifact"]), (&json!(status), &json!(artifact)));
    }
    let answer = service.get("/api/3/artifacts/docker.io/library%2Fapp:1/explain?event=1000").await;
    assert_eq!(answer.problem(), "not_found");
    let answer = service.get("/api/3/artifacts/docker.io/library/app:1").await;
    assert_eq!(answer.json()["items"], json!([]));
    assert_eq!(service.get("/api/3/artifacts/app/explain").await.problem(), "bad_parameter");
    assert_eq!(
        service.get(&format!("/api/3/events/{id}/excluded?count=true")).await.json(),
        json!({"items": [], "total": 0})
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_is_walked_by_its_links() {
    let service = Service::open();
    for _ in 0..5 {
        service.push("base").await;
        service.settle().await;
    }
    let first = service.get("/api/3/events?limit=2&kind=image.pushed&count=true").await;
    assert_eq!(first.json()["total"], 5);
    let mut seen = Vec::new();
    let mut answer = first;
    loop {
        let body = answer.json();
        seen.extend(body["items"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()));
        // New rows do not move what comes next.
        service.push("base").await;
        service.settle().await;
        let link = answer.header("link").to_owned();
        let Some(next) = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) else {
            assert_eq!(body["next"], Value::Null);
            break;
        };
        assert!(next.contains("kind=image.pushed") && next.contains(body["next"].as_str().unwrap()));
        assert!(seen.len() <= 5, "the walk does not end: {seen:?}");
        answer = service.get(&format!("/api/3/events{next}")).await;
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|one, other| one > other), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn filters_hold_and_name_what_they_do_not_know() {
    let (service, id) = handled().await;
    for (path, found) in [
        ("/api/3/events?state=COMPLETE", 1),
        ("/api/3/events?state=BUILDING,FAILED", 0),
        ("/api/3/events?search_key=base", 1),
        ("/api/3/events?search_key=app", 0),
        ("/api/3/events?requester=alice", 0),
        ("/api/3/events?since=2025-11-24T00:00:00Z&until=2030-01-01T00:00:00Z", 1),
        ("/api/3/events?until=2025-11-24T00:00:00Z", 0),
        ("/api/3/builds?state=DONE&system=builder", 2),
        ("/api/3/builds?system=other", 0),
        ("/api/3/builds?artifact=app", 1),
        ("/api/3/builds?reason=unheard_of", 0),
        (format!("/api/3/builds?event={id},1000").as_str(), 2),
    ] {
        assert_eq!(service.get(path).await.json()["items"].as_array().unwrap().len(), found, "{path}");
    }
    for (path, parameter) in [
        ("/api/3/events?state=done", "state"),
        ("/api/3/events?since=yesterday", "since"),
        ("/api/3/events?page=2", "page"),
        ("/api/3/events?limit=0", "limit"),
        ("/api/3/events?limit=201", "limit"),
        ("/api/3/events?cursor=nonsense", "cursor"),
        ("/api/3/builds?event=many", "event"),
        ("/api/3/events/seven", "id"),
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.problem_at(), ("bad_parameter".into(), parameter.into()), "{path}");
    }
    for path in [
        "/api/3/events/1000",
        "/api/3/builds/1000",
        "/api/3/events/1000/plan",
        "/api/3/events/1000/transitions",
        "/api/3/builds/1000/attempts",
        "/api/3/attempts/none/transitions",
        "/api/3/messages/local/none",
    ] {
        assert_eq!(service.get(path).await.problem(), "not_found", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_known_is_not_sent_again() {
    let (service, id) = handled().await;
    let build = service.get("/api/3/builds").await.json()["items"][0]["id"].as_i64().unwrap();
    for path in [format!("/api/3/events/{id}"), format!("/api/3/builds/{build}")] {
        let answer = service.get(&path).await;
        let tag = answer.header("etag");
        assert_eq!(tag, format!("\"{}\"", answer.json()["version"]));
        let again = ask(&service.router, with(request(Method::GET, &path), "if-none-match", tag)).await;
        assert_eq!((again.status.as_u16(), again.header("etag"), again.body.len()), (304, tag, 0));
        let other = ask(&service.router, with(request(Method::GET, &path), "if-none-match", "\"0\"")).await;
        assert_eq!(other.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_in_words_and_numbers() {
    let service = Service::open();
    service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
    service.push("base").await;
    service.settle().await;
    let failed = service.get("/api/3/builds?state=FAILED").await.json();
    assert_eq!(failed["items"][0]["artifact"], "app");
    assert!(failed["items"][0]["reason"]["text"].as_str().unwrap().contains("no space"), "{failed}");
    let metrics = String::from_utf8(service.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("freshmaker_builds{state=\"failed\"} 2\n"), "{metrics}");
    let requests = r#"freshmaker_http_request_seconds_count{route="/api/3/builds",method="GET",status="200"} 1"#;
    assert!(metrics.contains(requests), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn health_names_what_is_checked() {
    let service = Service::open();
    assert_eq!(service.get("/healthz").await.body, b"ok\n");
    let ready = service.get("/readyz").await;
    assert_eq!(ready.status, 200);
    let good = ["storage", "documents", "writes"].map(|name| json!({"name": name, "ok": true}));
    assert_eq!(ready.json()["checks"], json!(good));
}

#[tokio::test(start_paused = true)]
async fn the_description_is_openapi_and_has_every_reference() {
    let service = Service::open();
    let description = service.get("/api/3/openapi.json").await.json();
    assert_eq!(description["openapi"], "3.1.0");
    assert!(description["paths"]["/api/3/artifacts/{id}/explain"]["get"].is_object());
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_code_has_a_page_and_problems_know_where_they_are_nested() {
    let service = Service::open();
    for code in ProblemCode::ALL {
        let page = service.get(&format!("/problems/{}", code.as_str())).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(String::from_utf8(page.body).unwrap().contains(code.title()));
    }
    assert_eq!(service.get("/problems/unheard_of").await.problem(), "not_found");
    let nested = Router::new().nest("/rebuilds", service.router.clone());
    let answer = ask(&nested, request(Method::GET, "/rebuilds/api/3/events/1000")).await;
    assert_eq!(answer.json()["type"], "/rebuilds/problems/not_found");
    assert_eq!(ask(&nested, request(Method::GET, "/rebuilds/problems/not_found")).await.status, 200);
}
