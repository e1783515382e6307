use freshmaker_redhat::fakes::koji::Hub;
use freshmaker_redhat::koji::xmlrpc::{Request, Response, Value};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An upper bound that is never reached, unless something is wrong.
pub(crate) const AT_ALL: Duration = Duration::from_secs(20);
/// Long enough to be sure that nothing comes.
const NOTHING_COMES: Duration = Duration::from_millis(200);

/// What came back: status, head and body; or nothing, on a connection that was closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn response(&self) -> Response {
        let text = String::from_utf8_lossy(&self.body);
        Response::parse(&self.body).unwrap_or_else(|error| panic!("{error}: {} {text}", self.status))
    }

    pub(crate) fn value(&self) -> Value {
        match self.response() {
            Response::Value(value) => value,
            Response::Fault { code, text } => panic!("fault {code}: {text}"),
        }
    }

    pub(crate) fn fault(&self) -> (i64, String) {
        match self.response() {
            Response::Fault { code, text } => (code, text),
            Response::Value(value) => panic!("a value: {value:?}"),
        }
    }
}

/// Sends a request by hand, and reads to the end of the connection.
pub(crate) async fn send(hub: &Hub, line: &str, headers: &str, body: &[u8]) -> Option<Got> {
    let mut stream = TcpStream::connect(hub.address()).await.ok()?;
    let head = format!("{line}\r\nHost: hub\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut all = Vec::new();
    // A reset says the same as a close: nothing more comes.
    let read = timeout(AT_ALL, stream.read_to_end(&mut all)).await.expect("the hub answers or closes");
    let end = all.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    drop(read);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Got { status, head, body: all[end + 4..].to_vec() })
}

/// Whether no answer comes to a call, on a connection that stays open.
pub(crate) async fn stalls(hub: &Hub, method: &str) -> bool {
    let body = Request::new(method, vec![]).encode().unwrap();
    let mut stream = TcpStream::connect(hub.address()).await.unwrap();
    let head = format!("POST /kojihub HTTP/1.1\r\nHost: hub\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    timeout(NOTHING_COMES, stream.read(&mut [0; 1])).await.is_err()
}

/// A session as a careful client keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) callnum: i64,
}

impl Session {
    pub(crate) async fn login(hub: &Hub, user: &str, password: &str) -> Self {
        let got = call(hub, "login", vec![user.into(), password.into()]).await.unwrap();
        Self::of(&got.value())
    }

    pub(crate) fn of(granted: &Value) -> Self {
        let key: &str = granted.get(&["session-key"]).unwrap();
        Self { id: granted.get(&["session-id"]).unwrap(), key: key.to_owned(), callnum: 0 }
    }

    pub(crate) fn headers(&self) -> String {
        let (id, key, callnum) = (self.id, &self.key, self.callnum);
        format!("Koji-Session-Id: {id}\r\nKoji-Session-Key: {key}\r\nKoji-Session-Callnum: {callnum}\r\n")
    }

    /// Sends a call under the next number.
    pub(crate) async fn call(&mut self, hub: &Hub, method: &str, params: Vec<Value>) -> Option<Got> {
        self.callnum += 1;
        self.again(hub, method, params).await
    }

    /// Sends a call under the same number as the one before.
    pub(crate) async fn again(&self, hub: &Hub, method: &str, params: Vec<Value>) -> Option<Got> {
        let body = Request::new(method, params).encode().unwrap();
        send(hub, "POST /kojihub HTTP/1.1", &self.headers(), body.as_bytes()).await
    }
}

/// Sends a call of nobody.
pub(crate) async fn call(hub: &Hub, method: &str, params: Vec<Value>) -> Option<Got> {
    let body = Request::new(method, params).encode().unwrap();
    send(hub, "POST /kojihub HTTP/1.1", "", body.as_bytes()).await
}

/// Arguments by name.
pub(crate) fn named<const N: usize>(arguments: [(&str, Value); N]) -> Value {
    Request::new("", vec![]).named(arguments).params.remove(0)
}
