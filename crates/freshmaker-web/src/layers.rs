//! The layers that a request passes before its handler, from the outside in: compression,
//! [`answer`] (request id, security headers, problems as bodies, counting), panics, the time limit,
//! cross-site requests, [`admit`] (bounds, login, rate), the body's bounds, and for each route
//! [`guard`].

use crate::auth::{Allowed, Caller, Network, SecretHash};
use crate::extract;
use crate::page::Reader;
use crate::problem::{self, PROBLEM_JSON, Problem, ProblemCode};
use crate::serve::Ending;
use crate::web::Web;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, OriginalUri, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::csrf::CsrfLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::{RequestBodyDeadlineLayer, TimeoutLayer};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Nothing may be loaded by what is answered. Answers that need more say so themselves.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Puts the layers around routes.
pub(crate) fn around(web: &Web, routes: Router) -> Router {
    let limits = &web.config().limits;
    let mut csrf = CsrfLayer::new();
    for origin in &web.config().access.origins {
        // `Config::check` refuses what is no origin; without it, such an origin is not trusted.
        csrf = csrf.clone().add_trusted_origin(origin).unwrap_or(csrf);
    }
    routes
        .fallback(|| async { problem::of_status(StatusCode::NOT_FOUND) })
        .layer(RequestBodyDeadlineLayer::new(limits.body_timeout))
        .layer(RequestBodyLimitLayer::new(limits.body_bytes))
        .layer(from_fn_with_state(web.clone(), admit))
        .layer(csrf)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.timeout))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(web.clone(), answer))
        .layer(CompressionLayer::new().compress_when(compressed()))
        .layer(from_fn(compress_reads_alone))
}

/// What is compressed. Problems are not: who serves routes of their own may put them into another
/// form.
fn compressed() -> impl Predicate {
    DefaultPredicate::new().and(NotForContentType::const_new("application/problem+json"))
}

/// Lets only what is read be compressed: the layer answers a request that takes no encoding at all
/// with 406, which must not happen to a write that was made. Streams of changes and answers of less
/// than 32 bytes are never compressed.
async fn compress_reads_alone(mut request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    next.run(request).await
}

#[expect(clippy::needless_pass_by_value, reason = "the layer passes it so")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    tracing::error!(panic = text.unwrap_or("of another type"), "a handler panicked");
    problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

/// The id that a client gave to its request, if it can be used.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(usable)).then(|| text.to_owned())
}

/// The id of a request, between the layers.
#[derive(Clone, Debug)]
struct RequestId(String);

async fn answer(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let began = web.elapsed();
    let id = given_id(request.headers()).unwrap_or_else(|| format!("{:032x}", fastrand::u128(..)));
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let (method, base) = (request.method().clone(), base_of(&request));
    let reader = web.pages().reader(&web, &request);
    let mut response = next.run(request).await;
    told_as_problem(&mut response, &base, &id, reader);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-cache, private"),
        (header::VARY, "authorization"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    let elapsed = web.elapsed().saturating_sub(began);
    web.counters().answered(route.as_deref(), &method, response.status(), elapsed);
    response
}

/// The path below which the router was nested.
fn base_of(request: &Request) -> String {
    let original = request.extensions().get::<OriginalUri>().map_or("", |uri| uri.0.path());
    original.strip_suffix(request.uri().path()).unwrap_or_default().to_owned()
}

/// Writes the body of an answer that is a problem, or nothing but a status.
fn told_as_problem(response: &mut Response, base: &str, id: &str, reader: Option<Reader>) {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return;
    }
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // A route of the embedding service has described the error in a form of its own.
        None if is_of_route(response.headers()) => return,
        None => {
            let problem = problem::of_status(status);
            *response.status_mut() = problem.code.status();
            if let Some(value) = problem.clone().into_response().headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, value.clone());
            }
            problem
        }
    };
    if let Some(cause) = &problem.cause {
        tracing::warn!(request_id = id, cause, "a request could not be met");
    }
    response.headers_mut().remove(header::CONTENT_LENGTH);
    if let Some(reader) = reader {
        reader.tell(response, &problem, id);
        return;
    }
    *response.body_mut() = Body::from(problem.body(base, Some(id.to_owned())));
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
}

fn is_of_route(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    ["application/", "text/html"].iter().any(|start| kind.starts_with(start))
}

