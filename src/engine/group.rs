//! Group commit: the only way by which facts about builds are stored. What is reported within a
//! moment is decided and committed together.
//!
//! Every stage reports what it has seen through `Core::apply`; nothing else changes the state of a
//! build. The inputs wait in a queue. The stage `run` takes those that are there, at most
//! `GROUP_MAX`, loads the rows of all of them at once, applies one after the other, commits the
//! difference, and answers each. While it does so, the next group gathers. So an engine with little
//! to do commits each input alone and at once, and an engine with much to do commits seldom: a
//! hundred builds that start together take one transaction.
//!
//! Within a group the inputs take effect in the order in which they were reported, each on what the
//! ones before have left, as if each had been committed alone.
//!
//! # What happens when something fails
//!
//! * An input does not fit: it changes nothing, its reporter gets the error, and the others go on.
//! * The storage refuses the group, a row of it cannot be read, or it conflicts, fails or has an
//!   unknown outcome again and again: it is divided, and each half is decided alone. So an input
//!   that cannot be stored delays its group by a few transactions, and does not affect the outcome
//!   of the others.
//! * An input that is alone still fails: it is tried again with growing pauses, and no longer
//!   counts as a group under way.
//! * The start of a build conflicts for seconds: its reporter gets the error, and starts others
//!   first.
//! * The outcome of the commit is not known: load again and look. An input that is stale then has
//!   been stored: it has made itself stale.
//! * A group takes longer than `PATIENCE`, because a call of the storage hangs: the next one is
//!   decided beside it. At most `GROUPS_MAX` are under way.
//! * The run is over: all stages are dropped, this one and the reporters with it. Whatever was not
//!   committed did not happen.

use super::commit::{Conflicts, Stored};
use super::core::{Core, Failures, progress};
use super::outages::STORAGE;
use crate::backend::{Error, Remedy, Scope};
use crate::rebuild::{
    AttemptRecord, BuildId, BuildRecord, Commit, IllegalInput, Input, Neighbourhood, Observed, Rebuild,
};
use crate::store::PLACE;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, join, select};
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Largest number of inputs that are decided together.
const GROUP_MAX: usize = 100;

/// Largest number of groups that are under way at the same time.
const GROUPS_MAX: usize = 8;

/// How long a group has the storage for itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most conflicts in a row before a group is divided.
const CONFLICTS_MAX: u32 = 3;

/// The most conflicts in a row, about 20 seconds, before the start of a build is given up and its
/// reporter gets the error. As long as it is tried, it takes the place of another build of its
/// system.
const STARTS_MAX: u32 = 14;

/// The most failed loads and unknown outcomes in a row before a group is divided.
const FAILURES_MAX: u32 = 3;

/// Says why an input has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotApplied {
    /// The input does not fit what is stored: it is late, repeated, or about something unknown.
    Illegal(IllegalInput),
    /// The storage refuses what follows from it. `Conflict`: it meets a change each time.
    Refused(Error),
    /// A row that the decision needs cannot be read, so nothing can be decided about it.
    Unreadable(Error),
    /// This run is over.
    Fenced,
}

/// The rows that an input was about, as it has left them.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// The build that the reporter named.
    pub(super) build: Option<BuildRecord>,
    /// The attempt that the input names.
    pub(super) attempt: Option<AttemptRecord>,
}

impl Applied {
    fn of(rows: &Neighbourhood, member: &Member) -> Self {
        Self {
            build: member.build.and_then(|build| rows.builds.get(&build).cloned()),
            attempt: member.input.attempt().and_then(|attempt| rows.attempts.get(attempt).cloned()),
        }
    }
}

type Answer = Result<Applied, NotApplied>;

/// An input that waits to be decided on.
#[derive(Debug)]
struct Member {
    input: Input,
    /// The build that it is about, if it is about one.
    build: Option<BuildId>,
    /// Whether it may be stored already, because the outcome of a commit was not known.
    unknown: bool,
    reporter: oneshot::Sender<Answer>,
}

impl Member {
    /// A reporter that is gone wants no answer.
    fn answer(self, answer: Answer) {
        drop(self.reporter.send(answer));
    }
}

/// The inputs that wait.
#[derive(Debug, Default)]
pub(super) struct Group {
    waiting: Mutex<VecDeque<Member>>,
    joined: Notify,
    /// Number of inputs that are tried again, each alone.
    repeated: AtomicUsize,
}

