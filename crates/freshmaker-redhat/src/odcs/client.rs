use super::record::ComposeRecord;
use super::{OdcsConfig, OdcsLogin};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Bearer, Call, Http, Negotiate, Reply, authorization, check_kerberos, of_system};
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// Number of composes on a page of the list.
const PAGE_ITEMS: usize = 100;
/// Largest number of pages that a lookup reads. It reads back to shortly before its request was
/// sent, so this bounds the composes of that time to 20,000.
const PAGES_MAX: usize = 200;

/// A server's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct About {
    /// Version of the server.
    #[serde(default)]
    pub version: String,
    /// The login that the server requires: `noauth`, `kerberos`, `openidc`, `ssl`,
    /// `kerberos_or_ssl` or `oidc_or_kerberos`.
    #[serde(default)]
    pub auth_backend: String,
    /// Keys that packages of a compose are signed with, unless its request names others.
    #[serde(default)]
    pub sigkeys: Vec<String>,
}

/// The body of an error of the service.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    meta: Meta,
}

/// A compose whose description makes no sense. It concerns nothing but this compose.
#[derive(Debug)]
pub(super) struct Odd {
    pub(super) id: Option<u64>,
    pub(super) label: Option<String>,
    pub(super) reason: String,
}

impl Odd {
    /// Returns an error about the whole request.
    pub(super) fn into_error(self, place: &str) -> Error {
        let id = self.id.map(|id| format!("compose {id}: ")).unwrap_or_default();
        Error::new(Remedy::Corrupt, place, format!("{id}{}", self.reason))
    }
}

fn record(value: Value) -> Result<ComposeRecord, Odd> {
    let (id, label) = (value["id"].as_u64(), value["label"].as_str().map(str::to_owned));
    serde_json::from_value(value).map_err(|error| Odd { id, label, reason: error.to_string() })
}

#[derive(Deserialize)]
struct Meta {
    next: Option<String>,
}

/// Makes a client, reads the token file, and loads what a login by Kerberos needs.
pub(super) fn check_offline(config: &OdcsConfig) -> Result<()> {
    Client::new(config)?.bearer.token("odcs").map_err(|error| error.with_remedy(Remedy::Unsupported))?;
    match config.login {
        OdcsLogin::Kerberos => check_kerberos(&config.kerberos),
        OdcsLogin::None | OdcsLogin::Token(_) | OdcsLogin::TokenFile(_) => Ok(()),
    }
}

/// The calls of the service, one method for each.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    url: String,
    kerberos: bool,
    bearer: Bearer,
    negotiate: Arc<dyn Negotiate>,
}

impl Client {
    pub(super) fn new(config: &OdcsConfig) -> Result<Self> {
        let (http, url) = (Http::new(&config.http)?, config.http.url.clone());
        let negotiate = of_system(config.kerberos.clone());
        let bearer = match &config.login {
            OdcsLogin::None | OdcsLogin::Kerberos => Bearer::None,
            OdcsLogin::Token(token) => Bearer::Given(token.clone()),
            OdcsLogin::TokenFile(path) => Bearer::file(path),
        };
        Ok(Self { http, url, kerberos: config.login == OdcsLogin::Kerberos, bearer, negotiate })
    }

    pub(super) fn with_negotiate(self, negotiate: Arc<dyn Negotiate>) -> Self {
        Self { negotiate, ..self }
    }

    pub(super) async fn about(&self) -> Result<About> {
        const PLACE: &str = "odcs: GET /api/1/about/";
        let reply = self.ask(Method::GET, "about/", &[], None, PLACE).await?;
        read(&expect(reply, Call::Read, PLACE)?, Call::Read, PLACE)
    }

    pub(super) async fn get(&self, id: u64) -> Result<ComposeRecord> {
        let place = format!("odcs: GET /api/1/composes/{id}");
        self.look(id).await?.map_err(|odd| odd.into_error(&place))
    }

    /// Returns a compose, or why its description makes no sense.
    ///
    /// # Errors
    /// If the request fails, or its answer is not about this compose.
    pub(super) async fn look(&self, id: u64) -> Result<Result<ComposeRecord, Odd>> {
        let answer = self.described(id).await?;
        let place = format!("odcs: GET /api/1/composes/{id}");
        Self::about_compose(id, answer).map_err(|about| Error::new(Remedy::Corrupt, place, about))
    }

    /// Returns what the service says about a compose, whatever it is.
    pub(super) async fn described(&self, id: u64) -> Result<Value> {
        let place = format!("odcs: GET /api/1/composes/{id}");
        let reply = self.ask(Method::GET, &format!("composes/{id}"), &[], None, &place).await?;
        read(&expect(reply, Call::Read, &place)?, Call::Read, &place)
    }

    /// Reads a description of a compose; a sentence if it is about another one.
    pub(super) fn about_compose(id: u64, answer: Value) -> Result<Result<ComposeRecord, Odd>, String> {
        match answer["id"].as_u64() {
            Some(found) if found == id => Ok(record(answer)),
            Some(found) => Err(format!("the answer is about compose {found}")),
            None => Err("the answer is about no compose".to_owned()),
        }
    }

