use super::{Course, FakeModule, Fault};
use crate::messages::mbs::ModuleState;
use freshmaker::event::Message;
use freshmaker::time::{Timestamp, later};
use freshmaker_testing::http::{Reply, Request};
use reqwest::Url;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Number of requests that are remembered; the oldest are forgotten.
const ASKED_MAX: usize = 10_000;
const BASE: &str = "/module-build-service/2";

/// Members of a submission that are known here.
const KNOWN: [&str; 4] = ["branch", "rebuild_strategy", "scmurl", "scratch"];

/// A module build.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) module: FakeModule,
    version: u64,
    context: String,
    pub(super) commit: String,
    pub(super) state: ModuleState,
    reason: Option<String>,
    owner: String,
    scratch: bool,
    course: Course,
    started: Timestamp,
    modified: Timestamp,
}

impl Row {
    fn json(&self) -> Value {
        let module = &self.module;
        let rpms: BTreeMap<_, _> =
            module.components.keys().map(|name| (name, json!({ "nvr": format!("{name}-1-1.{}", self.id) }))).collect();
        json!({
            "id": self.id,
            "name": module.name,
            "stream": module.stream,
            "version": self.version.to_string(),
            "context": self.context,
            "state": self.state.number(),
            "state_reason": self.reason,
            "scmurl": format!("{}?#{}", module.source(), self.commit),
            "owner": self.owner,
            "scratch": self.scratch,
            "time_modified": self.modified.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "tasks": { "rpms": rpms },
            "modulemd": module.metadata(),
        })
    }
}

/// The state of the service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) modules: Vec<FakeModule>,
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) courses: BTreeMap<String, Course>,
    pub(super) faults: VecDeque<(String, Fault)>,
    pub(super) messages: Vec<Message>,
    pub(super) asked: VecDeque<String>,
    pub(super) submitted: Vec<Value>,
    pub(super) token: Option<String>,
}

/// A status and a body, or a status and the message of an error.
type Answer = Result<(u16, Value), (u16, String)>;

