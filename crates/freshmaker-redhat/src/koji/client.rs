use super::config::KojiConfig;
use super::fault::{CallError, Fault};
use super::xmlrpc::{Request, Response, Value};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Call, Http, HttpConfig, Reply, off_runtime};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// Largest number of calls in one multicall. The hub runs all of them in one transaction.
pub(crate) const CHUNK: usize = 100;

/// Largest number of multicalls at the same time. Each holds a process of the hub and its database.
const PARALLEL: usize = 4;

/// Largest number of requests for one multicall whose answer cannot be read as a whole. To isolate
/// one odd call of 100 takes up to 14. A hub of which much more makes no sense is broken itself.
const ASKED_MAX: usize = 64;

/// Calls methods of a hub that need no login.
///
/// ```no_run
/// use freshmaker_redhat::koji::{Client, KojiConfig};
/// use freshmaker_redhat::koji::xmlrpc::Request;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(&KojiConfig::new("https://koji.example.org/kojihub"))?;
/// let target = client.call(&Request::new("getBuildTarget", vec!["f43".into()])).await?;
/// println!("{}", target.get::<&str>(&["dest_tag_name"])?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "brew")]
#[doc(alias = "xmlrpc")]
pub struct Client {
    http: Http,
    config: HttpConfig,
}

impl Client {
    /// Creates a client of this hub. Nothing is sent.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if no request can be sent to one of the URLs, or a
    /// certificate file cannot be used.
    pub fn new(config: &KojiConfig) -> Result<Self> {
        for url in [&config.topurl, &config.weburl].into_iter().flatten() {
            HttpConfig::check_url(url)?;
        }
        Ok(Self { http: Http::new(&config.http)?, config: config.http.clone() })
    }

    /// Calls a method that changes nothing.
    ///
    /// # Errors
    /// [`CallError::Fault`] if the method raised an error, [`CallError::Failed`] if there is no
    /// answer or it cannot be parsed.
    pub async fn call(&self, request: &Request) -> Result<Value, CallError> {
        self.post(&self.config.url, HeaderMap::new(), request, Call::Read).await
    }

