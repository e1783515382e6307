use super::classify::failure;
use super::client::{Client, fault_in};
use super::fault::{CallError, Fault};
use super::read::Build;
use super::xmlrpc::{Mismatch, Request, Value};
use crate::messages::koji::TaskState;
use freshmaker::backend::{Found, Result};
use freshmaker::rebuild::{ExternalId, Failure, FailureClass, Observed, Output};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Number of polls in a row that may bring nonsense about a task. With the last one its attempt has
/// failed, so that it does not count against the concurrency limit for ever.
pub(crate) const ODD_POLLS_MAX: u32 = 10;

/// Largest number of tasks whose nonsense is counted.
const ODD_TASKS_MAX: usize = 10_000;

/// Returns the number of a task, if the id can be one. The hub numbers tasks with 32-bit integers.
pub(crate) fn task_number(id: &ExternalId) -> Option<i64> {
    let digits = id.as_str().bytes().all(|byte| byte.is_ascii_digit());
    let number: i32 = id.as_str().parse().ok()?;
    (digits && number > 0).then_some(number.into())
}

/// Asks for the states of tasks, in three rounds of multicalls: the states of all tasks, the
/// results of those that ended, and the builds of those that succeeded.
///
/// Nonsense in an answer concerns its own task: the task counts as unchanged, and as failed after
/// [`ODD_POLLS_MAX`] such polls in a row. These are counted in memory, so a restart begins anew.
#[derive(Debug)]
pub(crate) struct Observer {
    client: Client,
    topurl: Option<String>,
    /// How many polls in a row brought nonsense, by task.
    odd: Mutex<BTreeMap<i64, u32>>,
}

/// A closed (successful) task, and what it built.
struct Closed {
    build: Option<i64>,
    repository: String,
}

/// Why the state of a task is not known.
enum Unknown {
    /// The hub raised a fault, which may pass.
    Fault(Fault),
    /// The answer makes no sense.
    Odd(String),
}

impl Unknown {
    fn mismatch(method: &str, error: &Mismatch) -> Self {
        Self::Odd(format!("{method}: {error}"))
    }
}

impl From<CallError> for Unknown {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Fault(fault) => Self::Fault(fault),
            CallError::Failed(error) => Self::Odd(error.text),
        }
    }
}

/// What one poll found, by task.
type Seen = BTreeMap<i64, Result<Observed, Unknown>>;

impl Observer {
    pub(crate) fn new(client: Client, topurl: Option<String>) -> Self {
        Self { client, topurl, odd: Mutex::default() }
    }

    /// Returns the states of these tasks. A task whose state is not known is left out, so that it
    /// does not hold up the others.
    pub(crate) async fn observe(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let numbered: Vec<_> = ids.iter().map(|id| (id, task_number(id))).collect();
        let seen = self.look(numbered.iter().filter_map(|(_, task)| *task).collect()).await?;
        let mut known: BTreeMap<i64, Observed> = BTreeMap::new();
        for (task, outcome) in seen {
            let observed = match outcome {
                Ok(observed) => {
                    self.odd.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
                    Some(observed)
                }
                Err(Unknown::Fault(fault)) => {
                    tracing::warn!(task, %fault, "Koji raised a fault for a task; its state will be polled again");
                    None
                }
                Err(Unknown::Odd(reason)) => self.count(task, &reason),
            };
            known.extend(observed.map(|observed| (task, observed)));
        }
        let observed = |(id, task): (&ExternalId, Option<i64>)| {
            let observed = task.map_or(Some(Observed::Vanished), |task| known.get(&task).cloned())?;
            Some(Found { external: id.clone(), observed })
        };
        Ok(numbered.into_iter().filter_map(observed).collect())
    }

    /// Counts a poll that brought nonsense; returns the failure of the task after too many.
    fn count(&self, task: i64, reason: &str) -> Option<Observed> {
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        let polls = odd.get(&task).map_or(1, |polls| polls + 1);
        if polls < ODD_POLLS_MAX {
            odd.insert(task, polls);
            if odd.len() > ODD_TASKS_MAX {
                odd.pop_first();
            }
            tracing::warn!(task, reason, polls, polls_max = ODD_POLLS_MAX, "Koji's answer about a task makes no sense");
            return None;
        }
        odd.remove(&task);
        let text = format!("Koji's answers about task {task} made no sense {polls} times in a row: {reason}");
        Some(Observed::Failed(Failure::new(FailureClass::Permanent, text)))
    }

