//! Requests of people that come as messages: who may make which, about whose events, and in whose
//! name.
//!
//! This crate knows no kinds of requests. A crate whose handlers carry out requests of people gives
//! a [`RequestRule`] for each kind: who may make it, as for a route. The rules are checked wherever
//! a message or its event comes from a caller: messages, CloudEvents, previews, plans,
//! confirmations and retries.

use crate::auth::{Allowed, Caller, Role};
use crate::problem::{Problem, ProblemCode};
use crate::web::Web;
use freshmaker::backend::Remedy;
use freshmaker::event::{self, Envelope, Event, Message, Parsed, Parser};
use freshmaker::handler::RebuildRequested;
use freshmaker::rebuild::{EventId, EventRecord};
use serde_json::Value;

/// Who may make requests of one kind by message, and what the service looks at in them.
///
/// Messages of kinds without a rule are for [`Allowed::REBUILDERS`], and are stored as they are.
///
/// ```
/// use freshmaker::Event;
/// use freshmaker_web::{Allowed, RequestRule, Role};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct SweepRequested {
///     event: i64,
///     by: Option<String>,
/// }
///
/// impl Event for SweepRequested {
///     const KIND: &'static str = "sweep.requested";
/// }
///
/// const SWEEPERS: Allowed = Allowed::Roles(&[Role::Admin]);
///
/// /// To be given to `Web::with_requests`.
/// const SWEEP: RequestRule =
///     RequestRule::new::<SweepRequested>(SWEEPERS).about_event("event").requester_in("by");
/// # let _ = SWEEP;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RequestRule {
    kind: &'static str,
    aliases: &'static [&'static str],
    read: fn(&Message) -> Parsed,
    parser: Option<Parser>,
    allowed: Allowed,
    event: Option<&'static str>,
    requester: Option<&'static str>,
}

impl RequestRule {
    /// Requests of this kind are for these callers.
    #[must_use]
    pub const fn new<E: Event>(allowed: Allowed) -> Self {
        let (kind, aliases) = (E::KIND, E::ALIASES);
        Self { kind, aliases, read: event::parse::<E>, parser: None, allowed, event: None, requester: None }
    }

    /// Returns the same for messages that this parser reads, behind any prefix of its topics. It
    /// must also read the JSON form of its event.
    #[must_use]
    pub const fn read_by(mut self, parser: Parser) -> Self {
        self.parser = Some(parser);
        self
    }

    /// Says that the request decides about the event whose number is under this key: it is for
    /// those who have asked for that event, and for administrators.
    #[must_use]
    pub const fn about_event(mut self, key: &'static str) -> Self {
        self.event = Some(key);
        self
    }

    /// Says under which key the request names its requester: the caller is written there, whatever
    /// was sent.
    #[must_use]
    pub const fn requester_in(mut self, key: &'static str) -> Self {
        self.requester = Some(key);
        self
    }

    /// The requests that every engine understands.
    pub(crate) const OF_ENGINE: Self = Self::new::<RebuildRequested>(Allowed::REBUILDERS).requester_in("requester");

    fn is_of(&self, kind: &str) -> bool {
        kind == self.kind || self.aliases.contains(&kind)
    }

    /// The parser of messages with this topic.
    fn parser_of(&self, topic: &str) -> Option<Parser> {
        let ends_with = |own: &str| {
            let before = topic.strip_suffix(own);
            before.is_some_and(|before| before.is_empty() || before.ends_with(['.', '/']))
        };
        self.parser.filter(|parser| parser.topics().iter().any(|own| ends_with(own)))
    }

    fn is_for(&self, topic: &str) -> bool {
        self.is_of(topic) || self.parser_of(topic).is_some()
    }

    fn open(&self, message: &Message) -> Parsed {
        (self.read)(message).or_else(|| self.parser_of(&message.topic)?.parse(message))
    }

    /// The event that a request is about.
    fn about(&self, payload: &Value) -> Option<EventId> {
        payload.get(self.event?).and_then(Value::as_i64).map(EventId)
    }

    /// The message with the name of who makes the request.
    fn in_name_of(&self, by: &str, message: Message, envelope: Envelope) -> Message {
        match (self.requester, envelope.payload) {
            (Some(key), Value::Object(mut payload)) => {
                payload.insert(key.to_owned(), by.into());
                Message { body: Value::Object(payload).to_string().into_bytes(), ..message }
            }
            _ => message,
        }
    }
}

