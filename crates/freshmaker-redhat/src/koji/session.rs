use super::client::Client;
use super::config::{KojiConfig, KojiLogin};
use super::fault::{CallError, Fault};
use super::xmlrpc::{Mismatch, Request, Value};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker::rebuild::SessionId;
use freshmaker_net::{Call, Negotiate, authorization, of_system};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

/// A session that was not used for longer than this may have expired. It is tested before anything
/// is submitted in it.
const FRESH: Duration = Duration::from_secs(600);

/// A session with a hub. Calls need exclusive access, so they are never concurrent.
pub(crate) struct Session {
    id: i64,
    key: String,
    /// Whether the hub reads the session from headers; older hubs read it from the query.
    by_header: bool,
    /// Number of the next call. The hub refuses lower numbers than the last one, also after a
    /// renewal.
    next: u64,
    used: Instant,
    /// Whether a submission in this session has no clear answer, or none yet. Then nothing else may
    /// be sent in it.
    unclear: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("next", &self.next).finish_non_exhaustive()
    }
}

/// URL and headers of a call in a session.
struct Address {
    url: String,
    headers: HeaderMap,
}

impl Session {
    pub(crate) fn id(&self) -> SessionId {
        SessionId::new(self.id.to_string())
    }

    fn of(answer: &Value) -> Result<Self, Mismatch> {
        Ok(Self {
            id: answer.get(&["session-id"])?,
            key: answer.get::<&str>(&["session-key"])?.to_owned(),
            by_header: answer.get::<Option<bool>>(&["header-auth"])?.unwrap_or(false),
            next: 0,
            used: Instant::now(),
            unclear: false,
        })
    }

    /// Returns the address of the next call in this session, below the hub's URL.
    fn address(&mut self, url: &str) -> Result<Address> {
        let number = self.next;
        self.next += 1;
        self.used = Instant::now();
        let mut headers = HeaderMap::new();
        if self.by_header {
            let mut key = HeaderValue::from_str(&self.key)
                .map_err(|_| Error::new(Remedy::Unavailable, url, "the session key is not a valid header"))?;
            key.set_sensitive(true);
            headers.insert("koji-session-id", HeaderValue::from(self.id));
            headers.insert("koji-session-key", key);
            headers.insert("koji-session-callnum", HeaderValue::from(number));
            return Ok(Address { url: url.to_owned(), headers });
        }
        let mut query = reqwest::Url::parse(url).map_err(|error| Error::new(Remedy::Unsupported, url, error))?;
        query
            .query_pairs_mut()
            .append_pair("session-id", &self.id.to_string())
            .append_pair("session-key", &self.key)
            .append_pair("callnum", &number.to_string());
        Ok(Address { url: query.into(), headers })
    }

    /// Sends one call, once. After anything but a clear answer the session must not be used again.
    pub(crate) async fn call(&mut self, client: &Client, request: &Request, call: Call) -> Result<Value, CallError> {
        let address = self.address(client.url()).map_err(CallError::Failed)?;
        client.post(&address.url, address.headers, request, call).await
    }
}

/// The sessions of one user with one hub.
#[derive(Debug)]
pub(crate) struct Sessions {
    client: Client,
    login: KojiLogin,
    idle_max: usize,
    negotiate: Arc<dyn Negotiate>,
    pool: Mutex<Pool>,
    /// Held while a session is named, so that concurrent callers share newly opened sessions.
    naming: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct Pool {
    /// Sessions that are not in use.
    idle: Vec<Session>,
    /// Sessions that submissions will be made in; the least recently named one is first.
    named: Vec<Named>,
    user: Option<i64>,
}

/// A session whose id was given out. Several callers share it, and a caller may never submit in it
/// without saying so.
#[derive(Debug)]
struct Named {
    id: SessionId,
    /// Number of submissions that the session was named for and that were not made yet.
    waiting: usize,
    /// Locked while a submission is under way in the session.
    session: Arc<AsyncMutex<Session>>,
}

impl Pool {
    /// Returns the session to share, if the largest number of sessions is reached. Prefers the
    /// least recently named session in which no submission is under way, because the callers that
    /// have its id have most likely given up.
    fn shared(&mut self, max: usize) -> Option<&mut Named> {
        self.named.retain(|named| !named.session.try_lock().is_ok_and(|session| session.unclear));
        if self.named.len() < max.max(1) {
            return None;
        }
        let unused = self.named.iter().position(|named| named.session.try_lock().is_ok());
        let shared = self.named.remove(unused.unwrap_or_default());
        self.named.push(shared);
        self.named.last_mut()
    }
}

impl Sessions {
    pub(crate) fn new(client: Client, config: &KojiConfig) -> Self {
        let (login, idle_max) = (config.login.clone(), config.sessions);
        let naming = AsyncMutex::default();
        let negotiate = of_system(config.kerberos.clone());
        Self { client, login, idle_max, negotiate, pool: Mutex::default(), naming }
    }

