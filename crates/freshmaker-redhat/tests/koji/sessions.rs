use crate::hub::{Hub, Step, fault, login, value};
use crate::submission::nginx;
use freshmaker::backend::{BuildSystem, Remedy};
use freshmaker::rebuild::SessionId;
use freshmaker::time::from_micros;
use freshmaker_net::Negotiate;
use freshmaker_redhat::koji::xmlrpc::Value;
use freshmaker_redhat::koji::{KojiBuildSystem, KojiConfig, KojiLogin};

#[tokio::test]
async fn an_expired_session_is_renewed_for_a_read_and_keeps_its_count() {
    let hub = Hub::start(|seen, number| match (seen.method(), number) {
        ("login", 0) => login(5),
        ("getLoggedInUser", 1) => fault(1007, "session \"5\" has expired"),
        ("login", 2) => login(5),
        ("getLoggedInUser", 3) => value(Value::record([("id", 7.into())])),
        ("listTasks", 4) => value(Vec::<Value>::new()),
        ("buildContainer", 5) => value(12),
        (method, number) => fault(1, &format!("unexpected {method} {number}")),
    })
    .await;
    let builds = hub.builds();
    assert_eq!(builds.find(&nginx(), from_micros(0)).await.expect("asked"), []);
    builds.submit(&nginx()).await.expect("taken");
    let seen = hub.seen();
    let calls: Vec<_> = seen.iter().map(|seen| (seen.method(), seen.session())).collect();
    assert_eq!(
        calls,
        [
            ("login", None),
            ("getLoggedInUser", Some(("5", 0))),
            ("login", Some(("5", 1))),
            ("getLoggedInUser", Some(("5", 2))),
            ("listTasks", None),
            ("buildContainer", Some(("5", 3))),
        ]
    );
    assert_eq!(seen[2].named().get::<bool>(&["renew"]), Ok(true));
    assert_eq!(seen[0].named().get::<Option<bool>>(&["renew"]), Ok(None));
    assert_eq!(
        seen[0].request,
        crate::recorded::Exchange::named("032-").request().with("freshmaker", "hidden-password")
    );
}

trait With {
    fn with(self, user: &str, password: &str) -> Self;
}

impl With for freshmaker_redhat::koji::xmlrpc::Request {
    fn with(mut self, user: &str, password: &str) -> Self {
        self.params[0] = user.into();
        self.params[1] = password.into();
        self
    }
}

#[tokio::test]
async fn an_expired_session_is_renewed_only_once() {
    let hub = Hub::start(|seen, _| match seen.method() {
        "login" => login(5),
        _ => fault(1007, "session \"5\" has expired"),
    })
    .await;
    let error = hub.builds().find(&nginx(), from_micros(0)).await.expect_err("it expires again and again");
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert_eq!(hub.methods(), ["login", "getLoggedInUser", "login", "getLoggedInUser"]);
}

#[tokio::test]
async fn old_hubs_get_the_session_in_the_query() {
    let hub = Hub::start(|seen, _| match seen.method() {
        "login" => value(Value::record([("session-id", 3.into()), ("session-key", "a&b".into())])),
        _ => value(12),
    })
    .await;
    hub.builds().submit(&nginx()).await.expect("taken");
    let sent = hub.seen().pop().expect("a call");
    assert_eq!(sent.path, "/kojihub?session-id=3&session-key=a%26b&callnum=0");
    assert!(sent.headers.keys().all(|name| !name.starts_with("koji-session")));
}

#[tokio::test]
async fn certificates_and_tickets_log_in_at_their_own_path() {
    let hub = Hub::start(|seen, _| match seen.method() {
        "sslLogin" => login(1),
        _ => value(12),
    })
    .await;
    let mut config = hub.config();
    config.login = KojiLogin::Certificate;
    KojiBuildSystem::new(config).expect("a client").submit(&nginx()).await.expect("taken");
    let first = hub.seen().remove(0);
    assert_eq!(first.path, "/kojihub/ssllogin");
    assert_eq!(first.request, crate::recorded::Exchange::named("202-").request());
}

