//! What the plan of an advisory costs, if all answers are there at once: the CPU time and the
//! memory for 100 to 10,000 images in 5 layers, each in a process of its own.
//!
//! `cargo bench -p freshmaker-redhat --bench planning`. The curve is what counts; the figures of
//! the Python service were measured on another day, so the ratios only orient.

use async_trait::async_trait;
use freshmaker::artifact::{Artifact, ArtifactKind, Nvr};
use freshmaker::backend::{BoxError, Result};
use freshmaker::graph::{ArtifactGraph, EdgeKind};
use freshmaker::handler::{Context, Decision, Handler};
use freshmaker::memory::MemoryCatalog;
use freshmaker::{Plan, Policy};
use freshmaker_redhat::contracts::{Advisories, Advisory, Containing, ContentSets, Each, Images, Recipe, Recipes};
use freshmaker_redhat::handlers::{AffectedImages, RebuildImagesOfAdvisory};
use freshmaker_redhat::image::{CatalogImage, ImageSearch, Publication, Releases};
use freshmaker_redhat::messages::errata::AdvisoryStatusChanged;
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

type Fallible<T> = std::result::Result<T, BoxError>;

const LAYERS: usize = 5;
const SIZES: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
const ROUNDS: u32 = 5;
/// Tells a process of how many images it is to plan.
const SIZE: &str = "FRESHMAKER_PLANNING_IMAGES";

/// Milliseconds of CPU of the Python service, by number of images: its de-duplication and batches
/// once, and as it calls them. Python 3.11, on another machine of two cores.
const PYTHON: [(usize, f64, Option<f64>); 4] =
    [(100, 20.0, None), (1_000, 180.0, Some(1_700.0)), (3_000, 500.0, Some(18_000.0)), (10_000, 2_100.0, None)];

/// Answers that are there at once.
#[derive(Debug)]
struct Local {
    images: BTreeMap<Nvr, (CatalogImage, Recipe)>,
    fixed: BTreeSet<Nvr>,
}

impl Local {
    /// A number of images in layers, all offered, each on one of the layer before and on a builder.
    fn new(images: usize) -> Fallible<Self> {
        let per_layer = images / LAYERS;
        let nvr = |layer: usize, number: usize| format!("layer{layer}-image{number}-container-1-1").parse::<Nvr>();
        let mut all = BTreeMap::new();
        for (layer, number) in (0..LAYERS).flat_map(|layer| (0..per_layer).map(move |number| (layer, number))) {
            let name = nvr(layer, number)?;
            let image = CatalogImage::new(name.clone()).in_repository(name.name()).with_content_set("baseos");
            let image = image.with_rpm("openssl-libs-3.0.7-5.el9".parse()?).with_publication(Publication::Released);
            let mut artifact = Artifact::new(name.to_string(), ArtifactKind::Image);
            artifact = artifact.with_source(format!("git://src.example.com/{}", name.name()), Some("c0ffee"));
            let mut parents = BTreeSet::new();
            if let Some(below) = layer.checked_sub(1) {
                parents.insert((nvr(below, number)?, EdgeKind::ParentImage));
                parents.insert((nvr(below, (number * 7 + 1) % per_layer)?, EdgeKind::BuilderStage));
            }
            all.insert(name, (image, Recipe { artifact, parents, composes: BTreeSet::new() }));
        }
        Ok(Self { images: all, fixed: ["openssl-libs-3.0.7-6.el9".parse()?].into() })
    }

    /// All that is known, for the selection alone.
    fn releases(&self) -> Releases {
        let image = |(image, recipe): &(CatalogImage, Recipe)| {
            let image = image.clone().with_artifact(recipe.artifact.clone()).affected();
            recipe.parents.iter().fold(image, |image, (parent, kind)| image.with_parent(parent.clone(), *kind))
        };
        let releases = self.images.values().map(image).fold(Releases::new(), Releases::with);
        self.fixed.iter().cloned().fold(releases, Releases::fixing)
    }
}

#[async_trait]
impl Advisories for Local {
    async fn advisory(&self, id: u64) -> Result<Advisory> {
        let content_types = ["rpm".to_owned()].into();
        Ok(Advisory { id, name: "RHSA-2026:1398-01".to_owned(), content_types, ..Advisory::default() })
    }

    async fn fixed_packages(&self, _: u64) -> Result<BTreeSet<Nvr>> {
        Ok(self.fixed.clone())
    }

    async fn builds(&self, _: u64) -> Result<BTreeSet<Nvr>> {
        Ok(self.fixed.clone())
    }