    pub(super) async fn post(&self, body: &Value) -> Result<ComposeRecord> {
        const PLACE: &str = "odcs: POST /api/1/composes/";
        let reply = self.ask(Method::POST, "composes/", &[], Some(body), PLACE).await?;
        let reply = expect(reply, Call::Write, PLACE).map_err(|error| match error.remedy {
            // A wrong address must not make builds fail: retry until the configuration is
            // corrected.
            Remedy::NotFound => error.with_remedy(Remedy::Unavailable),
            _ => error,
        })?;
        read(&reply, Call::Write, PLACE)
    }

    /// Extends the lifetime of a compose, or makes an equal one if it is gone.
    pub(super) async fn patch(&self, id: u64, body: &Value) -> Result<ComposeRecord> {
        let place = format!("odcs: PATCH /api/1/composes/{id}");
        let reply = self.ask(Method::PATCH, &format!("composes/{id}"), &[], Some(body), &place).await?;
        read(&expect(reply, Call::Write, &place)?, Call::Write, &place)
    }

    pub(super) async fn delete(&self, id: u64) -> Result<()> {
        let place = format!("odcs: DELETE /api/1/composes/{id}");
        let reply = self.ask(Method::DELETE, &format!("composes/{id}"), &[], None, &place).await?;
        expect(reply, Call::Write, &place).map(drop)
    }

    /// Returns composes with these properties, newest first, up to the first one for which `wanted`
    /// is false. Composes that are created meanwhile move others to later pages, so none is missed,
    /// but some may be returned twice. Those whose description makes no sense are returned apart.
    pub(super) async fn list(
        &self,
        filter: &[(&str, &str)],
        mut wanted: impl FnMut(&ComposeRecord) -> bool,
    ) -> Result<(Vec<ComposeRecord>, Vec<Odd>)> {
        const PLACE: &str = "odcs: GET /api/1/composes/";
        let (mut found, mut odd) = (Vec::new(), Vec::new());
        for page in 1..=PAGES_MAX {
            let (page, items) = (page.to_string(), PAGE_ITEMS.to_string());
            let mut query = vec![("order_by", "-id"), ("per_page", &items), ("page", &page)];
            query.extend_from_slice(filter);
            let reply = self.ask(Method::GET, "composes/", &query, None, PLACE).await?;
            let read: Page = read(&expect(reply, Call::Read, PLACE)?, Call::Read, PLACE)?;
            for item in read.items {
                match record(item) {
                    Ok(record) if !wanted(&record) => return Ok((found, odd)),
                    Ok(record) => found.push(record),
                    Err(item) => odd.push(item),
                }
            }
            if read.meta.next.is_none() {
                return Ok((found, odd));
            }
        }
        let text = format!("more than {} composes since the request was sent", PAGES_MAX * PAGE_ITEMS);
        Err(Error::new(Remedy::Unavailable, PLACE, text))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        place: &str,
    ) -> Result<Reply> {
        let call = if method == Method::GET { Call::Read } else { Call::Write };
        let url = Url::parse_with_params(&format!("{}/api/1/{path}", self.url), query)
            .map_err(|error| Error::new(Remedy::Unsupported, place, error))?;
        let mut request = self.http.request(method, url.as_str().trim_end_matches('?'));
        if let Some(token) = self.bearer.token("odcs")? {
            request = request.bearer_auth(token.expose());
        }
        if self.kerberos {
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
/// * 400: the server refused the request definitely.
/// * 401: nothing was done. A login that does not work says nothing about what is built, so builds
///   wait until it does.
/// * 403: the user may not do this until a role or a list of the server is changed. Builds wait a
///   day for that, then fail with the server's text.
/// * 429: too many requests. 503: the answer of a proxy that cannot reach the service.
/// * Other 5xx can follow an effect: the service answers 500 if it has stored a compose and then
///   cannot reach its own queue.
fn expect(reply: Reply, call: Call, place: &str) -> Result<Reply> {
    let remedy = match (reply.status, call) {
        (200..=299, _) => return Ok(reply),
        (300..=399 | 401 | 503, _) => Remedy::Unavailable,
        (403 | 429, _) => Remedy::NotNow,
        (404, _) => Remedy::NotFound,
        // The service answers an unknown path with a 404 inside of a 500.
        (500, Call::Read) if message(&reply).is_some_and(|text| text.starts_with("404 Not Found")) => Remedy::NotFound,
        (408 | 500..=599, _) => call.unanswered(),
        (400..=499, _) => Remedy::Rejected,
        (_, _) => call.answered_with_nonsense(),
    };
    let text = match message(&reply) {
        Some(text) => format!("status {}: {text}", reply.status),
        None => match reply.headers.get("location").and_then(|to| to.to_str().ok()) {
            Some(to) => format!("status {}: redirected to {to}", reply.status),
            None => format!("status {}, not in the format of the service", reply.status),
        },
    };
    Err(Error::new(remedy, place, text))
}

fn message(reply: &Reply) -> Option<String> {
    serde_json::from_slice::<Refusal>(&reply.body).ok().map(|refusal| refusal.message)
}

fn read<T: DeserializeOwned>(reply: &Reply, call: Call, place: &str) -> Result<T> {
    serde_json::from_slice(&reply.body).map_err(|error| {
        let text = format!(
            "status {} with an answer of {} bytes that cannot be parsed: {error}",
            reply.status,
            reply.body.len()
        );
        Error::new(call.answered_with_nonsense(), place, text)
    })
}