#[derive(Debug)]
struct Tickets(Option<&'static [u8]>);

impl Negotiate for Tickets {
    fn token(&self, service: &str) -> Result<Vec<u8>, String> {
        assert_eq!(service, "HTTP@127.0.0.1");
        self.0.map(<[u8]>::to_vec).ok_or_else(|| "no ticket".to_owned())
    }
}

#[tokio::test]
async fn kerberos_shows_a_ticket_to_log_in_and_at_no_other_time() {
    let hub = Hub::start(|seen, _| match seen.method() {
        "sslLogin" => login(1),
        _ => value(12),
    })
    .await;
    let mut config = hub.config();
    config.login = KojiLogin::Kerberos;
    let builds = |tickets| {
        KojiBuildSystem::new(config.clone()).expect("a client").with_negotiate(std::sync::Arc::new(Tickets(tickets)))
    };
    builds(Some(b"ticket")).submit(&nginx()).await.expect("taken");
    let shown: Vec<_> = hub.seen().iter().map(|seen| seen.headers.get("authorization").cloned()).collect();
    assert_eq!(shown, [Some("Negotiate dGlja2V0".to_owned()), None]);
    let error = builds(None).session().await.expect_err("no ticket");
    assert_eq!((error.remedy, error.text.as_str()), (Remedy::Unavailable, "no ticket"));
}

#[tokio::test]
async fn a_failed_login_means_that_nothing_was_submitted() {
    let hub = Hub::start(|_, _| fault(1002, "invalid username or password")).await;
    let error = hub.builds().session().await.expect_err("wrong password");
    assert_eq!(error.remedy, Remedy::Unavailable);
    assert!(error.to_string().contains("AuthError (1002)"), "{error}");
    let mut request = nginx();
    request.session = None;
    assert_eq!(hub.builds().submit(&request).await.expect_err("wrong password").remedy, Remedy::Unavailable);
    let anonymous = KojiBuildSystem::new(KojiConfig::new(&hub.url)).expect("a client");
    assert_eq!(anonymous.session().await.expect_err("nobody").remedy, Remedy::Unsupported);
    assert_eq!(hub.methods(), ["login", "login"]);
}

#[tokio::test]
async fn a_fence_closes_a_session_from_another_one() {
    let hub = Hub::with_login(|seen| match seen.named().get::<i64>(&["session_id"]) {
        Ok(1) => value(Value::Nil),
        Ok(98) => fault(1000, "query returned no rows"),
        Ok(99) => fault(1004, "only admins or owner may logout other session"),
        _ => fault(1014, "database outage"),
    })
    .await;
    let builds = hub.builds();
    let session = builds.session().await.expect("a session").expect("sessions");
    builds.fence(&session).await.expect("closed");
    builds.fence(&SessionId::new("98")).await.expect("known no more is no error");
    builds.fence(&SessionId::new("99")).await.expect("known no more is no error to an older hub");
    builds.fence(&SessionId::new("no number")).await.expect("never given is no error");
    let error = builds.fence(&SessionId::new("3")).await.expect_err("the hub is away");
    assert_eq!(error.remedy, Remedy::Unavailable);
    let logouts: Vec<_> = hub.seen().into_iter().filter(|seen| seen.method() == "logout").collect();
    assert_eq!(logouts.len(), 4);
    assert!(logouts.iter().all(|seen| seen.session().is_some_and(|(id, _)| id == "2")), "{logouts:?}");
}

#[tokio::test]
async fn submissions_at_once_share_few_sessions() {
    let hub = Hub::with_login(|_| value(1)).await;
    let builds = hub.builds();
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(builds.session().await.expect("a session").expect("sessions"));
    }
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(different.len(), 4, "{ids:?}");
    for (number, session) in ids.iter().enumerate() {
        let mut request = nginx();
        request.attempt = freshmaker::rebuild::AttemptId::from_random(number as u128);
        request.session = Some(session.clone());
        builds.submit(&request).await.expect("taken");
    }
    for _ in 0..100 {
        builds.session().await.expect("a session");
    }
    let methods = hub.methods();
    assert_eq!(methods.iter().filter(|method| *method == "login").count(), 4);
    assert_eq!(methods.iter().filter(|method| *method == "build" || *method == "buildContainer").count(), 6);
}

