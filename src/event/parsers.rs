use super::topics::Topics;
use super::{Envelope, Message, ParseError};
use std::collections::BTreeMap;

/// What a [`Parser`] makes of a message: `None` if it is not for it after all.
pub type Parsed = Option<Result<Envelope, ParseError>>;

/// Reads messages of one sort, in the words of whoever sends them. `freshmaker-redhat` has ready-made ones for the services of Red Hat and Fedora.
///
/// ```
/// use freshmaker::Message;
/// use freshmaker::event::{Envelope, Parsed, Parser, Parsers};
/// use freshmaker::handler::ImagePushed;
///
/// fn pushed(message: &Message) -> Parsed {
///     let image = String::from_utf8_lossy(&message.body).into_owned();
///     Envelope::of(&ImagePushed { image, digest: None }, &message.id).ok().map(Ok)
/// }
///
/// const PUSHED: Parser = Parser::new(&["registry.push"], &["image.pushed"], pushed);
///
/// let parsers = Parsers::new(["org.example"]).with(PUSHED);
/// assert_eq!(parsers.topics(), ["org.example.registry.push"]);
/// let mut message =
///     Message { id: "1".into(), topic: "org.example.registry.push".into(), headers: [].into(), body: "debian:12".into() };
/// assert_eq!(parsers.parse(&message).expect("a topic of ours")?.kind, "image.pushed");
/// message.topic = "org.example.registry.pull".into();
/// assert!(parsers.parse(&message).is_none());
/// # Ok::<(), freshmaker::event::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    topics: &'static [&'static str],
    kinds: &'static [&'static str],
    parse: fn(&Message) -> Parsed,
}

impl Parser {
    /// A parser of messages whose topics, behind a prefix, are `topics`. It gives events of these `kinds` and no others.
    #[must_use]
    pub const fn new(
        topics: &'static [&'static str],
        kinds: &'static [&'static str],
        parse: fn(&Message) -> Parsed,
    ) -> Self {
        Self { topics, kinds, parse }
    }

    /// The topics, without prefix.
    #[must_use]
    pub fn topics(&self) -> &'static [&'static str] {
        self.topics
    }

    /// The [kinds](super::Event::KIND) of the events.
    #[must_use]
    pub fn kinds(&self) -> &'static [&'static str] {
        self.kinds
    }

    /// Reads a message, whatever its topic.
    #[must_use]
    pub fn parse(&self, message: &Message) -> Parsed {
        (self.parse)(message)
    }
}

/// Parsers by topic: what an engine understands besides messages of its own.
///
/// A message is for a parser if its topic is *exactly* a prefix, a dot, and a topic of the parser; without prefixes, if it is a topic of the
/// parser. `/topic/` or `topic://` before it, as in addresses of STOMP and AMQP 1.0, does not count. So `pagure.git.receive` is not taken
/// for `git.receive`, and a topic of another environment (`org.fedoraproject.stg`) not for one of ours.
///
/// What is not ours costs one walk over the end of its topic, however many parsers there are; nobody looks at its body.
///
/// ```
/// use freshmaker::event::Parsers;
/// use freshmaker::event::Parser;
///
/// const PUSHED: Parser = Parser::new(&["image.push"], &["image.pushed"], |_| None);
///
/// let parsers = Parsers::new(["org.example.prod", "VirtualTopic.eng"]).with(PUSHED);
/// assert_eq!(parsers.topics(), ["VirtualTopic.eng.image.push", "org.example.prod.image.push"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Parsers {
    prefixes: Vec<String>,
    parsers: Vec<Parser>,
    topics: Topics,
    /// For each number in `topics` its parsers, in the order in which they were added.
    readers: Vec<Vec<usize>>,
}

impl Parsers {
    /// No parsers yet, behind these prefixes. The empty prefix stands for topics without one; no prefixes at all for only those.
    pub fn new(prefixes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut distinct: Vec<String> = Vec::new();
        for prefix in prefixes {
            let prefix = without_scheme(prefix.as_ref()).trim_end_matches('.');
            if !distinct.iter().any(|other| other == prefix) {
                distinct.push(prefix.to_owned());
            }
        }
        if distinct.is_empty() {
            distinct.push(String::new());
        }
        Self { prefixes: distinct, ..Self::default() }
    }

    /// Adds a parser. Of two with one topic the first is asked first.
    #[must_use]
    pub fn with(mut self, parser: Parser) -> Self {
        self.parsers.push(parser);
        self.index();
        self
    }

