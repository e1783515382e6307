use super::support::{Service, ask, request, with};
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::http::{Method, Request};
use http_body_util::BodyExt;
use std::time::Duration;
use tower::ServiceExt;

/// An open stream, read by events.
struct Stream {
    body: Body,
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Sent {
    id: i64,
    event: String,
    data: String,
}

impl Stream {
    async fn open(service: &Service, request: Request<Body>) -> Self {
        let response = service.router.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { body: response.into_body(), text: String::new() }
    }

    async fn from(service: &Service, query: &str) -> Self {
        Self::open(service, request(Method::GET, &format!("/api/3/stream?{query}"))).await
    }

    /// The next block; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) =
                self.text.split_once("\n\n").map(|(block, rest)| (block.to_owned(), rest.to_owned()))
            {
                self.text = rest;
                return Some(block);
            }
            let frame = self.body.frame().await?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&frame).unwrap());
        }
    }

    /// The next change.
    async fn next(&mut self) -> Sent {
        loop {
            let block = self.block().await.expect("the stream goes on");
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let Some(data) = field("data: ").filter(|_| field("event: ").is_some_and(|event| event != "alive")) {
                return Sent { id: field("id: ").unwrap().parse().unwrap(), event: field("event: ").unwrap(), data };
            }
        }
    }
}

async fn happen(service: &Service) {
    service.push("base").await;
    service.settle().await;
}

#[tokio::test(start_paused = true)]
async fn changes_come_in_order_and_a_stream_goes_on_where_it_was() {
    let service = Service::open();
    let (mut one, mut other) = (Stream::from(&service, "").await, Stream::from(&service, "").await);
    happen(&service).await;
    let mut seen = Vec::new();
    loop {
        let sent = one.next().await;
        assert_eq!(other.next().await, sent, "all get the same");
        let body: serde_json::Value = serde_json::from_str(&sent.data).unwrap();
        let ended = sent.event == "event.changed" && body["state"] == "COMPLETE";
        seen.push(sent);
        if ended {
            break;
        }
    }
    assert!(seen.is_sorted_by(|one, other| one.id < other.id));
    assert!(seen.iter().any(|sent| sent.event == "build.changed"));
    for (place, sent) in seen.iter().enumerate() {
        let back = with(request(Method::GET, "/api/3/stream?after=0"), "last-event-id", &sent.id.to_string());
        let mut back = Stream::open(&service, back).await;
        for missed in &seen[place + 1..] {
            assert_eq!(back.next().await, *missed);
        }
    }
    // What comes now comes to one that has caught up as well.
    let mut late = Stream::from(&service, &format!("after={}", seen[0].id)).await;
    for missed in &seen[1..] {
        assert_eq!(late.next().await, *missed);
    }
    happen(&service).await;
    assert_eq!(late.next().await, one.next().await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_what_was_asked_for_alone() {
    let service = Service::open();
    happen(&service).await;
    let id = service.get("/api/3/events").await.json()["items"][0]["id"].clone();
    let build = service.get("/api/3/builds").await.json()["items"][0]["id"].clone();
    let mut stream = Stream::from(&service, &format!("after=0&event={id}&build={build}")).await;
    for _ in 0..4 {
        let sent = stream.next().await;
        let body: serde_json::Value = serde_json::from_str(&sent.data).unwrap();
        let wanted = if sent.event == "event.changed" { &id } else { &build };
        assert_eq!(body["id"].to_string().trim_matches('"'), wanted.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_says_that_it_lives_and_ends_after_an_hour() {
    let service = Service::open();
    let mut stream = Stream::from(&service, "").await;
    let began = tokio::time::Instant::now();
    assert_eq!(stream.block().await.unwrap(), "retry: 2000\nid: 0");
    assert_eq!(stream.block().await.unwrap(), "id: 0\nevent: alive\ndata: {}");
    assert_eq!(began.elapsed(), Duration::from_secs(15));
    let mut beats = 1;
    while stream.block().await.is_some() {
        beats += 1;
    }
    assert_eq!((began.elapsed(), beats), (Duration::from_secs(3600), 239));
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_not_kept_is_told() {
    let service = Service::open();
    // From the future: the storage was set back.
    let mut stream = Stream::from(&service, "after=1000000").await;
    assert_eq!(stream.next().await, Sent { id: 0, event: "reset".into(), data: "{}".into() });
    // From a past that was removed: the storage keeps the latest thousand.
    for _ in 0..200 {
        happen(&service).await;
    }
    tokio::time::advance(Duration::from_secs(7 * 86_400)).await;
    happen(&service).await;
    let mut stream = Stream::from(&service, "after=1").await;
    let sent = stream.next().await;
    assert_eq!(sent.event, "reset");
    happen(&service).await;
    assert!(stream.next().await.id > sent.id, "it goes on from there");
    let metrics = String::from_utf8(service.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("freshmaker_sse_resets_total 2\n"), "{metrics}");
    assert!(metrics.contains("freshmaker_sse_subscribers 2\n"), "{metrics}");
    drop(stream);
    let metrics = String::from_utf8(service.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("freshmaker_sse_subscribers 1\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_misses_nothing() {
    let service = Service::open();
    let (mut fast, mut slow) = (Stream::from(&service, "").await, Stream::from(&service, "").await);
    assert!(slow.block().await.unwrap().starts_with("retry"));
    let mut all = Vec::new();
    // More than the listeners may be behind.
    while all.len() < 700 {
        happen(&service).await;
        let mut ended = 0;
        while ended == 0 {
            let sent = fast.next().await;
            ended += usize::from(sent.event == "event.changed" && sent.data.contains("\"COMPLETE\""));
            all.push(sent);
        }
    }
    for sent in &all {
        assert_eq!(slow.next().await, *sent);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_have_a_number_and_positions_a_form() {
    let service = Service::new(|config| {
        config.authentication.none = true;
        config.limits.streams = 1;
    });
    let stream = Stream::from(&service, "").await;
    let full = service.get("/api/3/stream").await;
    assert_eq!((full.problem().as_str(), full.header("retry-after")), ("unavailable", "5"));
    drop(stream);
    Stream::from(&service, "").await;
    assert_eq!(service.get("/api/3/stream?after=now").await.problem_at(), ("bad_parameter".into(), "after".into()));
    let bad = with(request(Method::GET, "/api/3/stream"), "last-event-id", "x");
    assert_eq!(ask(&service.router, bad).await.problem_at(), ("bad_request".into(), "last-event-id".into()));
}
