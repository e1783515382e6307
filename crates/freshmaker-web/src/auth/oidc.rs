use super::OidcConfig;
use super::proxy::GROUPS_MAX;
use crate::problem::{Problem, ProblemCode};
use async_trait::async_trait;
use freshmaker::backend::{Clock, Error, Remedy, Result};
use freshmaker_net::{Call, Http, HttpConfig, TlsFiles};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Whether this build can check tokens of an issuer.
pub(crate) const HAS_OIDC: bool = true;

/// Between two requests for keys, whatever came of the first.
const PAUSE: Duration = Duration::from_secs(60);

/// After this time the keys are asked for again, although all are known.
const REFRESH: Duration = Duration::from_secs(600);

/// How long a key is accepted after the issuer stopped to tell of it.
const KEPT: Duration = Duration::from_secs(600);

/// How long one request to the issuer may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// An issuer has no more keys.
const KEYS_MAX: usize = 100;

/// Checks bearer tokens of one issuer.
#[derive(Debug)]
pub(super) struct Verifier {
    config: OidcConfig,
    algorithms: Vec<Algorithm>,
    clock: Arc<dyn Clock>,
    issuer: Arc<dyn Issuer>,
    keys: Mutex<BTreeMap<String, Known>>,
    /// When keys were asked for last; held while that is done.
    asked: tokio::sync::Mutex<Option<Duration>>,
}

/// A key of the issuer.
#[derive(Clone, Debug)]
struct Known {
    key: Jwk,
    /// Since when the issuer does not tell of it any more.
    gone: Option<Duration>,
}

/// The issuer, which is asked for the keys.
#[async_trait]
trait Issuer: fmt::Debug + Send + Sync + 'static {
    async fn keys(&self) -> Result<JwkSet>;
}

/// The algorithms of a configuration, of those that use a public key.
fn algorithms(config: &OidcConfig) -> Vec<Algorithm> {
    let known = |name: &String| super::oidc_config::ALGORITHMS.contains(&name.as_str());
    config.algorithms.iter().filter(|name| known(name)).filter_map(|name| name.parse().ok()).collect()
}

impl Verifier {
    pub(super) fn new(config: OidcConfig, clock: Arc<dyn Clock>) -> Self {
        let issuer = Arc::new(Remote { config: config.clone() });
        Self::asking(config, clock, issuer)
    }

    fn asking(config: OidcConfig, clock: Arc<dyn Clock>, issuer: Arc<dyn Issuer>) -> Self {
        let algorithms = algorithms(&config);
        Self { algorithms, config, clock, issuer, keys: Mutex::default(), asked: tokio::sync::Mutex::default() }
    }