#[tokio::test]
async fn a_look_up_reads_every_page_and_believes_nothing_less() {
    let task = |id: i64, marker: &str| {
        let options = Value::record([("userdata", Value::record([("fm_attempt", marker.into())]))]);
        let request = Value::Array(vec!["git://x#1".into(), "target".into(), options]);
        Value::record([("id", id.into()), ("request", request)])
    };
    let ours = nginx().attempt;
    let marker = ours.as_str().to_owned();
    let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let broken = std::sync::Arc::clone(&fails);
    let hub = Hub::with_login(move |seen| match seen.method() {
        "listTasks" => {
            let offset: i64 = seen.named().get(&["queryOpts", "offset"]).expect("an offset");
            if offset == 500 && broken.load(std::sync::atomic::Ordering::SeqCst) {
                return fault(1014, "database outage");
            }
            let ids = offset + 1..=(offset + 500).min(1003);
            let page = ids.map(|id| match id {
                3 | 501 | 1003 => task(id, &marker),
                4 => Value::record([("id", id.into()), ("request", Value::Nil)]),
                5 => Value::record([("id", id.into()), ("request", Value::from("odd"))]),
                _ => task(id, "another"),
            });
            value(Value::Array(page.collect()))
        }
        "multiCall" => {
            let calls: Vec<_> = seen.request.params[0].each(&[], |_| Ok(())).expect("calls");
            let running = |()| Value::Array(vec![Value::record([("state", 1.into())])]);
            value(Value::Array(calls.into_iter().map(running).collect()))
        }
        _ => fault(1, "unexpected"),
    })
    .await;
    let builds = hub.builds();
    let since = from_micros(1_700_000_000_500_000);
    let mut found: Vec<_> = builds
        .find(&nginx(), since)
        .await
        .expect("found")
        .into_iter()
        .map(|found| found.external.to_string())
        .collect();
    found.sort();
    assert_eq!(found, ["1003", "3", "501"]);
    let asked: Vec<_> = hub.seen().into_iter().filter(|seen| seen.method() == "listTasks").collect();
    assert_eq!(asked.len(), 3);
    let opts = asked[0].named().get::<&Value>(&["opts"]).expect("opts");
    assert_eq!(opts.get::<i64>(&["owner"]), Ok(7));
    assert_eq!(opts.get::<&str>(&["method"]), Ok("buildContainer"));
    assert_eq!(opts.get::<f64>(&["createdAfter"]), Ok(1_700_000_000.5 - 86_400.0));
    assert_eq!(opts.each(&["state"], |state| state.get::<i64>(&[])), Ok(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(opts.get::<bool>(&["decode"]), Ok(true));
    assert_eq!(opts.get::<Option<i64>>(&["parent"]), Ok(None));
    assert_eq!(asked[0].named().get::<&str>(&["queryOpts", "order"]), Ok("id"));
    fails.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(builds.find(&nginx(), since).await.expect_err("a page is missing").remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn a_session_in_which_somebody_submits_is_shared_last() {
    let hub = Hub::with_login(|_| Step::Stall).await;
    let mut config = hub.config();
    config.sessions = 2;
    let builds = KojiBuildSystem::new(config).expect("a client");
    assert_eq!(builds.capabilities().submissions.map(u32::from), Some(2));
    let mut request = nginx();
    request.session = builds.session().await.expect("a session");
    let other = builds.session().await.expect("a session");
    assert_ne!(request.session, other);
    let others = async {
        while !hub.methods().iter().any(|method| method == "buildContainer") {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            assert_eq!(builds.session().await.expect("a session"), other);
        }
    };
    tokio::select! {
        _ = builds.submit(&request) => panic!("it is not answered"),
        () = others => {}
    }
}
