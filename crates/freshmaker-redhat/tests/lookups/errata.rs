//! An Errata Tool that is slow, away or wrong, and what its answers mean.

use crate::{assert_corrupt, nvrs, texts, troubles};
use freshmaker::backend::Remedy;
use freshmaker_net::Negotiate;
use freshmaker_redhat::contracts::{Advisories, Advisory};
use freshmaker_redhat::errata::{ErrataConfig, ErrataLogin, ErrataTool};
use freshmaker_redhat::fakes::errata::{FakeBuild, FakeErrataTool};
use freshmaker_testing::http::Reply;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const ERRATUM: &str = "/api/v1/erratum/28484";
const SUMMARY: &str = "/advisory/28484.json";
const BUGS: &str = "/advisory/28484/bugs.json";
const BY_CVE: &str = "/api/v1/erratum/28484/builds_by_cve";
const BUILDS: &str = "/advisory/28484/builds.json";
const LIST: &str = "/api/v1/erratum/28484/builds_list";
const REPOSITORIES: &str = "/errata/get_pulp_packages/28484.json";
const OF_BUILD: &str = "/api/v1/build/bind-9.16-1.el9";

fn advisory() -> Advisory {
    Advisory {
        id: 28484,
        name: "RHSA-2017:28484-02".into(),
        state: "QE".into(),
        content_types: texts(&["module", "rpm"]),
        security_impact: "important".into(),
        product: "RHEL".into(),
        release: "RHEL-9.1.0".into(),
        reporter: "someone@example.org".into(),
        cves: texts(&["CVE-2017-1", "CVE-2017-2"]),
        has_hightouch_bug: false,
    }
}

fn bind() -> FakeBuild {
    FakeBuild::new("32:bind-9.16-1.el9".parse().unwrap(), ["RHEL-8", "RHEL-9"])
        .with_files(["bind-libs-9.16-1.el9.x86_64.rpm", "bind-libs-9.16-1.el9.s390x.rpm"])
        .with_files(["bind-9.16-1.el9.src.rpm", "bind-9.16.tar.gz", "bind-tools-2.0-7.el9.noarch.rpm"])
}

fn bash() -> FakeBuild {
    FakeBuild::new("bash-5.1-2.el9".parse().unwrap(), ["RHEL-9"]).with_files(["bash-5.1-2.el9.x86_64.rpm"])
}

/// A service with one advisory of these builds.
async fn with(builds: impl IntoIterator<Item = FakeBuild>) -> (FakeErrataTool, ErrataTool) {
    let service = FakeErrataTool::start().await.unwrap();
    service.add(advisory(), builds, ["one", "two"]);
    let errata = ErrataTool::new(ErrataConfig::new(service.url())).unwrap();
    (service, errata)
}

/// Asks the question of each path.
async fn ask(errata: &ErrataTool, path: &str) -> freshmaker::backend::Result<()> {
    match path {
        ERRATUM | SUMMARY | BUGS => errata.advisory(28484).await.map(drop),
        BY_CVE | BUILDS => errata.fixed_packages(28484).await.map(drop),
        LIST => errata.unsigned_builds(28484).await.map(drop),
        REPOSITORIES => errata.repositories(28484).await.map(drop),
        OF_BUILD => errata.advisories_of_build(&"bind-9.16-1.el9".parse().unwrap()).await.map(drop),
        path => panic!("{path}"),
    }
}

const PATHS: [&str; 8] = [ERRATUM, SUMMARY, BUGS, BY_CVE, BUILDS, LIST, REPOSITORIES, OF_BUILD];

