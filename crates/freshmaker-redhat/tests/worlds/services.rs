//! The services of a world, over HTTP, each behind a gate that counts its requests and can make
//! answers late or wrong.

use crate::world::{CONTENT_SET, Fault, Image, Package, REPOSITORY_ID, Repository, World};
use fastrand::Rng;
use freshmaker::backend::Clock;
use freshmaker::engine::SystemClock;
use freshmaker::handler::{Context, Decision, Handler, HandlerResult};
use freshmaker::memory::MemoryCatalog;
use freshmaker::{ArtifactGraph, Nvr, Plan, Policy};
use freshmaker_net::{Call, Http, HttpConfig};
use freshmaker_redhat::contracts::{Advisory, Images};
use freshmaker_redhat::errata::{ErrataConfig, ErrataTool};
use freshmaker_redhat::fakes::errata::{FakeBuild, FakeErrataTool};
use freshmaker_redhat::fakes::koji::{Container, Fate, Hub};
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeLightblue, FakeRepository};
use freshmaker_redhat::fakes::pulp::FakePulp;
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use freshmaker_redhat::handlers::{AffectedImages, RebuildImagesOfAdvisory};
use freshmaker_redhat::image::ImageSearch;
use freshmaker_redhat::koji::{KojiConfig, KojiRecipes};
use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig, UnpublishedRepository};
use freshmaker_redhat::messages::errata::AdvisoryStatusChanged;
use freshmaker_redhat::pulp::{Pulp, PulpConfig};
use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
use freshmaker_testing::http::{Reply, Server};
use freshmaker_testing::world::TokioClock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const REGISTRY: &str = "registry.example.com";
const ADVISORY: u64 = 28484;

/// Who says which images there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teller {
    Lightblue,
    Pyxis,
}

/// How a world is told: by whom, in which order, with rows that come twice, and with answers that
/// overtake each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling {
    pub(crate) teller: Teller,
    /// Decides all that is left to chance.
    pub(crate) seed: u64,
    /// Objects on a page.
    pub(crate) page: u32,
    pub(crate) twice: Twice,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    Never,
    SomeRows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Even,
    /// Later requests can be answered before earlier ones.
    Uneven,
    /// Each answer takes so long.
    Slow(Duration),
}

impl Telling {
    pub(crate) fn plain(teller: Teller) -> Self {
        Self { teller, seed: 0, page: 10_000, twice: Twice::Never, pace: Pace::Even }
    }
}

/// What comes instead of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Status(u16),
    TooMany,
    Html,
    Cut,
    Empty,
}

impl Wrong {
    pub(crate) const ALL: [Self; 6] =
        [Self::Status(500), Self::Status(401), Self::TooMany, Self::Html, Self::Cut, Self::Empty];

    fn reply(self, true_one: Reply) -> Reply {
        match self {
            Self::Status(status) => Reply::new(status),
            Self::TooMany => Reply::new(429).with_header("retry-after", "30"),
            Self::Html => Reply::new(200).with_header("content-type", "text/html").with_body("<html>Welcome</html>"),
            Self::Cut => true_one.cut_after(60),
            Self::Empty => Reply::new(200),
        }
    }
}

/// What all gates have in common.
struct Keeper {
    asked: BTreeMap<&'static str, usize>,
    /// The number of the request that is answered wrongly, from 0, and how.
    wrong: Option<(usize, Wrong)>,
    /// What happens before the request with this number is passed on.
    happens: Option<(usize, Box<dyn FnOnce() + Send>)>,
    pace: Option<Rng>,
    takes: Option<Duration>,
}

fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes requests on to the service at this URL.
async fn gate(name: &'static str, url: String, keeper: Arc<Mutex<Keeper>>) -> Server {
    let http = Http::new(&HttpConfig::new(&url)).unwrap();
    let clock = Arc::new(TokioClock::new());
    let server = Server::start(move |request| {
        let (http, url, keeper, clock) = (http.clone(), url.clone(), keeper.clone(), clock.clone());
        async move {
            let (wrong, turns, takes) = {
                let mut keeper = lock(&keeper);
                let number: usize = keeper.asked.values().sum();
                *keeper.asked.entry(name).or_default() += 1;
                if let Some((_, change)) = keeper.happens.take_if(|(at, _)| *at == number) {
                    change();
                }
                let turns = keeper.pace.as_mut().map_or(0, |pace| pace.usize(..300));
                (keeper.wrong.filter(|(at, _)| *at == number).map(|(_, wrong)| wrong), turns, keeper.takes)
            };
            let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
            let method = request.method.parse().unwrap();
            let mut passed = http.request(method, &format!("{url}{}{query}", request.path)).body(request.body);
            for name in ["content-type", "authorization"] {
                if let Some(value) = request.headers.get(name) {
                    passed = passed.header(name, value);
                }
            }
            let reply = http.send(passed, Call::Read, "gate").await.unwrap();
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            if let Some(takes) = takes {
                clock.sleep(takes).await;
            }
            let reply = Reply::new(reply.status).with_body(reply.body);
            wrong.map_or(reply.clone(), |wrong| wrong.reply(reply))
        }
    });
    server.await.unwrap()
}

/// All services of a world, and the handler that asks them.
pub(crate) struct Services {
    keeper: Arc<Mutex<Keeper>>,
    handler: RebuildImagesOfAdvisory,
    policy: Policy,
    errata: (Arc<FakeErrataTool>, Server),
    _pulp: (FakePulp, Server),
    _lightblue: (FakeLightblue, Server),
    _pyxis: (FakePyxis, Server),
    _hub: (Hub, Server),
}

impl Services {
    pub(crate) async fn start(world: &World, telling: Telling) -> Self {
        let rng = &mut Rng::with_seed(telling.seed);
        let pace = (telling.pace == Pace::Uneven).then(|| rng.fork());
        let takes = if let Pace::Slow(takes) = telling.pace { Some(takes) } else { None };
        let keeper = Arc::new(Mutex::new(Keeper { asked: BTreeMap::new(), wrong: None, happens: None, pace, takes }));
        let errata = errata(world, rng).await;
        let pulp = FakePulp::start().await.unwrap();
        pulp.add(REPOSITORY_ID, Some(CONTENT_SET));
        let (lightblue, pyxis) = (FakeLightblue::start().await.unwrap(), FakePyxis::start().await.unwrap());
        for repository in shuffled(rng, repositories(world)) {
            match telling.teller {
                Teller::Lightblue => lightblue.add_repository(repository),
                Teller::Pyxis => pyxis.add_repository(repository),
            }
        }
        for row in shuffled(rng, rows(world, telling.twice)) {
            match telling.teller {
                Teller::Lightblue => lightblue.add_image(row),
                Teller::Pyxis => pyxis.add_image(row),
            }
        }
        let hub = hub(world).await;
        let at = |name, url| gate(name, url, keeper.clone());
        let errata_gate = at("errata", errata.url()).await;
        let pulp_gate = at("pulp", pulp.url()).await;
        let lightblue_gate = at("lightblue", lightblue.url()).await;
        let pyxis_gate = at("pyxis", pyxis.url()).await;
        let hub_gate = at("koji", hub.url().trim_end_matches("/kojihub").to_owned()).await;
        let images = match telling.teller {
            Teller::Lightblue => through_lightblue(world, &lightblue_gate, telling.page),
            Teller::Pyxis => through_pyxis(world, &pyxis_gate, telling.page),
        };
        let mut config = ErrataConfig::new(errata_gate.url());
        config.http.timeout = PATIENCE;
        let advisories = Arc::new(ErrataTool::new(config).unwrap());
        let mut config = PulpConfig::new(pulp_gate.url());
        config.http.timeout = PATIENCE;
        let content_sets = Arc::new(Pulp::new(config).unwrap());
        let mut config = KojiConfig::new(format!("{}/kojihub", hub_gate.url()));
        config.http.timeout = PATIENCE;
        let recipes = Arc::new(KojiRecipes::new(&config).unwrap());
        let affected = AffectedImages::new(advisories, content_sets, ImageSearch::new(images, recipes));
        Self {
            keeper,
            handler: RebuildImagesOfAdvisory(affected),
            policy: policy(world),
            errata: (Arc::new(errata), errata_gate),
            _pulp: (pulp, pulp_gate),
            _lightblue: (lightblue, lightblue_gate),
            _pyxis: (pyxis, pyxis_gate),
            _hub: (hub, hub_gate),
        }
    }

