use super::Fault;
use super::language::{IMAGE_FIELDS, Projection, Query, REPOSITORY_FIELDS, Refusal, Scope, project};
use freshmaker_testing::http::{Reply, Request};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Number of requests that are remembered; the oldest are forgotten.
const ASKED_MAX: usize = 10_000;

/// Keys of a request that are known here.
const KEYS: [&str; 6] = ["entity", "from", "projection", "query", "sort", "to"];

/// The state of the service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) repositories: Vec<Value>,
    pub(super) images: Vec<Value>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) asked: VecDeque<(String, Value)>,
}

impl Service {
    /// Returns the answer to a request, after the next fault.
    pub(super) fn reply(&mut self, request: &Request) -> Reply {
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        self.asked.push_back((request.path.clone(), body.clone()));
        match self.faults.pop_front() {
            None => self.answer(request, &body),
            Some(Fault::Status(status, body)) => json_reply(status, &body),
            Some(Fault::Error(code, text)) => json_reply(200, &error(&code, &text, "ERROR")),
            Some(Fault::TooMany(seconds)) => Reply::new(429).with_header("retry-after", seconds.to_string()),
            Some(Fault::Html(status)) => {
                let page = "<html><head><title>Lightblue</title></head></html>";
                Reply::new(status).with_header("content-type", "text/html").with_body(page)
            }
            Some(Fault::Silence) => Reply::nothing(),
            Some(Fault::Cut(bytes)) => self.answer(request, &body).cut_after(bytes),
            Some(Fault::Short) => {
                let reply = self.answer(request, &body);
                let mut answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                answer.get_mut("processed").and_then(Value::as_array_mut).map(Vec::pop);
                json_reply(200, &answer)
            }
        }
    }

    fn answer(&self, request: &Request, body: &Value) -> Reply {
        let Some(path) = request.path.strip_prefix("/rest/data/find/").filter(|_| request.method == "POST") else {
            return Reply::new(404).with_header("content-type", "text/html").with_body("<title>404 Not Found</title>");
        };
        let (entity, version) = path.split_once('/').unwrap_or((path, ""));
        match self.find(entity, body) {
            Ok((total, processed)) => {
                let metadata: Vec<_> = processed.iter().map(|it| json!({ "documentVersion": it["_id"] })).collect();
                let answer = json!({
                    "entity": entity,
                    "entityVersion": version,
                    "hostname": "lightblue.example.com",
                    "status": "COMPLETE",
                    "modifiedCount": 0,
                    "matchCount": total,
                    "processed": processed,
                    "resultMetadata": metadata,
                });
                json_reply(200, &answer)
            }
            Err(refusal) => json_reply(400, &error(refusal.code, &refusal.text, "ERROR")),
        }
    }

    /// Returns how many objects there are, and those of the page that was asked for.
    fn find(&self, entity: &str, body: &Value) -> Result<(usize, Vec<Value>), Refusal> {
        let (objects, fields) = match entity {
            "containerRepository" => (&self.repositories, &REPOSITORY_FIELDS[..]),
            "containerImage" => (&self.images, &IMAGE_FIELDS[..]),
            other => return Err(Refusal::new("metadata:UnknownEntity", other)),
        };
        let bad = |text: String| Refusal::new("rest-crud:BadRequest", text);
        let keys = body.as_object().ok_or_else(|| bad("not an object".to_owned()))?;
        if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(bad(format!("the key {key} is not known here")));
        }
        if keys.get("entity").is_some_and(|name| name != entity) {
            return Err(Refusal::new("rest-crud:NoEntityMatch", entity));
        }
        let scope = Scope { fields, within: "" };
        let query = Query::parse(&body["query"], scope)?;
        let parts = Projection::parse_all(&body["projection"], scope)?;
        // They are kept in the order of their ids.
        if keys.get("sort").is_some_and(|sort| *sort != json!({ "_id": "$asc" })) {
            return Err(bad(format!("the order {} is not known here", body["sort"])));
        }
        let bound = |name: &str, default: usize| match keys.get(name) {
            None => Ok(default),
            Some(bound) => {
                let bound = bound.as_u64().and_then(|bound| usize::try_from(bound).ok());
                bound.filter(|_| keys.contains_key("sort")).ok_or_else(|| bad(format!("{name} without an order")))
            }
        };
        let (from, to) = (bound("from", 0)?, bound("to", usize::MAX - 1)?);
        let matching: Vec<_> = objects.iter().filter(|object| query.holds(object)).collect();
        let page = matching.iter().skip(from).take((to + 1).saturating_sub(from));
        Ok((matching.len(), page.filter_map(|object| project(object, "", &parts)).collect()))
    }
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status).with_header("content-type", "application/json").with_body(body.to_string())
}

/// Returns an answer with an error object.
fn error(code: &str, text: &str, status: &str) -> Value {
    let error = json!({ "objectType": "error", "context": "rest/FindCommand", "errorCode": code, "msg": text });
    json!({ "status": status, "modifiedCount": 0, "matchCount": 0, "errors": [error] })
}
