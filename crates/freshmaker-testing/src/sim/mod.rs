//! The simulation: one to three real engines on one storage in a scripted world, in one thread and
//! in virtual time. Everything random comes from one seed.
//!
//! A process dies at any await and is started again, or is suspended until its lease is lost, and
//! continues. Messages are lost, doubled and reordered; handlers emit, cancel and panic because of
//! them. Calls fail before or after they took effect; requests arrive late, after the process that
//! sent them is dead. Builds are slow, flaky or broken; events are cancelled. One thing fails for
//! hours, and may delay nothing that does not depend on it ([`Trouble`]). At the end the oracle
//! compares the stored rows with the ledger of what happened. A seed that fails prints its number
//! and the sequence of events, and the same seed gives the same sequence again;
//! `tests/simulation.rs` says how to run one.
//!
//! ```
//! let report = freshmaker_testing::sim::simulate(8).unwrap_or_else(|failed| panic!("{failed}"));
//! assert!(report.tasks > 0);
//! ```

mod backends;
mod bus;
mod executor;
mod faults;
mod handlers;
mod oracle;
mod outside;
mod storage;
mod trouble;
mod weather;
mod world;

pub use executor::VirtualClock;
pub use faults::Fault;
pub use trouble::Trouble;
pub use weather::Weather;

use self::backends::{PERSON, Shared, SimBuilds, SimCatalog, SimVerifier};
use self::bus::{BUSES, SimBus};
use self::executor::Task;
use self::faults::{FaultyBuilds, FaultyBus, FaultyClock, FaultyVerifier};
use self::storage::{Late, SimStorage};
use self::world::World;
use freshmaker::backend::{Error, Retention, Storage};
use freshmaker::client::Client;
use freshmaker::engine::Engine;
use freshmaker::handler::Decision;
use freshmaker::memory::MemoryStorage;
use freshmaker::rebuild::Limits;
use freshmaker::time::{Timestamp, from_micros, later};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// What happened in a run that ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often a process died.
    pub crashes: u32,
    /// How often a process was stopped, and went on.
    pub freezes: u32,
    /// How often a process was asked to end, and was started again.
    pub deploys: u32,
    /// Steps at each of which it could have died.
    pub steps: u32,
    /// Tasks of the build system.
    pub tasks: usize,
    /// Builds that were reused.
    pub reused: u64,
    /// Events that were removed because they had ended long before.
    pub swept: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
    /// The story.
    pub trace: Vec<String>,
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The seed, to replay it.
    pub seed: u64,
    /// What was broken.
    pub violations: Vec<String>,
    /// The story.
    pub trace: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "simulation of seed {} broke:", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "story:")?;
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// Longer than any sound run: pauses, retries and builds add up to hours.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// For each process.
const STEPS_MAX: u32 = 2_000_000;

/// One run of the engine as it is.
///
/// # Errors
/// [`Failed`] with everything that was broken.
pub fn simulate(seed: u64) -> Result<Report, Failed> {
    run(seed, None, None, in_memory)
}

/// One run on a storage of yours, which gets the clock that it must have. A storage that works on
/// threads needs the runtime that it works on.
///
/// # Errors
/// [`Failed`] with everything that was broken.
pub fn simulate_on(seed: u64, make: impl FnOnce(Arc<VirtualClock>) -> Arc<dyn Storage>) -> Result<Report, Failed> {
    run(seed, None, None, make)
}

fn in_memory(clock: Arc<VirtualClock>) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new().with_clock(clock).with_partitions(3))
}

/// One run in which the process also dies before exactly this step, counted from the first;
/// [`Report::steps`] says how many there are.
///
/// # Errors
/// [`Failed`] with everything that was broken.
pub fn simulate_crash_at(seed: u64, step: u32) -> Result<Report, Failed> {
    run(seed, None, Some(step), in_memory)
}

/// One run of an engine with a planted fault, to see that the oracle finds it.
///
/// # Errors
/// [`Failed`], if this seed finds it.
pub fn simulate_fault(seed: u64, fault: Fault) -> Result<Report, Failed> {
    run(seed, Some(fault), None, in_memory)
}

