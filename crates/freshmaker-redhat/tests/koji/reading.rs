use crate::hub::{Hub, Step, fault, http, value};
use crate::recorded::Exchange;
use crate::submission::nginx;
use freshmaker::Nvr;
use freshmaker::backend::{Made, Remedy, Verifier};
use freshmaker::rebuild::{BuildMode, ExternalId, Output, Verification};
use freshmaker_redhat::image::ImageVerifier;
use freshmaker_redhat::koji::xmlrpc::{Request, Response, Value};
use freshmaker_redhat::koji::{Build, KojiConfig, KojiReader};
use freshmaker_testing::http::{Reply, Server};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A hub that answers these methods as the real one did.
async fn replay(answers: &'static [(&'static str, &'static str)]) -> Hub {
    Hub::start(move |seen, _| match answers.iter().find(|(method, _)| *method == seen.method()) {
        Some((_, exchange)) => Step::Send(http(200, "text/xml", &Exchange::named(exchange).answered())),
        None => fault(1000, "Invalid method"),
    })
    .await
}

#[tokio::test]
async fn what_the_real_hub_answers_is_understood() {
    let hub = replay(&[
        ("getBuild", "101-"),
        ("listArchives", "107-"),
        ("listTags", "115-"),
        ("getLatestBuilds", "116-"),
        ("getBuildLogs", "111-"),
        ("getTaskRequest", "036-"),
    ])
    .await;
    let koji = KojiReader::new(&hub.config()).expect("a client");
    let build = koji.build("nginx-container-1.24-5.1700000000").await.expect("an answer").expect("a build");
    assert_eq!((build.id, build.complete, build.task), (2, true, Some(1)));
    let image = build.image.as_ref().expect("an image");
    assert_eq!((image.parent_build, image.flatpak), (Some(1), false));
    let archives = koji.archives(1).await.expect("archives");
    assert_eq!((archives.len(), archives[0].arch.as_deref()), (1, Some("x86_64")));
    assert_eq!(archives[0].labels["com.redhat.component"], "ubi9-container");
    assert_eq!(archives[0].repositories.len(), 2);
    assert_eq!(koji.tags(&build.nvr).await.expect("tags"), ["rhel-9-containers-candidate"]);
    let latest = koji.latest("rhel-9-containers-candidate", Some("nginx-container")).await.expect("builds");
    assert_eq!(latest.iter().map(|build| build.nvr.as_str()).collect::<Vec<_>>(), [build.nvr.as_str()]);
    assert_eq!(koji.logs(1).await.expect("logs")[0].name, "cg_import.log");
    let made = koji.task_request(&build).await.expect("a request");
    assert_eq!((made.target.as_str(), made.branch.as_deref()), ("rhel-9-containers", Some("rhel-9")));
    assert_eq!(made.source.revision.as_deref(), Some("deadbeef"));
}

#[tokio::test]
async fn what_is_not_there_is_nothing_and_what_is_wrong_is_named() {
    let hub = replay(&[("getBuild", "003-")]).await;
    let koji = KojiReader::new(&hub.config()).expect("a client");
    assert_eq!(koji.build("nope-1-1").await.expect("an answer"), None);
    let hub = Hub::start(|_, _| value(Value::record([("id", 1.into()), ("name", 2.into())]))).await;
    let koji = KojiReader::new(&hub.config()).expect("a client");
    let error = koji.build("odd-1-1").await.expect_err("a number");
    assert_eq!(error.remedy, Remedy::Corrupt);
    assert!(error.to_string().ends_with("getBuild: `odd-1-1.name` is an integer, not a text"), "{error}");
}

