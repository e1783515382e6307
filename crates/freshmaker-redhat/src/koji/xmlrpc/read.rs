use super::{BYTES_MAX, DEPTH_MAX, Malformed, Request, Response, Value};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use quick_xml::Reader;
use quick_xml::events::{BytesDecl, BytesRef, Event};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

pub(super) fn request(body: &[u8]) -> Result<Request, Malformed> {
    let mut parser = Parser::new(body)?;
    parser.open("methodCall")?;
    parser.open("methodName")?;
    let method = parser.text("methodName")?.trim().to_owned();
    let params = match parser.next()? {
        Tag::Open("params") => parser.params()?,
        Tag::Close("methodCall") => return parser.end().map(|()| Request { method, params: Vec::new() }),
        other => return Err(parser.unexpected(other, "<params>")),
    };
    parser.close("methodCall")?;
    parser.end()?;
    Ok(Request { method, params })
}

pub(super) fn response(body: &[u8]) -> Result<Response, Malformed> {
    let mut parser = Parser::new(body)?;
    parser.open("methodResponse")?;
    let response = match parser.next()? {
        Tag::Open("params") => {
            let mut params = parser.params()?;
            match (params.pop(), params.is_empty()) {
                (Some(value), true) => Response::Value(value),
                (None, _) | (Some(_), false) => return Err(parser.error("an answer has exactly one value")),
            }
        }
        Tag::Open("fault") => {
            parser.open("value")?;
            let value = parser.value(0)?;
            parser.close("fault")?;
            let code = value.get(&["faultCode"]).map_err(|error| parser.error(error))?;
            let text = value.get::<&str>(&["faultString"]).map_err(|error| parser.error(error))?.to_owned();
            Response::Fault { code, text }
        }
        other => return Err(parser.unexpected(other, "<params> or <fault>")),
    };
    parser.close("methodResponse")?;
    parser.end()?;
    Ok(response)
}

/// The next tag or the end of the document. Names are from a fixed vocabulary: any other element is
/// refused where it opens.
#[derive(Clone, Copy)]
enum Tag {
    Open(&'static str),
    Close(&'static str),
    End,
}

const NAMES: [&str; 24] = [
    "value",
    "member",
    "name",
    "string",
    "int",
    "struct",
    "array",
    "data",
    "nil",
    "ex:nil",
    "boolean",
    "double",
    "i8",
    "i4",
    "i2",
    "i1",
    "biginteger",
    "float",
    "base64",
    "dateTime.iso8601",
    "param",
    "params",
    "fault",
    "methodName",
];
const ROOTS: [&str; 2] = ["methodResponse", "methodCall"];

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    length: usize,
}

impl<'a> Parser<'a> {
    fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        if body.len() > BYTES_MAX {
            return Err(Malformed::new(BYTES_MAX, format_args!("it has more than {BYTES_MAX} bytes")));
        }
        let body = std::str::from_utf8(body).map_err(|error| Malformed::new(error.valid_up_to(), "it is not UTF-8"))?;
        let mut reader = Reader::from_str(body);
        reader.config_mut().expand_empty_elements = true;
        Ok(Self { reader, length: body.len() })
    }

    fn error(&self, text: impl fmt::Display) -> Malformed {
        Malformed::new(self.offset(self.reader.buffer_position()), text)
    }

    fn offset(&self, position: u64) -> usize {
        usize::try_from(position).map_or(self.length, |position| position.min(self.length))
    }

    fn unexpected(&self, found: Tag, wanted: impl fmt::Display) -> Malformed {
        match found {
            Tag::Open(name) => self.error(format_args!("<{name}> stands where {wanted} belongs")),
            Tag::Close(name) => self.error(format_args!("</{name}> stands where {wanted} belongs")),
            Tag::End => self.error(format_args!("it ends where {wanted} belongs")),
        }
    }