#[tokio::test]
async fn each_question_costs_few_requests() {
    let (service, errata) = with([bind(), bash()]).await;
    let mut before = 0;
    for (path, requests) in [(ERRATUM, 3), (BY_CVE, 2), (LIST, 1), (REPOSITORIES, 1), (OF_BUILD, 1)] {
        ask(&errata, path).await.unwrap();
        assert_eq!(service.asked().len() - before, requests, "{path}");
        before = service.asked().len();
    }
    let (service, errata) = with([bind().fixing(["CVE-2017-1"])]).await;
    ask(&errata, BY_CVE).await.unwrap();
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn the_parts_of_an_advisory_are_asked_for_at_the_same_time() {
    let (service, errata) = with([]).await;
    // Without an answer to the first request the others are still sent.
    service.disturb(ERRATUM, Reply::nothing());
    let asked = async {
        while service.asked().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = errata.advisory(28484) => panic!("{answer:?}"),
        () = asked => {}
    }
}

#[tokio::test]
async fn trouble_with_any_request_has_its_remedy() {
    for path in PATHS {
        let (service, errata) = with([bind()]).await;
        for (reply, remedy, text) in troubles() {
            if reply.body.len() > 1 << 20 && path != ERRATUM {
                // The bound is that of the client, whatever it asks.
                continue;
            }
            let described = format!("{path}, status {} with {} bytes", reply.status, reply.body.len());
            service.disturb(path, reply);
            let error = ask(&errata, path).await.expect_err(&described);
            assert_eq!(error.remedy, remedy, "{described}: {error}");
            assert!(error.text.contains(text), "{described}: {error}");
            assert_eq!(error.place, format!("errata: GET {path}"), "{described}");
        }
        assert!(ask(&errata, path).await.is_ok(), "{path}: it works again");
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unavailable() {
    let (service, _errata) = with([]).await;
    let mut config = ErrataConfig::new(service.url());
    config.http.timeout = Duration::from_millis(200);
    service.disturb(ERRATUM, Reply::nothing());
    let error = ErrataTool::new(config).unwrap().advisory(28484).await.unwrap_err();
    assert!(error.remedy == Remedy::Unavailable && error.text.contains("timed out"), "{error}");
    assert_eq!(error.place, format!("errata: GET {ERRATUM}"));
    let nobody = ErrataTool::new(ErrataConfig::new("http://127.0.0.1:1")).unwrap();
    assert_eq!(nobody.advisory(28484).await.unwrap_err().remedy, Remedy::Unavailable);
}

#[tokio::test]
async fn an_advisory_that_is_missing_is_not_found() {
    let (service, errata) = with([]).await;
    let error = errata.advisory(1).await.unwrap_err();
    assert_eq!((error.remedy, error.place.as_str()), (Remedy::NotFound, "errata: GET /api/v1/erratum/1"));
    assert_eq!(errata.fixed_packages(1).await.unwrap_err().remedy, Remedy::NotFound);
    assert_eq!(errata.repositories(1).await.unwrap_err().remedy, Remedy::NotFound);
    assert_eq!(errata.unsigned_builds(1).await.unwrap_err().remedy, Remedy::NotFound);
    // One that is known to one interface and not to the other is a contradiction.
    for path in [SUMMARY, BUGS, BUILDS] {
        service.disturb(path, Reply::new(404));
        let error = ask(&errata, path).await.unwrap_err();
        assert_corrupt(&error, &format!("errata: GET {path}"), "but not here: status 404");
    }
}

/// Changes what the service shows: the value at a pointer, or without a value the whole field.
async fn changed(path: &str, pointer: &str, value: Option<Value>) -> freshmaker::backend::Result<()> {
    let (service, errata) = with([bind().fixing(["CVE-2017-1"])]).await;
    if path == BUILDS {
        service.show(BY_CVE, json!({}));
    }
    let mut shown = truth(&service, path).await;
    let (above, name) = pointer.rsplit_once('/').unwrap_or(("", ""));
    match value {
        Some(value) => *shown.pointer_mut(pointer).unwrap() = value,
        None => drop(shown.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(name).unwrap()),
    }
    service.show(path, shown);
    let answer = ask(&errata, path).await;
    if let Err(error) = &answer {
        assert_eq!((error.remedy, error.place.clone()), (Remedy::Corrupt, format!("errata: GET {path}")), "{error}");
    }
    answer
}

async fn truth(service: &FakeErrataTool, path: &str) -> Value {
    let http = freshmaker_net::Http::new(&freshmaker_net::HttpConfig::new(service.url())).unwrap();
    let request = http.request(reqwest::Method::GET, &format!("{}{path}", service.url()));
    let reply = http.send(request, freshmaker_net::Call::Read, "test").await.unwrap();
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn a_field_that_is_missing_or_wrong_is_named() {
    let file = "/CVE-2017-1/RHEL-8/builds/0/bind-9.16-1.el9/variant_arch/RHEL-8/x86_64/0";
    let cases = [
        (ERRATUM, "/errata", None, "`errata`: it is missing"),
        (ERRATUM, "/errata", Some(json!({})), "`errata`: expected one advisory, found 0"),
        (ERRATUM, "/errata", Some(json!({ "a": {}, "b": {} })), "`errata`: expected one advisory, found 2"),
        (ERRATUM, "/errata", Some(json!([])), "`errata`: expected an object, found a list"),
        (ERRATUM, "/errata/rhsa/id", Some(json!(28485)), "`errata.rhsa.id`: the answer is about advisory 28485"),
        (ERRATUM, "/errata/rhsa/id", Some(json!("28484")), "`errata.rhsa.id`: expected a whole number"),
        (ERRATUM, "/errata/rhsa/fulladvisory", None, "`errata.rhsa.fulladvisory`: it is missing"),
        (ERRATUM, "/errata/rhsa/status", Some(json!(" ")), "`errata.rhsa.status`: expected text, found an empty text"),
        (ERRATUM, "/errata/rhsa/content_types", Some(json!("rpm")), "`errata.rhsa.content_types`: expected a list"),
        (ERRATUM, "/errata/rhsa/content_types/0", Some(json!(1)), "`errata.rhsa.content_types[0]`: expected text"),
        (ERRATUM, "/errata/rhsa/security_impact", None, "`errata.rhsa.security_impact`: it is missing"),
        (ERRATUM, "/errata/rhsa/product_id", Some(json!(-1)), "`errata.rhsa.product_id`: expected a whole number"),
        (ERRATUM, "/content/content/cve", None, "`content.content.cve`: it is missing"),
        (ERRATUM, "/content/content/cve", Some(json!(["CVE-1"])), "`content.content.cve`: expected text, found a list"),
        (ERRATUM, "", Some(json!([])), "`the answer`: expected an object, found a list"),
        (SUMMARY, "/id", Some(json!(5)), "`id`: the answer is about advisory 5"),
        (SUMMARY, "/advisory_name", Some(json!("RHSA-2017:284")), "is called `RHSA-2017:28484-02` elsewhere"),
        (SUMMARY, "/product/id", Some(json!(5)), "`product.id`: it is 5 here and 104 elsewhere"),
        (SUMMARY, "/product/short_name", None, "`product.short_name`: it is missing"),
        (SUMMARY, "/release", Some(Value::Null), "`release`: expected an object, found null"),
        (SUMMARY, "/people/reporter", Some(json!(false)), "`people.reporter`: expected text, found true or false"),
        (BUGS, "", Some(json!({})), "`the answer`: expected a list, found an object"),
        (BUGS, "/0/flags", Some(json!(["hightouch+"])), "`[0].flags`: expected text, found a list"),
        (BUGS, "/0", Some(json!("hightouch+")), "`[0]`: expected an object, found text"),
        (BY_CVE, "/CVE-2017-1", Some(json!([])), "`CVE-2017-1`: expected an object"),
        (BY_CVE, file, Some(json!({})), "variant_arch.RHEL-8.x86_64[0].filename`: it is missing"),
        (BY_CVE, file, Some(json!("bash.x86_64.rpm")), "\"bash.x86_64\" is not name-version-release.architecture"),
        (BY_CVE, "/CVE-2017-1/RHEL-8/builds/0/bind-9.16-1.el9/nevr", Some(json!("bind")), "`bind` is not name-epoch:"),
        (BUILDS, "/RHEL-8", Some(json!({})), "`RHEL-8`: expected a list, found an object"),
        (BUILDS, "/RHEL-8/0/bind-9.16-1.el9/RHEL-8/x86_64/0", Some(json!("-1.x86_64.rpm")), "\"-1.x86_64\" is not"),
        (BUILDS, "/RHEL-8/0/bind-9.16-1.el9/RHEL-8/x86_64/0", Some(json!({ "filename": 7 })), "x86_64[0].filename`"),
        (LIST, "/RHEL-8/builds/0/bind-9.16-1.el9/is_signed", Some(json!("yes")), "is_signed`: expected true or false"),
        (LIST, "/RHEL-8/builds/0", Some(json!({ "bind": {} })), "`RHEL-8.builds[0].bind`: \"bind\" is not"),
        (REPOSITORIES, "", Some(json!(["one"])), "`the answer`: expected an object, found a list"),
        (REPOSITORIES, "", Some(json!({ " ": [] })), "the id of a repository is empty"),
        (OF_BUILD, "/nvr", Some(json!("bind-9.16-2.el9")), "`nvr`: the answer is about bind-9.16-2.el9"),
        (OF_BUILD, "/all_errata/0/id", None, "`all_errata[0].id`: it is missing"),
    ];
    for (path, pointer, value, text) in cases {
        let error = changed(path, pointer, value.clone()).await.expect_err(&format!("{path} {pointer} {value:?}"));
        assert!(error.text.contains(text), "{path} {pointer} {value:?}: {error}");
    }
}

#[tokio::test]
async fn what_may_be_missing_may_be_missing() {
    let cases = [
        (ERRATUM, "/errata/rhsa/security_impact", Some(Value::Null)),
        (ERRATUM, "/errata/rhsa/security_impact", Some(json!(""))),
        (ERRATUM, "/content/content/cve", Some(Value::Null)),
        (BUGS, "/0/flags", None),
        (BUGS, "/0/flags", Some(Value::Null)),
        (BUGS, "/0/flags", Some(json!(""))),
        (BY_CVE, "/CVE-2017-1/RHEL-8/builds", None),
        (BY_CVE, "/CVE-2017-1/RHEL-8/builds/0/bind-9.16-1.el9/nevr", None),
        (BY_CVE, "/CVE-2017-1/RHEL-8/builds/0/bind-9.16-1.el9/variant_arch", None),
        (OF_BUILD, "/all_errata", None),
    ];
    for (path, pointer, value) in cases {
        changed(path, pointer, value.clone()).await.unwrap_or_else(|error| panic!("{pointer} {value:?}: {error}"));
    }
}

#[tokio::test]
async fn the_text_of_cves_is_split_at_white_space() {
    let (service, errata) = with([]).await;
    let shown = truth(&service, ERRATUM).await;
    let cases = [
        ("", texts(&[])),
        (" \n", texts(&[])),
        ("CVE-2017-1", texts(&["CVE-2017-1"])),
        (" CVE-2017-2  CVE-2017-1\nCVE-2017-2 ", texts(&["CVE-2017-1", "CVE-2017-2"])),
    ];
    for (text, expected) in cases {
        let mut shown = shown.clone();
        shown["content"]["content"]["cve"] = json!(text);
        service.show(ERRATUM, shown);
        assert_eq!(errata.advisory(28484).await.unwrap().cves, expected, "{text:?}");
    }
}

#[tokio::test]
async fn only_the_whole_flag_makes_a_major_incident() {
    let (service, errata) = with([]).await;
    let cases = [
        ("hightouch+", true),
        ("a+, hightouch+ ,b?", true),
        ("hightouch?", false),
        ("hightouch-,hightouch", false),
        ("no-hightouch+", false),
    ];
    for (flags, expected) in cases {
        service.show(BUGS, json!([{ "id": 1, "flags": "a+" }, { "id": 2, "flags": flags }, { "id": 3 }]));
        assert_eq!(errata.advisory(28484).await.unwrap().has_hightouch_bug, expected, "{flags}");
    }
    service.show(BUGS, json!([]));
    assert!(!errata.advisory(28484).await.unwrap().has_hightouch_bug);
    service.add(Advisory { id: 7, has_hightouch_bug: true, ..advisory() }, [], [] as [&str; 0]);
    assert!(errata.advisory(7).await.unwrap().has_hightouch_bug);
}

#[tokio::test]
async fn fixed_packages_are_those_of_the_cves_or_else_all() {
    // Epochs are those of the build, for packages of its version.
    let fixes_of_bind = nvrs(&["32:bind-libs-9.16-1.el9", "bind-tools-2.0-7.el9"]);
    let (_service, errata) = with([bind().fixing(["CVE-2017-1", "CVE-2017-2"]), bash()]).await;
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), fixes_of_bind);
    // No CVE names a build; this list has no epochs.
    let (_service, errata) = with([bind(), bash()]).await;
    let all = nvrs(&["bash-5.1-2.el9", "bind-libs-9.16-1.el9", "bind-tools-2.0-7.el9"]);
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), all);
    // CVEs whose builds have no binary packages name none.
    let sources = FakeBuild::new("tar-1-1.el9".parse().unwrap(), ["RHEL-9"]).with_files(["tar-1-1.el9.src.rpm"]);
    let (_service, errata) = with([sources.fixing(["CVE-2017-1"]), bash()]).await;
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), nvrs(&["bash-5.1-2.el9"]));
    let (service, errata) = with([]).await;
    service.show(BY_CVE, json!({ "CVE-2017-1": {}, "CVE-2017-2": { "RHEL-9": { "name": "RHEL-9", "builds": [] } } }));
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), nvrs(&[]));
    assert_eq!(service.asked().len(), 2);
    // A source package is none in any place.
    let files = json!(["a-1-1.src.rpm", "b-1-1.nosrc.rpm", "c-1-1.x86_64.rpm"]);
    service.show(BUILDS, json!({ "RHEL-9": [{ "a-1-1": { "RHEL-9": { "x86_64": files } } }] }));
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), nvrs(&["c-1-1"]));
}

