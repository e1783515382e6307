use super::form::{self, RAW_CONFIG_NAME, SIGKEYS};
use super::row::{DONE, FAILED, REMOVED, Row, Step, WAIT};
use super::{Course, Fault};
use freshmaker::event::Message;
use freshmaker::time::{Timestamp, later};
use freshmaker_net::Secret;
use freshmaker_testing::http::{Reply, Request};
use reqwest::Url;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Number of requests that are remembered; the oldest are forgotten.
const ASKED_MAX: usize = 10_000;

/// Fields by which the list can be sorted, as the service names them.
const ORDERS: [&str; 9] = [
    "id",
    "owner",
    "source_Type",
    "koji_event",
    "state",
    "time_to_expire",
    "time_submitted",
    "time_done",
    "time_removed",
];
const FILTERS: [&str; 8] =
    ["owner", "source_type", "source", "state", "koji_task_id", "pungi_compose_id", "compose_type", "label"];

const NO_PAGE: &str = "404 Not Found: The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.";

/// The state of the service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) courses: BTreeMap<String, Course>,
    pub(super) faults: VecDeque<(String, Fault)>,
    pub(super) messages: Vec<Message>,
    /// Messages sent so far, which makes their ids unique.
    pub(super) told: u64,
    pub(super) asked: VecDeque<String>,
    /// The user who may write, and the user's token.
    pub(super) user: Option<(String, Secret)>,
    pub(super) koji_event: u64,
    pub(super) base: String,
}

/// A status and a body, or a status and the message of an error.
type Answer = Result<(u16, Value), (u16, String)>;

