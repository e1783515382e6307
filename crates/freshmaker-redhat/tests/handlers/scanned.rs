//! Advisories that shipped without a message: the scan finds them, once.

use super::service::{Service, message};
use super::world::{FIXED, World, affected, layers};
use async_trait::async_trait;
use freshmaker::backend::{Error, NewDocument, Remedy, Result};
use freshmaker::time::{Timestamp, later, to_micros};
use freshmaker_redhat::contracts::ShippedAdvisories;
use freshmaker_redhat::handlers::{AnnounceAdvisories, RebuildImagesOfSignedAdvisory};
use freshmaker_redhat::scan::{Scanned, ShippedScan};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Advisories, and when each shipped.
#[derive(Debug, Default)]
struct Tool {
    shipped: Mutex<Vec<(u64, Timestamp)>>,
    asked: Mutex<Vec<Timestamp>>,
    away: Mutex<bool>,
}

#[async_trait]
impl ShippedAdvisories for Tool {
    async fn shipped_since(&self, since: Timestamp) -> Result<BTreeSet<u64>> {
        self.asked.lock().unwrap().push(since);
        if *self.away.lock().unwrap() {
            return Err(Error::new(Remedy::Unavailable, "the Errata Tool", "it is away"));
        }
        let shipped = self.shipped.lock().unwrap();
        Ok(shipped.iter().filter(|(_, at)| *at >= since).map(|(id, _)| *id).collect())
    }
}

fn service(world: &Arc<World>) -> Service {
    Service::new(|builder| {
        let announce = AnnounceAdvisories::new(world.clone(), world.clone());
        builder.on(announce).on(RebuildImagesOfSignedAdvisory::new(affected(world)))
    })
}

fn world() -> Arc<World> {
    Arc::new(World::new(FIXED, &layers()))
}

fn scan(tool: &Arc<Tool>, service: &Service) -> ShippedScan {
    ShippedScan::new(tool.clone()).with_clock(service.world.clock.clone())
}

fn now(service: &Service) -> Timestamp {
    use freshmaker::backend::Clock;
    service.world.clock.now()
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_handled_and_what_was_handled_is_not() {
    let tool = Arc::new(Tool::default());
    let service = service(&world());
    let client = service.client();
    let begin = now(&service);
    tool.shipped.lock().unwrap().push((28484, begin));
    let scan = scan(&tool, &service);
    let first = scan.since(&client, begin).await.unwrap();
    assert_eq!((first.found, first.new), (1, 1));
    service.deliver([]).await;
    assert_eq!(service.submissions().len(), 3);
    // Once more, and the message that was late after all.
    let again = scan.since(&client, begin).await.unwrap();
    assert_eq!((again.found, again.new), (1, 0));
    let body = json!({ "errata_id": 28484, "from": "IN_PUSH", "to": "SHIPPED_LIVE" });
    service.deliver([message("late", "errata.activity.status", &body)]).await;
    assert_eq!(service.submissions().len(), 3);
    assert_eq!(service.events().await.len(), 1);
    assert_eq!(scan.since(&client, later(begin, HOUR)).await.unwrap(), Scanned::default());
}

#[tokio::test(start_paused = true)]
async fn each_scan_overlaps_the_one_before_and_a_failed_one_is_made_again() {
    let tool = Arc::new(Tool::default());
    let service = service(&world());
    let (client, scan) = (service.client(), scan(&tool, &service));
    let begin = now(&service);
    let hours = |asked: &Timestamp| (to_micros(*asked) - to_micros(begin)) / 1_000_000 / 360;
    scan.round(&client).await.unwrap();
    tokio::time::advance(HOUR * 2).await;
    *tool.away.lock().unwrap() = true;
    let error = scan.round(&client).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    tokio::time::advance(HOUR).await;
    *tool.away.lock().unwrap() = false;
    scan.round(&client).await.unwrap();
    service.world.clock.set_back(HOUR * 30);
    scan.round(&client).await.unwrap();
    service.world.clock.set_forward(HOUR * 30);
    scan.round(&client).await.unwrap();
    let asked: Vec<_> = tool.asked.lock().unwrap().iter().map(hours).collect();
    // In tenths of an hour: a day before; an hour before the first, twice; and a clock that was set
    // back leaves no gap.
    assert_eq!(asked, [-240, -10, -10, -280, -280]);
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_while_the_tool_is_away() {
    let tool = Arc::new(Tool::default());
    *tool.away.lock().unwrap() = true;
    let service = service(&world());
    let (client, scan) = (service.client(), scan(&tool, &service).every(HOUR));
    let running = scan.run(&client);
    assert!(tokio::time::timeout(HOUR * 5 + HOUR / 2, running).await.is_err(), "it never ends by itself");
    assert_eq!(tool.asked.lock().unwrap().len(), 6);
    *tool.away.lock().unwrap() = false;
    tool.shipped.lock().unwrap().push((28484, now(&service)));
    assert!(tokio::time::timeout(HOUR / 2, scan.run(&client)).await.is_err());
    service.deliver([]).await;
    assert_eq!(service.submissions().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_makes_no_sense_is_an_error_that_names_it() {
    let tool = Arc::new(Tool::default());
    let service = service(&world());
    let (client, scan) = (service.client(), scan(&tool, &service));
    let odd = NewDocument::new("errata.shipped-scan", "position", "yesterday".into());
    client.documents().await.unwrap().put(odd).await.unwrap();
    let error = scan.round(&client).await.unwrap_err();
    assert_eq!((error.remedy, error.place.as_str()), (Remedy::Corrupt, "document errata.shipped-scan position"));
    assert!(tool.asked.lock().unwrap().is_empty());
}

/// Two services on one storage scan at the same time.
#[tokio::test(start_paused = true)]
async fn two_that_scan_at_once_store_one_message() {
    let tool = Arc::new(Tool::default());
    let service = service(&world());
    tool.shipped.lock().unwrap().push((28484, now(&service)));
    let (client, one, two) = (service.client(), scan(&tool, &service), scan(&tool, &service));
    let (first, second) = tokio::join!(one.round(&client), two.round(&client));
    assert_eq!(first.unwrap().found + second.unwrap().found, 2);
    service.deliver([]).await;
    assert_eq!(service.events().await.len(), 1);
    assert_eq!(service.submissions().len(), 3);
}
