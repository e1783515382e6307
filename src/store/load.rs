//! Scopes: which rows a decision gets.
//!
//! Every storage loads scopes with the same function, over nine lookups of its own, so two storages
//! cannot load different rows.
//!
//! A build is loaded in one of two ways. A *primary* build comes with its causes, their events, its
//! live attempts and all its dependencies in both directions. Any other build comes as a row alone:
//! the decision reads its state, output or key, and does not end it.
//!
//! | scope | primary | rows alone |
//! |---|---|---|
//! | builds, attempt | the builds, their direct children | direct parents; of each of the builds' keys the latest build with an output |
//! | descendants | the builds, and what waits for them, directly or indirectly | their direct parents |
//! | renewal | the same; the open builds of the parents' keys | direct parents; of the parents' keys the latest builds with an output |
//! | event | as descendants, for all builds it causes or caused | their direct parents |
//! | keys | open builds of the keys, and all open builds connected to them | none |
//! | all | those of any of its scopes | those of any of its scopes |
//!
//! Example: `base` 1 has ended, `lib` 2 needs it, `app` 3 needs `lib` and waits.
//!
//! ```text
//! Builds([2])        primary 2, 3      row 1
//! Descendants([2])   primary 2, 3      row 1; then what waits for 3, if anything does
//! Keys([app])        primary 3, 2      1 has ended and connects nothing
//! ```
//!
//! *Invariant:* all rows of a scope are of one snapshot. *Invariant:* a build that is both primary
//! and reached in another way is primary.
//!
//! Decisions at the same time are not excluded while rows are loaded: the versions and the count of
//! edges in the result are what the commit is checked against. The storage sets `at` and `edges` of
//! the result.
//!
//! Cost: the descendants and the connected builds are found in waves, with one lookup of many keys
//! for each wave and direction, so the number of lookups depends on the longest path and not on the
//! number of builds. Several scopes at once share their lookups.

use crate::backend::{Result, Scope};
use crate::rebuild::{
    AttemptId, AttemptRecord, BuildId, BuildKey, BuildRecord, Cause, Dependency, EventId, EventRecord, Neighbourhood,
};
use std::collections::{BTreeMap, BTreeSet};

/// Which end of a dependency is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The build that is waited for.
    Parent,
    /// The build that waits.
    Child,
}

