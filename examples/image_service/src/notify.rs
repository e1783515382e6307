//! One message for each event that has ended to each recipient who has an image in it: what became
//! of these images, and why.

use crate::Result;
use crate::ask::cause;
use crate::config::Images;
use crate::entry::plain;
use freshmaker::artifact::Digest;
use freshmaker::backend::{BuildFilter, Clock, NewDocument, Paging, Remedy};
use freshmaker::client::Client;
use freshmaker::engine::SystemClock;
use freshmaker::rebuild::{BuildRecord, BuildState, EventId, EventRecord, EventState, Notification, RowKey};
use freshmaker::time::later;
use freshmaker_net::{Call, Http, HttpConfig};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// The kind of the documents with the position up to which a recipient was notified.
const POSITION: &str = "notify";
/// How long the position of a recipient that is no longer configured is kept.
const REMEMBERED: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest time that one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a delivery is tried, with a pause between two tries.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(5);
/// How many images a message names; of the others it has the number.
const NAMED_MAX: usize = 200;
/// How many builds are read at once.
const PAGE: u32 = 500;

/// A recipient: about which images it is notified, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notify {
    #[serde(default)]
    images: Images,
    /// A program with its arguments, which gets the message at its standard input.
    #[serde(default)]
    command: Vec<String>,
    /// A web hook that the message is posted to.
    url: Option<String>,
}

impl Notify {
    /// Returns the program of a command, for a service in this directory.
    pub(crate) fn program(&self, directory: &Path) -> Option<PathBuf> {
        let program = self.command.first()?;
        // A name without a slash is looked for in PATH.
        Some(if program.contains('/') { directory.join(program) } else { program.into() })
    }

    /// Returns what is wrong with the entry.
    pub(crate) fn fault(&self) -> Option<String> {
        match (self.command.first(), &self.url) {
            (Some(program), None) if program.is_empty() => {
                Some("the first word is the program, and it is empty".into())
            }
            (Some(_), None) => None,
            (None, Some(url)) => HttpConfig::check_url(url).err().map(|error| format!("url: {}", error.text)),
            _ => Some("it needs either `command` or `url`".to_owned()),
        }
    }

    async fn deliver(&self, directory: &Path, message: &Value) -> Result<()> {
        match &self.url {
            Some(url) => post(url, message).await,
            None => self.run(directory, message).await,
        }
    }

    async fn run(&self, directory: &Path, message: &Value) -> Result<()> {
        let program = self.program(directory).ok_or("there is no program")?;
        run(&program, self.command.get(1..).unwrap_or_default(), directory, message).await
    }
}