/// Lets a request in: its bounds, who sends it, and how often.
async fn admit(State(web): State<Web>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admitted(&web, &parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn admitted(web: &Web, request: &Parts) -> Result<Caller, Problem> {
    bounded(web, request)?;
    let host = host_of(request)?;
    let (config, headers) = (web.config(), &request.headers);
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let proxy = config.authentication.proxy.as_ref().filter(|proxy| proxy.is_trusted(peer));
    let address = proxy.and_then(|proxy| proxy.client(headers)).or(peer);
    let request_id = request.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let mut caller = Caller { principal: None, address, request_id };
    let (secret, now) = (SecretHash::of(headers), web.elapsed());
    if secret.is_some_and(|secret| !web.accepted().contains(secret, now)) {
        web.may_log_in(&caller)?;
    }
    match web.ask_login(headers, peer, host).await {
        Ok(principal) => {
            secret.filter(|_| principal.is_some()).into_iter().for_each(|secret| web.accepted().insert(secret, now));
            caller.principal = principal;
        }
        Err(problem) => {
            if problem.code.status().is_client_error() {
                secret.into_iter().for_each(|secret| web.accepted().remove(secret));
                web.refuse_login(&caller, request.method.as_str(), request.uri.path(), &problem).await?;
            }
            return Err(problem);
        }
    }
    let key = caller.principal.as_ref().map(|principal| format!("principal {}", principal.name));
    let key = key.unwrap_or_else(|| address_key(address));
    web.requests().take(&key, web.elapsed()).map_err(limited)?;
    Ok(caller)
}

fn limited(wait: Duration) -> Problem {
    Problem::new(ProblemCode::RateLimited, "too many requests").retry_after(wait)
}

impl Web {
    /// Whether the address of a caller may try a secret that was not accepted lately.
    ///
    /// # Errors
    /// 429 if too many of its logins were refused.
    pub(crate) fn may_log_in(&self, caller: &Caller) -> Result<(), Problem> {
        self.refused_logins().peek(&address_key(caller.address), self.elapsed()).map_err(limited)
    }

    /// Notes that a login was refused. The same wrong secret again and again costs the address its
    /// next logins.
    pub(crate) async fn refuse_login(
        &self,
        caller: &Caller,
        method: &str,
        path: &str,
        problem: &Problem,
    ) -> Result<(), Problem> {
        self.refused_logins().take(&address_key(caller.address), self.elapsed()).map_err(limited)?;
        self.audit_refusal(caller, method, path, problem).await;
        Ok(())
    }

    /// Who sends a request, found out within the time limit of the storage.
    async fn ask_login(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        host: Option<&str>,
    ) -> Result<Option<crate::auth::Principal>, Problem> {
        let login = self.authenticators().recognize(self.config(), headers, peer, host);
        self.ask(async { Ok(login.await) }).await?
    }
}

/// Addresses of IPv6 count by their network of 64 bits, of which one host may have all.
fn address_key(address: Option<IpAddr>) -> String {
    match address {
        None => "address unknown".to_owned(),
        Some(IpAddr::V4(address)) => format!("address {address}"),
        Some(IpAddr::V6(address)) if Network::is_loopback(address.into()) => "address loopback".to_owned(),
        Some(IpAddr::V6(address)) => format!("address {:x}", address.to_bits() >> 64),
    }
}

fn bounded(web: &Web, request: &Parts) -> Result<(), Problem> {
    let limits = &web.config().limits;
    let url = request.uri.path_and_query().map_or(0, |url| url.as_str().len());
    if url > limits.url_bytes {
        let text = format!("{url} bytes, at most {}", limits.url_bytes);
        return Err(Problem::new(ProblemCode::UrlTooLong, text));
    }
    let size: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > limits.header_bytes {
        let text = format!("{size} bytes, at most {}", limits.header_bytes);
        return Err(Problem::new(ProblemCode::HeadersTooLarge, text));
    }
    Ok(())
}

/// The host that a request names; links and redirects are made of it.
///
/// # Errors
/// 400 if that is no host, or there are two; also if a request of HTTP/1.1 to
/// [`serve`](crate::serve()) names none (RFC 9112, 3.2).
fn host_of(request: &Parts) -> Result<Option<&str>, Problem> {
    let bad = |text: &str| {
        Err(Problem::new(ProblemCode::BadRequest, "a header cannot be read").parameter(header::HOST.as_str(), text))
    };
    let told = extract::header(&request.headers, &header::HOST)?;
    let target = request.uri.authority().map(|authority| authority.as_str());
    if [told, target].into_iter().flatten().any(|host| !is_host(host)) {
        return bad("it is no host, with or without a port");
    }
    let is_served = request.extensions.get::<Ending>().is_some();
    if told.is_none() && is_served && request.version == Version::HTTP_11 {
        return bad("it is missing");
    }
    Ok(target.or(told))
}

/// The longest name of a host in DNS, with a port.
const HOST_MAX: usize = 253 + ":65535".len();

/// Whether a text is `host` or `host:port`.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let is_port = port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_address = |inner: &str| inner.parse::<Ipv6Addr>().is_ok();
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => is_address(inner),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    text.len() <= HOST_MAX && is_port && is_host
}

/// Lets only those in who are allowed to.
pub(crate) async fn guard(State((web, allowed)): State<(Web, Allowed)>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Problem::new(ProblemCode::Internal, "the route is not behind the layers of this service")
            .into_response();
    };
    match allowed.check(&web.config().access, caller.principal.as_ref()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let reads = matches!(*request.method(), Method::GET | Method::HEAD);
            // A read without a login is answered, and not logged.
            if problem.code != ProblemCode::Unauthenticated || !reads {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                web.audit_refusal(&caller, method.as_str(), &path, &problem).await;
            }
            problem.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in ["localhost", "localhost:8080", "a-b.example", "192.0.2.1:80", "[::1]", "[2001:db8::1]:443", "a:"] {
            assert!(is_host(host), "{host}");
        }
        let long = "a".repeat(300);
        for host in [
            "",
            ":80",
            "evil\"><x",
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:65536",
            "a:+1",
            "[::1",
            "::1",
            "[x]",
            "a?b",
            "a:1:2",
            &long,
        ] {
            assert!(!is_host(host), "{host}");
        }
    }
}