    /// Removes the parsers that only give kinds that nobody wants.
    pub fn retain_kinds(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.parsers.retain(|parser| parser.kinds.iter().any(|kind| wanted(kind)));
        self.index();
    }

    /// The whole topics, to bind a queue to; each once.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.by_topic().into_keys().collect()
    }

    /// The kinds of events that the parsers may give; each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = self.parsers.iter().flat_map(|parser| parser.kinds).copied().collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// What the message says; `None` if it is for no parser.
    ///
    /// # Errors
    /// [`ParseError`] if it is for a parser but not as it should be.
    #[must_use]
    pub fn parse(&self, message: &Message) -> Parsed {
        let number = self.number(&message.topic)?;
        self.readers[number].iter().find_map(|parser| self.parsers[*parser].parse(message))
    }

    /// Whether messages of this topic are for a parser. One may still leave a message to others, once it has read it.
    #[must_use]
    pub fn wants(&self, topic: &str) -> bool {
        self.number(topic).is_some()
    }

    fn number(&self, topic: &str) -> Option<usize> {
        self.topics.find(without_scheme(topic))
    }

    fn index(&mut self) {
        let by_topic = self.by_topic();
        self.topics = Topics::new(by_topic.keys().map(String::as_str));
        self.readers = by_topic.into_values().collect();
    }

    fn by_topic(&self) -> BTreeMap<String, Vec<usize>> {
        let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for prefix in &self.prefixes {
            for (number, parser) in self.parsers.iter().enumerate() {
                for topic in parser.topics {
                    let whole = if prefix.is_empty() { (*topic).to_owned() } else { format!("{prefix}.{topic}") };
                    let readers = found.entry(whole).or_default();
                    if !readers.contains(&number) {
                        readers.push(number);
                    }
                }
            }
        }
        found
    }
}

/// The topic of an address.
fn without_scheme(address: &str) -> &str {
    address.strip_prefix("/topic/").or_else(|| address.strip_prefix("topic://")).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &Message) -> Parsed {
        None
    }

    fn named(message: &Message, kind: &str) -> Parsed {
        let (search_key, payload) = (message.id.clone(), serde_json::Value::Null);
        let severity = super::super::Severity::default();
        Some(Ok(Envelope { kind: kind.into(), search_key, manual: false, requester: None, severity, payload }))
    }

    const FIRST: Parser = Parser::new(&["x.change"], &["first"], nothing);
    const SECOND: Parser = Parser::new(&["x.change", "y.change"], &["second"], |message| named(message, "second"));

    fn kind(parsers: &Parsers, topic: &str) -> Option<String> {
        let message = Message { id: "1".into(), topic: topic.into(), headers: BTreeMap::new(), body: Vec::new() };
        let read = parsers.parse(&message).map(|result| result.unwrap().kind);
        assert!(read.is_none() || parsers.wants(topic), "{topic}");
        read
    }

    #[test]
    fn a_topic_is_a_prefix_a_dot_and_what_a_parser_names() {
        let parsers = Parsers::new(["org.a.", "b", "", "org.a"]).with(SECOND);
        assert_eq!(
            parsers.topics(),
            ["b.x.change", "b.y.change", "org.a.x.change", "org.a.y.change", "x.change", "y.change"]
        );
        for ours in ["b.x.change", "x.change", "/topic/org.a.y.change", "topic://b.y.change"] {
            assert_eq!(kind(&parsers, ours).as_deref(), Some("second"), "{ours}");
        }
        for foreign in ["c.x.change", "bx.change", ".x.change", "b.x.change.y", "a.x.change", "/queue/x.change", ""] {
            assert_eq!(kind(&parsers, foreign), None, "{foreign}");
        }
        let whole = Parsers::new([""; 0]).with(SECOND);
        assert_eq!((kind(&whole, "x.change").as_deref(), kind(&whole, "b.x.change")), (Some("second"), None));
    }

    #[test]
    fn the_next_parser_of_a_topic_is_asked_if_the_first_leaves_it() {
        let mut parsers = Parsers::new(["b"]).with(FIRST).with(SECOND);
        assert_eq!(kind(&parsers, "b.x.change").as_deref(), Some("second"));
        assert_eq!(parsers.kinds(), ["first", "second"]);
        parsers.retain_kinds(|kind| kind == "first");
        assert_eq!((parsers.topics(), kind(&parsers, "b.x.change")), (vec!["b.x.change".to_owned()], None));
        parsers.retain_kinds(|_| false);
        assert!(parsers.topics().is_empty());
    }
}