    pub(crate) fn with_negotiate(mut self, negotiate: Arc<dyn Negotiate>) -> Self {
        self.negotiate = negotiate;
        self
    }

    /// Returns a session that the hub knows, for exclusive use by the caller.
    pub(crate) async fn check_out(&self) -> Result<Session> {
        let idle = self.pool().idle.pop();
        let Some(mut session) = idle else { return self.log_in(None).await };
        if self.is_known(&mut session).await { Ok(session) } else { self.log_in(None).await }
    }

    /// Returns whether the hub still has the session; renews it if it has expired.
    async fn is_known(&self, session: &mut Session) -> bool {
        let asked = Request::new("getLoggedInUser", Vec::new());
        session.used.elapsed() < FRESH || self.read(session, &asked).await.is_ok()
    }

    /// Takes back a session whose last call had a clear answer.
    pub(crate) fn give_back(&self, session: Session) {
        let mut pool = self.pool();
        if pool.idle.len() < self.idle_max {
            pool.idle.push(session);
        }
    }

    /// Returns the id of a session to submit in; the caller may never use it. All ids together
    /// refer to at most `idle_max` sessions (to one if that is 0).
    pub(crate) async fn name(&self) -> Result<SessionId> {
        let _naming = self.naming.lock().await;
        while let Some((id, session)) = self.share() {
            let known = match session.try_lock() {
                Ok(mut session) => self.is_known(&mut session).await,
                // A submission is under way in it, so the hub knew it a moment ago.
                Err(_) => true,
            };
            if known {
                return Ok(id);
            }
            self.forget(&id);
        }
        let session = self.check_out().await?;
        let id = session.id();
        let session = Arc::new(AsyncMutex::new(session));
        self.pool().named.push(Named { id: id.clone(), waiting: 1, session });
        Ok(id)
    }

    /// Returns the session to share, and counts one more submission for it.
    fn share(&self) -> Option<(SessionId, Arc<AsyncMutex<Session>>)> {
        let mut pool = self.pool();
        let named = pool.shared(self.idle_max)?;
        named.waiting += 1;
        Some((named.id.clone(), Arc::clone(&named.session)))
    }

    /// Submits in the session of this id, after the submissions before. If there is no clear
    /// answer, the session is used for nothing else.
    pub(crate) async fn submit(&self, id: &SessionId, request: &Request) -> Result<Value> {
        let place = self.client.place(&request.method);
        let not_sent = || {
            let text = format_args!("the session {id} is not open here: nothing was sent");
            Error::new(Remedy::Unavailable, &place, text)
        };
        let named = self.pool().named.iter().find(|named| named.id == *id).map(|named| Arc::clone(&named.session));
        let named = named.ok_or_else(not_sent)?;
        let mut session = named.lock().await;
        if session.unclear {
            return Err(not_sent());
        }
        // Set before the call, so that it also holds if this future is dropped.
        session.unclear = true;
        let answer = session.call(&self.client, request, Call::Write).await;
        let answer = answer.map_err(|error| error.into_error(Call::Write, &place));
        match &answer {
            Ok(Value::Int(_)) => session.unclear = false,
            Err(error) if matches!(error.remedy, Remedy::Rejected | Remedy::NotNow) => session.unclear = false,
            // An answer that is not the number of a task is unclear, too.
            Ok(_) | Err(_) => {
                self.forget(id);
                return answer;
            }
        }
        drop(session);
        drop(named);
        self.free(id);
        answer
    }