#[tokio::test]
async fn packages_of_a_module_have_no_epoch_of_it() {
    let module = FakeBuild::new("3:nodejs-10-1.module".parse().unwrap(), ["RHEL-8"])
        .with_files(["npm-10-1.module.x86_64.rpm", "nodejs-10.1-2.el8.nosrc.rpm"])
        .fixing(["CVE-2017-1"])
        .as_module();
    let (_service, errata) = with([module]).await;
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), nvrs(&["npm-10-1.module"]));
}

#[tokio::test]
async fn unsigned_builds_are_named() {
    let (service, errata) = with([bind().unsigned(), bash()]).await;
    assert_eq!(errata.unsigned_builds(28484).await.unwrap(), nvrs(&["bind-9.16-1.el9"]));
    // Signed for one product only.
    let mut shown = truth(&service, LIST).await;
    *shown.pointer_mut("/RHEL-8/builds/0/bind-9.16-1.el9/is_signed").unwrap() = json!(true);
    service.show(LIST, shown.clone());
    assert_eq!(errata.unsigned_builds(28484).await.unwrap(), nvrs(&["bind-9.16-1.el9"]));
    // The service does not say so.
    for product in ["RHEL-8", "RHEL-9"] {
        shown[product]["builds"][0]["bind-9.16-1.el9"].as_object_mut().unwrap().remove("is_signed");
    }
    service.show(LIST, shown);
    assert_eq!(errata.unsigned_builds(28484).await.unwrap(), nvrs(&["bind-9.16-1.el9"]));
    let (_service, errata) = with([]).await;
    assert_eq!(errata.unsigned_builds(28484).await.unwrap(), nvrs(&[]));
}

