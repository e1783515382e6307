//! The sending side: one channel with publisher confirms, opened at the first use and closed when
//! its state is not known.

use super::config::AmqpConfig;
use super::connection::{Backoff, channel, connect, failure, provide_exchange, short, until};
use super::wire::{self, Outgoing};
use freshmaker::backend::{Clock, Error, Remedy, Result};
use freshmaker::event::Message;
use futures_util::StreamExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection, ErrorKind, Event};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

#[derive(Debug)]
pub(super) struct Publisher {
    config: Arc<AmqpConfig>,
    clock: Arc<dyn Clock>,
    /// Held while a connection is made, so that all waiting calls share it.
    slot: Mutex<Slot>,
    /// The refusal of the broker to take messages of this user, and until when it is remembered.
    forbidden: StdMutex<Option<(Error, Duration)>>,
}

#[derive(Debug)]
struct Slot {
    session: Option<Arc<Session>>,
    backoff: Backoff,
    not_before: Duration,
}

/// The publisher's connection. It is separate from the consumer's, because a broker that blocks
/// publishers blocks the whole connection, and acknowledgements must continue.
#[derive(Debug)]
struct Session {
    channel: Channel,
    connection: Connection,
    blocked: watch::Receiver<bool>,
    watcher: JoinHandle<()>,
    since: Duration,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Session {
    fn is_usable(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Waits until the broker no longer blocks publishers.
    async fn unblocked(&self) {
        // If the watcher has ended, so has the connection, and publishing fails with the reason.
        let _ = self.blocked.clone().wait_for(|blocked| !blocked).await;
    }

    fn is_blocked(&self) -> bool {
        *self.blocked.borrow()
    }
}

impl Publisher {
    pub(super) fn new(config: Arc<AmqpConfig>, clock: Arc<dyn Clock>) -> Self {
        let slot = Slot { session: None, backoff: Backoff::new(&config), not_before: Duration::ZERO };
        Self { config, clock, slot: Mutex::new(slot), forbidden: StdMutex::default() }
    }

    pub(super) async fn publish(&self, message: &Message) -> Result<()> {
        if self.config.listen_only {
            let text = "this bus only listens (`listen_only`)";
            return Err(Error::new(Remedy::Unsupported, self.place(), text));
        }
        if let Some(error) = self.forbidden() {
            return Err(error);
        }
        let outgoing = wire::outgoing(&self.config, message, self.clock.now())?;
        let deadline = self.clock.elapsed() + self.config.confirm_timeout;
        let seconds = self.config.confirm_timeout.as_secs_f64();
        let place = || self.place();
        let mut last = None;
        let Some(session) = until(&*self.clock, deadline, self.session(&mut last)).await else {
            return Err(last.unwrap_or_else(|| {
                Error::new(Remedy::Unavailable, place(), format!("no connection within {seconds} s"))
            }));
        };
        let session = session.map_err(not_now)?;
        if until(&*self.clock, deadline, session.unblocked()).await.is_none() {
            let text = format!("the broker blocks all publishers and did not unblock them within {seconds} s");
            return Err(Error::new(Remedy::Unavailable, place(), text));
        }
        match until(&*self.clock, deadline, self.send(&session, outgoing, &message.body)).await {
            Some(answer) => answer,
            None => {
                // A blocked connection will continue later. A connection that is silent without
                // being blocked is in doubt.
                if !session.is_blocked() {
                    self.discard(&session).await;
                }
                Err(Error::new(Remedy::Unclear, place(), format!("no confirmation within {seconds} s")))
            }
        }
    }

    async fn send(&self, session: &Session, outgoing: Outgoing, body: &[u8]) -> Result<()> {
        let Outgoing { routing_key, properties } = outgoing;
        let topic = routing_key.clone();
        let exchange = short(&self.config.publish_exchange);
        let options = BasicPublishOptions { mandatory: self.config.mandatory, ..BasicPublishOptions::default() };
        let sent = session.channel.basic_publish(exchange, routing_key, options, body, properties).await;
        let confirmation = match sent {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        let place = || self.place();
        match confirmation {
            Ok(Confirmation::Ack(None)) => Ok(()),
            Ok(Confirmation::Ack(Some(_))) => {
                Err(Error::new(Remedy::NotNow, place(), format!("no queue is bound for {topic}")))
            }
            Ok(Confirmation::Nack(_)) => {
                Err(Error::new(Remedy::NotNow, place(), "the broker rejected the message (nack); a queue may be full"))
            }
            Ok(Confirmation::NotRequested) => Err(Error::new(Remedy::Unclear, place(), "the broker does not confirm")),
            Err(error) => {
                self.discard(session).await;
                let error = self.doubt(&error);
                if error.remedy == Remedy::Unsupported {
                    let until = self.clock.elapsed() + FORBIDDEN_FOR;
                    *self.forbidden.lock().unwrap_or_else(PoisonError::into_inner) = Some((error.clone(), until));
                }
                Err(error)
            }
        }
    }

    /// Returns the broker's refusal, if it is recent.
    fn forbidden(&self) -> Option<Error> {
        let mut forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        forbidden.take_if(|(_, until)| *until <= self.clock.elapsed());
        forbidden.as_ref().map(|(error, _)| error.clone())
    }

    fn place(&self) -> String {
        self.config.place(&format!("publish to {:?}", self.config.publish_exchange))
    }

    /// Returns the meaning of a failed publication: only an explicit refusal by the broker is
    /// certain.
    fn doubt(&self, error: &lapin::Error) -> Error {
        let what = format!("publish to {:?}", self.config.publish_exchange);
        let definite = failure(&self.config, &what, error);
        if let Some(remedy) = forbidden(error) {
            return definite.with_remedy(remedy);
        }
        let unsent = matches!(error.kind(), ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_));
        // The broker accepts messages, but refuses this one, for example because it is too large.
        let refused = matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406);
        match definite.remedy {
            Remedy::Unavailable if !unsent => definite.with_remedy(Remedy::Unclear),
            Remedy::Rejected if refused => definite,
            Remedy::NotFound | Remedy::Rejected | Remedy::Unsupported => not_now(definite),
            Remedy::Unavailable
            | Remedy::Unclear
            | Remedy::Conflict
            | Remedy::NotNow
            | Remedy::Corrupt
            | Remedy::Fenced => definite,
        }
    }

    /// Returns the connection to publish over. Retries as long as another try may help, and stores
    /// the last error in `last`, for a caller that stops waiting.
    async fn session(&self, last: &mut Option<Error>) -> Result<Arc<Session>> {
        let mut slot = self.slot.lock().await;
        loop {
            if let Some(session) = &slot.session {
                if session.is_usable() {
                    return Ok(Arc::clone(session));
                }
                if self.clock.elapsed().saturating_sub(session.since) > self.config.reconnect_max {
                    slot.backoff.reset();
                }
                slot.session = None;
            }
            self.clock.sleep(slot.not_before.saturating_sub(self.clock.elapsed())).await;
            let pause = slot.backoff.next();
            slot.not_before = self.clock.elapsed() + pause;
            match self.open().await {
                Ok(session) => slot.session = Some(Arc::new(session)),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection to publish over");
                    *last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn open(&self) -> Result<Session> {
        let config = &self.config;
        let connection = connect(config, &*self.clock).await?;
        let mut events = connection.events_listener().boxed();
        if let Some(exchange) = config.exchanges.get(&config.publish_exchange) {
            provide_exchange(config, &connection, &config.publish_exchange, exchange).await?;
        }
        let channel = channel(config, &connection).await?;
        let confirmed = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirmed.map_err(|error| failure(config, "channel to publish over", &error))?;
        let (sender, blocked) = watch::channel(false);
        let broker = config.endpoint.to_string();
        let watcher = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(broker, reason, "the broker blocks all publishers");
                        sender.send_replace(true);
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!(broker, "the broker unblocked publishers");
                        sender.send_replace(false);
                    }
                    // Ending drops the sender, which wakes the waiting calls; they then get the
                    // error themselves.
                    Event::Error(_) => return,
                    _ => {}
                }
            }
        });
        Ok(Session { channel, connection, blocked, watcher, since: self.clock.elapsed() })
    }

    /// Discards this session, so that no later call uses it.
    async fn discard(&self, session: &Session) {
        let mut slot = self.slot.lock().await;
        if slot.session.as_ref().is_some_and(|current| std::ptr::eq(&raw const **current, session)) {
            slot.session = None;
        }
    }
}

/// How long the refusal of a broker to take messages of this user is remembered before it is asked
/// again: long enough to be quiet, and short enough that a granted permission is soon used.
const FORBIDDEN_FOR: Duration = Duration::from_secs(600);

/// Returns the remedy if the broker refused access: to the exchange, which concerns every message
/// (`Unsupported`), or to the topic, which concerns this one (`Rejected`).
pub(super) fn forbidden(error: &lapin::Error) -> Option<Remedy> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let of_topic = error.get_message().as_str().contains("to topic '");
    (error.get_id() == 403).then_some(if of_topic { Remedy::Rejected } else { Remedy::Unsupported })
}

/// Changes a permanent error to `NotNow`: a problem of the connection or the exchange concerns
/// every message, so messages wait until the problem is fixed.
fn not_now(error: Error) -> Error {
    if error.is_transient() { error } else { error.with_remedy(Remedy::NotNow) }
}