    /// Counts one submission less. A session that no submission is expected for becomes idle.
    pub(crate) fn free(&self, id: &SessionId) {
        let mut pool = self.pool();
        let Some(at) = pool.named.iter().position(|named| named.id == *id) else { return };
        pool.named[at].waiting -= 1;
        if pool.named[at].waiting == 0 {
            let free = pool.named.swap_remove(at).session;
            drop(pool);
            if let Some(free) = Arc::into_inner(free) {
                self.give_back(free.into_inner());
            }
        }
    }

    /// Removes this session, so that no later call uses it.
    pub(crate) fn forget(&self, id: &SessionId) {
        let mut pool = self.pool();
        pool.named.retain(|named| named.id != *id);
        pool.idle.retain(|session| session.id() != *id);
    }

    /// Returns the id of the user that is logged in.
    pub(crate) async fn user(&self) -> Result<i64> {
        let known = self.pool().user;
        if let Some(user) = known {
            return Ok(user);
        }
        let mut session = self.check_out().await?;
        let request = Request::new("getLoggedInUser", Vec::new());
        let place = self.client.place(&request.method);
        let answer = self.read(&mut session, &request).await.map_err(|error| error.into_error(Call::Read, &place))?;
        let user = answer.get(&["id"]).map_err(|error| Error::new(Remedy::Corrupt, place, error))?;
        self.give_back(session);
        self.pool().user = Some(user);
        Ok(user)
    }

    /// Sends a call that changes nothing. If the session has expired, renews it and sends the call
    /// once more. No other call is ever sent twice.
    pub(crate) async fn read(&self, session: &mut Session, request: &Request) -> Result<Value, CallError> {
        match session.call(&self.client, request, Call::Read).await {
            Err(CallError::Fault(fault)) if fault.code == Fault::AUTH_EXPIRED => {}
            answered => return answered,
        }
        let renewed = self.log_in(Some(session)).await.map_err(CallError::Failed)?;
        session.key = renewed.key;
        session.by_header = renewed.by_header;
        session.call(&self.client, request, Call::Read).await
    }

    /// Logs in, or renews a session, which keeps its id and the count of its calls. All errors are
    /// `Unavailable`, or `Unsupported` without a login: nothing was submitted.
    async fn log_in(&self, expired: Option<&mut Session>) -> Result<Session> {
        let renew = expired.is_some();
        let (request, path) = self.login_request(renew)?;
        let url = format!("{}{path}", self.client.url());
        let place = self.client.place(&request.method);
        let mut address = match expired {
            Some(session) => session.address(&url)?,
            None => Address { url: url.clone(), headers: HeaderMap::new() },
        };
        if self.login == KojiLogin::Kerberos {
            let header = authorization(Arc::clone(&self.negotiate), &url).await?;
            address.headers.insert(AUTHORIZATION, header);
        }
        let answer = self.client.post(&address.url, address.headers, &request, Call::Read).await;
        let unavailable = |text: &dyn fmt::Display| Error::new(Remedy::Unavailable, &place, text);
        let answer = answer.map_err(|error| match error {
            CallError::Fault(fault) => unavailable(&fault),
            CallError::Failed(error) => unavailable(&error.text),
        })?;
        Session::of(&answer).map_err(|error| unavailable(&error))
    }

    fn login_request(&self, renew: bool) -> Result<(Request, &'static str)> {
        let renewal =
            || if renew { vec![("renew", Value::Bool(true)), ("exclusive", Value::Bool(false))] } else { Vec::new() };
        match &self.login {
            KojiLogin::Password { user, password } => {
                let params = vec![user.as_str().into(), password.expose().into()];
                let named = [("opts", Value::Nil)].into_iter().chain(renewal());
                Ok((Request::new("login", params).named(named), ""))
            }
            KojiLogin::Certificate | KojiLogin::Kerberos => {
                let named = [("proxyuser", Value::Nil)].into_iter().chain(renewal());
                Ok((Request::new("sslLogin", Vec::new()).named(named), "/ssllogin"))
            }
            KojiLogin::Anonymous => {
                Err(Error::new(Remedy::Unsupported, self.client.place("login"), "building needs a configured login"))
            }
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
