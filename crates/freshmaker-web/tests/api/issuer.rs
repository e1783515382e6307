//! Bearer tokens of a certified OpenID Connect provider, over sockets.

use super::support::{Answer, Service, ask, post, request, with};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshmaker::backend::Clock;
use freshmaker::engine::SystemClock;
use freshmaker::time::{Timestamp, later};
use freshmaker_web::axum::http::Method;
use freshmaker_web::{Members, OidcConfig, Role};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use test_support::{packages, peer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The provider, which is asked for tokens by lines.
struct Provider {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    issuer: String,
}

impl Provider {
    async fn start() -> Option<Self> {
        let packages = packages("oidc").await?;
        let mut node = Command::new("node");
        node.arg(peer("oidc/provider.mjs")).env("OIDC_PACKAGES", packages);
        let mut child =
            node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut provider = Self { child, input, lines: BufReader::new(output).lines(), issuer: String::new() };
        provider.issuer = provider.line().await["issuer"].as_str().unwrap().to_owned();
        Some(provider)
    }

    async fn line(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap().expect("the provider goes on");
        serde_json::from_str(&line).unwrap()
    }

    async fn token(&mut self, asked: Value) -> String {
        self.input.write_all(format!("{asked}\n").as_bytes()).await.unwrap();
        self.line().await["token"].as_str().unwrap().to_owned()
    }
}

/// The clock of the system, which a test sets forward.
#[derive(Debug, Default)]
struct Ahead {
    seconds: AtomicU64,
}

impl Ahead {
    fn ahead(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    fn set_forward(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        later(SystemClock.now(), self.ahead())
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() + self.ahead()
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

fn service(issuer: &str, clock: &Arc<Ahead>) -> Service {
    Service::new(|config| {
        config.clock = clock.clone();
        config.authentication.oidc = Some(OidcConfig::new(issuer, "freshmaker"));
        let mut rebuilders = Members::default();
        rebuilders.groups.insert("release-engineers".to_owned());
        config.access.roles.insert(Role::ManualRebuilder, rebuilders);
    })
}

async fn events(service: &Service, token: &str) -> Answer {
    let request = with(request(Method::GET, "/api/3/events"), "authorization", &format!("Bearer {token}"));
    ask(&service.router, request).await
}

/// A token with another header or other claims, and the signature of the original.
fn forged(token: &str, part: usize, change: impl Fn(&mut Value)) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[part]).unwrap()).unwrap();
    change(&mut value);
    parts[part] = URL_SAFE_NO_PAD.encode(value.to_string());
    parts.join(".")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_certified_provider_say_who_may_what() {
    let Some(mut provider) = Provider::start().await else { return };
    let clock = Arc::<Ahead>::default();
    let service = service(&provider.issuer, &clock);
    let token = provider.token(json!({"audience": "freshmaker", "lifetime": 3600})).await;
    let read = events(&service, &token).await;
    assert_eq!(read.status, 200, "{read:?}");
    // The group of the token gives the role, and no other one.
    let message = post("/api/3/messages", &json!({"topic": "image.pushed", "body": {"image": "base"}}));
    let sent = ask(&service.router, with(message, "authorization", &format!("Bearer {token}"))).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let audit = with(request(Method::GET, "/api/3/audit"), "authorization", &format!("Bearer {token}"));
    assert_eq!(ask(&service.router, audit).await.problem(), "forbidden");

    let other = provider.token(json!({"audience": "other"})).await;
    let unsigned = forged(&token, 0, |header| header["alg"] = json!("none"));
    let symmetric = forged(&token, 0, |header| header["alg"] = json!("HS256"));
    let promoted = forged(&token, 1, |claims| claims["groups"] = json!(["admins"]));
    let bare = unsigned.rsplit_once('.').unwrap().0;
    for bad in [other.as_str(), &unsigned, &format!("{bare}."), &symmetric, &promoted, "x.y.z"] {
        let refused = events(&service, bad).await;
        assert_eq!(refused.problem(), "unauthenticated", "{bad}");
        assert!(refused.header("www-authenticate").contains("invalid_token"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_tokens_end_and_a_provider_may_be_away() {
    let Some(mut provider) = Provider::start().await else { return };
    let clock = Arc::<Ahead>::default();
    let service = service(&provider.issuer, &clock);
    let old = provider.token(json!({"audience": "freshmaker", "lifetime": 36_000})).await;
    assert_eq!(events(&service, &old).await.status, 200);
    let new = provider.token(json!({"rotate": true, "audience": "freshmaker", "lifetime": 36_000})).await;
    let short = provider.token(json!({"audience": "freshmaker", "lifetime": 60})).await;
    assert_eq!(events(&service, &new).await.status, 401, "the provider was asked less than a minute ago");
    clock.set_forward(60);
    assert_eq!(events(&service, &new).await.status, 200, "the new key was found by discovery");
    assert_eq!(events(&service, &old).await.status, 200, "the old key is good for ten minutes more");
    let late = events(&service, &short).await;
    clock.set_forward(60);
    assert_eq!((late.status.as_u16(), events(&service, &short).await.status.as_u16()), (200, 401), "60 s of leeway");
    clock.set_forward(600);
    assert_eq!(events(&service, &old).await.status, 401);
    assert_eq!(events(&service, &new).await.status, 200);
    provider.child.kill().await.unwrap();
    clock.set_forward(3600);
    assert_eq!(events(&service, &new).await.status, 200, "known keys are good while the provider is away");
    let fresh = self::service(&provider.issuer, &clock);
    let away = events(&fresh, &new).await;
    assert_eq!((away.problem().as_str(), away.header("retry-after").is_empty()), ("unavailable", false));
}
