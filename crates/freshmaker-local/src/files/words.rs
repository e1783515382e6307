//! Splits words, and expands quotes and variables, as builders do outside of `RUN`.

/// What is known about the value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The variable has this value.
    Set(String),
    /// The variable is declared without a default: its value comes from the command line of the
    /// builder.
    NoDefault,
    /// The builder sets the variable for each platform, so its value is not known here.
    Platform,
    /// The variable is not declared.
    Undeclared,
}

/// Stands in expanded text for a value that depends on the platform.
pub(super) const ANY: char = '\u{0}';

/// Splits a text at white space outside of quotes. Quotes and escapes stay. A word whose quote does
/// not end is left out.
pub(super) fn split(text: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| &text[start..at]));
            continue;
        }
        start.get_or_insert(at);
        if c == escape && quote != Some('\'') {
            chars.next();
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
        }
    }
    if quote.is_none() {
        words.extend(start.map(|start| &text[start..]));
    }
    words
}

/// Returns the word without quotes and escapes. Variables stay as they are.
pub(super) fn unquote(word: &str, escape: char) -> String {
    let keep = |name: &str| Value::Set(format!("${name}"));
    if word.contains('$') { word.replace(['"', '\''], "") } else { expand(word, escape, &keep).unwrap_or_default() }
}

/// Returns the word without quotes and escapes, and with the values of its variables.
///
/// # Errors
/// A sentence about the first variable that has no value.
pub(super) fn expand(word: &str, escape: char, value_of: &dyn Fn(&str) -> Value) -> Result<String, String> {
    expand_nested(word, escape, value_of, 0)
}

/// Deepest nesting of variables in defaults. Real files use less.
const DEPTH_MAX: usize = 16;

fn expand_nested(word: &str, escape: char, value_of: &dyn Fn(&str) -> Value, depth: usize) -> Result<String, String> {
    if depth > DEPTH_MAX {
        return Err("variables are nested too deeply".to_owned());
    }
    let mut out = String::with_capacity(word.len());
    let mut quote = None;
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if quote == Some('\'') && c != '\'' {
            out.push(c);
        } else if c == escape {
            let next = rest.chars().next();
            out.extend(next);
            rest = &rest[next.map_or(0, char::len_utf8)..];
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
        } else if c == '$' {
            let (value, after) = variable(rest, escape, value_of, depth)?;
            out.push_str(&value);
            rest = after;
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// Returns the value of the variable that begins after a dollar sign, and the text after it.
fn variable<'a>(
    text: &'a str,
    escape: char,
    value_of: &dyn Fn(&str) -> Value,
    depth: usize,
) -> Result<(String, &'a str), String> {
    if let Some(inner) = text.strip_prefix('{') {
        let end = closing_brace(inner).ok_or_else(|| "${ is not closed".to_owned())?;
        let value = braced(&inner[..end], escape, value_of, depth)?;
        return Ok((value, &inner[end + 1..]));
    }
    let name = name_of(text);
    if name.is_empty() {
        return Ok(("$".to_owned(), text));
    }
    Ok((plain(name, value_of)?, &text[name.len()..]))
}

fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn plain(name: &str, value_of: &dyn Fn(&str) -> Value) -> Result<String, String> {
    match value_of(name) {
        Value::Set(value) => Ok(value),
        Value::Platform => Ok(ANY.to_string()),
        Value::NoDefault => Err(format!("ARG {name} has no default")),
        Value::Undeclared => Err(format!("no ARG declares {name}")),
    }
}

/// Expands `NAME`, `NAME:-default`, `NAME-default`, `NAME:+other`, `NAME+other`, `NAME:?text` or
/// `NAME?text`.
fn braced(inner: &str, escape: char, value_of: &dyn Fn(&str) -> Value, depth: usize) -> Result<String, String> {
    let name = name_of(inner);
    let operation = &inner[name.len()..];
    if name.is_empty() {
        return Err(format!("${{{inner}}} names no variable"));
    }
    if operation.is_empty() {
        return plain(name, value_of);
    }
    let (empty_is_unset, operation) = operation.strip_prefix(':').map_or((false, operation), |rest| (true, rest));
    let value = value_of(name);
    let set = match &value {
        Value::Set(value) => !(empty_is_unset && value.is_empty()),
        Value::Platform => true,
        Value::NoDefault | Value::Undeclared => false,
    };
    let alternative = |text: &str| expand_nested(text, escape, value_of, depth + 1);
    if let Some(default) = operation.strip_prefix('-') {
        if set { plain(name, value_of) } else { alternative(default) }
    } else if let Some(other) = operation.strip_prefix('+') {
        if set { alternative(other) } else { Ok(String::new()) }
    } else if operation.starts_with('?') {
        if set { plain(name, value_of) } else { Err(format!("{name} must be given to the build")) }
    } else {
        Err(format!("${{{inner}}} is an expansion that is not understood here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(name: &str) -> Value {
        match name {
            "A" => Value::Set("one".into()),
            "EMPTY" => Value::Set(String::new()),
            "ARCH" => Value::Platform,
            "NONE" => Value::NoDefault,
            _ => Value::Undeclared,
        }
    }

    #[test]
    fn variables_are_replaced() {
        for (word, expected) in [
            ("$A", "one"),
            ("x${A}y", "xoney"),
            ("$A.b", "one.b"),
            ("${A:-two}", "one"),
            ("${NONE:-two}", "two"),
            ("${OTHER-two}", "two"),
            ("${EMPTY:-two}", "two"),
            ("${EMPTY-two}", ""),
            ("${EMPTY}", ""),
            ("${NONE:-${A}}", "one"),
            ("${NONE:-${OTHER:-x}y}", "xy"),
            ("${A:+two}", "two"),
            ("${NONE:+two}", ""),
            ("${EMPTY+two}", "two"),
            ("${EMPTY:+two}", ""),
            ("${A:?no}", "one"),
            ("${A?no}", "one"),
            ("\"$A\"b", "oneb"),
            ("'$A'", "$A"),
            ("\\$A", "$A"),
            ("a$", "a$"),
            ("\"a b\"", "a b"),
            ("x-$ARCH", "x-\0"),
        ] {
            assert_eq!(expand(word, '\\', &value_of).as_deref(), Ok(expected), "{word}");
        }
    }

    #[test]
    fn what_has_no_value_is_said() {
        for (word, expected) in [
            ("$NONE", "ARG NONE has no default"),
            ("x${OTHER}", "no ARG declares OTHER"),
            ("${NONE:?x}", "NONE must be given to the build"),
            ("${A%x}", "${A%x} is an expansion that is not understood here"),
            ("${A/x/y}", "${A/x/y} is an expansion that is not understood here"),
            ("${A", "${ is not closed"),
            ("${}", "${} names no variable"),
        ] {
            assert_eq!(expand(word, '\\', &value_of), Err(expected.to_owned()), "{word}");
        }
        let deep = format!("{}{}", "${NONE:-".repeat(1000), "}".repeat(1000));
        assert!(expand(&deep, '\\', &value_of).is_err());
    }

    #[test]
    fn words_end_at_blanks_outside_quotes() {
        assert_eq!(split("a  'b c' \"d\\\" e\" f\\ g", '\\'), ["a", "'b c'", "\"d\\\" e\"", "f\\ g"]);
        assert_eq!(split("a 'b c", '\\'), ["a"]);
        assert_eq!(unquote("\"a b\"'c'\\d", '\\'), "a bcd");
    }
}
