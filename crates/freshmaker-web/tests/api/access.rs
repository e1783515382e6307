use super::support::{LOCAL, REMOTE, Service, ask, post, request, request_from, with};
use freshmaker_web::axum::http::{HeaderName, Method};
use freshmaker_web::{Allowed, Members, ProxyConfig, ReadAccess, Role};
use serde_json::json;
use std::time::Duration;

fn behind_a_proxy() -> Service {
    Service::new(|config| {
        let user = HeaderName::from_static("x-remote-user");
        let mut proxy = ProxyConfig::new(vec!["127.0.0.1".parse().unwrap()], user);
        proxy.groups_header = Some(HeaderName::from_static("x-remote-groups"));
        proxy.address_header = Some(HeaderName::from_static("x-forwarded-for"));
        config.authentication.proxy = Some(proxy);
        let mut admins = Members::default();
        admins.groups.insert("staff".to_owned());
        admins.users.insert("root".to_owned());
        config.access.roles.insert(Role::Admin, admins);
    })
}

#[tokio::test(start_paused = true)]
async fn headers_of_a_proxy_are_believed_from_its_address_alone() {
    let service = behind_a_proxy();
    let status = async |peer, headers: &[(&'static str, &str)]| {
        let request = request_from(Method::GET, "/api/3/audit", peer);
        ask(&service.router, headers.iter().fold(request, |request, (name, value)| with(request, name, value))).await
    };
    for headers in [
        [("x-remote-user", "root"), ("x-remote-groups", "")],
        [("x-remote-user", "alice"), ("x-remote-groups", "users, staff")],
    ] {
        assert_eq!(status(LOCAL, &headers).await.status, 200);
        assert_eq!(status("[::ffff:127.0.0.1]:1", &headers).await.status, 200);
        assert_eq!(status(REMOTE, &headers).await.problem(), "unauthenticated");
    }
    assert_eq!(status(LOCAL, &[("x-remote-user", "alice")]).await.problem(), "forbidden");
    assert_eq!(status(LOCAL, &[("x-remote-user", "")]).await.problem(), "unauthenticated");
    assert_eq!(status(LOCAL, &[]).await.problem(), "unauthenticated");
    // A header that came through from a client beside that of the proxy.
    let twice = status(LOCAL, &[("x-remote-user", "root"), ("x-remote-user", "alice")]).await;
    assert_eq!(twice.problem_at(), ("bad_request".into(), "x-remote-user".into()));
    for name in ["token:ci", "local", &"a".repeat(257)] {
        assert_eq!(status(LOCAL, &[("x-remote-user", name)]).await.problem(), "unauthenticated", "{name}");
    }
    // Who is refused is told with the address behind the proxy.
    status(LOCAL, &[("x-remote-user", "bob"), ("x-forwarded-for", "10.9.9.9, 198.51.100.3")]).await;
    let rows = status(LOCAL, &[("x-remote-user", "root")]).await;
    assert_eq!(rows.status, 200);
    let request = with(request(Method::GET, "/api/3/audit?part=refusals&limit=1"), "x-remote-user", "root");
    let row = ask(&service.router, request).await.json()["items"][0].clone();
    assert_eq!(
        (&row["who"], &row["address"], &row["outcome"]),
        (&json!("bob"), &json!("198.51.100.3"), &json!("refused"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_login_serves_its_machine_alone() {
    let service = Service::open();
    assert_eq!(service.get("/api/3/audit").await.status, 200);
    let far = ask(&service.router, request_from(Method::GET, "/healthz", REMOTE)).await;
    assert_eq!(far.problem(), "open_to_network");
    let rebound = with(request(Method::GET, "/api/3/events"), "host", "evil.example");
    assert_eq!(ask(&service.router, rebound).await.problem(), "open_to_network");
    let named = with(request(Method::GET, "/api/3/events"), "host", "localhost:8080");
    assert_eq!(ask(&service.router, named).await.status, 200);
    let mut unknown = request(Method::GET, "/api/3/events");
    unknown.extensions_mut().clear();
    assert_eq!(ask(&service.router, unknown).await.problem(), "open_to_network");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_issued_used_and_revoked_over_the_api() {
    let service = Service::new(|_| {});
    let admin = service.token("operator", &[Role::Admin]).await;
    let as_admin = |request| ask(&service.router, with(request, "authorization", &admin));
    let new = json!({"name": "ci", "roles": ["manual_rebuilder"], "lifetime_s": 3600});
    let issued = as_admin(post("/api/3/tokens", &new)).await;
    assert_eq!((issued.status.as_u16(), issued.header("cache-control")), (201, "no-store"));
    let token = format!("bearer {}", issued.json()["token"].as_str().unwrap());
    let id = issued.json()["info"]["id"].as_str().unwrap().to_owned();
    let as_ci = |path: &'static str| ask(&service.router, with(request(Method::GET, path), "authorization", &token));
    assert_eq!(as_ci("/api/3/events").await.status, 200);
    assert_eq!(as_ci("/api/3/tokens").await.problem(), "forbidden");
    let listed = as_admin(request(Method::GET, "/api/3/tokens")).await;
    assert_eq!(listed.json()["items"][0]["id"], id);
    assert!(!String::from_utf8(listed.body).unwrap().contains(&token[8..]));
    assert_eq!(as_admin(request(Method::DELETE, &format!("/api/3/tokens/{id}"))).await.status, 204);
    assert_eq!(as_admin(request(Method::DELETE, &format!("/api/3/tokens/{id}"))).await.problem(), "not_found");
    let refused = as_ci("/api/3/events").await;
    assert_eq!(refused.problem(), "unauthenticated");
    assert!(refused.header("www-authenticate").contains("invalid_token"));
    for bad in
        [json!({"name": "a b", "roles": [], "lifetime_s": 1}), json!({"name": "a", "roles": [], "lifetime_s": 0})]
    {
        assert_eq!(as_admin(post("/api/3/tokens", &bad)).await.problem(), "rejected");
    }
    let owner = json!({"name": "a", "roles": ["owner"], "lifetime_s": 1});
    assert_eq!(as_admin(post("/api/3/tokens", &owner)).await.problem_at(), ("invalid".into(), "/roles/0".into()));
    let rows = as_admin(request(Method::GET, "/api/3/audit")).await;
    assert!(!String::from_utf8(rows.body).unwrap().contains(&token[8..]), "the audit log has no secret");
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_never_those_of_nobody() {
    let service = Service::new(|config| config.access.read = ReadAccess::Public);
    assert_eq!(service.get("/api/3/events").await.status, 200);
    for wrong in ["Bearer fmt_0123456789abcdef_wrong", "Bearer x", "Bearer  ", "bearer eyJhbGciOiJub25lIn0.e30."] {
        let request = with(request(Method::GET, "/api/3/events"), "authorization", wrong);
        assert_eq!(ask(&service.router, request).await.problem(), "unauthenticated", "{wrong}");
    }
    let twice =
        with(with(request(Method::GET, "/api/3/events"), "authorization", "Bearer x"), "authorization", "Bearer y");
    assert_eq!(ask(&service.router, twice).await.problem_at(), ("bad_request".into(), "authorization".into()));
    // Another scheme is that of somebody before us.
    let basic = with(request(Method::GET, "/api/3/events"), "authorization", "Basic YTpi");
    assert_eq!(ask(&service.router, basic).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn guessing_tokens_is_slow_and_disturbs_nobody_else() {
    let service = Service::new(|_| {});
    let good = service.token("ci", &[]).await;
    let guess = |peer| {
        ask(&service.router, with(request_from(Method::GET, "/api/3/events", peer), "authorization", "Bearer fmt_x"))
    };
    let burst = service.web.config().limits.refused_logins.burst;
    for _ in 0..burst {
        assert_eq!(guess(REMOTE).await.problem(), "unauthenticated");
    }
    let limited = guess(REMOTE).await;
    assert_eq!((limited.problem().as_str(), limited.header("retry-after")), ("rate_limited", "6"));
    assert_eq!(guess(LOCAL).await.problem(), "unauthenticated");
    let right = with(request_from(Method::GET, "/api/3/events", LOCAL), "authorization", &good);
    assert_eq!(ask(&service.router, right).await.status, 200);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(guess(REMOTE).await.problem(), "unauthenticated");
    assert_eq!(guess(REMOTE).await.problem(), "rate_limited");
}

/// As behind a proxy that tells no addresses.
#[tokio::test(start_paused = true)]
async fn who_guesses_tokens_locks_nobody_out_who_is_at_work() {
    let service = Service::new(|_| {});
    let (known, new) = (service.token("known", &[]).await, service.token("new", &[]).await);
    let send = |token: &str| {
        ask(&service.router, with(request_from(Method::GET, "/api/3/events", REMOTE), "authorization", token))
    };
    assert_eq!(send(&known).await.status, 200);
    let burst = service.web.config().limits.refused_logins.burst;
    for number in 0..burst {
        assert_eq!(send(&format!("Bearer fmt_{number}")).await.problem(), "unauthenticated");
    }
    assert_eq!(send("Bearer fmt_x").await.problem(), "rate_limited");
    assert_eq!(send(&known).await.status, 200, "it was accepted before");
    assert_eq!(send(&new).await.problem(), "rate_limited", "it may be a guess");
    // Nobody is let in by that.
    let tokens = service.web.tokens();
    let id = tokens.list(None, 10).await.unwrap().0.into_iter().find(|token| token.name == "known").unwrap().id;
    tokens.revoke(&id).await.unwrap();
    assert_ne!(send(&known).await.status, 200);
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(send(&new).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn routes_of_a_service_have_the_same_guards() {
    use freshmaker_web::axum::Router;
    use freshmaker_web::axum::routing::get;
    let service = Service::new(|_| {});
    let own = get(async |caller: freshmaker_web::Caller| caller.name().to_owned());
    let routes = Router::new().route("/own", service.web.allow(Allowed::ADMINS, own));
    let router = service.web.router_with(routes);
    assert_eq!(ask(&router, request(Method::GET, "/own")).await.problem(), "unauthenticated");
    let token = service.token("ci", &[Role::Admin]).await;
    assert_eq!(ask(&router, with(request(Method::GET, "/own"), "authorization", &token)).await.body, b"token:ci");
}

/// The names of a proxy that logs in by Kerberos have a realm, those of a configuration have none.
#[tokio::test(start_paused = true)]
async fn the_realm_of_names_is_taken_off() {
    let service = Service::new(|config| {
        let user = HeaderName::from_static("x-remote-user");
        let mut proxy = ProxyConfig::new(vec!["127.0.0.1".parse().unwrap()], user);
        proxy.realm = Some("EXAMPLE.COM".to_owned());
        config.authentication.proxy = Some(proxy);
        let mut admins = Members::default();
        admins.users.insert("alice".to_owned());
        config.access.roles.insert(Role::Admin, admins);
    });
    let as_user = |user: &str| ask(&service.router, with(request(Method::GET, "/api/3/audit"), "x-remote-user", user));
    for name in ["alice", "alice@EXAMPLE.COM"] {
        assert_eq!(as_user(name).await.status, 200, "{name}");
    }
    for name in
        ["alice@OTHER.COM", "alice@example.com", "alice@EXAMPLE.COM@OTHER.COM", "bob@EXAMPLE.COM", "aliceEXAMPLE.COM"]
    {
        assert_eq!(as_user(name).await.problem(), "forbidden", "{name}");
    }
    for name in ["@EXAMPLE.COM", "local@EXAMPLE.COM", "token:ci@EXAMPLE.COM"] {
        assert_eq!(as_user(name).await.problem(), "unauthenticated", "{name}");
    }
}

/// Links and redirects are made of it.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_none_is_refused() {
    let service = Service::new(|config| config.access.read = ReadAccess::Public);
    let ask_host = |host: &str| ask(&service.router, with(request(Method::GET, "/healthz"), "host", host));
    for host in ["freshmaker.example.org", "localhost:8080", "[::1]:80"] {
        assert_eq!(ask_host(host).await.status, 200, "{host}");
    }
    for host in ["evil\"><x", "", "a/b", "alice@localhost", "localhost:80:80"] {
        assert_eq!(ask_host(host).await.problem_at(), ("bad_request".into(), "host".into()), "{host}");
    }
    let twice = with(with(request(Method::GET, "/healthz"), "host", "localhost"), "host", "localhost");
    assert_eq!(ask(&service.router, twice).await.problem_at(), ("bad_request".into(), "host".into()));
    let absolute = request(Method::GET, "http://user@localhost/healthz");
    assert_eq!(ask(&service.router, absolute).await.problem_at(), ("bad_request".into(), "host".into()));
}