/// The lookups that [`load`] needs from a storage. Each takes many keys at once; unknown ones have
/// no rows.
///
/// They run within one snapshot: a storage opens a transaction, wraps it in a type that implements
/// this trait, and calls [`load`].
pub trait Rows {
    /// The builds of these numbers.
    ///
    /// # Errors
    /// Those of the storage.
    fn builds(&mut self, ids: &[BuildId]) -> Result<Vec<BuildRecord>>;
    /// Builds of these keys that have not ended.
    ///
    /// # Errors
    /// Those of the storage.
    fn open_builds(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildRecord>>;
    /// Of each of these keys the latest build that has an output, in whatever state it is: that
    /// output is what is there now. The latest build is the one with the highest number.
    ///
    /// # Errors
    /// Those of the storage.
    fn latest_outputs(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildRecord>>;
    /// The dependencies that have one of these builds at this side.
    ///
    /// # Errors
    /// Those of the storage.
    fn dependencies(&mut self, of: &[BuildId], side: Side) -> Result<Vec<Dependency>>;
    /// The causes of these builds, live or not.
    ///
    /// # Errors
    /// Those of the storage.
    fn causes(&mut self, of: &[BuildId]) -> Result<Vec<Cause>>;
    /// The builds that an event causes, or caused.
    ///
    /// # Errors
    /// Those of the storage.
    fn caused(&mut self, event: EventId) -> Result<Vec<BuildId>>;
    /// The events of these numbers.
    ///
    /// # Errors
    /// Those of the storage.
    fn events(&mut self, ids: &[EventId]) -> Result<Vec<EventRecord>>;
    /// The attempts of these ids.
    ///
    /// # Errors
    /// Those of the storage.
    fn attempts(&mut self, ids: &[AttemptId]) -> Result<Vec<AttemptRecord>>;
    /// The attempts of these builds that have not ended.
    ///
    /// # Errors
    /// Those of the storage.
    fn live_attempts(&mut self, of: &[BuildId]) -> Result<Vec<AttemptRecord>>;
}

/// Loads the rows of a scope. Unknown builds, attempts and events are left out.
///
/// This is all that a storage needs for [`Storage::load`](crate::backend::Storage::load), besides
/// its [`Rows`]. The caller sets [`Neighbourhood::at`] and [`Neighbourhood::edges`], from the same
/// snapshot.
///
/// # Errors
/// Those of `rows`.
pub fn load<R: Rows>(rows: &mut R, scope: &Scope) -> Result<Neighbourhood> {
    let mut loader = Loader { rows, found: Neighbourhood::default(), primary: BTreeSet::new() };
    let mut wanted = Wanted::default();
    loader.want(scope, &mut wanted)?;
    loader.with_descendants(&wanted.descendants)?;
    loader.with_children(&wanted.builds)?;
    loader.with_renewals(&wanted.renewals)?;
    loader.connected(&wanted.keys)?;
    loader.finish()
}

/// The builds and keys that a scope names, by how far it reaches from them.
#[derive(Default)]
struct Wanted {
    builds: Vec<BuildId>,
    descendants: Vec<BuildId>,
    renewals: Vec<BuildId>,
    keys: Vec<BuildKey>,
}

/// Collects the rows of one scope.
struct Loader<'a, R> {
    rows: &'a mut R,
    found: Neighbourhood,
    /// The builds that come with everything; others come as rows.
    primary: BTreeSet<BuildId>,
}

impl<R: Rows> Loader<'_, R> {
    /// Finds which builds a scope is about. Attempts and events that it names are added.
    fn want(&mut self, scope: &Scope, wanted: &mut Wanted) -> Result<()> {
        let (mut attempts, mut events, mut scopes) = (Vec::new(), Vec::new(), vec![scope]);
        while let Some(scope) = scopes.pop() {
            match scope {
                Scope::Builds(ids) => wanted.builds.extend(ids),
                Scope::Descendants(ids) => wanted.descendants.extend(ids),
                Scope::Renewal(id) => {
                    wanted.descendants.push(*id);
                    wanted.renewals.push(*id);
                }
                Scope::Attempt(id) => attempts.push(id.clone()),
                Scope::Event(id) => events.push(*id),
                Scope::Keys(keys) => wanted.keys.extend(keys.iter().cloned()),
                Scope::All(all) => scopes.extend(all),
            }
        }
        if !attempts.is_empty() {
            let attempts = self.rows.attempts(&attempts)?;
            wanted.builds.extend(attempts.iter().map(|attempt| attempt.build));
            self.found.attempts.extend(attempts.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
        }
        if !events.is_empty() {
            let rows = self.rows.events(&events)?;
            self.found.events.extend(rows.into_iter().map(|event| (event.id, event)));
        }
        for event in events {
            wanted.descendants.extend(self.rows.caused(event)?);
        }
        Ok(())
    }

    /// Adds these builds and their direct children as primary builds, their direct parents as rows,
    /// and the latest outputs of their keys.
    fn with_children(&mut self, ids: &[BuildId]) -> Result<()> {
        let named = self.add_primary(ids)?;
        self.add_parents(&named)?;
        let children: Vec<_> = self.edges(&named, Side::Parent)?.into_iter().map(|edge| edge.child).collect();
        self.add_primary(&children)?;
        self.add_latest_outputs(&self.keys(&named))
    }

    /// The keys of builds that are loaded, each once.
    fn keys(&self, ids: &[BuildId]) -> Vec<BuildKey> {
        let keys: BTreeSet<_> = ids.iter().filter_map(|id| self.found.builds.get(id)).map(|build| &build.key).collect();
        keys.into_iter().cloned().collect()
    }

    /// Adds the latest build with an output of each key, as a row. A build that is primary already
    /// stays so.
    fn add_latest_outputs(&mut self, keys: &[BuildKey]) -> Result<()> {
        if !keys.is_empty() {
            let latest = self.rows.latest_outputs(keys)?;
            self.found.builds.extend(latest.into_iter().map(|build| (build.id, build)));
        }
        Ok(())
    }

    /// Adds these builds, and wave by wave the builds that wait for them over unsatisfied
    /// dependencies, as primary builds; then the direct parents of the given builds as rows. Each
    /// build is visited once, so a cycle would not keep the search from ending.
    fn with_descendants(&mut self, ids: &[BuildId]) -> Result<()> {
        let named = self.add_primary(ids)?;
        let mut visited: BTreeSet<_> = named.iter().copied().collect();
        let mut frontier = named.clone();
        while !frontier.is_empty() {
            let waiting = self.edges(&frontier, Side::Parent)?.into_iter().filter(|edge| !edge.satisfied);
            let waiting: Vec<_> = waiting.map(|edge| edge.child).filter(|child| visited.insert(*child)).collect();
            frontier = self.add_primary(&waiting)?;
        }
        self.add_parents(&named)
    }

    /// Adds what a renewal of repositories may change beside the descendants of the builds: of
    /// their parents' keys the open builds, as primary builds, and the latest outputs, as rows. The
    /// open builds are primary because they may get causes and dependents.
    fn with_renewals(&mut self, ids: &[BuildId]) -> Result<()> {
        let parents: Vec<_> = self.edges(ids, Side::Child)?.into_iter().map(|edge| edge.parent).collect();
        let keys = self.keys(&parents);
        self.add_open(&keys)?;
        self.add_latest_outputs(&keys)
    }

    /// Adds the open builds of these keys, and wave by wave the open builds connected to them over
    /// dependencies in either direction, as primary builds.
    ///
    /// This is what admission needs to find every cycle that a new plan could close. A build that
    /// has ended connects nothing, because no open build waits for it any more.
    fn connected(&mut self, keys: &[BuildKey]) -> Result<()> {
        let mut frontier = self.add_open(keys)?;
        let mut visited: BTreeSet<_> = frontier.iter().copied().collect();
        while !frontier.is_empty() {
            let mut beside = BTreeSet::new();
            beside.extend(self.edges(&frontier, Side::Parent)?.into_iter().map(|edge| edge.child));
            beside.extend(self.edges(&frontier, Side::Child)?.into_iter().map(|edge| edge.parent));
            let beside: Vec<_> = beside.difference(&visited).copied().collect();
            visited.extend(&beside);
            frontier.clear();
            for build in self.rows.builds(&beside)?.into_iter().filter(|build| !build.state.is_terminal()) {
                frontier.push(self.insert_primary(build));
            }
        }
        Ok(())
    }

    /// Adds the builds of these keys that have not ended, as primary builds, and returns their
    /// numbers.
    fn add_open(&mut self, keys: &[BuildKey]) -> Result<Vec<BuildId>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let open = self.rows.open_builds(keys)?;
        Ok(open.into_iter().map(|build| self.insert_primary(build)).collect())
    }