    async fn repositories(&self, _: u64) -> Result<BTreeSet<String>> {
        Ok(["baseos".to_owned()].into())
    }
}

#[async_trait]
impl ContentSets for Local {
    async fn content_sets(&self, _: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }
}

#[async_trait]
impl Images for Local {
    async fn containing(&self, _: &Containing) -> Result<Vec<CatalogImage>> {
        Ok(self.images.values().map(|(image, _)| image.clone().affected()).collect())
    }

    async fn images(&self, nvrs: &BTreeSet<Nvr>, _: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        Ok(nvrs.iter().filter_map(|nvr| self.images.get(nvr)).map(|(image, _)| image.clone()).collect())
    }

    async fn offered(&self, _: &BTreeSet<(String, String)>, _: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Recipes for Local {
    async fn recipes(&self, images: &BTreeSet<Nvr>) -> Result<Each<Recipe>> {
        let recipe = |nvr: &Nvr| self.images.get(nvr).map(|(_, recipe)| recipe.clone()).ok_or_else(String::new);
        Ok(images.iter().map(|nvr| (nvr.clone(), recipe(nvr))).collect())
    }

    async fn installed(&self, images: &BTreeSet<Nvr>) -> Result<Each<BTreeSet<Nvr>>> {
        Ok(images.iter().map(|nvr| (nvr.clone(), Err(String::new()))).collect())
    }
}

/// The CPU time of this thread, which does everything.
fn cpu() -> Fallible<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split_whitespace().next().unwrap_or_default().parse()?))
}

/// The most memory that this process has had, in KiB.
fn peak() -> Fallible<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

/// The least CPU time of some rounds, in milliseconds. Small plans are made many times in a round,
/// because the kernel does not count every microsecond.
fn best(images: usize, mut plan: impl FnMut() -> Fallible<Plan>) -> Fallible<f64> {
    let times = u32::try_from((SIZES[SIZES.len() - 1] / images).max(1))?;
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let begin = cpu()?;
        for _ in 0..times {
            black_box(plan()?);
        }
        least = least.min((cpu()? - begin) / times);
    }
    Ok(least.as_secs_f64() * 1e3)
}

/// Plans so many images, and prints milliseconds for the selection and for the handler, and KiB.
fn measure(images: usize) -> Fallible<()> {
    let local = Arc::new(Local::new(images)?);
    let releases = local.releases();
    let selection = best(images, || Ok(releases.select()?.planner().plan()?))?;
    drop(releases);
    let search = ImageSearch::new(local.clone(), local.clone());
    let handler = RebuildImagesOfAdvisory(AffectedImages::new(local.clone(), local, search));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let event: AdvisoryStatusChanged =
        serde_json::from_value(serde_json::json!({ "errata_id": 1398, "to": "SHIPPED_LIVE" }))?;
    let decision = best(images, || {
        let catalog = Arc::new(MemoryCatalog::new(ArtifactGraph::new()));
        let context = Context::outside(catalog, Policy::allow_all(), freshmaker::time::from_micros(0));
        match runtime.block_on(handler.handle(event.clone(), context))? {
            Decision::Rebuild(plan) if plan.len() == images && plan.waves().count() == LAYERS => Ok(plan),
            other => Err(format!("not a plan of {images} images: {other:?}").into()),
        }
    })?;
    println!("{selection} {decision} {}", peak()?);
    Ok(())
}

fn main() -> Fallible<()> {
    if let Ok(images) = std::env::var(SIZE) {
        return measure(images.parse()?);
    }
    println!("CPU ms of a plan, at best of {ROUNDS}; images in {LAYERS} layers, answers local");
    println!("{:>7} {:>10} {:>10} {:>12} {:>9}   Python", "images", "selection", "handler", "us an image", "peak MiB");
    for images in SIZES {
        let output = Command::new(std::env::current_exe()?).env(SIZE, images.to_string()).output()?;
        let text = String::from_utf8(output.stdout)?;
        let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [selection, decision, peak] = figures[..] else {
            return Err(format!("{images}: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
        };
        let python = PYTHON.iter().find(|(size, ..)| *size == images).map_or(String::new(), |(_, once, called)| {
            let called = called.map(|called| format!(", as called {called} ms = {:.0} x", called / decision));
            format!("once {once} ms = {:.0} x{}", once / selection, called.unwrap_or_default())
        });
        let each = decision * 1e3 / images as f64;
        println!("{images:>7} {selection:>10.2} {decision:>10.2} {each:>12.1} {:>9.1}   {python}", peak / 1024.0);
    }
    Ok(())
}
