use super::classify::failure;
use super::client::{Client, fault_in};
use super::fault::Fault;
use super::read::Build;
use super::xmlrpc::{Mismatch, Request, Value};
use crate::messages::koji::TaskState;
use freshmaker::backend::{Error, Found, Remedy, Result};
use freshmaker::rebuild::{ExternalId, Failure, FailureClass, Observed, Output};
use std::collections::BTreeMap;

/// Returns the number of a task, if the id can be one. The hub numbers tasks with 32-bit integers.
pub(crate) fn task_number(id: &ExternalId) -> Option<i64> {
    let digits = id.as_str().bytes().all(|byte| byte.is_ascii_digit());
    let number: i32 = id.as_str().parse().ok()?;
    (digits && number > 0).then_some(number.into())
}

/// Asks for the states of tasks, in three rounds of multicalls: the states of all tasks, the
/// results of those that ended, and the builds of those that succeeded.
#[derive(Debug)]
pub(crate) struct Observer {
    client: Client,
    topurl: Option<String>,
}

/// A closed (successful) task, and what it built.
struct Closed {
    build: Option<i64>,
    repository: String,
}

impl Observer {
    pub(crate) fn new(client: Client, topurl: Option<String>) -> Self {
        Self { client, topurl }
    }

    /// Returns the states of these tasks. A task for which the hub raises a fault is left out, so
    /// that it does not hold up the others.
    pub(crate) async fn observe(&self, ids: &[ExternalId]) -> Result<Vec<Found>> {
        let mut observed: BTreeMap<&ExternalId, Observed> = BTreeMap::new();
        let mut asked = Vec::new();
        for id in ids {
            match task_number(id) {
                Some(task) => asked.push((id, task)),
                None => drop(observed.insert(id, Observed::Vanished)),
            }
        }
        let mut ended = Vec::new();
        for (id, task, state) in self.states(asked).await? {
            match state {
                None => drop(observed.insert(id, Observed::Vanished)),
                Some(TaskState::Free | TaskState::Open | TaskState::Assigned) => {
                    drop(observed.insert(id, Observed::Running))
                }
                Some(TaskState::Canceled) => drop(observed.insert(id, Observed::Canceled)),
                Some(state @ (TaskState::Closed | TaskState::Failed)) => ended.push((id, task, state)),
            }
        }
        let mut closed = Vec::new();
        for (id, end) in self.ends(&ended).await? {
            match end {
                Ok(task) => closed.push((id, task)),
                Err(failure) => drop(observed.insert(id, Observed::Failed(failure))),
            }
        }
        for (id, output) in self.outputs(closed).await? {
            observed.insert(id, Observed::Succeeded(output));
        }
        Ok(observed.into_iter().map(|(id, observed)| Found { external: id.clone(), observed }).collect())
    }

    async fn states<'a>(
        &self,
        asked: Vec<(&'a ExternalId, i64)>,
    ) -> Result<Vec<(&'a ExternalId, i64, Option<TaskState>)>> {
        let infos: Vec<_> = asked.iter().map(|&(_, task)| Request::new("getTaskInfo", vec![task.into()])).collect();
        let mut states = Vec::with_capacity(asked.len());
        for ((id, task), answer) in asked.into_iter().zip(self.client.multicall(&infos).await?) {
            match answer {
                Ok(Value::Nil) => states.push((id, task, None)),
                Ok(info) => {
                    let state =
                        info.get(&["state"]).map_err(|error| self.corrupt("getTaskInfo", &error.within(task)))?;
                    states.push((id, task, Some(self.state(task, state)?)));
                }
                Err(fault) => skipped(task, &fault),
            }
        }
        Ok(states)
    }

    fn state(&self, task: i64, number: i64) -> Result<TaskState> {
        TaskState::from_number(number).ok_or_else(|| {
            let text = format_args!("the task {task} has the unknown state {number}");
            Error::new(Remedy::Corrupt, self.client.place("getTaskInfo"), text)
        })
    }

