//! A list costs the same number of storage calls, however long it is.

use super::{api, get, open, recorded};
use crate::each;
use crate::fixture::store;
use freshmaker::Client;
use freshmaker::backend::{EventFilter, Paging};
use freshmaker::rebuild::EventId;
use freshmaker_testing::counted::CountedStorage;
use freshmaker_testing::world::World;
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn no_list_asks_for_each_of_its_rows() {
    for world in each() {
        store(world.storage.as_ref(), &recorded()["fixture"]).await;
        let storage = Arc::new(CountedStorage::new(world.storage.clone()));
        let client = Client::new(storage.clone()).with_clock(world.clock.clone());
        let router = api(&world, client, open()).router();
        let whole = ["events", "builds_with_links"];
        let summary = ["events_with_counts"];
        let builds = ["builds_with_links"];
        for (path, calls) in [
            ("/api/1/events/?order_by=id&per_page=1", &whole[..]),
            ("/api/1/events/?per_page=100", &whole),
            ("/api/1/events/1", &whole),
            ("/api/2/events/?order_by=id&per_page=1", &summary),
            ("/api/2/events/?per_page=100", &summary),
            ("/api/1/builds/?event_id=1&order_by=id&per_page=1", &builds),
            ("/api/1/builds/?per_page=100", &builds),
            ("/api/1/builds/1", &builds),
            ("/api/1/builds/?per_page=2&order_by=-dep_on_id", &builds),
            ("/api/1/events/?per_page=2&order_by=message_id", &["events", "events", "builds_with_links"]),
            ("/api/2/events/?per_page=2&order_by=message_id", &["events", "events_with_counts"]),
            ("/api/1/events/?event_type_id=99", &[]),
        ] {
            let told = get(&router, path).await;
            assert_eq!(told.status, 200, "{told:?}");
            assert_eq!(storage.taken(), calls, "{path}");
        }
    }
}

/// Repositories that are prepared for builds are no builds of the service, in either version.
#[tokio::test(start_paused = true)]
async fn both_versions_count_the_same_builds() {
    for world in each() {
        store(world.storage.as_ref(), &recorded()["fixture"]).await;
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let router = api(&world, client.clone(), open()).router();
        let one = EventFilter { ids: vec![EventId(1)], ..EventFilter::default() };
        let caused = client.events_with_counts(one, Paging::first(1)).await.unwrap().items.pop().unwrap().1;
        assert_eq!(caused.iter().map(|count| count.count).sum::<u64>(), 6, "four images and two composes");
        for id in 1..=4 {
            let whole = get(&router, &format!("/api/1/events/{id}")).await.json();
            let summary = get(&router, &format!("/api/2/events/{id}")).await.json();
            let builds = whole["builds"].as_array().unwrap();
            assert_eq!(summary["builds_summary"]["total"], builds.len(), "{id}");
            for state in ["BUILD", "DONE", "FAILED", "CANCELED", "PLANNED"] {
                let count = builds.iter().filter(|build| build["state_name"] == state).count();
                assert_eq!(
                    summary["builds_summary"].get(state).map_or(0, |n| n.as_u64().unwrap()),
                    count as u64,
                    "{id}"
                );
            }
        }
    }
}

/// A reason that counts builds counts those that stand beside it.
#[tokio::test(start_paused = true)]
async fn reasons_count_the_builds_that_are_shown() {
    for (code, ours, shown) in [
        ("complete", "all 6 builds ended well", "all 3 builds ended well"),
        ("some_failed", "1 of 6 builds failed", "1 of 4 builds failed"),
        ("all_failed", "all 6 builds are in failed state", "all 4 builds are in failed state"),
        ("recorded", "all 6 builds ended well", "all 6 builds ended well"),
    ] {
        let world = World::new();
        let mut fixture = recorded()["fixture"].clone();
        let events = fixture["events"].as_array_mut().unwrap();
        let event = events.iter_mut().find(|event| event["id"] == 1).unwrap();
        (event["reason_code"], event["state_reason"]) = (json!(code), json!(ours));
        store(world.storage.as_ref(), &fixture).await;
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let router = api(&world, client, open()).router();
        for path in ["/api/1/events/1", "/api/2/events/1", "/api/1/events/1?show_full_json=False"] {
            let told: Value = get(&router, path).await.json();
            assert_eq!(told["state_reason"], shown, "{path}: {told}");
        }
    }
}
