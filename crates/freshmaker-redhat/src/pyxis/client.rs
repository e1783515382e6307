use super::query::Question;
use super::record::{Refusal, refusal};
use super::{PyxisConfig, PyxisLogin};
use crate::rest::field::{Read, Wrong, at, collect, each, items, list, maybe_at, number, object, text_if_any};
use crate::rest::pages::Pages;
use crate::rest::{Answer, Rest, Said, wrong_address};
use freshmaker::backend::{Error, Remedy, Result};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;

/// Path of all requests.
const PATH: &str = "/graphql/";
/// Largest number of pages that one question may take. With pages of 50 this bounds an answer to
/// 10,000 architectures of images, many times what 20 repositories offer.
const PAGES_MAX: u64 = 200;

/// Sends questions and reads their answers.
#[derive(Debug)]
pub(super) struct Client {
    rest: Rest,
    login: PyxisLogin,
}

/// One page of an answer.
struct Page<'a> {
    objects: &'a [Value],
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
        let (mut found, mut pages) = (Vec::new(), Pages::new(&place, PAGES_MAX));
        for number in 0.. {
            let answer = self.ask(&question, number, page_size, &place).await?;
            let page = answer.read(|answer| page(answer, &question, number, page_size))?;
            let is_last = pages.take(page.objects, page.size, page.total)?;
            let data = format!("data.{}.data", question.entity.field());
            found.extend(answer.read(|answer| at(answer, &data, |objects| collect(objects, &read)))?);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn ask(&self, question: &Question, page: u64, page_size: u64, place: &str) -> Result<Answer> {
        let mut request = self.rest.request(Method::POST, PATH).json(&question.body(page, page_size));
        if let PyxisLogin::ApiKey(key) = &self.login {
            request = request.header("X-API-KEY", key.expose());
        }
        let answer = self.rest.send(request, place.to_owned()).await.map_err(wrong_address)?;
        if let Some(Said { remedy, text }) = answer.read(complaints)? {
            return Err(Error::new(remedy.unwrap_or(Remedy::Unavailable), place, text));
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
fn complaints(answer: &Value) -> Read<Option<Said>> {
    object(answer)?;
    let mut errors = Vec::new();
    maybe_at(answer, "errors", |list| {
        items(list, |error| {
            let text = maybe_at(error, "message", text_if_any)?.unwrap_or("no message");
            let code = error["extensions"]["code"].as_str().unwrap_or_default();
            let remedy = match code {
                "BAD_USER_INPUT" | "GRAPHQL_PARSE_FAILED" | "GRAPHQL_VALIDATION_FAILED" => Some(Remedy::Unsupported),
                "FORBIDDEN" => Some(Remedy::NotNow),
                _ => None,
            };
            let text = if code.is_empty() { text.to_owned() } else { format!("{code}: {text}") };
            errors.push(Said { remedy, text });
            Ok(())
        })
    })?;
    Ok(Said::all(errors))
}

/// Reads the description of a page, and checks that it is the one that was asked for.
fn page<'a>(answer: &'a Value, question: &Question, wanted: u64, asked: u64) -> Read<Page<'a>> {
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
        Ok(Page { objects: at(field, "data", list)?, size, total })
    };
    let page = at(answer, &format!("data.{}", question.entity.field()), read)?;
    // Nothing else was asked for.
    at(answer, "data", |data| {
        each(
            data,
            |name, _| {
                if name == question.entity.field() { Ok(()) } else { Err(Wrong::new("nobody asked for it")) }
            },
        )
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn codes_tell_what_to_do() {
        for (code, remedy) in [
            ("GRAPHQL_VALIDATION_FAILED", Some(Remedy::Unsupported)),
            ("BAD_USER_INPUT", Some(Remedy::Unsupported)),
            ("FORBIDDEN", Some(Remedy::NotNow)),
            ("UNAUTHENTICATED", None),
            ("INTERNAL_SERVER_ERROR", None),
        ] {
            let answer = json!({ "errors": [{ "message": "m", "extensions": { "code": code } }, {}] });
            let text = format!("{code}: m; no message");
            assert_eq!(complaints(&answer).unwrap(), Some(Said { remedy, text }));
        }
        for answer in [json!({}), json!({ "errors": null }), json!({ "errors": [] })] {
            assert_eq!(complaints(&answer).unwrap(), None);
        }
    }
}
