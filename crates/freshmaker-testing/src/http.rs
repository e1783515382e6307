//! A small HTTP server whose answers can be cut, delayed or wrong. Fakes of services are built on
//! it.

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Longer requests are answered by 413.
const BODY_BYTES_MAX: usize = 64 << 20;
/// The most connections that are served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// What follows the `?`, as it was sent; empty without one.
    pub query: String,
    /// Fields by name in lower case; of repeated ones the last, and none that is no text.
    pub headers: BTreeMap<String, String>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header field, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How much of a reply reaches the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// All of it.
    #[default]
    Whole,
    /// This many bytes, the head with status and headers included; then the connection is closed.
    CutAfter(usize),
    /// This many bytes, the head included; then nothing more, on a connection that stays open.
    StallAfter(usize),
}

/// What a client is answered.
///
/// ```
/// use freshmaker_testing::http::{Delivery, Reply};
///
/// let reply = Reply::new(200).with_header("content-type", "text/plain").with_body("all is well");
/// assert_eq!(reply.clone().cut_after(40).delivery, Delivery::CutAfter(40));
/// assert_eq!(Reply::nothing().delivery, Delivery::StallAfter(0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields in order. Without a `content-length` among them, the true one is added.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How much of all that is sent.
    pub delivery: Delivery,
}

impl Reply {
    /// Makes an empty answer with this status.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), delivery: Delivery::Whole }
    }

    /// No answer at all, on a connection that stays open.
    #[must_use]
    pub fn nothing() -> Self {
        Self::new(200).stall_after(0)
    }

    /// Returns the same with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Returns the same with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the same with a length in its head that need not be true. Of a longer body only so
    /// much is sent; after a shorter one the connection is closed.
    #[must_use]
    pub fn declaring(self, length: usize) -> Self {
        self.with_header("content-length", length.to_string())
    }

    /// Returns the same answer, [cut](Delivery::CutAfter) after this many bytes.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.delivery = Delivery::CutAfter(bytes);
        self
    }

    /// Returns the same answer, [stalled](Delivery::StallAfter) after this many bytes.
    #[must_use]
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.delivery = Delivery::StallAfter(bytes);
        self
    }
}

/// A server on a port of its own of the local machine; it stops when it is dropped, and closes its
/// connections.
///
/// ```
/// use freshmaker_testing::http::{Reply, Server};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let server = Server::start(|request| async move {
///     match request.path.as_str() {
///         "/hello" => Reply::new(200).with_body("hello"),
///         _ => Reply::new(404),
///     }
/// })
/// .await?;
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Answers requests by this function, each connection in a task of the present tokio runtime.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start<H, F>(handler: H) -> io::Result<Self>
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), handler).await
    }

    /// Starts the server at the address of one that ran before.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub async fn start_at<H, F>(address: SocketAddr, handler: H) -> io::Result<Self>
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, accepting: tokio::spawn(accept(listener, Arc::new(handler))) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<H, F>(listener: TcpListener, handler: Arc<H>)
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    // Dropped with this task, and its tasks with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() == CONNECTIONS_MAX {
            connections.join_next().await;
        }
        // A client that went away before it was accepted is no reason to stop.
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve(stream, handler.clone()));
    }
}

async fn serve<H, F>(stream: TcpStream, handler: Arc<H>)
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let valve = Valve::default();
    let io = TokioIo::new(Throttled { stream, valve: valve.clone() });
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let (handler, valve) = (handler.clone(), valve.clone());
        async move {
            let reply = match read(request).await {
                Ok(request) => handler(request).await,
                Err(reply) => reply,
            };
            *valve.lock() = reply.delivery;
            Ok::<_, Infallible>(write(reply))
        }
    });
    // What goes wrong on a connection is what was asked for, or the client's affair.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await);
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, Reply> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Reply::new(413))?;
    let field = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    Ok(Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.iter().filter_map(field).collect(),
        body: body.to_bytes().to_vec(),
    })
}

fn write(reply: Reply) -> hyper::Response<Body> {
    let mut head = hyper::Response::builder().status(reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head = head.header("content-length", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head = head.header(name, value);
    }
    head.body(Body::new(reply.body)).unwrap_or_else(|error| {
        let mut unfit = hyper::Response::new(Body::new(format!("the reply is no HTTP: {error}")));
        *unfit.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        unfit
    })
}

/// A body that does not tell its length, so that a declared one is taken as it is.
struct Body {
    bytes: Option<Bytes>,
    rested: bool,
}

impl Body {
    fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: Some(bytes.into()), rested: false }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.rested {
            return Poll::Ready(None);
        }
        // Hyper sends what it has before it finds that less has come than was declared.
        self.rested = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How much more may be written on a connection.
#[derive(Clone, Default)]
struct Valve(Arc<Mutex<Delivery>>);

impl Valve {
    fn lock(&self) -> MutexGuard<'_, Delivery> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that lets through what its valve allows.
struct Throttled {
    stream: TcpStream,
    valve: Valve,
}

impl fmt::Debug for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttled").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl AsyncRead for Throttled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Throttled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = *self.valve.lock();
        let most = match allowed {
            Delivery::Whole => bytes.len(),
            Delivery::CutAfter(0) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            // It is never woken: it ends when the client goes away, or with the server.
            Delivery::StallAfter(0) => return Poll::Pending,
            Delivery::CutAfter(left) | Delivery::StallAfter(left) => left.min(bytes.len()),
        };
        let poll = Pin::new(&mut self.stream).poll_write(cx, &bytes[..most]);
        if let Poll::Ready(Ok(written)) = poll {
            *self.valve.lock() = match allowed {
                Delivery::Whole => Delivery::Whole,
                Delivery::CutAfter(left) => Delivery::CutAfter(left - written),
                Delivery::StallAfter(left) => Delivery::StallAfter(left - written),
            };
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
