//! What the real Errata Tool said, served over HTTP.

use crate::{Recorded, assert_corrupt, nvrs, recorded, texts};
use freshmaker::backend::Remedy;
use freshmaker_redhat::contracts::{Advisories, Advisory};
use freshmaker_redhat::errata::{ErrataConfig, ErrataTool};
use freshmaker_redhat::fakes::errata::{FakeBuild, FakeErrataTool};
use serde_json::{Value, json};

fn answers() -> Vec<Recorded> {
    recorded(include_str!("../data/errata/answers.jsonl"))
}

/// A service with the first recorded answer of a source to each path.
async fn service(source: &str) -> (FakeErrataTool, ErrataTool) {
    let service = FakeErrataTool::start().await.unwrap();
    for answer in answers().into_iter().rev().filter(|answer| answer.source.starts_with(source)) {
        service.show(&answer.path, answer.body);
    }
    let errata = ErrataTool::new(ErrataConfig::new(service.url())).unwrap();
    (service, errata)
}

#[tokio::test]
async fn the_answers_of_the_python_service_are_read() {
    let (service, errata) = service("freshmaker@").await;
    let expected = Advisory {
        id: 28484,
        name: "RHSA-2017:28484".into(),
        state: "QE".into(),
        content_types: texts(&["rpm"]),
        security_impact: "important".into(),
        product: "product".into(),
        release: "RHEL-7.4.0".into(),
        reporter: "botas/dev-jenkins.some.strange.letters.redhat.com@REDHAT.COM".into(),
        cves: texts(&["CVE-2015-3253", "CVE-2016-6814"]),
        has_hightouch_bug: true,
    };
    assert_eq!(errata.advisory(28484).await.unwrap(), expected);
    let mut asked = service.asked();
    asked.sort();
    let paths = ["GET /advisory/28484.json", "GET /advisory/28484/bugs.json", "GET /api/v1/erratum/28484"];
    assert_eq!(asked, paths);
    // In two variants and four architectures, with the epoch that only `nevr` has.
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), nvrs(&["0:libntirpc-1.4.3-4.el6rhs"]));
    assert_eq!(service.asked()[3..], ["GET /api/v1/erratum/28484/builds_by_cve"]);
    let repositories = [
        "rhel-6-server-eus-optional-debug-rpms__6_DOT_7__i386",
        "rhel-6-server-eus-rpms__6_DOT_7__x86_64",
        "rhel-6-server-eus-source-rpms__6_DOT_7__x86_64",
    ];
    assert_eq!(errata.repositories(28484).await.unwrap(), texts(&repositories));
    assert_eq!(service.asked()[4..], ["GET /errata/get_pulp_packages/28484.json"]);
    assert_eq!(errata.unsigned_builds(28484).await.unwrap(), nvrs(&[]));
    assert_eq!(service.asked()[5..], ["GET /api/v1/erratum/28484/builds_list"]);
    // All packages, of two products.
    service.show("/api/v1/erratum/28484/builds_by_cve", json!({}));
    let all = nvrs(&["libntirpc-devel-1.4.3-4.el6rhs", "libntirpc-devel-1.4.3-4.el7rhgs"]);
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), all);
    let both = ["GET /api/v1/erratum/28484/builds_by_cve", "GET /advisory/28484/builds.json"];
    assert_eq!(service.asked()[6..], both);
}

