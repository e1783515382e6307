//! The engine over the hub in bad worlds: whatever goes wrong, everything is built, and nothing
//! twice.

use crate::farm::{Farm, LATE, SECOND, source};
use fastrand::Rng;
use freshmaker::Engine;
use freshmaker::backend::Clock;
use freshmaker_redhat::fakes::koji::{Fate, Hub, Trouble};
use freshmaker_sql::SqliteStorage;
use futures_util::StreamExt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Calls that are made on the way, besides those inside of `multiCall`.
const CALLS: [&str; 4] = ["login", "buildContainer", "multiCall", "listTasks"];

/// The number of tasks that it takes in a world in which this is wrong.
async fn tasks(wrong: impl FnOnce(&Hub)) -> usize {
    let farm = Farm::new().await;
    wrong(&farm.hub);
    farm.succeeds().await
}

/// The first and the third call of every kind go wrong like this.
async fn tasks_if_each(trouble: Trouble) -> usize {
    let farm = Farm::new().await;
    // After a fault there is nothing to look up.
    let calls = if trouble == Trouble::Offline { &CALLS[..3] } else { &CALLS };
    for method in calls {
        farm.hub.trouble(method, 0, trouble.clone());
        farm.hub.trouble(method, 2, trouble.clone());
    }
    let tasks = farm.succeeds().await;
    for method in ["login", "buildContainer", "multiCall"] {
        assert!(farm.hub.calls(method) >= 3, "{method}");
    }
    tasks
}

#[tokio::test]
async fn a_good_world_takes_a_task_for_each_image() {
    let farm = Farm::new().await;
    assert_eq!(farm.succeeds().await, 4);
    let ledger = farm.hub.ledger();
    let artifacts: Vec<_> = ledger.entries.iter().map(|entry| entry.artifact.clone()).collect();
    assert_eq!(artifacts[..2], [source("base"), source("middle")]);
    assert!(ledger.entries.iter().all(|entry| entry.marker.is_some() && entry.session.is_some()));
}

#[tokio::test]
async fn html_with_status_200() {
    assert_eq!(tasks_if_each(Trouble::Html).await, 4);
}

#[tokio::test]
async fn truncated_xml() {
    assert_eq!(tasks_if_each(Trouble::Truncated(60)).await, 4);
}

#[tokio::test]
async fn answers_that_break_off() {
    assert_eq!(tasks_if_each(Trouble::AnswerCut(150)).await, 4);
}

#[tokio::test]
async fn stalls() {
    assert_eq!(tasks_if_each(Trouble::Stalls).await, 4);
}

#[tokio::test]
async fn lost_requests() {
    assert_eq!(tasks_if_each(Trouble::RequestLost).await, 4);
}

#[tokio::test]
async fn lost_answers() {
    assert_eq!(tasks_if_each(Trouble::AnswerLost).await, 4);
}

#[tokio::test]
async fn proxies_that_answer_before_and_after() {
    assert_eq!(tasks_if_each(Trouble::Status(503)).await, 4);
    assert_eq!(tasks_if_each(Trouble::StatusAfter(502)).await, 4);
}

#[tokio::test]
async fn a_hub_that_is_off_line() {
    assert_eq!(tasks_if_each(Trouble::Offline).await, 4);
}

#[tokio::test]
async fn sessions_that_expire_at_the_wrong_moment() {
    assert_eq!(tasks(|hub| hub.trouble("buildContainer", 0, Trouble::Expired)).await, 4);
    assert_eq!(tasks(|hub| hub.trouble("buildContainer", 2, Trouble::Expired)).await, 4);
}

#[tokio::test]
async fn numbers_of_calls_in_disorder() {
    for code in [1008, 1009] {
        let refused = Trouble::Fault(code, "3 > 2 (session 1)".to_owned());
        assert_eq!(tasks(|hub| hub.trouble("buildContainer", 1, refused)).await, 4);
    }
    // The first of the two is adopted.
    assert_eq!(tasks(|hub| hub.trouble("buildContainer", 0, Trouble::Twice)).await, 4);
}

#[tokio::test]
async fn a_fault_inside_of_a_multicall() {
    let wrong = |hub: &Hub| {
        for method in ["getTaskInfo", "getTaskResult", "listBuilds"] {
            hub.trouble_within(method, 1000, "database outage");
        }
    };
    assert_eq!(tasks(wrong).await, 4);
}

#[tokio::test]
async fn a_task_that_vanishes_is_made_again() {
    assert_eq!(tasks(|hub| hub.next(&source("middle"), Fate::vanishes())).await, 5);
}

#[tokio::test]
async fn a_request_that_comes_after_the_fence_is_refused() {
    let farm = Farm::new().await;
    farm.hub.trouble("buildContainer", 0, Trouble::LateRequest(LATE));
    assert_eq!(farm.succeeds().await, 4);
    assert_eq!(farm.hub.calls("buildContainer"), 5);
}

#[tokio::test]
async fn work_that_slips_through_the_fence_is_found_when_all_has_settled() {
    let farm = Farm::new().await;
    farm.hub.trouble("buildContainer", 0, Trouble::LateWork(LATE));
    assert_eq!(farm.succeeds().await, 4);
    assert_eq!(farm.hub.calls("buildContainer"), 4);
}

