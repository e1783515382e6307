//! Pulp: what it said, and what it says when it is slow, away or wrong.

use crate::{assert_corrupt, recorded, texts, troubles};
use freshmaker::backend::Remedy;
use freshmaker_net::Secret;
use freshmaker_redhat::contracts::ContentSets;
use freshmaker_redhat::fakes::pulp::FakePulp;
use freshmaker_redhat::pulp::{Pulp, PulpConfig, PulpLogin};
use freshmaker_testing::http::{Reply, Server};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SEARCH: &str = "/pulp/api/v2/repositories/search/";
const PLACE: &str = "pulp: POST /pulp/api/v2/repositories/search/";
const IDS: [&str; 3] = [
    "rhel-7-desktop-rpms__7Client__x86_64",
    "rhel-7-hpc-node-rpms__7ComputeNode__x86_64",
    "rhel-7-workstation-rpms__7Workstation__x86_64",
];

async fn service() -> (FakePulp, Pulp) {
    let service = FakePulp::start().await.unwrap();
    let pulp = Pulp::new(PulpConfig::new(service.url())).unwrap();
    (service, pulp)
}

#[tokio::test]
async fn recorded_answers_are_read() {
    let (service, pulp) = service().await;
    let expected = [
        texts(&["rhel-7-desktop-rpms", "rhel-7-hpc-node-rpms", "rhel-7-workstation-rpms"]),
        // One repository has no content set.
        texts(&["rhel-7-desktop-rpms", "rhel-7-workstation-rpms"]),
    ];
    let answers = recorded(include_str!("../data/pulp/answers.jsonl"));
    assert_eq!(answers.len(), expected.len());
    for (answer, expected) in answers.into_iter().zip(expected) {
        assert!(answer.source.starts_with("freshmaker@"));
        service.show(&answer.path, answer.body);
        assert_eq!(pulp.content_sets(&texts(&IDS)).await.unwrap(), expected);
    }
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn the_fake_answers_in_the_same_form() {
    let (service, _pulp) = service().await;
    let recorded = recorded(include_str!("../data/pulp/answers.jsonl"));
    for row in recorded[1].body.as_array().unwrap() {
        service.add(row["id"].as_str().unwrap(), row["notes"]["content_set"].as_str());
    }
    let http = freshmaker_net::Http::new(&freshmaker_net::HttpConfig::new(service.url())).unwrap();
    let asked = json!({ "criteria": { "filters": { "id": { "$in": IDS } }, "fields": ["notes"] } });
    let request = http.request(reqwest::Method::POST, &format!("{}{SEARCH}", service.url())).json(&asked);
    let reply = http.send(request, freshmaker_net::Call::Read, "test").await.unwrap();
    let comparable = |rows: &Value| -> BTreeSet<String> {
        let mut rows = rows.as_array().unwrap().clone();
        rows.iter_mut().for_each(|row| row["_id"]["$oid"] = json!("0"));
        rows.iter().map(Value::to_string).collect()
    };
    assert_eq!(comparable(&serde_json::from_slice(&reply.body).unwrap()), comparable(&recorded[1].body));
}

#[tokio::test]
async fn the_request_has_the_form_that_the_service_reads() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&seen);
    let server = Server::start(move |request| {
        shown.lock().unwrap().push(request);
        async { Reply::new(200).with_body("[]") }
    });
    let server = server.await.unwrap();
    let mut config = PulpConfig::new(format!("{}/", server.url()));
    config.login = PulpLogin::Password { user: "user".into(), password: Secret::new("password") };
    assert!(!format!("{config:?}").contains("\"password\""));
    Pulp::new(config).unwrap().content_sets(&texts(&["b", "a"])).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str(), seen[0].query.as_str()), ("POST", SEARCH, ""));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].header("authorization"), Some("Basic dXNlcjpwYXNzd29yZA=="));
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    let criteria = json!({ "filters": { "id": { "$in": ["a", "b"] } }, "fields": ["id", "notes"] });
    assert_eq!(body, json!({ "criteria": criteria }));
}

#[tokio::test]
async fn many_repositories_are_asked_for_in_parts() {
    for (count, parts) in
        [(0, vec![]), (1, vec![1]), (500, vec![500]), (501, vec![1, 500]), (1250, vec![250, 500, 500])]
    {
        let (service, pulp) = service().await;
        let ids: BTreeSet<String> = (0..count).map(|n| format!("repository-{n:04}")).collect();
        for (n, id) in ids.iter().enumerate() {
            service.add(id, (n % 2 == 0).then(|| format!("set-{}", n / 4)).as_deref());
        }
        service.add("another", Some("not asked for"));
        let expected: BTreeSet<String> = (0..count).step_by(4).map(|n| format!("set-{}", n / 4)).collect();
        assert_eq!(pulp.content_sets(&ids).await.unwrap(), expected, "{count}");
        let mut searched = service.searched();
        searched.sort_unstable();
        assert_eq!(searched, parts, "{count}");
    }
}

