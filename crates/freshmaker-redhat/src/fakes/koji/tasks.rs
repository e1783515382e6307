//! Tasks: calls create them, and the clock advances them.

use super::bus::Change;
use super::calls::Caller;
use super::ledger::Entry;
use super::script::{End, Fate, Submission};
use super::values::{Answer, Args, Fault, NO_ROWS, field, int, is_true, list, or_nil, plain, query, read_time, record};
use super::values::{seconds, text, time, with};
use super::world::World;
use super::{builds, output};
use crate::koji::xmlrpc::{Request, Value};
use crate::messages::koji::TaskState;
use freshmaker::time::{Timestamp, later};
use std::collections::{BTreeMap, BTreeSet};

const CONTAINER_CHANNEL: i64 = 9;
const DEFAULT_CHANNEL: i64 = 1;
const PRIORITY: i64 = 20;
/// Id of the only builder.
pub(super) const HOST: i64 = 1;
/// The fault of a builder whose import was refused.
const BUILD_ERROR: i64 = 1005;

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: i64,
    pub(super) parent: Option<i64>,
    label: Option<String>,
    pub(super) method: String,
    pub(super) owner: i64,
    pub(super) request: Vec<Value>,
    pub(super) state: TaskState,
    created: Timestamp,
    pub(super) started: Option<Timestamp>,
    completed: Option<Timestamp>,
    channel: i64,
    priority: i64,
    pub(super) fate: Fate,
    result: Option<Answer>,
    pub(super) output: BTreeMap<String, Vec<u8>>,
}

/// All tasks, and when their next steps are due.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    rows: BTreeMap<i64, Task>,
    agenda: BTreeSet<(Timestamp, i64)>,
    /// The last id. Ids are never used again, not even those of tasks that disappeared.
    last: i64,
    submitted: BTreeMap<(String, String), u32>,
}

impl Tasks {
    /// Sets the options and the result of a task that has ended, and returns it.
    pub(super) fn finish(&mut self, id: i64, options: Value, result: Value) -> Option<&Task> {
        let task = self.rows.get_mut(&id)?;
        if let Some(last) = task.request.get_mut(2) {
            *last = options;
        }
        task.result = Some(Ok(result));
        Some(task)
    }

    pub(super) fn get(&self, id: i64) -> Option<&Task> {
        self.rows.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Task> {
        self.rows.values()
    }

    fn children(&self, id: i64) -> Vec<i64> {
        self.rows.values().filter(|task| task.parent == Some(id)).map(|task| task.id).collect()
    }
}

impl Task {
    /// Returns the members that most calls return for a task.
    pub(super) fn info(&self) -> Value {
        record([
            ("arch", text("noarch")),
            ("awaited", if self.parent.is_some() && self.state.has_ended() { Value::Bool(false) } else { Value::Nil }),
            ("channel_id", int(self.channel)),
            ("completion_time", or_nil(self.completed, time)),
            ("completion_ts", or_nil(self.completed, seconds)),
            ("create_time", time(self.created)),
            ("create_ts", seconds(self.created)),
            ("host_id", if self.started.is_some() { int(HOST) } else { Value::Nil }),
            ("id", int(self.id)),
            ("label", or_nil(self.label.as_deref(), text)),
            ("method", text(&self.method)),
            ("owner", int(self.owner)),
            ("parent", or_nil(self.parent, int)),
            ("priority", int(self.priority)),
            ("start_time", or_nil(self.started, time)),
            ("start_ts", or_nil(self.started, seconds)),
            ("state", int(self.state.number())),
            (
                "waiting",
                if self.state == TaskState::Closed && self.parent.is_none() { Value::Bool(false) } else { Value::Nil },
            ),
            ("weight", Value::Double(1.0)),
        ])
    }

    pub(super) fn info_with_request(&self) -> Value {
        with(self.info(), [("request", list(self.request.clone()))])
    }

    pub(super) fn options(&self) -> &Value {
        self.request.get(2).unwrap_or(&Value::Nil)
    }

    fn source(&self) -> &str {
        match self.request.first() {
            Some(Value::Text(source)) => source,
            Some(_) | None => "",
        }
    }

    pub(super) fn target(&self) -> &str {
        match self.request.get(1) {
            Some(Value::Text(target)) => target,
            Some(_) | None => "",
        }
    }