struct Simulation {
    seed: u64,
    fault: Option<Fault>,
    crash_at: Option<u32>,
    clock: VirtualClock,
    shared: Shared,
    rows: Arc<dyn Storage>,
    late: Arc<Mutex<Vec<Late>>>,
    report: Report,
}

fn run(
    seed: u64,
    fault: Option<Fault>,
    crash_at: Option<u32>,
    make: impl FnOnce(Arc<VirtualClock>) -> Arc<dyn Storage>,
) -> Result<Report, Failed> {
    let start = from_micros(1_764_000_000_000_000);
    let clock = VirtualClock::new(start);
    let mut world = World::new(seed, clock.clone(), Weather::of_seed(seed));
    let script = outside::script(&mut world, start);
    let shared = Shared { world: Arc::new(Mutex::new(world)), process: 0 };
    let (rows, report) = (make(Arc::new(clock.clone())), Report::default());
    let late = Arc::default();
    let mut simulation = Simulation { seed, fault, crash_at, clock, shared, rows, late, report };
    simulation.live(script, later(start, PATIENCE));
    oracle::check(&simulation.shared, &*simulation.rows);
    let mut world = simulation.shared.world();
    let trace = std::mem::take(&mut world.trace);
    let violations = std::mem::take(&mut world.violations);
    if !violations.is_empty() {
        return Err(Failed { seed, violations, trace });
    }
    let reused = trace.iter().filter(|line| line.contains("REUSED")).count() as u64;
    let elapsed = freshmaker::time::since(world.now(), start);
    let Report { crashes, freezes, deploys, steps, .. } = simulation.report;
    Ok(Report {
        crashes,
        freezes,
        deploys,
        steps,
        tasks: world.tasks.len(),
        reused,
        swept: world.swept,
        elapsed,
        trace,
    })
}

/// A process: alive, or down until a moment.
enum Process {
    /// With what asks it to end.
    Alive(Task<Result<(), Error>>, tokio::sync::watch::Sender<bool>),
    Down(Timestamp),
    Ended,
}

/// What becomes of a process before one of its steps.
enum Fate {
    GoesOn,
    Dies,
    /// It dies, and nothing of its host comes back.
    IsLost,
    Freezes(Duration),
    /// It is asked to end, and is started again.
    IsDeployed,
}

impl Simulation {
    /// Lets the processes and what comes from outside run until all have ended.
    fn live(&mut self, script: Vec<(Timestamp, outside::Action)>, deadline: Timestamp) {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let count = self.shared.world().weather.processes as usize;
        let shared = Shared { process: PERSON, ..self.shared.clone() };
        let happens = outside::happens(script, self.storage(shared));
        let mut outside = Some(Task::new(happens));
        let mut processes: Vec<Process> = (0..count).map(|_| Process::Down(self.clock.steady())).collect();
        for _ in 0..STEPS_MAX.saturating_mul(count as u32) {
            self.revive(&mut processes, &stopped);
            match self.turn(&processes, outside.as_ref()) {
                Some(Turn::Outside) => {
                    if outside.as_mut().is_some_and(|task| task.poll().is_ready()) {
                        outside = None;
                        stop.send_replace(true);
                        // What is down now need not come back.
                        processes.retain(|process| matches!(process, Process::Alive(..)));
                    }
                }
                Some(Turn::Process(number)) => self.step(number, &mut processes[number], outside.is_none()),
                None if outside.is_none() && processes.iter().all(|process| matches!(process, Process::Ended)) => {
                    return;
                }
                None => match self.next(&processes, outside.as_ref()) {
                    None => return self.shared.world().violation("nothing waits for anything".to_owned()),
                    Some(at) if at > deadline => {
                        return self.never_ends("time is up");
                    }
                    Some(at) => self.clock.advance_to(at),
                },
            }
        }
        self.never_ends("too many steps");
    }