    /// The name and the groups that a token has.
    pub(super) async fn verify(&self, token: &str) -> Result<(String, BTreeSet<String>), Problem> {
        let header = decode_header(token).map_err(|_| Problem::refused("the token is no JSON Web Token"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(Problem::refused("the algorithm of the token's signature is not accepted"));
        }
        let kid = header.kid.ok_or_else(|| Problem::refused("the token does not name its key"))?;
        let key = self.key(&kid).await?;
        self.claims(token, header.alg, &key)
    }

    async fn key(&self, kid: &str) -> Result<Jwk, Problem> {
        if let Some(key) = self.known(kid) {
            // Another request is asking already, or the keys need not be asked for.
            if let Ok(asked) = self.asked.try_lock()
                && asked.is_none_or(|asked| self.clock.elapsed().saturating_sub(asked) >= REFRESH)
            {
                self.ask(asked).await.unwrap_or_else(|error| tracing::warn!(%error, "the keys were not renewed"));
                return self.known(kid).ok_or_else(|| Problem::refused("the key of the token is not known any more"));
            }
            return Ok(key);
        }
        let asked = self.asked.lock().await;
        // Who waited here may find what the one before has brought.
        if self.known(kid).is_none() && asked.is_none_or(|asked| self.clock.elapsed().saturating_sub(asked) >= PAUSE) {
            self.ask(asked).await.unwrap_or_else(|error| tracing::warn!(%error, "the keys were not read"));
        }
        match self.known(kid) {
            Some(key) => Ok(key),
            None if self.knows_nothing() => {
                Err(Problem::new(ProblemCode::Unavailable, "the issuer of the token does not answer"))
            }
            None => Err(Problem::refused("the issuer does not know the key of the token")),
        }
    }

    fn knows_nothing(&self) -> bool {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn known(&self, kid: &str) -> Option<Jwk> {
        let now = self.clock.elapsed();
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let valid = |known: &&Known| known.gone.is_none_or(|gone| now.saturating_sub(gone) < KEPT);
        keys.get(kid).filter(valid).map(|known| known.key.clone())
    }

    /// Asks for the keys. The moment counts even if that fails or is given up.
    async fn ask(&self, mut asked: tokio::sync::MutexGuard<'_, Option<Duration>>) -> Result<()> {
        *asked = Some(self.clock.elapsed());
        let told = self.issuer.keys().await?;
        let now = self.clock.elapsed();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for known in keys.values_mut() {
            known.gone = known.gone.or(Some(now));
        }
        let signs = |key: &Jwk| key.common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
        for key in told.keys.into_iter().filter(signs).take(KEYS_MAX) {
            if let Some(kid) = key.common.key_id.clone() {
                keys.insert(kid, Known { key, gone: None });
            }
        }
        keys.retain(|_, known| known.gone.is_none_or(|gone| now.saturating_sub(gone) < KEPT));
        Ok(())
    }

    fn claims(&self, token: &str, algorithm: Algorithm, key: &Jwk) -> Result<(String, BTreeSet<String>), Problem> {
        let told = key.common.key_algorithm.map(|told| told.to_string());
        if told.is_some_and(|told| told.parse::<Algorithm>().ok() != Some(algorithm)) {
            return Err(Problem::refused("the key of the token is for another algorithm"));
        }
        let bad_key = |_| Problem::refused("the key of the token cannot be used");
        let key = DecodingKey::from_jwk(key).map_err(bad_key)?;
        let mut validation = Validation::new(algorithm);
        // The moments are compared below, by the clock of the service.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        validation.set_audience(&[&self.config.audience]);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Map<String, Value>>(token, &key, &validation).map_err(|error| {
            Problem::refused(match error.kind() {
                ErrorKind::InvalidSignature => "the signature of the token is wrong",
                ErrorKind::InvalidIssuer => "the token is of another issuer",
                ErrorKind::InvalidAudience => "the token is for another service",
                ErrorKind::MissingRequiredClaim(_) => "the token has no exp, iss or aud",
                _ => "the token is not valid",
            })
        })?;
        self.within_its_time(&claims.claims)?;
        self.identity(&claims.claims)
    }

    fn within_its_time(&self, claims: &Map<String, Value>) -> Result<(), Problem> {
        let now = self.clock.now().timestamp() as f64;
        let leeway = f64::from(self.config.leeway_s);
        match claims.get("exp").and_then(Value::as_f64) {
            Some(end) if now < end + leeway => {}
            Some(_) => return Err(Problem::refused("the token has ended")),
            None => return Err(Problem::refused("the token has no exp")),
        }
        match claims.get("nbf").map(|begin| begin.as_f64()) {
            None => Ok(()),
            Some(Some(begin)) if now >= begin - leeway => Ok(()),
            Some(_) => Err(Problem::refused("the token is not valid yet")),
        }
    }

    fn identity(&self, claims: &Map<String, Value>) -> Result<(String, BTreeSet<String>), Problem> {
        let name = claims.get(&self.config.name_claim).and_then(Value::as_str);
        let name = name.ok_or_else(|| Problem::refused("the token does not name its user"))?;
        let groups = match claims.get(&self.config.groups_claim) {
            None | Some(Value::Null) => BTreeSet::new(),
            Some(Value::String(group)) => BTreeSet::from([group.clone()]),
            Some(Value::Array(groups)) if groups.len() <= GROUPS_MAX => {
                let names = groups.iter().map(|group| group.as_str().map(str::to_owned));
                names.collect::<Option<_>>().ok_or_else(|| Problem::refused("a group of the token is no text"))?
            }
            Some(_) => return Err(Problem::refused("the groups of the token cannot be read")),
        };
        Ok((name.to_owned(), groups))
    }
}