impl Group {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Member>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an input that is tried again as long as the guard is there.
    fn repeats(&self) -> Repeats<'_> {
        self.repeated.fetch_add(1, Ordering::Relaxed);
        Repeats(self)
    }

    /// Takes the oldest inputs. Those of a run that is over have no reporter any more, and go.
    fn take(&self) -> Vec<Member> {
        let mut waiting = self.waiting();
        waiting.retain(|member| !member.reporter.is_closed());
        let most = waiting.len().min(GROUP_MAX);
        waiting.drain(..most).collect()
    }
}

/// Counts an input that is tried again.
struct Repeats<'a>(&'a Group);

impl Drop for Repeats<'_> {
    fn drop(&mut self) {
        self.0.repeated.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Decides on what is reported. Never returns: it ends with the other stages.
pub(super) async fn run(core: &Core) {
    let mut under_way: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    let mut patience = Duration::ZERO;
    loop {
        let now = core.elapsed();
        let groups = under_way.len().saturating_sub(core.group.repeated.load(Ordering::Relaxed));
        if under_way.is_empty() || (now >= patience && groups < GROUPS_MAX) {
            let members = core.group.take();
            if !members.is_empty() {
                patience = now.saturating_add(PATIENCE);
                under_way.push(decide(core, members));
            }
        }
        let next = Some(patience).filter(|patience| *patience > now);
        progress(&mut under_way, core.wait(&core.group.joined, next)).await;
    }
}

impl Core {
    /// Reports a fact about a build: the only way in which one is stored. Waits until it is stored
    /// or proves to change nothing, and returns the rows as it has left them.
    ///
    /// `build` is the build that the input is about, if it is about one; some inputs then load
    /// everything that waits for that build (see `scope`). An input that starts a build also
    /// carries the concurrency limit of its system, which the storage checks against the attempts
    /// of all runs.
    ///
    /// # Errors
    /// `NotApplied`: the input does not fit, the storage refuses, a row cannot be read, or the run
    /// is over.
    ///
    /// # Cancel safety
    /// If the future is dropped, the fact is stored completely or not at all.
    pub(super) async fn apply(&self, input: Input, build: Option<BuildId>) -> Answer {
        let (reporter, answer) = oneshot::channel();
        self.group.waiting().push_back(Member { input, build, unknown: false, reporter });
        self.group.joined.notify_one();
        // Only a run that is over drops an input without an answer, and this future with it.
        answer.await.unwrap_or(Err(NotApplied::Fenced))
    }
}

/// Decides on the members of a group and answers each.
fn decide(core: &Core, mut members: Vec<Member>) -> BoxFuture<'_, ()> {
    async move {
        let (mut conflicts, mut failures) = (Conflicts::default(), Failures::default());
        let mut repeats = None;
        loop {
            if failures.count() >= FAILURES_MAX {
                if members.len() > 1 {
                    return divide(core, members).await;
                }
                repeats.get_or_insert_with(|| core.group.repeats());
            }
            let loaded = match core.storage.load(&scope_of(&members)).await {
                Ok(loaded) => {
                    core.works("load", STORAGE);
                    loaded
                }
                Err(error) if error.remedy == Remedy::Corrupt || !error.is_transient() => {
                    if members.len() > 1 {
                        return divide(core, members).await;
                    }
                    if core.is_new(error.to_string()) {
                        tracing::error!(%error, "a row cannot be read, so nothing is decided about what needs it");
                    }
                    return members.into_iter().for_each(|one| one.answer(Err(NotApplied::Unreadable(error.clone()))));
                }
                Err(error) => {
                    core.pause_longer(&mut failures, "load", STORAGE, &error).await;
                    continue;
                }
            };
            let (commit, answers) = together(core, loaded, &members);
            let refused = match core.store(commit).await {
                Stored::Yes => {
                    return members.into_iter().zip(answers).for_each(|(member, answer)| member.answer(answer));
                }
                Stored::Conflict => {
                    conflicts.pause(core).await;
                    if conflicts.count() >= CONFLICTS_MAX && members.len() > 1 {
                        return divide(core, members).await;
                    }
                    let starts = |one: &Member| matches!(one.input, Input::Start { .. } | Input::Reuse { .. });
                    if conflicts.count() < STARTS_MAX || !members.iter().all(starts) {
                        continue;
                    }
                    let text = format!("it has met {STARTS_MAX} changes in a row");
                    NotApplied::Refused(Error::new(Remedy::Conflict, PLACE, text))
                }
                Stored::Unknown => {
                    // An input that did not fit has not made itself stale.
                    let tried = members.iter_mut().zip(&answers).filter(|(_, answer)| answer.is_ok());
                    tried.for_each(|(member, _)| member.unknown = true);
                    core.sleep(failures.pause(core.options.backend_pause)).await;
                    continue;
                }
                Stored::Refused(_) if members.len() > 1 => return divide(core, members).await,
                Stored::Refused(error) => {
                    tracing::debug!(%error, "the storage refuses what follows from an input");
                    NotApplied::Refused(error)
                }
                Stored::Fenced => NotApplied::Fenced,
            };
            return members.into_iter().for_each(|member| member.answer(Err(refused.clone())));
        }
    }
    .boxed()
}

