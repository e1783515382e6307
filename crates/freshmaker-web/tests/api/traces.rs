//! Spans of what has ended, as a collector gets them: one that works, is down, is slow, refuses,
//! or is asked by a process that dies.

use super::support::Service;
use freshmaker::backend::Remedy;
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_web::axum::http::StatusCode;
use freshmaker_web::axum::routing::post;
use freshmaker_web::axum::{Json, Router};
use freshmaker_web::{TraceConfig, TraceExporter};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// How a collector answers.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Takes,
    Says(u16),
    /// It has taken the spans, and never says so.
    Silent,
}

/// A collector, which keeps what it has taken.
struct Collector {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    taken: Arc<Mutex<Vec<Value>>>,
    heard: Arc<Notify>,
    server: AbortHandle,
}

impl Collector {
    async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn at(address: SocketAddr) -> Self {
        let mode = Arc::new(Mutex::new(Mode::Takes));
        let (taken, heard) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Notify>::default());
        let state = (mode.clone(), taken.clone(), heard.clone());
        let answer = move |Json(body): Json<Value>| {
            let (mode, taken, heard) = state.clone();
            async move {
                let mode = *mode.lock().unwrap();
                if !matches!(mode, Mode::Says(_)) {
                    taken.lock().unwrap().push(body);
                }
                heard.notify_one();
                match mode {
                    Mode::Takes => (StatusCode::OK, Json(json!({ "partialSuccess": {} }))),
                    Mode::Says(status) => (StatusCode::from_u16(status).unwrap(), Json(json!({ "message": "no" }))),
                    Mode::Silent => std::future::pending().await,
                }
            }
        };
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(answer));
        let server = tokio::spawn(freshmaker_web::serve(listener, router, std::future::pending())).abort_handle();
        Self { address, mode, taken, heard, server }
    }

    fn is(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// The spans that were taken since the last time.
    fn spans(&self) -> Vec<Value> {
        let bodies = std::mem::take(&mut *self.taken.lock().unwrap());
        let spans = bodies.iter().map(|body| &body["resourceSpans"][0]["scopeSpans"][0]["spans"]);
        spans.flat_map(|spans| spans.as_array().unwrap().clone()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// For a collector that answers.
fn exporter(service: &Service, address: SocketAddr) -> TraceExporter {
    patient(service, address, Duration::from_secs(60))
}

/// Waits so long for an answer.
fn patient(service: &Service, address: SocketAddr, time: Duration) -> TraceExporter {
    let mut config = TraceConfig::new(format!("http://{address}"));
    config.http.timeout = time;
    config.page_url = Some("https://rebuilds.example.org/".to_owned());
    TraceExporter::new(service.engine.client(), config, service.world.clock.clone()).unwrap()
}

/// A service whose export has begun, and that has rebuilt two images since.
async fn begun(address: SocketAddr) -> (Service, TraceExporter) {
    let service = Service::open();
    let exporter = exporter(&service, address);
    assert_eq!(exporter.export().await.unwrap(), 0, "export begins now");
    service.push("base").await;
    service.settle().await;
    // From here on there are sockets.
    tokio::time::resume();
    (service, exporter)
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
    let value = &found.unwrap_or_else(|| panic!("{key} is not in {span}"))["value"];
    value.as_object().unwrap().values().next().unwrap()
}

fn ids(spans: &[Value]) -> BTreeSet<String> {
    spans.iter().map(|span| span["spanId"].as_str().unwrap().to_owned()).collect()
}

/// The times of a span, in nanoseconds.
fn times(span: &Value) -> (u64, u64) {
    let time = |key: &str| span[key].as_str().unwrap().parse().unwrap();
    (time("startTimeUnixNano"), time("endTimeUnixNano"))
}

#[tokio::test(start_paused = true)]
async fn an_event_is_one_trace() {
    let collector = Collector::start().await;
    let (_service, exporter) = begun(collector.address).await;
    // The event, two builds, an attempt of each.
    assert_eq!(exporter.export().await.unwrap(), 5);
    let resource = collector.taken.lock().unwrap()[0]["resourceSpans"][0]["resource"].clone();
    assert_eq!(attribute(&resource, "service.name"), "freshmaker");
    let spans = collector.spans();
    let trace = &spans[0]["traceId"];
    assert!(trace.as_str().unwrap().len() == 32 && spans.iter().all(|span| span["traceId"] == *trace), "{spans:?}");
    assert_eq!(ids(&spans).len(), 5, "each has an identity of its own");
    let of_kind = |kind: u64| spans.iter().filter(move |span| span["kind"] == kind).collect::<Vec<_>>();
    let (events, builds, attempts) = (of_kind(2), of_kind(1), of_kind(3));
    assert_eq!((events.len(), builds.len(), attempts.len()), (1, 2, 2));
    let event = events[0];
    assert_eq!((&event["name"], &event["parentSpanId"]), (&json!("BUILD image.pushed"), &Value::Null));
    for (key, value) in [
        ("cicd.pipeline.name", "image.pushed"),
        ("cicd.pipeline.action.name", "BUILD"),
        ("cicd.pipeline.run.id", "1"),
        ("cicd.pipeline.run.url.full", "https://rebuilds.example.org/events/1"),
        ("cicd.pipeline.result", "success"),
        ("freshmaker.severity", "moderate"),
    ] {
        assert_eq!(attribute(event, key), value, "{key}");
    }
    let (begin, end) = times(event);
    for build in &builds {
        assert_eq!(build["parentSpanId"], event["spanId"]);
        assert_eq!(attribute(build, "cicd.pipeline.task.run.result"), "success");
        assert_eq!(attribute(build, "cicd.pipeline.task.name"), &build["name"]);
        let (first, last) = times(build);
        assert!(begin <= first && first <= last && last <= end, "{build}");
        let own: Vec<_> = attempts.iter().filter(|attempt| attempt["parentSpanId"] == build["spanId"]).collect();
        assert_eq!(own.len(), 1);
        assert_eq!(attribute(own[0], "freshmaker.attempt.number"), "1");
        let (submitted, observed) = times(own[0]);
        assert!(first <= submitted && submitted <= observed && observed <= last, "{own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_exported_is_not_exported_again() {
    let collector = Collector::start().await;
    let (service, first) = begun(collector.address).await;
    assert_eq!(first.export().await.unwrap(), 5);
    assert_eq!(first.export().await.unwrap(), 0);
    // Another replica leaves it to the first, until that one was silent for two minutes.
    let second = exporter(&service, collector.address);
    service.push("base").await;
    tokio::time::pause();
    service.settle().await;
    tokio::time::resume();
    assert_eq!(second.export().await.unwrap(), 0);
    service.world.clock.set_forward(Duration::from_secs(121));
    assert!(second.export().await.unwrap() > 0);
    assert_eq!(first.export().await.unwrap(), 0, "the second one is at work");
    let spans = collector.spans();
    assert_eq!(ids(&spans).len(), spans.len(), "nothing came twice");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_before_it_notes_sends_the_same_spans() {
    let collector = Collector::start().await;
    let (service, first) = begun(collector.address).await;
    collector.is(Mode::Silent);
    {
        let mut export = pin!(first.export());
        tokio::select! {
            ended = &mut export => panic!("{ended:?}"),
            () = collector.heard.notified() => {}
        }
    }
    drop(first);
    let before = collector.spans();
    assert_eq!(before.len(), 5);
    collector.is(Mode::Takes);
    service.world.clock.set_forward(Duration::from_secs(121));
    assert_eq!(exporter(&service, collector.address).export().await.unwrap(), 5);
    assert_eq!(collector.spans(), before, "to the last byte");
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_away_slow_or_broken_loses_nothing() {
    let collector = Collector::start().await;
    let address = collector.address;
    let (service, exporter) = begun(address).await;
    for status in [500, 503, 429, 401, 404] {
        collector.is(Mode::Says(status));
        assert_eq!(exporter.export().await.unwrap_err().remedy, Remedy::Unavailable);
    }
    collector.is(Mode::Silent);
    service.world.clock.set_forward(Duration::from_secs(121));
    let hasty = patient(&service, address, Duration::from_millis(300));
    assert_eq!(hasty.export().await.unwrap_err().remedy, Remedy::Unavailable);
    service.world.clock.set_forward(Duration::from_secs(121));
    assert_eq!(collector.spans().len(), 5, "the silent one has taken them");
    drop(collector);
    assert_eq!(exporter.export().await.unwrap_err().remedy, Remedy::Unavailable);
    let collector = Collector::at(address).await;
    assert_eq!(exporter.export().await.unwrap(), 5);
    assert_eq!(collector.spans().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_refuses_for_good_does_not_hold_up_the_rest() {
    let collector = Collector::start().await;
    let (service, exporter) = begun(collector.address).await;
    collector.is(Mode::Says(400));
    assert_eq!(exporter.export().await.unwrap(), 5);
    collector.is(Mode::Takes);
    assert_eq!(exporter.export().await.unwrap(), 0);
    tokio::time::pause();
    service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
    service.push("base").await;
    service.settle().await;
    tokio::time::resume();
    exporter.export().await.unwrap();
    let spans = collector.spans();
    let event = spans.iter().find(|span| span["kind"] == 2).unwrap();
    assert_eq!((attribute(event, "cicd.pipeline.result"), &event["status"]["code"]), (&json!("failure"), &json!(2)));
    let result = |name: &str| {
        let build = spans.iter().find(|span| span["kind"] == 1 && span["name"] == name).unwrap();
        attribute(build, "cicd.pipeline.task.run.result").clone()
    };
    assert_eq!((result("app"), result("site")), (json!("failure"), json!("skip")));
}

#[tokio::test(start_paused = true)]
async fn a_shared_build_is_linked_from_the_traces_of_later_events() {
    let collector = Collector::start().await;
    let service = Service::open();
    let exporter = exporter(&service, collector.address);
    exporter.export().await.unwrap();
    service.share("base").await;
    tokio::time::resume();
    exporter.export().await.unwrap();
    let spans = collector.spans();
    let builds: Vec<_> = spans.iter().filter(|span| span["kind"] == 1).collect();
    let (linked, own): (Vec<_>, Vec<_>) = builds.into_iter().partition(|span| span.get("links").is_some());
    assert_eq!((linked.len(), own.len()), (2, 2));
    for build in linked {
        let link = &build["links"][0];
        let to = own.iter().find(|own| own["spanId"] == link["spanId"]).unwrap();
        assert_eq!((&to["traceId"], &to["name"]), (&link["traceId"], &build["name"]));
        assert_ne!(to["traceId"], build["traceId"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_ended_while_changes_were_removed_is_found() {
    let collector = Collector::start().await;
    let service = Service::open();
    let exporter = exporter(&service, collector.address);
    exporter.export().await.unwrap();
    // The storage keeps the latest thousand changes, those of a week.
    for _ in 0..200 {
        service.push("base").await;
        service.settle().await;
    }
    tokio::time::advance(Duration::from_secs(7 * 86_400)).await;
    service.push("base").await;
    service.settle().await;
    tokio::time::resume();
    exporter.export().await.unwrap();
    let spans = collector.spans();
    let events: BTreeSet<_> = spans
        .iter()
        .filter(|span| span["kind"] == 2)
        .map(|span| attribute(span, "cicd.pipeline.run.id").to_string())
        .collect();
    assert_eq!(events.len(), 201);
}
