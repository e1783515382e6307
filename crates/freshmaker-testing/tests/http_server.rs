//! The ground that fakes stand on: every way in which an answer can go wrong arrives as it was
//! asked for.

#![allow(clippy::unwrap_used)]

use freshmaker_testing::http::{Reply, Server};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_millis(150);
const AT_ALL: Duration = Duration::from_secs(10);

async fn server(reply: Reply) -> Server {
    Server::start(move |_| {
        let reply = reply.clone();
        async move { reply }
    })
    .await
    .unwrap()
}

/// Sends a request; what comes back, and whether the connection was closed after it.
async fn ask(server: &Server) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"POST /a?b=c HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    let mut got = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        // A reset is a close as well: the client sees both.
        match timeout(SOON, stream.read(&mut buffer)).await {
            Err(_) => return (got, false),
            Ok(Ok(0) | Err(_)) => return (got, true),
            Ok(Ok(n)) => got.extend_from_slice(&buffer[..n]),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_whole_answer_keeps_the_connection() {
    let server = Server::start(|request| async move {
        Reply::new(201).with_header("x-path", request.path.clone()).with_body(format!("{request:?}"))
    })
    .await
    .unwrap();
    let (got, closed) = ask(&server).await;
    let got = text(&got);
    assert!(got.starts_with("HTTP/1.1 201 Created\r\n") && got.contains("\r\nx-path: /a\r\n"), "{got}");
    assert!(
        got.contains(r#"query: "b=c""#) && got.contains(r#""host": "here""#) && got.contains("[104, 105]"),
        "{got}"
    );
    assert!(!closed);
}

#[tokio::test]
async fn an_answer_is_cut_or_stalled_at_every_byte() {
    let reply = Reply::new(200).with_body("0123456789");
    let (whole, _) = ask(&server(reply.clone()).await).await;
    for n in [0, 1, whole.len() - 11, whole.len() - 10, whole.len() - 1] {
        let (got, closed) = ask(&server(reply.clone().cut_after(n)).await).await;
        assert_eq!((got.len(), closed), (n, true), "cut after {n}");
        let (got, closed) = ask(&server(reply.clone().stall_after(n)).await).await;
        assert_eq!((got.len(), closed), (n, false), "stalled after {n}");
    }
}

#[tokio::test]
async fn a_declared_length_need_not_be_true() {
    let (got, closed) = ask(&server(Reply::new(200).with_body("0123456789").declaring(20)).await).await;
    assert!(
        text(&got).contains("content-length: 20") && text(&got).ends_with("0123456789") && closed,
        "{}",
        text(&got)
    );
    let (got, _) = ask(&server(Reply::new(200).with_body("0123456789").declaring(4)).await).await;
    assert!(text(&got).contains("content-length: 4") && text(&got).ends_with("\r\n\r\n0123"), "{}", text(&got));
}

#[tokio::test]
async fn a_dropped_server_closes_its_connections_and_its_port() {
    let server = server(Reply::nothing()).await;
    let address = server.address();
    let asking = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        stream.read(&mut [0; 1]).await
    });
    drop(timeout(SOON, std::future::pending::<()>()).await);
    drop(server);
    let end = timeout(AT_ALL, asking).await.expect("the connection was left open").unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    while TcpStream::connect(address).await.is_ok() {}
    let again = Server::start_at(address, |_| async { Reply::new(204) }).await.unwrap();
    assert!(text(&ask(&again).await.0).starts_with("HTTP/1.1 204"));
}
