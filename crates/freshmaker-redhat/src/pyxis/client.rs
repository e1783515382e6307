use super::query::Question;
use super::record::{Refusal, refusal};
use super::{PyxisConfig, PyxisLogin};
use crate::rest::field::{Read, Wrong, at, each, items, maybe_at, number, object, text_if_any};
use crate::rest::{Answer, Rest};
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;
use std::collections::BTreeSet;

/// Path of all requests.
const PATH: &str = "/graphql/";
/// Largest number of pages that one question may take. With pages of 50 this bounds an answer to
/// 10,000 architectures of images, many times what 20 repositories offer.
const PAGES_MAX: u64 = 200;
/// Largest number of errors of one answer that our error quotes.
const TOLD_MAX: usize = 5;

/// Sends questions and reads their answers.
#[derive(Debug)]
pub(super) struct Client {
    rest: Rest,
    login: PyxisLogin,
}

/// One page of an answer.
struct Page<'a> {
    objects: Vec<&'a Value>,
    /// Largest number of objects on each page.
    size: u64,
    /// How many objects there are on all pages, if the service was asked.
    total: Option<u64>,
}

impl Client {
    pub(super) fn new(config: &PyxisConfig) -> Result<Self> {
        if let PyxisLogin::ApiKey(key) = &config.login
            && (key.expose().is_empty() || HeaderValue::from_str(key.expose()).is_err())
        {
            let text = "the API key of `login` is empty, or has characters that a header cannot have";
            return Err(Error::new(Remedy::Unsupported, config.http.url.as_str(), text));
        }
        Ok(Self { rest: Rest::new(&config.http)?, login: config.login.clone() })
    }

    /// Returns all objects that answer the question, page by page.
    ///
    /// # Errors
    /// If a request fails, an object cannot be read, or the answer is not complete.
    pub(super) async fn find<T>(
        &self,
        question: Question,
        page_size: u64,
        read: impl Fn(&Value) -> Read<T>,
    ) -> Result<Vec<T>> {
        let place = format!("pyxis: POST {PATH} ({})", question.entity.field());
        let error = |remedy, text: String| Error::new(remedy, place.as_str(), text);
        let (mut found, mut ids) = (Vec::new(), BTreeSet::new());
        let (mut size, mut total) = (page_size, None);
        for number in 0..PAGES_MAX {
            let answer = self.ask(&question, number, page_size, &place).await?;
            let page = answer.read(|answer| page(answer, &question, number, page_size))?;
            if number > 0 && page.size != size {
                let text = format!("the size of a page changed from {size} to {} objects", page.size);
                return Err(error(Remedy::Corrupt, text));
            }
            if page.total < total {
                // Objects may have moved to a page that was read already.
                let text = format!("the number of objects fell from {total:?} to {:?} meanwhile", page.total);
                return Err(error(Remedy::Unavailable, text));
            }
            (size, total) = (page.size, page.total);
            if total.is_some_and(|total| total > PAGES_MAX * size) {
                return Err(endless(size, place));
            }
            let known = ids.len();
            answer.read(|answer| {
                at(answer, &format!("data.{}.data", question.entity.field()), |data| {
                    items(data, |object| {
                        ids.extend(maybe_at(object, "_id", text_if_any)?.map(str::to_owned));
                        found.push(read(object)?);
                        Ok(())
                    })
                })
            })?;
            let count = page.objects.len() as u64;
            if count > 0 && ids.len() == known && !ids.is_empty() {
                let text = format!("the objects of page {number} are those of earlier pages");
                return Err(error(Remedy::Corrupt, text));
            }
            let all = found.len() as u64;
            match total {
                Some(total) if count < size && all < total => {
                    return Err(error(Remedy::Corrupt, format!("total is {total}, but the data end after {all}")));
                }
                Some(total) if all >= total => return Ok(found),
                None if count < size => return Ok(found),
                Some(_) | None => {}
            }
        }
        Err(endless(size, place))
    }

    async fn ask(&self, question: &Question, page: u64, page_size: u64, place: &str) -> Result<Answer> {
        let mut request = self.rest.request(Method::POST, PATH).json(&question.body(page, page_size));
        if let PyxisLogin::ApiKey(key) = &self.login {
            request = request.header("X-API-KEY", key.expose());
        }
        let answer = self.rest.send(request, place.to_owned()).await.map_err(|error| match error.remedy {
            // A wrong address: asked again until the configuration is corrected.
            Remedy::NotFound => error.with_remedy(Remedy::Unavailable),
            _ => error,
        })?;
        if let Some((remedy, text)) = answer.read(complaints)? {
            return Err(Error::new(remedy, place, text));
        }
        let refused = answer.read(|answer| at(answer, &format!("data.{}", question.entity.field()), refusal))?;
        match refused {
            None => Ok(answer),
            Some(Refusal { status, detail }) => {
                let said = status.map_or("no status".to_owned(), |status| format!("status {status}"));
                Err(Error::new(by_status(status), place, format!("{said}: {detail}")))
            }
        }
    }
}

