//! The order in which builds start: what holds for all builds, events and slots, against oracles
//! that look at everything.
#![allow(clippy::unwrap_used)]

use freshmaker::Severity;
use freshmaker::rebuild::{ConcurrencyLimits, Endless, Entry, Forecast, QueuePositions, Schedule, Task, Workload};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, proptest};
use proptest::{prop_assert, prop_assert_eq, prop_oneof};
use std::collections::BTreeMap;
use std::time::Duration;

const SYSTEMS: [&str; 3] = ["arm", "farm", "koji"];

fn slots(limits: [u32; 3]) -> ConcurrencyLimits {
    ConcurrencyLimits::new(SYSTEMS.iter().map(ToString::to_string).zip(limits).collect())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How many times farther apart than those of a critical event the builds of this one stand.
fn stretch(severity: Severity) -> u64 {
    match severity {
        Severity::Critical => 1,
        Severity::Important => 4,
        Severity::Moderate => 16,
        Severity::Low => 64,
    }
}

fn severity() -> impl Strategy<Value = Severity> {
    prop_oneof![Just(Severity::Low), Just(Severity::Moderate), Just(Severity::Important), Just(Severity::Critical)]
}

/// What happens to a schedule.
#[derive(Clone, Debug)]
enum Step {
    Ready(usize, i64),
    Ended(usize),
    Start,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, -4..4_i64).prop_map(|(system, priority)| Step::Ready(system, priority)),
        1 => (0..3_usize).prop_map(Step::Ended),
        2 => Just(Step::Start),
    ]
}

proptest! {
    /// Caps are kept, no slot stays free while something waits for it, and the order is total.
    #[test]
    fn the_schedule_starts_what_a_list_would(limits in [0..3_u32, 0..3_u32, 0..3_u32], steps in vec(step(), 0..60)) {
        let mut schedule = Schedule::new(slots(limits));
        let (mut waiting, mut live) = (Vec::new(), [0; 3]);
        for (step, number) in steps.into_iter().zip(0_u32..) {
            match step {
                Step::Ready(system, priority) => {
                    schedule.ready(SYSTEMS[system], priority, number);
                    waiting.push((system, priority, number));
                }
                Step::Ended(system) => {
                    schedule.ended(SYSTEMS[system]);
                    live[system] = u32::saturating_sub(live[system], 1);
                }
                Step::Start => {
                    let mut best: Option<usize> = None;
                    for (at, (system, priority, number)) in waiting.iter().enumerate() {
                        let better = best.is_none_or(|best: usize| {
                            let (_, other, older) = waiting[best];
                            *priority > other || *priority == other && *number < older
                        });
                        if live[*system] < limits[*system] && better {
                            best = Some(at);
                        }
                    }
                    let expected = best.map(|at| {
                        let (system, _, number) = waiting.remove(at);
                        live[system] += 1;
                        number
                    });
                    prop_assert_eq!(schedule.start(), expected);
                }
            }
        }
    }

    #[test]
    fn the_order_of_telling_changes_nothing(
        builds in vec((0..3_usize, -3..3_i64), 0..20).prop_map(|builds| builds.into_iter().zip(0_u32..).collect::<Vec<_>>()),
        order in vec(any::<u64>(), 20),
        live in [0..3_u32, 0..3_u32, 0..3_u32],
    ) {
        let started = |builds: &[((usize, i64), u32)]| {
            let mut schedule = Schedule::new(slots([2, 3, 4]));
            for ((system, priority), number) in builds {
                schedule.ready(SYSTEMS[*system], *priority, *number);
            }
            SYSTEMS.iter().zip(live).for_each(|(system, live)| schedule.live(system, live));
            std::iter::from_fn(|| schedule.start()).collect::<Vec<_>>()
        };
        let mut shuffled = builds.clone();
        shuffled.sort_by_key(|(_, number)| order[*number as usize]);
        prop_assert_eq!(started(&builds), started(&shuffled));
    }
}

/// One build system whose builds take until they are ended, and events whose builds are all ready
/// at once, or one after the other.
struct Yard {
    schedule: Schedule<u32>,
    ready: BTreeMap<u32, Build>,
    live: BTreeMap<u32, Build>,
    started: Vec<Build>,
    builds: u32,
}

#[derive(Clone, Debug)]
struct Build {
    event: usize,
    priority: i64,
    estimate: Duration,
}

impl Yard {
    fn new(slots: u32) -> Self {
        let schedule = Schedule::new(ConcurrencyLimits::default().with_others(slots));
        Self { schedule, ready: BTreeMap::new(), live: BTreeMap::new(), started: Vec::new(), builds: 0 }
    }

    fn queues(&self) -> QueuePositions {
        let mut queues = QueuePositions::default();
        self.ready.values().for_each(|build| queues.waits("", build.priority));
        self.live.values().for_each(|build| queues.started("", build.priority));
        queues
    }

