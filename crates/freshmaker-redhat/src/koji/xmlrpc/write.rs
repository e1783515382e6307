use super::{DEPTH_MAX, Malformed, Request, Response, Value};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;

/// Length of a line of base64.
const LINE: usize = 76;

pub(super) fn request(request: &Request) -> Result<String, Malformed> {
    let mut writer = Writer::default();
    writer.raw("<?xml version='1.0'?>\n<methodCall>\n<methodName>");
    writer.text(&request.method)?;
    writer.raw("</methodName>\n<params>\n");
    for param in &request.params {
        writer.param(param)?;
    }
    writer.raw("</params>\n</methodCall>\n");
    Ok(writer.out)
}

pub(super) fn response(response: &Response) -> Result<String, Malformed> {
    let mut writer = Writer::default();
    writer.raw("<?xml version='1.0'?>\n<methodResponse>\n");
    match response {
        Response::Value(value) => {
            writer.raw("<params>\n");
            writer.param(value)?;
            writer.raw("</params>\n");
        }
        Response::Fault { code, text } => {
            writer.raw("<fault>\n<value><struct>\n");
            writer.member("faultCode", &Value::Int(*code), 1)?;
            writer.member("faultString", &Value::Text(text.clone()), 1)?;
            writer.raw("</struct></value>\n</fault>\n");
        }
    }
    writer.raw("</methodResponse>\n");
    Ok(writer.out)
}

#[derive(Default)]
struct Writer {
    out: String,
}

impl Writer {
    fn raw(&mut self, markup: &str) {
        self.out.push_str(markup);
    }

    fn param(&mut self, value: &Value) -> Result<(), Malformed> {
        self.raw("<param>\n");
        self.value(value, 0)?;
        self.raw("</param>\n");
        Ok(())
    }

    fn member(&mut self, name: &str, value: &Value, depth: usize) -> Result<(), Malformed> {
        self.raw("<member>\n<name>");
        self.text(name)?;
        self.raw("</name>\n");
        self.value(value, depth)?;
        self.raw("</member>\n");
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::new(self.out.len(), format_args!("more than {DEPTH_MAX} values inside each other")));
        }
        match value {
            Value::Nil => self.raw("<value><nil/></value>"),
            Value::Bool(flag) => self.plain("boolean", if *flag { "1" } else { "0" }),
            Value::Int(number) if i32::try_from(*number).is_ok() => self.plain("int", &number.to_string()),
            Value::Int(number) => self.plain("i8", &number.to_string()),
            Value::BigInt(digits) => {
                self.raw("<value><biginteger>");
                self.text(digits)?;
                self.raw("</biginteger></value>\n");
            }
            Value::Double(number) => self.plain("double", &double(*number)),
            Value::Text(text) => {
                self.raw("<value><string>");
                self.text(text)?;
                self.raw("</string></value>\n");
            }
            Value::DateTime(text) => {
                self.raw("<value><dateTime.iso8601>");
                self.text(text)?;
                self.raw("</dateTime.iso8601></value>\n");
            }
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::Array(items) => {
                self.raw("<value><array><data>\n");
                for item in items {
                    self.value(item, depth + 1)?;
                }
                self.raw("</data></array></value>\n");
            }
            Value::Struct(members) => {
                self.raw("<value><struct>\n");
                for (name, value) in members {
                    self.member(name, value, depth + 1)?;
                }
                self.raw("</struct></value>\n");
            }
        }
        Ok(())
    }

    fn plain(&mut self, tag: &str, text: &str) {
        for part in ["<value><", tag, ">", text, "</", tag, "></value>\n"] {
            self.raw(part);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.raw("<value><base64>\n");
        // Each line encodes whole groups of three bytes, so that the joined lines are the base64 of
        // all bytes.
        for line in bytes.chunks(LINE / 4 * 3) {
            BASE64_STANDARD.encode_string(line, &mut self.out);
            self.raw("\n");
        }
        self.raw("</base64></value>\n");
    }

    /// Writes a text. Characters that an XML reader would change or refuse are escaped, or are an
    /// error if XML cannot represent them.
    fn text(&mut self, text: &str) -> Result<(), Malformed> {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| matches!(c, '&' | '<' | '>' | '\u{fffe}' | '\u{ffff}') || c < ' ') {
            let (plain, tail) = rest.split_at(at);
            self.raw(plain);
            let mut tail = tail.chars();
            match tail.next() {
                Some('&') => self.raw("&amp;"),
                Some('<') => self.raw("&lt;"),
                Some('>') => self.raw("&gt;"),
                Some('\r') => self.raw("&#13;"),
                Some(blank @ ('\n' | '\t')) => self.out.push(blank),
                Some(other) => {
                    let text = format_args!("the character U+{:04X} cannot be written in XML", u32::from(other));
                    return Err(Malformed::new(self.out.len(), text));
                }
                None => {}
            }
            rest = tail.as_str();
        }
        self.raw(rest);
        Ok(())
    }
}

/// Formats a number as Python does: `1e+100`, `1e-05`, `0.0001`, `1.5`, `nan`.
fn double(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{number:?}");
    }
    let short = format!("{number:e}");
    let Some((digits, exponent)) = short.split_once('e') else { return short };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    let mut text = digits.to_owned();
    // Writing to a string cannot fail.
    let _ = write!(text, "e{sign}{exponent:0>2}");
    text
}
