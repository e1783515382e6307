//! The pages, read and written without a script.

use super::support::{Answer, Service, ask, request, with};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, EdgeKind, Engine};
use freshmaker_testing::world::until;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::http::{Method, Request};
use freshmaker_web::{PageConfig, Role};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) fn service() -> Service {
    Service::new(|config| {
        config.authentication.none = true;
        config.page = Some(PageConfig::default());
    })
}

pub(super) fn html(method: Method, path: &str) -> Request<Body> {
    with(request(method, path), "accept", "text/html,application/xhtml+xml")
}

pub(super) fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// A service in which something of every sort has happened.
pub(super) async fn lived_in() -> Service {
    let service = service();
    service.push("base").await;
    service.settle().await;
    service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
    service.push("base").await;
    service.settle().await;
    let client = service.engine.client();
    client.receive(freshmaker_testing::world::message("m1", "image.pushed", "{")).await.unwrap();
    service.settle().await;
    client.pause("builder", "an outage", "alice").await.unwrap();
    service.push("base").await;
    planned(&service, &service.engine).await;
    service
}

/// Runs the engine until every message was handled, whatever becomes of the builds.
pub(super) async fn planned(service: &Service, engine: &Engine) {
    let client = service.engine.client();
    let handled = until(async || client.overview().await.unwrap().messages_waiting == 0);
    engine.run_until(handled).await.unwrap();
}