    /// Builds of one event, the one with the longest estimate first; their numbers.
    fn admit(&mut self, event: usize, severity: Severity, estimates: &[Duration]) -> Vec<u32> {
        let entries: Vec<_> =
            estimates.iter().map(|estimate| Entry { system: "", rank: *estimate, estimate: *estimate }).collect();
        let priorities = self.queues().enqueue(severity, &entries);
        let builds = priorities.into_iter().zip(estimates);
        builds
            .map(|(priority, estimate)| {
                self.builds += 1;
                self.schedule.ready("", priority, self.builds);
                self.ready.insert(self.builds, Build { event, priority, estimate: *estimate });
                self.builds
            })
            .collect()
    }

    fn start(&mut self) -> Option<u32> {
        let number = self.schedule.start()?;
        let build = self.ready.remove(&number).unwrap();
        self.started.push(build.clone());
        self.live.insert(number, build);
        Some(number)
    }

    /// One that runs ends.
    fn end(&mut self) {
        if self.live.pop_first().is_some() {
            self.schedule.ended("");
        }
    }

    fn work(&self, event: usize, since: usize) -> Duration {
        self.started[since..].iter().filter(|build| build.event == event).map(|build| build.estimate).sum()
    }

    fn waits(&self, event: usize) -> bool {
        self.ready.values().any(|build| build.event == event)
    }
}