/// In the form of `grafana-container-7-34` in production.
#[tokio::test]
async fn what_an_image_was_built_on_is_read() {
    let hub = Hub::start(|_, _| {
        let parent = Value::record([("id", 1_849_245.into()), ("nvr", "ubi8-container-8.6-395".into())]);
        let odcs = [("compose_ids", vec![1_049_454, 1_049_455].into()), ("signing_intent", "release".into())];
        let digests = [
            ("application/vnd.oci.image.index.v1+json", format!("sha256:{}", "1".repeat(64)).into()),
            ("application/vnd.docker.distribution.manifest.list.v2+json", format!("sha256:{}", "2".repeat(64)).into()),
        ];
        let image = Value::record([
            ("parent_build_id", 1_849_245.into()),
            ("parent_image_builds", Value::record([("registry.example.com/ubi8/ubi:8.6", parent)])),
            ("odcs", Value::record(odcs)),
            ("index", Value::record([("digests", Value::record(digests))])),
        ]);
        let extra = [("image", image), ("container_koji_task_id", 42_753_873.into())];
        value(Value::record([
            ("id", 1_872_940.into()),
            ("name", "grafana-container".into()),
            ("version", "7".into()),
            ("release", "34".into()),
            ("state", 1.into()),
            ("task_id", Value::Nil),
            ("extra", Value::record(extra)),
        ]))
    })
    .await;
    let koji = KojiReader::new(&hub.config()).expect("a client");
    let build = koji.build("grafana-container-7-34").await.expect("an answer").expect("a build");
    assert_eq!((build.nvr.as_str(), build.task), ("grafana-container-7-34", Some(42_753_873)));
    assert!(build.digest.as_ref().is_some_and(|digest| digest.as_str().starts_with("sha256:22")), "{build:?}");
    let image = build.image.expect("an image");
    assert_eq!((image.composes, image.signing_intent.as_deref()), (vec![1_049_454, 1_049_455], Some("release")));
    assert_eq!(image.parents["registry.example.com/ubi8/ubi:8.6"].nvr, "ubi8-container-8.6-395");
}

async fn source(recorded: Option<&'static str>, asked: &'static str) -> Result<(String, String), Remedy> {
    let hub = Hub::start(move |seen, _| match seen.method() {
        "getBuild" => value(Value::record([
            ("id", 1.into()),
            ("name", "a".into()),
            ("version", "1".into()),
            ("release", "1".into()),
            ("state", 1.into()),
            ("source", recorded.into()),
            ("task_id", Value::Nil),
            ("extra", Value::record([("container_koji_task_id", 9.into())])),
        ])),
        _ => value(Value::Array(vec![asked.into(), "target".into(), Value::Struct(Default::default())])),
    })
    .await;
    let koji = KojiReader::new(&hub.config()).expect("a client");
    let build: Build = koji.build("1").await.expect("an answer").expect("a build");
    assert_eq!(build.task, Some(9));
    let source = koji.task_request(&build).await.map_err(|error| error.remedy)?.source;
    Ok((source.location, source.revision.expect("a commit")))
}

#[tokio::test]
async fn the_commit_of_an_image_is_found_wherever_it_stands() {
    let found = |location: &str, commit: &str| Ok((location.to_owned(), commit.to_owned()));
    assert_eq!(
        source(Some("git://x/containers/a#c1"), "git://x/containers/a#c2").await,
        found("git://x/containers/a", "c1")
    );
    assert_eq!(source(None, "git://x/containers/a?#c2").await, found("git://x/containers/a", "c2"));
    assert_eq!(source(Some("git://x/a#origin/rhel-9"), "git://x/a#c2").await, found("git://x/a", "c2"));
    assert_eq!(source(Some("git://x/a"), "git://x/a#origin/b").await, Err(Remedy::NotFound));
}

/// A hub with one image of two architectures: one has two kernels.
async fn kernels() -> Hub {
    Hub::start(|seen, _| match seen.method() {
        "getBuild" => value(Value::record([
            ("id", 5.into()),
            ("name", "node-container".into()),
            ("version", "1".into()),
            ("release", "2".into()),
            ("state", 1.into()),
        ])),
        "listArchives" => {
            let archive = |id: i64, arch: &str| {
                let extra = Value::record([("image", Value::record([("arch", arch.into())]))]);
                Value::record([("id", id.into()), ("filename", "x.tar".into()), ("extra", extra)])
            };
            let logs = Value::record([("id", 3.into()), ("filename", "x.log".into()), ("extra", Value::Nil)]);
            value(Value::Array(vec![archive(1, "x86_64"), archive(2, "s390x"), logs]))
        }
        _ => {
            let rpm = |version: &str, epoch: Value| {
                let (name, release) = ("kernel-core".into(), "1.el9".into());
                Value::record([("name", name), ("version", version.into()), ("release", release), ("epoch", epoch)])
            };
            let answers = seen.request.params[0].each(&[], |call| {
                let named = call.get::<&[Value]>(&["params"])?[0].get::<i64>(&["imageID"])?;
                let rpms = match named {
                    1 => vec![rpm("5.14", Value::Nil), rpm("6.1", 2.into())],
                    _ => vec![rpm("5.14", Value::Nil)],
                };
                Ok(Value::Array(vec![Value::Array(rpms)]))
            });
            value(Value::Array(answers.expect("calls")))
        }
    })
    .await
}

