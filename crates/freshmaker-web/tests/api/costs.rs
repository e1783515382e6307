//! A list costs the same questions to the storage, however long it is.

use super::pages::{html, service};
use super::support::ask;
use freshmaker::Client;
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_testing::counted::CountedStorage;
use freshmaker_web::axum::http::Method;
use freshmaker_web::{Config, PageConfig};
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn no_list_asks_for_each_of_its_rows() {
    let service = service();
    for _ in 0..4 {
        service.world.builds.fail_next(&"app".into(), Failure::new(FailureClass::Permanent, "no space"));
        service.push("base").await;
        service.settle().await;
    }
    let storage = Arc::new(CountedStorage::new(service.world.storage.clone()));
    let client = Client::new(storage.clone()).with_clock(service.world.clock.clone());
    let mut config = Config::loopback();
    (config.clock, config.page) = (service.world.clock.clone(), Some(PageConfig::default()));
    let router = freshmaker_web::router(client, config);
    for (path, calls) in [
        // Of events with builds that failed or were cancelled it is asked how many were which.
        ("/api/3/events?", &["events", "count_caused"][..]),
        ("/api/3/events?count=true&", &["events", "count_caused"]),
        ("/api/3/events?state=SKIPPED&", &["events"]),
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