fn endless(size: u64, place: String) -> Error {
    let text = format!("there are more than {} objects, which is the most that is read", PAGES_MAX * size);
    Error::new(Remedy::Rejected, place, text)
}

/// Returns what to do if the field that answers has an error with this status:
///
/// * 400, 422: the service does not understand the filter.
/// * 403, 429: the service does not want to answer now.
/// * Others: the service failed, usually because its database was too slow.
fn by_status(status: Option<u64>) -> Remedy {
    match status {
        Some(400 | 422) => Remedy::Unsupported,
        Some(403 | 429) => Remedy::NotNow,
        _ => Remedy::Unavailable,
    }
}

/// Reads the errors of an answer, which it can have beside data: then the data are not complete.
fn complaints(answer: &Value) -> Read<Option<(Remedy, String)>> {
    object(answer)?;
    let (mut remedy, mut told, mut count) = (None, Vec::new(), 0_usize);
    maybe_at(answer, "errors", |errors| {
        items(errors, |error| {
            let text = maybe_at(error, "message", text_if_any)?.unwrap_or("no message");
            let code = error["extensions"]["code"].as_str().unwrap_or_default();
            remedy = remedy.or(match code {
                "BAD_USER_INPUT" | "GRAPHQL_PARSE_FAILED" | "GRAPHQL_VALIDATION_FAILED" => Some(Remedy::Unsupported),
                "FORBIDDEN" => Some(Remedy::NotNow),
                _ => None,
            });
            count += 1;
            if told.len() < TOLD_MAX {
                told.push(if code.is_empty() { text.to_owned() } else { format!("{code}: {text}") });
            }
            Ok(())
        })
    })?;
    if count == 0 {
        return Ok(None);
    }
    let more = count - told.len();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Ok(Some((remedy.unwrap_or(Remedy::Unavailable), told.join("; ") + &rest)))
}

/// Reads the description of a page, and checks that it is the one that was asked for.
fn page<'a>(answer: &'a Value, question: &Question, wanted: u64, asked: u64) -> Read<Page<'a>> {
    let mut objects = Vec::new();
    let read = |field: &'a Value| {
        maybe_at(field, "page", |page| match number(page)? {
            page if page == wanted => Ok(()),
            page => Err(Wrong::new(format_args!("page {page}, where {wanted} was asked for"))),
        })?;
        // The service can have a lower limit than what was asked for.
        let size = maybe_at(field, "page_size", |size| match number(size)? {
            size if (1..=asked).contains(&size) => Ok(size),
            size => Err(Wrong::new(format_args!("{size}, where {asked} objects a page were asked for"))),
        })?
        .unwrap_or(asked);
        let total = if question.entity.is_counted() { Some(at(field, "total", number)?) } else { None };
        at(field, "data", |data| {
            items(data, |object| {
                objects.push(object);
                Ok(())
            })
        })?;
        if objects.len() as u64 > size {
            return Err(Wrong::new(format_args!("{} objects on a page of {size}", objects.len())).below("data"));
        }
        Ok((size, total))
    };
    let (size, total) = at(answer, &format!("data.{}", question.entity.field()), read)?;
    // Nothing else was asked for.
    at(answer, "data", |data| {
        each(
            data,
            |name, _| {
                if name == question.entity.field() { Ok(()) } else { Err(Wrong::new("nobody asked for it")) }
            },
        )
    })?;
    Ok(Page { objects, size, total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn codes_tell_what_to_do() {
        for (code, remedy) in [
            ("GRAPHQL_VALIDATION_FAILED", Remedy::Unsupported),
            ("BAD_USER_INPUT", Remedy::Unsupported),
            ("FORBIDDEN", Remedy::NotNow),
            ("UNAUTHENTICATED", Remedy::Unavailable),
            ("INTERNAL_SERVER_ERROR", Remedy::Unavailable),
        ] {
            let answer = json!({ "errors": [{ "message": "m", "extensions": { "code": code } }, {}] });
            assert_eq!(complaints(&answer).unwrap(), Some((remedy, format!("{code}: m; no message"))));
        }
        for answer in [json!({}), json!({ "errors": null }), json!({ "errors": [] })] {
            assert_eq!(complaints(&answer).unwrap(), None);
        }
        let many: Vec<_> = (0..9).map(|n| json!({ "message": n.to_string() })).collect();
        let text = complaints(&json!({ "errors": many })).unwrap().unwrap().1;
        assert_eq!(text, "0; 1; 2; 3; 4; and 4 more");
    }
}
