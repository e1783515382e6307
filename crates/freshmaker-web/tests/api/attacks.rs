//! What must not bring a service down: very large and packed bodies, paths that lead out, values
//! that would be headers, requests at random, and a storage that is away.
//! `FRESHMAKER_RANDOM_REQUESTS=100000` tries more of them.

use super::pages;
use super::support::{Answer, LOCAL, Service, ask, post, request, with};
use flate2::Compression;
use flate2::write::GzEncoder;
use freshmaker::Client;
use freshmaker_sql::{PostgresConfig, PostgresStorage};
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::Body;
use freshmaker_web::axum::extract::ConnectInfo;
use freshmaker_web::axum::http::{HeaderValue, Method, Request, Uri};
use freshmaker_web::{Config, PageConfig, Quota};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

const LARGE: usize = 100_000_000;

const MUCH: Quota = Quota { per_minute: u32::MAX, burst: u32::MAX };

async fn listening(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(freshmaker_web::serve(listener, router, std::future::pending()));
    address
}

/// Sends the head of a request and then its body in pieces, until the other side has heard enough.
/// Returns the first line of the answer, and how much of the body was taken.
async fn pushed(address: SocketAddr, head: &str, piece: &[u8]) -> (String, usize) {
    let (mut answer, mut body) = TcpStream::connect(address).await.unwrap().into_split();
    body.write_all(head.as_bytes()).await.unwrap();
    let reading = tokio::spawn(async move {
        let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
        while !text.contains(&b'\n') {
            match answer.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(size) => text.extend_from_slice(&buffer[..size]),
            }
        }
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    });
    let mut taken = 0;
    while taken < LARGE && !reading.is_finished() && body.write_all(piece).await.is_ok() {
        taken += piece.len();
    }
    (reading.await.unwrap(), taken)
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_before_they_are_read() {
    let service = Service::open();
    let address = listening(service.router.clone()).await;
    let head = "POST /api/3/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let zeros = [b' '; 65_536];
    let (line, taken) = pushed(address, &format!("{head}content-length: {LARGE}\r\n\r\n"), &zeros).await;
    assert_eq!(line, "HTTP/1.1 413 Payload Too Large");
    assert!(taken < LARGE / 5, "{taken}");
    // Without a length that is told before: 65,536 bytes in each chunk.
    let chunk = [b"10000\r\n".as_slice(), &zeros, b"\r\n"].concat();
    let (line, taken) = pushed(address, &format!("{head}transfer-encoding: chunked\r\n\r\n"), &chunk).await;
    assert_eq!(line, "HTTP/1.1 413 Payload Too Large");
    assert!(taken < LARGE / 5, "{taken}");
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn bombs_are_not_unpacked() {
    let service = Service::open();
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![b' '; LARGE]).unwrap();
    let bomb = packed.finish().unwrap();
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    let packed = with(post("/api/3/messages", &Value::Null), "content-encoding", "gzip");
    let refused = ask(&service.router, packed.map(|_| Body::from(bomb))).await;
    assert_eq!(refused.problem(), "bad_request");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for body in [deep.clone(), format!("{{\"topic\": \"image.pushed\", \"body\": {deep}}}")] {
            let refused = ask(&service.router, post("/api/3/messages", &Value::Null).map(|_| Body::from(body))).await;
            assert!(matches!(refused.problem().as_str(), "bad_request" | "invalid"), "{open}: {refused:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_path_leads_out() {
    let service = pages::service();
    for start in ["/assets/", "/problems/", "/api/3/plans/", "/api/3/artifacts/", "/artifacts/", "/events/"] {
        for up in ["../", "..%2F", "%2e%2e%2f", "..%5C", "....//", "%252e%252e%252f"] {
            let path = format!("{start}{}etc/passwd", up.repeat(8));
            for method in [Method::GET, Method::HEAD] {
                let answer = ask(&service.router, request(method, &path)).await;
                assert!(matches!(answer.status.as_u16(), 200 | 400 | 404), "{path}: {answer:?}");
                assert!(!String::from_utf8_lossy(&answer.body).contains("root:"), "{path}");
            }
            assert_eq!(answer_of(&service, &path).await.status == 200, start == "/api/3/artifacts/", "{path}");
        }
    }
}

async fn answer_of(service: &Service, path: &str) -> Answer {
    service.get(path).await
}

#[tokio::test]
async fn no_value_becomes_a_header() {
    let service = pages::service();
    let broken = "a%0d%0aset-cookie:%20x=1%0d%0a%0d%0a%3Cb%3E";
    for path in [
        format!("/api/3/artifacts/{broken}"),
        format!("/api/3/events?search_key={broken}"),
        format!("/api/3/events?limit=1&requester={broken}"),
        format!("/api/3/messages/local/{broken}"),
        format!("/artifacts/{broken}"),
        format!("/sign-in?to={broken}"),
        format!("/search?q={broken}"),
        format!("/problems/{broken}"),
    ] {
        let answer = service.get(&path).await;
        assert!(!answer.status.is_server_error(), "{path}: {answer:?}");
        assert!(answer.headers.get("set-cookie").is_none(), "{path}: {answer:?}");
    }
    let form = pages::form("/sign-in", &format!("token=x&to={broken}"));
    let answer = ask(&service.router, form).await;
    assert!(!answer.status.is_server_error() && answer.headers.get("set-cookie").is_none(), "{answer:?}");
    // A line break within a header is the end of the header: the next line is one of its own.
    let address = listening(service.router.clone()).await;
    for head in ["x-request-id: a\r\n b", "x-request-id: a\0b", "x-request-id: a\rset-cookie: b"] {
        let text = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{head}\r\nconnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") || !answer.contains("set-cookie"), "{head:?}: {answer}");
    }
}

/// Requests that are made of what a service knows and of noise.
struct Noise(fastrand::Rng);

impl Noise {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.0.usize(..of.len())]
    }

    /// A text of any bytes, or one that somebody might try.
    fn text(&mut self) -> String {
        const TRIED: [&str; 14] = [
            "1",
            "0",
            "-1",
            "9223372036854775808",
            "x",
            "%00",
            "%ff%fe",
            "..%2f..%2f",
            "'%20OR%201=1--",
            "%E2%80%AE",
            "*",
            "a,b,,c",
            "{}",
            "true",
        ];
        match self.0.u8(..4) {
            0 => (0..self.0.usize(..40)).map(|_| format!("%{:02x}", self.0.u8(..))).collect(),
            1 => "z".repeat(self.0.usize(..300)),
            _ => self.one(&TRIED).to_owned(),
        }
    }

    fn path(&mut self) -> String {
        const ROUTES: [&str; 35] = [
            "/api/3/events",
            "/api/3/events/{}",
            "/api/3/events/{}/plan",
            "/api/3/events/{}/cancel",
            "/api/3/events/{}/excluded",
            "/api/3/builds",
            "/api/3/builds/{}",
            "/api/3/builds/{}/waiting-for",
            "/api/3/builds/{}/give-up",
            "/api/3/attempts/{}/resolve",
            "/api/3/artifacts/{}",
            "/api/3/plans",
            "/api/3/plans/{}",
            "/api/3/plans/{}/apply",
            "/api/3/failures",
            "/api/3/report",
            "/api/3/systems/{}/pause",
            "/api/3/counts",
            "/api/3/dead-letters",
            "/api/3/dead-letters/{}/{}/requeue",
            "/api/3/dead-letters/{}/{}/dismiss",
            "/api/3/messages",
            "/api/3/messages/{}/{}",
            "/api/3/overview",
            "/api/3/stuck",
            "/api/3/tokens",
            "/api/3/audit",
            "/metrics",
            "/",
            "/events/{}/graph",
            "/builds",
            "/search",
            "/sign-in",
            "/assets/{}",
            "/{}",
        ];
        const KEYS: [&str; 12] =
            ["state", "limit", "cursor", "count", "since", "kind", "code", "format", "for_s", "q", "event", "{}"];
        let mut path = self.one(&ROUTES).to_owned();
        while path.contains("{}") {
            path = path.replacen("{}", &self.text(), 1);
        }
        for number in 0..self.0.usize(..4) {
            let (key, value) = (self.one(&KEYS).replace("{}", &self.text()), self.text());
            path.push_str(&format!("{}{key}={value}", if number == 0 { '?' } else { '&' }));
        }
        path
    }

    fn body(&mut self) -> String {
        const BODIES: [&str; 8] = [
            "",
            "{",
            "null",
            "[]",
            r#"{"topic": "image.pushed", "body": {"image": "base"}}"#,
            r#"{"reason": ""}"#,
            r#"{"name": "a", "roles": ["admin"], "lifetime_s": -1}"#,
            "\u{0}\u{1}",
        ];
        self.one(&BODIES).to_owned()
    }

    fn request(&mut self) -> Option<Request<Body>> {
        const METHODS: [&str; 10] = ["GET", "GET", "GET", "POST", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "BREW"];
        const NAMES: [&str; 10] = [
            "authorization",
            "if-match",
            "if-none-match",
            "accept",
            "accept-encoding",
            "content-type",
            "idempotency-key",
            "x-request-id",
            "range",
            "cookie",
        ];
        const VALUES: [&str; 9] =
            ["application/json", "*", "\"7\"", "W/", "Bearer x", "gzip", "text/html", "a=b;c", "\u{e9}"];
        let uri: Uri = self.path().parse().ok()?;
        let mut request = Request::builder().method(self.one(&METHODS)).uri(uri).header("host", "localhost");
        if self.0.bool() {
            request = request.header("content-type", "application/json");
        }
        for _ in 0..self.0.usize(..4) {
            let value = HeaderValue::from_bytes(self.one(&VALUES).as_bytes()).unwrap();
            request = request.header(self.one(&NAMES), value);
        }
        let mut request = request.body(Body::from(self.body())).unwrap();
        request.extensions_mut().insert(ConnectInfo(LOCAL.parse::<SocketAddr>().unwrap()));
        Some(request)
    }
}