    /// What the handler decides about the message that the advisory was shipped.
    pub(crate) async fn decide(&self) -> HandlerResult {
        lock(&self.keeper).asked.clear();
        let event: AdvisoryStatusChanged =
            serde_json::from_value(serde_json::json!({ "errata_id": ADVISORY, "to": "SHIPPED_LIVE" })).unwrap();
        let catalog = Arc::new(MemoryCatalog::new(ArtifactGraph::new()));
        let context = Context::outside(catalog, self.policy.clone(), freshmaker::time::from_micros(0));
        self.handler.handle(event, context).await
    }

    pub(crate) async fn plan(&self) -> Plan {
        match self.decide().await {
            Ok(Decision::Rebuild(plan)) => plan,
            other => panic!("no plan: {other:?}"),
        }
    }

    /// How many requests the last decision made, by service.
    pub(crate) fn asked(&self) -> BTreeMap<&'static str, usize> {
        lock(&self.keeper).asked.clone()
    }

    /// Answers the request with this number of the next decision wrongly.
    pub(crate) fn disturb(&self, number: usize, wrong: Wrong) {
        lock(&self.keeper).wrong = Some((number, wrong));
    }

    /// Lets the advisory become that of another world, before the request with this number of the
    /// next decision.
    pub(crate) fn change_advisory(&self, number: usize, world: &World) {
        let (errata, world) = (self.errata.0.clone(), world.clone());
        let change = move || tell(&errata, &world, &mut Rng::with_seed(0));
        lock(&self.keeper).happens = Some((number, Box::new(change)));
    }

    pub(crate) fn calm(&self) {
        lock(&self.keeper).wrong = None;
    }
}

/// How long an answer may take, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn shuffled<T>(rng: &mut Rng, mut things: Vec<T>) -> Vec<T> {
    rng.shuffle(&mut things);
    things
}

fn policy(world: &World) -> Policy {
    match &world.blocked {
        Some(name) => serde_json::from_value(serde_json::json!({ "block": [{ "image_name": name }] })).unwrap(),
        None => Policy::allow_all(),
    }
}

fn exceptions(world: &World) -> impl Iterator<Item = UnpublishedRepository> {
    let unpublished = world.repositories.values().filter(|it| !it.published);
    unpublished.map(|it| UnpublishedRepository { registry: REGISTRY.to_owned(), repository: it.name.clone() })
}

fn through_lightblue(world: &World, gate: &Server, page: u32) -> Arc<dyn Images> {
    let mut config = LightblueConfig::new(gate.url());
    config.http.timeout = PATIENCE;
    config.page = page;
    config.unpublished_exceptions = exceptions(world).collect();
    Arc::new(Lightblue::new(config).unwrap())
}

fn through_pyxis(world: &World, gate: &Server, page: u32) -> Arc<dyn Images> {
    let mut config = PyxisConfig::new(gate.url());
    config.http.timeout = PATIENCE;
    (config.page, config.page_with_packages) = (page, page);
    config.unpublished_exceptions = exceptions(world).collect();
    Arc::new(Pyxis::new(config).unwrap())
}

async fn errata(world: &World, rng: &mut Rng) -> FakeErrataTool {
    let errata = FakeErrataTool::start().await.unwrap();
    tell(&errata, world, rng);
    errata
}

