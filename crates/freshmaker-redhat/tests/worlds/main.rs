//! Random worlds, told by the services over HTTP and planned by the handler of shipped advisories:
//! the laws hold, however the world is told and whatever goes wrong on the way.
//!
//! `FRESHMAKER_WORLDS=0..500` sets the seeds. A failure names its seed.
#![allow(clippy::unwrap_used)]

mod latency;
mod laws;
mod outcome;
mod points;
mod services;
mod world;

use fastrand::Rng;
use freshmaker::Plan;
use freshmaker::backend::Error;
use freshmaker::handler::Decision;
use freshmaker::plan::PlanNode;
use services::{Pace, Services, Teller, Telling, Twice, Wrong};
use std::ops::Range;
use world::{Package, World};

/// The seeds of the worlds to test: those of the environment, or these.
fn seeds(few: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("FRESHMAKER_WORLDS") else { return few };
    let (from, to) = text.split_once("..").expect("FRESHMAKER_WORLDS is like 0..500");
    from.parse().unwrap()..to.parse().unwrap()
}

/// What a failure says first.
fn named(seed: u64) -> String {
    format!("seed {seed} (FRESHMAKER_WORLDS={seed}..{} cargo test --test worlds)", seed + 1)
}

/// A plan as it is stored, without the name of the catalog, which errors have.
fn shown(plan: &Plan) -> String {
    serde_json::to_string(plan).unwrap().replace("pyxis: ", "lightblue: ")
}

async fn plan(world: &World, telling: Telling) -> Plan {
    Services::start(world, telling).await.plan().await
}

#[tokio::test]
async fn the_laws_hold() {
    let (mut builds, mut impeded, mut excluded) = (0, 0, 0);
    let seeds = seeds(0..24);
    for seed in seeds.clone() {
        let world = World::random(seed);
        let teller = if seed % 2 == 0 { Teller::Lightblue } else { Teller::Pyxis };
        let plan = plan(&world, Telling::plain(teller)).await;
        let broken = laws::broken(&world, &plan);
        assert!(broken.is_empty(), "{}\n{}\n{world:#?}", named(seed), broken.join("\n"));
        builds += plan.len();
        impeded += plan.nodes().filter(|node| node.impediment.is_some()).count();
        excluded += plan.exclusions().count();
    }
    let few = seeds.end - seeds.start < 24;
    assert!(few || builds > 100 && impeded > 10 && excluded > 100, "too little: {builds} {impeded} {excluded}");
}

/// Both catalogs lead to the same plan, in whichever order their rows come, if rows come twice, if
/// answers overtake each other, and in pages.
#[tokio::test]
async fn the_order_of_answers_makes_no_difference() {
    for seed in seeds(0..8) {
        let world = World::random(seed);
        let first = plan(&world, Telling::plain(Teller::Lightblue)).await;
        for (number, teller) in (1..).zip([Teller::Lightblue, Teller::Pyxis]) {
            let seed_of_telling = seed * 10 + number;
            let page = if seed % 3 == 0 { 10_000 } else { 40 };
            let telling = Telling { teller, seed: seed_of_telling, page, twice: Twice::SomeRows, pace: Pace::Uneven };
            let other = plan(&world, telling).await;
            assert_eq!(shown(&first), shown(&other), "{}: {telling:?}\n{:#?}", named(seed), first.diff(&other));
            if teller == Teller::Lightblue {
                assert_eq!(first.hash(), other.hash(), "{}", named(seed));
            }
        }
    }
}

/// Requests are made for distinct artifacts: neither rows that come twice nor the number of
/// packages and of images in a layer add any.
#[tokio::test]
async fn requests_grow_with_distinct_artifacts_only() {
    for seed in seeds(0..6) {
        let world = World::random(seed);
        for teller in [Teller::Lightblue, Teller::Pyxis] {
            let once = Services::start(&world, Telling::plain(teller)).await;
            once.plan().await;
            let twice = Services::start(&world, Telling { twice: Twice::SomeRows, ..Telling::plain(teller) }).await;
            twice.plan().await;
            assert_eq!(once.asked(), twice.asked(), "{}: {teller:?}", named(seed));
            let most = laws::requests_max(&world);
            for (service, requests) in once.asked() {
                assert!(requests <= most[service], "{}: {requests} to {service}, at most {most:?}", named(seed));
            }
            // Nothing is kept for the next decision, and nothing is asked more.
            let before = once.asked();
            once.plan().await;
            assert_eq!(once.asked(), before, "{}: {teller:?}", named(seed));
        }
    }
}

