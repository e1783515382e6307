//! Which modules contain a package.

use crate::world::{World, perl};
use freshmaker::backend::Remedy;
use freshmaker_redhat::contracts::{Module, Modules};
use freshmaker_redhat::fakes::mbs::{Course, FakeModule, Fault};
use freshmaker_testing::http::Reply;
use serde_json::json;
use std::collections::BTreeSet;

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    texts.into_iter().map(str::to_owned).collect()
}

async fn containing(world: &World, packages: &[&str]) -> Vec<String> {
    let found = world.mbs.containing(&texts(packages.iter().copied())).await.unwrap();
    found.iter().map(|module| format!("{} {}", module.id(), module.commit)).collect()
}

#[tokio::test]
async fn the_latest_ready_build_of_each_stream_counts() {
    let world = World::new().await;
    let dropped = FakeModule::new("node", "8").with_component("zlib", Some("f29"));
    world.service.add(dropped, "one");
    world.service.add(FakeModule::new("node", "8").with_component("openssl", None), "two");
    world.service.add(FakeModule::new("node", "10").in_contexts(2).with_component("zlib", None), "three");
    world.service.add(perl(), "four");
    world.service.add(perl().with_component("zlib", Some("f29")), "five");
    world.service.add(FakeModule::new("ruby", "2.5").with_component("zlib", Some("f28")), "six");
    assert_eq!(containing(&world, &["zlib"]).await, ["node:10 three", "perl:5.26 five", "ruby:2.5 six"]);
    assert_eq!(containing(&world, &["openssl", "perl-libs"]).await, ["node:8 two", "perl:5.26 five"]);
    assert_eq!(containing(&world, &["nothing"]).await, [] as [String; 0]);
    assert_eq!(containing(&world, &[]).await, [] as [String; 0]);
    let module = world.mbs.module("perl", "5.26").await.unwrap().unwrap();
    let components = [("perl-libs", Some("f29")), ("zlib", Some("f29"))];
    let expected = Module {
        name: "perl".to_owned(),
        stream: "5.26".to_owned(),
        source: "https://src.example.com/modules/perl".to_owned(),
        commit: "five".to_owned(),
        components: components.map(|(name, branch)| (name.to_owned(), branch.map(str::to_owned))).into(),
    };
    assert_eq!(module, expected);
    assert_eq!(world.mbs.module("perl", "5.28").await.unwrap(), None);
    assert_eq!(world.mbs.module("python", "5.26").await.unwrap(), None);
}

#[tokio::test]
async fn a_build_that_is_not_ready_does_not_count() {
    let world = World::new().await;
    world.service.add(perl(), "one");
    for course in [Course::hanging(), Course::failing("no")] {
        world.service.script("perl:5.26", course);
        let mbs = &world.mbs;
        let number = world.service.builds().len() as u128;
        freshmaker::backend::BuildSystem::submit(mbs, &crate::world::request(number, &format!("later{number}")))
            .await
            .unwrap();
        assert_eq!(containing(&world, &["perl-libs"]).await, ["perl:5.26 one"]);
    }
}

/// Requests grow with packages, modules and streams, not with builds.
#[tokio::test]
async fn requests_grow_with_modules() {
    for (modules, builds) in [(1, 1), (1, 30), (4, 1), (4, 20)] {
        let world = World::new().await;
        for module in 0..modules {
            for build in 0..builds {
                let it = FakeModule::new(&format!("module{module}"), "1").with_component("zlib", None);
                world.service.add(it, &format!("commit{build}"));
            }
        }
        assert_eq!(containing(&world, &["zlib"]).await.len(), modules);
        // The package; and for each module: what it is, its builds, and its metadata.
        assert_eq!(world.service.asked().len(), 1 + 3 * modules, "{modules} modules, {builds} builds");
    }
    let world = World::new().await;
    for build in 0..250 {
        world.service.add(FakeModule::new("module", "1").with_component("zlib", None), &format!("commit{build}"));
    }
    assert_eq!(containing(&world, &["zlib"]).await, ["module:1 commit249"]);
    assert_eq!(world.service.asked().len(), 3 + 1 + 3 + 1, "pages of 100");
}

#[tokio::test]
async fn a_wrong_answer_is_an_error_that_names_the_field() {
    let endless = json!({ "items": [{ "module_build": 1 }], "meta": { "next": "http://mbs" } });
    let cases = [
        (json!({ "meta": {} }), "`items`: it is missing"),
        (json!({ "items": [{}], "meta": {} }), "`items[0].module_build`: it is missing"),
        (json!({ "items": [{ "module_build": "1" }], "meta": {} }), "`items[0].module_build`: expected a whole number"),
        (json!({ "items": [] }), "`meta`: it is missing"),
    ];
    for (answer, text) in cases {
        let world = World::new().await;
        world.service.disturb("GET", Fault::Reply(Reply::new(200).with_body(answer.to_string())));
        let error = world.mbs.containing(&texts(["zlib"])).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Corrupt);
        assert!(error.text.contains(text), "{error}");
        assert_eq!(error.place, "mbs: GET /module-build-service/2/component-builds/");
    }
    let world = World::new().await;
    for _ in 0..60 {
        world.service.disturb("GET", Fault::Reply(Reply::new(200).with_body(endless.to_string())));
    }
    let error = world.mbs.containing(&texts(["zlib"])).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Rejected);
    assert_eq!(error.text, "there are more than 5000 items, which is the most that is read");
    assert_eq!(world.service.asked().len(), 50);
}

#[test]
fn branches_decide_what_a_module_takes() {
    let components = [("a", Some("f29")), ("b", None)];
    let components = components.map(|(name, branch)| (name.to_owned(), branch.map(str::to_owned))).into();
    let module = Module { components, ..Module::default() };
    for (package, branch, takes) in [
        ("a", Some("f29"), true),
        ("a", Some("f30"), false),
        ("a", None, true),
        ("b", Some("f30"), true),
        ("c", None, false),
    ] {
        assert_eq!(module.takes(package, branch), takes, "{package} {branch:?}");
    }
}
