//! Holds the handlers by name, with their event types erased, and the parsers of messages of other
//! services.
//!
//! It is filled by the builder and does not change while the engine runs. The name of a handler is
//! stored with its events; the handlers of a message are asked at the same time, and their
//! decisions are stored in the order of registration.

use super::ConfigError;
use super::calls::unharmed;
use crate::backend::BoxError;
use crate::event::{Envelope, Event, Message, ParseError, Parsers, is_of, parse};
use crate::handler::{Context, Handler, HandlerResult};
use futures_util::future::BoxFuture;
use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Holds handlers and parsers.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    /// Handlers in the order of registration; names are unique.
    handlers: Vec<Entry>,
    /// Parsers whose events have a handler.
    parsers: Parsers,
}

/// Holds a handler and its stored name.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The type of its events.
    event: TypeId,
    pub(super) handler: Arc<dyn AnyHandler>,
}

/// A handler whose event type is erased: it reads its event itself.
pub(super) trait AnyHandler: fmt::Debug + Send + Sync + 'static {
    /// Returns the kind of its events.
    fn kind(&self) -> &'static str;
    /// Returns whether a topic is that of its events.
    fn wants(&self, topic: &str) -> bool;
    /// Reads its event from a message; `None` if the topic is another one.
    fn read(&self, message: &Message) -> Option<Result<Envelope, ParseError>>;
    /// Reads the event of an envelope. One that cannot be read is an error of the handler.
    fn open<'a>(&'a self, envelope: &Envelope) -> Result<Opened<'a>, BoxError>;
}

/// An event that was read, with the handler that decides on it.
pub(super) struct Opened<'a> {
    /// Whether the event asks for a dry run.
    pub(super) dry_run: bool,
    /// Asks the handler.
    pub(super) handle: Box<dyn FnOnce(Context) -> BoxFuture<'a, HandlerResult> + Send + 'a>,
}

/// A handler together with its event type.
struct Typed<E, H> {
    handler: H,
    event: PhantomData<fn(E)>,
}

impl<E: Event, H> fmt::Debug for Typed<E, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handler of {}", E::KIND)
    }
}

impl<E: Event, H: Handler<E>> AnyHandler for Typed<E, H> {
    fn kind(&self) -> &'static str {
        E::KIND
    }

    fn wants(&self, topic: &str) -> bool {
        is_of::<E>(topic)
    }

    fn read(&self, message: &Message) -> Option<Result<Envelope, ParseError>> {
        parse::<E>(message)
    }

    fn open<'a>(&'a self, envelope: &Envelope) -> Result<Opened<'a>, BoxError> {
        let event = envelope.open::<E>()?;
        Ok(Opened { dry_run: event.dry_run(), handle: Box::new(move |cx| self.handler.handle(event, cx)) })
    }
}

impl Registry {
    /// Adds a handler.
    ///
    /// # Errors
    /// The name is taken, or a handler gets events of this kind as another type. Nothing is changed
    /// then.
    pub(super) fn add<E: Event, H: Handler<E>>(&mut self, name: String, handler: H) -> Result<(), ConfigError> {
        if self.has(&name) {
            return Err(ConfigError::Duplicate { sort: "handlers", name });
        }
        let event = TypeId::of::<E>();
        if let Some(other) = self.handlers.iter().find(|entry| entry.handler.kind() == E::KIND && entry.event != event)
        {
            return Err(ConfigError::Kind { kind: E::KIND, handlers: [other.name.clone(), name] });
        }
        self.handlers.push(Entry { name, event, handler: Arc::new(Typed { handler, event: PhantomData }) });
        Ok(())
    }

    /// Returns whether a handler has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.handlers.iter().any(|entry| entry.name == name)
    }

    /// Returns the names of the handlers, in the order of registration.
    pub(super) fn handlers(&self) -> impl Iterator<Item = &str> {
        self.handlers.iter().map(|entry| entry.name.as_str())
    }

    /// Returns each handler as `name (kind of its events)`, in the order of registration.
    pub(super) fn names(&self) -> Vec<String> {
        self.handlers.iter().map(|entry| format!("{} ({})", entry.name, entry.handler.kind())).collect()
    }

    /// Returns whether there is no handler.
    pub(super) fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// Sets the parsers, without those whose events no handler wants. Call it after all handlers
    /// were added.
    pub(super) fn set_parsers(&mut self, mut parsers: Parsers) {
        parsers.retain_kinds(|kind| self.of_kind(kind).next().is_some());
        self.parsers = parsers;
    }

    /// Returns whether messages of this topic may be for a handler. Others are acknowledged and not
    /// stored.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.handlers.iter().any(|entry| entry.handler.wants(topic)) || self.parsers.wants(topic)
    }

    /// Reads the event of a message; `None` if no handler wants it. A topic that is the kind of a
    /// registered event is not passed to the parsers. A reader that panics cannot read it.
    pub(super) fn read(&self, message: &Message) -> Option<Result<Envelope, ParseError>> {
        unharmed(|| self.read_by_its_reader(message)).unwrap_or_else(|text| {
            let (id, topic) = (message.identity(), message.topic.clone());
            Some(Err(ParseError {
                message: id,
                topic,
                place: "body".into(),
                reason: format!("its reader panicked: {text}"),
            }))
        })
    }

    fn read_by_its_reader(&self, message: &Message) -> Option<Result<Envelope, ParseError>> {
        let ours = self.handlers.iter().find_map(|entry| entry.handler.read(message));
        ours.or_else(|| match self.parsers.parse(message)? {
            // A parser of several kinds may return one that no handler wants.
            Ok(envelope) if self.of_kind(&envelope.kind).next().is_none() => None,
            read => Some(read),
        })
    }

    /// Returns the handlers of events of this kind, in the order of their registration.
    pub(super) fn of_kind<'a, 'k>(&'a self, kind: &'k str) -> impl Iterator<Item = &'a Entry> + use<'a, 'k> {
        self.handlers.iter().filter(move |entry| entry.handler.kind() == kind)
    }
}