/// An issuer that is reached over HTTP.
#[derive(Debug)]
struct Remote {
    config: OidcConfig,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Remote {
    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        let place = format!("OpenID Connect issuer: GET {url}");
        let mut config = HttpConfig::new(url);
        let mut tls = TlsFiles::default();
        tls.ca.clone_from(&self.config.ca);
        (config.tls, config.timeout, config.bytes_max) = (tls, TIMEOUT, 1 << 20);
        let http = Http::new(&config)?;
        let reply = http.send(http.request(reqwest::Method::GET, url), Call::Read, &place).await?;
        if reply.status != 200 {
            return Err(Error::new(Remedy::Unavailable, place, format!("status {}", reply.status)));
        }
        serde_json::from_slice(&reply.body).map_err(|error| Error::new(Remedy::Corrupt, place, error))
    }
}

#[async_trait]
impl Issuer for Remote {
    async fn keys(&self) -> Result<JwkSet> {
        let issuer = &self.config.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let Discovered { issuer: told, jwks_uri } = self.get(&url).await?;
        if told != *issuer {
            let text = format!("{url} tells of the issuer {told:?}");
            return Err(Error::new(Remedy::Rejected, "OpenID Connect issuer", text));
        }
        if issuer.starts_with("https://") && !jwks_uri.starts_with("https://") {
            let text = format!("{url} tells of keys at {jwks_uri:?}, which is no https URL");
            return Err(Error::new(Remedy::Rejected, "OpenID Connect issuer", text));
        }
        self.get(&jwks_uri).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshmaker_testing::world::TokioClock;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};

    const ISSUER: &str = "https://issuer.example";

    /// The private key of Ed25519 whose seed has only this byte, in PKCS #8.
    fn key(seed: u8) -> EncodingKey {
        let mut der =
            vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        der.extend([seed; 32]);
        EncodingKey::from_ed_der(&der)
    }

