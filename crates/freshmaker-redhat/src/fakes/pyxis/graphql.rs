//! Reads the part of GraphQL that is asked with: one query, whose fields have arguments,
//! selections and the directive `@include`.

use serde_json::{Map, Value};

/// What is asked of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) fields: Vec<Field>,
}

/// Why a query cannot be read.
pub(super) type Parsed<T> = Result<T, String>;

/// Returns the fields of a query, with the values of its variables put in. Fields that are not to
/// be included are left out.
pub(super) fn parse(query: &str, variables: &Value) -> Parsed<Vec<Field>> {
    let mut reader = Reader { tokens: tokens(query)?, at: 0, variables };
    if reader.next()? != "query" {
        return Err("only queries are known here".to_owned());
    }
    // The name, and the types of the variables, which the caller has checked.
    while reader.peek() != Some("{") {
        reader.next()?;
    }
    let fields = reader.selection()?;
    match reader.peek() {
        None => Ok(fields),
        Some(more) => Err(format!("unexpected {more:?} after the query")),
    }
}

fn tokens(query: &str) -> Parsed<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => 2 + rest[1..].find('"').ok_or("a text without an end")?,
            c if c.is_ascii_alphanumeric() || "_$@-".contains(c) => {
                let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                end.map_or(rest.len(), |end| end + 1)
            }
            c if "{}()[]:,!=".contains(c) => 1,
            c => return Err(format!("{c:?} is not known here")),
        };
        // Commas mean nothing.
        if first != ',' {
            tokens.push(rest[..length].to_owned());
        }
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Reader<'a> {
    tokens: Vec<String>,
    at: usize,
    variables: &'a Value,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Parsed<String> {
        let token = self.tokens.get(self.at).cloned().ok_or("the query ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn takes(&mut self, token: &str) -> bool {
        let is_there = self.peek() == Some(token);
        self.at += usize::from(is_there);
        is_there
    }

    fn selection(&mut self) -> Parsed<Vec<Field>> {
        if !self.takes("{") {
            return Err("a selection is missing".to_owned());
        }
        let mut fields = Vec::new();
        while !self.takes("}") {
            let name = self.next()?;
            if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                return Err(format!("{name:?} is not a field"));
            }
            let arguments = self.arguments()?;
            let mut included = true;
            while self.takes("@include") {
                included &= self.arguments()?.get("if") == Some(&Value::Bool(true));
            }
            let below = if self.peek() == Some("{") { self.selection()? } else { Vec::new() };
            if included {
                fields.push(Field { name, arguments, fields: below });
            }
        }
        if fields.is_empty() { Err("an empty selection".to_owned()) } else { Ok(fields) }
    }

    fn arguments(&mut self) -> Parsed<Map<String, Value>> {
        if self.takes("(") { self.pairs(")") } else { Ok(Map::new()) }
    }

    fn pairs(&mut self, end: &str) -> Parsed<Map<String, Value>> {
        let mut pairs = Map::new();
        while !self.takes(end) {
            let name = self.next()?;
            if !self.takes(":") {
                return Err(format!("{name} has no value"));
            }
            let value = self.value()?;
            pairs.insert(name, value);
        }
        Ok(pairs)
    }

    fn value(&mut self) -> Parsed<Value> {
        let token = self.next()?;
        if let Some(name) = token.strip_prefix('$') {
            return self.variables.get(name).cloned().ok_or_else(|| format!("the variable ${name} has no value"));
        }
        match token.as_str() {
            "{" => Ok(Value::Object(self.pairs("}")?)),
            "[" => {
                let mut items = Vec::new();
                while !self.takes("]") {
                    items.push(self.value()?);
                }
                Ok(items.into())
            }
            // Texts and numbers are as in JSON; names are values of an enumeration.
            token => Ok(serde_json::from_str(token).unwrap_or_else(|_| token.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_query_is_read_with_its_variables() {
        let text = r#"query q($a: Int!, $no: Boolean!) {
            find(page: $a, by: [{field: "_id", order: ASC}]) { x, y @include(if: $no) { z } w { v } }
        }"#;
        let fields = parse(text, &json!({ "a": 7, "no": false })).unwrap();
        let field = |name: &str, fields| Field { name: name.to_owned(), arguments: Map::new(), fields };
        let arguments = json!({ "page": 7, "by": [{ "field": "_id", "order": "ASC" }] });
        assert_eq!(fields.len(), 1);
        assert_eq!(Value::Object(fields[0].arguments.clone()), arguments);
        assert_eq!(fields[0].fields, [field("x", vec![]), field("w", vec![field("v", vec![])])]);
    }

    #[test]
    fn what_is_not_a_query_is_refused() {
        for (text, why) in [
            ("", "the query ends too early"),
            ("mutation { x }", "only queries are known here"),
            ("query { }", "an empty selection"),
            ("query { x", "the query ends too early"),
            ("query { x } }", "unexpected \"}\" after the query"),
            ("query { x(a: $b) }", "the variable $b has no value"),
            ("query { x(a 1) }", "a has no value"),
            ("query { x(a: \"b) }", "a text without an end"),
            ("query { ...x }", "'.' is not known here"),
            ("query { $x }", "\"$x\" is not a field"),
        ] {
            assert_eq!(parse(text, &json!({})).unwrap_err(), why, "{text}");
        }
    }
}
