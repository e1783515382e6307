use super::LightblueConfig;
use super::query::{Entity, Question};
use crate::rest::field::{Read, at, collect, list, number, text};
use crate::rest::pages::Pages;
use crate::rest::{Answer, Rest, Said, wrong_address};
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::Method;
use serde_json::{Value, json};

/// Largest number of pages that one question may take. With pages of 500 this bounds an answer to
/// 50,000 objects, many times what one advisory affects.
const PAGES_MAX: u64 = 100;

/// Sends questions and reads their answers.
#[derive(Debug)]
pub(super) struct Client {
    rest: Rest,
    repository_version: String,
    image_version: String,
    page: u64,
}

impl Client {
    pub(super) fn new(config: &LightblueConfig) -> Result<Self> {
        Ok(Self {
            rest: Rest::new(&config.http)?.with_errors(complaints),
            repository_version: config.repository_version.clone(),
            image_version: config.image_version.clone(),
            page: config.page.into(),
        })
    }

    /// Returns all objects that answer the question, page by page.
    ///
    /// # Errors
    /// If a request fails, an object cannot be read, or the answer is not complete.
    pub(super) async fn find<T>(&self, question: Question, read: fn(&Value) -> Read<T>) -> Result<Vec<T>> {
        let (path, place) = self.place(question.entity);
        let (mut found, mut pages) = (Vec::new(), Pages::new(&place, PAGES_MAX));
        for number in 0.. {
            let answer = self.ask(&question, &path, &place, number * self.page).await?;
            let (objects, total) = answer.read(page)?;
            let is_last = pages.take(objects, self.page, Some(total))?;
            found.extend(answer.read(|answer| at(answer, "processed", |objects| collect(objects, read)))?);
            if is_last {
                break;
            }
        }
        Ok(found)
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

    /// Asks for the page that begins with this object. The service must say that it is complete.
    async fn ask(&self, question: &Question, path: &str, place: &str, from: u64) -> Result<Answer> {
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
        // The service finds, and changes nothing.
        let request = self.rest.request(Method::POST, path).json(&body);
        let answer = self.rest.send(request, place.to_owned()).await.map_err(wrong_address)?;
        match answer.read(incomplete)? {
            None => Ok(answer),
            Some(Said { remedy, text }) => Err(Error::new(remedy.unwrap_or(Remedy::Unavailable), place, text)),
        }
    }
}

/// Returns why an answer is not complete; `None` if it is.
fn incomplete(answer: &Value) -> Read<Option<Said>> {
    let said = complaints(answer);
    // Older versions write states in lower case.
    let status = at(answer, "status", text)?;
    if status.eq_ignore_ascii_case("COMPLETE") && said.is_none() {
        return Ok(None);
    }
    let why = said.as_ref().map_or("without an error that says why", |said| said.text.as_str());
    let status: String = status.chars().take(20).collect();
    let text = format!("the state is {status}: {why}");
    Ok(Some(Said { remedy: said.and_then(|said| said.remedy), text }))
}

/// Reads the objects of a page, and how many there are on all pages.
fn page(answer: &Value) -> Read<(&[Value], u64)> {
    Ok((at(answer, "processed", list)?, at(answer, "matchCount", number)?))
}

/// Reads the errors of the request, and those of single objects: code and message of each.
fn complaints(answer: &Value) -> Option<Said> {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut errors = list(answer, "errors");
    for object in list(answer, "dataErrors") {
        let about = list(&object, "errors");
        // An object that is listed had an error, even if none is named.
        errors.extend(if about.is_empty() { vec![Value::Null] } else { about });
    }
    let text = |error: &Value, name: &str, or: &str| {
        error.get(name).and_then(Value::as_str).map_or(or.to_owned(), str::to_owned)
    };
    Said::all(errors.iter().map(|error| {
        let code = text(error, "errorCode", "no code");
        Said { remedy: remedy(&code), text: format!("{code}: {}", text(error, "msg", "no message")) }
    }))
}

/// Returns what an error with this code means, if it means more than that the service failed.
fn remedy(code: &str) -> Option<Remedy> {
    // Fields, entities and versions that this service does not have, and pages that are too large
    // for it.
    let unsupported = ["metadata:", "query-api:", "rest-crud:", "mongo-crud:TooManyResults"];
    if code.ends_with(":NoAccess") {
        return Some(Remedy::NotNow);
    }
    unsupported.iter().any(|start| code.starts_with(start)).then_some(Remedy::Unsupported)
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
            let text = format!("crud: no message; {code}: m");
            assert_eq!(complaints(&answer), Some(Said { remedy, text }));
        }
        assert_eq!(complaints(&json!({ "errors": [], "dataErrors": null })), None);
    }

    #[test]
    fn errors_of_objects_count() {
        let about = json!([{ "errorCode": "c", "msg": "m" }]);
        let answer = json!({ "dataErrors": [{ "data": {}, "errors": about }, { "data": {} }] });
        assert_eq!(complaints(&answer).unwrap().text, "c: m; no code: no message");
    }
}
