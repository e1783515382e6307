//! A server with the time limits that a router cannot have: for slow headers, and for streams when
//! the server stops.

use crate::wire::{self, HandedOver};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use freshmaker::Engine;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tower::Service;

/// How long a connection may take to send the headers of a request, the time between two requests
/// included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest headers that are read at all.
const HEADER_BYTES: usize = 64 << 10;

/// No more connections are open at a time; others wait.
const CONNECTIONS_MAX: usize = 10_000;

/// How long requests that are under way may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// After an error of the listener, for example because there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Signals to streams that the server stops.
#[derive(Clone, Debug)]
pub(crate) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Waits until the server ends.
    pub(crate) async fn begun(mut self) {
        // The sender is gone only when the server is.
        let _ = self.0.wait_for(|ends| *ends).await;
    }
}

/// Serves a router over HTTP/1.1 until `shutdown` completes.
///
/// The router may be the one of [`router`](crate::router), or one that it is nested in. A
/// connection may take 30 seconds to send the headers of a request, and 64 KiB of them are read.
/// At most 10,000 connections are open at a time. At the end no new ones are accepted, streams of
/// changes are ended, and requests that are under way have 10 seconds. TLS is the business of a
/// proxy.
///
/// ```no_run
/// use freshmaker::Client;
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_web::Config;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(Arc::new(MemoryStorage::new()));
/// let config = Config::loopback();
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// config.check(listener.local_addr()?)?;
/// let stop = std::future::pending::<()>(); // a service waits for a signal here
/// freshmaker_web::serve(listener, freshmaker_web::router(client, config), stop).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the listener has no address.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    listener.local_addr()?;
    let (end, ending) = watch::channel(false);
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_BYTES);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&free).acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        // What has ended is forgotten.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let connection = connected(server.clone(), stream, peer, router.clone(), Ending(ending.clone()));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%peer, error = %freshmaker::backend::with_causes(&*error), "a connection broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    end.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests were not ended in time, and are dropped");
    }
    connections.shutdown().await;
    Ok(())
}

/// Why [`serve_with_engine`] has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The engine has ended with an error.
    #[error("the engine has ended: {0}")]
    Engine(#[from] freshmaker::backend::Error),
    /// The server could not start, or has panicked.
    #[error("the server has ended: {0}")]
    Server(#[from] io::Error),
}

/// Runs an engine, and [serves](serve) a router beside it, until `shutdown` completes. Then
/// requests that are under way are answered before the engine stops.
///
/// If the engine ends by itself, so does the server, and the other way round.
///
/// # Errors
/// That of the engine, or of the server.
///
/// # Cancel safety
/// Dropping the future drops the engine's run and aborts the server.
pub async fn serve_with_engine(
    engine: &Engine,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (stop, stopped) = oneshot::channel::<()>();
    // A task of its own: no long step of the engine delays an answer.
    let mut server = JoinSet::new();
    server.spawn(serve(listener, router, async { drop(stopped.await) }));
    let mut served = None;
    let ended = async {
        served = tokio::select! {
            () = shutdown => None,
            ended = server.join_next() => ended,
        };
        drop(stop);
        if served.is_none() {
            served = server.join_next().await;
        }
    };
    engine.run_until(ended).await?;
    match served {
        Some(ended) => Ok(ended.map_err(io::Error::other)??),
        None => Ok(()),
    }
}

/// Why a connection broke.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Answers the requests of a connection, until it ends or the server does.
async fn connected(
    server: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    ending: Ending,
) -> Result<(), Broken> {
    let over = Arc::new(HandedOver::new());
    let served = served(server, stream, peer, router, ending, Arc::clone(&over));
    // In a box that is freed when the connection is handed over: streams stay for long.
    match Box::pin(served).await? {
        Some((stream, answer)) => {
            drop(over);
            Ok(wire::send(stream, answer).await?)
        }
        None => Ok(()),
    }
}

/// The same, until there is an answer that goes on for long.
async fn served(
    server: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    ending: Ending,
    over: Arc<HandedOver>,
) -> Result<Option<(TcpStream, Response)>, Broken> {
    let answers = (over.clone(), ending.clone());
    let service = service_fn(move |request| {
        let (over, ending) = answers.clone();
        // In a box that is freed with the headers of the answer.
        Box::pin(answered(request, router.clone(), peer, ending, over))
    });
    let mut connection = server.serve_connection(TokioIo::new(stream), service);
    let (mut ending, mut ends) = (pin!(ending.begun()), false);
    let handed_over = poll_fn(|context| {
        if !ends && ending.as_mut().poll(context).is_ready() {
            ends = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(context) {
            Poll::Ready(ended) => Poll::Ready(ended.map(|()| None)),
            Poll::Pending => over.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(Some(answer)))),
        }
    });
    let answer = handed_over.await?;
    Ok(answer.map(|answer| (connection.into_parts().io.into_inner(), answer)))
}

/// Answers a request; handlers learn who the peer is, and when the server ends. An answer that goes
/// on for long is handed over, and the connection with it.
async fn answered(
    request: Request<Incoming>,
    mut router: Router,
    peer: SocketAddr,
    ending: Ending,
    over: Arc<HandedOver>,
) -> Result<Response, Infallible> {
    let fits = over.fits(&request);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(ending);
    poll_fn(|context| Service::<Request<Body>>::poll_ready(&mut router, context)).await?;
    let answer = router.call(request).await?;
    match if fits { over.put(answer) } else { Some(answer) } {
        Some(answer) => Ok(answer),
        None => std::future::pending().await,
    }
}