    /// Returns the next tag or piece of text; skips declarations, comments and processing
    /// instructions.
    fn piece(&mut self) -> Result<Piece<'a>, Malformed> {
        loop {
            let event = self
                .reader
                .read_event()
                .map_err(|error| Malformed::new(self.offset(self.reader.error_position()), sentence(&error)))?;
            return Ok(match event {
                Event::Start(start) => Piece::Tag(Tag::Open(self.name(start.name().0)?)),
                Event::End(end) => Piece::Tag(Tag::Close(self.name(end.name().0)?)),
                Event::Eof => Piece::Tag(Tag::End),
                Event::Text(text) => Piece::Text(text.into_inner()),
                Event::CData(text) => Piece::Text(text.into_inner()),
                Event::GeneralRef(reference) => Piece::Text(Cow::Owned(self.character(&reference)?.into())),
                Event::DocType(_) => return Err(self.error("a document type is not accepted")),
                Event::Decl(decl) => {
                    self.encoding(&decl)?;
                    continue;
                }
                Event::Comment(_) | Event::PI(_) => continue,
                Event::Empty(_) => return Err(self.error("an empty element was not expanded")),
            });
        }
    }

    fn name(&self, name: &str) -> Result<&'static str, Malformed> {
        let known = NAMES.iter().chain(&ROOTS).copied().find(|&known| known == name);
        known.ok_or_else(|| self.error(format_args!("<{}> is no element of XML-RPC", brief(name))))
    }

    fn encoding(&self, decl: &BytesDecl<'_>) -> Result<(), Malformed> {
        let Some(encoding) = decl.encoding() else { return Ok(()) };
        let encoding = encoding.map_err(|error| self.error(sentence(&error)))?;
        if encoding.eq_ignore_ascii_case("utf-8") || encoding.eq_ignore_ascii_case("us-ascii") {
            return Ok(());
        }
        Err(self.error(format_args!("the encoding `{}` is not accepted", brief(&encoding))))
    }

    /// Returns the character of one of XML's five named entities or of a numeric reference. There
    /// are no other entities, so no entity can expand to a long text.
    fn character(&self, reference: &BytesRef<'_>) -> Result<char, Malformed> {
        let numbered = reference.resolve_char_ref().map_err(|error| self.error(sentence(&error)))?;
        match (numbered, &**reference) {
            (Some(character), _) => Ok(character),
            (None, "amp") => Ok('&'),
            (None, "lt") => Ok('<'),
            (None, "gt") => Ok('>'),
            (None, "quot") => Ok('"'),
            (None, "apos") => Ok('\''),
            (None, other) => Err(self.error(format_args!("the entity `&{};` is not accepted", brief(other)))),
        }
    }

    /// Returns the next tag; only white space may precede it.
    fn next(&mut self) -> Result<Tag, Malformed> {
        loop {
            match self.piece()? {
                Piece::Tag(tag) => return Ok(tag),
                Piece::Text(text) if text.trim_ascii().is_empty() => {}
                Piece::Text(text) => {
                    return Err(self.error(format_args!("`{}` stands between elements", brief(text.trim()))));
                }
            }
        }
    }

    fn open(&mut self, name: &str) -> Result<(), Malformed> {
        match self.next()? {
            Tag::Open(found) if found == name => Ok(()),
            other => Err(self.unexpected(other, format_args!("<{name}>"))),
        }
    }

    fn close(&mut self, name: &str) -> Result<(), Malformed> {
        match self.next()? {
            Tag::Close(found) if found == name => Ok(()),
            other => Err(self.unexpected(other, format_args!("</{name}>"))),
        }
    }

    fn end(&mut self) -> Result<(), Malformed> {
        match self.next()? {
            Tag::End => Ok(()),
            other => Err(self.unexpected(other, "the end")),
        }
    }

    /// Returns all text up to the next tag, and that tag.
    fn text_and_tag(&mut self) -> Result<(Cow<'a, str>, Tag), Malformed> {
        let mut text = Cow::Borrowed("");
        loop {
            match self.piece()? {
                Piece::Tag(tag) => return Ok((text, tag)),
                Piece::Text(piece) if text.is_empty() => text = piece,
                Piece::Text(piece) => text.to_mut().push_str(&piece),
            }
        }
    }

    /// Returns the text of an open element, and consumes its end tag.
    fn text(&mut self, name: &str) -> Result<Cow<'a, str>, Malformed> {
        match self.text_and_tag()? {
            (text, Tag::Close(found)) if found == name => Ok(text),
            (_, other) => Err(self.unexpected(other, format_args!("</{name}>"))),
        }
    }

    fn params(&mut self) -> Result<Vec<Value>, Malformed> {
        let mut params = Vec::new();
        loop {
            match self.next()? {
                Tag::Close("params") => return Ok(params),
                Tag::Open("param") => {
                    self.open("value")?;
                    params.push(self.value(0)?);
                    self.close("param")?;
                }
                other => return Err(self.unexpected(other, "<param> or </params>")),
            }
        }
    }

    /// Reads a value whose `<value>` has been consumed, up to and including `</value>`.
    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth > DEPTH_MAX {
            return Err(self.error(format_args!("more than {DEPTH_MAX} values inside each other")));
        }
        let name = match self.text_and_tag()? {
            // A value without a type element is a text.
            (text, Tag::Close("value")) => return Ok(Value::Text(text.into_owned())),
            (text, Tag::Open(name)) if text.trim_ascii().is_empty() => name,
            (text, Tag::Open(_)) => {
                return Err(self.error(format_args!("`{}` stands between elements", brief(text.trim()))));
            }
            (_, other) => return Err(self.unexpected(other, "</value>")),
        };
        let value = match name {
            "string" => Value::Text(self.text(name)?.into_owned()),
            "array" => self.array(depth)?,
            "struct" => self.members(depth)?,
            "nil" | "ex:nil" => {
                self.close(name)?;
                Value::Nil
            }
            "int" | "i4" | "i8" | "i1" | "i2" | "biginteger" => self.integer(name)?,
            "double" | "float" => Value::Double(self.parsed(name, "a number")?),
            "boolean" => match self.text(name)?.trim() {
                "1" | "true" => Value::Bool(true),
                "0" | "false" => Value::Bool(false),
                other => return Err(self.error(format_args!("`{}` is no flag", brief(other)))),
            },
            "dateTime.iso8601" => Value::DateTime(self.text(name)?.into_owned()),
            "base64" => {
                let mut text = self.text(name)?.into_owned();
                text.retain(|c| !c.is_ascii_whitespace());
                Value::Bytes(BASE64_STANDARD.decode(text).map_err(|error| self.error(error))?)
            }
            other => return Err(self.unexpected(Tag::Open(other), "the type of a value")),
        };
        self.close("value")?;
        Ok(value)
    }

    /// Reads an integer. One beyond 64 bits costs what it is about, and not the whole document.
    fn integer(&mut self, name: &str) -> Result<Value, Malformed> {
        let text = self.text(name)?;
        let text = text.trim();
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        match text.parse() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Value::BigInt(text.to_owned()))
            }
            Err(_) => Err(self.error(format_args!("`{}` is not an integer", brief(text)))),
        }
    }

    fn parsed<T: FromStr>(&mut self, name: &str, what: &str) -> Result<T, Malformed> {
        let text = self.text(name)?;
        text.trim().parse().map_err(|_| self.error(format_args!("`{}` is not {what}", brief(&text))))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Malformed> {
        let mut items = Vec::new();
        self.open("data")?;
        loop {
            match self.next()? {
                Tag::Open("value") => items.push(self.value(depth + 1)?),
                Tag::Close("data") => break,
                other => return Err(self.unexpected(other, "<value> or </data>")),
            }
        }
        self.close("array")?;
        items.shrink_to_fit();
        Ok(Value::Array(items))
    }

    fn members(&mut self, depth: usize) -> Result<Value, Malformed> {
        // A `BTreeMap` collected at once has full nodes; one that grows by insertion in order has
        // half-empty ones.
        let mut members = Vec::new();
        loop {
            match self.next()? {
                Tag::Open("member") => {
                    self.open("name")?;
                    let name = self.text("name")?.into_owned();
                    self.open("value")?;
                    members.push((name, self.value(depth + 1)?));
                    self.close("member")?;
                }
                Tag::Close("struct") => return Ok(Value::Struct(members.into_iter().collect())),
                other => return Err(self.unexpected(other, "<member> or </struct>")),
            }
        }
    }
}

enum Piece<'a> {
    Tag(Tag),
    Text(Cow<'a, str>),
}

/// Returns at most 120 characters of an error of a library, because it may quote the document.
fn sentence(error: &dyn fmt::Display) -> String {
    error.to_string().chars().take(120).collect()
}

/// Returns at most 40 characters of the document, for an error.
fn brief(text: &str) -> &str {
    let end = text.char_indices().nth(40).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