impl Service {
    /// Performs all steps that are due.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let ids: Vec<_> = self.rows.keys().copied().collect();
        for id in ids {
            while let Some(row) = self.rows.get_mut(&id)
                && let Some(step) = row.due(now)
            {
                match step {
                    Step::Start(at) => row.start(at, self.koji_event),
                    Step::End(at) => row.end(at),
                }
                self.tell(id);
            }
        }
    }

    /// Deletes expired composes, as the service does from time to time.
    pub(super) fn clean_up(&mut self, now: Timestamp) {
        self.advance(now);
        let expired = |row: &&mut Row| [DONE, FAILED].contains(&row.state) && row.expires <= now;
        let mut removed = Vec::new();
        for row in self.rows.values_mut().filter(expired) {
            let why = match &row.removed_by {
                Some(who) => format!("Removed by {who}."),
                None => "Compose is expired.".to_owned(),
            };
            row.reason = Some(row.reason.take().map_or(why.clone(), |reason| format!("{reason}\n{why}")));
            row.state = REMOVED;
            row.removed = Some(now);
            removed.push(row.id);
        }
        removed.into_iter().for_each(|id| self.tell(id));
    }

    fn tell(&mut self, id: u64) {
        let Some(row) = self.rows.get(&id) else { return };
        let body = json!({ "event": "state-changed", "compose": row.json(&self.base, false) });
        self.told += 1;
        self.messages.push(Message {
            id: format!("odcs-{id}-{}", self.told),
            topic: "VirtualTopic.eng.odcs.state.changed".to_owned(),
            headers: BTreeMap::new(),
            body: body.to_string().into_bytes(),
        });
    }

    /// Returns the answer to a request, after the next scripted fault.
    pub(super) fn reply(&mut self, request: &Request, now: Timestamp, base: &str) -> Reply {
        self.base = base.to_owned();
        self.advance(now);
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(format!("{} {}", request.method, request.path));
        let place = self.faults.iter().position(|(method, _)| *method == request.method);
        match place.and_then(|place| self.faults.remove(place)).map(|(_, fault)| fault) {
            None => self.answer(request, now),
            Some(Fault::Status(status, text)) => refusal(status, &text),
            Some(Fault::NotFoundInside) => refusal(500, NO_PAGE),
            Some(Fault::Html) => {
                Reply::new(200).with_header("content-type", "text/html").with_body("<html>Welcome</html>")
            }
            Some(Fault::Silence) => Reply::nothing(),
            Some(Fault::Lost) => self.answer(request, now).cut_after(0),
            Some(Fault::Cut(bytes)) => self.answer(request, now).cut_after(bytes),
            Some(Fault::Unscheduled) => {
                let reply = self.answer(request, now);
                let Some((id, row)) = self.rows.iter_mut().next_back() else { return reply };
                let (id, text) = (*id, "Can not schedule compose {} probably due to celery broker issue - timed out");
                let text = text.replace("{}", &id.to_string());
                row.settle(FAILED, now, text.clone());
                self.tell(id);
                refusal(500, &text)
            }
        }
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Reply {
        let read = request.method == "GET";
        if !read && let Some((_, token)) = &self.user {
            let wanted = format!("Bearer {}", token.expose());
            if request.header("authorization") != Some(wanted.as_str()) {
                return refusal(401, "Missing token passed to ODCS.");
            }
        }
        let path = request.path.strip_prefix("/api/1/").unwrap_or("/");
        let id = path.strip_prefix("composes/").and_then(|id| id.parse::<u64>().ok());
        let answer = match (request.method.as_str(), path, id) {
            ("GET", "about" | "composes" | "metrics", _) => {
                return Reply::new(308).with_header("location", format!("{}/api/1/{path}/", self.base));
            }
            ("GET", "about/", _) => Ok((200, self.about())),
            ("GET", "metrics/", _) => {
                return Reply::new(200)
                    .with_header("content-type", "text/plain; version=1.0.0; charset=utf-8")
                    .with_header("access-control-allow-origin", "*");
            }
            ("GET", "", _) => Err((500, "Missing user_loader or request_loader. Refer to http://flask-login.readthedocs.io/#how-it-works for more info.".to_owned())),
            ("GET", "composes/", _) => self.list(request),
            ("POST", "composes/", _) => self.post(&request.body, now),
            ("GET", _, Some(id)) => self.get(id).map(|row| (200, row.json(&self.base, true))),
            ("PATCH", _, Some(id)) => self.patch(id, &request.body, now),
            ("DELETE", _, Some(id)) => self.delete(id, now),
            (_, _, Some(_)) | (_, "composes/", _) => {
                Err((500, "405 Method Not Allowed: The method is not allowed for the requested URL.".to_owned()))
            }
            (_, _, None) => Err((500, NO_PAGE.to_owned())),
        };
        match answer {
            Err((status, message)) => refusal(status, &message),
            Ok((status, body)) if read => json_reply(status, &body).with_header("access-control-allow-origin", "*"),
            Ok((status, body)) => json_reply(status, &body),
        }
    }

    fn about(&self) -> Value {
        let backend = if self.user.is_some() { "openidc" } else { "noauth" };
        let users = self.user.iter().map(|(name, _)| (name.clone(), json!({}))).collect::<Map<_, _>>();
        json!({
            "allowed_clients": { "groups": {}, "users": users },
            "auth_backend": backend,
            "raw_config_urls": { RAW_CONFIG_NAME: { "config_filename": "pungi.conf", "url": "https://git.example.org/pungi.git" } },
            "sigkeys": SIGKEYS,
            "version": "0.9.2",
        })
    }

    fn get(&self, id: u64) -> Result<&Row, (u16, String)> {
        self.rows.get(&id).ok_or_else(|| (404, "No such compose found.".to_owned()))
    }

    fn owner(&self) -> String {
        self.user.as_ref().map_or_else(|| "unknown".to_owned(), |(name, _)| name.clone())
    }

    fn insert(&mut self, source_type: i64, made_of: Map<String, Value>, life: i64, now: Timestamp) -> (u16, Value) {
        let id = self.rows.keys().next_back().map_or(1, |last| last + 1);
        let names = ["source", "builds"].map(|key| made_of[key].as_str().unwrap_or_default().to_owned());
        let scripted = names.iter().flat_map(|text| text.split(' ')).find_map(|name| self.courses.get(name));
        let row = Row {
            id,
            owner: self.owner(),
            source_type,
            course: scripted.cloned().unwrap_or_default(),
            made_of,
            state: WAIT,
            reason: None,
            submitted: now,
            expires: later(now, seconds(life)),
            started: None,
            done: None,
            removed: None,
            removed_by: None,
            pungi_compose_id: None,
            shown: Map::new(),
        };
        let json = row.json(&self.base, false);
        self.rows.insert(id, row);
        self.tell(id);
        (200, json)
    }

    fn post(&mut self, bytes: &[u8], now: Timestamp) -> Answer {
        let order = form::body(bytes).and_then(|body| form::order(&body)).map_err(|text| (400, text))?;
        Ok(self.insert(order.source_type, order.made_of, order.life, now))
    }

    fn patch(&mut self, id: u64, bytes: &[u8], now: Timestamp) -> Answer {
        let body = if bytes.is_empty() { Ok(Map::new()) } else { form::body(bytes) };
        let body = body.map_err(|text| (400, text))?;
        let base = self.base.clone();
        let old = self.rows.get_mut(&id).filter(|row| [DONE, REMOVED, FAILED].contains(&row.state));
        let old = old.ok_or_else(|| (404, format!("No compose with id {id} found")))?;
        let life = form::life(&body).map_err(|text| (400, text))?;
        let mut made_of = old.made_of.clone();
        let mut changed = false;
        if let Some(label) = body.get("label").filter(|label| *label != "") {
            made_of.insert("label".to_owned(), label.clone());
        }
        if let Some(keys) = body.get("sigkeys").and_then(Value::as_array) {
            let keys: Vec<_> = keys.iter().map(|key| key.as_str().unwrap_or_default()).collect();
            made_of.insert("sigkeys".to_owned(), json!(keys.join(" ")));
        }
        for key in ["builds", "modules"] {
            if let Some(words) = body.get("source").and_then(|source| source.get(key)).and_then(Value::as_array) {
                let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap_or_default()).collect();
                made_of.insert(key.to_owned(), json!(words.join(" ")));
                changed = true;
            }
        }
        if old.state == DONE && !changed && made_of == old.made_of {
            old.extend(now, seconds(life));
            return Ok((200, old.json(&base, false)));
        }
        made_of.insert("respin_of".to_owned(), json!(old.pungi_compose_id));
        let source_type = old.source_type;
        Ok(self.insert(source_type, made_of, life, now))
    }

    fn delete(&mut self, id: u64, now: Timestamp) -> Answer {
        let who = self.user.as_ref().map_or_else(|| "anonymous".to_owned(), |(name, _)| name.clone());
        self.get(id)?;
        let Some(row) = self.rows.get_mut(&id) else { return Err((404, String::new())) };
        let message = match row.state {
            WAIT => {
                row.settle(FAILED, now, format!("Canceled by {who}"));
                format!("Compose (id={id}) has been canceled")
            }
            DONE | FAILED => {
                row.expires = now;
                row.removed_by = Some(who);
                format!(
                    "The delete request for compose (id={id}) has been accepted and will be processed by backend later."
                )
            }
            _ => {
                let text = format!("Compose (id={id}) can not be removed, its state need to be in ['done', 'failed'].");
                return Err((400, text));
            }
        };
        if message.ends_with("canceled") {
            self.tell(id);
        }
        Ok((202, json!({ "message": message, "status": 202 })))
    }

    fn list(&self, request: &Request) -> Answer {
        let asked: Vec<(String, String)> = Url::parse(&format!("http://localhost/?{}", request.query))
            .map(|url| url.query_pairs().into_owned().collect())
            .unwrap_or_default();
        let value = |key: &str| asked.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let mut items: Vec<_> = self.rows.values().map(|row| row.json(&self.base, false)).collect();
        for key in FILTERS {
            let Some(wanted) = value(key).filter(|wanted| !wanted.is_empty()) else { continue };
            items.retain(|item| match &item[key] {
                Value::String(text) => text == wanted,
                Value::Number(number) => number.as_i64() == wanted.parse().ok(),
                _ => false,
            });
        }
        sort(&mut items, value("order_by").unwrap_or("-id"))?;
        let number = |key: &str, default: usize| value(key).and_then(|text| text.parse().ok()).unwrap_or(default);
        let (page, per_page) = (number("page", 1).max(1), number("per_page", 10));
        let (total, pages) = (items.len(), items.len().div_ceil(per_page.max(1)));
        let rest: String = asked
            .iter()
            .filter(|(key, _)| !["page", "per_page"].contains(&key.as_str()))
            .map(|(key, value)| format!("&{key}={value}"))
            .collect();
        let url = |page: usize| format!("{}/api/1/composes/?page={page}&per_page={per_page}{rest}", self.base);
        let items: Vec<_> = items.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
        let meta = json!({
            "first": url(1),
            "last": url(pages),
            "next": (page < pages).then(|| url(page + 1)),
            "page": page,
            "pages": pages,
            "per_page": per_page,
            "prev": (page > 1).then(|| url(page - 1)),
            "total": total,
        });
        Ok((200, json!({ "items": items, "meta": meta })))
    }

    /// Describes groups of equal composes of one owner that are live at the same time.
    pub(super) fn violations(&self, now: Timestamp) -> Vec<String> {
        let mut alike: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for row in self.rows.values().filter(|row| row.is_live(now)) {
            alike.entry(row.likeness()).or_default().insert(row.id);
        }
        let twice = alike.into_values().filter(|ids| ids.len() > 1);
        twice.map(|ids| format!("equal composes live side by side: {ids:?}")).collect()
    }
}

fn seconds(life: i64) -> Duration {
    Duration::from_secs(u64::try_from(life).unwrap_or_default())
}

fn sort(items: &mut [Value], order: &str) -> Result<(), (u16, String)> {
    let key = order.strip_prefix('-').unwrap_or(order);
    if !ORDERS.contains(&key) {
        let allowed = ORDERS.map(|order| format!("'{order}'")).join(", ");
        return Err((400, format!("An invalid order_by key was suplied, allowed keys are: [{allowed}]")));
    }
    items.sort_by(|a, b| {
        let ordering = match (&a[key], &b[key]) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.as_i64().cmp(&b.as_i64()),
            (a, b) => {
                if a.is_null() == b.is_null() {
                    Ordering::Equal
                } else {
                    b.is_null().cmp(&a.is_null())
                }
            }
        };
        if order.starts_with('-') { ordering.reverse() } else { ordering }
    });
    Ok(())
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status).with_header("content-type", "application/json").with_body(body.to_string())
}

fn refusal(status: u16, message: &str) -> Reply {
    let error = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    json_reply(status, &json!({ "error": error, "message": message, "status": status }))
}