#[tokio::test(start_paused = true)]
async fn random_requests_are_answered() {
    let wanted = std::env::var("FRESHMAKER_RANDOM_REQUESTS").ok().map_or(10_000, |number| number.parse().unwrap());
    let service = Service::new(|config| {
        config.authentication.none = true;
        config.page = Some(PageConfig::default());
        (config.limits.requests, config.limits.refused_logins) = (MUCH, MUCH);
    });
    service.push("base").await;
    service.settle().await;
    let mut noise = Noise(fastrand::Rng::with_seed(20_261_130));
    let (mut sent, mut answers) = (0, BTreeMap::new());
    while sent < wanted {
        let Some(request) = noise.request() else { continue };
        let shown = format!("{} {}", request.method(), request.uri());
        let response = service.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        assert!(!status.is_server_error(), "{shown}: {status} {:?}", response.into_body().collect().await);
        *answers.entry(status.as_u16()).or_insert(0) += 1;
        sent += 1;
    }
    // The noise reaches the handlers, and is not only turned away.
    for status in [200, 202, 400, 401, 404, 405, 415] {
        assert!(answers.contains_key(&status), "{answers:?}");
    }
    let metrics = String::from_utf8(service.get("/metrics").await.body).unwrap();
    let routes = metrics.lines().filter(|line| line.starts_with("freshmaker_http_request_seconds_count")).count();
    assert!((50..800).contains(&routes), "labels come from closed sets: {routes}");
    let strange = metrics.lines().filter(|line| line.contains("zz") || line.contains("BREW")).collect::<Vec<_>>();
    assert!(strange.is_empty(), "{strange:?}");
}