    async fn look(&self, tasks: Vec<i64>) -> Result<Seen> {
        let mut seen = Seen::new();
        let mut ended = Vec::new();
        for (task, state) in self.states(&tasks).await? {
            let observed = match state {
                Ok(None) => Ok(Observed::Vanished),
                Ok(Some(TaskState::Free | TaskState::Open | TaskState::Assigned)) => Ok(Observed::Running),
                Ok(Some(TaskState::Canceled)) => Ok(Observed::Canceled),
                Ok(Some(state @ (TaskState::Closed | TaskState::Failed))) => {
                    ended.push((task, state));
                    continue;
                }
                Err(unknown) => Err(unknown),
            };
            seen.insert(task, observed);
        }
        let mut closed = Vec::new();
        for (task, end) in self.ends(&ended).await? {
            match end {
                Ok(Ok(built)) => closed.push((task, built)),
                Ok(Err(failure)) => drop(seen.insert(task, Ok(Observed::Failed(failure)))),
                Err(unknown) => drop(seen.insert(task, Err(unknown))),
            }
        }
        for (task, output) in self.outputs(closed).await? {
            seen.insert(task, output.map(Observed::Succeeded));
        }
        Ok(seen)
    }

    async fn states(&self, tasks: &[i64]) -> Result<Vec<(i64, Result<Option<TaskState>, Unknown>)>> {
        let infos: Vec<_> = tasks.iter().map(|&task| Request::new("getTaskInfo", vec![task.into()])).collect();
        let answers = self.client.multicall(&infos).await?;
        let state = |info: Value| {
            if info == Value::Nil {
                return Ok(None);
            }
            let number = info.get(&["state"]).map_err(|error| Unknown::mismatch("getTaskInfo", &error))?;
            let state = TaskState::from_number(number);
            state.map(Some).ok_or_else(|| Unknown::Odd(format!("getTaskInfo: {number} is no state of a task")))
        };
        let states = answers.into_iter().map(|answer| answer.map_err(Unknown::from).and_then(state));
        Ok(tasks.iter().copied().zip(states).collect())
    }

    /// Returns how these tasks ended.
    async fn ends(&self, ended: &[(i64, TaskState)]) -> Result<Vec<(i64, Result<Result<Closed, Failure>, Unknown>)>> {
        let results = self.results(ended).await?;
        let closed = ended.iter().filter(|(_, state)| *state == TaskState::Closed);
        let builds = closed.map(|&(task, _)| Request::new("listBuilds", Vec::new()).named([("taskID", task.into())]));
        let mut builds = self.client.multicall(&builds.collect::<Vec<_>>()).await?.into_iter();
        let mut ends = Vec::with_capacity(ended.len());
        for (&(task, state), result) in ended.iter().zip(results) {
            let end = match state {
                TaskState::Failed => failed_task(result).map(Err),
                _ => match (result, builds.next()) {
                    (Ok(result), Some(Ok(builds))) => closed_task(&result, &builds).map(Ok),
                    (Err(error), _) | (_, Some(Err(error))) => Err(error.into()),
                    (Ok(_), None) => Err(Unknown::Odd("listBuilds: there is no answer".to_owned())),
                },
            };
            ends.push((task, end));
        }
        Ok(ends)
    }

