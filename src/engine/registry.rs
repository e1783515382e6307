use crate::backend::BoxError;
use crate::event::{Envelope, Event, Message, ParseError, Parsers, is_of, parse};
use crate::handler::{Context, Decision, Handler, HandlerResult};
use async_trait::async_trait;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Handlers by name, each with its event type erased, and the parsers of messages that others word.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    handlers: Vec<Entry>,
    parsers: Parsers,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) handler: Arc<dyn AnyHandler>,
}

/// A handler that looks at the kind of an event itself.
#[async_trait]
pub(super) trait AnyHandler: fmt::Debug + Send + Sync + 'static {
    fn kind(&self) -> &'static str;
    fn wants(&self, topic: &str) -> bool;
    fn read(&self, message: &Message) -> Option<Result<Envelope, ParseError>>;
    async fn handle(&self, envelope: &Envelope, cx: Context) -> Result<Decision, BoxError>;
}

struct Typed<E, H> {
    handler: H,
    event: PhantomData<fn(E)>,
}

impl<E: Event, H> fmt::Debug for Typed<E, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handler of {}", E::KIND)
    }
}

#[async_trait]
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

    async fn handle(&self, envelope: &Envelope, cx: Context) -> HandlerResult {
        let event = envelope.open::<E>()?;
        self.handler.handle(event, cx).await
    }
}

impl Registry {
    /// Adds a handler; `false` if the name is taken.
    pub(super) fn add<E: Event, H: Handler<E>>(&mut self, name: String, handler: H) -> bool {
        if self.has(&name) {
            return false;
        }
        self.handlers.push(Entry { name, handler: Arc::new(Typed { handler, event: PhantomData }) });
        true
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.handlers.iter().any(|entry| entry.name == name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// Understands the messages of these parsers, as far as there are handlers for their events.
    pub(super) fn set_parsers(&mut self, mut parsers: Parsers) {
        parsers.retain_kinds(|kind| self.of_kind(kind).next().is_some());
        self.parsers = parsers;
    }

    /// Whether messages of this topic may be for a handler.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.handlers.iter().any(|entry| entry.handler.wants(topic)) || self.parsers.wants(topic)
    }

    /// What the message says; `None` if no handler wants it. A topic that is a kind of ours is not
    /// for the parsers.
    pub(super) fn read(&self, message: &Message) -> Option<Result<Envelope, ParseError>> {
        let ours = self.handlers.iter().find_map(|entry| entry.handler.read(message));
        ours.or_else(|| match self.parsers.parse(message)? {
            // A parser of several kinds may give one that nobody wants.
            Ok(envelope) if self.of_kind(&envelope.kind).next().is_none() => None,
            read => Some(read),
        })
    }

    /// The handlers of events of this kind, in the order of their registration.
    pub(super) fn of_kind<'a, 'k>(&'a self, kind: &'k str) -> impl Iterator<Item = &'a Entry> + use<'a, 'k> {
        self.handlers.iter().filter(move |entry| entry.handler.kind() == kind)
    }
}
