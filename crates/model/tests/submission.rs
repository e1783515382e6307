//! One build, several engines, and a build system that cannot recognise a repeated request.
//!
//! An engine stores the intent of an attempt, calls, and stores the answer. All of them write only
//! while their lease is there, and only what they have read. An attempt without an answer is taken
//! over when the run that made it is over: its session is closed, what was let in gets its time,
//! and its marker is looked up. Faults have budgets: deaths, pauses beyond the lease, requests and
//! answers that are lost, calls that are given up early, and a restore of the database.

use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeSet;

/// The rules of the protocol that a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// The attempt is stored before the call.
    IntentFirst,
    /// The storage refuses runs whose lease is over, and rows that have changed.
    Fence,
    /// An intent of one's own that one is not submitting is looked up: its answer was lost with a
    /// database.
    OwnLeftovers,
    /// The session is closed before the lookup.
    CloseSession,
    /// What was let in may take effect before the lookup.
    Settle,
    /// The marker is looked up before the build is submitted again.
    LookUp,
    /// A lookup that may have missed something decides nothing.
    WholeAnswer,
    /// A refused request is not sent again in another session.
    NoNewSession,
    /// A build that is being submitted is cancelled after its submission is clear.
    PatientCancel,
    /// Attempts are asked about, whatever is announced.
    Poll,
    /// A new run has another number than all before, those of a lost database as well.
    FreshNumber,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Build {
    Ready,
    Submitting,
    Building,
    Canceling,
    Done,
    Canceled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum State {
    Intent,
    Unknown,
    Resolving,
    Bound(u8),
    NotSubmitted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Attempt {
    state: State,
    run: u8,
}

/// What the storage has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Database {
    build: Build,
    attempts: Vec<Attempt>,
    cancelled: bool,
    /// The runs whose leases hold.
    leases: BTreeSet<u8>,
    /// The last run that has begun.
    last: u8,
}

/// What an engine is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Doing {
    Nothing,
    /// It has read that the build is ready.
    Decided,
    Stored(u8),
    Called(u8),
    Answered(u8, u8),
    Refused(u8),
    TakenOver(u8),
    Closed(u8),
    LookedUp(u8, Option<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Engine {
    /// The run that it believes to be; 0 is none.
    run: u8,
    doing: Doing,
}

/// A request on its way; its attempt is also its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    attempt: u8,
    engine: u8,
    let_in: bool,
    /// In a session that nobody knows.
    unknown_session: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    database: Database,
    /// A copy that the database can be restored from.
    copy: Option<Box<Database>>,
    engines: Vec<Engine>,
    requests: BTreeSet<Request>,
    /// The marker of each task, and whether it has ended.
    tasks: Vec<(u8, bool)>,
    closed_sessions: BTreeSet<u8>,
    left: Budget,
    /// The engine that each run was given to: what no engine knows.
    given: Vec<u8>,
    /// Whether an engine has written as a run that was given to another one.
    impostor: bool,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    deaths: u8,
    pauses: u8,
    losses: u8,
    early: u8,
    restores: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Begin(u8),
    Die(u8),
    Expire(u8),
    Decide(u8),
    Store(u8),
    Call(u8),
    GiveUp(u8),
    StoreAnswer(u8),
    StoreRefusal(u8),
    TakeOver(u8, u8),
    Close(u8),
    LookUp(u8),
    Miss(u8),
    StoreLookup(u8),
    LetIn(Request),
    Work(Request),
    WorkUnheard(Request),
    Lose(Request),
    End(u8),
    Poll(u8),
    Cancel,
    CancelTask(u8),
    Copy,
    Restore,
}

struct Protocol {
    engines: u8,
    budget: Budget,
    without: Option<Rule>,
}

impl Protocol {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether the storage takes what this engine writes.
    fn may_write(&self, world: &World, engine: usize) -> bool {
        let run = world.engines[engine].run;
        run != 0 && (!self.has(Rule::Fence) || world.database.leases.contains(&run))
    }

    fn is_mine(&self, world: &World, engine: usize, attempt: u8) -> bool {
        !self.has(Rule::Fence)
            || world.database.attempts.get(usize::from(attempt)).is_some_and(|it| it.run == world.engines[engine].run)
    }

    /// Whether this engine may look up what became of the attempt.
    fn may_take_over(&self, world: &World, engine: usize, attempt: Attempt) -> bool {
        let is_open = matches!(attempt.state, State::Intent | State::Unknown | State::Resolving);
        let is_over = !world.database.leases.contains(&attempt.run);
        let is_left = attempt.state == State::Unknown || self.has(Rule::OwnLeftovers);
        is_open && (is_over || (is_left && attempt.run == world.engines[engine].run))
    }

    fn steps_of_engine(&self, world: &World, number: u8, steps: &mut Vec<Step>) {
        let (at, engine) = (usize::from(number), world.engines[usize::from(number)]);
        if world.left.deaths > 0 && engine.run != 0 {
            steps.push(Step::Die(number));
        }
        if engine.run == 0 || (engine.doing == Doing::Nothing && !world.database.leases.contains(&engine.run)) {
            steps.push(Step::Begin(number));
        }
        match engine.doing {
            Doing::Nothing if engine.run != 0 => {
                if world.database.build == Build::Ready && !world.database.cancelled {
                    steps.push(Step::Decide(number));
                }
                for (attempt, it) in (0..).zip(&world.database.attempts) {
                    if self.may_write(world, at) && self.may_take_over(world, at, *it) {
                        steps.push(Step::TakeOver(number, attempt));
                    }
                }
            }
            Doing::Nothing => {}
            Doing::Decided => steps.push(Step::Store(number)),
            Doing::Stored(_) => steps.push(Step::Call(number)),
            Doing::Called(attempt) => {
                let under_way = world.requests.iter().any(|it| it.attempt == attempt && it.engine == number);
                if !under_way || world.left.early > 0 {
                    steps.push(Step::GiveUp(number));
                }
            }
            Doing::Answered(..) => steps.push(Step::StoreAnswer(number)),
            Doing::Refused(_) => steps.push(Step::StoreRefusal(number)),
            Doing::TakenOver(_) => steps.push(Step::Close(number)),
            Doing::Closed(attempt) => {
                let is_let_in = world.requests.iter().any(|it| it.attempt == attempt && it.let_in);
                if !is_let_in || !self.has(Rule::Settle) {
                    steps.push(Step::LookUp(number));
                    if !self.has(Rule::WholeAnswer) {
                        steps.push(Step::Miss(number));
                    }
                }
            }
            Doing::LookedUp(..) => steps.push(Step::StoreLookup(number)),
        }
    }

    fn steps_of_others(&self, world: &World, steps: &mut Vec<Step>) {
        let alive = |run: u8| world.engines.iter().any(|engine| engine.run == run);
        for run in world.database.leases.iter().copied() {
            if !alive(run) || world.left.pauses > 0 {
                steps.push(Step::Expire(run));
            }
        }
        for request in world.requests.iter().copied() {
            steps.push(if request.let_in { Step::Work(request) } else { Step::LetIn(request) });
            if world.left.losses > 0 {
                steps.push(if request.let_in { Step::WorkUnheard(request) } else { Step::Lose(request) });
            }
        }
        for (task, (_, ended)) in (0..).zip(&world.tasks) {
            if !ended {
                steps.push(Step::End(task));
            }
        }
        let database = &world.database;
        for (number, attempt) in (0..).zip(&database.attempts) {
            let State::Bound(task) = attempt.state else { continue };
            let has_ended = world.tasks[usize::from(task)].1;
            if has_ended && self.has(Rule::Poll) && matches!(database.build, Build::Building | Build::Canceling) {
                steps.push(Step::Poll(number));
            }
            if !has_ended && database.build == Build::Canceling {
                steps.push(Step::CancelTask(task));
            }
        }
        if !database.cancelled && !matches!(database.build, Build::Done | Build::Canceled) {
            steps.push(Step::Cancel);
        }
        if world.left.restores > 0 {
            steps.push(if world.copy.is_none() { Step::Copy } else { Step::Restore });
        }
    }

    /// Notes who has written, which no engine can know.
    fn writes(world: &mut World, engine: usize) {
        let run = world.engines[engine].run;
        world.impostor |= usize::from(world.given[usize::from(run)]) != engine;
    }

    fn begin(&self, world: &mut World, engine: u8) {
        let last = if self.has(Rule::FreshNumber) { world.given.len() as u8 - 1 } else { world.database.last };
        let run = last + 1;
        world.database.last = run;
        world.database.leases.insert(run);
        if usize::from(run) == world.given.len() {
            world.given.push(engine);
        } else {
            world.given[usize::from(run)] = engine;
        }
        world.engines[usize::from(engine)] = Engine { run, doing: Doing::Nothing };
    }

    fn store(&self, world: &mut World, engine: usize) {
        let run = world.engines[engine].run;
        world.engines[engine].doing = Doing::Nothing;
        let unchanged = world.database.build == Build::Ready && !world.database.cancelled;
        if !self.may_write(world, engine) || (self.has(Rule::Fence) && !unchanged) {
            return;
        }
        Self::writes(world, engine);
        world.database.attempts.push(Attempt { state: State::Intent, run });
        if self.has(Rule::IntentFirst) {
            world.database.build = Build::Submitting;
        }
        world.engines[engine].doing = Doing::Stored(world.database.attempts.len() as u8 - 1);
    }

    fn bind(&self, world: &mut World, attempt: u8, task: u8) {
        world.database.attempts[usize::from(attempt)].state = State::Bound(task);
        world.database.build = if world.database.cancelled { Build::Canceling } else { Build::Building };
    }

    fn store_answer(&self, world: &mut World, engine: usize, attempt: u8, task: u8) {
        world.engines[engine].doing = Doing::Nothing;
        let is_open = |it: &Attempt| matches!(it.state, State::Intent | State::Unknown);
        let fits = world.database.attempts.get(usize::from(attempt)).is_some_and(is_open);
        let fits = fits && (world.database.build == Build::Submitting || !self.has(Rule::IntentFirst));
        if self.may_write(world, engine) && self.is_mine(world, engine, attempt) && fits {
            Self::writes(world, engine);
            self.bind(world, attempt, task);
        }
    }

    fn give_up(&self, world: &mut World, engine: usize, attempt: u8) {
        if world.requests.iter().any(|it| it.attempt == attempt && usize::from(it.engine) == engine) {
            world.left.early -= 1;
        }
        world.engines[engine].doing = Doing::Nothing;
        let allowed = self.may_write(world, engine) && self.is_mine(world, engine, attempt);
        if allowed && world.database.attempts.get(usize::from(attempt)).is_some_and(|it| it.state == State::Intent) {
            Self::writes(world, engine);
            world.database.attempts[usize::from(attempt)].state = State::Unknown;
        }
    }

    fn store_lookup(&self, world: &mut World, engine: usize, attempt: u8, found: Option<u8>) {
        world.engines[engine].doing = Doing::Nothing;
        let it = world.database.attempts.get(usize::from(attempt));
        let fits = it.is_some_and(|it| it.state == State::Resolving) && world.database.build == Build::Submitting;
        if !self.may_write(world, engine) || !self.is_mine(world, engine, attempt) || !fits {
            return;
        }
        Self::writes(world, engine);
        match found {
            Some(task) => self.bind(world, attempt, task),
            None => {
                world.database.attempts[usize::from(attempt)].state = State::NotSubmitted;
                world.database.build = if world.database.cancelled { Build::Canceled } else { Build::Ready };
            }
        }
    }

    fn hub(&self, world: &mut World, request: Request, is_heard: bool) {
        world.requests.remove(&request);
        world.tasks.push((request.attempt, false));
        let engine = &mut world.engines[usize::from(request.engine)];
        if is_heard && engine.doing == Doing::Called(request.attempt) {
            engine.doing = Doing::Answered(request.attempt, world.tasks.len() as u8 - 1);
        }
    }

    fn cancel(&self, database: &mut Database) {
        database.cancelled = true;
        database.build = match database.build {
            Build::Ready => Build::Canceled,
            Build::Submitting if !self.has(Rule::PatientCancel) => Build::Canceled,
            Build::Building => Build::Canceling,
            other => other,
        };
    }

    /// A step of an engine that is at something.
    fn go_on(&self, world: &mut World, step: Step, number: u8) {
        let engine = usize::from(number);
        match (step, world.engines[engine].doing) {
            (Step::Call(_), Doing::Stored(attempt)) => {
                world.requests.insert(Request { attempt, engine: number, let_in: false, unknown_session: false });
                world.engines[engine].doing = Doing::Called(attempt);
            }
            (Step::GiveUp(_), Doing::Called(attempt)) => self.give_up(world, engine, attempt),
            (Step::StoreAnswer(_), Doing::Answered(attempt, task)) => self.store_answer(world, engine, attempt, task),
            // Its session was closed by somebody who looks the attempt up.
            (Step::StoreRefusal(_), Doing::Refused(_)) if self.has(Rule::NoNewSession) => {
                world.engines[engine].doing = Doing::Nothing;
            }
            (Step::StoreRefusal(_), Doing::Refused(attempt)) => {
                world.requests.insert(Request { attempt, engine: number, let_in: false, unknown_session: true });
                world.engines[engine].doing = Doing::Called(attempt);
            }
            (Step::Close(_), Doing::TakenOver(attempt)) => {
                if self.has(Rule::CloseSession) {
                    world.closed_sessions.insert(attempt);
                }
                world.engines[engine].doing = Doing::Closed(attempt);
            }
            (Step::LookUp(_), Doing::Closed(attempt)) => {
                let found = world.tasks.iter().position(|(marker, _)| *marker == attempt).map(|task| task as u8);
                let found = found.filter(|_| self.has(Rule::LookUp));
                world.engines[engine].doing = Doing::LookedUp(attempt, found);
            }
            (Step::Miss(_), Doing::Closed(attempt)) => {
                world.engines[engine].doing = Doing::LookedUp(attempt, None);
            }
            (Step::StoreLookup(_), Doing::LookedUp(attempt, found)) => {
                self.store_lookup(world, engine, attempt, found);
            }
            (step, doing) => unreachable!("{step:?} while {doing:?}"),
        }
    }

    fn let_in(world: &mut World, request: Request) {
        world.requests.remove(&request);
        if request.unknown_session || !world.closed_sessions.contains(&request.attempt) {
            world.requests.insert(Request { let_in: true, ..request });
        } else if world.engines[usize::from(request.engine)].doing == Doing::Called(request.attempt) {
            world.engines[usize::from(request.engine)].doing = Doing::Refused(request.attempt);
        }
    }

    /// The database is as it was when it was copied, but for the intents: those are not lost.
    fn restore(world: &mut World) -> Option<()> {
        let copy = *world.copy.take()?;
        world.left.restores -= 1;
        if copy.attempts.len() != world.database.attempts.len() {
            return None;
        }
        world.database = copy;
        Some(())
    }

    fn poll(database: &mut Database) {
        database.build = if database.build == Build::Building { Build::Done } else { Build::Canceled };
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let database =
            Database { build: Build::Ready, attempts: Vec::new(), cancelled: false, leases: BTreeSet::new(), last: 0 };
        vec![World {
            database,
            copy: None,
            engines: vec![Engine { run: 0, doing: Doing::Nothing }; usize::from(self.engines)],
            requests: BTreeSet::new(),
            tasks: Vec::new(),
            closed_sessions: BTreeSet::new(),
            left: self.budget,
            given: vec![0],
            impostor: false,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if !matches!(world.database.build, Build::Done | Build::Canceled) || !world.requests.is_empty() {
            (0..self.engines).for_each(|engine| self.steps_of_engine(world, engine, steps));
            self.steps_of_others(world, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        match step {
            Step::Begin(engine) => self.begin(&mut world, engine),
            Step::Die(engine) => {
                world.engines[usize::from(engine)] = Engine { run: 0, doing: Doing::Nothing };
                world.left.deaths -= 1;
            }
            Step::Expire(run) => {
                if world.engines.iter().any(|engine| engine.run == run) {
                    world.left.pauses -= 1;
                }
                world.database.leases.remove(&run);
            }
            Step::Decide(engine) => world.engines[usize::from(engine)].doing = Doing::Decided,
            Step::Store(engine) => self.store(&mut world, usize::from(engine)),
            Step::TakeOver(engine, attempt) => {
                let run = world.engines[usize::from(engine)].run;
                Self::writes(&mut world, usize::from(engine));
                world.database.attempts[usize::from(attempt)] = Attempt { state: State::Resolving, run };
                world.engines[usize::from(engine)].doing = Doing::TakenOver(attempt);
            }
            Step::LetIn(request) => Self::let_in(&mut world, request),
            Step::Work(request) => self.hub(&mut world, request, true),
            Step::WorkUnheard(request) => {
                world.left.losses -= 1;
                self.hub(&mut world, request, false);
            }
            Step::Lose(request) => {
                world.left.losses -= 1;
                world.requests.remove(&request);
            }
            Step::End(task) | Step::CancelTask(task) => world.tasks[usize::from(task)].1 = true,
            Step::Poll(_) => Self::poll(&mut world.database),
            Step::Cancel => self.cancel(&mut world.database),
            Step::Copy => world.copy = Some(Box::new(world.database.clone())),
            Step::Restore => Self::restore(&mut world)?,
            Step::Call(engine)
            | Step::GiveUp(engine)
            | Step::StoreAnswer(engine)
            | Step::StoreRefusal(engine)
            | Step::Close(engine)
            | Step::LookUp(engine)
            | Step::Miss(engine)
            | Step::StoreLookup(engine) => self.go_on(&mut world, step, engine),
        }
        // What is beyond says nothing new: a property has failed before.
        (world.tasks.len() <= 2 && world.database.attempts.len() <= 3).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_TASK, |_, world: &World| world.tasks.len() <= 1),
            Property::always(ONE_ATTEMPT, |_, world: &World| {
                world.database.attempts.iter().filter(|it| it.state != State::NotSubmitted).count() <= 1
            }),
            Property::always(DONE, |_, world: &World| {
                let ended = |it: &Attempt| matches!(it.state, State::Bound(task) if world.tasks[usize::from(task)].1);
                world.database.build != Build::Done || world.database.attempts.iter().any(ended)
            }),
            Property::always(NOTHING_RUNS, |_, world: &World| {
                let is_over = matches!(world.database.build, Build::Done | Build::Canceled);
                !is_over || !world.requests.is_empty() || world.tasks.iter().all(|(_, ended)| *ended)
            }),
            Property::always(NO_IMPOSTOR, |_, world: &World| !world.impostor),
            Property::always(A_WAY_ON, |protocol: &Self, world: &World| {
                let mut steps = Vec::new();
                protocol.actions(world, &mut steps);
                let is_over = matches!(world.database.build, Build::Done | Build::Canceled);
                // What a person or a fault does is no way on.
                let own = |step: &Step| !matches!(step, Step::Cancel | Step::Copy | Step::Restore | Step::Die(_));
                is_over || steps.iter().any(own)
            }),
            Property::sometimes("done", |_, world: &World| world.database.build == Build::Done),
            Property::sometimes("cancelled with a task", |_, world: &World| {
                world.database.build == Build::Canceled && !world.tasks.is_empty()
            }),
            Property::sometimes("done after a lookup", |_, world: &World| {
                world.database.build == Build::Done && world.database.attempts.len() > 1
            }),
            Property::sometimes("a lookup finds the task", |_, world: &World| {
                world.engines.iter().any(|engine| matches!(engine.doing, Doing::LookedUp(_, Some(_))))
            }),
        ]
    }
}

const ONE_TASK: &str = "at most one task";
const ONE_ATTEMPT: &str = "at most one live attempt";
const DONE: &str = "what is done has a task that has ended";
const NOTHING_RUNS: &str = "nothing runs for a build that is over";
const NO_IMPOSTOR: &str = "no engine writes as another one's run";
const A_WAY_ON: &str = "there is always a way on";

const DEATH: Budget = Budget { deaths: 1, pauses: 1, losses: 1, early: 0, restores: 0 };
const HASTE: Budget = Budget { deaths: 0, pauses: 1, losses: 1, early: 1, restores: 0 };
const RESTORED: Budget = Budget { deaths: 1, pauses: 0, losses: 0, early: 0, restores: 1 };

/// The properties that fail, and how many states there are; it is enough that this one fails.
fn failures(budget: Budget, without: Option<Rule>, property: Option<&'static str>) -> (Vec<&'static str>, usize) {
    let checker = Protocol { engines: 2, budget, without }.checker();
    let finish = match property {
        Some(property) => HasDiscoveries::AnyOf([property].into()),
        None => HasDiscoveries::AnyFailures,
    };
    let checker = checker.threads(2).finish_when(finish).spawn_bfs().join();
    let found = checker.discoveries();
    let must_hold = [ONE_TASK, ONE_ATTEMPT, DONE, NOTHING_RUNS, NO_IMPOSTOR, A_WAY_ON];
    let failed: Vec<_> = must_hold.into_iter().filter(|name| found.contains_key(name)).collect();
    if without.is_none() {
        for name in &failed {
            println!("{name}:\n{:#?}", found[name].clone().into_actions());
        }
        for reached in ["done", "cancelled with a task", "done after a lookup", "a lookup finds the task"] {
            assert!(!failed.is_empty() || found.contains_key(reached), "{reached} is never reached");
        }
    }
    (failed, checker.unique_state_count())
}

#[test]
fn the_protocol_holds() {
    for budget in [DEATH, HASTE, RESTORED] {
        let (failed, states) = failures(budget, None, None);
        println!("{budget:?}: {states} states");
        assert_eq!(failed, Vec::<&str>::new());
    }
}

#[test]
fn without_a_rule_it_fails() {
    let mut wrong = Vec::new();
    for (rule, budget, property) in [
        (Rule::IntentFirst, DEATH, ONE_ATTEMPT),
        (Rule::Fence, DEATH, ONE_ATTEMPT),
        (Rule::OwnLeftovers, RESTORED, A_WAY_ON),
        (Rule::CloseSession, HASTE, ONE_TASK),
        (Rule::Settle, HASTE, ONE_TASK),
        (Rule::LookUp, DEATH, ONE_TASK),
        (Rule::WholeAnswer, DEATH, ONE_TASK),
        (Rule::NoNewSession, HASTE, ONE_TASK),
        (Rule::PatientCancel, DEATH, NOTHING_RUNS),
        (Rule::Poll, DEATH, A_WAY_ON),
        (Rule::FreshNumber, RESTORED, NO_IMPOSTOR),
    ] {
        let (failed, states) = failures(budget, Some(rule), Some(property));
        println!("without {rule:?}: {failed:?} within {states} states");
        if !failed.contains(&property) {
            wrong.push(format!("without {rule:?}: {failed:?}, and not {property:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
