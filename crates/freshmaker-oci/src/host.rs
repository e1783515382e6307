//! One registry or mirror: requests with a login, redirections, and pauses that the registry
//! demands.

use crate::auth::{Challenge, Login};
use crate::config::OciConfig;
use crate::status::{expect, retry_after};
use freshmaker::backend::{Clock, Error, Remedy, Result};
use freshmaker_net::{Call, Http, Reply};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, LOCATION};
use reqwest::{Method, Url};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most redirections of one request.
const REDIRECTIONS_MAX: usize = 5;
/// What rustls says of a server that answers without TLS.
const NOT_TLS: &str = "InvalidContentType";
/// The most repositories of a registry whose logins are kept.
const LOGINS_MAX: usize = 4096;

/// A request about one repository.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) repository: &'a str,
    /// What follows `/v2/` and the repository.
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    /// The content that is known already.
    pub(crate) etag: Option<String>,
    pub(crate) bytes_max: usize,
    /// What is stored; `None` for a request that only reads.
    pub(crate) body: Option<Body<'a>>,
}

/// What is stored in a registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    pub(crate) media_type: &'a str,
    pub(crate) bytes: &'a [u8],
}

impl Ask<'_> {
    /// What a login must allow.
    pub(crate) fn actions(&self) -> &'static str {
        if self.body.is_some() { "pull,push" } else { "pull" }
    }
}

/// The login that is used for a repository, to read or to write. The number grows with each new
/// one.
#[derive(Debug, Default)]
struct Slot {
    login: Option<Login>,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Host {
    /// The name in references and configurations.
    pub(crate) name: String,
    pub(crate) http: Http,
    pub(crate) config: Arc<OciConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    url: String,
    logins: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
    /// Until when the registry wants to be left alone, by the clock's `elapsed`.
    quiet_until: Mutex<Duration>,
}

impl Host {
    pub(crate) fn new(name: &str, config: &Arc<OciConfig>, clock: &Arc<dyn Clock>) -> Result<Self> {
        let http = config.http(name);
        Ok(Self {
            name: name.to_owned(),
            http: Http::new(&http)?,
            config: Arc::clone(config),
            clock: Arc::clone(clock),
            url: http.url,
            logins: Mutex::default(),
            quiet_until: Mutex::default(),
        })
    }

    /// Whether the registry is configured to be reached without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http"))
    }

    /// The URL of what is asked for.
    pub(crate) fn url(&self, repository: &str, path: &str) -> String {
        format!("{}/v2/{repository}/{path}", self.url)
    }

    /// What errors call a request.
    pub(crate) fn place(&self, ask: &Ask<'_>) -> String {
        let Ask { method, repository, path, .. } = ask;
        format!("oci: {method} {}/v2/{repository}/{path}", self.name)
    }

    /// Sends a request; logs in if the registry demands it.
    ///
    /// # Errors
    /// As the status says, see [`expect`].
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Reply> {
        let place = self.place(ask);
        self.check_pause(&place)?;
        let slot = self.slot(format!("{} {}", ask.repository, ask.actions()));
        let (login, number) = {
            let slot = slot.lock().await;
            (slot.login.clone().filter(|login| login.is_valid(&*self.clock)), slot.number)
        };
        let reply = self.send(ask, login.as_ref(), &place).await?;
        let challenge = if reply.status == 401 { Challenge::of(&reply.headers) } else { None };
        let Some(challenge) = challenge else { return self.done(reply, &place) };
        let login = {
            // One login at a time for a repository: requests that waited use the login of the
            // first.
            let mut slot = slot.lock().await;
            if slot.number == number {
                slot.login = None;
                slot.login = self.log_in(&challenge, ask).await?;
                slot.number += 1;
            }
            slot.login.clone()
        };
        match login {
            None => self.done(reply, &place),
            Some(login) => {
                let reply = self.send(ask, Some(&login), &place).await?;
                if reply.status == 401 {
                    slot.lock().await.login = None;
                }
                self.done(reply, &place)
            }
        }
    }

    /// Returns the login for a repository and what is to be done with it.
    fn slot(&self, key: String) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if logins.len() >= LOGINS_MAX && !logins.contains_key(&key) {
            logins.clear();
        }
        Arc::clone(logins.entry(key).or_default())
    }

    fn check_pause(&self, place: &str) -> Result<()> {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        match until.checked_sub(self.clock.elapsed()) {
            Some(left) if !left.is_zero() => {
                let seconds = left.as_secs_f64().ceil();
                let text = format!("not asked: the registry wants to be left alone for another {seconds} s");
                Err(Error::new(Remedy::NotNow, place, text))
            }
            _ => Ok(()),
        }
    }

    fn done(&self, reply: Reply, place: &str) -> Result<Reply> {
        let now = self.clock.now();
        if matches!(reply.status, 429 | 503)
            && let Some(pause) = retry_after(&reply, now)
        {
            let until = self.clock.elapsed() + pause;
            let mut quiet_until = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
            *quiet_until = until.max(*quiet_until);
        }
        expect(reply, place, now)
    }

    /// Sends a request, and follows redirections: registries keep blobs elsewhere. Another server
    /// does not get the login.
    async fn send(&self, ask: &Ask<'_>, login: Option<&Login>, place: &str) -> Result<Reply> {
        let failed = |remedy, text: String| Error::new(remedy, place, text);
        let http = self.http.bounded(ask.bytes_max, Remedy::Rejected);
        let url = self.url(ask.repository, ask.path);
        let first = Url::parse(&url).map_err(|error| failed(Remedy::Unsupported, error.to_string()))?;
        let mut url = first.clone();
        for _ in 0..=REDIRECTIONS_MAX {
            // Compressed by the connection, content would not have the digest that it is named by.
            let mut request = http.request(ask.method.clone(), url.as_str()).header(ACCEPT_ENCODING, "identity");
            request = request.header(ACCEPT, ask.accept);
            if let Some(etag) = &ask.etag {
                request = request.header(IF_NONE_MATCH, etag);
            }
            if let Some(login) = login.filter(|_| url.origin() == first.origin()) {
                request = request.header(AUTHORIZATION, login.header());
            }
            if let Some(body) = &ask.body {
                request = request.header(CONTENT_TYPE, body.media_type).body(body.bytes.to_vec());
            }
            // The same content under the same name is the same twice, so it may be stored again.
            let reply = http.send(request, Call::Read, place).await.map_err(explained)?;
            let to = reply.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            let (301 | 302 | 303 | 307 | 308, Some(to)) = (reply.status, to) else { return Ok(reply) };
            // The address may contain a signature, so it is not shown.
            let next = url.join(to).map_err(|error| failed(Remedy::Corrupt, format!("redirected: {error}")))?;
            if next.scheme() != "https" && !(next.scheme() == "http" && self.is_plain()) {
                let host = next.host_str().unwrap_or_default();
                return Err(failed(Remedy::Unsupported, format!("redirected to {host} without TLS")));
            }
            url = next;
        }
        Err(failed(Remedy::Corrupt, format!("more than {REDIRECTIONS_MAX} redirections")))
    }
}

/// Says what can be done if an answer is not one of TLS.
fn explained(mut error: Error) -> Error {
    if error.text.contains(NOT_TLS) {
        error.text.push_str("; the registry has no TLS, which has to be allowed: `plain_http`");
    }
    error
}
