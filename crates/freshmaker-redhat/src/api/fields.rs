//! The body of a request: a JSON object, whose keys are read one by one. The texts of errors are
//! those of the service.

use super::answer::Failure;
use freshmaker_web::axum::body::Bytes;
use freshmaker_web::axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOf, ArrayBuilder, ObjectBuilder, Type};
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
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // One without a name is as if there were none.
        if !kind.is_empty() && !TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) && !kind.ends_with("+json") {
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

    /// A value; `None` if it is one that Python counts as nothing, of whichever type.
    pub(super) fn given(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !is_nothing(value))
    }

    /// A number that is not 0.
    pub(super) fn number(&self, key: &str) -> Result<Option<i64>, Failure> {
        let number =
            |value: &Value| value.as_i64().ok_or_else(|| Failure::bad(format!("\"{key}\" must be an integer.")));
        self.given(key).map(number).transpose()
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Failure> {
        match self.given(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
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
    /// `dry_run` must not start a real rebuild. Those in `unused` are known to the service, and may
    /// be there without a value.
    pub(super) fn only<T: ToSchema>(&self, unused: &[&str]) -> Result<(), Failure> {
        let mut known = keys::<T>();
        known.retain(|key| !unused.contains(&key.as_str()));
        let is_unused = |key: &str| unused.contains(&key) && self.given(key).is_none();
        match self.0.keys().find(|key| !known.contains(key) && !is_unused(key)) {
            None => Ok(()),
            Some(key) => {
                let key: String = key.chars().take(NAME_MAX).collect();
                let known: Vec<_> = known.iter().map(|name| format!("\"{name}\"")).collect();
                Err(Failure::bad(format!("\"{key}\" is not known here, there are {}.", known.join(", "))))
            }
        }
    }
}

/// Whether Python counts a value as nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Describes a value of this type, if there is one, and those that count as nothing.
pub(super) fn or_nothing(own: Option<&Type>, text: &str) -> Schema {
    let of = |kind: Type| ObjectBuilder::new().schema_type(kind);
    let none = ArrayBuilder::new().items(of(Type::String)).max_items(Some(0));
    let nothing: [(Type, RefOr<Schema>); 6] = [
        (Type::Null, of(Type::Null).into()),
        // `true` is refused all the same: not all generators of clients know a type of one value.
        (Type::Boolean, of(Type::Boolean).into()),
        (Type::Integer, of(Type::Integer).minimum(Some(0)).maximum(Some(0)).into()),
        (Type::String, of(Type::String).max_length(Some(0)).into()),
        (Type::Array, none.into()),
        (Type::Object, of(Type::Object).max_properties(Some(0)).into()),
    ];
    let others = nothing.into_iter().filter(|(kind, _)| own != Some(kind)).map(|(_, schema)| schema);
    let items = own.map(|kind| of(kind.clone()).into()).into_iter().chain(others).collect();
    Schema::AnyOf(AnyOf { items, description: Some(text.to_owned()), ..AnyOf::default() })
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
