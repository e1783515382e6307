//! Which advisories have shipped: a search that knows no times, in pages.

use crate::assert_corrupt;
use freshmaker::backend::Remedy;
use freshmaker::time::{Timestamp, from_micros, later};
use freshmaker_redhat::contracts::{Advisory, ShippedAdvisories};
use freshmaker_redhat::errata::{ErrataConfig, ErrataTool};
use freshmaker_redhat::fakes::errata::FakeErrataTool;
use freshmaker_testing::http::Reply;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const SEARCH: &str = "/api/v1/erratum/search";

fn day(number: u64) -> Timestamp {
    later(from_micros(1_764_000_000_000_000), Duration::from_secs(number * 24 * 3600))
}

async fn service(advisories: impl IntoIterator<Item = (u64, &'static str, u64, u64)>) -> (FakeErrataTool, ErrataTool) {
    let service = FakeErrataTool::start().await.unwrap();
    for (id, state, created, changed) in advisories {
        let name = format!("RHSA-2026:{id}-01");
        service.add(Advisory { id, name, state: state.into(), ..Advisory::default() }, [], [""; 0]);
        service.date(id, day(created), day(changed));
    }
    let errata = ErrataTool::new(ErrataConfig::new(service.url())).unwrap();
    (service, errata)
}

#[tokio::test]
async fn advisories_that_shipped_since_are_found_whenever_they_were_created() {
    let advisories = [
        (1, "SHIPPED_LIVE", 0, 300),
        (2, "SHIPPED_LIVE", 10, 20),
        (3, "REL_PREP", 100, 310),
        (4, "SHIPPED_LIVE", 200, 299),
        (5, "SHIPPED_LIVE", 301, 302),
    ];
    let (service, errata) = service(advisories).await;
    assert_eq!(errata.shipped_since(day(300)).await.unwrap(), BTreeSet::from([1, 5]));
    assert_eq!(service.asked(), [format!("GET {SEARCH}")]);
    // A service that shows no times in the search is asked about each advisory.
    service.be_terse();
    assert_eq!(errata.shipped_since(day(300)).await.unwrap(), BTreeSet::from([1, 5]));
    assert_eq!(service.asked().len(), 2 + 4);
}

#[tokio::test]
async fn the_search_ends_where_advisories_are_too_old() {
    // Created one a day, each shipped 3 days later: 50 pages.
    let (service, errata) = service((1..=1_000).map(|id| (id, "SHIPPED_LIVE", id, id + 3))).await;
    let found = errata.shipped_since(day(1_000)).await.unwrap();
    assert_eq!(found, (997..=1_000).collect());
    // 180 days in preparation end on the tenth page; the next one is older as a whole.
    assert_eq!(service.asked().len(), 11);
    assert_eq!(errata.shipped_since(day(0)).await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn a_search_that_makes_no_sense_is_an_error() {
    let (service, errata) = service([(1, "SHIPPED_LIVE", 0, 300)]).await;
    let place = format!("errata: GET {SEARCH}");
    for (answer, text) in [
        (json!([]), "`the answer`: expected an object, found a list"),
        (json!({}), "`data`: it is missing"),
        (json!({ "data": [{ "id": "1" }] }), "`data[0].id`: expected a whole number, not negative, found text"),
        (json!({ "data": [{ "id": 1, "timestamps": {} }] }), "`data[0].timestamps.created_at`: it is missing"),
        (
            json!({ "data": [{ "id": 1, "timestamps": { "created_at": "soon" } }] }),
            "`data[0].timestamps.created_at`: `soon` is no time",
        ),
        (json!({ "data": [{ "id": 1 }], "page": { "current_page": 1 } }), "`page.total_pages`: it is missing"),
    ] {
        service.show(SEARCH, answer);
        assert_corrupt(&errata.shipped_since(day(0)).await.unwrap_err(), &place, text);
    }
    // The same page for ever, as of a service that does not know pages.
    let row = json!({ "id": 1, "timestamps": { "created_at": day(0), "status_time": day(1) } });
    service.show(SEARCH, json!({ "data": [row] }));
    assert_corrupt(&errata.shipped_since(day(0)).await.unwrap_err(), &place, "more than 2000 pages");
    service.disturb("search", Reply::new(503));
    assert_eq!(errata.shipped_since(day(0)).await.unwrap_err().remedy, Remedy::Unavailable);
}