/// What Koji says about one image can make no sense. Then that image fails, with what is built on
/// it, and nothing else changes. Returns whether there is a difference: an image that fails anyway
/// cannot fail more.
fn only_fails_more(right: &Plan, plan: &Plan, what: &str) -> bool {
    let errors = |plan: &Plan| {
        let is_one = |node: &&PlanNode| node.impediment.as_ref().is_some_and(|why| why.code == "lookup_error");
        plan.nodes().filter(is_one).count()
    };
    if shown(right) == shown(plan) {
        return false;
    }
    assert!(errors(plan) > errors(right), "{what}: another plan: {:#?}", right.diff(plan));
    for node in right.nodes() {
        let now = plan.node(&node.artifact.id).unwrap_or_else(|| panic!("{what}: {} is lost", node.artifact.id));
        assert!(now == node || now.impediment.is_some(), "{what}: {} is built otherwise", node.artifact.id);
    }
    true
}

/// Any answer can be missing or wrong: then there is no plan, and later the right one. Never is
/// there another one.
#[tokio::test]
async fn a_wrong_answer_makes_no_other_plan() {
    let (mut wrongs, mut unheeded) = (0, 0);
    for seed in seeds(0..8) {
        let world = World::random(seed);
        let teller = if seed % 2 == 0 { Teller::Pyxis } else { Teller::Lightblue };
        let services = Services::start(&world, Telling::plain(teller)).await;
        let right = services.plan().await;
        let requests: usize = services.asked().values().sum();
        let rng = &mut Rng::with_seed(seed);
        for _ in 0..6 {
            let (number, wrong) = (rng.usize(..requests), rng.choice(Wrong::ALL).unwrap());
            services.disturb(number, wrong);
            wrongs += 1;
            let what = format!("{}: request {number} of {requests}: {wrong:?}", named(seed));
            match services.decide().await {
                Ok(Decision::Rebuild(plan)) => unheeded += usize::from(!only_fails_more(&right, &plan, &what)),
                Ok(other) => panic!("{what}: {other:?}"),
                Err(error) => {
                    let error = error.downcast::<Error>().unwrap_or_else(|error| panic!("{what}: {error}"));
                    let must_pass = !matches!(wrong, Wrong::Html | Wrong::Empty);
                    assert!(error.is_transient() || !must_pass, "{what}: it is not tried again: {error}");
                }
            }
            services.calm();
            assert!(services.plan().await == right, "{what}: another plan afterwards");
        }
    }
    assert!(unheeded * 10 <= wrongs, "{unheeded} of {wrongs} wrong answers made no difference");
}

/// The advisory gets a newer package at any moment of the decision: the plan is that of the old
/// packages or that of the new ones, and never something in between.
#[tokio::test]
async fn an_advisory_that_changes_meanwhile_leads_to_one_of_two_plans() {
    let mut seen = [0, 0];
    for seed in seeds(0..4) {
        let old = World::random(seed);
        let newer = |package: &Package| Package { release: package.release + 1, ..*package };
        let new = World { fixed: old.fixed.iter().map(newer).collect(), ..old.clone() };
        let of = |world: World| async move { shown(&plan(&world, Telling::plain(Teller::Lightblue)).await) };
        let plans = [of(old.clone()).await, of(new.clone()).await];
        let services = Services::start(&old, Telling::plain(Teller::Lightblue)).await;
        services.plan().await;
        for number in 0..services.asked().values().sum() {
            let services = Services::start(&old, Telling::plain(Teller::Lightblue)).await;
            services.change_advisory(number, &new);
            let found = shown(&services.plan().await);
            let which = plans.iter().position(|plan| *plan == found);
            seen[which.unwrap_or_else(|| panic!("{}: request {number}: a third plan", named(seed)))] += 1;
        }
    }
    assert!(seen.iter().all(|seen| *seen > 0), "{seen:?}");
}