    /// Says what is waited for.
    fn never_ends(&self, why: &str) {
        let client = Client::new(self.rows.clone()).with_clock(Arc::new(self.clock.clone()));
        let waits = match executor::block_on(client.stuck(Duration::ZERO)) {
            Ok(stuck) => stuck.iter().map(|stuck| format!("{:?}: {}", stuck.what, stuck.cause)).collect(),
            Err(error) => vec![error.to_string()],
        };
        self.shared.world().violation(format!("it never ends: {why}; it waits for {waits:?}"));
    }

    /// Starts the processes whose time has come.
    fn revive(&mut self, processes: &mut [Process], stopped: &tokio::sync::watch::Receiver<bool>) {
        let now = self.clock.steady();
        for (number, process) in processes.iter_mut().enumerate() {
            if !matches!(process, Process::Down(until) if *until <= now) {
                continue;
            }
            {
                let mut world = self.shared.world();
                world.began_after_clock |= world.clock_was_set;
                world.changes();
            }
            let (end, mut ended) = tokio::sync::watch::channel(false);
            let mut stopped = stopped.clone();
            let asked = async move {
                let (all, one) = (stopped.wait_for(|stop| *stop), ended.wait_for(|stop| *stop));
                futures_util::pin_mut!(all, one);
                futures_util::future::select(all, one).await;
            };
            *process = match self.engine(number) {
                Ok(engine) => Process::Alive(Task::new(async move { engine.run_until(asked).await }), end),
                Err(error) => {
                    self.shared.world().violation(error.to_string());
                    Process::Ended
                }
            };
        }
    }

    /// Whose turn it is, of those that can make a step.
    fn turn(&self, processes: &[Process], outside: Option<&Task<()>>) -> Option<Turn> {
        let now = self.clock.steady();
        let ready = |process: &Process| matches!(process, Process::Alive(task, _) if task.is_ready(now));
        let numbers = processes.iter().enumerate().filter(|(_, process)| ready(process));
        let mut turns: Vec<_> = numbers.map(|(number, _)| Turn::Process(number)).collect();
        if outside.is_some_and(|task| task.is_ready(now)) {
            turns.push(Turn::Outside);
        }
        match turns.len() {
            0 | 1 => turns.pop(),
            several => Some(turns.swap_remove(self.shared.world().rng.usize(..several))),
        }
    }

    /// The next moment at which there is something to do.
    fn next(&self, processes: &[Process], outside: Option<&Task<()>>) -> Option<Timestamp> {
        let moments = processes.iter().filter_map(|process| match process {
            Process::Alive(task, _) => task.thaws(),
            Process::Down(until) => Some(*until),
            Process::Ended => None,
        });
        moments.chain(outside.and_then(Task::thaws)).chain(self.clock.next()).min()
    }