    fn public(seed: u8) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&key(seed), Algorithm::EdDSA).unwrap();
        jwk.common.key_id = Some(seed.to_string());
        jwk
    }

    #[derive(Debug, Default)]
    struct Fake {
        seeds: Mutex<Vec<u8>>,
        asked: AtomicU32,
    }

    #[async_trait]
    impl Issuer for Fake {
        async fn keys(&self) -> Result<JwkSet> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let seeds = self.seeds.lock().unwrap().clone();
            if seeds.is_empty() {
                return Err(Error::new(Remedy::Unavailable, "fake", "down"));
            }
            Ok(JwkSet { keys: seeds.into_iter().map(public).collect() })
        }
    }

    fn verifier(seeds: &[u8]) -> (Verifier, Arc<Fake>, Arc<TokioClock>) {
        let (fake, clock) = (Arc::new(Fake::default()), Arc::new(TokioClock::new()));
        *fake.seeds.lock().unwrap() = seeds.to_vec();
        let mut config = OidcConfig::new(ISSUER, "freshmaker");
        config.algorithms = vec!["EdDSA".to_owned()];
        (Verifier::asking(config, clock.clone(), fake.clone()), fake, clock)
    }

    fn claims(clock: &TokioClock) -> Value {
        let now = clock.now().timestamp();
        json!({"iss": ISSUER, "aud": ["other", "freshmaker"], "exp": now + 300, "nbf": now,
               "preferred_username": "alice", "groups": ["staff"]})
    }

    fn signed(seed: u8, claims: &Value) -> String {
        let header = Header { kid: Some(seed.to_string()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &key(seed)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_tells_who_it_is() {
        let (verifier, fake, clock) = verifier(&[1]);
        let token = signed(1, &claims(&clock));
        for _ in 0..3 {
            let (name, groups) = verifier.verify(&token).await.unwrap();
            assert_eq!((name.as_str(), groups), ("alice", BTreeSet::from(["staff".to_owned()])));
        }
        assert_eq!(fake.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_right_is_refused() {
        let (verifier, _, clock) = verifier(&[1]);
        let good = claims(&clock);
        let now = clock.now().timestamp();
        for (name, value) in [
            ("iss", json!("https://issuer.example/")),
            ("aud", json!("other")),
            ("exp", json!(now - 61)),
            ("exp", json!("never")),
            ("nbf", json!(now + 61)),
            ("nbf", json!("later")),
            ("preferred_username", json!(7)),
            ("groups", json!([1])),
            ("groups", json!({})),
            ("aud", Value::Null),
            ("iss", Value::Null),
        ] {
            let mut claims = good.clone();
            claims[name] = value.clone();
            let refused = verifier.verify(&signed(1, &claims)).await.unwrap_err();
            assert!(refused.refused, "{name} {value}: {refused:?}");
        }
        for missing in ["iss", "aud", "exp", "preferred_username"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(missing);
            assert!(verifier.verify(&signed(1, &claims)).await.unwrap_err().refused, "{missing}");
        }
        // Within the difference that clocks may have.
        let mut late = good.clone();
        late["exp"] = json!(now - 59);
        verifier.verify(&signed(1, &late)).await.unwrap();
        // Signed by somebody else under the name of a known key, or changed afterwards.
        let header = Header { kid: Some("1".to_owned()), ..Header::new(Algorithm::EdDSA) };
        let forged = encode(&header, &good, &key(2)).unwrap();
        assert!(verifier.verify(&forged).await.unwrap_err().refused);
        let nameless = encode(&Header::new(Algorithm::EdDSA), &good, &key(1)).unwrap();
        assert!(verifier.verify(&nameless).await.unwrap_err().refused);
        for nonsense in ["", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJub25lIiwia2lkIjoiMSJ9.e30."] {
            assert!(verifier.verify(nonsense).await.unwrap_err().refused, "{nonsense}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_public_key_is_no_secret_of_an_hmac() {
        let (verifier, _, clock) = verifier(&[1]);
        let header = Header { kid: Some("1".to_owned()), ..Header::new(Algorithm::HS256) };
        let jwk = serde_json::to_value(public(1)).unwrap();
        let secret = EncodingKey::from_secret(jwk["x"].as_str().unwrap().as_bytes()).unwrap();
        let token = encode(&header, &claims(&clock), &secret).unwrap();
        assert!(verifier.verify(&token).await.unwrap_err().refused);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_and_go_and_the_issuer_is_asked_seldom() {
        let (verifier, fake, clock) = verifier(&[1]);
        let token = |seed| signed(seed, &claims(&clock));
        verifier.verify(&token(1)).await.unwrap();
        // Unknown keys lead to no request within a minute, however many tokens come.
        *fake.seeds.lock().unwrap() = vec![2];
        for _ in 0..5 {
            assert!(verifier.verify(&token(2)).await.unwrap_err().refused);
        }
        assert_eq!(fake.asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(PAUSE).await;
        verifier.verify(&token(2)).await.unwrap();
        assert_eq!(fake.asked.load(Ordering::Relaxed), 2);
        // The old key is good for ten more minutes.
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        verifier.verify(&token(1)).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(verifier.verify(&token(1)).await.unwrap_err().refused);
        verifier.verify(&token(2)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_is_down_is_no_refusal() {
        let (verifier, fake, clock) = verifier(&[]);
        let token = signed(1, &claims(&clock));
        assert_eq!(verifier.verify(&token).await.unwrap_err().code, ProblemCode::Unavailable);
        *fake.seeds.lock().unwrap() = vec![1];
        tokio::time::advance(PAUSE).await;
        verifier.verify(&token).await.unwrap();
        // Known keys are good while it is down.
        fake.seeds.lock().unwrap().clear();
        tokio::time::advance(REFRESH).await;
        verifier.verify(&signed(1, &claims(&clock))).await.unwrap();
    }
}
