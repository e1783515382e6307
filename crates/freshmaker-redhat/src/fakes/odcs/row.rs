use super::Course;
use freshmaker::time::{Timestamp, later, since};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Numbers of the states.
pub(super) const WAIT: i64 = 0;
pub(super) const GENERATING: i64 = 1;
pub(super) const DONE: i64 = 2;
pub(super) const REMOVED: i64 = 3;
pub(super) const FAILED: i64 = 4;

const STATE_NAMES: [&str; 5] = ["wait", "generating", "done", "removed", "failed"];

pub(super) const TAG: i64 = 1;
pub(super) const MODULE: i64 = 2;
pub(super) const PULP: i64 = 4;
pub(super) const RAW_CONFIG: i64 = 5;

/// The keys with which, according to Pulp, its packages are signed.
const PULP_SIGKEYS: &str = "DEADBEEF CAFE";

/// A compose as the service stores it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) owner: String,
    pub(super) source_type: i64,
    /// The properties of the request, with those that the service replaced.
    pub(super) made_of: Map<String, Value>,
    pub(super) course: Course,
    pub(super) state: i64,
    pub(super) reason: Option<String>,
    pub(super) submitted: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) done: Option<Timestamp>,
    pub(super) removed: Option<Timestamp>,
    pub(super) removed_by: Option<String>,
    pub(super) pungi_compose_id: Option<String>,
    /// What is shown in the place of the true values.
    pub(super) shown: Map<String, Value>,
}

/// A state change of a compose that is due.
pub(super) enum Step {
    Start(Timestamp),
    End(Timestamp),
}

impl Row {
    /// Returns the next step that is due, if there is one.
    pub(super) fn due(&self, now: Timestamp) -> Option<Step> {
        let step = match (self.state, &self.course.ends) {
            (WAIT, super::Ends::Never) => return None,
            (WAIT, _) => Step::Start(later(self.submitted, self.course.waits)),
            (GENERATING, _) => Step::End(later(self.started.unwrap_or(self.submitted), self.course.takes)),
            _ => return None,
        };
        let at = match step {
            Step::Start(at) | Step::End(at) => at,
        };
        (at <= now).then_some(step)
    }

    pub(super) fn start(&mut self, at: Timestamp, koji_event: u64) {
        self.state = GENERATING;
        self.reason = Some("Compose is generating".to_owned());
        self.started = Some(at);
        // A compose that fails at once does not reach Pungi.
        if matches!(self.course.ends, super::Ends::Failed(_)) && self.course.takes.is_zero() {
            return;
        }
        if self.source_type != PULP {
            self.pungi_compose_id = Some(format!("odcs-{}-1-{}.t.0", self.id, at.format("%Y%m%d")));
        }
        if [TAG, RAW_CONFIG].contains(&self.source_type) && self.made_of["koji_event"].is_null() {
            self.made_of.insert("koji_event".to_owned(), json!(koji_event));
        }
        if self.source_type == MODULE {
            let source = self.made_of["source"].as_str().unwrap_or_default();
            let complete = |module: &str| {
                let missing = ["", "", ":20260101:c0ffee42", ":c0ffee42", ""][module.split(':').count().min(4)];
                format!("{module}{missing}")
            };
            let source = source.split(' ').map(complete).collect::<Vec<_>>().join(" ");
            self.made_of.insert("source".to_owned(), json!(source));
        }
    }

    pub(super) fn end(&mut self, at: Timestamp) {
        match &self.course.ends {
            super::Ends::Failed(reason) => {
                let reason = format!("Error while generating compose: {reason}");
                self.settle(FAILED, at, reason);
            }
            super::Ends::Done | super::Ends::Never => {
                if self.source_type == PULP {
                    self.made_of.insert("sigkeys".to_owned(), json!(PULP_SIGKEYS));
                }
                self.done = Some(at);
                self.settle(DONE, at, "Compose is generated successfully".to_owned());
            }
        }
    }

    /// Ends a compose. Its lifetime begins at its end.
    pub(super) fn settle(&mut self, state: i64, at: Timestamp, reason: String) {
        let life = since(self.expires, self.submitted);
        self.state = state;
        self.reason = Some(reason);
        self.expires = later(at, life);
    }

    pub(super) fn extend(&mut self, now: Timestamp, life: Duration) {
        self.expires = self.expires.max(later(now, life));
    }

    /// Returns whether the compose is usable, or will be.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        match self.state {
            WAIT | GENERATING => true,
            DONE => self.expires > now,
            _ => false,
        }
    }

    /// Returns a text that is the same for equal composes.
    pub(super) fn likeness(&self) -> String {
        let words = |value: &Value| {
            let mut words: Vec<_> = value.as_str().unwrap_or_default().split(' ').map(str::to_owned).collect();
            words.sort();
            words
        };
        let mut likeness = self.made_of.clone();
        for key in ["label", "koji_event", "respin_of"] {
            likeness.remove(key);
        }
        if self.source_type == PULP {
            likeness.remove("sigkeys");
        }
        for (_, value) in likeness.iter_mut().filter(|(_, value)| value.is_string()) {
            *value = json!(words(value));
        }
        format!("{} {} {}", self.owner, self.source_type, Value::Object(likeness))
    }

    /// Returns the JSON form; if `full`, with the fields that only the page of a single compose
    /// has.
    pub(super) fn json(&self, base: &str, full: bool) -> Value {
        let top = format!("{base}/composes/odcs-{}", self.id);
        let repo = if self.source_type == RAW_CONFIG { String::new() } else { format!("{top}/compose/Temporary") };
        let file = if repo.is_empty() { String::new() } else { format!("{repo}/odcs-{}.repo", self.id) };
        let mut json = self.made_of.clone();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        put("id", json!(self.id));
        put("owner", json!(self.owner));
        put("source_type", json!(self.source_type));
        put("state", json!(self.state));
        put("state_name", json!(usize::try_from(self.state).ok().and_then(|state| STATE_NAMES.get(state))));
        put("state_reason", json!(self.reason));
        put("time_submitted", json!(instant(self.submitted)));
        put("time_to_expire", json!(instant(self.expires)));
        put("time_started", json!(self.started.map(instant)));
        put("time_done", json!(self.done.map(instant)));
        put("time_removed", json!(self.removed.map(instant)));
        put("removed_by", json!(self.removed_by));
        put("result_repo", json!(repo));
        put("result_repofile", json!(file));
        put("toplevel_url", json!(top));
        put("koji_task_id", Value::Null);
        put("pungi_compose_id", json!(self.pungi_compose_id));
        if full {
            put("pungi_config_dump", Value::Null);
        }
        json.extend(self.shown.clone());
        Value::Object(json)
    }
}

fn instant(at: Timestamp) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
