//! What composes are made from, as images ask.

use crate::world::{World, request};
use freshmaker::backend::Composer;
use freshmaker_redhat::contracts::{ComposeSource, Composes, KnownCompose};
use freshmaker_redhat::fakes::odcs::Fault;
use freshmaker_redhat::odcs::{Compose, Flag};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn known(source: ComposeSource, names: &[&str]) -> Result<KnownCompose, String> {
    Ok(KnownCompose { source, names: names.iter().map(|name| (*name).to_owned()).collect() })
}

/// Composes of all sources, numbered from 1.
async fn world() -> World {
    let world = World::new().await;
    let composes = [
        Compose::pulp(["appstream", "baseos"]),
        Compose::tag("t").with_packages(["bash"]),
        Compose::build(["bash-1-1"]).with_packages(["bash"]).with_flags([Flag::NoDeps]),
        Compose::raw_config("pungi_cfg", "c0ffee"),
    ];
    for (number, compose) in (1..).zip(&composes) {
        world.odcs.prepare(&request(number, compose)).await.unwrap();
    }
    world
}

async fn ask(world: &World, ids: &[i64]) -> BTreeMap<i64, Result<KnownCompose, String>> {
    world.odcs.composes(&ids.iter().copied().collect()).await.unwrap()
}

#[tokio::test]
async fn each_compose_costs_a_request_and_is_told_by_its_number() {
    let world = world().await;
    let before = world.asked("GET");
    let found = ask(&world, &[1, 2, 3, 4, 99, -1]).await;
    let expected = [
        (-1, Err("-1 is no number of a compose".to_owned())),
        (1, known(ComposeSource::ContentSets, &["appstream", "baseos"])),
        (2, known(ComposeSource::Tag, &["t"])),
        (3, known(ComposeSource::Builds, &[])),
        (4, known(ComposeSource::Configuration, &["pungi_cfg#c0ffee"])),
        (99, Err("ODCS has no compose 99".to_owned())),
    ];
    assert_eq!(found, expected.into());
    assert_eq!(world.asked("GET") - before, 5, "-1 is asked of nobody");
    assert!(ask(&world, &[]).await.is_empty());
}

/// One odd compose says nothing about others.
#[tokio::test]
async fn nonsense_about_a_compose_costs_no_other() {
    let world = world().await;
    world.service.disfigure(1, "state", json!(17));
    world.service.disfigure(2, "id", json!(3));
    world.service.disfigure(3, "source_type", json!(12));
    let found = ask(&world, &[1, 2, 3, 4]).await;
    let why = |id: i64| found[&id].clone().unwrap_err();
    assert!(why(1).contains("there is no state 17 of a compose"), "{}", why(1));
    assert!(why(2).contains("the answer is about compose 3"), "{}", why(2));
    assert_eq!(why(3), "compose 3 has the source type 12, which is not known");
    assert!(found[&4].is_ok());
}

#[tokio::test]
async fn a_service_that_is_away_is_an_error_of_the_whole_question() {
    let world = world().await;
    let away = [Fault::Status(503, "away".to_owned()), Fault::Status(401, "who?".to_owned()), Fault::Silence];
    for fault in away.into_iter().chain([Fault::Html, Fault::Cut(200)]) {
        world.service.disturb("GET", fault);
        let error = world.odcs.composes(&BTreeSet::from([1, 2])).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}
