//! The dashboard and the alerts name metrics, labels and routes that exist.

use super::support::{Service, ask, request};
use freshmaker::handler::rebuild_dependents;
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_sql::SqliteStorage;
use freshmaker_testing::world::message;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::http::Method;
use freshmaker_web::{Config, router};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const DASHBOARD: &str = include_str!("../../observability/dashboard.json");
const ALERTS: &str = include_str!("../../observability/alerts.yaml");

/// Everything that has metrics: builds that ended well and badly, one that waits, a dead letter, a
/// pause, requests.
async fn eventful() -> String {
    let service = Service::open();
    service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
    service.push("base").await;
    service.engine.client().receive(message("broken", "image.pushed", "{")).await.unwrap();
    service.settle().await;
    service.push("base").await;
    service.settle().await;
    let client = service.engine.client();
    client.pause("builder", "repairs", "somebody").await.unwrap();
    let message = service.push("base").await;
    let handled = async { drop(client.wait_until_handled(&message).await.unwrap()) };
    service.engine.run_until(handled).await.unwrap();
    service.world.clock.set_forward(Duration::from_secs(7200));
    service.get("/api/3/overview").await;
    String::from_utf8(service.get("/metrics").await.body).unwrap()
}

/// The labels of each metric, without the endings that histograms add.
fn labels(metrics: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in metrics.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|line| line.split(' ').next()) {
            known.entry(name.to_owned()).or_default();
        } else if let Some((name, rest)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let names = rest.split("=\"").filter_map(|part| part.rsplit([',', '{', '"']).next());
            let names = names.filter(|name| !name.contains('}')).map(str::to_owned);
            known.entry(name.to_owned()).or_default().extend(names);
        }
    }
    known
}

fn words<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(move |letter| !is_part(letter)).filter(move |word| word.starts_with(begin))
}

