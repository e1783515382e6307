//! What is in an image is asked of the hub or of a catalog, before anything is built on it.

use crate::contract::config;
use crate::farm::{Farm, SECOND, source};
use async_trait::async_trait;
use freshmaker::Nvr;
use freshmaker::backend::Result;
use freshmaker_redhat::contracts::InstalledPackages;
use freshmaker_redhat::fakes::koji::Fate;
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeLightblue};
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use freshmaker_redhat::image::Unmet;
use freshmaker_redhat::koji::KojiReader;
use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig};
use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

const OLD: &str = "zlib-1.2.11-39.el9";
const FIXED: &str = "zlib-1.2.11-40.el9";

/// A catalog that learns of an image after it was asked about it for the first time.
struct Late {
    catalog: Arc<dyn InstalledPackages>,
    learn: Box<dyn Fn(FakeImage) + Send + Sync>,
    /// How often it was asked about each image.
    asked: Mutex<BTreeMap<Nvr, usize>>,
    /// What is on one architecture of each image, in the order of the images.
    installed: Vec<&'static str>,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.catalog.fmt(f)
    }
}

#[async_trait]
impl InstalledPackages for Late {
    fn service(&self) -> &'static str {
        self.catalog.service()
    }

    async fn unmet(&self, image: &Nvr, demands: &BTreeSet<Nvr>) -> Result<Option<Vec<Unmet>>> {
        let unmet = self.catalog.unmet(image, demands).await?;
        let mut asked = self.asked.lock().unwrap();
        let number = asked.len();
        let count = asked.entry(image.clone()).or_default();
        if *count == 0 {
            assert_eq!(unmet, None, "{image} is not known yet");
            let of = FakeImage::new(image.name(), &image.to_string()).with_manifest();
            let zlib = |arch: &str, nvr: &str| of.clone().on(arch).with_rpm("zlib", &format!("{nvr}.{arch}"));
            (self.learn)(zlib("aarch64", "zlib-1.2.11-41.el9"));
            (self.learn)(zlib("x86_64", self.installed.get(number).copied().unwrap_or(FIXED)));
        }
        *count += 1;
        Ok(unmet)
    }
}

/// Lets a fake catalog know an image.
type Learn = Box<dyn Fn(FakeImage) + Send + Sync>;

/// A catalog by its name, in which the images have these packages.
async fn late(catalog: &str, installed: &[&'static str]) -> Arc<Late> {
    let (catalog, learn): (Arc<dyn InstalledPackages>, Learn) = match catalog {
        "lightblue" => {
            let service = FakeLightblue::start().await.unwrap();
            let client = Lightblue::new(LightblueConfig::new(service.url())).unwrap();
            (Arc::new(client), Box::new(move |image| service.add_image(image)))
        }
        _ => {
            let service = FakePyxis::start().await.unwrap();
            let client = Pyxis::new(PyxisConfig::new(service.url())).unwrap();
            (Arc::new(client), Box::new(move |image| service.add_image(image)))
        }
    };
    Arc::new(Late { catalog, learn, asked: Mutex::default(), installed: installed.to_vec() })
}

/// A farm whose results are verified by Koji or a catalog. The builds of `base` have these packages
/// in turn.
async fn farm(by: &str, builds_of_base: &[&'static str]) -> Farm {
    let mut farm = Farm::new().await;
    if by != "koji" {
        farm.verifies = Some(late(by, builds_of_base).await);
        return farm;
    }
    farm.verifies = Some(Arc::new(KojiReader::new(&config(&farm.hub)).unwrap()));
    for zlib in builds_of_base {
        farm.hub.next(
            &source("base"),
            Fate::succeeds().with_rpm("aarch64", "zlib-1.2.11-41.el9").with_rpm("x86_64", *zlib),
        );
    }
    farm
}

#[tokio::test]
async fn what_is_too_old_is_built_once_more() {
    for by in ["koji", "lightblue", "pyxis"] {
        let farm = farm(by, &[OLD, FIXED]).await;
        assert_eq!(farm.succeeds().await, 5, "{by}");
        let artifacts: Vec<_> = farm.hub.ledger().entries.into_iter().map(|entry| entry.artifact).collect();
        assert_eq!(artifacts[..3], [source("base"), source("base"), source("middle")], "{by}");
    }
}

#[tokio::test]
async fn what_is_too_old_again_has_failed_and_says_where() {
    for by in ["koji", "lightblue", "pyxis"] {
        let farm = farm(by, &[OLD, OLD]).await;
        let engine = farm.engine(1);
        farm.push(&engine).await;
        engine.run_until(engine.client().wait_until_idle()).await.unwrap();
        let states = farm.states().await;
        assert_eq!(states, ["base FAILED", "left DEP_FAILED", "middle DEP_FAILED", "right DEP_FAILED"], "{by}");
        assert_eq!(farm.hub.ledger().entries.len(), 2, "{by}");
        let builds = farm.builds().await;
        let base = builds.iter().find(|build| build.key.artifact.as_str() == "base").unwrap();
        let text = &base.reason.text;
        assert!([OLD, FIXED, "x86_64"].iter().all(|word| text.contains(word)), "{by}: {text}");
        assert!(!text.contains("aarch64"), "{by}: {text}");
    }
}

/// A catalog that never learns of an image holds its build up for some time, and then fails it.
#[tokio::test]
async fn what_the_catalog_never_lists_fails() {
    let mut farm = Farm::new().await;
    let service = FakePyxis::start().await.unwrap();
    farm.verifies = Some(Arc::new(Pyxis::new(PyxisConfig::new(service.url())).unwrap()));
    farm.verified_within = SECOND * 60;
    let engine = farm.engine(1);
    farm.push(&engine).await;
    engine.run_until(engine.client().wait_until_idle()).await.unwrap();
    assert_eq!(farm.states().await[0], "base FAILED");
    let builds = farm.builds().await;
    let text = &builds.iter().find(|build| build.key.artifact.as_str() == "base").unwrap().reason.text;
    assert!(text.contains("pyxis has not listed the packages of base-container-"), "{text}");
    assert!(service.asked().len() > 2, "it was asked again");
    assert_eq!(farm.hub.ledger().entries.len(), 1, "nothing else was built");
}