/// A service over a PostgreSQL at this address, at which there is none.
fn over(address: SocketAddr) -> Router {
    let config = PostgresConfig::new(format!("postgresql://postgres@{address}/none"));
    let mut web = Config::loopback();
    web.limits.storage_timeout = Duration::from_secs(1);
    web.limits.requests = MUCH;
    freshmaker_web::router(Client::new(Arc::new(PostgresStorage::new(&config).unwrap())), web)
}

/// Whether an answer says nothing about where the storage is, nor what was said there.
fn is_plain(answer: &Answer, address: SocketAddr) -> bool {
    let text = String::from_utf8_lossy(&answer.body).to_lowercase();
    let names = [address.port().to_string(), "127.0.0.1".into(), "postgres".into(), "none".into(), "refused".into()];
    !names.iter().any(|name| text.contains(name))
}

const ASKS_THE_STORAGE: [&str; 12] = [
    "/api/3/events",
    "/api/3/events/1",
    "/api/3/builds",
    "/api/3/builds/1",
    "/api/3/artifacts/a",
    "/api/3/counts",
    "/api/3/overview",
    "/api/3/stuck",
    "/api/3/failures",
    "/api/3/stream",
    "/api/3/messages/a/b",
    "/metrics",
];

#[tokio::test]
async fn a_storage_that_is_away_is_told_with_a_time_to_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let router = over(address);
    for path in ASKS_THE_STORAGE {
        let answer = ask(&router, request(Method::GET, path)).await;
        assert_eq!((answer.problem().as_str(), answer.status.as_u16()), ("unavailable", 503), "{path}");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0, "{path}: {answer:?}");
        assert!(is_plain(&answer, address), "{path}: {answer:?}");
    }
    let message = json!({"topic": "image.pushed", "body": {"image": "base"}});
    let write = ask(&router, post("/api/3/messages", &message)).await;
    assert_eq!((write.problem().as_str(), write.header("retry-after").is_empty()), ("unavailable", false));
    assert!(is_plain(&write, address), "{write:?}");
    assert_eq!(ask(&router, request(Method::GET, "/healthz")).await.status, 200);
    let ready = ask(&router, request(Method::GET, "/readyz")).await;
    assert_eq!((ready.status.as_u16(), &ready.json()["ready"]), (503, &json!(false)));
}