pub(super) async fn page(service: &Service, path: &str) -> String {
    let answer = ask(&service.router, html(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {}", text(&answer));
    text(&answer)
}

/// What a page says of its own, without what is around it.
fn contents(page: &str) -> &str {
    let (_, rest) = page.split_once("<main").unwrap();
    rest.split_once("</main>").unwrap().0
}

/// A form as a browser sends it from a page of the service.
pub(super) fn form(path: &str, fields: &str) -> Request<Body> {
    let request = with(html(Method::POST, path), "content-type", "application/x-www-form-urlencoded");
    let request = with(request, "sec-fetch-site", "same-origin");
    request.map(|_| Body::from(fields.to_owned()))
}

/// The values of an attribute.
pub(super) fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    page.split(start.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// What a browser makes of a reference.
pub(super) fn resolved(base: &str, reference: &str) -> String {
    let reference = reference.replace("&amp;", "&").replace("&#38;", "&");
    let (reference, query) = match reference.split_once('?') {
        Some((path, query)) => (path.to_owned(), format!("?{query}")),
        None => (reference.split('#').next().unwrap().to_owned(), String::new()),
    };
    let base = base.split('?').next().unwrap();
    if reference.is_empty() {
        return format!("{base}{query}");
    }
    let mut parts: Vec<&str> = base.split('/').collect();
    parts.pop();
    for part in reference.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    format!("{}{query}", if path.starts_with('/') { path } else { format!("/{path}") })
}

#[tokio::test(start_paused = true)]
async fn every_link_of_every_page_leads_somewhere() {
    let service = lived_in().await;
    let mut wanted = VecDeque::from(["/".to_owned()]);
    let mut seen: BTreeSet<String> = wanted.iter().cloned().collect();
    let mut by_route: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(path) = wanted.pop_front() {
        let answer = ask(&service.router, html(Method::GET, &path)).await;
        assert!(answer.status == 200 || answer.status == 303, "{path}: {} {}", answer.status, text(&answer));
        *by_route.entry(path.split(['?', '/']).nth(1).unwrap_or_default().to_owned()).or_default() += 1;
        // Rates are not what is tested here.
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        if !answer.header("content-type").starts_with("text/html") {
            continue;
        }
        let page = text(&answer);
        let references = attributes(&page, "href").into_iter().chain(attributes(&page, "src"));
        for reference in references.filter(|reference| !reference.starts_with("http")) {
            let found = resolved(&path, reference);
            // All choices of one facet are tried, and not all pairs of them.
            if found.matches('=').count() <= 1 && seen.insert(found.clone()) {
                wanted.push_back(found);
            }
        }
    }
    for place in ["events", "builds", "artifacts", "messages", "queue", "failures", "health", "audit", "assets"] {
        assert!(by_route.contains_key(place), "{by_route:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_as_they_were_looked_at() {
    let service = lived_in().await;
    let events = service.get("/api/3/events").await.json();
    let [newest, failed] = [0, 1].map(|place| events["items"][place]["id"].as_i64().unwrap());
    let builds = service.get("/api/3/builds?state=BLOCKED,FAILED").await.json();
    let [blocked, broken] = ["BLOCKED", "FAILED"].map(|state| {
        let of = builds["items"].as_array().unwrap().iter().find(|build| build["detail"] == state);
        of.unwrap()["id"].as_i64().unwrap()
    });
    // Identities of messages and attempts are random.
    let of = |rows: &serde_json::Value, key: &str| -> Vec<String> {
        rows["items"].as_array().unwrap().iter().filter_map(|row| row[key].as_str().map(str::to_owned)).collect()
    };
    let mut random = of(&events, "message_id");
    random.extend(of(&service.get(&format!("/api/3/builds/{broken}/attempts")).await.json(), "external_id"));
    for (name, path) in [
        ("overview", "/".to_owned()),
        ("event_under_way", format!("/events/{newest}")),
        ("event_with_a_failure", format!("/events/{failed}")),
        ("build_that_waits", format!("/builds/{blocked}")),
        ("build_that_failed", format!("/builds/{broken}")),
        ("artifact", "/artifacts/site".to_owned()),
        ("queue", "/queue".to_owned()),
        ("failures", "/failures".to_owned()),
        ("dead_letters", "/dead-letters".to_owned()),
        ("preview", "/plans/new?rebuild=app".to_owned()),
    ] {
        let page = page(&service, &path).await;
        let page = random.iter().fold(contents(&page).to_owned(), |page, id| page.replace(id, "RANDOM"));
        insta::assert_snapshot!(name, page);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_loads_nothing_but_what_is_its_own() {
    let service = lived_in().await;
    for path in ["/", "/events", "/builds", "/queue", "/health", "/plans/new"] {
        let answer = ask(&service.router, html(Method::GET, path)).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let page = text(&answer);
        for inline in [" style=", " onclick=", " onload=", "javascript:", "http://", "https://"] {
            assert!(!page.contains(inline), "{path} has {inline}");
        }
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert_eq!(page.matches("<style").count() == 1, path == "/", "{path}");
        let again = with(html(Method::GET, path), "if-none-match", answer.header("etag"));
        assert_eq!(ask(&service.router, again).await.status, 304, "{path}");
    }
}

fn compressed(bytes: &[u8]) -> usize {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn the_overview_brings_its_style_and_allows_that_alone() {
    let service = service();
    let answer = ask(&service.router, html(Method::GET, "/")).await;
    let page = text(&answer);
    assert!(!page.contains("rel=\"stylesheet\""), "one request is enough to paint it");
    let style = page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).unwrap().0;
    let source = format!("style-src 'self' 'sha256-{}';", BASE64_STANDARD.encode(Sha256::digest(style)));
    assert!(answer.header("content-security-policy").contains(&source), "{source}");
    let other = self::page(&service, "/events").await;
    let sheet = attributes(&other, "href").into_iter().find(|path| path.ends_with("css")).unwrap();
    assert_eq!(text(&service.get(&resolved("/events", sheet)).await), style);
}

#[tokio::test(start_paused = true)]
async fn style_and_script_are_small_and_asked_for_once() {
    let service = service();
    let page = page(&service, "/events").await;
    for (name, most) in [("css", 8 << 10), ("js", 4 << 10)] {
        let all: Vec<_> = attributes(&page, "href").into_iter().chain(attributes(&page, "src")).collect();
        let path = all.into_iter().find(|path| path.ends_with(name)).unwrap();
        let answer = service.get(&resolved("/events", path)).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("cache-control").contains("immutable"));
        assert!(compressed(&answer.body) <= most, "{path}: {} bytes compressed", compressed(&answer.body));
    }
    let old = ask(&service.router, html(Method::GET, "/assets/page.000000000000.css")).await;
    assert_eq!(old.status, 404);
}

/// `count` artifacts that are built from `base`, in two layers.
pub(super) fn wide(service: &Service, count: usize, name: impl Fn(usize) -> String) {
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    for number in 0..count {
        let id = name(number);
        graph.insert(Artifact::new(id.as_str(), ArtifactKind::Image).with_source("x", None));
        let parent = if number < 20 { "base".to_owned() } else { name(number % 20) };
        graph.depend(id.as_str(), parent.as_str(), EdgeKind::ParentImage).unwrap();
    }
    service.world.catalog.set(graph);
}

/// A picture with too many boxes has one for each wave, which leads to a list of what is in it.
async fn waves_lead_to_their_builds(service: &Service, path: &str, graph: &str) {
    let links: Vec<_> = attributes(graph, "href").into_iter().filter(|link| link.contains("wave=")).collect();
    assert_eq!(links.len(), 3, "what changed, the first 20, and the rest: {links:?}");
    let wave = resolved(path, links[1]);
    assert_eq!(wave, format!("{path}?wave=2"));
    let small = page(service, &wave).await;
    assert!(small.contains("20 artifacts") && small.contains("/builds/") && small.contains("fm-diagram"), "{small}");
    let mut path = resolved(path, links[2]);
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let part = page(service, &path).await;
        assert!(part.contains("19,980 artifacts") && part.len() < 200_000, "{} bytes", part.len());
        let builds = attributes(&part, "href").into_iter().filter(|link| link.contains("/builds/"));
        seen.extend(builds.map(str::to_owned));
        let next = attributes(&part, "href").into_iter().rfind(|link| link.contains("cursor=")).unwrap();
        path = resolved(&path, next);
    }
    assert_eq!(seen.len(), 400, "two parts of 200");
}

#[tokio::test(start_paused = true)]
async fn large_events_have_small_pages() {
    for (builds, most, most_compressed) in [(399, 400_000, 30 << 10), (20_000, 200_000, 30 << 10)] {
        let service = service();
        wide(&service, builds, |number| format!("registry.example.org/team-{}/service-{number}:1.2", number % 7));
        service.engine.client().pause("builder", "a test", "alice").await.unwrap();
        service.push("base").await;
        planned(&service, &service.engine).await;
        let id = service.get("/api/3/events").await.json()["items"][0]["id"].as_i64().unwrap();
        let page = page(&service, &format!("/events/{id}")).await;
        assert!(page.contains(&format!("Rebuilds {} artifacts", if builds == 399 { "399" } else { "20,000" })));
        assert_eq!(page.contains("fm-diagram"), builds == 399);
        let size = compressed(page.as_bytes());
        println!("{builds} builds: {} bytes, {size} compressed", page.len());
        assert!(
            page.len() <= most && size <= most_compressed,
            "{builds} builds: {} bytes, {size} compressed",
            page.len()
        );
        let graph = ask(&service.router, html(Method::GET, &format!("/events/{id}/graph"))).await;
        assert!(graph.body.len() <= 400_000, "{} bytes", graph.body.len());
        let open = "No expected times: 20000 builds are open; expected times are computed for at most 3000.";
        assert_eq!(page.contains(open), builds == 20_000);
        if builds == 20_000 {
            waves_lead_to_their_builds(&service, &format!("/events/{id}/graph"), &text(&graph)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn forms_do_once_what_they_are_sent_twice_for() {
    let service = lived_in().await;
    let events = service.get("/api/3/events").await.json();
    let [open, failed] = [0, 1].map(|place| events["items"][place]["id"].as_i64().unwrap());
    let send = async |path: String, fields: &str| ask(&service.router, form(&path, fields)).await;
    let first = send(format!("/events/{failed}/retry"), "part=failed").await;
    let second = send(format!("/events/{failed}/retry"), "part=failed").await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (303, 303));
    assert_eq!(format!("{}-before", first.header("location")), second.header("location"), "it says so");
    assert!(first.header("location").contains("told=retried"), "{first:?}");
    let told = page(&service, &resolved(&format!("/events/{failed}/retry"), first.header("location"))).await;
    assert!(told.contains("Retried.") && told.contains("not handled yet"), "{told}");
    for (path, fields) in [("/systems/builder/resume", ""), ("/systems/builder/pause", "reason=again")] {
        for _ in 0..2 {
            assert_eq!(send(path.to_owned(), fields).await.status, 303, "{path}");
        }
    }
    assert_eq!(
        send(format!("/events/{open}/cancel"), "").await.header("location"),
        format!("../../events/{open}?told=cancelled")
    );
    let again = send(format!("/events/{open}/cancel"), "").await;
    assert_eq!(again.status, 422, "it is over, and the page says so");
    assert!(text(&again).contains("Back to where you were"), "{}", text(&again));
    service.engine.client().resume("builder").await.unwrap();
    service.settle().await;
    let dead = "/messages/local/m1/requeue".to_owned();
    for _ in 0..2 {
        assert_eq!(send(dead.clone(), "").await.header("location"), "../../../messages/local/m1?told=requeued");
    }
    let audit = service.get("/api/3/audit?limit=200").await.json();
    let did = |what: &str| audit["items"].as_array().unwrap().iter().filter(|row| row["what"] == what).count();
    assert_eq!((did("requeue"), did("resume"), did("pause")), (1, 1, 1), "{audit}");
    let foreign = with(html(Method::POST, "/systems/builder/pause"), "sec-fetch-site", "cross-site");
    let foreign = ask(&service.router, foreign).await;
    assert_eq!((foreign.status.as_u16(), foreign.header("content-type")), (403, "text/html; charset=utf-8"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_previewed_and_applied_by_forms() {
    let service = service();
    let sent = ask(&service.router, form("/plans", "what=image&subject=base&topic=&body=")).await;
    assert_eq!(sent.status, 303, "{}", text(&sent));
    let plan = resolved("/plans", sent.header("location"));
    let shown = page(&service, &plan).await;
    assert!(shown.contains("2 builds in 2 waves") && shown.contains("Apply exactly this"), "{shown}");
    assert!(page(&service, &format!("{plan}/diff")).await.contains("THE SAME"));
    let applied = ask(&service.router, form(&format!("{plan}/apply"), "")).await;
    let message = resolved(&format!("{plan}/apply"), applied.header("location"));
    service.settle().await;
    assert!(page(&service, &message).await.contains("COMPLETE"));
    let sent = ask(&service.router, form("/plans", "what=image&subject=app")).await;
    let unapplied = resolved("/plans", sent.header("location"));
    service.world.catalog.set(ArtifactGraph::new());
    assert!(page(&service, &format!("{plan}/diff")).await.contains("ANOTHER ONE"));
    let late = ask(&service.router, form(&format!("{unapplied}/apply"), "")).await;
    assert_eq!(late.status, 409);
    assert!(text(&late).contains("The plan is another one by now"), "{}", text(&late));
    for (fields, named) in
        [("what=image&subject=", "subject"), ("what=message&topic=x&body={", "body"), ("nonsense", "what")]
    {
        let refused = ask(&service.router, form("/plans", fields)).await;
        assert_eq!(refused.status, 422, "{fields}");
        assert!(text(&refused).contains(named), "{fields}: {}", text(&refused));
    }
}

#[tokio::test(start_paused = true)]
async fn people_sign_in_with_a_token_and_are_told_when_their_session_ends() {
    let service = Service::new(|config| config.page = Some(PageConfig::default()));
    let token = service.token("alice", &[Role::ManualRebuilder]).await;
    let token = token.strip_prefix("Bearer ").unwrap();
    let asked = ask(&service.router, html(Method::GET, "/events?state=COMPLETE")).await;
    assert_eq!(asked.status, 401);
    let page = text(&asked);
    assert!(page.contains("Please sign in") && page.contains("value=\"events?state=COMPLETE\""), "{page}");
    let wrong = ask(&service.router, form("/sign-in", "token=fmt_x&to=")).await;
    assert_eq!(wrong.status, 401);
    assert!(text(&wrong).contains("The token is not accepted"), "{}", text(&wrong));
    let right = ask(&service.router, form("/sign-in", &format!("token={token}&to=events?state=COMPLETE"))).await;
    assert_eq!((right.status.as_u16(), right.header("location")), (303, "./events?state=COMPLETE"));
    let cookie = right.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(right.header("set-cookie").contains("; HttpOnly; SameSite=Lax; Max-Age="), "{right:?}");
    let signed = async |request| ask(&service.router, with(request, "cookie", &cookie)).await;
    let events = signed(html(Method::GET, "/events")).await;
    assert!(text(&events).contains("token:alice") && !text(&events).contains("Audit log"), "{}", text(&events));
    assert_eq!(signed(request(Method::GET, "/api/3/events")).await.status, 200);
    assert_eq!(signed(html(Method::GET, "/audit")).await.status, 403);
    service.world.clock.set_forward(std::time::Duration::from_secs(3600));
    let ended = signed(form("/plans", "what=image&subject=base")).await;
    assert_eq!(ended.status, 401);
    assert!(text(&ended).contains("Your session has ended, so nothing was done"), "{}", text(&ended));
    assert!(ended.header("set-cookie").contains("Max-Age=0"), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn pages_know_where_they_are_nested() {
    let service = lived_in().await;
    let nested = Router::new().nest("/rebuilds", service.router.clone());
    for (path, link) in
        [("/rebuilds", "./rebuilds/events"), ("/rebuilds/events", "./builds"), ("/rebuilds/builds/1000", "../")]
    {
        let answer = ask(&nested, html(Method::GET, path)).await;
        assert!(attributes(&text(&answer), "href").contains(&link), "{path}: {}", text(&answer));
    }
    let without = Service::open();
    assert_eq!(ask(&without.router, html(Method::GET, "/events")).await.problem(), "no_such_path");
}
