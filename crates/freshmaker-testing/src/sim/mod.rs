//! The real engine in a scripted world: one thread, virtual time, everything random from one seed.
//!
//! The process dies at any await and comes back; messages are lost, doubled and reordered; calls fail before or after they took effect;
//! requests arrive late, after the process that sent them is dead; builds are slow, flaky or broken; events are cancelled. Afterwards
//! the oracle compares what is stored with the ledger of the world. A failing seed prints its number and its story, and replays.
//!
//! ```
//! let report = freshmaker_testing::sim::simulate(7).unwrap_or_else(|failed| panic!("{failed}"));
//! assert!(report.tasks > 0);
//! ```

mod backends;
mod executor;
mod faults;
mod oracle;
mod world;

pub use executor::VirtualClock;
pub use faults::Fault;
pub use world::Weather;

use self::backends::{Shared, SimBuilds, SimBus, SimCatalog, SimStorage, SimVerifier};
use self::executor::Ended;
use self::faults::{FaultyBuilds, FaultyBus, FaultyStorage, FaultyVerifier};
use self::world::World;
use freshmaker::backend::{Clock, EventFilter, Paging};
use freshmaker::engine::{Engine, Handle};
use freshmaker::handler::rebuild_dependents;
use freshmaker::memory::MemoryStorage;
use freshmaker::rebuild::{EventState, Limits};
use freshmaker::time::{Timestamp, from_micros, later};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happened in a run that ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often the process died.
    pub crashes: u32,
    /// Steps at each of which it could have died.
    pub steps: u32,
    /// Tasks of the build system.
    pub tasks: usize,
    /// Builds that were reused.
    pub reused: u64,
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

const STEPS_MAX: u32 = 400_000;

/// One run of the engine as it is.
///
/// # Errors
/// [`Failed`] with everything that was broken.
pub fn simulate(seed: u64) -> Result<Report, Failed> {
    run(seed, None, None)
}

/// One run in which the process also dies before exactly this step, counted from the first; [`Report::steps`] says how many there are.
///
/// # Errors
/// [`Failed`] with everything that was broken.
pub fn simulate_crash_at(seed: u64, step: u32) -> Result<Report, Failed> {
    run(seed, None, Some(step))
}

/// One run of an engine with a planted fault, to see that the oracle finds it.
///
/// # Errors
/// [`Failed`], if this seed finds it.
pub fn simulate_fault(seed: u64, fault: Fault) -> Result<Report, Failed> {
    run(seed, Some(fault), None)
}

/// What happens from outside, and when.
#[derive(Clone, Debug)]
enum Action {
    Push(String),
    Cancel,
}

struct Simulation {
    seed: u64,
    fault: Option<Fault>,
    crash_at: Option<u32>,
    clock: VirtualClock,
    shared: Shared,
    rows: Arc<MemoryStorage>,
    script: Mutex<Vec<(Timestamp, Action)>>,
}

fn run(seed: u64, fault: Option<Fault>, crash_at: Option<u32>) -> Result<Report, Failed> {
    let start = from_micros(1_764_000_000_000_000);
    let clock = VirtualClock::new(start);
    let mut world = World::new(seed, clock.clone(), weather(seed));
    let script = script(&mut world, start);
    let shared = Shared(Arc::new(Mutex::new(world)));
    let rows = Arc::new(MemoryStorage::new());
    let simulation = Simulation { seed, fault, crash_at, clock, shared, rows, script: Mutex::new(script) };
    let (crashes, steps) = simulation.live(later(start, PATIENCE));
    oracle::check(&simulation.shared, &simulation.rows);
    let mut world = simulation.shared.world();
    let trace = std::mem::take(&mut world.trace);
    let violations = std::mem::take(&mut world.violations);
    if !violations.is_empty() {
        return Err(Failed { seed, violations, trace });
    }
    let reused = trace.iter().filter(|line| line.contains("REUSED")).count() as u64;
    let elapsed = freshmaker::time::since(world.now(), start);
    Ok(Report { crashes, steps, tasks: world.tasks.len(), reused, elapsed, trace })
}

/// Every seed has its own weather, from a calm day to all at once.
fn weather(seed: u64) -> Weather {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let mut pick = |values: &[u32]| values[rng.usize(..values.len())];
    Weather {
        crash: pick(&[0, 2, 10, 40]),
        crashes_max: pick(&[1, 3, 8]),
        backend_error: pick(&[0, 10, 50]),
        backend_errors_max: pick(&[5, 20]),
        duplicate: pick(&[0, 300]),
        lost_answer: pick(&[0, 100, 400]),
        lost_request: pick(&[0, 100, 300]),
        slow_request: pick(&[0, 0, 100, 300]),
        stale_build: pick(&[0, 0, 200]),
        flaky_build: pick(&[0, 0, 200]),
        flaky_builds_max: 2,
        broken_recipe: pick(&[0, 0, 0, 200]),
        cancel: pick(&[0, 0, 500]),
    }
}