#[tokio::test]
async fn a_hub_that_is_away_for_a_while() {
    let mut farm = Farm::new().await;
    let engine = farm.engine(1);
    farm.push(&engine).await;
    let client = engine.client();
    let clock = farm.clock.clone();
    let hub = &mut farm.hub;
    let story = async {
        while hub.live_tasks().is_empty() {
            clock.sleep(SECOND).await;
        }
        hub.stop();
        clock.sleep(SECOND * 30).await;
        hub.restart().await.unwrap();
        client.wait_until_idle().await;
    };
    tokio::time::timeout(Duration::from_secs(30), engine.run_until(story)).await.unwrap().unwrap();
    farm.all_done().await;
    assert_eq!(farm.hub.ledger().entries.len(), 4);
}

/// Lets the engine run until it has ended or was polled so often, and messages of the hub come to
/// it. Whether it has ended.
async fn run(farm: &Farm, engine: &Engine, polls: usize) -> bool {
    let client = engine.client();
    let mut running = pin!(engine.run_until(client.wait_until_idle()));
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        farm.deliver();
        running.as_mut().poll(cx).map(|ended| {
            ended.unwrap();
            true
        })
    })
    .await
}

#[tokio::test]
async fn more_slots_than_sessions_make_no_submission_wait_for_another() {
    let mut farm = Farm::new().await;
    // Two that had to share the session would take longer than a submission may.
    (farm.sessions, farm.patience) = (1, SECOND / 2);
    farm.hub.sabotage(|method, _| (method == "buildContainer").then_some(Trouble::LateWork(SECOND * 35)));
    assert_eq!(farm.succeeds().await, 4);
    assert_eq!(farm.hub.calls("listTasks"), 0, "nothing was unclear");
}

#[tokio::test]
async fn messages_of_the_hub_make_the_engine_ask() {
    let mut farm = Farm::new().await;
    farm.bus = Some(Arc::default());
    // Nobody waits for an answer that long.
    farm.poll = SECOND * 100_000;
    farm.hub.script(|_| Some(Fate::succeeds().taking(SECOND * 30)));
    let engine = farm.engine(1);
    farm.push(&engine).await;
    assert!(tokio::time::timeout(Duration::from_secs(30), run(&farm, &engine, usize::MAX)).await.unwrap());
    farm.all_done().await;
}

fn trouble(rng: &mut Rng) -> Trouble {
    match rng.u8(0..14) {
        0 => Trouble::RequestLost,
        1 => Trouble::AnswerLost,
        2 => Trouble::AnswerCut(rng.usize(0..400)),
        3 => Trouble::Truncated(rng.usize(0..200)),
        4 => Trouble::Stalls,
        5 => Trouble::Html,
        6 => Trouble::Status(503),
        7 => Trouble::StatusAfter(502),
        8 => Trouble::Fault(1009, "unable to retry call".to_owned()),
        9 => Trouble::Offline,
        10 => Trouble::Expired,
        // Only the fence keeps that away from the lookup of an engine whose predecessor died of
        // it.
        11 => Trouble::LateRequest(SECOND * 8),
        12 => Trouble::LateWork(SECOND * 2),
        _ => Trouble::Twice,
    }
}

/// Processes that die at any moment, in a world in which anything goes wrong. How many of them
/// died.
async fn die_and_go_on(seed: u64) -> usize {
    let mut rng = Rng::with_seed(seed);
    let mut farm = Farm::new().await;
    farm.settle = SECOND * 3;
    if seed % 4 == 1 {
        farm.storage = Arc::new(SqliteStorage::in_memory().unwrap().with_clock(farm.clock.clone()));
    }
    if seed % 3 == 1 {
        farm.bus = Some(Arc::default());
        farm.poll = SECOND * 20;
    }
    let (mut fate, mut troubles) = (rng.fork(), 8);
    farm.hub.sabotage(move |_, _| {
        let wrong = troubles > 0 && fate.u8(0..8) == 0;
        troubles -= usize::from(wrong);
        wrong.then(|| trouble(&mut fate))
    });
    let mut deaths = 0;
    loop {
        let engine = farm.engine(rng.u64(..));
        farm.push(&engine).await;
        let polls = if deaths < 6 { rng.usize(1..60) } else { usize::MAX };
        let ran = tokio::time::timeout(Duration::from_secs(30), run(&farm, &engine, polls)).await;
        if ran.unwrap_or_else(|_| panic!("seed {seed} does not end: {:?}", farm.hub)) {
            farm.all_done().await;
            // None of them failed, so whatever else was made was made for nothing.
            assert_eq!(farm.hub.ledger().entries.len(), 4, "seed {seed}");
            return deaths;
        }
        deaths += 1;
    }
}

#[tokio::test]
async fn engines_that_die_at_any_moment_build_nothing_twice() {
    let began = Instant::now();
    let deaths: Vec<_> = futures_util::stream::iter(0..200).map(die_and_go_on).buffer_unordered(16).collect().await;
    let all: usize = deaths.iter().sum();
    eprintln!("{all} deaths in {:?}", began.elapsed());
    assert!(all >= 200, "they hardly ever die: {all}");
}