/// Tells the Errata Tool of the advisory of a world.
fn tell(errata: &FakeErrataTool, world: &World, rng: &mut Rng) {
    let advisory = Advisory {
        id: ADVISORY,
        name: "RHSA-2017:28484-01".into(),
        state: "SHIPPED_LIVE".into(),
        content_types: world.content_types.iter().map(|kind| (*kind).to_owned()).collect(),
        security_impact: "important".into(),
        product: "RHEL".into(),
        release: "RHEL-9".into(),
        reporter: "somebody".into(),
        ..Advisory::default()
    };
    // A package is shipped to several products and architectures, and is one package.
    let build = |package: &Package| {
        let nvr: Nvr = package.to_string().parse().unwrap();
        let files = ["x86_64", "s390x", "src"].map(|arch| format!("{package}.{arch}.rpm"));
        FakeBuild::new(nvr, ["RHEL-9", "RHEL-9.4"]).with_files(files)
    };
    let cves: &[&str] = if world.others.is_empty() { &[] } else { &["CVE-2026-1"] };
    let fixed = world.fixed.iter().map(|package| build(package).fixing(cves.iter().copied()));
    let builds = shuffled(rng, fixed.chain(world.others.iter().map(build)).collect());
    errata.add(advisory, builds, [REPOSITORY_ID]);
}

fn repositories(world: &World) -> Vec<FakeRepository> {
    let repository = |it: &Repository| {
        let shown = FakeRepository::new(REGISTRY, &it.name).with_tags(it.tags.clone()).in_categories([it.category]);
        if it.published { shown } else { shown.unpublished() }
    };
    world.repositories.values().map(repository).collect()
}

/// What the catalog says of the images: a row for each architecture, some of them twice.
fn rows(world: &World, twice: Twice) -> Vec<FakeImage> {
    let known = world.images.values().filter(|image| !image.has(&Fault::NotInCatalog));
    let rows = known.flat_map(|image| ["amd64", "s390x"].map(|arch| row(world, image, arch)));
    let repeat = |(at, row): (usize, FakeImage)| {
        let copies = if twice == Twice::SomeRows && at % 3 == 0 { 2 } else { 1 };
        std::iter::repeat_n(row, copies)
    };
    rows.enumerate().flat_map(repeat).collect()
}

fn row(world: &World, image: &Image, arch: &str) -> FakeImage {
    let mut row = FakeImage::new(&image.name, &image.nvr()).on(arch);
    for place in &image.places {
        row = row.published_in(REGISTRY, &place.repository, [place.tag]);
    }
    row = image.content_sets.iter().fold(row, |row, set| row.with_content_set(set));
    if image.hotfix {
        row = row.with_label("com.redhat.hotfix");
    }
    if !image.has(&Fault::NoManifest) {
        row = row.with_manifest();
        for package in &image.packages {
            row = row.with_rpm(package.name, &format!("{package}.{arch}"));
        }
        if image.has(&Fault::OddPackage) {
            // It has the name of a package that is asked for.
            row = row.with_rpm(world.fixed.iter().next().unwrap().name, "nonsense");
        }
    }
    match &image.fault {
        Some(Fault::OddParent) => row.with_parent("nonsense"),
        Some(Fault::OtherParent(parent)) => row.with_parent(parent),
        _ => image.parent.iter().fold(row, |row, parent| row.with_parent(parent)),
    }
}

/// The build system, which has parents before children.
async fn hub(world: &World) -> Hub {
    let hub = Hub::start(Arc::new(SystemClock)).await.unwrap();
    let mut images: Vec<&Image> = world.images.values().collect();
    images.sort_by_key(|image| image.layer);
    let nvr = |text: &str| text.parse::<Nvr>().unwrap();
    for image in images.into_iter().filter(|image| !image.has(&Fault::NotInKoji)) {
        let installed =
            image.packages.iter().fold(Fate::succeeds(), |fate, rpm| fate.with_rpm("x86_64", rpm.to_string()));
        let name = nvr(&image.nvr());
        if image.has(&Fault::NoTask) {
            hub.add_image(&name, "", &installed).unwrap();
            continue;
        }
        let container = Container::new(name, "rhel-9").with_fate(installed).from_branch("rhel-9");
        let container = image.parent.iter().fold(container, |it, parent| it.on(nvr(parent)));
        let container = image.builders.iter().fold(container, |it, builder| it.with_builder(nvr(builder)));
        hub.add_container(&container).unwrap();
    }
    hub
}
