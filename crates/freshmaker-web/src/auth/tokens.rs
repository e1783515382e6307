use super::{Principal, Role};
use crate::documents::Store;
use crate::problem::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use freshmaker::Client;
use freshmaker::backend::{Clock, Document, Error, NewDocument, Remedy, Result};
use freshmaker::engine::SystemClock;
use freshmaker::time::later;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

const KIND: &str = "web.token";
const PLACE: &str = "tokens";

/// Tokens of programs that use the API: issued, listed, revoked, checked.
///
/// A token is `fmt_`, an id, `_`, and a secret of 256 random bits. It is shown once, when it is
/// issued. The storage has the SHA-256 hash of the secret alone, which is compared in constant
/// time.
///
/// A service issues the first token itself, for example by a command of its own:
///
/// ```
/// use freshmaker::Client;
/// use freshmaker::memory::MemoryStorage;
/// use freshmaker_web::{NewToken, Role, Tokens};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), freshmaker::backend::Error> {
/// let client = Client::new(Arc::new(MemoryStorage::new()));
/// let month = Duration::from_secs(30 * 86_400);
/// let issued = Tokens::new(client).issue(NewToken::new("ci", [Role::ManualRebuilder], month), "the operator").await?;
/// println!("{}", issued.token);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tokens {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// A token to be issued.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Who uses it: 1 to 64 letters, digits, `.`, `_` and `-`. Several tokens may have one name.
    #[schema(example = "ci")]
    pub name: String,
    /// What it may do. Without roles it may read, if everybody who is authenticated may.
    #[schema(value_type = Vec<Role>)]
    pub roles: BTreeSet<Role>,
    /// After how many seconds it ends: at most 366 days.
    #[schema(value_type = u64, example = 2_592_000)]
    #[serde(rename = "lifetime_s", deserialize_with = "seconds")]
    pub lifetime: Duration,
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u32::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.into()))
}

impl NewToken {
    /// No token is valid for longer.
    pub const LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);

    /// Makes a token with a name and roles that ends after this time.
    pub fn new(name: impl Into<String>, roles: impl IntoIterator<Item = Role>, lifetime: Duration) -> Self {
        Self { name: name.into(), roles: roles.into_iter().collect(), lifetime }
    }
}

/// A token that was issued. Its `Debug` form does not have it.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct IssuedToken {
    /// The token. Nobody can read it again.
    pub token: String,
    /// What is known about it.
    pub info: TokenInfo,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What is known about a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct TokenInfo {
    /// Its id, which is no secret.
    pub id: String,
    /// Who uses it.
    pub name: String,
    /// What it may do.
    #[schema(value_type = Vec<Role>)]
    pub roles: BTreeSet<Role>,
    /// Who issued it.
    pub created_by: String,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// As it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    name: String,
    roles: BTreeSet<Role>,
    hash: String,
    created_by: String,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl Row {
    fn read(document: Document) -> Result<(TokenInfo, String)> {
        let row: Self = serde_json::from_value(document.body)
            .map_err(|error| Error::new(Remedy::Corrupt, format!("{PLACE}: {}", document.id), error))?;
        let Self { name, roles, hash, created_by, created_at, expires_at } = row;
        Ok((TokenInfo { id: document.id, name, roles, created_by, created_at, expires_at }, hash))
    }
}

impl Tokens {
    /// How every token begins, so that scanners for secrets find one in the wrong place.
    const PREFIX: &'static str = "fmt_";

    /// Returns the tokens that are in the storage of this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::kept(Store::new(client), Arc::new(SystemClock))
    }

    pub(crate) fn kept(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Issues a token; `by` is the name of who asks for it.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if the name or the lifetime is none,
    /// [`Unavailable`](Remedy::Unavailable) if the system has no random numbers, and those of the
    /// storage.
    pub async fn issue(&self, new: NewToken, by: &str) -> Result<IssuedToken> {
        let NewToken { name, roles, lifetime } = new;
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_name {
            let text = "a name has 1 to 64 letters, digits, '.', '_' and '-'";
            return Err(Error::new(Remedy::Rejected, format!("{PLACE}: name"), text));
        }
        if lifetime.is_zero() || lifetime > NewToken::LIFETIME_MAX {
            return Err(Error::new(Remedy::Rejected, format!("{PLACE}: lifetime_s"), "from 1 second to 366 days"));
        }
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| Error::new(Remedy::Unavailable, PLACE, error))?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let secret = secret()?;
        let created_at = self.clock.now();
        let expires_at = later(created_at, lifetime);
        let (created_by, hash) = (by.to_owned(), hash(&secret));
        let token = format!("{}{id}_{secret}", Self::PREFIX);
        let info = TokenInfo { id, name, roles, created_by, created_at, expires_at };
        let TokenInfo { id, name, roles, created_by, .. } = info.clone();
        let body = serde_json::to_value(Row { name, roles, hash, created_by, created_at, expires_at })
            .map_err(|error| Error::new(Remedy::Rejected, PLACE, error))?;
        let expires_at = Some(expires_at);
        let document = NewDocument { kind: KIND.to_owned(), id, expected: None, body, expires_at, keep: None };
        self.store.put(document).await?;
        Ok(IssuedToken { token, info })
    }

    /// Lists tokens, newest first: at most `limit`, and those older than the one with the number
    /// `before`. Ended ones are not listed. With the number of the last one that was looked at, if
    /// there may be more.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn list(&self, before: Option<i64>, limit: u32) -> Result<(Vec<TokenInfo>, Option<i64>)> {
        let documents = self.store.list(KIND, before, limit).await?;
        let next = documents.last().map(|last| last.number).filter(|_| documents.len() >= limit as usize);
        let now = self.clock.now();
        let read = documents.into_iter().map(|document| Row::read(document).map(|(info, _)| info));
        let read = read.filter(|info| info.as_ref().map_or(true, |info| info.expires_at > now));
        Ok((read.collect::<Result<_>>()?, next))
    }

    /// Revokes a token, from now on, by its id. Returns whether there was one.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn revoke(&self, id: &str) -> Result<bool> {
        self.store.remove(KIND, id).await
    }

    /// Whether a text has the form of a token.
    pub(crate) fn is_ours(token: &str) -> bool {
        token.starts_with(Self::PREFIX)
    }

    /// Finds out whose token it is.
    pub(crate) async fn verify(&self, token: &str) -> Result<Principal, Problem> {
        self.verified(token).await.map(TokenInfo::principal)
    }

    /// What is known about the token with this id, and the hash of its secret, if it is valid.
    pub(super) async fn valid(&self, id: &str) -> Result<Option<(TokenInfo, String)>> {
        let Some(document) = self.store.get(KIND, id).await? else { return Ok(None) };
        Ok(Some(Row::read(document)?).filter(|(info, _)| info.expires_at > self.clock.now()))
    }

    /// Checks a token, and returns what is known about it.
    pub(crate) async fn verified(&self, token: &str) -> Result<TokenInfo, Problem> {
        let parts = token.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once('_'));
        let well_formed = |(id, secret): &(&str, &str)| id.len() == 16 && secret.len() == 43;
        let refused = || Problem::refused("the token is not known, was revoked, or has ended");
        let (id, secret) = parts.filter(well_formed).ok_or_else(refused)?;
        let (info, stored) = self.valid(id).await?.ok_or_else(refused)?;
        let is_right: bool = hash(secret).as_bytes().ct_eq(stored.as_bytes()).into();
        if is_right { Ok(info) } else { Err(refused()) }
    }
}

