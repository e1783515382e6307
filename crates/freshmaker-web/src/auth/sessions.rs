//! Sessions of people who have signed in with a token, in a browser.

use super::tokens::{hash, secret};
use super::{Principal, Tokens};
use crate::documents::Store;
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};
use freshmaker::backend::{Clock, Error, NewDocument, Remedy};
use freshmaker::time::later;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

const KIND: &str = "web.session";
const PLACE: &str = "sessions";
const COOKIE: &str = "freshmaker_session";

/// No more sessions are kept; the oldest go.
const SESSIONS_MAX: u32 = 10_000;

/// Sessions: a cookie with 256 random bits, whose hash is the name of a stored row. The row has the
/// id of the token, which is looked up with each request: a token that is revoked ends its
/// sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    store: Store,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    token: String,
    expires_at: DateTime<Utc>,
}

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// What the browser is to send from now on.
    pub(crate) secret: String,
    pub(crate) lifetime: Duration,
}

impl Sessions {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Checks the token, and begins a session for its owner.
    pub(crate) async fn begin(&self, tokens: &Tokens, token: &str, lifetime: Duration) -> Result<Begun, Problem> {
        let token = tokens.verified(token).await?;
        let now = self.clock.now();
        let expires_at = later(now, lifetime).min(token.expires_at);
        let secret = secret()?;
        let body = serde_json::to_value(Row { token: token.id, expires_at })
            .map_err(|error| Error::new(Remedy::Rejected, PLACE, error))?;
        let document = NewDocument {
            expires_at: Some(expires_at),
            keep: Some(SESSIONS_MAX),
            ..NewDocument::new(KIND, hash(&secret), body)
        };
        self.store.put(document).await?;
        Ok(Begun { secret, lifetime: freshmaker::time::since(expires_at, now) })
    }

    /// Finds out who sends a request with these headers; `None` if they have no session.
    ///
    /// # Errors
    /// If they have one that has ended, and those of the storage.
    pub(crate) async fn recognize(&self, tokens: &Tokens, headers: &HeaderMap) -> Result<Option<Principal>, Problem> {
        let Some(secret) = session_of(headers) else { return Ok(None) };
        let ended = || Problem::refused("the session has ended: sign in again");
        let document = self.store.get(KIND, &hash(secret)).await?.ok_or_else(ended)?;
        let row: Row = serde_json::from_value(document.body)
            .map_err(|error| Error::new(Remedy::Corrupt, format!("{PLACE}: {}", document.id), error))?;
        if row.expires_at <= self.clock.now() {
            return Err(ended());
        }
        let (token, _) = tokens.valid(&row.token).await?.ok_or_else(ended)?;
        Ok(Some(token.principal()))
    }

    /// Ends the session of a request, if it has one.
    pub(crate) async fn end(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if let Some(secret) = session_of(headers) {
            self.store.remove(KIND, &hash(secret)).await?;
        }
        Ok(())
    }
}

/// The secret of the session that a browser sends.
pub(crate) fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Makes a browser send this session from now on; an empty one makes it forget what it has.
///
/// Scripts cannot read the cookie, and a page of another site cannot send it with a write.
pub(crate) fn cookie(secret: &str, lifetime: Duration, over_tls_alone: bool) -> HeaderValue {
    let secure = if over_tls_alone { "; Secure" } else { "" };
    let age = lifetime.as_secs();
    let text = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    HeaderValue::from_str(&text).expect("Base64 and numbers are printable ASCII")
}

/// Whether a session goes back over TLS alone: always, but for a host that is this machine.
pub(crate) fn over_tls_alone(headers: &HeaderMap, plain_http: bool) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    !plain_http && !super::network::is_local_name(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::NewToken;
    use freshmaker::Client;
    use freshmaker::memory::MemoryStorage;
    use freshmaker_testing::world::TokioClock;

    fn sessions() -> (Sessions, Tokens, Arc<TokioClock>) {
        let clock = Arc::new(TokioClock::new());
        let store = Store::new(Client::new(Arc::new(MemoryStorage::new().with_clock(clock.clone()))));
        (Sessions::new(store.clone(), clock.clone()), Tokens::kept(store, clock.clone()), clock)
    }

    fn sent(secret: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, format!("theme=dark; {COOKIE}={secret}").parse().unwrap())])
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_time_and_with_its_token() {
        let (sessions, tokens, clock) = sessions();
        let issued = tokens.issue(NewToken::new("alice", [], 3 * HOUR), "test").await.unwrap();
        let begun = sessions.begin(&tokens, &issued.token, HOUR).await.unwrap();
        let known = sessions.recognize(&tokens, &sent(&begun.secret)).await.unwrap().unwrap();
        assert_eq!(known.name, "token:alice");
        assert_eq!(sessions.recognize(&tokens, &HeaderMap::new()).await.unwrap(), None);
        clock.set_forward(HOUR);
        assert!(sessions.recognize(&tokens, &sent(&begun.secret)).await.unwrap_err().refused);
        let second = sessions.begin(&tokens, &issued.token, 10 * HOUR).await.unwrap();
        assert_eq!(second.lifetime, 2 * HOUR, "not longer than its token");
        tokens.revoke(&issued.info.id).await.unwrap();
        assert!(sessions.recognize(&tokens, &sent(&second.secret)).await.unwrap_err().refused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_left_is_refused_and_its_secret_is_not_stored() {
        let (sessions, tokens, _) = sessions();
        let issued = tokens.issue(NewToken::new("alice", [], HOUR), "test").await.unwrap();
        let begun = sessions.begin(&tokens, &issued.token, HOUR).await.unwrap();
        let stored = format!("{:?}", sessions.store.list(KIND, None, 10).await.unwrap());
        assert!(!stored.contains(&begun.secret) && stored.contains(&hash(&begun.secret)), "{stored}");
        sessions.end(&sent(&begun.secret)).await.unwrap();
        assert!(sessions.recognize(&tokens, &sent(&begun.secret)).await.unwrap_err().refused);
        for wrong in ["", "x", &issued.token] {
            assert!(sessions.recognize(&tokens, &sent(wrong)).await.unwrap_err().refused, "{wrong}");
        }
        assert!(sessions.begin(&tokens, "fmt_wrong", HOUR).await.unwrap_err().refused);
    }

    #[test]
    fn cookies_are_for_servers_alone() {
        let text = cookie("abc", HOUR, true);
        assert_eq!(text, "freshmaker_session=abc; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure");
        let host = |name: &str| HeaderMap::from_iter([(header::HOST, name.parse().unwrap())]);
        for (name, alone) in
            [("localhost:80", false), ("127.0.0.1:8080", false), ("[::1]:80", false), ("a.example", true)]
        {
            assert_eq!(over_tls_alone(&host(name), false), alone, "{name}");
        }
        assert!(!over_tls_alone(&host("a.example"), true));
    }
}
