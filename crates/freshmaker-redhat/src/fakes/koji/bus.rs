use super::tasks::Task;
use super::values::{field, json, or_nil, text, with};
use crate::koji::xmlrpc::Value;
use crate::messages::koji::TaskState;
use freshmaker::event::Message;
use freshmaker::time::{Timestamp, to_micros};
use serde_json::json;
use std::collections::BTreeMap;

/// The format of the messages that a hub sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Red Hat's format: topics such as `VirtualTopic.eng.brew.task.closed`, with ids as in the
    /// answers to calls.
    Brew,
    /// Fedora's format: the topic `org.fedoraproject.prod.buildsys.task.state.change`, with names.
    Fedora,
}

/// One change of the state of a task.
#[derive(Clone, Debug)]
pub(super) struct Change {
    at: Timestamp,
    task: i64,
    old: Option<TaskState>,
    new: TaskState,
    info: Value,
    owner: String,
}

impl Change {
    pub(super) fn of(task: &Task, old: Option<TaskState>, at: Timestamp) -> Self {
        let mut info = task.info_with_request();
        if task.state == TaskState::Closed {
            info = with(info, [("result", task.result())]);
        }
        Self { at, task: task.id, old, new: task.state, info, owner: String::new() }
    }

    pub(super) fn owned_by(self, owner: String) -> Self {
        Self { owner, ..self }
    }

    pub(super) fn message(&self, dialect: Dialect) -> Message {
        match dialect {
            Dialect::Brew => self.brew(),
            Dialect::Fedora => self.fedora(),
        }
    }

    fn id(&self) -> String {
        format!("koji-{}-{}", self.task, self.new.name().to_lowercase())
    }

    fn brew(&self) -> Message {
        let old = self.old.map(TaskState::name);
        let method = json(field(&self.info, "method"));
        let headers = BTreeMap::from([
            ("type".to_owned(), "TaskStateChange".to_owned()),
            ("id".to_owned(), self.task.to_string()),
            ("method".to_owned(), method.as_str().unwrap_or_default().to_owned()),
            ("old".to_owned(), old.unwrap_or_default().to_owned()),
            ("new".to_owned(), self.new.name().to_owned()),
        ]);
        let body = json!({"attribute": "state", "old": old, "new": self.new.name(), "info": json(&self.info)});
        Message {
            id: self.id(),
            topic: format!("VirtualTopic.eng.brew.task.{}", self.new.name().to_lowercase()),
            headers,
            body: body.to_string().into_bytes(),
        }
    }

    fn fedora(&self) -> Message {
        let owner = text(&self.owner);
        let parts = [("owner", owner), ("host_name", or_nil(self.host(), text))];
        let info = json(&with(self.info.clone(), parts));
        let body = json!({
            "base_url": "http://127.0.0.1", "instance": "primary", "attribute": "state", "id": self.task,
            "method": info["method"], "old": self.old.map(TaskState::name), "new": self.new.name(), "owner": self.owner,
            "info": info,
        });
        let sent = chrono::DateTime::from_timestamp_micros(to_micros(self.at)).unwrap_or_default();
        let headers = BTreeMap::from([
            ("fedora_messaging_schema".to_owned(), "koji_fedoramessaging.task.TaskStateChangeV1".to_owned()),
            ("fedora_messaging_severity".to_owned(), "20".to_owned()),
            ("sent-at".to_owned(), sent.format("%Y-%m-%dT%H:%M:%S+00:00").to_string()),
        ]);
        Message {
            id: self.id(),
            topic: "org.fedoraproject.prod.buildsys.task.state.change".to_owned(),
            headers,
            body: body.to_string().into_bytes(),
        }
    }

    fn host(&self) -> Option<&'static str> {
        (*field(&self.info, "host_id") != Value::Nil).then_some("builder1")
    }
}