#[tokio::test]
async fn a_build_may_have_several_advisories_and_an_odd_name() {
    let odd = "perl-1.2^20%41-3.module+el8~a?b#c";
    let build = FakeBuild::new(odd.parse().unwrap(), ["RHEL-8"]);
    let (service, errata) = with([build.clone()]).await;
    service.add(Advisory { id: 9, ..advisory() }, [build], ["one"]);
    // The path is encoded: neither a query nor a fragment, nor decoded once too often.
    let path = "/api/v1/build/perl-1.2^20%2541-3.module+el8~a%3Fb%23c";
    service.show(path, json!({ "nvr": odd, "all_errata": [{ "id": 9 }, { "id": 28484 }, { "id": 9 }] }));
    let with_epoch = format!("4:{odd}").parse().unwrap();
    assert_eq!(errata.advisories_of_build(&with_epoch).await.unwrap(), [9, 28484].into());
    assert_eq!(service.asked(), [format!("GET {path}")]);
    // A base URL with a path keeps it.
    let below = ErrataTool::new(ErrataConfig::new(format!("{}/errata", service.url()))).unwrap();
    service.show("/errata/api/v1/build/bash-5-1", json!({ "nvr": "bash-5-1", "all_errata": [] }));
    assert_eq!(below.advisories_of_build(&"bash-5-1".parse().unwrap()).await.unwrap(), [].into());
}