    /// One step of a process, or its death.
    fn step(&mut self, number: usize, process: &mut Process, ending: bool) {
        let Process::Alive(task, end) = process else { return };
        match self.fate() {
            Fate::GoesOn => {}
            Fate::Freezes(duration) => {
                self.report.freezes += 1;
                self.shared.world().freeze(number, duration);
                return task.freeze(later(self.clock.steady(), duration));
            }
            Fate::IsDeployed => {
                self.report.deploys += 1;
                self.shared.world().say(|| format!("process {number} is asked to end"));
                end.send_replace(true);
            }
            Fate::IsLost => {
                self.shared.world().disconnect(number, Duration::ZERO);
                self.shared.world().lose_host(number);
                *process = Process::Ended;
                return;
            }
            Fate::Dies => {
                self.report.crashes += 1;
                let down = Duration::from_secs(self.shared.world().rng.u64(..60));
                self.shared.world().disconnect(number, down);
                *process = if ending { Process::Ended } else { Process::Down(later(self.clock.steady(), down)) };
                return;
            }
        }
        let polled = catch_unwind(AssertUnwindSafe(|| task.poll())).unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().map_or("it panicked", String::as_str);
            self.shared.world().violation(text.to_owned());
            Poll::Ready(Ok(()))
        });
        if let Poll::Ready(ended) = polled {
            if let Err(error) = ended {
                self.shared.world().violation(format!("process {number} gave up: {error}"));
            }
            let again = *end.borrow() && !ending;
            self.shared.world().deliver_again(number);
            *process = if again { Process::Down(self.clock.steady()) } else { Process::Ended };
        }
    }

    fn fate(&mut self) -> Fate {
        let mut world = self.shared.world();
        self.report.steps += 1;
        let chance = world.weather.crash;
        if world.weather.crashes_max > 0 && world.chance(chance) {
            world.weather.crashes_max -= 1;
            return Fate::Dies;
        }
        let chance = world.weather.freeze;
        if world.weather.freezes_max > 0 && world.chance(chance) {
            world.weather.freezes_max -= 1;
            return Fate::Freezes(Duration::from_secs(world.rng.u64(1..60)));
        }
        let chance = world.weather.deploy;
        if world.weather.deploys_max > 0 && world.chance(chance) {
            world.weather.deploys_max -= 1;
            return Fate::IsDeployed;
        }
        let chance = world.weather.host_lost;
        if world.may_lose_a_host() && world.chance(chance) {
            return Fate::IsLost;
        }
        if self.crash_at == Some(self.report.steps) { Fate::Dies } else { Fate::GoesOn }
    }

    fn storage(&self, shared: Shared) -> SimStorage {
        SimStorage { rows: Arc::clone(&self.rows), shared, fault: self.fault, late: Arc::clone(&self.late) }
    }

    fn engine(&self, process: usize) -> Result<Engine, freshmaker::engine::ConfigError> {
        let fault = self.fault;
        let shared = Shared { process, ..self.shared.clone() };
        let storage = self.storage(shared.clone());
        let (slots, weather) = {
            let world = shared.world();
            (world.slots, world.weather.clone())
        };
        // A process dies more often here than a message may be suspected of it. An orderly end
        // makes no message suspicious.
        let mut limits = Limits::default();
        limits.message_tries_max = if weather.deploy > 0 && self.crash_at.is_none() { 2 } else { 50 };
        let number = self.seed.wrapping_mul(1000).wrapping_add(u64::from(self.report.crashes));
        let mut builder = Engine::builder();
        for (number, name) in BUSES.into_iter().enumerate().take(weather.buses as usize) {
            let bus = FaultyBus { inner: SimBus { shared: shared.clone(), number }, fault };
            builder = builder.bus(name, Arc::new(bus));
        }
        for number in 1..weather.handlers {
            builder = builder.on_as(format!("onlooker{number}"), handlers::look_on);
        }
        builder =
            builder.on_as("rebuilds", handlers::Rebuilds(shared.clone())).on_as(handlers::ANNOUNCE, handlers::announce);
        builder = builder.on_as("withdraws", handlers::Withdraws(shared.clone()));
        builder = builder.on_as("clerk", handlers::Clerk(shared.clone())).on_as(handlers::CLUMSY, handlers::clumsy);
        builder = builder.on::<handlers::Riddle, _>(|_: handlers::Riddle, _| async { Ok(Decision::Ignore) });
        for system in world::SYSTEMS.into_iter().take(weather.systems as usize) {
            let builds = FaultyBuilds { inner: SimBuilds { shared: shared.clone(), system }, fault };
            let verifier = FaultyVerifier { inner: SimVerifier(shared.clone()), fault };
            builder = builder.build_system(system, Arc::new(builds)).verifier(system, Arc::new(verifier));
            builder = builder.limit(system, slots);
        }
        for part in 0..weather.catalogs {
            let catalog = SimCatalog { shared: shared.clone(), part, parts: weather.catalogs };
            builder = builder.catalog(format!("images{part}"), Arc::new(catalog));
        }
        if weather.retention {
            let mut retention = Retention::default();
            retention.events = Some(Duration::from_secs(600));
            builder = builder.retention(retention);
        }
        builder
            .storage(Arc::new(storage))
            .limits(limits)
            .clock(Arc::new(FaultyClock { inner: self.clock.clone(), fault }))
            .seed(number.wrapping_add(1_000_000_007 * process as u64))
            .build()
    }
}

/// Who makes the next step.
enum Turn {
    Process(usize),
    Outside,
}