#[tokio::test(start_paused = true)]
async fn the_dashboard_and_the_alerts_name_what_exists() {
    let metrics = eventful().await;
    let known = labels(&metrics);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked: Vec<(String, String)> = targets
        .map(|target| {
            (target["expr"].as_str().unwrap().to_owned(), target["legendFormat"].as_str().unwrap().to_owned())
        })
        .collect();
    for alert in ALERTS.split("- alert: ").skip(1) {
        let expr = alert.lines().find_map(|line| line.trim().strip_prefix("expr: ")).unwrap();
        asked.push((expr.to_owned(), alert.to_owned()));
    }
    assert!(asked.len() > 20, "{asked:?}");
    for (expr, shown) in asked {
        let mut labels = BTreeSet::from(["le".to_owned()]);
        let mut named = 0;
        for word in words(&expr, "freshmaker_") {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            let name = if known.contains_key(word) { word } else { name.unwrap_or(word) };
            labels.extend(
                known.get(name).unwrap_or_else(|| panic!("{word} of {expr} does not exist: {metrics}")).clone(),
            );
            named += 1;
        }
        assert!(named > 0, "{expr}");
        let by = expr.split("by (").skip(1).flat_map(|rest| rest.split(')').next().unwrap().split(", "));
        let filtered = expr.split(['{', ',']).skip(1).filter_map(|part| part.split_once("=").map(|(name, _)| name));
        let legend = shown.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).map(str::trim);
        let legend = legend.filter(|name| !name.starts_with("$value"));
        let legend = legend.map(|name| name.trim_start_matches("$labels."));
        for label in by.chain(filtered).chain(legend) {
            let label = label.trim().trim_end_matches(['~', '!']);
            assert!(labels.contains(label), "{label:?} is no label of {expr}: {labels:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn alerts_send_people_to_routes_that_answer() {
    let service = Service::open();
    let mut routes = 0;
    let texts = ALERTS.to_owned() + DASHBOARD;
    for rest in texts.split("/api/3/").skip(1) {
        let route = rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next().unwrap();
        let answer = service.get(&format!("/api/3/{route}")).await;
        assert_eq!(answer.status, 200, "/api/3/{route}");
        routes += 1;
    }
    assert!(routes > 5);
}

async fn metrics(router: &Router) -> String {
    let answer = ask(router, request(Method::GET, "/metrics")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body).unwrap()
}

/// The number behind a name and its labels.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not there: {metrics}")).parse().unwrap()
}

/// How many events were observed in each stage, and as fixed.
fn observed(metrics: &str) -> [f64; 4] {
    let stages = ["received_to_planned", "planned_to_started", "started_to_ended"];
    let [one, two, three] =
        stages.map(|stage| value(metrics, &format!("freshmaker_stage_seconds_count{{stage=\"{stage}\"}}")));
    let fixed = metrics.lines().filter(|line| line.starts_with("freshmaker_advisory_to_fixed_seconds_count"));
    [one, two, three, fixed.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()]
}

/// The same service, started anew now.
fn started_anew(service: &Service) -> Router {
    let mut config = Config::loopback();
    config.clock = service.world.clock.clone();
    router(service.engine.client(), config)
}

#[tokio::test(start_paused = true)]
async fn events_are_observed_once_when_they_end() {
    let service = Service::open();
    let client = service.engine.client();
    service.push("base").await;
    service.settle().await;
    for _ in 0..2 {
        let metrics = metrics(&service.router).await;
        assert_eq!(observed(&metrics), [1.0; 4]);
        let fixed = "freshmaker_advisory_to_fixed_seconds_count{severity=\"moderate\",kind=\"image.pushed\"}";
        assert_eq!(value(&metrics, fixed), 1.0);
    }
    client.pause("builder", "repairs", "somebody").await.unwrap();
    let message = service.push("base").await;
    let handled = async { drop(client.wait_until_handled(&message).await.unwrap()) };
    service.engine.run_until(handled).await.unwrap();
    service.world.clock.set_forward(Duration::from_secs(1000));
    let late = started_anew(&service);
    assert_eq!(observed(&metrics(&late).await), [0.0; 4], "what ended before, and what is open");
    client.resume("builder").await.unwrap();
    service.settle().await;
    let after = metrics(&late).await;
    assert_eq!(observed(&after), [1.0; 4], "what was open at the start");
    assert!(value(&after, "freshmaker_stage_seconds_sum{stage=\"planned_to_started\"}") >= 1000.0, "{after}");
    assert_eq!(observed(&metrics(&service.router).await), [2.0; 4]);
    assert_eq!(observed(&metrics(&started_anew(&service)).await), [0.0; 4]);
}

#[tokio::test(start_paused = true)]
async fn failures_and_shared_builds_are_told_apart() {
    let service = Service::open();
    service.share("base").await;
    let before = metrics(&service.router).await;
    let builds = service.get("/api/3/builds?state=DONE&count=true").await.json()["total"].as_f64().unwrap();
    assert_eq!(value(&before, "freshmaker_builds_saved_total{how=\"shared\"}"), builds, "{before}");
    service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
    service.push("base").await;
    service.settle().await;
    let after = metrics(&service.router).await;
    assert_eq!((observed(&before), observed(&after)), ([2.0; 4], [3.0, 3.0, 3.0, 2.0]), "a failure is no fix");
}

/// The row of a message was damaged after its event was planned.
#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_keeps_no_metric_away() {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("rows.sqlite");
    let mut service = Service::open();
    let storage = Arc::new(SqliteStorage::open(&path).unwrap().with_clock(service.world.clock.clone()));
    service.engine = service.world.builder().storage(storage).on(rebuild_dependents).build().unwrap();
    let router = started_anew(&service);
    let message = service.push("base").await;
    let ended = async { drop(service.engine.client().wait_for_message(&message).await.unwrap()) };
    service.engine.run_until(ended).await.unwrap();
    let mut beside = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    beside.batch_execute("PRAGMA ignore_check_constraints = ON; UPDATE inbox SET state = 99").unwrap();
    assert_eq!(observed(&metrics(&router).await), [0.0, 1.0, 1.0, 1.0]);
}
