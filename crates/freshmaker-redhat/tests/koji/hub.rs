//! A hub that answers as it is told.

use freshmaker_net::Secret;
use freshmaker_redhat::koji::xmlrpc::{Request, Response, Value};
use freshmaker_redhat::koji::{KojiBuildSystem, KojiConfig, KojiLogin};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A call as it came over the line.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) request: Request,
}

impl Seen {
    pub(crate) fn method(&self) -> &str {
        &self.request.method
    }

    /// Session and number of the call.
    pub(crate) fn session(&self) -> Option<(&str, u64)> {
        let number = self.headers.get("koji-session-callnum")?.parse().expect("a number");
        Some((self.headers.get("koji-session-id")?, number))
    }

    /// The arguments given by name.
    pub(crate) fn named(&self) -> &Value {
        self.request.params.last().expect("arguments")
    }
}

/// What the hub does about a call.
pub(crate) enum Step {
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends the beginning of them and closes.
    Cut(Vec<u8>, usize),
    /// Says nothing.
    Stall,
}

pub(crate) fn http(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

pub(crate) fn value(value: impl Into<Value>) -> Step {
    let body = Response::Value(value.into()).encode().expect("it encodes");
    Step::Send(http(200, "text/xml", body.as_bytes()))
}

pub(crate) fn fault(code: i64, text: &str) -> Step {
    let body = Response::Fault { code, text: text.to_owned() }.encode().expect("it encodes");
    Step::Send(http(200, "text/xml", body.as_bytes()))
}

/// The answer to a login.
pub(crate) fn login(id: i64) -> Step {
    let key = format!("secret-key-{id}");
    value(Value::record([("session-id", id.into()), ("session-key", key.into()), ("header-auth", true.into())]))
}

pub(crate) struct Hub {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Hub {
    /// `answer` gets the call and how many came before it.
    pub(crate) async fn start(answer: impl Fn(&Seen, usize) -> Step + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/kojihub", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (calls, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (calls, answer) = (Arc::clone(&calls), Arc::clone(&answer));
                tokio::spawn(async move { serve(stream, &calls, &*answer).await });
            }
        });
        Self { url, seen }
    }

    /// A hub that knows how to log in, and asks `answer` about everything else. Sessions are
    /// numbered from 1.
    pub(crate) async fn with_login(answer: impl Fn(&Seen) -> Step + Send + Sync + 'static) -> Self {
        let sessions = Mutex::new(0);
        Self::start(move |seen, _| match seen.method() {
            "login" => {
                let mut sessions = sessions.lock().expect("no panic");
                *sessions += 1;
                login(*sessions)
            }
            "getLoggedInUser" => value(Value::record([("id", 7.into()), ("name", "freshmaker".into())])),
            _ => answer(seen),
        })
        .await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    pub(crate) fn methods(&self) -> Vec<String> {
        self.seen().iter().map(|seen| seen.method().to_owned()).collect()
    }

    pub(crate) fn config(&self) -> KojiConfig {
        let mut config = KojiConfig::new(&self.url);
        config.login = KojiLogin::Password { user: "freshmaker".to_owned(), password: Secret::new("hidden-password") };
        config.http.timeout = Duration::from_secs(5);
        config.topurl = Some("https://koji.example.org/kojifiles".to_owned());
        config
    }

    pub(crate) fn builds(&self) -> KojiBuildSystem {
        KojiBuildSystem::new(self.config()).expect("a client")
    }
}

async fn serve(stream: TcpStream, calls: &Mutex<Vec<Seen>>, answer: &(dyn Fn(&Seen, usize) -> Step + Send + Sync)) {
    let mut stream = BufReader::new(stream);
    let Some(seen) = read(&mut stream).await else { return };
    let number = {
        let mut calls = calls.lock().expect("no panic");
        calls.push(seen.clone());
        calls.len() - 1
    };
    let (bytes, end) = match answer(&seen, number) {
        Step::Send(bytes) => {
            let end = bytes.len();
            (bytes, end)
        }
        Step::Cut(bytes, end) => (bytes, end),
        // Until the client gives up.
        Step::Stall => return drop(stream.read_u8().await),
    };
    let _ = stream.get_mut().write_all(&bytes[..end]).await;
    let _ = stream.get_mut().shutdown().await;
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let header = |line: &String| line.split_once(':').map(|(name, text)| (name.to_lowercase(), text.trim().to_owned()));
    let headers: BTreeMap<_, _> = lines.iter().skip(1).filter_map(header).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let request = if body.is_empty() { Request::new("", Vec::new()) } else { Request::parse(&body).expect("XML-RPC") };
    Some(Seen { path, headers, request })
}
