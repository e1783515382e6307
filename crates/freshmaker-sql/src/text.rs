//! Texts as they are stored. SQLite does not check that a text is UTF-8, so a damaged text is found
//! only when its row is read. It then makes this row alone unreadable. The dialects say how such a
//! text is read.

use diesel::backend::Backend;
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use std::fmt;
use std::string::FromUtf8Error;

/// A text of a row.
#[derive(Clone, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub(crate) struct StoredText(Result<String, Vec<u8>>);

impl StoredText {
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self(String::from_utf8(bytes).map_err(FromUtf8Error::into_bytes))
    }

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

impl<DB: Backend> ToSql<Text, DB> for StoredText
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.as_str().map_err(|error| error.to_string())?.to_sql(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::dsl::sql;
    use diesel::{Connection, RunQueryDsl, SqliteConnection, select};

    /// A replacement character that was stored does not make a text look damaged.
    #[test]
    fn damaged_texts_are_told_from_others() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let mut read = |bytes: &str| {
            let text = select(sql::<Text>(&format!("CAST(X'{bytes}' AS TEXT)")));
            text.get_result::<StoredText>(&mut connection).unwrap()
        };
        for (bytes, text) in
            [("", ""), ("C3BC41", "\u{fc}A"), ("41EFBFBD", "A\u{fffd}"), ("4100EFBFBD42", "A\0\u{fffd}B")]
        {
            assert_eq!(read(bytes).into_string().ok().as_deref(), Some(text), "{bytes}");
        }
        for (bytes, shown) in [("FF41", "\u{fffd}A"), ("EFBFBDFF", "\u{fffd}\u{fffd}"), ("C3", "\u{fffd}")] {
            assert!(read(bytes).into_string().is_err(), "{bytes}");
            assert_eq!(read(bytes).shown().into_string().unwrap(), shown);
        }
    }
}