#[derive(Debug)]
struct Tickets(Result<Vec<u8>, String>);

impl Negotiate for Tickets {
    fn token(&self, service: &str) -> Result<Vec<u8>, String> {
        assert_eq!(service, "HTTP@127.0.0.1");
        self.0.clone()
    }
}

#[tokio::test]
async fn a_ticket_is_shown_with_each_request_and_without_one_nothing_is_sent() {
    let (service, without) = with([bind()]).await;
    service.require_authorization("Negotiate dGlja2V0");
    let mut config = ErrataConfig::new(service.url());
    config.login = ErrataLogin::Kerberos;
    let errata = |ticket| ErrataTool::new(config.clone()).unwrap().with_negotiate(Arc::new(Tickets(ticket)));
    for path in PATHS {
        let error = ask(&without, path).await.unwrap_err();
        assert!(error.remedy == Remedy::Unavailable && error.text.contains("status 401"), "{path}: {error}");
        ask(&errata(Ok(b"ticket".to_vec())), path).await.unwrap();
    }
    let before = service.asked().len();
    let error = errata(Err("there is no ticket".into())).advisory(28484).await.unwrap_err();
    assert!(error.remedy == Remedy::Unavailable && error.text.contains("there is no ticket"), "{error}");
    assert_eq!(service.asked().len(), before);
}

#[test]
fn mistakes_in_the_configuration_are_found_without_the_network() {
    assert!(ErrataConfig::new("https://errata.example.org").check_offline().is_ok());
    for url in ["errata", "ftp://errata.example.org"] {
        assert_eq!(ErrataConfig::new(url).check_offline().unwrap_err().remedy, Remedy::Unsupported, "{url}");
        assert_eq!(ErrataTool::new(ErrataConfig::new(url)).unwrap_err().remedy, Remedy::Unsupported, "{url}");
    }
    let mut config = ErrataConfig::new("https://errata.example.org");
    config.login = ErrataLogin::Kerberos;
    config.kerberos.keytab = Some("missing.keytab".into());
    assert_eq!(config.check_offline().unwrap_err().remedy, Remedy::Unsupported);
    config.login = ErrataLogin::None;
    config.http.tls.ca = Some("missing.pem".into());
    let error = config.check_offline().unwrap_err();
    assert!(error.remedy == Remedy::Unsupported && error.to_string().contains("missing.pem"), "{error}");
}