    /// Returns the result of each task. For a failed task that is its fault, as a value; old hubs,
    /// which do not know `raise_fault`, raise it instead.
    async fn results(&self, ended: &[(i64, TaskState)]) -> Result<Vec<Result<Value, CallError>>> {
        let plain = |task: i64| Request::new("getTaskResult", vec![task.into()]);
        let quiet = ended.iter().map(|&(task, _)| plain(task).named([("raise_fault", false.into())]));
        let mut results = self.client.multicall(&quiet.collect::<Vec<_>>()).await?;
        let old = |result: &Result<Value, CallError>| match result {
            Err(CallError::Fault(fault)) => fault.code == 1019 || fault.text.contains("raise_fault"),
            Ok(_) | Err(CallError::Failed(_)) => false,
        };
        if results.iter().any(old) {
            let loud: Vec<_> = ended.iter().map(|&(task, _)| plain(task)).collect();
            results = self.client.multicall(&loud).await?;
        }
        Ok(results)
    }

    async fn outputs(&self, closed: Vec<(i64, Closed)>) -> Result<Vec<(i64, Result<Output, Unknown>)>> {
        let numbers = closed.iter().filter_map(|(_, closed)| closed.build);
        let builds: Vec<_> = numbers.map(|build| Request::new("getBuild", vec![build.into()])).collect();
        let mut builds = self.client.multicall(&builds).await?.into_iter();
        let mut outputs = Vec::with_capacity(closed.len());
        for (task, Closed { build, repository }) in closed {
            let output = match build {
                // Koji stores no build for a scratch build.
                None => Ok(Output { name: repository, digest: None, contents: None }),
                Some(number) => self.output(number, builds.next()),
            };
            outputs.push((task, output));
        }
        Ok(outputs)
    }

    fn output(&self, number: i64, answer: Option<Result<Value, CallError>>) -> Result<Output, Unknown> {
        match answer {
            Some(Ok(Value::Nil)) | None => {
                Err(Unknown::Odd(format!("the task names the build {number}, and Koji does not have it")))
            }
            Some(Ok(build)) => {
                let build = Build::of(&build).map_err(|error| Unknown::mismatch("getBuild", &error.within(number)))?;
                let contents = self.topurl.as_deref().and_then(|topurl| build.metadata_url(topurl));
                Ok(Output { name: build.nvr, digest: build.digest, contents })
            }
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// Reads why a task failed: its fault, which old hubs raise.
fn failed_task(result: Result<Value, CallError>) -> Result<Failure, Unknown> {
    let fault = match result {
        Ok(value) => fault_in(&value),
        Err(CallError::Fault(fault)) => Some(fault),
        Err(error @ CallError::Failed(_)) => return Err(error.into()),
    };
    let unknown = || Failure::new(FailureClass::Infrastructure, "it failed, and Koji gives no reason");
    Ok(fault.as_ref().map_or_else(unknown, failure))
}

/// Reads what a closed task built: the first build that its result names, else the first build that
/// names the task; for a scratch build the repository.
fn closed_task(result: &Value, builds: &Value) -> Result<Closed, Unknown> {
    let odd = |error: Mismatch| Unknown::mismatch("getTaskResult", &error);
    let has_names = matches!(result, Value::Struct(_));
    if let Some(build) = imported(result).map_err(odd)? {
        return Ok(Closed { build: Some(build), repository: String::new() });
    }
    let listed = builds.each(&[], |build| build.get::<i64>(&["build_id"]));
    let listed = listed.map_err(|error| Unknown::mismatch("listBuilds", &error))?;
    if listed.is_empty() && has_names {
        let repositories = result.each(&["repositories"], |repository| repository.get::<&str>(&[])).map_err(odd)?;
        let repository = repositories.first().copied().unwrap_or_default().to_owned();
        return Ok(Closed { build: None, repository });
    }
    Ok(Closed { build: listed.first().copied(), repository: String::new() })
}

/// Reads the first build that the result of a task names.
pub(super) fn imported(result: &Value) -> Result<Option<i64>, Mismatch> {
    let has_names = matches!(result, Value::Struct(_));
    let builds = if has_names { result.each(&["koji_builds"], build_number)? } else { Vec::new() };
    Ok(builds.first().copied())
}

/// Reads the number of a build, which may be a text.
fn build_number(value: &Value) -> Result<i64, Mismatch> {
    match value {
        Value::Text(text) => text.parse().map_err(|_| Mismatch {
            path: Vec::new(),
            wanted: "the number of a build",
            found: "another text",
        }),
        other => other.get(&[]),
    }
}
