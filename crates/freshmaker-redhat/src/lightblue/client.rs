use super::LightblueConfig;
use super::query::{Entity, Question};
use super::record::Wrong;
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Call, Http, Reply, off_runtime};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Largest number of pages that one question may take. With pages of 500 this bounds an answer to
/// 50,000 objects, many times what one advisory affects.
const PAGES_MAX: u64 = 100;

/// Largest number of errors of one answer that our error quotes.
const TOLD_MAX: usize = 5;

/// Sends questions and reads their answers.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    url: String,
    repository_version: String,
    image_version: String,
    page: u64,
}

/// One page of an answer.
struct Page {
    objects: Vec<Value>,
    /// How many objects there are on all pages.
    total: u64,
}

impl Client {
    pub(super) fn new(config: &LightblueConfig) -> Result<Self> {
        Ok(Self {
            http: Http::new(&config.http)?,
            url: config.http.url.clone(),
            repository_version: config.repository_version.clone(),
            image_version: config.image_version.clone(),
            page: config.page.into(),
        })
    }

    /// Returns all objects that answer the question, page by page.
    ///
    /// # Errors
    /// If a request fails, an object cannot be read, or the answer is not complete.
    pub(super) async fn find<T>(
        &self,
        question: Question,
        read: fn(&Value) -> std::result::Result<T, Wrong>,
    ) -> Result<Vec<T>> {
        let (path, place) = self.place(question.entity);
        let corrupt = |text: String| Error::new(Remedy::Corrupt, &place, text);
        let (mut found, mut ids) = (Vec::new(), BTreeSet::new());
        let mut total = 0;
        for number in 0..PAGES_MAX {
            let from = number * self.page;
            let page = self.page(&question, &path, &place, from).await?;
            let count = page.objects.len() as u64;
            if count > self.page {
                return Err(corrupt(format!("{count} objects were returned where {} were asked for", self.page)));
            }
            if page.total < total {
                // Objects may have moved to a page that was read already.
                let text = format!("the number of objects fell from {total} to {} while they were read", page.total);
                return Err(Error::new(Remedy::Unavailable, &place, text));
            }
            total = page.total;
            if total > PAGES_MAX * self.page {
                return Err(self.endless(total, place));
            }
            let (mut fresh, mut named) = (0, 0);
            for (at, object) in (from..).zip(&page.objects) {
                if let Some(id) = object.get("_id").and_then(Value::as_str) {
                    named += 1;
                    fresh += usize::from(ids.insert(id.to_owned()));
                }
                let object = read(object).map_err(|wrong| corrupt(wrong.within(at).within("processed").to_string()))?;
                found.push(object);
            }
            if named > 0 && fresh == 0 {
                return Err(corrupt(format!("the objects from {from} on are those of earlier pages")));
            }
            if count < self.page && from + count < total {
                return Err(corrupt(format!("matchCount is {total}, but processed ends after {}", from + count)));
            }
            if count < self.page || from + count == total {
                return Ok(found);
            }
        }
        Err(self.endless(total, place))
    }

    fn endless(&self, total: u64, place: String) -> Error {
        let text = format!("there are more than {} objects (matchCount is {total})", PAGES_MAX * self.page);
        Error::new(Remedy::Rejected, place, text)
    }

    /// Returns the path for questions about an entity, and how errors name it.
    fn place(&self, entity: Entity) -> (String, String) {
        let version = match entity {
            Entity::Repository => &self.repository_version,
            Entity::Image => &self.image_version,
        };
        // Without a version the path ends with a slash, and the service takes its default.
        let path = format!("/rest/data/find/{}/{version}", entity.name());
        let place = format!("lightblue: POST {path}");
        (path, place)
    }

    async fn page(&self, question: &Question, path: &str, place: &str, from: u64) -> Result<Page> {
        let body = json!({
            "entity": question.entity.name(),
            "query": question.query,
            "projection": question.projection,
            // Pages have a meaning only in an order. Objects that are added come last in this one.
            "sort": { "_id": "$asc" },
            "from": from,
            // The last object of the page itself.
            "to": from + self.page - 1,
        });
        let request = self.http.request(Method::POST, &format!("{}{path}", self.url)).json(&body);
        // The service finds, and changes nothing.
        let reply = self.http.send(request, Call::Read, place).await?;
        if !(200..=299).contains(&reply.status) {
            return Err(refusal(&reply, place));
        }
        let length = reply.body.len();
        let parsed = off_runtime(length, move || serde_json::from_slice::<Value>(&reply.body)).await;
        let parsed = parsed.map_err(|error| Error::new(Remedy::Unavailable, place, error))?;
        let answer = parsed.map_err(|error| {
            let text = format!("an answer of {length} bytes cannot be parsed: {error}");
            Error::new(Remedy::Corrupt, place, text)
        })?;
        read_page(answer, place)
    }
}