#[tokio::test]
async fn repositories_that_are_unknown_or_have_no_content_set_add_nothing() {
    let (service, pulp) = service().await;
    service.add("with", Some("set"));
    service.add("too", Some("set"));
    service.add("without", None);
    assert_eq!(pulp.content_sets(&texts(&["with", "too", "without", "unknown"])).await.unwrap(), texts(&["set"]));
    assert_eq!(pulp.content_sets(&texts(&["without", "unknown"])).await.unwrap(), texts(&[]));
    service.show(SEARCH, json!([{ "id": "a", "notes": { "content_set": null } }]));
    assert_eq!(pulp.content_sets(&texts(&["a"])).await.unwrap(), texts(&[]));
}

#[tokio::test]
async fn trouble_has_its_remedy() {
    let (service, pulp) = service().await;
    service.add("a", Some("set"));
    for (reply, remedy, text) in troubles() {
        let described = format!("status {} with {} bytes", reply.status, reply.body.len());
        service.disturb(SEARCH, reply);
        let error = pulp.content_sets(&texts(&["a"])).await.expect_err(&described);
        assert_eq!(error.remedy, remedy, "{described}: {error}");
        assert!(error.text.contains(text), "{described}: {error}");
        assert_eq!(error.place, PLACE, "{described}");
    }
    // A search cannot be missing: the address is wrong.
    service.disturb(SEARCH, Reply::new(404));
    assert_eq!(pulp.content_sets(&texts(&["a"])).await.unwrap_err().remedy, Remedy::Unavailable);
    // Trouble with one of several requests is trouble with all.
    let many: BTreeSet<String> = (0..1250).map(|n| format!("{n}")).collect();
    service.disturb(SEARCH, Reply::new(500));
    assert_eq!(pulp.content_sets(&many).await.unwrap_err().remedy, Remedy::Unavailable);
    assert_eq!(pulp.content_sets(&texts(&["a"])).await.unwrap(), texts(&["set"]));
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unavailable() {
    let service = FakePulp::start().await.unwrap();
    let mut config = PulpConfig::new(service.url());
    config.http.timeout = Duration::from_millis(200);
    service.disturb(SEARCH, Reply::nothing());
    let error = Pulp::new(config).unwrap().content_sets(&texts(&["a"])).await.unwrap_err();
    assert!(error.remedy == Remedy::Unavailable && error.text.contains("timed out"), "{error}");
    let nobody = Pulp::new(PulpConfig::new("http://127.0.0.1:1")).unwrap();
    assert_eq!(nobody.content_sets(&texts(&["a"])).await.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn a_field_that_is_missing_or_wrong_is_named() {
    let (service, pulp) = service().await;
    let cases = [
        (json!({}), "`the answer`: expected a list, found an object"),
        (json!([1]), "`[0]`: expected an object, found a number"),
        (json!([{ "notes": {} }]), "`[0].id`: it is missing"),
        (json!([{ "id": "b", "notes": {} }]), "`[0].id`: nobody asked for the repository `b`"),
        (json!([{ "id": "a" }]), "`[0].notes`: it is missing"),
        (json!([{ "id": "a", "notes": null }]), "`[0].notes`: expected an object, found null"),
        (
            json!([{ "id": "a", "notes": { "content_set": 1 } }]),
            "`[0].notes.content_set`: expected text, found a number",
        ),
        (
            json!([{ "id": "a", "notes": { "content_set": "" } }]),
            "`[0].notes.content_set`: expected text, found an empty",
        ),
    ];
    for (shown, text) in cases {
        service.show(SEARCH, shown);
        assert_corrupt(&pulp.content_sets(&texts(&["a"])).await.unwrap_err(), PLACE, text);
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let (service, _pulp) = service().await;
    service.add("a", Some("set"));
    service.require_authorization("Basic dXNlcjpwYXNzd29yZA==");
    let pulp = |password| {
        let mut config = PulpConfig::new(service.url());
        config.login = PulpLogin::Password { user: "user".into(), password: Secret::new(password) };
        Pulp::new(config).unwrap()
    };
    assert_eq!(pulp("password").content_sets(&texts(&["a"])).await.unwrap(), texts(&["set"]));
    let error = pulp("another").content_sets(&texts(&["a"])).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
    assert!(!error.to_string().contains("another"), "{error}");
}

#[test]
fn mistakes_in_the_configuration_are_found_without_the_network() {
    assert!(PulpConfig::new("https://pulp.example.org").check_offline().is_ok());
    assert_eq!(PulpConfig::new("pulp").check_offline().unwrap_err().remedy, Remedy::Unsupported);
    for user in ["", "a:b"] {
        let mut config = PulpConfig::new("https://pulp.example.org");
        config.login = PulpLogin::Password { user: user.into(), password: Secret::new("x") };
        assert_eq!(config.check_offline().unwrap_err().remedy, Remedy::Unsupported, "{user}");
        assert_eq!(Pulp::new(config).unwrap_err().remedy, Remedy::Unsupported, "{user}");
    }
    let mut config = PulpConfig::new("https://pulp.example.org");
    config.http.tls.client_cert = Some("missing.pem".into());
    let error = config.check_offline().unwrap_err();
    assert!(error.remedy == Remedy::Unsupported && error.to_string().contains("missing.pem"), "{error}");
}
