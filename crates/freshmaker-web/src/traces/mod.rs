//! Traces of events, by the conventions of OpenTelemetry for CI/CD.
//!
//! A span is written when an event or a build has ended, from its stored rows. So no open span can
//! be lost with a process, and it does not matter which process ran the engine. The identity of a
//! span follows from the number of its row: a span that is sent twice is the same span.
//!
//! *Invariant:* the position is stored after the collector has taken everything up to it. If the
//! process dies in between, the same spans are sent once more.

mod config;
mod ended;
mod otlp;
mod spans;

pub use config::{TraceConfig, TraceSettings};

use ended::Ended;
use freshmaker::backend::{Clock, Document, Error, NewDocument, Remedy, Result};
use freshmaker::client::Client;
use freshmaker::time::{Timestamp, later};
use freshmaker_net::Http;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The kind of the document with the position.
const KIND: &str = "traces";

/// The most changes that are read for one request to the collector.
const CHANGES: usize = 200;

/// How often is looked for what has ended.
const TICK: Duration = Duration::from_secs(5);

/// The longest pause after errors.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long other processes leave the export to the one that has begun it.
const HELD: Duration = Duration::from_secs(120);

/// How long the storage may take to tell a change that is there.
const READ_MAX: Duration = Duration::from_secs(30);

/// Sends spans of what has ended to a collector, over OTLP (HTTP with JSON).
///
/// An event is a span `BUILD {kind}`, the builds that it caused first are its children, and their
/// attempts the children of these. A build that a later event shares is a span with a link in the
/// trace of that event.
///
/// Export begins with what ends after the first call. Of several processes with one storage and one
/// [`instance`](TraceConfig::instance), one exports at a time; if it dies, another goes on after
/// two minutes. While the collector is away nothing is lost as long as the storage keeps the
/// changes (at least the latest thousand); beyond that, what ended meanwhile is found among the
/// newest 10,000 events.
///
/// ```no_run
/// use freshmaker::client::Client;
/// use freshmaker::engine::SystemClock;
/// use freshmaker_web::{TraceConfig, TraceExporter};
/// use std::sync::Arc;
///
/// # async fn example(client: Client) -> freshmaker::backend::Result<()> {
/// let config = TraceConfig::new("http://localhost:4318");
/// let exporter = TraceExporter::new(client, config, Arc::new(SystemClock))?;
/// tokio::select! {
///     () = exporter.run() => {}
///     _ = tokio::signal::ctrl_c() => {}
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "opentelemetry")]
pub struct TraceExporter {
    client: Client,
    config: TraceConfig,
    http: Http,
    headers: HeaderMap,
    clock: Arc<dyn Clock>,
    /// A name of this exporter that no other has.
    name: String,
}

impl fmt::Debug for TraceExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceExporter").field("config", &self.config).field("name", &self.name).finish_non_exhaustive()
    }
}

/// How far the export has got, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Position {
    /// The position of the last change that was looked at.
    position: i64,
    /// When that was.
    at: Timestamp,
    /// The exporter that is at work, and until when it is left alone.
    exporter: String,
    until: Timestamp,
}

/// The position, and the version of its document.
struct Held(Position, Document);

impl TraceExporter {
    /// Returns an exporter of what this client's storage has. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Unsupported`](Remedy::Unsupported) if no request can be sent to the URL, a certificate
    /// cannot be used, or a header has characters that a header cannot have.
    pub fn new(client: Client, config: TraceConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let (http, headers) = (Http::new(&config.http)?, config.header_map()?);
        Ok(Self { client, config, http, headers, clock, name: format!("{:032x}", fastrand::u128(..)) })
    }

    /// Asks the collector to take nothing: whether it is there, and accepts the headers.
    ///
    /// # Errors
    /// [`Unavailable`](Remedy::Unavailable) if it does not answer, or with something else than
    /// success.
    pub async fn check(&self) -> Result<()> {
        match self.post(Vec::new()).await? {
            (200..=299, _) => Ok(()),
            (status, said) => Err(otlp::refused(status, &said)),
        }
    }

