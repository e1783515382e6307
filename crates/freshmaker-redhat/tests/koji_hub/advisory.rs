//! From the request of a person to tasks of the hub: an advisory that has not shipped, with
//! repositories of ODCS.

use crate::contract::config;
use crate::farm::{Hurry, SECOND};
use async_trait::async_trait;
use freshmaker::Engine;
use freshmaker::artifact::Nvr;
use freshmaker::backend::{BuildFilter, ComposeRequest, Composer, Paging, Remedy, Result};
use freshmaker::graph::ArtifactGraph;
use freshmaker::memory::{MemoryCatalog, MemoryStorage};
use freshmaker::rebuild::{AttemptId, BuildRecord};
use freshmaker_redhat::contracts::{
    Advisories, Advisory, Containing, ContentSets, Images, Ingredients, PackageOrigins, Recipes, TaggedBuild,
};
use freshmaker_redhat::fakes::koji::{Fate, Hub};
use freshmaker_redhat::fakes::odcs::FakeOdcs;
use freshmaker_redhat::handlers::{AffectedImages, ImageComposes, RebuildImagesOnRequest};
use freshmaker_redhat::image::{CatalogImage, ImageSearch, Publication};
use freshmaker_redhat::koji::xmlrpc::Value;
use freshmaker_redhat::koji::{KojiBuildSystem, KojiRecipes};
use freshmaker_redhat::messages::request::ManualRebuild;
use freshmaker_redhat::odcs::{Compose, OdcsComposer, OdcsConfig};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const OLD: &str = "bash-5.1-6.el9";
const FIXED: &str = "bash-5.1-9.el9";
const TARGET: &str = "rhel-9-containers";