    fn artifact(&self) -> &str {
        self.source().split('#').next().unwrap_or_default()
    }

    pub(super) fn result(&self) -> Value {
        match &self.result {
            None => Value::Nil,
            Some(Ok(value)) => value.clone(),
            Some(Err(fault)) => fault.value(),
        }
    }
}

/// Performs all steps that are due.
pub(super) fn advance(world: &mut World, now: Timestamp) {
    world.now = world.now.max(now);
    while let Some(&(at, id)) = world.tasks.agenda.first().filter(|(at, _)| *at <= world.now) {
        world.tasks.agenda.remove(&(at, id));
        match world.tasks.rows.get(&id).map(|task| task.state) {
            Some(TaskState::Free) => open(world, id, at),
            Some(TaskState::Open) => end(world, id, at),
            Some(TaskState::Assigned | TaskState::Closed | TaskState::Canceled | TaskState::Failed) | None => {}
        }
    }
}

fn enter(world: &mut World, id: i64, state: TaskState, at: Timestamp) {
    let Some(task) = world.tasks.rows.get_mut(&id) else { return };
    let old = std::mem::replace(&mut task.state, state);
    match state {
        TaskState::Assigned => task.started = Some(at),
        TaskState::Closed | TaskState::Canceled | TaskState::Failed => task.completed = Some(at),
        TaskState::Free | TaskState::Open => {}
    }
    let owner = task.owner;
    let change = Change::of(task, Some(old), at);
    let owner = world.user(owner).map(|user| user.name.clone()).unwrap_or_default();
    world.announce(change.owned_by(owner));
}

fn open(world: &mut World, id: i64, at: Timestamp) {
    enter(world, id, TaskState::Assigned, at);
    enter(world, id, TaskState::Open, at);
    let Some(task) = world.tasks.rows.get(&id).cloned() else { return };
    if task.fate.end != End::Hangs {
        world.tasks.agenda.insert((later(at, task.fate.takes), id));
    }
    if task.parent.is_some() || !matches!(task.method.as_str(), "buildContainer" | "build") {
        return;
    }
    let method = if task.method == "build" { "buildArch" } else { "createContainer" };
    for arch in task.fate.rpms.keys() {
        world.tasks.last += 1;
        let child = Task {
            id: world.tasks.last,
            parent: Some(id),
            label: Some(arch.clone()),
            method: method.to_owned(),
            request: vec![text(arch)],
            state: TaskState::Free,
            created: at,
            started: None,
            completed: None,
            priority: task.priority - 1,
            // The parent ends it.
            fate: Fate { end: End::Hangs, ..task.fate.clone() },
            result: None,
            output: BTreeMap::from([(format!("{arch}.log"), format!("building for {arch}\n").into_bytes())]),
            ..task.clone()
        };
        let child_id = child.id;
        world.tasks.rows.insert(child_id, child);
        enter(world, child_id, TaskState::Assigned, at);
        enter(world, child_id, TaskState::Open, at);
    }
}

fn end(world: &mut World, id: i64, at: Timestamp) {
    let Some(task) = world.tasks.rows.get(&id).cloned() else { return };
    let children = world.tasks.children(id);
    let result = match &task.fate.end {
        End::Hangs => return,
        End::Vanishes => {
            for gone in children.into_iter().chain([id]) {
                world.tasks.rows.remove(&gone);
            }
            return;
        }
        End::Fails { code, text } => Err(Fault::new(*code, text)),
        End::Succeeds => match task.method.as_str() {
            "buildContainer" | "build" => {
                builds::import(world, &task, at).map_err(|text| Fault::new(BUILD_ERROR, text))
            }
            _ => Ok(Value::Nil),
        },
    };
    let state = if result.is_ok() { TaskState::Closed } else { TaskState::Failed };
    for done in children.into_iter().chain([id]) {
        if let Some(task) = world.tasks.rows.get_mut(&done) {
            task.result = Some(result.clone());
        }
        enter(world, done, state, at);
    }
}

fn cancel(world: &mut World, id: i64) {
    let ended = world.tasks.get(id).is_none_or(|task| task.state.has_ended());
    if ended {
        return;
    }
    for child in world.tasks.children(id) {
        cancel(world, child);
    }
    enter(world, id, TaskState::Canceled, world.now);
}

/// Creates a task, and records it in the ledger.
fn submit(world: &mut World, caller: &Caller, method: &str, request: Vec<Value>, priority: i64) -> Answer {
    let user = caller.user.and_then(|id| world.user(id)).cloned();
    let user = user.ok_or_else(|| Fault::generic("task must have an owner"))?;
    world.tasks.last += 1;
    let mut task = Task {
        id: world.tasks.last,
        parent: None,
        label: None,
        method: method.to_owned(),
        owner: user.id,
        request,
        state: TaskState::Free,
        created: world.now,
        started: None,
        completed: None,
        channel: if method == "buildContainer" { CONTAINER_CHANNEL } else { DEFAULT_CHANNEL },
        priority,
        fate: Fate::succeeds(),
        result: None,
        output: BTreeMap::new(),
    };
    let number = world.tasks.submitted.entry((task.artifact().to_owned(), task.target().to_owned())).or_default();
    *number += 1;
    let submission = Submission {
        method: method.to_owned(),
        source: task.source().to_owned(),
        target: task.target().to_owned(),
        options: task.options().clone(),
        number: *number,
    };
    task.fate = world.fate(&submission);
    let entry = entry(world, caller, &task, &user.name);
    world.ledger.entries.push(entry);
    world.tasks.agenda.insert((later(world.now, task.fate.queued), task.id));
    let id = task.id;
    world.announce(Change::of(&task, None, world.now).owned_by(user.name));
    world.tasks.rows.insert(id, task);
    Ok(int(id))
}

/// Adds the task of a container build that ended well, long ago.
pub(super) fn add_closed(world: &mut World, source: &str, target: &str) -> i64 {
    world.tasks.last += 1;
    let options = record([("git_branch", text(target))]);
    let task = Task {
        id: world.tasks.last,
        parent: None,
        label: None,
        method: "buildContainer".to_owned(),
        owner: 1,
        request: vec![text(source), text(target), options],
        state: TaskState::Closed,
        created: world.now,
        started: Some(world.now),
        completed: Some(world.now),
        channel: CONTAINER_CHANNEL,
        priority: PRIORITY,
        fate: Fate::succeeds(),
        result: Some(Ok(Value::Nil)),
        output: BTreeMap::new(),
    };
    let id = task.id;
    world.tasks.rows.insert(id, task);
    id
}

fn entry(world: &World, caller: &Caller, task: &Task, owner: &str) -> Entry {
    let option = |names: [&str; 2]| {
        let value = names.iter().fold(task.options(), |value, name| field(value, name));
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    };
    let scratch = |task: &Task| is_true(field(task.options(), "scratch"));
    let key = |task: &Task| (task.artifact().to_owned(), task.target().to_owned(), scratch(task));
    let alike = |it: &&Task| it.parent.is_none() && !it.state.has_ended() && key(it) == key(task);
    let submitted = task.method == "buildContainer" || task.method == "build";
    Entry {
        task: task.id,
        method: task.method.clone(),
        owner: owner.to_owned(),
        artifact: task.artifact().to_owned(),
        target: task.target().to_owned(),
        marker: option(["userdata", "fm_attempt"]).or_else(|| option(["custom_user_metadata", "fm_attempt"])),
        release: if let Value::Text(release) = field(task.options(), "release") { Some(release.clone()) } else { None },
        session: caller.session,
        arrived: caller.arrived,
        made: world.now,
        scratch: scratch(task),
        beside: world.tasks.all().filter(|_| submitted).filter(alike).map(|task| task.id).collect(),
    }
}

/// Answers the calls about tasks; `None` for other methods.
pub(super) fn call(world: &mut World, caller: &Caller, method: &str, params: &[Value]) -> Option<Answer> {
    let bind = |names, required| Args::bind(method, names, required, params.to_vec());
    Some(match method {
        "buildContainer" | "build" => bind(&["src", "target", "opts", "priority", "channel"], 2).and_then(|args| {
            let options = if *args.get("opts") == Value::Nil { record([]) } else { args.get("opts").clone() };
            let request = vec![text(args.text("src")?), args.get("target").clone(), options];
            submit(world, caller, method, request, PRIORITY + args.optional_id("priority")?.unwrap_or(0))
        }),
        "makeTask" => bind(&["method", "arglist", "channel", "priority", "arch"], 2).and_then(|args| {
            if !world.is_admin(caller) {
                return Err(super::session::denied(world, caller, "admin"));
            }
            let Value::Array(request) = args.get("arglist").clone() else { return Err(Fault::generic("no list")) };
            submit(world, caller, args.text("method")?, request, PRIORITY)
        }),
        "getTaskInfo" => bind(&["task_id", "request", "strict"], 1).and_then(|args| info(world, &args)),
        "getTaskRequest" => {
            bind(&["taskId"], 1).and_then(|args| Ok(list(row_of(world, &args, "taskId")?.request.clone())))
        }
        "getTaskResult" => bind(&["taskId", "raise_fault"], 1).and_then(|args| result(world, &args)),
        "taskFinished" => {
            bind(&["taskId"], 1).and_then(|args| Ok(Value::Bool(row_of(world, &args, "taskId")?.state.has_ended())))
        }
        "getTaskChildren" => bind(&["task_id", "request", "strict"], 1).and_then(|args| {
            let children = world.tasks.children(args.id("task_id")?);
            Ok(list(children.iter().filter_map(|id| world.tasks.get(*id)).map(|task| told(task, args.flag("request")))))
        }),
        "getTaskDescendents" => bind(&["task_id", "request"], 1).and_then(|args| {
            let id = args.id("task_id")?;
            Ok(descendents(world, id, args.flag("request")))
        }),
        "listTasks" => bind(&["opts", "queryOpts"], 0)
            .and_then(|args| rows(world, args.get("opts")).map(|rows| query(rows, args.get("queryOpts")))),
        "cancelTask" => bind(&["task_id", "recurse"], 1).and_then(|args| {
            let task = one(world, &args, "task_id")?;
            if caller.user != Some(task.owner) && !world.is_admin(caller) {
                return Err(Fault::new(1004, "Cannot cancel task, not owner"));
            }
            let id = task.id;
            cancel(world, id);
            Ok(Value::Nil)
        }),
        "cancelTaskFull" => bind(&["task_id", "strict"], 1).and_then(|args| {
            if !world.is_admin(caller) {
                return Err(super::session::denied(world, caller, "admin"));
            }
            let id = one(world, &args, "task_id")?.id;
            cancel(world, id);
            Ok(Value::Nil)
        }),
        "getHost" => bind(&["hostInfo", "strict", "event"], 1).map(|_| host()),
        "resubmitTask" => bind(&["taskID"], 1).and_then(|args| resubmit(world, caller, &args)),
        _ => return output::call(world, method, params),
    })
}

/// Returns the only builder, whichever one was requested.
fn host() -> Value {
    record([
        ("arches", text("x86_64")),
        ("capacity", Value::Double(2.0)),
        ("comment", Value::Nil),
        ("description", Value::Nil),
        ("enabled", Value::Bool(true)),
        ("id", int(HOST)),
        ("name", text("builder")),
        ("ready", Value::Bool(true)),
        ("task_load", Value::Double(0.0)),
        ("user_id", int(HOST)),
    ])
}

pub(super) fn one<'a>(world: &'a World, args: &Args, name: &str) -> Result<&'a Task, Fault> {
    let id = args.id(name)?;
    world.tasks.get(id).ok_or_else(|| Fault::generic(format!("No such task: {id}")))
}