#[tokio::test]
async fn packages_are_listed_by_architecture_and_every_version_counts() {
    let hub = kernels().await;
    let koji = KojiReader::new(&hub.config()).expect("a client");
    let installed =
        koji.installed_rpms(&koji.build("5").await.expect("an answer").expect("a build")).await.expect("packages");
    let names: Vec<_> = installed
        .iter()
        .map(|(arch, packages)| (arch, packages.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .collect();
    let (old, new) = ("kernel-core-5.14-1.el9".to_owned(), "2:kernel-core-6.1-1.el9".to_owned());
    assert_eq!(names, [("s390x", vec![old.clone()]), ("x86_64", vec![old, new])]);
    assert_eq!(hub.seen().len(), 3);
}

fn verifier(config: &KojiConfig) -> ImageVerifier {
    ImageVerifier::new(Arc::new(KojiReader::new(config).expect("a client")))
}

#[tokio::test]
async fn a_result_is_verified_by_what_is_installed() {
    let hub = kernels().await;
    let verifier = Arc::new(verifier(&hub.config()));
    let made = |demand: Option<&str>| {
        let mut request = nginx();
        request.demands = demand.into_iter().map(|demand| demand.parse().expect("an NVR")).collect();
        let output = Output { name: "node-container-1-2".to_owned(), digest: None, contents: None };
        Made { request, external: ExternalId::new("1"), output }
    };
    let verified = |made: Made| {
        let verifier = verifier.clone();
        async move { verifier.verify(&made).await.expect("an answer") }
    };
    assert_eq!(verified(made(None)).await, Verification::Passed(None));
    assert_eq!(hub.seen().len(), 0);
    assert_eq!(verified(made(Some("kernel-core-5.14-1.el9"))).await, Verification::Passed(None));
    assert!(
        matches!(verified(made(Some("kernel-core-5.15-1.el9"))).await, Verification::Stale(text) if text.contains("s390x"))
    );
    assert!(
        matches!(verified(made(Some("bash-5-1.el9"))).await, Verification::Failed(text) if text.contains("absent"))
    );
    let mut both = made(Some("kernel-core-5.15-1.el9"));
    both.request.demands.insert("bash-5-1.el9".parse().expect("an NVR"));
    assert!(matches!(verified(both).await, Verification::Failed(text) if text.contains("; ")));
    let mut scratch = made(Some("bash-5-1.el9"));
    scratch.request.mode = BuildMode::Scratch;
    assert_eq!(verified(scratch).await, Verification::Passed(None));
}

/// A hub that lists packages for one of two images, and has the recorded metadata of the other one,
/// if it has any.
async fn half_listed(metadata: Option<&'static [u8]>) -> (Server, KojiConfig) {
    let server = Server::start(move |request| async move {
        if request.method == "GET" {
            assert!(request.path.ends_with("/nginx-container/1.24/5.1700000000/metadata.json"), "{}", request.path);
            return metadata.map_or_else(|| Reply::new(404), |metadata| Reply::new(200).with_body(metadata));
        }
        let call = Request::parse(&request.body).expect("a call");
        let answer = match call.method.as_str() {
            "getBuild" => return Reply::new(200).with_body(Exchange::named("101-").answered()),
            "listArchives" => {
                let archive = |id: i64, arch: &str| {
                    let extra = Value::record([("image", Value::record([("arch", arch.into())]))]);
                    let filename = format!("docker-image-nginx-container.{arch}.tar.gz").into();
                    Value::record([("id", id.into()), ("filename", filename), ("extra", extra)])
                };
                Value::Array(vec![archive(1, "x86_64"), archive(2, "s390x")])
            }
            _ => {
                let parts = [("name", "zlib".into()), ("version", "1.2".into()), ("release", "1".into())];
                let listed = Value::Array(vec![Value::record(parts)]);
                let answers = [Value::Array(Vec::new()), listed].map(|rpms| Value::Array(vec![rpms]));
                Value::Array(answers.into())
            }
        };
        Reply::new(200).with_body(Response::Value(answer).encode().expect("it encodes"))
    })
    .await
    .expect("a port");
    let url = format!("http://{}", server.address());
    let mut config = KojiConfig::new(format!("{url}/kojihub"));
    config.topurl = Some(format!("{url}/kojifiles"));
    (server, config)
}

#[tokio::test]
async fn what_the_hub_does_not_list_is_read_from_the_metadata() {
    let installed = async |config: &KojiConfig| {
        let koji = KojiReader::new(config).expect("a client");
        let build = koji.build("nginx-container-1.24-5.1700000000").await?.expect("a build");
        let installed = koji.installed_rpms(&build).await?;
        let names = |(arch, packages): (&str, &BTreeSet<Nvr>)| {
            format!("{arch}: {}", packages.iter().map(Nvr::to_string).collect::<Vec<_>>().join(" "))
        };
        Ok::<_, freshmaker::backend::Error>(installed.iter().map(names).collect::<Vec<_>>())
    };
    let recorded: &'static [u8] = Exchange::named("205-").answered().leak();
    let (_server, mut config) = half_listed(Some(recorded)).await;
    let both = installed(&config).await.expect("packages");
    assert_eq!(both, ["s390x: zlib-1.2-1", "x86_64: bash-5.1.8-6.el9 1:openssl-libs-3.0.7-24.el9"]);
    let made = |demand: &str| {
        let mut request = nginx();
        request.demands = [demand.parse().expect("an NVR")].into();
        let output = Output { name: "nginx-container-1.24-5.1700000000".to_owned(), digest: None, contents: None };
        Made { request, external: ExternalId::new("1"), output }
    };
    let by_files = verifier(&config);
    for (demand, passes) in [("1:openssl-libs-3.0.7-24.el9", true), ("2:openssl-libs-3.0.7-1.el9", false)] {
        let verified = by_files.verify(&made(demand)).await.expect("an answer");
        assert_eq!(verified == Verification::Passed(None), passes, "{verified:?}");
    }
    // Without files, and without metadata among them, only what is listed counts: everything else
    // is absent.
    config.topurl = None;
    assert_eq!(installed(&config).await.expect("packages").len(), 1);
    let (_server, config) = half_listed(None).await;
    assert_eq!(installed(&config).await.expect("packages").len(), 1);
    let absent = verifier(&config).verify(&made("bash-5.1.8-6.el9")).await;
    assert!(matches!(absent, Ok(Verification::Failed(text)) if text.contains("absent")));
    let (_server, config) = half_listed(Some(br#"{"output": [{"filename": 7}]}"#)).await;
    assert_eq!(installed(&config).await.expect_err("nonsense").remedy, Remedy::Corrupt);
}

#[tokio::test]
async fn compressed_answers_are_read_and_bounds_hold_for_what_comes_out() {
    let hub = Hub::start(|seen, _| {
        assert!(seen.headers["accept-encoding"].contains("gzip"));
        // Recorded with its chunks.
        let body = Exchange::named("203-").answered();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        Step::Send([head.as_bytes(), &body].concat())
    })
    .await;
    let mut config = hub.config();
    let build = KojiReader::new(&config).expect("a client").build("1").await.expect("an answer").expect("a build");
    assert_eq!((build.id, build.nvr.as_str()), (2, "nginx-container-1.24-5.1700000000"));
    config.http.bytes_max = Exchange::named("203-").answered().len();
    let error = KojiReader::new(&config).expect("a client").build("1").await.expect_err("it is longer unpacked");
    assert!(error.to_string().contains("more than the"), "{error}");
}

#[tokio::test]
async fn what_a_hub_quotes_is_cut_and_shows_no_password() {
    let hub = Hub::start(|_, _| {
        let text =
            format!("could not clone https://me:hidden@git.example.org/x?y#z@1 {}\nsecond line", "x".repeat(5000));
        fault(1000, &text)
    })
    .await;
    let error = KojiReader::new(&hub.config()).expect("a client").tags("a-1-1").await.expect_err("a fault");
    assert!(
        error.text.starts_with("GenericError (1000): could not clone https://git.example.org/x?y#z@1 xx"),
        "{error}"
    );
    assert!(error.text.len() < 350 && !error.text.contains("second"), "{error}");
    assert_eq!(error.remedy, Remedy::Rejected);
}