impl Service {
    /// Lets all builds go on that are due.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let mut changed = Vec::new();
        for row in self.rows.values_mut() {
            let runs = matches!(row.state, ModuleState::Init | ModuleState::Wait | ModuleState::Build);
            let end = row.course.takes.map(|takes| later(row.started, takes));
            match end {
                Some(end) if runs && end <= now => {
                    row.reason.clone_from(&row.course.fails);
                    row.state = if row.reason.is_some() { ModuleState::Failed } else { ModuleState::Ready };
                    row.modified = end;
                }
                _ if row.state == ModuleState::Init => row.state = ModuleState::Build,
                _ => continue,
            }
            changed.push(row.id);
        }
        changed.into_iter().for_each(|id| self.tell(id));
    }

    fn tell(&mut self, id: u64) {
        let Some(row) = self.rows.get(&id) else { return };
        let mut body = row.json();
        body.as_object_mut().map(|body| body.remove("modulemd"));
        self.messages.push(Message {
            id: format!("mbs-{id}-{}", row.state.number()),
            topic: "org.fedoraproject.prod.mbs.module.state.change".to_owned(),
            headers: BTreeMap::new(),
            body: body.to_string().into_bytes(),
        });
    }

    /// Stores builds of a commit, one for each context of the module.
    pub(super) fn store(
        &mut self,
        module: &FakeModule,
        commit: &str,
        owner: &str,
        scratch: bool,
        now: Timestamp,
    ) -> Vec<u64> {
        let version = 20_260_000_000_000 + self.rows.len() as u64 + 1;
        let course = self.courses.get(&module.id()).cloned().unwrap_or_default();
        let mut ids = Vec::new();
        for number in 0..module.contexts {
            let id = self.rows.keys().next_back().map_or(1, |id| id + 1);
            let row = Row {
                id,
                module: module.clone(),
                version,
                context: format!("c{number}"),
                commit: commit.to_owned(),
                state: ModuleState::Init,
                reason: None,
                owner: owner.to_owned(),
                scratch,
                course: course.clone(),
                started: now,
                modified: now,
            };
            self.rows.insert(id, row);
            ids.push(id);
        }
        ids
    }

    /// Returns the answer to a request, after the next scripted fault.
    pub(super) fn reply(&mut self, request: &Request, now: Timestamp) -> Reply {
        self.advance(now);
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        self.asked.push_back(format!("{} {}{query}", request.method, request.path));
        let place = self.faults.iter().position(|(method, _)| *method == request.method);
        match place.and_then(|place| self.faults.remove(place)).map(|(_, fault)| fault) {
            None => self.answer(request, now),
            Some(Fault::Reply(reply)) => reply,
            Some(Fault::Lost) => self.answer(request, now).cut_after(0),
        }
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Reply {
        let answer = self.dispatch(request, now);
        let (status, body) = answer.unwrap_or_else(|(status, message)| {
            (status, json!({ "status": status, "error": "refused", "message": message }))
        });
        Reply::new(status).with_header("content-type", "application/json").with_body(body.to_string())
    }

    fn dispatch(&mut self, request: &Request, now: Timestamp) -> Answer {
        let url =
            Url::parse("http://localhost").and_then(|base| base.join(&format!("{}?{}", request.path, request.query)));
        let url = url.map_err(|error| (404, error.to_string()))?;
        let path = url.path().strip_prefix(BASE).unwrap_or_default();
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        if request.method != "GET"
            && let Some(token) = &self.token
            && request.header("authorization") != Some(format!("Bearer {token}").as_str())
        {
            return Err((401, "No 'authorization' header found.".to_owned()));
        }
        let id = path.strip_prefix("/module-builds/").and_then(|id| id.parse::<u64>().ok());
        match (request.method.as_str(), path, id) {
            ("GET", "/about/", _) => Ok((200, json!({ "auth_method": "oidc", "version": "3.9.2", "api_version": 2 }))),
            ("GET", "/module-builds/", _) => self.list(&query, |row| Some(row.json())),
            ("GET", "/component-builds/", _) => {
                let package = query.iter().find(|(name, _)| name == "package").map(|(_, package)| package.clone());
                let package = package.unwrap_or_default();
                let component = |row: &Row| {
                    row.module
                        .components
                        .contains_key(&package)
                        .then(|| json!({ "package": package, "module_build": row.id }))
                };
                self.list(&query, component)
            }
            ("GET", _, Some(id)) => match self.rows.get(&id) {
                Some(row) => Ok((200, row.json())),
                None => Err((404, "No such module found.".to_owned())),
            },
            ("POST", "/module-builds/", _) => self.submit(&request.body, now),
            ("PATCH", _, Some(id)) => self.cancel(id, &request.body, now),
            _ => Err((404, "no handler".to_owned())),
        }
    }

    /// Returns a page of what `show` makes of the builds, newest first.
    fn list(&self, query: &[(String, String)], show: impl Fn(&Row) -> Option<Value>) -> Answer {
        let value = |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let number = |name: &str, default| value(name).and_then(|it| it.parse().ok()).unwrap_or(default);
        let (page, per_page): (usize, usize) = (number("page", 1), number("per_page", 10).min(100));
        let matching: Vec<_> = self
            .rows
            .values()
            .rev()
            .filter(|row| {
                let shown = row.json();
                let same = |(name, wanted): &(String, String)| match shown.get(name) {
                    Some(Value::String(text)) => text == wanted,
                    Some(Value::Number(number)) => number.to_string() == *wanted,
                    // As the service does, what it does not know does not filter.
                    _ => true,
                };
                query.iter().all(same)
            })
            .filter_map(show)
            .collect();
        let pages = matching.len().div_ceil(per_page.max(1));
        let items: Vec<_> = matching.iter().skip((page - 1) * per_page).take(per_page).collect();
        let next = (page < pages).then(|| format!("http://localhost{BASE}/?page={}", page + 1));
        Ok((
            200,
            json!({ "items": items, "meta": { "page": page, "pages": pages, "next": next, "total": matching.len() } }),
        ))
    }

    fn submit(&mut self, body: &[u8], now: Timestamp) -> Answer {
        let body: Value = serde_json::from_slice(body).map_err(|_| (400, "Invalid JSON submitted".to_owned()))?;
        let unknown = body.as_object().and_then(|body| body.keys().find(|key| !KNOWN.contains(&key.as_str())));
        if let Some(unknown) = unknown {
            return Err((400, format!("The request contains invalid parameters: {unknown}")));
        }
        let text = |name: &str| body[name].as_str().ok_or_else(|| (400, format!("Missing {name}")));
        let (scmurl, branch) = (text("scmurl")?, text("branch")?);
        let (source, commit) =
            scmurl.split_once("?#").ok_or_else(|| (400, format!("The submitted scmurl {scmurl} is not valid.")))?;
        let module = self.modules.iter().find(|module| module.source() == source && module.stream == branch).cloned();
        let Some(module) = module else { return Err((422, format!("Failed to get {branch} of {source}"))) };
        self.submitted.push(body.clone());
        let scratch = body["scratch"] == true;
        let same = |row: &&mut Row| row.module.id() == module.id() && row.commit == commit && !row.scratch && !scratch;
        let known: Vec<_> = self.rows.values_mut().filter(same).collect();
        let (mut ids, mut resumed) = (Vec::new(), false);
        for row in known {
            ids.push(row.id);
            if row.state == ModuleState::Failed {
                (row.state, row.started, row.modified) = (ModuleState::Init, now, now);
                row.reason = Some("Resubmitted by freshmaker".to_owned());
                row.course = self.courses.get(&module.id()).cloned().unwrap_or_default();
                resumed = true;
            }
        }
        if !ids.is_empty() && !resumed {
            let text = "already exists. Only a new build, resubmission of a failed build or build against new \
                        buildrequirements is allowed.";
            return Err((409, format!("Module {text}")));
        }
        if ids.is_empty() {
            ids = self.store(&module, commit, "freshmaker", scratch, now);
        }
        ids.iter().for_each(|id| self.tell(*id));
        Ok((201, ids.iter().filter_map(|id| self.rows.get(id)).map(Row::json).collect()))
    }

    fn cancel(&mut self, id: u64, body: &[u8], now: Timestamp) -> Answer {
        let body: Value = serde_json::from_slice(body).map_err(|_| (400, "Invalid JSON submitted".to_owned()))?;
        let Some(row) = self.rows.get_mut(&id) else { return Err((404, "No such module found.".to_owned())) };
        if body["state"] != "failed" {
            return Err((400, "An invalid state was submitted.".to_owned()));
        }
        if row.owner != "freshmaker" {
            return Err((403, "You are not owner of this build and therefore cannot modify it.".to_owned()));
        }
        if !matches!(row.state, ModuleState::Build | ModuleState::Init | ModuleState::Wait) {
            return Err((
                400,
                "To cancel a module build, it must be in one of the following states: build, init, wait".to_owned(),
            ));
        }
        (row.state, row.modified) = (ModuleState::Failed, now);
        row.reason = Some("Canceled by freshmaker.".to_owned());
        let shown = row.json();
        self.tell(id);
        Ok((200, shown))
    }
}
