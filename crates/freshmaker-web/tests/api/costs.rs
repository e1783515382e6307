//! A list costs the same questions to the storage, however long it is.

use super::pages::{html, service};
use super::support::{Service, ask};
use freshmaker::Client;
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_testing::counted::CountedStorage;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::http::Method;
use freshmaker_web::{Config, PageConfig};
use std::sync::Arc;
use std::time::Duration;

/// The routes of a service on a storage that counts what is asked of it.
fn counted(service: &Service) -> (Arc<CountedStorage>, Router) {
    let storage = Arc::new(CountedStorage::new(service.world.storage.clone()));
    let client = Client::new(storage.clone()).with_clock(service.world.clock.clone());
    let mut config = Config::loopback();
    (config.clock, config.page) = (service.world.clock.clone(), Some(PageConfig::default()));
    (storage, freshmaker_web::router(client, config))
}

#[tokio::test(start_paused = true)]
async fn no_list_asks_for_each_of_its_rows() {
    let service = service();
    for _ in 0..4 {
        service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
        service.push("base").await;
        service.settle().await;
    }
    let (storage, router) = counted(&service);
    for (path, calls) in [
        ("/api/3/events?", &["events_with_counts"][..]),
        ("/api/3/events?count=true&", &["events_with_counts"]),
        ("/api/3/events?state=SKIPPED&", &["events_with_counts"]),
        ("/api/3/builds?", &["builds"]),
        ("/api/3/builds?state=FAILED&event=1&", &["builds"]),
        ("/api/3/dead-letters?", &["messages"]),
        ("/api/3/audit?", &["documents"]),
        ("/api/3/tokens?", &["documents"]),
        ("/events?", &["outbox", "count_events", "events"]),
        ("/builds?", &["outbox", "count_builds", "builds"]),
    ] {
        for limit in [1, 200] {
            let told = ask(&router, html(Method::GET, &format!("{path}limit={limit}"))).await;
            assert_eq!(told.status, 200, "{told:?}");
            assert_eq!(storage.taken(), calls, "{path} of {limit} rows");
        }
    }
}

/// Everybody who looks at the overview within a moment shares what was read for it: thousands of
/// failed builds may be behind its numbers.
#[tokio::test(start_paused = true)]
async fn the_overview_reads_failed_builds_once_in_a_moment() {
    let service = service();
    service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
    service.push("base").await;
    service.settle().await;
    let (storage, router) = counted(&service);
    let builds_read = async || {
        let told = ask(&router, html(Method::GET, "/")).await;
        assert!(String::from_utf8(told.body).unwrap().contains("no space"));
        storage.taken().into_iter().filter(|call| *call == "builds").count()
    };
    let first = builds_read().await;
    assert!(first > 1, "the failed builds, and those that were built well since");
    assert_eq!(builds_read().await, 0);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(builds_read().await > 1, "it is not kept for long");
}