fn nvr(text: &str) -> Nvr {
    text.parse().unwrap()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// An Errata Tool, a Pulp and a catalog that know one advisory and two images.
#[derive(Debug)]
struct Known;

#[async_trait]
impl Advisories for Known {
    async fn advisory(&self, id: u64) -> Result<Advisory> {
        let (name, content_types) = ("RHSA-2026:1398-01".to_owned(), set(&["rpm"]));
        Ok(Advisory { id, name, state: "QE".to_owned(), content_types, ..Advisory::default() })
    }

    async fn fixed_packages(&self, _: u64) -> Result<BTreeSet<Nvr>> {
        Ok([nvr(FIXED)].into())
    }

    async fn builds(&self, _: u64) -> Result<BTreeSet<Nvr>> {
        Ok([nvr(FIXED)].into())
    }

    async fn repositories(&self, _: u64) -> Result<BTreeSet<String>> {
        Ok(set(&["baseos"]))
    }
}

#[async_trait]
impl ContentSets for Known {
    async fn content_sets(&self, _: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }
}

#[async_trait]
impl Images for Known {
    async fn containing(&self, _: &Containing) -> Result<Vec<CatalogImage>> {
        let image = |name: &str, publication| {
            let image = CatalogImage::new(nvr(name)).in_repository(name).with_content_set("baseos");
            image.with_content_set("crb").with_rpm(nvr(OLD)).with_publication(publication).affected()
        };
        Ok(vec![
            image("base-container-9-1", Publication::Released),
            image("app-container-1-1", Publication::Unpublished),
        ])
    }

    async fn images(&self, _: &BTreeSet<Nvr>, _: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        Ok(Vec::new())
    }

    async fn offered(&self, _: &BTreeSet<(String, String)>, _: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        Ok(Vec::new())
    }
}

/// The hub has `app` on `base` on an image without the package, and three builds of packages: the
/// installed one, the one of the advisory, and one that no tag of candidates has.
async fn hub(clock: &Arc<Hurry>) -> Hub {
    let hub = Hub::start(clock.clone()).await.unwrap();
    hub.add_user("freshmaker", "freshpw");
    hub.add_target(TARGET);
    let packages = |texts: &[&str]| texts.iter().fold(Fate::succeeds(), |fate, text| fate.with_rpm("x86_64", *text));
    hub.add_packages(&nvr(OLD), &["rhel-9.4.0"], &packages(&[OLD, "bash-doc-5.1-6.el9"])).unwrap();
    let tags = ["rhel-9.4.0-candidate", "rhel-9.4.0", "rhel-9.4.0-build"];
    hub.add_packages(&nvr(FIXED), &tags, &packages(&[FIXED, "bash-doc-5.1-9.el9"])).unwrap();
    hub.add_packages(&nvr("sed-4-1"), &["other"], &packages(&["sed-4-1"])).unwrap();
    hub.add_packages(&nvr("zlib-1-1"), &["z-candidate"], &packages(&["zlib-1-1"])).unwrap();
    hub.add_packages(&nvr("zlib-1-2"), &["z-candidate"], &packages(&["zlib-1-2"])).unwrap();
    let installed = packages(&[OLD, "sed-4-1"]);
    hub.add_built_image(&nvr("ubi-container-9-1"), TARGET, None, &packages(&["sed-4-1"])).unwrap();
    hub.add_built_image(&nvr("base-container-9-1"), TARGET, Some(&nvr("ubi-container-9-1")), &installed).unwrap();
    hub.add_built_image(&nvr("app-container-1-1"), TARGET, Some(&nvr("base-container-9-1")), &installed).unwrap();
    hub
}

#[tokio::test]
async fn koji_tells_where_packages_come_from_and_are() {
    let clock = Hurry::new();
    let hub = hub(&clock).await;
    let koji = KojiRecipes::new(&config(&hub)).unwrap();
    let images = ["app-container-1-1", "gone-container-1-1", "base-container-9-1"].map(nvr).into();
    let found = koji.ingredients(&images).await.unwrap();
    let expected = Ingredients {
        builds: [OLD, "sed-4-1"].map(nvr).into(),
        packages: set(&["bash", "sed"]),
        arches: set(&["x86_64"]),
    };
    assert_eq!(found[&nvr("app-container-1-1")], Ok(expected));
    assert_eq!(found[&nvr("gone-container-1-1")], Err("Koji has no build gone-container-1-1".to_owned()));
    assert_eq!(hub.calls("multiCall"), 4, "however many images");

    let builds = [FIXED, OLD, "sed-4-1", "zlib-1-1", "zlib-1-2", "gone-1-1"].map(nvr).into();
    let found = koji.tagged(&builds).await.unwrap();
    let tag = |build: &str| found[&nvr(build)].as_ref().unwrap().tag.as_deref();
    let fixed = TaggedBuild { packages: set(&["bash", "bash-doc"]), tag: Some("rhel-9.4.0".to_owned()) };
    assert_eq!(found[&nvr(FIXED)], Ok(fixed));
    assert_eq!([OLD, "sed-4-1", "zlib-1-1", "zlib-1-2"].map(tag), [None, None, None, Some("z-candidate")]);
    assert_eq!(found[&nvr("gone-1-1")], Err("Koji has no build gone-1-1".to_owned()));
    assert_eq!(hub.calls("multiCall"), 8, "however many builds");

    hub.trouble_within("listTags", 1010, "you are not allowed to see it");
    let found = koji.tagged(&[nvr(FIXED)].into()).await.unwrap();
    assert!(found[&nvr(FIXED)].clone().unwrap_err().contains("not allowed"), "{found:?}");
    hub.trouble_within("listTagged", 1014, "the hub is offline");
    let error = koji.tagged(&[nvr(FIXED)].into()).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
}

#[tokio::test]
async fn images_can_be_rebuilt_for_the_architectures_that_they_have() {
    let hub = hub(&Hurry::new()).await;
    let app = nvr("app-container-1-1");
    let both = Fate::succeeds().with_rpm("x86_64", OLD).with_rpm("s390x", OLD);
    hub.add_built_image(&nvr("both-container-1-1"), TARGET, None, &both).unwrap();
    let koji = KojiRecipes::new(&config(&hub)).unwrap().with_arch_overrides();
    let found = koji.recipes(&[app.clone(), nvr("both-container-1-1")].into()).await.unwrap();
    let arches = |image: &Nvr| found[image].as_ref().unwrap().artifact.parameters.get("arch_override").cloned();
    assert_eq!(arches(&app), Some("x86_64".into()));
    assert_eq!(arches(&nvr("both-container-1-1")), Some("s390x x86_64".into()));
}

/// The options of each task but its release and its marker, by the name of the source.
fn options(options: &Value) -> Value {
    let Value::Struct(members) = options else { panic!("{options:?}") };
    let mut members = members.clone();
    ["release", "userdata"].iter().for_each(|name| drop(members.remove(*name).expect(name)));
    Value::Struct(members)
}

#[tokio::test]
async fn tasks_get_their_parents_and_their_composes_and_nothing_else() {
    let clock = Hurry::new();
    let hub = hub(&clock).await;
    let service = FakeOdcs::start(clock.clone()).await.unwrap();
    let odcs = OdcsComposer::new(OdcsConfig::new(service.url())).unwrap().with_clock(clock.clone());
    for (number, compose) in (0..).zip([Compose::pulp(["baseos"]), Compose::tag("extras")]) {
        let request = ComposeRequest {
            attempt: AttemptId::from_random(number),
            artifact: compose.artifact(),
            parameters: (&compose).into(),
            no_cache: false,
        };
        odcs.prepare(&request).await.unwrap();
    }
    hub.set_composes(&nvr("base-container-9-1"), &[1, 2]);
    hub.set_composes(&nvr("app-container-1-1"), &[1]);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    hub.script(move |submission| {
        log.lock().unwrap().push((submission.source.clone(), submission.target.clone(), options(&submission.options)));
        Some(Fate::succeeds().taking(SECOND).with_version("9").with_rpm("x86_64", FIXED))
    });
    let (odcs, koji) = (Arc::new(odcs), Arc::new(KojiRecipes::new(&config(&hub)).unwrap()));
    let composes = ImageComposes::new(odcs.clone(), koji.clone()).with_sigkeys(["FD431D51"]);
    let search = ImageSearch::new(Arc::new(Known), koji).with_system("koji");
    let affected = AffectedImages::new(Arc::new(Known), Arc::new(Known), search).with_composes(composes);
    let engine = Engine::builder()
        .storage(Arc::new(MemoryStorage::new().with_clock(clock.clone()).with_lease_ttl(SECOND * 30)))
        .catalog("none", Arc::new(MemoryCatalog::new(ArtifactGraph::new())))
        .build_system("koji", Arc::new(KojiBuildSystem::new(config(&hub)).unwrap()))
        .composer("odcs", odcs)
        .clock(clock.clone())
        .on(RebuildImagesOnRequest(affected))
        .build()
        .unwrap();
    let request: ManualRebuild = serde_json::from_value(json!({ "errata_id": 1398 })).unwrap();
    engine.client().send(&request).await.unwrap();
    let client = engine.client();
    let run = engine.run_until(client.wait_until_idle());
    tokio::time::timeout(SECOND * 60, run).await.expect("it ends").unwrap();

    let page = client.builds(BuildFilter::default(), Paging::first(20)).await.unwrap();
    let rebuilt = |image: &str| {
        let of = |build: &&BuildRecord| build.key.artifact.as_str() == image;
        page.items.iter().find(of).unwrap().output.clone().unwrap_or_else(|| panic!("{page:?}")).name
    };
    let shown = service.composes();
    let number = |kind: i64, source: &str| {
        let of = |compose: &&serde_json::Value| compose["source_type"] == kind && compose["source"] == source;
        shown.iter().find(of).unwrap_or_else(|| panic!("{kind} {source}: {shown:?}"))["id"].as_i64().unwrap()
    };
    let (crb, tag, build) = (number(4, "crb"), number(1, "rhel-9.4.0"), number(6, ""));
    let ids = |ids: &[i64]| Value::Array(ids.iter().copied().map(Value::Int).collect());
    let mut asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for (_, target, options) in &mut asked {
        assert_eq!(target, TARGET);
        // Their order has no meaning.
        let Value::Struct(members) = options else { unreachable!() };
        let Some(Value::Array(composes)) = members.get_mut("compose_ids") else { panic!("{members:?}") };
        composes.sort_by_key(|id| if let Value::Int(id) = id { *id } else { 0 });
    }
    let sorted = |mut of: Vec<i64>| {
        of.sort_unstable();
        ids(&of)
    };
    let [base, app] = [&asked[0], &asked[1]];
    let branch = || ("git_branch", TARGET.into());
    let on_ubi = ("koji_parent_build", "ubi-container-9-1".into());
    let isolated = || ("isolated", true.into());
    let of_base = [branch(), isolated(), ("compose_ids", sorted(vec![1, 2, crb, tag])), on_ubi];
    assert_eq!((base.0.contains("base"), &base.2), (true, &Value::record(of_base)));
    let parent = rebuilt("base-container-9-1");
    let on_base = ("koji_parent_build", parent.as_str().into());
    let of_app = [branch(), isolated(), ("compose_ids", sorted(vec![1, crb, tag, build])), on_base];
    assert_eq!((app.0.contains("app"), &app.2), (true, &Value::record(of_app)));
    let of_build = shown.iter().find(|compose| compose["source_type"] == 6).unwrap();
    assert_eq!((&of_build["builds"], &of_build["packages"]), (&json!("bash-5.1-6.el9 sed-4-1"), &json!("bash sed")));
    assert_eq!((&of_build["arches"], &of_build["sigkeys"]), (&json!("x86_64"), &json!("FD431D51")));
    assert!(hub.ledger().violations().is_empty());
}