/// Tells recipients until it is dropped, each at its own pace. Commands run in this directory.
pub(crate) async fn watch(client: &Client, recipients: &[Notify], directory: &Path) {
    if recipients.is_empty() {
        return std::future::pending().await;
    }
    join_all(recipients.iter().map(|recipient| async move {
        loop {
            if let Err(error) = follow(client, recipient, directory).await {
                tracing::warn!(%error, "a recipient could not be notified");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }))
    .await;
}

/// Tells a recipient of all events that end. The position is stored after the delivery, so a
/// message may come twice after a crash; its `event` shows that.
async fn follow(client: &Client, recipient: &Notify, directory: &Path) -> Result<()> {
    let id = Digest::of(format!("{recipient:?}").as_bytes()).to_string();
    let mut subscription = match client.documents().await?.get(POSITION, &id).await? {
        Some(known) => client.subscribe_from(known.body.as_i64().unwrap_or_default()),
        None => {
            let subscription = client.subscribe().await?;
            // The recipient is notified of everything that ends from now on, also if this process
            // ends before.
            remember(client, &id, subscription.position()).await?;
            subscription
        }
    };
    loop {
        let notification = subscription.next().await?;
        if subscription.take_missed() {
            tracing::warn!("some events have ended so long ago that a recipient is not notified");
        }
        let Some(event) = ended(&notification) else { continue };
        tell(client, recipient, directory, event).await?;
        remember(client, &id, subscription.position()).await?;
    }
}

async fn remember(client: &Client, id: &str, position: i64) -> Result<()> {
    let documents = client.documents().await?;
    let expected = documents.get(POSITION, id).await?.map(|known| known.version);
    let expires_at = Some(later(SystemClock.now(), REMEMBERED));
    documents.put(NewDocument { expected, expires_at, ..NewDocument::new(POSITION, id, position.into()) }).await?;
    Ok(())
}

/// Logs each build that has failed, with the end of its log, until it is dropped.
pub(crate) async fn log_failures(client: &Client) {
    loop {
        if let Err(error) = failures(client).await {
            tracing::warn!(%error, "it is not followed how builds end");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn failures(client: &Client) -> Result<()> {
    let mut subscription = client.subscribe().await?;
    loop {
        let notification = subscription.next().await?;
        let RowKey::Build(id) = notification.of else { continue };
        // What waited for another one says nothing new.
        if BuildState::deserialize(&notification.body["detail"]).is_ok_and(|state| state == BuildState::Failed) {
            let text = |value: &Value| plain(&cause(value.as_str().unwrap_or_default()));
            let [image, why] = [&notification.body["artifact"], &notification.body["reason"]["text"]].map(text);
            tracing::warn!(image, build = %id, why, "a build has failed");
        }
    }
}

/// Returns the event whose end this is about.
fn ended(notification: &Notification) -> Option<EventId> {
    let RowKey::Event(id) = notification.of else { return None };
    let state = EventState::deserialize(&notification.body["state"]).ok()?;
    state.is_terminal().then_some(id)
}

async fn tell(client: &Client, recipient: &Notify, directory: &Path, id: EventId) -> Result<()> {
    let event = match client.event(id).await {
        // It was removed, because it is old.
        Err(error) if error.remedy == Remedy::NotFound => return Ok(()),
        event => event?,
    };
    let mut builds = Vec::new();
    let filter = BuildFilter { events: vec![id], ..BuildFilter::default() };
    let mut paging = Paging::first(PAGE);
    loop {
        let page = client.builds(filter.clone(), paging).await?;
        builds.extend(page.items);
        match page.next {
            Some(row) => paging = Paging::first(PAGE).behind(row),
            None => break,
        }
    }
    builds.retain(|build| recipient.images.contain(&build.key.artifact));
    if builds.is_empty() {
        return Ok(());
    }
    let message = message(&event, &builds);
    for left in (0..TRIES).rev() {
        match recipient.deliver(directory, &message).await {
            Ok(()) => break,
            Err(error) if left == 0 => tracing::warn!(%error, event = %id, "a recipient is not notified"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    Ok(())
}

/// Returns the message. `text` says everything to people; chat services show it.
fn message(event: &EventRecord, builds: &[BuildRecord]) -> Value {
    let cause = format!("{} {}", event.envelope.kind, event.envelope.search_key);
    let mut text = format!("{cause}: {} ({})", event.state, event.reason.text);
    let mut named = Vec::new();
    for build in builds.iter().take(NAMED_MAX) {
        let digest = build.output.as_ref().and_then(|output| output.digest.as_ref());
        let image = &build.key.artifact;
        text.push_str(&format!("\n{image}: {} ({})", build.state, build.reason.text));
        named.push(json!({ "image": image, "state": build.state, "reason": build.reason, "digest": digest }));
    }
    let more = builds.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        text.push_str(&format!("\nand {more} more"));
    }
    json!({
        "event": event.id,
        "cause": cause,
        "state": event.state,
        "reason": event.reason,
        "images": named,
        "more": more,
        "text": text,
    })
}

async fn post(url: &str, message: &Value) -> Result<()> {
    let mut config = HttpConfig::new(url);
    config.timeout = TIMEOUT;
    let http = Http::new(&config)?;
    // The path of a web hook is often its secret.
    let request = http.request(reqwest::Method::POST, url).json(message);
    let reply = http.send(request, Call::Write, "notify").await?;
    if (200..300).contains(&reply.status) {
        Ok(())
    } else {
        Err(format!("the web hook answers {}", reply.status).into())
    }
}

async fn run(program: &Path, arguments: &[String], directory: &Path, message: &Value) -> Result<()> {
    let name = program.display();
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let text = message.to_string();
    let ended = async {
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read its input has ended well all the same.
            let _ = input.write_all(text.as_bytes()).await;
        }
        child.wait().await
    };
    let status = tokio::time::timeout(TIMEOUT, ended).await.map_err(|_| format!("{name} takes too long"))??;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}").into()) }
}
