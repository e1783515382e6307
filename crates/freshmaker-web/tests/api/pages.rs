//! The pages, read and written without a script.

use super::support::{Answer, Service, ask, request, with};
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_web::PageConfig;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::http::{Method, Request};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn service() -> Service {
    Service::new(|config| {
        config.authentication.none = true;
        config.page = Some(PageConfig::default());
    })
}

fn html(method: Method, path: &str) -> Request<Body> {
    with(request(method, path), "accept", "text/html,application/xhtml+xml")
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// A service in which something of every sort has happened.
async fn lived_in() -> Service {
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
    service.settle().await;
    service
}

/// The values of an attribute.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    page.split(start.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// What a browser makes of a reference.
fn resolved(base: &str, reference: &str) -> String {
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