impl Caller {
    /// Returns whether the caller may decide about this event: has asked for it, or is an
    /// administrator.
    #[must_use]
    pub fn may_decide(&self, event: &EventRecord) -> bool {
        let has_asked = |name: &String| event.envelope.requester.as_ref() == Some(name);
        let may = |who: &crate::auth::Principal| who.roles.contains(&Role::Admin) || has_asked(&who.name);
        self.principal.as_ref().is_some_and(may)
    }
}

impl Web {
    /// Refuses a decision about an event by a caller who has not asked for it and is no
    /// administrator; the audit log has the refusal. `what` is the name of the operation.
    ///
    /// # Errors
    /// 403.
    pub async fn must_decide(&self, caller: &Caller, what: &str, event: &EventRecord) -> Result<(), Problem> {
        if caller.may_decide(event) {
            return Ok(());
        }
        let who = caller.name();
        let text = format!("{who} has not asked for event {}, and has not the role admin", event.id);
        let problem = Problem::new(ProblemCode::Forbidden, text);
        self.audit_refusal(caller, what, &format!("event {}", event.id), &problem).await;
        Err(problem)
    }

    /// The same for an event by its number. An unknown number is not refused here.
    pub(crate) async fn must_decide_about(&self, caller: &Caller, what: &str, id: EventId) -> Result<(), Problem> {
        match self.event_if_any(id).await? {
            Some(event) => self.must_decide(caller, what, &event).await,
            None => Ok(()),
        }
    }

    async fn event_if_any(&self, id: EventId) -> Result<Option<EventRecord>, Problem> {
        let found = async {
            match self.client().event(id).await {
                Err(error) if error.remedy == Remedy::NotFound => Ok(None),
                found => found.map(Some),
            }
        };
        self.ask(found).await
    }

    /// Refuses who may not use something; the audit log has the refusal.
    async fn must_be(&self, allowed: Allowed, caller: &Caller, what: &str, on: &str) -> Result<(), Problem> {
        let checked = allowed.check(&self.config().access, caller.principal.as_ref());
        if let Err(problem) = &checked {
            self.audit_refusal(caller, what, on, problem).await;
        }
        checked
    }

    /// Refuses a message whose sender may not ask for what it asks for, or that cannot be read
    /// although it asks for something. Returns it in the name of its sender. `at` is where it is in
    /// the body of the request.
    pub(crate) async fn permitted(
        &self,
        caller: &Caller,
        what: &str,
        message: Message,
        at: &str,
    ) -> Result<Message, Problem> {
        let rule = self.request_rules().iter().find(|rule| rule.is_for(&message.topic));
        let allowed = rule.map_or(Allowed::REBUILDERS, |rule| rule.allowed);
        self.must_be(allowed, caller, what, &format!("topic {}", message.topic)).await?;
        let Some((rule, read)) = rule.and_then(|rule| Some((rule, rule.open(&message)?))) else { return Ok(message) };
        let envelope = read.map_err(|error| {
            Problem::new(ProblemCode::Invalid, "the message cannot be read").at(at, error.to_string())
        })?;
        if let Some(event) = rule.about(&envelope.payload) {
            self.must_decide_about(caller, what, event).await?;
        }
        Ok(rule.in_name_of(caller.name(), message, envelope))
    }

    /// Refuses who may not ask for what an event was asked for by, which is to be done now or once
    /// more. That there is no such event is for others to say.
    pub(crate) async fn permitted_again(&self, caller: &Caller, what: &str, id: EventId) -> Result<(), Problem> {
        let Some(event) = self.event_if_any(id).await? else { return Ok(()) };
        let rule = self.request_rules().iter().find(|rule| rule.is_of(&event.envelope.kind));
        let allowed = rule.map_or(Allowed::REBUILDERS, |rule| rule.allowed);
        self.must_be(allowed, caller, what, &format!("event {id}")).await?;
        match rule.and_then(|rule| rule.about(&event.envelope.payload)) {
            Some(event) => self.must_decide_about(caller, what, event).await,
            None => Ok(()),
        }
    }
}
