//! Texts as they are stored. SQLite does not check that a text is UTF-8, so a damaged text is found
//! only when its row is read. It then makes this row alone unreadable.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Binary, Text};
use std::fmt;

/// A text of a row.
#[derive(Clone, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub(crate) struct StoredText(Result<String, Vec<u8>>);

impl StoredText {
    /// # Errors
    /// It is not UTF-8.
    pub(crate) fn as_str(&self) -> Result<&str, NotUtf8> {
        self.0.as_deref().map_err(|_| NotUtf8)
    }

    /// # Errors
    /// It is not UTF-8.
    pub(crate) fn into_string(self) -> Result<String, NotUtf8> {
        self.0.map_err(|_| NotUtf8)
    }

    /// Returns the same text with a replacement character for bytes that are not UTF-8.
    pub(crate) fn shown(self) -> Self {
        Self(Ok(self.to_string()))
    }
}

/// A text is damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotUtf8;

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is not UTF-8")
    }
}

impl fmt::Display for StoredText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(text) => f.write_str(text),
            Err(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
        }
    }
}

impl From<String> for StoredText {
    fn from(text: String) -> Self {
        Self(Ok(text))
    }
}

impl PartialEq<String> for StoredText {
    fn eq(&self, text: &String) -> bool {
        self.0.as_ref() == Ok(text)
    }
}

impl<DB: Backend> FromSql<Text, DB> for StoredText
where
    Vec<u8>: FromSql<Binary, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = Vec::<u8>::from_sql(value)?;
        Ok(Self(String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes)))
    }
}

impl<DB: Backend> ToSql<Text, DB> for StoredText
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.as_str().map_err(|error| error.to_string())?.to_sql(out)
    }
}
