//! Parameters of builds, read by what comes. The type itself tries one sort of value after the
//! other, and each that does not fit makes an error first, which takes longer than all the rest of
//! a row.

use freshmaker::artifact::{Parameter, Parameters};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// The parameters of a row.
#[derive(Debug)]
pub(crate) struct Stored(pub(crate) Parameters);

struct Value(Parameter);

struct All;
struct One;

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(All).map(Self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(One).map(Self)
    }
}

impl<'de> Visitor<'de> for All {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
        let mut parameters = Parameters::default();
        while let Some((name, Value(value))) = map.next_entry::<String, Value>()? {
            parameters.insert(name, value);
        }
        Ok(parameters)
    }
}

impl<'de> Visitor<'de> for One {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false, a whole number, a text or a list of texts")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Parameter, E> {
        Ok(Parameter::Flag(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Parameter, E> {
        Ok(Parameter::Number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Parameter, E> {
        i64::try_from(value).map(Parameter::Number).map_err(|_| E::custom(format!("{value} is too large")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Parameter, E> {
        Ok(Parameter::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Parameter, E> {
        Ok(Parameter::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Parameter, A::Error> {
        let mut set = BTreeSet::new();
        while let Some(value) = list.next_element()? {
            set.insert(value);
        }
        Ok(Parameter::Set(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same is read, and refused, as by the type itself.
    #[test]
    fn parameters_are_read_as_the_type_reads_them() {
        for text in [
            "{}",
            r#"{"a": true, "b": -7, "c": 9223372036854775807, "d": "x\ny", "e": ["b", "a", "b"], "f": []}"#,
            r#"{"a": 9223372036854775808}"#,
            r#"{"a": 1.5}"#,
            r#"{"a": null}"#,
            r#"{"a": {}}"#,
            r#"{"a": [1]}"#,
            r#"{"a": 1, "a": 2}"#,
            "[]",
            "7",
        ] {
            let (own, theirs) = (serde_json::from_str::<Stored>(text), serde_json::from_str::<Parameters>(text));
            assert_eq!(own.ok().map(|stored| stored.0), theirs.ok(), "{text}");
        }
    }
}
