//! Reads the parts of a request that handlers take. A part that is invalid is a [`Problem`] that
//! names it.

use crate::problem::{Problem, ProblemCode};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The body as JSON, whatever its length: the limits of the service bound it.
///
/// Its problems are 415 for another type, 400 for what is no JSON, and 422 for JSON that is not a
/// `T`, which names the field.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if media_type(request.headers()).as_deref() != Some("application/json") {
            return Err(not_json());
        }
        let body = read_body(request).await?;
        read_json(&body).map(Self)
    }
}

/// A body in JSON, or `null`, or none at all. The problems are those of [`JsonBody`].
#[derive(Debug)]
pub(crate) struct MaybeJson<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = media_type(request.headers()).as_deref() == Some("application/json");
        let body = read_body(request).await?;
        match (body.is_empty(), is_json) {
            (true, _) => Ok(Self(None)),
            (false, true) => read_json(&body).map(Self),
            (false, false) => Err(not_json()),
        }
    }
}

fn not_json() -> Problem {
    Problem::new(ProblemCode::MediaType, "the body must be application/json")
}

/// The body of a request, unchanged. The request is refused with 413 if the body is too long, and
/// with 408 if it does not arrive in time.
#[derive(Debug)]
pub struct WholeBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for WholeBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_body(request).await.map(Self)
    }
}

/// Reads a body whole.
pub(crate) async fn read_body(request: Request) -> Result<Bytes, Problem> {
    let body = request.into_body().collect().await.map_err(|error| unreadable(&error))?;
    Ok(body.to_bytes())
}

fn unreadable(error: &(dyn Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return Problem::new(ProblemCode::BodyTooLarge, "the body is longer than this service reads");
        }
        if error.is::<tower_http::timeout::TimeoutError>() {
            return Problem::new(ProblemCode::RequestTimeout, "the body did not arrive in time");
        }
        cause = error.source();
    }
    Problem::new(ProblemCode::BadRequest, "the body did not arrive whole")
}

/// Reads JSON, and points at the place that does not fit.
pub(crate) fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (pointer, inner) = (pointer(error.path()), error.inner());
        match inner.classify() {
            serde_json::error::Category::Data => {
                Problem::new(ProblemCode::Invalid, "the body is not what is expected").at(pointer, inner.to_string())
            }
            _ => Problem::new(ProblemCode::BadRequest, "the body is no JSON").at(pointer, inner.to_string()),
        }
    })?;
    reader
        .end()
        .map_err(|error| Problem::new(ProblemCode::BadRequest, "the body is no JSON").at("", error.to_string()))?;
    Ok(value)
}

/// The JSON Pointer of a path.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.clone(),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        text.push('/');
        text.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    text
}

/// The type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The one value of a header; a problem if there are several, or it is no text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let bad =
        |text| Err(Problem::new(ProblemCode::BadRequest, "a header cannot be read").parameter(name.as_str(), text));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => bad("it is there more than once"),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => bad("it must be printable ASCII"),
        },
    }
}

/// The query; its problem is 400, and names the parameter. Parameters that a handler does not know
/// are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|error| Problem::new(ProblemCode::BadParameter, format!("the query cannot be read: {error}")))?;
        read_query(&pairs).map(Self)
    }
}

/// Reads the parameters of a query, and names the one that does not fit.
pub(crate) fn read_query<T: DeserializeOwned>(pairs: &[(String, String)]) -> Result<T, Problem> {
    let bad = |name: &str, text: &str| {
        Problem::new(ProblemCode::BadParameter, "the query cannot be read").parameter(name, text)
    };
    let mut names = BTreeSet::new();
    if let Some((name, _)) = pairs.iter().find(|(name, _)| !names.insert(name)) {
        return Err(bad(&shortened(name), "it is there more than once"));
    }
    let reader = de::value::MapDeserializer::<_, de::value::Error>::new(
        pairs.iter().map(|(name, value)| (name.as_str(), Text(value))),
    );
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let name = error.path().iter().next().map_or_else(String::new, ToString::to_string);
        let text = error.inner().to_string();
        match text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(missing) => bad(missing, "it is missing"),
            None => bad(&name, &text),
        }
    })
}

