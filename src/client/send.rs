use super::{Client, PLACE, RetryPart};
use crate::artifact::Digest;
use crate::backend::{Error, Remedy, Result};
use crate::event::{Event, Message};
use crate::rebuild::{BuildMode, Commit, EventId, InboxRecord, RowChange};
use crate::time::to_micros;

/// The reason code of an event whose plan has to be confirmed.
pub(crate) const ASK_FIRST: &str = "ask_first";

/// The end of the identity of a message that confirms a plan.
const CONFIRMED: &str = "/confirmed";

/// Whether a message that was sent under an identity is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was stored now, under this identity.
    New(String),
    /// The same message was stored before, so nothing was done.
    Known(String),
}

impl Sent {
    /// Returns the identity of the message, for
    /// [`wait_for_message`](Client::wait_for_message) and [`message`](Client::message).
    #[must_use]
    pub fn id(&self) -> &str {
        let (Self::New(id) | Self::Known(id)) = self;
        id
    }
}

impl Client {
    /// Stores an event to be handled, and returns the identity of its message, for
    /// [`wait_for_message`](Self::wait_for_message), [`message`](Self::message) and
    /// [`EventFilter::message_ids`](crate::backend::EventFilter::message_ids). There are no events
    /// yet when this returns.
    ///
    /// An event of a kind for which no handler is registered becomes a dead letter when an engine
    /// finds it; a client with a [preview](Self::with_preview) knows the handlers, and rejects it
    /// at once.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if no handler wants such events or it has no JSON form; else
    /// those of the storage.
    #[doc(alias = "schedule")]
    #[doc(alias = "trigger")]
    #[doc(alias = "enqueue")]
    pub async fn send<E: Event>(&self, event: &E) -> Result<String> {
        let (micros, random) = (to_micros(self.now()), self.rng().u64(..));
        let message = self.carrying(format!("{micros:x}-{random:016x}"), event)?;
        self.store(InboxRecord::new(Self::LOCAL, message, self.now())).await
    }

    /// Stores an event as [`send`](Self::send) does, under an identity that the caller chooses:
    /// sending it a second time has no effect. The answer says whether it was new.
    ///
    /// With an empty id the identity is made from the content of the event: then a second event
    /// with equal content is not handled for as long as the first one is
    /// [kept](crate::backend::Retention).
    ///
    /// ```
    /// use freshmaker::backend::Remedy;
    /// use freshmaker::client::{Client, Sent};
    /// use freshmaker::handler::ImagePushed;
    /// use freshmaker::memory::MemoryStorage;
    /// use std::sync::Arc;
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let client = Client::new(Arc::new(MemoryStorage::new()));
    /// let pushed = |image: &str| ImagePushed { image: image.into(), digest: None };
    /// assert_eq!(client.send_as("push-17", &pushed("debian:12")).await?, Sent::New("push-17".into()));
    /// assert_eq!(client.send_as("push-17", &pushed("debian:12")).await?, Sent::Known("push-17".into()));
    /// let error = client.send_as("push-17", &pushed("fedora:43")).await.unwrap_err();
    /// assert_eq!(error.remedy, Remedy::Rejected, "the id belongs to another event");
    /// # Ok::<(), freshmaker::backend::Error>(()) }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// As for [`send`](Self::send); [`Rejected`](Remedy::Rejected) also if an event with this
    /// identity and other content is stored.
    #[doc(alias = "idempotency key")]
    #[doc(alias = "deduplication")]
    pub async fn send_as<E: Event>(&self, id: impl Into<String>, event: &E) -> Result<Sent> {
        self.receive(self.carrying(id, event)?).await
    }

    /// Makes the message of an event, if there may be a handler for it.
    fn carrying<E: Event>(&self, id: impl Into<String>, event: &E) -> Result<Message> {
        let message =
            Message::of(id, event).map_err(|error| rejected(format!("the event has no JSON form: {error}")))?;
        if self.inner.preview.as_ref().is_some_and(|preview| !preview.handles(E::KIND)) {
            return Err(rejected(format!("no handler is registered for events of kind {:?}", E::KIND)));
        }
        Ok(message)
    }

    /// Stores a message as it came, to be read by the parsers of an engine, and returns its
    /// identity. This is for messages that do not come by a bus, such as those of a web hook. A
    /// message that comes twice under one identity is one message; headers may differ. The identity
    /// is known for as long as the message is [kept](crate::backend::Retention).
    ///
    /// The engine keeps a message that it cannot read, that is larger than its
    /// [limit](crate::engine::EngineBuilder::message_bytes_max), or that no handler wants, as a
    /// dead letter. Limit the size of messages from outside before this call.
    ///
    /// # Errors
    /// [`Rejected`](Remedy::Rejected) if a message with this identity and another topic or body is
    /// stored, or if the identity is one of a [confirmation](Self::confirmation) or of a retry;
    /// else those of the storage.
    #[doc(alias = "webhook")]
    pub async fn receive(&self, message: Message) -> Result<Sent> {
        let id = message.identity();
        if is_decision(&id) {
            let text = "such ids are those of confirmations and retries, which have methods of their own";
            return Err(rejected(format!("a message cannot have the id {id:?}: {text}")));
        }
        if let Some(stored) = self.reads().await?.message(Self::LOCAL, &id).await? {
            return known(id, &stored, &message);
        }
        let record = InboxRecord::new(Self::LOCAL, message.clone(), self.now());
        let at = to_micros(record.received_at);
        self.store(record).await?;
        // Another client may have stored one under this identity in between: that one stays.
        match self.reads().await?.message(Self::LOCAL, &id).await? {
            Some(stored) if to_micros(stored.received_at) != at || !is_same(&stored.message, &message) => {
                known(id, &stored, &message)
            }
            _ => Ok(Sent::New(id)),
        }
    }

