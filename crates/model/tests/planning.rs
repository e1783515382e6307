//! Two plans that are stored at once, beside a build that ends and an event that is cancelled.
//!
//! A decision is made on rows that were read, and stored later. It names what it rests on: the
//! count of edges, if it adds one, and the versions of the rows that it only read. The builds `A`
//! and `B` wait; one plan wants `A` after `B`, the other one `B` after `A`, each unless it sees
//! that this closes a cycle. Both also join `C`, which an event has caused that a person cancels,
//! and wait for it.

use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeSet;

/// The rules of a commit that a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A commit that adds an edge is refused if another one has added one since it has read.
    CountOfEdges,
    /// A plan is refused if a row that it joins has changed since it has read.
    JoinedUnchanged,
    /// A cancellation is refused if the build that it ends has changed since it has read.
    CancelledUnchanged,
    /// An end is refused if the build that it ends has changed since it has read what waits for it.
    EndedUnchanged,
    /// A build that is joined gets a new version, so that others see it.
    JoiningChanges,
}

const A: u8 = 0;
const B: u8 = 1;
const C: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Build {
    Open,
    Done,
    Canceled,
}

/// What the storage has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rows {
    /// Children with the parents that they still wait for.
    edges: BTreeSet<(u8, u8)>,
    edge_count: u8,
    c: Build,
    c_version: u8,
    /// Who wants `C`: the first event is 0, the plans are 1 and 2.
    causes: BTreeSet<u8>,
}

/// Where a decision is: what it has read, and whether it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Decision {
    NotBegun,
    Read(Box<Rows>),
    Stored,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    rows: Rows,
    plans: [Decision; 2],
    cancel: Decision,
    end: Decision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    ReadPlan(usize),
    StorePlan(usize),
    ReadCancel,
    StoreCancel,
    ReadEnd,
    StoreEnd,
}

struct Commits {
    without: Option<Rule>,
}

/// Whether the child waits for the parent, directly or not.
fn waits(edges: &BTreeSet<(u8, u8)>, child: u8, parent: u8) -> bool {
    edges.iter().any(|(from, to)| *from == child && (*to == parent || waits(edges, *to, parent)))
}

impl Commits {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Stores a plan that was decided on these rows; a plan that is refused is decided again.
    fn store_plan(&self, world: &mut World, number: usize, read: &Rows) {
        world.plans[number] = Decision::NotBegun;
        let rows = &mut world.rows;
        let (child, parent) = if number == 0 { (A, B) } else { (B, A) };
        let mut edges = Vec::new();
        if !waits(&read.edges, parent, child) {
            edges.push((child, parent));
        }
        let joins = read.c == Build::Open;
        if joins {
            edges.push((child, C));
        }
        let is_new = !edges.is_empty();
        let counted = rows.edge_count == read.edge_count || !self.has(Rule::CountOfEdges);
        let unchanged = rows.c_version == read.c_version || !joins || !self.has(Rule::JoinedUnchanged);
        if (is_new && !counted) || !unchanged {
            return;
        }
        rows.edge_count += u8::from(is_new);
        rows.edges.extend(edges);
        if joins {
            rows.causes.insert(number as u8 + 1);
            rows.c_version += u8::from(self.has(Rule::JoiningChanges));
        }
        world.plans[number] = Decision::Stored;
    }

    /// Detaches the first event from `C`, and ends `C` if nobody else wants it.
    fn store_cancel(&self, world: &mut World, read: &Rows) {
        world.cancel = Decision::NotBegun;
        let rows = &mut world.rows;
        let alone = read.c == Build::Open && read.causes.iter().all(|cause| *cause == 0);
        if rows.c_version != read.c_version && self.has(Rule::CancelledUnchanged) {
            return;
        }
        rows.causes.remove(&0);
        rows.c_version += 1;
        if alone {
            rows.c = Build::Canceled;
            rows.edges.retain(|edge| edge.1 != C || !read.edges.contains(edge));
        }
        world.cancel = Decision::Stored;
    }

