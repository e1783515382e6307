//! The server, over sockets of this machine.

use super::support::Service;
use freshmaker_web::Quota;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let size = stream.read(&mut buffer).await.unwrap();
        assert!(size > 0, "it ended before {wanted:?}: {text}");
        text.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_server_answers_and_ends_its_streams() {
    let service = Service::open();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(freshmaker_web::serve(listener, service.router.clone(), async { drop(stopped.await) }));

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(until(&mut plain, "ok\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    let mut far = TcpStream::connect(address).await.unwrap();
    far.write_all(b"GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n").await.unwrap();
    assert!(until(&mut far, "open_to_network").await.starts_with("HTTP/1.1 403"));
    let mut large = TcpStream::connect(address).await.unwrap();
    large
        .write_all(format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(20_000)).as_bytes())
        .await
        .unwrap();
    assert!(until(&mut large, "headers_too_large").await.starts_with("HTTP/1.1 431"));

    let mut nowhere = TcpStream::connect(address).await.unwrap();
    nowhere.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let told = until(&mut nowhere, "is missing").await;
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("\"parameter\":\"host\""), "{told}");
    let mut old = TcpStream::connect(address).await.unwrap();
    old.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(until(&mut old, "ok\n").await.contains(" 200 "), "it has no host, and need not");

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/3/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(&mut stream, "retry: 2000").await;
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), server).await;
    ended.expect("an open stream does not hold the server up").unwrap().unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ended as it should: {rest:?}");
    assert!(TcpStream::connect(address).await.is_err());
}

/// Streams are written without the buffers of the server. They are the same for their readers,
/// whether they are asked for at the beginning of a connection or later.
#[tokio::test]
async fn streams_begin_a_connection_or_come_later_on_it() {
    let service = Service::new(|config| {
        config.authentication.none = true;
        config.limits.requests = Quota { per_minute: u32::MAX, burst: u32::MAX };
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(freshmaker_web::serve(listener, service.router.clone(), std::future::pending()));
    let ask = "GET /api/3/stream HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(ask.as_bytes()).await.unwrap();
    let told = until(&mut first, "retry: 2000").await.to_lowercase();
    assert!(told.contains("\r\nconnection: close\r\n"), "it has the connection for itself: {told}");
    let mut later = TcpStream::connect(address).await.unwrap();
    later.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(&mut later, "ok\n").await;
    later.write_all(ask.as_bytes()).await.unwrap();
    let other = until(&mut later, "retry: 2000").await.to_lowercase();
    for told in [&told, &other] {
        assert!(told.starts_with("http/1.1 200 ok\r\n"), "{told}");
        for header in ["content-type: text/event-stream", "transfer-encoding: chunked", "date: ", "x-request-id: "] {
            assert!(told.contains(&format!("\r\n{header}")), "{header}: {told}");
        }
        // Each chunk has its length in front.
        let (_, body) = told.split_once("\r\n\r\n").unwrap();
        let (length, rest) = body.split_once("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(length, 16).unwrap(), rest.trim_end_matches("\r\n").len(), "{body:?}");
    }
    service.push("base").await;
    service.settle().await;
    for stream in [&mut first, &mut later] {
        until(stream, "event: event.changed").await;
    }
    // A place is free when its reader has gone.
    assert_eq!(streams(&service).await, 2);
    drop((first, later));
    while streams(&service).await > 0 {
        tokio::task::yield_now().await;
    }
    // HEAD has no body to wait for.
    let mut head = TcpStream::connect(address).await.unwrap();
    head.write_all(ask.replace("GET", "HEAD").as_bytes()).await.unwrap();
    assert!(until(&mut head, "\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    server.abort();
}

async fn streams(service: &Service) -> usize {
    let metrics = String::from_utf8(service.get("/metrics").await.body).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("freshmaker_sse_subscribers "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_engine_and_a_server_run_and_end_together() {
    let service = Service::open();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = service.engine.client();
    let story = async {
        let message = service.push("base").await;
        assert_eq!(client.wait_for_message(&message).await.unwrap().len(), 1, "the engine runs");
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        until(&mut plain, "ok\n").await;
    };
    let router = service.router.clone();
    freshmaker_web::serve_with_engine(&service.engine, listener, router, story).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the server has ended");

    // Without its future there is no server.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = service.router.clone();
    let served = freshmaker_web::serve_with_engine(&service.engine, listener, router, std::future::pending());
    assert!(tokio::time::timeout(Duration::from_millis(100), served).await.is_err());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Time goes on as soon as nothing else can happen, also while sockets are waited for.
#[tokio::test(start_paused = true)]
async fn slow_headers_are_given_up() {
    let service = Service::open();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(freshmaker_web::serve(listener, service.router.clone(), std::future::pending()));
    let began = tokio::time::Instant::now();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!((30..40).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    server.abort();
}