fn script(world: &mut World, start: Timestamp) -> Vec<(Timestamp, Action)> {
    let mut script = Vec::new();
    let pushes = world.rng.u32(1..4);
    // Some pushes come together, some while builds run, some after all is quiet.
    let spread = [5, 300, 7200][world.rng.usize(..3)];
    for number in 0..pushes {
        let at = later(start, Duration::from_secs(world.rng.u64(..=spread)));
        script.push((at, Action::Push(format!("m{number}"))));
        let cancel = world.weather.cancel;
        if world.chance(cancel) {
            let within = [2, 30, 900][world.rng.usize(..3)];
            script.push((later(at, Duration::from_secs(world.rng.u64(1..=within))), Action::Cancel));
        }
    }
    script.sort_by_key(|(at, _)| *at);
    script
}

impl Simulation {
    /// Runs engine after engine until one ends by itself; returns how many died, and how many steps they made.
    fn live(&self, deadline: Timestamp) -> (u32, u32) {
        let mut crashes = 0;
        let mut steps = 0;
        loop {
            let engine = match self.engine(crashes) {
                Ok(engine) => engine,
                Err(error) => {
                    self.shared.world().violation(error.to_string());
                    return (crashes, steps);
                }
            };
            let handle = engine.handle();
            let life = engine.run_until(self.outside(&handle));
            let crash = || {
                let mut world = self.shared.world();
                let chance = world.weather.crash;
                let dies = world.weather.crashes_max > 0 && world.chance(chance);
                world.weather.crashes_max -= u32::from(dies);
                steps += 1;
                dies || self.crash_at == Some(steps)
            };
            let run = AssertUnwindSafe(|| executor::run(&self.clock, life, deadline, STEPS_MAX, crash));
            let ended = catch_unwind(run).unwrap_or_else(|cause| {
                let text = cause.downcast_ref::<String>().map_or("it panicked", String::as_str);
                self.shared.world().violation(text.to_owned());
                Ended::Complete(Ok(()))
            });
            match ended {
                Ended::Complete(Ok(())) => return (crashes, steps),
                Ended::Complete(Err(error)) => {
                    self.shared.world().violation(format!("the engine gave up: {error}"));
                    return (crashes, steps);
                }
                Ended::Stuck(how) => {
                    self.shared.world().violation(format!("it never ends: {how}"));
                    return (crashes, steps);
                }
                Ended::Crashed => {
                    crashes += 1;
                    let down = Duration::from_secs(self.shared.world().rng.u64(..60));
                    self.clock.advance_to(later(self.clock.now(), down));
                    self.shared.world().disconnect(down);
                }
            }
        }
    }

    fn engine(&self, incarnation: u32) -> Result<Engine, freshmaker::engine::ConfigError> {
        let (shared, fault) = (self.shared.clone(), self.fault);
        let storage = SimStorage { rows: Arc::clone(&self.rows), shared: shared.clone() };
        let slots = shared.world().slots;
        // The process dies more often here than a message may be suspected of it.
        let mut limits = Limits::default();
        limits.message_tries_max = 50;
        Engine::builder()
            .storage(Arc::new(FaultyStorage { inner: storage, fault }))
            .bus("bus", Arc::new(FaultyBus { inner: SimBus(shared.clone()), fault }))
            .catalog("images", Arc::new(SimCatalog(shared.clone())))
            .build_system("builds", Arc::new(FaultyBuilds { inner: SimBuilds(shared.clone()), fault }))
            .verifier("builds", Arc::new(FaultyVerifier { inner: SimVerifier(shared), fault }))
            .limit("builds", slots)
            .on(rebuild_dependents)
            .limits(limits)
            .clock(Arc::new(self.clock.clone()))
            .seed(self.seed.wrapping_mul(1000).wrapping_add(u64::from(incarnation)))
            .build()
    }

    /// What comes from outside; then waits until the engine has nothing left to do.
    async fn outside(&self, handle: &Handle) {
        loop {
            let next = self.script.lock().ok().and_then(|script| script.first().cloned());
            let Some((at, action)) = next else { break };
            self.clock.sleep_until(at).await;
            if let Ok(mut script) = self.script.lock() {
                script.remove(0);
            }
            match action {
                Action::Push(id) => self.shared.world().push_base(&id),
                Action::Cancel => self.cancel(handle).await,
            }
        }
        loop {
            handle.wait_until_idle().await;
            let quiet = {
                let world = self.shared.world();
                world.bus.waiting.is_empty() && world.bus.delivered.is_empty()
            };
            if quiet {
                return;
            }
            self.clock.sleep_until(later(self.clock.now(), Duration::from_secs(1))).await;
        }
    }

    async fn cancel(&self, handle: &Handle) {
        let filter = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
        let Ok(events) = handle.events(filter, Paging::first(100)).await else { return };
        if events.items.is_empty() {
            return;
        }
        let event = {
            let mut world = self.shared.world();
            let event = events.items[world.rng.usize(..events.items.len())].id;
            world.canceled = true;
            world.say(|| format!("event {event} is to be cancelled"));
            event
        };
        // It may have ended meanwhile.
        let _ = handle.cancel(event, "somebody").await;
    }
}
