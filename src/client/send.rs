use super::{Client, PLACE};
use crate::artifact::Digest;
use crate::backend::{Error, Remedy, Result};
use crate::event::{Event, Message};
use crate::rebuild::{Commit, EventId, InboxRecord, RowChange};
use crate::time::to_micros;

/// The reason code of an event whose plan has to be confirmed.
pub(crate) const ASK_FIRST: &str = "ask_first";

impl Client {
    /// Stores an event to be handled, and returns the identity of its message, for
    /// [`wait_for_message`](Self::wait_for_message), [`message`](Self::message) and
    /// [`EventFilter::message_id`](crate::backend::EventFilter::message_id). There are no events
    /// yet when this returns.
    ///
    /// An event of a kind for which no handler is registered becomes a dead letter when an engine
    /// finds it; a client with a [preview](Self::with_preview) knows the handlers, and rejects it
    /// at once.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if no handler wants such events or it has no JSON form; else
    /// those of the storage.
    pub async fn send<E: Event>(&self, event: &E) -> Result<String> {
        let (micros, random) = (to_micros(self.now()), self.rng().u64(..));
        self.send_as(format!("{micros:x}-{random:016x}"), event).await
    }

    /// As [`send`](Self::send), under an identity of the caller's: sending it twice is the same as
    /// once.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn send_as<E: Event>(&self, id: impl Into<String>, event: &E) -> Result<String> {
        let message =
            Message::of(id, event).map_err(|error| rejected(format!("the event has no JSON form: {error}")))?;
        if self.inner.preview.as_ref().is_some_and(|preview| !preview.handles(E::KIND)) {
            return Err(rejected(format!("no handler is registered for events of kind {:?}", E::KIND)));
        }
        self.receive(message).await
    }

    /// Stores a message as it came, to be read by the parsers of an engine, and returns its
    /// identity: for intakes other than a bus, such as a web hook. A message that comes twice under
    /// one identity is one message.
    ///
    /// The engine keeps a message that it cannot read, or that no handler wants, as a dead letter.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn receive(&self, message: Message) -> Result<String> {
        let record = InboxRecord::new(Self::LOCAL, message, self.now());
        let id = record.message_id.clone();
        self.storage().await?.commit(Commit::unfenced(vec![RowChange::Receive(record)])).await?;
        self.inner.wake.messages.notify_one();
        Ok(id)
    }

    /// Starts a plan that was too large to be started unasked: that of an event skipped with the
    /// code `ask_first`, by the hash under which a person has seen it. Returns the identity of a
    /// new message with the same event, for the same handler; confirming again is the same as once.
    /// If the plan has become another one meanwhile, that one is asked about again.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event, [`Rejected`](Remedy::Rejected) for one
    /// that asks nothing, or asks about another plan; else those of the storage.
    pub async fn confirm(&self, event: EventId, plan: &Digest) -> Result<String> {
        let event = self.event(event).await?;
        if event.reason.code != ASK_FIRST {
            return Err(rejected(format!("event {} does not ask for anything: {}", event.id, event.reason)));
        }
        if event.plan.as_ref() != Some(plan) {
            return Err(rejected(format!("event {} asks about another plan: {}", event.id, event.reason)));
        }
        self.must_have_handler(&event.handler)?;
        let headers = [(Message::CONFIRMS, plan.to_string()), (Message::HANDLER, event.handler)];
        self.receive(Message {
            id: format!("{}/confirmed", event.id),
            topic: event.envelope.kind,
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body: event.envelope.payload.to_string().into_bytes(),
        })
        .await
    }

    /// Rejects a message for a handler that is not there any more, as far as this client knows.
    pub(super) fn must_have_handler(&self, name: &str) -> Result<()> {
        let gone = self.inner.preview.as_ref().is_some_and(|preview| !preview.has_handler(name));
        if gone { Err(rejected(format!("no handler is called {name:?} any more"))) } else { Ok(()) }
    }
}

pub(super) fn rejected(text: String) -> Error {
    Error::new(Remedy::Rejected, PLACE, text)
}