/// Returns a task, for methods that expect that it exists.
fn row_of<'a>(world: &'a World, args: &Args, name: &str) -> Result<&'a Task, Fault> {
    world.tasks.get(args.id(name)?).ok_or_else(|| Fault::generic(NO_ROWS))
}

fn told(task: &Task, request: bool) -> Value {
    if request { task.info_with_request() } else { task.info() }
}

fn info(world: &World, args: &Args) -> Answer {
    let request = args.flag("request");
    if let Value::Array(ids) = args.get("task_id") {
        let one = |id: &Value| match id {
            Value::Int(id) => or_nil(world.tasks.get(*id), |task| told(task, request)),
            _ => Value::Nil,
        };
        return Ok(list(ids.iter().map(one)));
    }
    match world.tasks.get(args.id("task_id")?) {
        Some(task) => Ok(told(task, request)),
        None if args.flag("strict") => Err(Fault::generic(NO_ROWS)),
        None => Ok(Value::Nil),
    }
}

fn result(world: &World, args: &Args) -> Answer {
    let task = world.tasks.get(args.id("taskId")?).ok_or_else(|| Fault::generic("No such task"))?;
    match (task.state, &task.result) {
        (TaskState::Canceled, _) => Err(Fault::generic(format!("Task {} is canceled", task.id))),
        (_, Some(Err(fault))) if args.flag_or_set("raise_fault") => Err(fault.clone()),
        (_, Some(_)) => Ok(task.result()),
        (_, None) => Err(Fault::generic(format!("Task {} is not finished", task.id))),
    }
}

