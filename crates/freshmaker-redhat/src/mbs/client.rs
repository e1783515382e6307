use super::record::{self, ModuleBuild};
use super::{MbsConfig, MbsLogin};
use crate::rest::field::{Read, collect};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Bearer, Call, Http, Negotiate, Reply, authorization, check_kerberos, of_system, off_runtime};
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::sync::Arc;

/// In front of all paths. Version 2 tells all builds that a submission has made; version 1 tells
/// the first.
const BASE: &str = "/module-build-service/2";
/// Number of items on a page of a list.
const PAGE_ITEMS: usize = 100;
/// Largest number of pages of one list.
const PAGES_MAX: usize = 50;

/// Checks what can be checked without the network.
pub(super) fn check_offline(config: &MbsConfig) -> Result<()> {
    Client::new(config)?.bearer.token("mbs").map_err(|error| error.with_remedy(Remedy::Unsupported))?;
    match config.login {
        MbsLogin::Kerberos => check_kerberos(&config.kerberos),
        MbsLogin::None | MbsLogin::Token(_) | MbsLogin::TokenFile(_) => Ok(()),
    }
}

/// The calls of the service.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    url: String,
    kerberos: bool,
    bearer: Bearer,
    negotiate: Arc<dyn Negotiate>,
}

impl Client {
    pub(super) fn new(config: &MbsConfig) -> Result<Self> {
        let bearer = match &config.login {
            MbsLogin::None | MbsLogin::Kerberos => Bearer::None,
            MbsLogin::Token(token) => Bearer::Given(token.clone()),
            MbsLogin::TokenFile(path) => Bearer::file(path),
        };
        Ok(Self {
            http: Http::new(&config.http)?,
            url: config.http.url.clone(),
            kerberos: config.login == MbsLogin::Kerberos,
            bearer,
            negotiate: of_system(config.kerberos.clone()),
        })
    }

    pub(super) fn with_negotiate(self, negotiate: Arc<dyn Negotiate>) -> Self {
        Self { negotiate, ..self }
    }

    /// Submits, and returns all builds that answer: new ones, resumed ones, and those that the
    /// service had before.
    pub(super) async fn submit(&self, body: &Value) -> Result<Vec<ModuleBuild>> {
        let place = format!("mbs: POST {BASE}/module-builds/");
        let reply = self.ask(Method::POST, "/module-builds/", &[], Some(body), &place).await?;
        let reply = expect(reply, Call::Write, &place).map_err(|error| match error.remedy {
            // A wrong address must not make builds fail: asked again until it is corrected.
            Remedy::NotFound => error.with_remedy(Remedy::Unavailable),
            _ => error,
        })?;
        read(reply, Call::Write, &place, |answer| collect(answer, record::build)).await
    }

    /// Asks for the end of a build.
    pub(super) async fn cancel(&self, id: u64) -> Result<()> {
        let place = format!("mbs: PATCH {BASE}/module-builds/{id}");
        let body = json!({ "state": "failed" });
        let reply = self.ask(Method::PATCH, &format!("/module-builds/{id}"), &[], Some(&body), &place).await?;
        expect(reply, Call::Write, &place).map(drop)
    }

    /// Returns a build; with what `more` reads of its long form.
    pub(super) async fn build<T: Send>(&self, id: u64, more: fn(&Value) -> Read<T>) -> Result<(ModuleBuild, T)> {
        let place = format!("mbs: GET {BASE}/module-builds/{id}");
        let query = [("verbose", "true")];
        let reply = self.ask(Method::GET, &format!("/module-builds/{id}"), &query, None, &place).await?;
        let found = read(expect(reply, Call::Read, &place)?, Call::Read, &place, |answer| {
            Ok((record::build(answer)?, more(answer)?))
        });
        match found.await? {
            (build, more) if build.id == id => Ok((build, more)),
            (build, _) => {
                Err(Error::new(Remedy::Corrupt, place, format!("the answer is about the build {}", build.id)))
            }
        }
    }

    /// Returns all module builds for which this holds, newest first.
    pub(super) async fn builds(&self, filter: &[(&str, &str)]) -> Result<Vec<ModuleBuild>> {
        self.list("/module-builds/", filter, record::build).await
    }

    /// Returns the numbers of the module builds that have a component build of this package.
    pub(super) async fn builds_with(&self, package: &str) -> Result<Vec<u64>> {
        self.list("/component-builds/", &[("package", package), ("format", "rpms")], record::module_of).await
    }