    async fn ends<'a>(
        &self,
        ended: &[(&'a ExternalId, i64, TaskState)],
    ) -> Result<Vec<(&'a ExternalId, Result<Closed, Failure>)>> {
        let results = self.results(ended).await?;
        let closed = ended.iter().filter(|(_, _, state)| *state == TaskState::Closed);
        let builds =
            closed.map(|&(_, task, _)| Request::new("listBuilds", Vec::new()).named([("taskID", task.into())]));
        let mut builds = self.client.multicall(&builds.collect::<Vec<_>>()).await?.into_iter();
        let mut ends = Vec::with_capacity(ended.len());
        for (&(id, task, state), result) in ended.iter().zip(results) {
            if state == TaskState::Failed {
                let fault = result.map_or_else(Some, |value| fault_in(&value));
                let unknown = || Failure::new(FailureClass::Infrastructure, "it failed, and Koji gives no reason");
                ends.push((id, Err(fault.as_ref().map_or_else(unknown, failure))));
                continue;
            }
            match (result, builds.next()) {
                (Ok(result), Some(Ok(builds))) => {
                    let closed = closed_task(&result, &builds);
                    ends.push((id, Ok(closed.map_err(|error| self.corrupt("getTaskResult", &error.within(task)))?)));
                }
                (Err(fault), _) | (_, Some(Err(fault))) => skipped(task, &fault),
                (Ok(_), None) => {}
            }
        }
        Ok(ends)
    }

    /// Returns the result of each task. For a failed task that is its fault, as a value; old hubs,
    /// which do not know `raise_fault`, raise it instead.
    async fn results(&self, ended: &[(&ExternalId, i64, TaskState)]) -> Result<Vec<Result<Value, Fault>>> {
        let plain = |task: i64| Request::new("getTaskResult", vec![task.into()]);
        let quiet = ended.iter().map(|&(_, task, _)| plain(task).named([("raise_fault", false.into())]));
        let mut results = self.client.multicall(&quiet.collect::<Vec<_>>()).await?;
        let old = |result: &Result<Value, Fault>| {
            result.as_ref().is_err_and(|fault| fault.code == 1019 || fault.text.contains("raise_fault"))
        };
        if results.iter().any(old) {
            let loud: Vec<_> = ended.iter().map(|&(_, task, _)| plain(task)).collect();
            results = self.client.multicall(&loud).await?;
        }
        Ok(results)
    }

    async fn outputs<'a>(&self, closed: Vec<(&'a ExternalId, Closed)>) -> Result<Vec<(&'a ExternalId, Output)>> {
        let numbers = closed.iter().filter_map(|(_, closed)| closed.build);
        let builds: Vec<_> = numbers.map(|build| Request::new("getBuild", vec![build.into()])).collect();
        let mut builds = self.client.multicall(&builds).await?.into_iter();
        let mut outputs = Vec::with_capacity(closed.len());
        for (id, closed) in closed {
            let Some(number) = closed.build else {
                // Koji stores no build for a scratch build.
                outputs.push((id, Output { name: closed.repository, digest: None, contents: None }));
                continue;
            };
            match builds.next() {
                Some(Ok(Value::Nil)) | None => {
                    tracing::warn!(task = %id, build = number, "a task names a build that Koji does not have; its state will be polled again");
                }
                Some(Ok(build)) => {
                    let build = Build::of(&build).map_err(|error| self.corrupt("getBuild", &error.within(number)))?;
                    let contents = self.topurl.as_deref().and_then(|topurl| build.metadata_url(topurl));
                    outputs.push((id, Output { name: build.nvr, digest: build.digest, contents }));
                }
                Some(Err(fault)) => tracing::warn!(task = %id, %fault, "Koji raised a fault for a task's build"),
            }
        }
        Ok(outputs)
    }

    fn corrupt(&self, method: &str, error: &Mismatch) -> Error {
        Error::new(Remedy::Corrupt, self.client.place(method), error)
    }
}

fn skipped(task: i64, fault: &Fault) {
    tracing::warn!(task, %fault, "Koji raised a fault for a task; its state will be polled again");
}

/// Reads what a closed task built: the builds that its result names, else the builds that name the
/// task.
fn closed_task(result: &Value, builds: &Value) -> Result<Closed, Mismatch> {
    let listed = builds.each(&[], |build| build.get::<i64>(&["build_id"]))?;
    let none = Closed { build: listed.first().copied(), repository: String::new() };
    if !matches!(result, Value::Struct(_)) {
        return Ok(none);
    }
    // These ids may be texts.
    let imported = result.each(&["koji_builds"], |build| match build {
        Value::Int(number) => Ok(Some(*number)),
        text => text.get::<&str>(&[]).map(|text| text.parse().ok()),
    })?;
    let repositories = result.each(&["repositories"], |repository| repository.get::<&str>(&[]))?;
    Ok(Closed {
        build: imported.into_iter().flatten().next().or(none.build),
        repository: repositories.first().copied().unwrap_or_default().to_owned(),
    })
}