/// The server takes connections, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_does_not_answer_holds_no_request() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router = over(silent.local_addr().unwrap());
    let ask = |path| ask(&router, request(Method::GET, path));
    for answer in futures_util::future::join_all(ASKS_THE_STORAGE.map(ask)).await {
        assert_eq!((answer.problem().as_str(), answer.header("retry-after").is_empty()), ("unavailable", false));
    }
}

/// Another program holds the database: what is read is answered, and no write is possible.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_takes_no_write_is_not_ready() {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("rows.sqlite");
    let mut config = Config::loopback();
    config.limits.storage_timeout = Duration::from_secs(1);
    let storage = freshmaker_sql::SqliteStorage::open(&path).unwrap();
    let router = freshmaker_web::router(Client::new(Arc::new(storage)), config);
    let ready = || ask(&router, request(Method::GET, "/readyz"));
    assert_eq!(ready().await.status, 200);
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let told = ready().await;
    let checks = told.json()["checks"].clone();
    assert_eq!((told.status.as_u16(), &checks[2]["name"], &checks[2]["ok"]), (503, &json!("writes"), &json!(false)));
    assert_eq!(checks[0]["ok"], true, "{checks}");
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(ready().await.status, 200);
    // What SQLite says when it gets no further page.
    let full = "CREATE TRIGGER no_room BEFORE INSERT ON documents BEGIN \
                SELECT RAISE(ABORT, 'database or disk is full'); END";
    other.batch_execute(full).unwrap();
    let told = ready().await;
    assert_eq!((told.status.as_u16(), &told.json()["checks"][2]["ok"]), (503, &json!(false)));
    other.batch_execute("DROP TRIGGER no_room").unwrap();
    assert_eq!(ready().await.status, 200);
    let left = Client::new(Arc::new(freshmaker_sql::SqliteStorage::open(&path).unwrap()));
    assert_eq!(left.documents().await.unwrap().list("web.readiness", None, 9).await.unwrap(), []);
}