    /// Ends `C` well: what waits for it goes on.
    fn store_end(&self, world: &mut World, read: &Rows) {
        world.end = Decision::NotBegun;
        let rows = &mut world.rows;
        if rows.c != Build::Open {
            world.end = Decision::Stored;
            return;
        }
        if rows.c_version != read.c_version && self.has(Rule::EndedUnchanged) {
            return;
        }
        rows.c = Build::Done;
        rows.c_version += 1;
        rows.edges.retain(|edge| edge.1 != C || !read.edges.contains(edge));
        world.end = Decision::Stored;
    }
}

impl Model for Commits {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let rows =
            Rows { edges: BTreeSet::new(), edge_count: 0, c: Build::Open, c_version: 0, causes: BTreeSet::from([0]) };
        let plans = [Decision::NotBegun, Decision::NotBegun];
        vec![World { rows, plans, cancel: Decision::NotBegun, end: Decision::NotBegun }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (number, plan) in world.plans.iter().enumerate() {
            match plan {
                Decision::NotBegun => steps.push(Step::ReadPlan(number)),
                Decision::Read(_) => steps.push(Step::StorePlan(number)),
                Decision::Stored => {}
            }
        }
        for (decision, read, store) in
            [(&world.cancel, Step::ReadCancel, Step::StoreCancel), (&world.end, Step::ReadEnd, Step::StoreEnd)]
        {
            match decision {
                Decision::NotBegun => steps.push(read),
                Decision::Read(_) => steps.push(store),
                Decision::Stored => {}
            }
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        let read = || Decision::Read(Box::new(world.rows.clone()));
        match step {
            Step::ReadPlan(number) => next.plans[number] = read(),
            Step::ReadCancel => next.cancel = read(),
            Step::ReadEnd => next.end = read(),
            Step::StorePlan(number) => {
                let Decision::Read(rows) = &world.plans[number] else { return None };
                self.store_plan(&mut next, number, rows);
            }
            Step::StoreCancel => {
                let Decision::Read(rows) = &world.cancel else { return None };
                self.store_cancel(&mut next, rows);
            }
            Step::StoreEnd => {
                let Decision::Read(rows) = &world.end else { return None };
                self.store_end(&mut next, rows);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_CYCLE, |_, world: &World| {
                [A, B, C].into_iter().all(|build| !waits(&world.rows.edges, build, build))
            }),
            Property::always(WANTED, |_, world: &World| {
                world.rows.c != Build::Canceled || world.rows.causes.is_empty()
            }),
            Property::always(NO_VAIN_WAIT, |_, world: &World| {
                world.rows.c == Build::Open || world.rows.edges.iter().all(|(_, parent)| *parent != C)
            }),
            Property::sometimes("both plans are stored", |_, world: &World| {
                world.plans.iter().all(|plan| *plan == Decision::Stored)
            }),
            Property::sometimes("a shared build outlives its first event", |_, world: &World| {
                world.cancel == Decision::Stored && world.rows.c == Build::Done && !world.rows.causes.is_empty()
            }),
            Property::sometimes("it is cancelled", |_, world: &World| world.rows.c == Build::Canceled),
        ]
    }
}

const NO_CYCLE: &str = "no cycle";
const WANTED: &str = "what somebody wants is not cancelled";
const NO_VAIN_WAIT: &str = "nothing waits for what has ended";

/// The properties that fail.
fn failures(without: Option<Rule>) -> Vec<&'static str> {
    let checker = Commits { without }.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries();
    println!("{without:?}: {} states, found {:?}", checker.unique_state_count(), found.keys());
    if without.is_none() {
        for reached in ["both plans are stored", "a shared build outlives its first event", "it is cancelled"] {
            assert!(found.contains_key(reached), "{reached} is never reached");
        }
    }
    [NO_CYCLE, WANTED, NO_VAIN_WAIT].into_iter().filter(|name| found.contains_key(name)).collect()
}

#[test]
fn the_commits_hold() {
    assert_eq!(failures(None), Vec::<&str>::new());
}

#[test]
fn without_a_rule_they_fail() {
    for (rule, property) in [
        (Rule::CountOfEdges, NO_CYCLE),
        (Rule::JoinedUnchanged, NO_VAIN_WAIT),
        (Rule::CancelledUnchanged, WANTED),
        (Rule::EndedUnchanged, NO_VAIN_WAIT),
        (Rule::JoiningChanges, WANTED),
    ] {
        let failed = failures(Some(rule));
        assert!(failed.contains(&property), "without {rule:?}: {failed:?}, and not {property:?}");
    }
}