#[tokio::test]
async fn the_other_lists_of_builds_of_the_python_service_are_read() {
    let (service, errata) = service("freshmaker@").await;
    service.show("/api/v1/erratum/28484/builds_by_cve", json!({}));
    let lists: Vec<Value> = answers()
        .into_iter()
        .filter(|answer| answer.source.starts_with("freshmaker@") && answer.path == "/advisory/28484/builds.json")
        .map(|answer| answer.body)
        .collect();
    let expected = [
        nvrs(&["libntirpc-devel-1.4.3-4.el6rhs", "libntirpc-devel-1.4.3-4.el7rhgs"]),
        // Without source packages.
        nvrs(&["libntirpc-devel-1.4.3-4.el7rhgs"]),
        // What is among the source packages is none, whatever its name is.
        nvrs(&[]),
        // A module, whose packages have other versions.
        nvrs(&["libfontenc-1.1.3-8.module+el8.5.0+12446+59af0ebd"]),
    ];
    assert_eq!(lists.len(), expected.len());
    for (list, expected) in lists.into_iter().zip(expected) {
        service.show("/advisory/28484/builds.json", list);
        assert_eq!(errata.fixed_packages(28484).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn an_older_version_shows_files_as_texts_and_no_release() {
    let (_service, errata) = service("ronnll").await;
    assert_eq!(errata.fixed_packages(28484).await.unwrap(), nvrs(&["0:libntirpc-1.4.3-4.el6rhs"]));
    let error = errata.advisory(28484).await.unwrap_err();
    assert_corrupt(&error, "errata: GET /advisory/28484.json", "`release`: it is missing");
}

#[tokio::test]
async fn the_answers_of_the_service_in_production_are_read() {
    let (service, errata) = service("errata-tool").await;
    for id in [36762, 46563, 43686] {
        service.show(&format!("/advisory/{id}/bugs.json"), json!([]));
        service.show(&format!("/api/v1/erratum/{id}/builds_by_cve"), json!({}));
    }
    let ceph = Advisory {
        id: 36762,
        name: "RHSA-2018:2838-08".into(),
        state: "SHIPPED_LIVE".into(),
        content_types: texts(&["rpm"]),
        security_impact: "critical".into(),
        product: "RHCEPH".into(),
        release: "rhceph-3.1".into(),
        reporter: "xxxxxxx@redhat.com".into(),
        cves: texts(&["CVE-2018-14649"]),
        has_hightouch_bug: false,
    };
    assert_eq!(errata.advisory(36762).await.unwrap(), ceph);
    assert_eq!(errata.fixed_packages(36762).await.unwrap(), nvrs(&["ceph-iscsi-cli-2.7-7.el7cp"]));
    let rhos = errata.advisory(46563).await.unwrap();
    assert_eq!((rhos.content_types, rhos.cves), (texts(&["rpm", "tar"]), texts(&[])));
    assert_eq!((rhos.security_impact.as_str(), rhos.release.as_str()), ("none", "OpenStack 15.0.z for RHEL 8"));
    let packages = errata.fixed_packages(46563).await.unwrap();
    assert_eq!(packages.len(), 8);
    assert!(packages.is_superset(&nvrs(&["rhosp-director-images-ipa-x86_64-15.0-20190926.1.el8ost"])), "{packages:?}");
    // Images are no packages.
    assert_eq!(errata.advisory(43686).await.unwrap().content_types, texts(&["docker"]));
    assert_eq!(errata.fixed_packages(43686).await.unwrap(), nvrs(&[]));
    let before = service.asked().len();
    let build = "ceph-iscsi-cli-2.7-7.el7cp".parse().unwrap();
    assert_eq!(errata.advisories_of_build(&build).await.unwrap(), [36762].into());
    let image = "golang-github-prometheus-node_exporter-container-v4.1.6-201907101224".parse().unwrap();
    assert_eq!(errata.advisories_of_build(&image).await.unwrap(), [43686].into());
    assert_eq!(service.asked().len() - before, 2);
    let unknown = errata.advisories_of_build(&"bash-5-1".parse().unwrap()).await.unwrap_err();
    assert_eq!((unknown.remedy, unknown.place.as_str()), (Remedy::NotFound, "errata: GET /api/v1/build/bash-5-1"));
}

/// Everything of a recorded value that the fake shows as well is equal, and the fake shows nothing
/// else.
#[track_caller]
fn assert_part(fake: &Value, real: &Value) {
    match (fake, real) {
        (Value::Object(fake), Value::Object(real)) => {
            for (name, value) in fake {
                assert_part(value, real.get(name).unwrap_or_else(|| panic!("no `{name}` in {real:?}")));
            }
        }
        (Value::Number(_), Value::Number(_)) => {}
        (fake, real) => assert_eq!(fake, real),
    }
}

/// Asks as a client without this crate would.
async fn get(url: &str, path: &str) -> Value {
    let http = freshmaker_net::Http::new(&freshmaker_net::HttpConfig::new(url)).unwrap();
    let request = http.request(reqwest::Method::GET, &format!("{url}{path}"));
    let reply = http.send(request, freshmaker_net::Call::Read, "test").await.unwrap();
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn the_fake_answers_in_the_same_form() {
    let (real, errata) = service("errata-tool").await;
    let fake = FakeErrataTool::start().await.unwrap();
    real.show("/advisory/36762/bugs.json", json!([]));
    let build = FakeBuild::new("ceph-iscsi-cli-2.7-7.el7cp".parse().unwrap(), ["RHEL-7-RHCEPH-3.1"])
        .with_files(["ceph-iscsi-cli-2.7-7.el7cp.src.rpm", "ceph-iscsi-cli-2.7-7.el7cp.noarch.rpm"]);
    fake.add(errata.advisory(36762).await.unwrap(), [build], ["repository"]);
    fake.date(36762, "2018-09-24T19:16:45Z".parse().unwrap(), "2018-10-01T15:13:30Z".parse().unwrap());
    let mut compared = 0;
    for answer in answers().iter().filter(|answer| answer.source.starts_with("errata-tool")) {
        if answer.path.contains("36762") && !answer.path.contains("builds") {
            assert_part(&get(&fake.url(), &answer.path).await, &answer.body);
            compared += 1;
        }
    }
    let builds = get(&fake.url(), "/advisory/36762/builds.json").await;
    let architectures = &builds["RHEL-7-RHCEPH-3.1"][0]["ceph-iscsi-cli-2.7-7.el7cp"]["RHEL-7-RHCEPH-3.1"];
    let real = answers().into_iter().find(|answer| answer.path == "/advisory/36762/builds.json").unwrap();
    let build = &real.body["RHEL-7-RHCEPH-3.1"][0]["ceph-iscsi-cli-2.7-7.el7cp"];
    // The name of the variant differs.
    assert_eq!(*architectures, build["7Server-RHEL-7-RHCEPH-3.1-Tools"]);
    assert_part(
        &get(&fake.url(), "/api/v1/build/ceph-iscsi-cli-2.7-7.el7cp").await["nvr"],
        &json!("ceph-iscsi-cli-2.7-7.el7cp"),
    );
    assert_eq!(compared, 2);
}