    /// Calls many methods that change nothing, in multicalls of up to 100 calls, at most 4 of them
    /// at the same time. The answers are in the order of the calls; each is a value, the fault that
    /// its method raised, or [`Corrupt`](Remedy::Corrupt) if this answer cannot be read.
    ///
    /// If an answer as a whole cannot be read, its calls are asked again in halves, until the odd
    /// ones are alone. So they cost no other call.
    ///
    /// # Errors
    /// If a multicall as a whole fails: there is no answer, or none of its calls has one that can
    /// be read, or more than a few of 100 have none.
    pub async fn multicall(&self, requests: &[Request]) -> Result<Vec<Result<Value, CallError>>> {
        let chunks: Vec<_> = requests.chunks(CHUNK).map(|chunk| self.chunk(chunk)).collect();
        let answers = futures_util::stream::iter(chunks).buffered(PARALLEL);
        Ok(answers.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Makes one multicall, in parts if its answer cannot be read as a whole.
    async fn chunk(&self, chunk: &[Request]) -> Result<Vec<Result<Value, CallError>>> {
        let mut answers = Vec::with_capacity(chunk.len());
        // Parts that are still to be asked for, the next one last.
        let (mut parts, mut asked) = (vec![chunk], 0);
        while let Some(part) = parts.pop() {
            asked += 1;
            match self.part(part).await {
                Ok(read) => answers.extend(read),
                Err(error) if error.remedy != Remedy::Corrupt || chunk.len() == 1 || asked >= ASKED_MAX => {
                    return Err(error);
                }
                Err(error) if part.len() == 1 => answers.push(Err(CallError::Failed(error))),
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        let odd = |answer: &Result<Value, CallError>| matches!(answer, Err(CallError::Failed(_)));
        if answers.len() > 1 && answers.iter().all(odd) {
            return Err(Error::new(Remedy::Corrupt, self.place("multiCall"), "none of the answers can be read"));
        }
        Ok(answers)
    }

    async fn part(&self, part: &[Request]) -> Result<Vec<Result<Value, CallError>>> {
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let calls = part.iter().map(|request| {
            let params = Value::Array(request.params.clone());
            Value::record([("methodName", request.method.as_str().into()), ("params", params)])
        });
        let request = Request::new("multiCall", vec![Value::Array(calls.collect())]);
        let place = self.place(&request.method);
        let corrupt = |text: &dyn std::fmt::Display| Error::new(Remedy::Corrupt, place.as_str(), text);
        let value = self.call(&request).await.map_err(|error| error.into_error(Call::Read, &place))?;
        let Value::Array(items) = value else {
            return Err(corrupt(&format_args!("the answer is {}, not a list", value.kind())));
        };
        if items.len() != part.len() {
            return Err(corrupt(&format_args!("{} answers to {} calls", items.len(), part.len())));
        }
        let answer = |item| match entry(item) {
            Some(answer) => answer.map_err(CallError::Fault),
            None => Err(CallError::Failed(corrupt(&"an entry is no answer"))),
        };
        Ok(items.into_iter().map(answer).collect())
    }

    /// Returns the place of an error: the hub and the method.
    pub(crate) fn place(&self, method: &str) -> String {
        format!("{}: {method}", self.config.url)
    }

    pub(crate) fn url(&self) -> &str {
        &self.config.url
    }

    /// Downloads a file of the hub.
    pub(crate) async fn file(&self, url: &str) -> Result<Vec<u8>> {
        let reply = self.http.send(self.http.request(Method::GET, url), Call::Read, url).await?;
        match reply.status {
            200 => Ok(reply.body),
            404 => Err(Error::new(Remedy::NotFound, url, "there is no such file")),
            status => Err(Error::new(Remedy::Unavailable, url, format_args!("status {status}"))),
        }
    }

    pub(crate) async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        request: &Request,
        call: Call,
    ) -> Result<Value, CallError> {
        let place = self.place(&request.method);
        let body = request.encode().map_err(|error| {
            CallError::Failed(Error::new(Remedy::Rejected, &place, format_args!("the request: {}", error.text)))
        })?;
        let http = self.http.request(Method::POST, url).header(CONTENT_TYPE, "text/xml").headers(headers).body(body);
        let reply = self.http.send(http, call, &place).await.map_err(CallError::Failed)?;
        read(reply, call, &place).await
    }
}

async fn read(reply: Reply, call: Call, place: &str) -> Result<Value, CallError> {
    let failed = |remedy, text: String| CallError::Failed(Error::new(remedy, place, text));
    let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no type").to_owned();
    match reply.status {
        200 => {}
        // The hub, or a proxy in front of it, refused the request before the call was read.
        status @ (300..=399 | 401 | 403 | 404 | 429) => {
            return Err(failed(Remedy::Unavailable, format!("status {status} ({kind})")));
        }
        status @ (400 | 405 | 411 | 413 | 414 | 415) => {
            return Err(failed(Remedy::Rejected, format!("the request is not accepted: status {status}")));
        }
        status => return Err(failed(call.unanswered(), format!("status {status} ({kind})"))),
    }
    if kind.starts_with("text/html") {
        return Err(failed(call.unanswered(), "the answer is an HTML page, not XML-RPC".to_owned()));
    }
    let broken = call.answered_with_nonsense();
    let length = reply.body.len();
    let parsed = off_runtime(length, move || Response::parse(&reply.body)).await;
    match parsed.map_err(|error| failed(broken, error.to_string()))? {
        Ok(Response::Value(value)) => Ok(value),
        Ok(Response::Fault { code, text }) => Err(CallError::Fault(Fault::new(code, &text))),
        Err(error) => Err(failed(broken, error.to_string())),
    }
}

/// Returns one answer of a multicall: a list with one value, or a fault. Returns `None` for
/// anything else.
fn entry(item: Value) -> Option<Result<Value, Fault>> {
    match item {
        Value::Array(mut values) if values.len() == 1 => values.pop().map(Ok),
        Value::Struct(_) => fault_in(&item).map(Err),
        Value::Nil
        | Value::Bool(_)
        | Value::Int(_)
        | Value::BigInt(_)
        | Value::Double(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::DateTime(_)
        | Value::Array(_) => None,
    }
}

/// Returns the fault that a value describes, if it describes one.
pub(crate) fn fault_in(value: &Value) -> Option<Fault> {
    let code = value.get(&["faultCode"]).ok()?;
    Some(Fault::new(code, value.get(&["faultString"]).ok()?))
}