/// A value of the query, which is read as what is wanted.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl<'de> de::IntoDeserializer<'de, de::value::Error> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $kind:literal;)*) => {$(
        fn $method<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(de::Error::custom(format!("{:?} is not {}", shortened(self.0), $kind))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = de::value::Error;

    parsed! {
        deserialize_bool visit_bool "true or false";
        deserialize_i64 visit_i64 "a whole number";
        deserialize_u64 visit_u64 "a whole number of at least 0";
        deserialize_u32 visit_u32 "a whole number of at least 0";
    }

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(de::value::BorrowedStrDeserializer::new(self.0))
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Several values in one parameter, with commas between them: `state=BUILDING,FAILED`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A filter has no more values.
const VALUES_MAX: usize = 100;

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let values = parts.map(|part| part.parse().map_err(de::Error::custom)).collect::<Result<Vec<T>, _>>()?;
        if values.len() > VALUES_MAX {
            return Err(de::Error::custom(format!("more than {VALUES_MAX} values")));
        }
        Ok(Self(values))
    }
}

/// One value, read from its text.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

/// A part of the path, decoded, by its name.
pub(crate) async fn path_part<T: FromStr<Err: fmt::Display>>(parts: &mut Parts, name: &str) -> Result<T, Problem> {
    let bad = |text: String| Problem::new(ProblemCode::BadParameter, "the path cannot be read").parameter(name, text);
    let params = RawPathParams::from_request_parts(parts, &()).await.map_err(|error| bad(error.to_string()))?;
    let Some((_, text)) = params.iter().find(|(found, _)| *found == name) else {
        return Err(Problem::new(ProblemCode::Internal, format!("the path has no part {name}")));
    };
    text.parse().map_err(|error| bad(format!("{:?}: {error}", shortened(text))))
}

macro_rules! path_parts {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $part:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) $inner);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                path_part(parts, $part).await.map(Self)
            }
        }
    )*};
}

path_parts! {
    /// The number of an event or a build.
    Number(i64) = "id";
    /// A name or an identity.
    Name(String) = "id";
    /// Where a message came from.
    Source(String) = "source";
    /// The name of a build system.
    System(String) = "system";
    /// The hash of a plan.
    Hash(freshmaker::artifact::Digest) = "hash";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Wanted {
        state: List<freshmaker::rebuild::EventState>,
        limit: Option<u32>,
        count: bool,
    }

    async fn query(text: &str) -> Result<Wanted, Problem> {
        let (mut parts, ()) = axum::http::Request::get(format!("/x?{text}")).body(()).unwrap().into_parts();
        Query::<Wanted>::from_request_parts(&mut parts, &()).await.map(|Query(wanted)| wanted)
    }

    #[tokio::test]
    async fn queries_name_the_parameter() {
        use freshmaker::rebuild::EventState;
        let wanted = query("state=BUILDING,%20FAILED&limit=5&count=true").await.unwrap();
        assert_eq!(wanted.state.0, [EventState::Building, EventState::Failed]);
        assert_eq!((wanted.limit, wanted.count), (Some(5), true));
        for (text, parameter) in [
            ("limit=many", "limit"),
            ("state=BUSY", "state"),
            ("count=maybe", "count"),
            ("page=2", "page"),
            ("limit=-1", "limit"),
        ] {
            let problem = query(text).await.unwrap_err();
            assert_eq!(problem.code, ProblemCode::BadParameter, "{text}");
            assert_eq!(problem.errors[0].parameter.as_deref(), Some(parameter), "{problem:?}");
        }
        let named = |problem: Problem| {
            let error = problem.errors[0].clone();
            (error.parameter.unwrap(), error.detail)
        };
        let twice = named(query("limit=1&limit=2").await.unwrap_err());
        assert_eq!(twice, ("limit".to_owned(), "it is there more than once".to_owned()));
        #[derive(Debug, Deserialize)]
        struct Needs {
            #[expect(dead_code, reason = "it is only read")]
            event: i64,
        }
        let missing = named(read_query::<Needs>(&[]).unwrap_err());
        assert_eq!(missing, ("event".to_owned(), "it is missing".to_owned()));
    }

    #[test]
    fn bodies_name_the_place() {
        #[derive(Debug, Deserialize)]
        struct Item {
            #[allow(dead_code)]
            size: u32,
        }
        let problem = read_json::<Vec<Item>>(br#"[{"size": 1}, {"size": "big"}]"#).unwrap_err();
        assert_eq!((problem.code, problem.errors[0].pointer.as_deref()), (ProblemCode::Invalid, Some("/1/size")));
        for broken in ["[{", "", "[] []"] {
            assert_eq!(read_json::<Vec<Item>>(broken.as_bytes()).unwrap_err().code, ProblemCode::BadRequest);
        }
    }
}