    /// Exports what ends, for ever. After an error it tries again, with pauses up to five minutes.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what was sent and not noted is sent again.
    pub async fn run(&self) {
        let mut pause = TICK;
        loop {
            match self.export().await {
                Ok(_) => pause = TICK,
                Err(error) => {
                    tracing::warn!(%error, pause_s = pause.as_secs(), "spans cannot be exported, and are kept");
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            self.clock.sleep(pause).await;
        }
    }

    /// Exports what has ended until now, and returns the number of spans. 0 if another exporter is
    /// at work.
    ///
    /// # Errors
    /// Those of the storage, and [`Unavailable`](Remedy::Unavailable) if the collector does not
    /// take the spans now. What the collector refuses for good is left out, with an error in the
    /// log.
    pub async fn export(&self) -> Result<usize> {
        let Some(mut held) = self.take().await? else { return Ok(0) };
        let last = self.client.subscribe().await?.position();
        let mut changes = self.client.subscribe_from(held.0.position);
        let mut exported = 0;
        while changes.position() < last {
            let (mut ended, mut seen) = (Ended::default(), 0);
            while seen < CHANGES && changes.position() < last {
                let late = |_| Error::new(Remedy::Unavailable, "traces", "the storage does not tell its changes");
                ended.note(&tokio::time::timeout(READ_MAX, changes.next()).await.map_err(late)??);
                seen += 1;
            }
            if changes.take_missed() {
                tracing::warn!(from = %held.0.at, "changes are not kept any more: what ended is searched for");
                ended.search(&self.client, held.0.at).await?;
            }
            let now = self.clock.now();
            let spans = ended.spans(&self.client, &self.config).await?;
            if !spans.is_empty() {
                exported += spans.len();
                self.send(spans).await?;
            }
            held = self.store(held, changes.position(), now).await?;
        }
        Ok(exported)
    }

    /// Takes the export, or says that another exporter has it.
    async fn take(&self) -> Result<Option<Held>> {
        let (documents, now) = (self.client.documents().await?, self.clock.now());
        let Some(document) = documents.get(KIND, &self.config.instance).await? else {
            let position = self.client.subscribe().await?.position();
            let first = Position { position, at: now, exporter: self.name.clone(), until: later(now, HELD) };
            return self.put(None, first).await;
        };
        let known: Position = serde_json::from_value(document.body.clone()).map_err(|error| {
            Error::new(Remedy::Corrupt, format!("document {KIND}/{}", self.config.instance), error.to_string())
        })?;
        // A moment far ahead is that of a clock that was wrong.
        let others = known.exporter != self.name && known.until > now && known.until <= later(now, HELD);
        if others {
            return Ok(None);
        }
        let taken = Position { exporter: self.name.clone(), until: later(now, HELD), ..known };
        self.put(Some(document), taken).await
    }

    /// Stores how far the export has got.
    async fn store(&self, held: Held, position: i64, at: Timestamp) -> Result<Held> {
        let until = later(self.clock.now(), HELD);
        let next = Position { position, at, until, ..held.0 };
        let lost = || Error::new(Remedy::Conflict, "traces", "another exporter has taken over");
        self.put(Some(held.1), next).await?.ok_or_else(lost)
    }

    /// Writes the position, unless another exporter has written it meanwhile.
    async fn put(&self, before: Option<Document>, position: Position) -> Result<Option<Held>> {
        let body = serde_json::to_value(&position).map_err(|error| {
            Error::new(Remedy::Corrupt, format!("document {KIND}/{}", self.config.instance), error.to_string())
        })?;
        let new = NewDocument::new(KIND, self.config.instance.as_str(), body);
        let new = NewDocument { expected: before.map(|document| document.version), ..new };
        match self.client.documents().await?.put(new).await {
            Ok(document) => Ok(Some(Held(position, document))),
            Err(error) if error.remedy == Remedy::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }
}
