use super::builds::Builds;
use super::bus::Change;
use super::calls::Caller;
use super::ledger::Ledger;
use super::script::{Fate, Submission, Trouble};
use super::session::{Sessions, User};
use super::tasks::Tasks;
use super::values::Fault;
use freshmaker::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Largest number of stored changes of tasks; the oldest are discarded.
pub(super) const CHANGES_MAX: usize = 10_000;

type Script = Box<dyn FnMut(&Submission) -> Option<Fate> + Send>;
type Sabotage = Box<dyn FnMut(&str, usize) -> Option<Trouble> + Send>;

/// The database of the hub, and the scripts of the test.
pub(super) struct World {
    /// Time of the current request.
    pub(super) now: Timestamp,
    /// Whether the current call changed something, so that its number is used up.
    pub(super) changed: bool,
    pub(super) users: Vec<User>,
    pub(super) sessions: Sessions,
    pub(super) tasks: Tasks,
    pub(super) builds: Builds,
    pub(super) targets: Vec<String>,
    /// Tags that belong to no target.
    pub(super) more_tags: Vec<String>,
    /// The user whose certificate requests for `/kojihub/ssllogin` present.
    pub(super) certificate: Option<String>,
    pub(super) changes: VecDeque<Change>,
    pub(super) ledger: Ledger,
    /// How often each method was called.
    pub(super) calls: BTreeMap<String, usize>,
    pub(super) script: Script,
    pub(super) fates: BTreeMap<String, VecDeque<Fate>>,
    pub(super) sabotage: Sabotage,
    pub(super) troubles: Vec<(String, usize, Trouble)>,
    /// Faults of the next calls of a method inside a `multiCall`.
    pub(super) within: BTreeMap<String, VecDeque<Fault>>,
    /// Troubles of the next calls of any method.
    pub(super) coming: VecDeque<Trouble>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("tasks", &self.tasks).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            changed: false,
            users: Vec::new(),
            sessions: Sessions::default(),
            tasks: Tasks::default(),
            builds: Builds::default(),
            targets: Vec::new(),
            more_tags: Vec::new(),
            certificate: None,
            changes: VecDeque::new(),
            ledger: Ledger::default(),
            calls: BTreeMap::new(),
            script: Box::new(|_| None),
            fates: BTreeMap::new(),
            sabotage: Box::new(|_, _| None),
            troubles: Vec::new(),
            within: BTreeMap::new(),
            coming: VecDeque::new(),
        }
    }

    pub(super) fn user(&self, id: i64) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    pub(super) fn is_admin(&self, caller: &Caller) -> bool {
        caller.user.and_then(|id| self.user(id)).is_some_and(|user| user.admin)
    }

    /// Counts a call, and returns its trouble, if there is one.
    pub(super) fn trouble(&mut self, method: &str) -> Option<Trouble> {
        let count = self.calls.entry(method.to_owned()).or_default();
        *count += 1;
        let count = *count;
        if let Some(place) = self.troubles.iter().position(|(name, nth, _)| name == method && *nth == count) {
            return Some(self.troubles.swap_remove(place).2);
        }
        self.coming.pop_front().or_else(|| (self.sabotage)(method, count))
    }

    /// Returns the planned troubles that have not occurred, except those that the function of
    /// `sabotage` decides on.
    pub(super) fn planned(&self) -> Vec<String> {
        let named = self.troubles.iter().map(|(method, nth, trouble)| format!("{method}, call {nth}: {trouble:?}"));
        let coming = self.coming.iter().map(|trouble| format!("the next call: {trouble:?}"));
        let within = self.within.iter().filter(|(_, faults)| !faults.is_empty());
        named
            .chain(coming)
            .chain(within.map(|(method, faults)| format!("{method} in a multicall: {faults:?}")))
            .collect()
    }

    /// Returns the fault that the next call of this method inside a `multiCall` raises.
    pub(super) fn fault_within(&mut self, method: &str) -> Option<Fault> {
        self.within.get_mut(method).and_then(VecDeque::pop_front)
    }

    pub(super) fn fate(&mut self, submission: &Submission) -> Fate {
        let queued = self.fates.get_mut(submission.artifact()).and_then(VecDeque::pop_front);
        queued.or_else(|| (self.script)(submission)).unwrap_or_else(Fate::succeeds)
    }

    pub(super) fn announce(&mut self, change: Change) {
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}
