//! Answers that go on for long, written to their sockets without the buffers of the server.
//!
//! hyper has two buffers of 8 KiB for each connection. They are for what comes and goes at once; a
//! stream of changes that is quiet for hours would keep them. So a handler marks such an answer as
//! [`Endless`], and the connection is taken from hyper and gets the answer here: its head, and then
//! what it sends in chunks (RFC 9112, 7.1), until one of the two ends it. What is sent is not
//! copied for each stream.
//!
//! *Invariant:* only the first request of a connection is answered so. Before a later one there may
//! be parts of earlier answers in the buffers.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, Version};
use axum::response::Response;
use http_body_util::BodyExt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Marks an answer whose body may go on for hours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endless;

/// The place where the answer to the first request of a connection is put for the one who drives
/// the connection.
#[derive(Debug)]
pub(crate) struct HandedOver {
    is_first: AtomicBool,
    answer: Mutex<Option<Response>>,
}

impl HandedOver {
    pub(crate) fn new() -> Self {
        Self { is_first: AtomicBool::new(true), answer: Mutex::default() }
    }

    /// Whether an answer to this request could be taken: it must be asked for every request.
    pub(crate) fn fits<B>(&self, request: &Request<B>) -> bool {
        let is_first = self.is_first.swap(false, Ordering::Relaxed);
        is_first && request.version() == Version::HTTP_11 && request.method() == Method::GET
    }

    /// Takes an answer that goes on for long; gives any other back.
    pub(crate) fn put(&self, answer: Response) -> Option<Response> {
        if answer.extensions().get::<Endless>().is_none() {
            return Some(answer);
        }
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        None
    }

    pub(crate) fn take(&self) -> Option<Response> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sends an answer until it or its reader ends, and then ends the connection.
pub(crate) async fn send(mut stream: TcpStream, answer: Response) -> io::Result<()> {
    let (parts, mut body) = answer.into_parts();
    stream.write_all(&head(parts.status, &parts.headers)).await?;
    drop(parts);
    let mut may_listen = true;
    loop {
        let sent = tokio::select! {
            sent = next(&mut body) => sent,
            ended = has_ended(&stream), if may_listen => match ended? {
                true => return Ok(()),
                // What is asked for behind a stream is not answered: the connection ends with it.
                false => {
                    may_listen = false;
                    continue;
                }
            },
        };
        let Some(sent) = sent else { break };
        stream.write_all(format!("{:x}\r\n", sent.len()).as_bytes()).await?;
        stream.write_all(&sent).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    head
}

/// The next part of a body that is not empty: an empty chunk would be its end.
async fn next(body: &mut Body) -> Option<Bytes> {
    loop {
        match body.frame().await?.ok()?.into_data() {
            Ok(sent) if !sent.is_empty() => return Some(sent),
            _ => {}
        }
    }
}

/// Waits until the reader ends the connection, or sends something more.
async fn has_ended(stream: &TcpStream) -> io::Result<bool> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0; 1]) {
            Ok(size) => return Ok(size == 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