impl TokenInfo {
    /// Returns the principal that a request with this token has.
    pub(crate) fn principal(self) -> Principal {
        let name = format!("{}{}", Principal::TOKEN, self.name);
        Principal { name, groups: BTreeSet::new(), roles: self.roles }
    }
}

/// 256 random bits, as text.
pub(super) fn secret() -> Result<String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Error::new(Remedy::Unavailable, PLACE, error))?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

pub(super) fn hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker::memory::MemoryStorage;
    use freshmaker_testing::world::TokioClock;

    fn tokens() -> (Tokens, Arc<TokioClock>) {
        let clock = Arc::new(TokioClock::new());
        let client = Client::new(Arc::new(MemoryStorage::new().with_clock(clock.clone())));
        (Tokens::kept(Store::new(client), clock.clone()), clock)
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_token_lives_from_its_issue_to_its_end() {
        let (tokens, clock) = tokens();
        let issued = tokens.issue(NewToken::new("ci", [Role::Admin], HOUR), "alice").await.unwrap();
        let principal = tokens.verify(&issued.token).await.unwrap();
        assert_eq!((principal.name.as_str(), principal.roles.contains(&Role::Admin)), ("token:ci", true));
        assert_eq!(tokens.list(None, 10).await.unwrap().0, std::slice::from_ref(&issued.info));
        clock.set_forward(HOUR - Duration::from_millis(1));
        tokens.verify(&issued.token).await.unwrap();
        clock.set_forward(Duration::from_millis(1));
        assert!(tokens.verify(&issued.token).await.unwrap_err().refused);
        assert!(tokens.list(None, 10).await.unwrap().0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_token_is_refused() {
        let (tokens, _) = tokens();
        let issued = tokens.issue(NewToken::new("ci", [], HOUR), "alice").await.unwrap();
        let other = tokens.issue(NewToken::new("ci", [], HOUR), "alice").await.unwrap();
        assert!(tokens.revoke(&issued.info.id).await.unwrap());
        assert!(!tokens.revoke(&issued.info.id).await.unwrap());
        assert!(tokens.verify(&issued.token).await.unwrap_err().refused);
        tokens.verify(&other.token).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_but_the_token_is_accepted_and_nothing_shows_it() {
        let (tokens, _) = tokens();
        let issued = tokens.issue(NewToken::new("ci", [], HOUR), "alice").await.unwrap();
        let (start, secret) =
            issued.token.rsplit_once('_').map(|(id, secret)| (id.to_owned(), secret.to_owned())).unwrap();
        // The secret may have an underscore itself, but not within the id.
        let secret = issued.token.strip_prefix("fmt_").unwrap().split_once('_').map_or(secret, |(_, s)| s.to_owned());
        let other = tokens.issue(NewToken::new("other", [], HOUR), "alice").await.unwrap();
        let mixed = format!("fmt_{}_{secret}", other.info.id);
        for wrong in [
            "",
            "fmt_",
            "fmt__",
            &issued.token[..issued.token.len() - 1],
            &format!("{}x", issued.token),
            &mixed,
            &start,
        ] {
            assert!(tokens.verify(wrong).await.unwrap_err().refused, "{wrong}");
        }
        let stored = tokens.store.get(KIND, &issued.info.id).await.unwrap().unwrap();
        let shown = format!("{issued:?} {stored:?} {:?}", tokens.verify(&mixed).await);
        assert!(!shown.contains(&secret));
    }

    #[tokio::test(start_paused = true)]
    async fn senseless_tokens_are_not_issued() {
        let (tokens, _) = tokens();
        for (name, lifetime) in
            [("", HOUR), ("a b", HOUR), ("a".repeat(65).as_str(), HOUR), ("a", Duration::ZERO), ("a", HOUR * 24 * 367)]
        {
            let error = tokens.issue(NewToken::new(name, [], lifetime), "alice").await.unwrap_err();
            assert_eq!(error.remedy, Remedy::Rejected);
        }
    }
}