    /// Stores a message, unless one with its identity is stored.
    async fn store(&self, record: InboxRecord) -> Result<String> {
        let id = record.message_id.clone();
        self.storage().await?.commit(Commit::unfenced(vec![RowChange::Receive(record)])).await?;
        self.inner.wake.messages.notify_one();
        Ok(id)
    }

    /// Stores a message of a person's decision. The second of two equal decisions has no effect,
    /// even if another person makes it.
    pub(super) async fn send_decision(&self, message: Message) -> Result<String> {
        self.store(InboxRecord::new(Self::LOCAL, message, self.now())).await
    }

    /// Confirms the plan of an event that was skipped with the code `ask_first` because the plan is
    /// large. `plan` is the hash of the plan that the person has seen. Returns the identity of a
    /// new message with the same event, for the same handler; confirming a second time has no
    /// effect. If the handler makes another plan by then, that plan has to be confirmed again.
    ///
    /// # Errors
    /// [`NotFound`](Remedy::NotFound) for an unknown event, [`Rejected`](Remedy::Rejected) for one
    /// that has no plan to be confirmed, or another one; else those of the storage.
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
        let requester = event.envelope.requester.map(|requester| (Message::REQUESTER, requester));
        let dry = (event.mode == BuildMode::DryRun).then(|| (Message::DRY_RUN, "true".to_owned()));
        self.send_decision(Message {
            id: Self::confirmation(event.id),
            topic: event.envelope.kind,
            headers: headers
                .into_iter()
                .chain(requester)
                .chain(dry)
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: event.envelope.payload.to_string().into_bytes(),
        })
        .await
    }

    /// Returns the identity of the message with which the plan of an event is confirmed, among
    /// those of the source [`LOCAL`](Self::LOCAL).
    #[must_use]
    pub fn confirmation(event: EventId) -> String {
        format!("{event}{CONFIRMED}")
    }

    /// Returns the event whose plan a message with this identity confirms, the reverse of
    /// [`confirmation`](Self::confirmation); `None` for another message.
    ///
    /// ```
    /// use freshmaker::client::Client;
    /// use freshmaker::rebuild::EventId;
    ///
    /// assert_eq!(Client::confirmed_by(&Client::confirmation(EventId(7))), Some(EventId(7)));
    /// assert_eq!(Client::confirmed_by("7/retry/whole"), None);
    /// ```
    #[must_use]
    pub fn confirmed_by(message: &str) -> Option<EventId> {
        message.strip_suffix(CONFIRMED)?.parse().ok().map(EventId)
    }

    /// Rejects a message for a handler that is not there any more, as far as this client knows.
    pub(super) fn must_have_handler(&self, name: &str) -> Result<()> {
        let gone = self.inner.preview.as_ref().is_some_and(|preview| !preview.has_handler(name));
        if gone { Err(rejected(format!("no handler is called {name:?} any more"))) } else { Ok(()) }
    }
}

/// Returns whether a message with this identity confirms or retries an event.
fn is_decision(id: &str) -> bool {
    let retried = || {
        let event = id.split_once('/').and_then(|(event, _)| event.parse().ok()).map(EventId);
        event.is_some_and(|event| [RetryPart::Failed, RetryPart::Whole].iter().any(|part| part.message(event) == id))
    };
    Client::confirmed_by(id).is_some() || retried()
}

/// Returns whether two messages of one identity have equal content. Headers are not compared:
/// senders put times and traces of a delivery there.
fn is_same(one: &Message, other: &Message) -> bool {
    one.topic == other.topic && one.body == other.body
}

/// Returns that the message is stored already.
///
/// # Errors
/// If the stored one has other content.
fn known(id: String, stored: &InboxRecord, message: &Message) -> Result<Sent> {
    if is_same(&stored.message, message) {
        return Ok(Sent::Known(id));
    }
    let Message { topic, body, .. } = &stored.message;
    Err(rejected(format!(
        "the message {id:?} of topic {:?} with {} bytes is not stored: one with this id and other content is stored \
         since {} (topic {topic:?}, {} bytes)",
        message.topic,
        message.body.len(),
        stored.received_at,
        body.len()
    )))
}

pub(super) fn rejected(text: String) -> Error {
    Error::new(Remedy::Rejected, PLACE, text)
}