fn estimates(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Duration>> {
    vec((1..5000_u64).prop_map(seconds), range)
}

proptest! {
    /// As long as both have builds that wait, none gets more than its share and one build beyond
    /// it, however much it has.
    #[test]
    fn two_events_get_their_shares(
        large in estimates(20..60),
        small in estimates(1..20),
        alone in 0..15_usize,
        slots in 1..4_u32,
        severities in (severity(), severity()),
    ) {
        let mut yard = Yard::new(slots);
        yard.admit(0, severities.0, &large);
        for _ in 0..alone {
            yard.end();
            yard.start();
        }
        yard.admit(1, severities.1, &small);
        let longest = large.iter().chain(&small).max().unwrap();
        let [heavy, light] = [stretch(severities.0), stretch(severities.1)].map(u32::try_from).map(Result::unwrap);
        while yard.waits(0) && yard.waits(1) {
            let (one, two) = (yard.work(0, alone) * heavy, yard.work(1, alone) * light);
            // If nothing was started before, nobody knows how much of its share the first one has
            // had.
            let most = (*longest).max(QueuePositions::LEAST) * heavy.max(light) * if alone == 0 { 2 } else { 1 };
            prop_assert!(one.abs_diff(two) <= most, "{:?} and {:?}", one / heavy, two / light);
            yard.end();
            yard.start();
        }
    }

    /// Of equal builds of equally severe events, none is ever more than one ahead.
    #[test]
    fn equal_events_take_turns(minutes in 2..100_u64, large in 5..200_usize, alone in 1..5_usize, slots in 1..4_u32) {
        let mut yard = Yard::new(slots);
        yard.admit(0, Severity::Moderate, &vec![seconds(60 * minutes); large]);
        for _ in 0..alone {
            yard.end();
            yard.start();
        }
        yard.admit(1, Severity::Moderate, &[seconds(60 * minutes); 5]);
        while yard.waits(0) && yard.waits(1) {
            let of = |event| yard.started[alone..].iter().filter(|build| build.event == event).count();
            prop_assert!(of(0).abs_diff(of(1)) <= 1);
            yard.end();
            yard.start();
        }
    }

    /// What comes later gets ahead of a build that waits with its share of the work that is before
    /// that build, however much more it has.
    #[test]
    fn a_later_event_overtakes_with_its_share_only(
        first in estimates(1..20),
        later in vec((severity(), estimates(1..40), 0..4_usize), 1..6),
        severity in severity(),
    ) {
        let mut yard = Yard::new(1);
        let numbers = yard.admit(0, severity, &first);
        let last = numbers.into_iter().min_by_key(|number| yard.ready[number].priority).unwrap();
        let place = yard.ready[&last].priority;
        let mut bounds = Vec::new();
        for (event, (severity, estimates, starts)) in (1..).zip(&later) {
            for _ in 0..*starts {
                if yard.ready.contains_key(&last) {
                    yard.end();
                    yard.start();
                }
            }
            if !yard.ready.contains_key(&last) {
                break;
            }
            let head = yard.ready.values().map(|build| build.priority).max().unwrap();
            let started = yard.live.values().map(|build| build.priority).filter(|priority| *priority >= head).min();
            let stands = started.unwrap_or(head);
            bounds.push((event, Duration::from_micros(stands.abs_diff(place) / stretch(*severity))));
            yard.admit(event, *severity, estimates);
        }
        while yard.ready.contains_key(&last) {
            yard.end();
            yard.start();
        }
        for (event, bound) in bounds {
            prop_assert!(yard.work(event, 0) <= bound, "event {event}: {:?} > {bound:?}", yard.work(event, 0));
        }
    }

    /// Even if a new event comes for every build that starts, the line moves on, and each build is
    /// reached.
    #[test]
    fn no_flood_of_events_starves_a_build(
        own in severity(),
        estimates in estimates(1..4),
        flood in vec((severity(), prop_oneof![1..5_u64, 1..5000_u64]), 1..5),
    ) {
        let mut yard = Yard::new(1);
        yard.admit(0, own, &estimates);
        let before = u64::try_from(yard.ready.len()).unwrap();
        let last = yard.ready.values().map(|build| build.priority).min().unwrap();
        let steps = last.unsigned_abs() / u64::try_from(QueuePositions::LEAST.as_micros()).unwrap();
        let mut flood = flood.into_iter().cycle();
        let mut starts = 0;
        while yard.waits(0) {
            let (severity, estimate) = flood.next().unwrap();
            yard.admit(1, severity, &[seconds(estimate)]);
            yard.end();
            yard.start();
            starts += 1;
            prop_assert!(starts <= (steps + 1) * (before + 1), "{starts} starts, {steps} steps");
        }
    }
}

#[test]
fn the_more_severe_goes_first_and_the_least_severe_goes_on() {
    let mut yard = Yard::new(1);
    let ten = [seconds(600); 10];
    yard.admit(0, Severity::Low, &ten);
    yard.start();
    for (event, severity) in (1..).zip([Severity::Moderate, Severity::Important, Severity::Critical]) {
        yard.admit(event, severity, &ten);
    }
    yard.end();
    while yard.start().is_some() {
        yard.end();
    }
    let order: Vec<_> = yard.started.iter().map(|build| build.event).collect();
    assert_eq!(order[1..4], [3, 3, 3], "critical at once");
    let last = |event| order.iter().rposition(|other| *other == event).unwrap();
    assert!(last(3) < last(2) && last(2) < last(1) && last(1) < last(0), "{order:?}");
    assert!(order.iter().skip(1).position(|event| *event == 0).unwrap() < last(1), "a share for everybody: {order:?}");
}

#[test]
fn absurd_numbers_do_no_harm() {
    let entry = |estimate| Entry { system: "", rank: estimate, estimate };
    let queues = QueuePositions::default();
    let priorities =
        queues.enqueue(Severity::Low, &[entry(Duration::MAX), entry(Duration::ZERO), entry(Duration::MAX)]);
    assert!(priorities[0] > priorities[2] && priorities[2] >= priorities[1], "{priorities:?}");
    let task = |duration| Task { system: "", estimate: duration, duration };
    let workload = Workload::new(vec![task(Duration::MAX), task(Duration::MAX)], &[(0, 1)]).unwrap();
    assert_eq!(workload.play(&ConcurrencyLimits::default()).unwrap().makespan, Duration::MAX);
    let nothing = Workload::new(Vec::new(), &[]).unwrap().play(&ConcurrencyLimits::default()).unwrap();
    assert_eq!((nothing.makespan, nothing.spans.len()), (Duration::ZERO, 0));
}

#[test]
fn what_never_ends_is_said() {
    let task = Task { system: "koji", estimate: seconds(1), duration: seconds(1) };
    let new = |waits: &[(u32, u32)]| Workload::new(vec![task; 4], waits).map(drop);
    assert_eq!(new(&[(0, 1), (1, 2), (2, 1), (2, 3)]), Err(Endless::Cycle(3)));
    assert_eq!(new(&[(2, 2)]), Err(Endless::Cycle(1)));
    assert_eq!(new(&[(0, 4)]), Err(Endless::Unknown(4)));
    let workload = Workload::new(vec![task; 4], &[]).unwrap();
    assert_eq!(workload.play(&slots([1, 1, 0])), Err(Endless::NoSlot("koji".into())));
}

/// Tasks as (system, estimate, duration), and waits as (parent, child), in which the parent has the
/// lower number.
type Numbers = (Vec<(usize, u64, u64)>, Vec<(u32, u32)>);

fn workload() -> impl Strategy<Value = Numbers> {
    vec((0..3_usize, 1..50_u64, 0..50_u64), 1..25).prop_flat_map(|tasks| {
        let count = u32::try_from(tasks.len()).unwrap();
        let waits = vec((0..count, 0..count), 0..40)
            .prop_map(|pairs| pairs.into_iter().filter(|(a, b)| a != b).map(|(a, b)| (a.min(b), a.max(b))).collect());
        (Just(tasks), waits)
    })
}

fn play(tasks: &[(usize, u64, u64)], waits: &[(u32, u32)], limits: [u32; 3]) -> Forecast {
    let tasks = tasks.iter().map(|(system, estimate, duration)| Task {
        system: SYSTEMS[*system],
        estimate: seconds(*estimate),
        duration: seconds(*duration),
    });
    Workload::new(tasks.collect(), waits).unwrap().play(&slots(limits)).unwrap()
}

proptest! {
    #[test]
    fn what_is_played_could_happen((tasks, waits) in workload(), limits in [1..4_u32, 1..4_u32, 1..4_u32]) {
        let forecast = play(&tasks, &waits, limits);
        let spans = &forecast.spans;
        let mut ready = vec![Duration::ZERO; tasks.len()];
        for (task, span) in spans.iter().enumerate() {
            prop_assert_eq!(span.end - span.start, seconds(tasks[task].2));
        }
        for (parent, child) in &waits {
            let (parent, child) = (*parent as usize, *child as usize);
            prop_assert!(spans[child].start >= spans[parent].end, "{child} does not wait for {parent}");
            ready[child] = ready[child].max(spans[parent].end);
        }
        for (task, span) in spans.iter().enumerate() {
            let system = tasks[task].0;
            let running = |at: Duration| {
                (0..tasks.len()).filter(|other| tasks[*other].0 == system && spans[*other].start <= at && at < spans[*other].end).count()
            };
            let limit = limits[system] as usize;
            prop_assert!(running(span.start) <= limit, "{task} is one too many");
            // Between two whole seconds nothing changes.
            for second in ready[task].as_secs()..span.start.as_secs() {
                prop_assert!(running(seconds(second)) == limit, "{task} waits at {second} for nothing");
            }
        }
        prop_assert_eq!(forecast.makespan, spans.iter().map(|span| span.end).max().unwrap());
        for (system, limit) in SYSTEMS.iter().zip(limits) {
            let work: Duration = tasks.iter().filter(|task| SYSTEMS[task.0] == *system).map(|task| seconds(task.2)).sum();
            if let Some(idle) = forecast.idle.get(*system) {
                prop_assert_eq!(*idle + work, forecast.makespan * limit);
            }
        }
    }

    /// Graham's bound: no list schedule takes longer than the longest chain and the work that it
    /// keeps from all but one slot.
    #[test]
    fn a_makespan_lies_between_its_bounds((tasks, waits) in workload(), limit in 1..5_u32) {
        let tasks: Vec<_> = tasks.into_iter().map(|(_, estimate, duration)| (0, estimate, duration)).collect();
        let forecast = play(&tasks, &waits, [limit, 1, 1]);
        // Every wait leads to a higher number.
        let mut chains: Vec<u64> = tasks.iter().map(|task| task.2).collect();
        for child in 0..tasks.len() {
            let before = waits.iter().filter(|wait| wait.1 as usize == child).map(|wait| chains[wait.0 as usize]).max();
            chains[child] += before.unwrap_or(0);
        }
        let (chain, work) = (*chains.iter().max().unwrap(), tasks.iter().map(|task| task.2).sum::<u64>());
        prop_assert_eq!(forecast.lower_bound, seconds(chain).max(seconds(work) / limit));
        prop_assert!(forecast.makespan >= forecast.lower_bound);
        let most = (seconds(work) + seconds(chain) * (limit - 1)) / limit;
        prop_assert!(forecast.makespan <= most, "{:?} > {most:?}", forecast.makespan);
    }

    /// Of tasks that differ in their ranks, the numbering decides on nothing.
    #[test]
    fn renumbered_tasks_take_as_long((tasks, waits) in workload(), order in vec(any::<u64>(), 25)) {
        // No two sums of powers of two are the same.
        let estimate = |number: u64| 64 << (number * 7 % 25);
        let distinct: Vec<_> = tasks.iter().zip(0..).map(|(task, number)| (task.0, estimate(number), task.2)).collect();
        let mut shuffled: Vec<usize> = (0..tasks.len()).collect();
        shuffled.sort_by_key(|task| order[*task]);
        let number = |task: u32| u32::try_from(shuffled.iter().position(|old| *old == task as usize).unwrap()).unwrap();
        let moved: Vec<_> = shuffled.iter().map(|old| distinct[*old]).collect();
        let waits_moved: Vec<_> = waits.iter().map(|(parent, child)| (number(*parent), number(*child))).collect();
        let (before, after) = (play(&distinct, &waits, [2, 1, 3]), play(&moved, &waits_moved, [2, 1, 3]));
        let back: Vec<_> = (0..).take(tasks.len()).map(|task| after.spans[number(task) as usize]).collect();
        prop_assert_eq!(before.spans, back);
    }
}