/// Reads a page, if the service says that it is complete.
fn read_page(mut answer: Value, place: &str) -> Result<Page> {
    let corrupt = |text: &str| Error::new(Remedy::Corrupt, place, text);
    let complaints = Complaints::of(&answer);
    // Older versions write states in lower case.
    let status = answer.get("status").and_then(Value::as_str).ok_or_else(|| corrupt("status: not a text"))?;
    if !status.eq_ignore_ascii_case("COMPLETE") || !complaints.0.is_empty() {
        let remedy = complaints.remedy().unwrap_or(Remedy::Unavailable);
        let why = complaints.text().unwrap_or_else(|| "without an error that says why".to_owned());
        let status: String = status.chars().take(20).collect();
        return Err(Error::new(remedy, place, format!("the state is {status}: {why}")));
    }
    let total = answer.get("matchCount").and_then(Value::as_u64);
    let total = total.ok_or_else(|| corrupt("matchCount: not a number of objects"))?;
    match answer.get_mut("processed").map(Value::take) {
        Some(Value::Array(objects)) => Ok(Page { objects, total }),
        Some(_) => Err(corrupt("processed: not a list")),
        None => Err(corrupt("processed: missing")),
    }
}

/// Returns the error for an answer with a status that is no success:
///
/// * 401, 503: the service did not look at the question. A failed login says nothing about images.
/// * 404: the address is wrong, or the service does not know the entity. The event waits until the
///   configuration is corrected.
/// * 403, 429: the service does not want to answer now.
/// * 408, other 5xx: the service failed.
///
/// What the service itself says in its errors counts more than the status.
fn refusal(reply: &Reply, place: &str) -> Error {
    let complaints = serde_json::from_slice(&reply.body).map(|body| Complaints::of(&body)).unwrap_or_default();
    let by_status = match reply.status {
        300..=399 | 401 | 404 | 408 | 500..=599 => Remedy::Unavailable,
        403 | 429 => Remedy::NotNow,
        400..=499 => Remedy::Rejected,
        _ => Remedy::Corrupt,
    };
    let header = |name| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let mut text = format!("status {}", reply.status);
    match (complaints.text(), header("location")) {
        (Some(said), _) => text = format!("{text}: {said}"),
        (None, Some(to)) => text = format!("{text}: redirected to {to}"),
        (None, None) => text.push_str(", not in the format of the service"),
    }
    if let Some(when) = header("retry-after") {
        text = format!("{text} (retry after {when})");
    }
    Error::new(complaints.remedy().unwrap_or(by_status), place, text)
}

/// The errors in an answer: code and message of each.
#[derive(Default)]
struct Complaints(Vec<(String, String)>);

impl Complaints {
    /// Reads the errors of the request, and those of single objects.
    fn of(answer: &Value) -> Self {
        let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |error: &Value, name: &str, or: &str| {
            error.get(name).and_then(Value::as_str).map_or(or.to_owned(), str::to_owned)
        };
        let mut errors = list(answer, "errors");
        for object in list(answer, "dataErrors") {
            let about = list(&object, "errors");
            // An object that is listed had an error, whether it is told or not.
            errors.extend(if about.is_empty() { vec![Value::Null] } else { about });
        }
        let complaint = |error: &Value| (text(error, "errorCode", "no code"), text(error, "msg", "no message"));
        Self(errors.iter().map(complaint).collect())
    }

    /// Returns what to do by the first code that tells; `None` if none does.
    fn remedy(&self) -> Option<Remedy> {
        self.0.iter().find_map(|(code, _)| match code.as_str() {
            code if code.ends_with(":NoAccess") => Some(Remedy::NotNow),
            // Fields, entities and versions that this service does not have, and pages that are too
            // large for it.
            code if ["metadata:", "query-api:", "rest-crud:"].iter().any(|start| code.starts_with(start)) => {
                Some(Remedy::Unsupported)
            }
            "mongo-crud:TooManyResults" => Some(Remedy::Unsupported),
            _ => None,
        })
    }

    fn text(&self) -> Option<String> {
        let told: Vec<_> = self.0.iter().take(TOLD_MAX).map(|(code, text)| format!("{code}: {text}")).collect();
        let more = self.0.len() - told.len();
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!told.is_empty()).then(|| told.join("; ") + &rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_to_do() {
        for (code, remedy) in [
            ("metadata:InvalidFieldReference", Some(Remedy::Unsupported)),
            ("rest-crud:NoEntityMatch", Some(Remedy::Unsupported)),
            ("mongo-crud:TooManyResults", Some(Remedy::Unsupported)),
            ("crud:NoAccess", Some(Remedy::NotNow)),
            ("mongo-crud:ConnectionError", None),
        ] {
            let answer = json!({ "errors": [{ "errorCode": "crud" }, { "errorCode": code, "msg": "m" }] });
            let complaints = Complaints::of(&answer);
            assert_eq!(complaints.remedy(), remedy, "{code}");
            assert_eq!(complaints.text(), Some(format!("crud: no message; {code}: m")));
        }
    }

    #[test]
    fn many_errors_are_counted() {
        let errors: Vec<_> = (0..9).map(|n| json!({ "errorCode": "c", "msg": n.to_string() })).collect();
        let answer = json!({ "dataErrors": [{ "data": {}, "errors": errors }, { "data": {} }] });
        let text = Complaints::of(&answer).text().unwrap();
        assert_eq!(text, "c: 0; c: 1; c: 2; c: 3; c: 4; and 5 more");
    }
}
