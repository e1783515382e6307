//! The engine in its simulated world. `FRESHMAKER_SIM_SEEDS=from..to` chooses the seeds,
//! `FRESHMAKER_SIM_SEED=n` replays one and tells its story.

use freshmaker_testing::sim::{Fault, Report, simulate, simulate_crash_at, simulate_fault};
use std::ops::Range;

fn seeds(default: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("FRESHMAKER_SIM_SEEDS") else { return default };
    let (from, to) = text.split_once("..").expect("FRESHMAKER_SIM_SEEDS is from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

fn sound(seed: u64) -> Report {
    simulate(seed).unwrap_or_else(|failed| panic!("{failed}"))
}

/// Runs the seeds on all cores and returns what happened.
fn run(seeds: &Range<u64>) -> Vec<Report> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || seeds.clone().filter(|seed| seed % workers == worker).map(sound).collect())
            })
            .collect();
        let reports = workers.into_iter().map(|worker| worker.join());
        reports
            .flat_map(|reports: Result<Vec<Report>, _>| {
                reports.unwrap_or_else(|cause| std::panic::resume_unwind(cause))
            })
            .collect()
    })
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Ok(seed) = std::env::var("FRESHMAKER_SIM_SEED") {
        sound(seed.parse().expect("a number")).trace.iter().for_each(|line| println!("{line}"));
        return;
    }
    let reports = run(&seeds(0..100));
    let total = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let crashes = total(|report| report.crashes.into());
    let reused = total(|report| report.reused);
    println!(
        "{} seeds: {crashes} crashes, {} tasks, {reused} reused, {} virtual days",
        reports.len(),
        total(|report| report.tasks as u64),
        total(|report| report.elapsed.as_secs()) / 86_400,
    );
    // Proof that the hard places were reached.
    assert!(crashes > 0 && reused > 0);
}

#[test]
fn the_process_may_die_before_any_step() {
    for seed in [4, 5] {
        for step in 1..=sound(seed).steps {
            simulate_crash_at(seed, step).unwrap_or_else(|failed| panic!("it died before step {step}: {failed}"));
        }
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..50 {
        assert_eq!(sound(seed), sound(seed));
    }
}

#[test]
fn every_planted_fault_is_found() {
    for fault in Fault::ALL {
        let found = (0..2000).find_map(|seed| simulate_fault(seed, *fault).err());
        let found = found.unwrap_or_else(|| panic!("{fault:?} was not found by 2000 seeds"));
        println!("{fault:?}: seed {}: {}", found.seed, found.violations[0]);
    }
}