    /// Adds a loaded build as a primary build.
    fn insert_primary(&mut self, build: BuildRecord) -> BuildId {
        let id = build.id;
        self.primary.insert(id);
        self.found.builds.insert(id, build);
        id
    }

    /// Adds primary builds; returns those that exist, in ascending order.
    fn add_primary(&mut self, ids: &[BuildId]) -> Result<Vec<BuildId>> {
        let mut named: BTreeSet<_> = ids.iter().copied().collect();
        self.add_rows(&named)?;
        named.retain(|id| self.found.builds.contains_key(id));
        self.primary.extend(&named);
        Ok(named.into_iter().collect())
    }

    /// Adds the direct parents of these builds as rows.
    fn add_parents(&mut self, named: &[BuildId]) -> Result<()> {
        let parents = self.edges(named, Side::Child)?.into_iter().map(|edge| edge.parent).collect();
        self.add_rows(&parents)
    }

    /// Adds builds as rows, unless they are loaded already.
    fn add_rows(&mut self, ids: &BTreeSet<BuildId>) -> Result<()> {
        let unknown: Vec<_> = ids.iter().copied().filter(|id| !self.found.builds.contains_key(id)).collect();
        if !unknown.is_empty() {
            let rows = self.rows.builds(&unknown)?;
            self.found.builds.extend(rows.into_iter().map(|build| (build.id, build)));
        }
        Ok(())
    }

    /// Returns the dependencies that have one of these builds at this side; asks nothing for an
    /// empty list.
    fn edges(&mut self, of: &[BuildId], side: Side) -> Result<Vec<Dependency>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        self.rows.dependencies(of, side)
    }

    /// Adds the dependencies, causes, events and live attempts of the primary builds.
    fn finish(mut self) -> Result<Neighbourhood> {
        let primary: Vec<_> = self.primary.iter().copied().collect();
        if !primary.is_empty() {
            let mut edges = self.edges(&primary, Side::Parent)?;
            edges.extend(self.edges(&primary, Side::Child)?);
            self.found.dependencies = edges.into_iter().map(|edge| ((edge.parent, edge.child), edge)).collect();
            let causes = self.rows.causes(&primary)?;
            self.found.causes = causes.into_iter().map(|cause| ((cause.build, cause.event), cause)).collect();
            let live = self.rows.live_attempts(&primary)?;
            self.found.attempts.extend(live.into_iter().map(|attempt| (attempt.id.clone(), attempt)));
            let events: BTreeSet<_> = self.found.causes.values().map(|cause| cause.event).collect();
            let events: Vec<_> = events.into_iter().filter(|id| !self.found.events.contains_key(id)).collect();
            let events: BTreeMap<_, _> =
                self.rows.events(&events)?.into_iter().map(|event| (event.id, event)).collect();
            self.found.events.extend(events);
        }
        Ok(self.found)
    }
}
