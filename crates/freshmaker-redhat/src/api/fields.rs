//! The body of a request: a JSON object, whose keys are read one by one. The texts of errors are
//! those of the service.

use super::answer::Failure;
use freshmaker_web::axum::body::Bytes;
use freshmaker_web::axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

/// The types that a body may have. curl sends the last one unless another type is given.
const TYPES: [&str; 2] = ["application/json", "application/x-www-form-urlencoded"];

/// The body of a request.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// 415 if it is said to be something else than JSON, 400 if it is no JSON object.
    pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Failure> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or(TYPES[0]);
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) && !kind.ends_with("+json") {
            let text = "The body must be application/json.".to_owned();
            return Err(Failure::Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Failure::bad("The body must be a JSON object.")),
            Err(error) => Err(Failure::bad(format!("The body is not valid JSON: {error}"))),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A number above 0. Null and 0 are as if it were not there.
    pub(super) fn number(&self, key: &str) -> Result<Option<i64>, Failure> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number).filter(|number| *number != 0)),
                None => Err(Failure::bad(format!("\"{key}\" must be an integer."))),
            },
        }
    }

    /// A text. Null and the empty text are as if it were not there.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Failure> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(Failure::bad(format!("\"{key}\" must be a string."))),
        }
    }

    /// A list of texts; an empty one if it is not there.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, Failure> {
        let bad = || Failure::bad(format!("\"{key}\" must be an array of strings."));
        let Some(value) = self.0.get(key) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(bad)?;
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(bad)).collect()
    }

    /// An object; null is as if it were not there.
    pub(super) fn object(&self, key: &str) -> Result<Option<Value>, Failure> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Value::Object(object.clone()))),
            Some(_) => Err(Failure::bad(format!("\"{key}\" must be a dictionary."))),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Failure> {
        let bad = || Failure::bad(format!("\"{key}\" must be a boolean."));
        self.0.get(key).map_or(Ok(false), |value| value.as_bool().ok_or_else(bad))
    }

    /// Refuses other keys than those that the description of a body has: `dry-run` instead of
    /// `dry_run` must not start a real rebuild.
    pub(super) fn only<T: ToSchema>(&self) -> Result<(), Failure> {
        let known = keys::<T>();
        match self.0.keys().find(|key| !known.contains(key)) {
            None => Ok(()),
            Some(key) => {
                let key: String = key.chars().take(NAME_MAX).collect();
                let known: Vec<_> = known.iter().map(|name| format!("\"{name}\"")).collect();
                Err(Failure::bad(format!("\"{key}\" is not known here, there are {}.", known.join(", "))))
            }
        }
    }
}

/// The keys of a body, by its description.
fn keys<T: ToSchema>() -> Vec<String> {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// How many characters of an unknown key an error shows.
const NAME_MAX: usize = 64;