    async fn list<T: Send>(&self, path: &str, filter: &[(&str, &str)], item: fn(&Value) -> Read<T>) -> Result<Vec<T>> {
        let place = format!("mbs: GET {BASE}{path}");
        let mut found = Vec::new();
        for page in 1..=PAGES_MAX {
            let (page, items) = (page.to_string(), PAGE_ITEMS.to_string());
            let mut query = vec![("order_desc_by", "id"), ("per_page", &items), ("page", &page)];
            query.extend_from_slice(filter);
            let reply = self.ask(Method::GET, path, &query, None, &place).await?;
            let reply = expect(reply, Call::Read, &place)?;
            let (items, more) = read(reply, Call::Read, &place, move |answer| record::page(answer, item)).await?;
            found.extend(items);
            if !more {
                return Ok(found);
            }
        }
        let text = format!("there are more than {} items, which is the most that is read", PAGES_MAX * PAGE_ITEMS);
        Err(Error::new(Remedy::Rejected, place, text))
    }

    /// Returns the login that the service says it requires, and its version.
    pub(super) async fn about(&self) -> Result<Value> {
        let place = format!("mbs: GET {BASE}/about/");
        let reply = self.ask(Method::GET, "/about/", &[], None, &place).await?;
        read(expect(reply, Call::Read, &place)?, Call::Read, &place, |answer| Ok(answer.clone())).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        place: &str,
    ) -> Result<Reply> {
        let read_only = method == Method::GET;
        let call = if read_only { Call::Read } else { Call::Write };
        let url = Url::parse_with_params(&format!("{}{BASE}{path}", self.url), query)
            .map_err(|error| Error::new(Remedy::Unsupported, place, error))?;
        let mut request = self.http.request(method, url.as_str().trim_end_matches('?'));
        // Everyone may read.
        if !read_only && let Some(token) = self.bearer.token("mbs")? {
            request = request.bearer_auth(token.expose());
        }
        if !read_only && self.kerberos {
            request = request.header(AUTHORIZATION, authorization(Arc::clone(&self.negotiate), &self.url).await?);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = self.http.send(request, call, place).await?;
        if reply.status == 401 {
            self.bearer.refused();
        }
        Ok(reply)
    }
}

/// Returns the answer if its status is a success. Other statuses mean:
///
/// * 400, 422: the service refused the request definitely: its form, or the metadata of the module.
/// * 401: nothing was done. A login that does not work says nothing about what is built.
/// * 403: the user may not do this, or not from this repository, until a list of the server is
///   changed. Builds wait a day for that, then fail with the server's text.
/// * 409: the service has a build of this commit, which does not count as failed.
/// * 429: too many requests. 503: the answer of a proxy that cannot reach the service.
/// * Other 5xx can follow an effect: a build is stored before others are informed of it.
fn expect(reply: Reply, call: Call, place: &str) -> Result<Reply> {
    let remedy = match reply.status {
        200..=299 => return Ok(reply),
        300..=399 | 401 | 503 => Remedy::Unavailable,
        403 | 429 => Remedy::NotNow,
        404 => Remedy::NotFound,
        409 => Remedy::Conflict,
        408 | 500..=599 => call.unanswered(),
        400..=499 => Remedy::Rejected,
        _ => call.answered_with_nonsense(),
    };
    let said = serde_json::from_slice::<Value>(&reply.body).ok();
    let said = said.as_ref().and_then(|said| said["message"].as_str());
    let header = |name| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let mut text = match (said, header("location")) {
        (Some(said), _) => format!("status {}: {said}", reply.status),
        (None, Some(to)) => format!("status {}: redirected to {to}", reply.status),
        (None, None) => format!("status {}, not in the format of the service", reply.status),
    };
    if let Some(after) = header("retry-after") {
        text.push_str(&format!(" (Retry-After: {after})"));
    }
    Err(Error::new(remedy, place, text))
}

/// Reads a successful answer. Large ones are read off the runtime.
async fn read<T>(reply: Reply, call: Call, place: &str, read: impl FnOnce(&Value) -> Read<T>) -> Result<T> {
    let (status, bytes) = (reply.status, reply.body.len());
    let nonsense = |text: String| Error::new(call.answered_with_nonsense(), place, text);
    let parsed = off_runtime(bytes, move || serde_json::from_slice::<Value>(&reply.body)).await;
    let parsed = parsed.map_err(|error| Error::new(call.unanswered(), place, error))?;
    let value = parsed.map_err(|error| {
        nonsense(format!("status {status} with an answer of {bytes} bytes that is not JSON: {error}"))
    })?;
    read(&value).map_err(|wrong| nonsense(wrong.to_string()))
}
