use super::topics::Topics;
use super::{Envelope, Event, Message, ParseError};
use std::collections::BTreeMap;

/// The result of a [`Parser`]: `None` if the message is not for it, else the event or the error.
pub type Parsed = Option<Result<Envelope, ParseError>>;

/// Translates messages of another service into events.
///
/// A parser is a function from a message to an [`Envelope`], with the topics that it reads and the
/// [kinds](super::Event::KIND) of events that it makes. The crate `freshmaker-redhat` has parsers
/// for the services of Red Hat and Fedora.
///
/// The function returns:
///
/// * `None` if the message is not for this parser although its topic is. The next parser of the
///   topic is then asked; if there is none, the message is ignored.
/// * `Some(Ok(..))` with the event.
/// * `Some(Err(..))` if the message is for this parser but has a form that it does not know. The
///   message becomes a dead letter.
///
/// It must depend on the message alone: the engine reads a message once when it arrives, and again
/// when it is handled.
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
/// let mut message = Message {
///     id: "1".into(),
///     topic: "org.example.registry.push".into(),
///     headers: [].into(),
///     body: "debian:12".into(),
/// };
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
    /// Makes a parser of messages whose topics, after the prefix, are `topics`.
    ///
    /// `kinds` must have the kinds of all events that `parse` can return. An engine drops parsers
    /// none of whose kinds has a handler, and ignores an event of a kind without a handler.
    #[must_use]
    pub const fn new(
        topics: &'static [&'static str],
        kinds: &'static [&'static str],
        parse: fn(&Message) -> Parsed,
    ) -> Self {
        Self { topics, kinds, parse }
    }

    /// Makes a parser of messages whose body is the JSON of an event of type `E`, and whose topic
    /// is another one than its kind.
    ///
    /// ```
    /// use freshmaker::Message;
    /// use freshmaker::event::{Parser, Parsers};
    /// use freshmaker::handler::ImagePushed;
    ///
    /// const PUSHED: Parser = Parser::json::<ImagePushed>(&["registry.push"]);
    /// let parsers = Parsers::new(["org.example"]).with(PUSHED);
    /// let mut message = Message {
    ///     id: "1".into(),
    ///     topic: "org.example.registry.push".into(),
    ///     headers: [].into(),
    ///     body: br#"{"image": "debian:12"}"#.into(),
    /// };
    /// assert_eq!(parsers.parse(&message).expect("a topic of ours")?.kind, "image.pushed");
    /// message.body = b"{}".into();
    /// let error = parsers.parse(&message).expect("a topic of ours").unwrap_err();
    /// assert_eq!(error.place, "line 1 column 2");
    /// # Ok::<(), freshmaker::event::ParseError>(())
    /// ```
    #[must_use]
    pub const fn json<E: Event>(topics: &'static [&'static str]) -> Self {
        Self { topics, kinds: const { &[E::KIND] }, parse: |message| Some(super::read_json::<E>(message)) }
    }

    /// Returns the topics, without a prefix.
    #[must_use]
    pub fn topics(&self) -> &'static [&'static str] {
        self.topics
    }

    /// Returns the [kinds](super::Event::KIND) of the events that the parser can make.
    #[must_use]
    pub fn kinds(&self) -> &'static [&'static str] {
        self.kinds
    }

    /// Calls the parser with a message, without looking at the topic.
    ///
    /// # Errors
    /// [`ParseError`] if the message is for this parser but has a form that it does not know.
    #[must_use]
    pub fn parse(&self, message: &Message) -> Parsed {
        (self.parse)(message)
    }
}

/// A set of [`Parser`]s with their routing: which topic goes to which parser.
///
/// A topic is for a parser if it is *exactly* a prefix, a dot, and a topic of the parser. If the
/// set was made without prefixes, the topic must be exactly a topic of the parser. A leading
/// `/topic/` or `topic://`, as in addresses of STOMP and AMQP 1.0, is removed first. With the
/// prefix `org.fedoraproject.prod` and a parser of `git.receive`:
///
/// * `org.fedoraproject.prod.git.receive` is for the parser;
/// * `/topic/org.fedoraproject.prod.git.receive` is for the parser;
/// * `org.fedoraproject.prod.pagure.git.receive` is not;
/// * `org.fedoraproject.stg.git.receive` (another environment) is not;
/// * `git.receive` is not.
///
/// A message for no parser costs one lookup of its topic, however many parsers there are. Its body
/// is not read.
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
#[doc(alias = "routing")]
#[doc(alias = "router")]
pub struct Parsers {
    prefixes: Vec<String>,
    parsers: Vec<Parser>,
    topics: Topics,
    /// The parsers of each number in `topics`, in the order in which they were added.
    readers: Vec<Vec<usize>>,
}

impl Parsers {
    /// Makes an empty set with these prefixes.
    ///
    /// A dot at the end of a prefix, and a scheme before it, are removed. The empty prefix stands
    /// for topics without a prefix; an empty list of prefixes has the same effect.
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

    /// Adds a parser. If two parsers have the same topic, the one that was added first is asked
    /// first.
    #[must_use]
    pub fn with(mut self, parser: Parser) -> Self {
        self.parsers.push(parser);
        self.index();
        self
    }

    /// Removes all parsers that make no event of a wanted kind.
    ///
    /// The engine calls this when it is built, with the kinds that have a handler.
    pub fn retain_kinds(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.parsers.retain(|parser| parser.kinds.iter().any(|kind| wanted(kind)));
        self.index();
    }

    /// Returns the whole topics with their prefixes, each once and sorted, to bind a queue to them.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.by_topic().into_keys().collect()
    }

    /// Returns the kinds of events that the parsers can make, each once and sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = self.parsers.iter().flat_map(|parser| parser.kinds).copied().collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Reads a message with the parsers of its topic, in the order in which they were added.
    ///
    /// Returns the first result that is not `None`; `None` if no parser has the topic, or all of
    /// them leave the message.
    ///
    /// # Errors
    /// [`ParseError`] if the message is for a parser but has a form that the parser does not know.
    #[must_use]
    pub fn parse(&self, message: &Message) -> Parsed {
        let number = self.number(&message.topic)?;
        self.readers[number].iter().find_map(|parser| self.parsers[*parser].parse(message))
    }

    /// Returns whether a parser has this topic. The parser may still return `None` for the message.
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

/// Returns the topic of an address, without the scheme of STOMP or AMQP 1.0.
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