/// Returns the children of each task in the tree below `id`, by the task's id as a text.
fn descendents(world: &World, id: i64, request: bool) -> Value {
    let (mut found, mut waiting) = (BTreeMap::new(), vec![id]);
    while let Some(id) = waiting.pop() {
        let children = world.tasks.children(id);
        let told = children.iter().filter_map(|id| world.tasks.get(*id)).map(|task| told(task, request));
        found.insert(id.to_string(), list(told));
        waiting.extend(children);
    }
    Value::Struct(found)
}

fn resubmit(world: &mut World, caller: &Caller, args: &Args) -> Answer {
    if caller.user.is_none() {
        return Err(Fault::new(1004, "you must be logged in for this operation"));
    }
    let task = row_of(world, args, "taskID")?.clone();
    if !matches!(task.state, TaskState::Canceled | TaskState::Failed) {
        return Err(Fault::generic("only canceled or failed tasks may be resubmitted"));
    }
    if task.parent.is_some() {
        return Err(Fault::generic("only top-level tasks may be resubmitted"));
    }
    if caller.user != Some(task.owner) && !world.is_admin(caller) {
        return Err(Fault::generic("only the task owner or an admin may resubmit a task"));
    }
    submit(world, caller, &task.method, task.request, task.priority)
}

fn rows(world: &World, opts: &Value) -> Result<Vec<Value>, Fault> {
    // The hub ignores options that it does not know.
    let Value::Struct(given) = opts else { return Ok(world.tasks.all().map(|task| row(world, task, false)).collect()) };
    let moment = |name: &str| match given.get(name) {
        None | Some(Value::Nil) => Ok(None),
        Some(value) => match read_time(value) {
            Some(at) => Ok(Some(at)),
            None => {
                let text = format!("invalid input syntax for type timestamp with time zone: \"{}\"", plain(value));
                Err(Fault::new(1, format!("<class 'psycopg2.errors.InvalidDatetimeFormat'>: {text}")))
            }
        },
    };
    let times = [
        ("created", moment("createdAfter")?, moment("createdBefore")?),
        ("started", moment("startedAfter")?, moment("startedBefore")?),
        ("completed", moment("completeAfter")?, moment("completeBefore")?),
    ];
    let fits = |task: &&Task| {
        let info = task.info();
        let wanted = |name: &str| match given.get(name) {
            None => true,
            Some(Value::Array(any)) => any.contains(field(&info, name)),
            Some(value) => value == field(&info, name),
        };
        let in_time = times.iter().all(|(name, after, before)| {
            let at = match *name {
                "created" => Some(task.created),
                "started" => task.started,
                _ => task.completed,
            };
            after.is_none_or(|after| at.is_some_and(|at| at > after))
                && before.is_none_or(|before| at.is_some_and(|at| at < before))
        });
        in_time && ["arch", "channel_id", "host_id", "method", "owner", "parent", "state"].into_iter().all(wanted)
    };
    let decode = is_true(field(opts, "decode"));
    Ok(world.tasks.all().filter(fits).map(|task| row(world, task, decode)).collect())
}

fn row(world: &World, task: &Task, decode: bool) -> Value {
    let owner = world.user(task.owner).map_or(Value::Nil, |user| text(&user.name));
    let request = if decode {
        list(task.request.clone())
    } else {
        Request::new(&task.method, task.request.clone()).encode().map_or(Value::Nil, text)
    };
    let result = if decode { task.result() } else { Value::Nil };
    with(task.info(), [("owner_name", owner), ("owner_type", int(0)), ("request", request), ("result", result)])
}