/// Decides on each half of a group alone, the first one first. If that takes longer than
/// `PATIENCE`, the other one no longer waits for it.
async fn divide(core: &Core, mut members: Vec<Member>) {
    let rest = members.split_off(members.len() / 2);
    match select(decide(core, members), core.sleep(PATIENCE).boxed()).await {
        Either::Left(_) => decide(core, rest).await,
        Either::Right(((), first)) => drop(join(first, decide(core, rest)).await),
    }
}

/// Applies the inputs of a group, one after the other, and returns the commit, and the answers that
/// the reporters get once it is stored.
fn together(core: &Core, loaded: Neighbourhood, members: &[Member]) -> (Commit, Vec<Answer>) {
    let mut rebuild = Rebuild::new(loaded, core.run());
    let (mut answers, mut at_most) = (Vec::with_capacity(members.len()), BTreeMap::new());
    for member in members {
        let answer = match rebuild.apply(&member.input, &core.limits) {
            Ok(()) => Ok(Applied::of(rebuild.rows(), member)),
            // The try whose outcome was not known was stored: it is this very input that makes
            // itself stale.
            Err(IllegalInput::Stale { .. }) if member.unknown => Ok(Applied::of(rebuild.rows(), member)),
            Err(illegal) => {
                tracing::debug!(%illegal, "an input changes nothing");
                Err(NotApplied::Illegal(illegal))
            }
        };
        if let (Input::Start { .. }, Ok(Applied { build: Some(build), .. })) = (&member.input, &answer) {
            at_most.insert(build.key.system.clone(), core.concurrency.limit(&build.key.system));
        }
        answers.push(answer);
    }
    let mut commit = rebuild.commit();
    commit.at_most.extend(at_most);
    (commit, answers)
}

/// Returns the rows that the inputs of a group may change.
fn scope_of(members: &[Member]) -> Scope {
    match members {
        [one] => scope(&one.input, one.build),
        all => Scope::All(all.iter().map(|member| scope(&member.input, member.build)).collect()),
    }
}

/// Returns the rows that an input may change.
///
/// An input after which the build may end badly needs everything that waits for the build, directly
/// and indirectly (`Descendants`), because those builds fail too. An input that can only succeed or
/// wait needs the direct neighbours. Without a known build, the scope falls back to the attempt.
fn scope(input: &Input, build: Option<BuildId>) -> Scope {
    match (input, build) {
        (Input::Cancel { event, .. }, _) => Scope::Event(*event),
        (Input::Reuse { build } | Input::Start { build, .. } | Input::Postponed { build, .. }, _) => {
            Scope::Builds(vec![*build])
        }
        (Input::Verified { build, .. } | Input::Lost { build, .. }, _) => Scope::Renewal(*build),
        (Input::Observe { observed: Observed::Succeeded(_) | Observed::Running, attempt, .. }, _) => {
            Scope::Attempt(attempt.clone())
        }
        (
            Input::Refused { .. }
            | Input::NotSent { .. }
            | Input::LookedUp { .. }
            | Input::Resolve { .. }
            | Input::Observe { .. },
            Some(build),
        ) => Scope::Descendants(vec![build]),
        (Input::GiveUp { build, .. }, _) => Scope::Descendants(vec![*build]),
        (
            Input::Accepted { attempt, .. }
            | Input::Unclear { attempt, .. }
            | Input::LookUp { attempt, .. }
            | Input::LookupFailed { attempt, .. }
            | Input::Overdue { attempt }
            | Input::Refused { attempt, .. }
            | Input::NotSent { attempt, .. }
            | Input::LookedUp { attempt, .. }
            | Input::Resolve { attempt, .. }
            | Input::Observe { attempt, .. },
            _,
        ) => Scope::Attempt(attempt.clone()),
    }
}
