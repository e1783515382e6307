//! How images can be built again, as Koji tells it.

use crate::hub::{Hub, Step, fault, value};
use freshmaker::Nvr;
use freshmaker::artifact::Parameter;
use freshmaker::backend::Remedy;
use freshmaker::graph::EdgeKind;
use freshmaker_redhat::contracts::{Each, Recipe, Recipes};
use freshmaker_redhat::koji::KojiRecipes;
use freshmaker_redhat::koji::xmlrpc::Value;
use std::collections::BTreeSet;

fn nvr(text: &str) -> Nvr {
    text.parse().expect("an NVR")
}

fn nvrs(texts: &[&str]) -> BTreeSet<Nvr> {
    texts.iter().map(|text| nvr(text)).collect()
}

/// A row of `getBuild`: its number is also that of its task.
fn build(id: i64, name: &str, extra: Value) -> Value {
    let [release, version, name] = name.rsplitn(3, '-').collect::<Vec<_>>().try_into().expect("an NVR");
    Value::record([
        ("id", id.into()),
        ("name", name.into()),
        ("version", version.into()),
        ("release", release.into()),
        ("state", 1.into()),
        ("task_id", id.into()),
        ("extra", extra),
    ])
}

fn image(members: Vec<(&'static str, Value)>) -> Value {
    Value::record([("image", Value::record(members))])
}

fn parent(id: i64, name: &str) -> Value {
    Value::record([("id", id.into()), ("nvr", name.into())])
}

/// What the hub says to one call of a multicall.
fn answer(method: &str, key: &Value) -> Value {
    let one = |value| Value::Array(vec![value]);
    let key = match key {
        Value::Text(text) => text.as_str().to_owned(),
        Value::Int(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    match (method, key.as_str()) {
        ("getBuild", "app-container-1-1") => {
            let parents = [
                ("registry/ubi:9", parent(20, "ubi9-container-9.4-1")),
                ("registry/go:1", parent(30, "go-toolset-container-1-1")),
            ];
            let odcs = Value::record([("compose_ids", vec![7, 8].into())]);
            let origin = [
                ("parent_build_id", 20.into()),
                ("parent_image_builds", Value::record(parents)),
                ("flatpak", true.into()),
                ("odcs", odcs),
            ];
            one(build(1, "app-container-1-1", image(origin.into())))
        }
        // The parent of its last stage is not among those with a name.
        ("getBuild", "number-container-1-1") => {
            one(build(2, "number-container-1-1", image(vec![("parent_build_id", 20.into())])))
        }
        ("getBuild", "20") => one(build(20, "ubi9-container-9.4-1", Value::Nil)),
        ("getBuild", "ubi9-container-9.4-1") => {
            one(build(20, "ubi9-container-9.4-1", Value::record([("filesystem_koji_task_id", 5.into())])))
        }
        ("getBuild", "branch-container-1-1") => one(build(4, "branch-container-1-1", image(Vec::new()))),
        ("getBuild", "odd-container-1-1") => one(Value::record([("id", "x".into())])),
        ("getBuild", "denied-container-1-1") => {
            Value::record([("faultCode", 1010.into()), ("faultString", "not allowed".into())])
        }
        ("getBuild", _) => one(Value::Nil),
        ("getTaskRequest", "4") => one(Value::Array(vec!["git://x/containers/b#origin/b".into(), "t".into()])),
        ("getTaskRequest", task) => {
            let options = Value::record([("git_branch", "rhel-9".into())]);
            one(Value::Array(vec![format!("git://x/containers/app{task}?#c0ffee").into(), "target".into(), options]))
        }
        other => panic!("{other:?}"),
    }
}

async fn hub() -> Hub {
    Hub::start(|seen, _| match seen.method() {
        "multiCall" => {
            let calls: &[Value] = seen.request.params[0].get(&[]).expect("calls");
            let answers = calls.iter().map(|call| {
                let params: &[Value] = call.get(&["params"]).expect("parameters");
                answer(call.get(&["methodName"]).expect("a method"), &params[0])
            });
            value(Value::Array(answers.collect()))
        }
        "listArchives" => value(Value::Array(Vec::new())),
        "getBuild" => Step::Stall,
        method => fault(1000, method),
    })
    .await
}

async fn recipes(koji: &KojiRecipes, names: &[&str]) -> Each<Recipe> {
    koji.recipes(&nvrs(names)).await.expect("an answer")
}

#[tokio::test]
async fn source_target_and_all_parents_of_an_image_are_told() {
    let hub = hub().await;
    let koji = KojiRecipes::new(&hub.config()).expect("a client");
    let found = recipes(&koji, &["app-container-1-1", "number-container-1-1"]).await;
    let app = found[&nvr("app-container-1-1")].as_ref().expect("a recipe");
    let source = app.artifact.source.as_ref().expect("a source");
    assert_eq!((source.location.as_str(), source.revision.as_deref()), ("git://x/containers/app1", Some("c0ffee")));
    assert_eq!(app.artifact.target, "target");
    assert_eq!(app.artifact.parameters.get("git_branch"), Some(&"rhel-9".into()));
    assert_eq!(app.artifact.parameters.get("flatpak"), Some(&true.into()));
    assert_eq!(app.artifact.parameters.get("isolated"), Some(&true.into()));
    assert_eq!(app.artifact.parameters.get("arch_override"), None);
    assert_eq!(app.composes, BTreeSet::from([7, 8]));
    let parents = [
        (nvr("go-toolset-container-1-1"), EdgeKind::BuilderStage),
        (nvr("ubi9-container-9.4-1"), EdgeKind::ParentImage),
    ];
    assert_eq!(app.parents, BTreeSet::from(parents));
    let number = found[&nvr("number-container-1-1")].as_ref().expect("a recipe");
    assert_eq!(number.parents, BTreeSet::from([(nvr("ubi9-container-9.4-1"), EdgeKind::ParentImage)]));
    assert_eq!(hub.methods(), ["multiCall"; 3], "builds, parents that have no name, tasks: however many images");
}

#[tokio::test]
async fn a_rebuild_can_become_the_latest_build() {
    let koji = KojiRecipes::new(&hub().await.config()).expect("a client").not_isolated();
    let found = recipes(&koji, &["app-container-1-1"]).await;
    let app = found[&nvr("app-container-1-1")].as_ref().expect("a recipe");
    assert_eq!(app.artifact.parameters.get("isolated"), None);
}

/// Where the sources are may have changed since the last build.
#[tokio::test]
async fn a_rebuild_can_be_made_from_another_server() {
    let koji = KojiRecipes::new(&hub().await.config()).expect("a client");
    let app = "app-container-1-1";
    let mut sources = Vec::new();
    for koji in [koji.clone(), koji.with_git_base_url("git+https://src.example.org/")] {
        let recipe = recipes(&koji, &[app]).await.remove(&nvr(app)).expect("an answer").expect("a recipe");
        sources.push(recipe.artifact.source.expect("a source"));
    }
    let [before, after] = &sources[..] else { panic!("two recipes") };
    let path = before.location.splitn(4, '/').nth(3).expect("a path");
    assert_eq!(after.location, format!("git+https://src.example.org/{path}"));
    assert_eq!(after.revision, before.revision);
}

#[tokio::test]
async fn a_base_image_needs_an_extra_repository() {
    let hub = hub().await;
    let koji = KojiRecipes::new(&hub.config()).expect("a client");
    let base = "ubi9-container-9.4-1";
    let why = recipes(&koji, &[base]).await.remove(&nvr(base)).expect("an answer").expect_err("no repository");
    assert_eq!(why, "ubi9-container-9.4 is a base image, and no extra repository is configured for it");
    let koji = koji.with_extra_repository("ubi9-container-9.4", "https://r.example.org/ubi9.repo");
    let recipe = recipes(&koji, &[base]).await.remove(&nvr(base)).expect("an answer").expect("a recipe");
    let urls = Parameter::Set(BTreeSet::from(["https://r.example.org/ubi9.repo".to_owned()]));
    assert_eq!(recipe.artifact.parameters.get("yum_repourls"), Some(&urls));
}

/// Other images do without, and have one if it is configured.
#[tokio::test]
async fn any_image_can_have_an_extra_repository() {
    let hub = hub().await;
    let koji = KojiRecipes::new(&hub.config()).expect("a client");
    let app = "app-container-1-1";
    let recipe = recipes(&koji, &[app]).await.remove(&nvr(app)).expect("an answer").expect("a recipe");
    assert_eq!(recipe.artifact.parameters.get("yum_repourls"), None);
    let koji = koji.with_extra_repository("app-container-1", "https://r.example.org/app.repo");
    let recipe = recipes(&koji, &[app]).await.remove(&nvr(app)).expect("an answer").expect("a recipe");
    let urls = Parameter::Set(BTreeSet::from(["https://r.example.org/app.repo".to_owned()]));
    assert_eq!(recipe.artifact.parameters.get("yum_repourls"), Some(&urls));
}

/// What is wrong with one image is said about that one.
#[tokio::test]
async fn one_odd_image_costs_no_other() {
    let hub = hub().await;
    let koji = KojiRecipes::new(&hub.config()).expect("a client");
    let names = [
        "app-container-1-1",
        "gone-container-1-1",
        "odd-container-1-1",
        "branch-container-1-1",
        "denied-container-1-1",
    ];
    let found = recipes(&koji, &names).await;
    assert_eq!(found.len(), names.len());
    assert!(found[&nvr("app-container-1-1")].is_ok());
    for (name, why) in [
        ("gone-container-1-1", "Koji has no build gone-container-1-1"),
        ("odd-container-1-1", "`odd-container-1-1.name` is nothing, not a text"),
        ("branch-container-1-1", "neither the build nor its task names a commit"),
        ("denied-container-1-1", "not allowed"),
    ] {
        let error = found[&nvr(name)].as_ref().expect_err(name);
        assert!(error.contains(why), "{name}: {error}");
    }
    let installed = koji.installed(&nvrs(&["app-container-1-1", "gone-container-1-1"])).await.expect("an answer");
    assert_eq!(installed[&nvr("app-container-1-1")], Ok(BTreeSet::new()));
    assert!(installed[&nvr("gone-container-1-1")].is_err());
}

/// A hub that is out of order is no statement about an image: the message waits.
#[tokio::test]
async fn a_hub_out_of_order_fails_the_whole_question() {
    let hub = Hub::start(|seen, _| match seen.method() {
        "multiCall" => {
            let calls: &[Value] = seen.request.params[0].get(&[]).expect("calls");
            let offline = Value::record([("faultCode", 1014.into()), ("faultString", "the hub is offline".into())]);
            value(Value::Array(vec![offline; calls.len()]))
        }
        method => fault(1000, method),
    })
    .await;
    let koji = KojiRecipes::new(&hub.config()).expect("a client");
    let error = koji.recipes(&nvrs(&["app-container-1-1"])).await.expect_err("offline");
    assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
    assert!(koji.installed(&nvrs(&["app-container-1-1"])).await.expect_err("offline").is_transient());
}
