//! Shared by the fakes of services that are only read: counts of requests, and answers that replace
//! the true ones.

use freshmaker_testing::http::{Reply, Request, Server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of requests that are remembered; the oldest are forgotten.
const ASKED_MAX: usize = 10_000;

/// Starts a server that answers from a new service. Both stop when the server is dropped.
///
/// # Errors
/// If no port can be opened.
pub(super) async fn serve<S: Default + Send + 'static>(
    reply: fn(&mut S, &Request) -> Reply,
) -> io::Result<(Server, Arc<Mutex<S>>)> {
    let service = Arc::new(Mutex::new(S::default()));
    let behind = Arc::clone(&service);
    let server = Server::start(move |request| {
        let reply = reply(&mut lock(&behind), &request);
        async move { reply }
    });
    Ok((server.await?, service))
}

/// Locks a service, which is consistent after every request.
pub(super) fn lock<S>(service: &Mutex<S>) -> MutexGuard<'_, S> {
    service.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of a service, as far as it does not depend on what it is.
#[derive(Debug, Default)]
pub(super) struct Wire {
    asked: VecDeque<String>,
    shown: BTreeMap<String, Value>,
    faults: VecDeque<(String, Reply)>,
    authorization: Option<String>,
}

impl Wire {
    /// Returns the answer to a request: a fault, a refused login, what is shown instead, or what is
    /// true.
    pub(super) fn reply(&mut self, request: &Request, truth: impl FnOnce() -> Option<Value>) -> Reply {
        self.asked.push_back(format!("{} {}", request.method, request.path));
        if self.asked.len() > ASKED_MAX {
            self.asked.pop_front();
        }
        if let Some(at) = self.faults.iter().position(|(path, _)| request.path.contains(path))
            && let Some((_, reply)) = self.faults.remove(at)
        {
            return reply;
        }
        if self.authorization.as_deref().is_some_and(|wanted| request.header("authorization") != Some(wanted)) {
            return refusal(401, "Authentication failed");
        }
        match self.shown.get(&request.path).cloned().or_else(truth) {
            Some(value) => json_reply(200, &value),
            None => refusal(404, &format!("nothing is at {}", request.path)),
        }
    }

    pub(super) fn disturb(&mut self, path: &str, reply: Reply) {
        self.faults.push_back((path.to_owned(), reply));
    }

    pub(super) fn show(&mut self, path: &str, value: Value) {
        self.shown.insert(path.to_owned(), value);
    }

    pub(super) fn require(&mut self, authorization: &str) {
        self.authorization = Some(authorization.to_owned());
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.iter().cloned().collect()
    }
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status).with_header("content-type", "application/json").with_body(body.to_string())
}

/// An error as either service writes it: the Errata Tool calls its text `error`, Pulp
/// `error_message`.
fn refusal(status: u16, message: &str) -> Reply {
    json_reply(status, &json!({ "error": message, "error_message": message, "http_status": status }))
}
